//! Replies for an HTTP/1.1 client that sends and doesn't read: kept up to a limit.
//!
//! A client may write all of its requests before it reads a reply. The service waits for its answer to
//! be taken, the client for its requests to be: without this neither would ever go on. So the answer is
//! read here, not by the connection's writes. At `limits.kept_replies` the service has to wait. When the
//! client takes nothing that there is, and can send nothing either, for a while, its stream gets a last
//! word in its own framing, the call is cancelled, and the rest of the requests is read for nobody, so
//! that the client comes to read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};

use crate::failure::{Blame, Failure, GrpcCode};
use crate::limits::ByteLimit;
use crate::listener::count;

use super::body::ReplyBody;
use super::counters::Counters;
use super::deadline::after;
use super::unpacking::Coming;

type Piece = Result<Bytes, Failure>;

/// What may be kept, and for how long nothing may move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) bytes_max: ByteLimit,
    pub(super) patience: Duration,
}

/// A reply's body whose source is read whether or not the client reads. Dropping it drops the source.
pub struct Kept {
    shelf: Rc<Shelf>,
    keeper: AbortHandle,
    /// A failure that was told of one turn ago: hyper throws away unwritten bytes when a body fails.
    failing: Option<Failure>,
}

impl Kept {
    /// `requests` is the body that the client may still be sending.
    pub(super) fn new(
        source: ReplyBody,
        requests: Coming,
        bound: Bound,
        counters: Rc<Counters>,
    ) -> Self {
        let shelf = Rc::new(Shelf::new());
        let keeper = Keeper {
            source,
            requests,
            bound,
            counters,
            shelf: Filling(Rc::clone(&shelf)),
            timer: None,
        };
        Self {
            shelf,
            keeper: tokio::task::spawn_local(keeper.keep()).abort_handle(),
            failing: None,
        }
    }

    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(failure) = self.failing.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match ready!(self.shelf.poll_take(cx)) {
            Some(Err(failure)) => {
                self.failing = Some(failure);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            piece => Poll::Ready(piece),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("bytes", &self.shelf.bytes.get())
            .finish_non_exhaustive()
    }
}

/// What has come and not been taken.
struct Shelf {
    pieces: RefCell<VecDeque<Piece>>,
    bytes: Cell<usize>,
    /// When the client last took something, or had something to take again.
    moved: Cell<Instant>,
    over: Cell<bool>,
    taker: RefCell<Option<Waker>>,
    keeper: RefCell<Option<Waker>>,
}

impl Shelf {
    fn new() -> Self {
        Self {
            pieces: RefCell::default(),
            bytes: Cell::new(0),
            moved: Cell::new(Instant::now()),
            over: Cell::new(false),
            taker: RefCell::default(),
            keeper: RefCell::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.pieces.borrow().is_empty()
    }

    fn put(&self, piece: Piece) {
        if self.is_empty() {
            self.moved.set(Instant::now());
        }
        let length = piece.as_ref().map_or(0, Bytes::len);
        self.bytes.set(self.bytes.get().saturating_add(length));
        self.pieces.borrow_mut().push_back(piece);
        wake(&self.taker);
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Piece>> {
        let piece = self.pieces.borrow_mut().pop_front();
        if let Some(piece) = piece {
            let length = piece.as_ref().map_or(0, Bytes::len);
            self.bytes.set(self.bytes.get().saturating_sub(length));
            self.moved.set(Instant::now());
            wake(&self.keeper);
            return Poll::Ready(Some(piece));
        }
        if self.over.get() {
            return Poll::Ready(None);
        }
        self.taker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The keeper's end of the shelf. However the keeper ends, the reply does.
struct Filling(Rc<Shelf>);

impl Filling {
    fn finish(&self) {
        self.0.over.set(true);
        wake(&self.0.taker);
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.0.over.get() {
            let failure = Failure::gateway(GrpcCode::Internal, "the reply broke off");
            self.0.put(Err(failure));
            self.finish();
        }
    }
}

/// Reads the answer.
struct Keeper {
    source: ReplyBody,
    requests: Coming,
    bound: Bound,
    counters: Rc<Counters>,
    shelf: Filling,
    /// Runs while there is something to take.
    timer: Option<Pin<Box<Sleep>>>,
}

enum Step {
    Piece(Option<Piece>),
    /// The client doesn't read.
    Stuck,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let piece = match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Piece(Some(piece)) => piece,
                Step::Piece(None) => break,
                Step::Stuck => {
                    self.give_up().await;
                    break;
                }
            };
            let failed = piece.is_err();
            self.shelf.0.put(piece);
            if failed {
                break;
            }
        }
        self.source = ReplyBody::empty();
        self.see_out().await;
        self.shelf.finish();
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.shelf.0.keeper.replace(Some(cx.waker().clone()));
        if self.shelf.0.bytes.get() < self.bound.bytes_max.bytes()
            && let Poll::Ready(piece) = self.source.poll_piece(cx)
        {
            return Poll::Ready(Step::Piece(piece));
        }
        // A client that has said all it wants to needs no help to come to read: it is just slow.
        if self.shelf.0.is_empty() || self.requests.is_over() {
            self.timer = None;
            return Poll::Pending;
        }
        loop {
            let moved = self.shelf.0.moved.get().max(self.requests.heard());
            let due = after(moved, self.bound.patience);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(Step::Stuck);
            }
            timer.as_mut().reset(due);
        }
    }

    /// Cancels the call, with a last word for the client.
    async fn give_up(&mut self) {
        count(&self.counters.unread);
        self.source.give_up(Failure::new(
            Blame::Client,
            GrpcCode::ResourceExhausted,
            "replies wait for a client that sends and doesn't read",
        ));
        while let Some(piece) = poll_fn(|cx| self.source.poll_piece(cx)).await {
            let failed = piece.is_err();
            self.shelf.0.put(piece);
            if failed {
                break;
            }
        }
    }

    /// Lets the client say the rest, as long as it doesn't read what there is.
    async fn see_out(&mut self) {
        poll_fn(|cx| {
            if self.shelf.0.is_empty() {
                return Poll::Ready(());
            }
            self.shelf.0.keeper.replace(Some(cx.waker().clone()));
            self.requests.poll_discard(cx)
        })
        .await;
    }
}
