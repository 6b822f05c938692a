//! Names by DNS, as the system's resolver is configured (`/etc/resolv.conf`, `/etc/hosts`), with the
//! time that answers hold: the C library keeps that to itself.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;

use crate::limits::{LOOKUP_TIMEOUT, LOOKUP_TTL_MIN};

use super::{Found, Resolve};

/// The system's name servers.
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
        let built = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            // Whoever asks has waited for the end of the last answer's time.
            options.cache_size = 0;
            options.timeout = LOOKUP_TIMEOUT;
            builder.build()
        });
        if let Err(error) = &built {
            tracing::warn!(%error, "the system's name servers can't be told: asking the C library");
        }
        Self {
            resolver: built.ok().map(Arc::new),
        }
    }
}

impl Resolve for Names {
    async fn addresses(&self, name: &str) -> Result<Found, String> {
        let Some(resolver) = &self.resolver else {
            let found = tokio::net::lookup_host((name, 0)).await;
            let addresses: Vec<_> = found.map_err(|e| e.to_string())?.map(|a| a.ip()).collect();
            return match addresses.is_empty() {
                true => Err("no address".to_owned()),
                false => Ok(Found {
                    addresses,
                    ttl: LOOKUP_TTL_MIN,
                }),
            };
        };
        let found = resolver.lookup_ip(name).await.map_err(|e| e.to_string())?;
        let addresses: Vec<_> = found.iter().collect();
        if addresses.is_empty() {
            return Err("no address".to_owned());
        }
        let now = std::time::Instant::now();
        let ttl: Duration = found.valid_until().saturating_duration_since(now);
        Ok(Found { addresses, ttl })
    }
}
