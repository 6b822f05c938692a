//! What is known of one exchange: whoever handles a part of it notes what it learns, and its end makes
//! a line of the access log and numbers of it.
//!
//! Of one worker alone: plain cells, and taken up again for the next exchange, so that keeping account
//! asks the allocator for nothing.

mod spans;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Version};
use tokio::time::Instant;

use crate::failure::{Blame, Failure, GrpcCode, Speaker};
use crate::memory::Budget;

use super::line::Session;
use super::series::Track;
use super::trace::{Attempt, Goal, Handshake, Trace, Traced, Try, Untraced};

/// Longest text of each kind that is kept of a request: what is longer is cut, and says so.
pub(super) const PATH_BYTES_MAX: usize = 2048;
pub(super) const TEXT_BYTES_MAX: usize = 512;
/// Longest words about a failure: they may hold a client's, or a service's.
const WORDS_BYTES_MAX: usize = 1024;
/// Room of an account's texts that is worth keeping for the next exchange.
const TEXTS_KEPT_MAX: usize = 8 * 1024;

/// How the client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// JSON, or whatever a route takes: plain HTTP.
    #[default]
    Rest,
    /// Passed on as it is, files, and what the gateway says itself.
    Http,
    Grpc,
    GrpcWeb,
    Connect,
    WebSocket,
}

impl Speech {
    /// Whether the client makes calls by their names.
    const fn is_rpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb | Self::Connect)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Connect => "connect",
            Self::WebSocket => "websocket",
        }
    }
}

/// Whose fault it was, and what.
#[derive(Debug)]
pub(super) struct Fault {
    pub blame: Blame,
    pub speaker: Speaker,
    pub code: GrpcCode,
    pub message: String,
    pub cause: Option<String>,
}

/// A text of the request, as a part of [`Account::texts`].
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: usize,
    to: usize,
}

/// The texts of a request that a line may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Method,
    Path,
    Query,
    Host,
    UserAgent,
    Referer,
    RequestId,
}

const TEXTS: usize = 7;

/// One exchange.
#[derive(Debug)]
pub struct Account {
    begun: Cell<Instant>,
    pub(super) client: Cell<Option<(IpAddr, u16)>>,
    pub(super) version: Cell<Version>,
    pub(super) speech: Cell<Speech>,
    pub(super) session: RefCell<Option<Rc<Session>>>,
    pub(super) track: RefCell<Option<Rc<Track>>>,
    pub(super) trace: Cell<Option<Trace>>,
    /// Whether its spans are exported; what of them is known then.
    is_traced: Cell<bool>,
    traced: RefCell<Option<Box<Traced>>>,
    untraced: Cell<Option<Untraced>>,
    handshake: Cell<Option<Handshake>>,
    /// Bytes of bodies, as they are on the wire.
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Messages of the call, up and down.
    asked: Cell<u64>,
    answered: Cell<u64>,
    tries: Cell<u32>,
    endpoint: RefCell<Option<Rc<str>>>,
    /// Microseconds after `begun`, and zero for what hasn't been: the call began, its answer did, the
    /// reply did.
    called_at: Cell<u64>,
    answered_at: Cell<u64>,
    replied_at: Cell<u64>,
    status: Cell<Option<StatusCode>>,
    code: Cell<Option<GrpcCode>>,
    fault: RefCell<Option<Box<Fault>>>,
    /// The reply, or the tunnel, has come to its end.
    over: Cell<bool>,
    /// Whether the exchange will have a line.
    is_told: Cell<bool>,
    texts: RefCell<Vec<u8>>,
    spans: Cell<[Span; TEXTS]>,
    /// What its bodies are charged to, of whichever exchange it is.
    budget: Arc<Budget>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            begun: Cell::new(Instant::now()),
            client: Cell::default(),
            version: Cell::new(Version::HTTP_11),
            speech: Cell::default(),
            session: RefCell::default(),
            track: RefCell::default(),
            trace: Cell::default(),
            is_traced: Cell::default(),
            traced: RefCell::default(),
            untraced: Cell::default(),
            handshake: Cell::default(),
            received: Cell::default(),
            sent: Cell::default(),
            asked: Cell::default(),
            answered: Cell::default(),
            tries: Cell::default(),
            endpoint: RefCell::default(),
            called_at: Cell::default(),
            answered_at: Cell::default(),
            replied_at: Cell::default(),
            status: Cell::default(),
            code: Cell::default(),
            fault: RefCell::default(),
            over: Cell::default(),
            is_told: Cell::default(),
            texts: RefCell::default(),
            spans: Cell::default(),
            budget: Arc::default(),
        }
    }
}

