//! The clock of one client connection: what it is waiting for, and until when it may.
//!
//! ```text
//!          first byte                 headers read, check, call
//!  Idle ───────────────► Head ─────────────────────────────────► Busy
//!   ▲  (HTTP/1.1 alone)                                            │
//!   └──────────────────── the last reply is done ──────────────────┘
//! ```
//! A connection starts in `Head`: the first request's headers are due at once. Beside the phase, a
//! write that the client doesn't take has a limit of its own. hyper has one timer for `Idle` and
//! `Head` together, and none for writes; hence this.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::Timeouts;

use super::streams::Piece;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Request headers are being read, since then.
    Head(Instant),
    /// Nothing to do, since then.
    Idle(Instant),
    /// At least one request is being answered.
    Busy,
}

/// Shared by the connection's IO, its service and its driver; all on one thread.
pub(super) struct Pulse {
    phase: Cell<Phase>,
    in_flight: Cell<usize>,
    stalled_since: Cell<Option<Instant>>,
    leaving: Cell<bool>,
    closing: Cell<bool>,
    /// A request has come.
    served: Cell<bool>,
    /// Left by a reply's body for the stream's task, within one poll.
    piece: Cell<Option<Piece>>,
    /// The driver's, to tell it of `leaving` and `closing`.
    waker: RefCell<Option<Waker>>,
}

/// A write at least this large is part of a reply: control frames are smaller.
const PROGRESS_BYTES_MIN: usize = 256;

/// What the driver should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask again at this time.
    WaitUntil(Instant),
    /// Headers didn't come in time.
    SlowHead,
    /// Nothing came in time.
    Idle,
    /// The client doesn't read.
    Stalled,
}

impl Pulse {
    pub(super) fn new(accepted: Instant) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Head(accepted)),
            in_flight: Cell::new(0),
            stalled_since: Cell::new(None),
            leaving: Cell::new(false),
            closing: Cell::new(false),
            served: Cell::new(false),
            piece: Cell::new(None),
            waker: RefCell::new(None),
        })
    }

    /// Bytes came on an HTTP/1.1 connection. A client that sends its request is not stalled: it may
    /// read when it is done.
    pub(super) fn on_read(&self) {
        if self.stalled_since.get().is_some() {
            self.stalled_since.set(Some(Instant::now()));
        }
        if matches!(self.phase.get(), Phase::Idle(_)) {
            self.phase.set(Phase::Head(Instant::now()));
        }
    }

    /// The client took bytes. A reply whose body is all handed over may still be on its way: then the
    /// connection isn't idle yet. Small writes are pings and the like, and don't count.
    pub(super) fn on_written(&self, bytes: usize) {
        self.stalled_since.set(None);
        if bytes >= PROGRESS_BYTES_MIN && matches!(self.phase.get(), Phase::Idle(_)) {
            self.phase.set(Phase::Idle(Instant::now()));
        }
    }

    /// The client takes no bytes although there are some.
    pub(super) fn on_write_blocked(&self) {
        if self.stalled_since.get().is_none() {
            self.stalled_since.set(Some(Instant::now()));
        }
    }

    /// What came before HTTP is done: the first request is due from now on.
    pub(super) fn on_open(&self) {
        self.phase.set(Phase::Head(Instant::now()));
    }

    /// The HTTP/2 preface is there: from here on only silence counts, not headers.
    pub(super) fn on_preface(&self) {
        self.phase.set(Phase::Idle(Instant::now()));
    }

    /// A request is being answered until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
        self.served.set(true);
        self.phase.set(Phase::Busy);
        InFlight(Rc::clone(self))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// The client should go elsewhere: the next reply tells it so. An idle connection stays open, for a
    /// request may be on its way.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
        self.wake();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Asks the driver to end the connection when its exchanges are done.
    pub(super) fn close(&self) {
        self.leaving.set(true);
        self.closing.set(true);
        self.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether an HTTP/2 connection is to be told GOAWAY: it would end one that has only just been
    /// opened before its first request, and the client would open the next.
    pub(super) fn says_goaway(&self) -> bool {
        self.closing.get() || (self.leaving.get() && self.served.get())
    }

    /// Whether an HTTP/1.1 connection is to end now, or with the reply under way. A request that is
    /// being read is answered still.
    pub(super) fn says_close(&self) -> bool {
        self.closing.get() && !matches!(self.phase.get(), Phase::Head(_))
    }

    /// What a reply's body did, for the task that polls it.
    pub(super) fn note(&self, piece: Piece) {
        self.piece.set(Some(piece));
    }

    /// What a body did last, since this was last asked.
    pub(super) fn take_piece(&self) -> Option<Piece> {
        self.piece.take()
    }

    /// Keeps the driver's waker for [`Pulse::leave`] and [`Pulse::close`].
    pub(super) fn register(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        match kept.as_ref() {
            Some(w) if w.will_wake(waker) => {}
            _ => *kept = Some(waker.clone()),
        }
    }

    /// What to do at `now`. While no limit runs, the next look is one shortest limit away: whatever
    /// limit starts meanwhile ends later than that, so nobody has to wake the driver.
    pub(super) fn verdict(&self, now: Instant, timeouts: &Timeouts) -> Verdict {
        let shortest = timeouts
            .headers
            .min(timeouts.keep_alive)
            .min(timeouts.write_idle);
        let mut next = now + shortest.max(Duration::from_millis(1));
        if let Some(since) = self.stalled_since.get() {
            let due = since + timeouts.write_idle;
            if due <= now {
                return Verdict::Stalled;
            }
            next = next.min(due);
        }
        let (due, expired) = match self.phase.get() {
            Phase::Busy => return Verdict::WaitUntil(next),
            Phase::Head(since) => (since + timeouts.headers, Verdict::SlowHead),
            Phase::Idle(since) => (since + timeouts.keep_alive, Verdict::Idle),
        };
        if due <= now {
            expired
        } else {
            Verdict::WaitUntil(next.min(due))
        }
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse")
            .field("phase", &self.phase.get())
            .field("in_flight", &self.in_flight.get())
            .finish_non_exhaustive()
    }
}

