//! What is sent upstream: one buffer that may be replayed, or a stream that may not once it has begun.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::client_body::ClientBody;
use crate::failure::{Blame, Failure, GrpcCode};
use crate::limits::{ByteLimit, RESENT_BYTES_MAX};
use crate::telemetry::Account;
use crate::transcode::meter::FrameMeter;

use super::leash::{Leash, Spawner};

/// Body of a request to an upstream.
#[derive(Debug)]
pub struct UpstreamBody {
    kind: Kind,
    /// Of a body that may wait for the upstream's window.
    leash: Option<Leash>,
}

/// One that is no longer than this is sent in one frame, and finds its window open.
const UNLEASHED_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
enum Kind {
    /// A whole message: may be sent again if it never arrived.
    Replayable(Option<Bytes>),
    /// The client's body, passed on as it comes.
    Client(ClientBody),
    /// Messages, made as the upstream takes them.
    Frames(Frames),
}

impl UpstreamBody {
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            leash: (bytes.len() > UNLEASHED_BYTES_MAX).then(Leash::default),
            kind: Kind::Replayable(Some(bytes).filter(|b| !b.is_empty())),
        }
    }

    /// The client's body, passed on as it comes.
    #[must_use]
    pub fn client(body: ClientBody) -> Self {
        Self {
            kind: Kind::Client(body),
            leash: Some(Leash::default()),
        }
    }

    /// A stream of frames, of which the first 64 KiB are kept until the answer begins. It is asked for
    /// the next one only when the upstream takes it, so a slow upstream slows whoever the frames come
    /// from.
    #[must_use]
    pub fn frames(source: impl FrameSource + 'static) -> Self {
        Self {
            kind: Kind::Frames(Frames::new(Box::new(source))),
            leash: Some(Leash::default()),
        }
    }

    /// Counts the messages of a call.
    pub(super) fn note_in(&self, account: &Rc<Account>) {
        match &self.kind {
            Kind::Replayable(_) => account.note_asked(1),
            Kind::Client(_) => {}
            Kind::Frames(frames) => {
                let meter = FrameMeter::new(ByteLimit::ANY);
                let noted = (Rc::clone(account), meter);
                frames.shared.noted.replace(Some(noted));
            }
        }
    }

    /// What ends the sending of the body together with the answer.
    pub(super) fn handle(&self) -> Option<Handle> {
        let frames = match &self.kind {
            Kind::Frames(frames) => Some(Rc::clone(&frames.shared)),
            Kind::Replayable(_) | Kind::Client(_) => None,
        };
        let leash = self.leash.clone()?;
        Some(Handle {
            frames,
            leash: Some(leash),
            is_passed_on: matches!(self.kind, Kind::Client(_)),
        })
    }

    /// The connection that the body is sent on.
    pub(super) fn goes_to(&self, spawner: &Spawner) {
        if let Some(leash) = &self.leash {
            leash.goes_to(spawner);
        }
    }

    /// To be kept while this one is sent, for [`UpstreamBody::again`].
    pub(super) fn same(&self) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Replayable(bytes) => Kind::Replayable(bytes.clone()),
            Kind::Frames(frames) => Kind::Frames(Frames {
                shared: Rc::clone(&frames.shared),
                sending: frames.sending,
                repeated: 0,
            }),
            Kind::Client(_) => return None,
        };
        let leash = self.leash.clone();
        Some(Self { kind, leash })
    }

    /// The same bytes for a sending beside this one; `None` for what isn't in memory.
    pub(super) fn beside(&self) -> Option<Self> {
        match &self.kind {
            Kind::Replayable(bytes) => Some(Self::whole(bytes.clone().unwrap_or_default())),
            Kind::Frames(_) | Kind::Client(_) => None,
        }
    }

    /// The body for another sending, unless more of a stream has been sent than was kept.
    pub(super) fn again(self) -> Option<Self> {
        let kind = match self.kind {
            Kind::Replayable(bytes) => Kind::Replayable(bytes),
            Kind::Frames(frames) => Kind::Frames(frames.again()?),
            Kind::Client(_) => return None,
        };
        let leash = self.leash;
        Some(Self { kind, leash })
    }
}

/// Where the frames of a streaming request come from.
///
/// It is dropped as soon as nobody wants more of it: after its end or failure, and when the answer is
/// over or given up.
pub trait FrameSource {
    /// The next piece: whole frames or parts of them, never empty. Nothing is asked for after the end
    /// or a failure; a failure resets the upstream's stream (`CANCEL`).
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>>;
}

/// The request's side of a stream. What is sent of it is kept until the answer begins, as long as that
/// is not much, so that it can be sent once more.
pub struct Frames {
    shared: Rc<Shared>,
    /// Which sending of the request this is: an earlier one gets nothing more.
    sending: u32,
    /// What of the kept frames this sending has had.
    repeated: usize,
}

struct Shared {
    sending: Cell<u32>,
    kept: RefCell<Kept>,
    /// Gone at the end.
    source: RefCell<Option<Box<dyn FrameSource>>>,
    outcome: Cell<Outcome>,
    waker: RefCell<Option<Waker>>,
    /// Where messages are counted, and what counts them.
    noted: RefCell<Option<(Rc<Account>, FrameMeter)>>,
}

/// Frames that an earlier sending has had.
#[derive(Debug, Default)]
struct Kept {
    frames: Vec<Bytes>,
    bytes: usize,
    /// Some have not been kept: the answer has begun, or they were too much.
    lacks_some: bool,
}

