//! Shakes hands with a TLS server again and again, and says how many a second and how many resumed.
//!
//! `handshakes ADDRESS CERTIFICATE full|resumed VERSION GROUP COUNT THREADS`: VERSION is 1.2 or 1.3,
//! GROUP X25519 or X25519MLKEM768. Each connection sends one request and reads the answer to its end,
//! as tickets of TLS 1.3 come with it. Prints `COUNT SECONDS RESUMED`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream};

type Failed = Box<dyn Error + Send + Sync>;

const REQUEST: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Far above what a handshake takes: who waits as long has lost it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Asked {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    resumes: bool,
    version: &'static rustls::SupportedProtocolVersion,
    group: &'static dyn rustls::crypto::SupportedKxGroup,
    count: usize,
    threads: usize,
}

impl Asked {
    fn parse() -> Result<Self, Failed> {
        let all: Vec<String> = std::env::args().skip(1).collect();
        let [address, certificate, kind, version, group, count, threads] = all.as_slice() else {
            return Err("ADDRESS CERTIFICATE full|resumed VERSION GROUP COUNT THREADS".into());
        };
        Ok(Self {
            address: address.parse()?,
            certificate: CertificateDer::from_pem_file(certificate)?,
            resumes: match kind.as_str() {
                "full" => false,
                "resumed" => true,
                other => return Err(format!("{other}: full or resumed").into()),
            },
            version: match version.as_str() {
                "1.2" => &rustls::version::TLS12,
                "1.3" => &rustls::version::TLS13,
                other => return Err(format!("{other}: 1.2 or 1.3").into()),
            },
            group: match group.as_str() {
                "X25519" => kx_group::X25519,
                "X25519MLKEM768" => kx_group::X25519MLKEM768,
                other => return Err(format!("{other}: X25519 or X25519MLKEM768").into()),
            },
            count: count.parse()?,
            threads: threads.parse()?,
        })
    }

    /// With a store of tickets of its own.
    fn config(&self) -> Result<Arc<ClientConfig>, Failed> {
        let mut provider = default_provider();
        // Before TLS 1.3 OpenSSL shows a P-256 certificate only to who knows that group.
        provider.kx_groups = vec![self.group, kx_group::SECP256R1];
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[self.version])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if !self.resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }
}

/// Whether the handshake resumed a session.
fn shake(to: SocketAddr, config: &Arc<ClientConfig>) -> Result<bool, Failed> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?;
    let mut stream = Stream::new(&mut tls, &mut socket);
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    // Some servers close without telling so in TLS first.
    let read = stream.read_to_end(&mut answer);
    if !answer.starts_with(b"HTTP/1.1 404") {
        read?;
        return Err(format!("answered {:?}", String::from_utf8_lossy(&answer)).into());
    }
    Ok(tls.handshake_kind() == Some(HandshakeKind::Resumed))
}

fn work(asked: &Asked, count: usize) -> Result<(usize, Duration), Failed> {
    let config = asked.config()?;
    if asked.resumes {
        shake(asked.address, &config)?;
    }
    let begin = Instant::now();
    let mut resumed = 0;
    for _ in 0..count {
        resumed += usize::from(shake(asked.address, &config)?);
    }
    Ok((resumed, begin.elapsed()))
}

fn main() -> Result<(), Failed> {
    let asked = Asked::parse()?;
    let share = asked.count.div_ceil(asked.threads);
    let done: Vec<_> = std::thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| work(&asked, share));
        let all: Vec<_> = (0..asked.threads).map(spawn).collect();
        all.into_iter().map(|t| t.join()).collect()
    });
    let (mut resumed, mut longest) = (0, Duration::ZERO);
    for one in done {
        let (of_thread, took) = one.map_err(|_| "a thread has failed")??;
        resumed += of_thread;
        longest = longest.max(took);
    }
    let total = share * asked.threads;
    println!("{total} {} {resumed}", longest.as_secs_f64());
    Ok(())
}
