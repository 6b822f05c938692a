//! Which certificate a client gets, by the name that it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use super::terms::Served;

type Names = HashMap<Box<str>, Arc<Served>, foldhash::quality::RandomState>;

/// Certificates by name: an exact one wins over a wildcard. Of two for one name, the first does.
#[derive(Debug, Default)]
pub(super) struct Choice {
    exact: Names,
    /// By what follows `*.`
    wildcards: Names,
    /// For who asks for no name.
    first: Option<Arc<Served>>,
}

impl Choice {
    pub(super) fn of(all: impl IntoIterator<Item = Arc<Served>>) -> Self {
        let mut choice = Self::default();
        for served in all {
            for name in served.identity().names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut choice.wildcards, parent),
                    None => (&mut choice.exact, &**name),
                };
                names
                    .entry(name.into())
                    .or_insert_with(|| Arc::clone(&served));
            }
            choice.first.get_or_insert(served);
        }
        choice
    }

    /// For a name in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Served>> {
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcards.get(parent)
        })
    }

    /// For this name alone.
    pub(super) fn exact(&self, name: &str) -> Option<&Arc<Served>> {
        self.exact.get(name)
    }

    /// Of the longest wildcard that ends like the name, however many labels it would stand for: none
    /// in certificates, but routes are written so.
    pub(super) fn above(&self, name: &str) -> Option<&Arc<Served>> {
        parents(name).find_map(|parent| self.wildcards.get(parent))
    }

    pub(super) fn first(&self) -> Option<&Arc<Served>> {
        self.first.as_ref()
    }
}

/// What follows each dot, the longest first.
pub(super) fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.'))
        .map(|(_, parent)| parent)
}
