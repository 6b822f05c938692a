//! Stopping in order: clients are asked to go, nothing new is accepted, exchanges finish, with a limit on
//! how long that may take.
//!
//! The first signal starts a drain; the second ends the process at once, for an operator who has
//! decided not to wait.

use std::io;

use tokio::sync::watch;

/// How far stopping has come. Only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Serving,
    /// Not ready any more, and everything is still served: whoever sends clients here takes notice, and
    /// replies ask them to go elsewhere.
    Leaving,
    /// Nothing new is accepted; HTTP/2 clients get GOAWAY, HTTP/1.1 ones `Connection: close`.
    Draining,
    /// What is not done is dropped.
    Ended,
}

/// Tells every worker of the stage.
#[derive(Debug)]
pub struct Drain(watch::Sender<Stage>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }
}

impl Drain {
    /// Moves on to `stage`; never back.
    pub fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            if later {
                *now = stage;
            }
            later
        });
    }

    #[must_use]
    pub fn watch(&self) -> Drained {
        Drained(self.0.subscribe())
    }
}

/// A worker's view of the stage.
#[derive(Clone, Debug)]
pub struct Drained(watch::Receiver<Stage>);

impl Drained {
    /// How far it is now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Resolves once `stage` is reached, or nobody is left who could say so.
    pub async fn reached(&mut self, stage: Stage) {
        self.0.wait_for(|now| *now >= stage).await.ok();
    }
}

/// Who wants the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: whoever runs services, and has told nobody else yet.
    Terminate,
    /// SIGINT: a person at a keyboard, with no load balancer to wait for.
    Interrupt,
}

impl Stop {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }
}

/// The signals that stop a process.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes SIGTERM and SIGINT over, from now on.
    ///
    /// # Errors
    /// The handlers can't be installed.
    pub fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

/// A signal by which operators ask a process for something.
#[derive(Debug)]
pub struct Requests(tokio::signal::unix::Signal);

impl Requests {
    /// Takes SIGHUP over, from now on: files are to be read again.
    ///
    /// # Errors
    /// The handler can't be installed.
    pub fn hangups() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    /// Takes SIGUSR2 over, from now on: another process is to follow this one.
    ///
    /// # Errors
    /// The handler can't be installed.
    pub fn upgrades() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::user_defined2()).map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_is_seen_by_those_who_come_late_and_never_taken_back() {
        let drain = Drain::default();
        let mut early = drain.watch();
        drain.advance(Stage::Ended);
        drain.advance(Stage::Draining);
        early.reached(Stage::Ended).await;
        drain.watch().reached(Stage::Draining).await;
        assert_eq!(*drain.0.borrow(), Stage::Ended);
    }
}
