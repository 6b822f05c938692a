//! The client's messages on their way up: read as the upstream takes them, each made one frame of the
//! call. What path and query bind goes into the first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use crate::codec::{CodecLimits, Encoder, Progress, Target};
use crate::failure::Failure;
use crate::limits::{ByteLimit, REQUEST_BATCH_BYTES};
use crate::protocol::websocket::{Close, Format};
use crate::transcode::{BodyRule, MethodPlan};
use crate::upstream::FrameSource;

use super::super::pump;
use super::super::waits::Activity;
use super::socket::{Broken, Incoming, Met, Socket};

/// Why no more requests are taken.
#[derive(Debug)]
pub(super) enum Stop {
    Broken(Broken),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What becomes of the client's messages.
pub(super) enum Takes {
    /// One is the request, and is awaited.
    One,
    /// Each is a request.
    Many(Rc<Feed>),
    /// The request is there.
    NoMore,
}

pub(super) struct Up {
    pub(super) plan: Arc<MethodPlan>,
    pub(super) format: Format,
    pub(super) limits: CodecLimits,
    pub(super) message_bytes_max: ByteLimit,
    /// What path and query add to the first message.
    pub(super) first: Option<Vec<u8>>,
    pub(super) takes: Takes,
    pub(super) begun: bool,
    /// The client has said that it has sent all.
    pub(super) ended: bool,
    pub(super) job: Option<(Bytes, Encoder)>,
    /// The upstream has to take what it has first: the socket isn't read.
    pub(super) held: bool,
}

impl Up {
    /// Goes on with what the client sends. The only request of a call is given back; those of a stream
    /// go to its feed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<Result<Bytes, Stop>> {
        loop {
            if let Some((json, job)) = &mut self.job {
                if pump::encode_some(&self.plan.codec, job, json)? == Progress::More {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let done = self.job.take().map(|(_, job)| job.finish());
                if let Some(request) = self.give(done.unwrap_or_default())? {
                    return Poll::Ready(Ok(request));
                }
                continue;
            }
            if let Takes::Many(feed) = &self.takes {
                self.held = feed.poll_room(cx).is_pending();
                if self.held {
                    return Poll::Pending;
                }
            }
            let incoming = ready!(socket.poll_read(cx)).map_err(Stop::Broken)?;
            if let Incoming::Text(text) = &incoming
                && text.is_empty()
            {
                if !socket.afford() {
                    return Poll::Ready(Err(idle_talk()));
                }
                if let Some(request) = self.end()? {
                    return Poll::Ready(Ok(request));
                }
                continue;
            }
            if let Some(request) = self.take(incoming)? {
                return Poll::Ready(Ok(request));
            }
        }
    }

    fn take(&mut self, incoming: Incoming) -> Result<Option<Bytes>, Stop> {
        match &self.takes {
            Takes::NoMore => {
                return Err(Failure::client("the method takes one request message").into());
            }
            Takes::Many(_) if self.ended => {
                return Err(Failure::client("a message after the end of the requests").into());
            }
            Takes::Many(feed) => {
                feed.activity.note();
                // Nobody wants it any more: the service has said all that it wants to.
                if feed.gone.get() {
                    return Ok(None);
                }
            }
            Takes::One => {}
        }
        let raw = matches!(self.plan.body, BodyRule::RawWhole | BodyRule::RawField(_));
        match (self.format, incoming) {
            (Format::Json, Incoming::Text(text)) if raw => {
                self.raw("text/plain; charset=utf-8", &text)
            }
            (Format::Json, Incoming::Binary(data)) if raw => {
                self.raw("application/octet-stream", &data)
            }
            (Format::Json, Incoming::Text(json)) => {
                // Without a body rule a message over HTTP has no body; here it is all that there is.
                let whole = Target::Message(self.plan.input);
                let target = self.plan.body_target().unwrap_or(whole);
                let job = pump::document(&self.plan.codec, target, self.limits)?;
                self.job = Some((json, job));
                Ok(None)
            }
            (Format::Proto, Incoming::Binary(message)) => self.give(message.into()),
            (Format::Json, Incoming::Binary(_)) => Err(wrong("messages are text here")),
            (Format::Proto, Incoming::Text(_)) => Err(wrong("messages are binary here")),
        }
    }

