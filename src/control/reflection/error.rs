//! Why an upstream's descriptors can't be had.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Instance;
use super::session::Question;
use crate::config::model::Upstream;

/// A failed fetch, with the upstream and the endpoint that it failed at.
#[derive(Debug, thiserror::Error)]
pub struct ReflectionError {
    pub upstream: Arc<str>,
    /// `host:port`, or the path of a socket.
    pub endpoint: Option<String>,
    pub problem: ReflectionProblem,
}

impl ReflectionError {
    pub(super) fn new(
        upstream: &Upstream,
        endpoint: Option<&Instance>,
        problem: ReflectionProblem,
    ) -> Self {
        Self {
            upstream: Arc::clone(&upstream.name),
            endpoint: endpoint.map(Instance::to_string),
            problem,
        }
    }
}

impl fmt::Display for ReflectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "can't get the descriptors of upstream \"{}\"",
            self.upstream
        )?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, " from {endpoint}")?;
        }
        write!(f, " by reflection: {}", self.problem)
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ReflectionProblem {
    #[error("it has no endpoints")]
    NoEndpoints,
    #[error("the connection failed: {0}")]
    Connect(String),
    #[error(
        "it serves neither grpc.reflection.v1 nor v1alpha; switch reflection on there, or give the descriptors in a config file: `descriptors: [{{ protos: proto/ }}]`, or `[{{ file: games.binpb }}]` as `buf build -o` writes it"
    )]
    Unsupported,
    #[error("no answer to {asked} in {limit:?}")]
    NoAnswer { asked: Question, limit: Duration },
    #[error("not done after {limit:?}")]
    OutOfTime { limit: Duration },
    #[error("the call failed at {asked}: {code:?}: {message}")]
    Failed {
        asked: Question,
        code: tonic::Code,
        message: String,
    },
    #[error("it ended the stream instead of answering {asked}")]
    Ended { asked: Question },
    #[error("it answered {asked} with something else")]
    WrongAnswer { asked: Question },
    #[error("its answer to {asked} doesn't hold what was asked for")]
    WrongFile { asked: Question },
    #[error("its answer to {asked} holds a file that is no file descriptor: {reason}")]
    Garbage { asked: Question, reason: String },
    #[error("it sends two different files named {file:?}")]
    TwoFiles { file: String },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("it lists no services of its own")]
    NoServices,
    #[error("it describes none of the {services} services that it lists")]
    NothingDescribed { services: usize },
}

impl ReflectionProblem {
    /// Whether another endpoint of the same upstream may do better.
    pub(super) fn is_of_the_endpoint(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NoAnswer { .. } | Self::Ended { .. } => true,
            Self::Failed { code, .. } => *code == tonic::Code::Unavailable,
            _ => false,
        }
    }
}
