//! What comes back from an upstream, and what its errors mean.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::LocalBoxStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::failure::{Failure, GrpcCode, Retry};
use crate::limits::REPLY_HEADER_BYTES_MAX;
use crate::telemetry::{Account, Attempt};

use super::UpstreamBody;
use super::body::Handle;
use super::breaker::Place;
use super::outlier::Outcome;
use super::trial::{Trial, code_of};
use super::{connection, http1};

/// A request's place on a connection of either kind.
#[derive(Debug)]
pub(super) enum Lease {
    Http2(connection::Lease),
    Http1(http1::Lease),
}

type Sent = Result<
    http::Response<Incoming>,
    hyper::client::conn::TrySendError<http::Request<UpstreamBody>>,
>;

impl Lease {
    /// Sends the request; what is returned waits for the head of the answer, and resets the stream
    /// when it is dropped. `None` for a connection that has been used.
    pub(super) fn send(
        &mut self,
        request: http::Request<UpstreamBody>,
    ) -> Option<impl Future<Output = Sent> + use<>> {
        Some(match self {
            Self::Http2(place) => Either::Left(place.send(request)),
            Self::Http1(place) => Either::Right(place.send(request)?),
        })
    }

    /// An answer has come.
    pub(super) fn note_read(&self) {
        if let Self::Http1(place) = self {
            place.note_read();
        }
    }

    /// What has come is no answer.
    pub(super) fn note_unreadable(&self) {
        if let Self::Http1(place) = self {
            place.note_unreadable();
        }
    }

    /// Whether the connection has served a request before, and its peer may have closed it meanwhile.
    pub(super) fn may_be_stale(&self) -> bool {
        matches!(self, Self::Http1(place) if place.is_reused())
    }
}

/// Body of an answer. Dropping it before its end resets the upstream's stream (`CANCEL`).
pub struct AnswerBody {
    source: Source,
    account: Option<Rc<Account>>,
    /// The try whose answer it is.
    attempt: Attempt,
}

enum Source {
    Upstream(Received),
    Local(LocalBoxStream<'static, Result<Frame<Bytes>, Failure>>),
}

/// What an upstream sends.
struct Received {
    inner: Incoming,
    upstream: Arc<str>,
    /// Ends a streaming request with its answer.
    requests: Option<Handle>,
    /// What it tells of its endpoint, where there are others.
    trial: Option<Trial>,
    /// The place among the upstream's calls, and on the connection: given back with the body.
    place: Option<Place>,
    _lease: Lease,
}

impl AnswerBody {
    pub(super) fn new(
        inner: Incoming,
        upstream: Arc<str>,
        lease: Lease,
        trial: Option<Trial>,
    ) -> Self {
        let source = Source::Upstream(Received {
            inner,
            upstream,
            requests: None,
            trial,
            place: None,
            _lease: lease,
        });
        Self {
            source,
            account: None,
            attempt: Attempt::default(),
        }
    }

    /// Whoever reads it notes there how it goes.
    pub fn note_in(&mut self, account: &Rc<Account>) {
        self.account = Some(Rc::clone(account));
    }

    /// The same, and its end is that of the try.
    pub(super) fn note_try_in(&mut self, account: &Rc<Account>, attempt: Attempt) {
        self.note_in(account);
        self.attempt = attempt;
    }

    /// Where that is noted.
    #[must_use]
    pub fn account(&self) -> Option<&Rc<Account>> {
        self.account.as_ref()
    }

    /// The answer to a call that the gateway answers itself. The frames end with trailers, as those of
    /// an upstream do, or with a failure.
    #[must_use]
    pub fn local(frames: LocalBoxStream<'static, Result<Frame<Bytes>, Failure>>) -> Self {
        Self {
            source: Source::Local(frames),
            account: None,
            attempt: Attempt::default(),
        }
    }

    /// Notes the end of the answer, for its span.
    fn note_frame(&self, account: &Account, frame: Option<&Result<Frame<Bytes>, Failure>>) {
        match frame {
            Some(Err(failure)) => account.note_try_failed(self.attempt, failure),
            Some(Ok(frame)) if let Some(trailers) = frame.trailers_ref() => {
                account.note_try_over(self.attempt, code_of(trailers));
            }
            Some(Ok(_)) if !self.is_end_stream() => {}
            Some(Ok(_)) | None => account.note_try_over(self.attempt, None),
        }
    }

    /// The answer to a request that may still be going on.
    pub(super) fn ends_with_it(&mut self, requests: Option<Handle>) {
        if let Source::Upstream(received) = &mut self.source {
            received.requests = requests;
        }
    }

