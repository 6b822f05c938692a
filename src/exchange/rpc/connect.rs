//! Connect: unary calls as plain HTTP, streams of envelopes. Messages come and go as protobuf or, by
//! the codec, as JSON; what clients compress is expanded here, never past the limit of a message.

mod packing;
mod stream;

pub use stream::ConnectStream;

use std::pin::pin;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::client_body::ClientBody;
use crate::codec::Target;
use crate::failure::{Blame, Failure, GrpcCode};
use crate::protocol::connect::{self, Query, end_stream, put_error, put_metadata};
use crate::protocol::dialect::MessageFormat;
use crate::schema::StreamKind;
use crate::transcode::coding::Coding;
use crate::upstream::UpstreamBody;

use super::super::body::ReplyBody;
use super::super::call::CodingOf;
use super::super::deadline::no_body_in_time;
use super::super::decompress::Packed;
use super::super::holding::Holding;
use super::super::messages::Messages;
use super::super::pump;
use super::super::reply::{Voice, inner};
use super::calling::Calling;
use super::waits;

const ACCEPT_ENCODING: HeaderName = http::header::ACCEPT_ENCODING;
const CONTENT_CODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_CODING: HeaderName = HeaderName::from_static("connect-accept-encoding");
/// What requests may be compressed with.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, br, zstd");
/// The same of messages of streams.
const OF_MESSAGES: HeaderValue = HeaderValue::from_static("gzip");

impl Calling<'_> {
    /// A unary call.
    pub(super) async fn unary(
        self,
        format: MessageFormat,
        body: ClientBody,
    ) -> Result<Response<ReplyBody>, Failure> {
        connect::version(&self.head.headers)?;
        if self.plan.stream != StreamKind::Unary {
            return Err(not_served("this method's messages are streams"));
        }
        let deadline = self.deadline(connect::timeout(&self.head.headers)?);
        let reading = pin!(async {
            let (format, message) = self.message(format, body).await?;
            Ok((format, self.encoded(format, message).await?))
        });
        let (format, frame) = deadline.bound(reading, no_body_in_time).await?;
        let grpc = HeaderValue::from_static("application/grpc");
        let asked = self.asked(&deadline);
        let request = asked.rpc(grpc, CodingOf::Gateway, UpstreamBody::whole(frame))?;

        let how = self.aim().how(Some(&deadline));
        let mut waits = waits(StreamKind::Unary, self.policy(), &deadline, None);
        let answer = pin!(async {
            let answer = self.send(request, how).await?;
            let mut messages = Messages::open(answer, self.policy().reply_bytes_max)?;
            let message = pump::only(&mut messages).await?;
            let mut reply = self.printed(format, message).await?;
            let [head, trailers] = messages.metadata();
            put_metadata(head, "", reply.headers_mut());
            put_metadata(trailers, "trailer-", reply.headers_mut());
            Ok(reply)
        });
        waits.bound(answer).await
    }

    /// The request's message, expanded: of the body, or of the query of a GET.
    async fn message(
        &self,
        format: MessageFormat,
        body: ClientBody,
    ) -> Result<(MessageFormat, Bytes), Failure> {
        let max = self.policy().body_bytes_max;
        if self.head.method != Method::GET {
            let packed = packed(self.head.headers.get(CONTENT_ENCODING))?;
            let message = pump::collect(body, max).await?;
            let message = packed.unpack(message, max, &mut self.room()).await?;
            return Ok((format, message));
        }
        if !self.plan.no_side_effects {
            let mut failure = Failure::client("this method is called with POST");
            failure.allow = Some(HeaderValue::from_static("POST"));
            return Err(failure.status(StatusCode::METHOD_NOT_ALLOWED));
        }
        let query = Query::parse(self.head.uri.query().unwrap_or_default())?;
        let compression = query.compression.as_deref().map(HeaderValue::from_str);
        let packed = match compression {
            None => Packed::No,
            Some(Ok(name)) => packed(Some(&name))?,
            Some(Err(_)) => return Err(unknown_coding(&CODINGS)),
        };
        let message = query.message.into();
        let message = packed.unpack(message, max, &mut self.room()).await?;
        Ok((query.format, message))
    }

    /// The message in a gRPC frame.
    async fn encoded(&self, format: MessageFormat, message: Bytes) -> Result<Bytes, Failure> {
        let mut room = self.room();
        room.cover(message.len())?;
        let max = self.limits().message_bytes_max;
        let framed = match format {
            MessageFormat::Json if message.is_empty() => pump::framed(Vec::new(), max)?,
            MessageFormat::Json => {
                let wire = pump::encode_document(self.plan, self.limits(), &message).await?;
                pump::framed(wire, max)?
            }
            MessageFormat::Proto => pump::framed_copy(&message, max)?,
            MessageFormat::Other => return Err(not_served("messages are json or proto")),
        };
        room.seal(framed)
    }

    /// For a part of the request.
    fn room(&self) -> Holding {
        Holding::of_request(Some(&self.connection.account))
    }

    async fn printed(
        &self,
        format: MessageFormat,
        wire: Bytes,
    ) -> Result<Response<ReplyBody>, Failure> {
        if format == MessageFormat::Json {
            let target = Target::Message(self.plan.output);
            return pump::print(&self.plan.codec, (target, None), self.limits(), wire).await;
        }
        let mut reply = Response::new(ReplyBody::whole(wire));
        let content_type = HeaderValue::from_static("application/proto");
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(reply)
    }
}

