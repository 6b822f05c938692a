//! What ends the sending of a request's body together with its answer.
//!
//! hyper sends a body from a task of its own, which looks at nothing but the peer's window while that is
//! shut: it would keep the stream open for as long as the peer likes, whoever has left. So the task is
//! known here, by being the one that is spawned right after the body's first poll, and it is aborted.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;

use futures_util::FutureExt;
use tokio::task::AbortHandle;

use crate::gather::Gather;
use crate::rt::LocalExec;

use super::line::Line;

/// Holds the task that sends one body, once there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Leash(Rc<Leashed>);

#[derive(Debug, Default)]
struct Leashed {
    spawner: RefCell<Option<Spawner>>,
    task: RefCell<Option<AbortHandle>>,
    over: Cell<bool>,
}

impl Leash {
    /// The body goes to this connection. An earlier sending of it is over.
    pub(super) fn goes_to(&self, spawner: &Spawner) {
        self.0.spawner.replace(Some(spawner.clone()));
        if let Some(task) = self.0.task.take() {
            task.abort();
        }
    }

    /// The body is polled: unless it is sent at once, a task for it comes next.
    pub(super) fn polled(&self) {
        if self.0.task.borrow().is_none()
            && let Some(spawner) = &*self.0.spawner.borrow()
        {
            spawner.polled.replace(Some(self.clone()));
        }
    }

    fn hold(&self, task: AbortHandle) {
        match self.0.over.get() {
            true => task.abort(),
            false => {
                self.0.task.replace(Some(task));
            }
        }
    }

    /// Nobody wants more of the body sent.
    pub(super) fn cut(&self) {
        self.0.over.set(true);
        if let Some(task) = self.0.task.take() {
            task.abort();
        }
    }
}

/// Spawns what hyper does for one connection.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    exec: LocalExec,
    /// The leash of a body that was polled for the first time; hyper spawns its task before it looks at
    /// another.
    polled: Rc<RefCell<Option<Leash>>>,
    /// Where the connection writes, until its own task is spawned: hyper's first.
    out: Rc<RefCell<Option<Gather<Line>>>>,
}

impl Spawner {
    pub(super) fn new(exec: LocalExec, out: Gather<Line>) -> Self {
        Self {
            exec,
            polled: Rc::default(),
            out: Rc::new(RefCell::new(Some(out))),
        }
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        if let Some(out) = self.out.take() {
            let mut connection = Box::pin(future);
            let turns = poll_fn(move |cx| out.turn(cx, |cx| connection.as_mut().poll(cx)));
            self.exec.spawn(turns.map(drop));
            return;
        }
        // In a box, since a task that is spawned is moved from hand to hand.
        let task = self.exec.spawn(Box::pin(future).map(drop));
        if let Some(leash) = self.polled.take() {
            leash.hold(task.abort_handle());
        }
    }
}
