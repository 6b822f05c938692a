//! What workers tell when they are asked, and who asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::snapshot::Generation;

use super::calls::CallReport;
use super::histogram::Histogram;
use super::mishaps::Mishap;
use super::series::Label;

/// A worker that is busy for longer is reported as it was the last time.
const PATIENCE: Duration = Duration::from_millis(500);

/// One worker's numbers.
#[derive(Clone, Debug, Default)]
pub struct WorkerReport {
    /// Open client connections.
    pub connections: u64,
    /// Tasks that are alive.
    pub tasks: u64,
    /// Requests whose replies have not begun.
    pub active: u64,
    pub counts: Vec<Count>,
    /// Exchanges whose replies have begun and go on.
    pub streams: u64,
    /// Open WebSockets, those of proxied sites apart.
    pub sockets: u64,
    /// Nanoseconds spent on JSON, of requests and of replies.
    pub transcoded: [u64; 2],
    pub routes: Vec<RouteReport>,
    pub calls: Vec<CallReport>,
    pub upstreams: Vec<UpstreamReport>,
    /// Old generations, and how many requests and streams go on with each.
    pub past: Vec<(Generation, u64)>,
    /// The last exchanges that failed.
    pub mishaps: Vec<Mishap>,
}

/// A counter of the process, `transom_<name>_total`, by the value of one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub name: &'static str,
    pub about: &'static str,
    /// Name and value; the name is empty when there is none.
    pub label: (&'static str, &'static str),
    pub value: u64,
}

/// What one worker knows of one route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReport {
    pub label: Label,
    /// By status.
    pub times: Vec<(u16, Histogram)>,
    /// Bytes of bodies.
    pub received: u64,
    pub sent: u64,
    /// Of the client, the gateway, the upstream.
    pub faults: [u64; 3],
}

/// What one worker knows of one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamReport {
    pub name: String,
    /// Open connections to its instances.
    pub connections: u64,
    pub in_flight: u64,
    pub counted: Counted,
}

/// What has been counted of one upstream's calls, by one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls, each once however often it was sent.
    pub calls: u64,
    /// Further attempts at calls that had failed.
    pub retries: u64,
    /// Failed calls that another attempt might have saved, had there been budget for it.
    pub over_budget: u64,
    /// Sent again since the upstream had not begun on them.
    pub resent: u64,
    /// Refused because there were too many.
    pub refused: u64,
    /// Endpoints left out for what became of their calls.
    pub ejections: u64,
    /// Connections opened, and attempts that failed.
    pub connected: u64,
    pub not_connected: u64,
    /// Connections that were replaced for their age, and closed since they had no calls.
    pub aged: u64,
    pub idled: u64,
    /// Connections given up since calls waited in vain and nothing came.
    pub silent: u64,
    /// Calls for which one more connection was wanted, and there were `connections.max`.
    pub at_connections_max: u64,
    /// Calls that found as many waiting for a connection as may.
    pub at_waiting_max: u64,
    /// Sendings beside one that was slow.
    pub hedges: u64,
    /// Those of them that answered first.
    pub hedges_won: u64,
}

/// How a worker is asked.
pub type Asking = mpsc::Receiver<oneshot::Sender<WorkerReport>>;

/// Asks all workers.
#[derive(Debug, Default)]
pub struct Reports(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    asks: mpsc::Sender<oneshot::Sender<WorkerReport>>,
    last: Mutex<WorkerReport>,
}

impl Reports {
    /// One more worker, which is given what is returned.
    pub fn worker(&mut self) -> Asking {
        let (asks, asked) = mpsc::channel(4);
        self.0.push(Worker {
            asks,
            last: Mutex::default(),
        });
        asked
    }

    /// The numbers of each worker; of one that doesn't answer in time, those of the last time.
    pub async fn collect(&self) -> Vec<WorkerReport> {
        futures_util::future::join_all(self.0.iter().map(Worker::ask)).await
    }
}

impl Worker {
    async fn ask(&self) -> WorkerReport {
        let (tell, told) = oneshot::channel();
        let asked = self.asks.try_send(tell).is_ok();
        let report = match asked {
            true => tokio::time::timeout(PATIENCE, told)
                .await
                .ok()
                .and_then(Result::ok),
            false => None,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = report {
            *last = report;
        }
        last.clone()
    }
}
