//! One id for a request on all its way: the client's own if it can be one, else a new one.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id of a client's that is kept.
const ID_BYTES_MAX: usize = 128;

/// Makes ids of one worker: UUIDs of version 7 (RFC 9562 §5.7), so that they sort by time. Unique,
/// not secret: the random part comes from a small generator seeded by the process's hash keys.
#[derive(Debug)]
pub(super) struct Ids {
    state: Cell<u64>,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self {
            state: Cell::new(RandomState::new().build_hasher().finish()),
        }
    }

    /// The client's id when it is 1 to 128 visible ASCII characters, else a new one.
    pub(super) fn of(&self, given: Option<&HeaderValue>) -> HeaderValue {
        match given.filter(|id| is_id(id.as_bytes())) {
            Some(id) => id.clone(),
            None => self.create(),
        }
    }

    fn create(&self) -> HeaderValue {
        let millis = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let high = (millis << 16) | 0x7000 | (self.next() & 0x0fff);
        let low = (self.next() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        let digits = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
        let mut text = [b'-'; 36];
        for (at, byte) in DIGITS_AT.into_iter().zip(digits) {
            if let Some([tens, ones]) = text.get_mut(at..at + 2) {
                (*tens, *ones) = (hex(byte >> 4), hex(byte & 0x0f));
            }
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unknown"))
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Where the two digits of each byte stand in a UUID's text.
const DIGITS_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

fn hex(nibble: u8) -> u8 {
    match nibble {
        0..10 => b'0' + nibble,
        _ => b'a' + (nibble - 10),
    }
}

fn is_id(bytes: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_id_is_kept_and_a_bad_one_replaced() {
        let ids = Ids::new();
        let long = "x".repeat(128);
        for good in ["a", "7f3/…".get(..4).unwrap(), &long] {
            let value = HeaderValue::from_str(good).unwrap();
            assert_eq!(ids.of(Some(&value)), value);
        }
        let longer = "x".repeat(129);
        for bad in ["", "a b", "caf\u{e9}", &longer] {
            let value = HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            assert_ne!(ids.of(Some(&value)), value, "{bad:?}");
        }
    }

    #[test]
    fn new_ids_are_uuids_and_differ() {
        let ids = Ids::new();
        let made: std::collections::BTreeSet<String> = (0..1000)
            .map(|_| ids.of(None).to_str().unwrap().to_owned())
            .collect();
        assert_eq!(made.len(), 1000);
        for id in &made {
            let groups: Vec<&str> = id.split('-').collect();
            assert_eq!(
                groups.iter().map(|g| g.len()).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12]
            );
            assert!(
                groups[2].starts_with('7') && "89ab".contains(&groups[3][..1]),
                "{id}"
            );
            assert!(id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()));
        }
    }
}
