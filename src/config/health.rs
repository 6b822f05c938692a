//! What a config says of asking instances how they are.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;

/// How an upstream's instances are asked, and what their answers lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub ask: HealthQuestion,
    /// Between two questions to one instance.
    pub interval: Duration,
    /// For connecting and for each answer.
    pub timeout: Duration,
    /// Good answers in a row until one that was left out is in again.
    pub healthy_after: NonZeroU32,
    /// Bad ones in a row until it is left out.
    pub unhealthy_after: NonZeroU32,
    /// With a smaller share of healthy instances, health is not heeded; zero always heeds it.
    pub panic_percent: u8,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthQuestion {
    /// `grpc.health.v1`.
    Grpc {
        /// Empty is the server as a whole.
        service: Arc<str>,
        /// Be told of changes, where the server can do that.
        watch: bool,
    },
    /// A GET of this path.
    Http {
        path: PathAndQuery,
        /// `None`: any of 200 to 299.
        status: Option<StatusCode>,
    },
}

impl Default for Health {
    fn default() -> Self {
        Self {
            ask: HealthQuestion::Grpc {
                service: "".into(),
                watch: false,
            },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            healthy_after: NonZeroU32::MIN.saturating_add(1),
            unhealthy_after: NonZeroU32::MIN.saturating_add(2),
            panic_percent: 50,
        }
    }
}
