//! Rules of the config that match the same requests, found by their paths alone: for a check without the
//! descriptors, where they can't be planned.

use std::sync::Arc;

use crate::config::model::{Matcher, Route};
use crate::route::{Builder, ConflictKind, PathTemplate, RouteId};

use super::BuildError;

/// The pairs of which one at least is `unknown`: [`super::Live::build`] finds the others.
#[must_use]
pub fn clashes(routes: &[Route], unknown: &dyn Fn(&Route) -> bool) -> Vec<BuildError> {
    let mut builder = Builder::default();
    let mut rules: Vec<&Route> = Vec::new();
    for route in routes {
        let Matcher::Rpc { rule, places, .. } = &route.matcher else {
            continue;
        };
        let bindings = std::iter::once(rule).chain(&rule.additional_bindings);
        for (rule, places) in bindings.zip(places) {
            // One that can't be parsed was an error of the config.
            let Ok(template) = PathTemplate::parse(&rule.pattern.template) else {
                continue;
            };
            let id = RouteId(u32::try_from(rules.len()).unwrap_or(u32::MAX));
            let place = Arc::clone(&places.template);
            builder.rule(&route.hosts, &rule.pattern.method, &template, id, place);
            rules.push(route);
        }
    }
    let mut found = Vec::new();
    for conflict in builder.build().err().unwrap_or_default() {
        let of = |id: RouteId| rules.get(id.0 as usize).copied();
        let (Some(first), Some(second)) = (of(conflict.routes.0), of(conflict.routes.1)) else {
            continue;
        };
        if conflict.kind != ConflictKind::SameRequests || !(unknown(first) || unknown(second)) {
            continue;
        }
        found.push(BuildError {
            place: conflict.second,
            message: format!(
                "{} of {} matches the same requests as the rule of {} at {}",
                conflict.shape,
                name(second),
                name(first),
                conflict.first
            ),
            help: Some("remove one of them, or give them different `hosts`".to_owned()),
        });
    }
    found
}

/// `pkg.Service/Method`
fn name(route: &Route) -> String {
    match &route.matcher {
        Matcher::Rpc {
            service, method, ..
        } => format!("{service}/{method}"),
        Matcher::Services { .. } | Matcher::Path(_) => String::new(),
    }
}
