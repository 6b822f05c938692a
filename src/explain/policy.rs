//! What a route does to requests and replies beside its target, a line each.

use crate::config::model::{Cors, Files, Forms, HeaderPattern, HeaderRules, Policy};
use crate::live::{Route, Target};
use crate::schema::StreamKind;
use crate::transcode::{BodyRule, MethodPlan};

pub(super) fn lines(route: &Route) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    match &route.target {
        Target::Proxy {
            rewrite: Some(to), ..
        } => lines.push(("rewrite", format!("{to} in place of {}", route.rule))),
        Target::Files(files, _) => lines.push(("files", files_line(files))),
        Target::Redirect(redirect, _) => {
            lines.push((
                "redirect",
                format!("{} to {}", redirect.status, redirect.to),
            ));
        }
        Target::Respond(reply) => lines.push((
            "respond",
            format!("{}, {} bytes", reply.status, reply.body.len()),
        )),
        Target::Rpc(plan) => transcoded(plan, &route.policy, &mut lines),
        Target::Proxy { rewrite: None, .. } => {}
    }
    let policy = &route.policy;
    if policy.compat.is_grpc_gateway() {
        lines.push(("compat", "grpc-gateway".to_owned()));
    }
    if let Some(cors) = &policy.cors {
        lines.push(("cors", cors_line(cors)));
    }
    if let Some(rule) = &policy.compression {
        let least = rule.bytes_min;
        lines.push(("compression", format!("of texts from {least} bytes on")));
    }
    for (key, rules) in [
        ("request headers", &policy.request_headers),
        ("response headers", &policy.response_headers),
    ] {
        if let Some(rules) = rules {
            lines.push((key, rules_line(rules)));
        }
    }
    lines
}

/// What a transcoded route takes beside JSON, and puts on its replies.
fn transcoded(plan: &MethodPlan, policy: &Policy, lines: &mut Vec<(&'static str, String)>) {
    match policy.forms {
        Forms::Refuse => {}
        Forms::AsQuery => lines.push(("form bodies", "bound like the query".to_owned())),
        Forms::Bind => lines.push((
            "form bodies",
            "texts bound like the query; files of multipart/form-data as bytes or HttpBody fields"
                .to_owned(),
        )),
    }
    if policy.method_override {
        lines.push((
            "method override",
            "a POST with X-HTTP-Method-Override: GET, PUT, PATCH or DELETE is taken for that"
                .to_owned(),
        ));
    }
    let statuses = &policy.statuses;
    let named = statuses.from_metadata.as_ref();
    let named = named.map(|name| format!("what the service says in {name}, else "));
    let usual = statuses.of_success();
    if named.is_some() || usual != http::StatusCode::OK {
        let named = named.unwrap_or_default();
        lines.push(("status", format!("{named}{}", usual.as_u16())));
    }
    if let Some(location) = &plan.location {
        lines.push(("location", location.text().to_owned()));
    }
    if !policy.to_response.is_empty() {
        let listed: Vec<_> = policy.to_response.iter().map(pattern_text).collect();
        let rest = match policy.compat.is_grpc_gateway() {
            true => "other metadata as Grpc-Metadata-*",
            false => "other metadata of the service is dropped",
        };
        lines.push(("reply headers", format!("{}; {rest}", listed.join(", "))));
    }
}

/// What the messages of a WebSocket are.
pub(super) fn socket_line(plan: &MethodPlan) -> String {
    let up = match (plan.stream, plan.body) {
        (StreamKind::Client | StreamKind::Bidi, _) => "each message is a request",
        (_, BodyRule::None) => "no message is awaited",
        _ => "the first message is the request",
    };
    let down = match plan.stream {
        StreamKind::Server | StreamKind::Bidi => "each answer is one",
        StreamKind::Unary | StreamKind::Client => "the answer is one",
    };
    format!("{up}, {down}; closed with 1000, or 4000 and the status")
}

fn files_line(files: &Files) -> String {
    let page = match &files.spa {
        Some(page) => format!("; {page} for pages that are no file"),
        None => String::new(),
    };
    format!("below {}{page}", files.root.display())
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

fn rules_line(rules: &HeaderRules) -> String {
    let mut parts = Vec::new();
    for pattern in &rules.remove {
        parts.push(format!("without {}", pattern_text(pattern)));
    }
    let set = rules.set.iter().map(|(name, _)| format!("{name} set"));
    let default = rules.default.iter();
    let default = default.map(|(name, _)| format!("{name} set unless there"));
    parts.extend(set.chain(default));
    parts.join(", ")
}

fn pattern_text(pattern: &HeaderPattern) -> String {
    match pattern {
        HeaderPattern::Name(name) => name.to_string(),
        HeaderPattern::Prefix(prefix) => format!("{prefix}*"),
    }
}
