//! A WebSocket of a proxied site: after the upstream's 101 the bytes pass as they are, both ways.
//!
//! No more is held than one buffer for each direction; an end of one side is passed on, and the other
//! goes on. Nothing for `stream_idle`, in both directions, ends it.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::Instant;

use crate::listener::{ClientStream, Tunnel};
use crate::upstream::AnswerBody;

use super::deadline::after;

/// The body of a reply of 101: none, but what comes of the connection.
pub struct Switched(Option<Tunnel>);

impl Switched {
    /// `answer` keeps the upstream's connection out of use while the tunnel lasts.
    pub(super) fn new(upgrade: OnUpgrade, answer: AnswerBody, idle: Duration) -> Self {
        Self(Some(Box::new(move |client| {
            Box::pin(run(client, upgrade, answer, idle))
        })))
    }

    /// A tunnel that ends here.
    pub(super) fn to(tunnel: Tunnel) -> Self {
        Self(Some(tunnel))
    }

    pub(super) fn take(&mut self) -> Option<Tunnel> {
        self.0.take()
    }
}

impl fmt::Debug for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Switched").field(&self.0.is_some()).finish()
    }
}

/// Whether the client asks to go on as a WebSocket.
pub(super) fn is_handshake(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && is_to_websocket(&head.headers)
        && head
            .headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// Whether `Upgrade` names this protocol and no other.
pub(super) fn is_to_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(UPGRADE).iter();
    let first = values.next();
    first.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && values.next().is_none()
}

/// Puts back what says so on the next hop.
pub(super) fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

async fn run(client: ClientStream, upgrade: OnUpgrade, answer: AnswerBody, idle: Duration) {
    let site = match upgrade.await {
        Ok(site) => TokioIo::new(site),
        Err(error) => {
            tracing::debug!(%error, "the upstream's connection can't be switched");
            return;
        }
    };
    let last = Rc::new(Cell::new(Instant::now()));
    let mut client = Heard {
        io: client,
        last: Rc::clone(&last),
    };
    let mut site = Heard {
        io: site,
        last: Rc::clone(&last),
    };
    let mut work = pin!(copy_bidirectional(&mut client, &mut site));
    loop {
        let due = after(last.get(), idle);
        match tokio::time::timeout_at(due, &mut work).await {
            Ok(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel broke off");
                }
                break;
            }
            Err(_) if after(last.get(), idle) > due => {}
            Err(_) => {
                tracing::debug!("a tunnel was silent for too long");
                break;
            }
        }
    }
    drop(answer);
}

/// One side, and when it last read or wrote something.
struct Heard<S> {
    io: S,
    last: Rc<Cell<Instant>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        this.last.set(Instant::now());
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes));
        this.last.set(Instant::now());
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
