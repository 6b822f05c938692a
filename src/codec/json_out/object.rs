//! Objects: which records count, what stands before them, arrays, maps and defaults.

use super::Cx;
use super::print::{Print, Range};
use super::value::put_bare;
use crate::codec::record::{self, Content};
use crate::codec::tables::{FieldTable, MessageTable, Shape};
use crate::codec::{scalar, wire};
use crate::schema::{Kind, MessageId};

impl Print {
    /// The members of an object.
    pub(super) fn message_step(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        stop: usize,
        fuel: &mut usize,
        out: &mut Vec<u8>,
    ) {
        let Some(table) = cx.tables.message(id) else {
            self.stack.pop();
            return;
        };
        loop {
            let Some(frame) = self.stack.last_mut() else {
                return;
            };
            if frame.packed != 0 {
                let open = frame.open;
                if !self.packed_step(cx, table, open, stop, out) {
                    return;
                }
                continue;
            }
            let at = frame.pos;
            let record = if frame.pos < frame.end {
                record::next(table, cx.wire, &mut frame.pos, frame.end)
            } else {
                None
            };
            let ended = match record {
                None => true,
                Some(r) => matches!(r.content, Content::EndGroup(_)),
            };
            if ended {
                if !self.end_message(table, stop, out)
                    && let Some(frame) = self.stack.last_mut()
                {
                    frame.pos = at;
                }
                return;
            }
            let known = record.and_then(|r| Some((r.field?, r.content)));
            let known = known.and_then(|(i, c)| Some((i, table.fields.get(i as usize)?, c)));
            if let Some((index, _, Content::Group { start })) = known
                && !self.is_selected(index)
            {
                self.skip_group(cx, table, Some(index), start);
            } else if let Some((index, field, content)) = known
                && self.is_selected(index)
                && self.is_printed(cx, field, content)
            {
                if !self.begin_field(table, index, field, stop, out) {
                    if let Some(frame) = self.stack.last_mut() {
                        frame.pos = at;
                    }
                    return;
                }
                if !self.record(cx, field, content, out) {
                    return;
                }
            }
            *fuel = fuel.saturating_sub(1);
            if out.len() >= stop || *fuel == 0 {
                return;
            }
        }
    }

    /// Whether a field of the message on top is chosen; its node is the next message's then.
    #[inline]
    fn is_selected(&mut self, index: u32) -> bool {
        let (Some(selection), Some(frame)) = (&self.selection, self.stack.last()) else {
            return true;
        };
        match selection.child(frame.node, index) {
            Some(node) => {
                self.node = node;
                true
            }
            None => false,
        }
    }

    /// Whether a record counts: not an unknown number of a closed enum, not an explicit default of
    /// a field without presence.
    #[inline]
    pub(super) fn is_printed(&self, cx: &Cx<'_>, field: &FieldTable, content: Content) -> bool {
        if field.closed {
            return self.closed_enum_known(cx, field, content);
        }
        if field.implicit {
            return !content.is_zero_of(field.kind);
        }
        match (field.shape, content) {
            (Shape::Map(entry), Content::Bytes { start, end }) => {
                let Some((_, value)) = cx.tables.entry(entry) else {
                    return false;
                };
                if !value.closed {
                    return true;
                }
                let found = entry_value(cx, entry, (start, end));
                found.is_none_or(|c| self.closed_enum_known(cx, value, c))
            }
            // An empty packed record is no element at all.
            (_, Content::Bytes { start, end }) if field.packable => end > start,
            _ => true,
        }
    }

    pub(super) fn closed_enum_known(
        &self,
        cx: &Cx<'_>,
        field: &FieldTable,
        content: Content,
    ) -> bool {
        let Kind::Enum(id) = field.kind else {
            return true;
        };
        match content {
            Content::Varint(n) => cx.knows(id, n),
            Content::Bytes { start, end } if field.packable => {
                let mut pos = start;
                while pos < end {
                    match wire::varint(cx.wire, &mut pos) {
                        Some(n) if cx.knows(id, n) => return true,
                        Some(_) => {}
                        None => return false,
                    }
                }
                false
            }
            _ => true,
        }
    }

    /// Prints all that stands before a field's value; `false` when the slice ended among defaults.
    #[inline]
    pub(super) fn begin_field(
        &mut self,
        table: &MessageTable,
        index: u32,
        field: &FieldTable,
        stop: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(frame) = self.stack.last_mut() else {
            return true;
        };
        if frame.open == index + 1 {
            return true;
        }
        self.close_open(table, out);
        if !self.defaults(table, index, stop, out) {
            return false;
        }
        let Some(frame) = self.stack.last_mut() else {
            return true;
        };
        frame.next = index + 1;
        let first = std::mem::replace(&mut frame.first, false);
        if field.shape != Shape::Singular {
            frame.open = index + 1;
            frame.first = true;
        }
        self.separate(first, out);
        out.extend_from_slice(field.key());
        match field.shape {
            Shape::Singular => {}
            Shape::Map(_) => self.open(b'{', out),
            _ => self.open(b'[', out),
        }
        true
    }

    /// Closes the array or map that is open in the message on top.
    #[inline]
    pub(super) fn close_open(&mut self, table: &MessageTable, out: &mut Vec<u8>) {
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        let Some(index) = frame.open.checked_sub(1) else {
            return;
        };
        frame.open = 0;
        let empty = std::mem::replace(&mut frame.first, false);
        let is_map = table
            .fields
            .get(index as usize)
            .is_some_and(|f| matches!(f.shape, Shape::Map(_)));
        self.close(if is_map { b'}' } else { b']' }, empty, out);
    }