    /// The call counts as under way until this ends.
    pub(super) fn holds(&mut self, place: Place) {
        if let Source::Upstream(received) = &mut self.source {
            received.place = Some(place);
        }
    }
}

impl Received {
    fn tried(&mut self, judge: impl FnOnce(&mut Trial)) {
        if let Some(trial) = &mut self.trial {
            judge(trial);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if (frame.is_none() || self.inner.is_end_stream())
            && let Some(requests) = self.requests.take()
        {
            requests.answered();
        }
        let frame = match frame {
            Some(Ok(frame)) => self.bounded(frame),
            Some(Err(error)) => Err(cut_off(&self.upstream, error)),
            None => {
                self.tried(|trial| trial.end(Outcome::Good));
                return Poll::Ready(None);
            }
        };
        match &frame {
            Ok(frame) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.tried(|trial| trial.trailers(trailers));
                }
            }
            Err(_) => self.tried(Trial::failed),
        }
        Poll::Ready(Some(frame))
    }

    fn bounded(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Failure> {
        match frame.trailers_ref() {
            Some(trailers) if is_too_large(trailers) => Err(too_large(&self.upstream)),
            _ => Ok(frame),
        }
    }
}

/// Whether a head or trailers are over [`REPLY_HEADER_BYTES_MAX`], as RFC 9113 §6.5.2 counts a list.
/// h2 takes a larger list than it announces, and of trailers it silently drops what is over.
pub(super) fn is_too_large(fields: &HeaderMap) -> bool {
    let bytes: usize = fields
        .iter()
        .map(|(n, v)| n.as_str().len() + v.len() + 32)
        .sum();
    bytes > REPLY_HEADER_BYTES_MAX
}

pub(super) fn too_large(upstream: &str) -> Failure {
    let message = format!("upstream {upstream:?} sent headers or trailers that are too large");
    Failure::upstream(GrpcCode::Internal, message)
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstream = match &self.source {
            Source::Upstream(received) => Some(&received.upstream),
            Source::Local(_) => None,
        };
        f.debug_struct("AnswerBody")
            .field("upstream", &upstream)
            .finish_non_exhaustive()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            match self.is_end_stream() {
                true => account.note_try_over(self.attempt, None),
                false => account.note_try_left(self.attempt),
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = match &mut self.source {
            Source::Upstream(received) => received.poll_frame(cx),
            Source::Local(frames) => frames.poll_next_unpin(cx),
        };
        if let Poll::Ready(frame) = &polled
            && let Some(account) = self.account.as_ref().filter(|a| a.is_traced())
        {
            self.note_frame(account, frame.as_ref());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(received) => received.inner.is_end_stream(),
            Source::Local(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(received) => received.inner.size_hint(),
            Source::Local(_) => SizeHint::default(),
        }
    }
}

/// The answer began and did not end.
fn cut_off(upstream: &str, error: hyper::Error) -> Failure {
    let code = reset_reason(&error).map_or(GrpcCode::Unavailable, code_of_reset);
    Failure::upstream(code, format!("upstream {upstream:?} broke off its answer")).caused_by(error)
}

/// One attempt was given up for another, and none is left.
pub(super) fn too_late(upstream: &str) -> Failure {
    let message = format!("upstream {upstream:?} gave no answer in the time of one attempt");
    Failure::upstream(GrpcCode::DeadlineExceeded, message)
}

/// No answer began. `unprocessed` when the upstream is known not to have acted on the request.
pub(super) fn unanswered(upstream: &str, error: hyper::Error) -> Failure {
    let retry = if is_unprocessed(&error) {
        Retry::IfUnsent
    } else {
        Retry::IfIdempotent
    };
    let code = reset_reason(&error).map_or(GrpcCode::Unavailable, code_of_reset);
    let mut failure =
        Failure::upstream(code, format!("upstream {upstream:?} gave no answer")).caused_by(error);
    failure.retry = retry;
    failure
}

/// What came is no HTTP: the upstream may have acted on the request, and is broken, not busy.
pub(super) fn unreadable(upstream: &str, error: hyper::Error) -> Failure {
    let message = format!("upstream {upstream:?} gave an answer that can't be read");
    let mut failure = Failure::upstream(GrpcCode::Internal, message).caused_by(error);
    failure.retry = Retry::Never;
    failure.status(http::StatusCode::BAD_GATEWAY)
}

/// The code that gRPC gives to a stream reset ("HTTP2 Transport Mapping", the table of errors).
fn code_of_reset(reason: h2::Reason) -> GrpcCode {
    match reason {
        h2::Reason::REFUSED_STREAM | h2::Reason::CONNECT_ERROR => GrpcCode::Unavailable,
        h2::Reason::CANCEL => GrpcCode::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => GrpcCode::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => GrpcCode::PermissionDenied,
        _ => GrpcCode::Internal,
    }
}

/// Whether the peer says that it never began on the request: RFC 9113 §8.7 allows sending it again.
/// A GOAWAY reaches a stream as such an error only when its number is past the last one processed.
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|e| {
        e.is_remote()
            && (e.is_go_away() || e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn reset_reason(error: &hyper::Error) -> Option<h2::Reason> {
    h2_error(error).filter(|e| e.is_reset())?.reason()
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return Some(h2);
        }
        source = cause.source();
    }
    None
}
