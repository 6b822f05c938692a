//! How fast orders follow each other. Pure: the time comes in, a wait comes out.

use std::time::Duration;

use crate::limits::{ACME_ORDER_PACE, ACME_ORDERS_BURST};

/// Orders of one account that count against its authority's limit on new ones: so many at once, then
/// one at a time (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When the next one would be due if they came evenly.
    even: Duration,
}

impl Pace {
    /// Counts one more at `now`, on any clock that only goes forward; how long it has to wait.
    pub fn take(&mut self, now: Duration) -> Duration {
        let at = self.even.max(now);
        self.even = at.saturating_add(ACME_ORDER_PACE);
        at.saturating_sub(now)
            .saturating_sub(ACME_ORDER_PACE * ACME_ORDERS_BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_its_turn() {
        let mut pace = Pace::default();
        let now = Duration::from_secs(1_000_000);
        for _ in 0..=ACME_ORDERS_BURST {
            assert_eq!(pace.take(now), Duration::ZERO);
        }
        assert_eq!(pace.take(now), ACME_ORDER_PACE);
        assert_eq!(pace.take(now), ACME_ORDER_PACE * 2);
        // Waiting gives the burst back.
        let later = now + ACME_ORDER_PACE * (ACME_ORDERS_BURST + 3);
        assert_eq!(pace.take(later), Duration::ZERO);
    }
}
