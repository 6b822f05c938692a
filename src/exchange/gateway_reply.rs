//! Replies in grpc-gateway's way: the service's metadata under prefixed names, its trailers as trailers
//! where the client takes them, a stream that fails at once as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};

use crate::config::model::Policy;
use crate::failure::Failure;
use crate::transcode::error_body::stream_status;
use crate::transcode::gateway_headers::{METADATA_PREFIX, TRAILER_PREFIX, to_reply};

use super::body::ReplyBody;
use super::reply::{Voice, inner, refuse};

/// What goes behind a reply, if its client takes it there.
#[derive(Clone, Debug)]
struct Trailing(HeaderMap);

/// Puts on the metadata of a call.
pub(super) fn carry(
    reply: &mut Response<ReplyBody>,
    policy: &Policy,
    head: &HeaderMap,
    trailers: &HeaderMap,
) {
    let listed = |name: &HeaderName| policy.to_response.iter().any(|p| p.matches(name));
    let mut trailing = HeaderMap::new();
    to_reply(trailers, TRAILER_PREFIX, listed, &mut trailing);
    to_reply(head, METADATA_PREFIX, listed, reply.headers_mut());
    if !trailing.is_empty() {
        reply.extensions_mut().insert(Trailing(trailing));
    }
}

/// The same for a call that failed.
pub(super) fn carry_failed(reply: &mut Response<ReplyBody>, policy: &Policy, failure: &Failure) {
    let Some(metadata) = &failure.metadata else {
        return;
    };
    let none = HeaderMap::new();
    let trailers = failure.trailers.as_deref().unwrap_or(&none);
    let mut head = (**metadata).clone();
    for name in trailers.keys() {
        head.remove(name);
    }
    carry(reply, policy, &head, trailers);
}

/// Puts the trailers behind the body.
pub(super) fn trail(mut reply: Response<ReplyBody>) -> Response<ReplyBody> {
    let Some(Trailing(trailers)) = reply.extensions_mut().remove::<Trailing>() else {
        return reply;
    };
    for name in trailers.keys() {
        // A name is a value as well.
        if let Ok(value) = HeaderValue::from_str(name.as_str()) {
            reply.headers_mut().append(TRAILER, value);
        }
    }
    reply.map(|body| {
        ReplyBody::Trailed(Box::new(Trailed {
            body,
            trailers: Some(trailers),
        }))
    })
}

/// The reply to a stream that failed before its first message: its only line.
pub(super) fn refuse_stream(voice: Voice<'_>, failure: &Failure) -> Response<ReplyBody> {
    let mut line = Vec::with_capacity(256);
    put_error_line(voice, failure, &mut line);
    let mut reply = refuse(voice, None, failure);
    *reply.body_mut() = ReplyBody::whole(line.into());
    reply
}

/// `{"error":{Status}}` and the end of the line.
pub(super) fn put_error_line(voice: Voice<'_>, failure: &Failure, line: &mut Vec<u8>) {
    let policy = voice.policy;
    line.extend_from_slice(b"{\"error\":");
    stream_status(
        failure,
        policy.errors,
        inner(policy),
        Some(voice.codec),
        line,
    );
    line.extend_from_slice(b"}\n");
}

/// A body and its trailers.
#[derive(Debug)]
pub struct Trailed {
    body: ReplyBody,
    trailers: Option<HeaderMap>,
}

impl Trailed {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => {
                let trailers = self.trailers.take().map(Frame::trailers);
                Poll::Ready(trailers.map(Ok))
            }
            Poll::Ready(Some(Err(failure))) => {
                self.trailers = None;
                Poll::Ready(Some(Err(failure)))
            }
            other => other,
        }
    }
}
