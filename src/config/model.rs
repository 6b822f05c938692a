//! What a config file means, defaults filled in. Building it is the only way to have one checked.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::codec::JsonOptions;
use crate::limits::{ByteLimit, Limits, Timeouts};
use crate::route::{HostPattern, PathMatch};
use crate::schema::HttpRule;

pub use super::acme::Acme;
pub use super::admin::AdminToken;
pub use super::cors::Cors;
pub use super::endpoint::{Endpoint, Service, ServicePort};
pub use super::fallback::Fallback;
pub use super::health::{Health, HealthQuestion};
pub use super::listeners::{
    Accept, Certificate, ClientCertificates, Listener, ListenerId, Tls, ToHttps, UnknownName,
};
pub use super::log::{AccessLog, Log, LogFormat, LogLevel, LogOutput, Share};
pub use super::site::{Compression, Effort, Files, HeaderRules, Redirect, Respond};
pub use super::trace::{OtlpProtocol, Propagator, Sampler, Tracing};
pub use super::upstreams::{
    Adaptive, Balance, Cluster, Connections, Ejection, HashOn, HedgeRule, Load, OwnCertificate,
    RetryBudget, RetryRule, Upstream, UpstreamProtocol, UpstreamRules, UpstreamTls,
};
pub use crate::transcode::reply_status::Statuses;
pub use crate::transcode::{Compat, ErrorFormat, Forms, UnknownQuery};

/// `transom.yaml:31:5`
pub type Place = Arc<str>;

/// A whole, checked config.
#[derive(Clone, Debug)]
pub struct Config {
    pub listeners: Vec<Listener>,
    /// Ordered by name.
    pub acme: Vec<Acme>,
    pub descriptors: Vec<DescriptorSource>,
    /// Ordered by name; [`UpstreamId`] indexes it.
    pub upstreams: Vec<Upstream>,
    pub routes: Vec<Route>,
    /// For requests that no route takes.
    pub defaults: Arc<Policy>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// For operators.
    pub admin: Option<SocketAddr>,
    /// What they have to show there, where that is wanted.
    pub admin_token: Option<AdminToken>,
    /// For the kubelet and Prometheus.
    pub probes: Option<SocketAddr>,
    pub reload: Reload,
    pub log: Log,
    /// Where traces go, if anywhere: what the environment says of it included.
    pub trace: Option<Tracing>,
    /// Worker threads; `None` is one for each core that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// Peers whose `X-Forwarded-*` and `Forwarded` headers are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether clients may ask the gateway for descriptors.
    pub server_reflection: bool,
    /// Somebody reads what descriptors say for people: a listener with `openapi`, or a command.
    pub documented: bool,
}

/// When config and descriptors are read again while requests are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When files change.
    pub watch: bool,
    /// How often they are looked at without being told.
    pub poll: Duration,
    /// How often reflection is asked again; zero is never.
    pub reflection: Duration,
    pub breaking: Breaking,
    /// A folder for what reflection told last, for starts with an upstream that is down.
    pub keep: Option<PathBuf>,
}

/// What becomes of a change that breaks callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaking {
    Warn,
    Apply,
    Refuse,
}

impl Default for Reload {
    fn default() -> Self {
        Self {
            watch: true,
            poll: Duration::from_secs(10),
            reflection: Duration::from_secs(30),
            breaking: Breaking::Warn,
            keep: None,
        }
    }
}

/// Index into [`Config::upstreams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u32);

/// Where descriptors come from; all are merged into one schema.
#[derive(Clone, Debug)]
pub enum DescriptorSource {
    /// A folder of `.proto` sources.
    Protos { folder: PathBuf, place: Place },
    /// A `FileDescriptorSet`.
    File { file: PathBuf, place: Place },
    /// Ask this upstream's server reflection.
    Reflection { upstream: UpstreamId, place: Place },
    /// A `google.api.Service` YAML: its `http.rules` replace annotations by selector.
    Rules { file: PathBuf, place: Place },
}

#[derive(Clone, Debug)]
pub struct Route {
    pub matcher: Matcher,
    pub destination: Destination,
    /// What stands in for the upstream.
    pub fallback: Option<Arc<Fallback>>,
    /// What a proxied request's path has in place of the matcher's own.
    pub rewrite: Option<Arc<str>>,
    /// Empty is any host.
    pub hosts: Vec<HostPattern>,
    pub policy: Arc<Policy>,
    pub place: Place,
}

/// Where a route's requests go.
#[derive(Clone, Debug)]
pub enum Destination {
    Upstream(UpstreamId),
    /// Only of a [`Matcher::Path`], as are all that follow.
    Files(Arc<Files>),
    Redirect(Arc<Redirect>),
    Respond(Arc<Respond>),
}

