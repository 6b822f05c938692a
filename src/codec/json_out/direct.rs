//! Small messages in one pass: checked while they are printed.
//!
//! Anything out of the ordinary (bad wire, another order of fields, groups, `Any`, unknown numbers of
//! closed enums, too much output) gives up: what was printed is taken back and the message goes the
//! long way, which finds the error or the right shape. Recursion is bounded; nothing stops here,
//! because all of it is less than one slice of work. Tests print everything both ways.

use smallvec::SmallVec;

use super::object::map_key;
use super::validate::EntryKeys;
use super::value::{put_integer, put_scalar};
use super::{Cx, forms};
use crate::codec::offsets::Offsets;
use crate::codec::record::{self, Content};
use crate::codec::tables::{FieldTable, Form, MessageTable, NONE, Shape};
use crate::codec::well_known::{self, Instant};
use crate::codec::{lexer, scalar, wire};
use crate::schema::{Kind, MessageId};

/// Messages up to this size are tried.
pub(super) const BYTES_MAX: usize = 64 * 1024;
/// Their JSON may be so long: mostly it is half as long again as the wire. A message whose JSON is
/// longer has been printed in vain, and is printed in slices.
const JSON_BYTES_MAX: usize = 2 * BYTES_MAX;
/// Calls nest no deeper than this.
const CALLS_MAX: usize = 100;

/// Prints the message to the end of `out`; `false` if it has to go the long way, with `out` as it was.
pub(super) fn print(cx: &Cx<'_>, id: MessageId, depth_max: usize, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let mut job = Direct {
        cx,
        stop: begin.saturating_add(JSON_BYTES_MAX),
        depth_max,
        calls: 0,
        out,
    };
    let done = job.message(id, (0, cx.wire.len()), 0).is_some();
    if !done {
        out.truncate(begin);
    }
    done
}

type Range = (usize, usize);

struct Direct<'a, 'w> {
    cx: &'a Cx<'w>,
    out: &'a mut Vec<u8>,
    stop: usize,
    depth_max: usize,
    calls: usize,
}

/// `None` throughout: give up.
impl Direct<'_, '_> {
    fn bytes(&self, range: Range) -> &[u8] {
        self.cx.wire.get(range.0..range.1).unwrap_or(&[])
    }

    /// One level of JSON more.
    fn deeper(&self, level: usize) -> Option<usize> {
        (level < self.depth_max && self.out.len() < self.stop).then_some(level + 1)
    }

    fn message(&mut self, id: MessageId, range: Range, level: usize) -> Option<()> {
        let table = self.cx.tables.message(id)?;
        match table.form {
            Form::Object => {
                self.calls += 1;
                if self.calls > CALLS_MAX {
                    return None;
                }
                let level = self.deeper(level)?;
                self.object(table, range, level)?;
                self.calls -= 1;
                Some(())
            }
            Form::Timestamp => {
                let at = Instant::read_plain(self.bytes(range))?;
                well_known::timestamp_in_range(at).then_some(())?;
                self.out.push(b'"');
                well_known::put_timestamp(self.out, at);
                self.out.push(b'"');
                Some(())
            }
            Form::Duration => {
                let at = Instant::read_plain(self.bytes(range))?;
                well_known::duration_in_range(at).then_some(())?;
                self.out.push(b'"');
                well_known::put_duration(self.out, at);
                self.out.push(b'"');
                Some(())
            }
            Form::Wrapper => self.wrapper(table, range, level),
            Form::Struct | Form::ListValue | Form::Value => {
                self.calls += 1;
                if self.calls > CALLS_MAX {
                    return None;
                }
                match table.form {
                    Form::Value => self.json_value(table, range, level)?,
                    _ => self.container(table, range, level)?,
                }
                self.calls -= 1;
                Some(())
            }
            Form::FieldMask => self.mask(table, range),
            Form::Any => None,
        }
    }

    fn object(&mut self, table: &MessageTable, range: Range, level: usize) -> Option<()> {
        self.out.push(b'{');
        let (mut pos, end) = range;
        // One past the last field on the wire, and the next whose default may be due.
        let (mut last, mut due) = (0u32, 0u32);
        let mut oneofs = 0u64;
        let mut first = true;
        while pos < end {
            let at = pos;
            let record = record::next(table, self.cx.wire, &mut pos, end)?;
            let Some(index) = record.field else {
                match record.content {
                    Content::Skipped => continue,
                    _ => return None,
                }
            };
            if index < last {
                return None;
            }
            last = index + 1;
            let field = table.fields.get(index as usize)?;
            if field.oneof != NONE {
                let bit = 1u64.checked_shl(field.oneof.into())?;
                if oneofs & bit != 0 {
                    return None;
                }
                oneofs |= bit;
            }
            if field.implicit && record.content.is_zero_of(field.kind) {
                continue;
            }
            if table.has_absent {
                self.defaults(table, due, index, &mut first);
                due = index + 1;
            }
            self.key(field, &mut first);
            match field.shape {
                Shape::Singular => self.short_value(field, record.content, level)?,
                Shape::Map(entry) => {
                    let level = self.deeper(level)?;
                    pos = self.map(field, entry, (at, end), level)?;
                }
                _ => {
                    let level = self.deeper(level)?;
                    self.array(table, field, record.content, &mut pos, end, level)?;
                }
            }
            if self.out.len() > self.stop {
                return None;
            }
        }
        if table.has_absent {
            self.defaults(table, due, table.fields.len() as u32, &mut first);
        }
        self.out.push(b'}');
        Some(())
    }

