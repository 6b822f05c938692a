//! One HTTP/2 connection to one endpoint, and the places on it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::model::UpstreamProtocol;
use crate::gather::Gather;
use crate::limits::{
    REPLY_HEADER_BYTES_READ, SEND_BUFFER_BYTES_MAX, UPSTREAM_CONNECTION_WINDOW,
    UPSTREAM_PING_INTERVAL, UPSTREAM_STREAM_WINDOW,
};
use crate::rt::LocalExec;

use super::UpstreamBody;
use super::endpoint::Endpoint;
use super::leash::Spawner;
use super::line::{Line, Open};
use super::silence::{Sent, Silence};
use super::unreachable::Unreachable;

type Driver = http2::Connection<TokioIo<Heard<Gather<Line>>>, UpstreamBody, Spawner>;
type Sender = http2::SendRequest<UpstreamBody>;

/// An old connection that had no calls for so long is closed without another in its place.
const REPLACED_IDLE: Duration = Duration::from_secs(10);
/// The stream limit before the peer has said anything: its first frame sets another one.
const NO_SETTINGS_YET: usize = 0;

/// A shared HTTP/2 connection.
pub(super) struct Connection {
    sender: RefCell<Sender>,
    spawner: Spawner,
    /// Polled by its own task; read here for the peer's stream limit. Empty once it has ended.
    driver: RefCell<Option<Driver>>,
    in_flight: Cell<usize>,
    idle_since: Cell<Instant>,
    streams_max: usize,
    /// Another one is to take its place.
    old: Cell<bool>,
    silence: Silence,
    /// Tells the task that drives it that it is to end.
    retired: Notify,
}

impl Connection {
    /// Shakes hands on `stream`, waits for the peer's SETTINGS, and spawns what drives the connection.
    /// A peer that speaks something else is found out here, before any request is sent to it.
    pub(super) async fn open(
        endpoint: &Rc<Endpoint>,
        stream: Line,
        exec: LocalExec,
    ) -> Result<Rc<Self>, Unreachable> {
        let heard = Rc::new(Notify::new());
        let begins = Rc::new(RefCell::new(Vec::with_capacity(BEGINNING)));
        let pieces = Rc::default();
        let out = Gather::new(stream);
        let io = Heard {
            stream: out.clone(),
            tell: Some(Rc::clone(&heard)),
            _open: Open::new(&endpoint.open),
            begins: Rc::clone(&begins),
            pieces: Rc::clone(&pieces),
        };
        let ping_timeout = endpoint.timeouts.ping_timeout;
        let failed = |e: &dyn fmt::Display| {
            let begins = begins.borrow();
            let authority = &endpoint.member;
            Unreachable::new(match spoken(&begins, UpstreamProtocol::Http2) {
                Some(other) => format!("{authority}: {other}"),
                None if endpoint.lacks_certificate() => format!(
                    "{authority}: it wants a certificate of ours: `tls: {{ cert: …, key: … }}` ({e})"
                ),
                None => format!("{authority}: HTTP/2: {e}"),
            })
        };
        let spawner = Spawner::new(exec.clone(), out);
        let (sender, mut driver) = http2::Builder::new(spawner.clone())
            .timer(TokioTimer::new())
            .initial_max_send_streams(NO_SETTINGS_YET)
            .initial_stream_window_size(UPSTREAM_STREAM_WINDOW)
            .initial_connection_window_size(UPSTREAM_CONNECTION_WINDOW)
            .max_header_list_size(REPLY_HEADER_BYTES_READ)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(UPSTREAM_PING_INTERVAL)
            .keep_alive_timeout(ping_timeout)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| failed(&e))?;
        while driver.current_max_send_streams() == NO_SETTINGS_YET {
            tokio::select! {
                biased;
                ended = &mut driver => {
                    return Err(match ended {
                        Err(error) => failed(&Chain(&error)),
                        Ok(()) => failed(&"closed before its SETTINGS"),
                    });
                }
                () = heard.notified() => {}
            }
        }
        let connection = Rc::new(Self {
            sender: RefCell::new(sender),
            spawner,
            driver: RefCell::new(Some(driver)),
            in_flight: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            streams_max: endpoint.rules().streams_max,
            old: Cell::new(false),
            silence: Silence::new(pieces, ping_timeout, Instant::now()),
            retired: Notify::new(),
        });
        exec.spawn(drive(Rc::clone(endpoint), Rc::clone(&connection)));
        Ok(connection)
    }

    /// Streams that may be open at once: the peer's limit, and never more than ours.
    pub(super) fn streams_max(&self) -> usize {
        let driver = self.driver.borrow();
        let driver = driver.as_ref().filter(|_| !self.silence.is_long());
        driver.map_or(0, |driver| {
            driver.current_max_send_streams().min(self.streams_max)
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.borrow().is_closed()
    }

    /// Takes one place; the caller has seen that there is room.
    pub(super) fn lease(self: &Rc<Self>, endpoint: &Rc<Endpoint>) -> Lease {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
        endpoint.began();
        Lease {
            connection: Rc::clone(self),
            endpoint: Rc::clone(endpoint),
            sent: Cell::new(None),
        }
    }

    /// Whether another one is to take its place.
    pub(super) fn is_old(&self) -> bool {
        self.old.get()
    }

    /// No more calls: it ends with those that are under way.
    pub(super) fn retire(&self) {
        self.retired.notify_one();
    }

    fn idle_for(&self, now: Instant) -> Option<Duration> {
        (self.in_flight.get() == 0).then(|| now.saturating_duration_since(self.idle_since.get()))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("in_flight", &self.in_flight.get())
            .finish_non_exhaustive()
    }
}

/// Runs a connection to its end. It leaves the pool when it has been idle for too long, when it is old
/// and another one has taken its place (until then it goes on, so that no call waits for that), when the
/// peer sends GOAWAY (seen with the next request, which hyper hands back) or when it breaks; streams
/// that are open then go on, on hyper's own task.
async fn drive(endpoint: Rc<Endpoint>, connection: Rc<Connection>) {
    let ended = std::future::poll_fn(|cx| {
        let mut driver = connection.driver.borrow_mut();
        match driver.as_mut() {
            Some(driver) => Pin::new(driver).poll(cx),
            None => Poll::Ready(Ok(())),
        }
    });
    tokio::pin!(ended);
    let idle_max = endpoint.rules().idle_max;
    let mut old_at = endpoint.old_at();
    let mut until = Instant::now() + idle_max;
    let result = loop {
        tokio::select! {
            biased;
            result = &mut ended => break result,
            () = connection.retired.notified() => break Ok(()),
            () = tokio::time::sleep_until(old_at.map_or(until, |old| old.min(until))) => {}
        }
        let now = Instant::now();
        let idle = connection.idle_for(now).unwrap_or_default();
        if idle >= idle_max {
            endpoint.count(|c| &mut c.idled);
            break Ok(());
        }
        until = now + idle_max.saturating_sub(idle);
        if old_at.is_some_and(|old| old <= now) {
            connection.old.set(true);
            // Nobody uses it, so nobody waits for another one.
            if idle >= REPLACED_IDLE || !endpoint.replace() && endpoint.is_retired() {
                endpoint.count(|c| &mut c.aged);
                break Ok(());
            }
            old_at = Some(now + endpoint.timeouts.connect);
        }
    };
    if let Err(error) = result {
        tracing::debug!(endpoint = %endpoint.member, %error, "upstream connection ended");
    }
    connection.driver.borrow_mut().take();
    endpoint.forget(&connection);
}

/// One request's place on a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Rc<Connection>,
    endpoint: Rc<Endpoint>,
    /// What had been heard of the peer, and when, when the request was sent.
    sent: Cell<Option<Sent>>,
}

