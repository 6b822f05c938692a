//! Schema and options compiled into per-message tables: everything that the hot loops would
//! otherwise look up, test or format for each field of each request.
//!
//! Invariant: tables, their fields and enums have the indices of the [`Schema`] they came from.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::JsonOptions;
use super::enums::{EnumTable, enum_table};
use super::wire;
use crate::schema::{
    Cardinality, EnumId, Field, FieldRef, Kind, Message, MessageId, Presence, Schema, WellKnown,
};

type Names<V> = HashMap<Box<[u8]>, V, FixedState>;

/// No oneof.
pub(super) const NONE: u16 = u16::MAX;

#[derive(Debug)]
pub(super) struct Tables {
    messages: Box<[MessageTable]>,
    enums: Box<[EnumTable]>,
}

#[derive(Debug)]
pub(super) struct MessageTable {
    pub full_name: Arc<str>,
    pub form: Form,
    pub fields: Box<[FieldTable]>,
    pub message_set: bool,
    pub map_entry: bool,
    pub oneofs: usize,
    /// Whether any field is printed when it is absent.
    pub has_absent: bool,
    names: Names<u32>,
    /// Index + 1 by number, for the low numbers.
    dense: Box<[u32]>,
    /// Index + 1 by a tag of one byte, where the field takes records of that wire type.
    by_tag: [u8; 128],
}

/// What a message looks like in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Object,
    Any,
    Duration,
    FieldMask,
    ListValue,
    Struct,
    Timestamp,
    Value,
    /// A wrapper: the bare value of its one field.
    Wrapper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Singular,
    Repeated,
    /// Repeated and written packed. Both forms are read for either.
    Packed,
    Map(MessageId),
}

#[derive(Debug)]
pub(super) struct FieldTable {
    pub number: u32,
    pub kind: Kind,
    pub shape: Shape,
    /// Singular without presence: its default value is not written.
    pub implicit: bool,
    pub oneof: u16,
    pub delimited: bool,
    /// Of one element.
    pub wire_type: u8,
    /// Whether elements can be packed.
    pub packable: bool,
    /// A 64-bit integer that is printed as a string.
    pub quoted: bool,
    /// A closed enum, not of a map: its unknown numbers are unknown fields.
    pub closed: bool,
    /// A `google.protobuf.Value` or `NullValue`, for which `null` is a value.
    pub null_is_value: bool,
    pub utf8: bool,
    /// One text in no oneof.
    pub plain_text: bool,
    /// An item of a MessageSet: `group 1 { type_id = 2; message = 3 }`.
    pub set_item: bool,
    /// Tag of one element, unpacked.
    pub tag: Tag,
    /// Tag of the packed record.
    pub packed_tag: Tag,
    pub json_name: Box<[u8]>,
    /// `"gameId":` as clients mostly write it.
    pub quoted_name: Box<[u8]>,
    /// `,"gameId":` as printed after another member; [`FieldTable::key`] is without the comma.
    pub comma_key: Box<[u8]>,
    /// Printed when the field is absent; empty: not printed then.
    pub absent: Box<[u8]>,
    /// How one zero value is printed.
    pub zero: Box<[u8]>,
}

/// An encoded tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    bytes: [u8; 5],
    len: u8,
}

impl Tag {
    fn new(number: u32, kind: u8) -> Self {
        let mut text = Vec::with_capacity(5);
        wire::put_tag(&mut text, number, kind);
        let mut bytes = [0; 5];
        for (to, from) in bytes.iter_mut().zip(&text) {
            *to = *from;
        }
        Self {
            bytes,
            len: text.len() as u8,
        }
    }

    /// Whether the wire has this very tag at `pos`.
    #[inline]
    pub(super) fn is_at(&self, wire: &[u8], pos: usize) -> bool {
        let own = self.bytes.get(..self.len as usize).unwrap_or(&[]);
        wire.get(pos..).is_some_and(|rest| rest.starts_with(own))
    }

    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        if self.len == 1 {
            out.push(self.bytes[0]);
        } else {
            out.extend_from_slice(self.bytes.get(..self.len as usize).unwrap_or(&[]));
        }
    }
}

