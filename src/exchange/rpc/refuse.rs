//! Failures in the words of each protocol for calls.

use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use crate::config::model::Policy;
use crate::failure::Failure;
use crate::protocol::dialect::Dialect;
use crate::protocol::grpc::put_status;
use crate::transcode::metadata::clean_metadata;

use super::super::body::ReplyBody;
use super::super::reply::{inner, log};

/// The reply to a call that failed before its answer began. What is wrong with the HTTP request itself
/// (`http_status` 405, 415, 505) is said in HTTP.
pub(in crate::exchange) fn refuse(
    dialect: Dialect,
    policy: &Policy,
    head: &Parts,
    failure: &Failure,
) -> Response<ReplyBody> {
    log(failure);
    let mut reply = Response::new(ReplyBody::empty());
    let headers = reply.headers_mut();
    if let Some(metadata) = &failure.metadata {
        *headers = (**metadata).clone();
        clean_metadata(headers);
    }
    put_status(failure, inner(policy), headers);
    let _ = dialect;
    let own = head.headers.get(CONTENT_TYPE);
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(CONTENT_TYPE, own.cloned().unwrap_or(grpc));
    if let Some(allow) = &failure.allow {
        headers.insert(ALLOW, allow.clone());
    }
    if let Some(status) = failure.http_status.filter(|s| is_of_http(*s)) {
        *reply.status_mut() = status;
    }
    reply
}

fn is_of_http(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::HTTP_VERSION_NOT_SUPPORTED
    )
}
