//! How many connections are open: of the process, and of each client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::Limits;
use crate::memory::{Level, Memory};

/// Counts connections of all workers. Touched once by an accept and once by a close.
#[derive(Debug, Default)]
pub struct Gate {
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>>,
    refused: AtomicU64,
    /// When the last connection would have been accepted at the allowed rate, in nanoseconds after
    /// `since` (the generic cell rate algorithm).
    paced: AtomicU64,
    since: Since,
    memory: Arc<Memory>,
}

#[derive(Debug)]
struct Since(Instant);

impl Default for Since {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `limits.connections`
    Process,
    /// `limits.connections_per_ip`
    Address,
    /// `limits.memory`
    Memory,
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    /// Counted for this one, if it is known.
    address: Option<IpAddr>,
}

impl Gate {
    /// Open to none when this runs out.
    #[must_use]
    pub fn guarding(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    /// That of the process.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Open connections now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Lets one connection in; without a peer it is one whose client isn't known yet: see
    /// [`Pass::is_of`].
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>, limits: &Limits) -> Result<Pass, Refused> {
        let entered = self.try_enter(peer, limits);
        if entered.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    /// Counts an accepted connection against `limits.accept_rate`, and says how long to wait before the
    /// next. A second's worth may come at once.
    pub fn pace(&self, now: Instant, limits: &Limits) -> Duration {
        const BURST: u64 = 1_000_000_000;
        let now = u64::try_from(now.saturating_duration_since(self.since.0).as_nanos());
        let now = now.unwrap_or(u64::MAX / 2);
        let each = BURST / u64::try_from(limits.accept_rate_max).map_or(BURST, |n| n.max(1));
        let next = |paced: u64| paced.max(now).saturating_add(each);
        let before = self
            .paced
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |p| Some(next(p)));
        let paced = next(before.unwrap_or_else(|unchanged| unchanged));
        Duration::from_nanos(paced.saturating_sub(now).saturating_sub(BURST))
    }

    fn try_enter(self: &Arc<Self>, peer: Option<IpAddr>, limits: &Limits) -> Result<Pass, Refused> {
        if self.memory.level() >= Level::Refuse {
            return Err(Refused::Memory);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Process);
        }
        let mut pass = Pass {
            gate: Arc::clone(self),
            address: None,
        };
        match peer {
            Some(peer) => pass.count(peer, limits).map(|()| pass),
            None => Ok(pass),
        }
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize, foldhash::fast::RandomState>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Whose connection it is has been told: counts it for them, unless it is counted already.
    ///
    /// # Errors
    /// They have too many.
    pub fn is_of(&mut self, peer: IpAddr, limits: &Limits) -> Result<(), Refused> {
        if self.address.is_some() {
            return Ok(());
        }
        let counted = self.count(peer, limits);
        if counted.is_err() {
            self.gate.refused.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    fn count(&mut self, peer: IpAddr, limits: &Limits) -> Result<(), Refused> {
        let address = client_of(peer);
        let mut by_address = self.gate.lock();
        let of_address = by_address.entry(address).or_default();
        if *of_address >= limits.connections_per_ip_max {
            return Err(Refused::Address);
        }
        *of_address += 1;
        drop(by_address);
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(address) = &self.address {
            let mut by_address = self.gate.lock();
            if let Some(count) = by_address.get_mut(address) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    by_address.remove(address);
                }
            }
        }
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has to itself.
fn client_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(process: usize, address: usize) -> Limits {
        Limits {
            connections_max: process,
            connections_per_ip_max: address,
            ..Limits::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_limit_refuses_and_recovers() {
        let gate = Arc::new(Gate::default());
        let limits = limits(3, 2);
        let a = gate.enter(Some(ip("192.0.2.1")), &limits).unwrap();
        let _b = gate.enter(Some(ip("192.0.2.1")), &limits).unwrap();
        let again = gate.enter(Some(ip("192.0.2.1")), &limits);
        assert_eq!(again.unwrap_err(), Refused::Address);
        let _c = gate.enter(Some(ip("192.0.2.2")), &limits).unwrap();
        let full = gate.enter(Some(ip("192.0.2.3")), &limits);
        assert_eq!(full.unwrap_err(), Refused::Process);
        assert_eq!((gate.open(), gate.refused()), (3, 2));
        drop(a);
        let _d = gate.enter(Some(ip("192.0.2.1")), &limits).unwrap();
        assert_eq!(gate.open(), 3);
    }

    #[test]
    fn nobody_is_let_in_without_memory() {
        let memory = Arc::<Memory>::default();
        let gate = Arc::new(Gate::guarding(Arc::clone(&memory)));
        let limits = limits(3, 3);
        for (level, refused) in [
            (Level::Shed, false),
            (Level::Refuse, true),
            (Level::Ample, false),
        ] {
            memory.set(None, level);
            let entered = gate.enter(None, &limits);
            assert_eq!(entered.is_err(), refused, "{level:?}");
        }
        assert_eq!((gate.open(), gate.refused()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_comes_at_once_and_the_rest_at_the_rate() {
        let gate = Gate::default();
        let limits = Limits {
            accept_rate_max: 100,
            ..Limits::default()
        };
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(gate.pace(start, &limits), Duration::ZERO);
        }
        assert_eq!(gate.pace(start, &limits), Duration::from_millis(10));
        assert_eq!(gate.pace(start, &limits), Duration::from_millis(20));
        let later = start + Duration::from_secs(60);
        for _ in 0..100 {
            assert_eq!(gate.pace(later, &limits), Duration::ZERO);
        }
        assert!(gate.pace(later, &limits) > Duration::ZERO);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client_and_a_mapped_address_is_its_ipv4() {
        assert_eq!(client_of(ip("2001:db8::1")), client_of(ip("2001:db8::2")));
        assert_ne!(
            client_of(ip("2001:db8::1")),
            client_of(ip("2001:db8:0:1::1"))
        );
        assert_eq!(client_of(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn no_trace_of_closed_connections_is_kept() {
        let gate = Arc::new(Gate::default());
        drop(gate.enter(Some(ip("192.0.2.1")), &limits(1, 1)).unwrap());
        assert!(gate.lock().is_empty());
        assert_eq!(gate.open(), 0);
    }
}
