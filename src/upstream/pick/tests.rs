use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::config::model::Ejection;

use super::super::balance::Latency;
use super::super::outlier::{Outcome, Record, ejection_time, may_eject};
use super::*;

/// An endpoint that is as it is told to be.
#[derive(Clone, Debug)]
struct Told {
    healthy: bool,
    ejected: bool,
    due: Cell<bool>,
    backing_off: bool,
    hash: u64,
    load: f64,
}

impl Told {
    fn sound(number: u64) -> Self {
        Self {
            healthy: true,
            ejected: false,
            due: Cell::new(false),
            backing_off: false,
            hash: mix(number + 1),
            load: 1.0,
        }
    }

    fn is_usable(&self, panics: bool) -> bool {
        (panics || self.healthy) && !self.ejected && !self.backing_off
    }
}

impl Candidate for Told {
    fn is_healthy(&self) -> bool {
        self.healthy
    }
    fn is_ejected(&self) -> bool {
        self.ejected
    }
    fn tries_again(&self) -> bool {
        self.due.take()
    }
    fn is_backing_off(&self) -> bool {
        self.backing_off
    }
    fn hash(&self) -> u64 {
        self.hash
    }
    fn age(&self) -> Duration {
        Duration::MAX
    }
    fn load(&self, _: Duration, _: Instant) -> f64 {
        self.load
    }
}

struct Given {
    balance: Balance,
    panic_percent: u8,
    random: RefCell<fastrand::Rng>,
    turn: Cell<usize>,
    now: Cell<Instant>,
}

impl Given {
    fn new(balance: Balance, seed: u64) -> Self {
        Self {
            balance,
            panic_percent: 50,
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            turn: Cell::new(0),
            now: Cell::new(Instant::now()),
        }
    }
}

impl Chooser for Given {
    fn balance(&self) -> Balance {
        self.balance
    }
    fn panic_percent(&self) -> u8 {
        self.panic_percent
    }
    fn slow_start(&self) -> Duration {
        Duration::ZERO
    }
    fn random_below(&self, count: usize) -> usize {
        self.random.borrow_mut().usize(..count)
    }
    fn next_turn(&self) -> usize {
        self.turn.replace(self.turn.get() + 1)
    }
    fn now(&self) -> Instant {
        self.now.get()
    }
}

fn balances() -> impl Strategy<Value = Balance> {
    prop::sample::select(vec![Balance::Best, Balance::RoundRobin, Balance::Hash])
}

prop_compose! {
    fn told()(
        healthy: bool, state in 0..4, backing_off: bool, hash: u64, load in 0.0f64..100.0,
    ) -> Told {
        // Half are in, and only who is out may be due.
        let (ejected, due) = (state >= 2, Cell::new(state == 3));
        Told { healthy, ejected, due, backing_off, hash, load }
    }
}

