//! Finds the instances behind names, and finds them again when they may have changed.
//!
//! A name is asked for again when its time to live is over, and soon after an instance refused a
//! connection or said goodbye. The last good answer stands until there is another: a name server that
//! fails, or knows nothing for a moment, takes no instance away.

mod book;
mod kubernetes;
mod lookup;
mod names;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::model::{Endpoint, Upstream};
use crate::limits::{LOOKUP_AGAIN_MIN, LOOKUP_NUDGED_MIN, LOOKUP_TTL_MAX};
use crate::live::Live;
use crate::snapshot::Snapshot;
use crate::upstream::{Fleet, Location, Shared};

use book::Book;
use lookup::Lookup;
pub use names::Names;

/// Asks for what names stand for.
pub trait Resolve: Clone + Send + Sync + 'static {
    /// # Errors
    /// There is no answer, or none with an address.
    fn addresses(&self, name: &str) -> impl Future<Output = Result<Found<IpAddr>, String>> + Send;

    /// # Errors
    /// There is no answer, or none with a service.
    fn services(&self, name: &str) -> impl Future<Output = Result<Found<Service>, String>> + Send;
}

/// What was found, and how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    pub records: Vec<T>,
    pub ttl: Duration,
}

/// One SRV record (RFC 2782). Weights aren't heeded: instances are weighed by how they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Only those with the smallest are used, as long as there are any.
    pub priority: u16,
    pub host: Arc<str>,
    pub port: u16,
}

/// Whom to ask for the names of an upstream.
pub trait Ask: Send + Sync + 'static {
    type Resolve: Resolve;

    fn of(&self, upstream: &Upstream) -> Self::Resolve;
}

/// The name servers that the config names, or the system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameServers;

impl Ask for NameServers {
    type Resolve = Names;

    fn of(&self, upstream: &Upstream) -> Names {
        match &*upstream.name_servers {
            [] => Names::of_the_system(),
            servers => Names::at(servers),
        }
    }
}

/// Keeps the instances of every upstream with names up to date, generation after generation. Dropping
/// it stops that.
pub async fn run(fleet: Arc<Fleet>, live: Arc<Snapshot<Live>>, ask: impl Ask) {
    let mut changes = live.subscribe();
    let mut following: HashMap<Arc<str>, Following> = HashMap::new();
    loop {
        let now = live.load();
        let sought = now
            .upstreams
            .iter()
            .filter(|u| u.endpoints.iter().any(is_sought));
        let mut next = HashMap::new();
        for spec in sought {
            let shared = fleet.upstream(spec);
            let kept = following
                .remove(&spec.name)
                .filter(|f| Arc::ptr_eq(&f.shared, &shared));
            let kept = kept.unwrap_or_else(|| Following {
                task: tokio::spawn(follow(Arc::clone(&shared), ask.of(spec))),
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

/// Where the instances of an endpoint are now, for who wants to know it once.
///
/// # Errors
/// They can't be found.
pub async fn find(upstream: &Upstream, endpoint: &Endpoint) -> Result<Vec<Location>, String> {
    if !is_sought(endpoint) {
        return Ok(Location::of(endpoint).into_iter().collect());
    }
    if let Endpoint::Kubernetes(service) = endpoint {
        return kubernetes::find(&upstream.cluster, service).await;
    }
    let mut lookup = Lookup::new(NameServers.of(upstream));
    let found = lookup.endpoint(endpoint).await?;
    Ok(found.records)
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

/// Whether its instances have to be looked for.
fn is_sought(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Host { .. } => endpoint.address().is_none(),
        Endpoint::Srv(_) | Endpoint::Kubernetes(_) => true,
        Endpoint::Unix(_) => false,
    }
}

/// Whether name servers are asked for them.
fn is_name(endpoint: &Endpoint) -> bool {
    is_sought(endpoint) && !matches!(endpoint, Endpoint::Kubernetes(_))
}

/// Keeps the instances of one upstream up to date.
async fn follow(shared: Arc<Shared>, resolve: impl Resolve) {
    let book = Book::new(Arc::clone(&shared));
    let spec = shared.spec();
    let services = spec.endpoints.iter().filter_map(|endpoint| match endpoint {
        Endpoint::Kubernetes(service) => Some((endpoint, service)),
        _ => None,
    });
    let watching = services
        .map(|(endpoint, service)| kubernetes::follow(&spec.cluster, endpoint, service, &book));
    let watching = futures_util::future::join_all(watching);
    let named = async {
        if spec.endpoints.iter().any(is_name) {
            look_up(&shared, &book, resolve).await;
        }
    };
    tokio::join!(named, watching);
}

/// Asks for names, again and again.
async fn look_up(shared: &Shared, book: &Book, resolve: impl Resolve) {
    let mut lookup = Lookup::new(resolve);
    let mut failures = 0_u32;
    loop {
        let asked = Instant::now();
        let mut wait = LOOKUP_TTL_MAX;
        let mut failed = false;
        for endpoint in shared.spec().endpoints.iter().filter(|e| is_name(e)) {
            match lookup.endpoint(endpoint).await {
                Ok(found) => {
                    wait = wait.min(found.ttl);
                    book.note(endpoint, Ok(found.records));
                }
                Err(error) => {
                    failed = true;
                    book.note(endpoint, Err(error));
                }
            }
        }
        match failed {
            true => {
                failures = failures.saturating_add(1);
                let doubled = LOOKUP_AGAIN_MIN.saturating_mul(1 << failures.min(8));
                wait = wait.min(doubled);
            }
            false => failures = 0,
        }
        book.publish();
        // Up to a tenth later, so that gateways that started together ask apart.
        let wait = wait.saturating_add(wait.mul_f64(fastrand::f64() / 10.0));
        tokio::select! {
            () = tokio::time::sleep_until(asked + wait) => {}
            () = shared.nudged() => tokio::time::sleep_until(asked + LOOKUP_NUDGED_MIN).await,
        }
    }
}

fn located(found: &[IpAddr], port: u16) -> impl Iterator<Item = Location> {
    let at = move |ip: &IpAddr| Location::Address(SocketAddr::new(*ip, port));
    found.iter().map(at)
}

#[cfg(test)]
mod tests;
