//! The body of a client's request, bounded in time: each wait for its next piece has a limit.
//!
//! Its errors are [`Failure`]s already, since what went wrong with a body is known here alone: a
//! client that stopped sending (408), one that left, or framing that can't be read (400).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::failure::{Blame, Failure, GrpcCode};
use crate::limits::ByteLimit;
use crate::telemetry::Account;

/// The client's body as it comes in. Dropping it before its end ends an HTTP/1.1 connection after
/// the reply, and stops an HTTP/2 stream.
#[derive(Debug)]
pub struct ClientBody {
    inner: Incoming,
    pace: Pace,
    /// How long the client may still be waited for: waiting uses it up, bytes bring it back.
    credit: Duration,
    waiting_since: Option<Instant>,
    /// Nobody looks at the clock.
    is_patient: bool,
    /// Armed while a wait lasts; made by the first one, since most bodies never wait.
    timer: Option<Pin<Box<Sleep>>>,
    meter: Option<Rc<Meter>>,
    account: Option<Rc<Account>>,
    clean: Option<fn(HeaderMap) -> HeaderMap>,
}

/// How fast a body must come. Only time spent waiting for the client counts.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two pieces.
    pub idle_max: Duration,
    /// In a second, averaged over `idle_max`.
    pub rate_min: Option<ByteLimit>,
    /// Counts bodies that were slower.
    pub slow: Rc<Cell<u64>>,
}

impl Pace {
    /// The waiting that a piece of `bytes` makes good.
    fn worth(&self, bytes: usize) -> Duration {
        let Some(rate) = self.rate_min else {
            return self.idle_max;
        };
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate.bytes() as u64;
        Duration::from_nanos(nanos)
    }
}

/// What is known of a body that someone else reads: how it goes, and what became of it.
#[derive(Debug)]
pub struct Meter {
    bytes_left: Cell<usize>,
    bytes_max: usize,
    last: Cell<Instant>,
    failure: RefCell<Option<Failure>>,
}

impl Meter {
    /// When the last piece was read.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.last.get()
    }

    /// Why the body broke off, if it did. Given out once; the reader has been told less.
    #[must_use]
    pub fn take_failure(&self) -> Option<Failure> {
        self.failure.borrow_mut().take()
    }

    fn note(&self, piece: &Result<Frame<Bytes>, Failure>) -> Result<(), Failure> {
        self.last.set(Instant::now());
        let length = piece
            .as_ref()
            .ok()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        match self.bytes_left.get().checked_sub(length) {
            Some(left) => {
                self.bytes_left.set(left);
                Ok(())
            }
            None => Err(too_large(self.bytes_max)),
        }
    }
}

/// 413, naming the limit.
#[must_use]
pub fn too_large(bytes_max: usize) -> Failure {
    Failure::new(
        Blame::Client,
        GrpcCode::ResourceExhausted,
        format!("the request body is larger than {bytes_max} bytes"),
    )
    .status(StatusCode::PAYLOAD_TOO_LARGE)
}

impl ClientBody {
    /// A body that comes at this pace, or breaks off.
    #[must_use]
    pub fn new(inner: Incoming, pace: Pace) -> Self {
        Self {
            inner,
            credit: pace.idle_max,
            pace,
            waiting_since: None,
            is_patient: false,
            timer: None,
            meter: None,
            account: None,
            clean: None,
        }
    }

    /// Counts what comes.
    pub fn note_in(&mut self, account: &Rc<Account>) {
        self.account = Some(Rc::clone(account));
    }

    /// Where it is counted, if it is.
    #[must_use]
    pub fn account(&self) -> Option<&Rc<Account>> {
        self.account.as_ref()
    }

    /// Limits the body to `max`, and gives the means to follow it while someone else reads it.
    #[must_use]
    pub fn metered(mut self, max: ByteLimit) -> (Self, Rc<Meter>) {
        let meter = Rc::new(Meter {
            bytes_left: Cell::new(max.bytes()),
            bytes_max: max.bytes(),
            last: Cell::new(Instant::now()),
            failure: RefCell::new(None),
        });
        self.meter = Some(Rc::clone(&meter));
        (self, meter)
    }

    /// Passes trailers through `clean` on their way.
    #[must_use]
    pub fn with_trailers(mut self, clean: fn(HeaderMap) -> HeaderMap) -> Self {
        self.clean = Some(clean);
        self
    }

    /// Without a limit on each wait: for streams, whose silence is someone else's to judge.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// With a limit on each wait again.
    pub fn hurry(&mut self) {
        self.is_patient = false;
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_patient {
            return Poll::Pending;
        }
        let fresh = self.waiting_since.is_none();
        let due = *self.waiting_since.get_or_insert_with(Instant::now) + self.credit;
        let timer = match &mut self.timer {
            Some(timer) => {
                if fresh {
                    timer.as_mut().reset(due);
                }
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(due))),
        };
        timer.as_mut().poll(cx)
    }

    /// A wait is over, for these bytes.
    fn settle(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
        let credit = self.credit.saturating_add(self.pace.worth(bytes));
        self.credit = credit.min(self.pace.idle_max);
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        let piece = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                let bytes = frame.as_ref().and_then(|f| f.as_ref().ok()?.data_ref());
                let bytes = bytes.map_or(0, Bytes::len);
                this.settle(bytes);
                if let Some(account) = &this.account {
                    account.note_received(bytes);
                }
                frame.map(|f| f.map(|f| cleaned(f, this.clean)).map_err(broken))
            }
            Poll::Pending => {
                std::task::ready!(this.poll_timer(cx));
                this.pace.slow.set(this.pace.slow.get().wrapping_add(1));
                Some(Err(stalled()))
            }
        };
        Poll::Ready(match (&this.meter, piece) {
            (Some(meter), Some(piece)) => Some(metered(meter, piece)),
            (_, piece) => piece,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn cleaned(frame: Frame<Bytes>, clean: Option<fn(HeaderMap) -> HeaderMap>) -> Frame<Bytes> {
    match (clean, frame.into_trailers()) {
        (Some(clean), Ok(trailers)) => Frame::trailers(clean(trailers)),
        (None, Ok(trailers)) => Frame::trailers(trailers),
        (_, Err(frame)) => frame,
    }
}

fn metered(meter: &Meter, piece: Result<Frame<Bytes>, Failure>) -> Result<Frame<Bytes>, Failure> {
    let noted = meter.note(&piece);
    piece.and_then(|p| noted.map(|()| p)).map_err(|failure| {
        let told = Failure::new(failure.blame, failure.code, "the request body broke off");
        *meter.failure.borrow_mut() = Some(failure);
        told
    })
}

fn stalled() -> Failure {
    Failure::new(
        Blame::Client,
        GrpcCode::DeadlineExceeded,
        "the request body stopped coming, or came too slowly",
    )
    .status(StatusCode::REQUEST_TIMEOUT)
}

/// What hyper says of a body it can't go on reading.
fn broken(error: hyper::Error) -> Failure {
    let left = error.is_incomplete_message() || error.is_canceled() || reset_by_client(&error);
    if left {
        Failure::new(
            Blame::Client,
            GrpcCode::Cancelled,
            "the client left before the end of the request body",
        )
        .caused_by(error)
    } else {
        Failure::client("the request body is not framed as HTTP says").caused_by(error)
    }
}

fn reset_by_client(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return h2.is_reset() && h2.is_remote() || h2.is_io();
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // hyper's word for bytes that are no chunk.
            let framing = [ErrorKind::InvalidInput, ErrorKind::InvalidData];
            return !framing.contains(&io.kind());
        }
        source = cause.source();
    }
    false
}
