//! What all workers know of the upstreams together: their instances, who of them is left out, and the
//! places for calls.
//!
//! Written by whoever learns something (a worker whose calls fail, the tasks that look for instances
//! and ask for their health), read by every call through atomics alone.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::uri::Authority;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};

use crate::config::model::{self, Ejection, Upstream};
use crate::snapshot::{Generation, Snapshot};

use super::breaker::{Adapted, Places};
use super::line::Socket;
use super::outlier::{ejection_time, may_eject};

/// How long an instance that was left out has to answer the one call that tries it.
const PROBE: Duration = Duration::from_secs(5);
/// The time out of one that is in.
const IN: u64 = 0;

/// The upstreams of the process, over all generations.
#[derive(Debug)]
pub struct Fleet {
    workers: usize,
    /// Taken when a generation is built, never for a call.
    known: Mutex<HashMap<Arc<str>, Vec<Arc<Shared>>>>,
    doubted: Arc<Notify>,
}

impl Fleet {
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: workers.max(1),
            known: Mutex::default(),
            doubted: Arc::default(),
        })
    }

    /// The threads that share it.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// What is shared about an upstream: the same for every worker, and kept from one generation to
    /// the next as long as nothing about it has changed.
    #[must_use]
    pub fn upstream(&self, spec: &Upstream) -> Arc<Shared> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // More than one while workers go from one generation to the next: each finds its own.
        let of_name = known.entry(Arc::clone(&spec.name)).or_default();
        if let Some(shared) = of_name.iter().find(|s| s.serves(spec)) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(Shared::new(spec, self.workers, &self.doubted));
        of_name.push(Arc::clone(&shared));
        shared
    }

    /// What is shared about an upstream that some generation has.
    #[must_use]
    pub fn known(&self, spec: &Upstream) -> Option<Arc<Shared>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_name = known.get(&spec.name)?.iter();
        of_name.find(|s| s.serves(spec)).map(Arc::clone)
    }

    /// Resolves with the names of upstreams whose descriptors may have changed. Dropping it loses
    /// nothing: they are told the next time.
    pub async fn doubted(&self) -> Vec<Arc<str>> {
        self.doubted.notified().await;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let doubted = |shared: &[Arc<Shared>]| {
            let taken = shared
                .iter()
                .map(|s| s.doubted.swap(false, Ordering::AcqRel));
            taken.fold(false, |any, one| any | one)
        };
        let names = known.iter().filter(|(_, shared)| doubted(shared));
        names.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Forgets upstreams that are not these.
    pub fn retain(&self, specs: &[Upstream]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, shared| {
            let is_named = |s: &Arc<Shared>| {
                specs
                    .iter()
                    .any(|spec| spec.name == *name && s.serves(spec))
            };
            shared.retain(is_named);
            !shared.is_empty()
        });
    }
}

/// One upstream, as all workers see it.
#[derive(Debug)]
pub struct Shared {
    spec: Upstream,
    members: Snapshot<Members>,
    pub(super) places: Arc<Places>,
    nudged: Notify,
    /// Nobody has looked for its instances yet, and there is none that needs no looking for.
    awaited: AtomicBool,
    /// What looking for instances came to.
    sought: Mutex<Vec<Sought>>,
    /// There is reason to think that what it tells of itself has changed.
    doubted: AtomicBool,
    doubts: Arc<Notify>,
}

/// What looking for the instances of one endpoint came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    pub endpoint: model::Endpoint,
    /// Of the last good answer.
    pub instances: usize,
    /// Why there is no newer one.
    pub error: Option<Arc<str>>,
}

/// The instances of an upstream.
#[derive(Debug)]
pub struct Members(Box<[Arc<Member>]>);

impl Members {
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Arc<Member>>) -> Self {
        Self(members.into_iter().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.0.iter()
    }
}

impl Shared {
    fn new(spec: &Upstream, workers: usize, doubts: &Arc<Notify>) -> Self {
        let located = spec.endpoints.iter().filter_map(|endpoint| {
            let location = Location::of(endpoint)?;
            // Only the system's own resolver can be asked for each connection.
            let asks_others = !spec.name_servers.is_empty();
            (!(asks_others && matches!(location, Location::Name { .. })))
                .then(|| Member::new(location, endpoint))?
        });
        let members = Members::new(located.map(Arc::new));
        Self {
            awaited: AtomicBool::new(members.0.is_empty()),
            sought: Mutex::default(),
            members: Snapshot::new(Arc::new(members)),
            places: Arc::new(Places::new(&spec.rules.load, workers)),
            spec: spec.clone(),
            nudged: Notify::new(),
            doubted: AtomicBool::new(false),
            doubts: Arc::clone(doubts),
        }
    }