impl Account {
    pub(super) fn charging(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// What the bodies of the exchange are charged to.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Ready for another exchange.
    pub(super) fn clear(&self) {
        let texts = std::mem::take(&mut *self.texts.borrow_mut());
        self.client.set(None);
        self.speech.set(Speech::default());
        self.session.replace(None);
        self.track.replace(None);
        self.trace.set(None);
        if self.is_traced.take() {
            self.traced.replace(None);
        }
        self.untraced.set(None);
        self.handshake.set(None);
        for count in [&self.received, &self.sent, &self.asked, &self.answered] {
            count.set(0);
        }
        for mark in [&self.called_at, &self.answered_at, &self.replied_at] {
            mark.set(0);
        }
        self.tries.set(0);
        self.endpoint.replace(None);
        self.status.set(None);
        self.code.set(None);
        self.fault.replace(None);
        self.over.set(false);
        self.is_told.set(false);
        self.spans.set([Span::default(); TEXTS]);
        if texts.capacity() <= TEXTS_KEPT_MAX {
            let mut texts = texts;
            texts.clear();
            self.texts.replace(texts);
        }
    }

    pub(super) fn begin(&self, is_told: bool) {
        self.begun.set(Instant::now());
        self.is_told.set(is_told);
    }

    /// When the exchange began.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun.get()
    }