    #[inline]
    fn key(&mut self, field: &FieldTable, first: &mut bool) {
        self.out.extend_from_slice(match std::mem::take(first) {
            true => field.key(),
            false => &field.comma_key,
        });
    }

    fn defaults(&mut self, table: &MessageTable, from: u32, until: u32, first: &mut bool) {
        let fields = table.fields.get(from as usize..until as usize);
        for field in fields.unwrap_or(&[]) {
            if field.absent.is_empty() {
                continue;
            }
            self.key(field, first);
            self.out.extend_from_slice(&field.absent);
        }
    }

    /// The elements of a record and of those of the same tag that follow it.
    fn array(
        &mut self,
        table: &MessageTable,
        field: &FieldTable,
        content: Content,
        pos: &mut usize,
        end: usize,
        level: usize,
    ) -> Option<()> {
        self.out.push(b'[');
        if let (true, Content::Bytes { start, end }) = (field.packable, content) {
            self.packed(field, (start, end))?;
            self.out.push(b']');
            return Some(());
        }
        self.short_value(field, content, level)?;
        while *pos < end && field.tag.is_at(self.cx.wire, *pos) {
            let record = record::next(table, self.cx.wire, pos, end)?;
            self.out.push(b',');
            self.short_value(field, record.content, level)?;
            if self.out.len() > self.stop {
                return None;
            }
        }
        self.out.push(b']');
        Some(())
    }

    fn packed(&mut self, field: &FieldTable, range: Range) -> Option<()> {
        let (mut pos, end) = range;
        if pos == end {
            return None;
        }
        let mut first = true;
        while pos < end {
            let content = match field.wire_type {
                wire::FIXED32 => Content::Fixed32(wire::fixed32(self.cx.wire, &mut pos)?),
                wire::FIXED64 => Content::Fixed64(wire::fixed64(self.cx.wire, &mut pos)?),
                _ => Content::Varint(wire::varint(self.cx.wire, &mut pos)?),
            };
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.value(field, content, 0)?;
            if self.out.len() > self.stop {
                return None;
            }
        }
        (pos == end).then_some(())
    }

    /// The entry whose record begins the range, and those of the same tag that follow it; where the
    /// last one ends.
    fn map(
        &mut self,
        field: &FieldTable,
        entry: MessageId,
        range: Range,
        level: usize,
    ) -> Option<usize> {
        let table = self.cx.tables.message(entry)?;
        let (key, value) = self.cx.tables.entry(entry)?;
        let keys = EntryKeys {
            wire: self.cx.wire,
            key,
        };
        let mut seen = Offsets::default();
        let (mut pos, end) = range;
        self.out.push(b'{');
        loop {
            if seen.insert(u32::try_from(pos).ok()?, &keys) {
                return None;
            }
            wire::tag(self.cx.wire, &mut pos)?;
            let len = wire::length(self.cx.wire, &mut pos, end)?;
            self.entry(table, key, value, (pos, pos + len), level)?;
            pos += len;
            if self.out.len() > self.stop {
                return None;
            }
            if pos >= end || !field.tag.is_at(self.cx.wire, pos) {
                break;
            }
            self.out.push(b',');
        }
        self.out.push(b'}');
        Some(pos)
    }

    fn entry(
        &mut self,
        table: &MessageTable,
        key: &FieldTable,
        value: &FieldTable,
        range: Range,
        level: usize,
    ) -> Option<()> {
        let (mut pos, end) = range;
        let mut parts = [None, None];
        let mut last = 0;
        while pos < end {
            let record = record::next(table, self.cx.wire, &mut pos, end)?;
            let index = record.field.filter(|&i| i >= last)?;
            last = index + 1;
            *parts.get_mut(index as usize)? = Some(record.content);
        }
        match parts[0] {
            Some(Content::Bytes { start, end }) => self.string((start, end))?,
            content => map_key(self.cx, key, content, self.out),
        }
        self.out.push(b':');
        match (parts[1], value.kind) {
            (Some(content), _) => self.value(value, content, level),
            (None, Kind::Message(id)) => self.message(id, (end, end), level),
            (None, _) => {
                self.out.extend_from_slice(&value.zero);
                Some(())
            }
        }
    }

