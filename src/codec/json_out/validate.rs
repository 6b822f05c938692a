//! The pass before printing: is the wire well formed, does all of it have a JSON form, and is it in
//! the usual shape (fields ascending, nothing singular twice, no map key twice)?
//!
//! What is not in the usual shape is no error; it only goes through the normaliser first, and is
//! validated again after it. Checks that need a whole message (ranges, `Any`) are therefore made on
//! messages in order only.

use std::hash::{BuildHasher, RandomState};

use super::{Cx, Result};
use crate::codec::offsets::{KeyAt, Offsets};
use crate::codec::record::{self, Content, Record};
use crate::codec::tables::{FieldTable, Form, MessageTable, NONE, Shape};
use crate::codec::well_known::{self, Instant};
use crate::codec::{Codec, CodecLimits, DecodeError, scalar, wire};
use crate::schema::{Kind, MessageId};

/// Text and packed records are checked in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Validator {
    stack: Vec<Frame>,
    pos: usize,
    ordered: bool,
    depth_max: usize,
    pending: Option<Pending>,
    aim: Aim,
    normal: bool,
}

/// What the wire is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// To be printed: all of it must have a JSON form.
    Json,
    /// To be written as wire again: any well-formed message will do.
    Wire,
}

#[derive(Debug)]
struct Frame {
    id: MessageId,
    start: usize,
    end: usize,
    /// Number of the group that this is; 0: it has a length.
    group: u32,
    /// Where its parent goes on; not known before the end tag of a group is read.
    resume: usize,
    /// Levels of JSON down to here.
    level: usize,
    /// One past the index of the last field.
    last: u32,
    oneofs: u64,
    /// Keys of the map that `last` is.
    keys: Option<Box<Offsets>>,
    /// The message type that an `Any`'s value is of.
    any_type: Option<MessageId>,
}

/// A long value that is half checked.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Text { end: usize },
    Varints { end: usize },
}

impl Validator {
    pub(super) fn new(codec: &Codec, id: MessageId, wire: &[u8], limits: CodecLimits) -> Self {
        let level = codec.tables.message(id).map_or(1, own_level);
        Self {
            stack: vec![Frame::new(id, 0, wire.len(), 0, level)],
            pos: 0,
            ordered: true,
            depth_max: limits.depth_max,
            pending: None,
            aim: Aim::Json,
            normal: false,
        }
    }

    /// For wire that the normaliser wrote: it is in the usual shape, also where there are more oneofs
    /// than are kept account of here.
    pub(super) fn for_normal(
        codec: &Codec,
        id: MessageId,
        wire: &[u8],
        limits: CodecLimits,
    ) -> Self {
        Self {
            normal: true,
            ..Self::new(codec, id, wire, limits)
        }
    }

    /// For wire that is not to become JSON: `Any` is opaque, and only fields that say so must be
    /// UTF-8.
    pub(super) fn for_wire(codec: &Codec, id: MessageId, wire: &[u8], limits: CodecLimits) -> Self {
        Self {
            aim: Aim::Wire,
            ..Self::new(codec, id, wire, limits)
        }
    }

    /// Whether all that was seen is in the usual shape.
    pub(super) fn ordered(&self) -> bool {
        self.ordered
    }

    /// Goes on for about `budget` bytes; `true` when all is checked.
    pub(super) fn step(&mut self, cx: &Cx<'_>, budget: usize) -> Result<bool> {
        let stop = self.pos.saturating_add(budget);
        loop {
            if self.pending.is_some() {
                self.pending_step(cx)?;
            } else {
                let Some(frame) = self.stack.last() else {
                    return Ok(true);
                };
                if self.pos >= frame.end {
                    self.close(cx, 0, self.pos)?;
                } else {
                    let table = cx.tables.message(frame.id).ok_or_else(|| self.lost())?;
                    self.record(cx, table, stop)?;
                }
            }
            if self.pos >= stop && !self.stack.is_empty() {
                return Ok(false);
            }
        }
    }

