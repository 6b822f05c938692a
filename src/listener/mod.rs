//! Client connections: accepting, limits, HTTP/1.1 and HTTP/2 with their timeouts, the strict check.
//!
//! What is done with a checked request is the [`Service`]'s matter: this module knows no routes.

mod accept;
mod broken;
pub mod check;
mod connection;
mod dealer;
mod flood;
mod gate;
mod handshake;
mod inherited;
mod io;
mod ports;
mod proxy_header;
mod pulse;
mod reply;
mod sniff;
mod socket;
mod streams;
mod switch;
mod tally;
mod wire;

pub use accept::{Listener, Stop, accept, take_dealt};
pub use broken::Broken;
pub use dealer::Dealt;
pub use gate::{Gate, Pass, Refused};
pub use handshake::Secure;
pub use inherited::{Inherited, Passed, Purpose};
pub use ports::{Change, Changed, Order, Ports, Post, Source};
pub use proxy_header::RefusedHeader;
pub use socket::{BindError, Bound, bind, raise_open_files};
pub use switch::{ClientStream, Ending, Tunnel};
pub use tally::{Reason, Tally};

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tokio::sync::Notify;

use crate::client_body::ClientBody;
use crate::config::model::{ListenerId, ToHttps};
use crate::failure::Failure;
use crate::limits::{Limits, Timeouts};
use crate::live::Door;
use crate::telemetry::Count;

use pulse::Pulse;

/// What answers requests. Cloned for each connection and each HTTP/2 stream: cheap.
pub trait Service: Clone + Unpin + 'static {
    type Body: http_body::Body<Data = Bytes, Error = Failure> + Unpin + 'static;

    /// The limits for connections accepted now on this listener; `None` when it takes none.
    fn bounds(&self, listener: &ListenerId) -> Option<Rc<Bounds>>;

    /// Answers a request that passed the check. Dropped when the client leaves.
    fn answer(
        &self,
        ends: Ends,
        request: Request<ClientBody>,
    ) -> impl Future<Output = Response<Self::Body>> + 'static;

    /// What an HTTP/1.1 connection becomes after a reply of 101 with this body.
    fn tunnel(&self, _body: &mut Self::Body) -> Option<Tunnel> {
        None
    }

    /// The reply to a request that didn't pass it.
    fn refuse(&self, ends: Ends, head: &Parts, failure: &Failure) -> Response<Self::Body>;
}

/// The two ends of a connection, and what lies between.
#[derive(Clone, Debug)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// TLS, if it is spoken.
    pub secure: Option<Rc<Secure>>,
    /// All requests are sent there.
    pub redirect: Option<ToHttps>,
    /// The listener tells of the API.
    pub openapi: bool,
}

/// Limits of one generation, as connections of one listener need them.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub door: Door,
    pub trusted_proxies: Rc<[ipnet::IpNet]>,
}

