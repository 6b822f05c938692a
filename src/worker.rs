//! One core: a thread with a runtime, sockets and upstream connections of its own.
//!
//! Nothing here is shared with another worker but the published generation, the stage of the drain and
//! the count of open connections.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use http::{Request, Response, request};
use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client_body::ClientBody;
use crate::config::model::ListenerId;
use crate::copies::Copies;
use crate::drain::{Drained, Stage};
use crate::exchange::{self, Current, Exchange, Told};
use crate::failure::Failure;
use crate::limits::BLOCKING_THREADS_MAX;
use crate::listener::{
    self, Bounds, Connections, Counters, Ends, Gate, Listener, Order, Post, Source, Stop,
};
use crate::live::{Door, Live, Route, Target};
use crate::memory::Memory;
use crate::rt::LocalExec;
use crate::schema::StreamKind;
use crate::snapshot::{Generation, Snapshot};
use crate::telemetry::{Asking, Count, Named, Outputs, Rpc, Series, WorkerReport, transcoded};
use crate::tokens::Tokens;
use crate::upstream::{Fleet, Upstreams};

/// What a worker is started with.
#[derive(Debug)]
pub struct Parts {
    pub index: usize,
    /// Says where to accept.
    pub post: Post,
    pub live: Arc<Snapshot<Live>>,
    pub gate: Arc<Gate>,
    pub drained: Drained,
    /// What all workers know of the upstreams.
    pub fleet: Arc<Fleet>,
    /// What is answered to ACME authorities.
    pub tokens: Arc<Tokens>,
    /// Good answers, for when their upstreams are down.
    pub copies: Arc<Copies>,
    /// How short of memory the process is.
    pub memory: Arc<Memory>,
    /// Asks for the worker's numbers.
    pub asking: Asking,
    /// Where lines of the access log go.
    pub outputs: Arc<Outputs>,
}

/// Starts a worker's thread. It ends when a drain is over, or has reached its limit.
///
/// # Errors
/// No thread or no runtime can be had.
pub fn spawn(parts: Parts) -> io::Result<thread::JoinHandle<()>> {
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("worker-{}", parts.index))
        .spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(BLOCKING_THREADS_MAX)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    ready.send(Ok(())).ok();
                    runtime.block_on(run(parts));
                    runtime.shutdown_background();
                }
                Err(error) => {
                    ready.send(Err(error)).ok();
                }
            }
        })?;
    started
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the worker ended at its start")))?;
    Ok(thread)
}

async fn run(parts: Parts) {
    let mut changes = parts.live.subscribe();
    let generation = *changes.borrow_and_update();
    let live = parts.live.load();
    let exec = LocalExec::default();
    let gateway = Gateway::new(live, generation, &parts, &exec);
    exec.spawn(Rc::clone(gateway.exchange.book()).keep_writing());
    let connections = Rc::new(Connections::new(parts.post.load));
    let counters = Rc::new(Counters::default());
    let numbers = Numbers {
        gateway: gateway.clone(),
        connections: Rc::clone(&connections),
        counters: Rc::clone(&counters),
        exec: exec.clone(),
    };
    exec.spawn(numbers.answer(parts.asking));
    let mut intakes = Intakes {
        gateway: gateway.clone(),
        gate: parts.gate,
        connections: Rc::clone(&connections),
        counters,
        exec,
        stops: HashMap::new(),
        tasks: Vec::new(),
    };
    let (mut orders, mut drained) = (parts.post.orders, parts.drained);
    let leaving = {
        let (mut drained, connections) = (drained.clone(), Rc::clone(&connections));
        let gateway = gateway.clone();
        async move {
            drained.reached(Stage::Leaving).await;
            gateway.exchange.drain();
            connections.leave();
            drained.reached(Stage::Draining).await;
        }
    };
    let mut leaving = std::pin::pin!(leaving);
    loop {
        tokio::select! {
            biased;
            () = &mut leaving => break,
            // Before an order: it may be about a listener that this generation brings.
            generation = published(&mut changes) => {
                gateway.replace(parts.live.load(), generation);
            }
            Some(order) = orders.recv() => intakes.obey(order),
        }
    }
    while let Ok(order) = orders.try_recv() {
        intakes.obey(order);
    }
    intakes.close().await;
    connections.close();
    tokio::select! {
        () = connections.closed() => {}
        () = drained.reached(Stage::Ended) => {
            tracing::warn!(connections = connections.len(), "not done when the drain's time was over");
        }
    }
}

