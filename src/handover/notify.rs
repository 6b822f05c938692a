//! What a service manager wants to know (sd_notify(3)). Without `NOTIFY_SOCKET` nobody does.

use sd_notify::NotifyState;

/// Whoever started this process as a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supervisor;

impl Supervisor {
    /// Everything is served, after a start or a reload.
    pub fn ready(self) {
        tell(&[NotifyState::Ready]);
    }

    /// A reload has begun that was asked for by SIGHUP.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager isn't told of the reload"),
        }
    }

    pub fn stopping(self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Another process is the service now.
    pub fn followed_by(self, pid: u32) {
        tell(&[NotifyState::MainPid(pid)]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
