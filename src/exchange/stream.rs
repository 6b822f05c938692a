//! A server stream as a reply: JSON documents in a frame, or raw pieces.
//!
//! What the upstream has sent goes out together, so a burst costs one write; a single message never
//! waits for the next. Messages are only read as fast as the client takes them.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::{Instant, Sleep};

use crate::codec::{Codec, CodecLimits, Printer, Progress, Selection};
use crate::config::model::Policy;
use crate::failure::{Failure, GrpcCode};
use crate::limits::{Limits, PRINT_CHUNK_BYTES, WORK_SLICE_BYTES};
use crate::live::Route;
use crate::protocol::events::{Events, HEARTBEAT, Resume};
use crate::protocol::rest::RawBody;
use crate::protocol::stream::{Framer, StreamFormat};
use crate::telemetry::{Account, Direction, transcoding};
use crate::transcode::error_body::stream_status;
use crate::transcode::{Compat, MethodPlan};

use super::body::{BreakOff, ReplyBody};
use super::deadline::{Deadline, after};
use super::gateway_reply::put_error_line;
use super::messages::Messages;
use super::pump::{Content, codec_limits, raw_body, unprintable};
use super::reply::{self, Voice, inner};
use super::waits::{First, Waits};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What the client gets of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Json(StreamFormat),
    /// `google.api.HttpBody`: the pieces themselves.
    Raw,
}

impl Shape {
    pub(super) fn choose(plan: &MethodPlan, headers: &HeaderMap) -> Self {
        match Content::of(plan) {
            Content::Raw { .. } => Self::Raw,
            Content::Json(_) => Self::Json(StreamFormat::negotiate(headers)),
        }
    }

    /// As the route's ways have it: grpc-gateway writes lines of results, whatever a client accepts.
    pub(super) fn of_route(self, policy: &Policy) -> Self {
        match (self, policy.compat) {
            (Self::Json(_), Compat::GrpcGateway) => Self::Json(StreamFormat::Results),
            (shape, _) => shape,
        }
    }

    /// The reply to a client that has seen the whole stream: 204 keeps it from coming again.
    pub(super) fn nothing_more(self, headers: &HeaderMap) -> Option<Response<ReplyBody>> {
        let over = self == Self::Json(StreamFormat::Events) && Resume::of(headers) == Resume::Over;
        over.then(|| {
            let mut reply = Response::new(ReplyBody::empty());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            reply
        })
    }
}

/// What of a route a stream needs until its end: parts of the generation that it began in.
#[derive(Debug)]
pub(super) struct Rule {
    pub codec: Arc<Codec>,
    pub content: Content,
    pub limits: CodecLimits,
    pub policy: Arc<Policy>,
    /// The fields of each message that the client wants.
    pub selection: Option<Arc<Selection>>,
    /// The route's rule, for the log.
    pub route: Arc<str>,
    /// Where a client that takes events has been.
    pub resume: Resume,
}

impl Rule {
    pub(super) fn of(
        plan: &MethodPlan,
        route: &Route,
        limits: &Limits,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            resume: Resume::of(headers),
            codec: Arc::clone(&plan.codec),
            content: Content::of(plan),
            limits: codec_limits(limits),
            policy: Arc::clone(&route.policy),
            selection: None,
            route: Arc::clone(&route.rule),
        }
    }

    pub(super) fn printer(&self, wire: &Bytes) -> Result<Printer, Failure> {
        let Content::Json(target) = self.content else {
            return Err(Failure::gateway(
                GrpcCode::Internal,
                "a raw stream can't be printed",
            ));
        };
        let printer = Printer::new(&self.codec, target, wire, self.limits);
        let printer = printer.map_err(unprintable)?;
        Ok(printer.selecting(self.selection.clone()))
    }

    fn heartbeat(&self, format: StreamFormat) -> Option<Beat> {
        let every = self.policy.sse.heartbeat;
        (format == StreamFormat::Events && !every.is_zero()).then(|| Beat::new(every))
    }

    /// grpc-gateway ends every raw piece with a line break.
    fn delimited(&self, data: Bytes) -> Bytes {
        match self.policy.compat {
            Compat::None => data,
            Compat::GrpcGateway => [&data, &b"\n"[..]].concat().into(),
        }
    }

    pub(super) fn raw_body(&self, wire: &Bytes) -> Result<RawBody, Failure> {
        raw_body(self.content, wire)
    }
}

