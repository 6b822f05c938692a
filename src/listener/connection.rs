//! One client connection from the first byte to the last.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::client_body::{ClientBody, Pace};
use crate::failure::Failure;
use crate::gather::Gather;
use crate::limits::{
    CLIENT_CONNECTION_WINDOW, CLIENT_STREAM_WINDOW, CLOSE_GRACE, FIRST_BYTES_GRACE,
    H1_BUFFER_BYTES_MAX, H2_ERROR_RESETS_MAX, H2_PENDING_RESETS_MAX, SEND_BUFFER_BYTES_MAX,
};
use crate::memory::{Level, Memory};
use crate::rt::LocalExec;

use super::check::{check, strip_h2c};
use super::flood::Flood;
use super::handshake;
use super::io::ClientIo;
use super::pulse::{Pulse, Verdict};
use super::reply::Reply;
use super::sniff::{Protocol, sniff};
use super::streams::StreamExec;
use super::switch::{Http1, Switch};
use super::wire::Wire;
use super::{Bounds, Connections, Counters, Ends, Pass, Service, count};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection as it was accepted.
pub(super) struct Accepted<S> {
    pub(super) stream: TcpStream,
    pub(super) ends: Ends,
    /// Its place among the open connections.
    pub(super) pass: Pass,
    pub(super) bounds: Rc<Bounds>,
    pub(super) service: S,
    pub(super) connections: Rc<Connections>,
    pub(super) counters: Rc<Counters>,
    pub(super) memory: Arc<Memory>,
    pub(super) exec: LocalExec,
    pub(super) at: Instant,
}

/// Serves it to its end. Dropping it closes the socket and cancels what was being answered.
pub(super) async fn serve<S: Service>(mut accepted: Accepted<S>) {
    let at = accepted.at;
    let pulse = Pulse::new(at);
    let _entered = accepted.connections.enter(accepted.bounds.door.id, &pulse);
    let (ends, bounds) = (&mut accepted.ends, &accepted.bounds);
    let (headers, handshake) = (bounds.timeouts.headers, bounds.timeouts.handshake);
    let (counters, stage) = (&accepted.counters, Cell::default());
    let opened = tokio::select! {
        biased;
        wire = handshake::open(accepted.stream, ends, bounds, &pulse, counters, &stage) => Ok(wire),
        due = until_due(&pulse, at, handshake, &counters.slow_handshakes) => Err(due),
    };
    let wire = match opened {
        Ok(wire) => wire,
        Err(Due::Closing) => return,
        Err(Due::Late) => return handshake::late(stage.get(), counters, &accepted.ends.peer),
    };
    let Some(mut wire) = wire else {
        return;
    };
    let whose = accepted.ends.peer;
    if let Err(refused) = accepted.pass.is_of(whose.ip(), &accepted.bounds.limits) {
        return accepted.counters.refuse(refused, &whose);
    }
    pulse.on_open();
    let first = tokio::select! {
        biased;
        first = sniff(&mut wire) => first,
        _ = until_due(&pulse, at, headers, &accepted.counters.slow_heads) => return,
    };
    let Ok((protocol, ahead, read @ 1..)) = first else {
        return;
    };
    let agreed = accepted.ends.secure.as_ref().map(|s| s.is_http2());
    if protocol == Protocol::Http1 && agreed == Some(true) {
        tracing::debug!(peer = %whose, "HTTP/2 was agreed on and something else came");
        return;
    }
    let counters = Rc::clone(&accepted.counters);
    let bounds = Rc::clone(&accepted.bounds);
    let switch = Rc::new(Switch::default());
    let service = Requests {
        switch: Rc::clone(&switch),
        service: accepted.service,
        ends: accepted.ends,
        bounds: Rc::clone(&bounds),
        pulse: Rc::clone(&pulse),
        counters: Rc::clone(&counters),
        memory: accepted.memory,
    };
    let peer = whose;
    let aged_at = accepted.at + jittered(bounds.timeouts.max_age, &peer);
    let ended = match protocol {
        Protocol::Http1 => {
            let io = TokioIo::new(ClientIo::new(wire, ahead, read, None, Rc::clone(&pulse)));
            let connection = http1_builder(&bounds).serve_connection(io, service);
            let connection = Http1::new(connection, switch);
            Driver::new(connection, pulse, bounds, Rc::clone(&counters), aged_at).await
        }
        Protocol::Http2 => {
            pulse.on_preface();
            let flood = Flood::new(bounds.limits.control_frames_max, Rc::clone(&counters));
            let out = Gather::new(wire);
            let io = ClientIo::new(out.clone(), ahead, read, Some(flood), Rc::clone(&pulse));
            let io = TokioIo::new(io);
            let exec = StreamExec {
                exec: accepted.exec,
                pulse: Rc::clone(&pulse),
                bounds: Rc::clone(&bounds),
                counters: Rc::clone(&counters),
            };
            let connection = http2_builder(&bounds, exec).serve_connection(io, service);
            let connection = Http2 { connection, out };
            Driver::new(connection, pulse, bounds, Rc::clone(&counters), aged_at).await
        }
    };
    if let Err(error) = ended {
        if is_calmed(&error) {
            count(&counters.floods);
        } else if error.is_parse_too_large() {
            count(&counters.heads_too_large);
        } else if error.is_parse() {
            count(&counters.unreadable);
        }
        tracing::debug!(%peer, %error, "client connection ended");
    }
}