    fn raw(&mut self, content_type: &str, data: &[u8]) -> Result<Option<Bytes>, Stop> {
        let content_type = match self.begun {
            true => "",
            false => content_type,
        };
        let mut wire = Vec::new();
        self.plan.bind_raw_body(content_type, data, &mut wire);
        self.give(wire)
    }

    /// The client's word that it has sent all.
    fn end(&mut self) -> Result<Option<Bytes>, Stop> {
        let was = std::mem::replace(&mut self.ended, true);
        let alone = !self.begun && self.plan.body == BodyRule::None;
        match &self.takes {
            Takes::One => return self.give(Vec::new()),
            // Path and query alone are a message where nothing else is asked for.
            Takes::Many(_) if alone && !was => _ = self.give(Vec::new())?,
            Takes::Many(_) | Takes::NoMore => {}
        }
        if let Takes::Many(feed) = &self.takes {
            feed.end();
        }
        Ok(None)
    }

    /// Makes a frame of a message and hands it on.
    fn give(&mut self, mut wire: Vec<u8>) -> Result<Option<Bytes>, Stop> {
        self.begun = true;
        if let Some(first) = self.first.take() {
            self.plan.append_bound(&first, &mut wire)?;
        }
        let frame = pump::framed(wire, self.message_bytes_max)?;
        match &self.takes {
            Takes::Many(feed) => {
                feed.push(&frame);
                Ok(None)
            }
            Takes::One | Takes::NoMore => {
                self.takes = Takes::NoMore;
                Ok(Some(frame))
            }
        }
    }
}

fn wrong(reason: &str) -> Stop {
    let close = Close::new(Close::WRONG_KIND, reason);
    Stop::Broken(Broken::Refused(close, Met::None))
}

fn idle_talk() -> Stop {
    let close = Close::new(Close::POLICY, "too many frames without content");
    Stop::Broken(Broken::Refused(close, Met::Flood))
}

/// Frames between the client's side, which makes them, and the upstream's, which takes them.
pub(super) struct Feed {
    frames: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    /// The upstream wants no more.
    gone: Cell<bool>,
    giver: RefCell<Option<Waker>>,
    taker: RefCell<Option<Waker>>,
    pub(super) activity: Rc<Activity>,
}

impl Feed {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            frames: RefCell::default(),
            ended: Cell::new(false),
            gone: Cell::new(false),
            giver: RefCell::default(),
            taker: RefCell::default(),
            activity: Activity::new(),
        })
    }

    /// Waits until some of what was given has been taken.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.gone.get() || self.frames.borrow().len() < REQUEST_BATCH_BYTES {
            return Poll::Ready(());
        }
        self.giver.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn push(&self, frame: &[u8]) {
        self.frames.borrow_mut().extend_from_slice(frame);
        wake(&self.taker);
    }

    fn end(&self) {
        self.ended.set(true);
        self.activity.end();
        wake(&self.taker);
    }
}

fn wake(waiter: &RefCell<Option<Waker>>) {
    if let Some(waker) = waiter.take() {
        waker.wake();
    }
}

/// The upstream's end of a feed.
pub(super) struct Taker(pub(super) Rc<Feed>);

impl FrameSource for Taker {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let feed = &*self.0;
        let frames = std::mem::take(&mut *feed.frames.borrow_mut());
        if !frames.is_empty() {
            wake(&feed.giver);
            return Poll::Ready(Some(Ok(frames.into())));
        }
        if feed.ended.get() {
            return Poll::Ready(None);
        }
        feed.taker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.gone.set(true);
        wake(&self.0.giver);
    }
}
