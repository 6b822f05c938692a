//! What clients are told of the API: an OpenAPI document for each host that routes are for.

use std::collections::BTreeSet;
use std::fmt::Write;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;

use crate::config::model::{Config, HeaderPattern, Listener, Place};
use crate::limits::OPENAPI_BYTES_MAX;
use crate::openapi::{self, Facts, Operation};
use crate::route::HostPattern;

use super::{Live, Route, Target, Warning};

/// Where a listener that tells of the API does so.
pub const DOCUMENT: &str = "/openapi.json";
/// The page of it, and what is below.
pub const PAGE: &str = "/docs";

/// The documents of one generation.
#[derive(Debug)]
pub struct Published {
    /// Of hosts that have routes of their own.
    hosts: Vec<(HostPattern, Document)>,
    /// Of any other host.
    any: Document,
    /// Hosts of routes that are written for [`DOCUMENT`], and for [`PAGE`]: they win. Variables, and
    /// prefixes of more, don't count.
    taken: [Vec<Box<[HostPattern]>>; 2],
}

/// A document as it is sent.
#[derive(Clone, Debug)]
pub struct Document {
    pub json: Bytes,
    /// A strong tag, made of the content alone: the same on all instances.
    pub tag: HeaderValue,
}

impl Published {
    /// The document for a request's host, which is without a port.
    #[must_use]
    pub fn of_host(&self, host: &str) -> &Document {
        let fitting = self.hosts.iter();
        let fitting = fitting.filter_map(|(pattern, one)| Some((pattern.fit(host)?, one)));
        let best = fitting.max_by_key(|(fit, _)| *fit);
        best.map_or(&self.any, |(_, one)| one)
    }

    /// Whether a route has the document's place.
    #[must_use]
    pub fn is_document_taken(&self, host: &str) -> bool {
        let [document, _] = &self.taken;
        fits_any(document, host)
    }

    /// Whether a route has the page's place.
    #[must_use]
    pub fn is_page_taken(&self, host: &str) -> bool {
        let [_, page] = &self.taken;
        fits_any(page, host)
    }

    /// # Errors
    /// A document that is larger than one may be.
    pub(super) fn build(config: &Config, live: &Live) -> Result<Self, Warning> {
        let write = |host: Option<&str>| {
            let facts = Facts {
                server: "/".to_owned(),
                host: None,
                client_certificates: needs_certificates(config),
            };
            let json = Bytes::from(live.openapi(host, &facts).to_string());
            match json.len() > OPENAPI_BYTES_MAX {
                true => Err(too_large(config, json.len())),
                false => Ok(Document {
                    tag: tag(&json),
                    json,
                }),
            }
        };
        let patterns: BTreeSet<&HostPattern> = live.routes.iter().flat_map(|r| &r.hosts).collect();
        let hosts = patterns.into_iter().map(|pattern| {
            let document = write(Some(pattern.as_str()))?;
            Ok((pattern.clone(), document))
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_, Warning>>()?,
            any: write(None)?,
            taken: [DOCUMENT, PAGE].map(|path| {
                let own = live.routes.iter().filter(|route| is_for(route, path));
                own.map(|route| route.hosts.clone()).collect()
            }),
        })
    }
}

