//! The order of an object's members, learned from the objects before it: clients write all elements of
//! an array alike, though not as the schema has them.

use crate::schema::MessageId;

/// So many pairs of neighbours are remembered; a newer one takes the place of an older.
const PAIRS: usize = 64;

/// Which field of a message came after which.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Empty until something is learned.
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    message: u32,
    after: u32,
    field: u32,
}

impl Order {
    /// The field that followed `after` (or whatever stands for the beginning) the last time.
    #[inline]
    pub(super) fn next(&self, message: MessageId, after: u32) -> Option<u32> {
        let pair = self.pairs.get(place(message, after))?;
        (pair.message == message.0 && pair.after == after).then_some(pair.field)
    }

    #[cold]
    pub(super) fn learn(&mut self, message: MessageId, after: u32, field: u32) {
        if self.pairs.is_empty() {
            let none = Pair {
                message: u32::MAX,
                after: 0,
                field: 0,
            };
            self.pairs.resize(PAIRS, none);
        }
        if let Some(pair) = self.pairs.get_mut(place(message, after)) {
            *pair = Pair {
                message: message.0,
                after,
                field,
            };
        }
    }
}

#[inline]
fn place(message: MessageId, after: u32) -> usize {
    (message.0.wrapping_mul(29).wrapping_add(after)) as usize % PAIRS
}
