//! The live page: four files in the program, nothing from elsewhere.
//!
//! They hold no news themselves, so they need no token: the page asks for it, and sends it with its
//! own requests.

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::views::Answer;

/// No script, style or picture but the page's own, and nobody else is asked.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("index.html")),
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page.js"),
    ),
    (
        "/explain.js",
        "text/javascript; charset=utf-8",
        include_str!("explain.js"),
    ),
];

/// A file of the page; at `/` for browsers alone, others are told what can be asked.
pub(super) fn file(method: &Method, path: &str, headers: &HeaderMap) -> Option<Answer> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let (_, kind, text) = FILES.iter().find(|(name, ..)| *name == path)?;
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    if path == "/" && !accept.is_some_and(|accept| accept.contains("text/html")) {
        return None;
    }
    Some(Answer {
        status: StatusCode::OK,
        content_type: (*kind).to_owned(),
        body: text.as_bytes().to_vec(),
    })
}

/// On every answer: what a browser takes for a page is none of ours, unless it is.
pub(super) fn guard(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
