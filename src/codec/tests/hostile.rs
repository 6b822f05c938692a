//! Wire that is legal, or nearly so, and meant to cost too much or to slip past a check.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{LIMITS, encode, message, plain, print, wide3};
use crate::codec::{Codec, JsonOptions, Target, wire};
use crate::schema::{SchemaBuilder, compile};

fn record(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_bytes(&mut out, number, content);
    out
}

/// Two records that are out of order send a message through the normaliser: each of its elements must
/// cost the same however many there are. (Done with a look at all that follow, this takes minutes.)
#[test]
fn many_elements_out_of_order() {
    const MANY: usize = 400_000;
    let late = encode(&plain(), wide3(), br#"{"fBool":true}"#).unwrap();
    for (json, name) in [
        (r#"{"children":[{}]}"#, "children"),
        (r#"{"rString":[""]}"#, "rString"),
        (r#"{"mString":{"":""}}"#, "mString"),
    ] {
        let mut wire = encode(&plain(), wide3(), json.as_bytes())
            .unwrap()
            .repeat(MANY);
        wire.extend_from_slice(&late);
        let printed: serde_json::Value =
            serde_json::from_str(&print(&plain(), wide3(), &wire).unwrap()).unwrap();
        assert_eq!(printed["fBool"], true);
        let all = printed[name].as_array().map(Vec::len);
        // Of a map all entries have one key.
        assert_eq!(all.unwrap_or(MANY), MANY, "{name}");
    }
}

/// The value of an `Any` that stands before its type is not looked into before the normaliser is: the
/// bound on depth holds there as well.
#[test]
fn an_any_before_its_type_nests_no_deeper_than_others() {
    let child = encode(&plain(), wide3(), br#"{"children":[{}]}"#).unwrap();
    let (number, _) = wire::tag(&child, &mut 0).unwrap();
    let any = Target::Message(message("google.protobuf.Any"));
    let nested = |depth: usize| {
        let mut value = Vec::new();
        for _ in 0..depth {
            value = record(number, &value);
        }
        [record(2, &value), record(1, b"t/wide.v3.Wide")].concat()
    };
    let json = print(&plain(), any, &nested(40)).unwrap();
    assert_eq!(json.matches("children").count(), 40);
    assert!(print(&plain(), any, &nested(60)).is_err());
    let error = print(&plain(), any, &nested(4000)).unwrap_err();
    assert_eq!(error.what, "malformed protobuf");
}

/// A map in a Struct in a list, as deep as JSON may be: what takes most messages for a level.
#[test]
fn the_deepest_document_survives_the_normaliser() {
    let target = Target::Message(message("google.protobuf.Struct"));
    let depth = LIMITS.depth_max;
    let json = "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    let mut wire = encode(&plain(), target, json.as_bytes()).unwrap();
    assert_eq!(print(&plain(), target, &wire).unwrap(), json);
    wire.extend_from_slice(&wire.clone());
    assert_eq!(print(&plain(), target, &wire).unwrap(), json);
}

/// With more oneofs than the validator has bits for, every message takes the long way, and what has no
/// JSON form is refused there too.
#[test]
fn many_oneofs_hide_nothing() {
    let mut text = String::from(
        "syntax = \"proto3\"; package many;\nimport \"google/protobuf/timestamp.proto\";\nmessage Many {\n",
    );
    for at in 0..70 {
        let _ = writeln!(
            text,
            "oneof o{at} {{ int32 n{at} = {}; google.protobuf.Timestamp t{at} = {}; }}",
            at + 1,
            at + 101
        );
    }
    text.push('}');
    let set = compile(&[("many.proto".to_owned(), text)]).unwrap();
    let mut builder = SchemaBuilder::new();
    builder.add_set("many", &set).unwrap();
    let schema = Arc::new(builder.build().unwrap());
    let target = Target::Message(schema.find_message("many.Many").unwrap());
    let codec = Codec::build(schema, JsonOptions::default());

    let json = r#"{"n0":1,"n69":2,"t68":"1970-01-01T00:00:01Z"}"#;
    let wire = encode(&codec, target, json.as_bytes()).unwrap();
    assert_eq!(print(&codec, target, &wire).unwrap(), json);
    // The last of a oneof stays.
    let twice = [wire, encode(&codec, target, br#"{"n68":7}"#).unwrap()].concat();
    let json = r#"{"n0":1,"n68":7,"n69":2}"#;
    assert_eq!(print(&codec, target, &twice).unwrap(), json);

    let mut seconds = vec![0x08];
    wire::put_varint(&mut seconds, i64::MAX as u64);
    let bad = record(169, &seconds);
    let error = print(&codec, target, &bad).unwrap_err();
    assert_eq!(error.to_string(), "t68: the timestamp is out of range");
}

/// A null has one JSON form, whatever number it came with.
#[test]
fn a_null_is_null() {
    let value = Target::Message(message("google.protobuf.Value"));
    for wire in [
        &[0x08, 0][..],
        &[0x08, 5],
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert_eq!(print(&plain(), value, wire).unwrap(), "null", "{wire:?}");
    }
}

/// A varint may carry more bits than its field holds: zero is what is left of them.
#[test]
fn a_zero_may_be_wide() {
    let wide = |name: &str, value: u64| {
        let at = super::field("wide.v3.Wide", name);
        let number = super::WORLD.schema.field(at).unwrap().number;
        let mut out = Vec::new();
        wire::put_tag(&mut out, number, wire::VARINT);
        wire::put_varint(&mut out, value);
        print(&plain(), wide3(), &out).unwrap()
    };
    for name in ["f_int32", "f_uint32", "f_sint32", "f_enum"] {
        assert_eq!(wide(name, 1 << 32), "{}", "{name}");
        assert_eq!(wide(name, 0), "{}", "{name}");
        assert_ne!(wide(name, 1 << 32 | 1), "{}", "{name}");
    }
    assert_eq!(wide("f_bool", 1 << 32), r#"{"fBool":true}"#);
    assert_eq!(wide("f_int64", 1 << 32), r#"{"fInt64":"4294967296"}"#);
}
