//! Small adapters between hyper and a worker's runtime: everything stays on its thread.

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;

/// Spawns on the worker's own thread; futures need not be `Send`. A task that panics ends alone: the
/// worker and its other connections go on, and the panic is counted.
#[derive(Clone, Debug, Default)]
pub struct LocalExec {
    panics: Rc<Cell<u64>>,
}

impl LocalExec {
    /// Panics caught so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Runs `task` to its end on this thread. Only to be called inside a worker's runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
        let panics = Rc::clone(&self.panics);
        // Combinators, not async blocks: those keep what they await twice, and each task is moved.
        let caught = AssertUnwindSafe(task).catch_unwind().map(move |done| {
            if done.is_err() {
                panics.set(panics.get().saturating_add(1));
                tracing::error!("a task panicked; its connection or stream is closed");
            }
        });
        tokio::task::spawn_local(caught)
    }
}

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(future.map(drop));
    }
}
