//! Until when a request may take: the earliest of what the client and the route say.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::config::model::Policy;
use crate::failure::{Blame, Failure, GrpcCode};
use crate::transcode::metadata::{client_timeout, grpc_timeout};

/// Longer than any exchange lasts, and short enough for any clock.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The bounds in time of one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The whole of a unary call, the first message of a stream, the head of a proxied answer.
    answer: Instant,
    /// The end of a stream, for a client or a route that set one.
    stream: Option<Instant>,
}

impl Deadline {
    /// # Errors
    /// A timeout of the client's that can't be read: 400.
    pub(super) fn earliest(
        now: Instant,
        headers: &HeaderMap,
        policy: &Policy,
    ) -> Result<Self, Failure> {
        Ok(Self::of(now, client_timeout(headers)?, policy))
    }

    /// The same with what the client says in a way of its own.
    pub(super) fn of(now: Instant, client: Option<Duration>, policy: &Policy) -> Self {
        let answer = client.map_or(policy.timeout, |c| c.min(policy.timeout));
        let stream = [client, policy.stream_max].into_iter().flatten().min();
        Self {
            answer: after(now, answer),
            stream: stream.map(|s| after(now, s)),
        }
    }

    /// Runs `work` until the deadline. It is pinned where it was made: a future that is handed on by
    /// value is kept twice.
    ///
    /// # Errors
    /// `late()` when the time is up.
    pub(super) async fn bound<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
        late: impl FnOnce() -> Failure,
    ) -> Result<T, Failure> {
        match tokio::time::timeout_at(self.answer, work).await {
            Ok(done) => done,
            Err(_) => Err(late()),
        }
    }

    /// When a unary call must be over, and a stream have begun.
    pub(super) fn of_answer(&self) -> Instant {
        self.answer
    }

    /// When a stream must be over, if ever.
    pub(super) fn of_stream(&self) -> Option<Instant> {
        self.stream
    }

    /// The `grpc-timeout` of a unary call: what is left of the time.
    pub(super) fn for_unary(&self, now: Instant) -> HeaderValue {
        grpc_timeout(self.answer.saturating_duration_since(now))
    }

    /// The `grpc-timeout` of a stream: none unless the client or the route wants an end.
    pub(super) fn for_stream(&self, now: Instant) -> Option<HeaderValue> {
        let end = self.stream?;
        Some(grpc_timeout(end.saturating_duration_since(now)))
    }
}

/// 504 for an upstream that was too slow.
pub(super) fn no_answer_in_time() -> Failure {
    Failure::upstream(
        GrpcCode::DeadlineExceeded,
        "the service didn't answer in time",
    )
}

/// 408 for a body that was not there in time.
pub(super) fn no_body_in_time() -> Failure {
    Failure::new(
        Blame::Client,
        GrpcCode::DeadlineExceeded,
        "the request body didn't come in time",
    )
    .status(http::StatusCode::REQUEST_TIMEOUT)
}

/// `now + wait`, on whatever clock.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FOREVER)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(now: Instant, headers: &[(&'static str, &str)], policy: &Policy) -> Deadline {
        let headers = headers
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect();
        Deadline::earliest(now, &headers, policy).unwrap()
    }

    #[test]
    fn the_smallest_timeout_counts() {
        let policy = Policy {
            timeout: Duration::from_secs(15),
            ..Policy::default()
        };
        let now = Instant::now();
        for (headers, millis) in [
            (&[][..], 15_000),
            (&[("grpc-timeout", "1S")], 1000),
            (&[("grpc-timeout", "99999999H")], 15_000),
            (&[("x-server-timeout", "0.25")], 250),
            (&[("grpc-timeout", "4S"), ("x-server-timeout", "3")], 3000),
        ] {
            let found = deadline(now, headers, &policy).answer;
            assert_eq!(found, now + Duration::from_millis(millis), "{headers:?}");
        }
    }

    #[test]
    fn a_stream_ends_only_when_someone_wants_it_to() {
        let mut policy = Policy::default();
        let now = Instant::now();
        let asked = &[("grpc-timeout", "1S")];
        assert_eq!(deadline(now, &[], &policy).of_stream(), None);
        assert_eq!(deadline(now, &[], &policy).for_stream(now), None);
        policy.stream_max = Some(Duration::from_secs(60));
        let second = Some(now + Duration::from_secs(1));
        assert_eq!(deadline(now, asked, &policy).of_stream(), second);
        let minute = Some(now + Duration::from_secs(60));
        assert_eq!(deadline(now, &[], &policy).of_stream(), minute);
        let left = deadline(now, &[], &policy).for_stream(now + Duration::from_secs(10));
        assert_eq!(left.unwrap(), "50000000u");
    }

    #[test]
    fn no_time_is_too_long_for_the_clock() {
        let policy = Policy {
            timeout: Duration::MAX,
            stream_max: Some(Duration::MAX),
            ..Policy::default()
        };
        let now = Instant::now();
        assert_eq!(deadline(now, &[], &policy).answer, now + FOREVER);
    }
}
