//! `google.api.http` from the wire to [`HttpRule`]: a pattern must be there, bindings don't nest.
//!
//! The template's own grammar is the router's business, and whether `body` names a field is the plan's.

use super::descriptor::{HttpRuleDescriptor, PatternDescriptor};
use super::types::{HttpPattern, HttpRule};

/// The rule, or each thing that is wrong with it.
pub fn of_option(rule: &HttpRuleDescriptor) -> Result<HttpRule, Vec<String>> {
    let mut faults = Vec::new();
    let mut linked = one(rule, "the google.api.http option", &mut faults);
    for (index, extra) in rule.additional_bindings.iter().enumerate() {
        let place = format!("additional_bindings[{index}]");
        if !extra.additional_bindings.is_empty() {
            faults.push(format!(
                "{place} has additional_bindings of its own; they may not nest"
            ));
        }
        let extra = one(extra, &place, &mut faults);
        if let (Some(linked), Some(extra)) = (&mut linked, extra) {
            linked.additional_bindings.push(extra);
        }
    }
    match linked {
        Some(rule) if faults.is_empty() => Ok(rule),
        _ => Err(faults),
    }
}

fn one(rule: &HttpRuleDescriptor, place: &str, faults: &mut Vec<String>) -> Option<HttpRule> {
    let (method, template) = match &rule.pattern {
        Some(PatternDescriptor::Get(path)) => ("GET", path),
        Some(PatternDescriptor::Put(path)) => ("PUT", path),
        Some(PatternDescriptor::Post(path)) => ("POST", path),
        Some(PatternDescriptor::Delete(path)) => ("DELETE", path),
        Some(PatternDescriptor::Patch(path)) => ("PATCH", path),
        Some(PatternDescriptor::Custom(custom)) => (custom.kind.as_str(), &custom.path),
        None => {
            faults.push(format!(
                "{place} has no pattern (get, put, post, delete, patch or custom)"
            ));
            return None;
        }
    };
    if method.is_empty() {
        faults.push(format!("{place} has a custom pattern without a kind"));
        return None;
    }
    // It is compared with request methods and printed; anything else would never match and may forge.
    if method != "*" && http::Method::from_bytes(method.as_bytes()).is_err() {
        faults.push(format!(
            "{place} has a custom pattern whose kind is no HTTP method"
        ));
        return None;
    }
    if template.is_empty() {
        faults.push(format!("{place} has an empty path"));
        return None;
    }
    Some(HttpRule {
        pattern: HttpPattern {
            method: method.into(),
            template: template.as_str().into(),
        },
        body: rule.body.as_str().into(),
        response_body: rule.response_body.as_str().into(),
        additional_bindings: Vec::new(),
    })
}
