//! The protobuf wire format: varints, tags and skipping, over plain slices.
//!
//! Every reader returns `None` past the end or on a malformed value; nothing here knows a schema.

use smallvec::SmallVec;

/// Wire types (protobuf.dev/programming-guides/encoding).
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LEN: u8 = 2;
pub(super) const GROUP: u8 = 3;
pub(super) const END_GROUP: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// Groups of unknown fields nest no deeper than this.
const UNKNOWN_DEPTH_MAX: usize = 100;

/// Reads a varint of at most ten bytes.
#[inline]
pub(super) fn varint(wire: &[u8], pos: &mut usize) -> Option<u64> {
    let first = *wire.get(*pos)?;
    if first < 0x80 {
        *pos += 1;
        return Some(u64::from(first));
    }
    varint_long(wire, pos)
}

/// Up to eight bytes are read as one word, and the high bits taken out of it by halves.
fn varint_long(wire: &[u8], pos: &mut usize) -> Option<u64> {
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some(&bytes) = wire.get(*pos..).and_then(|rest| rest.first_chunk::<8>()) else {
        return varint_by_bytes(wire, pos);
    };
    let word = u64::from_le_bytes(bytes);
    let ends = !word & HIGHS;
    if ends == 0 {
        return varint_by_bytes(wire, pos);
    }
    // All bits up to the high one of the last byte, which is not set.
    let word = word & (ends ^ (ends - 1)) & !HIGHS;
    let pairs = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let quads = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    *pos += (ends.trailing_zeros() / 8) as usize + 1;
    Some(quads & 0x0fff_ffff | (quads & 0x0fff_ffff_0000_0000) >> 4)
}

fn varint_by_bytes(wire: &[u8], pos: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in 0..10u32 {
        let byte = *wire.get(*pos + shift as usize)?;
        // The tenth byte holds one bit; the rest of it is dropped, as all decoders do.
        value |= u64::from(byte & 0x7f).wrapping_shl(shift * 7);
        if byte < 0x80 {
            *pos += shift as usize + 1;
            return Some(value);
        }
    }
    None
}

/// Reads a tag: field number (never 0) and wire type.
#[inline]
pub(super) fn tag(wire: &[u8], pos: &mut usize) -> Option<(u32, u8)> {
    let raw = varint(wire, pos)?;
    let raw = u32::try_from(raw).ok()?;
    let (number, kind) = (raw >> 3, (raw & 7) as u8);
    (number != 0 && kind <= FIXED32).then_some((number, kind))
}

#[inline]
pub(super) fn fixed32(wire: &[u8], pos: &mut usize) -> Option<u32> {
    let bytes: [u8; 4] = wire.get(*pos..pos.checked_add(4)?)?.try_into().ok()?;
    *pos += 4;
    Some(u32::from_le_bytes(bytes))
}

#[inline]
pub(super) fn fixed64(wire: &[u8], pos: &mut usize) -> Option<u64> {
    let bytes: [u8; 8] = wire.get(*pos..pos.checked_add(8)?)?.try_into().ok()?;
    *pos += 8;
    Some(u64::from_le_bytes(bytes))
}

/// Reads a length and checks that so many bytes follow before `end`.
#[inline]
pub(super) fn length(wire: &[u8], pos: &mut usize, end: usize) -> Option<usize> {
    let len = usize::try_from(varint(wire, pos)?).ok()?;
    (len <= end.checked_sub(*pos)?).then_some(len)
}

/// Skips the value after a tag. For a group, up to and with its end tag.
pub(super) fn skip(wire: &[u8], pos: &mut usize, end: usize, number: u32, kind: u8) -> Option<()> {
    match kind {
        GROUP => {
            group(wire, pos, end, number)?;
        }
        _ => skip_flat(wire, pos, end, kind)?,
    }
    (*pos <= end).then_some(())
}

fn skip_flat(wire: &[u8], pos: &mut usize, end: usize, kind: u8) -> Option<()> {
    match kind {
        VARINT => varint(wire, pos).map(drop),
        FIXED64 => {
            *pos = pos.checked_add(8)?;
            Some(())
        }
        FIXED32 => {
            *pos = pos.checked_add(4)?;
            Some(())
        }
        LEN => {
            *pos += length(wire, pos, end)?;
            Some(())
        }
        _ => None,
    }
}

