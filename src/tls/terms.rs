//! TLS of one listener, ready for handshakes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;

use super::choice::{Choice, parents};
use super::{ClientAuth, Identity, Shared, vouched};

/// The protocol of tls-alpn-01 (RFC 8737).
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Who is let in without certificates of their own.
const ANYBODY: u64 = 0;

/// What a listener is made of.
#[derive(Debug, Default)]
pub struct Spec {
    /// In the order of the config; each with its own rules for clients in place of `client`.
    pub certificates: Vec<(Arc<Identity>, Option<Arc<ClientAuth>>)>,
    /// Names whose certificates come at run time, by [`Shared::provide`].
    pub provided: Box<[Box<str>]>,
    pub client: Option<Arc<ClientAuth>>,
    /// Clients that ask for a name that no certificate has are refused rather than given the first.
    pub refuse_unknown: bool,
    pub only_tls13: bool,
    /// For development: it isn't asked whether the certificate is for the request's host.
    pub any_host: bool,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    #[error("no keys for session tickets can be had: {0}")]
    Tickets(String),
    #[error("a self-signed certificate can't be made: {0}")]
    SelfSigned(String),
    #[error("{0}")]
    Config(#[from] rustls::Error),
}

/// A certificate with the rules of its handshakes.
pub struct Served {
    identity: Arc<Identity>,
    config: Arc<ServerConfig>,
    /// The rules for clients.
    client: Option<Arc<ClientAuth>>,
    only_tls13: bool,
}

/// TLS of one listener.
pub struct Terms {
    shared: Arc<Shared>,
    spec: Spec,
    /// Those of `spec`, as they have been renewed since.
    own: ArcSwap<Vec<Arc<Identity>>>,
    /// Names of certificates that come at run time, and may not be there yet.
    promised: HashSet<Box<str>>,
    choice: ArcSwap<Choice>,
}

impl Terms {
    /// # Errors
    /// No randomness for keys, or rules that rustls doesn't take.
    pub fn new(spec: Spec, shared: &Arc<Shared>) -> Result<Arc<Self>, TermsError> {
        let own = spec.certificates.iter().map(|(own, _)| Arc::clone(own));
        let terms = Arc::new(Self {
            shared: Arc::clone(shared),
            own: ArcSwap::from_pointee(own.collect()),
            choice: ArcSwap::default(),
            promised: spec.provided.iter().cloned().collect(),
            spec,
        });
        terms.choose_from(&BTreeMap::new())?;
        shared.enter(&terms);
        Ok(terms)
    }

    pub(super) fn take_up(&self, provided: &BTreeMap<Box<str>, Arc<Identity>>) {
        if self.spec.provided.is_empty() {
            return;
        }
        if let Err(error) = self.choose_from(provided) {
            tracing::error!(%error, "certificates are not taken up, the old ones serve on");
        }
    }

    /// Puts renewed certificates in the place of those that the config names: `renew` gets the place of
    /// each and the one that is served. Which ones are new.
    ///
    /// # Errors
    /// A certificate that rustls doesn't take: all stays as it was.
    pub fn renew(
        &self,
        renew: impl Fn(usize, &Identity) -> Option<Arc<Identity>>,
    ) -> Result<Vec<Arc<Identity>>, TermsError> {
        let before = self.own.load_full();
        let mut all = Vec::new();
        let mut new = Vec::new();
        for (at, old) in before.iter().enumerate() {
            let renewed = renew(at, old);
            new.extend(renewed.clone());
            all.push(renewed.unwrap_or_else(|| Arc::clone(old)));
        }
        if !new.is_empty() {
            self.own.store(Arc::new(all));
            if let Err(error) = self.choose_from(&self.shared.provided()) {
                self.own.store(before);
                return Err(error);
            }
        }
        Ok(new)
    }

