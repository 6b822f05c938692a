//! Authorities that certificates come from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::model::Place;

/// Let's Encrypt's own.
pub const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its certificates are trusted by nobody, and its limits are wide.
pub const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// One authority, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    pub name: Box<str>,
    /// The URL of its directory.
    pub directory: Box<str>,
    pub storage: PathBuf,
    pub agree_to_terms: bool,
    pub contact: Vec<String>,
    /// In the order of preference.
    pub challenges: Vec<Challenge>,
    pub dns: Option<Dns>,
    pub key_type: KeyType,
    pub profile: Option<Box<str>>,
    pub eab: Option<Eab>,
    /// PEM file; `None` is the system's.
    pub roots: Option<(PathBuf, Place)>,
    /// The directory where names are tried after a failure.
    pub trial: Option<Box<str>>,
    /// Index of the authority to turn to.
    pub next: Option<usize>,
    pub answer_timeout: Duration,
    pub order_timeout: Duration,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    TlsAlpn01,
    Http01,
    Dns01,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    #[default]
    P256,
    P384,
    Rsa2048,
}

/// Bytes that aren't printed, and don't stay in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<Vec<u8>>);

/// An account elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eab {
    pub key_id: String,
    pub hmac_key: Secret,
}

/// Who makes TXT records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    pub way: DnsWay,
    pub timeout: Duration,
    pub propagation: Propagation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsWay {
    Update {
        server: SocketAddr,
        zone: Option<String>,
        key: Option<TsigKey>,
    },
    Exec {
        program: String,
        arguments: Vec<String>,
    },
    Webhook {
        url: String,
        headers: Vec<(HeaderName, HeaderValue)>,
        roots: Option<(PathBuf, Place)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsigKey {
    pub name: String,
    pub algorithm: TsigAlgorithm,
    pub key: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// When records count as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    pub wait: Duration,
    pub timeout: Duration,
    pub servers: Vec<SocketAddr>,
}

impl Default for Propagation {
    fn default() -> Self {
        Self {
            wait: Duration::ZERO,
            timeout: Duration::from_secs(120),
            servers: Vec::new(),
        }
    }
}

impl Acme {
    /// Every file that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.roots.iter();
        let hook = self.dns.iter().filter_map(|dns| match &dns.way {
            DnsWay::Webhook { roots, .. } => roots.as_ref(),
            DnsWay::Update { .. } | DnsWay::Exec { .. } => None,
        });
        own.chain(hook).map(|(file, _)| file)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