/// One request being answered: held by its reply's body.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Pulse>);

impl InFlight {
    /// One that outlives the reply.
    pub(super) fn another(&self) -> Self {
        self.0.begin()
    }

    pub(super) fn pulse(&self) -> &Rc<Pulse> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get().saturating_sub(1);
        self.0.in_flight.set(left);
        if left == 0 {
            self.0.phase.set(Phase::Idle(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        Timeouts {
            headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write_idle: Duration::from_secs(30),
            ..Timeouts::default()
        }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn headers_and_keep_alive_have_limits_of_their_own() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        let t = timeouts();
        assert_eq!(
            pulse.verdict(start, &t),
            Verdict::WaitUntil(after(start, 10))
        );
        assert_eq!(pulse.verdict(after(start, 10), &t), Verdict::SlowHead);
        let busy = pulse.begin();
        assert!(matches!(
            pulse.verdict(after(start, 500), &t),
            Verdict::WaitUntil(_)
        ));
        drop(busy);
        let idle = Instant::now();
        assert!(matches!(
            pulse.verdict(after(idle, 74), &t),
            Verdict::WaitUntil(_)
        ));
        assert_eq!(pulse.verdict(after(idle, 75), &t), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_of_header_bytes_doesnt_move_the_limit() {
        let pulse = Pulse::new(Instant::now());
        drop(pulse.begin());
        pulse.on_read();
        let first = Instant::now();
        tokio::time::advance(Duration::from_secs(9)).await;
        pulse.on_read();
        assert_eq!(
            pulse.verdict(after(first, 10), &timeouts()),
            Verdict::SlowHead
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_write_expires_even_while_busy_and_progress_clears_it() {
        let pulse = Pulse::new(Instant::now());
        let _busy = pulse.begin();
        pulse.on_write_blocked();
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        pulse.on_write_blocked();
        assert_eq!(
            pulse.verdict(after(since, 30), &timeouts()),
            Verdict::Stalled
        );
        pulse.on_written(1);
        assert!(matches!(
            pulse.verdict(after(since, 30), &timeouts()),
            Verdict::WaitUntil(_)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_on_sending_may_read_later() {
        let pulse = Pulse::new(Instant::now());
        let _busy = pulse.begin();
        pulse.on_write_blocked();
        tokio::time::advance(Duration::from_secs(29)).await;
        pulse.on_read();
        let last = Instant::now();
        let t = timeouts();
        assert!(matches!(
            pulse.verdict(after(last, 29), &t),
            Verdict::WaitUntil(_)
        ));
        assert_eq!(pulse.verdict(after(last, 30), &t), Verdict::Stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_on_its_way_is_not_idleness_and_a_ping_is() {
        let pulse = Pulse::new(Instant::now());
        drop(pulse.begin());
        let handed_over = Instant::now();
        tokio::time::advance(Duration::from_secs(70)).await;
        pulse.on_written(17);
        let due = after(handed_over, 75);
        assert_eq!(pulse.verdict(due, &timeouts()), Verdict::Idle);
        pulse.on_written(16 * 1024);
        assert!(matches!(
            pulse.verdict(due, &timeouts()),
            Verdict::WaitUntil(_)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_look_is_never_later_than_a_limit_that_starts_meanwhile() {
        let pulse = Pulse::new(Instant::now());
        let busy = pulse.begin();
        let t = timeouts();
        let Verdict::WaitUntil(look) = pulse.verdict(Instant::now(), &t) else {
            panic!("busy");
        };
        drop(busy);
        pulse.on_read();
        assert!(look <= Instant::now() + t.headers);
    }
}
