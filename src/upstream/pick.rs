//! Which endpoint of a pool gets the next call.

use std::rc::Rc;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::config::model::Balance;

use super::balance::{sample, weight};
use super::endpoint::Endpoint;
use super::pool::Pool;
use super::unreachable::Unreachable;

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) at: usize,
    /// It tries an endpoint that was left out: what becomes of it decides.
    pub(super) probes: bool,
}

fn plain(at: usize) -> Picked {
    Picked { at, probes: false }
}

impl Pool {
    /// An endpoint that is not in `tried`, the usable ones first. Which of those, `balance` says.
    pub(super) fn pick(
        &self,
        endpoints: &[Rc<Endpoint>],
        tried: &[usize],
        hash: Option<u64>,
    ) -> Option<Picked> {
        if let [_] = endpoints {
            return tried.is_empty().then_some(plain(0));
        }
        // Health that is bad nearly everywhere tells more of the checks than of the instances.
        let healthy = endpoints.iter().filter(|e| e.member.is_healthy()).count();
        let panics = healthy.saturating_mul(2) < endpoints.len();
        let mut again = endpoints.iter().enumerate();
        if let Some((at, _)) = again.find(|(at, e)| !tried.contains(at) && e.member.tries_again()) {
            return Some(Picked { at, probes: true });
        }
        let usable = |at: usize| {
            let Some(endpoint) = endpoints.get(at) else {
                return false;
            };
            !tried.contains(&at)
                && (panics || endpoint.member.is_healthy())
                && !endpoint.member.is_ejected()
                && !endpoint.is_backing_off()
        };
        let balance = self.balance();
        if balance == Balance::Best {
            let drawn = sample(endpoints.len(), |n| self.random_below(n));
            let best = self.best(endpoints, drawn.into_iter().filter(|at| usable(*at)));
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
                .collect(),
        };
        let chosen = match balance {
            Balance::Best => self.best(endpoints, open.iter().copied()),
            Balance::RoundRobin => {
                let turn = self.next_turn();
                open.get(turn.checked_rem(open.len())?).copied()
            }
            Balance::Hash => {
                let key = hash.unwrap_or_default();
                let score = |at: &usize| endpoints.get(*at).map(|e| mix(key ^ e.member.hash));
                open.iter().copied().max_by_key(score)
            }
        };
        chosen.map(plain)
    }

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

    /// The one where one more call costs least.
    fn best(
        &self,
        endpoints: &[Rc<Endpoint>],
        among: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        let now = Instant::now();
        let cost = |at: usize| Some((at, self.load(endpoints.get(at)?, now)));
        let least = among.filter_map(cost).min_by(|a, b| a.1.total_cmp(&b.1));
        least.map(|(at, _)| at)
    }

    fn load(&self, endpoint: &Endpoint, now: Instant) -> f64 {
        endpoint.load(now) / weight(endpoint.member.age(), self.slow_start())
    }
}

/// Spreads 64 bits (the finaliser of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