    /// Whether a line of the log will tell of it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.is_told.get()
    }

    pub fn note_client(&self, client: (IpAddr, u16), version: Version) {
        self.client.set(Some(client));
        self.version.set(version);
    }

    /// TLS of the connection that it comes on.
    pub fn note_session(&self, session: &Rc<Session>) {
        self.session.replace(Some(Rc::clone(session)));
    }

    pub fn note_speech(&self, speech: Speech) {
        self.speech.set(speech);
        if speech.is_rpc()
            && let Some(calls) = self.track.borrow().as_ref().and_then(|t| t.calls.as_ref())
        {
            calls.server.start();
        }
    }

    /// The route that the request takes.
    pub fn note_track(&self, track: &Rc<Track>) {
        self.track.replace(Some(Rc::clone(track)));
    }

    pub fn note_trace(&self, trace: Option<Trace>) {
        self.trace.set(trace);
    }

    /// Keeps a text for the line, cut where it is too long.
    pub fn note_text(&self, what: Text, text: &[u8]) {
        let max = match what {
            Text::Path | Text::Query => PATH_BYTES_MAX,
            _ => TEXT_BYTES_MAX,
        };
        let mut texts = self.texts.borrow_mut();
        let from = texts.len();
        match text.get(..max).filter(|_| text.len() > max) {
            Some(kept) => {
                texts.extend_from_slice(kept);
                texts.extend_from_slice("…".as_bytes());
            }
            None => texts.extend_from_slice(text),
        }
        let to = texts.len();
        let mut spans = self.spans.get();
        if let Some(span) = spans.get_mut(what as usize) {
            *span = Span { from, to };
        }
        self.spans.set(spans);
    }

    /// Bytes of the request's body.
    pub fn note_received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
    }

    /// Bytes of the reply's body.
    pub fn note_sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
    }

    /// Messages that went to the service.
    pub fn note_asked(&self, messages: u64) {
        add(&self.asked, messages);
    }

    /// Messages that came from the service.
    pub fn note_answered(&self, messages: u64) {
        add(&self.answered, messages);
    }

    /// The call is as far as to be sent.
    pub fn note_call(&self) {
        self.mark(&self.called_at);
        if let Some(calls) = self.track.borrow().as_ref().and_then(|t| t.calls.as_ref()) {
            calls.client.start();
        }
    }

    /// It is sent to this endpoint; what it comes to is noted by what is returned.
    pub fn note_try(&self, goal: Goal<'_>) -> Attempt {
        self.tries.set(self.tries.get().saturating_add(1));
        self.endpoint.replace(Some(Rc::clone(goal.endpoint)));
        self.begin_try(goal)
    }

    /// The head of an answer is there.
    pub fn note_answer(&self) {
        self.mark(&self.answered_at);
    }

    /// The head of the reply is.
    pub fn note_reply(&self, status: StatusCode) {
        self.status.set(Some(status));
        self.mark(&self.replied_at);
    }

    /// How the call ended, where no failure tells.
    pub fn note_code(&self, code: GrpcCode) {
        self.code.set(Some(code));
    }

    /// What went wrong; the first word stands.
    pub fn note_failure(&self, failure: &Failure) {
        let mut fault = self.fault.borrow_mut();
        if fault.is_none() {
            let cause = failure.source.as_ref().map(|c| brief(c).to_string());
            *fault = Some(Box::new(Fault {
                blame: failure.blame,
                speaker: failure.speaker,
                code: failure.code,
                message: brief(&failure.message).to_string(),
                cause: cause.filter(|text| !text.is_empty()),
            }));
        }
    }

    /// All of the reply has been taken, or the tunnel is at its end.
    pub fn note_end(&self) {
        self.over.set(true);
    }

    fn mark(&self, at: &Cell<u64>) {
        let micros = self.begun.get().elapsed().as_micros();
        at.set(u64::try_from(micros).unwrap_or(u64::MAX).max(1));
    }

    /// What is known at the end.
    pub(super) fn outcome(&self) -> Outcome {
        let total = self.begun.get().elapsed();
        if !self.over.get() && self.fault.borrow().is_none() {
            let left = Failure::new(Blame::Client, GrpcCode::Cancelled, "the client left");
            self.note_failure(&left);
        }
        let track = self.track.borrow();
        let is_call = track.as_ref().is_some_and(|t| t.rpc.is_some());
        let fault = self.fault.borrow();
        let (failed, blame) = (
            fault.as_ref().map(|f| f.code),
            fault.as_ref().map(|f| f.blame),
        );
        let code = failed.or(self.code.get());
        Outcome {
            total,
            // The status that proxies have for a client that left before its reply began.
            status: self.status.get().map_or(LEFT, |s| s.as_u16()),
            code: code.or(Some(GrpcCode::Ok).filter(|_| is_call)),
            blame,
            received: self.received.get(),
            sent: self.sent.get(),
            asked: self.asked.get(),
            answered: self.answered.get(),
            tries: self.tries.get(),
            request: micros(self.called_at.get()),
            upstream: self
                .answered_at
                .get()
                .checked_sub(self.called_at.get())
                .and_then(micros),
        }
    }

    /// Puts what it came to into the cells of its route and method.
    pub(super) fn count(&self, outcome: Outcome) {
        let track = self.track.borrow();
        let Some(track) = &*track else {
            return;
        };
        track.cells.observe(outcome.status, outcome.total);
        track
            .cells
            .count((outcome.received, outcome.sent), outcome.blame);
        let (Some(calls), Some(code)) = (&track.calls, outcome.code) else {
            return;
        };
        let messages = (outcome.asked, outcome.answered);
        if let Some(before) = outcome.request {
            let time = outcome.total.saturating_sub(before);
            calls.client.end(code, time, messages);
        }
        if self.speech.get().is_rpc() {
            calls.server.end(code, outcome.total, messages);
        }
    }

    pub(super) fn with_texts<T>(&self, read: impl FnOnce(Texts<'_>) -> T) -> T {
        let texts = self.texts.borrow();
        let endpoint = self.endpoint.borrow();
        let fault = self.fault.borrow();
        let track = self.track.borrow();
        read(Texts {
            all: &texts,
            spans: self.spans.get(),
            endpoint: endpoint.as_deref(),
            fault: fault.as_deref(),
            track: track.as_deref(),
        })
    }
}

