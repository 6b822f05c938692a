//! An answer on its way to a client that speaks gRPC: frames as they come, and how the call ended.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};

use crate::config::model::Policy;
use crate::failure::Failure;
use crate::live::Route;
use crate::protocol::dialect::{Dialect, WebBody};
use crate::protocol::grpc::put_status;
use crate::protocol::grpc_web::{encode_text, trailer_frame};
use crate::telemetry::Account;
use crate::transcode::metadata::clean_metadata;
use crate::transcode::meter::FrameMeter;
use crate::transcode::status::{is_trailers_only, outcome};
use crate::upstream::AnswerBody;

use super::super::Counters;
use super::super::body::ReplyBody;
use super::super::reply::{inner, note};
use super::super::waits::Waits;
use super::up::Watch;

/// How an answer's frames and its end are put into the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As trailers of HTTP/2.
    Trailers,
    /// As a last frame.
    Frame(WebBody),
}

impl Ending {
    /// gRPC-Web's answers have the form that `Accept` names, else that of the request.
    pub(super) fn of(dialect: Dialect, head: &Parts) -> Self {
        match dialect {
            Dialect::Grpc(_) | Dialect::ConnectUnary(_) | Dialect::ConnectStream(_) => {
                Self::Trailers
            }
            Dialect::GrpcWeb(own, _) => {
                let wanted = head.headers.get(ACCEPT).and_then(Dialect::of);
                match wanted {
                    Some(Dialect::GrpcWeb(wanted, _)) => Self::Frame(wanted),
                    _ => Self::Frame(own),
                }
            }
        }
    }

    pub(super) fn content_type(self, own: Option<&HeaderValue>) -> HeaderValue {
        match self {
            Self::Trailers => own
                .cloned()
                .unwrap_or(HeaderValue::from_static("application/grpc")),
            Self::Frame(WebBody::Binary) => HeaderValue::from_static("application/grpc-web+proto"),
            Self::Frame(WebBody::Text) => {
                HeaderValue::from_static("application/grpc-web-text+proto")
            }
        }
    }

    fn data(self, data: Bytes) -> Frame<Bytes> {
        Frame::data(match self {
            Self::Trailers | Self::Frame(WebBody::Binary) => data,
            Self::Frame(WebBody::Text) => encode_text(&data).into(),
        })
    }

    fn trailers(self, trailers: HeaderMap) -> Frame<Bytes> {
        match self {
            Self::Trailers => Frame::trailers(trailers),
            Self::Frame(_) => self.data(trailer_frame(&trailers).into()),
        }
    }

    /// A reply that is over with its status.
    pub(super) fn only(
        self,
        mut trailers: HeaderMap,
        own: Option<&HeaderValue>,
    ) -> Response<ReplyBody> {
        let mut reply = Response::new(ReplyBody::empty());
        trailers.remove(CONTENT_TYPE);
        match self {
            Self::Trailers => *reply.headers_mut() = trailers,
            Self::Frame(_) => {
                let last = self.trailers(trailers).into_data().unwrap_or_default();
                *reply.body_mut() = ReplyBody::whole(last);
            }
        }
        let content_type = self.content_type(own);
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
        reply
    }
}

/// Begins the reply with the head of the answer.
pub(super) fn begin(
    answer: Response<AnswerBody>,
    ending: Ending,
    route: &Route,
    waits: Waits,
    up: Option<Rc<Watch>>,
    counters: &Rc<Counters>,
) -> Response<ReplyBody> {
    let (head, body) = answer.into_parts();
    let mut headers = head.headers;
    clean_metadata(&mut headers);
    let own = headers.get(CONTENT_TYPE).cloned();
    let account = body.account().cloned();
    if is_trailers_only(&headers) {
        finish(&mut headers, &route.policy, &route.rule, account.as_deref());
        return ending.only(headers, own.as_ref());
    }
    let mut reply = Response::new(ReplyBody::Rpc(Box::new(RpcReply {
        answer: Some(body),
        ending,
        meter: FrameMeter::new(route.policy.reply_bytes_max),
        waits,
        up,
        policy: Arc::clone(&route.policy),
        rule: Arc::clone(&route.rule),
        counters: Rc::clone(counters),
        account,
    })));
    headers.insert(CONTENT_TYPE, ending.content_type(own.as_ref()));
    *reply.headers_mut() = headers;
    reply
}

/// Makes trailers those that the client may read: a status that is one, and no inner words.
fn finish(trailers: &mut HeaderMap, policy: &Policy, rule: &str, account: Option<&Account>) {
    if let Err(failure) = outcome(trailers) {
        note(&failure, Some(rule), account);
        put_status(&failure, inner(policy), trailers);
    }
}

/// The frames of an answer, and its status as trailers. It always ends with a status, whatever
/// becomes of the upstream. Dropping it cancels the call.
pub struct RpcReply {
    /// Gone at the end, so that the upstream's stream is.
    answer: Option<AnswerBody>,
    ending: Ending,
    meter: FrameMeter,
    waits: Waits,
    up: Option<Rc<Watch>>,
    policy: Arc<Policy>,
    /// The route's, for the log.
    rule: Arc<str>,
    counters: Rc<Counters>,
    account: Option<Rc<Account>>,
}

impl RpcReply {
    pub(in crate::exchange) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Frame<Bytes>>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(answer).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let failure = std::task::ready!(self.waits.poll(cx));
                return self.fail(failure);
            }
        };
        match frame {
            None => self.end(HeaderMap::new()),
            Some(Err(failure)) => self.fail(failure),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let before = self.meter.messages();
                    let passed = self.meter.pass(&data).map_err(|e| e.of_upstream());
                    if let Some(account) = &self.account {
                        let more = self.meter.messages().saturating_sub(before);
                        account.note_answered(more);
                    }
                    match passed.and_then(|()| self.waits.note()) {
                        Ok(()) => Poll::Ready(Some(self.ending.data(data))),
                        Err(failure) => self.fail(failure),
                    }
                }
                Err(other) => self.end(other.into_trailers().unwrap_or_default()),
            },
        }
    }

    fn end(&mut self, mut trailers: HeaderMap) -> Poll<Option<Frame<Bytes>>> {
        self.answer = None;
        clean_metadata(&mut trailers);
        match self.meter.finish() {
            // A status that tells of a failure says more than a message that is cut off.
            Err(error) if outcome(&trailers).is_ok() => self.fail(error.of_upstream()),
            _ => {
                let account = self.account.as_deref();
                finish(&mut trailers, &self.policy, &self.rule, account);
                Poll::Ready(Some(self.ending.trailers(trailers)))
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Poll<Option<Frame<Bytes>>> {
        self.answer = None;
        let own = self.up.as_ref().and_then(|up| up.failure());
        let failure = own.unwrap_or(failure);
        self.counters.note(&failure);
        note(&failure, Some(&self.rule), self.account.as_deref());
        let mut trailers = HeaderMap::new();
        put_status(&failure, inner(&self.policy), &mut trailers);
        Poll::Ready(Some(self.ending.trailers(trailers)))
    }

    pub(in crate::exchange) fn is_end_stream(&self) -> bool {
        self.answer.is_none()
    }
}

impl fmt::Debug for RpcReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcReply")
            .field("answer", &self.answer)
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}
