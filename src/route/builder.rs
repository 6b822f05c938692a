//! Collects routes and compiles them to a [`Table`], or names every pair that clashes.
//!
//! Two routes clash when they have the same shape, the same method and a host pattern in common.
//! Patterns of different rank (`api.example.com`, `*.example.com`, any) don't: the more exact wins.

use std::fmt;
use std::sync::Arc;

use super::host::HostPattern;
use super::table::Table;
use super::template::PathTemplate;
use super::trie::Trie;
use super::{RawPath, RouteId};
use crate::limits::LOOKUP_VISITS_MAX;

/// What a prefix or path route matches. Escapes count as what they decode to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path alone; a trailing slash makes another path.
    Exact(Box<str>),
    /// Whole segments: `/legacy` takes `/legacy` and what is below it, `/legacy/` only what is below
    /// it (`/legacy/` included), neither takes `/legacyx`.
    Prefix(Box<str>),
}

/// Two routes that can't both be in one table.
#[derive(Clone, Debug)]
pub struct Conflict {
    pub kind: ConflictKind,
    /// `GET /v1/games/*`
    pub shape: Box<str>,
    pub first: Arc<str>,
    pub second: Arc<str>,
    pub routes: (RouteId, RouteId),
}

/// Why two routes clash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// They match the same requests.
    SameRequests,
    /// Around them so many wildcards overlap that one lookup could visit more than
    /// [`LOOKUP_VISITS_MAX`] nodes.
    Overlaps {
        /// Upper bound of the visits.
        visits: u64,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shape,
            first,
            second,
            ..
        } = self;
        match self.kind {
            ConflictKind::SameRequests => {
                write!(f, "{shape}: {first} and {second} match the same requests")
            }
            ConflictKind::Overlaps { visits } => write!(
                f,
                "{shape}: the wildcards of {first} and {second} overlap with too many others: one \
                 lookup could visit {visits} nodes, {LOOKUP_VISITS_MAX} are allowed"
            ),
        }
    }
}

impl std::error::Error for Conflict {}

/// One route as it was given.
#[derive(Debug)]
pub(super) struct Entry {
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    pub matcher: Matcher,
    pub id: RouteId,
    pub place: Arc<str>,
}

#[derive(Debug)]
pub(super) enum Matcher {
    Rule {
        method: Box<str>,
        template: PathTemplate,
    },
    Path {
        path: PathMatch,
        forwards: bool,
    },
}

impl Entry {
    /// `GET /v1/games/{id}`, `prefix /legacy/`, `path /robots.txt`.
    pub(super) fn text(&self) -> String {
        match &self.matcher {
            Matcher::Rule { method, template } => format!("{method} {}", template.as_str()),
            Matcher::Path { path, .. } => match path {
                PathMatch::Exact(path) => format!("path {path}"),
                PathMatch::Prefix(path) => format!("prefix {path}"),
            },
        }
    }

    pub(super) fn shape(&self, host: Option<&HostPattern>) -> Box<str> {
        let shape = match &self.matcher {
            Matcher::Rule { method, template } => format!("{method} {}", template.shape()),
            Matcher::Path { .. } => self.text(),
        };
        match host {
            Some(host) => format!("{shape} on {}", host.as_str()).into(),
            None => shape.into(),
        }
    }
}

/// Collects routes for a [`Table`].
#[derive(Debug, Default)]
pub struct Builder {
    entries: Vec<Entry>,
}

impl Builder {
    /// Adds an HTTP rule. `method` is upper-case or `*`; no hosts means any host; `place` says where
    /// the rule is written (`games.proto:12:3`).
    pub fn rule(
        &mut self,
        hosts: &[HostPattern],
        method: &str,
        template: &PathTemplate,
        id: RouteId,
        place: Arc<str>,
    ) {
        let matcher = Matcher::Rule {
            method: method.into(),
            template: template.clone(),
        };
        self.add(hosts, matcher, id, place);
    }

    /// Adds a `prefix` or `path` route. With `forwards` it also takes requests whose path matches
    /// rules that all refuse the method.
    pub fn path(
        &mut self,
        hosts: &[HostPattern],
        path: PathMatch,
        forwards: bool,
        id: RouteId,
        place: Arc<str>,
    ) {
        self.add(hosts, Matcher::Path { path, forwards }, id, place);
    }

    fn add(&mut self, hosts: &[HostPattern], matcher: Matcher, id: RouteId, place: Arc<str>) {
        let mut hosts = hosts.to_vec();
        hosts.sort();
        hosts.dedup();
        self.entries.push(Entry {
            hosts,
            matcher,
            id,
            place,
        });
    }

    /// # Errors
    /// Every pair of routes that match the same requests, and hosts whose routes overlap too much.
    pub fn build(self) -> Result<Table, Vec<Conflict>> {
        Trie::of(&self.entries).compile(self.entries)
    }
}

impl PathMatch {
    /// Whether the text can be matched at all: a request path that [`RawPath`] would let through.
    ///
    /// # Errors
    /// See [`super::PathError`].
    pub fn check(&self) -> Result<(), super::PathError> {
        let (Self::Exact(path) | Self::Prefix(path)) = self;
        RawPath::parse(path).map(|_| ())
    }
}
