//! The header that a load balancer puts before a connection's bytes to tell whose they are: PROXY
//! protocol, versions 1 and 2. Exactly the header is read, whatever follows it.

use std::io;
use std::net::SocketAddr;

use ppp::v2;
use ppp::{HeaderResult, PartialResult};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A version 1 header ends within so many bytes.
const TEXT_BYTES_MAX: usize = 107;
/// Addresses and whatever else a balancer tells.
const BINARY_BYTES_MAX: usize = 4096;

/// Whose connection it is, and what they connected to; `None` for one of the balancer's own.
pub(super) type Told = Option<(SocketAddr, SocketAddr)>;

/// Reads the header.
///
/// # Errors
/// Bytes that are none, or the stream's end. Dropping it loses what was read.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Told> {
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
                return Err(wrong("its header is too long"));
            }
            let begun = head.len();
            head.resize(begun + more, 0);
            let rest = head.get_mut(begun..).unwrap_or_default();
            stream.read_exact(rest).await?;
        }
        false if head.starts_with(b"PROXY ") => read_line(stream, &mut head).await?,
        false => return Err(wrong("it has no header")),
    }
    told(&head)
}

/// Only as far as the line goes: what follows it is somebody else's.
async fn read_line(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; TEXT_BYTES_MAX];
    while !head.ends_with(b"\n") {
        let left = TEXT_BYTES_MAX.saturating_sub(head.len());
        if left == 0 {
            return Err(wrong("its header has no end"));
        }
        let peeked = stream
            .peek(piece.get_mut(..left).unwrap_or_default())
            .await?;
        let seen = piece.get(..peeked).unwrap_or_default();
        let of_line = memchr::memchr(b'\n', seen).map_or(peeked, |at| at + 1);
        let part = piece.get_mut(..of_line).unwrap_or_default();
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.read_exact(part).await?;
        head.extend_from_slice(part);
    }
    Ok(())
}

fn told(head: &[u8]) -> io::Result<Told> {
    let parsed = HeaderResult::parse(head);
    if parsed.is_incomplete() {
        return Err(wrong("its header is cut off"));
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
        HeaderResult::V1(Err(error)) => Err(wrong(&error.to_string())),
        HeaderResult::V2(Err(error)) => Err(wrong(&error.to_string())),
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    /// What is read of these bytes, and what is left of them.
    async fn read_of(sent: &[u8]) -> (io::Result<Told>, Vec<u8>) {
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
        for sent in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.7",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443 and so on and on and on and on and on and on and on and on and on and on and on and on\r\n",
            b"PROXY TCP4 300.0.2.7 10.0.0.1 12345 443\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x41\x11\0\x0c............",
            &too_long,
            b"",
        ] {
            assert!(read_of(sent).await.0.is_err(), "{sent:?}");
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
