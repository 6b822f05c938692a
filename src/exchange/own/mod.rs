//! Calls that the gateway answers itself: its health, and its descriptors.
//!
//! They are methods like others, with a plan and a policy, whose answers come from here instead of an
//! upstream: so every protocol that reaches a service reaches them.

mod health;
mod reflection;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream::{self, LocalBoxStream, Stream, StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use prost::Message;

use crate::failure::Failure;
use crate::limits::ByteLimit;
use crate::live::Own;
use crate::transcode::coding::Coding;
use crate::transcode::frame::{self, Decoder};
use crate::upstream::{AnswerBody, UpstreamBody};

use super::call::GRPC_ENCODING;
use super::rpc::of_client;
use super::{Exchange, forwarded, host_name};

type Frames = LocalBoxStream<'static, Result<Frame<Bytes>, Failure>>;

/// Answers a call. Dropping the answer's body ends it.
///
/// # Errors
/// As many calls of the kind are open as may be.
pub(super) fn answer(
    own: Own,
    cx: &Rc<Exchange>,
    head: &Parts,
    message_bytes_max: ByteLimit,
    request: Request<UpstreamBody>,
) -> Result<Response<AnswerBody>, Failure> {
    let asker = Asker {
        cx: Rc::clone(cx),
        host: host_name(forwarded::host(head).unwrap_or_default()).into(),
    };
    let requests = Requests::of(request, message_bytes_max);
    let frames = match own {
        Own::HealthCheck => one(health::check(asker, requests)),
        Own::HealthList => one(health::list(asker, requests)),
        Own::HealthWatch => all(health::watch(asker, requests)?),
        Own::Reflection => all(reflection::answers(asker, requests)),
    };
    let mut answer = Response::new(AnswerBody::local(frames));
    let content_type = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(answer)
}

/// Who wants to know. What is told depends on the host that is asked.
struct Asker {
    cx: Rc<Exchange>,
    host: Box<str>,
}

/// The request messages of a call.
struct Requests {
    body: UpstreamBody,
    decoder: Decoder,
}

impl Requests {
    fn of(request: Request<UpstreamBody>, message_bytes_max: ByteLimit) -> Self {
        let coding = request.headers().get(GRPC_ENCODING);
        let coding = coding.and_then(|name| Coding::named(name.as_bytes()));
        Self {
            decoder: Decoder::new(message_bytes_max).with_coding(coding),
            body: request.into_body(),
        }
    }

    /// The next one, or `None` at the end.
    async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Failure> {
        let wire = loop {
            if let Some(wire) = self.decoder.next_message().map_err(of_client)? {
                break wire;
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame {
                None => {
                    self.decoder.finish().map_err(of_client)?;
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.decoder.push(data);
                    }
                }
            }
        };
        let message = M::decode(wire);
        let message = message
            .map_err(|error| Failure::client(format!("the request can't be read: {error}")))?;
        Ok(Some(message))
    }

    /// The one of a method that takes one.
    async fn only<M: Message + Default>(&mut self) -> Result<M, Failure> {
        let message = self.next().await?;
        message.ok_or_else(|| Failure::client("the method takes one request message"))
    }
}

/// The message in a gRPC frame.
fn framed(message: &impl Message) -> Result<Bytes, Failure> {
    let mut bytes = Vec::with_capacity(message.encoded_len().saturating_add(frame::PREFIX_BYTES));
    let at = frame::start(&mut bytes);
    // A `Vec` has room for anything.
    message.encode(&mut bytes).ok();
    frame::finish(&mut bytes, at).map_err(|error| Failure::client(error.to_string()))?;
    Ok(bytes.into())
}

fn one(message: impl Future<Output = Result<Bytes, Failure>> + 'static) -> Frames {
    all(stream::once(message))
}

/// Messages, and the status that follows them.
fn all(messages: impl Stream<Item = Result<Bytes, Failure>> + 'static) -> Frames {
    let end = std::future::ready(Ok(Frame::trailers(ok())));
    messages
        .map_ok(Frame::data)
        .chain(stream::once(end))
        .boxed_local()
}

fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    let status = HeaderName::from_static("grpc-status");
    trailers.insert(status, HeaderValue::from_static("0"));
    trailers
}