    fn serves(&self, spec: &Upstream) -> bool {
        self.spec.endpoints == spec.endpoints
            && self.spec.name_servers == spec.name_servers
            && self.spec.cluster == spec.cluster
            && self.spec.protocol == spec.protocol
            && self.spec.rules == spec.rules
            && self.spec.tls.is_some() == spec.tls.is_some()
            && self.spec.outgoing == spec.outgoing
    }

    #[must_use]
    pub fn spec(&self) -> &Upstream {
        &self.spec
    }

    /// The instances now.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.members.load()
    }

    /// Whether there will be instances, or it will be known that there are none, in a moment.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Acquire)
    }

    /// Notes what looking for the instances of an endpoint came to. Whether its error is news.
    pub fn note_sought(&self, now: Sought) -> bool {
        let mut sought = self.sought.lock().unwrap_or_else(PoisonError::into_inner);
        match sought.iter_mut().find(|s| s.endpoint == now.endpoint) {
            Some(before) => {
                let is_news = before.error != now.error;
                *before = now;
                is_news
            }
            None => {
                let is_news = now.error.is_some();
                sought.push(now);
                is_news
            }
        }
    }

    /// What looking for instances came to, endpoint by endpoint; those that need no looking for aside.
    #[must_use]
    pub fn sought(&self) -> Vec<Sought> {
        let sought = self.sought.lock().unwrap_or_else(PoisonError::into_inner);
        sought.clone()
    }

    /// Makes as many places for calls as the answers of late allow, where that is wanted. `now` is a
    /// time since some beginning, `jitter` from 0 to 1.
    pub fn adapt(&self, now: Duration, jitter: f64) -> Option<Adapted> {
        self.places.adapt(now, jitter)
    }

    /// What that came to.
    #[must_use]
    pub fn adapted(&self) -> Option<Adapted> {
        self.places.adapted()
    }

    /// Calls that wait until there are fewer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.waiting()
    }

    /// Takes up a new set. Who is in both keeps what is known of it when the caller passes on the
    /// same `Arc`.
    pub fn publish(&self, members: Members) -> Generation {
        self.awaited.store(false, Ordering::Release);
        let generation = self.members.publish(Arc::new(members));
        self.doubt();
        generation
    }

    /// It doesn't know a method that it has told of, or it has other instances: whoever reads its
    /// descriptors should do so now. Never waits; many are one.
    pub fn doubt(&self) {
        if !self.doubted.swap(true, Ordering::AcqRel) {
            self.doubts.notify_one();
        }
    }

    /// Told of each new set.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Generation> {
        self.members.subscribe()
    }

    /// An instance refused a connection or said that it goes away: whoever looks for instances should
    /// look now. Never waits; many are one.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Resolves when somebody has reason to think that the instances have changed.
    pub async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// Leaves `member` out for a while, unless too many are already. `true` if it was this call that
    /// did so.
    pub(super) fn eject(&self, member: &Member, rule: &Ejection, random: f64) -> bool {
        let members = self.members();
        let out = members.iter().filter(|m| m.is_ejected()).count();
        !member.is_ejected() && may_eject(rule, out, members.0.len()) && member.eject(rule, random)
    }
}

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    Address(SocketAddr),
    /// A name that has not been looked up yet: that is done for each connection.
    Name {
        host: Arc<str>,
        port: u16,
    },
    /// A socket of this machine.
    Unix(Arc<Path>),
}

impl Location {
    /// Where an endpoint is, when its own words tell.
    #[must_use]
    pub fn of(endpoint: &model::Endpoint) -> Option<Self> {
        if let Some(address) = endpoint.address() {
            return Some(Self::Address(address));
        }
        match endpoint {
            model::Endpoint::Host { host, port } => Some(Self::Name {
                host: Arc::clone(host),
                port: *port,
            }),
            model::Endpoint::Srv(_) | model::Endpoint::Kubernetes(_) => None,
            model::Endpoint::Unix(path) => Some(Self::Unix(Arc::clone(path))),
        }
    }

    /// A connection to it, for who needs no more than that. Dropping the future ends the attempt.
    ///
    /// # Errors
    /// There is none to be had, of any address that it has.
    pub async fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Address(address) => TcpStream::connect(address).await.map(Socket::Tcp),
            Self::Name { host, port } => {
                let stream = TcpStream::connect((&**host, *port)).await;
                stream.map(Socket::Tcp)
            }
            Self::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As operators are told of it: by its name, and by its address where one name has several.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Address(address) if self.authority != *address.to_string() => {
                write!(f, "{} ({address})", self.authority)
            }
            location => location.fmt(f),
        }
    }
}

