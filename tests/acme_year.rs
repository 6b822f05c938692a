//! A year of renewals on a clock of its own: thousands of certificates, an authority that keeps Let's
//! Encrypt's limits and is down now and then, and windows that are pulled forward.
//!
//! What decides is the product's own (`acme::schedule`, `acme::pace`); what is simulated is the
//! authority, and the place where orders wait for one another.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, SystemTime};

use transom::acme::pace::Pace;
use transom::acme::schedule::{Action, Course, Failure, Life, next, seconds, time};
use transom::limits::{ACME_ORDERS_AT_ONCE, ACME_RENEWAL_POLL};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// 2027-01-15
const BEGIN: u64 = 1_800_000_000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Year {
    certificates: usize,
    /// Of one certificate, in seconds.
    life: u64,
    /// The authority tells windows, and orders in them count against no limit.
    windows: bool,
    days: u64,
    seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    issued: u64,
    refused: u64,
    /// Certificates that were served after their end.
    expired: u64,
    /// Limits of the authority that were passed, with the order that did so.
    passed: Vec<String>,
    /// The least of its life that a certificate had left when it was replaced, in thousandths.
    least_left: u64,
    /// When the last certificate had come for the first time, in seconds after the beginning.
    complete: u64,
}

/// Let's Encrypt's limits (2026-08): what it would refuse is counted, and refused.
struct Authority {
    windows: bool,
    /// New orders of the account: 300, and one more each 36 s.
    tokens: f64,
    filled: u64,
    /// Certificates of one set of names in seven days, without `replaces`: five.
    of_set: Vec<VecDeque<u64>>,
    /// New names of one registered domain in seven days: fifty. Forty names share one.
    of_domain: Vec<VecDeque<u64>>,
    /// Failed validations of a name in an hour: five.
    failed: Vec<VecDeque<u64>>,
    outages: Vec<(u64, u64)>,
    /// From then on windows of certificates that were issued before it are in the past.
    recalled: Vec<u64>,
}

const NAMES_OF_DOMAIN: usize = 40;

fn within(log: &mut VecDeque<u64>, now: u64, span: u64) -> usize {
    while log.front().is_some_and(|at| at + span <= now) {
        log.pop_front();
    }
    log.len()
}

impl Authority {
    fn is_down(&self, now: u64) -> bool {
        self.outages
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now))
    }

    /// Whether an order is taken; the name of the limit that it passes if not.
    fn take(
        &mut self,
        name: usize,
        first: bool,
        replaces: bool,
        now: u64,
    ) -> Result<(), &'static str> {
        if replaces && self.windows {
            return Ok(());
        }
        self.tokens = (self.tokens + (now - self.filled) as f64 / 36.0).min(300.0);
        self.filled = now;
        // Renewals of the same names count against neither.
        if first {
            if self.tokens < 1.0 {
                return Err("new orders of an account");
            }
            self.tokens -= 1.0;
            if within(&mut self.of_domain[name / NAMES_OF_DOMAIN], now, 7 * DAY) >= 50 {
                return Err("certificates of a registered domain");
            }
            self.of_domain[name / NAMES_OF_DOMAIN].push_back(now);
        }
        if within(&mut self.of_set[name], now, 7 * DAY) >= 5 {
            return Err("certificates of one set of names");
        }
        self.of_set[name].push_back(now);
        Ok(())
    }

    fn refuse(&mut self, name: usize, now: u64) -> Result<(), &'static str> {
        if within(&mut self.failed[name], now, HOUR) >= 5 {
            return Err("failed validations of a name");
        }
        self.failed[name].push_back(now);
        Ok(())
    }
}

struct Name {
    life: Option<Life>,
    course: Course,
    /// Its host doesn't answer the authority between these.
    broken: Option<(u64, u64)>,
    expired: bool,
}

/// Looks at a name, or ends its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Look(usize),
    Ordered { name: usize, trial: bool },
}

