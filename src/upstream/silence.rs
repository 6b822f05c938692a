//! How long calls on a connection have waited in vain since its peer was heard of.
//!
//! A way that has died swallows bytes without a word, and something in between may even acknowledge them:
//! TCP finds out late, or never, and each call would wait for its deadline. So calls are the probe: when
//! they have waited for as long as the answer to a ping may take, and nothing at all has come meanwhile,
//! the connection gets no more of them. Should the peer just be slow, those under way are still answered.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// What is known of one connection.
pub(super) struct Silence {
    /// What has come, counted by the piece.
    pieces: Rc<Cell<u64>>,
    /// In which at least one call waited that ended with nothing having come.
    waited: Cell<Duration>,
    /// Up to when that has been counted.
    until: Cell<Instant>,
    max: Duration,
    long: Cell<bool>,
}

/// When a request was sent, and what had come until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pieces: u64,
    at: Instant,
}

impl Silence {
    pub(super) fn new(pieces: Rc<Cell<u64>>, max: Duration, now: Instant) -> Self {
        Self {
            pieces,
            waited: Cell::default(),
            until: Cell::new(now),
            max,
            long: Cell::new(false),
        }
    }

    /// Whether it has been too long.
    pub(super) fn is_long(&self) -> bool {
        self.long.get()
    }

    /// A request is sent.
    pub(super) fn begin(&self, now: Instant) -> Sent {
        Sent {
            pieces: self.pieces.get(),
            at: now,
        }
    }

    /// Its call is over, however it ended. Whether it has just been too long.
    pub(super) fn end(&self, sent: Sent, now: impl FnOnce() -> Instant) -> bool {
        if self.pieces.get() != sent.pieces {
            self.waited.set(Duration::ZERO);
            return false;
        }
        let now = now();
        // Times in which several waited count once.
        let from = sent.at.max(self.until.replace(now));
        let more = now.saturating_duration_since(from);
        let waited = self.waited.get().saturating_add(more);
        self.waited.set(waited);
        waited >= self.max && !self.long.replace(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: Duration = Duration::from_secs(10);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn short_calls_add_up_and_a_word_makes_all_well() {
        let (start, pieces) = (Instant::now(), Rc::new(Cell::new(0)));
        let silence = Silence::new(Rc::clone(&pieces), MAX, start);
        for step in 0..9 {
            let sent = silence.begin(start + seconds(100 * step));
            assert!(!silence.end(sent, || sent.at + seconds(1)));
        }
        let heard = silence.begin(start + seconds(1000));
        pieces.set(1);
        assert!(!silence.end(heard, || unreachable!("no need of a clock")));
        let sent = silence.begin(start + seconds(2000));
        assert!(!silence.end(sent, || sent.at + seconds(9)));
        assert!(!silence.is_long());
        let sent = silence.begin(start + seconds(3000));
        assert!(silence.end(sent, || sent.at + seconds(1)));
        assert!(silence.is_long());
        let sent = silence.begin(start + seconds(4000));
        assert!(!silence.end(sent, || sent.at + seconds(60)), "said once");
    }

    proptest! {
        /// Against the plain sum of the times in which somebody waited.
        #[test]
        fn calls_at_the_same_time_count_once(
            calls in prop::collection::vec((0u64..60, 1u64..20), 1..20),
        ) {
            let (start, pieces) = (Instant::now(), Rc::new(Cell::new(0)));
            let silence = Silence::new(Rc::clone(&pieces), MAX, start);
            let mut ends: Vec<_> = calls.iter().map(|(from, long)| (from + long, *from)).collect();
            ends.sort_unstable();
            let mut waited = std::collections::BTreeSet::new();
            let mut long = false;
            for (end, from) in ends {
                let sent = silence.begin(start + seconds(from));
                let last = waited.last().copied();
                // What lies before the end of another call has been counted, or was nobody's.
                waited.extend((from..end).filter(|at| last.is_none_or(|last| *at > last)));
                let tells = silence.end(sent, || start + seconds(end));
                let is_long = waited.len() >= 10;
                prop_assert_eq!(tells, is_long && !long);
                long |= is_long;
            }
            prop_assert_eq!(silence.is_long(), long);
        }
    }
}