/// How a unary request is compressed.
fn packed(name: Option<&HeaderValue>) -> Result<Packed, Failure> {
    match name.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(Packed::No),
        Some(b"gzip") => Ok(Packed::Gzip),
        Some(b"br") => Ok(Packed::Br),
        Some(b"zstd") => Ok(Packed::Zstd),
        Some(_) => Err(unknown_coding(&CODINGS)),
    }
}

/// How the messages of a stream are.
fn coding(name: Option<&HeaderValue>) -> Result<Option<Coding>, Failure> {
    match name.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(None),
        Some(b"gzip") => Ok(Some(Coding::Gzip)),
        Some(_) => Err(unknown_coding(&OF_MESSAGES)),
    }
}

/// The protocol wants this code for a compression that isn't known.
fn unknown_coding(known: &HeaderValue) -> Failure {
    let known = known.to_str().unwrap_or_default();
    let message = format!("requests may be compressed with: {known}");
    Failure::new(Blame::Client, GrpcCode::Unimplemented, message)
}

/// 415: the protocol's word for a content type that isn't served here.
fn not_served(message: &'static str) -> Failure {
    Failure::client(message).status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// A unary call's failure: the code's HTTP status, and JSON whatever the messages are.
pub(super) fn refuse_unary(voice: Voice<'_>, failure: &Failure) -> Response<ReplyBody> {
    voice.note(failure);
    let mut json = Vec::with_capacity(128);
    put_error(failure, inner(voice.policy), &mut json);
    let mut reply = Response::new(ReplyBody::whole(json.into()));
    *reply.status_mut() = match failure.http_status {
        Some(
            status @ (StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::HTTP_VERSION_NOT_SUPPORTED),
        ) => status,
        _ => failure.code.http_status(),
    };
    let headers = reply.headers_mut();
    if let Some(metadata) = &failure.metadata {
        put_metadata(metadata, "", headers);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, CODINGS);
    if let Some(allow) = &failure.allow {
        headers.insert(http::header::ALLOW, allow.clone());
    }
    reply
}

/// A stream's failure before anything else: an envelope of its own.
pub(super) fn refuse_stream(
    voice: Voice<'_>,
    format: MessageFormat,
    failure: &Failure,
) -> Response<ReplyBody> {
    voice.note(failure);
    let none = HeaderMap::new();
    let metadata = failure.metadata.as_deref().unwrap_or(&none);
    let end = end_stream(Some((failure, inner(voice.policy))), metadata);
    let mut reply = Response::new(ReplyBody::whole(end.into()));
    if let Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) = failure.http_status {
        *reply.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, stream_type(format));
    headers.insert(ACCEPT_CODING, OF_MESSAGES);
    reply
}

fn stream_type(format: MessageFormat) -> HeaderValue {
    HeaderValue::from_static(match format {
        MessageFormat::Json => "application/connect+json",
        MessageFormat::Proto | MessageFormat::Other => "application/connect+proto",
    })
}
