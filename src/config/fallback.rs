//! What stands in for an upstream that can't answer.

use std::sync::Arc;
use std::time::Duration;

use super::model::{Respond, UpstreamId};

/// In this order: another upstream, what it said last, the same reply each time. At least one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallback {
    /// Asked in its place.
    pub upstream: Option<UpstreamId>,
    /// How old a copy of a good answer to GET may be.
    pub stale: Option<Duration>,
    pub respond: Option<Arc<Respond>>,
}