/// Waits for the first message (or the end) and begins the reply with it. Dropping it resets the
/// upstream's stream.
///
/// # Errors
/// Whatever goes wrong up to there has a reply of its own.
pub(super) async fn begin(
    rule: Rule,
    shape: Shape,
    deadline: &Deadline,
    messages: Messages,
) -> Result<Response<ReplyBody>, Failure> {
    let waits = Waits::new(rule.policy.stream_idle, deadline.of_stream())
        .of_call(First::AnyTime, messages.requests());
    let mut reply = Response::new(ReplyBody::empty());
    reply::succeed(&mut reply, &rule.policy, messages.metadata());
    match shape {
        Shape::Json(format) => {
            let mut stream = MessageStream::new(rule, format, waits, messages);
            let first = std::future::poll_fn(|cx| stream.poll_written(cx)).await?;
            stream.start(format, first, &mut reply);
        }
        Shape::Raw => {
            let mut stream = RawStream::new(rule, waits, messages);
            if let Some(wire) = stream.messages.next().await? {
                let body = stream.rule.raw_body(&wire)?;
                reply::describe_raw(&mut reply, &body);
                stream.first = Some(stream.rule.delimited(body.data));
                *reply.body_mut() = ReplyBody::Raw(Box::new(stream));
            }
        }
    }
    Ok(reply)
}

/// Begins the reply to requests that go on, as soon as the service has begun its answer: the client may
/// want to see that before it says more. A failure that is there already has a reply of its own.
///
/// # Errors
/// What the first look at the answer brings.
pub(super) async fn begin_at_head(
    rule: Rule,
    shape: Shape,
    deadline: &Deadline,
    messages: Messages,
) -> Result<Response<ReplyBody>, Failure> {
    let Shape::Json(format) = shape else {
        // The type of a raw reply is in its first message.
        return begin(rule, shape, deadline, messages).await;
    };
    let waits = Waits::new(rule.policy.stream_idle, deadline.of_stream())
        .of_call(First::AnyTime, messages.requests());
    let mut reply = Response::new(ReplyBody::empty());
    reply::succeed(&mut reply, &rule.policy, messages.metadata());
    let mut stream = MessageStream::new(rule, format, waits, messages);
    let first = std::future::poll_fn(|cx| match stream.poll_written(cx) {
        Poll::Ready(first) => Poll::Ready(first),
        Poll::Pending => Poll::Ready(Ok(Bytes::new())),
    });
    let first = first.await?;
    stream.start(format, first, &mut reply);
    Ok(reply)
}

