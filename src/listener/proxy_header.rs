//! The header that a load balancer puts before a connection's bytes to tell whose they are: PROXY
//! protocol, versions 1 and 2. Exactly the header is read, whatever follows it.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;

use ppp::v2;
use ppp::{HeaderResult, PartialResult};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::limits::PROXY_HEADERS_UNTOLD;

use super::tally::{Reason, Tally};

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// And of version 1.
const TEXT: &[u8] = b"PROXY ";
/// A version 1 header ends within so many bytes.
const TEXT_BYTES_MAX: usize = 107;
/// Addresses and whatever else a balancer tells.
const BINARY_BYTES_MAX: usize = 4096;

/// Why a connection is refused for its header, or its header isn't believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedHeader {
    /// The peer went without a byte, as checks of whether a port is open do.
    NothingSent,
    /// It went in the midst of the header.
    Closed,
    /// `timeouts.handshake`
    Timeout,
    /// Something else came first.
    Missing,
    Malformed,
    TooLong,
    /// It comes from a peer that `trusted_proxies` doesn't name.
    Untrusted,
}

impl Reason for RefusedHeader {
    const COUNTER: (&'static str, &'static str) = (
        "proxy_headers_refused",
        "Connections of trusted peers without a PROXY header, and others' with one, by why.",
    );
    const ALL: &'static [Self] = &[
        Self::NothingSent,
        Self::Closed,
        Self::Timeout,
        Self::Missing,
        Self::Malformed,
        Self::TooLong,
        Self::Untrusted,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NothingSent => "nothing_sent",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Untrusted => "untrusted",
        }
    }
}

impl Tally<RefusedHeader> {
    /// Counts one, and tells of it, unless another was told of just now. Who only looks whether the
    /// port is open does so all day: that is for those who look closely.
    pub(super) fn note(&self, why: RefusedHeader, peer: &SocketAddr, error: &dyn Display) {
        self.count(why);
        let reason = why.name();
        if why == RefusedHeader::NothingSent {
            tracing::debug!(%peer, reason, "no PROXY header");
        } else if let Some(untold) = self.quota.pass(1, PROXY_HEADERS_UNTOLD) {
            tracing::warn!(%peer, reason, %error, untold, "PROXY header refused");
        }
    }
}

/// Why there is no header, in a word and in all of them.
#[derive(Debug)]
pub(super) struct NoHeader(pub(super) RefusedHeader, pub(super) io::Error);

/// Of the socket: it ended.
impl From<io::Error> for NoHeader {
    fn from(error: io::Error) -> Self {
        Self(RefusedHeader::Closed, error)
    }
}

/// Whether a peer whose word doesn't count begins with one. Nothing is taken from the socket, and
/// there may be more of it than is there yet.
pub(super) async fn is_next(stream: &TcpStream) -> bool {
    let mut first = [0; SIGNATURE.len()];
    let seen = match stream.peek(&mut first).await {
        Ok(seen) => first.get(..seen).unwrap_or_default(),
        Err(_) => return false,
    };
    seen == SIGNATURE || seen.starts_with(TEXT)
}

/// Whose connection it is, and what they connected to; `None` for one of the balancer's own.
pub(super) type Told = Option<(SocketAddr, SocketAddr)>;

/// Reads the header.
///
/// # Errors
/// Bytes that are none, or the stream's end. Dropping it loses what was read.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Told, NoHeader> {
    if !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
        return Err(wrong(RefusedHeader::NothingSent, "nothing was sent"));
    }
    let mut head = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    match head == SIGNATURE {
        true => {
            let mut rest = [0; 4];
            stream.read_exact(&mut rest).await?;
            head.extend(rest);
            let [_, _, high, low] = rest;
            let more = usize::from(u16::from_be_bytes([high, low]));
            if more > BINARY_BYTES_MAX {
                return Err(wrong(RefusedHeader::TooLong, "it is too long"));
            }
            let begun = head.len();
            head.resize(begun + more, 0);
            let rest = head.get_mut(begun..).unwrap_or_default();
            stream.read_exact(rest).await?;
        }
        false if head.starts_with(TEXT) => read_line(stream, &mut head).await?,
        false => return Err(wrong(RefusedHeader::Missing, "something else came first")),
    }
    told(&head)
}

