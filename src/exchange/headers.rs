//! What a route does to headers: removed, set, set unless there.

use http::HeaderMap;
use http::request::Parts;

use crate::config::model::{HeaderRules, Policy};

pub(super) fn apply(rules: &HeaderRules, headers: &mut HeaderMap) {
    if !rules.remove.is_empty() {
        let gone: Vec<_> = headers
            .keys()
            .filter(|name| rules.remove.iter().any(|p| p.matches(name)))
            .cloned()
            .collect();
        for name in gone {
            headers.remove(name);
        }
    }
    for (name, value) in &rules.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &rules.default {
        headers.entry(name).or_insert_with(|| value.clone());
    }
}

/// The head of a request as the route wants it, when it wants another. In a box: few do, and the
/// future that keeps it is moved for all.
pub(super) fn changed(policy: &Policy, head: &Parts) -> Option<Box<Parts>> {
    let rules = policy.request_headers.as_ref()?;
    let mut head = Box::new(head.clone());
    apply(rules, &mut head.headers);
    Some(head)
}