    /// Records of the message on top, until it ends or another one begins.
    fn record(&mut self, cx: &Cx<'_>, table: &MessageTable, stop: usize) -> Result<()> {
        while let Some(frame) = self.stack.last_mut() {
            if self.pos >= frame.end || self.pos >= stop {
                return Ok(());
            }
            let at = self.pos;
            let Some(record) = record::next(table, cx.wire, &mut self.pos, frame.end) else {
                return Err(self.malformed(cx));
            };
            if let Content::EndGroup(number) = record.content {
                return self.close(cx, number, at);
            }
            let Some((index, field)) = record
                .field
                .and_then(|i| Some((i, table.fields.get(i as usize)?)))
            else {
                continue;
            };
            // An unknown number of a closed enum is an unknown field: it has no order to keep.
            if field.closed && self.unknown_enum(cx, field, record) {
                continue;
            }
            if let Some(frame) = self.stack.last_mut() {
                self.ordered &= frame.in_order(index, field);
            }
            if let Shape::Map(_) = field.shape {
                self.map_key(cx, field, record, at);
            }
            if !self.content(cx, table, field, record)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A field's content; `false` when a frame or a pending value has been pushed for it.
    fn content(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        field: &FieldTable,
        record: Record,
    ) -> Result<bool> {
        match (record.content, field.kind) {
            (Content::Bytes { start, end }, _) => {
                if let Shape::Map(entry) = field.shape {
                    self.push(cx, entry, start, end, 0, 1)?;
                    return Ok(false);
                }
                match field.kind {
                    Kind::Message(id) => {
                        let array = usize::from(field.shape != Shape::Singular);
                        self.push(cx, id, start, end, 0, array)?;
                        return Ok(false);
                    }
                    Kind::String => {
                        if self.aim == Aim::Wire && !field.utf8 {
                            return Ok(true);
                        }
                        if table.form == Form::Any && self.aim == Aim::Json {
                            self.any_type(cx, start, end);
                        }
                        return self.text(cx, start, end);
                    }
                    Kind::Bytes => {
                        if table.form == Form::Any
                            && let Some(id) = self.stack.last().and_then(|f| f.any_type)
                        {
                            self.push(cx, id, start, end, 0, 0)?;
                            return Ok(false);
                        }
                    }
                    _ => return self.packed(cx, field, start, end),
                }
            }
            (Content::Group { start }, Kind::Message(id)) => {
                let end = self.stack.last().map_or(0, |f| f.end);
                let array = usize::from(field.shape != Shape::Singular);
                self.push(cx, id, start, end, field.number, array)?;
                return Ok(false);
            }
            (Content::Fixed64(bits), _)
                if table.form == Form::Value
                    && self.aim == Aim::Json
                    && !f64::from_bits(bits).is_finite() =>
            {
                return Err(self.no_form(cx, "a Value can't be NaN or infinite in JSON"));
            }
            _ => {}
        }
        Ok(true)
    }

    fn push(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        start: usize,
        end: usize,
        group: u32,
        array: usize,
    ) -> Result<()> {
        let table = cx.tables.message(id);
        let above = self.stack.last();
        // An object in an `Any` shares that one's, and the field of a Struct or ListValue is that itself.
        let shares = |above: &Frame| match cx.tables.message(above.id).map(|t| t.form) {
            Some(Form::Any) => table.is_some_and(|t| t.form == Form::Object),
            _ => false,
        };
        let is_bare = |above: &Frame| {
            let form = cx.tables.message(above.id).map(|t| t.form);
            matches!(form, Some(Form::Struct | Form::ListValue))
        };
        let own = match above.is_some_and(shares) {
            true => 0,
            false => table.map_or(0, own_level),
        };
        let array = match above.is_some_and(is_bare) {
            true => 0,
            false => array,
        };
        let level = above.map_or(0, |f| f.level) + array + own;
        if level > self.depth_max {
            let max = self.depth_max;
            return Err(self.refused(cx, &format!("nested deeper than {max} levels")));
        }
        let mut frame = Frame::new(id, start, end, group, level);
        // Behind the record, of which the content need not be the end (MessageSet items).
        frame.resume = self.pos;
        self.stack.push(frame);
        self.pos = start;
        Ok(())
    }

    /// Ends the message on top, whose content ends at `end`; `number` is that of the end tag just
    /// read, 0 for none.
    fn close(&mut self, cx: &Cx<'_>, number: u32, end: usize) -> Result<()> {
        let Some(frame) = self.stack.last() else {
            return Ok(());
        };
        if frame.group != number {
            return Err(self.malformed(cx));
        }
        if (self.ordered || self.normal) && self.aim == Aim::Json {
            let content = cx.wire.get(frame.start..end).unwrap_or(&[]);
            self.check_form(cx, frame, content)?;
        }
        if number == 0 {
            self.pos = frame.resume;
        }
        self.stack.pop();
        Ok(())
    }

    /// What a whole message must fulfil to have its JSON form.
    fn check_form(&self, cx: &Cx<'_>, frame: &Frame, content: &[u8]) -> Result<()> {
        let form = cx.tables.message(frame.id).map(|t| t.form);
        match form {
            Some(Form::Timestamp) => {
                let at = Instant::read_wire(content).unwrap_or_default();
                if !well_known::timestamp_in_range(at) {
                    return Err(self.no_form(cx, "the timestamp is out of range"));
                }
            }
            Some(Form::Duration) => {
                let at = Instant::read_wire(content).unwrap_or_default();
                if !well_known::duration_in_range(at) {
                    return Err(self.no_form(cx, "the duration is out of range"));
                }
            }
            Some(Form::FieldMask) => {
                let mut paths = super::forms::Strings::new(content);
                if !paths.all(well_known::mask_path_round_trips) {
                    return Err(self.no_form(cx, "a path of the field mask has no JSON form"));
                }
            }
            Some(Form::Any) => {
                let any = super::forms::Any::read(content);
                if any.url.is_empty() && !any.value.is_empty() {
                    return Err(self.no_form(cx, "an Any without a type URL"));
                }
                if !any.url.is_empty() && frame.any_type.is_none() {
                    let shown = scalar::shown(any.url);
                    return Err(self.no_form(cx, &format!("no type {shown} is known here")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn any_type(&mut self, cx: &Cx<'_>, start: usize, end: usize) {
        let url = cx.wire.get(start..end).unwrap_or(&[]);
        if let Some(frame) = self.stack.last_mut() {
            frame.any_type = super::forms::type_of(cx, url);
        }
    }

    /// Checks text, a long one later and in pieces.
    #[inline]
    fn text(&mut self, cx: &Cx<'_>, start: usize, end: usize) -> Result<bool> {
        if end - start > PIECE_BYTES {
            self.pos = start;
            self.pending = Some(Pending::Text { end });
            return Ok(false);
        }
        let text = cx.wire.get(start..end).unwrap_or(&[]);
        if simdutf8::basic::from_utf8(text).is_err() {
            return Err(self.refused(cx, "the string is not valid UTF-8"));
        }
        Ok(true)
    }

    /// Checks a packed record: whole elements only.
    fn packed(
        &mut self,
        cx: &Cx<'_>,
        field: &FieldTable,
        start: usize,
        end: usize,
    ) -> Result<bool> {
        let unit = match field.wire_type {
            wire::FIXED32 => 4,
            wire::FIXED64 => 8,
            _ => {
                self.pos = start;
                self.pending = Some(Pending::Varints { end });
                return Ok(false);
            }
        };
        if !(end - start).is_multiple_of(unit) {
            return Err(self.malformed(cx));
        }
        Ok(true)
    }

    fn pending_step(&mut self, cx: &Cx<'_>) -> Result<()> {
        let until = self.pos.saturating_add(PIECE_BYTES);
        match self.pending {
            Some(Pending::Varints { end }) => {
                while self.pos < end.min(until) {
                    if wire::varint(cx.wire, &mut self.pos).is_none() || self.pos > end {
                        return Err(self.malformed(cx));
                    }
                }
                if self.pos >= end {
                    self.pending = None;
                }
            }
            Some(Pending::Text { end }) => {
                let piece = cx.wire.get(self.pos..end.min(until)).unwrap_or(&[]);
                match simdutf8::compat::from_utf8(piece) {
                    Ok(_) => self.pos += piece.len(),
                    // A character may be cut by the end of the piece, but not by that of the text.
                    Err(e) if e.error_len().is_none() && until < end && e.valid_up_to() > 0 => {
                        self.pos += e.valid_up_to();
                    }
                    Err(_) => return Err(self.refused(cx, "the string is not valid UTF-8")),
                }
                if self.pos >= end {
                    self.pending = None;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn unknown_enum(&self, cx: &Cx<'_>, field: &FieldTable, record: Record) -> bool {
        match (record.content, field.kind) {
            (Content::Varint(n), Kind::Enum(id)) => !cx.knows(id, n),
            _ => false,
        }
    }

    /// Notes the key of a map entry; one that was there already makes the wire unordered.
    fn map_key(&mut self, cx: &Cx<'_>, field: &FieldTable, record: Record, at: usize) {
        let (Content::Bytes { .. }, Shape::Map(entry), true) =
            (record.content, field.shape, self.ordered)
        else {
            return;
        };
        let Some((key, _)) = cx.tables.entry(entry) else {
            return;
        };
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        let Ok(at) = u32::try_from(at) else {
            self.ordered = false;
            return;
        };
        let keys = frame.keys.get_or_insert_default();
        let seen = keys.insert(at, &EntryKeys { wire: cx.wire, key });
        self.ordered &= !seen;
    }

    fn lost(&self) -> DecodeError {
        DecodeError {
            path: String::new(),
            what: "the message is not of this schema".into(),
        }
    }

    #[cold]
    fn malformed(&self, cx: &Cx<'_>) -> DecodeError {
        self.refused(cx, "malformed protobuf")
    }

    #[cold]
    fn refused(&self, cx: &Cx<'_>, what: &str) -> DecodeError {
        refused(cx, &self.stack, what)
    }

    /// The message on top has no JSON form, whichever field of it is to blame.
    #[cold]
    fn no_form(&self, cx: &Cx<'_>, what: &str) -> DecodeError {
        let above = self.stack.split_last().map_or(&[][..], |(_, above)| above);
        refused(cx, above, what)
    }
}

/// Levels of JSON that a message is by itself.
fn own_level(table: &MessageTable) -> usize {
    usize::from(match table.form {
        Form::Object => !table.map_entry,
        Form::Any | Form::Struct | Form::ListValue => true,
        _ => false,
    })
}

fn refused(cx: &Cx<'_>, stack: &[Frame], what: &str) -> DecodeError {
    let mut path = String::new();
    for frame in stack {
        let table = cx.tables.message(frame.id);
        let field = frame
            .last
            .checked_sub(1)
            .and_then(|i| table?.fields.get(i as usize));
        let Some(field) = field else { continue };
        if table.is_some_and(|t| t.map_entry) {
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&String::from_utf8_lossy(&field.json_name));
    }
    DecodeError {
        path,
        what: what.into(),
    }
}

impl Frame {
    fn new(id: MessageId, start: usize, end: usize, group: u32, level: usize) -> Self {
        Self {
            id,
            start,
            end,
            group,
            resume: end,
            level,
            last: 0,
            oneofs: 0,
            keys: None,
            any_type: None,
        }
    }

    /// Whether field `index` may follow what was seen, in the usual shape.
    #[inline]
    fn in_order(&mut self, index: u32, field: &FieldTable) -> bool {
        let again = index + 1 == self.last;
        let ascends = index >= self.last;
        if !again {
            self.last = index + 1;
            self.keys = None;
        }
        let oneof_free = if field.oneof == NONE {
            true
        } else if field.oneof < 64 {
            let bit = 1u64 << field.oneof;
            let free = self.oneofs & bit == 0;
            self.oneofs |= bit;
            free
        } else {
            false
        };
        oneof_free && (ascends || (again && field.shape != Shape::Singular))
    }
}

/// Map keys by where the record of their entry begins.
pub(super) struct EntryKeys<'a> {
    pub wire: &'a [u8],
    pub key: &'a FieldTable,
}

impl<'a> EntryKeys<'a> {
    /// The key's bytes or number. An entry in the usual shape has it once or not at all.
    fn key_at(&self, at: u32) -> (&'a [u8], u64) {
        self.read(at as usize).unwrap_or((&[], 0))
    }

    fn read(&self, mut pos: usize) -> Option<(&'a [u8], u64)> {
        wire::tag(self.wire, &mut pos)?;
        let end = wire::length(self.wire, &mut pos, self.wire.len())? + pos;
        while pos < end {
            let (number, kind) = wire::tag(self.wire, &mut pos)?;
            if number != 1 || kind != self.key.wire_type {
                wire::skip(self.wire, &mut pos, end, number, kind)?;
                continue;
            }
            let content = match kind {
                wire::LEN => {
                    let len = wire::length(self.wire, &mut pos, end)?;
                    return Some((self.wire.get(pos..pos + len)?, 0));
                }
                wire::FIXED32 => Content::Fixed32(wire::fixed32(self.wire, &mut pos)?),
                wire::FIXED64 => Content::Fixed64(wire::fixed64(self.wire, &mut pos)?),
                _ => Content::Varint(wire::varint(self.wire, &mut pos)?),
            };
            return Some((&[], content.bits(self.key.kind)));
        }
        None
    }
}

impl KeyAt for EntryKeys<'_> {
    fn same(&self, a: u32, b: u32) -> bool {
        self.key_at(a) == self.key_at(b)
    }

    fn hash(&self, at: u32, state: &RandomState) -> u64 {
        state.hash_one(self.key_at(at))
    }
}
