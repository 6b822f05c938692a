//! Upstream connections of one worker: pooled, reused, opened before the peer's stream limit.
//!
//! A request is sent again, elsewhere if there is an elsewhere, when the upstream has provably not
//! begun on it: it never left our queue, or the peer said so (REFUSED_STREAM, GOAWAY). What may have
//! been begun on is sent again only when that does no harm, and within a budget.

mod answer;
mod balance;
mod body;
mod breaker;
mod call;
mod connection;
mod copy;
mod endpoint;
mod fleet;
mod gradient;
mod hedge;
mod http1;
mod knock;
mod leash;
mod line;
mod outlier;
mod pick;
mod pool;
mod retry;
mod sending;
mod silence;
mod trial;
mod unreachable;

pub use answer::AnswerBody;
pub use body::{FrameSource, UpstreamBody};
pub use breaker::Adapted;
pub use call::How;
pub use fleet::{Checks, Fleet, Location, Member, Members, Shared, Sought};
pub use knock::knock;
pub use line::Socket;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};

use crate::config::model::{Upstream, UpstreamId};
use crate::failure::{Failure, GrpcCode};
use crate::limits::Timeouts;
use crate::rt::LocalExec;
use crate::telemetry::{Counted, UpstreamReport};

use pool::Pool;

/// The pools of one worker for one generation. Not `Send`: each worker has its own.
#[derive(Debug)]
pub struct Upstreams {
    /// [`UpstreamId`] indexes it.
    pools: Box<[Rc<Pool>]>,
    fleet: Arc<Fleet>,
    exec: LocalExec,
}

impl Upstreams {
    /// Pools without connections: those are opened by the first call.
    #[must_use]
    pub fn new(
        fleet: &Arc<Fleet>,
        specs: &[Upstream],
        timeouts: &Timeouts,
        exec: &LocalExec,
    ) -> Rc<Self> {
        Self::build(fleet, specs, timeouts, exec, &HashMap::new())
    }

    /// The pools of the next generation. An upstream that has not changed keeps its connections.
    #[must_use]
    pub fn next(&self, specs: &[Upstream], timeouts: &Timeouts) -> Rc<Self> {
        let kept = self.pools.iter().map(|p| (p.name(), p)).collect();
        Self::build(&self.fleet, specs, timeouts, &self.exec, &kept)
    }

    fn build(
        fleet: &Arc<Fleet>,
        specs: &[Upstream],
        timeouts: &Timeouts,
        exec: &LocalExec,
        kept: &HashMap<&str, &Rc<Pool>>,
    ) -> Rc<Self> {
        let pools = specs
            .iter()
            .map(|spec| {
                let shared = fleet.upstream(spec);
                match kept.get(&*spec.name) {
                    Some(pool) if pool.serves(&shared, timeouts) => Rc::clone(pool),
                    _ => Pool::new(&shared, fleet.workers(), timeouts, exec),
                }
            })
            .collect();
        Rc::new(Self {
            pools,
            fleet: Arc::clone(fleet),
            exec: exec.clone(),
        })
    }

    /// Sends one request and waits for the head of the answer. The request's URI has path and query
    /// alone; scheme and authority are filled in (a `host` header, when there is one, takes the place
    /// of the endpoint's name). Dropping the future, or the answer's body before its end, resets the
    /// stream (`CANCEL`).
    ///
    /// # Errors
    /// The upstream is full, no endpoint can be reached, or the connection fails before the head is
    /// there, and it may not or can't be tried again.
    pub async fn call(
        self: &Rc<Self>,
        upstream: impl Into<Option<UpstreamId>>,
        request: Request<UpstreamBody>,
        how: How<'_>,
    ) -> Result<Response<AnswerBody>, Failure> {
        let upstream = upstream.into();
        match upstream.and_then(|id| self.pools.get(id.0 as usize)) {
            // By reference, since a future keeps all that it is given beside what becomes of it.
            Some(pool) => pool.call(&mut Some(request), how).await,
            None => Err(Failure::gateway(
                GrpcCode::Internal,
                "the route has no upstream",
            )),
        }
    }

    /// What this worker knows of all of them.
    #[must_use]
    pub fn report(&self) -> Vec<UpstreamReport> {
        let report = |pool: &Rc<Pool>| UpstreamReport {
            name: pool.name().to_owned(),
            connections: pool.open() as u64,
            in_flight: pool.in_flight() as u64,
            counted: pool.counted(),
        };
        self.pools.iter().map(report).collect()
    }

    /// What this worker has counted about `upstream`.
    #[must_use]
    pub fn counted(&self, upstream: UpstreamId) -> Counted {
        let pool = self.pools.get(upstream.0 as usize);
        pool.map_or_else(Counted::default, |p| p.counted())
    }

    /// Requests under way to `upstream`, from this worker.
    #[must_use]
    pub fn in_flight(&self, upstream: UpstreamId) -> usize {
        self.pools
            .get(upstream.0 as usize)
            .map_or(0, |p| p.in_flight())
    }
}
