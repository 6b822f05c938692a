//! The streams of one HTTP/2 connection, each on a task of its own, and the end of those that stall.
//!
//! A client may keep a stream's window shut while its connection flows. hyper then holds the piece that
//! it has, and asks the body for nothing more: a body can't have a timer for that. The task can. It
//! sees by the pulse whether the body gave its last piece or owes the next one, and gives up when a
//! piece has not been taken for `write_idle`: the stream is reset, and whatever it held is freed.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::rt::LocalExec;

use super::pulse::Pulse;
use super::{Bounds, Counters, count};

/// What became of a body when it was asked for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// It gave one, or its end: the client is to take it.
    Given,
    /// It has none yet.
    Awaited,
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct StreamExec {
    pub(super) exec: LocalExec,
    pub(super) pulse: Rc<Pulse>,
    pub(super) bounds: Rc<Bounds>,
    pub(super) counters: Rc<Counters>,
}

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for StreamExec {
    fn execute(&self, stream: F) {
        let Self {
            pulse,
            bounds,
            counters,
            ..
        } = self.clone();
        // Boxed, since it is large and would else be moved again with the task.
        let mut stream = Box::pin(stream);
        let mut watch = Watch::default();
        self.exec.spawn(std::future::poll_fn(move |cx| {
            pulse.take_piece();
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let idle_max = bounds.timeouts.write_idle;
            std::task::ready!(watch.poll(pulse.take_piece(), idle_max, cx));
            count(&counters.stalled);
            Poll::Ready(())
        }));
    }
}

/// The time that a client has for the piece it was given.
#[derive(Default)]
struct Watch {
    armed: bool,
    /// Made by the first piece that isn't taken at once: most are.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// Ready when the time is over. `piece` is what happened since the last time, if anything did.
    fn poll(&mut self, piece: Option<Piece>, idle_max: Duration, cx: &mut Context<'_>) -> Poll<()> {
        match piece {
            Some(Piece::Given) => {
                self.armed = true;
                let due = Instant::now() + idle_max;
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(due),
                    none => *none = Some(Box::pin(tokio::time::sleep_until(due))),
                }
            }
            Some(Piece::Awaited) => self.armed = false,
            None => {}
        }
        match &mut self.timer {
            Some(timer) if self.armed => timer.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}