/// Resolves with another generation. Never, when nobody can publish any more.
async fn published(changes: &mut watch::Receiver<Generation>) -> Generation {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
    *changes.borrow_and_update()
}

/// Where a worker's connections come from.
struct Intakes {
    gateway: Gateway,
    gate: Arc<Gate>,
    connections: Rc<Connections>,
    counters: Rc<Counters>,
    exec: LocalExec,
    /// By listener: ends accepting on its sockets.
    stops: HashMap<ListenerId, watch::Sender<Option<Stop>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Intakes {
    fn obey(&mut self, order: Order) {
        self.tasks.retain(|task| !task.is_finished());
        match order {
            Order::Accept { id, from } => self.accept(id, from),
            Order::Stop { id, how } => {
                if how != Stop::HandOver {
                    self.connections.leave_listener(id);
                }
                if let Some(stop) = self.stops.remove(&id) {
                    stop.send_replace(Some(how));
                }
            }
        }
    }

    fn accept(&mut self, id: ListenerId, from: Source) {
        self.connections.join_listener(id);
        let listener = Rc::new(Listener {
            id,
            service: self.gateway.clone(),
            gate: Arc::clone(&self.gate),
            connections: Rc::clone(&self.connections),
            counters: Rc::clone(&self.counters),
            exec: self.exec.clone(),
            last: RefCell::default(),
        });
        let sockets = match from {
            Source::Sockets(sockets) => sockets,
            Source::Dealt(dealt) => {
                let taking = async move { listener::take_dealt(&listener, dealt).await };
                self.tasks.push(self.exec.spawn(taking));
                return;
            }
        };
        let stop = watch::Sender::new(None);
        for socket in sockets {
            let socket = match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::error!(%error, "a socket can't be listened on");
                    continue;
                }
            };
            let (listener, mut stopped) = (Rc::clone(&listener), stop.subscribe());
            self.tasks.push(self.exec.spawn(async move {
                let stopped = async {
                    let how = stopped.wait_for(Option::is_some).await;
                    how.ok().and_then(|how| *how).unwrap_or(Stop::Close)
                };
                listener::accept(&listener, socket, stopped).await;
            }));
        }
        self.stops.insert(id, stop);
    }

    /// Accepts no more, once the queues are taken.
    async fn close(mut self) {
        self.stops.clear();
        for task in self.tasks {
            task.await.ok();
        }
    }
}

/// The service of a worker: the exchange, and the limits of the generation it serves.
#[derive(Clone, Debug)]
struct Gateway {
    exchange: Rc<Exchange>,
    bounds: Rc<RefCell<HashMap<ListenerId, Rc<Bounds>>>>,
    outputs: Arc<Outputs>,
}

impl Gateway {
    fn new(live: Arc<Live>, generation: Generation, parts: &Parts, exec: &LocalExec) -> Self {
        let upstreams = Upstreams::new(&parts.fleet, &live.upstreams, &live.timeouts, exec);
        let series = Series::new(named(&live), None);
        let gateway = Self {
            bounds: Rc::new(RefCell::new(bounds_of(&live))),
            exchange: Rc::new(Exchange::new(
                Current {
                    live: Arc::clone(&live),
                    upstreams,
                    counters: Rc::default(),
                    copies: Arc::clone(&parts.copies),
                    series,
                    user: Rc::new(generation),
                },
                Arc::clone(&parts.tokens),
                Arc::clone(&parts.memory),
            )),
            outputs: Arc::clone(&parts.outputs),
        };
        gateway.log(&live);
        gateway
    }

    /// Whoever publishes a generation has opened its log.
    fn log(&self, live: &Live) {
        let book = self.exchange.book();
        if let Err(error) = book.log(live.access_log.as_ref(), &self.outputs) {
            tracing::error!(%error, "no access log");
        }
    }

    fn replace(&self, live: Arc<Live>, generation: Generation) {
        let before = self.exchange.current();
        let upstreams = before.upstreams.next(&live.upstreams, &live.timeouts);
        self.bounds.replace(bounds_of(&live));
        self.log(&live);
        let series = Series::new(named(&live), Some(&before.series));
        self.exchange.replace(Current {
            live,
            upstreams,
            counters: Rc::clone(&before.counters),
            copies: Arc::clone(&before.copies),
            series,
            user: Rc::new(generation),
        });
    }
}

