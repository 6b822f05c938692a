//! Upstream connections of one worker: pooled, reused, opened before the peer's stream limit.

mod answer;
mod body;
mod connection;

pub use answer::AnswerBody;
pub use body::UpstreamBody;

use std::rc::Rc;
use std::sync::Arc;

use crate::config::model::{Upstream, UpstreamId};
use crate::failure::{Failure, GrpcCode};
use crate::limits::{Limits, Timeouts};

/// The pools of one worker. Not `Send`: each worker has its own.
#[derive(Debug)]
pub struct Upstreams {
    specs: Arc<[Upstream]>,
}

impl Upstreams {
    #[must_use]
    pub fn new(specs: Arc<[Upstream]>, _limits: &Limits, _timeouts: &Timeouts) -> Rc<Self> {
        Rc::new(Self { specs })
    }

    /// Sends one request and waits for the head of the answer. The request's URI has path and query
    /// alone; scheme and authority are filled in. Dropping the future, or the answer's body before its
    /// end, resets the stream (`CANCEL`).
    ///
    /// # Errors
    /// No endpoint can be reached, or the connection fails before the head is there.
    pub async fn call(
        self: &Rc<Self>,
        upstream: UpstreamId,
        request: http::Request<UpstreamBody>,
    ) -> Result<http::Response<AnswerBody>, Failure> {
        let _ = (upstream, request, &self.specs);
        Err(Failure::upstream(GrpcCode::Unavailable, "stub"))
    }
}
