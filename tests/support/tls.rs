//! Authorities, certificates and clients that speak TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// PEM texts.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Pair {
    /// As `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::write(folder.join(format!("{name}.crt")), &self.cert).expect("written");
        let path = folder.join(format!("{name}.key"));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .expect("a file");
        io::Write::write_all(&mut file, self.key.as_bytes()).expect("written");
    }
}

fn date(at: SystemTime) -> time::OffsetDateTime {
    at.into()
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (key, params) = Self::params(name);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// One that this one vouches for.
    pub fn below(&self, name: &str) -> Self {
        let (key, params) = Self::params(name);
        let pem = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn params(name: &str) -> (KeyPair, CertificateParams) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (key, params)
    }

    /// For a server of these names.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.issue(names, |_| {})
    }

    /// For a client.
    pub fn client(&self, name: &str, serial: u64) -> Pair {
        self.client_until(
            name,
            serial,
            SystemTime::now() + Duration::from_secs(86_400),
        )
    }

    /// For a client, for a while.
    pub fn client_until(&self, name: &str, serial: u64, end: SystemTime) -> Pair {
        self.issue(&[], |params| {
            params.not_after = date(end);
            params.distinguished_name.push(DnType::CommonName, name);
            let uri = format!("spiffe://example.com/{name}");
            let uri = SanType::URI(uri.try_into().expect("ASCII"));
            params.subject_alt_names.push(uri);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.serial_number = Some(SerialNumber::from(serial));
        })
    }

    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<_> = names.iter().map(|&n| n.to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).expect("signed").pem();
        let key = key.serialize_pem();
        Pair { cert, key }
    }

    /// From so long ago to so long ago.
    pub fn expired(&self, names: &[&str]) -> Pair {
        let day = Duration::from_secs(86_400);
        self.issue(names, |params| {
            params.not_before = date(SystemTime::now() - day * 90);
            params.not_after = date(SystemTime::now() - day);
        })
    }

    /// A list that revokes this serial number.
    pub fn revoke(&self, serial: u64) -> String {
        self.revoke_at(serial, SystemTime::now())
    }

    /// The same by a list of that time, which holds for a day.
    pub fn revoke_at(&self, serial: u64, now: SystemTime) -> String {
        let day = Duration::from_secs(86_400);
        let params = CertificateRevocationListParams {
            this_update: date(now),
            next_update: date(now + day),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date(now),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params
            .signed_by(&self.issuer)
            .expect("signed")
            .pem()
            .expect("PEM")
    }

    /// A client that trusts it.
    pub fn trusted(&self) -> ClientConfig {
        self.client_config(None)
    }

    pub fn client_config(&self, own: Option<&Pair>) -> ClientConfig {
        self.client_of(own, rustls::DEFAULT_VERSIONS)
    }

    pub fn client_of(
        &self,
        own: Option<&Pair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM");
        roots.add(root).expect("a root");
        let config = ClientConfig::builder_with_provider(transom::tls::provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        match own {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
        }
    }
}

/// A client's connection, once both sides have said all of the handshake.
pub async fn connect(
    address: SocketAddr,
    name: &str,
    config: impl Into<Arc<ClientConfig>>,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(config.into())
        .connect(name, socket)
        .await
}

/// A server's side of TLS before a server that speaks none.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends TLS with this certificate and passes the bytes on; with `clients`, only for those that it has
/// signed certificates for.
pub async fn front(
    pair: &Pair,
    protocols: &[&str],
    clients: Option<&Authority>,
    to: SocketAddr,
) -> Front {
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
    let config = rustls::ServerConfig::builder_with_provider(transom::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM");
            roots.add(root).expect("a root");
            let provider = transom::tls::provider();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = config.with_single_cert(chain, key).expect("a pair");
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(socket).await else {
                    return;
                };
                let Ok(mut server) = TcpStream::connect(to).await else {
                    return;
                };
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok();
            });
        }
    });
    Front { address, task }
}

/// The names of the certificate that a server shows.
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<String> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, session) = stream.get_ref();
    let first = &session.peer_certificates().expect("certificates")[0];
    let (_, parsed) = X509Certificate::from_der(first).expect("a certificate");
    let names = parsed.subject_alternative_name().expect("readable");
    let names = &names.expect("names").value.general_names;
    names.iter().map(|n| n.to_string()).collect()
}
