//! The trie while it grows, and its compilation to a [`Table`].

use std::collections::HashMap;
use std::sync::Arc;

use super::builder::{Conflict, ConflictKind, Entry, Matcher, PathMatch};
use super::host::{HostPattern, Hosts};
use super::path::decode;
use super::table::{Accept, Deep, Edge, NONE, Node, Table};
use super::template::{PathTemplate, Segment};
use crate::limits::LOOKUP_VISITS_MAX;

/// A trie that still grows. Nodes are numbered so that a child comes after its parent.
#[derive(Default)]
pub(super) struct Trie {
    nodes: Vec<GrowingNode>,
    edges: HashMap<u64, u32, foldhash::fast::FixedState>,
    words: HashMap<Box<[u8]>, u32, foldhash::fast::FixedState>,
    /// The first is `*`.
    methods: Vec<Box<str>>,
    roots: HashMap<Option<HostPattern>, u32, foldhash::fast::FixedState>,
    deeps: Vec<Deep>,
    depth_max: usize,
    visits_max: u64,
    conflicts: Vec<Conflict>,
}

struct GrowingNode {
    node: Node,
    leaf: Vec<Accept>,
    rest: Vec<Accept>,
    parent: u32,
    by: Edge,
    /// The entry that needed it first.
    entry: u32,
}

/// Where on a node a route ends.
#[derive(Clone, Copy)]
enum Slot {
    Leaf(u16),
    Rest(u16),
    Exact,
    PrefixAt,
    PrefixUnder,
}

