//! From an accepted socket to a client's bytes: who it is, as far as a balancer tells, and TLS.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use rustls::HandshakeKind;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::PLAIN_TO_TLS_BYTES_MAX;
use crate::telemetry::{Handshake, Session, Shown, brief};
use crate::tls::{ACME_PROTOCOL, ClientCertificate, Served, Terms};

use super::broken::Broken;
use super::proxy_header::{self, NoHeader, RefusedHeader};
use super::pulse::Pulse;
use super::wire::{Metered, Wire};
use super::{Bounds, Counters, Ends, count};

/// What the first record of a client begins with (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What is known of a connection with TLS.
#[derive(Debug)]
pub struct Secure {
    terms: Arc<Terms>,
    served: Arc<Served>,
    /// What logs are told. The name that the client asked for is in lower case.
    session: Rc<Session>,
    /// What services are told of the client's certificate.
    forwarded: Option<HeaderValue>,
    http2: bool,
    /// Until the first request takes it.
    handshake: Cell<Option<Handshake>>,
}

impl Secure {
    fn of<S>(
        stream: &TlsStream<S>,
        terms: &Arc<Terms>,
        served: Arc<Served>,
        name: Option<String>,
        begun: Instant,
    ) -> Self {
        let (_, session) = stream.get_ref();
        let client = session.peer_certificates().and_then(|all| all.first());
        let client = client.map(ClientCertificate::of);
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        let cipher = session.negotiated_cipher_suite();
        let told = Session {
            version,
            cipher: cipher.and_then(|c| c.suite().as_str()).unwrap_or_default(),
            name: name.map(String::into_boxed_str),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            client: client.as_ref().map(|client| Shown {
                subject: brief(&client.subject).to_string().into(),
                sha256: client.sha256.as_str().into(),
            }),
            ..Session::default()
        };
        Self {
            terms: Arc::clone(terms),
            served,
            session: Rc::new(told),
            forwarded: client.and_then(|client| client.forwarded),
            http2: session.alpn_protocol() == Some(b"h2"),
            handshake: Cell::new(Some(Handshake {
                begun,
                took: begun.elapsed(),
                version,
            })),
        }
    }

    /// Whether requests for this host may come here.
    pub(super) fn allows(&self, host: &str) -> bool {
        self.terms
            .allows(&self.served, self.session.name.as_deref(), host)
    }

    /// The client's certificate in the form of `x-forwarded-client-cert`.
    #[must_use]
    pub fn forwarded(&self) -> Option<&HeaderValue> {
        self.forwarded.as_ref()
    }

    /// What all lines of the log tell of the connection.
    #[must_use]
    pub fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// How the handshake went, for the first who asks.
    #[must_use]
    pub fn take_handshake(&self) -> Option<Handshake> {
        self.handshake.take()
    }

    /// HTTP/2 was agreed on.
    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Begun,
    Header,
    Tls,
}

/// Why there is no TLS, in a word and in all of them.
struct Failed(Broken, io::Error);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(Broken::of(&error), error)
    }
}

impl Failed {
    fn since(why: Broken, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(why, io::Error::other(error))
    }
}

/// Reads what comes before HTTP. `None` is a connection that isn't to be served. Whoever drops it learns
/// from `stage` what was waited for.
pub(super) async fn open(
    mut socket: TcpStream,
    ends: &mut Ends,
    bounds: &Bounds,
    pulse: &Rc<Pulse>,
    counters: &Counters,
    stage: &Cell<Stage>,
) -> Option<Wire> {
    let door = &bounds.door;
    let tally = &counters.proxy_headers_refused;
    if door.proxy_protocol && bounds.trusts(ends.peer.ip()) {
        stage.set(Stage::Header);
        match proxy_header::read(&mut socket).await {
            Ok(Some((peer, local))) => (ends.peer, ends.local) = (peer, local),
            Ok(None) => {}
            Err(NoHeader(why, error)) => {
                tally.note(why, &ends.peer, &error);
                return None;
            }
        }
    } else if door.proxy_protocol && proxy_header::is_next(&socket).await {
        // It is taken for what it is then: no HTTP, and no TLS.
        let error = "its address is not among trusted_proxies";
        tally.note(RefusedHeader::Untrusted, &ends.peer, &error);
    }
    let Some(terms) = &door.tls else {
        return Some(Wire::Plain(Metered::new(socket, pulse)));
    };
    stage.set(Stage::Tls);
    let peer = ends.peer;
    match shake_hands(socket, terms, ends, pulse).await {
        Ok(wire) => {
            count(&counters.handshakes);
            wire
        }
        Err(Failed(why, error)) => {
            counters.broken_handshakes.note(why, &peer, &error);
            None
        }
    }
}