/// Give or take a tenth, so that connections of one moment don't all end in another.
fn jittered(age: Duration, peer: &SocketAddr) -> Duration {
    let hash = RandomState::new().hash_one(peer);
    let percent = u32::try_from(hash % 21).map_or(100, |n| 90 + n);
    age.saturating_mul(percent) / 100
}

/// Whether h2 ended the connection for one of its own limits on floods.
fn is_calmed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            return h2.is_library() && h2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        source = cause.source();
    }
    false
}

/// Why first bytes aren't waited for any longer.
enum Due {
    Late,
    /// The worker drains.
    Closing,
}

/// Resolves when the first bytes are due: soon, when the worker drains.
async fn until_due(pulse: &Pulse, at: Instant, wait: Duration, slow: &Cell<u64>) -> Due {
    let closing = std::future::poll_fn(|cx| {
        pulse.register(cx.waker());
        if pulse.is_closing() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let closing = async {
        closing.await;
        // Whoever came last, from the queue perhaps, is about to send.
        tokio::time::sleep_until(at + FIRST_BYTES_GRACE).await;
    };
    tokio::select! {
        () = closing => Due::Closing,
        () = tokio::time::sleep(wait) => {
            count(slow);
            Due::Late
        }
    }
}

fn http1_builder(bounds: &Bounds) -> http1::Builder {
    let header_bytes = bounds.limits.header_bytes_max.bytes();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Ours are apart: see `pulse`.
        .header_read_timeout(None)
        .max_header_size(header_bytes)
        .max_buf_size(H1_BUFFER_BYTES_MAX.max(header_bytes));
    // Any number given costs hyper's fast path; 100 is its own.
    if bounds.limits.headers_max != 100 {
        builder.max_headers(bounds.limits.headers_max);
    }
    builder
}

fn http2_builder(bounds: &Bounds, exec: StreamExec) -> http2::Builder<StreamExec> {
    let header_bytes = bounds.limits.header_bytes_max.bytes();
    let mut builder = http2::Builder::new(exec);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.limits.streams_max)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(CLIENT_STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(H2_ERROR_RESETS_MAX)
        .keep_alive_interval(bounds.timeouts.ping_interval)
        .keep_alive_timeout(bounds.timeouts.ping_timeout);
    builder
}

/// A hyper connection of either kind.
pub(super) trait Served: Future<Output = hyper::Result<()>> {
    /// Whether an idle end is told to the client (GOAWAY) and not just done.
    const SAYS_GOODBYE: bool;
    /// No more requests; what is under way is cut off at `cut_at`.
    fn finish(self: Pin<&mut Self>, cut_at: Instant);
}

type H2Io = TokioIo<ClientIo<Gather<Wire>>>;

/// An HTTP/2 connection; what it writes in one turn is sent together.
struct Http2<S>
where
    S: hyper::service::HttpService<Incoming>,
{
    connection: http2::Connection<H2Io, S, StreamExec>,
    out: Gather<Wire>,
}

impl<S, B> Served for Http2<S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B> + Unpin,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const SAYS_GOODBYE: bool = true;
    fn finish(mut self: Pin<&mut Self>, _cut_at: Instant) {
        Pin::new(&mut self.connection).graceful_shutdown();
    }
}

impl<S, B> Future for Http2<S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B> + Unpin,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.out
            .turn(cx, |cx| Pin::new(&mut this.connection).poll(cx))
    }
}

/// Polls a connection, and ends it when its pulse says so.
struct Driver<C> {
    connection: Pin<Box<C>>,
    pulse: Rc<Pulse>,
    bounds: Rc<Bounds>,
    counters: Rc<Counters>,
    timer: Pin<Box<Sleep>>,
    /// No more requests from then on.
    aged_at: Instant,
    finishing: bool,
    /// Told to finish with nothing to do: the time to stop waiting for the client's part.
    until: Option<Instant>,
}

impl<C: Served> Driver<C> {
    fn new(
        connection: C,
        pulse: Rc<Pulse>,
        bounds: Rc<Bounds>,
        counters: Rc<Counters>,
        aged_at: Instant,
    ) -> Self {
        Self {
            connection: Box::pin(connection),
            pulse,
            bounds,
            counters,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            aged_at,
            finishing: false,
            until: None,
        }
    }

    fn finish(&mut self) {
        if !self.finishing {
            self.finishing = true;
            let cut_at = Instant::now() + self.bounds.timeouts.drain;
            self.connection.as_mut().finish(cut_at);
            self.timer.as_mut().reset(Instant::now());
        }
    }

    /// Whether it is to finish, and hasn't been told yet.
    fn ends_now(&self) -> bool {
        let says = match C::SAYS_GOODBYE {
            true => self.pulse.says_goaway(),
            false => self.pulse.says_close(),
        };
        says && !self.finishing
    }

