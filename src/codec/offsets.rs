//! A set of keys kept as the offsets where they stand, four bytes each: finds duplicate map keys
//! without a copy of them.
//!
//! Keys come from a peer, so the hash is seeded ([`RandomState`]): nobody can aim for one chain.

use std::hash::RandomState;

use smallvec::SmallVec;

/// Up to this many keys are compared one by one.
const LINEAR_MAX: usize = 8;

/// How to read the key at an offset. Both must agree on what makes two keys equal.
pub(super) trait KeyAt {
    fn same(&self, a: u32, b: u32) -> bool;
    fn hash(&self, at: u32, state: &RandomState) -> u64;
}

#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// Offset + 1, 0 for a free slot; in the linear phase just the offsets + 1.
    slots: SmallVec<[u32; LINEAR_MAX]>,
    len: usize,
    state: Option<RandomState>,
}

impl Offsets {
    /// Adds the key at `at` (below `u32::MAX`); `true` if an equal one was there.
    pub(super) fn insert(&mut self, at: u32, keys: &impl KeyAt) -> bool {
        let Some(state) = &self.state else {
            if self.slots.iter().any(|&slot| keys.same(slot - 1, at)) {
                return true;
            }
            self.slots.push(at + 1);
            self.len += 1;
            if self.len > LINEAR_MAX {
                self.grow(32, keys);
            }
            return false;
        };
        let hash = keys.hash(at, state);
        if probe(&mut self.slots, hash, at, |other| keys.same(other, at)) {
            return true;
        }
        self.len += 1;
        if self.len > self.slots.len() / 4 * 3 {
            self.grow(self.slots.len() + self.slots.len() / 2, keys);
        }
        false
    }

    /// Empties the set for another use; `false` if it is too large to be worth keeping.
    pub(super) fn recycle(&mut self) -> bool {
        self.slots.clear();
        self.len = 0;
        self.state.is_none()
    }

    fn grow(&mut self, size: usize, keys: &impl KeyAt) {
        let state = self.state.get_or_insert_with(RandomState::new);
        let mut slots = SmallVec::new();
        slots.reserve_exact(size);
        slots.resize(size, 0);
        for at in self.slots.iter().filter_map(|slot| slot.checked_sub(1)) {
            probe(&mut slots, keys.hash(at, state), at, |_| false);
        }
        self.slots = slots;
    }
}

/// Finds `at`'s place from its hash on; `true` if an equal key holds one before it.
fn probe(slots: &mut [u32], hash: u64, at: u32, same: impl Fn(u32) -> bool) -> bool {
    let start = (((hash & 0xffff_ffff) * slots.len() as u64) >> 32) as usize;
    let (before, from) = slots
        .split_at_mut_checked(start)
        .unwrap_or((&mut [], &mut []));
    for slot in from.iter_mut().chain(before) {
        match slot.checked_sub(1) {
            None => {
                *slot = at + 1;
                return false;
            }
            Some(other) if same(other) => return true,
            Some(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    struct Numbers(Vec<u16>);

    impl KeyAt for Numbers {
        fn same(&self, a: u32, b: u32) -> bool {
            self.0[a as usize] == self.0[b as usize]
        }
        fn hash(&self, at: u32, state: &RandomState) -> u64 {
            state.hash_one(self.0[at as usize])
        }
    }

    #[test]
    fn agrees_with_a_hash_set() {
        let keys = Numbers(
            (0..20_000u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 18) as u16)
                .collect(),
        );
        let mut set = Offsets::default();
        let mut oracle = std::collections::HashSet::new();
        for (at, key) in keys.0.iter().enumerate() {
            assert_eq!(set.insert(at as u32, &keys), !oracle.insert(*key), "{at}");
        }
    }
}
