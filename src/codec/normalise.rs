//! Wire → wire: the same message in the usual shape.
//!
//! Fields ascend and unknown ones follow them; of a singular field the last one wins, split messages
//! are merged, of a oneof the last member stays, of equal map keys the last entry; repeated scalars
//! are packed or not as the schema says. The input has been validated, but for the value of an `Any`
//! that stood before its type: what can't be read there is noticed here. Runs in slices on an
//! explicit stack. Costs twelve bytes a record of the messages that are
//! open: only wire that no ordinary encoder writes comes here.

use std::hash::{BuildHasher, RandomState};

use super::offsets::{KeyAt, Offsets};
use super::record::{self, Content, Record};
use super::tables::{FieldTable, Form, MessageTable, NONE, Shape, Tables};
use super::wire::{self, LengthSlot};
use super::{Codec, CodecLimits};
use crate::schema::{Kind, MessageId};

/// Messages in one another, for each level of JSON: a map in a Struct is an entry, a Value and a
/// Struct. Deeper is only what was not validated, the value of an `Any` before its type.
const MESSAGES_PER_LEVEL: usize = 3;
/// Sorts behind all fields.
const UNKNOWN: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Normaliser {
    root: Option<MessageId>,
    stack: Vec<Frame>,
    out: Vec<u8>,
    /// An `Any`'s value is a message to the printer, but opaque bytes to a proxy.
    opens_any: bool,
    /// Something could not be read.
    broken: bool,
    messages_max: usize,
}

/// A record of a message: where it stands, and the index of its field.
#[derive(Clone, Copy, Debug)]
struct Place {
    field: u32,
    start: u32,
    end: u32,
}

#[derive(Debug)]
struct Frame {
    id: MessageId,
    places: Vec<Place>,
    next: usize,
    /// Elements that turned out to be unknown: they go behind the fields.
    tail: Vec<u8>,
    close: Close,
}

#[derive(Debug)]
enum Close {
    Nothing,
    Length(LengthSlot),
    Group(u32),
    SetItem(LengthSlot),
}

struct Cx<'a> {
    codec: &'a Codec,
    tables: &'a Tables,
    wire: &'a [u8],
}

impl Normaliser {
    /// For the printer: `Any` values are brought into the usual shape too.
    pub(super) fn for_print(id: MessageId, size: usize, limits: CodecLimits) -> Self {
        Self {
            root: Some(id),
            stack: Vec::new(),
            out: Vec::with_capacity(size),
            opens_any: true,
            broken: false,
            messages_max: (limits.depth_max + 1).saturating_mul(MESSAGES_PER_LEVEL),
        }
    }

    /// For re-encoding: bytes fields stay as they are.
    pub(super) fn for_wire(id: MessageId, size: usize, limits: CodecLimits) -> Self {
        Self {
            opens_any: false,
            ..Self::for_print(id, size, limits)
        }
    }

