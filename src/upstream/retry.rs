//! Whether a call that failed is sent again, and when.
//!
//! Pure: times and random numbers come in as values.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::config::model::RetryBudget;

/// Half of the time over which requests and retries are weighed against each other.
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// First wait before a retry (gRFC A6 leaves it to configuration; it grows from here).
const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Longest wait before a retry.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A service that asks for more is not asked again within the call.
const PUSHBACK_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u32,
    retries: u32,
}

/// Keeps retries to a share of the requests, so that they never make an overload worse.
///
/// A few are always allowed: a service with little traffic has no share to speak of.
#[derive(Debug)]
pub(super) struct Budget {
    rule: RetryBudget,
    /// Of the retries that are always allowed, this worker's part.
    parts: u32,
    now: Counts,
    before: Counts,
    since: Instant,
}

impl Budget {
    /// The budget of one of `parts` workers.
    pub(super) fn new(rule: RetryBudget, parts: u32, now: Instant) -> Self {
        Self {
            rule,
            parts: parts.max(1),
            now: Counts::default(),
            before: Counts::default(),
            since: now,
        }
    }

    /// Notes a request: its first sending, that is.
    pub(super) fn request(&mut self, now: Instant) {
        self.turn(now);
        self.now.requests = self.now.requests.saturating_add(1);
    }

    /// Takes one retry out, if it has one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.turn(now);
        let requests = u64::from(self.now.requests).saturating_add(u64::from(self.before.requests));
        let retries = u64::from(self.now.retries).saturating_add(u64::from(self.before.retries));
        let shared = requests.saturating_mul(u64::from(self.rule.percent)) / 100;
        let window = HALF_WINDOW.as_secs().saturating_mul(2);
        let always = u64::from(self.rule.per_second_min)
            .saturating_mul(window)
            .div_ceil(u64::from(self.parts));
        let allowed = retries < shared.saturating_add(always);
        if allowed {
            self.now.retries = self.now.retries.saturating_add(1);
        }
        allowed
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < HALF_WINDOW {
            return;
        }
        let old = std::mem::take(&mut self.now);
        self.before = match passed < HALF_WINDOW.saturating_mul(2) {
            true => old,
            false => Counts::default(),
        };
        self.since = now;
    }
}

/// What the service says about being asked again (`grpc-retry-pushback-ms`, gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    /// Nothing.
    None,
    Wait(Duration),
    /// A negative number, or what can't be read.
    Never,
}

impl Pushback {
    pub(super) fn of(metadata: &HeaderMap) -> Self {
        let Some(value) = metadata.get("grpc-retry-pushback-ms") else {
            return Self::None;
        };
        let millis = value.to_str().ok().and_then(|text| text.parse().ok());
        match millis.map(Duration::from_millis) {
            Some(wait) if wait <= PUSHBACK_MAX => Self::Wait(wait),
            _ => Self::Never,
        }
    }
}

/// The wait before retry number `retry` (from 1), by `random` in 0 to 1: between nothing and the
/// doubled time, so that clients of one failure don't come back together.
pub(super) fn backoff(retry: u32, random: f64) -> Duration {
    let most = BACKOFF_MIN
        .saturating_mul(1 << retry.saturating_sub(1).min(16))
        .min(BACKOFF_MAX);
    most.mul_f64(random.clamp(0.0, 1.0))
}

/// The wait before the next sending, if there is time for it.
pub(super) fn wait(
    pushback: Pushback,
    retry: u32,
    random: f64,
    now: Instant,
    until: Instant,
) -> Option<Duration> {
    let wait = match pushback {
        Pushback::Never => return None,
        Pushback::Wait(wait) => wait,
        Pushback::None => backoff(retry, random),
    };
    (now.checked_add(wait)? < until).then_some(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: RetryBudget = RetryBudget {
        percent: 20,
        per_second_min: 3,
    };

    #[test]
    fn a_quiet_service_has_a_few_and_a_busy_one_its_share() {
        let now = Instant::now();
        let mut budget = Budget::new(RULE, 1, now);
        let taken = (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(taken, 30);
        let later = now + Duration::from_secs(20);
        for _ in 0..1000 {
            budget.request(later);
        }
        let taken = (0..1000).filter(|_| budget.take(later)).count();
        assert_eq!(taken, 230);
    }

    #[test]
    fn workers_share_the_few() {
        let now = Instant::now();
        let taken: usize = (0..4)
            .map(|_| {
                let mut budget = Budget::new(RULE, 4, now);
                (0..100).filter(|_| budget.take(now)).count()
            })
            .sum();
        assert!((30..=32).contains(&taken), "{taken}");
    }

    #[test]
    fn services_may_push_back() {
        let of = |text: &str| {
            let mut metadata = HeaderMap::new();
            metadata.insert("grpc-retry-pushback-ms", text.parse().unwrap());
            Pushback::of(&metadata)
        };
        assert_eq!(Pushback::of(&HeaderMap::new()), Pushback::None);
        assert_eq!(of("250"), Pushback::Wait(Duration::from_millis(250)));
        for never in ["-1", "soon", "", "99999999999999999999", "10001"] {
            assert_eq!(of(never), Pushback::Never, "{never:?}");
        }
    }

    #[test]
    fn nothing_is_sent_again_past_its_deadline() {
        let now = Instant::now();
        let until = now + Duration::from_millis(20);
        assert!(wait(Pushback::None, 1, 0.5, now, until).is_some());
        assert!(wait(Pushback::None, 1, 1.0, now, until).is_none());
        let asked = Pushback::Wait(Duration::from_millis(20));
        assert!(wait(asked, 1, 0.0, now, until).is_none());
        assert!(wait(Pushback::Never, 1, 0.0, now, until).is_none());
    }

    proptest! {
        #[test]
        fn retries_never_pass_the_share(steps in prop::collection::vec((0u64..2_000, 0u32..50, 0u32..50), 1..60)) {
            let start = Instant::now();
            let mut now = start;
            let mut budget = Budget::new(RULE, 1, now);
            let mut log: Vec<(Instant, u32, u32)> = Vec::new();
            for (pause, requests, wanted) in steps {
                now += Duration::from_millis(pause);
                for _ in 0..requests {
                    budget.request(now);
                }
                let taken = (0..wanted).filter(|_| budget.take(now)).count() as u32;
                log.push((now, requests, taken));
            }
            // In any half window: no more than what two windows of requests give reason for.
            for (at, ..) in &log {
                let within = |t: &Instant, back: u64| *t <= *at && at.duration_since(*t) < Duration::from_secs(back);
                let retries: u32 = log.iter().filter(|(t, ..)| within(t, 5)).map(|l| l.2).sum();
                let requests: u32 = log.iter().filter(|(t, ..)| within(t, 15)).map(|l| l.1).sum();
                prop_assert!(retries <= 2 * (requests / 5 + 30) + 2, "{retries} of {requests}");
            }
        }

        #[test]
        fn waits_are_bounded(retry: u32, random in 0.0f64..=1.0) {
            prop_assert!(backoff(retry, random) <= BACKOFF_MAX);
        }
    }
}