    /// A value, with a short way to what most of them are.
    #[inline]
    fn short_value(&mut self, field: &FieldTable, content: Content, level: usize) -> Option<()> {
        match content {
            Content::Bytes { start, end } if field.kind == Kind::String => {
                self.string((start, end))
            }
            _ => self.value(field, content, level),
        }
    }

    fn value(&mut self, field: &FieldTable, content: Content, level: usize) -> Option<()> {
        match (content, field.kind) {
            (Content::Bytes { start, end }, Kind::String) => self.string((start, end)),
            (Content::Bytes { start, end }, Kind::Message(id)) => {
                self.message(id, (start, end), level)
            }
            (Content::Bytes { start, end }, Kind::Bytes) => {
                self.out.push(b'"');
                scalar::put_base64(self.out, self.cx.wire.get(start..end)?);
                self.out.push(b'"');
                Some(())
            }
            (Content::Varint(n), Kind::Enum(id)) => {
                let number = n as i32;
                let table = self.cx.tables.enumeration(id)?;
                match table.literal(number) {
                    Some(literal) => self.out.extend_from_slice(literal),
                    None if table.closed => return None,
                    None => put_integer(self.out, number),
                }
                Some(())
            }
            (Content::Varint(_) | Content::Fixed32(_) | Content::Fixed64(_), _) => {
                put_scalar(self.out, field, content);
                Some(())
            }
            _ => None,
        }
    }

    /// A string that is mostly plain ASCII: one look at each word for both UTF-8 and escapes.
    #[inline]
    fn string(&mut self, range: Range) -> Option<()> {
        let text = self.cx.wire.get(range.0..range.1)?;
        self.out.push(b'"');
        if lexer::is_plain_ascii(text) {
            self.out.extend_from_slice(text);
        } else {
            simdutf8::basic::from_utf8(text).ok()?;
            scalar::put_escaped(self.out, text);
        }
        self.out.push(b'"');
        Some(())
    }

    fn wrapper(&mut self, table: &MessageTable, range: Range, level: usize) -> Option<()> {
        let field = table.fields.first()?;
        let (mut pos, end) = range;
        if pos == end {
            self.out.extend_from_slice(&field.zero);
            return Some(());
        }
        let record = record::next(table, self.cx.wire, &mut pos, end)?;
        if record.field != Some(0) || pos != end {
            return None;
        }
        self.value(field, record.content, level)
    }

    fn mask(&mut self, table: &MessageTable, range: Range) -> Option<()> {
        let mut pos = range.0;
        let mut paths: SmallVec<[Range; 8]> = SmallVec::new();
        while pos < range.1 {
            let record = record::next(table, self.cx.wire, &mut pos, range.1)?;
            match (record.field, record.content) {
                (Some(0), Content::Bytes { start, end }) => paths.push((start, end)),
                _ => return None,
            }
        }
        for path in &paths {
            let path = self.bytes(*path);
            simdutf8::basic::from_utf8(path).ok()?;
            well_known::mask_path_round_trips(path).then_some(())?;
        }
        self.out.push(b'"');
        let content = self.cx.wire.get(range.0..range.1)?;
        forms::put_mask(self.out, content);
        self.out.push(b'"');
        Some(())
    }

    /// A `google.protobuf.Value` with exactly one member.
    fn json_value(&mut self, table: &MessageTable, range: Range, level: usize) -> Option<()> {
        let (mut pos, end) = range;
        let record = record::next(table, self.cx.wire, &mut pos, end)?;
        if pos != end {
            return None;
        }
        if let Content::Fixed64(bits) = record.content
            && !f64::from_bits(bits).is_finite()
        {
            return None;
        }
        let field = table.fields.get(record.field? as usize)?;
        self.value(field, record.content, level)
    }

    /// A Struct or ListValue: records of its one field.
    fn container(&mut self, table: &MessageTable, range: Range, level: usize) -> Option<()> {
        let field = table.fields.first()?;
        let (mut pos, end) = range;
        let is_list = table.form == Form::ListValue;
        if pos == end {
            self.out
                .extend_from_slice(if is_list { b"[]" } else { b"{}" });
            return self.deeper(level).map(drop);
        }
        let level = self.deeper(level)?;
        let at = pos;
        let record = record::next(table, self.cx.wire, &mut pos, end)?;
        if record.field != Some(0) {
            return None;
        }
        match field.shape {
            Shape::Map(entry) => pos = self.map(field, entry, (at, end), level)?,
            _ => self.array(table, field, record.content, &mut pos, end, level)?,
        }
        (pos == end).then_some(())
    }
}
