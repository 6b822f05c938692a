//! The cells of one method's calls, on one side of the gateway: as go-grpc-middleware counts them, so
//! that dashboards that know those names work.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use smallvec::SmallVec;

use crate::failure::GrpcCode;

use super::histogram::Histogram;
use super::series::Rpc;

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Ours, to services.
    Client,
    /// Those of clients that speak gRPC, gRPC-Web or Connect.
    Server,
}

/// What one worker knows of one method's calls.
#[derive(Debug, Default)]
pub struct CallCells {
    started: Cell<u64>,
    /// Messages to whoever answers the call, and from it.
    asked: Cell<u64>,
    answered: Cell<u64>,
    /// There are no more codes than gRPC has.
    times: RefCell<SmallVec<[(GrpcCode, Histogram); 1]>>,
}

impl CallCells {
    pub(super) fn start(&self) {
        add(&self.started, 1);
    }

    /// A call that ended so, with so many messages up and down.
    pub(super) fn end(&self, code: GrpcCode, time: Duration, (asked, answered): (u64, u64)) {
        add(&self.asked, asked);
        add(&self.answered, answered);
        let mut times = self.times.borrow_mut();
        match times.iter_mut().find(|(known, _)| *known == code) {
            Some((_, histogram)) => histogram.observe(time),
            None => {
                let mut histogram = Histogram::default();
                histogram.observe(time);
                times.push((code, histogram));
            }
        }
    }

    pub(super) fn report(&self, side: Side, rpc: &Rpc) -> Option<CallReport> {
        (self.started.get() > 0).then(|| CallReport {
            side,
            rpc: rpc.clone(),
            started: self.started.get(),
            asked: self.asked.get(),
            answered: self.answered.get(),
            times: self.times.borrow().to_vec(),
        })
    }
}

/// What one worker tells of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReport {
    pub side: Side,
    pub rpc: Rpc,
    pub started: u64,
    pub asked: u64,
    pub answered: u64,
    pub times: Vec<(GrpcCode, Histogram)>,
}

fn add(to: &Cell<u64>, more: u64) {
    to.set(to.get().saturating_add(more));
}

/// Both sides of a method.
#[derive(Debug, Default)]
pub struct Sides {
    pub(super) client: CallCells,
    pub(super) server: CallCells,
}
