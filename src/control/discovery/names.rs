//! Names by DNS, with the time that answers hold, which the C library keeps to itself: of the system's
//! name servers (`/etc/resolv.conf`, `/etc/hosts`) or of others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::rr::RData;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use crate::limits::{LOOKUP_TIMEOUT, LOOKUP_TTL_MIN};

use super::{Found, Resolve, Service};

/// Name servers.
#[derive(Clone)]
pub struct Names {
    /// `None` when the system's configuration can't be read: the C library is asked then.
    resolver: Option<Arc<TokioResolver>>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Reads the system's configuration.
    #[must_use]
    pub fn of_the_system() -> Self {
        let built = TokioResolver::builder_tokio().and_then(build);
        if let Err(error) = &built {
            tracing::warn!(%error, "the system's name servers can't be told: asking the C library");
        }
        Self {
            resolver: built.ok().map(Arc::new),
        }
    }

    /// These and no others.
    #[must_use]
    pub fn at(servers: &[SocketAddr]) -> Self {
        let server = |address: &SocketAddr| {
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            (udp.port, tcp.port) = (address.port(), address.port());
            NameServerConfig::new(address.ip(), true, vec![udp, tcp])
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        let provider = TokioRuntimeProvider::default();
        let built = build(TokioResolver::builder_with_config(config, provider));
        if let Err(error) = &built {
            tracing::error!(%error, "the name servers can't be asked: asking the C library");
        }
        Self {
            resolver: built.ok().map(Arc::new),
        }
    }
}

fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    // Whoever asks has waited for the end of the last answer's time.
    options.cache_size = 0;
    options.timeout = LOOKUP_TIMEOUT;
    builder.build()
}

/// An error in words for operators: hickory's own show the whole question.
fn plainly(error: &NetError) -> String {
    if error.is_nx_domain() {
        return "there is no such name".to_owned();
    }
    match error.is_no_records_found() {
        true => "the name has no such records".to_owned(),
        false => error.to_string(),
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

impl Resolve for Names {
    async fn addresses(&self, name: &str) -> Result<Found<IpAddr>, String> {
        let Some(resolver) = &self.resolver else {
            let found = tokio::net::lookup_host((name, 0)).await;
            let records: Vec<_> = found.map_err(|e| e.to_string())?.map(|a| a.ip()).collect();
            return match records.is_empty() {
                true => Err("no address".to_owned()),
                false => Ok(Found {
                    records,
                    ttl: LOOKUP_TTL_MIN,
                }),
            };
        };
        let found = resolver.lookup_ip(name).await.map_err(|e| plainly(&e))?;
        let records: Vec<_> = found.iter().collect();
        if records.is_empty() {
            return Err("no address".to_owned());
        }
        let ttl = left(found.valid_until());
        Ok(Found { records, ttl })
    }

    async fn services(&self, name: &str) -> Result<Found<Service>, String> {
        let Some(resolver) = &self.resolver else {
            return Err("the C library, which is asked here, has no SRV records".to_owned());
        };
        let found = resolver.srv_lookup(name).await.map_err(|e| plainly(&e))?;
        let service = |data: &RData| match data {
            // A target of `.` says that there is none (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() && srv.port > 0 => Some(Service {
                priority: srv.priority,
                host: srv.target.to_ascii().to_ascii_lowercase().into(),
                port: srv.port,
            }),
            _ => None,
        };
        let records = found.answers().iter().filter_map(|r| service(&r.data));
        let records: Vec<_> = records.collect();
        if records.is_empty() {
            return Err("the name has no service".to_owned());
        }
        let ttl = left(found.valid_until());
        Ok(Found { records, ttl })
    }
}
