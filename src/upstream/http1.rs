//! HTTP/1.1 connections to one endpoint: each serves one request at a time, and is kept for the next.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::limits::{REPLY_HEADER_BYTES_MAX, UPSTREAM_HTTP1_CONNECTIONS_MAX};

use super::UpstreamBody;
use super::endpoint::Endpoint;
use super::line::{Line, Open};
use super::unreachable::Unreachable;

type Sender = http1::SendRequest<UpstreamBody>;

/// Idle connections, the last used one last.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    open: Cell<usize>,
    /// What came first on the last new connection was no HTTP/1.1.
    garbled: Cell<bool>,
}

/// A connection between two requests.
struct Idle {
    sender: Sender,
    since: Instant,
    old_at: Option<Instant>,
}

impl Pool {
    /// The idle connection used last: the least likely to have been closed by the peer.
    fn take(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|i| !i.sender.is_closed());
        let at = idle.iter().rposition(|i| i.sender.is_ready())?;
        Some(idle.remove(at))
    }

    /// A connection that still finishes its last exchange.
    fn take_busy(&self) -> Option<Idle> {
        self.idle.borrow_mut().pop()
    }

    /// Whether the peer is known to speak something else.
    pub(super) fn is_garbled(&self) -> bool {
        self.garbled.get()
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    fn sweep(&self, endpoint: &Endpoint) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|idle| {
            let stays = now.saturating_duration_since(idle.since) < endpoint.rules().idle_max;
            if !stays {
                endpoint.count(|c| &mut c.idled);
            }
            stays && !idle.sender.is_closed()
        });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("open", &self.open.get())
            .field("idle", &self.idle.borrow().len())
            .finish()
    }
}

impl Endpoint {
    /// A connection for one request: an idle one, else a new one, else the next that comes free.
    /// Dropping it leaves the queue, or closes the connection being opened.
    pub(super) async fn lease_http1(self: &Rc<Self>) -> Result<Lease, Unreachable> {
        let failed_before = self.failed();
        loop {
            let mut changed = std::pin::pin!(self.changed());
            changed.as_mut().enable();
            if let Some(idle) = self.http1.take() {
                return Ok(Lease::new(self, idle.sender, idle.old_at, true));
            }
            if self.is_retired() {
                return Err(self.gone());
            }
            if let Some(error) = self.error_since(failed_before).or_else(|| self.refusal()) {
                return Err(error);
            }
            // After a failure one attempt goes first; the others see what becomes of it.
            let count_max = self.rules().count_max;
            let full = self.http1.open.get() >= count_max.unwrap_or(UPSTREAM_HTTP1_CONNECTIONS_MAX);
            if full {
                self.count(|c| &mut c.at_connections_max);
            }
            let may_open = !(full || self.is_troubled() && self.is_connecting());
            if may_open {
                return self.open_http1().await;
            }
            let _waiting = self.wait()?;
            match self.http1.take_busy() {
                Some(mut idle) => {
                    if idle.sender.ready().await.is_ok() {
                        return Ok(Lease::new(self, idle.sender, idle.old_at, true));
                    }
                }
                None => changed.await,
            }
        }
    }

    async fn open_http1(self: &Rc<Self>) -> Result<Lease, Unreachable> {
        let _attempt = self.attempt();
        let opened = Opened::new(self);
        let stream = self
            .dial()
            .await
            .inspect_err(|e| self.note(Some(e.clone())))?;
        self.note(None);
        let open = Open::new(&self.open);
        let (sender, connection) = handshake(stream)
            .await
            .map_err(|e| Unreachable::new(format_args!("{}: {e}", self.member)))?;
        let exec = self.exec().clone();
        exec.spawn(async move {
            // One that was switched to another protocol ends here, and never comes back to the pool.
            let _open = open;
            let mut connection = std::pin::pin!(connection.with_upgrades());
            loop {
                tokio::select! {
                    biased;
                    result = &mut connection => {
                        if let Err(error) = result {
                            tracing::debug!(endpoint = %opened.0.member, %error, "upstream connection ended");
                        }
                        break;
                    }
                    () = tokio::time::sleep(opened.0.rules().idle_max) => opened.0.http1.sweep(&opened.0),
                }
            }
        });
        Ok(Lease::new(self, sender, self.old_at(), false))
    }
}

async fn handshake(
    stream: Line,
) -> Result<(Sender, http1::Connection<TokioIo<Line>, UpstreamBody>), hyper::Error> {
    http1::Builder::new()
        .max_header_size(REPLY_HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
}

/// An open connection, counted until it is dropped.
struct Opened(Rc<Endpoint>);

impl Opened {
    fn new(endpoint: &Rc<Endpoint>) -> Self {
        let open = &endpoint.http1.open;
        open.set(open.get().saturating_add(1));
        Self(Rc::clone(endpoint))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let open = &self.0.http1.open;
        open.set(open.get().saturating_sub(1));
        self.0.wake_one();
    }
}

/// A connection for one request. It goes back to the pool when it is dropped; hyper closes it when
/// the answer was not read to its end.
pub(super) struct Lease {
    sender: Option<Sender>,
    endpoint: Rc<Endpoint>,
    old_at: Option<Instant>,
    reused: bool,
}

impl Lease {
    fn new(endpoint: &Rc<Endpoint>, sender: Sender, old_at: Option<Instant>, reused: bool) -> Self {
        endpoint.began();
        Self {
            sender: Some(sender),
            endpoint: Rc::clone(endpoint),
            old_at,
            reused,
        }
    }

    /// Whether the connection has served a request before: the peer may have closed it meanwhile.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// An answer has been read.
    pub(super) fn note_read(&self) {
        if self.endpoint.http1.garbled.replace(false) {
            self.endpoint.note_well();
        }
    }

    /// What came can't be read: when it was the first on its connection, the peer speaks something else.
    pub(super) fn note_unreadable(&self) {
        if !self.reused {
            self.endpoint.http1.garbled.set(true);
            self.endpoint.note_ill(&Unreachable::new(format_args!(
                "{}: it doesn't speak HTTP/1.1: TLS (`tls: on`), or HTTP/2 alone (without `protocol: http1`)?",
                self.endpoint.member
            )));
        }
    }

    pub(super) fn send(
        &mut self,
        request: http::Request<UpstreamBody>,
    ) -> Option<
        impl Future<
            Output = Result<
                http::Response<hyper::body::Incoming>,
                hyper::client::conn::TrySendError<http::Request<UpstreamBody>>,
            >,
        > + use<>,
    > {
        Some(self.sender.as_mut()?.try_send_request(request))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", &self.endpoint.authority())
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take()
            && !sender.is_closed()
            && !self.endpoint.is_retired()
        {
            let since = Instant::now();
            let old_at = self.old_at;
            if old_at.is_some_and(|old| old <= since) {
                self.endpoint.count(|c| &mut c.aged);
            } else {
                let mut idle = self.endpoint.http1.idle.borrow_mut();
                idle.push(Idle {
                    sender,
                    since,
                    old_at,
                });
            }
        }
        self.endpoint.ended();
    }
}
