//! Telling an endpoint that has gone bad by what becomes of its calls, and for how long it is left
//! out.
//!
//! Two signs: failures one after the other, for one that is down, and the share of failures among
//! many calls, for one that is half broken. Pure: times and random numbers come in as values.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Ejection;

/// What became of a call, as far as it tells of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer; also one that says that the client is wrong.
    Good,
    /// An answer that may be the endpoint's fault or the request's.
    Doubtful,
    /// No answer, or one that says that the endpoint is in trouble.
    Bad,
}

/// Why an endpoint is to be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Consecutive { failures: u32 },
    Share { failures: u32, calls: u32 },
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Consecutive { failures } => write!(f, "{failures} calls in a row failed"),
            Self::Share { failures, calls } => {
                write!(f, "{failures} of its last {calls} calls failed")
            }
        }
    }
}

/// Calls, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
}

impl Counts {
    pub(super) fn and(self, more: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(more.calls),
            failures: self.failures.saturating_add(more.failures),
        }
    }

    /// Whether the share of failures is at least twice that of `others`. A fault that comes with the
    /// requests is everywhere, and leaving instances out would not help.
    pub(super) fn is_twice_as_bad_as(self, others: Self) -> bool {
        let cross = |a: u32, b: u32| u64::from(a).saturating_mul(u64::from(b));
        cross(self.failures, others.calls) >= cross(others.failures, self.calls).saturating_mul(2)
    }
}

/// The calls to one endpoint, over a window that moves by halves.
#[derive(Debug)]
pub(super) struct Record {
    in_a_row: u32,
    now: Counts,
    before: Counts,
    since: Instant,
    /// The calls of the window when its share of failures was a sign last.
    told: u32,
}

impl Record {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            in_a_row: 0,
            now: Counts::default(),
            before: Counts::default(),
            since: now,
            told: 0,
        }
    }

    /// Notes one call. What led to a row of failures is forgotten with the sign; a share is told again
    /// after as many more calls, since others are compared with it.
    pub(super) fn note(&mut self, outcome: Outcome, rule: &Ejection, now: Instant) -> Option<Sign> {
        self.turn(rule.window / 2, now);
        self.now.calls = self.now.calls.saturating_add(1);
        if outcome == Outcome::Good {
            self.in_a_row = 0;
            return None;
        }
        if outcome == Outcome::Bad {
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        self.now.failures = self.now.failures.saturating_add(1);
        let sign = self.sign(rule)?;
        match sign {
            Sign::Consecutive { .. } => *self = Self::new(now),
            Sign::Share { calls, .. } => self.told = calls,
        }
        Some(sign)
    }

    /// The calls of the window.
    pub(super) fn counts(&self) -> Counts {
        self.now.and(self.before)
    }

    fn sign(&self, rule: &Ejection) -> Option<Sign> {
        if self.in_a_row >= rule.consecutive_failures {
            return Some(Sign::Consecutive {
                failures: self.in_a_row,
            });
        }
        let Counts { calls, failures } = self.counts();
        let share = u64::from(failures).saturating_mul(100);
        let most = u64::from(calls).saturating_mul(u64::from(rule.failure_percent));
        let due = self.told.saturating_add(rule.calls_min);
        (calls >= due && share >= most).then_some(Sign::Share { failures, calls })
    }

    fn turn(&mut self, half: Duration, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < half {
            return;
        }
        let old = std::mem::take(&mut self.now);
        self.before = match passed < half.saturating_mul(2) {
            true => old,
            false => Counts::default(),
        };
        self.since = now;
        self.told = 0;
    }
}

/// How long the `times`-th ejection lasts (from 1): doubled each time up to the maximum, and up to a
/// tenth longer by `random` in 0 to 1, so that probes don't come together.
pub(super) fn ejection_time(rule: &Ejection, times: u32, random: f64) -> Duration {
    let doubled = rule
        .time
        .saturating_mul(1 << times.saturating_sub(1).min(16))
        .min(rule.time_max);
    doubled.saturating_add(doubled.mul_f64(random.clamp(0.0, 1.0) / 10.0))
}

