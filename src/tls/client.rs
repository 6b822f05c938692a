//! Certificates of clients: whose are believed, and what services are told of them.

use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::limits::CLIENT_CERTIFICATE_BYTES_MAX;

/// How clients prove who they are.
#[derive(Debug)]
pub struct ClientAuth {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Equal for equal rules: what one set of rules has let in, another must look at again.
    pub(super) digest: u64,
    /// When each list of revoked certificates is to be replaced, where it says so.
    lists_until: Vec<(usize, SystemTime)>,
}

/// Why the files of `client_certificates` can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClientAuthError {
    #[error("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)")]
    NoAuthority,
    #[error("its certificate {0} can't be used: {1}")]
    Authority(usize, String),
    #[error("there is no revocation list in it (`-----BEGIN X509 CRL-----`)")]
    NoList,
    #[error("its revocation list {0} can't be read: {1}")]
    List(usize, String),
    #[error("{0}")]
    Rules(String),
}

impl ClientAuthError {
    /// Whether the file of revocation lists is the one to look at.
    #[must_use]
    pub fn is_of_list(&self) -> bool {
        matches!(self, Self::NoList | Self::List(..))
    }
}

impl ClientAuth {
    /// From PEM text: the authorities whose clients are let in, and what those have revoked.
    ///
    /// # Errors
    /// Text that holds none, or that can't be used.
    pub fn from_pem(
        authorities: &[u8],
        revoked: Option<&[u8]>,
        required: bool,
    ) -> Result<Self, ClientAuthError> {
        let mut digest = foldhash::quality::FixedState::default().build_hasher();
        for text in [authorities, revoked.unwrap_or_default()] {
            digest.write_usize(text.len());
            digest.write(text);
        }
        digest.write_u8(u8::from(required));
        let mut roots = RootCertStore::empty();
        for (at, found) in CertificateDer::pem_slice_iter(authorities).enumerate() {
            let wrong = |e: String| ClientAuthError::Authority(at + 1, e);
            let found = found.map_err(|e| wrong(e.to_string()))?;
            roots.add(found).map_err(|e| wrong(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(ClientAuthError::NoAuthority);
        }
        let (mut lists, mut lists_until) = (Vec::new(), Vec::new());
        for (at, found) in
            CertificateRevocationListDer::pem_slice_iter(revoked.unwrap_or_default()).enumerate()
        {
            let list = found.map_err(|e| ClientAuthError::List(at + 1, e.to_string()))?;
            lists_until.extend(next_update(&list).map(|until| (at + 1, until)));
            lists.push(list);
        }
        if revoked.is_some() && lists.is_empty() {
            return Err(ClientAuthError::NoList);
        }
        let mut verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
                // An authority without a list revokes nothing.
                .allow_unknown_revocation_status()
                .with_crls(lists);
        if !required {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier
            .build()
            .map_err(|e| ClientAuthError::Rules(e.to_string()))?;
        Ok(Self {
            verifier,
            digest: digest.finish(),
            lists_until,
        })
    }

    /// Lists of revoked certificates that were to be replaced before `now`, counted from 1, with when.
    pub fn outdated(&self, now: SystemTime) -> impl Iterator<Item = (usize, SystemTime)> {
        let all = self.lists_until.iter().copied();
        all.filter(move |(_, until)| *until < now)
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// When a list's authority will have written another (RFC 5280 §5.1.2.5).
fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<SystemTime> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    let seconds = u64::try_from(list.next_update()?.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// What would end an element of the header, or a header.
const QUOTED: &AsciiSet = &CONTROLS.add(b'"').add(b'\\').add(b'%');
const BARE: &AsciiSet = &QUOTED.add(b',').add(b';').add(b'=').add(b' ');

/// What is told of a client's certificate.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The value of `x-forwarded-client-cert`, as Envoy has it: the certificate's SHA-256, its subject,
    /// and the URIs and DNS names that it is for. `None` for one that can't be told whole.
    pub forwarded: Option<HeaderValue>,
    /// As text; empty where there is none.
    pub subject: String,
    /// Of its DER form, in hexadecimal digits.
    pub sha256: String,
}

impl ClientCertificate {
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        let mut sha256 = String::with_capacity(64);
        for byte in digest.as_ref() {
            // Writing to a String doesn't fail.
            _ = write!(sha256, "{byte:02x}");
        }
        let parsed = X509Certificate::from_der(certificate).ok();
        let subject = parsed.as_ref().map(|(_, p)| p.subject().to_string());
        let subject = subject.unwrap_or_default();
        let whole = certificate.len() <= CLIENT_CERTIFICATE_BYTES_MAX;
        let parsed = parsed.filter(|_| whole);
        Self {
            forwarded: parsed.and_then(|(_, parsed)| forwarded(&sha256, &subject, &parsed)),
            subject,
            sha256,
        }
    }
}

fn forwarded(sha256: &str, subject: &str, parsed: &X509Certificate<'_>) -> Option<HeaderValue> {
    let subject = utf8_percent_encode(subject, QUOTED);
    let mut told = format!("Hash={sha256};Subject=\"{subject}\"");
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        for name in &names.value.general_names {
            let (what, name) = match name {
                GeneralName::URI(uri) => ("URI", uri),
                GeneralName::DNSName(name) => ("DNS", name),
                _ => continue,
            };
            write!(told, ";{what}={}", utf8_percent_encode(name, BARE)).ok()?;
        }
    }
    HeaderValue::try_from(told).ok()
}
