//! Which endpoint of a pool gets the next call.
//!
//! [`pick`] is pure: what endpoints are like, chance and time come in through its traits.

use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::config::model::Balance;

use super::balance::{sample, weight};
use super::endpoint::Endpoint;
use super::pool::Pool;
use super::unreachable::Unreachable;

#[cfg(test)]
mod tests;

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) at: usize,
    /// It tries an endpoint that was left out: what becomes of it decides.
    pub(super) probes: bool,
}

/// In place of a share of healthy instances where nobody asks them: any that isn't zero.
const NOT_ASKED: u8 = 50;

fn plain(at: usize) -> Picked {
    Picked { at, probes: false }
}

/// What counts for and against an endpoint.
pub(super) trait Candidate {
    /// By what its checks say.
    fn is_healthy(&self) -> bool;
    /// It is left out for what became of its calls.
    fn is_ejected(&self) -> bool;
    /// Its time out is over, and nobody tries it yet: whoever gets a yes has to.
    fn tries_again(&self) -> bool;
    fn is_backing_off(&self) -> bool;
    /// What makes it the one for some keys.
    fn hash(&self) -> u64;
    /// How long it has been in.
    fn age(&self) -> Duration;
    /// What one more call would cost, by what was seen in that time.
    fn load(&self, age: Duration, now: Instant) -> f64;
}

/// Rule, chance and time.
pub(super) trait Chooser {
    fn balance(&self) -> Balance;
    /// The share of healthy endpoints below which health isn't heeded.
    fn panic_percent(&self) -> u8;
    fn slow_start(&self) -> Duration;
    fn random_below(&self, count: usize) -> usize;
    fn next_turn(&self) -> usize;
    fn now(&self) -> Instant;
}

/// An endpoint that is not in `tried`, the usable ones first. Which of those, `balance` says.
pub(super) fn pick<E: Candidate>(
    chooser: &impl Chooser,
    endpoints: &[E],
    tried: &[usize],
    hash: Option<u64>,
) -> Option<Picked> {
    let panic_percent = chooser.panic_percent();
    if let [only] = endpoints {
        let usable = panic_percent > 0 || only.is_healthy();
        return (usable && tried.is_empty()).then_some(plain(0));
    }
    // Health that is bad nearly everywhere tells more of the checks than of the instances.
    let healthy = endpoints.iter().filter(|e| e.is_healthy()).count();
    let panics = panics(healthy, endpoints.len(), panic_percent);
    let mut again = endpoints.iter().enumerate();
    if let Some((at, _)) = again.find(|(at, e)| {
        let may = panics || e.is_healthy();
        may && !tried.contains(at) && e.tries_again()
    }) {
        return Some(Picked { at, probes: true });
    }
    let usable = |at: usize| {
        let Some(endpoint) = endpoints.get(at) else {
            return false;
        };
        !tried.contains(&at)
            && (panics || endpoint.is_healthy())
            && !endpoint.is_ejected()
            && !endpoint.is_backing_off()
    };
    let balance = chooser.balance();
    if balance == Balance::Best {
        let drawn = sample(endpoints.len(), |n| chooser.random_below(n));
        let best = best(
            chooser,
            endpoints,
            drawn.into_iter().filter(|at| usable(*at)),
        );
        if best.is_some() {
            return best.map(plain);
        }
    }
    let open: SmallVec<[usize; 16]> = (0..endpoints.len()).filter(|at| usable(*at)).collect();
    let open = match open.is_empty() {
        false => open,
        // Whoever is left: a call that would fail anyway may as well try.
        true => (0..endpoints.len())
            .filter(|at| !tried.contains(at))
            .filter(|at| panic_percent > 0 || is_healthy(endpoints, *at))
            .collect(),
    };
    let chosen = match balance {
        Balance::Best => best(chooser, endpoints, open.iter().copied()),
        Balance::RoundRobin => {
            let turn = chooser.next_turn();
            open.get(turn.checked_rem(open.len())?).copied()
        }
        Balance::Hash => {
            let key = hash.unwrap_or_default();
            let score = |at: &usize| endpoints.get(*at).map(|e| mix(key ^ e.hash()));
            open.iter().copied().max_by_key(score)
        }
    };
    chosen.map(plain)
}

/// The one where one more call costs least.
fn best<E: Candidate>(
    chooser: &impl Chooser,
    endpoints: &[E],
    among: impl Iterator<Item = usize>,
) -> Option<usize> {
    let (now, slow_start) = (chooser.now(), chooser.slow_start());
    let cost = |at: usize| {
        let endpoint = endpoints.get(at)?;
        let age = endpoint.age();
        Some((at, endpoint.load(age, now) / weight(age, slow_start)))
    };
    let least = among.filter_map(cost).min_by(|a, b| a.1.total_cmp(&b.1));
    least.map(|(at, _)| at)
}

impl Candidate for Rc<Endpoint> {
    fn is_healthy(&self) -> bool {
        self.member.is_healthy()
    }

    fn is_ejected(&self) -> bool {
        self.member.is_ejected()
    }

    fn tries_again(&self) -> bool {
        self.member.tries_again()
    }

    fn is_backing_off(&self) -> bool {
        Endpoint::is_backing_off(self)
    }

    fn hash(&self) -> u64 {
        self.member.hash
    }

    fn age(&self) -> Duration {
        self.member.age()
    }

    fn load(&self, age: Duration, now: Instant) -> f64 {
        Endpoint::load(self, age, now)
    }
}

impl Chooser for Pool {
    fn balance(&self) -> Balance {
        self.shared().spec().rules.balance
    }

    fn panic_percent(&self) -> u8 {
        let health = self.shared().spec().rules.health.as_ref();
        health.map_or(NOT_ASKED, |h| h.panic_percent)
    }

    fn slow_start(&self) -> Duration {
        self.shared().spec().rules.slow_start
    }

    fn random_below(&self, count: usize) -> usize {
        self.random(|r| r.usize(..count.max(1)))
    }

    fn next_turn(&self) -> usize {
        self.take_turn()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Pool {
    /// Waits until instances have been looked for, as long as one may take to connect.
    pub(super) async fn members_come(&self) {
        let mut changes = self.shared().changes();
        let come = async {
            while self.shared().is_awaited() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(self.connect_max(), come).await.ok();
    }

    /// Why there are no instances.
    pub(super) fn nobody(&self) -> Option<Unreachable> {
        let sought = self.shared().sought();
        let failed = sought
            .iter()
            .find_map(|s| Some((&s.endpoint, s.error.as_ref()?)));
        Some(match failed {
            Some((endpoint, error)) => Unreachable::new(format_args!("{endpoint}: {error}")),
            None => Unreachable::new(format_args!(
                "{}: there are no instances",
                sought.first()?.endpoint
            )),
        })
    }
}

fn is_healthy<E: Candidate>(endpoints: &[E], at: usize) -> bool {
    endpoints.get(at).is_some_and(Candidate::is_healthy)
}

/// Whether so few of `all` are healthy that health isn't heeded.
fn panics(healthy: usize, all: usize, percent: u8) -> bool {
    healthy.saturating_mul(100) < all.saturating_mul(usize::from(percent))
}

/// Spreads 64 bits (the finaliser of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