fn describe(reply: &mut Response<ReplyBody>, format: StreamFormat) {
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    if format == StreamFormat::Events {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx, and what follows it, would collect events otherwise.
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
}

/// Signs of life while no message comes.
#[derive(Debug)]
struct Beat {
    every: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Beat {
    fn new(every: Duration) -> Self {
        Self {
            every,
            timer: Box::pin(tokio::time::sleep(every)),
            waiting: true,
        }
    }

    /// Ready when nothing has been written for so long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.timer.as_mut().reset(after(Instant::now(), self.every));
            self.waiting = true;
        }
        ready!(self.timer.as_mut().poll(cx));
        self.waiting = false;
        Poll::Ready(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Others have their turn before more work is done.
    Resting,
    /// All has been written.
    Over,
}

/// A stream of JSON documents. Ends visibly, whatever happens.
#[derive(Debug)]
pub struct MessageStream {
    rule: Rule,
    account: Option<Rc<Account>>,
    waits: Waits,
    /// Gone at the end, so that the upstream's stream is.
    messages: Option<Messages>,
    framer: Framer,
    /// Of events that have begun.
    beat: Option<Beat>,
    job: Option<(Bytes, Printer)>,
    out: Vec<u8>,
    first: Option<Bytes>,
    /// Why nobody wants more of the call.
    last_word: Option<Failure>,
    phase: Phase,
}

impl MessageStream {
    fn new(rule: Rule, format: StreamFormat, waits: Waits, messages: Messages) -> Self {
        let events = Events::new(rule.resume, rule.policy.sse.retry);
        Self {
            rule,
            account: messages.account().cloned(),
            waits,
            messages: Some(messages),
            framer: Framer::with_events(format, events),
            beat: None,
            job: None,
            out: Vec::new(),
            first: None,
            last_word: None,
            phase: Phase::Open,
        }
    }

    /// Makes the stream the body of a reply, after what of it has been written.
    fn start(mut self, format: StreamFormat, first: Bytes, reply: &mut Response<ReplyBody>) {
        describe(reply, format);
        self.beat = self.rule.heartbeat(format);
        *reply.body_mut() = if self.phase == Phase::Over {
            ReplyBody::whole(first)
        } else {
            self.first = Some(first).filter(|f| !f.is_empty());
            ReplyBody::Messages(Box::new(self))
        };
    }

    /// The next piece of the reply; `None` at its end. A failure is the stream's last element.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if self.phase == Phase::Over {
            return Poll::Ready(None);
        }
        let chunk = match ready!(self.poll_written(cx)) {
            Ok(chunk) => chunk,
            Err(failure) => {
                self.fail(&failure);
                self.take()
            }
        };
        Poll::Ready(Some(chunk).filter(|c| !c.is_empty()))
    }

    /// What can be written now, at most about a chunk; waits when that is nothing.
    ///
    /// # Errors
    /// The stream failed, and nothing is in the buffer.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        if self.phase == Phase::Resting {
            self.phase = Phase::Open;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let progress = match self.print() {
                Ok(progress) => progress,
                Err(failure) => return self.failed(failure),
            };
            if self.out.len() >= PRINT_CHUNK_BYTES {
                self.phase = Phase::Resting;
                return Poll::Ready(Ok(self.take()));
            }
            if progress == Progress::More {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_message(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    self.framer.finish(&mut self.out);
                    self.end();
                    return Poll::Ready(Ok(self.take()));
                }
                Poll::Ready(Err(failure)) => return self.failed(failure),
                Poll::Pending if !self.out.is_empty() => return Poll::Ready(Ok(self.take())),
                Poll::Pending => return self.poll_beat(cx).map(Ok),
            }
        }
    }

    /// A sign of life when it is time for one.
    fn poll_beat(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        match &mut self.beat {
            Some(beat) => beat.poll(cx).map(|()| Bytes::from_static(HEARTBEAT)),
            None => Poll::Pending,
        }
    }

    /// Makes the next message the one to print. `false` at the end of the stream.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let Some(messages) = &mut self.messages else {
            return Poll::Ready(self.last_word.take().map_or(Ok(false), Err));
        };
        match messages.poll_next(cx) {
            Poll::Ready(Ok(Some(wire))) => {
                self.waits.note()?;
                let printer = self.rule.printer(&wire)?;
                self.job = Some((wire, printer));
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(false)),
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
            Poll::Pending => self.waits.poll(cx).map(Err),
        }
    }

    /// Goes on with the message at hand. A message that can't be printed leaves nothing behind.
    fn print(&mut self) -> Result<Progress, Failure> {
        let Some((wire, printer)) = &mut self.job else {
            return Ok(Progress::Done);
        };
        let codec = &self.rule.codec;
        let open = self.framer.open(&mut self.out);
        let out = &mut self.out;
        let step = || printer.step(codec, wire, WORK_SLICE_BYTES, out);
        match transcoding(Direction::Reply, step) {
            Ok(Progress::More) => {
                self.framer.piece(open, &mut self.out);
                Ok(Progress::More)
            }
            Ok(Progress::Done) => {
                self.framer.close(open, &mut self.out);
                self.job = None;
                Ok(Progress::Done)
            }
            Err(error) => {
                self.framer.revoke(open, &mut self.out);
                self.job = None;
                Err(unprintable(error))
            }
        }
    }

    /// A failure with documents before it is written after them; before the first it is the caller's.
    fn failed(&mut self, failure: Failure) -> Poll<Result<Bytes, Failure>> {
        if self.out.is_empty() {
            return Poll::Ready(Err(failure));
        }
        self.fail(&failure);
        Poll::Ready(Ok(self.take()))
    }

    /// Cancels the call. The document at hand is still written, and the failure after it.
    pub(super) fn give_up(&mut self, failure: Failure) {
        self.messages = None;
        self.last_word = Some(failure);
    }

    fn fail(&mut self, failure: &Failure) {
        let account = self.account.as_deref();
        reply::note(failure, Some(&self.rule.route), account);
        let codec = Some(&*self.rule.codec);
        let mut status = Vec::with_capacity(128);
        let policy = &self.rule.policy;
        stream_status(failure, policy.errors, inner(policy), codec, &mut status);
        self.framer.fail(failure.code, &status, &mut self.out);
        self.end();
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.messages = None;
        self.job = None;
    }

    fn take(&mut self) -> Bytes {
        if let Some(beat) = &mut self.beat {
            beat.waiting = false;
        }
        std::mem::take(&mut self.out).into()
    }
}