    /// Prints what stands for the absent fields before `until`; `false` when the slice ended.
    #[inline]
    pub(super) fn defaults(
        &mut self,
        table: &MessageTable,
        until: u32,
        stop: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        if !table.has_absent {
            return true;
        }
        loop {
            let Some(frame) = self.stack.last_mut() else {
                return true;
            };
            if frame.next >= until {
                return true;
            }
            let index = frame.next;
            frame.next += 1;
            let chosen = self
                .selection
                .as_ref()
                .is_none_or(|s| s.child(frame.node, index).is_some());
            let field = table.fields.get(index as usize);
            if let Some(field) = field.filter(|f| chosen && !f.absent.is_empty()) {
                let first = std::mem::replace(&mut frame.first, false);
                self.separate(first, out);
                out.extend_from_slice(field.key());
                out.extend_from_slice(&field.absent);
                if out.len() >= stop {
                    return false;
                }
            }
        }
    }

    /// Ends the object on top; `false` when the slice ended among its defaults.
    pub(super) fn end_message(
        &mut self,
        table: &MessageTable,
        stop: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        self.close_open(table, out);
        if !self.defaults(table, table.fields.len() as u32, stop, out) {
            return false;
        }
        let Some(frame) = self.stack.pop() else {
            return true;
        };
        self.close(b'}', frame.first, out);
        self.leave(&frame);
        true
    }

    /// One record of a known field, after its key; `false` when another frame is to go on.
    #[inline]
    pub(super) fn record(
        &mut self,
        cx: &Cx<'_>,
        field: &FieldTable,
        content: Content,
        out: &mut Vec<u8>,
    ) -> bool {
        match (field.shape, content) {
            (Shape::Singular, _) => {}
            (Shape::Map(entry), Content::Bytes { start, end }) => {
                return self.entry(cx, entry, (start, end), out);
            }
            (_, Content::Bytes { start, end }) if field.packable => {
                if let Some(frame) = self.stack.last_mut() {
                    frame.pos = start;
                    frame.packed = end;
                }
                return true;
            }
            _ => {
                let first = self.take_first();
                self.separate(first, out);
            }
        }
        self.value(cx, field, content, out)
    }

    /// Elements of the packed record that the message on top is in; `false`: the slice ended.
    pub(super) fn packed_step(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        open: u32,
        stop: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let field = open
            .checked_sub(1)
            .and_then(|i| table.fields.get(i as usize));
        loop {
            let Some(frame) = self.stack.last_mut() else {
                return false;
            };
            let content = match field {
                Some(field) if frame.pos < frame.packed => {
                    packed_element(cx, field, &mut frame.pos)
                }
                _ => None,
            };
            let (Some(field), Some(content)) = (field, content) else {
                frame.pos = frame.packed;
                frame.packed = 0;
                return true;
            };
            if field.closed && !self.closed_enum_known(cx, field, content) {
                continue;
            }
            let first = self.take_first();
            self.separate(first, out);
            self.value(cx, field, content, out);
            if out.len() >= stop {
                return false;
            }
        }
    }

    /// One entry of a map: `"key":value`.
    pub(super) fn entry(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        range: Range,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(((key, value), table)) = cx.tables.entry(id).zip(cx.tables.message(id)) else {
            return true;
        };
        let first = self.take_first();
        self.separate(first, out);
        let (mut key_content, mut value_content) = (None, None);
        let mut pos = range.0;
        while pos < range.1 {
            let Some(record) = record::next(table, cx.wire, &mut pos, range.1) else {
                break;
            };
            match record.field {
                Some(0) => key_content = Some(record.content),
                Some(1) => value_content = Some(record.content),
                _ => {}
            }
        }
        map_key(cx, key, key_content, out);
        out.extend_from_slice(if self.pretty { b": " } else { b":" });
        match value_content {
            Some(content) => self.value(cx, value, content, out),
            None => match value.kind {
                Kind::Message(id) => self.message(cx, id, (range.1, range.1), out),
                _ => {
                    out.extend_from_slice(&value.zero);
                    true
                }
            },
        }
    }
}

/// The value record of an entry.
fn entry_value(cx: &Cx<'_>, id: MessageId, range: Range) -> Option<Content> {
    let table = cx.tables.message(id)?;
    let (mut pos, mut found) = (range.0, None);
    while pos < range.1 {
        let record = record::next(table, cx.wire, &mut pos, range.1)?;
        if record.field == Some(1) {
            found = Some(record.content);
        }
    }
    found
}

/// A map's key, always in quotes.
pub(super) fn map_key(cx: &Cx<'_>, key: &FieldTable, content: Option<Content>, out: &mut Vec<u8>) {
    out.push(b'"');
    match content {
        Some(Content::Bytes { start, end }) => {
            scalar::put_escaped(out, cx.wire.get(start..end).unwrap_or(&[]));
        }
        Some(content) => put_bare(out, key, content),
        None => match key.kind {
            Kind::String => {}
            Kind::Bool => out.extend_from_slice(b"false"),
            _ => out.push(b'0'),
        },
    }
    out.push(b'"');
}

fn packed_element(cx: &Cx<'_>, field: &FieldTable, pos: &mut usize) -> Option<Content> {
    Some(match field.wire_type {
        wire::FIXED32 => Content::Fixed32(wire::fixed32(cx.wire, pos)?),
        wire::FIXED64 => Content::Fixed64(wire::fixed64(cx.wire, pos)?),
        _ => Content::Varint(wire::varint(cx.wire, pos)?),
    })
}
