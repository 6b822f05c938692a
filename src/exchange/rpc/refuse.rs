//! Failures in the words of each protocol for calls.

use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use crate::failure::Failure;
use crate::protocol::dialect::Dialect;
use crate::protocol::grpc::put_status;
use crate::transcode::metadata::clean_metadata;

use super::super::body::ReplyBody;
use super::super::reply::{Voice, inner};
use super::connect::{refuse_stream, refuse_unary};
use super::down::Ending;

/// The reply to a call that failed before its answer began. What is wrong with the HTTP request itself
/// (`http_status` 405, 415, 505) is said in HTTP.
pub(in crate::exchange) fn refuse(
    dialect: Dialect,
    voice: Voice<'_>,
    head: &Parts,
    failure: &Failure,
) -> Response<ReplyBody> {
    match dialect {
        Dialect::ConnectUnary(_) => return refuse_unary(voice, failure),
        Dialect::ConnectStream(format) => return refuse_stream(voice, format, failure),
        Dialect::Grpc(_) | Dialect::GrpcWeb(..) => {}
    }
    voice.note(failure);
    let mut trailers = HeaderMap::new();
    if let Some(metadata) = &failure.metadata {
        trailers = (**metadata).clone();
        clean_metadata(&mut trailers);
    }
    put_status(failure, inner(voice.policy), &mut trailers);
    let own = head.headers.get(CONTENT_TYPE);
    let mut reply = Ending::of(dialect, head).only(trailers, own);
    let headers = reply.headers_mut();
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
