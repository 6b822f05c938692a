//! One endpoint as one worker sees it: its connections, how to open another, and when not to try.
//!
//! Callers that need a connection share the one attempt to open it; a failed attempt fails all of
//! them, and starts a short back-off in which calls fail at once. After it, the next call tries again.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::model::{Connections, Ejection, UpstreamProtocol};
use crate::limits::{Timeouts, UPSTREAM_CONNECTIONS_MAX, UPSTREAM_WAITING_MAX};
use crate::rt::LocalExec;
use crate::telemetry::Counted;
use crate::tls::Speaks;

use super::balance::Latency;
use super::connection::{Connection, Lease};
use super::fleet::{Location, Member, Shared};
use super::http1;
use super::line::{Line, Socket};
use super::outlier::{Counts, Outcome, Record, Sign};
use super::retry::connect_backoff;
use super::unreachable::{Unreachable, plainly};

/// What the last attempts came to.
#[derive(Debug)]
struct Trouble {
    failures: u32,
    retry_at: Instant,
    error: Unreachable,
}

/// One instance of an upstream.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) member: Arc<Member>,
    shared: Arc<Shared>,
    /// Its place, for logs.
    name: Rc<str>,
    pub(super) timeouts: Timeouts,
    /// Idle HTTP/1.1 connections, and how many are open.
    pub(super) http1: http1::Pool,
    exec: LocalExec,
    latency: Cell<Latency>,
    record: RefCell<Record>,
    /// It is no longer one of the upstream's instances.
    retired: Cell<bool>,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Open connections of all of the upstream's instances.
    pub(super) open: Rc<Cell<usize>>,
    connecting: Cell<usize>,
    /// Attempts that failed, ever: tells a waiter that its own did.
    failed: Cell<u64>,
    trouble: RefCell<Option<Trouble>>,
    in_flight: Cell<usize>,
    waiting: Cell<usize>,
    changed: Notify,
    /// Which of several addresses of a name is tried first.
    turn: Cell<usize>,
    counted: Rc<Cell<Counted>>,
}

