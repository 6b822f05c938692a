//! `Vary`: what of a request a reply depends on (RFC 9110 §12.5.5).

use http::header::{HeaderMap, HeaderValue, VARY};

/// Adds a field name, unless it or `*` is listed.
pub(super) fn vary(headers: &mut HeaderMap, on: &'static str) {
    let listed = headers
        .get_all(VARY)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .any(|name| name == "*" || name.eq_ignore_ascii_case(on));
    if !listed {
        headers.append(VARY, HeaderValue::from_static(on));
    }
}
