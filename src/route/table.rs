//! The table of all routes: an immutable trie, and the rule for which route wins.
//!
//! Among the routes that match a path and accept the method:
//!
//! 1. A route of the exact host beats one of a wildcard host, which beats one of any host.
//! 2. Segment by segment of the templates, a literal beats `*`, `*` beats `**`, and `**` beats a
//!    `prefix` route. Of two that are alike up to a `**`, the one with more segments after it wins;
//!    but one whose `**` would then cover nothing comes last: `/docs/{name=**}` has `/docs/a`, and
//!    `/docs/{name=**}/{part}` has `/docs/a/b`.
//! 3. In the last segment `head:verb` is read as a verb first where a rule has that verb. Where none
//!    has it, or none that has it accepts the method, the colon is part of the segment.
//! 4. At the same shape a method beats `*`, and any rule beats a `path` route. `HEAD` is answered by
//!    `GET` where the shape has no rule of its own for it.
//!
//! When a more specific rule matches the path but refuses the method, `prefix` and `path` routes
//! that don't forward (files, redirects, fixed replies) are passed over. So are those `prefix`
//! routes for a path in a *directory of rules* that is deeper than the prefix: an unknown path there
//! is not found. The directory of a rule is its text up to the last slash before the first wildcard,
//! or before the end: `/v1` for `/v1/games`, `/v1/games` for `/v1/games/{id}` and `/v1/games/{id}/x`.
//! So with `/v1/games` mounted and a page for `/`, `/v1/gmaes` is not found and `/play` is the page;
//! files under `/v1/` itself are still served, since whoever mounted them there meant it.
//!
//! `**` matches nothing or segments of which the first is not empty (so a capture never begins with a
//! slash); at the end of a template also a trailing slash. It stands once in a template, so it covers
//! what the other segments leave and no split has to be chosen. `*` never matches an empty segment.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use http::{HeaderValue, Method};
use smallvec::SmallVec;

use super::builder::{Entry, Matcher};
use super::host::Hosts;
use super::walk::{Met, Walk};
use super::{RawPath, RouteId};

/// No node, no entry, no word.
pub(super) const NONE: u32 = u32::MAX;
/// The method id of `*`.
const ANY_METHOD: u16 = 0;
/// The id of a method that no rule has.
const NO_METHOD: u16 = u16::MAX;

/// All routes of one generation.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) nodes: Box<[Node]>,
    pub(super) accepts: Box<[Accept]>,
    pub(super) edges: HashMap<u64, u32, foldhash::fast::FixedState>,
    /// Each literal and verb, decoded, by number: a path's segments are hashed once.
    pub(super) words: HashMap<Box<[u8]>, u32, foldhash::fast::FixedState>,
    pub(super) methods: Box<[Box<str>]>,
    pub(super) hosts: Hosts,
    pub(super) entries: Box<[Entry]>,
    pub(super) deeps: Box<[Deep]>,
    pub(super) depth_max: usize,
    pub(super) visits_max: u64,
}

/// A node of the trie. Ranges are of `accepts`; other numbers are entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub star: u32,
    /// Rules that go on after `**`: a number of `deeps`.
    pub deep: u32,
    /// Rules that end here.
    pub leaf: (u32, u32),
    /// Rules that end here with `**`.
    pub rest: (u32, u32),
    pub exact: u32,
    pub prefix_at: u32,
    pub prefix_under: u32,
    /// Whether rules with a verb end here.
    pub verbs: bool,
    /// Whether it is the directory of a rule.
    pub directory: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            star: NONE,
            deep: NONE,
            leaf: (0, 0),
            rest: (0, 0),
            exact: NONE,
            prefix_at: NONE,
            prefix_under: NONE,
            verbs: false,
            directory: false,
        }
    }
}

/// What follows a `**` before the end of a template.
#[derive(Clone, Debug)]
pub(super) struct Deep {
    pub node: u32,
    /// How many segments the rules have after `**`; the longest first. A path is read from as far
    /// before its end, so there is one place to go on from for each, however long the path is.
    pub tails: Vec<u8>,
}

/// A method at a node and the rule that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accept {
    pub method: u16,
    pub entry: u32,
}

/// The way from a node to the next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edge {
    Star,
    /// `**` that something follows.
    Deep,
    Literal(u32),
    /// To the leaf of the rules that end at the node with this verb.
    Verb(u32),
    /// The same after `**`.
    RestVerb(u32),
}

impl Edge {
    /// Its key among the edges of all nodes; those of wildcards are in the node.
    pub(super) fn key(self, from: u32) -> Option<u64> {
        let (word, kind) = match self {
            Self::Star | Self::Deep => return None,
            Self::Literal(word) => (word, 0),
            Self::Verb(word) => (word, 1),
            Self::RestVerb(word) => (word, 2),
        };
        // A table has fewer than 2^30 nodes; every word, also `NONE`, keeps its 32 bits.
        Some(u64::from(from) << 34 | u64::from(word) << 2 | kind)
    }
}