impl Trie {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut trie = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            let index = narrow(index);
            if entry.hosts.is_empty() {
                trie.insert(entries, None, entry, index);
            }
            for host in &entry.hosts {
                trie.insert(entries, Some(host), entry, index);
            }
        }
        trie.measure(entries);
        trie
    }

    fn insert(&mut self, entries: &[Entry], host: Option<&HostPattern>, entry: &Entry, index: u32) {
        let root = match self.roots.get(&host.cloned()) {
            Some(root) => *root,
            None => {
                let root = self.grow(NONE, Edge::Star, index);
                self.roots.insert(host.cloned(), root);
                root
            }
        };
        let (node, slot) = match &entry.matcher {
            Matcher::Rule { method, template } => self.insert_rule(root, method, template, index),
            Matcher::Path { path, .. } => self.insert_path(root, path, index),
        };
        let Some(previous) = self.claim(node, slot, index) else {
            return;
        };
        let Some(first) = entries.get(previous as usize) else {
            return;
        };
        let known = |known: &Conflict| known.routes == (first.id, entry.id);
        if !self.conflicts.iter().any(known) {
            self.conflicts.push(Conflict {
                kind: ConflictKind::SameRequests,
                shape: entry.shape(host),
                first: Arc::clone(&first.place),
                second: Arc::clone(&entry.place),
                routes: (first.id, entry.id),
            });
        }
    }

    fn insert_rule(
        &mut self,
        root: u32,
        method: &str,
        template: &PathTemplate,
        index: u32,
    ) -> (u32, Slot) {
        let method = self.method(method);
        let segments = template.segments();
        let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        let directory = match segments.iter().position(|segment| !literal(segment)) {
            Some(wildcard) => wildcard,
            None => segments.len().saturating_sub(1),
        };
        let mut node = root;
        let rest = template.rest().is_some_and(|at| at + 1 == segments.len());
        for (depth, segment) in segments.iter().enumerate() {
            node = match segment {
                Segment::Literal(text) => {
                    let word = self.word(text.as_bytes());
                    self.child(node, Edge::Literal(word), index)
                }
                Segment::One => self.child(node, Edge::Star, index),
                Segment::Rest if rest => node,
                Segment::Rest => {
                    let tail = segments.len() - depth - 1;
                    self.deep(node, tail, index)
                }
            };
            if depth + 1 == directory
                && let Some(grown) = self.nodes.get_mut(node as usize)
            {
                grown.node.directory = true;
            }
        }
        // What follows a `**` stands at no fixed depth.
        let fixed = template.rest().unwrap_or(segments.len());
        self.depth_max = self.depth_max.max(fixed);
        match template.verb() {
            Some(verb) => {
                let word = self.word(verb.as_bytes());
                let edge = if rest {
                    Edge::RestVerb(word)
                } else {
                    Edge::Verb(word)
                };
                (self.child(node, edge, index), Slot::Leaf(method))
            }
            None if rest => (node, Slot::Rest(method)),
            None => (node, Slot::Leaf(method)),
        }
    }

    fn insert_path(&mut self, root: u32, path: &PathMatch, index: u32) -> (u32, Slot) {
        let (text, slot) = match path {
            PathMatch::Exact(path) => (path.strip_prefix('/').unwrap_or(path), Slot::Exact),
            PathMatch::Prefix(path) => {
                let path = path.strip_prefix('/').unwrap_or(path);
                match path.strip_suffix('/') {
                    Some(parent) => (parent, Slot::PrefixUnder),
                    None if path.is_empty() => (path, Slot::PrefixUnder),
                    None => (path, Slot::PrefixAt),
                }
            }
        };
        let root_prefix = text.is_empty() && matches!(slot, Slot::PrefixUnder);
        let mut node = root;
        for raw in text.split('/').filter(|_| !root_prefix) {
            let mut decoded = Vec::with_capacity(raw.len());
            decode(raw.as_bytes(), &mut decoded);
            let word = self.word(&decoded);
            node = self.child(node, Edge::Literal(word), index);
        }
        self.depth_max = self.depth_max.max(text.split('/').count());
        (node, slot)
    }

    /// Takes the slot for this entry; the entry that had it before, if any.
    fn claim(&mut self, node: u32, slot: Slot, entry: u32) -> Option<u32> {
        let grown = self.nodes.get_mut(node as usize)?;
        let (list, method) = match slot {
            Slot::Leaf(method) => (&mut grown.leaf, method),
            Slot::Rest(method) => (&mut grown.rest, method),
            Slot::Exact | Slot::PrefixAt | Slot::PrefixUnder => {
                let place = match slot {
                    Slot::Exact => &mut grown.node.exact,
                    Slot::PrefixAt => &mut grown.node.prefix_at,
                    _ => &mut grown.node.prefix_under,
                };
                let previous = (*place != NONE).then_some(*place);
                *place = previous.unwrap_or(entry);
                return previous;
            }
        };
        if let Some(known) = list.iter().find(|accept| accept.method == method) {
            return Some(known.entry);
        }
        list.push(Accept { method, entry });
        None
    }

    fn child(&mut self, from: u32, edge: Edge, entry: u32) -> u32 {
        let star = |grown: &GrowingNode| (grown.node.star != NONE).then_some(grown.node.star);
        let known = match edge.key(from) {
            Some(key) => self.edges.get(&key).copied(),
            None => self.nodes.get(from as usize).and_then(star),
        };
        if let Some(known) = known {
            return known;
        }
        let node = self.grow(from, edge, entry);
        if let (Edge::Verb(_) | Edge::RestVerb(_), Some(parent)) =
            (edge, self.nodes.get_mut(from as usize))
        {
            parent.node.verbs = true;
        }
        if let Some(key) = edge.key(from) {
            self.edges.insert(key, node);
        } else if let Some(parent) = self.nodes.get_mut(from as usize) {
            parent.node.star = node;
        }
        node
    }

    /// The node after a `**` that `tail` segments follow.
    fn deep(&mut self, from: u32, tail: usize, entry: u32) -> u32 {
        let known = self.nodes.get(from as usize).map(|grown| grown.node.deep);
        let at = known.filter(|deep| *deep != NONE).unwrap_or_else(|| {
            let node = self.grow(from, Edge::Deep, entry);
            self.deeps.push(Deep {
                node,
                tails: Vec::new(),
            });
            let deep = narrow(self.deeps.len() - 1);
            if let Some(parent) = self.nodes.get_mut(from as usize) {
                parent.node.deep = deep;
            }
            deep
        });
        let Some(deep) = self.deeps.get_mut(at as usize) else {
            return from;
        };
        // Templates are shorter than 256 segments.
        let tail = u8::try_from(tail).unwrap_or(u8::MAX);
        if let Err(place) = deep.tails.binary_search_by(|known| tail.cmp(known)) {
            deep.tails.insert(place, tail);
        }
        deep.node
    }

    fn grow(&mut self, parent: u32, by: Edge, entry: u32) -> u32 {
        self.nodes.push(GrowingNode {
            node: Node::default(),
            leaf: Vec::new(),
            rest: Vec::new(),
            parent,
            by,
            entry,
        });
        narrow(self.nodes.len() - 1)
    }

    fn word(&mut self, text: &[u8]) -> u32 {
        if let Some(word) = self.words.get(text) {
            return *word;
        }
        let word = narrow(self.words.len());
        self.words.insert(text.into(), word);
        word
    }

    fn method(&mut self, name: &str) -> u16 {
        if self.methods.is_empty() {
            self.methods.push("*".into());
        }
        let at = self.methods.iter().position(|known| **known == *name);
        let at = at.unwrap_or_else(|| {
            self.methods.push(name.into());
            self.methods.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// Bounds the visits of a lookup. A path follows at most one literal edge and the star edge of a
    /// node, and goes on after its `**` once for each number of segments that may follow, so
    /// `visits(node) = 1 + max(visits(literal child)) + visits(star child) + tails * visits(deep
    /// child)`. One more for a node with verbs, where the last segment ends with and without its verb, and one for another
    /// literal child, which that segment may lead to without its verb.
    fn measure(&mut self, entries: &[Entry]) {
        #[derive(Clone, Copy, Default)]
        struct Weight {
            literal: u64,
            heaviest: u32,
            star: u64,
            deep: u64,
            head: u64,
        }
        let mut weights = vec![Weight::default(); self.nodes.len()];
        let mut heavy = Vec::new();
        for (index, grown) in self.nodes.iter().enumerate().rev() {
            let below = weights.get(index).copied().unwrap_or_default();
            let verbs = u64::from(grown.node.verbs);
            let visits = (1 + verbs + below.head)
                .saturating_add(below.literal)
                .saturating_add(below.star)
                .saturating_add(below.deep);
            match weights.get_mut(grown.parent as usize) {
                Some(parent) => match grown.by {
                    Edge::Star => parent.star = visits,
                    Edge::Deep => parent.deep = visits.saturating_mul(self.tails(grown.parent)),
                    Edge::Literal(_) => {
                        parent.head = parent.head.max(verbs);
                        if visits > parent.literal {
                            parent.literal = visits;
                            parent.heaviest = narrow(index);
                        }
                    }
                    Edge::Verb(_) | Edge::RestVerb(_) => {}
                },
                None => {
                    self.visits_max = self.visits_max.max(visits);
                    if visits > LOOKUP_VISITS_MAX as u64 {
                        heavy.push((index, visits));
                    }
                }
            }
        }
        for (root, visits) in heavy {
            let mut at = root;
            // The first node on the heaviest way that a path leaves in several directions.
            let (first, second) = loop {
                let weight = weights.get(at).copied().unwrap_or_default();
                let star = self.nodes.get(at).map_or(NONE, |grown| grown.node.star);
                let deep = self.nodes.get(at).map_or(NONE, |grown| grown.node.deep);
                let deep = self.deeps.get(deep as usize).map_or(NONE, |deep| deep.node);
                let ways = [
                    (weight.literal, weight.heaviest),
                    (weight.star, star),
                    (weight.deep, deep),
                ];
                let mut ways = ways.into_iter().filter(|(visits, _)| *visits > 0);
                at = match (ways.next(), ways.next()) {
                    (Some((_, one)), Some((_, other))) => break (one as usize, other as usize),
                    (Some((_, only)), None) => only as usize,
                    (None, _) => break (at, at),
                };
            };
            let entry = |node: usize| entries.get(self.nodes.get(node)?.entry as usize);
            if let (Some(first), Some(second)) = (entry(first), entry(second)) {
                self.conflicts.push(Conflict {
                    kind: ConflictKind::Overlaps { visits },
                    shape: first.text().into(),
                    first: Arc::clone(&first.place),
                    second: Arc::clone(&second.place),
                    routes: (first.id, second.id),
                });
            }
        }
    }

    /// In how many places a lookup goes on after the `**` of a node.
    fn tails(&self, node: u32) -> u64 {
        let deep = self.nodes.get(node as usize).map(|grown| grown.node.deep);
        let deep = deep.and_then(|deep| self.deeps.get(deep as usize));
        deep.map_or(0, |deep| deep.tails.len() as u64)
    }

    /// Packs it, unless there are conflicts.
    pub(super) fn compile(self, entries: Vec<Entry>) -> Result<Table, Vec<Conflict>> {
        if !self.conflicts.is_empty() {
            return Err(self.conflicts);
        }
        let mut accepts = Vec::new();
        let mut pack = |list: Vec<Accept>| {
            let from = narrow(accepts.len());
            accepts.extend(list);
            (from, narrow(accepts.len()))
        };
        let nodes = self.nodes.into_iter().map(|grown| Node {
            leaf: pack(grown.leaf),
            rest: pack(grown.rest),
            ..grown.node
        });
        let nodes: Box<[Node]> = nodes.collect();
        let mut hosts = Hosts::default();
        for (host, root) in &self.roots {
            hosts.insert(host.as_ref(), *root);
        }
        Ok(Table {
            nodes,
            accepts: accepts.into(),
            edges: self.edges,
            words: self.words,
            methods: self.methods.into(),
            hosts,
            entries: entries.into(),
            deeps: self.deeps.into(),
            depth_max: self.depth_max,
            visits_max: self.visits_max,
        })
    }
}

/// Entries and nodes are counted in `u32`; a table that is larger doesn't fit into memory.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
