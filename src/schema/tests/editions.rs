//! Editions 2023 and 2024, against what Python's protobuf resolves the same set to.

use super::super::descriptor::{FeatureOptions50, FeatureSet, FileDescriptor};
use super::super::editions::{Features, FieldPresence, Syntax, of_file};
use super::super::{Cardinality, Kind, Presence, Schema, SchemaBuilder};
use super::field;

const SET: &[u8] = include_bytes!("../../../tests/fixtures/editions/editions.binpb");
const FACTS: &str = include_str!("../../../tests/fixtures/editions/editions.facts");

fn editions() -> Schema {
    let mut builder = SchemaBuilder::new();
    builder.add_set("file editions.binpb", SET).unwrap();
    builder.build().unwrap()
}

fn kind(kind: Kind, delimited: bool) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Bytes => "bytes",
        Kind::Double => "double",
        Kind::Enum(_) => "enum",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Float => "float",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Message(_) if delimited => "group",
        Kind::Message(_) => "message",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::String => "string",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
    }
}

/// The same lines as facts.py prints.
fn facts(schema: &Schema) -> String {
    let mut lines = Vec::new();
    for message in schema
        .messages()
        .iter()
        .filter(|m| m.full_name.starts_with("fixtures."))
    {
        for field in &message.fields {
            let full = if field.extension {
                field.name.to_string()
            } else {
                format!("{}.{}", message.full_name, field.name)
            };
            let (kind, often) = match field.cardinality {
                Cardinality::Map { .. } => ("message", "map"),
                Cardinality::Repeated { packed: true } => {
                    (kind(field.kind, field.delimited), "packed")
                }
                Cardinality::Repeated { packed: false } => {
                    (kind(field.kind, field.delimited), "repeated")
                }
                Cardinality::Singular(Presence::Required) => {
                    (kind(field.kind, field.delimited), "required")
                }
                Cardinality::Singular(Presence::Explicit) => {
                    (kind(field.kind, field.delimited), "explicit")
                }
                Cardinality::Singular(Presence::Implicit) => {
                    (kind(field.kind, field.delimited), "implicit")
                }
            };
            lines.push(format!("{full} {} {kind} {often}", field.number));
        }
    }
    for enumeration in schema
        .enums
        .iter()
        .filter(|e| e.full_name.starts_with("fixtures."))
    {
        lines.push(format!(
            "{} enum {}",
            enumeration.full_name,
            if enumeration.closed { "closed" } else { "open" }
        ));
    }
    lines.sort();
    lines.join("\n") + "\n"
}

#[test]
fn resolves_as_python_does() {
    let ours = facts(&editions());
    for (ours, theirs) in ours.lines().zip(FACTS.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours, FACTS);
}

/// The file says DELIMITED, but an entry is always length-prefixed, and so is a message in it.
#[test]
fn maps_are_never_delimited() {
    let schema = editions();
    assert!(!field(&schema, "fixtures.e2023file.All", "map").delimited);
    assert!(!field(&schema, "fixtures.e2023file.All.MapEntry", "value").delimited);
}

/// Python's descriptors don't tell this one.
#[test]
fn resolves_utf8_validation() {
    let schema = editions();
    let checked = |of, name| field(&schema, of, name).utf8_validated;
    assert!(checked("fixtures.e2023.Utf8", "checked"));
    assert!(!checked("fixtures.e2023.Utf8", "loose"));
    assert!(!checked("fixtures.e2023.Utf8", "loose_map"));
    assert!(!checked("fixtures.e2023.Utf8.LooseMapEntry", "key"));
    assert!(!checked("fixtures.e2023.Utf8.LooseMapEntry", "value"));
    assert!(!checked("fixtures.e2023file.All", "implicit"));
    assert!(checked("fixtures.e2023file.All", "checked"));
    assert!(!checked(
        "fixtures.e2023file.All.Nested.Deeper",
        "inherited"
    ));
    assert!(checked("fixtures.e2024.Shelf", "title"));
    assert!(checked("fixtures.e2023.Presence", "fixtures.e2023.note"));
}

#[test]
fn methods_of_an_edition_have_places_and_idempotency() {
    let schema = editions();
    let method = schema
        .find_method("fixtures.e2024.Shelves", "Get")
        .unwrap()
        .method;
    assert_eq!(method.location.as_deref(), Some("e2024.proto:23:3"));
    assert!(method.idempotent && !method.no_side_effects);
}

fn header(
    syntax: Option<&str>,
    edition: Option<i32>,
    features: Option<FeatureSet>,
) -> Result<(Syntax, Features), String> {
    of_file(&FileDescriptor {
        syntax: syntax.map(str::to_owned),
        edition,
        options: Some(FeatureOptions50 { features }),
        ..FileDescriptor::default()
    })
}

#[test]
fn headers_are_understood_or_refused() {
    assert_eq!(header(None, None, None).unwrap().0, Syntax::Proto2);
    assert_eq!(
        header(Some("proto2"), Some(998), None).unwrap().0,
        Syntax::Proto2
    );
    assert_eq!(
        header(Some("proto3"), None, None).unwrap().0,
        Syntax::Proto3
    );
    assert_eq!(
        header(Some("editions"), Some(1001), None).unwrap().0,
        Syntax::Edition
    );
    for (syntax, edition, says) in [
        ("editions", None, "not which edition"),
        ("editions", Some(1002), "edition number 1002 is unknown"),
        ("editions", Some(99_999), "edition number 99999 is unknown"),
        (
            "proto3",
            Some(1000),
            "\"proto3\" does not go with edition 2023",
        ),
        ("proto4", None, "\"proto4\" is unknown"),
    ] {
        let error = header(Some(syntax), edition, None).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let odd = FeatureSet {
        message_encoding: Some(9),
        ..FeatureSet::default()
    };
    let error = header(Some("editions"), Some(1000), Some(odd)).unwrap_err();
    assert_eq!(error, "features.message_encoding has the unknown value 9");
    // Features in a proto3 file have no meaning.
    let implicit = header(Some("proto3"), None, Some(odd)).unwrap().1;
    assert_eq!(implicit.presence, FieldPresence::Implicit);
}
