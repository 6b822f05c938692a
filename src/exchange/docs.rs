//! What a listener with `openapi: true` tells of the API: the document, and the page of it.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::failure::Failure;
use crate::live::{DOCUMENT, Live};

use super::body::ReplyBody;
use super::files::{Validators, Verdict};
use super::{forwarded, host_name};

/// The answer to a request for one of them, unless a route is written for its path.
///
/// # Errors
/// 405 for anything but GET and HEAD.
pub(super) fn answer(live: &Live, head: &Parts) -> Option<Result<Response<ReplyBody>, Failure>> {
    let path = head.uri.path();
    if path != DOCUMENT {
        return None;
    }
    let published = live.published.as_ref()?;
    let host = host_name(forwarded::host(head).unwrap_or_default());
    if live.is_taken(host, path) {
        return None;
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut refused = Failure::client("only GET and HEAD are allowed here")
            .status(StatusCode::METHOD_NOT_ALLOWED);
        refused.allow = Some(HeaderValue::from_static("GET, HEAD"));
        return Some(Err(refused));
    }
    let document = published.of_host(host);
    let kind = HeaderValue::from_static("application/json");
    Some(Ok(tagged(&head.headers, &document.tag, kind, || {
        ReplyBody::whole(document.json.clone())
    })))
}

/// The content, or 304 for a client that has it.
fn tagged(
    asked: &HeaderMap,
    tag: &HeaderValue,
    kind: HeaderValue,
    content: impl FnOnce() -> ReplyBody,
) -> Response<ReplyBody> {
    let (status, body) = match Validators::of_tag(tag).check(asked) {
        Verdict::Send => (StatusCode::OK, content()),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, ReplyBody::empty()),
        Verdict::Failed => (StatusCode::PRECONDITION_FAILED, ReplyBody::empty()),
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(ETAG, tag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}
