//! The composition root: starts the workers and the control thread, and stops them in order.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use crate::config::model::Config;
use crate::control::discovery::{self, NameServers};
use crate::control::health;
use crate::control::{load, memory};
use crate::copies::Copies;
use crate::drain::{Drain, Drained, Stage};
use crate::listener::{self, BindError, Gate, Inherited, Ports};
use crate::live::Live;
use crate::memory::{Memory, Source};
use crate::otlp;
use crate::snapshot::{Generation, Snapshot};
use crate::telemetry::{Outputs, Reports};
use crate::tokens::Tokens;
use crate::upstream::Fleet;
use crate::worker;

/// Starts the gateway in this process.
#[derive(Debug)]
pub struct App;

/// Why it doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("a thread can't be started: {0}")]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Traces(#[from] otlp::StartError),
    #[error("the access log can't be written: {0}")]
    Log(io::Error),
}

/// A running gateway. Dropping it stops it at once; [`Running::shutdown`] lets exchanges finish.
#[derive(Debug)]
pub struct Running {
    ports: Arc<Ports>,
    live: Arc<Snapshot<Live>>,
    gate: Arc<Gate>,
    drain: Drain,
    workers: Vec<thread::JoinHandle<()>>,
    control: Option<Control>,
    fleet: Arc<Fleet>,
    reports: Arc<Reports>,
    tokens: Arc<Tokens>,
    copies: Arc<Copies>,
    memory: Arc<Memory>,
    outputs: Arc<Outputs>,
}

impl App {
    /// Binds every listener of `config` and serves `live` on them.
    ///
    /// # Errors
    /// An address that can't be listened on, or no threads.
    pub fn start(config: &Config, live: Live) -> Result<Running, StartError> {
        let outputs = Arc::<Outputs>::default();
        if let Some(tracing) = &config.trace {
            outputs.export(otlp::start(tracing)?);
        }
        Self::start_with(config, live, &mut Inherited::default(), outputs)
    }

    /// The same, with sockets that somebody else has opened, in a process that may log already.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn start_with(
        config: &Config,
        live: Live,
        inherited: &mut Inherited,
        outputs: Arc<Outputs>,
    ) -> Result<Running, StartError> {
        if let Some(log) = &live.access_log {
            outputs.sink(&log.output).map_err(StartError::Log)?;
        }
        listener::raise_open_files();
        let count = config.workers.map_or_else(cores, NonZeroUsize::get);
        let (ports, posts) = Ports::new(count);
        let change = ports.prepare(&config.listeners, inherited)?;
        let memory = Arc::<Memory>::default();
        memory.budget().set_max(live.limits.held_bytes_max.bytes());
        let mut running = Running {
            ports: Arc::new(ports),
            live: Arc::new(Snapshot::new(Arc::new(live))),
            gate: Arc::new(Gate::guarding(Arc::clone(&memory))),
            drain: Drain::default(),
            workers: Vec::new(),
            control: Some(Control::start()?),
            fleet: Fleet::new(count),
            reports: Arc::default(),
            tokens: Arc::default(),
            copies: Arc::default(),
            memory,
            outputs,
        };
        if let Some(control) = running.control() {
            let (fleet, live) = (Arc::clone(&running.fleet), Arc::clone(&running.live));
            control.spawn(health::run(Arc::clone(&fleet), Arc::clone(&live)));
            control.spawn(load::run(Arc::clone(&fleet), Arc::clone(&live)));
            control.spawn(discovery::run(fleet, live, NameServers));
            let (memory, live) = (Arc::clone(&running.memory), Arc::clone(&running.live));
            control.spawn(memory::run(memory, live, Source::default()));
        }
        let mut reports = Reports::default();
        for (index, post) in posts.into_iter().enumerate() {
            running.workers.push(worker::spawn(worker::Parts {
                index,
                post,
                live: Arc::clone(&running.live),
                gate: Arc::clone(&running.gate),
                drained: running.drain.watch(),
                fleet: Arc::clone(&running.fleet),
                tokens: Arc::clone(&running.tokens),
                copies: Arc::clone(&running.copies),
                memory: Arc::clone(&running.memory),
                asking: reports.worker(),
                outputs: Arc::clone(&running.outputs),
            })?);
        }
        running.reports = Arc::new(reports);
        running.ports.carry_out(change)?;
        Ok(running)
    }
}

/// Cores that the process may use, a cgroup's quota included.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Running {
    /// What is listened on, with the ports that the kernel gave; at first in the order of the config.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = self.ports.addresses();
        all.into_iter().map(|(_, address)| address).collect()
    }

    /// The listeners, to be changed with the config.
    #[must_use]
    pub fn ports(&self) -> &Arc<Ports> {
        &self.ports
    }

    /// Serves `live` from now on. Requests under way keep the generation they began with.
    pub fn publish(&self, live: Live) -> Generation {
        self.fleet.retain(&live.upstreams);
        self.live.publish(Arc::new(live))
    }

    /// The published generation, for those who watch or replace it.
    #[must_use]
    pub fn live(&self) -> &Arc<Snapshot<Live>> {
        &self.live
    }

    /// Asks the workers for their numbers.
    #[must_use]
    pub fn reports(&self) -> &Arc<Reports> {
        &self.reports
    }

    /// Where logs go.
    #[must_use]
    pub fn outputs(&self) -> &Arc<Outputs> {
        &self.outputs
    }

    /// Tells of a drain.
    #[must_use]
    pub fn drained(&self) -> Drained {
        self.drain.watch()
    }

    /// What the workers know of the upstreams together.
    #[must_use]
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// How short of memory the process is.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Good answers, for when their upstreams are down.
    #[must_use]
    pub fn copies(&self) -> &Arc<Copies> {
        &self.copies
    }

    /// What listeners answer to ACME authorities before anything else.
    #[must_use]
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Open client connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.gate.open()
    }

    /// The control thread's runtime: for reading sources, watching, and whatever else must never be
    /// in a request's way.
    #[must_use]
    pub fn control(&self) -> Option<&tokio::runtime::Handle> {
        self.control.as_ref().map(|c| &c.handle)
    }

    /// Tells whoever sends clients here that they should go elsewhere, and serves on for as long as
    /// `timeouts.drain_delay`, while they learn of it. Dropping it shortens that.
    pub async fn leave(&self) {
        self.drain.advance(Stage::Leaving);
        tokio::time::sleep(self.live.load().timeouts.drain_delay).await;
    }

    /// Stops accepting, lets exchanges finish for as long as `timeouts.drain`, and ends the threads.
    /// Dropping it stops at once.
    pub async fn shutdown(mut self) {
        self.ports.close_all();
        self.drain.advance(Stage::Draining);
        let (done, finished) = oneshot::channel();
        let workers = std::mem::take(&mut self.workers);
        let joiner = thread::Builder::new()
            .name("joiner".to_owned())
            .spawn(move || {
                for worker in workers {
                    worker.join().ok();
                }
                done.send(()).ok();
            });
        if joiner.is_err() {
            return;
        }
        let mut finished = std::pin::pin!(finished);
        let limit = tokio::time::sleep(self.live.load().timeouts.drain);
        tokio::select! {
            _ = &mut finished => {}
            () = limit => {
                self.drain.advance(Stage::Ended);
                finished.await.ok();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ports.close_all();
        self.drain.advance(Stage::Ended);
        for worker in self.workers.drain(..) {
            worker.join().ok();
        }
        self.outputs.finish();
    }
}

/// The control thread: one runtime for everything that is not a request.
#[derive(Debug)]
struct Control {
    handle: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    stopped.await.ok();
                });
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