impl Kept {
    fn keep(&mut self, frame: &Bytes) {
        // Small frames cost more than they hold.
        let cost = frame.len().saturating_add(size_of::<Bytes>());
        self.bytes = self.bytes.saturating_add(cost);
        match self.lacks_some || self.bytes > RESENT_BYTES_MAX {
            true => self.forget(),
            false => self.frames.push(frame.clone()),
        }
    }

    fn forget(&mut self) {
        self.lacks_some = true;
        self.frames = Vec::new();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Ended,
    /// It failed, or the answer is over or given up.
    Cancelled,
}

impl Frames {
    fn new(source: Box<dyn FrameSource>) -> Self {
        Self {
            shared: Rc::new(Shared {
                sending: Cell::new(0),
                kept: RefCell::default(),
                source: RefCell::new(Some(source)),
                outcome: Cell::new(Outcome::Open),
                waker: RefCell::new(None),
                noted: RefCell::new(None),
            }),
            sending: 0,
            repeated: 0,
        }
    }

    /// The same frames for another sending, when all that have been sent are here.
    fn again(self) -> Option<Self> {
        let shared = self.shared;
        if shared.kept.borrow().lacks_some || shared.outcome.get() == Outcome::Cancelled {
            return None;
        }
        let sending = shared.sending.get().wrapping_add(1);
        shared.sending.set(sending);
        Some(Self {
            shared,
            sending,
            repeated: 0,
        })
    }

    /// What an earlier sending has had and this one has not.
    fn repeat(&mut self) -> Option<Bytes> {
        let frame = self
            .shared
            .kept
            .borrow()
            .frames
            .get(self.repeated)
            .cloned()?;
        self.repeated = self.repeated.saturating_add(1);
        Some(frame)
    }

    fn is_ended(&self) -> bool {
        let repeats = self.repeated < self.shared.kept.borrow().frames.len();
        self.shared.outcome.get() == Outcome::Ended && !repeats
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if self.shared.outcome.get() == Outcome::Cancelled
            || self.shared.sending.get() != self.sending
        {
            return Poll::Ready(Some(Err(given_up())));
        }
        if let Some(frame) = self.repeat() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let shared = &*self.shared;
        if shared.outcome.get() == Outcome::Ended {
            return Poll::Ready(None);
        }
        let polled = match shared.source.borrow_mut().as_mut() {
            Some(source) => source.poll_next(cx),
            None => Poll::Ready(None),
        };
        match polled {
            Poll::Pending => {
                let mut waker = shared.waker.borrow_mut();
                if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                shared.kept.borrow_mut().keep(&frame);
                self.repeated = self.repeated.saturating_add(1);
                shared.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                shared.end(Outcome::Ended);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(failure))) => {
                shared.end(Outcome::Cancelled);
                Poll::Ready(Some(Err(cancelling(failure))))
            }
        }
    }
}

impl Shared {
    fn note(&self, frame: &[u8]) {
        if let Some((account, meter)) = &mut *self.noted.borrow_mut() {
            let before = meter.messages();
            // Whoever made the frames has checked them.
            meter.pass(frame).ok();
            account.note_asked(meter.messages().saturating_sub(before));
        }
    }

    fn end(&self, outcome: Outcome) {
        self.outcome.set(outcome);
        let source = self.source.take();
        drop(source);
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("sending", &self.sending)
            .field("kept", &self.shared.kept.borrow().bytes)
            .field("outcome", &self.shared.outcome.get())
            .finish_non_exhaustive()
    }
}

/// Ends the sending of a body when it is dropped: hyper would go on after the answer is over.
pub(super) struct Handle {
    frames: Option<Rc<Shared>>,
    leash: Option<Leash>,
    is_passed_on: bool,
}

impl Handle {
    /// The answer has begun: nothing is sent again.
    pub(super) fn begun(&self) {
        if let Some(frames) = &self.frames {
            frames.kept.borrow_mut().forget();
        }
    }

    /// The answer is whole. That says all to a call; an HTTP server may still want what is passed on.
    pub(super) fn answered(mut self) {
        if self.is_passed_on {
            self.leash = None;
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.frames.as_ref().map(|f| f.outcome.get());
        f.debug_tuple("Handle").field(&outcome).finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(frames) = &self.frames
            && frames.outcome.get() == Outcome::Open
        {
            frames.end(Outcome::Cancelled);
            if let Some(waker) = frames.waker.take() {
                waker.wake();
            }
        }
        if let Some(leash) = &self.leash {
            leash.cut();
        }
    }
}

fn given_up() -> Failure {
    let failure = Failure::new(Blame::Client, GrpcCode::Cancelled, "the call is over");
    cancelling(failure)
}

/// hyper resets a stream with the reason that it finds among the causes of its body's failure.
fn cancelling(failure: Failure) -> Failure {
    failure.caused_by(h2::Error::from(h2::Reason::CANCEL))
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        if let Some(leash) = &this.leash {
            leash.polled();
        }
        match &mut this.kind {
            Kind::Replayable(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Kind::Client(body) => Pin::new(body).poll_frame(cx),
            Kind::Frames(frames) => frames
                .poll_next(cx)
                .map(|frame| frame.map(|f| f.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Replayable(bytes) => bytes.is_none(),
            Kind::Client(body) => body.is_end_stream(),
            Kind::Frames(frames) => frames.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Replayable(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Kind::Client(body) => body.size_hint(),
            Kind::Frames(_) => SizeHint::default(),
        }
    }
}
