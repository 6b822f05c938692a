//! What is kept of a request whose spans are exported, and how that leaves the worker.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::failure::{Blame, GrpcCode};
use crate::limits::TRACE_TRIES_MAX;
use crate::telemetry::Speech;

use super::forms::{Forms, TRACESTATE};

/// The TLS handshake of a connection, told with the first request on it.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    pub begun: Instant,
    pub took: Duration,
    /// `1.3`
    pub version: &'static str,
}

/// The same, by the clock of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shaken {
    pub span: [u8; 8],
    /// How long before the request it began.
    pub before: Duration,
    pub took: Duration,
    pub version: &'static str,
}

/// Which of the tries of a request: those of hedged calls go on beside each other.
///
/// The default is one without a span: of a request that isn't traced, or past [`TRACE_TRIES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt(u8);

/// Where a try goes.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    pub upstream: &'a Arc<str>,
    pub endpoint: &'a Rc<str>,
}

/// One try of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    pub span: [u8; 8],
    pub upstream: Arc<str>,
    pub endpoint: Box<str>,
    /// Where it is sent, without its query; empty for calls of methods.
    pub url: String,
    /// After the request.
    pub begun: Duration,
    pub ended: Option<Duration>,
    pub status: Option<u16>,
    pub code: Option<GrpcCode>,
    pub error: Option<String>,
}

const _: () = assert!(TRACE_TRIES_MAX < u8::MAX as usize);

/// A request that is traced, while it is under way.
#[derive(Debug)]
pub(in crate::telemetry) struct Traced {
    pub id: [u8; 16],
    pub span: [u8; 8],
    /// Zeros where the trace begins here.
    pub parent: [u8; 8],
    pub state: Option<HeaderValue>,
    pub forms: Forms,
    pub handshake: Option<Handshake>,
    pub tls: bool,
    pub random: fastrand::Rng,
    pub tries: Vec<Try>,
}

impl Traced {
    /// A try begins.
    pub(in crate::telemetry) fn begin_try(&mut self, goal: Goal<'_>, now: Duration) -> Attempt {
        let place = u8::try_from(self.tries.len() + 1);
        let Some(place) = place.ok().filter(|p| usize::from(*p) <= TRACE_TRIES_MAX) else {
            return Attempt::default();
        };
        self.tries.push(Try {
            span: self.random.u64(1..).to_be_bytes(),
            upstream: Arc::clone(goal.upstream),
            endpoint: (&**goal.endpoint).into(),
            url: String::new(),
            begun: now,
            ended: None,
            status: None,
            code: None,
            error: None,
        });
        Attempt(place)
    }

    fn at(attempt: Attempt) -> Option<usize> {
        usize::from(attempt.0).checked_sub(1)
    }

    /// Tells the service of the try that reaches it, or of the request where that has no span.
    pub(in crate::telemetry) fn put(&self, attempt: Attempt, headers: &mut HeaderMap) {
        let one = Self::at(attempt).and_then(|at| self.tries.get(at));
        let span = one.map_or(self.span, |t| t.span);
        self.forms.put(headers, self.id, span, true);
        if self.state.is_none() {
            // It speaks of another trace.
            headers.remove(TRACESTATE);
        }
    }

    /// The try, unless it is over.
    pub(in crate::telemetry) fn open_try(&mut self, attempt: Attempt) -> Option<&mut Try> {
        let one = self.tries.get_mut(Self::at(attempt)?);
        one.filter(|t| t.ended.is_none())
    }

    pub(in crate::telemetry) fn shaken(&mut self, begun: Instant) -> Option<Shaken> {
        let handshake = self.handshake?;
        Some(Shaken {
            span: self.random.u64(1..).to_be_bytes(),
            before: begun.saturating_duration_since(handshake.begun),
            took: handshake.took,
            version: handshake.version,
        })
    }
}

/// A request that is over, with all that its spans tell.
#[derive(Clone, Debug)]
pub struct Trail {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// Zeros where the trace begins here.
    pub parent: [u8; 8],
    pub state: Option<HeaderValue>,
    pub begun: SystemTime,
    pub total: Duration,
    /// As it is shown; empty where no route was found.
    pub rule: Arc<str>,
    pub rpc: Option<Arc<str>>,
    pub upstream: Option<Arc<str>>,
    pub speech: Speech,
    pub tls: bool,
    pub version: &'static str,
    pub client: Option<(IpAddr, u16)>,
    pub method: String,
    pub path: String,
    pub host: String,
    pub user_agent: String,
    pub request_id: String,
    pub status: u16,
    pub code: Option<GrpcCode>,
    pub blame: Option<Blame>,
    pub error: Option<String>,
    pub received: u64,
    pub sent: u64,
    pub tries: Vec<Try>,
    pub handshake: Option<Shaken>,
}

impl Trail {
    /// How many spans it makes.
    #[must_use]
    pub fn spans(&self) -> u64 {
        1 + self.tries.len() as u64 + u64::from(self.handshake.is_some())
    }
}
