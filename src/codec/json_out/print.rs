//! The printer: an explicit stack machine over wire in the usual shape.
//!
//! It stops between values, inside packed records, among defaults and inside long strings, so one
//! slice never prints much more than it was asked for.

use super::{Cx, forms};
use crate::codec::record::{self, Content};
use crate::codec::tables::{FieldTable, Form, MessageTable, Shape};
use crate::codec::well_known::{self, Instant};
use crate::codec::{Target, scalar, wire};
use crate::schema::{FieldRef, Kind, MessageId};

/// Long strings are printed in pieces of this size: a multiple of three for base64, and small enough
/// that six times of it (all control characters) is still one chunk.
const PIECE_BYTES: usize = 9 * 1024;
/// Depth beyond which pretty printing indents no further.
const INDENT_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct Print {
    stack: Vec<Frame>,
    /// The document's own message, until the first step.
    root: Option<MessageId>,
    text: Option<Text>,
    pretty: bool,
    indent: usize,
}

/// A long string being printed; its quote is closed after it.
#[derive(Clone, Copy, Debug)]
struct Text {
    pos: usize,
    end: usize,
    base64: bool,
}

#[derive(Debug)]
struct Frame {
    kind: FrameKind,
    pos: usize,
    end: usize,
    /// The next field whose default may have to be printed.
    next: u32,
    /// One past the index of the array or map that is open.
    open: u32,
    /// Nothing has been printed since the last opening bracket.
    first: bool,
    /// End of the packed record that `pos` is in; 0: in none.
    packed: usize,
    /// A group: it ends at its end tag rather than at `end`.
    group: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameKind {
    Message(MessageId),
    /// One field of a message is the document.
    Only(FieldRef),
    Struct(MessageId),
    List(MessageId),
    /// After the value of an `Any` that stood under `value`.
    AnyTail,
}

/// A message's content, by range.
type Range = (usize, usize);

impl Print {
    pub(super) fn new(cx: &Cx<'_>, target: Target) -> Self {
        let mut print = Self {
            stack: Vec::new(),
            root: None,
            text: None,
            pretty: cx.codec.options.pretty,
            indent: 0,
        };
        match target {
            Target::Message(id) => print.root = Some(id),
            Target::Field(at) => {
                let frame = Frame::new(FrameKind::Only(at), (0, cx.wire.len()));
                print.stack.push(frame);
            }
        }
        print
    }

    /// Prints about `budget` bytes more; `true` when the document is complete.
    pub(super) fn step(&mut self, cx: &Cx<'_>, budget: usize, out: &mut Vec<u8>) -> bool {
        let stop = out.len().saturating_add(budget);
        // Work that prints nothing (unknown fields) must end too.
        let mut fuel = budget.max(1024);
        if let Some(id) = self.root.take() {
            self.message(cx, id, (0, cx.wire.len()), out);
        }
        loop {
            if self.text.is_some() {
                self.text_step(cx, out);
            } else {
                let Some(frame) = self.stack.last() else {
                    return true;
                };
                match frame.kind {
                    FrameKind::Message(id) => self.message_step(cx, id, stop, &mut fuel, out),
                    FrameKind::Only(at) => self.only_step(cx, at, stop, &mut fuel, out),
                    FrameKind::Struct(id) => self.struct_step(cx, id, out),
                    FrameKind::List(id) => self.list_step(cx, id, out),
                    FrameKind::AnyTail => {
                        self.stack.pop();
                        self.close(b'}', false, out);
                    }
                }
            }
            fuel = fuel.saturating_sub(1);
            if out.len() >= stop || fuel == 0 {
                return self.stack.is_empty() && self.text.is_none();
            }
        }
    }

    fn open(&mut self, bracket: u8, out: &mut Vec<u8>) {
        out.push(bracket);
        self.indent += 1;
    }

    fn close(&mut self, bracket: u8, empty: bool, out: &mut Vec<u8>) {
        self.indent = self.indent.saturating_sub(1);
        if self.pretty && !empty {
            self.newline(out);
        }
        out.push(bracket);
    }

    fn newline(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.resize(out.len() + self.indent.min(INDENT_MAX) * 2, b' ');
    }

