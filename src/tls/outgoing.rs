//! TLS to an upstream: whom it must prove to be, and who we are.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Identity, IdentityError};

/// What connections to one upstream are opened with.
pub struct Outgoing {
    http2: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    /// In place of the endpoint's own name.
    name: Option<ServerName<'static>>,
    nobody: Arc<Nobody>,
    digest: u64,
}

/// Says that we have no certificate of our own, and remembers that somebody has asked for one: with
/// TLS 1.3 the refusal comes after the handshake, when the protocol above has begun already.
#[derive(Debug, Default)]
struct Nobody {
    asked: AtomicBool,
}

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        // Or it wouldn't be asked.
        true
    }
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)")]
    NoAuthority,
    #[error("its certificate {0} can't be used: {1}")]
    Authority(usize, String),
    #[error("this system has no certificates of authorities: name them with `ca`")]
    NoSystem,
    #[error("{0}")]
    Own(#[from] IdentityError),
    #[error("{0}")]
    Rules(#[from] rustls::Error),
}

/// What the files of an upstream hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Material<'m> {
    /// PEM text of the authorities that are believed; the system's own otherwise.
    pub authorities: Option<&'m [u8]>,
    /// PEM texts of our chain and key.
    pub own: Option<(&'m [u8], &'m [u8])>,
    pub name: Option<&'m str>,
}

/// The protocol that is wanted over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
}

/// Why a peer is none of ours. The words are for operators.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("{0:?} can't be the name of a certificate")]
    Name(Box<str>),
    #[error("TLS: {0}")]
    Failed(String),
    #[error("TLS: it agreed on {0:?} in place of HTTP/2")]
    Protocol(String),
}

impl Outgoing {
    /// Reads the system's authorities where none are named: not for threads that serve.
    ///
    /// # Errors
    /// Text that can't be used.
    pub fn new(material: &Material<'_>) -> Result<Self, OutgoingError> {
        let mut digest = foldhash::quality::FixedState::default().build_hasher();
        let mut roots = RootCertStore::empty();
        match material.authorities {
            Some(text) => {
                digest.write(text);
                for (at, found) in CertificateDer::pem_slice_iter(text).enumerate() {
                    let wrong = |e: String| OutgoingError::Authority(at + 1, e);
                    let found = found.map_err(|e| wrong(e.to_string()))?;
                    roots.add(found).map_err(|e| wrong(e.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(OutgoingError::NoAuthority);
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                for one in &found.certs {
                    digest.write(one);
                }
                if roots.add_parsable_certificates(found.certs).0 == 0 {
                    return Err(OutgoingError::NoSystem);
                }
            }
        }
        let config = ClientConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let nobody = Arc::new(Nobody::default());
        let config = match material.own {
            None => config.with_client_cert_resolver(Arc::clone(&nobody) as _),
            Some((chain, key)) => {
                digest.write(chain);
                digest.write(key);
                // For its words on what doesn't fit.
                Identity::from_pem(chain, key)?;
                let chain = CertificateDer::pem_slice_iter(chain).flatten().collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::NoKey)?;
                config.with_client_auth_cert(chain, key)?
            }
        };
        let name = match material.name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.to_owned())
                    .map_err(|e| OutgoingError::Rules(rustls::Error::General(e.to_string())))?,
            ),
        };
        digest.write(material.name.unwrap_or_default().as_bytes());
        let with = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self {
            http2: with(b"h2"),
            http1: with(b"http/1.1"),
            name,
            nobody,
            digest: digest.finish(),
        })
    }

    /// Whether a peer has asked for a certificate of ours, and there is none.
    #[must_use]
    pub fn lacks_certificate(&self) -> bool {
        self.nobody.asked.load(Ordering::Relaxed)
    }

    /// Shakes hands with a peer that is called `host`.
    ///
    /// # Errors
    /// It isn't who it should be, or doesn't speak what it should.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        socket: S,
        speaks: Speaks,
    ) -> Result<TlsStream<S>, HandshakeError> {
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| HandshakeError::Name(host.into()))?,
        };
        let config = match speaks {
            Speaks::Http1 => &self.http1,
            Speaks::Http2 => &self.http2,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector
            .connect(name, socket)
            .await
            .map_err(|e| HandshakeError::Failed(plainly(&e, speaks)))?;
        // Servers from before ALPN agree on nothing: their first frame tells.
        match stream.get_ref().1.alpn_protocol() {
            Some(other) if speaks == Speaks::Http2 && other != b"h2" => {
                let other = String::from_utf8_lossy(other).into_owned();
                Err(HandshakeError::Protocol(other))
            }
            _ => Ok(stream),
        }
    }
}

/// What rustls says, in words that tell what to look at.
fn plainly(error: &std::io::Error, speaks: Speaks) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Wrong, Error};
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let plain = match inner {
        Some(Error::InvalidMessage(_)) => {
            "the peer doesn't speak TLS: `tls: off`, or is this another port?"
        }
        Some(Error::InvalidCertificate(wrong)) => match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "its certificate has expired: it has to be renewed there"
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "its certificate does not hold yet: is the clock right?"
            }
            Wrong::UnknownIssuer => {
                "its certificate is of an authority that isn't known: name that with `tls: { ca: … }`"
            }
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                "its certificate is for another name: `tls: { server_name: … }` says which is right"
            }
            _ => return error.to_string(),
        },
        Some(Error::AlertReceived(Alert::NoApplicationProtocol)) => match speaks {
            Speaks::Http2 => "it doesn't speak HTTP/2 over TLS: is this the port of gRPC?",
            Speaks::Http1 => "it doesn't speak HTTP/1.1 over TLS: leave `protocol: http1` out",
        },
        Some(Error::AlertReceived(Alert::CertificateRequired)) => {
            "it wants a certificate of ours: `tls: { cert: …, key: … }`"
        }
        Some(Error::AlertReceived(Alert::UnknownCA)) => {
            "it doesn't know the authority of our certificate"
        }
        _ if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection in the handshake: does it speak TLS at all?"
        }
        _ => return error.to_string(),
    };
    match inner {
        Some(Error::InvalidCertificate(
            wrong @ (Wrong::ExpiredContext { .. }
            | Wrong::NotValidYetContext { .. }
            | Wrong::NotValidForNameContext { .. }),
        )) => format!("{plain} ({wrong})"),
        _ => plain.to_owned(),
    }
}

impl PartialEq for Outgoing {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Outgoing {}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