/// Whether one more of `all` endpoints may be left out when `out` are: never the last one, and never
/// more than the share allows, but one of several always.
pub(super) fn may_eject(rule: &Ejection, out: usize, all: usize) -> bool {
    let allowed = all.saturating_mul(usize::from(rule.percent_max)) / 100;
    all > 1 && out < allowed.max(1).min(all.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> Ejection {
        Ejection {
            consecutive_failures: 5,
            failure_percent: 50,
            calls_min: 10,
            window: Duration::from_secs(10),
            time: Duration::from_secs(10),
            time_max: Duration::from_secs(300),
            percent_max: 50,
        }
    }

    #[test]
    fn failures_in_a_row_are_a_sign() {
        let now = Instant::now();
        let mut record = Record::new(now);
        for _ in 0..4 {
            assert_eq!(record.note(Outcome::Bad, &rule(), now), None);
        }
        assert_eq!(record.note(Outcome::Good, &rule(), now), None);
        for _ in 0..3 {
            assert_eq!(record.note(Outcome::Bad, &rule(), now), None);
        }
        // Seven of nine calls: too few for the other sign.
        assert_eq!(
            record.note(Outcome::Bad, &rule(), now + Duration::from_secs(60)),
            None
        );
        assert_eq!(
            record.note(Outcome::Bad, &rule(), now + Duration::from_secs(60)),
            Some(Sign::Consecutive { failures: 5 })
        );
        // And it begins anew.
        assert_eq!(
            record.note(Outcome::Bad, &rule(), now + Duration::from_secs(60)),
            None
        );
    }

    #[test]
    fn half_of_many_is_a_sign() {
        let now = Instant::now();
        let mut record = Record::new(now);
        for _ in 0..4 {
            assert_eq!(record.note(Outcome::Good, &rule(), now), None);
            assert_eq!(record.note(Outcome::Bad, &rule(), now), None);
        }
        assert_eq!(record.note(Outcome::Good, &rule(), now), None);
        assert_eq!(
            record.note(Outcome::Bad, &rule(), now),
            Some(Sign::Share {
                failures: 5,
                calls: 10
            })
        );
    }

    #[test]
    fn doubtful_answers_are_no_row() {
        let now = Instant::now();
        let mut record = Record::new(now);
        for _ in 0..9 {
            assert_eq!(record.note(Outcome::Doubtful, &rule(), now), None);
        }
        let sign = record.note(Outcome::Doubtful, &rule(), now);
        let (failures, calls) = (10, 10);
        assert_eq!(sign, Some(Sign::Share { failures, calls }));
        // Others are compared with what it has done: that is not forgotten, nor told at each call.
        assert_eq!(record.counts(), Counts { calls, failures });
        for _ in 0..9 {
            assert_eq!(record.note(Outcome::Doubtful, &rule(), now), None);
        }
        assert!(record.note(Outcome::Doubtful, &rule(), now).is_some());
    }

    #[test]
    fn only_what_is_worse_than_the_others_is_bad() {
        let of = |failures, calls| Counts { calls, failures };
        assert!(of(5, 10).is_twice_as_bad_as(of(25, 100)));
        assert!(!of(5, 10).is_twice_as_bad_as(of(26, 100)));
        assert!(of(5, 10).is_twice_as_bad_as(of(0, 0)));
    }

    #[test]
    fn old_calls_are_forgotten() {
        let now = Instant::now();
        let mut record = Record::new(now);
        for _ in 0..4 {
            record.note(Outcome::Bad, &rule(), now);
            record.note(Outcome::Good, &rule(), now);
        }
        let later = now + Duration::from_secs(11);
        for _ in 0..9 {
            assert_eq!(record.note(Outcome::Good, &rule(), later), None);
        }
        assert_eq!(record.note(Outcome::Bad, &rule(), later), None);
    }

    #[test]
    fn the_time_doubles_up_to_the_most() {
        let seconds = |times, random| ejection_time(&rule(), times, random).as_secs_f64();
        assert!((seconds(1, 0.0) - 10.0).abs() < 1e-9);
        assert!((seconds(3, 0.0) - 40.0).abs() < 1e-9);
        assert!((seconds(3, 1.0) - 44.0).abs() < 1e-9);
        assert!((seconds(u32::MAX, 0.0) - 300.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn one_endpoint_always_stays(all in 0usize..200, percent in 0u8..=100) {
            let rule = Ejection { percent_max: percent, ..rule() };
            let mut out = 0;
            while may_eject(&rule, out, all) {
                out += 1;
            }
            prop_assert!(out == 0 || out < all);
            prop_assert!(out <= (all * usize::from(percent) / 100).max(1));
            prop_assert!(all < 2 || out >= 1);
        }

        #[test]
        fn good_calls_never_lead_to_a_sign(pauses in prop::collection::vec(0u64..20_000, 0..100)) {
            let mut now = Instant::now();
            let mut record = Record::new(now);
            for pause in pauses {
                now += Duration::from_millis(pause);
                prop_assert_eq!(record.note(Outcome::Good, &rule(), now), None);
            }
        }
    }
}
