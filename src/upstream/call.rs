//! What a call wants of its upstream, and what is counted of it.

use std::cell::RefCell;
use std::rc::Rc;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::config::model::{HedgeRule, RetryRule};
use crate::telemetry::Account;

/// What a call wants beside its answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// When a failure is worth another attempt. `None`: only what the upstream has not begun on.
    pub retry: Option<&'a RetryRule>,
    /// Sending it twice does no harm.
    pub idempotent: bool,
    /// When the answer must have begun, and for a unary call have ended: an endpoint that lets this
    /// pass has failed.
    pub until: Option<Instant>,
    /// The same for calls that belong together (`balance: hash`).
    pub hash: Option<u64>,
    /// Another upstream is asked when this one fails: an attempt is never worth all the time.
    pub elsewhere: bool,
    /// The answer is a stream: it may go on for as long as it likes.
    pub streams: bool,
    /// Where it is noted how the call goes.
    pub account: Option<&'a Rc<Account>>,
    /// When it is sent to another endpoint beside the one that hasn't answered yet; only if it is
    /// idempotent.
    pub hedge: Option<HedgeRule>,
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

/// Where in the set of endpoints a call has been.
pub(super) type Tried = RefCell<SmallVec<[usize; 4]>>;