impl Tables {
    pub(super) fn build(schema: &Schema, options: &JsonOptions) -> Self {
        let enums: Box<[EnumTable]> = schema
            .enums
            .iter()
            .map(|e| enum_table(e, options))
            .collect();
        let source = Source {
            schema,
            enums: &enums,
            options,
        };
        let messages = schema
            .messages()
            .iter()
            .map(|m| source.message(m))
            .collect();
        Self { messages, enums }
    }

    #[inline]
    pub(super) fn message(&self, id: MessageId) -> Option<&MessageTable> {
        self.messages.get(id.0 as usize)
    }

    #[inline]
    pub(super) fn field(&self, at: FieldRef) -> Option<&FieldTable> {
        self.message(at.message)?.fields.get(at.field.0 as usize)
    }

    #[inline]
    pub(super) fn enumeration(&self, id: EnumId) -> Option<&EnumTable> {
        self.enums.get(id.0 as usize)
    }

    /// Key and value fields of a map entry.
    #[inline]
    pub(super) fn entry(&self, id: MessageId) -> Option<(&FieldTable, &FieldTable)> {
        match &*self.message(id)?.fields {
            [key, value] => Some((key, value)),
            _ => None,
        }
    }
}

impl MessageTable {
    /// Looks a JSON key up, trying the field at `guess` first.
    #[inline]
    pub(super) fn by_name(&self, key: &[u8], guess: u32) -> Option<u32> {
        if let Some(field) = self.fields.get(guess as usize)
            && *field.json_name == *key
        {
            return Some(guess);
        }
        self.names.get(key).copied()
    }

    /// The field that a tag of one byte begins a record of.
    #[inline]
    pub(super) fn by_tag(&self, tag: u8) -> Option<u32> {
        let at = *self.by_tag.get(usize::from(tag))?;
        u32::from(at).checked_sub(1)
    }

    #[inline]
    pub(super) fn by_number(&self, number: u32) -> Option<u32> {
        if let Some(&at) = self.dense.get(number as usize) {
            return at.checked_sub(1);
        }
        let at = self
            .fields
            .binary_search_by_key(&number, |f| f.number)
            .ok()?;
        u32::try_from(at).ok()
    }
}

impl FieldTable {
    /// `"gameId":` as printed.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        self.comma_key.get(1..).unwrap_or(&[])
    }

    /// Whether a record of this wire type is one of the field: packed and unpacked are both read.
    #[inline]
    pub(super) fn accepts(&self, kind: u8) -> bool {
        match self.shape {
            Shape::Map(_) => kind == wire::LEN,
            Shape::Singular => kind == self.wire_type,
            Shape::Repeated | Shape::Packed => {
                kind == self.wire_type || (kind == wire::LEN && self.packable)
            }
        }
    }
}

/// See [`MessageTable::by_tag`]. Items of a MessageSet have to be told from fields first.
fn by_tag(message: &Message, fields: &[FieldTable]) -> [u8; 128] {
    let mut tags = [0; 128];
    for (tag, slot) in (0u8..).zip(tags.iter_mut()) {
        let of = |f: &FieldTable| f.number == u32::from(tag >> 3) && f.accepts(tag & 7);
        if !message.message_set
            && let Some(at) = fields.iter().position(of)
        {
            // No more than fifteen numbers fit such a tag, and the fields ascend.
            *slot = u8::try_from(at + 1).unwrap_or(0);
        }
    }
    tags
}

fn is_64_bit(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Fixed64 | Kind::Int64 | Kind::Sfixed64 | Kind::Sint64 | Kind::Uint64
    )
}

fn wire_type(kind: Kind, delimited: bool) -> u8 {
    match kind {
        Kind::Message(_) if delimited => wire::GROUP,
        Kind::Message(_) | Kind::String | Kind::Bytes => wire::LEN,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => wire::FIXED64,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => wire::FIXED32,
        _ => wire::VARINT,
    }
}

/// What message tables are compiled from.
struct Source<'s> {
    schema: &'s Schema,
    enums: &'s [EnumTable],
    options: &'s JsonOptions,
}

