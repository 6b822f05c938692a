//! Which of a request's headers the service gets, under which names, and why not the rest. Asked of
//! what the data path asks, header by header.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::model::Policy;
use crate::transcode::gateway_headers;
use crate::transcode::metadata::{Client, Trust, to_metadata};

use super::Binding;

/// A line for each header, in the order that they were given.
pub(super) fn bindings(headers: &[(HeaderName, HeaderValue)], policy: &Policy) -> Vec<Binding> {
    let listed = |name: &HeaderName| policy.to_metadata.iter().any(|p| p.matches(name));
    let line = |(name, value): &(HeaderName, HeaderValue)| {
        let one = HeaderMap::from_iter([(name.clone(), value.clone())]);
        let (field, note) = match crosses(&one, listed, policy) {
            Err(refusal) => (None, refusal),
            Ok(names) if !names.is_empty() => (
                Some(format!("metadata {}", names.join(", "))),
                String::new(),
            ),
            Ok(_) => (None, why_not(&one, policy).to_owned()),
        };
        Binding {
            from: "header",
            name: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            field,
            note: Some(note).filter(|n| !n.is_empty()),
        }
    };
    headers.iter().map(line).collect()
}

/// The names under which a header reaches the service: none when it is dropped.
fn crosses(
    one: &HeaderMap,
    allow: impl Fn(&HeaderName) -> bool,
    policy: &Policy,
) -> Result<Vec<String>, String> {
    // A client like any other: no proxy that is trusted.
    let client = Client {
        peer: "",
        trust: Trust::Untrusted,
        host: "",
        scheme: "http",
    };
    let mut ours = HeaderMap::new();
    let mut theirs = HeaderMap::new();
    let done = to_metadata(&HeaderMap::new(), |_| false, &client, &mut ours);
    let without: Vec<_> = ours.keys().cloned().collect();
    let done = done.and_then(|()| to_metadata(one, allow, &client, &mut ours));
    done.map_err(|failure| failure.message.into_owned())?;
    if policy.compat.is_grpc_gateway() {
        let done = gateway_headers::to_metadata(one, Trust::Untrusted, &mut theirs);
        done.map_err(|failure| failure.message.into_owned())?;
    }
    let names = ours.keys().filter(|n| !without.contains(n));
    Ok(names
        .chain(theirs.keys())
        .map(ToString::to_string)
        .collect())
}

fn why_not(one: &HeaderMap, policy: &Policy) -> &'static str {
    match crosses(one, |_| true, policy) {
        Ok(names) if names.is_empty() => "dropped: never crosses",
        _ => "dropped: not in headers.to_metadata",
    }
}
