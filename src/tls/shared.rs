//! What outlives a generation: keys of session tickets, the certificate for development, and
//! certificates that come while listeners serve.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use rustls::server::ProducesTickets;
use rustls::sign::CertifiedKey;

use super::terms::Terms;
use super::{Identity, TermsError};

/// Certificates that are got at run time, by the name of each.
type Provided = BTreeMap<Box<str>, Arc<Identity>>;

/// One for the process.
#[derive(Default)]
pub struct Shared {
    /// By [`super::ClientAuth`]'s digest.
    tickets: Mutex<HashMap<u64, Arc<dyn ProducesTickets>>>,
    self_signed: Mutex<HashMap<Vec<String>, Arc<Identity>>>,
    provided: ArcSwap<Provided>,
    terms: Mutex<Vec<Weak<Terms>>>,
    /// Certificates that answer an authority's tls-alpn-01 challenges, by name (RFC 8737).
    challenges: ArcSwap<HashMap<Box<str>, Arc<CertifiedKey>>>,
}

impl Shared {
    /// The tickets of clients that were let in by these rules. Their keys change every six hours, and
    /// are of use for twelve.
    pub(super) fn tickets(&self, rules: u64) -> Result<Arc<dyn ProducesTickets>, TermsError> {
        let mut tickets = lock(&self.tickets);
        // Rules that nobody uses any more.
        tickets.retain(|of, held| *of == rules || Arc::strong_count(held) > 1);
        if let Some(held) = tickets.get(&rules) {
            return Ok(Arc::clone(held));
        }
        let made = rustls::crypto::aws_lc_rs::Ticketer::new()
            .map_err(|e| TermsError::Tickets(e.to_string()))?;
        tickets.insert(rules, Arc::clone(&made));
        Ok(made)
    }

    /// A certificate for these names that nobody has vouched for: the same until the process ends, so
    /// that who has accepted it once isn't asked again.
    ///
    /// # Errors
    /// A name that can't stand in a certificate.
    pub fn self_signed(&self, names: &[String]) -> Result<Arc<Identity>, TermsError> {
        let mut known = lock(&self.self_signed);
        if let Some(identity) = known.get(names) {
            return Ok(Arc::clone(identity));
        }
        let wrong = |e: rcgen::Error| TermsError::SelfSigned(e.to_string());
        let key = rcgen::KeyPair::generate().map_err(wrong)?;
        let mut params = rcgen::CertificateParams::new(names).map_err(wrong)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Transom development");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(wrong)?;
        let identity =
            Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
                .map_err(|e| TermsError::SelfSigned(e.to_string()))?;
        let identity = Arc::new(identity);
        known.insert(names.to_vec(), Arc::clone(&identity));
        Ok(identity)
    }

    /// Serves these from the next handshake on, on the listeners that ask for their names; in place of
    /// all that was provided before.
    pub fn provide(&self, identities: BTreeMap<Box<str>, Arc<Identity>>) {
        self.provided.store(Arc::new(identities));
        let mut terms = lock(&self.terms);
        terms.retain(|of| match of.upgrade() {
            Some(of) => {
                of.take_up(&self.provided.load());
                true
            }
            None => false,
        });
    }

    /// Those that are provided now.
    #[must_use]
    pub fn provided(&self) -> Arc<BTreeMap<Box<str>, Arc<Identity>>> {
        self.provided.load_full()
    }

    pub(super) fn enter(&self, terms: &Arc<Terms>) {
        // Under the lock, so that what comes meanwhile isn't missed.
        let mut known = lock(&self.terms);
        terms.take_up(&self.provided.load());
        known.retain(|of| of.strong_count() > 0);
        known.push(Arc::downgrade(terms));
    }

    /// Answers tls-alpn-01 challenges with these from now on.
    pub fn challenge(&self, certificates: HashMap<Box<str>, Arc<CertifiedKey>>) {
        self.challenges.store(Arc::new(certificates));
    }

    pub(super) fn challenge_of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.challenges.load().get(name).map(Arc::clone)
    }
}

/// Nothing that is held here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("provided", &self.provided.load())
            .finish_non_exhaustive()
    }
}
