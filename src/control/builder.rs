//! The builder thread: compiling, linking and planning, at a lower priority than requests.
//!
//! A build may take a second of pure work. On a thread of its own it delays neither a worker nor the
//! control thread's timers, and a panic in it is an error of that build alone.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::limits::{BUILDER_NICENESS, BUILDS_WAITING_MAX};

type Job = Box<dyn FnOnce() + Send>;

/// Hands work to the builder thread, which ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Builder {
    jobs: mpsc::SyncSender<Job>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuilderError {
    #[error("the build panicked, which is a fault of transom")]
    Panicked,
    #[error("too many builds are waiting")]
    Busy,
}

impl Builder {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(BUILDS_WAITING_MAX);
        thread::Builder::new()
            .name("builder".to_owned())
            .spawn(move || {
                // On Linux niceness is of the thread. Without it builds are only less polite.
                rustix::process::nice(BUILDER_NICENESS).ok();
                for job in waiting {
                    job();
                }
            })?;
        Ok(Self { jobs })
    }

    /// Has `work` done on the builder thread some time; where too much is waiting, here and now.
    pub fn begin(&self, work: impl FnOnce() + Send + 'static) {
        let job = Box::new(move || {
            catch_unwind(AssertUnwindSafe(work)).ok();
        });
        if let Err(mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job)) =
            self.jobs.try_send(job)
        {
            job();
        }
    }

    /// Runs `work` on the builder thread. Dropping the future gives up the result, not the work.
    ///
    /// # Errors
    /// The work panicked, or more builds are waiting than anyone will look at.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BuilderError> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // What `work` owns is dropped with it: nothing half-built can be seen.
            let outcome = catch_unwind(AssertUnwindSafe(work));
            done.send(outcome).ok();
        });
        self.jobs.try_send(job).map_err(|_| BuilderError::Busy)?;
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => Err(BuilderError::Panicked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_that_build_alone() {
        let builder = Builder::start().unwrap();
        let failed = builder.run(|| panic!("as asked")).await;
        assert_eq!(failed, Err(BuilderError::Panicked));
        assert_eq!(builder.run(|| 2 + 2).await, Ok(4));
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let builder = Builder::start().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (begun, started) = mpsc::channel();
        let busy = builder.clone();
        let first = tokio::spawn(async move {
            busy.run(move || {
                begun.send(()).unwrap();
                gate.recv().unwrap();
            })
            .await
        });
        tokio::task::spawn_blocking(move || started.recv().unwrap())
            .await
            .unwrap();
        let queued: Vec<_> = (0..BUILDS_WAITING_MAX)
            .map(|_| {
                let builder = builder.clone();
                tokio::spawn(async move { builder.run(|| ()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(builder.run(|| ()).await, Err(BuilderError::Busy));
        open.send(()).unwrap();
        first.await.unwrap().unwrap();
        for one in queued {
            one.await.unwrap().unwrap();
        }
    }
}