/// Only as far as the line goes: what follows it is somebody else's.
async fn read_line(stream: &mut TcpStream, head: &mut Vec<u8>) -> Result<(), NoHeader> {
    let mut piece = [0; TEXT_BYTES_MAX];
    while !head.ends_with(b"\n") {
        let left = TEXT_BYTES_MAX.saturating_sub(head.len());
        if left == 0 {
            return Err(wrong(RefusedHeader::TooLong, "it has no end"));
        }
        let peeked = stream
            .peek(piece.get_mut(..left).unwrap_or_default())
            .await?;
        let seen = piece.get(..peeked).unwrap_or_default();
        let of_line = memchr::memchr(b'\n', seen).map_or(peeked, |at| at + 1);
        let part = piece.get_mut(..of_line).unwrap_or_default();
        if part.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        stream.read_exact(part).await?;
        head.extend_from_slice(part);
    }
    Ok(())
}

fn told(head: &[u8]) -> Result<Told, NoHeader> {
    let parsed = HeaderResult::parse(head);
    if parsed.is_incomplete() {
        return Err(malformed("it is cut off"));
    }
    match parsed {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            ppp::v1::Addresses::Tcp4(a) => Some((
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            )),
            ppp::v1::Addresses::Tcp6(a) => Some((
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            )),
            ppp::v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(a) => Some((
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            )),
            v2::Addresses::IPv6(a) => Some((
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            )),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        }),
        HeaderResult::V1(Err(error)) => Err(malformed(&error.to_string())),
        HeaderResult::V2(Err(error)) => Err(malformed(&error.to_string())),
    }
}

fn malformed(why: &str) -> NoHeader {
    wrong(RefusedHeader::Malformed, why)
}

fn wrong(reason: RefusedHeader, why: &str) -> NoHeader {
    NoHeader(
        reason,
        io::Error::new(io::ErrorKind::InvalidData, why.to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    /// What is read of these bytes, and what is left of them.
    async fn read_of(sent: &[u8]) -> (Result<Told, NoHeader>, Vec<u8>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = sent.to_vec();
        let client = tokio::spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&sent).await.unwrap();
        });
        let (mut server, _) = listener.accept().await.unwrap();
        client.await.unwrap();
        let told = read(&mut server).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.ok();
        (told, rest)
    }

    #[tokio::test]
    async fn a_header_is_read_and_nothing_after_it() {
        let v2_local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
        let v2_tcp4 = [
            &SIGNATURE[..],
            &[
                0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 187,
            ],
        ]
        .concat();
        let client = Some((
            "192.0.2.7:12345".parse().unwrap(),
            "10.0.0.1:443".parse().unwrap(),
        ));
        let v6 = Some((
            "[2001:db8::7]:9".parse().unwrap(),
            "[::1]:443".parse().unwrap(),
        ));
        for (header, wanted) in [
            (&b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n"[..], client),
            (b"PROXY TCP6 2001:db8::7 ::1 9 443\r\n", v6),
            (b"PROXY UNKNOWN\r\n", None),
            (&v2_tcp4, client),
            (&v2_local, None),
        ] {
            let (told, rest) = read_of(&[header, b"GET / HTTP/1.1\r\n"].concat()).await;
            assert_eq!(told.unwrap(), wanted);
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let too_long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        for (sent, why) in [
            (
                &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
                RefusedHeader::Missing,
            ),
            (b"PROXY TCP4 192.0.2.7", RefusedHeader::Closed),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443 and so on and on and on and on and on and on and on and on and on and on and on and on\r\n", RefusedHeader::TooLong),
            (b"PROXY TCP4 300.0.2.7 10.0.0.1 12345 443\r\n", RefusedHeader::Malformed),
            (b"\r\n\r\n\0\r\nQUIT\n\x41\x11\0\x0c............", RefusedHeader::Malformed),
            (&too_long, RefusedHeader::TooLong),
            (b"", RefusedHeader::NothingSent),
        ] {
            let refused = read_of(sent).await.0.unwrap_err();
            assert_eq!(refused.0, why, "{sent:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            told(&bytes).ok();
            told(&[&SIGNATURE[..], &bytes].concat()).ok();
            told(&[&b"PROXY "[..], &bytes, b"\r\n"].concat()).ok();
        }
    }
}