    /// Looks at the clock; whether the connection is to be closed at once.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if !self.finishing && self.aged_at <= now {
            count(&self.counters.aged);
            self.finish();
        }
        let cut_at = self.aged_at + self.bounds.timeouts.drain;
        if cut_at <= now {
            if self.pulse.is_busy() {
                count(&self.counters.cut);
            }
            return true;
        }
        let mut wait = match self.pulse.verdict(now, &self.bounds.timeouts) {
            Verdict::WaitUntil(at) => at,
            Verdict::SlowHead => {
                count(&self.counters.slow_heads);
                return true;
            }
            Verdict::Stalled => {
                count(&self.counters.stalled);
                return true;
            }
            Verdict::Idle => {
                if !self.finishing {
                    count(&self.counters.idle_closed);
                }
                if !C::SAYS_GOODBYE {
                    return true;
                }
                self.finish();
                now + CLOSE_GRACE
            }
        };
        wait = wait.min(cut_at);
        if !self.finishing {
            wait = wait.min(self.aged_at);
            self.until = None;
        } else if self.pulse.is_busy() {
            self.until = None;
        } else {
            let until = *self.until.get_or_insert(now + CLOSE_GRACE);
            if until <= now {
                return true;
            }
            wait = wait.min(until);
        }
        self.timer.as_mut().reset(wait);
        false
    }
}

impl<C: Served> Future for Driver<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.pulse.register(cx.waker());
        loop {
            if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // After a look at what the client has sent: that is not thrown away.
            if this.ends_now() {
                this.finish();
                continue;
            }
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // Told to finish, the connection has something to say: it is polled again.
            if this.is_over() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Without the port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// The requests of one connection.
pub(super) struct Requests<S> {
    service: S,
    switch: Rc<Switch>,
    ends: Ends,
    bounds: Rc<Bounds>,
    pulse: Rc<Pulse>,
    counters: Rc<Counters>,
    memory: Arc<Memory>,
}

impl<S> Requests<S> {
    /// Whether the certificate that the client has seen is for the host that it asks for.
    fn is_for_here(&self, authority: &str) -> Result<(), Failure> {
        let Some(secure) = &self.ends.secure else {
            return Ok(());
        };
        // Certificates write no name with the root's dot; routes take it with and without.
        let host = host_of(authority);
        let host = host.strip_suffix('.').unwrap_or(host);
        let lower;
        let host = match host.bytes().any(|b| b.is_ascii_uppercase()) {
            true => {
                lower = host.to_ascii_lowercase();
                &*lower
            }
            false => host,
        };
        if secure.allows(host) {
            return Ok(());
        }
        count(&self.counters.misdirected);
        let message = "this connection is not for that host: open another one";
        Err(Failure::client(message).status(StatusCode::MISDIRECTED_REQUEST))
    }

    /// How fast a body must come. The messages of a gRPC call may be small and far between.
    fn pace(&self, headers: &HeaderMap) -> Pace {
        let is_grpc = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        Pace {
            idle_max: self.bounds.timeouts.body_idle,
            rate_min: (!is_grpc).then_some(self.bounds.limits.body_rate_min),
            slow: Rc::clone(&self.counters.slow_bodies),
        }
    }
}

impl<S: Service> hyper::service::Service<Request<Incoming>> for Requests<S> {
    type Response = Response<Reply<S::Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = self.pulse.begin();
        let (mut parts, body) = request.into_parts();
        let checked = check(&parts, &self.bounds.limits).and_then(|checked| {
            self.is_for_here(checked.authority)?;
            Ok(checked)
        });
        match checked {
            Ok(checked) => {
                let version = parts.version;
                if checked.upgrade_h2c {
                    strip_h2c(&mut parts.headers);
                }
                let body = ClientBody::new(body, self.pace(&parts.headers));
                let answer = self
                    .service
                    .answer(self.ends.clone(), Request::from_parts(parts, body));
                let (service, switch) = (self.service.clone(), Rc::clone(&self.switch));
                let spares = self.memory.level() >= Level::Spare;
                Box::pin(answer.map(move |mut reply| {
                    if reply.status() == StatusCode::SWITCHING_PROTOCOLS
                        && let Some(tunnel) = service.tunnel(reply.body_mut())
                    {
                        switch.set(tunnel, in_flight.another());
                    } else if version < Version::HTTP_2
                        && (spares || in_flight.pulse().is_leaving())
                    {
                        reply.headers_mut().insert(header::CONNECTION, CLOSE);
                    }
                    Ok(reply.map(|b| Reply::new(b, in_flight)))
                }))
            }
            Err(failure) => {
                count(&self.counters.refused_requests);
                tracing::debug!(peer = %self.ends.peer, %failure, "request refused");
                let mut reply = self.service.refuse(self.ends.clone(), &parts, &failure);
                if parts.version < Version::HTTP_2 {
                    reply.headers_mut().insert(header::CONNECTION, CLOSE);
                }
                Box::pin(async move { Ok(reply.map(|b| Reply::new(b, in_flight))) })
            }
        }
    }
}
