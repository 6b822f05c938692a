//! The walk over all nodes of a [`Table`] that match one path, most specific first.
//!
//! From a node lead on at most one literal edge, the star edge, and one jump over what a `**` covers
//! for each number of segments that rules have after it. A trie has one way to each node, and below a
//! `**` no rule ends in two places, so no node is visited twice at one place of the path. What is
//! visited at most is known when the table is built.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::RawPath;
use super::table::{Accept, Edge, NONE, Table};

/// What a walk meets, most specific first.
pub(super) enum Met<'t> {
    Rules {
        accepts: &'t [Accept],
        verb: bool,
    },
    Path {
        entry: u32,
        /// For a prefix, the number of its segments.
        under: Option<usize>,
    },
}

/// A walk over all nodes that match one path. At one place of the path a node is entered at most twice
/// (with the last segment read with and without its verb).
pub(super) struct Walk<'t, 'r, 'p> {
    table: &'t Table,
    path: &'r RawPath<'p>,
    /// The number of each segment's text, as far as the trie is deep from its root.
    words: SmallVec<[u32; 16]>,
    split: Option<Split>,
    pub visits: u64,
}

/// The last segment as `head:verb`, for a verb that some rule has.
#[derive(Clone, Copy)]
struct Split {
    head: u32,
    head_empty: bool,
    verb: u32,
}

impl<'t, 'r, 'p> Walk<'t, 'r, 'p> {
    pub(super) fn new(table: &'t Table, path: &'r RawPath<'p>) -> Self {
        let word = |text: &[u8]| table.words.get(text).copied();
        let depth = path.len().min(table.depth_max + 1);
        let words = (0..depth).map(|at| word(path.segment_at(at)).unwrap_or(NONE));
        let split = path.verb().and_then(|(head, verb)| {
            Some(Split {
                verb: word(verb)?,
                head: word(head).unwrap_or(NONE),
                head_empty: head.is_empty(),
            })
        });
        Self {
            table,
            path,
            words: words.collect(),
            split,
            visits: 0,
        }
    }

    /// Meets what is at `node`, which the first `depth` segments lead to, and below it.
    pub(super) fn from<B>(
        &mut self,
        node: u32,
        depth: usize,
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.visits += 1;
        let table = self.table;
        let Some(here) = table.nodes.get(node as usize) else {
            return ControlFlow::Continue(());
        };
        if depth == self.path.len() {
            self.meet_rules(here.leaf, meet)?;
            self.meet_path(here.exact, None, meet)?;
            self.meet_rules(here.rest, meet)?;
            return self.meet_path(here.prefix_at, Some(depth), meet);
        }
        let last = depth + 1 == self.path.len();
        let empty = self.path.segment_at(depth).is_empty();
        let split = self.split.filter(|_| last);
        if let Some(split) = split
            && let Some(next) = table.edge(node, Edge::Literal(split.head))
        {
            self.ends_with_verb(next, split, meet)?;
        }
        let word = self.word(depth);
        if word != NONE
            && let Some(next) = table.edge(node, Edge::Literal(word))
        {
            self.from(next, depth + 1, meet)?;
        }
        if here.star != NONE {
            if let Some(split) = split.filter(|split| !split.head_empty) {
                self.ends_with_verb(here.star, split, meet)?;
            }
            if !empty {
                self.from(here.star, depth + 1, meet)?;
            }
        }
        if here.deep != NONE {
            self.beyond(here.deep, depth, meet)?;
        }
        if !empty || last {
            if let Some(split) = self.split.filter(|_| here.verbs) {
                self.meet_verb(node, Edge::RestVerb(split.verb), meet)?;
            }
            self.meet_rules(here.rest, meet)?;
        }
        if here.deep != NONE {
            self.without_rest(here.deep, depth, meet)?;
        }
        self.meet_path(here.prefix_under, Some(depth), meet)?;
        self.meet_path(here.prefix_at, Some(depth), meet)
    }

    /// Goes on after a `**` that begins at `depth` and covers something; least comes first.
    fn beyond<B>(
        &mut self,
        deep: u32,
        depth: usize,
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let table = self.table;
        let Some(deep) = table.deeps.get(deep as usize) else {
            return ControlFlow::Continue(());
        };
        if self.path.segment_at(depth).is_empty() {
            return ControlFlow::Continue(());
        }
        for tail in &deep.tails {
            match self.path.len().checked_sub(usize::from(*tail)) {
                Some(after) if after > depth => self.from(deep.node, after, meet)?,
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Goes on after a `**` at `depth` that covers nothing.
    fn without_rest<B>(
        &mut self,
        deep: u32,
        depth: usize,
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let table = self.table;
        let after = self.path.len() - depth;
        match table.deeps.get(deep as usize) {
            Some(deep) if deep.tails.iter().any(|tail| usize::from(*tail) == after) => {
                self.from(deep.node, depth, meet)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// The number of a segment's text. Those after a `**` are looked up as they are needed.
    fn word(&self, depth: usize) -> u32 {
        let known = self.words.get(depth).copied();
        known.unwrap_or_else(|| {
            let word = self.table.words.get(self.path.segment_at(depth));
            word.copied().unwrap_or(NONE)
        })
    }

    /// The path ended at `node` and a verb follows; `**` may still stand for nothing.
    fn ends_with_verb<B>(
        &mut self,
        node: u32,
        split: Split,
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let here = self.table.nodes.get(node as usize);
        if !here.is_some_and(|here| here.verbs) {
            return ControlFlow::Continue(());
        }
        self.visits += 1;
        self.meet_verb(node, Edge::Verb(split.verb), meet)?;
        self.meet_verb(node, Edge::RestVerb(split.verb), meet)
    }

    fn meet_verb<B>(
        &self,
        node: u32,
        edge: Edge,
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let leaf = self.table.edge(node, edge);
        let Some(leaf) = leaf.and_then(|leaf| self.table.nodes.get(leaf as usize)) else {
            return ControlFlow::Continue(());
        };
        let accepts = self.table.accepts(leaf.leaf);
        meet(
            self,
            Met::Rules {
                accepts,
                verb: true,
            },
        )
    }

    fn meet_rules<B>(
        &self,
        range: (u32, u32),
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let accepts = self.table.accepts(range);
        meet(
            self,
            Met::Rules {
                accepts,
                verb: false,
            },
        )
    }

    fn meet_path<B>(
        &self,
        entry: u32,
        under: Option<usize>,
        meet: &mut impl FnMut(&Self, Met<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if entry == NONE {
            return ControlFlow::Continue(());
        }
        meet(self, Met::Path { entry, under })
    }

    /// Whether the path is in a directory of rules that has more than `depth` segments.
    pub(super) fn deeper(&self, roots: &[u32], depth: usize) -> bool {
        roots.iter().any(|root| {
            let mut node = *root;
            self.words.iter().enumerate().any(|(at, word)| {
                let next = self.table.edge(node, Edge::Literal(*word));
                node = next.unwrap_or(NONE);
                let here = self.table.nodes.get(node as usize);
                at >= depth && here.is_some_and(|here| here.directory)
            })
        })
    }
}
