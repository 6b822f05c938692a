//! One generation: the route table and all that its routes need. Built whole, then published.

mod build;
mod changes;
mod clashes;
mod described;
mod mount;
mod own;
mod published;
mod rpcs;
mod sockets;

pub use changes::{Broken, Changes, Whose};
pub use clashes::clashes;
pub use described::{Described, View};
pub use mount::any_service;
pub use own::Own;
pub(crate) use published::needs_certificates;
pub use published::{DOCUMENT, Document, PAGE, Published};
pub use rpcs::Rpcs;
pub use sockets::{Ambiguous, SocketRoute};

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::Codec;
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{
    AccessLog, Acme, Config, Fallback, Files, Listener, ListenerId, Matcher, Place, Policy,
    Redirect, Respond, SelectorRule, ToHttps, Upstream, UpstreamId,
};
use crate::limits::{Limits, Timeouts};
use crate::route::{HostPattern, PathMatch, RouteId, Table};
use crate::schema::Schema;
use crate::tls;
use crate::transcode::MethodPlan;

/// Everything a request needs, from one reading of config and descriptors.
#[derive(Debug)]
pub struct Live {
    pub table: Table,
    /// [`RouteId`] indexes it.
    pub routes: Vec<Route>,
    /// Methods by their own names.
    pub rpcs: Rpcs,
    /// Methods of the gateway's own services, which `rpcs` doesn't have.
    pub own: Rpcs,
    /// What clients may ask about descriptors, where they may.
    pub described: Option<Described>,
    /// What clients may read of the API, where a listener tells it.
    pub published: Option<Published>,
    pub schema: Arc<Schema>,
    /// With the JSON options of `defaults`: for error bodies where no route has been found.
    pub codec: Arc<Codec>,
    /// What was left out of the table, and why; not errors.
    pub notes: Vec<Note>,
    /// What doesn't do what its author may think.
    pub warnings: Vec<Warning>,
    pub upstreams: Arc<[Upstream]>,
    /// Upstreams that were asked for their descriptors and have never answered: a path that no route
    /// takes may be theirs.
    pub awaited: Vec<UpstreamId>,
    /// For requests that no route takes.
    pub defaults: Arc<Policy>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// A line for each request, where one is wanted.
    pub access_log: Option<AccessLog>,
    pub manners: Manners,
    /// Certificates that authorities are to issue.
    pub wanted: Wanted,
    /// How connections are taken, by listener. One that isn't here takes none.
    pub doors: Box<[Door]>,
}

/// How connections are taken on a listener.
#[derive(Clone, Debug)]
pub struct Door {
    pub id: ListenerId,
    pub tls: Option<Arc<tls::Terms>>,
    /// All requests are sent there.
    pub redirect: Option<ToHttps>,
    /// It tells of the API.
    pub openapi: bool,
    /// Connections of trusted peers begin with a PROXY header.
    pub proxy_protocol: bool,
}

impl Door {
    /// Those of the listeners that need nothing but the config. TLS needs certificates: see
    /// `control`.
    fn without_tls(config: &Config) -> Box<[Self]> {
        let all = ListenerId::of(&config.listeners).zip(&config.listeners);
        let plain = all.filter(|(_, listener)| listener.tls.is_none());
        let door = |(id, listener): (ListenerId, &Listener)| Self {
            id,
            tls: None,
            redirect: listener.redirect,
            openapi: listener.openapi,
            proxy_protocol: listener.proxy_protocol,
        };
        plain.map(door).collect()
    }
}

/// Certificates that authorities are to issue, and renew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub authorities: Arc<[Issuer]>,
    /// What each certificate is for, and which of the authorities it comes from.
    pub names: Arc<BTreeMap<Box<str>, usize>>,
}

impl Wanted {
    /// Whoever is to issue the certificate of `name`.
    ///
    /// # Errors
    /// No listener wants one: which names there are.
    pub fn issuer(&self, name: &str) -> Result<&Issuer, String> {
        let at = self.names.get(name);
        let issuer = at.and_then(|at| self.authorities.get(*at));
        issuer.ok_or_else(|| {
            let names: Vec<_> = self.names.keys().map(|n| &**n).collect();
            match names.is_empty() {
                true => "no listener has certificates of an authority".to_owned(),
                false => format!(
                    "no listener has a certificate of an authority for {name}; there are {}",
                    names.join(", ")
                ),
            }
        })
    }
}

/// An authority as configured, with the files that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub acme: Acme,
    /// Roots of its HTTPS as PEM text; `None` is the system's.
    pub roots: Option<Vec<u8>>,
    /// The same of the web service that makes TXT records.
    pub hook_roots: Option<Vec<u8>>,
}