proptest! {
    /// Whatever endpoints are like, calls go to all of them in the end, each once, and first to those
    /// that are due or usable.
    #[test]
    fn everyone_is_tried_once_and_the_usable_ones_first(
        all in prop::collection::vec(told(), 0..12),
        balance in balances(), seed: u64, key: Option<u64>,
    ) {
        let given = Given::new(balance, seed);
        let healthy = all.iter().filter(|e| e.healthy).count();
        let panics = healthy * 2 < all.len();
        let mut tried = Vec::new();
        while tried.len() < all.len() {
            // Who says that it isn't well isn't tried, unless few are.
            let may = |e: &Told| e.due.get() && (panics || e.healthy);
            let due = |at: &usize| may(&all[*at]) && !tried.contains(at);
            let is_due: Vec<_> = (0..all.len()).filter(due).collect();
            let left = |at: &usize| !tried.contains(at) && all[*at].is_usable(panics);
            let usable: Vec<_> = (0..all.len()).filter(left).collect();
            let picked = pick(&given, &all, &tried, key).unwrap();
            prop_assert!(picked.at < all.len() && !tried.contains(&picked.at));
            if all.len() > 1 {
                prop_assert_eq!(picked.probes, is_due.contains(&picked.at));
                prop_assert_eq!(picked.probes, !is_due.is_empty());
                let of_usable = usable.is_empty() || usable.contains(&picked.at);
                prop_assert!(picked.probes || of_usable);
                // One call tries one of them.
                let due_now = all.iter().filter(|e| may(e)).count();
                prop_assert_eq!(due_now, is_due.len() - usize::from(picked.probes));
            }
            tried.push(picked.at);
        }
        prop_assert_eq!(pick(&given, &all, &tried, key), None);
    }

    /// Where health is always heeded, no call goes to who isn't healthy, and each other one is tried.
    #[test]
    fn without_panic_the_unhealthy_get_no_calls(
        all in prop::collection::vec(told(), 0..12),
        balance in balances(), seed: u64, key: Option<u64>,
    ) {
        let given = Given { panic_percent: 0, ..Given::new(balance, seed) };
        let mut tried = Vec::new();
        while let Some(picked) = pick(&given, &all, &tried, key) {
            prop_assert!(all[picked.at].healthy && !tried.contains(&picked.at));
            tried.push(picked.at);
        }
        prop_assert_eq!(tried.len(), all.iter().filter(|e| e.healthy).count());
    }

    #[test]
    fn of_few_the_best_one_is_found(loads in prop::collection::vec(0.0f64..100.0, 2..=4), seed: u64) {
        let given = Given::new(Balance::Best, seed);
        let tell = |load: &f64| Told { load: *load, ..Told::sound(0) };
        let all: Vec<_> = loads.iter().map(tell).collect();
        let picked = pick(&given, &all, &[], None).unwrap();
        let least = loads.iter().copied().fold(f64::MAX, f64::min);
        prop_assert!(loads[picked.at] <= least);
    }

    /// Of many, it is never one of the three worst.
    #[test]
    fn of_many_a_good_one_is_found(count in 4usize..40, seed: u64) {
        let given = Given::new(Balance::Best, seed);
        let tell = |at| Told { load: at as f64, ..Told::sound(0) };
        let all: Vec<_> = (0..count).map(tell).collect();
        let picked = pick(&given, &all, &[], None).unwrap();
        prop_assert!(picked.at < count - 3);
    }

    #[test]
    fn turns_are_equal(out in prop::collection::vec(any::<bool>(), 2..10), rounds in 1usize..20) {
        let given = Given::new(Balance::RoundRobin, 0);
        let tell = |ejected: &bool| Told { ejected: *ejected, ..Told::sound(0) };
        let all: Vec<_> = out.iter().map(tell).collect();
        let open = out.iter().filter(|out| !**out).count();
        prop_assume!(open > 0);
        let mut got = vec![0; all.len()];
        for _ in 0..rounds * open {
            got[pick(&given, &all, &[], None).unwrap().at] += 1;
        }
        for (got, out) in got.into_iter().zip(out) {
            prop_assert_eq!(got, if out { 0 } else { rounds });
        }
    }

    /// Keys stay where they are, except for those of an endpoint that is gone; and they are spread.
    #[test]
    fn keys_stay(count in 2u64..9, first: u32, gone: prop::sample::Index) {
        let given = Given::new(Balance::Hash, 0);
        let all: Vec<_> = (0..count).map(|n| Told::sound(u64::from(first) + n)).collect();
        let gone = gone.index(all.len());
        let mut less = all.clone();
        less[gone].ejected = true;
        let mut got = BTreeMap::<_, usize>::new();
        for key in 0..1000 {
            // Keys are hashes.
            let key = Some(mix(key));
            let at = pick(&given, &all, &[], key).unwrap().at;
            prop_assert_eq!(pick(&given, &all, &[], key).unwrap().at, at);
            let then = pick(&given, &less, &[], key).unwrap().at;
            prop_assert!(then == at || at == gone);
            prop_assert!(then != gone);
            *got.entry(at).or_default() += 1;
        }
        let fair = 1000 / all.len();
        for at in 0..all.len() {
            let got = got.get(&at).copied().unwrap_or_default();
            prop_assert!(got > fair / 2 && got < fair * 2, "{} of {}", got, fair);
        }
    }
}

/// An endpoint of a simulated fleet.
struct Simulated {
    clock: Instant,
    in_since: Instant,
    latency: Latency,
    record: Record,
    /// When its calls end.
    calls: Vec<Instant>,
    out_until: Cell<Option<Instant>>,
    ejections: u32,
}

