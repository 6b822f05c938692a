//! Routes checked without all descriptors: those of reflection that wasn't asked, or of a source with
//! faults. What only they could tell of is left out, so that nothing is called wrong that may be right.

use super::Sources;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::model::{Config, Glob, Matcher, Route};
use crate::live::{any_service, clashes};
use crate::schema::Schema;

impl Sources {
    /// The config without what only the missing descriptors could tell of.
    pub(super) fn partial(&mut self, config: &Config, schema: &Schema) -> Config {
        let unknown = |route: &Route| match &route.matcher {
            Matcher::Rpc { service, .. } => schema.find_service(service).is_none(),
            Matcher::Services { .. } | Matcher::Path(_) => false,
        };
        let clashes = clashes(&config.routes, &unknown);
        let clashes = clashes.iter().map(crate::live::BuildError::diagnostic);
        self.report.diagnostics.extend(clashes);

        let names = self
            .unread
            .iter()
            .filter_map(|id| config.upstreams.get(id.0 as usize));
        let names: Vec<_> = names.map(|u| format!("`{}`", u.name)).collect();
        let unread = format!("descriptors of {} are not at hand", names.join(", "));
        let report = &mut self.unchecked;
        let mut left_out = |place: &str, what: String| {
            let message = format!("{what} could not be checked in full: {unread}");
            report.push(
                Diagnostic::error(message)
                    .severity(Severity::Note)
                    .at(place),
            );
        };
        let annotations = !self.rules_lost;
        let known = |glob: &Glob| annotations && any_service(schema, &glob.pattern);
        let mut partial = config.clone();
        partial.routes.retain_mut(|route| {
            let unknown = unknown(route);
            match &mut route.matcher {
                Matcher::Services { globs, excluded } => {
                    for glob in globs.iter() {
                        let what = format!("services `{}`", glob.pattern);
                        left_out(&glob.place, what);
                    }
                    globs.retain(known);
                    excluded.retain(|e| schema.find_service(&e.service).is_some());
                    !globs.is_empty()
                }
                Matcher::Rpc {
                    service, method, ..
                } => {
                    if unknown {
                        left_out(&route.place, format!("`{service}/{method}`"));
                    }
                    !unknown
                }
                Matcher::Path(_) => true,
            }
        });
        self.rules.retain(|rule| {
            let service = rule.selector.rsplit_once('.').map(|(service, _)| service);
            let here = service.is_some_and(|s| schema.find_service(s).is_some());
            if !here {
                left_out(&rule.place, format!("selector `{}`", rule.selector));
            }
            here
        });
        partial
    }
}