impl Route {
    /// The upstream, if that is where it goes.
    #[must_use]
    pub fn upstream(&self) -> Option<UpstreamId> {
        match self.destination {
            Destination::Upstream(id) => Some(id),
            Destination::Files(_) | Destination::Redirect(_) | Destination::Respond(_) => None,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Matcher {
    /// Every `google.api.http` annotation of the services whose full name matches one of the globs
    /// (`gamehub.v1.*`).
    Services {
        globs: Vec<Glob>,
        /// Methods of theirs that are left out.
        excluded: Vec<Excluded>,
    },
    /// An HTTP rule for one method.
    Rpc {
        rule: HttpRule,
        /// `gamehub.v1.Moderation`
        service: Box<str>,
        method: Box<str>,
        /// Takes the place of an annotation of the same shape.
        overrides: bool,
        /// Of the rule and of each additional binding, for errors.
        places: Vec<RulePlaces>,
        /// The template of the replies' `Location`, and its place.
        location: Option<(Box<str>, Place)>,
        /// Of the method's name.
        rpc_place: Place,
    },
    /// Every method of a path, or of all paths under it.
    Path(PathMatch),
}

/// One rule of a `google.api.Service` YAML.
#[derive(Clone, Debug)]
pub struct SelectorRule {
    /// The method, `gamehub.v1.Catalogue.GetGame`.
    pub selector: Box<str>,
    pub rule: HttpRule,
    /// Of the rule and of each additional binding, in their file.
    pub places: Vec<RulePlaces>,
    /// Of the selector.
    pub place: Place,
}

/// Where the parts of an HTTP rule stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlaces {
    pub template: Place,
    pub body: Option<Place>,
    pub response_body: Option<Place>,
}

/// A method that a `services` route leaves out.
#[derive(Clone, Debug)]
pub struct Excluded {
    /// `gamehub.v1.Moderation`
    pub service: Box<str>,
    pub method: Box<str>,
    pub place: Place,
}

/// A service glob and where it stands.
#[derive(Clone, Debug)]
pub struct Glob {
    pub pattern: Box<str>,
    pub place: Place,
}

/// What a route does beside matching; `defaults` merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub timeout: Duration,
    pub stream_idle: Duration,
    pub stream_max: Option<Duration>,
    /// `None`: only what never reached the service is sent again.
    pub retry: Option<Arc<RetryRule>>,
    /// `None`: a call is at one instance at a time.
    pub hedge: Option<HedgeRule>,
    /// What keeps requests at one instance, where the upstream balances by it. `None`: the client's address.
    pub hash_on: Option<HashOn>,
    pub sse: Sse,
    pub json: JsonOptions,
    pub unknown_query: UnknownQuery,
    /// Parameters to skip even when unknown ones are refused.
    pub ignored_query_parameters: Vec<Box<str>>,
    /// A PATCH without a field mask gets that of its body's fields.
    pub fill_update_mask: bool,
    /// A request may choose the fields of its reply (`$fields`).
    pub partial_responses: bool,
    /// `POST /pkg.Service/Method` with JSON is REST, for every method of the route's services.
    pub auto: bool,
    pub errors: ErrorFormat,
    /// Hide DebugInfo and the messages of INTERNAL and UNKNOWN from clients.
    pub hide_internal: bool,
    /// Body bytes of one request (unary), or of one message (streams).
    pub body_bytes_max: ByteLimit,
    pub reply_bytes_max: ByteLimit,
    pub to_metadata: Vec<HeaderPattern>,
    pub rpc_metadata: RpcMetadata,
    pub to_response: Vec<HeaderPattern>,
    /// In place of the usual HTTP statuses.
    pub statuses: Statuses,
    pub compat: Compat,
    pub forms: Forms,
    /// POST may stand for the method that `X-HTTP-Method-Override` names.
    pub method_override: bool,
    /// `None`: pages of other origins read nothing.
    pub cors: Option<Arc<Cors>>,
    /// `None`: nothing is done to them.
    pub request_headers: Option<Arc<HeaderRules>>,
    pub response_headers: Option<Arc<HeaderRules>>,
    /// `None`: replies are sent as they are.
    pub compression: Option<Compression>,
}

/// Which metadata of clients that speak gRPC, gRPC-Web or Connect crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcMetadata {
    /// All but what is the transport's, a browser's or a proxy's own.
    All,
    /// As for REST: what `to_metadata` lists.
    Listed,
}

/// Server-sent events.
#[derive(Clone, Debug, PartialEq)]
pub struct Sse {
    /// A comment is sent after such a silence; zero is never.
    pub heartbeat: Duration,
    /// How long a client is told to wait before it connects again.
    pub retry: Option<Duration>,
}

impl Default for Sse {
    fn default() -> Self {
        Self {
            heartbeat: crate::limits::SSE_HEARTBEAT,
            retry: None,
        }
    }
}

/// A header name, or a prefix of names (`x-app-*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPattern {
    Name(HeaderName),
    Prefix(Box<str>),
}

impl HeaderPattern {
    #[must_use]
    pub fn matches(&self, name: &HeaderName) -> bool {
        match self {
            Self::Name(n) => n == name,
            Self::Prefix(p) => name.as_str().starts_with(&**p),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            timeout: crate::limits::CALL_TIMEOUT,
            stream_idle: crate::limits::STREAM_IDLE,
            stream_max: None,
            retry: Some(Arc::default()),
            hedge: None,
            hash_on: None,
            sse: Sse::default(),
            json: JsonOptions::default(),
            unknown_query: UnknownQuery::Reject,
            ignored_query_parameters: Vec::new(),
            fill_update_mask: true,
            partial_responses: false,
            auto: false,
            errors: ErrorFormat::Status,
            hide_internal: true,
            body_bytes_max: limits.body_bytes_max,
            reply_bytes_max: limits.reply_bytes_max,
            to_metadata: Vec::new(),
            rpc_metadata: RpcMetadata::All,
            to_response: Vec::new(),
            statuses: Statuses::default(),
            compat: Compat::None,
            forms: Forms::Refuse,
            method_override: false,
            cors: None,
            request_headers: None,
            response_headers: None,
            compression: None,
        }
    }
}