fn simulate(year: Year) -> Outcome {
    let mut random = fastrand::Rng::with_seed(year.seed);
    let end = BEGIN + year.days * DAY;
    // Now and then for some hours, and once in each quarter for two days.
    let mut outages = Vec::new();
    for quarter in 0..year.days.div_ceil(91) {
        let from = BEGIN + (quarter * 91 + 20 + random.u64(..50)) * DAY;
        outages.push((from, from + 48 * HOUR));
    }
    for _ in 0..year.days / 10 {
        let from = BEGIN + random.u64(..year.days * DAY);
        outages.push((from, from + random.u64(..12 * HOUR)));
    }
    let mut authority = Authority {
        windows: year.windows,
        tokens: 300.0,
        filled: BEGIN,
        of_set: vec![VecDeque::new(); year.certificates],
        of_domain: vec![VecDeque::new(); year.certificates / NAMES_OF_DOMAIN + 1],
        failed: vec![VecDeque::new(); year.certificates],
        outages,
        recalled: vec![BEGIN + year.days * DAY / 3, BEGIN + year.days * DAY * 4 / 5],
    };
    let mut names: Vec<Name> = (0..year.certificates)
        .map(|_| Name {
            life: None,
            course: Course::default(),
            // One in a hundred hosts is broken for a tenth of a life, once.
            broken: (random.u32(..100) == 0).then(|| {
                let from = BEGIN + random.u64(..year.days * DAY);
                (from, from + year.life / 10)
            }),
            expired: false,
        })
        .collect();
    let mut events = BinaryHeap::new();
    for at in 0..year.certificates {
        events.push(Reverse((BEGIN, Event::Look(at))));
    }
    let mut pace = Pace::default();
    let mut desks: BinaryHeap<Reverse<u64>> =
        (0..ACME_ORDERS_AT_ONCE).map(|_| Reverse(BEGIN)).collect();
    let mut outcome = Outcome {
        least_left: 1000,
        ..Outcome::default()
    };
    while let Some(Reverse((now, event))) = events.pop() {
        if now >= end {
            break;
        }
        match event {
            Event::Look(at) => {
                let name = &mut names[at];
                if let Some(life) = &name.life
                    && seconds(life.not_after) <= now
                    && !name.expired
                {
                    name.expired = true;
                    outcome.expired += 1;
                }
                match next(name.life.as_ref(), &name.course, 1, time(now)) {
                    Action::Wait(until) => {
                        let until = seconds(until).max(now + 1);
                        // Looked at when it ends at the latest, to see that.
                        let ends = name.life.as_ref().map(|l| seconds(l.not_after));
                        let until = ends.filter(|e| *e > now).map_or(until, |e| until.min(e));
                        events.push(Reverse((until, event)));
                    }
                    Action::AskWindow => {
                        ask(&mut authority, name, now, &mut random);
                        events.push(Reverse((now, event)));
                    }
                    Action::Order { trial, .. } => {
                        let counts = name.life.is_none() && !trial;
                        let wait = match counts {
                            true => pace.take(Duration::from_secs(now - BEGIN)).as_secs(),
                            false => 0,
                        };
                        let Reverse(free) = desks.pop().expect("desks");
                        let done = free.max(now + wait) + random.u64(2..20);
                        desks.push(Reverse(done));
                        events.push(Reverse((done, Event::Ordered { name: at, trial })));
                    }
                }
            }
            Event::Ordered { name: at, trial } => {
                let name = &mut names[at];
                ordered(
                    &mut authority,
                    name,
                    at,
                    trial,
                    now,
                    year.life,
                    &mut random,
                    &mut outcome,
                );
                events.push(Reverse((now, Event::Look(at))));
            }
        }
    }
    outcome
}

/// The authority's window: a fiftieth of the life, before the last third of it begins.
fn ask(authority: &mut Authority, name: &mut Name, now: u64, random: &mut fastrand::Rng) {
    let ask_at = time(now) + ACME_RENEWAL_POLL;
    let Some(life) = &name.life else {
        return;
    };
    if authority.is_down(now) {
        name.course.untold(time(now + HOUR));
        return;
    }
    let (from, to) = (seconds(life.not_before), seconds(life.not_after));
    let recalled = authority.recalled.iter().any(|r| from < *r && *r <= now);
    let (start, end) = match recalled {
        true => (from, from + HOUR),
        false => {
            let middle = to - (to - from) / 3;
            (middle - (to - from) / 100, middle + (to - from) / 100)
        }
    };
    name.course
        .told(time(start), time(end), ask_at, random.f64());
}

