//! Which endpoint is the better one: how long it takes and how much it has to do.
//!
//! Pure: times and random numbers come in as values.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

/// After so long without answers an old latency weighs 1/e of what it did.
pub(super) const DECAY: Duration = Duration::from_secs(10);
/// What a failure counts as: fast failures must not look like a fast endpoint.
pub(super) const PENALTY: Duration = Duration::from_secs(1);
/// The least share of its full weight that an endpoint begins with.
const WEIGHT_MIN: f64 = 0.1;

/// Peak-sensitive moving average of the time to the head of an answer: a worse time counts at once, a
/// better one as time passes.
///
/// Without answers it decays, so that an endpoint that was slow is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    /// Nanoseconds at `at`; `None` until there has been an answer.
    nanos: Option<f64>,
    at: Instant,
}

impl Latency {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            nanos: None,
            at: now,
        }
    }

    /// Without what was seen before its endpoint came in, which was `age` ago: it is a stranger then.
    pub(super) fn within(self, age: Duration, now: Instant) -> Self {
        match now.saturating_duration_since(self.at) > age {
            true => Self::new(now),
            false => self,
        }
    }

    /// An answer that took `time`.
    pub(super) fn observe(&mut self, time: Duration, now: Instant) {
        let nanos = as_nanos(time);
        self.nanos = Some(match self.nanos {
            Some(before) if before > nanos => {
                let kept = self.kept(now);
                before * kept + nanos * (1.0 - kept)
            }
            _ => nanos,
        });
        self.at = now;
    }

    /// A failure that took `time`.
    pub(super) fn observe_failure(&mut self, time: Duration, now: Instant) {
        self.observe(time.max(PENALTY), now);
    }

    /// The cost of one more call beside `in_flight` others, in nanoseconds: less is better. An endpoint
    /// that has not answered yet gets one call at once, and the next ones when nobody else is free.
    pub(super) fn load(&self, in_flight: usize, now: Instant) -> f64 {
        let calls = as_count(in_flight);
        match self.nanos {
            Some(nanos) => nanos * self.kept(now) * (calls + 1.0),
            None => as_nanos(PENALTY) * calls,
        }
    }

    /// The average in nanoseconds, as it has decayed until now.
    #[cfg(test)]
    pub(super) fn nanos(&self, now: Instant) -> Option<f64> {
        self.nanos.map(|nanos| nanos * self.kept(now))
    }

    fn kept(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        (-passed.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

/// The share of its weight that an endpoint of this age has while it warms up.
pub(super) fn weight(age: Duration, slow_start: Duration) -> f64 {
    if age >= slow_start {
        return 1.0;
    }
    (age.as_secs_f64() / slow_start.as_secs_f64()).clamp(WEIGHT_MIN, 1.0)
}

/// Endpoints that are compared for one call. Of two, both are bad ones in two calls of a hundred when
/// two of ten are bad.
pub(super) const COMPARED: usize = 4;

/// [`COMPARED`] different places below `count`, or all of them if there are no more; `below(n)` is a
/// random number below `n` (Floyd's way to sample).
pub(super) fn sample(
    count: usize,
    mut below: impl FnMut(usize) -> usize,
) -> SmallVec<[usize; COMPARED]> {
    let mut chosen = SmallVec::new();
    for last in count.saturating_sub(COMPARED)..count {
        let drawn = below(last.saturating_add(1));
        chosen.push(match chosen.contains(&drawn) {
            true => last,
            false => drawn,
        });
    }
    chosen
}

fn as_nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Exact far beyond any number of calls.
fn as_count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_worse_time_counts_at_once_and_a_better_one_slowly() {
        let now = Instant::now();
        let mut latency = Latency::new(now);
        latency.observe(ms(5), now);
        latency.observe(ms(50), now + ms(1));
        assert_eq!(latency.nanos(now + ms(1)), Some(50e6));
        latency.observe(ms(5), now + ms(2));
        let after = latency.nanos(now + ms(2)).unwrap();
        assert!(after > 49e6 && after < 50e6, "{after}");
        let later = latency.load(0, now + ms(2) + DECAY);
        assert!((later / after - (-1.0f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn a_stranger_gets_one_call_before_the_others() {
        let now = Instant::now();
        let stranger = Latency::new(now);
        let mut known = Latency::new(now);
        known.observe(ms(1), now);
        assert!(stranger.load(0, now) < known.load(0, now));
        assert!(stranger.load(1, now) > known.load(100, now));
    }

    #[test]
    fn who_comes_back_is_a_stranger() {
        let now = Instant::now();
        let mut latency = Latency::new(now);
        latency.observe_failure(ms(1), now);
        let later = now + ms(100);
        assert_eq!(latency.within(ms(100), later).nanos(now), Some(1e9));
        let back = latency.within(ms(99), later);
        assert_eq!(back.nanos(later), None);
        assert!(back.load(0, later) < latency.load(0, later));
    }

    #[test]
    fn failing_fast_is_no_speed() {
        let now = Instant::now();
        let mut failing = Latency::new(now);
        failing.observe_failure(Duration::from_micros(10), now);
        let mut slow = Latency::new(now);
        slow.observe(ms(500), now);
        assert!(failing.load(0, now) > slow.load(0, now));
    }

    #[test]
    fn weight_grows_with_age() {
        assert!((weight(ms(0), ms(1000)) - 0.1).abs() < 1e-9);
        assert!((weight(ms(500), ms(1000)) - 0.5).abs() < 1e-9);
        assert!((weight(ms(1000), ms(1000)) - 1.0).abs() < 1e-9);
        assert!((weight(ms(0), ms(0)) - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn places_differ_and_exist(count in 0usize..100, random in prop::collection::vec(any::<usize>(), COMPARED)) {
            let mut random = random.into_iter();
            let mut chosen = sample(count, |n| random.next().unwrap() % n);
            prop_assert_eq!(chosen.len(), count.min(COMPARED));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), count.min(COMPARED));
            prop_assert!(chosen.iter().all(|at| *at < count));
        }

        #[test]
        fn the_average_stays_between_what_was_seen(times in prop::collection::vec((1u64..10_000, 0u64..5_000), 1..50)) {
            let mut now = Instant::now();
            let mut latency = Latency::new(now);
            let (mut least, mut most) = (u64::MAX, 0);
            for (time, pause) in times {
                now += ms(pause);
                latency.observe(ms(time), now);
                least = least.min(time);
                most = most.max(time);
            }
            let found = latency.nanos(now).unwrap() / 1e6;
            prop_assert!(found >= least as f64 * 0.999_999 && found <= most as f64 * 1.000_001, "{found}");
        }
    }

    /// Ten endpoints in simulated time: one takes ten times as long, one fails at once every other
    /// time. From the second second on, each of them gets next to nothing.
    #[test]
    fn the_slow_and_the_failing_get_next_to_nothing() {
        let mut random = 7u64;
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            random ^ (random >> 29)
        };
        let start = Instant::now();
        let mut endpoints: Vec<_> = (0..10)
            .map(|_| (Latency::new(start), Vec::<(Instant, bool)>::new()))
            .collect();
        let (mut calls, mut slow, mut failing) = (0u32, 0u32, 0u32);
        for step in 0..10_000u64 {
            let now = start + ms(step);
            for (at, (latency, open)) in endpoints.iter_mut().enumerate() {
                open.retain(|(end, failed)| {
                    let done = *end <= now;
                    if done {
                        let took = ms(if at == 3 { 50 } else { 5 });
                        if *failed {
                            latency.observe_failure(Duration::from_micros(100), now)
                        } else {
                            latency.observe(took, now)
                        }
                    }
                    !done
                });
            }
            let load = |at: &usize| endpoints[*at].0.load(endpoints[*at].1.len(), now);
            let drawn = sample(10, |n| usize::try_from(next() % n as u64).unwrap());
            let chosen = drawn
                .into_iter()
                .min_by(|a, b| load(a).total_cmp(&load(b)))
                .unwrap();
            let fails = chosen == 4 && next().is_multiple_of(2);
            let takes = if fails {
                0
            } else if chosen == 3 {
                50
            } else {
                5
            };
            endpoints[chosen].1.push((now + ms(takes), fails));
            if step >= 1000 {
                calls += 1;
                slow += u32::from(chosen == 3);
                failing += u32::from(chosen == 4);
            }
        }
        assert!(
            f64::from(slow) / f64::from(calls) < 0.003,
            "{slow} of {calls}"
        );
        assert!(
            f64::from(failing) / f64::from(calls) < 0.003,
            "{failing} of {calls}"
        );
    }
}