/// Skips a group's content and its end tag; where that tag begins.
pub(super) fn group(wire: &[u8], pos: &mut usize, end: usize, number: u32) -> Option<usize> {
    let mut open: SmallVec<[u32; 8]> = SmallVec::new();
    open.push(number);
    let mut last = *pos;
    while let Some(&inner) = open.last() {
        if *pos >= end {
            return None;
        }
        last = *pos;
        let (number, kind) = tag(wire, pos)?;
        match kind {
            GROUP if open.len() < UNKNOWN_DEPTH_MAX => open.push(number),
            END_GROUP if number == inner => {
                open.pop();
            }
            _ => skip_flat(wire, pos, end, kind)?,
        }
        if *pos > end {
            return None;
        }
    }
    Some(last)
}

/// How many bytes the varint takes.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    // 64 bits in groups of 7; `| 1` so that zero takes one byte.
    ((70 - (value | 1).leading_zeros()) / 7) as usize
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x80 => out.push(value as u8),
        _ => put_varint_of_more(out, value),
    }
}

fn put_varint_of_more(out: &mut Vec<u8>, value: u64) {
    let seven = |shift: u32| (value >> shift) as u8 & 0x7f;
    match value {
        0..0x4000 => out.extend_from_slice(&[seven(0) | 0x80, seven(7)]),
        0x4000..0x20_0000 => {
            out.extend_from_slice(&[seven(0) | 0x80, seven(7) | 0x80, seven(14)]);
        }
        _ => put_varint_long(out, value),
    }
}

fn put_varint_long(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, kind: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(kind));
}

/// `tag`, length and bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, LEN);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[inline]
pub(super) fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

#[inline]
pub(super) fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(super) fn unzigzag32(value: u32) -> i32 {
    ((value >> 1) as i32) ^ -((value & 1) as i32)
}

#[inline]
pub(super) fn unzigzag64(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// A length prefix whose size was guessed before its content was known.
#[derive(Clone, Copy, Debug)]
pub(super) struct LengthSlot {
    at: usize,
    reserved: usize,
}

impl LengthSlot {
    /// Reserves `reserved` bytes (1 to 5) at the end of `out`.
    pub(super) fn open(out: &mut Vec<u8>, reserved: usize) -> Self {
        let at = out.len();
        out.extend_from_slice([0u8; 5].get(..reserved).unwrap_or(&[0; 5]));
        Self {
            at,
            reserved: out.len() - at,
        }
    }

    /// Writes the length of all that follows the slot, and says how many bytes had to be moved for
    /// it and how many bytes the length takes. With `pad`, a slot that is too wide is filled with a
    /// longer varint of the same value (legal in protobuf) rather than moving the content.
    pub(super) fn close(self, out: &mut Vec<u8>, pad: bool) -> (usize, usize) {
        let body = self.at + self.reserved;
        let len = out.len().saturating_sub(body);
        let need = varint_len(len as u64);
        if need == 1
            && self.reserved == 1
            && let Some(byte) = out.get_mut(self.at)
        {
            *byte = len as u8;
            return (0, 1);
        }
        let mut width = need;
        let mut moved = 0;
        if need > self.reserved {
            let old = out.len();
            out.resize(old + need - self.reserved, 0);
            out.copy_within(body..old, self.at + need);
            moved = len;
        } else if need < self.reserved {
            if pad {
                width = self.reserved;
            } else {
                out.copy_within(body.., self.at + need);
                out.truncate(self.at + need + len);
                moved = len;
            }
        }
        let mut rest = len as u64;
        if let Some(slot) = out.get_mut(self.at..self.at + width) {
            for (i, byte) in slot.iter_mut().enumerate() {
                let more = if i + 1 < width { 0x80 } else { 0 };
                *byte = (rest as u8 & 0x7f) | more;
                rest >>= 7;
            }
        }
        (moved, need)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value));
                assert_eq!(varint(&out, &mut 0), Some(value));
                // With more behind it, and in more bytes than it needs.
                let len = out.len();
                for more in [0x00, 0x7f, 0x80, 0xff] {
                    let text = [&out[..], &[more; 12]].concat();
                    let mut pos = 0;
                    assert_eq!(varint(&text, &mut pos), Some(value));
                    assert_eq!(pos, len);
                }
                if let Some(last) = out.last_mut().filter(|_| len < 9) {
                    *last |= 0x80;
                    out.extend_from_slice(&[0x80, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
                    let mut pos = 0;
                    assert_eq!(varint(&out, &mut pos), Some(value));
                    assert_eq!(pos, len + 2);
                }
            }
        }
        assert_eq!(varint(&[0x80; 20], &mut 0), None);
        assert_eq!(varint(&[0xff; 3], &mut 0), None);
    }
}
