//! Telling HTTP/2 with prior knowledge from HTTP/1.1 on one port, by the connection preface.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// RFC 9113 §3.4. No HTTP/1.1 request begins so: `PRI` with version 2.0 is reserved.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the bytes are no preface, or are all of it. Gives what was read, to be put back; zero
/// bytes mean that the client left.
///
/// # Errors
/// As the stream gives them. Dropping it loses what was read.
pub(super) async fn sniff(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Protocol, [u8; PREFACE.len()], usize)> {
    let mut bytes = [0; PREFACE.len()];
    let mut read = 0;
    loop {
        let free = bytes.get_mut(read..).unwrap_or_default();
        let n = stream.read(free).await?;
        read += n;
        let so_far = bytes.get(..read).unwrap_or_default();
        if n == 0 || !PREFACE.starts_with(so_far) {
            return Ok((Protocol::Http1, bytes, read));
        }
        if read == PREFACE.len() {
            return Ok((Protocol::Http2, bytes, read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn sniffed(pieces: &[&[u8]]) -> (Protocol, Vec<u8>) {
        let (mut client, mut server) = tokio::io::duplex(64);
        let send = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (found, ()) = tokio::join!(sniff(&mut server), send);
        let (protocol, bytes, read) = found.unwrap();
        (protocol, bytes[..read].to_vec())
    }

    #[tokio::test]
    async fn any_split_of_the_preface_is_http2() {
        for at in 1..PREFACE.len() {
            let (a, b) = PREFACE.split_at_checked(at).unwrap();
            let (protocol, read) = sniffed(&[a, b]).await;
            assert_eq!((protocol, &read[..]), (Protocol::Http2, &PREFACE[..]));
        }
    }

    #[tokio::test]
    async fn the_first_other_byte_is_http1_and_nothing_is_lost() {
        for (pieces, whole) in [
            (
                &[b"GET / HTTP/1.1\r\n" as &[u8]] as &[&[u8]],
                "GET / HTTP/1.1\r\n",
            ),
            (&[b"P", b"OST / HTTP/1.1\r\n"], "POST / HTTP/1.1\r\n"),
            (&[b"PRI * HTTP/1.1\r\n"], "PRI * HTTP/1.1\r\n"),
            (&[b"PR"], "PR"),
        ] {
            let (protocol, read) = sniffed(pieces).await;
            assert_eq!(protocol, Protocol::Http1);
            assert_eq!(read, whole.as_bytes());
        }
    }
}
