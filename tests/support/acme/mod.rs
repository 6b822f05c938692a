//! Authorities to get certificates from, and what they look at to see that a name is ours.

pub mod answers;
pub mod ca;
pub mod dns;
pub mod manners;

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use transom::acme::{Authority, Http};

/// How long one answer of an authority may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long an order may take.
const ORDER: Duration = Duration::from_secs(60);

/// A root that authorities' own HTTPS certificates come from.
pub struct Root(CertifiedIssuer<'static, KeyPair>);

/// A chain and its key as PEM text.
#[derive(Clone, Debug)]
pub struct Pair {
    pub chain: String,
    pub key: String,
}

impl Root {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "a root of the tests");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a root"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.0
    }

    /// For a server at 127.0.0.1.
    pub fn server(&self) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let made = params.signed_by(&key, &self.0).expect("a certificate");
        Pair {
            chain: made.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts this root alone.
    /// What trusts certificates of this root.
    pub fn client(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    pub fn http(&self) -> Http {
        self.http_within(ANSWER)
    }

    pub fn http_within(&self, answer: Duration) -> Http {
        Http::new(Arc::new(self.client()), answer)
    }

    /// An authority at `directory`, with terms that we agree to.
    pub fn authority(&self, directory: &str) -> Authority {
        let mut authority = Authority::new("test", directory, self.http(), ORDER);
        authority.agreed = true;
        authority.contact = vec!["ops@example.com".to_owned()];
        authority
    }
}