impl Lease {
    pub(super) fn send(
        &self,
        request: http::Request<UpstreamBody>,
    ) -> impl Future<
        Output = Result<
            http::Response<hyper::body::Incoming>,
            hyper::client::conn::TrySendError<http::Request<UpstreamBody>>,
        >,
    > + use<> {
        self.sent
            .set(Some(self.connection.silence.begin(Instant::now())));
        request.body().goes_to(&self.connection.spawner);
        self.connection
            .sender
            .borrow_mut()
            .try_send_request(request)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let left = self.connection.in_flight.get().saturating_sub(1);
        self.connection.in_flight.set(left);
        if left == 0 {
            self.connection.idle_since.set(Instant::now());
        }
        if let Some(sent) = self.sent.get()
            && self.connection.silence.end(sent, Instant::now)
        {
            self.connection.retire();
            self.endpoint.note_silence();
        }
        self.endpoint.ended();
    }
}

/// A socket that counts what comes, and tells of it for as long as somebody listens.
struct Heard<S> {
    stream: S,
    tell: Option<Rc<Notify>>,
    /// What came first.
    begins: Rc<RefCell<Vec<u8>>>,
    /// What has come, counted by the piece.
    pieces: Rc<Cell<u64>>,
    _open: Open,
}

/// So much of the first bytes tells what a peer speaks.
pub(super) const BEGINNING: usize = 5;

/// What a peer speaks that doesn't speak what is wanted, by its first bytes.
pub(super) fn spoken(begins: &[u8], wanted: UpstreamProtocol) -> Option<&'static str> {
    const TLS_ALERT: &[u8] = &[21, 3];
    /// Types of frames, behind a length of three bytes.
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    if begins.starts_with(TLS_ALERT) {
        return Some("it speaks TLS: `tls: on`");
    }
    match wanted {
        UpstreamProtocol::Http2 => begins.starts_with(b"HTTP/").then_some(
            "it speaks HTTP/1.1, not HTTP/2: is this the port of gRPC? (`protocol: http1` is for `prefix` and `path` routes)",
        ),
        UpstreamProtocol::Http1 => {
            matches!(begins, [0, 0, _, SETTINGS | GOAWAY, ..])
                .then_some("it speaks HTTP/2, not HTTP/1.1: leave `protocol: http1` out")
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            self.pieces.set(self.pieces.get().wrapping_add(1));
        }
        if let Some(tell) = &self.tell {
            tell.notify_one();
            let mut begins = self.begins.borrow_mut();
            let lacking = BEGINNING.saturating_sub(begins.len());
            begins.extend(came.iter().take(lacking));
            drop(begins);
            if Rc::strong_count(tell) == 1 {
                self.tell = None;
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// An error with its causes, since hyper's own text leaves them out.
pub(super) struct Chain<'e>(pub(super) &'e (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