/// What the routes of a generation are called in logs and metrics.
fn named(live: &Live) -> impl Iterator<Item = Named> {
    let one = |route: &Route| Named {
        rule: Arc::clone(&route.rule),
        rpc: match &route.target {
            Target::Rpc(plan) => Some(Rpc {
                name: plan.grpc_path.path().trim_start_matches('/').into(),
                kind: match plan.stream {
                    StreamKind::Unary => "unary",
                    StreamKind::Client => "client_stream",
                    StreamKind::Server => "server_stream",
                    StreamKind::Bidi => "bidi_stream",
                },
            }),
            _ => None,
        },
        upstream: route
            .upstream
            .and_then(|id| live.upstreams.get(id.0 as usize))
            .map(|upstream| Arc::clone(&upstream.name)),
    };
    std::iter::once(Named::nowhere()).chain(live.numbered().map(one))
}

impl Gateway {
    fn connection(&self, ends: Ends) -> exchange::Connection {
        let book = self.exchange.book();
        let account = book.open();
        if book.is_tracing() {
            let secure = ends.secure.as_ref();
            account.note_handshake(secure.and_then(|s| s.take_handshake()));
        }
        if let Some(secure) = &ends.secure
            && account.is_told()
        {
            account.note_session(secure.session());
        }
        exchange::Connection {
            peer: ends.peer,
            local: ends.local,
            tls: ends.secure.is_some(),
            certificate: ends.secure.and_then(|s| s.forwarded().cloned()),
            redirect: ends.redirect,
            openapi: ends.openapi,
            account,
        }
    }
}

/// Where a worker's numbers are.
struct Numbers {
    gateway: Gateway,
    connections: Rc<Connections>,
    counters: Rc<Counters>,
    exec: LocalExec,
}

impl Numbers {
    /// Answers until nobody asks any more.
    async fn answer(self, mut asking: Asking) {
        while let Some(tell) = asking.recv().await {
            // Who asked may have given up.
            tell.send(self.report()).ok();
        }
    }

    fn report(&self) -> WorkerReport {
        let current = self.gateway.exchange.current();
        let mut counts = self.counters.report();
        counts.extend(current.counters.report());
        counts.push(Count {
            name: "panics",
            about: "Tasks that panicked, which is a fault of transom.",
            label: ("", ""),
            value: self.exec.panics(),
        });
        WorkerReport {
            connections: self.connections.len() as u64,
            tasks: Handle::current().metrics().num_alive_tasks() as u64,
            active: current.series.active(),
            streams: {
                let under_way = self.gateway.exchange.book().under_way();
                under_way.saturating_sub(current.series.active())
            },
            sockets: current.counters.sockets.get() as u64,
            transcoded: transcoded(),
            calls: current.series.report_calls(),
            counts,
            routes: current.series.report(),
            upstreams: current.upstreams.report(),
            past: self.gateway.exchange.past(),
            mishaps: self.gateway.exchange.book().mishaps(),
        }
    }
}

fn bounds_of(live: &Live) -> HashMap<ListenerId, Rc<Bounds>> {
    let trusted_proxies: Rc<[_]> = live.trusted_proxies.clone().into();
    let of = |door: &Door| {
        let bounds = Bounds {
            limits: live.limits.clone(),
            timeouts: live.timeouts.clone(),
            door: door.clone(),
            trusted_proxies: Rc::clone(&trusted_proxies),
        };
        (door.id, Rc::new(bounds))
    };
    live.doors.iter().map(of).collect()
}

impl listener::Service for Gateway {
    type Body = Told;

    fn bounds(&self, listener: &ListenerId) -> Option<Rc<Bounds>> {
        self.bounds.borrow().get(listener).map(Rc::clone)
    }

    fn answer(
        &self,
        ends: Ends,
        request: Request<ClientBody>,
    ) -> impl Future<Output = Response<Told>> + 'static {
        exchange::exchange(Rc::clone(&self.exchange), self.connection(ends), request)
    }

    fn tunnel(&self, body: &mut Told) -> Option<listener::Tunnel> {
        body.take_tunnel()
    }

    fn refuse(&self, ends: Ends, head: &request::Parts, failure: &Failure) -> Response<Told> {
        exchange::refuse(&self.exchange, &self.connection(ends), head, failure)
    }
}
