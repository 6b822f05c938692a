//! What a config says of the services behind: where they are, which instance a call goes to, and what
//! they are spared.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::health::Health;
use super::model::{Endpoint, Place};
use crate::failure::GrpcCode;
use crate::limits;
use crate::tls;

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: Arc<str>,
    pub endpoints: Vec<Endpoint>,
    pub protocol: UpstreamProtocol,
    pub rules: UpstreamRules,
    pub tls: Option<UpstreamTls>,
    /// What is made of `tls` when its files have been read; until then there is nothing.
    pub outgoing: Option<Arc<tls::Outgoing>>,
    /// Who is asked for names; the system's own when there is none.
    pub name_servers: Arc<[SocketAddr]>,
    /// Where Kubernetes services are looked for.
    pub cluster: Arc<Cluster>,
    pub place: Place,
    /// Of each endpoint.
    pub endpoint_places: Vec<Place>,
}

impl Upstream {
    /// One with what is usual for all but these.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, endpoints: Vec<Endpoint>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            protocol: UpstreamProtocol::Http2,
            rules: UpstreamRules::default(),
            tls: None,
            outgoing: None,
            name_servers: Arc::new([]),
            cluster: Arc::default(),
            place: "".into(),
            endpoint_places: Vec::new(),
        }
    }
}

/// A Kubernetes API server. Without `server` it is that of the cluster that this process is in, and what
/// isn't named comes from the pod's service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// `https://10.0.0.1:6443`
    pub server: Option<Box<str>>,
    /// A file with a bearer token.
    pub token: Option<PathBuf>,
    /// A PEM file with the authorities of the server.
    pub ca: Option<PathBuf>,
    /// Of services that name none.
    pub namespace: Option<Box<str>>,
}

/// TLS to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Certificates of the authorities that are believed; the system's otherwise.
    pub authorities: Option<(PathBuf, Place)>,
    /// Our certificate and its key.
    pub own: Option<OwnCertificate>,
    /// In place of the endpoints' own names.
    pub server_name: Option<Box<str>>,
    pub place: Place,
}

/// What we show to an upstream that asks who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub cert: PathBuf,
    pub cert_place: Place,
    pub key: PathBuf,
    pub key_place: Place,
}

impl UpstreamTls {
    /// Every file that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let authorities = self.authorities.iter().map(|(file, _)| file);
        let own = self.own.iter().flat_map(|own| [&own.cert, &own.key]);
        authorities.chain(own)
    }
}

/// How calls are spread over an upstream's instances, and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRules {
    pub balance: Balance,
    /// How long an instance that is new takes to come to its full share.
    pub slow_start: Duration,
    pub load: Load,
    /// `None`: nobody is left out for what becomes of calls.
    pub ejection: Option<Ejection>,
    /// `None`: nobody is asked.
    pub health: Option<Health>,
    pub retry_budget: RetryBudget,
    pub connections: Connections,
}

/// The connections of one worker to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// When one is replaced, give or take a tenth; `None`: never.
    pub age_max: Option<Duration>,
    /// Without requests.
    pub idle_max: Duration,
    /// `None`: as many as the protocol usually needs.
    pub count_max: Option<usize>,
    /// Calls at once on one of HTTP/2, when the instance allows more.
    pub streams_max: usize,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// gRPC over HTTP/2 without TLS; the default. Also plain HTTP/2 for proxied routes.
    Http2,
    /// HTTP/1.1, for proxied routes alone.
    Http1,
}

/// Which instance a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// The best of a few taken at random, by latency and calls under way.
    #[default]
    Best,
    RoundRobin,
    /// The same one for the same [`HashOn`], as far as instances stay.
    Hash,
}

/// What requests that belong together have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    Header(HeaderName),
    Cookie(Box<str>),
    /// A variable of the route's path.
    Variable(Box<str>),
}

/// What an upstream is given at once, by the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls under way. A stream counts until its answer begins.
    pub in_flight_max: usize,
    /// Calls that wait for one of those places.
    pub queue_max: usize,
    /// How long one waits.
    pub queue_wait: Duration,
    /// Fewer calls than `in_flight_max`, as its answers grow slower.
    pub adaptive: Option<Adaptive>,
}

/// How an upstream's limit follows from how it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// Calls that are always let through.
    pub in_flight_min: usize,
    /// How much longer answers may take than when nothing waits.
    pub slack_percent: u32,
    /// How often it is measured what they take then.
    pub probe: Duration,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            in_flight_min: 8,
            slack_percent: 50,
            probe: Duration::from_secs(60),
        }
    }
}

/// When an instance is left out for what becomes of its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures one after the other.
    pub consecutive_failures: u32,
    /// The share of failures among the calls of a window, when there are `calls_min` of them.
    pub failure_percent: u8,
    pub calls_min: u32,
    pub window: Duration,
    /// How long it is left out the first time; doubled each time, up to the maximum.
    pub time: Duration,
    pub time_max: Duration,
    /// The share of instances that may be left out; one always may, the last one never.
    pub percent_max: u8,
}

/// Retries as a share of requests, and how many are always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    pub percent: u32,
    pub per_second_min: u32,
}

/// When a call that failed is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// Sendings of one call, with the first. What never reached the service is sent again besides.
    pub attempts: NonZeroU32,
    /// How long one sending may take, when there is another to come.
    pub per_try: Option<Duration>,
    /// Codes that are worth another attempt.
    pub codes: Vec<GrpcCode>,
    /// Whether the route's calls may be sent twice; `None` goes by HTTP method and descriptor.
    pub idempotent: Option<bool>,
}

/// When a call goes to another instance beside the one that hasn't answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeRule {
    /// How long an instance has before the next one gets the call as well.
    pub after: Duration,
    /// Sendings of one call, with the first.
    pub attempts: NonZeroU32,
}

impl Default for UpstreamRules {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            slow_start: Duration::from_secs(10),
            load: Load::default(),
            ejection: Some(Ejection::default()),
            health: None,
            retry_budget: RetryBudget::default(),
            connections: Connections::default(),
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            age_max: Some(limits::UPSTREAM_AGE_MAX),
            idle_max: limits::UPSTREAM_IDLE,
            count_max: None,
            streams_max: limits::UPSTREAM_STREAMS_MAX,
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            in_flight_max: 1024,
            queue_max: 1024,
            queue_wait: Duration::from_secs(1),
            adaptive: None,
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            calls_min: 10,
            window: Duration::from_secs(10),
            time: Duration::from_secs(10),
            time_max: Duration::from_secs(5 * 60),
            percent_max: 50,
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second_min: 3,
        }
    }
}

impl Default for RetryRule {
    fn default() -> Self {
        Self {
            attempts: NonZeroU32::MIN.saturating_add(1),
            per_try: None,
            // A server that stops gives CANCELLED to calls that came too late for it. Nobody else can
            // have cancelled one that is still waited for.
            codes: vec![GrpcCode::Unavailable, GrpcCode::Cancelled],
            idempotent: None,
        }
    }
}