    /// The message, once [`Self::step`] has said `true`; `None` if some of it was malformed.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        (!self.broken).then(|| std::mem::take(&mut self.out))
    }

    /// Goes on for about `budget` bytes; `true` when all is done.
    pub(super) fn step(&mut self, codec: &Codec, wire: &[u8], budget: usize) -> bool {
        let cx = Cx {
            codec,
            tables: &codec.tables,
            wire,
        };
        if let Some(id) = self.root.take() {
            self.push(&cx, id, &[(0, wire.len())], Close::Nothing);
        }
        let stop = self.out.len().saturating_add(budget);
        let mut fuel = budget;
        while let Some(frame) = self.stack.last_mut() {
            if self.broken {
                return true;
            }
            if self.out.len() >= stop || fuel == 0 {
                return false;
            }
            fuel -= 1;
            match frame.places.get(frame.next) {
                None => self.pop(),
                Some(&place) => {
                    let id = frame.id;
                    if self.field(&cx, id, place).is_none() {
                        self.broken = true;
                    }
                }
            }
        }
        true
    }

    fn push(&mut self, cx: &Cx<'_>, id: MessageId, parts: &[(usize, usize)], close: Close) {
        let found = cx
            .tables
            .message(id)
            .and_then(|table| places(cx, table, parts));
        self.broken |= found.is_none() || self.stack.len() >= self.messages_max;
        let places = found.unwrap_or_default();
        self.stack.push(Frame {
            id,
            places,
            next: 0,
            tail: Vec::new(),
            close,
        });
    }

    fn pop(&mut self) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        self.out.extend_from_slice(&frame.tail);
        match frame.close {
            Close::Nothing => {}
            Close::Length(slot) => {
                slot.close(&mut self.out, false);
            }
            Close::Group(number) => wire::put_tag(&mut self.out, number, wire::END_GROUP),
            Close::SetItem(slot) => {
                slot.close(&mut self.out, false);
                wire::put_tag(&mut self.out, 1, wire::END_GROUP);
            }
        }
    }

    /// Writes the field at `place` of the message on top, and steps past what it took.
    fn field(&mut self, cx: &Cx<'_>, id: MessageId, place: Place) -> Option<()> {
        let table = cx.tables.message(id)?;
        let frame = self.stack.last_mut()?;
        if place.field == UNKNOWN {
            frame.next += 1;
            self.out.extend_from_slice(place.raw(cx));
            return Some(());
        }
        let field = table.fields.get(place.field as usize)?;
        let is_message = matches!(field.kind, Kind::Message(_));
        match field.shape {
            Shape::Singular if is_message => self.merge(cx, table, field),
            Shape::Singular => {
                frame.next += frame.run();
                let last = *frame.places.get(frame.next - 1)?;
                self.last(cx, table, field, last)
            }
            Shape::Map(_) => {
                frame.next += 1;
                self.child(cx, table, field, &[place])
            }
            Shape::Repeated | Shape::Packed if is_message => {
                frame.next += 1;
                self.child(cx, table, field, &[place])
            }
            Shape::Repeated | Shape::Packed if !field.packable => {
                frame.next += 1;
                self.out.extend_from_slice(place.raw(cx));
                Some(())
            }
            Shape::Repeated | Shape::Packed => self.scalars(cx, table, field),
        }
    }

    /// All occurrences of a singular message, as one.
    fn merge(&mut self, cx: &Cx<'_>, table: &MessageTable, field: &FieldTable) -> Option<()> {
        let frame = self.stack.last_mut()?;
        let run = frame.run();
        let parts = frame.places.get(frame.next..frame.next + run)?.to_vec();
        frame.next += run;
        self.child(cx, table, field, &parts)
    }

    /// The last occurrence of a singular scalar; no default of a field without presence.
    fn last(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        field: &FieldTable,
        place: Place,
    ) -> Option<()> {
        if self.opens_any && table.form == Form::Any && field.kind == Kind::Bytes {
            return self.any_value(cx, table, field, place);
        }
        let content = place.read(cx, table)?.content.canonical(field.kind);
        if field.implicit && content.is_zero_of(field.kind) {
            return Some(());
        }
        match content {
            Content::Varint(n) => {
                field.tag.put(&mut self.out);
                wire::put_varint(&mut self.out, n);
            }
            _ => self.out.extend_from_slice(place.raw(cx)),
        }
        Some(())
    }

    /// The value of an `Any`, as the message that it is.
    fn any_value(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        field: &FieldTable,
        place: Place,
    ) -> Option<()> {
        let url = self.stack.last()?.places.iter().rev().find_map(|p| {
            let Content::Bytes { start, end } = p.read(cx, table)?.content else {
                return None;
            };
            (p.field == 0).then_some(cx.wire.get(start..end)?)
        });
        let id = url.and_then(|url| {
            let (_, name) = std::str::from_utf8(url).ok()?.rsplit_once('/')?;
            cx.codec.schema.find_message(name)
        });
        let Content::Bytes { start, end } = place.read(cx, table)?.content else {
            return None;
        };
        let Some(id) = id else {
            self.out.extend_from_slice(place.raw(cx));
            return Some(());
        };
        field.tag.put(&mut self.out);
        let slot = LengthSlot::open(&mut self.out, wire::varint_len((end - start) as u64));
        self.push(cx, id, &[(start, end)], Close::Length(slot));
        Some(())
    }

    /// Opens one message made of the occurrences in `places`.
    fn child(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        field: &FieldTable,
        places: &[Place],
    ) -> Option<()> {
        let id = match (field.shape, field.kind) {
            (Shape::Map(entry), _) => entry,
            (_, Kind::Message(id)) => id,
            _ => return None,
        };
        let parts: Vec<(usize, usize)> = places
            .iter()
            .filter_map(|p| p.message_content(cx, table, field))
            .collect();
        let size: usize = parts.iter().map(|(start, end)| end - start).sum();
        let width = wire::varint_len(size as u64);
        let close = if field.set_item {
            wire::put_tag(&mut self.out, 1, wire::GROUP);
            wire::put_tag(&mut self.out, 2, wire::VARINT);
            wire::put_varint(&mut self.out, field.number.into());
            wire::put_tag(&mut self.out, 3, wire::LEN);
            Close::SetItem(LengthSlot::open(&mut self.out, width))
        } else if field.delimited {
            field.tag.put(&mut self.out);
            Close::Group(field.number)
        } else {
            field.tag.put(&mut self.out);
            Close::Length(LengthSlot::open(&mut self.out, width))
        };
        self.push(cx, id, &parts, close);
        Some(())
    }

    /// All elements of a repeated scalar, packed or not as the schema says.
    fn scalars(&mut self, cx: &Cx<'_>, table: &MessageTable, field: &FieldTable) -> Option<()> {
        let frame = self.stack.last_mut()?;
        let run = frame.run();
        let places = frame.places.get(frame.next..frame.next + run)?.to_vec();
        frame.next += run;
        let packed = field.shape == Shape::Packed;
        let begin = self.out.len();
        let slot = packed.then(|| {
            field.packed_tag.put(&mut self.out);
            let size: usize = places.iter().map(|p| (p.end - p.start) as usize).sum();
            LengthSlot::open(&mut self.out, wire::varint_len(size as u64))
        });
        let body = self.out.len();
        for place in places {
            let Some(record) = place.read(cx, table) else {
                continue;
            };
            let Content::Bytes { start, end } = record.content else {
                self.scalar(cx, field, record.content, packed);
                continue;
            };
            let mut pos = start;
            while pos < end {
                let content = match field.wire_type {
                    wire::FIXED32 => Content::Fixed32(wire::fixed32(cx.wire, &mut pos)?),
                    wire::FIXED64 => Content::Fixed64(wire::fixed64(cx.wire, &mut pos)?),
                    _ => Content::Varint(wire::varint(cx.wire, &mut pos)?),
                };
                self.scalar(cx, field, content, packed);
            }
        }
        match slot {
            Some(_) if self.out.len() == body => self.out.truncate(begin),
            Some(slot) => {
                slot.close(&mut self.out, false);
            }
            None => {}
        }
        Some(())
    }

    /// One element; an unknown number of a closed enum is an unknown field.
    fn scalar(&mut self, cx: &Cx<'_>, field: &FieldTable, content: Content, packed: bool) {
        let known = match (content, field.kind) {
            (Content::Varint(n), Kind::Enum(id)) if field.closed => {
                let table = cx.tables.enumeration(id);
                table.is_some_and(|e| e.literal(n as i32).is_some())
            }
            _ => true,
        };
        let out = match self.stack.last_mut() {
            Some(frame) if !known => &mut frame.tail,
            _ => &mut self.out,
        };
        if !packed || !known {
            field.tag.put(out);
        }
        match content.canonical(field.kind) {
            Content::Varint(n) => wire::put_varint(out, n),
            Content::Fixed32(n) => out.extend_from_slice(&n.to_le_bytes()),
            Content::Fixed64(n) => out.extend_from_slice(&n.to_le_bytes()),
            _ => {}
        }
    }
}