    /// What stands before a member or an element.
    #[inline]
    fn separate(&self, first: bool, out: &mut Vec<u8>) {
        if !first {
            out.push(b',');
        }
        if self.pretty {
            self.newline(out);
        }
    }

    fn text_step(&mut self, cx: &Cx<'_>, out: &mut Vec<u8>) {
        let Some(text) = &mut self.text else { return };
        let until = (text.pos + PIECE_BYTES).min(text.end);
        let piece = cx.wire.get(text.pos..until).unwrap_or(&[]);
        if text.base64 {
            scalar::put_base64(out, piece);
        } else {
            scalar::put_escaped(out, piece);
        }
        text.pos = until;
        if text.pos >= text.end {
            out.push(b'"');
            self.text = None;
        }
    }

    /// The members of an object.
    fn message_step(
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
            if let Some((index, field, content)) = known
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

    /// Whether a record counts: not an unknown number of a closed enum, not an explicit default of
    /// a field without presence.
    #[inline]
    fn is_printed(&self, cx: &Cx<'_>, field: &FieldTable, content: Content) -> bool {
        if field.closed {
            return self.closed_enum_known(cx, field, content);
        }
        if field.implicit {
            return match content {
                Content::Varint(n) => match field.kind {
                    Kind::Bool => n != 0,
                    Kind::Int64 | Kind::Uint64 | Kind::Sint64 => n != 0,
                    _ => n as u32 != 0,
                },
                Content::Fixed32(n) => n != 0,
                Content::Fixed64(n) => n != 0,
                Content::Bytes { start, end } => end > start,
                _ => true,
            };
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

    fn closed_enum_known(&self, cx: &Cx<'_>, field: &FieldTable, content: Content) -> bool {
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
    fn begin_field(
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
        out.extend_from_slice(&field.key);
        match field.shape {
            Shape::Singular => {}
            Shape::Map(_) => self.open(b'{', out),
            _ => self.open(b'[', out),
        }
        true
    }

    /// Closes the array or map that is open in the message on top.
    #[inline]
    fn close_open(&mut self, table: &MessageTable, out: &mut Vec<u8>) {
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
    fn defaults(
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
            let field = table.fields.get(frame.next as usize);
            frame.next += 1;
            if let Some(field) = field.filter(|f| !f.absent.is_empty()) {
                let first = std::mem::replace(&mut frame.first, false);
                self.separate(first, out);
                out.extend_from_slice(&field.key);
                out.extend_from_slice(&field.absent);
                if out.len() >= stop {
                    return false;
                }
            }
        }
    }

    /// Ends the object on top; `false` when the slice ended among its defaults.
    fn end_message(&mut self, table: &MessageTable, stop: usize, out: &mut Vec<u8>) -> bool {
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

    /// After a group its parent goes on behind the end tag, which only the group has found.
    fn leave(&mut self, frame: &Frame) {
        if frame.group
            && let Some(parent) = self.stack.last_mut()
        {
            parent.pos = frame.pos;
        }
    }

    /// One record of a known field, after its key; `false` when another frame is to go on.
    #[inline]
    fn record(
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

    #[inline]
    fn take_first(&mut self) -> bool {
        match self.stack.last_mut() {
            Some(frame) => std::mem::replace(&mut frame.first, false),
            None => true,
        }
    }

    /// Elements of the packed record that the message on top is in; `false`: the slice ended.
    fn packed_step(
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
    fn entry(&mut self, cx: &Cx<'_>, id: MessageId, range: Range, out: &mut Vec<u8>) -> bool {
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

    /// One value without what stands before it; `false` when a frame or a long text was pushed.
    #[inline]
    fn value(
        &mut self,
        cx: &Cx<'_>,
        field: &FieldTable,
        content: Content,
        out: &mut Vec<u8>,
    ) -> bool {
        match (content, field.kind) {
            (Content::Bytes { start, end }, Kind::String) => self.string((start, end), cx, out),
            (Content::Bytes { start, end }, Kind::Bytes) => self.base64((start, end), cx, out),
            (Content::Bytes { start, end }, Kind::Message(id)) => {
                self.message(cx, id, (start, end), out)
            }
            (Content::Group { start }, Kind::Message(id)) => {
                self.group(cx, id, field.number, start, out)
            }
            (Content::Varint(n), Kind::Enum(id)) => {
                let number = n as i32;
                match cx.tables.enumeration(id).and_then(|e| e.literal(number)) {
                    Some(literal) => out.extend_from_slice(literal),
                    None => put_integer(out, number),
                }
                true
            }
            _ => {
                put_scalar(out, field, content);
                true
            }
        }
    }

    #[inline]
    fn string(&mut self, range: Range, cx: &Cx<'_>, out: &mut Vec<u8>) -> bool {
        out.push(b'"');
        if range.1 - range.0 > PIECE_BYTES {
            self.text = Some(Text {
                pos: range.0,
                end: range.1,
                base64: false,
            });
            return false;
        }
        scalar::put_escaped(out, cx.wire.get(range.0..range.1).unwrap_or(&[]));
        out.push(b'"');
        true
    }

    fn base64(&mut self, range: Range, cx: &Cx<'_>, out: &mut Vec<u8>) -> bool {
        out.push(b'"');
        if range.1 - range.0 > PIECE_BYTES {
            self.text = Some(Text {
                pos: range.0,
                end: range.1,
                base64: true,
            });
            return false;
        }
        scalar::put_base64(out, cx.wire.get(range.0..range.1).unwrap_or(&[]));
        out.push(b'"');
        true
    }

    /// A message that is a group: an object finds its own end, any other form needs it first.
    fn group(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        number: u32,
        start: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let is_object = cx
            .tables
            .message(id)
            .is_some_and(|t| t.form == Form::Object);
        let end = self.stack.last().map_or(start, |f| f.end);
        if is_object {
            self.open(b'{', out);
            let mut frame = Frame::new(FrameKind::Message(id), (start, end));
            frame.group = true;
            self.stack.push(frame);
            return false;
        }
        let Some((content_end, after)) = record::group_end(cx.wire, start, end, number) else {
            return true;
        };
        if let Some(frame) = self.stack.last_mut() {
            frame.pos = after;
        }
        self.message(cx, id, (start, content_end), out)
    }

    /// A message by its form; `false` when a frame was pushed that goes on with it.
    fn message(&mut self, cx: &Cx<'_>, id: MessageId, range: Range, out: &mut Vec<u8>) -> bool {
        let Some(table) = cx.tables.message(id) else {
            return true;
        };
        let content = cx.wire.get(range.0..range.1).unwrap_or(&[]);
        match table.form {
            Form::Object => {
                self.open(b'{', out);
                self.stack.push(Frame::new(FrameKind::Message(id), range));
                return false;
            }
            Form::Struct => {
                self.open(b'{', out);
                self.stack.push(Frame::new(FrameKind::Struct(id), range));
                return false;
            }
            Form::ListValue => {
                self.open(b'[', out);
                self.stack.push(Frame::new(FrameKind::List(id), range));
                return false;
            }
            Form::Any => return self.any(cx, range, out),
            Form::Value => return self.json_value(cx, table, range, out),
            Form::Wrapper => {
                let Some(field) = table.fields.first() else {
                    return true;
                };
                let mut pos = range.0;
                while pos < range.1 {
                    match record::next(table, cx.wire, &mut pos, range.1) {
                        Some(r) if r.field == Some(0) => {
                            return self.value(cx, field, r.content, out);
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                out.extend_from_slice(&field.zero);
            }
            Form::Timestamp => {
                out.push(b'"');
                well_known::put_timestamp(out, Instant::read_wire(content).unwrap_or_default());
                out.push(b'"');
            }
            Form::Duration => {
                out.push(b'"');
                well_known::put_duration(out, Instant::read_wire(content).unwrap_or_default());
                out.push(b'"');
            }
            Form::FieldMask => {
                out.push(b'"');
                for (i, path) in forms::Strings::new(content).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    well_known::put_mask_path(out, path);
                }
                out.push(b'"');
            }
        }
        true
    }

    /// A `google.protobuf.Value`: whatever its one member is.
    fn json_value(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        range: Range,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut pos = range.0;
        while pos < range.1 {
            let Some(record) = record::next(table, cx.wire, &mut pos, range.1) else {
                break;
            };
            let field = record.field.and_then(|i| table.fields.get(i as usize));
            if let Some(field) = field {
                return self.value(cx, field, record.content, out);
            }
        }
        out.extend_from_slice(b"null");
        true
    }

    fn any(&mut self, cx: &Cx<'_>, range: Range, out: &mut Vec<u8>) -> bool {
        let content = cx.wire.get(range.0..range.1).unwrap_or(&[]);
        let any = forms::Any::read(content);
        self.open(b'{', out);
        let Some((id, table)) =
            forms::type_of(cx, any.url).and_then(|id| Some((id, cx.tables.message(id)?)))
        else {
            self.close(b'}', true, out);
            return true;
        };
        self.separate(true, out);
        out.extend_from_slice(if self.pretty {
            b"\"@type\": "
        } else {
            b"\"@type\":"
        });
        scalar::put_json_string(out, any.url);
        let start = range.0 + any.at;
        let value = (start, start + any.value.len());
        if table.form == Form::Object {
            let mut frame = Frame::new(FrameKind::Message(id), value);
            frame.first = false;
            self.stack.push(frame);
        } else {
            self.separate(false, out);
            out.extend_from_slice(if self.pretty {
                b"\"value\": "
            } else {
                b"\"value\":"
            });
            self.stack.push(Frame::new(FrameKind::AnyTail, value));
            self.message(cx, id, value, out);
        }
        false
    }

    /// The next member of a Struct.
    fn struct_step(&mut self, cx: &Cx<'_>, id: MessageId, out: &mut Vec<u8>) {
        let entry = cx.tables.message(id).and_then(|t| t.fields.first());
        let entry = entry.and_then(|f| match f.shape {
            Shape::Map(entry) => Some(entry),
            _ => None,
        });
        match (self.next_of(cx, id), entry) {
            (Some(range), Some(entry)) => {
                self.entry(cx, entry, range, out);
            }
            _ => self.end_container(b'}', out),
        }
    }

    /// The next element of a ListValue.
    fn list_step(&mut self, cx: &Cx<'_>, id: MessageId, out: &mut Vec<u8>) {
        let value = cx.tables.message(id).and_then(|t| t.fields.first());
        let value = value.and_then(|f| match f.kind {
            Kind::Message(id) => Some(id),
            _ => None,
        });
        match (self.next_of(cx, id), value) {
            (Some(range), Some(value)) => {
                let first = self.take_first();
                self.separate(first, out);
                self.message(cx, value, range, out);
            }
            _ => self.end_container(b']', out),
        }
    }

    /// The range of the next record of the first field of the message on top.
    fn next_of(&mut self, cx: &Cx<'_>, id: MessageId) -> Option<Range> {
        let table = cx.tables.message(id)?;
        let frame = self.stack.last_mut()?;
        while frame.pos < frame.end {
            let record = record::next(table, cx.wire, &mut frame.pos, frame.end)?;
            if let (Some(0), Content::Bytes { start, end }) = (record.field, record.content) {
                return Some((start, end));
            }
        }
        None
    }

    fn end_container(&mut self, bracket: u8, out: &mut Vec<u8>) {
        if let Some(frame) = self.stack.pop() {
            self.close(bracket, frame.first, out);
        }
    }

    /// One field of a message as the document: its value, or what stands for it when it is absent.
    fn only_step(
        &mut self,
        cx: &Cx<'_>,
        at: FieldRef,
        stop: usize,
        fuel: &mut usize,
        out: &mut Vec<u8>,
    ) {
        let (Some(table), Some(field)) = (cx.tables.message(at.message), cx.tables.field(at))
        else {
            self.stack.pop();
            return;
        };
        while let Some(frame) = self.stack.last_mut() {
            if frame.packed != 0 {
                if !self.packed_step(cx, table, at.field.0 + 1, stop, out) {
                    return;
                }
                continue;
            }
            let record = if frame.pos < frame.end {
                record::next(table, cx.wire, &mut frame.pos, frame.end)
            } else {
                None
            };
            let Some(record) = record else { break };
            *fuel = fuel.saturating_sub(1);
            let own =
                record.field == Some(at.field.0) && self.is_printed(cx, field, record.content);
            if own {
                if !self.open_only(field, out) {
                    return;
                }
                if !self.record(cx, field, record.content, out) {
                    return;
                }
            } else if let Content::Group { start } = record.content {
                // Of another field: its end has to be looked for.
                self.skip_group(cx, table, record.field, start);
            }
            if out.len() >= stop || *fuel == 0 {
                return;
            }
        }
        self.end_only(field, out);
    }

    /// The bracket of the one field that is printed, before its first element.
    fn open_only(&mut self, field: &FieldTable, out: &mut Vec<u8>) -> bool {
        let Some(frame) = self.stack.last_mut() else {
            return false;
        };
        if frame.open == 0 {
            frame.open = 1;
            match field.shape {
                Shape::Singular => {}
                Shape::Map(_) => self.open(b'{', out),
                _ => self.open(b'[', out),
            }
        }
        true
    }

    fn end_only(&mut self, field: &FieldTable, out: &mut Vec<u8>) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        match field.shape {
            Shape::Map(_) if frame.open == 0 => out.extend_from_slice(b"{}"),
            Shape::Map(_) => self.close(b'}', frame.first, out),
            Shape::Repeated | Shape::Packed if frame.open == 0 => out.extend_from_slice(b"[]"),
            Shape::Repeated | Shape::Packed => self.close(b']', frame.first, out),
            Shape::Singular if frame.open != 0 => {}
            Shape::Singular if field.implicit => out.extend_from_slice(&field.zero),
            Shape::Singular => out.extend_from_slice(b"null"),
        }
    }

    fn skip_group(&mut self, cx: &Cx<'_>, table: &MessageTable, field: Option<u32>, start: usize) {
        let number = field
            .and_then(|i| table.fields.get(i as usize))
            .map_or(0, |f| f.number);
        if let Some(frame) = self.stack.last_mut() {
            frame.pos = record::group_end(cx.wire, start, frame.end, number)
                .map_or(frame.end, |(_, after)| after);
        }
    }
}

impl Frame {
    fn new(kind: FrameKind, range: Range) -> Self {
        Self {
            kind,
            pos: range.0,
            end: range.1,
            next: 0,
            open: 0,
            first: true,
            packed: 0,
            group: false,
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
fn map_key(cx: &Cx<'_>, key: &FieldTable, content: Option<Content>, out: &mut Vec<u8>) {
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

#[inline]
fn put_scalar(out: &mut Vec<u8>, field: &FieldTable, content: Content) {
    if field.quoted {
        out.push(b'"');
        put_bare(out, field, content);
        out.push(b'"');
    } else {
        put_bare(out, field, content);
    }
}

/// A bool or number, without quotes.
#[inline]
fn put_bare(out: &mut Vec<u8>, field: &FieldTable, content: Content) {
    match (content, field.kind) {
        (Content::Varint(n), Kind::Bool) => {
            out.extend_from_slice(if n == 0 { b"false" } else { b"true" });
        }
        (Content::Varint(n), Kind::Int32) => put_integer(out, n as i32),
        (Content::Varint(n), Kind::Int64) => put_integer(out, n as i64),
        (Content::Varint(n), Kind::Uint32) => put_integer(out, n as u32),
        (Content::Varint(n), Kind::Uint64) => put_integer(out, n),
        (Content::Varint(n), Kind::Sint32) => put_integer(out, wire::unzigzag32(n as u32)),
        (Content::Varint(n), Kind::Sint64) => put_integer(out, wire::unzigzag64(n)),
        (Content::Fixed32(n), Kind::Fixed32) => put_integer(out, n),
        (Content::Fixed32(n), Kind::Sfixed32) => put_integer(out, n as i32),
        (Content::Fixed32(n), Kind::Float) => scalar::put_float(out, f32::from_bits(n)),
        (Content::Fixed64(n), Kind::Fixed64) => put_integer(out, n),
        (Content::Fixed64(n), Kind::Sfixed64) => put_integer(out, n as i64),
        (Content::Fixed64(n), Kind::Double) => scalar::put_double(out, f64::from_bits(n)),
        // No other pairs come out of `record::next`.
        _ => out.extend_from_slice(b"null"),
    }
}

#[inline]
fn put_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