    fn choose_from(&self, provided: &BTreeMap<Box<str>, Arc<Identity>>) -> Result<(), TermsError> {
        let own = self.own.load();
        let rules = self.spec.certificates.iter().map(|(_, client)| client);
        let mut all = own
            .iter()
            .zip(rules)
            .map(|(identity, client)| self.serve(identity, client.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        for name in &self.spec.provided {
            if let Some(identity) = provided.get(name) {
                all.push(self.serve(identity, None)?);
            }
        }
        self.choice.store(Arc::new(Choice::of(all)));
        Ok(())
    }

    fn serve(
        &self,
        identity: &Arc<Identity>,
        client: Option<&Arc<ClientAuth>>,
    ) -> Result<Arc<Served>, TermsError> {
        let client = client.or(self.spec.client.as_ref());
        let verifier = client.map_or_else(|| Arc::new(NoClientAuth) as _, |c| c.verifier());
        let tickets = self.shared.tickets(rules_of(client))?;
        let only_tls13 = self.spec.only_tls13;
        let config = config(identity, only_tls13, verifier, tickets)?;
        Ok(Arc::new(Served {
            identity: Arc::clone(identity),
            config: Arc::new(config),
            client: client.cloned(),
            only_tls13,
        }))
    }

    /// The rules for clients that ask for a host, if it is anybody's: also where its certificate isn't
    /// there yet, and below a wildcard by more labels than a certificate's stands for. Routes may take
    /// such a host for one of the wildcard's, and what comes to it must not come unproved.
    fn rules_for(&self, choice: &Choice, host: &str) -> Option<u64> {
        let found = |served: &Arc<Served>| served.rules();
        let promised = || rules_of(self.spec.client.as_ref());
        let wild = |parent: &str| self.promised.contains(&*format!("*.{parent}"));
        let exact = choice.exact(host).map(found);
        exact
            .or_else(|| self.promised.contains(host).then(promised))
            .or_else(|| choice.get(host).map(found))
            .or_else(|| {
                // The common case costs no text.
                let none = self.promised.is_empty();
                let mut parents = parents(host).filter(|_| !none);
                parents.any(wild).then(promised)
            })
            .or_else(|| choice.above(host).map(found))
    }

    /// What a client gets that asks for this name, in lower case, or for none at this address.
    #[must_use]
    pub fn choose(&self, name: Option<&str>, local: IpAddr) -> Option<Arc<Served>> {
        let choice = self.choice.load();
        let found = match name {
            Some(name) => choice.get(name),
            None => choice.get(&local.to_canonical().to_string()),
        };
        let served = match found {
            Some(found) => found,
            None if name.is_some() && self.spec.refuse_unknown => return None,
            None => choice.first()?,
        };
        // Another certificate than the name's own is no way around its rules.
        let rules = name.and_then(|name| self.rules_for(&choice, name));
        rules
            .is_none_or(|rules| rules == served.rules())
            .then(|| Arc::clone(served))
    }

    /// For an authority that looks at the certificate of its challenge.
    ///
    /// # Errors
    /// No rules for it, which rustls always has.
    pub fn challenge(&self, name: &str) -> Result<Option<Arc<ServerConfig>>, TermsError> {
        let Some(certified) = self.shared.challenge_of(name) else {
            return Ok(None);
        };
        let mut config = ServerConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(One(certified)));
        config.alpn_protocols = vec![ACME_PROTOCOL.to_vec()];
        Ok(Some(Arc::new(config)))
    }

    /// The certificates that the config names: those that come at run time apart.
    #[must_use]
    pub fn configured(&self) -> Arc<Vec<Arc<Identity>>> {
        self.own.load_full()
    }

    /// Whether nobody vouches for them.
    #[must_use]
    pub fn is_for_development(&self) -> bool {
        self.spec.any_host
    }

    /// Whether requests for this host may come on a connection that was opened with `served` for
    /// `name` (RFC 9110 §7.4). Browsers put requests for all the names of a certificate on one
    /// connection; what needs other proof of who the client is must not come that way.
    #[must_use]
    pub fn allows(&self, served: &Served, name: Option<&str>, host: &str) -> bool {
        if self.spec.any_host || name == Some(host) {
            return true;
        }
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        // Clients can't ask for an address.
        let is_address = name.is_none() && host.parse::<IpAddr>().is_ok();
        if !is_address && !served.identity.covers(host) {
            return false;
        }
        let choice = self.choice.load();
        let rules = self.rules_for(&choice, host);
        rules.is_none_or(|rules| rules == served.rules())
    }
}

impl Served {
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// For one handshake.
    ///
    /// # Errors
    /// Rules that rustls doesn't take, which it has taken before.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TermsError> {
        let Some(client) = &self.client else {
            return Ok(Arc::clone(&self.config));
        };
        let tickets = Arc::clone(&self.config.ticketer);
        let (verifier, tickets) = vouched::of_connection(client.verifier(), tickets);
        let config = config(&self.identity, self.only_tls13, verifier, tickets)?;
        Ok(Arc::new(config))
    }

    fn rules(&self) -> u64 {
        rules_of(self.client.as_ref())
    }
}

/// The digest of the rules for clients.
fn rules_of(client: Option<&Arc<ClientAuth>>) -> u64 {
    client.map_or(ANYBODY, |c| c.digest)
}

fn config(
    identity: &Identity,
    only_tls13: bool,
    verifier: Arc<dyn ClientCertVerifier>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TermsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match only_tls13 {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(One(Arc::clone(identity.certified()))));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // All suites are good ones; scanners (and rules of some companies) want the server to choose.
    config.ignore_client_order = true;
    config.ticketer = tickets;
    // Tickets hold all there is to a session: nothing is kept here for clients that may never
    // come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The choice is made before the handshake.
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("One")
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