/// One instance of an upstream.
#[derive(Debug)]
pub struct Member {
    pub location: Location,
    /// What it is called in requests, logs and views: the endpoint's own words.
    pub authority: Authority,
    /// For [`model::Balance::Hash`].
    pub(super) hash: u64,
    born: Instant,
    /// Milliseconds after `born` until which it is left out for what became of its calls.
    out_until: AtomicU64,
    /// How often it has been left out without a long good time in between.
    ejections: AtomicU32,
    /// Milliseconds after `born` since when it is (back) in: it starts slowly from there.
    in_since: AtomicU64,
    /// Why the last attempt to connect to it failed, of whichever worker.
    trouble: Mutex<Option<Arc<str>>>,
    /// It says of itself that it can't serve, or doesn't answer when asked.
    unhealthy: AtomicBool,
    /// For operators; calls never touch it.
    checks: Mutex<Checks>,
}

/// What came of asking an instance how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    pub passed: u64,
    pub failed: u64,
    /// Why the last one failed, if it did.
    pub why: Option<Box<str>>,
}

impl Member {
    /// `None` when the endpoint makes no authority (the config has refused those).
    #[must_use]
    pub fn new(location: Location, endpoint: &model::Endpoint) -> Option<Self> {
        Some(Self {
            hash: hash_of(&location),
            location,
            authority: endpoint.authority()?,
            born: Instant::now(),
            out_until: AtomicU64::new(IN),
            ejections: AtomicU32::new(0),
            in_since: AtomicU64::new(0),
            trouble: Mutex::default(),
            unhealthy: AtomicBool::new(false),
            checks: Mutex::default(),
        })
    }

    /// What the checks of its health came to.
    pub fn set_healthy(&self, healthy: bool) {
        let was_unhealthy = self.unhealthy.swap(!healthy, Ordering::Relaxed);
        if was_unhealthy && healthy {
            self.in_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Notes one answer: good, or why it isn't.
    pub fn note_check(&self, failed: Option<&str>) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match failed {
            None => &mut checks.passed,
            Some(_) => &mut checks.failed,
        };
        *count = count.saturating_add(1);
        checks.why = failed.map(Box::from);
    }

    /// What has come of asking so far.
    #[must_use]
    pub fn checks(&self) -> Checks {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.clone()
    }

    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    /// Why no connection to it could be opened last, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what an attempt to connect came to; whether that is news.
    pub(super) fn set_trouble(&self, why: Option<&Arc<str>>) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let news = trouble.as_deref() != why.map(|w| &**w);
        *trouble = why.cloned();
        news
    }

    /// Whether calls leave it out for what became of others.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.out_until.load(Ordering::Relaxed) != IN
    }

    /// How often it has been left out without a long good time in between.
    #[must_use]
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// How long it has been in, since it was found or since it came back.
    pub(super) fn age(&self) -> Duration {
        let since = self.in_since.load(Ordering::Relaxed);
        Duration::from_millis(self.now().saturating_sub(since))
    }

    /// Whether its time out is over, and this call is the one that tries it: others stay away until
    /// the outcome is known.
    pub(super) fn tries_again(&self) -> bool {
        let until = self.out_until.load(Ordering::Relaxed);
        if until == IN {
            return false;
        }
        let now = self.now();
        let next = now.saturating_add(as_millis(PROBE));
        now >= until
            && self
                .out_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The call that tried it went well.
    pub(super) fn readmit(&self) {
        if self.out_until.swap(IN, Ordering::Relaxed) != IN {
            self.in_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The call that tried it failed too: out again, for longer.
    pub(super) fn stay_out(&self, rule: &Ejection, random: f64) {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed);
        let wait = ejection_time(rule, times.saturating_add(1), random);
        let until = self.now().saturating_add(as_millis(wait));
        self.out_until.store(until.max(1), Ordering::Relaxed);
    }

    fn eject(&self, rule: &Ejection, random: f64) -> bool {
        // After a good time as long as the longest ejection, what was is forgotten.
        if self.age() > rule.time_max {
            self.ejections.store(0, Ordering::Relaxed);
        }
        let times = self.ejections.load(Ordering::Relaxed).saturating_add(1);
        let wait = ejection_time(rule, times, random);
        let until = self.now().saturating_add(as_millis(wait)).max(1);
        let ejected = self
            .out_until
            .compare_exchange(IN, until, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if ejected {
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        ejected
    }

    fn now(&self) -> u64 {
        as_millis(self.born.elapsed())
    }
}

fn as_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The same in every worker and process, so that all agree who serves whom.
fn hash_of(location: &Location) -> u64 {
    use std::hash::BuildHasher;
    foldhash::quality::FixedState::default().hash_one(location)
}

#[cfg(test)]
mod tests;