impl Source<'_> {
    fn message(&self, message: &Message) -> MessageTable {
        let fields: Box<[FieldTable]> = message
            .fields
            .iter()
            .map(|f| self.field(message, f))
            .collect();
        let mut names: Names<u32> = Names::default();
        for (at, field) in (0u32..).zip(message.fields.iter()) {
            names.insert(field.json_name.as_bytes().into(), at);
        }
        // A proto name never takes a key from another field's JSON name.
        for (at, field) in (0u32..).zip(message.fields.iter()) {
            if !field.extension {
                names.entry(field.name.as_bytes().into()).or_insert(at);
            }
        }
        let dense_len = (fields.len() * 4 + 16).min(4096) as u32;
        let low = fields.iter().map(|f| f.number).filter(|&n| n < dense_len);
        let mut dense = vec![0u32; low.max().map_or(0, |n| n as usize + 1)];
        for (at, field) in (1u32..).zip(fields.iter()) {
            if let Some(slot) = dense.get_mut(field.number as usize) {
                *slot = at;
            }
        }
        MessageTable {
            full_name: message.full_name.clone(),
            form: form(message),
            message_set: message.message_set,
            map_entry: message.map_entry,
            oneofs: message.oneofs.len(),
            has_absent: fields.iter().any(|f| !f.absent.is_empty()),
            names,
            dense: dense.into(),
            by_tag: by_tag(message, &fields),
            fields,
        }
    }

    fn field(&self, message: &Message, field: &Field) -> FieldTable {
        let (shape, implicit) = match field.cardinality {
            Cardinality::Singular(p) => (Shape::Singular, p == Presence::Implicit),
            Cardinality::Repeated { packed: true } => (Shape::Packed, false),
            Cardinality::Repeated { packed: false } => (Shape::Repeated, false),
            Cardinality::Map { entry, .. } => (Shape::Map(entry), false),
        };
        let is_message = matches!(field.kind, Kind::Message(_));
        let implicit = implicit && !is_message && field.oneof.is_none();
        let null_is_value = match field.kind {
            Kind::Message(id) => self.schema.message(id).map(form) == Some(Form::Value),
            Kind::Enum(id) => self.enums.get(id.0 as usize).is_some_and(|e| e.null),
            _ => false,
        };
        let name: &str = if self.options.proto_names && !field.extension {
            &field.name
        } else {
            &field.json_name
        };
        let mut comma_key = Vec::with_capacity(name.len() + 5);
        comma_key.push(b',');
        super::scalar::put_json_string(&mut comma_key, name.as_bytes());
        comma_key.extend_from_slice(if self.options.pretty { b": " } else { b":" });
        let mut quoted_name = Vec::with_capacity(field.json_name.len() + 3);
        super::scalar::put_json_string(&mut quoted_name, field.json_name.as_bytes());
        quoted_name.push(b':');
        let delimited = field.delimited && !matches!(shape, Shape::Map(_));
        let element_type = match shape {
            Shape::Map(_) => wire::LEN,
            _ => wire_type(field.kind, delimited),
        };
        FieldTable {
            number: field.number,
            kind: field.kind,
            shape,
            implicit,
            oneof: field.oneof.unwrap_or(NONE),
            delimited,
            null_is_value,
            utf8: field.utf8_validated,
            plain_text: field.kind == Kind::String
                && shape == Shape::Singular
                && field.oneof.is_none(),
            set_item: message.message_set && field.extension && is_message,
            tag: Tag::new(field.number, element_type),
            packed_tag: Tag::new(field.number, wire::LEN),
            json_name: field.json_name.as_bytes().into(),
            quoted_name: quoted_name.into(),
            comma_key: comma_key.into(),
            absent: self.absent(field, shape, implicit).into(),
            zero: self.zero(field.kind).into(),
            wire_type: element_type,
            packable: element_type != wire::LEN && !is_message,
            quoted: is_64_bit(field.kind) && !self.options.int64_as_numbers,
            closed: match field.kind {
                Kind::Enum(id) if !matches!(shape, Shape::Map(_)) => {
                    self.enums.get(id.0 as usize).is_some_and(|e| e.closed)
                }
                _ => false,
            },
        }
    }

    /// What stands for an absent field under `emit_defaults` and `emit_nulls`.
    fn absent(&self, field: &Field, shape: Shape, implicit: bool) -> &[u8] {
        let message = shape == Shape::Singular && matches!(field.kind, Kind::Message(_));
        if self.options.emit_nulls && message && field.oneof.is_none() && !field.extension {
            return b"null";
        }
        if !self.options.emit_defaults || field.extension {
            return b"";
        }
        match shape {
            Shape::Map(_) => b"{}",
            Shape::Repeated | Shape::Packed => b"[]",
            Shape::Singular if !implicit => b"",
            Shape::Singular => self.zero(field.kind),
        }
    }

    /// How the zero of a kind is printed.
    fn zero(&self, kind: Kind) -> &[u8] {
        match kind {
            Kind::Bool => b"false",
            Kind::String | Kind::Bytes => b"\"\"",
            _ if is_64_bit(kind) && !self.options.int64_as_numbers => b"\"0\"",
            Kind::Enum(id) => {
                let table = self.enums.get(id.0 as usize);
                let first = table.and_then(|e| e.literal(e.first));
                first.unwrap_or(b"0")
            }
            Kind::Message(_) => b"null",
            _ => b"0",
        }
    }
}