/// Of a connection whose time was over before it had come through.
pub(super) fn late(stage: Stage, counters: &Counters, peer: &SocketAddr) {
    let error = "it took too long";
    match stage {
        Stage::Begun => {}
        Stage::Header => {
            let tally = &counters.proxy_headers_refused;
            tally.note(RefusedHeader::Timeout, peer, &error);
        }
        Stage::Tls => {
            let tally = &counters.broken_handshakes;
            tally.note(Broken::Timeout, peer, &error);
        }
    }
}

async fn shake_hands(
    mut socket: TcpStream,
    terms: &Arc<Terms>,
    ends: &mut Ends,
    pulse: &Rc<Pulse>,
) -> Result<Option<Wire>, Failed> {
    let begun = Instant::now();
    let mut first = [0];
    if !matches!(socket.peek(&mut first).await, Ok(1..)) {
        return Err(Failed::since(Broken::NothingSent, "nothing was sent"));
    }
    // No handshake begins with a letter; every request of HTTP/1.1 does.
    if first.first().is_some_and(u8::is_ascii_uppercase) {
        tell_of_tls(&mut socket).await;
        return Err(Failed::since(Broken::NotTls, "HTTP without TLS"));
    }
    let socket = Metered::new(socket, pulse);
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await;
    let start = start.map_err(|error| match (first, Broken::of(&error)) {
        ([HANDSHAKE_RECORD], why) => Failed(why, error),
        (_, Broken::Malformed) => Failed(Broken::NotTls, error),
        (_, why) => Failed(why, error),
    })?;
    let hello = start.client_hello();
    let name = hello.server_name().map(str::to_ascii_lowercase);
    let challenges = |alpn: &[u8]| alpn == ACME_PROTOCOL;
    if hello.alpn().is_some_and(|mut all| all.any(challenges)) {
        let name = name.unwrap_or_default();
        let config = terms.challenge(&name).map_err(io::Error::other)?;
        let Some(config) = config else {
            let error = format!("no challenge is under way for {name:?}");
            return Err(Failed::since(Broken::NoChallenge, error));
        };
        let mut stream = start.into_stream(config).await?;
        // The certificate is all that it came for.
        stream.shutdown().await?;
        return Ok(None);
    }
    let Some(served) = terms.choose(name.as_deref(), ends.local.ip()) else {
        return Err(match name {
            Some(name) => {
                Failed::since(Broken::UnknownName, format!("no certificate for {name:?}"))
            }
            None => Failed::since(Broken::NoName, "no certificate without a name"),
        });
    };
    let config = served.config().map_err(io::Error::other)?;
    let stream = start.into_stream(config).await?;
    ends.secure = Some(Rc::new(Secure::of(&stream, terms, served, name, begun)));
    Ok(Some(Wire::Tls(Box::new(stream))))
}

/// To a client that speaks plain HTTP where TLS is spoken. What it sent is read so that the reply
/// isn't lost to a reset.
async fn tell_of_tls(socket: &mut TcpStream) {
    const REPLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
        content-length: 48\r\nconnection: close\r\n\r\nThis port speaks TLS: use https:// in the URL.\r\n";
    if socket.write_all(REPLY).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    let mut scrap = [0; 4096];
    let mut left = PLAIN_TO_TLS_BYTES_MAX;
    while let Ok(read @ 1..) = socket.read(&mut scrap).await {
        let Some(less) = left.checked_sub(read) else {
            return;
        };
        left = less;
    }
}