impl Endpoint {
    pub(super) fn new(
        member: &Arc<Member>,
        shared: &Arc<Shared>,
        timeouts: &Timeouts,
        (counted, open): (&Rc<Cell<Counted>>, &Rc<Cell<usize>>),
        exec: LocalExec,
    ) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            member: Arc::clone(member),
            shared: Arc::clone(shared),
            name: member.location.to_string().into(),
            timeouts: timeouts.clone(),
            http1: http1::Pool::default(),
            exec,
            latency: Cell::new(Latency::new(now)),
            record: RefCell::new(Record::new(now)),
            retired: Cell::new(false),
            connections: RefCell::default(),
            open: Rc::clone(open),
            connecting: Cell::new(0),
            failed: Cell::new(0),
            trouble: RefCell::default(),
            in_flight: Cell::new(0),
            waiting: Cell::new(0),
            changed: Notify::new(),
            turn: Cell::new(0),
            counted: Rc::clone(counted),
        })
    }

    /// Its address, or the name that stands for it.
    pub(super) fn name(&self) -> &Rc<str> {
        &self.name
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.member.authority
    }

    /// Whether it has asked who we are, and we had nothing to show.
    pub(super) fn lacks_certificate(&self) -> bool {
        let outgoing = &self.shared.spec().outgoing;
        outgoing.as_ref().is_some_and(|o| o.lacks_certificate())
    }

    /// An answer whose head took `time`.
    pub(super) fn answered(&self, time: Duration, now: Instant) {
        let mut latency = self.latency(self.member.age(), now);
        latency.observe(time, now);
        self.latency.set(latency);
    }

    /// A failure after `time`.
    pub(super) fn slower(&self, time: Duration, now: Instant) {
        let mut latency = self.latency(self.member.age(), now);
        latency.observe_failure(time, now);
        self.latency.set(latency);
    }

    /// What one more call would cost, when it has been in for `age`.
    pub(super) fn load(&self, age: Duration, now: Instant) -> f64 {
        self.latency(age, now).load(self.in_flight.get(), now)
    }

    fn latency(&self, age: Duration, now: Instant) -> Latency {
        self.latency.get().within(age, now)
    }

    /// Notes what became of a call; a sign that it has gone bad.
    pub(super) fn note_outcome(&self, outcome: Outcome, rule: &Ejection) -> Option<Sign> {
        let now = Instant::now();
        self.record.borrow_mut().note(outcome, rule, now)
    }

    /// It is left out: what led to that speaks no more against it when it is back.
    pub(super) fn forgive(&self) {
        self.record.replace(Record::new(Instant::now()));
    }

    /// Its calls of the last time.
    pub(super) fn counts(&self) -> Counts {
        self.record.borrow().counts()
    }

    /// Lets go of its connections: calls on them end in their own time.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        for connection in self.connections.take() {
            connection.retire();
        }
        self.http1.clear();
        self.changed.notify_waiters();
    }

    /// For who waits for a connection: it has to go to another instance.
    pub(super) fn gone(&self) -> Unreachable {
        Unreachable::new(format_args!("{}: it is no instance any more", self.member))
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Requests under way, on all connections.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether calls fail at once for now.
    pub(super) fn is_backing_off(&self) -> bool {
        self.refusal().is_some() && self.connections.borrow().is_empty()
    }

    /// What is said of its connections.
    pub(super) fn rules(&self) -> &Connections {
        &self.shared.spec().rules.connections
    }

    /// When a connection that is opened now is old: each a little earlier or later than others, so that
    /// those opened together aren't replaced together.
    pub(super) fn old_at(&self) -> Option<Instant> {
        let age = self.rules().age_max?.mul_f64(0.9 + fastrand::f64() / 5.0);
        Instant::now().checked_add(age)
    }

    pub(super) fn count(&self, what: impl FnOnce(&mut Counted) -> &mut u64) {
        let mut counted = self.counted.get();
        let one = what(&mut counted);
        *one = one.saturating_add(1);
        self.counted.set(counted);
    }

    /// One of its connections has been silent for too long.
    pub(super) fn note_silence(&self) {
        self.count(|c| &mut c.silent);
        let upstream = &*self.shared.spec().name;
        tracing::warn!(upstream, endpoint = %self.authority(), "nothing comes from a connection: it gets no more calls");
        self.shared.nudge();
        self.changed.notify_waiters();
    }

    pub(super) fn exec(&self) -> &LocalExec {
        &self.exec
    }

    pub(super) fn began(&self) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
    }

    pub(super) fn ended(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.wake_one();
    }

    /// Wakes one of those who wait: there may be room.
    pub(super) fn wake_one(&self) {
        if self.waiting.get() > 0 {
            self.changed.notify_one();
        }
    }

    /// Takes a connection out of the pool; streams on it go on.
    pub(super) fn forget(&self, gone: &Rc<Connection>) {
        self.connections
            .borrow_mut()
            .retain(|c| !Rc::ptr_eq(c, gone));
        self.changed.notify_waiters();
    }

    /// A place on an HTTP/2 connection: at once when there is room, else when a connection is opened
    /// or a place comes free. Dropping it leaves the queue; a connection being opened is still opened.
    pub(super) async fn lease(self: &Rc<Self>) -> Result<Lease, Unreachable> {
        let failed_before = self.failed.get();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(connection) = self.with_room() {
                return Ok(connection.lease(self));
            }
            if self.is_retired() {
                return Err(self.gone());
            }
            if let Some(error) = self.error_since(failed_before) {
                return Err(error);
            }
            // Asked before another one is opened: a back-off that ends in between must not leave this call
            // waiting for nobody.
            if self.connecting.get() == 0
                && let Some(error) = self.refusal()
            {
                return Err(error);
            }
            self.open_another();
            let _waiting = self.wait()?;
            changed.await;
        }
    }

    /// The connection with the fewest streams that has room. Opens another one in the background
    /// before the last place is taken.
    fn with_room(self: &Rc<Self>) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        if connections.iter().any(|c| c.is_closed()) {
            connections.retain(|c| !c.is_closed());
        }
        let best = connections
            .iter()
            .filter_map(|c| Some((c.streams_max().checked_sub(c.in_flight())?, c)))
            .max_by_key(|(room, _)| *room)?;
        let (room, best) = (best.0, Rc::clone(best.1));
        drop(connections);
        if room <= 1 {
            self.open_another();
        }
        if room == 0 && self.is_full() {
            self.count(|c| &mut c.at_connections_max);
        }
        (room > 0).then_some(best)
    }

    /// Starts to open one more HTTP/2 connection, unless one is on its way, there are enough, or the
    /// endpoint is backing off.
    fn open_another(self: &Rc<Self>) -> bool {
        !self.is_full() && self.open()
    }

    fn is_full(&self) -> bool {
        let count_max = self.rules().count_max.unwrap_or(UPSTREAM_CONNECTIONS_MAX);
        self.connections.borrow().len() >= count_max
    }

    /// Has an old connection replaced by another one, which retires it. Whether that is under way.
    pub(super) fn replace(self: &Rc<Self>) -> bool {
        self.open() || self.connecting.get() > 0
    }

    /// Starts to open an HTTP/2 connection, unless one is on its way or the endpoint is backing off.
    fn open(self: &Rc<Self>) -> bool {
        if self.connecting.get() > 0 || self.retired.get() || self.refusal().is_some() {
            return false;
        }
        let attempt = self.attempt();
        let endpoint = Rc::clone(self);
        self.exec.spawn(async move {
            let limit = endpoint.timeouts.connect;
            let opened = async {
                let stream = endpoint.dial().await?;
                Connection::open(&endpoint, stream, endpoint.exec.clone()).await
            };
            let outcome = tokio::time::timeout(limit, opened)
                .await
                .unwrap_or_else(|_| Err(endpoint.too_slow()));
            if let Ok(connection) = &outcome
                && !endpoint.retired.get()
            {
                let mut connections = endpoint.connections.borrow_mut();
                let old = connections.extract_if(.., |c| c.is_old());
                old.for_each(|c| {
                    c.retire();
                    endpoint.count(|c| &mut c.aged);
                });
                connections.push(Rc::clone(connection));
            } else if let Ok(connection) = &outcome {
                connection.retire();
            }
            endpoint.note(outcome.err());
            drop(attempt);
        });
        true
    }

    /// Counts an attempt to connect until it is dropped.
    pub(super) fn attempt(self: &Rc<Self>) -> Attempt {
        self.connecting.set(self.connecting.get().saturating_add(1));
        Attempt(Rc::clone(self))
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.get() > 0
    }

    /// Whether the last attempt failed and none has succeeded since.
    pub(super) fn is_troubled(&self) -> bool {
        self.trouble.borrow().is_some()
    }

    /// Resolves once something about the connections has changed since it was made.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Records what an attempt came to.
    pub(super) fn note(&self, error: Option<Unreachable>) {
        let Some(error) = error else {
            self.count(|c| &mut c.connected);
            self.trouble.replace(None);
            self.note_well();
            return;
        };
        self.note_ill(&error);
        self.count(|c| &mut c.not_connected);
        self.failed.set(self.failed.get().wrapping_add(1));
        let mut trouble = self.trouble.borrow_mut();
        let failures = trouble.as_ref().map_or(0, |t| t.failures).saturating_add(1);
        let wait = connect_backoff(failures, fastrand::f64());
        *trouble = Some(Trouble {
            failures,
            retry_at: Instant::now() + wait,
            error,
        });
    }

    /// Tells operators that it can be reached, where that is news and what it speaks is right.
    pub(super) fn note_well(&self) {
        if !self.http1.is_garbled() && self.member.set_trouble(None) {
            let upstream = &*self.shared.spec().name;
            tracing::info!(upstream, endpoint = %self.member, "connected again");
        }
    }

    /// Tells operators what is wrong with it, where that is news.
    pub(super) fn note_ill(&self, error: &Unreachable) {
        if self.member.set_trouble(Some(&error.why)) {
            let upstream = &*self.shared.spec().name;
            tracing::warn!(upstream, %error, "no connection to an instance");
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// The error of an attempt that failed since `failed_before`.
    pub(super) fn error_since(&self, failed_before: u64) -> Option<Unreachable> {
        if self.failed.get() == failed_before {
            return None;
        }
        self.trouble.borrow().as_ref().map(|t| t.error.clone())
    }

    /// The error to answer with while backing off.
    pub(super) fn refusal(&self) -> Option<Unreachable> {
        let trouble = self.trouble.borrow();
        let trouble = trouble.as_ref()?;
        (Instant::now() < trouble.retry_at).then(|| trouble.error.clone())
    }

    /// A place in the queue, given back when it is dropped.
    pub(super) fn wait(&self) -> Result<Waiting<'_>, Unreachable> {
        if self.waiting.get() >= UPSTREAM_WAITING_MAX {
            self.count(|c| &mut c.at_waiting_max);
            return Err(Unreachable::new(format_args!(
                "{}: {UPSTREAM_WAITING_MAX} requests wait for a connection already",
                self.member
            )));
        }
        self.waiting.set(self.waiting.get().saturating_add(1));
        Ok(Waiting(self))
    }

    /// A connected socket: resolves the name, and tries its addresses one after the other, all within
    /// the connect timeout. Dropping it closes what was opened.
    pub(super) async fn dial(&self) -> Result<Line, Unreachable> {
        let limit = self.timeouts.connect;
        tokio::time::timeout(limit, self.open_line())
            .await
            .unwrap_or_else(|_| Err(self.too_slow()))
    }

    fn too_slow(&self) -> Unreachable {
        Unreachable::after_all(format_args!(
            "{}: no connection within {:?}",
            self.member, self.timeouts.connect
        ))
    }

    async fn open_line(&self) -> Result<Line, Unreachable> {
        let socket = self.dial_unbounded().await?;
        let spec = self.shared.spec();
        let outgoing = match (&spec.tls, &spec.outgoing) {
            (None, _) => return Ok(Line::Plain(socket)),
            (Some(_), Some(outgoing)) => outgoing,
            // Never without TLS where TLS is wanted.
            (Some(_), None) => {
                return Err(Unreachable::new(format_args!(
                    "{}: its TLS has not been read",
                    self.member
                )));
            }
        };
        let speaks = match spec.protocol {
            UpstreamProtocol::Http1 => Speaks::Http1,
            UpstreamProtocol::Http2 => Speaks::Http2,
        };
        // Boxed: it is large, rare, and would be in the future of every exchange.
        let done = outgoing.connect(self.authority().host(), socket, speaks);
        match Box::pin(done).await {
            Ok(stream) => Ok(Line::Tls(Box::new(stream))),
            Err(error) => Err(Unreachable::new(format_args!("{}: {error}", self.member))),
        }
    }

    async fn dial_unbounded(&self) -> Result<Socket, Unreachable> {
        if let Location::Unix(path) = &self.member.location {
            let stream = UnixStream::connect(path).await;
            let failed =
                |e: io::Error| Unreachable::new(format_args!("{}: {}", self.name, plainly(&e)));
            return stream.map(Socket::Unix).map_err(failed);
        }
        let mut addresses = self.resolve().await?;
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = addresses.len().max(1);
        addresses.rotate_left(turn % count);
        // A share for each, so that one that swallows packets leaves time for the next.
        let share = self.timeouts.connect / u32::try_from(count.min(4)).unwrap_or(4);
        let mut last = Unreachable::new(format_args!("{}: no address", self.member));
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.prepare(&stream);
                    return Ok(Socket::Tcp(stream));
                }
                Ok(Err(error)) => {
                    let why = plainly(&error);
                    last = Unreachable::new(format_args!("{}: {why}", self.at(address)));
                }
                Err(_) => {
                    let why = "it doesn't answer: does a firewall stand between?";
                    last = Unreachable::after_all(format_args!("{}: {why}", self.at(address)));
                }
            }
        }
        Err(last)
    }

    /// An instance as operators are told of it, where its name may stand for several.
    fn at(&self, address: SocketAddr) -> String {
        match &self.member.location {
            Location::Name { .. } => format!("{} ({address})", self.member),
            Location::Address(_) | Location::Unix(_) => self.member.to_string(),
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Unreachable> {
        let (host, port) = match &self.member.location {
            Location::Address(address) => return Ok(vec![*address]),
            Location::Name { host, port } => (&**host, *port),
            Location::Unix(_) => return Ok(Vec::new()),
        };
        match tokio::net::lookup_host((host, port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(Unreachable::new(format_args!(
                "{host}: can't be resolved: {error}"
            ))),
        }
    }

    /// No delay for small frames, and a dead peer found by TCP itself. A failure here costs speed
    /// alone, so it is not an error.
    fn prepare(&self, stream: &TcpStream) {
        let keepalive = TcpKeepalive::new()
            .with_time(self.timeouts.ping_interval)
            .with_interval(self.timeouts.ping_timeout)
            .with_retries(3);
        let socket = SockRef::from(stream);
        let unanswered_max = self.timeouts.ping_interval + self.timeouts.ping_timeout;
        let done = stream
            .set_nodelay(true)
            .and_then(|()| socket.set_tcp_keepalive(&keepalive))
            .and_then(|()| socket.set_tcp_user_timeout(Some(unanswered_max)));
        if let Err(error) = done {
            tracing::debug!(endpoint = %self.member, %error, "socket options");
        }
    }
}

/// An attempt to connect that is under way; whoever waits is woken when it ends, however it does.
#[derive(Debug)]
pub(super) struct Attempt(Rc<Endpoint>);

impl Drop for Attempt {
    fn drop(&mut self) {
        let left = self.0.connecting.get().saturating_sub(1);
        self.0.connecting.set(left);
        self.0.changed.notify_waiters();
    }
}

/// One of those who wait for a connection.
#[derive(Debug)]
pub(super) struct Waiting<'e>(&'e Endpoint);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}
