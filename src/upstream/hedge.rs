//! A call at several endpoints at once: the first answer counts, the others are cancelled.
//!
//! By gRFC A6: an answer's head settles it, unless it says that another attempt is worth it; then the
//! next one goes out at once. A service may ask for a wait, or for none at all, by pushback. Only what
//! may be sent twice comes here, each further sending takes from the retry budget, and needs a place
//! that is free: help for slow calls is nothing for an upstream that is full.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use tokio::time::{Instant, sleep_until};

use crate::config::model::{HedgeRule, RetryRule};
use crate::failure::{Failure, GrpcCode, Retry};

use super::UpstreamBody;
use super::answer::AnswerBody;
use super::breaker::Place;
use super::call::{How, Tried};
use super::copy::Copy;
use super::pool::{Pool, no_sender};
use super::retry::Pushback;
use super::trial::code_of;

/// What one sending came to.
type Outcome = Result<Response<AnswerBody>, Failure>;

/// When the next sending goes out. Pure: times come in as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    At(Instant),
    /// There is no further one.
    Never,
}

impl Plan {
    /// After a sending at `now`, of which there have been `sent`.
    fn after_sending(rule: HedgeRule, sent: u32, now: Instant) -> Self {
        match sent < rule.attempts.get() {
            true => now.checked_add(rule.after).map_or(Self::Never, Self::At),
            false => Self::Never,
        }
    }

    /// After one has failed in a way that is worth another.
    fn after_failure(self, pushback: Pushback, now: Instant) -> Self {
        let wait = match pushback {
            Pushback::Never => return Self::Never,
            Pushback::Wait(wait) => wait,
            Pushback::None => Duration::ZERO,
        };
        match self {
            Self::At(_) => now.checked_add(wait).map_or(Self::Never, Self::At),
            Self::Never => Self::Never,
        }
    }
}

impl Pool {
    /// Sends it to one endpoint after the other until one answers. Dropping it cancels all of them.
    pub(super) async fn hedged(
        self: &Rc<Self>,
        request: &mut Option<Request<UpstreamBody>>,
        how: How<'_>,
        rule: HedgeRule,
        place: Place,
    ) -> Outcome {
        let tried = Tried::default();
        let Some(copy) = request.as_ref().and_then(Copy::beside) else {
            return self.attempts(request, &how, place, &tried).await;
        };
        let codes = how.retry.map_or(&[GrpcCode::Unavailable][..], |r| &r.codes);
        // Sendings beside each other take the place of those after each other, but where another
        // upstream comes after them none is worth all the time.
        let once = how.retry.filter(|_| how.elsewhere).map(|rule| RetryRule {
            attempts: NonZeroU32::MIN,
            ..rule.clone()
        });
        let how = How {
            retry: once.as_ref(),
            ..how
        };
        let send = |number: u32, mut request: Option<_>, place| {
            let (tried, how) = (&tried, &how);
            async move { (number, self.attempts(&mut request, how, place, tried).await) }
        };
        let mut under_way = FuturesUnordered::new();
        let mut sent = 1;
        let mut plan = Plan::after_sending(rule, sent, Instant::now());
        under_way.push(send(sent, request.take(), place));
        let mut last = Err(no_sender());
        loop {
            let ended = next(&mut under_way, plan).await;
            let now = Instant::now();
            let Some((number, outcome)) = ended else {
                plan = match self.place_beside().zip(copy.request()) {
                    Some((place, request)) => {
                        sent += 1;
                        self.count(|c| &mut c.hedges);
                        under_way.push(send(sent, Some(request), place));
                        Plan::after_sending(rule, sent, now)
                    }
                    None => Plan::Never,
                };
                if under_way.is_empty() {
                    return last;
                }
                continue;
            };
            let Some(pushback) = worth_another(&outcome, codes) else {
                if number > 1 {
                    self.count(|c| &mut c.hedges_won);
                }
                return outcome;
            };
            last = outcome;
            plan = plan.after_failure(pushback, now);
            if plan == Plan::Never && under_way.is_empty() {
                return last;
            }
        }
    }
}

/// The next sending that ends; `None` when the time of another has come before.
async fn next<F: Future>(under_way: &mut FuturesUnordered<F>, plan: Plan) -> Option<F::Output> {
    let mut time = pin!(async {
        match plan {
            Plan::At(time) => sleep_until(time).await,
            Plan::Never => std::future::pending().await,
        }
    });
    std::future::poll_fn(|cx| {
        // Empty is no end: another one may be due.
        if let Poll::Ready(Some(ended)) = under_way.poll_next_unpin(cx) {
            return Poll::Ready(Some(ended));
        }
        Pin::new(&mut time).poll(cx).map(|()| None)
    })
    .await
}

/// Whether what a sending came to is no answer yet, and what the service says about another.
fn worth_another(outcome: &Outcome, codes: &[GrpcCode]) -> Option<Pushback> {
    match outcome {
        Ok(answer) => {
            let code = code_of(answer.headers())?;
            codes
                .contains(&code)
                .then(|| Pushback::of(answer.headers()))
        }
        Err(failure) => {
            let may = matches!(failure.retry, Retry::IfIdempotent | Retry::IfUnsent);
            // One whose own time is over says nothing of the others.
            let late = failure.code == GrpcCode::DeadlineExceeded;
            (late || may && codes.contains(&failure.code)).then_some(Pushback::None)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(attempts: u32) -> HedgeRule {
        HedgeRule {
            after: Duration::from_millis(50),
            attempts: NonZeroU32::new(attempts).unwrap(),
        }
    }

    #[test]
    fn a_failure_brings_the_next_one_forward() {
        let now = Instant::now();
        let plan = Plan::after_sending(rule(2), 1, now);
        assert_eq!(plan, Plan::At(now + Duration::from_millis(50)));
        let later = now + Duration::from_millis(5);
        assert_eq!(plan.after_failure(Pushback::None, later), Plan::At(later));
        let asked = Pushback::Wait(Duration::from_millis(7));
        let expected = Plan::At(now + Duration::from_millis(12));
        assert_eq!(plan.after_failure(asked, later), expected);
        assert_eq!(plan.after_failure(Pushback::Never, later), Plan::Never);
        assert_eq!(Plan::after_sending(rule(2), 2, now), Plan::Never);
    }

    proptest! {
        /// Whatever happens, there are no more sendings than the rule has.
        #[test]
        fn sendings_are_bounded(
            attempts in 1u32..6,
            events in prop::collection::vec((0u64..100, prop::option::of(0u64..60)), 0..40),
        ) {
            let mut now = Instant::now();
            let (mut sent, rule) = (1, rule(attempts));
            let mut plan = Plan::after_sending(rule, sent, now);
            for (pause, failure) in events {
                now += Duration::from_millis(pause);
                if let Some(wait) = failure {
                    plan = plan.after_failure(Pushback::Wait(Duration::from_millis(wait)), now);
                }
                if let Plan::At(time) = plan && time <= now {
                    sent += 1;
                    plan = Plan::after_sending(rule, sent, now);
                }
            }
            prop_assert!(sent <= attempts);
        }
    }
}