impl Live {
    /// The OpenAPI document of the routes that a host has; without one, of those for any host. A
    /// pattern (`*.example.com`) stands for every host that it fits.
    #[must_use]
    pub fn openapi(&self, host: Option<&str>, facts: &Facts) -> Value {
        let of_host = |route: &&Route| {
            let fits = |host| route.hosts.iter().any(|p| p.fit(host).is_some());
            route.hosts.is_empty() || host.is_some_and(fits)
        };
        let mut found: Vec<(&Route, Operation<'_>)> = Vec::new();
        for route in self.routes.iter().filter(of_host) {
            let Target::Rpc(plan) = &route.target else {
                continue;
            };
            let policy = &route.policy;
            let whole = policy
                .to_metadata
                .iter()
                .filter_map(|pattern| match pattern {
                    HeaderPattern::Name(name) => Some(name.as_str()),
                    HeaderPattern::Prefix(_) => None,
                });
            let operation = Operation {
                plan,
                errors: policy.errors,
                statuses: &policy.statuses,
                compat: policy.compat,
                partial_responses: policy.partial_responses,
                headers: whole.collect(),
            };
            found.push((route, operation));
        }
        // The route of the host itself goes before one of any.
        found.sort_by_key(|(route, _)| {
            let fit = route.hosts.iter().filter_map(|p| p.fit(host?)).max();
            std::cmp::Reverse(fit)
        });
        let operations: Vec<Operation<'_>> = found.into_iter().map(|(_, one)| one).collect();
        openapi::document(&self.schema, facts, &operations)
    }

    /// Hosts that have routes of their own.
    #[must_use]
    pub fn route_hosts(&self) -> BTreeSet<&HostPattern> {
        self.routes.iter().flat_map(|route| &route.hosts).collect()
    }

    /// Routes that stand where a listener's `openapi` would answer.
    pub(super) fn covered(&self, config: &Config) -> Vec<Warning> {
        let taken = |path: &'static str| {
            let route = self.routes.iter().find(|route| is_for(route, path))?;
            Some(Warning {
                place: Place::clone(&route.place),
                message: format!(
                    "this route has {path}, which a listener's `openapi: true` is to serve"
                )
                .into(),
                help: "the route wins; give it another path, or leave `openapi` out",
            })
        };
        match config.listeners.iter().any(|l| l.openapi) {
            true => [DOCUMENT, PAGE].into_iter().filter_map(taken).collect(),
            false => Vec::new(),
        }
    }
}

fn fits_any(hosts: &[Box<[HostPattern]>], host: &str) -> bool {
    let mut of_routes = hosts.iter();
    of_routes.any(|hosts| hosts.is_empty() || hosts.iter().any(|h| h.fit(host).is_some()))
}

fn is_for(route: &Route, path: &str) -> bool {
    match &route.target {
        Target::Rpc(plan) => *plan.template == *path,
        _ => match route.rule.split_once(' ') {
            Some(("path", own)) => own == path,
            Some(("prefix", own)) => {
                let own = own.trim_end_matches('/');
                let below = path.strip_prefix(own).filter(|_| !own.is_empty());
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            _ => false,
        },
    }
}

/// Whether no client is let in without a certificate where documents are; where none are, anywhere.
pub(crate) fn needs_certificates(config: &Config) -> bool {
    let any = config.listeners.iter().any(|l| l.openapi);
    let serves = |l: &&Listener| l.redirect.is_none() && (l.openapi || !any);
    let mut listeners = config.listeners.iter().filter(serves).peekable();
    let needs = |listener: &Listener| {
        let tls = listener.tls.as_ref();
        let clients = tls.and_then(|tls| tls.client.as_ref());
        clients.is_some_and(|clients| clients.required)
    };
    listeners.peek().is_some() && listeners.all(needs)
}

fn too_large(config: &Config, bytes: usize) -> Warning {
    let listener = config.listeners.iter().find(|l| l.openapi);
    Warning {
        place: listener.map_or_else(|| "the config".into(), |l| Place::clone(&l.place)),
        message: format!(
            "the OpenAPI document has {bytes} bytes, more than the {OPENAPI_BYTES_MAX} that are kept: {DOCUMENT} is not served"
        )
        .into(),
        help: "`transom openapi` writes it to a file",
    }
}

fn tag(content: &[u8]) -> HeaderValue {
    let hash = digest::digest(&digest::SHA256, content);
    let mut text = String::from("\"");
    for byte in hash.as_ref().iter().take(16) {
        // Writing to a String doesn't fail.
        _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
