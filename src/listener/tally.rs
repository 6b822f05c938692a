//! How many there were of each of a few kinds, which metrics have as the values of one label, and a
//! bound on the lines that tell of them.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::telemetry::{Count, Quota};

/// Kinds that are counted apart.
pub trait Reason: Copy + PartialEq + 'static {
    /// What the counter is called, and what it counts.
    const COUNTER: (&'static str, &'static str);
    const ALL: &'static [Self];

    /// As metrics and logs have it.
    fn name(self) -> &'static str;
}

/// One counter for each kind.
#[derive(Debug)]
pub struct Tally<R> {
    counts: Box<[Cell<u64>]>,
    pub(super) quota: Quota,
    of: PhantomData<R>,
}

impl<R: Reason> Default for Tally<R> {
    fn default() -> Self {
        Self {
            counts: R::ALL.iter().map(|_| Cell::default()).collect(),
            quota: Quota::default(),
            of: PhantomData,
        }
    }
}

impl<R: Reason> Tally<R> {
    pub(super) fn count(&self, reason: R) {
        if let Some((count, _)) = self.each().find(|(_, kind)| *kind == reason) {
            super::count(count);
        }
    }

    pub(super) fn report(&self) -> impl Iterator<Item = Count> {
        let (name, about) = R::COUNTER;
        self.each().map(move |(count, reason)| Count {
            name,
            about,
            label: ("reason", reason.name()),
            value: count.get(),
        })
    }

    fn each(&self) -> impl Iterator<Item = (&Cell<u64>, R)> {
        self.counts.iter().zip(R::ALL.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Broken, RefusedHeader};
    use super::*;

    fn each_kind_has_its_own<R: Reason>() {
        let tally = Tally::<R>::default();
        for (times, reason) in (1..).zip(R::ALL) {
            for _ in 0..times {
                tally.count(*reason);
            }
        }
        let all: Vec<_> = tally.report().map(|c| (c.label.1, c.value)).collect();
        let wanted = R::ALL.iter().map(|reason| reason.name()).zip(1..);
        assert_eq!(all, wanted.collect::<Vec<_>>());
        let names: std::collections::BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), R::ALL.len());
    }

    #[test]
    fn kinds_are_counted_apart_under_names_of_their_own() {
        each_kind_has_its_own::<Broken>();
        each_kind_has_its_own::<RefusedHeader>();
    }
}
