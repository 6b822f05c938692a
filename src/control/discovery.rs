//! Finds the instances behind names, and finds them again when they may have changed.
//!
//! A name is asked for again when its time to live is over, and soon after an instance refused a
//! connection or said goodbye. The last good answer stands until there is another: a name server that
//! fails, or knows nothing for a moment, takes no instance away.

mod names;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::model::Endpoint;
use crate::limits::{
    LOOKUP_AGAIN_MIN, LOOKUP_NUDGED_MIN, LOOKUP_TTL_MAX, LOOKUP_TTL_MIN, UPSTREAM_MEMBERS_MAX,
};
use crate::live::Live;
use crate::snapshot::Snapshot;
use crate::upstream::{Fleet, Location, Member, Members, Shared};

pub use names::Names;

/// Asks for the addresses of a name.
pub trait Resolve: Clone + Send + Sync + 'static {
    /// # Errors
    /// There is no answer, or none with an address.
    fn addresses(&self, name: &str) -> impl Future<Output = Result<Found, String>> + Send;
}

/// The addresses of a name, and how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

/// Keeps the instances of every upstream with names up to date, generation after generation. Dropping
/// it stops that.
pub async fn run(fleet: Arc<Fleet>, live: Arc<Snapshot<Live>>, resolve: impl Resolve) {
    let mut changes = live.subscribe();
    let mut following: HashMap<Arc<str>, Following> = HashMap::new();
    loop {
        let now = live.load();
        let named = now
            .upstreams
            .iter()
            .filter(|u| u.endpoints.iter().any(|e| name_of(e).is_some()));
        let mut next = HashMap::new();
        for spec in named {
            let shared = fleet.upstream(spec);
            let kept = following
                .remove(&spec.name)
                .filter(|f| Arc::ptr_eq(&f.shared, &shared));
            let kept = kept.unwrap_or_else(|| Following {
                task: tokio::spawn(follow(Arc::clone(&shared), resolve.clone())),
                shared,
            });
            next.insert(Arc::clone(&spec.name), kept);
        }
        following = next;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The task of one upstream, ended when it is dropped.
struct Following {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name that is to be looked up, if it is one.
fn name_of(endpoint: &Endpoint) -> Option<(&Arc<str>, u16)> {
    match endpoint {
        Endpoint::Host { host, port } if endpoint.address().is_none() => Some((host, *port)),
        Endpoint::Host { .. } | Endpoint::Unix(_) => None,
    }
}

/// Keeps the instances of one upstream up to date.
async fn follow(shared: Arc<Shared>, resolve: impl Resolve) {
    let mut known: HashMap<Arc<str>, Vec<IpAddr>> = HashMap::new();
    let mut failures = 0_u32;
    loop {
        let asked = Instant::now();
        let mut wait = LOOKUP_TTL_MAX;
        let mut failed = None;
        for (name, _) in shared.spec().endpoints.iter().filter_map(name_of) {
            match resolve.addresses(name).await {
                Ok(found) => {
                    wait = wait.min(found.ttl.clamp(LOOKUP_TTL_MIN, LOOKUP_TTL_MAX));
                    let mut addresses = found.addresses;
                    addresses.sort_unstable();
                    addresses.dedup();
                    known.insert(Arc::clone(name), addresses);
                }
                Err(error) => failed = Some((name, error)),
            }
        }
        match failed {
            Some((name, error)) => {
                failures = failures.saturating_add(1);
                let doubled = LOOKUP_AGAIN_MIN.saturating_mul(1 << failures.min(8));
                wait = wait.min(doubled);
                tell_failure(&shared, name, &error, failures);
            }
            None => failures = 0,
        }
        take_up(&shared, &known);
        // Up to a tenth later, so that gateways that started together ask apart.
        let wait = wait.saturating_add(wait.mul_f64(fastrand::f64() / 10.0));
        tokio::select! {
            () = tokio::time::sleep_until(asked + wait) => {}
            () = shared.nudged() => tokio::time::sleep_until(asked + LOOKUP_NUDGED_MIN).await,
        }
    }
}

/// The first failure is told to the operator; what repeats it is detail.
fn tell_failure(shared: &Shared, name: &str, error: &str, failures: u32) {
    let upstream = &*shared.spec().name;
    match failures {
        1 => tracing::warn!(
            upstream,
            name,
            error,
            "name can't be resolved: its last addresses stand"
        ),
        _ => tracing::debug!(
            upstream,
            name,
            error,
            failures,
            "name still can't be resolved"
        ),
    }
}

/// Publishes the instances if they have changed. Those that stay are the same ones as before.
fn take_up(shared: &Shared, known: &HashMap<Arc<str>, Vec<IpAddr>>) {
    let before = shared.members();
    let mut wanted = Vec::new();
    for endpoint in &shared.spec().endpoints {
        let found = name_of(endpoint).and_then(|(name, port)| Some((known.get(name)?, port)));
        match found {
            Some((found, port)) => {
                let place = |ip: &IpAddr| Location::Address(SocketAddr::new(*ip, port));
                wanted.extend(found.iter().map(|ip| (endpoint, place(ip))));
            }
            None => wanted.push((endpoint, Location::of(endpoint))),
        }
    }
    let all = wanted.len();
    wanted.truncate(UPSTREAM_MEMBERS_MAX);
    let is = |member: &Arc<Member>, location: &Location| member.location == *location;
    let same = before.iter().count() == wanted.len()
        && wanted
            .iter()
            .all(|(_, location)| before.iter().any(|m| is(m, location)));
    if same {
        return;
    }
    let members = wanted.into_iter().filter_map(|(endpoint, location)| {
        let kept = before.iter().find(|m| is(m, &location)).map(Arc::clone);
        kept.or_else(|| Member::new(location, endpoint).map(Arc::new))
    });
    let members = Members::new(members);
    let (upstream, count) = (&*shared.spec().name, members.iter().count());
    tracing::info!(upstream, instances = count, "instances have changed");
    if all > count {
        tracing::warn!(
            upstream,
            found = all,
            used = count,
            "more instances than can be used"
        );
    }
    shared.publish(members);
}

#[cfg(test)]
mod tests;
