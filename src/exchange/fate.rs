//! What becomes of a streaming request while its answer is awaited: whose turn it is, since when, and
//! why it failed if it did.
//!
//! Requests are read by the upstream's connection, answers by the client's: this is what the one side
//! knows of the other. A failure of the requests says more than the reset that it brings upstream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::failure::{Blame, Failure, GrpcCode, Speaker};

use super::deadline::{Deadline, after, no_answer_in_time};
use super::waits::Activity;

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Client,
    Upstream,
}

#[derive(Debug)]
pub(super) struct Fate {
    turn: Cell<Turn>,
    activity: Rc<Activity>,
    /// The answer has not begun: whoever waits for it wants to know whose turn it is.
    beginning: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    /// Of the side of the answer.
    waker: RefCell<Option<Waker>>,
}

impl Fate {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            turn: Cell::new(Turn::Upstream),
            activity: Activity::new(),
            beginning: Cell::new(true),
            failure: RefCell::new(None),
            waker: RefCell::new(None),
        })
    }

    /// The upstream has been given something, or the end.
    pub(super) fn given(&self) {
        self.activity.note();
        if self.turn.replace(Turn::Upstream) == Turn::Client && self.beginning.get() {
            self.wake();
        }
    }

    /// The client has nothing to give for now.
    pub(super) fn awaits_client(&self) {
        if self.turn.replace(Turn::Client) == Turn::Upstream {
            self.activity.note();
            if self.beginning.get() {
                self.wake();
            }
        }
    }

    /// When something was last heard of the requests.
    pub(super) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    /// Keeps the failure for the reply, and gives a word for the upstream's side.
    pub(super) fn fail(&self, failure: Failure) -> Failure {
        let told = Failure::new(failure.blame, GrpcCode::Cancelled, "the requests broke off");
        *self.failure.borrow_mut() = Some(failure);
        self.wake();
        told
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Why the requests failed, if they did. Given out once.
    pub(super) fn poll_failure(&self, cx: &Context<'_>) -> Poll<Failure> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(failure);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The failure to tell of, when the answer failed with `of_answer`.
    pub(super) fn explain(&self, of_answer: Failure) -> Failure {
        match of_answer.speaker {
            Speaker::Service => of_answer,
            Speaker::Gateway => self.failure.take().unwrap_or(of_answer),
        }
    }

    /// Runs `work`, which is to begin the answer, until the upstream has had `timeout`, or the client
    /// `idle`, without doing what is its turn to do.
    ///
    /// # Errors
    /// Those of `work` and of the requests; 504 or 408 when the time is up.
    pub(super) async fn bound<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
        (timeout, idle): (Duration, Duration),
        deadline: &Deadline,
    ) -> Result<T, Failure> {
        let due = || {
            let wait = match self.turn.get() {
                Turn::Client => idle,
                Turn::Upstream => timeout,
            };
            let due = after(self.activity.last(), wait);
            deadline.of_stream().map_or(due, |end| end.min(due))
        };
        let mut timer = pin!(tokio::time::sleep_until(due()));
        poll_fn(|cx| {
            match work.as_mut().poll(cx) {
                Poll::Ready(done) => {
                    self.beginning.set(false);
                    return Poll::Ready(done.map_err(|f| self.explain(f)));
                }
                Poll::Pending => {}
            }
            if let Poll::Ready(failure) = self.poll_failure(cx) {
                return Poll::Ready(Err(failure));
            }
            let due = due();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            match timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(self.late())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn late(&self) -> Failure {
        match self.turn.get() {
            Turn::Upstream => no_answer_in_time(),
            Turn::Client => Failure::new(
                Blame::Client,
                GrpcCode::DeadlineExceeded,
                "the request body stopped coming",
            )
            .status(http::StatusCode::REQUEST_TIMEOUT),
        }
    }
}