/// A stream of raw pieces. A failure breaks it off.
#[derive(Debug)]
pub struct RawStream {
    rule: Rule,
    waits: Waits,
    messages: Messages,
    first: Option<Bytes>,
    last_word: Option<Failure>,
    broken: BreakOff,
    over: bool,
}

impl RawStream {
    fn new(rule: Rule, waits: Waits, messages: Messages) -> Self {
        Self {
            broken: BreakOff::new(Arc::clone(&rule.route), messages.account()),
            rule,
            waits,
            messages,
            first: None,
            last_word: None,
            over: false,
        }
    }

    pub(super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(first) = self.first.take().filter(|f| !f.is_empty()) {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(failure) = self.broken.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(cx));
        self.over = !matches!(piece, Ok(Some(_)));
        match piece {
            Ok(piece) => Poll::Ready(piece.map(Ok)),
            Err(failure) if self.rule.policy.compat.is_grpc_gateway() => {
                let voice = Voice {
                    series: 0,
                    policy: &self.rule.policy,
                    codec: &self.rule.codec,
                    rule: Some(&self.rule.route),
                    account: self.messages.account().map(|account| &**account),
                };
                voice.note(&failure);
                let mut line = Vec::with_capacity(128);
                put_error_line(voice, &failure, &mut line);
                Poll::Ready(Some(Ok(line.into())))
            }
            Err(failure) => self.broken.defer(failure, cx),
        }
    }

    /// Ends it with this failure.
    pub(super) fn give_up(&mut self, failure: Failure) {
        self.last_word = Some(failure);
    }

    /// The next piece that isn't empty.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        if let Some(failure) = self.last_word.take() {
            return Poll::Ready(Err(failure));
        }
        loop {
            let wire = match self.messages.poll_next(cx) {
                Poll::Ready(wire) => wire?,
                Poll::Pending => {
                    return self.waits.poll(cx).map(Err);
                }
            };
            let Some(wire) = wire else {
                return Poll::Ready(Ok(None));
            };
            self.waits.note()?;
            let data = self.rule.delimited(self.rule.raw_body(&wire)?.data);
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(data)));
            }
        }
    }
}
