//! One record of a message at a time, matched with the field it belongs to.
//!
//! All that reads messages (validation, printing, normalising) reads them through here, so they agree
//! on what is a field and what is unknown: a record of the wrong wire type is unknown, as in every
//! protobuf parser.

use super::tables::MessageTable;
use super::wire;
use crate::schema::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes {
        start: usize,
        end: usize,
    },
    /// A known group: its content begins here; where it ends is not known yet.
    Group {
        start: usize,
    },
    /// An unknown record, skipped.
    Skipped,
    /// The end of the group that this message is, with its number.
    EndGroup(u32),
}

impl Content {
    /// The value as the kind holds it: a varint may carry more bits than it.
    #[inline]
    pub(super) fn canonical(self, kind: Kind) -> Self {
        match self {
            Self::Varint(n) => Self::Varint(match kind {
                Kind::Bool => u64::from(n != 0),
                Kind::Int32 | Kind::Enum(_) => i64::from(n as i32) as u64,
                Kind::Uint32 | Kind::Sint32 => u64::from(n as u32),
                _ => n,
            }),
            other => other,
        }
    }

    /// A number as bits that are equal when the numbers are.
    pub(super) fn bits(self, kind: Kind) -> u64 {
        match self.canonical(kind) {
            Self::Varint(n) | Self::Fixed64(n) => n,
            Self::Fixed32(n) => n.into(),
            _ => 0,
        }
    }

    /// Whether the value is the zero of its kind.
    #[inline]
    pub(super) fn is_zero_of(self, kind: Kind) -> bool {
        match self {
            Self::Varint(n) if n > u64::from(u32::MAX) => self.canonical(kind) == Self::Varint(0),
            Self::Varint(n) | Self::Fixed64(n) => n == 0,
            Self::Fixed32(n) => n == 0,
            Self::Bytes { start, end } => start == end,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Index in the message's table; `None`: unknown.
    pub field: Option<u32>,
    pub content: Content,
}

/// Reads the record at `pos`, which lies before `end`; `None` if it is malformed. Inlined, a record
/// needs no place in memory.
#[inline(always)]
pub(super) fn next(
    table: &MessageTable,
    wire: &[u8],
    pos: &mut usize,
    end: usize,
) -> Option<Record> {
    let tag = *wire.get(*pos)?;
    // Most numbers are low, and most records are of a field.
    let Some(index) = table.by_tag(tag) else {
        return next_of_any_tag(table, wire, pos, end);
    };
    *pos += 1;
    let content = content(wire, pos, end, tag & 7)?;
    (*pos <= end).then_some(Record {
        field: Some(index),
        content,
    })
}

/// The content of a field's record, which begins at `pos`.
#[inline(always)]
fn content(wire: &[u8], pos: &mut usize, end: usize, kind: u8) -> Option<Content> {
    Some(match kind {
        wire::VARINT => Content::Varint(wire::varint(wire, pos)?),
        wire::LEN => {
            let len = wire::length(wire, pos, end)?;
            let start = *pos;
            *pos += len;
            Content::Bytes { start, end: *pos }
        }
        wire::FIXED32 => Content::Fixed32(wire::fixed32(wire, pos)?),
        wire::FIXED64 => Content::Fixed64(wire::fixed64(wire, pos)?),
        _ => Content::Group { start: *pos },
    })
}

#[inline(never)]
fn next_of_any_tag(
    table: &MessageTable,
    wire: &[u8],
    pos: &mut usize,
    end: usize,
) -> Option<Record> {
    let (number, kind) = wire::tag(wire, pos)?;
    if kind == wire::END_GROUP {
        return (*pos <= end).then_some(Record {
            field: None,
            content: Content::EndGroup(number),
        });
    }
    if table.message_set && number == 1 && kind == wire::GROUP {
        return set_item(table, wire, pos, end);
    }
    let field = table.by_number(number);
    let known = field
        .and_then(|at| table.fields.get(at as usize))
        .is_some_and(|f| f.accepts(kind));
    if !known {
        wire::skip(wire, pos, end, number, kind)?;
        return Some(Record {
            field: None,
            content: Content::Skipped,
        });
    }
    let content = content(wire, pos, end, kind)?;
    (*pos <= end).then_some(Record { field, content })
}

/// `group 1 { type_id = 2; message = 3 }` of a MessageSet, in either order.
fn set_item(table: &MessageTable, wire: &[u8], pos: &mut usize, end: usize) -> Option<Record> {
    let (mut number, mut content) = (0u32, None);
    loop {
        if *pos >= end {
            return None;
        }
        match wire::tag(wire, pos)? {
            (1, wire::END_GROUP) => break,
            (2, wire::VARINT) => number = u32::try_from(wire::varint(wire, pos)?).ok()?,
            (3, wire::LEN) => {
                let len = wire::length(wire, pos, end)?;
                content = Some(Content::Bytes {
                    start: *pos,
                    end: *pos + len,
                });
                *pos += len;
            }
            (number, kind) => wire::skip(wire, pos, end, number, kind)?,
        }
    }
    let field = table
        .by_number(number)
        .filter(|&at| table.fields.get(at as usize).is_some_and(|f| f.set_item));
    Some(match (field, content) {
        (Some(_), Some(content)) => Record { field, content },
        _ => Record {
            field: None,
            content: Content::Skipped,
        },
    })
}

/// The range of the content of the group that begins at `start`, and where its end tag ends.
pub(super) fn group_end(
    wire: &[u8],
    start: usize,
    end: usize,
    number: u32,
) -> Option<(usize, usize)> {
    let mut pos = start;
    let content_end = wire::group(wire, &mut pos, end, number)?;
    Some((content_end, pos))
}