#[expect(clippy::too_many_arguments, reason = "one step of the loop above")]
fn ordered(
    authority: &mut Authority,
    name: &mut Name,
    at: usize,
    trial: bool,
    now: u64,
    life: u64,
    random: &mut fastrand::Rng,
    outcome: &mut Outcome,
) {
    let heard = !authority.is_down(now);
    let mut fail = |name: &mut Name, may_try: bool| {
        outcome.refused += 1;
        let failure = Failure {
            said: "no",
            retry_after: None,
            heard,
            may_try,
            authorities: 1,
            chance: random.f64(),
        };
        let life = name.life;
        name.course.failed(&failure, life.as_ref(), time(now));
    };
    if !heard {
        return fail(name, false);
    }
    let broken = name
        .broken
        .is_some_and(|(from, to)| (from..to).contains(&now));
    if trial {
        match broken {
            true => fail(name, true),
            false => name.course.passed(),
        }
        return;
    }
    let replaces = name.course.window.is_some();
    if let Err(limit) = authority.take(at, name.life.is_none(), replaces, now) {
        outcome
            .passed
            .push(format!("{limit}: name {at} after {} s", now - BEGIN));
        return fail(name, false);
    }
    if broken {
        if let Err(limit) = authority.refuse(at, now) {
            outcome
                .passed
                .push(format!("{limit}: name {at} after {} s", now - BEGIN));
        }
        return fail(name, true);
    }
    outcome.issued += 1;
    match &name.life {
        None => outcome.complete = outcome.complete.max(now - BEGIN),
        Some(old) => {
            let left = seconds(old.not_after).saturating_sub(now);
            outcome.least_left = outcome.least_left.min(left * 1000 / life);
        }
    }
    // Let's Encrypt dates certificates an hour back.
    name.life = Some(Life {
        not_before: time(now - HOUR),
        not_after: time(now - HOUR + life),
        has_window: authority.windows,
    });
    name.expired = false;
    name.course.renewed(time(now), random.f64());
}

fn lives_through(year: Year) {
    let begun = SystemTime::now();
    let outcome = simulate(year);
    println!(
        "{year:?}\n  {outcome:?}\n  in {:?}",
        begun.elapsed().unwrap_or_default()
    );
    assert_eq!(outcome.expired, 0, "{year:?}: {outcome:?}");
    assert!(outcome.passed.is_empty(), "{year:?}: {outcome:?}");
    let least = year.certificates as u64 * (year.days * DAY / year.life);
    assert!(outcome.issued >= least, "{year:?}: {outcome:?}");
    assert!(outcome.refused > 0, "nothing failed: {year:?}");
}

const LIVES: [u64; 3] = [90 * DAY, 45 * DAY, 160 * HOUR];

#[test]
fn a_hundred_certificates_live_through_half_a_year() {
    for (seed, life) in LIVES.into_iter().enumerate() {
        for windows in [true, false] {
            lives_through(Year {
                certificates: 100,
                life,
                windows,
                days: 182,
                seed: seed as u64,
            });
        }
    }
}

/// What the simulation calls an expiry is one: an authority that is down for longer than certificates
/// live leaves nothing else.
#[test]
fn an_expiry_would_be_seen() {
    let mut name = Name {
        life: Some(Life {
            not_before: time(BEGIN),
            not_after: time(BEGIN + DAY),
            has_window: false,
        }),
        course: Course::default(),
        broken: None,
        expired: false,
    };
    name.course.renewed(time(BEGIN), 0.5);
    let mut now = BEGIN;
    while now < BEGIN + 2 * DAY {
        match next(name.life.as_ref(), &name.course, 1, time(now)) {
            Action::Wait(until) => now = seconds(until).max(now + 1),
            Action::AskWindow => panic!("there is none"),
            Action::Order { .. } => {
                let failure = Failure {
                    said: "down",
                    retry_after: None,
                    heard: false,
                    may_try: false,
                    authorities: 1,
                    chance: 0.5,
                };
                name.course.failed(&failure, name.life.as_ref(), time(now));
            }
        }
    }
    // It goes on trying, and never in a hurry.
    assert!(
        (5..300).contains(&name.course.failures),
        "{:?}",
        name.course
    );
}

#[test]
#[ignore = "the whole of it: benches/soak/renewals"]
fn ten_thousand_certificates_live_through_a_year() {
    for life in LIVES {
        for (certificates, windows) in [(10_000, true), (5_000, false)] {
            lives_through(Year {
                certificates,
                life,
                windows,
                days: 365,
                seed: 7,
            });
        }
    }
}