/// The JSON form. A message that only bears a well-known name but not its fields is an object.
fn form(message: &Message) -> Form {
    let Some(known) = message.well_known else {
        return Form::Object;
    };
    let has = |number: u32, test: &dyn Fn(&Field) -> bool| {
        message
            .field_by_number(number)
            .and_then(|i| message.fields.get(i.0 as usize))
            .is_some_and(test)
    };
    let one = |kind: Kind| move |f: &Field| f.kind == kind && is_singular(f);
    let many = |kind: Kind| move |f: &Field| f.kind == kind && !is_singular(f);
    let is_message = |f: &Field| matches!(f.kind, Kind::Message(_));
    let wrapper = |kind: Kind| has(1, &one(kind)) && message.fields.len() == 1;
    let (fits, form) = match known {
        WellKnown::Any => (
            has(1, &one(Kind::String)) && has(2, &one(Kind::Bytes)),
            Form::Any,
        ),
        WellKnown::Duration | WellKnown::Timestamp => (
            has(1, &one(Kind::Int64)) && has(2, &one(Kind::Int32)) && message.fields.len() == 2,
            if known == WellKnown::Duration {
                Form::Duration
            } else {
                Form::Timestamp
            },
        ),
        WellKnown::FieldMask => (has(1, &many(Kind::String)), Form::FieldMask),
        WellKnown::ListValue => (
            has(1, &|f| is_message(f) && !is_singular(f)),
            Form::ListValue,
        ),
        WellKnown::Struct => (
            has(1, &|f| matches!(f.cardinality, Cardinality::Map { .. })),
            Form::Struct,
        ),
        WellKnown::Value => (
            message.fields.len() == 6
                && has(1, &|f| matches!(f.kind, Kind::Enum(_)))
                && has(2, &one(Kind::Double))
                && has(3, &one(Kind::String))
                && has(4, &one(Kind::Bool))
                && has(5, &is_message)
                && has(6, &is_message),
            Form::Value,
        ),
        WellKnown::BoolValue => (wrapper(Kind::Bool), Form::Wrapper),
        WellKnown::BytesValue => (wrapper(Kind::Bytes), Form::Wrapper),
        WellKnown::DoubleValue => (wrapper(Kind::Double), Form::Wrapper),
        WellKnown::FloatValue => (wrapper(Kind::Float), Form::Wrapper),
        WellKnown::Int32Value => (wrapper(Kind::Int32), Form::Wrapper),
        WellKnown::Int64Value => (wrapper(Kind::Int64), Form::Wrapper),
        WellKnown::StringValue => (wrapper(Kind::String), Form::Wrapper),
        WellKnown::UInt32Value => (wrapper(Kind::Uint32), Form::Wrapper),
        WellKnown::UInt64Value => (wrapper(Kind::Uint64), Form::Wrapper),
        WellKnown::Empty | WellKnown::HttpBody => (true, Form::Object),
    };
    if fits { form } else { Form::Object }
}

fn is_singular(field: &Field) -> bool {
    matches!(field.cardinality, Cardinality::Singular(_))
}