impl Frame {
    /// How many of the next places are of one field. Looks at each, so only who takes them all asks.
    fn run(&self) -> usize {
        let rest = self.places.get(self.next..).unwrap_or(&[]);
        let field = rest.first().map(|p| p.field);
        rest.iter().take_while(|p| Some(p.field) == field).count()
    }
}

impl Place {
    fn raw<'a>(self, cx: &Cx<'a>) -> &'a [u8] {
        cx.wire
            .get(self.start as usize..self.end as usize)
            .unwrap_or(&[])
    }

    fn read(self, cx: &Cx<'_>, table: &MessageTable) -> Option<Record> {
        record::next(
            table,
            cx.wire,
            &mut (self.start as usize),
            self.end as usize,
        )
    }

    fn message_content(
        self,
        cx: &Cx<'_>,
        table: &MessageTable,
        field: &FieldTable,
    ) -> Option<(usize, usize)> {
        match self.read(cx, table)?.content {
            Content::Bytes { start, end } => Some((start, end)),
            Content::Group { start } => {
                let end = self.end as usize;
                record::group_end(cx.wire, start, end, field.number).map(|(end, _)| (start, end))
            }
            _ => None,
        }
    }
}

/// The records that stay, by field; within a field as they came.
fn places(cx: &Cx<'_>, table: &MessageTable, parts: &[(usize, usize)]) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    for &(start, end) in parts {
        collect(cx, table, start, end, &mut places)?;
    }
    if table.oneofs > 0 {
        keep_last_members(table, &mut places);
    }
    // Stable, so that elements stay in order.
    places.sort_by_key(|p| p.field);
    let has_maps = |p: &Place| {
        let field = table.fields.get(p.field as usize);
        field.is_some_and(|f| matches!(f.shape, Shape::Map(_)))
    };
    if places.iter().any(has_maps) {
        keep_last_entries(cx, table, &mut places);
    }
    Some(places)
}

