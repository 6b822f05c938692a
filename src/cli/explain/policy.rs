//! What a route does to requests and replies beside its target, a line each.

use crate::config::model::Cors;
use crate::live::Route;

pub(super) fn lines(route: &Route) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(cors) = &route.policy.cors {
        lines.push(("cors", cors_line(cors)));
    }
    lines
}

fn cors_line(cors: &Cors) -> String {
    let origins: Vec<String> = cors.origins.iter().map(ToString::to_string).collect();
    let credentials = if cors.credentials {
        ", with credentials"
    } else {
        ""
    };
    let seconds = cors.max_age.as_secs();
    format!(
        "pages of {} may read the reply{credentials}; preflights are kept {seconds} s",
        origins.join(", ")
    )
}
