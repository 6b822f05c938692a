//! When upstreams are asked beside the poll: those that are silent again and again, those in doubt at
//! once, and neither too often.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{
    REFLECTION_NUDGED_MAX, REFLECTION_NUDGED_MIN, REFLECTION_RETRY_MAX, REFLECTION_RETRY_MIN,
};

/// When upstreams that don't answer are asked again: soon, and less and less often.
pub(super) struct Retry {
    wait: Duration,
    at: Instant,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self {
            wait: REFLECTION_RETRY_MIN,
            at: Instant::now() + REFLECTION_RETRY_MIN,
        }
    }

    pub(super) fn again(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(REFLECTION_RETRY_MAX);
        self.at = Instant::now() + self.wait;
    }

    pub(super) async fn due(&self) {
        tokio::time::sleep_until(self.at).await;
    }
}

/// Upstreams that may tell something else than what is served, and when they are asked: at once, unless
/// they just were. Where that brings nothing new, doubts that follow wait longer and longer: clients
/// that call what a service lacks are no reason to ask it all the time.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    names: BTreeSet<Arc<str>>,
    not_before: Option<Instant>,
    wait: Duration,
}

impl Doubts {
    pub(super) fn add(&mut self, names: Vec<Arc<str>>) {
        self.names.extend(names);
    }

    /// Resolves when somebody is to be asked; never when there is nobody.
    pub(super) async fn due(&self) {
        match self.names.is_empty() {
            true => std::future::pending().await,
            false => at(self.not_before.or_else(|| Some(Instant::now()))).await,
        }
    }

    pub(super) fn take(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.names)
    }

    /// They have been asked, and have told something new or not.
    pub(super) fn asked(&mut self, new: bool) {
        self.wait = match new {
            true => REFLECTION_NUDGED_MIN,
            false => {
                let doubled = self.wait.saturating_mul(2);
                doubled.clamp(REFLECTION_NUDGED_MIN, REFLECTION_NUDGED_MAX)
            }
        };
        self.not_before = Some(Instant::now() + self.wait);
    }
}

pub(super) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn doubts_are_settled_at_once_and_not_too_often() {
        let mut doubts = Doubts::default();
        let mut waited = Vec::new();
        for new in [false, false, false, false, false, false, true, false] {
            doubts.add(vec!["games".into(), "games".into()]);
            let before = Instant::now();
            doubts.due().await;
            waited.push(before.elapsed().as_secs());
            assert_eq!(doubts.take().len(), 1);
            doubts.asked(new);
        }
        assert_eq!(waited, [0, 1, 2, 4, 8, 16, 30, 1]);
        let idle = tokio::time::timeout(Duration::from_secs(600), doubts.due()).await;
        assert!(idle.is_err(), "nobody is in doubt");
    }
}
