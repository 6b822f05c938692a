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

/// Where in the set of endpoints a call has been.
pub(super) type Tried = RefCell<SmallVec<[usize; 4]>>;
