//! Duplicate keys of one JSON object that becomes a map or a Struct.

use std::hash::{BuildHasher, RandomState};

use crate::codec::lexer;
use crate::codec::offsets::{KeyAt, Offsets};
use crate::codec::scalar;

use super::Str;

/// The keys of one object, by where they stand in the document.
#[derive(Debug, Default)]
pub(super) struct Keys {
    seen: Offsets,
}

impl Keys {
    /// Adds a key; `true` if it was there. `numeric`: keys are numbers, so `"1"` equals `"1.0"`.
    pub(super) fn insert(&mut self, json: &[u8], key: Str, numeric: bool) -> bool {
        let Ok(at) = u32::try_from(key.start) else {
            return false;
        };
        self.seen.insert(at, &Document { json, numeric })
    }
}

impl Keys {
    /// See [`Offsets::recycle`].
    pub(super) fn recycle(&mut self) -> bool {
        self.seen.recycle()
    }
}

struct Document<'a> {
    json: &'a [u8],
    numeric: bool,
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Plain(&'a [u8]),
    Number(i128),
}

impl Document<'_> {
    fn with<T>(&self, at: u32, then: impl FnOnce(Key<'_>) -> T) -> T {
        let (start, mut escaped) = (at as usize, false);
        let (_, end) = lexer::scan_string(self.json, start, self.json.len(), &mut escaped);
        let raw = self.json.get(start..end).unwrap_or(&[]);
        let mut text = Vec::new();
        let mut plain = raw;
        if escaped && lexer::unescape(raw, 0, usize::MAX, &mut text).is_ok() {
            plain = &text;
        }
        match scalar::integer(plain) {
            Ok(number) if self.numeric => then(Key::Number(number)),
            _ => then(Key::Plain(plain)),
        }
    }
}

impl KeyAt for Document<'_> {
    fn same(&self, a: u32, b: u32) -> bool {
        let (first_a, first_b) = (self.json.get(a as usize), self.json.get(b as usize));
        let escaped = first_a == Some(&b'\\') || first_b == Some(&b'\\');
        if first_a != first_b && !escaped && !self.numeric {
            return false;
        }
        self.with(a, |a| self.with(b, |b| a == b))
    }

    fn hash(&self, at: u32, state: &RandomState) -> u64 {
        self.with(at, |key| state.hash_one(key))
    }
}