fn collect(
    cx: &Cx<'_>,
    table: &MessageTable,
    from: usize,
    end: usize,
    places: &mut Vec<Place>,
) -> Option<()> {
    let mut pos = from;
    while pos < end {
        let start = pos;
        let record = record::next(table, cx.wire, &mut pos, end)?;
        let mut index = record.field;
        let field = index.and_then(|i| table.fields.get(i as usize));
        match (record.content, field) {
            (Content::Group { start }, Some(field)) => {
                (_, pos) = record::group_end(cx.wire, start, end, field.number)?;
            }
            (Content::EndGroup(_), _) => return None,
            _ => {}
        }
        if let Some(field) = field
            && is_unknown_enum(cx, field, record.content)
        {
            index = None;
        }
        // An entry has no place for unknown fields: it is not kept as a message.
        if index.is_none() && table.map_entry {
            continue;
        }
        places.push(Place {
            field: index.unwrap_or(UNKNOWN),
            start: u32::try_from(start).ok()?,
            end: u32::try_from(pos).ok()?,
        });
    }
    Some(())
}

/// A closed enum's unknown number, as a singular value or a map's.
fn is_unknown_enum(cx: &Cx<'_>, field: &FieldTable, content: Content) -> bool {
    let unknown = |field: &FieldTable, n: u64| match field.kind {
        Kind::Enum(id) if field.closed => {
            let table = cx.tables.enumeration(id);
            table.is_none_or(|e| e.literal(n as i32).is_none())
        }
        _ => false,
    };
    match (field.shape, content) {
        (Shape::Singular, Content::Varint(n)) => unknown(field, n),
        (Shape::Map(entry), Content::Bytes { start, end }) => {
            let Some((table, (_, value))) = cx.tables.message(entry).zip(cx.tables.entry(entry))
            else {
                return false;
            };
            if !value.closed {
                return false;
            }
            match last_of(cx, table, 1, start, end) {
                Some(Content::Varint(n)) => unknown(value, n),
                _ => false,
            }
        }
        _ => false,
    }
}

fn last_of(
    cx: &Cx<'_>,
    table: &MessageTable,
    field: u32,
    start: usize,
    end: usize,
) -> Option<Content> {
    let (mut pos, mut found) = (start, None);
    while pos < end {
        let record = record::next(table, cx.wire, &mut pos, end)?;
        if record.field == Some(field) {
            found = Some(record.content);
        }
    }
    found
}

/// Of each oneof, drops all up to the last record of another member than the last.
fn keep_last_members(table: &MessageTable, places: &mut Vec<Place>) {
    // The member that stays, and whether another was met on the way back.
    let mut state = vec![(UNKNOWN, false); table.oneofs];
    let mut kept: Vec<Place> = Vec::with_capacity(places.len());
    for place in places.iter().rev() {
        let oneof = table
            .fields
            .get(place.field as usize)
            .map_or(NONE, |f| f.oneof);
        if let Some((winner, dead)) = state.get_mut(usize::from(oneof)) {
            if *winner == UNKNOWN {
                *winner = place.field;
            }
            *dead |= place.field != *winner;
            if *dead {
                continue;
            }
        }
        kept.push(*place);
    }
    kept.reverse();
    *places = kept;
}

/// Of entries with one key, keeps the last. `places` are sorted by field.
fn keep_last_entries(cx: &Cx<'_>, table: &MessageTable, places: &mut Vec<Place>) {
    let mut kept: Vec<Place> = Vec::with_capacity(places.len());
    let mut keys = Offsets::default();
    let mut current = UNKNOWN;
    for place in places.iter().rev() {
        let field = table.fields.get(place.field as usize);
        if let Some(Shape::Map(entry)) = field.map(|f| f.shape)
            && let Some(entry) = cx.tables.message(entry)
        {
            if place.field != current {
                current = place.field;
                keys = Offsets::default();
            }
            let kind = entry.fields.first().map_or(Kind::String, |f| f.kind);
            if keys.insert(place.start, &EntryKeys { cx, entry, kind }) {
                continue;
            }
        }
        kept.push(*place);
    }
    kept.reverse();
    *places = kept;
}

/// Keys of map entries, by where the record of the entry begins.
struct EntryKeys<'c, 'a> {
    cx: &'c Cx<'a>,
    entry: &'c MessageTable,
    kind: Kind,
}

impl<'a> EntryKeys<'_, 'a> {
    fn key(&self, at: u32) -> (&'a [u8], u64) {
        let wire = self.cx.wire;
        let mut pos = at as usize;
        let range = (|| {
            wire::tag(wire, &mut pos)?;
            let len = wire::length(wire, &mut pos, wire.len())?;
            Some((pos, pos + len))
        })();
        let (start, end) = range.unwrap_or((0, 0));
        match last_of(self.cx, self.entry, 0, start, end) {
            Some(Content::Bytes { start, end }) => (wire.get(start..end).unwrap_or(&[]), 0),
            Some(content) => (&[], content.bits(self.kind)),
            None => (&[], 0),
        }
    }
}

impl KeyAt for EntryKeys<'_, '_> {
    fn same(&self, a: u32, b: u32) -> bool {
        self.key(a) == self.key(b)
    }

    fn hash(&self, at: u32, state: &RandomState) -> u64 {
        state.hash_one(self.key(at))
    }
}