/// A route that takes the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'p> {
    pub route: RouteId,
    /// Raw (still percent-encoded) text of each variable, in the order of the template's variables.
    /// Empty for `prefix` and `path` routes.
    pub captures: SmallVec<[&'p str; 4]>,
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'p> {
    Matched(Match<'p>),
    /// Rules have this path, none this method. `allow` is the value of an `Allow` header.
    MethodNotAllowed {
        allow: HeaderValue,
    },
    NotFound,
}

impl Table {
    /// The route for a request. `host` is without port, lower-cased or not. `HEAD` matches a `GET`
    /// rule when its shape has no `HEAD` rule.
    #[must_use]
    pub fn lookup<'p>(&self, host: &str, method: &Method, path: &RawPath<'p>) -> Lookup<'p> {
        self.lookup_counted(host, method, path).0
    }

    /// The same, with the number of trie nodes visited. Measures for benchmarks and tests.
    #[must_use]
    pub fn lookup_counted<'p>(
        &self,
        host: &str,
        method: &Method,
        path: &RawPath<'p>,
    ) -> (Lookup<'p>, u64) {
        let wanted = self.wanted(method);
        let roots = self.hosts.roots(host);
        let mut walk = Walk::new(self, path);
        let mut refused = false;
        for root in &roots {
            let found = walk.from(*root, 0, &mut |walk, met| match met {
                Met::Rules { accepts, verb } => match wanted.among(accepts) {
                    Some(entry) => ControlFlow::Break((entry, verb)),
                    None => {
                        refused |= !accepts.is_empty();
                        ControlFlow::Continue(())
                    }
                },
                Met::Path { entry, under } => {
                    let takes = self.forwards(entry)
                        || !refused && !under.is_some_and(|depth| walk.deeper(&roots, depth));
                    if takes {
                        ControlFlow::Break((entry, false))
                    } else {
                        ControlFlow::Continue(())
                    }
                }
            });
            if let ControlFlow::Break((entry, verb)) = found {
                return (self.matched(entry, path, verb), walk.visits);
            }
        }
        if !refused {
            return (Lookup::NotFound, walk.visits);
        }
        let allow = self.allow(&roots, &mut walk);
        (Lookup::MethodNotAllowed { allow }, walk.visits)
    }

    /// Upper bound of the nodes that a lookup visits among the routes of one host pattern; one that
    /// ends in 405 goes there twice.
    #[must_use]
    pub fn visits_max(&self) -> u64 {
        self.visits_max
    }

    /// How many routes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The methods of all rules that match the path, sorted. Only a refused request pays for it.
    fn allow(&self, roots: &[u32], walk: &mut Walk<'_, '_, '_>) -> HeaderValue {
        let mut names = BTreeSet::new();
        for root in roots {
            let _: ControlFlow<()> = walk.from(*root, 0, &mut |_, met| {
                if let Met::Rules { accepts, .. } = met {
                    names.extend(accepts.iter().filter_map(|accept| {
                        let name = self.methods.get(usize::from(accept.method))?;
                        Some(&**name)
                    }));
                }
                ControlFlow::Continue(())
            });
        }
        if names.contains("GET") {
            names.insert("HEAD");
        }
        let names: Vec<&str> = names.into_iter().collect();
        HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }

    fn matched<'p>(&self, entry: u32, path: &RawPath<'p>, verb: bool) -> Lookup<'p> {
        let Some(entry) = self.entries.get(entry as usize) else {
            return Lookup::NotFound;
        };
        let mut captures = SmallVec::new();
        if let Matcher::Rule { template, .. } = &entry.matcher {
            captures.extend(template.spans().iter().map(|span| {
                let (from, to) = template.covered(*span, path.len());
                path.raw(from, to, verb)
            }));
        }
        Lookup::Matched(Match {
            route: entry.id,
            captures,
        })
    }

    fn forwards(&self, entry: u32) -> bool {
        let entry = self.entries.get(entry as usize);
        entry.is_some_and(|entry| matches!(entry.matcher, Matcher::Path { forwards: true, .. }))
    }

    fn wanted(&self, method: &Method) -> Wanted {
        let id = |name: &str| {
            let at = self.methods.iter().position(|known| **known == *name);
            at.and_then(|at| u16::try_from(at).ok())
                .unwrap_or(NO_METHOD)
        };
        // A request for the method "*" is no request for any method.
        let own = Some(id(method.as_str())).filter(|own| *own != ANY_METHOD);
        Wanted {
            own: own.unwrap_or(NO_METHOD),
            instead: if *method == Method::HEAD {
                id("GET")
            } else {
                NO_METHOD
            },
        }
    }

    pub(super) fn edge(&self, from: u32, edge: Edge) -> Option<u32> {
        self.edges.get(&edge.key(from)?).copied()
    }

    pub(super) fn accepts(&self, (from, to): (u32, u32)) -> &[Accept] {
        self.accepts
            .get(from as usize..to as usize)
            .unwrap_or_default()
    }
}

/// The method of a request, and `GET` for `HEAD`.
#[derive(Clone, Copy)]
struct Wanted {
    own: u16,
    instead: u16,
}

impl Wanted {
    fn among(self, accepts: &[Accept]) -> Option<u32> {
        let mut best = None;
        for accept in accepts {
            if accept.method == self.own {
                return Some(accept.entry);
            }
            if accept.method == self.instead || (accept.method == ANY_METHOD && best.is_none()) {
                best = Some(accept.entry);
            }
        }
        best
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