/// What some route wants of the search for routes: nothing is looked at that no route wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    pub method_override: bool,
    pub grpc_gateway: bool,
}

/// One entry of the table.
#[derive(Debug)]
pub struct Route {
    pub target: Target,
    /// `GET /v1/games/{game_id}`, `prefix /legacy/`, `path /robots.txt`.
    pub rule: Arc<str>,
    /// Empty is any host.
    pub hosts: Box<[HostPattern]>,
    /// Of [`Target::Rpc`] and [`Target::Proxy`].
    pub upstream: Option<UpstreamId>,
    /// What stands in for it.
    pub fallback: Option<Arc<Fallback>>,
    /// For a method that the gateway answers itself.
    pub own: Option<Own>,
    pub policy: Arc<Policy>,
    /// Where it is written.
    pub place: Place,
    /// Of its series of metrics: see [`Live::numbered`].
    pub series: usize,
}

#[derive(Debug)]
pub enum Target {
    /// Transcode to this method.
    Rpc(Arc<MethodPlan>),
    /// Pass on as it is.
    Proxy {
        below: Below,
        /// Stands in place of the route's own path.
        rewrite: Option<Arc<str>>,
    },
    Files(Arc<Files>, Below),
    Redirect(Arc<Redirect>, Below),
    Respond(Arc<Respond>),
}

/// Which part of a request's path is the route's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// All of it.
    Nothing,
    /// So many segments.
    Segments(usize),
}

impl Below {
    #[must_use]
    pub fn of(path: &PathMatch) -> Self {
        match path {
            PathMatch::Prefix(text) => {
                let own = text.strip_suffix('/').unwrap_or(text);
                Self::Segments(own.matches('/').count())
            }
            PathMatch::Exact(_) => Self::Nothing,
        }
    }

    /// The part of a raw path that follows the route's own: with its slash, or empty.
    #[must_use]
    pub fn rest<'p>(&self, path: &'p str) -> &'p str {
        let Self::Segments(own) = self else {
            return "";
        };
        let at = memchr::memchr_iter(b'/', path.as_bytes()).nth(*own);
        at.and_then(|at| path.get(at..)).unwrap_or_default()
    }
}

/// A rule that is well-formed but isn't served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub place: Place,
    /// `pkg.Service/Method`
    pub method: Box<str>,
    /// `POST /v1/games:upload`; empty for a method that has no rule.
    pub rule: Box<str>,
    pub message: Box<str>,
}

/// Something in the config that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub message: Box<str>,
    /// What to do about it.
    pub help: &'static str,
}

/// Why a generation can't be built; one for each fault found.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct BuildError {
    pub place: Place,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl BuildError {
    /// As a finding among others.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let told = Diagnostic::error(self.message.clone());
        told.at(&self.place).maybe_help(self.help.clone())
    }
}

impl Matcher {
    /// Whether the schema has a service (or the method) that it names.
    #[must_use]
    pub fn is_known(&self, schema: &Schema) -> bool {
        match self {
            Self::Services { globs, .. } => {
                globs.iter().any(|g| mount::any_service(schema, &g.pattern))
            }
            Self::Rpc {
                service, method, ..
            } => schema.find_method(service, method).is_some(),
            Self::Path(_) => true,
        }
    }
}

impl Live {
    /// Plans every route of `config` on `schema`. `rules` (of service YAML files, in their order) take
    /// the place of annotations; the last rule for a method wins.
    ///
    /// # Errors
    /// Every fault, not the first alone.
    pub fn build(
        config: &Config,
        schema: Arc<Schema>,
        rules: &[SelectorRule],
    ) -> Result<Self, Vec<BuildError>> {
        build::build(config, schema, rules)
    }

    /// Whether all that is to be served waits for descriptors.
    #[must_use]
    pub fn is_awaiting_all(&self) -> bool {
        !self.awaited.is_empty() && self.routes.is_empty() && self.rpcs.routes().is_empty()
    }

    /// Every route, in the order of [`Route::series`]. Number 0 is of requests without a route.
    pub fn numbered(&self) -> impl Iterator<Item = &Route> {
        let routes = self.routes.iter().chain(self.rpcs.routes());
        routes.chain(self.own.routes())
    }

    /// Gives each route its number.
    fn number(mut self) -> Self {
        let routes = self.routes.iter_mut().chain(self.rpcs.routes_mut());
        for (at, route) in routes.chain(self.own.routes_mut()).enumerate() {
            route.series = at.saturating_add(1);
        }
        self
    }

    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0 as usize)
    }
}