impl Candidate for Simulated {
    fn is_healthy(&self) -> bool {
        true
    }
    fn is_ejected(&self) -> bool {
        self.out_until.get().is_some()
    }
    fn tries_again(&self) -> bool {
        let due = self
            .out_until
            .get()
            .is_some_and(|until| self.clock >= until);
        if due {
            self.out_until
                .set(Some(self.clock + Duration::from_secs(1)));
        }
        due
    }
    fn is_backing_off(&self) -> bool {
        false
    }
    fn hash(&self) -> u64 {
        0
    }
    fn age(&self) -> Duration {
        self.clock.duration_since(self.in_since)
    }
    fn load(&self, age: Duration, now: Instant) -> f64 {
        self.latency.within(age, now).load(self.calls.len(), now)
    }
}

impl Simulated {
    fn latency(&mut self) -> &mut Latency {
        self.latency = self.latency.within(self.age(), self.clock);
        &mut self.latency
    }
}

const EJECTION: Ejection = Ejection {
    consecutive_failures: 5,
    failure_percent: 50,
    calls_min: 10,
    window: Duration::from_secs(10),
    time: Duration::from_secs(1),
    time_max: Duration::from_secs(8),
    percent_max: 50,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A call every other millisecond of simulated time; some instances fail at once for some seconds.
    /// Few calls fail, and a minute later all are called again, in turn as often as others.
    #[test]
    fn the_failing_are_left_out_and_come_back(
        count in 3usize..10, seed: u64, balance in prop::sample::select(vec![Balance::Best, Balance::RoundRobin]),
        from in 500u64..2000, long in 1000u64..4000, broken in 1usize..4,
    ) {
        let start = Instant::now();
        let given = Given::new(balance, seed);
        let broken = broken.min(count / 2);
        let mut fleet: Vec<_> = (0..count).map(|_| Simulated {
            clock: start,
            in_since: start,
            latency: Latency::new(start),
            record: Record::new(start),
            calls: Vec::new(),
            out_until: Cell::new(None),
            ejections: 0,
        }).collect();
        let (mut failed, mut late) = (0, vec![0; count]);
        for step in (0..from + long + 70_000).step_by(2) {
            let now = start + Duration::from_millis(step);
            given.now.set(now);
            for endpoint in &mut fleet {
                endpoint.clock = now;
                let before = endpoint.calls.len();
                endpoint.calls.retain(|end| *end > now);
                for _ in endpoint.calls.len()..before {
                    endpoint.latency().observe(Duration::from_millis(5), now);
                }
            }
            let Picked { at, probes } = pick(&given, &fleet, &[], None).unwrap();
            let out = fleet.iter().filter(|e| e.is_ejected()).count();
            let endpoint = &mut fleet[at];
            let fails = at < broken && (from..from + long).contains(&step);
            let outcome = if fails { Outcome::Bad } else { Outcome::Good };
            let sign = endpoint.record.note(outcome, &EJECTION, now);
            if fails {
                failed += 1;
                endpoint.latency().observe_failure(Duration::ZERO, now);
            } else {
                endpoint.calls.push(now + Duration::from_millis(5));
            }
            if probes && !fails {
                endpoint.out_until.set(None);
                endpoint.in_since = now;
            } else if probes || sign.is_some() && may_eject(&EJECTION, out, count) {
                endpoint.ejections += 1;
                let wait = ejection_time(&EJECTION, endpoint.ejections, 0.5);
                endpoint.out_until.set(Some(now + wait));
                endpoint.record = Record::new(now);
            }
            // The longest time out is over, and what a failure costs has faded.
            if step >= from + long + 60_000 {
                late[at] += 1;
            }
        }
        // A row of failures for each, and some probes.
        prop_assert!(failed <= broken * 8, "{} failed", failed);
        let fair = late.iter().sum::<usize>() / count;
        let least = match balance {
            Balance::RoundRobin => fair / 2,
            // What a failure costs still fades, as long as others are free.
            _ => 0,
        };
        prop_assert!(late.iter().all(|got| *got > least), "{:?}", late);
    }
}
