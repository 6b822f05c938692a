//! The few pieces of the protobuf wire format that binding and status need: writing tags, wrapping
//! what has been written, and walking the records of a small message.

/// Length-delimited.
pub(super) const LEN: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;

/// A tag and a length, at most.
const HEAD_BYTES_MAX: usize = 15;

/// How a message field's record is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiting {
    Length,
    Group,
}

pub(super) fn put_varint(mut value: u64, wire: &mut Vec<u8>) {
    while value >= 0x80 {
        wire.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    wire.push(value as u8);
}

pub(super) fn put_tag(number: u32, wire_type: u8, wire: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire_type), wire);
}

pub(super) fn put_bytes(number: u32, bytes: &[u8], wire: &mut Vec<u8>) {
    put_tag(number, LEN, wire);
    put_varint(bytes.len() as u64, wire);
    wire.extend_from_slice(bytes);
}

/// Makes everything from `start` on the content of one record of the message field `number`.
pub(super) fn wrap(number: u32, delimiting: Delimiting, start: usize, wire: &mut Vec<u8>) {
    let length = wire.len().saturating_sub(start);
    let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
    match delimiting {
        Delimiting::Length => {
            put_tag(number, LEN, &mut head);
            put_varint(length as u64, &mut head);
        }
        Delimiting::Group => {
            put_tag(number, START_GROUP, &mut head);
            put_tag(number, END_GROUP, wire);
        }
    }
    let start = start.min(wire.len());
    wire.splice(start..start, head);
}

/// One record of a message. Fixed-width values don't occur where this is used and are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'w> {
    Varint(u32, u64),
    Bytes(u32, &'w [u8]),
}

/// Walks the records of a message without groups; stops at the first malformed one.
#[derive(Clone, Debug)]
pub(super) struct Records<'w> {
    rest: &'w [u8],
}

impl<'w> Records<'w> {
    pub(super) fn of(wire: &'w [u8]) -> Self {
        Self { rest: wire }
    }

    /// Whether all has been read: false after a malformed record.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    fn record(&self) -> Option<(Option<Record<'w>>, &'w [u8])> {
        let (tag, rest) = take_varint(self.rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n != 0)?;
        match tag & 7 {
            0 => take_varint(rest).map(|(v, rest)| (Some(Record::Varint(number, v)), rest)),
            1 => Some((None, rest.get(8..)?)),
            2 => {
                let (length, rest) = take_varint(rest)?;
                let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                Some((Some(Record::Bytes(number, bytes)), rest))
            }
            5 => Some((None, rest.get(4..)?)),
            _ => None,
        }
    }
}

impl<'w> Iterator for Records<'w> {
    type Item = Record<'w>;

    fn next(&mut self) -> Option<Record<'w>> {
        while !self.rest.is_empty() {
            let (record, rest) = self.record()?;
            self.rest = rest;
            if record.is_some() {
                return record;
            }
        }
        None
    }
}

/// Whether the records of a message end where it does, groups included: what is appended to it then
/// stands beside its fields, not in one of them.
pub(super) fn is_closed(mut wire: &[u8]) -> bool {
    let mut open = Vec::new();
    while !wire.is_empty() {
        let Some((tag, rest)) = take_varint(wire) else {
            return false;
        };
        let after = match tag & 7 {
            3 => {
                open.push(tag >> 3);
                Some(rest)
            }
            4 if open.pop() == Some(tag >> 3) => Some(rest),
            _ => Records::of(wire).record().map(|(_, rest)| rest),
        };
        let Some(after) = after else {
            return false;
        };
        wire = after;
    }
    open.is_empty()
}

fn take_varint(wire: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in wire.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, wire.get(i + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_puts_a_head_before_what_was_written() {
        let mut wire = vec![0x08, 0x01];
        put_bytes(3, b"abc", &mut wire);
        wrap(2, Delimiting::Length, 2, &mut wire);
        assert_eq!(wire, [8, 1, 0x12, 5, 0x1a, 3, b'a', b'b', b'c']);
        wrap(1, Delimiting::Group, 2, &mut wire);
        assert_eq!(wire, [8, 1, 0x0b, 0x12, 5, 0x1a, 3, b'a', b'b', b'c', 0x0c]);
    }

    #[test]
    fn a_message_is_closed_when_nothing_is_left_open() {
        for closed in [
            &[][..],
            &[0x08, 1],
            &[0x12, 1, b'a'],
            &[0x0b, 0x08, 1, 0x0c],
            &[0x0b, 0x13, 0x14, 0x0c],
        ] {
            assert!(is_closed(closed), "{closed:?}");
        }
        for open in [
            &[0x08][..],
            &[0x12, 2, b'a'],
            &[0x0b, 0x08, 1],
            &[0x0c],
            &[0x0b, 0x14],
            &[0x0b, 0x13, 0x0c, 0x14],
            &[0x09, 0],
            &[0x0e],
            &[0x80],
        ] {
            assert!(!is_closed(open), "{open:?}");
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Seen {
        #[prost(string, tag = "1")]
        room: String,
        #[prost(string, tag = "2")]
        text: String,
    }

    proptest::proptest! {
        /// Whoever reads the whole sees what was appended, whatever it was appended to.
        #[test]
        fn what_is_appended_to_a_closed_message_counts(
            pieces in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::collection::vec(proptest::num::u8::ANY, 0..4),
                    proptest::sample::select(vec![
                        b"\x0a\x03pit".to_vec(),
                        b"\x12\x06".to_vec(),
                        b"\x1b".to_vec(),
                        b"\x1c".to_vec(),
                        b"\x09\0\0\0\0".to_vec(),
                        b"\x18\x80".to_vec(),
                    ]),
                ],
                0..6,
            )
        ) {
            use prost::Message as _;
            let mut wire = pieces.concat();
            if is_closed(&wire) {
                put_bytes(1, b"den", &mut wire);
                if let Ok(seen) = Seen::decode(wire.as_slice()) {
                    proptest::prop_assert_eq!(seen.room, "den");
                }
            }
        }
    }

    #[test]
    fn records_are_read_and_broken_ones_end_the_walk() {
        let mut wire = Vec::new();
        put_tag(1, 0, &mut wire);
        put_varint(300, &mut wire);
        put_tag(7, 1, &mut wire);
        wire.extend([0; 8]);
        put_bytes(2, b"x", &mut wire);
        let mut records = Records::of(&wire);
        assert_eq!(records.next(), Some(Record::Varint(1, 300)));
        assert_eq!(records.next(), Some(Record::Bytes(2, b"x")));
        assert_eq!(records.next(), None);
        assert!(records.is_done());

        for broken in [
            &[0x12, 5, b'a'][..],
            &[0x80],
            &[0x00, 0x00],
            &[0x0b],
            &[0xff; 12],
        ] {
            let mut records = Records::of(broken);
            assert_eq!(records.next(), None, "{broken:?}");
            assert!(!records.is_done(), "{broken:?}");
        }
    }
}
