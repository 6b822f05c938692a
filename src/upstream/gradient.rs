//! How many calls an upstream is given at once, where that follows from how it answers: a function of
//! the times of its answers, window by window.
//!
//! The limit shrinks with the ratio of the time that answers took when nothing waited to the time that
//! they take now, and grows by its square root otherwise: an upstream that queues is given less until it
//! doesn't, and some headroom shows when it can take more. (The gradient of Netflix's concurrency-limits
//! and of Envoy's adaptive concurrency.) What answers take without a queue is measured anew from time to
//! time, with less given meanwhile.

use std::time::Duration;

use crate::config::model::Adaptive;

/// Answers in each class of time.
pub type Times = [u32; CLASSES];

/// Eight classes for each doubling of microseconds, up to more than half an hour.
pub const CLASSES: usize = 8 * 31;

/// Answers that tell of a window: fewer are kept for the next.
const SAMPLES_MIN: u64 = 20;
/// The share of the limit that is given while the time without a queue is measured.
const PROBE_SHARE: f64 = 0.25;
/// For how long it may be.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// Most that the limit shrinks at once.
const GRADIENT_MIN: f64 = 0.5;
/// The limit before anything is known.
const FIRST: usize = 64;

/// The class of a time.
#[must_use]
pub fn class(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(8);
    let doublings = micros.ilog2();
    // The three bits after the first.
    let eighth = (micros >> (doublings - 3)) & 7;
    let eighth = usize::try_from(eighth).unwrap_or_default();
    let doublings = usize::try_from(doublings).unwrap_or_default();
    (doublings * 8 + eighth).min(CLASSES - 1)
}

/// The middle of a class, in microseconds.
fn middle(class: usize) -> f64 {
    let (doublings, eighth) = (class / 8, class % 8);
    let begins = |n: usize| f64::from(u32::try_from(n).unwrap_or_default());
    let doublings = i32::try_from(doublings).unwrap_or_default();
    2_f64.powi(doublings) * (1.0 + (begins(eighth) + 0.5) / 8.0)
}

/// One upstream's.
#[derive(Clone, Debug)]
pub struct Gradient {
    rule: Adaptive,
    most: f64,
    limit: f64,
    /// What half of the answers take less than when nothing waits, in microseconds.
    alone: Option<f64>,
    times: Box<Times>,
    /// The most that were under way since the last look at the times.
    peak: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Until the next probe, once the first answers have come.
    Serving(Option<Duration>),
    /// Calls from before are still under way.
    Draining {
        since: Duration,
    },
    Probing {
        since: Duration,
    },
}

/// What was seen since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'t> {
    pub times: &'t Times,
    /// Calls under way now, and at most.
    pub in_flight: usize,
    pub peak: usize,
}

impl Gradient {
    /// Between the rule's least and `most`.
    #[must_use]
    pub fn new(rule: &Adaptive, most: usize) -> Self {
        let float = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let most = float(most.max(1));
        let least = float(rule.in_flight_min).min(most);
        Self {
            rule: rule.clone(),
            most,
            limit: float(FIRST).clamp(least, most),
            alone: None,
            times: Box::new([0; CLASSES]),
            peak: 0,
            phase: Phase::Serving(None),
        }
    }

    /// Calls that may be under way.
    #[must_use]
    pub fn limit(&self) -> usize {
        let limit = match self.phase {
            Phase::Serving(_) => self.limit,
            Phase::Draining { .. } | Phase::Probing { .. } => {
                (self.limit * PROBE_SHARE).max(self.least())
            }
        };
        whole(limit)
    }

    /// What answers take when nothing waits.
    #[must_use]
    pub fn alone(&self) -> Option<Duration> {
        self.alone
            .and_then(|us| Duration::try_from_secs_f64(us / 1e6).ok())
    }

    fn least(&self) -> f64 {
        let least = u32::try_from(self.rule.in_flight_min).unwrap_or(u32::MAX);
        f64::from(least).min(self.most)
    }

    /// Takes in what was seen until `now`, a time since some beginning. `jitter` is from 0 to 1: when
    /// several measure, they should not do so at once.
    pub fn look(&mut self, now: Duration, seen: Seen<'_>, jitter: f64) {
        match self.phase {
            Phase::Draining { since } => {
                if seen.in_flight <= self.limit() || now.saturating_sub(since) >= PROBE_MAX {
                    self.phase = Phase::Probing { since: now };
                }
                return;
            }
            Phase::Serving(Some(next)) if now >= next => {
                self.forget();
                self.phase = Phase::Draining { since: now };
                return;
            }
            Phase::Serving(_) | Phase::Probing { .. } => {}
        }
        for (all, new) in self.times.iter_mut().zip(seen.times) {
            *all = all.saturating_add(*new);
        }
        self.peak = self.peak.max(seen.peak);
        let (count, half) = half_of(&self.times);
        let is_enough = count >= SAMPLES_MIN;
        let next = || Some(now + self.rule.probe.mul_f64(0.9 + 0.2 * jitter));
        match self.phase {
            Phase::Probing { since } => {
                let is_late = now.saturating_sub(since) >= PROBE_MAX;
                if is_enough {
                    self.alone = Some(half);
                }
                if is_enough || is_late {
                    self.phase = Phase::Serving(next());
                    self.forget();
                }
            }
            Phase::Serving(then) if is_enough => {
                self.phase = Phase::Serving(then.or_else(next));
                self.step(half);
                self.forget();
            }
            Phase::Serving(_) | Phase::Draining { .. } => {}
        }
    }

    fn forget(&mut self) {
        self.times.fill(0);
        self.peak = 0;
    }

    fn step(&mut self, now: f64) {
        let alone = self.alone.map_or(now, |before| before.min(now));
        self.alone = Some(alone);
        let slack = 1.0 + f64::from(self.rule.slack_percent) / 100.0;
        let gradient = (alone * slack / now).clamp(GRADIENT_MIN, 1.0);
        let shrunk = self.limit * gradient;
        let next = (shrunk + shrunk.sqrt()).clamp(self.least(), self.most);
        // Whoever isn't asked for more has not shown that it can give it.
        let is_used = self.peak.saturating_mul(2) >= whole(self.limit);
        if next < self.limit || is_used {
            self.limit = next;
        }
    }
}

/// How many answers there are, and what half of them took less than.
fn half_of(times: &Times) -> (u64, f64) {
    let count: u64 = times.iter().copied().map(u64::from).sum();
    let mut before = 0;
    for (class, n) in times.iter().enumerate() {
        before += u64::from(*n);
        if before * 2 >= count && before > 0 {
            return (count, middle(class));
        }
    }
    (count, middle(0))
}

fn whole(limit: f64) -> usize {
    // Between 1 and what a `u32` holds.
    let whole = limit.round().clamp(1.0, f64::from(u32::MAX));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped just above"
    )]
    let whole = whole as u32;
    usize::try_from(whole).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
