//! Bytes of bodies and messages that are held whole, of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What isn't larger isn't counted: as much is in the buffers of any connection.
const FREE_BYTES: usize = 16 * 1024;
/// What is taken at once, so that a body which comes in small pieces costs few looks at what all share.
const STEP_BYTES: usize = 64 * 1024;

/// How much is held, and how much may be.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    max: AtomicUsize,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Default for Budget {
    /// Without a limit, until [`Budget::set_max`] gives one.
    fn default() -> Self {
        Self {
            held: AtomicUsize::new(0),
            max: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Budget {
    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// From now on; what is held already stays.
    pub fn set_max(&self, bytes: usize) {
        self.max.store(bytes, Ordering::Relaxed);
    }

    /// What requests may take of it. The rest is for answers: their calls have been made, and end only
    /// when they are read.
    fn for_requests(&self) -> usize {
        let max = self.max();
        max - max / 4
    }

    fn take(&self, bytes: usize, max: usize) -> Result<(), Exhausted> {
        let taken = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|held| *held <= max)
            });
        taken.map(drop).map_err(|_| Exhausted)
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The part of a budget that one buffer takes, until it is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
    is_request: bool,
}

impl Held {
    /// Nothing yet, for a request.
    #[must_use]
    pub fn of_request(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            bytes: 0,
            is_request: true,
        }
    }

    /// Nothing yet, for an answer.
    #[must_use]
    pub fn of_answer(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            bytes: 0,
            is_request: false,
        }
    }

    /// Whether a buffer of so many bytes needs to be counted at all.
    #[must_use]
    pub const fn counts(bytes: usize) -> bool {
        bytes > FREE_BYTES
    }

    /// Takes what a buffer of so many bytes needs beyond what is taken already.
    ///
    /// # Errors
    /// There is no room; what was taken stays.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes || !Self::counts(bytes) {
            return Ok(());
        }
        let whole = bytes
            .checked_next_multiple_of(STEP_BYTES)
            .ok_or(Exhausted)?;
        let max = match self.is_request {
            true => self.budget.for_requests(),
            false => self.budget.max(),
        };
        self.budget.take(whole.saturating_sub(self.bytes), max)?;
        self.bytes = whole;
        Ok(())
    }

    /// The buffer, which gives back what it takes when its last copy or part is dropped.
    #[must_use]
    pub fn seal(self, buffer: Bytes) -> Bytes {
        match self.bytes {
            0 => buffer,
            _ => Bytes::from_owner(Sealed {
                buffer,
                _held: self,
            }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

struct Sealed {
    buffer: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(max: usize) -> Arc<Budget> {
        let budget = Arc::new(Budget::default());
        budget.set_max(max);
        budget
    }

    #[test]
    fn small_ones_are_free_and_large_ones_go_by_steps() {
        let budget = budget(usize::MAX);
        let mut held = Held::of_request(Arc::clone(&budget));
        held.cover(FREE_BYTES).unwrap();
        assert_eq!(budget.held(), 0);
        held.cover(FREE_BYTES + 1).unwrap();
        assert_eq!(budget.held(), STEP_BYTES);
        held.cover(STEP_BYTES).unwrap();
        assert_eq!(budget.held(), STEP_BYTES);
        held.cover(STEP_BYTES + 1).unwrap();
        assert_eq!(budget.held(), 2 * STEP_BYTES);
        drop(held);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_buffer_is_held_until_its_last_part_is_gone() {
        let budget = budget(usize::MAX);
        let mut held = Held::of_answer(Arc::clone(&budget));
        held.cover(STEP_BYTES).unwrap();
        let sealed = held.seal(Bytes::from(vec![7; STEP_BYTES]));
        let part = sealed.slice(5..6);
        drop(sealed);
        assert_eq!((&part[..], budget.held()), (&[7][..], STEP_BYTES));
        drop(part);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn answers_find_room_when_requests_have_none() {
        let budget = budget(4 * STEP_BYTES);
        let mut request = Held::of_request(Arc::clone(&budget));
        assert_eq!(request.cover(4 * STEP_BYTES), Err(Exhausted));
        request.cover(3 * STEP_BYTES).unwrap();
        let mut next = Held::of_request(Arc::clone(&budget));
        assert_eq!(next.cover(STEP_BYTES), Err(Exhausted));
        let mut answer = Held::of_answer(Arc::clone(&budget));
        answer.cover(STEP_BYTES).unwrap();
        assert_eq!(answer.cover(STEP_BYTES + 1), Err(Exhausted));
        assert_eq!(budget.held(), budget.max());
    }

    proptest! {
        #[test]
        fn no_more_is_held_than_may_be_and_all_of_it_comes_back(
            max in 0..2_000_000_usize,
            steps in prop::collection::vec((0..8_usize, 0..600_000_usize, any::<bool>()), 0..60),
        ) {
            let budget = budget(max);
            let mut all: Vec<_> = (0..8)
                .map(|n| match n % 2 {
                    0 => Some(Held::of_request(Arc::clone(&budget))),
                    _ => Some(Held::of_answer(Arc::clone(&budget))),
                })
                .collect();
            for (which, bytes, end) in steps {
                match &mut all[which] {
                    slot @ Some(_) if end => *slot = None,
                    Some(held) => {
                        let before = held.bytes;
                        match held.cover(bytes) {
                            Ok(()) => assert!(held.bytes >= bytes || !Held::counts(bytes)),
                            Err(Exhausted) => assert_eq!(held.bytes, before),
                        }
                    }
                    None => {}
                }
                assert!(budget.held() <= max);
                let sum: usize = all.iter().flatten().map(|h| h.bytes).sum();
                assert_eq!(budget.held(), sum);
            }
            drop(all);
            assert_eq!(budget.held(), 0);
        }
    }
}
