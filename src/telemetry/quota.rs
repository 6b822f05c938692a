//! So many in a while: for what strangers can cause at will, and somebody is to read.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Lets a number through in each while, and counts the rest. One for each thread.
#[derive(Debug, Default)]
pub struct Quota {
    /// When the while began, and how many were let through in it.
    since: Cell<Option<Instant>>,
    passed: Cell<u32>,
    kept_back: Cell<u64>,
}

impl Quota {
    /// Whether this one may pass: with how many were kept back since the last that did.
    pub fn pass(&self, max: u32, each: Duration) -> Option<u64> {
        let now = Instant::now();
        let fresh = self
            .since
            .get()
            .is_none_or(|since| now.duration_since(since) >= each);
        if fresh {
            self.since.set(Some(now));
            self.passed.set(0);
        }
        if self.passed.get() >= max {
            self.kept_back.set(self.kept_back.get().saturating_add(1));
            return None;
        }
        self.passed.set(self.passed.get().saturating_add(1));
        Some(self.kept_back.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_what_was_cut_is_told() {
        let quota = Quota::default();
        let passed = |times: usize| -> Vec<_> {
            (0..times)
                .filter_map(|_| quota.pass(3, Duration::from_secs(1)))
                .collect()
        };
        assert_eq!(passed(1000), [0, 0, 0]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(passed(1), [0; 0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(passed(5), [998, 0, 0]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(passed(1), [2]);
    }
}
