//! Answers to an authority's challenges (RFC 8555 §8): what shows that a name is ours.

mod dns01;
mod tls_alpn01;

use std::sync::Arc;

use instant_acme::{ChallengeHandle, ChallengeType, Identifier};

pub use dns01::{Dns, Exec, Propagation, Update, Way, Webhook};
pub use tls_alpn01::{Certificates, Publish};

use crate::tokens::Tokens;

/// The ways to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file on port 80.
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// A TXT record: the only way for wildcards.
    Dns01,
}

/// One challenge, and what answers it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The name as it stands in the order, `*.example.com` included.
    pub name: Box<str>,
    pub identifier: Identifier,
    pub kind: Kind,
    pub url: String,
    pub token: String,
    /// What a file holds.
    pub key_authorization: String,
    /// Its SHA-256, which a certificate holds.
    pub digest: Vec<u8>,
    /// The same as text, which a TXT record holds.
    pub record: String,
}

/// Everything that can answer challenges.
#[derive(Debug)]
pub struct Solvers {
    /// What may be used, the first that can rather than those after it.
    pub kinds: Box<[Kind]>,
    pub tokens: Arc<Tokens>,
    pub certificates: Arc<Certificates>,
    pub dns: Option<Dns>,
}

impl Kind {
    /// As authorities and the configuration call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }

    pub(super) fn of_library(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Dns01 => ChallengeType::Dns01,
        }
    }

    /// Whether the rules let it prove this name (RFC 8555 §7.1.3, RFC 8738 §7).
    #[must_use]
    pub fn proves(self, name: &str, identifier: &Identifier) -> bool {
        match self {
            Self::Http01 | Self::TlsAlpn01 => !name.starts_with("*."),
            Self::Dns01 => matches!(identifier, Identifier::Dns(_)),
        }
    }
}

impl Ask {
    pub(super) fn new(
        name: &str,
        identifier: Identifier,
        kind: Kind,
        challenge: &ChallengeHandle<'_>,
    ) -> Self {
        let key = challenge.key_authorization();
        Self {
            name: name.into(),
            identifier,
            kind,
            url: challenge.url.clone(),
            token: challenge.token.clone(),
            key_authorization: key.as_str().to_owned(),
            digest: key.digest().as_ref().to_vec(),
            record: key.dns_value(),
        }
    }
}

impl Solvers {
    /// The way to prove `name`, of those that the authority offers: the one at `turn`, round and
    /// round, so that what fails for a name gives way to the next.
    pub(super) fn choose<'a>(
        &self,
        name: &str,
        identifier: &Identifier,
        offered: impl Iterator<Item = &'a ChallengeType>,
        turn: usize,
    ) -> Result<Kind, String> {
        let offered: Vec<_> = offered.collect();
        let fitting =
            self.kinds.iter().copied().filter(|kind| {
                kind.proves(name, identifier) && offered.contains(&&kind.of_library())
            });
        let fitting: Vec<_> = fitting.collect();
        let at = turn.checked_rem(fitting.len());
        match at.and_then(|at| fitting.get(at)) {
            Some(kind) => Ok(*kind),
            None if name.starts_with("*.") && !self.kinds.contains(&Kind::Dns01) => Err(
                "a wildcard can be proved by dns-01 alone, which isn't among `challenges`"
                    .to_owned(),
            ),
            None => Err(format!(
                "none of `challenges` ({}) is offered for it",
                self.kinds.map_names()
            )),
        }
    }

    /// Puts the answer where the authority will look.
    pub(super) async fn present(&self, ask: &Ask) -> Result<(), String> {
        match ask.kind {
            Kind::Http01 => {
                self.tokens.put(&ask.token, &ask.key_authorization);
                Ok(())
            }
            Kind::TlsAlpn01 => self.certificates.put(ask),
            Kind::Dns01 => match &self.dns {
                Some(dns) => dns.present(ask).await,
                None => Err("there is no `dns` to answer dns-01 with".to_owned()),
            },
        }
    }

    /// Waits until the answers can be seen, where that takes time.
    pub(super) async fn settle(&self, asks: &[Ask]) -> Result<(), (Box<str>, String)> {
        let Some(dns) = &self.dns else {
            return Ok(());
        };
        dns.settle(asks.iter().filter(|a| a.kind == Kind::Dns01))
            .await
    }

    /// Takes the answer away again.
    pub(super) async fn withdraw(&self, ask: &Ask) {
        match ask.kind {
            Kind::Http01 => self.tokens.remove(&ask.token),
            Kind::TlsAlpn01 => self.certificates.remove(ask),
            Kind::Dns01 => {
                if let Some(dns) = &self.dns
                    && let Err(error) = dns.withdraw(ask).await
                {
                    let (name, value) = (&ask.name, &ask.record);
                    tracing::warn!(%name, %value, %error, "a challenge's TXT record stays behind");
                }
            }
        }
    }
}

trait Names {
    fn map_names(&self) -> String;
}

impl Names for [Kind] {
    fn map_names(&self) -> String {
        let names: Vec<_> = self.iter().map(|k| k.name()).collect();
        names.join(", ")
    }
}
