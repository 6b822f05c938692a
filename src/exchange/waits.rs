//! How long a stream may be silent, and until when it may last.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::failure::{Failure, GrpcCode};

use super::deadline::after;

/// What the client's side of a call does while its answer is waited for: a stream is silent only when
/// both sides are.
#[derive(Debug)]
pub(super) struct Activity {
    last: Cell<Instant>,
    ended: Cell<bool>,
    /// Who waits for the answer: the wait is a shorter one once the client has ended.
    waiter: RefCell<Option<Waker>>,
}

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            last: Cell::new(Instant::now()),
            ended: Cell::new(false),
            waiter: RefCell::new(None),
        })
    }

    /// When something came from the client, or its turn began.
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Something came from the client.
    pub(super) fn note(&self) {
        self.last.set(Instant::now());
    }

    /// The client has said all that it wants to.
    pub(super) fn end(&self) {
        self.note();
        self.ended.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

/// The time until the first message, when more is known than that streams may be silent for so long.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    /// Nothing is.
    AnyTime,
    By(Instant),
    /// So long after the client's last message: until then it is the service that waits.
    After(Duration),
}

/// One wait after the other: the time that each may take.
#[derive(Debug)]
pub(super) struct Waits {
    idle: Duration,
    end: Option<Instant>,
    first: First,
    client: Option<Rc<Activity>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when, while one lasts.
    waiting: Option<Instant>,
}

impl Waits {
    pub(super) fn new(idle: Duration, end: Option<Instant>) -> Self {
        Self {
            idle,
            end,
            first: First::AnyTime,
            client: None,
            timer: None,
            waiting: None,
        }
    }

    /// The same with a limit on the time to the first message, and with a client that may go on.
    pub(super) fn of_call(mut self, first: First, client: Option<Rc<Activity>>) -> Self {
        self.first = first;
        self.client = client;
        self
    }

    /// Something came. Fails when the stream has lasted long enough all the same.
    pub(super) fn note(&mut self) -> Result<(), Failure> {
        self.waiting = None;
        self.first = First::AnyTime;
        match self.end.is_some_and(|end| end <= Instant::now()) {
            true => Err(self.late()),
            false => Ok(()),
        }
    }

    /// Nothing came: waits until it has been too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let (First::After(_), Some(client)) = (self.first, &self.client) {
            client.waiter.replace(Some(cx.waker().clone()));
        }
        loop {
            let new = self.waiting.is_none();
            let since = *self.waiting.get_or_insert_with(Instant::now);
            let until = self.until(since);
            let timer = match &mut self.timer {
                Some(timer) => timer,
                none => none.insert(Box::pin(tokio::time::sleep_until(until))),
            };
            // A later time is looked at when the timer fires.
            if new || timer.is_elapsed() || until < timer.deadline() {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            // The client may have been heard of meanwhile.
            if self.until(since) <= Instant::now() {
                return Poll::Ready(self.late());
            }
        }
    }

    /// When a wait that began at `since` has been too long.
    fn until(&self, since: Instant) -> Instant {
        let heard = self.client.as_ref().map_or(since, |c| c.last.get());
        let silent = after(since.max(heard), self.idle);
        let ended = self.client.as_ref().is_some_and(|c| c.ended.get());
        let until = match self.first {
            First::By(time) => time,
            First::After(wait) if ended => after(heard, wait),
            First::After(_) | First::AnyTime => silent,
        };
        self.end.map_or(until, |end| end.min(until))
    }

    fn late(&self) -> Failure {
        let over = self.end.is_some_and(|end| end <= Instant::now());
        let ended = self.client.as_ref().is_none_or(|c| c.ended.get());
        let message = match self.first {
            First::By(_) => "the service didn't answer in time",
            First::After(_) if !over && ended => "the service didn't answer in time",
            First::After(_) if !over => "neither side has sent anything for too long",
            _ if over => "the stream has lasted as long as it may",
            _ => "the service sent nothing for too long",
        };
        Failure::upstream(GrpcCode::DeadlineExceeded, message)
    }

    /// Runs `work` for as long as a wait may take. Dropping it drops the work.
    ///
    /// # Errors
    /// The work's own, or that it took too long.
    pub(super) async fn bound<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
    ) -> Result<T, Failure> {
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a wait lasts when nothing comes.
    async fn lasts(waits: &mut Waits) -> Duration {
        let start = Instant::now();
        std::future::poll_fn(|cx| waits.poll(cx)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_time_counts() {
        let now = Instant::now();
        assert_eq!(lasts(&mut Waits::new(3 * SECOND, None)).await, 3 * SECOND);
        let end = Some(Instant::now() + 2 * SECOND);
        assert_eq!(lasts(&mut Waits::new(3 * SECOND, end)).await, 2 * SECOND);
        let by = First::By(Instant::now() + SECOND);
        let mut waits = Waits::new(3 * SECOND, None).of_call(by, None);
        assert_eq!(lasts(&mut waits).await, SECOND);
        assert_eq!(now.elapsed(), 6 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_on_keeps_the_call_alive() {
        let client = Activity::new();
        let first = First::After(SECOND);
        let mut waits = Waits::new(9 * SECOND, None).of_call(first, Some(Rc::clone(&client)));
        let start = Instant::now();
        let chat = async {
            for _ in 0..4 {
                tokio::time::sleep(4 * SECOND).await;
                client.note();
            }
            tokio::time::sleep(4 * SECOND).await;
            client.end();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            failure = std::future::poll_fn(|cx| waits.poll(cx)) => {
                assert_eq!(failure.code, GrpcCode::DeadlineExceeded);
            }
            () = chat => {}
        }
        // Once the client has ended it is the service's turn.
        assert_eq!(start.elapsed(), 21 * SECOND);
    }
}
