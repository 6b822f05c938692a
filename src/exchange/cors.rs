//! Cross-origin requests (Fetch §3.2): preflights are answered here, for whatever route the request
//! that they ask for would take; every other reply is marked for the pages that may read it.
//!
//! A page of another origin is never refused its request, only the reply: that is what the browser
//! guards. An upstream's own marks give way to the route's.

use std::borrow::Cow;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::config::model::Cors;
use crate::failure::{Blame, Failure, GrpcCode};

use super::body::ReplyBody;
use super::vary::vary;

const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// The method that a preflight asks for; `None` for every other request.
pub(super) fn preflight(head: &Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}

/// The answer to a preflight. `allowed` are the methods of the path.
///
/// # Errors
/// 403 for an origin that may not ask: the browser would stop at an answer without marks as well, but
/// this one says why.
pub(super) fn answer(
    cors: &Cors,
    head: &Parts,
    allowed: HeaderValue,
) -> Result<Response<ReplyBody>, Failure> {
    if origin(cors, &head.headers).is_none() {
        return Err(Failure::new(
            Blame::Client,
            GrpcCode::PermissionDenied,
            "pages of this origin may not read replies of this route",
        ));
    }
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allowed);
    if let Some(names) = headers_allowed(cors, &head.headers) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.insert(
        ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(cors.max_age.as_secs()),
    );
    if cors.private_network
        && head
            .headers
            .get(REQUEST_PRIVATE_NETWORK)
            .is_some_and(|v| v == "true")
    {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    Ok(reply)
}

/// Of the headers that a page wants to send, those that it may: the browser names the first missing.
fn headers_allowed(cors: &Cors, asked: &HeaderMap) -> Option<HeaderValue> {
    let mut allowed = String::new();
    for list in asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        for name in list.as_bytes().split(|b| *b == b',') {
            let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) else {
                continue;
            };
            if cors.takes_header(&name) {
                if !allowed.is_empty() {
                    allowed.push_str(", ");
                }
                allowed.push_str(name.as_str());
            }
        }
    }
    match allowed.is_empty() {
        true => None,
        false => HeaderValue::from_str(&allowed).ok(),
    }
}

/// What `Access-Control-Allow-Origin` says to this request.
fn origin(cors: &Cors, asked: &HeaderMap) -> Option<HeaderValue> {
    let origin = asked.get(ORIGIN)?;
    match cors.is_open() {
        true => Some(HeaderValue::from_static("*")),
        false => cors.allows(origin.as_bytes()).then(|| origin.clone()),
    }
}

/// Marks a reply. Whether or not the request has an origin, what is stored of it says that it counts.
pub(super) fn mark(cors: &Cors, asked: &Parts, reply: &mut Response<ReplyBody>) {
    let is_preflight = preflight(asked).is_some();
    let status = reply.status();
    let headers = reply.headers_mut();
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        headers.remove(name);
    }
    if !cors.is_open() {
        vary(headers, "Origin");
    }
    if is_preflight {
        vary(headers, "Access-Control-Request-Method");
        vary(headers, "Access-Control-Request-Headers");
        if cors.private_network {
            vary(headers, "Access-Control-Request-Private-Network");
        }
    }
    let Some(origin) = origin(cors, &asked.headers) else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.credentials {
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    if !(is_preflight && status == StatusCode::NO_CONTENT) {
        let exposed = exposed(cors, headers);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The headers that the page may read: those of the protocols, and of the reply's own those that
/// match by prefix, since browsers know no prefixes.
fn exposed(cors: &Cors, reply: &HeaderMap) -> HeaderValue {
    let always = cors.exposed.clone();
    let Ok(fixed) = always.to_str() else {
        return always;
    };
    let mut names = Cow::Borrowed(fixed);
    for name in reply.keys().filter(|n| cors.exposes(n)) {
        names.to_mut().push_str(", ");
        names.to_mut().push_str(name.as_str());
    }
    match names {
        Cow::Borrowed(_) => always,
        Cow::Owned(names) => HeaderValue::from_str(&names).unwrap_or(always),
    }
}