impl Bounds {
    /// Whether what this peer says of others is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// How often a limit of this module was hit; one set for each worker.
#[derive(Debug, Default)]
pub struct Counters {
    pub accepted: Cell<u64>,
    pub slow_heads: Cell<u64>,
    pub idle_closed: Cell<u64>,
    pub stalled: Cell<u64>,
    pub refused_requests: Cell<u64>,
    pub accept_pauses: Cell<u64>,
    /// `limits.accept_rate`
    pub accept_delays: Cell<u64>,
    /// `timeouts.body_idle` and `limits.body_rate`; shared with the bodies.
    pub slow_bodies: Rc<Cell<u64>>,
    /// `timeouts.max_age`
    pub aged: Cell<u64>,
    /// Connections closed under exchanges that took `timeouts.drain` after `timeouts.max_age`.
    pub cut: Cell<u64>,
    /// `limits.connections`
    pub refused_full: Cell<u64>,
    /// `limits.connections_per_ip`
    pub refused_by_ip: Cell<u64>,
    /// `limits.memory`
    pub refused_by_memory: Cell<u64>,
    /// Requests that hyper refused by itself: framing that it can't read (400).
    pub unreadable: Cell<u64>,
    /// The same, for `limits.headers` and `limits.header_count` (431).
    pub heads_too_large: Cell<u64>,
    /// `limits.control_frames`, and h2's own limits on what costs more than it brings.
    pub floods: Cell<u64>,
    /// TLS
    pub handshakes: Cell<u64>,
    pub broken_handshakes: Tally<Broken>,
    /// `timeouts.handshake`
    pub slow_handshakes: Cell<u64>,
    /// Connections of trusted peers without a PROXY header, and others' with one.
    pub proxy_headers_refused: Tally<RefusedHeader>,
    /// Requests for a host that the connection's certificate isn't for (421).
    pub misdirected: Cell<u64>,
}

impl Counters {
    /// All of them, for metrics.
    #[must_use]
    pub fn report(&self) -> Vec<Count> {
        let hit = |limit, value: &Cell<u64>| limit_hit(limit, value.get());
        let one = |name, about, value: &Cell<u64>| Count {
            name,
            about,
            label: ("", ""),
            value: value.get(),
        };
        let mut all = vec![
            one(
                "connections_accepted",
                "Client connections.",
                &self.accepted,
            ),
            one(
                "requests_refused",
                "Requests that were refused by the strict check.",
                &self.refused_requests,
            ),
            one(
                "accept_pauses",
                "Pauses of accepting for want of files.",
                &self.accept_pauses,
            ),
            one("tls_handshakes", "TLS handshakes done.", &self.handshakes),
            one(
                "requests_misdirected",
                "Requests for a host that the connection's certificate isn't for (421).",
                &self.misdirected,
            ),
            hit("handshake", &self.slow_handshakes),
            hit("headers_time", &self.slow_heads),
            hit("keep_alive", &self.idle_closed),
            hit("write_idle", &self.stalled),
            hit("accept_rate", &self.accept_delays),
            hit("body_idle", &self.slow_bodies),
            hit("max_age", &self.aged),
            hit("max_age_drain", &self.cut),
            hit("connections", &self.refused_full),
            hit("connections_per_ip", &self.refused_by_ip),
            hit("memory_connections", &self.refused_by_memory),
            hit("framing", &self.unreadable),
            hit("headers", &self.heads_too_large),
            hit("control_frames", &self.floods),
        ];
        all.extend(self.broken_handshakes.report());
        all.extend(self.proxy_headers_refused.report());
        all
    }
}

/// How often a limit was met.
pub(crate) fn limit_hit(limit: &'static str, value: u64) -> Count {
    Count {
        name: "limits_hit",
        about: "How often a limit was met.",
        label: ("limit", limit),
        value,
    }
}

pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

/// The open connections of one worker, to be told of a drain and waited for.
#[derive(Debug, Default)]
pub struct Connections {
    open: RefCell<HashMap<u64, (ListenerId, Rc<Pulse>)>>,
    /// As many as are open, for whoever deals connections.
    load: Arc<AtomicUsize>,
    /// Listeners that are gone.
    left: RefCell<HashSet<ListenerId>>,
    next: Cell<u64>,
    leaving: Cell<bool>,
    closing: Cell<bool>,
    emptied: Notify,
}

impl Connections {
    /// Which tells `load` how many there are.
    #[must_use]
    pub fn new(load: Arc<AtomicUsize>) -> Self {
        Self {
            load,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Tells the client of every connection, and of those that come yet, to go elsewhere with its next
    /// reply. None is closed for that alone.
    pub fn leave(&self) {
        self.leaving.set(true);
        for (_, pulse) in self.open.borrow().values() {
            pulse.leave();
        }
    }

    /// The same for the connections of one listener, which is gone.
    pub fn leave_listener(&self, id: ListenerId) {
        self.left.borrow_mut().insert(id);
        for (of, pulse) in self.open.borrow().values() {
            if *of == id {
                pulse.leave();
            }
        }
    }

    /// A listener is there, perhaps again.
    pub fn join_listener(&self, id: ListenerId) {
        self.left.borrow_mut().remove(&id);
    }

    /// Asks every connection, and those that come yet, to end once its exchanges are done.
    pub fn close(&self) {
        self.closing.set(true);
        for (_, pulse) in self.open.borrow().values() {
            pulse.close();
        }
    }

    /// Resolves when none is open.
    pub async fn closed(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn enter(self: &Rc<Self>, listener: ListenerId, pulse: &Rc<Pulse>) -> Entered {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let mut open = self.open.borrow_mut();
        open.insert(id, (listener, Rc::clone(pulse)));
        self.load.store(open.len(), Ordering::Relaxed);
        if self.leaving.get() || self.left.borrow().contains(&listener) {
            pulse.leave();
        }
        if self.closing.get() {
            pulse.close();
        }
        Entered(Rc::clone(self), id)
    }
}

/// One open connection, until it is dropped.
#[derive(Debug)]
struct Entered(Rc<Connections>, u64);

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.0.open.borrow_mut();
        open.remove(&self.1);
        self.0.load.store(open.len(), Ordering::Relaxed);
        if open.is_empty() {
            self.0.emptied.notify_waiters();
        }
    }
}
