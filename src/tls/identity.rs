//! A certificate with its chain and key, checked to belong together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::CERTIFICATES_IN_CHAIN_MAX;

/// What a listener shows of itself, and what people want to know about it.
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// DNS names in lower case, `*.example.com` among them, and addresses as text.
    names: Box<[Box<str>]>,
    issuer: Box<str>,
    not_before: SystemTime,
    not_after: SystemTime,
    warnings: Vec<Warning>,
}

/// Why PEM text is no identity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    #[error("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    #[error("it is cut off: an end line is missing (`-----END CERTIFICATE-----`)")]
    CutOff,
    #[error("it holds more than {CERTIFICATES_IN_CHAIN_MAX} certificates")]
    TooMany,
    #[error("its certificate {0} can't be read: {1}")]
    Certificate(usize, String),
    #[error("certificate {0} of it is not signed by certificate {next}: the chain is out of order or not one chain", next = .0 + 1)]
    Chain(usize),
    #[error("there is no private key in it (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    #[error("the private key is encrypted")]
    Encrypted,
    #[error("the private key can't be used: {0}")]
    Key(String),
    #[error("the key is not the one of the certificate")]
    OtherKey,
    #[error("the key is that of certificate {0}, which must come first")]
    KeyOf(usize),
}

impl IdentityError {
    /// Whether the file of the key is the one to look at.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey | Self::Encrypted | Self::Key(_) | Self::OtherKey
        )
    }

    /// The way out.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Encrypted => "`openssl pkey -in FILE -out PLAIN` takes the password off",
            Self::OtherKey => {
                "`openssl x509 -in CERT -noout -pubkey` and `openssl pkey -in KEY -pubout` must print the same"
            }
            Self::Chain(_) | Self::KeyOf(_) => {
                "the server's certificate comes first, then the one that signed it, and so on; the root may be left out"
            }
            Self::NoCertificate | Self::NoKey => {
                "PEM is wanted: `openssl x509 -inform der` and `openssl pkey -inform der` turn DER into it"
            }
            Self::CutOff => "was it copied while it was written? It is read again when it changes",
            Self::TooMany | Self::Certificate(..) | Self::Key(_) => return None,
        })
    }
}

/// What is odd about a certificate that is served all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// No subjectAltName.
    NoNames,
    /// A public authority's certificate without the one that signed it.
    Alone { issuer: Box<str> },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNames => {
                f.write_str("the certificate names no host (subjectAltName): browsers refuse it")
            }
            Self::Alone { issuer } => write!(
                f,
                "the chain ends after the first certificate: clients that don't know \"{issuer}\" refuse it"
            ),
        }
    }
}

impl Identity {
    /// From PEM text: the certificates, the server's first, and its key.
    ///
    /// # Errors
    /// Whatever keeps them from being served.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let mut certificates = Vec::new();
        for (at, found) in CertificateDer::pem_slice_iter(chain).enumerate() {
            if at >= CERTIFICATES_IN_CHAIN_MAX {
                return Err(IdentityError::TooMany);
            }
            certificates.push(found.map_err(|e| match e {
                pem::Error::MissingSectionEnd { .. } => IdentityError::CutOff,
                e => IdentityError::Certificate(at + 1, e.to_string()),
            })?);
        }
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(_) if memchr::memmem::find(key, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() => {
                return Err(IdentityError::Encrypted);
            }
            // What OpenSSL of old wrote.
            Err(_) if memchr::memmem::find(key, b"Proc-Type: 4,ENCRYPTED").is_some() => {
                return Err(IdentityError::Encrypted);
            }
            Err(pem::Error::NoItemsFound) => return Err(IdentityError::NoKey),
            Err(error) => return Err(IdentityError::Key(error.to_string())),
        };
        Self::new(certificates, &key)
    }

    /// # Errors
    /// Those of [`Identity::from_pem`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, IdentityError> {
        let mut parsed = Vec::with_capacity(chain.len());
        for (at, der) in chain.iter().enumerate() {
            let (_, certificate) = X509Certificate::from_der(der)
                .map_err(|e| IdentityError::Certificate(at + 1, e.to_string()))?;
            parsed.push(certificate);
        }
        let Some(first) = parsed.first() else {
            return Err(IdentityError::NoCertificate);
        };
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)
            .map_err(|e| IdentityError::Key(e.to_string()))?;
        if let Some(public) = signing.public_key() {
            let fits = |c: &X509Certificate<'_>| c.public_key().raw == public.as_ref();
            match parsed.iter().position(fits) {
                Some(0) => {}
                Some(at) => return Err(IdentityError::KeyOf(at + 1)),
                None => return Err(IdentityError::OtherKey),
            }
        }
        for (at, pair) in parsed.windows(2).enumerate() {
            if let [one, next] = pair
                && one.issuer().as_raw() != next.subject().as_raw()
            {
                return Err(IdentityError::Chain(at + 1));
            }
        }
        let names = names(first);
        let mut warnings = Vec::new();
        if names.is_empty() {
            warnings.push(Warning::NoNames);
        }
        let issuer: Box<str> = short_name(first).into();
        let own = first.issuer().as_raw() == first.subject().as_raw();
        if parsed.len() == 1 && !own && tells_of_issuer(first) {
            let issuer = issuer.clone();
            warnings.push(Warning::Alone { issuer });
        }
        let time = |t: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(t.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let (not_before, not_after) = (
            time(first.validity().not_before),
            time(first.validity().not_after),
        );
        drop(parsed);
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(chain, signing)),
            names,
            issuer,
            not_before,
            not_after,
            warnings,
        })
    }

    #[must_use]
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What whoever provided it should know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether it is for this host: a name in lower case, or an address (RFC 9525 §6.3).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let below = host.split_once('.').map(|(_, rest)| rest);
        self.names.iter().any(|name| {
            &**name == host
                || name
                    .strip_prefix("*.")
                    .is_some_and(|parent| below == Some(parent))
        })
    }
}

impl std::fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names)
            .field("issuer", &self.issuer)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn names(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Box::default();
    };
    let one = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
        GeneralName::IPAddress(octets) => address(octets).map(|ip| ip.to_string().into()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(one).collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// The common name of the issuer, or its organisation, or all of it.
fn short_name(certificate: &X509Certificate<'_>) -> String {
    let issuer = certificate.issuer();
    let common = issuer.iter_common_name().next();
    common
        .or_else(|| issuer.iter_organization().next())
        .and_then(|name| name.as_str().ok())
        .map_or_else(|| issuer.to_string(), str::to_owned)
}

/// Whether it says where its issuer's certificate is to be had, as those of public authorities do.
fn tells_of_issuer(certificate: &X509Certificate<'_>) -> bool {
    let of_access = |e: &x509_parser::extensions::X509Extension<'_>| {
        matches!(e.parsed_extension(), ParsedExtension::AuthorityInfoAccess(a)
            if a.accessdescs.iter().any(|d| d.access_method == x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS))
    };
    certificate.extensions().iter().any(of_access)
}
