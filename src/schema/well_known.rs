//! Well-known types, by full name and by shape.
//!
//! The codec reads them by field number without looking, so a message that only borrows the name is an
//! ordinary one.

use super::types::{Cardinality, Field, Kind, MapKey, Message, Schema, WellKnown};

/// A field of a shape: number, what it holds, how often.
type Slot = (u32, Holds, Often);

#[derive(Clone, Copy, PartialEq)]
enum Holds {
    Is(Kind),
    Message(&'static str),
    Enum(&'static str),
}

#[derive(Clone, Copy, PartialEq)]
enum Often {
    Once,
    OneOf,
    Many,
    /// `map<string, …>`
    ByName,
}

use Holds::{Enum as E, Is, Message as M};
use Often::{ByName, Many, Once, OneOf};

const TIME: &[Slot] = &[(1, Is(Kind::Int64), Once), (2, Is(Kind::Int32), Once)];

const SHAPES: &[(&str, WellKnown, &[Slot])] = &[
    (
        "google.protobuf.Any",
        WellKnown::Any,
        &[(1, Is(Kind::String), Once), (2, Is(Kind::Bytes), Once)],
    ),
    (
        "google.protobuf.BoolValue",
        WellKnown::BoolValue,
        &[(1, Is(Kind::Bool), Once)],
    ),
    (
        "google.protobuf.BytesValue",
        WellKnown::BytesValue,
        &[(1, Is(Kind::Bytes), Once)],
    ),
    (
        "google.protobuf.DoubleValue",
        WellKnown::DoubleValue,
        &[(1, Is(Kind::Double), Once)],
    ),
    ("google.protobuf.Duration", WellKnown::Duration, TIME),
    ("google.protobuf.Empty", WellKnown::Empty, &[]),
    (
        "google.protobuf.FieldMask",
        WellKnown::FieldMask,
        &[(1, Is(Kind::String), Many)],
    ),
    (
        "google.protobuf.FloatValue",
        WellKnown::FloatValue,
        &[(1, Is(Kind::Float), Once)],
    ),
    (
        "google.api.HttpBody",
        WellKnown::HttpBody,
        &[
            (1, Is(Kind::String), Once),
            (2, Is(Kind::Bytes), Once),
            (3, M("google.protobuf.Any"), Many),
        ],
    ),
    (
        "google.protobuf.Int32Value",
        WellKnown::Int32Value,
        &[(1, Is(Kind::Int32), Once)],
    ),
    (
        "google.protobuf.Int64Value",
        WellKnown::Int64Value,
        &[(1, Is(Kind::Int64), Once)],
    ),
    (
        "google.protobuf.ListValue",
        WellKnown::ListValue,
        &[(1, M("google.protobuf.Value"), Many)],
    ),
    (
        "google.protobuf.StringValue",
        WellKnown::StringValue,
        &[(1, Is(Kind::String), Once)],
    ),
    (
        "google.protobuf.Struct",
        WellKnown::Struct,
        &[(1, M("google.protobuf.Value"), ByName)],
    ),
    ("google.protobuf.Timestamp", WellKnown::Timestamp, TIME),
    (
        "google.protobuf.UInt32Value",
        WellKnown::UInt32Value,
        &[(1, Is(Kind::Uint32), Once)],
    ),
    (
        "google.protobuf.UInt64Value",
        WellKnown::UInt64Value,
        &[(1, Is(Kind::Uint64), Once)],
    ),
    (
        "google.protobuf.Value",
        WellKnown::Value,
        &[
            (1, E("google.protobuf.NullValue"), OneOf),
            (2, Is(Kind::Double), OneOf),
            (3, Is(Kind::String), OneOf),
            (4, Is(Kind::Bool), OneOf),
            (5, M("google.protobuf.Struct"), OneOf),
            (6, M("google.protobuf.ListValue"), OneOf),
        ],
    ),
];

/// Which well-known type `message` is.
pub(super) fn of(schema: &Schema, message: &Message) -> Option<WellKnown> {
    if !message.full_name.starts_with("google.") {
        return None;
    }
    let (_, known, shape) = SHAPES
        .iter()
        .find(|(name, _, _)| *name == &*message.full_name)?;
    let fits = message.fields.len() == shape.len()
        && message
            .fields
            .iter()
            .zip(*shape)
            .all(|(field, slot)| fits(schema, field, *slot));
    fits.then_some(*known)
}

fn fits(schema: &Schema, field: &Field, (number, holds, often): Slot) -> bool {
    let kind = match (field.kind, holds) {
        (kind, Is(wanted)) => kind == wanted,
        (Kind::Message(id), M(name)) => schema.message(id).is_some_and(|m| &*m.full_name == name),
        (Kind::Enum(id), E(name)) => schema
            .enumeration(id)
            .is_some_and(|e| &*e.full_name == name),
        (_, M(_) | E(_)) => false,
    };
    let occurs = match field.cardinality {
        Cardinality::Singular(_) => often == if field.oneof.is_some() { OneOf } else { Once },
        Cardinality::Repeated { .. } => often == Many,
        Cardinality::Map { key, .. } => often == ByName && key == MapKey::String,
    };
    kind && occurs && field.number == number && !field.delimited && !field.extension
}