/// `1.1`
pub(super) fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// 499.
const LEFT: u16 = 499;

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub total: Duration,
    pub status: u16,
    /// Of calls alone, or of whatever failed.
    pub code: Option<GrpcCode>,
    pub blame: Option<Blame>,
    pub received: u64,
    pub sent: u64,
    pub asked: u64,
    pub answered: u64,
    pub tries: u32,
    /// From the request's head to the call.
    pub request: Option<Duration>,
    /// From the call to the head of its answer.
    pub upstream: Option<Duration>,
}

/// The texts of an account, borrowed for a line.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    all: &'a [u8],
    spans: [Span; TEXTS],
    pub endpoint: Option<&'a str>,
    pub fault: Option<&'a Fault>,
    pub track: Option<&'a Track>,
}

impl<'a> Texts<'a> {
    /// Empty where there is none.
    pub(super) fn of(&self, what: Text) -> &'a [u8] {
        let span = self.spans.get(what as usize).copied().unwrap_or_default();
        self.all.get(span.from..span.to).unwrap_or_default()
    }
}

/// What is shown of it, cut where it is too long.
pub fn brief(what: impl fmt::Display) -> impl fmt::Display {
    fmt::from_fn(move |out| {
        let mut left = Brief {
            out,
            left: WORDS_BYTES_MAX,
        };
        match write!(left, "{what}") {
            Err(fmt::Error) if left.left == 0 => out.write_str("…"),
            written => written,
        }
    })
}

/// Takes so many bytes and no more: then it has none left, and fails.
struct Brief<'f, 'b> {
    out: &'f mut fmt::Formatter<'b>,
    left: usize,
}

impl fmt::Write for Brief<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(self.left);
        self.out.write_str(text.get(..end).unwrap_or_default())?;
        if end < text.len() {
            self.left = 0;
            return Err(fmt::Error);
        }
        self.left = self.left.saturating_sub(end);
        Ok(())
    }
}

fn add(to: &Cell<u64>, more: u64) {
    to.set(to.get().saturating_add(more));
}

fn micros(mark: u64) -> Option<Duration> {
    (mark > 0).then(|| Duration::from_micros(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_told_and_leaving_is_one() {
        let account = Account::default();
        account.note_reply(StatusCode::OK);
        account.note_failure(&Failure::upstream(GrpcCode::Unavailable, "gone"));
        account.note_failure(&Failure::client("late"));
        let outcome = account.outcome();
        assert_eq!(
            (outcome.status, outcome.code),
            (200, Some(GrpcCode::Unavailable))
        );

        account.clear();
        let outcome = account.outcome();
        assert_eq!(
            (outcome.status, outcome.code),
            (LEFT, Some(GrpcCode::Cancelled))
        );

        account.clear();
        account.note_reply(StatusCode::NO_CONTENT);
        account.note_end();
        let outcome = account.outcome();
        assert_eq!(
            (outcome.status, outcome.code, outcome.blame),
            (204, None, None)
        );
    }

    #[test]
    fn words_about_failures_are_cut_between_characters() {
        for (words, shown) in [
            ("x".repeat(WORDS_BYTES_MAX), WORDS_BYTES_MAX),
            ("x".repeat(WORDS_BYTES_MAX + 1), WORDS_BYTES_MAX + "…".len()),
            (
                format!("x{}", "é".repeat(WORDS_BYTES_MAX)),
                WORDS_BYTES_MAX - 1 + "…".len(),
            ),
        ] {
            assert_eq!(brief(&words).to_string().len(), shown);
        }
        // Whoever shows it by the piece.
        let pieces = fmt::from_fn(|f| (0..WORDS_BYTES_MAX).try_for_each(|n| write!(f, "{n} ")));
        assert!(brief(pieces).to_string().ends_with('…'));
    }

    #[test]
    fn long_texts_are_cut() {
        let account = Account::default();
        account.note_text(Text::UserAgent, &[b'x'; 64 * 1024]);
        account.note_text(Text::Host, b"shop");
        account.with_texts(|texts| {
            assert_eq!(texts.of(Text::UserAgent).len(), TEXT_BYTES_MAX + "…".len());
            assert_eq!(texts.of(Text::Host), b"shop");
            assert_eq!(texts.of(Text::Path), b"");
        });
    }
}
