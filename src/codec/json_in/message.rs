//! Objects and arrays: members to fields, elements to records, entries to maps.

use super::frame::{FrameKind, Stage};
use super::value::{Put, put_short_number};
use super::{Cx, Encoder, Fault, Flow, Outcome, Result, Str};
use crate::codec::tables::{FieldTable, MessageTable, NONE, Shape};
use crate::codec::wire;
use crate::codec::{decimal, scalar};
use crate::schema::{FieldIndex, FieldRef, Kind, MessageId, nearest};

/// A member that is no field, and is skipped.
pub(super) const UNKNOWN: u32 = u32::MAX;
/// `@type`, among the members of an `Any`.
pub(super) const TYPE: u32 = u32::MAX - 1;
/// `value`, among those of an `Any` of an Empty: Go prints that type as one with a JSON form of its
/// own, the other implementations don't.
const EMPTY: u32 = u32::MAX - 2;

/// The stack beneath an element of a list of the document's message: what is less deep comes once.
const REPEATED_DEPTH: usize = 3;

impl Encoder {
    /// Goes through an object's members: `{`, then key, colon and value by turns. Comes back when
    /// another frame is on top, the object is closed or the slice is used up.
    pub(super) fn message_step(&mut self, cx: &Cx<'_>, id: MessageId, any: bool) -> Result<Flow> {
        let table = cx.tables.message(id).ok_or_else(|| self.lost())?;
        let noting = self.notes_paths();
        loop {
            self.guess_member(cx, table, id)?;
            match self.top.stage {
                Stage::First | Stage::Next => match self.open_member(cx)? {
                    Member::Key => {}
                    Member::Starved => return Ok(Flow::Starved),
                    Member::End => {
                        if noting && self.top.stage == Stage::First {
                            self.note_empty(cx)?;
                        }
                        return Ok(self.close());
                    }
                },
                Stage::Key => {
                    if self.peek(cx).is_some() && self.guessed_key(cx, table, id, self.pos)? {
                        continue;
                    }
                    let Some(key) = self.key(cx)? else {
                        return Ok(Flow::Starved);
                    };
                    self.top.key = key;
                    self.top.field = self.lookup(cx, table, id, any)?;
                    self.pos = key.end + 1;
                    self.top.stage = Stage::Colon;
                }
                Stage::Colon => {
                    if !self.colon(cx)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Value => {
                    let at = FieldRef {
                        message: id,
                        field: FieldIndex(self.top.field),
                    };
                    let outcome = match table.fields.get(self.top.field as usize) {
                        Some(field)
                            if field.plain_text && !noting && self.short_text(cx, field) =>
                        {
                            Outcome::Written
                        }
                        Some(field) => {
                            let outcome = self.member_value(cx, at, field, table)?;
                            if noting {
                                self.note(cx, at, field, outcome)?;
                            }
                            outcome
                        }
                        None if self.top.field == EMPTY && any => self.bare_message(cx, id)?,
                        None => self.skip_value(cx)?,
                    };
                    match outcome {
                        Outcome::Written | Outcome::Dropped => {}
                        Outcome::Opened => return Ok(Flow::On),
                        Outcome::Starved => return Ok(Flow::Starved),
                    }
                    self.check_size(cx)?;
                }
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    /// Before a member: takes comma, key and colon at once, if nothing stands between them and they are
    /// as [`Self::guessed_key`] has them.
    #[inline]
    fn guess_member(&mut self, cx: &Cx<'_>, table: &MessageTable, id: MessageId) -> Result<()> {
        let key = match self.top.stage {
            Stage::First => self.pos,
            Stage::Next if cx.json.get(self.pos) == Some(&b',') => self.pos + 1,
            _ => return Ok(()),
        };
        self.guessed_key(cx, table, id, key).map(drop)
    }

    /// Takes key and colon if they are those of the field that came here in the object before, or else of
    /// the one after the last: clients send fields in order, and mostly without a space here.
    #[inline]
    fn guessed_key(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        id: MessageId,
        start: usize,
    ) -> Result<bool> {
        let guess = self.next_guess(id);
        let Some(field) = table.fields.get(guess as usize) else {
            return Ok(false);
        };
        let rest = cx.json.get(start..).unwrap_or(&[]);
        if !rest.starts_with(&field.quoted_name) {
            return Ok(false);
        }
        let end = start + field.quoted_name.len();
        self.top.key = Str {
            start: start + 1,
            end: end - 2,
            escaped: false,
        };
        self.top.field = guess;
        self.top.stage = Stage::Value;
        if self.mark(guess as usize) {
            self.pos = start;
            return Err(self.value_error("given twice"));
        }
        self.pos = end;
        Ok(true)
    }

    #[inline]
    fn next_guess(&self, id: MessageId) -> u32 {
        let after = self.field_before();
        let learned = self.order.next(id, after);
        learned.unwrap_or_else(|| after.wrapping_add(1))
    }

    /// The last field of the message on top; [`UNKNOWN`], which is one less than the first, at its
    /// beginning.
    #[inline]
    fn field_before(&self) -> u32 {
        match self.top.index {
            0 => UNKNOWN,
            _ => self.top.field,
        }
    }

    /// Before a member: after a comma unless it is the first; or at the closing brace.
    #[inline]
    pub(super) fn open_member(&mut self, cx: &Cx<'_>) -> Result<Member> {
        let Some(b) = self.peek(cx) else {
            return self.starved(cx, Member::Starved);
        };
        if b == b'}' {
            return Ok(Member::End);
        }
        if self.top.stage == Stage::Next {
            if b != b',' {
                return Err(self.syntax("expected `,` or `}`"));
            }
            self.pos += 1;
        }
        self.top.stage = Stage::Key;
        Ok(Member::Key)
    }

    /// Scans a key; `None` when starved.
    #[inline]
    pub(super) fn key(&mut self, cx: &Cx<'_>) -> Result<Option<Str>> {
        match self.peek(cx) {
            Some(b'"') => self.string(cx),
            Some(_) => {
                self.top.stage = Stage::Next;
                Err(self.syntax("expected a name in quotes"))
            }
            None => self.starved(cx, None),
        }
    }

    /// The colon after a key; `false` when starved.
    #[inline]
    pub(super) fn colon(&mut self, cx: &Cx<'_>) -> Result<bool> {
        match self.peek(cx) {
            Some(b':') => {
                self.pos += 1;
                self.top.stage = Stage::Value;
                Ok(true)
            }
            Some(_) => Err(self.syntax("expected `:`")),
            None => self.starved(cx, false),
        }
    }

    /// The field that the key on top names, marked as seen.
    #[inline]
    fn lookup(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        id: MessageId,
        any: bool,
    ) -> Result<u32> {
        let key = self.top.key;
        let guess = self.next_guess(id);
        let found = if key.escaped {
            let mut scratch = Vec::new();
            let text = self.text(cx.json, key, &mut scratch)?;
            self.by_name(table, text, guess, any)
        } else {
            self.by_name(table, key.raw(cx.json), guess, any)
        };
        let Some(at) = found else {
            if cx.codec.options.ignore_unknown_fields {
                return Ok(UNKNOWN);
            }
            return Err(self.no_such_field(cx, table));
        };
        let bit = match at {
            TYPE => table.fields.len() + table.oneofs,
            EMPTY => table.fields.len() + table.oneofs + 1,
            _ => at as usize,
        };
        if self.mark(bit) {
            return Err(self.value_error("given twice"));
        }
        if at != guess && self.stack.len() >= REPEATED_DEPTH {
            self.order.learn(id, self.field_before(), at);
        }
        Ok(at)
    }

    /// The key on top names nothing; the nearest field may be meant.
    #[cold]
    fn no_such_field(&mut self, cx: &Cx<'_>, table: &MessageTable) -> Fault {
        let mut what = format!("no such field in {}", table.full_name);
        let mut scratch = Vec::new();
        let key = self.text(cx.json, self.top.key, &mut scratch);
        let key = key.ok().and_then(|key| std::str::from_utf8(key).ok());
        let names = table.fields.iter();
        let names = names.filter_map(|f| std::str::from_utf8(&f.json_name).ok());
        if let Some(meant) = key.and_then(|key| nearest(key, names)) {
            what.push_str(&format!("; did you mean {meant:?}?"));
        }
        self.value_error(what)
    }

    #[inline]
    fn by_name(&self, table: &MessageTable, key: &[u8], guess: u32, any: bool) -> Option<u32> {
        match table.by_name(key, guess) {
            None if any && key == b"@type" => Some(TYPE),
            None if any && key == b"value" && is_empty(table) => Some(EMPTY),
            found => found,
        }
    }

    /// A field's value in its message: marks its oneof, then writes it.
    #[inline]
    fn member_value(
        &mut self,
        cx: &Cx<'_>,
        at: FieldRef,
        field: &FieldTable,
        table: &MessageTable,
    ) -> Result<Outcome> {
        if field.oneof != NONE {
            let Some(b) = self.peek(cx) else {
                return self.starved(cx, Outcome::Starved);
            };
            // A value that may starve does so before it is marked.
            if b == b'"' && self.string(cx)?.is_none() {
                return Ok(Outcome::Starved);
            }
            if b != b'n' || field.null_is_value {
                self.mark_oneof(field, table, at.field.0)?;
            }
        }
        self.top.index = 1;
        self.field_value(cx, at, field)
    }

    fn mark_oneof(&mut self, field: &FieldTable, table: &MessageTable, own: u32) -> Result<()> {
        if !self.mark(table.fields.len() + usize::from(field.oneof)) {
            return Ok(());
        }
        let seen = |at: usize| {
            let word = self.bits.get(self.top.bits_base + at / 64);
            at != own as usize && word.is_some_and(|w| w >> (at % 64) & 1 == 1)
        };
        let mut others = (0..table.fields.len())
            .filter(|&at| seen(at))
            .filter_map(|at| table.fields.get(at))
            .filter(|other| other.oneof == field.oneof);
        Err(match (others.next(), others.next()) {
            (Some(other), None) => {
                let name = String::from_utf8_lossy(&other.json_name).into_owned();
                self.value_error(format!("`{name}` of the same oneof is given too"))
            }
            // Of several, one was given as null, and which is not known any more.
            _ => self.value_error("another field of the same oneof is given too"),
        })
    }

    /// The value of a field, whatever its shape. `null` leaves the field unset.
    #[inline]
    pub(super) fn field_value(
        &mut self,
        cx: &Cx<'_>,
        at: FieldRef,
        field: &FieldTable,
    ) -> Result<Outcome> {
        let Some(b) = self.peek(cx) else {
            return self.starved(cx, Outcome::Starved);
        };
        if b == b'n' && !(field.null_is_value && field.shape == Shape::Singular) {
            self.literal(cx, b"null")?;
            self.top.stage = Stage::Next;
            return Ok(Outcome::Written);
        }
        let (kind, slots_base) = match field.shape {
            Shape::Singular => {
                let base = self.slots.len();
                let outcome = self.element_at(cx, b, field, Put::Field, base)?;
                return Ok(self.after_value(outcome));
            }
            Shape::Repeated | Shape::Packed if b != b'[' => {
                return Err(self.unexpected(cx, "an array"));
            }
            Shape::Map(_) if b != b'{' => return Err(self.unexpected(cx, "an object")),
            Shape::Repeated | Shape::Packed => (FrameKind::Repeated(at), self.slots.len()),
            Shape::Map(_) => (FrameKind::Map(at), self.slots.len()),
        };
        self.top.stage = Stage::Next;
        self.push(kind, slots_base)
            .inspect_err(|_| self.top.stage = Stage::Value)?;
        Ok(Outcome::Opened)
    }

    /// The stage that follows a value. A frame that was pushed has its parent beneath it.
    #[inline]
    pub(super) fn after_value(&mut self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Starved => {}
            Outcome::Opened if self.bulk.is_none() => {
                if let Some(parent) = self.stack.last_mut() {
                    parent.stage = Stage::Next;
                }
            }
            _ => self.top.stage = Stage::Next,
        }
        outcome
    }

    /// Goes through an array's elements.
    pub(super) fn repeated_step(&mut self, cx: &Cx<'_>, at: FieldRef) -> Result<Flow> {
        let field = cx.tables.field(at).ok_or_else(|| self.lost())?;
        let packed = field.shape == Shape::Packed;
        let put = if packed { Put::Packed } else { Put::Element };
        loop {
            match self.open_element(cx)? {
                Member::Key => {}
                Member::Starved => return Ok(Flow::Starved),
                Member::End => return Ok(self.close()),
            }
            if packed && self.slots.len() == self.top.slots_base {
                field.packed_tag.put(&mut self.wire);
                self.open_length(1);
            }
            let base = if packed {
                self.top.slots_base + 1
            } else {
                self.top.slots_base
            };
            if !field.null_is_value && self.peek(cx) == Some(b'n') {
                return Err(self.value_error("null is not allowed in an array"));
            }
            let outcome = self.element(cx, field, put, base)?;
            match self.after_value(outcome) {
                Outcome::Written | Outcome::Dropped => {}
                Outcome::Opened => return Ok(Flow::On),
                Outcome::Starved => return Ok(Flow::Starved),
            }
            if packed {
                self.short_numbers(cx, field)?;
            }
            self.check_size(cx)?;
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    /// Goes on through a packed array while it is plain: a comma, a short number, and so on.
    #[inline]
    fn short_numbers(&mut self, cx: &Cx<'_>, field: &FieldTable) -> Result<()> {
        while self.pos < self.stop && cx.json.get(self.pos) == Some(&b',') {
            self.reserve(64);
            let Some((number, end)) = decimal::short_number(cx.json, self.pos + 1) else {
                break;
            };
            if !put_short_number(&mut self.wire, number, field, Put::Packed) {
                break;
            }
            self.pos = end;
            self.top.index += 1;
            self.check_size(cx)?;
        }
        Ok(())
    }

    /// Before an element: it begins at `self.pos`, and the stage is `Value`.
    #[inline]
    pub(super) fn open_element(&mut self, cx: &Cx<'_>) -> Result<Member> {
        let Some(b) = self.peek(cx) else {
            return self.starved(cx, Member::Starved);
        };
        match (self.top.stage, b) {
            (Stage::First | Stage::Next, b']') => return Ok(Member::End),
            (Stage::Next, b',') => {
                self.pos += 1;
                self.top.index += 1;
                self.top.stage = Stage::Value;
                if self.peek(cx).is_none() {
                    return self.starved(cx, Member::Starved);
                }
            }
            (Stage::Next, _) => return Err(self.syntax("expected `,` or `]`")),
            _ => self.top.stage = Stage::Value,
        }
        Ok(Member::Key)
    }

    /// Goes through the members of an object that is a map.
    pub(super) fn map_step(&mut self, cx: &Cx<'_>, at: FieldRef) -> Result<Flow> {
        let field = cx.tables.field(at).ok_or_else(|| self.lost())?;
        let Shape::Map(entry) = field.shape else {
            return Err(self.lost());
        };
        let (key, value) = cx.tables.entry(entry).ok_or_else(|| self.lost())?;
        loop {
            match self.top.stage {
                Stage::First | Stage::Next => match self.open_member(cx)? {
                    Member::Key => {}
                    Member::Starved => return Ok(Flow::Starved),
                    Member::End => return Ok(self.close()),
                },
                Stage::Key => {
                    if !self.map_key(cx, key.kind != Kind::String)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Colon => {
                    if !self.colon(cx)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Value => match self.map_value(cx, field, key, value)? {
                    Outcome::Written | Outcome::Dropped => self.check_size(cx)?,
                    Outcome::Opened => return Ok(Flow::On),
                    Outcome::Starved => return Ok(Flow::Starved),
                },
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    /// Takes a key, which must be new; `false` when starved.
    pub(super) fn map_key(&mut self, cx: &Cx<'_>, numeric: bool) -> Result<bool> {
        let Some(key) = self.key(cx)? else {
            return Ok(false);
        };
        self.top.key = key;
        let keys = self
            .top
            .keys
            .get_or_insert_with(|| self.spare_keys.take().unwrap_or_default());
        if keys.insert(cx.json, key, numeric) {
            return Err(self.value_error("given twice"));
        }
        self.pos = key.end + 1;
        self.top.stage = Stage::Colon;
        Ok(true)
    }

    /// Writes one entry: its record, its key, its value.
    fn map_value(
        &mut self,
        cx: &Cx<'_>,
        field: &FieldTable,
        key: &FieldTable,
        value: &FieldTable,
    ) -> Result<Outcome> {
        match self.peek(cx) {
            None => return self.starved(cx, Outcome::Starved),
            // A value that may starve must do so before the entry is begun.
            Some(b'"') => {
                if self.string(cx)?.is_none() {
                    return Ok(Outcome::Starved);
                }
            }
            Some(b'n') if !value.null_is_value => {
                return Err(self.value_error("null is not allowed in a map"));
            }
            Some(_) => {}
        }
        let base = self.slots.len();
        let (begin, at) = (self.wire.len(), self.pos);
        field.tag.put(&mut self.wire);
        self.open_length(self.top.hint.into());
        self.pos = self.top.key.start - 1;
        self.map_key_field(cx, key)?;
        self.pos = at;
        let outcome = self.element(cx, value, Put::Element, base)?;
        match outcome {
            Outcome::Written => {
                self.top.hint = self.close_slots(base);
            }
            Outcome::Dropped => {
                self.slots.truncate(base);
                self.wire.truncate(begin);
            }
            Outcome::Opened | Outcome::Starved => {}
        }
        Ok(self.after_value(outcome))
    }

    fn map_key_field(&mut self, cx: &Cx<'_>, key: &FieldTable) -> Result<()> {
        let s = self.top.key;
        let base = self.slots.len();
        match key.kind {
            Kind::String => {
                key.tag.put(&mut self.wire);
                self.put_key(cx, s)?;
            }
            Kind::Bool => {
                let mut scratch = Vec::new();
                let value = match self.text(cx.json, s, &mut scratch)? {
                    b"true" => 1,
                    b"false" => 0,
                    other => {
                        let shown = scalar::shown(other);
                        return Err(self.value_error(format!(
                            "expected the key to be \"true\" or \"false\", found {shown}"
                        )));
                    }
                };
                key.tag.put(&mut self.wire);
                wire::put_varint(&mut self.wire, value);
            }
            _ => {
                self.quoted_number(cx, s, key, Put::Element)?;
            }
        }
        debug_assert_eq!(self.slots.len(), base);
        Ok(())
    }

    /// The length and text of a key, at once.
    pub(super) fn put_key(&mut self, cx: &Cx<'_>, s: Str) -> Result<()> {
        self.reserve(s.len() + 16);
        if !s.escaped {
            wire::put_varint(&mut self.wire, s.len() as u64);
            self.wire.extend_from_slice(s.raw(cx.json));
            return Ok(());
        }
        let mut scratch = Vec::new();
        let text = self.text(cx.json, s, &mut scratch)?;
        wire::put_varint(&mut self.wire, text.len() as u64);
        self.wire.extend_from_slice(text);
        Ok(())
    }
}

fn is_empty(table: &MessageTable) -> bool {
    table.fields.is_empty() && *table.full_name == *"google.protobuf.Empty"
}

/// What stands before a member or an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Key,
    Starved,
    End,
}
