//! Whether a call that failed is sent again, and when.
//!
//! Pure: times and random numbers come in as values.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::config::model::{RetryBudget, RetryRule};
use crate::failure::GrpcCode;
use crate::limits::{SENDS_MAX, UPSTREAM_BACKOFF_MAX, UPSTREAM_BACKOFF_MIN};

#[cfg(test)]
mod tests;

/// Half of the time over which requests and retries are weighed against each other.
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// First wait before a retry (gRFC A6 leaves it to configuration; it grows from here).
const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Longest wait before a retry.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A service that asks for more is not asked again within the call.
const PUSHBACK_MAX: Duration = Duration::from_secs(10);

/// How one sending of a request ended, as far as another one may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service has provably not begun on it.
    Unbegun,
    /// With this code, and the service may have carried it out.
    Code(GrpcCode),
    /// The time of one attempt was over.
    Late,
}

/// The sendings of one call so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course<'r> {
    /// `None`: it may be carried out once.
    rule: Option<&'r RetryRule>,
    sends: u32,
    attempt: u32,
}

impl<'r> Course<'r> {
    /// A call that may be carried out as often as the rule says, or once.
    pub(super) fn new(rule: Option<&'r RetryRule>) -> Self {
        Self {
            rule,
            sends: 0,
            attempt: 1,
        }
    }

    /// It is sent.
    pub(super) fn sends(&mut self) {
        self.sends = self.sends.saturating_add(1);
    }

    /// It is about to be carried out once more.
    pub(super) fn retries(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    /// From 1.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The rule, when it has another attempt.
    fn has_another(&self) -> Option<&'r RetryRule> {
        self.rule.filter(|r| self.attempt < r.attempts.get())
    }

    /// How long this attempt may take: the last one as long as the call, unless another upstream comes
    /// after it.
    pub(super) fn per_try(&self, elsewhere: bool) -> Option<Duration> {
        let rule = match elsewhere {
            true => self.rule,
            false => self.has_another(),
        };
        rule?.per_try
    }

    /// Whether another sending may follow one that ended so.
    pub(super) fn goes_on(&self, ending: Ending) -> bool {
        match ending {
            Ending::Unbegun => self.sends < SENDS_MAX,
            Ending::Code(code) => self.has_another().is_some_and(|r| r.codes.contains(&code)),
            Ending::Late => self.has_another().is_some(),
        }
    }
}

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

/// The wait after so many failed attempts to connect in a row (from 1), by `random` in 0 to 1: workers
/// and gateways that failed together come back apart.
pub(super) fn connect_backoff(failures: u32, random: f64) -> Duration {
    let wait = UPSTREAM_BACKOFF_MIN
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(UPSTREAM_BACKOFF_MAX);
    wait.mul_f64(0.8 + random.clamp(0.0, 1.0) * 0.4)
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
