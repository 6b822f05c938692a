//! Answers to names as sets of instances, with what is known of names that don't answer now.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::config::model::Endpoint;
use crate::limits::{LOOKUP_TTL_MAX, LOOKUP_TTL_MIN, LOOKUPS_AT_ONCE, UPSTREAM_MEMBERS_MAX};
use crate::upstream::Location;

use super::{Found, Resolve, Service, located};

/// Looks endpoints up.
pub(super) struct Lookup<R> {
    resolve: R,
    /// Of targets: one that doesn't answer is still where it was.
    addresses: HashMap<Arc<str>, Vec<IpAddr>>,
}

impl<R: Resolve> Lookup<R> {
    pub(super) fn new(resolve: R) -> Self {
        Self {
            resolve,
            addresses: HashMap::new(),
        }
    }

    /// Where the instances of an endpoint are, and how long that holds.
    pub(super) async fn endpoint(
        &mut self,
        endpoint: &Endpoint,
    ) -> Result<Found<Location>, String> {
        match endpoint {
            Endpoint::Host { host, port } => {
                let found = self.resolve.addresses(host).await?;
                Ok(Found {
                    records: located(&in_order(found.records), *port).collect(),
                    ttl: held(found.ttl),
                })
            }
            Endpoint::Srv(name) => self.targets(name).await,
            Endpoint::Kubernetes(_) | Endpoint::Unix(_) => Ok(Found {
                records: Location::of(endpoint).into_iter().collect(),
                ttl: LOOKUP_TTL_MAX,
            }),
        }
    }

    /// The targets of the smallest priority that have addresses.
    async fn targets(&mut self, name: &str) -> Result<Found<Location>, String> {
        let Found { mut records, ttl } = self.resolve.services(name).await?;
        records.sort_by(|a, b| (a.priority, &a.host, a.port).cmp(&(b.priority, &b.host, b.port)));
        records.dedup();
        records.truncate(UPSTREAM_MEMBERS_MAX);
        let mut ttl = held(ttl);
        let mut error = None;
        for group in records.chunk_by(|a, b| a.priority == b.priority) {
            let mut hosts: Vec<_> = group.iter().map(|s| Arc::clone(&s.host)).collect();
            hosts.dedup();
            for (host, found) in self.ask_all(hosts).await {
                match found {
                    Ok(found) => {
                        ttl = ttl.min(held(found.ttl));
                        self.addresses.insert(host, in_order(found.records));
                    }
                    Err(why) => {
                        ttl = LOOKUP_TTL_MIN;
                        error.get_or_insert(format!("its target {host}: {why}"));
                    }
                }
            }
            let of = |service: &Service| {
                let addresses = self.addresses.get(&service.host);
                addresses
                    .into_iter()
                    .flat_map(|a| located(a, service.port))
                    .collect::<Vec<_>>()
            };
            let records: Vec<_> = group.iter().flat_map(of).collect();
            if !records.is_empty() {
                let named = |host: &Arc<str>| group.iter().any(|s| s.host == *host);
                self.addresses.retain(|host, _| named(host));
                return Ok(Found { records, ttl });
            }
        }
        Err(error.unwrap_or_else(|| "no target has an address".to_owned()))
    }

    async fn ask_all(
        &self,
        hosts: Vec<Arc<str>>,
    ) -> Vec<(Arc<str>, Result<Found<IpAddr>, String>)> {
        let asking = stream::iter(hosts).map(|host| async move {
            let found = self.resolve.addresses(&host).await;
            (host, found)
        });
        asking.buffer_unordered(LOOKUPS_AT_ONCE).collect().await
    }
}

fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn held(ttl: Duration) -> Duration {
    ttl.clamp(LOOKUP_TTL_MIN, LOOKUP_TTL_MAX)
}
