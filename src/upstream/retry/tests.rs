use std::num::NonZeroU32;

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

    /// Whatever the past: after a window without retries there are those that are always allowed, and
    /// the shares of workers are not less than the whole.
    #[test]
    fn there_are_always_a_few(
        steps in prop::collection::vec((0u64..2_000, 0u32..50, 0u32..50), 0..30),
        percent in 0u32..=100, few in 0u32..20, parts in 1u32..9,
    ) {
        let rule = RetryBudget { percent, per_second_min: few };
        let mut now = Instant::now();
        let mut budget = Budget::new(rule, parts, now);
        for (pause, requests, wanted) in steps {
            now += Duration::from_millis(pause);
            (0..requests).for_each(|_| budget.request(now));
            (0..wanted).for_each(|_| _ = budget.take(now));
        }
        now += Duration::from_secs(10);
        let taken = (0..1000).filter(|_| budget.take(now)).count() as u32;
        prop_assert!(taken * parts >= few * 10, "{taken} for each of {parts}");
        prop_assert!(taken <= few * 10, "{taken}");
    }

    /// A service that fails all calls for a minute is asked as much more as the share says.
    #[test]
    fn an_outage_costs_the_share(per_second in 1u64..300, percent in 1u32..=50) {
        let rule = RetryBudget { percent, per_second_min: 3 };
        let start = Instant::now();
        let mut budget = Budget::new(rule, 1, start);
        let mut taken = 0;
        for number in 0..per_second * 60 {
            let now = start + Duration::from_micros(number * 1_000_000 / per_second);
            budget.request(now);
            taken += u64::from(budget.take(now));
        }
        // The few that are always allowed, for the last window of the past as well.
        let (share, few) = (per_second * 60 * u64::from(percent) / 100, 3 * 70);
        let least = share.max(3 * 50).min(per_second * 60);
        prop_assert!(taken * 10 >= least * 8, "{taken} of at least {least}");
        prop_assert!(taken <= share * 12 / 10 + few, "{taken} of {share} and {few}");
    }

    /// Whatever becomes of its sendings, a call that may be carried out once is never sent again after
    /// the service may have, others no oftener than the rule says; and there is an end.
    #[test]
    fn nothing_is_carried_out_too_often(
        endings in prop::collection::vec(ending(), 50),
        attempts in 1u32..6, codes in prop::collection::vec(code(), 0..4), idempotent: bool, elsewhere: bool,
    ) {
        let rule = RetryRule {
            attempts: NonZeroU32::new(attempts).unwrap(),
            per_try: Some(Duration::from_secs(1)),
            codes,
            idempotent: None,
        };
        let mut course = Course::new(Some(&rule).filter(|_| idempotent));
        let (mut sends, mut carried_out) = (0, 0);
        for ending in endings {
            // The last attempt has all the time there is, unless another upstream needs some.
            let is_last = !idempotent || !elsewhere && course.attempt() == attempts;
            prop_assert_eq!(course.per_try(elsewhere).is_none(), is_last);
            let ending = match ending {
                Ending::Late if is_last => Ending::Code(GrpcCode::DeadlineExceeded),
                ending => ending,
            };
            course.sends();
            sends += 1;
            if ending == Ending::Unbegun {
                prop_assert_eq!(course.goes_on(ending), sends < SENDS_MAX);
            } else {
                carried_out += 1;
            }
            if !course.goes_on(ending) {
                break;
            }
            if let Ending::Code(code) = ending {
                prop_assert!(rule.codes.contains(&code));
            }
            if ending != Ending::Unbegun {
                course.retries();
            }
        }
        let allowed = if idempotent { attempts } else { 1 };
        prop_assert!(carried_out <= allowed);
        prop_assert!(sends < SENDS_MAX + attempts);
    }

    /// Up to twice the last bound, and never past the most.
    #[test]
    fn waits_are_bounded(retry in 1u32.., random in 0.0f64..=1.0, other in 0.0f64..=1.0) {
        let most = backoff(retry, 1.0);
        prop_assert!(backoff(retry, random) <= most && most <= BACKOFF_MAX);
        prop_assert!(backoff(retry.saturating_add(1), 1.0) >= most);
        prop_assert!(backoff(retry.saturating_add(1), 1.0) <= most * 2);
        prop_assert_eq!(backoff(retry, random) <= backoff(retry, other), random <= other || most.mul_f64(random) == most.mul_f64(other));
        prop_assert_eq!(backoff(retry, 0.0), Duration::ZERO);
    }

    #[test]
    fn waits_to_connect_are_bounded_and_apart(failures: u32, random in 0.0f64..=1.0) {
        let (least, most) = (connect_backoff(failures, 0.0), connect_backoff(failures, 1.0));
        let wait = connect_backoff(failures, random);
        prop_assert!(least <= wait && wait <= most);
        prop_assert!(most >= least.mul_f64(1.49) && least >= UPSTREAM_BACKOFF_MIN.mul_f64(0.79));
        prop_assert!(most <= UPSTREAM_BACKOFF_MAX.mul_f64(1.21));
        prop_assert!(connect_backoff(failures.saturating_add(1), random) >= wait);
    }

    /// What the service asks for is kept to the millisecond, and nothing outlasts the call.
    #[test]
    fn waits_end_before_the_call(
        asked in prop::option::of(0u64..20_000), retry in 1u32..20, random in 0.0f64..=1.0, left in 0u64..20_000,
    ) {
        let now = Instant::now();
        let until = now + Duration::from_millis(left);
        let mut metadata = HeaderMap::new();
        if let Some(asked) = asked {
            metadata.insert("grpc-retry-pushback-ms", asked.into());
        }
        let pushback = Pushback::of(&metadata);
        let waited = wait(pushback, retry, random, now, until);
        let wanted = match asked {
            None => Some(backoff(retry, random)),
            Some(asked) => Some(Duration::from_millis(asked)).filter(|a| *a <= PUSHBACK_MAX),
        };
        prop_assert_eq!(waited, wanted.filter(|wanted| now + *wanted < until));
    }
}

fn code() -> impl Strategy<Value = GrpcCode> {
    (0u32..17).prop_map(GrpcCode::from_number)
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Unbegun),
        code().prop_map(Ending::Code),
        Just(Ending::Late),
    ]
}
