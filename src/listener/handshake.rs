//! From an accepted socket to a client's bytes: who it is, as far as a balancer tells, and TLS.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use http::HeaderValue;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;

use crate::limits::PLAIN_TO_TLS_BYTES_MAX;
use crate::telemetry::Handshake;
use crate::tls::{ACME_PROTOCOL, Served, Terms, forwarded};

use super::proxy_header;
use super::pulse::Pulse;
use super::wire::{Metered, Wire};
use super::{Bounds, Counters, Ends, count};

/// What is known of a connection with TLS.
#[derive(Debug)]
pub struct Secure {
    terms: std::sync::Arc<Terms>,
    served: std::sync::Arc<Served>,
    /// What the client asked for, in lower case.
    name: Option<Box<str>>,
    /// What services are told of the client's certificate.
    client: Option<HeaderValue>,
    http2: bool,
    /// Until the first request takes it.
    handshake: Cell<Option<Handshake>>,
}

impl Secure {
    /// Whether requests for this host may come here.
    pub(super) fn allows(&self, host: &str) -> bool {
        self.terms.allows(&self.served, self.name.as_deref(), host)
    }

    /// The client's certificate in the form of `x-forwarded-client-cert`.
    #[must_use]
    pub fn client(&self) -> Option<&HeaderValue> {
        self.client.as_ref()
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

/// Reads what comes before HTTP. `None` is a connection that isn't to be served.
pub(super) async fn open(
    mut socket: TcpStream,
    ends: &mut Ends,
    bounds: &Bounds,
    pulse: &Rc<Pulse>,
    counters: &Counters,
) -> Option<Wire> {
    let door = &bounds.door;
    if door.proxy_protocol && bounds.trusts(ends.peer.ip()) {
        match proxy_header::read(&mut socket).await {
            Ok(Some((peer, local))) => (ends.peer, ends.local) = (peer, local),
            Ok(None) => {}
            Err(error) => {
                count(&counters.proxy_headers_refused);
                tracing::debug!(peer = %ends.peer, %error, "no PROXY header");
                return None;
            }
        }
    }
    let Some(terms) = &door.tls else {
        return Some(Wire::Plain(Metered::new(socket, pulse)));
    };
    let peer = ends.peer;
    match shake_hands(socket, terms, ends, pulse).await {
        Ok(wire) => {
            count(&counters.handshakes);
            wire
        }
        Err(error) => {
            count(&counters.handshakes_failed);
            tracing::debug!(%peer, %error, "TLS handshake");
            None
        }
    }
}

async fn shake_hands(
    mut socket: TcpStream,
    terms: &std::sync::Arc<Terms>,
    ends: &mut Ends,
    pulse: &Rc<Pulse>,
) -> io::Result<Option<Wire>> {
    let begun = Instant::now();
    let mut first = [0];
    socket.peek(&mut first).await?;
    // No handshake begins with a letter; every request of HTTP/1.1 does.
    if first.first().is_some_and(u8::is_ascii_uppercase) {
        tell_of_tls(&mut socket).await;
        return Err(io::Error::other("HTTP without TLS"));
    }
    let socket = Metered::new(socket, pulse);
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    let hello = start.client_hello();
    let name = hello.server_name().map(str::to_ascii_lowercase);
    let challenges = |alpn: &[u8]| alpn == ACME_PROTOCOL;
    if hello.alpn().is_some_and(|mut all| all.any(challenges)) {
        let name = name.unwrap_or_default();
        let config = terms.challenge(&name).map_err(io::Error::other)?;
        let Some(config) = config else {
            return Err(io::Error::other("no challenge is under way for this name"));
        };
        let mut stream = start.into_stream(config).await?;
        // The certificate is all that it came for.
        stream.shutdown().await?;
        return Ok(None);
    }
    let Some(served) = terms.choose(name.as_deref(), ends.local.ip()) else {
        return Err(io::Error::other(match name {
            Some(name) => format!("no certificate for {name:?}"),
            None => "no certificate".to_owned(),
        }));
    };
    let config = served.config().map_err(io::Error::other)?;
    let stream = start.into_stream(config).await?;
    let (_, session) = stream.get_ref();
    let client = session.peer_certificates().and_then(|all| all.first());
    ends.secure = Some(Rc::new(Secure {
        terms: std::sync::Arc::clone(terms),
        served,
        name: name.map(String::into_boxed_str),
        client: client.and_then(forwarded),
        http2: session.alpn_protocol() == Some(b"h2"),
        handshake: Cell::new(Some(Handshake {
            begun,
            took: begun.elapsed(),
            version: match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            },
        })),
    }));
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
