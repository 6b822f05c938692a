//! An HTTP/1.1 connection that may be switched to another protocol: then its bytes are a tunnel's.
//!
//! The driver's limits stay: a tunnel counts as an exchange, is given `timeouts.drain` when the
//! connection is to end, and a client that doesn't read is cut off.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::limits::{CLOSE_GRACE, LINGER_MAX};
use crate::telemetry::Account;

use super::Service;
use super::connection::{Requests, Served};
use super::io::ClientIo;
use super::pulse::InFlight;
use super::wire::Wire;

/// The client's side of a tunnel.
#[derive(Debug)]
pub struct ClientStream {
    io: ClientIo<Wire>,
    /// What came behind the head that switched protocols.
    ahead: Bytes,
    ending: Rc<Ending>,
    account: Option<Rc<Account>>,
}

impl ClientStream {
    /// Counts what passes.
    pub fn note_in(&mut self, account: &Rc<Account>) {
        self.account = Some(Rc::clone(account));
    }

    /// Until when the tunnel may go on, once that is known. Whoever runs the tunnel is polled when it
    /// becomes so.
    #[must_use]
    pub fn ending(&self) -> Rc<Ending> {
        Rc::clone(&self.ending)
    }
}

/// The end that a connection has been given: it drains, or has been open for long enough.
#[derive(Debug, Default)]
pub struct Ending(Cell<Option<Instant>>);

impl Ending {
    /// When the connection will be cut off, if it is to end.
    #[must_use]
    pub fn cut_at(&self) -> Option<Instant> {
        self.0.get()
    }
}

/// What is done with a connection once its reply of 101 has been sent.
pub type Tunnel = Box<dyn FnOnce(ClientStream) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The tunnel that a reply asked for, and its place among the exchanges.
#[derive(Default)]
pub(super) struct Switch(RefCell<Option<(Tunnel, InFlight)>>);

impl Switch {
    pub(super) fn set(&self, tunnel: Tunnel, in_flight: InFlight) {
        self.0.replace(Some((tunnel, in_flight)));
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Switch")
            .field(&self.0.borrow().is_some())
            .finish()
    }
}

type Io = TokioIo<ClientIo<Wire>>;

enum State<S: Service> {
    Serving(Box<http1::Connection<Io, Requests<S>>>),
    Tunnel {
        work: Pin<Box<dyn Future<Output = ()>>>,
        _in_flight: InFlight,
    },
    Closing(ClientIo<Wire>),
    Lingering(Box<Linger>),
    Over,
}

/// A connection of HTTP/1.1.
pub(super) struct Http1<S: Service> {
    state: State<S>,
    switch: Rc<Switch>,
    ending: Rc<Ending>,
}

impl<S: Service> Http1<S> {
    pub(super) fn new(connection: http1::Connection<Io, Requests<S>>, switch: Rc<Switch>) -> Self {
        Self {
            state: State::Serving(Box::new(connection)),
            switch,
            ending: Rc::default(),
        }
    }
}

impl<S: Service> Served for Http1<S> {
    const SAYS_GOODBYE: bool = false;
    fn finish(self: Pin<&mut Self>, cut_at: Instant) {
        let this = self.get_mut();
        this.ending.0.set(Some(cut_at));
        match &mut this.state {
            State::Serving(connection) => Pin::new(&mut **connection).graceful_shutdown(),
            // Nobody waits for the client then.
            State::Lingering(_) => this.state = State::Over,
            State::Tunnel { .. } | State::Closing(_) | State::Over => {}
        }
    }
}

impl<S: Service> Future for Http1<S> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Serving(connection) => ready!(connection.poll_without_shutdown(cx))?,
                State::Tunnel { work, .. } => {
                    ready!(work.as_mut().poll(cx));
                    this.state = State::Over;
                    return Poll::Ready(Ok(()));
                }
                State::Closing(io) => {
                    // As far as it goes: the connection ends in any case.
                    let closed = ready!(Pin::new(&mut *io).poll_shutdown(cx));
                    let done = closed.is_err() || io.has_ended() || this.ending.0.get().is_some();
                    this.state = match std::mem::replace(&mut this.state, State::Over) {
                        State::Closing(io) if !done => State::Lingering(Box::new(Linger::new(io))),
                        _ => return Poll::Ready(Ok(())),
                    };
                    continue;
                }
                State::Lingering(linger) => {
                    ready!(linger.poll(cx));
                    this.state = State::Over;
                    return Poll::Ready(Ok(()));
                }
                State::Over => return Poll::Ready(Ok(())),
            }
            if let State::Serving(connection) = std::mem::replace(&mut this.state, State::Over) {
                let parts = connection.into_parts();
                let io = parts.io.into_inner();
                this.state = match this.switch.0.take() {
                    Some((tunnel, in_flight)) => {
                        let client = ClientStream {
                            io,
                            ahead: parts.read_buf,
                            ending: Rc::clone(&this.ending),
                            account: None,
                        };
                        State::Tunnel {
                            work: tunnel(client),
                            _in_flight: in_flight,
                        }
                    }
                    None => State::Closing(io),
                };
            }
        }
    }
}

/// A connection whose last reply has been sent, until the client has seen that. Closed with bytes of
/// the client unread it would be reset, and the client's kernel would throw the reply away
/// (RFC 9112 §9.6).
struct Linger {
    io: ClientIo<Wire>,
    idle: Pin<Box<Sleep>>,
    until: Instant,
    _in_flight: InFlight,
}

impl Linger {
    fn new(io: ClientIo<Wire>) -> Self {
        let now = Instant::now();
        Self {
            idle: Box::pin(tokio::time::sleep_until(now + CLOSE_GRACE)),
            until: now + LINGER_MAX,
            _in_flight: io.pulse().begin(),
            io,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; 4096];
        loop {
            if self.idle.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
            let next = (Instant::now() + CLOSE_GRACE).min(self.until);
            self.idle.as_mut().reset(next);
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))
        } else {
            let fits = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..fits).unwrap_or_default());
            this.ahead.advance(fits);
            Ok(())
        };
        if let Some(account) = &this.account {
            account.note_received(buf.filled().len().saturating_sub(before));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes));
        if let (Some(account), Ok(bytes)) = (&this.account, &written) {
            account.note_sent(*bytes);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
