//! Wire → JSON: tables of wire that no DynamicMessage writes.

use super::{LIMITS, codec, encode, field, message, plain, print, wide2, wide3};
use crate::codec::{CodecLimits, JsonOptions, Printer, Progress, Target};

fn prints(target: Target, cases: &[(&[u8], &str)]) {
    for (wire, expected) in cases {
        assert_eq!(
            print(&plain(), target, wire).as_deref(),
            Ok(*expected),
            "{wire:x?}"
        );
    }
}

#[test]
fn unknown_and_mistyped_fields_are_skipped() {
    prints(
        wide3(),
        &[
            (b"", "{}"),
            // Field 999 as every wire type, a group with a group in it among them.
            (b"\xb8\x3e\x05\x40\x01", r#"{"fInt32":1}"#),
            (
                b"\xbb\x3e\xc3\x3e\xc4\x3e\xbc\x3e\x40\x01",
                r#"{"fInt32":1}"#,
            ),
            // fInt32 with a length.
            (b"\x42\x01\x05", "{}"),
            // An explicit default of a field without presence.
            (b"\x40\x00", "{}"),
            (b"\x7a\x00", "{}"),
            // An int32 with more bits than it has.
            (b"\x40\xff\xff\xff\xff\x1f", r#"{"fInt32":-1}"#),
        ],
    );
    // A closed enum's unknown number.
    prints(
        wide2(),
        &[
            (b"\x28\x09", "{}"),
            (b"\x68\x09\x68\x01", r#"{"rEnum":["ONE"]}"#),
            (b"\x72\x03\x09\x02\x09", r#"{"rEnumPacked":["TWO"]}"#),
            (b"\x72\x01\x09", "{}"),
            (b"\x92\x01\x05\x0a\x01\x61\x10\x09", "{}"),
        ],
    );
}

#[test]
fn packed_and_unpacked_are_both_read() {
    prints(
        wide3(),
        &[
            (b"\xb0\x02\x01\xb0\x02\x02", r#"{"rInt32":[1,2]}"#),
            (
                b"\xb2\x02\x02\x01\x02\xb0\x02\x03\xb2\x02\x00\xb2\x02\x01\x04",
                r#"{"rInt32":[1,2,3,4]}"#,
            ),
            (b"\xb2\x02\x00", "{}"),
            (b"\x8a\x03\x02\x01\x02", r#"{"unpacked":[1,2]}"#),
        ],
    );
}

#[test]
fn maps_with_missing_and_repeated_parts() {
    prints(
        wide3(),
        &[
            (b"\x9a\x03\x00", r#"{"mString":{"":""}}"#),
            (b"\x9a\x03\x03\x12\x01v", r#"{"mString":{"":"v"}}"#),
            (
                b"\x9a\x03\x06\x12\x01v\x0a\x01k",
                r#"{"mString":{"k":"v"}}"#,
            ),
            (
                b"\x9a\x03\x06\x0a\x01k\x12\x01v\x9a\x03\x06\x0a\x01k\x12\x01w",
                r#"{"mString":{"k":"w"}}"#,
            ),
            (b"\xaa\x03\x00", r#"{"mInt32":{"0":{}}}"#),
        ],
    );
    // The default of a closed enum is its first value.
    prints(wide2(), &[(b"\x92\x01\x00", r#"{"mEnum":{"":"ONE"}}"#)]);
    // A value message that is absent from its entry.
    prints(
        wide3(),
        &[(
            b"\xea\x03\x05\x0d\x01\x00\x00\x00",
            r#"{"mSfixed32":{"1":"1970-01-01T00:00:00Z"}}"#,
        )],
    );
}

#[test]
fn malformed_wire_is_refused_whole() {
    let cases: &[&[u8]] = &[
        b"\x40",                                             // no value
        b"\x40\xff",                                         // half a varint
        b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // eleven bytes
        b"\x00\x00",                                         // field 0
        b"\x07\x00",                                         // wire type 7
        b"\x7a\x05ab",                                       // a string past the end
        b"\x7a\x02\xff\xfe",                                 // no UTF-8
        b"\xbb\x3e",                                         // a group without end
        b"\xbc\x3e",                                         // an end without group
        b"\xbb\x3e\xc4\x3e",                                 // another group's end
        b"\xb2\x02\x01\xff",                                 // half a packed varint
        b"\x9a\x02\x03\x00\x00\x00",                         // packed double of three bytes
        b"\x52\x02\x40",                                     // a message past the end
        b"\x52\x02\x10\xff",                                 // half a value in a message
    ];
    for wire in cases {
        let mut json = Vec::new();
        assert!(
            plain().print(wide3(), wire, LIMITS, &mut json).is_err(),
            "{wire:x?}"
        );
        assert!(json.is_empty(), "{wire:x?}");
    }
    let error = print(&plain(), wide3(), b"\x92\x01\x04\x52\x02\x10\xff").unwrap_err();
    assert_eq!(error.to_string(), "child.fLeaf: malformed protobuf");
    // A group field without its end, or with another's.
    assert!(print(&plain(), wide2(), b"\x83\x01\x08\x01").is_err());
    assert!(print(&plain(), wide2(), b"\x83\x01\x08\x01\x8c\x01").is_err());
}

#[test]
fn values_without_a_json_form_are_refused() {
    let refused = |wire: &[u8]| print(&plain(), wide3(), wire).unwrap_err().to_string();
    // timestamp { nanos: -1 }
    assert_eq!(
        refused(b"\xda\x06\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        "timestamp: the timestamp is out of range"
    );
    // duration { seconds: 1 nanos: -1 }
    assert_eq!(
        refused(b"\xb2\x06\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        "duration: the duration is out of range"
    );
    assert_eq!(
        refused(b"\xc2\x06\x04\x0a\x02aB"),
        "mask: a path of the field mask has no JSON form"
    );
    assert_eq!(
        refused(b"\xaa\x06\x05\x0a\x03t/x"),
        "any: no type \"t/x\" is known here"
    );
    assert_eq!(
        refused(b"\xaa\x06\x03\x12\x01x"),
        "any: an Any without a type URL"
    );
    // value { number_value: NaN }
    assert_eq!(
        refused(b"\xe2\x06\x09\x11\0\0\0\0\0\0\xf8\x7f"),
        "value: a Value can't be NaN or infinite in JSON"
    );
}

#[test]
fn any_with_its_fields_the_wrong_way_round() {
    let mut any = b"\x12\x02\x10\x05\x0a\x0ft/wide.v3.Leaf\x00".to_vec();
    any.pop();
    any[5] = any.len() as u8 - 6;
    let mut wire = vec![0xaa, 0x06, any.len() as u8];
    wire.extend(&any);
    prints(
        wide3(),
        &[(&wire, r#"{"any":{"@type":"t/wide.v3.Leaf","size":5}}"#)],
    );
    // Whose value is no message of that type.
    wire[6] = 0xff;
    wire[7] = 0xff;
    assert_eq!(
        print(&plain(), wide3(), &wire).unwrap_err().what,
        "malformed protobuf"
    );
}

#[test]
fn defaults_and_pretty() {
    let all = codec(JsonOptions {
        emit_defaults: true,
        ..JsonOptions::default()
    });
    let leaf = Target::Message(message("wide.v3.Leaf"));
    assert_eq!(print(&all, leaf, b"").unwrap(), r#"{"name":"","size":0}"#);
    assert_eq!(
        print(&all, leaf, b"\x10\x05").unwrap(),
        r#"{"name":"","size":5}"#
    );
    assert_eq!(
        print(&all, leaf, b"\x0a\x01a").unwrap(),
        r#"{"name":"a","size":0}"#
    );
    let whole = print(&all, wide3(), b"").unwrap();
    for part in [
        r#""fEnum":"GENRE_UNSPECIFIED""#,
        r#""fInt64":"0""#,
        r#""rInt32":[]"#,
        r#""mString":{}"#,
    ] {
        assert!(whole.contains(part), "{part} in {whole}");
    }
    assert!(!whole.contains("oInt32") && !whole.contains("kString") && !whole.contains("fLeaf"));
    let pretty = codec(JsonOptions {
        pretty: true,
        ..JsonOptions::default()
    });
    let json = r#"{"fLeaf":{},"rInt32":[1,2],"mString":{"a":"b"},"any":{"@type":"t/google.protobuf.Duration","value":"1s"},"list":[]}"#;
    let wire = encode(&pretty, wide3(), json.as_bytes()).unwrap();
    let expected = r#"{
  "fLeaf": {},
  "rInt32": [
    1,
    2
  ],
  "mString": {
    "a": "b"
  },
  "any": {
    "@type": "t/google.protobuf.Duration",
    "value": "1s"
  },
  "list": []
}"#;
    assert_eq!(print(&pretty, wide3(), &wire).unwrap(), expected);
}

#[test]
fn one_field_as_the_document() {
    let at = |name| Target::Field(field("wide.v3.Wide", name));
    let json =
        br#"{"fString":"a","rLeaf":[{"size":1}],"rInt32":[1,2],"mString":{"k":"v"},"kInt32":0}"#;
    let wire = encode(&plain(), wide3(), json).unwrap();
    for (name, expected) in [
        ("f_string", r#""a""#),
        ("r_leaf", r#"[{"size":1}]"#),
        ("r_int32", "[1,2]"),
        ("m_string", r#"{"k":"v"}"#),
        ("k_int32", "0"),
        ("f_int32", "0"),
        ("f_bytes", r#""""#),
        ("o_int32", "null"),
        ("f_leaf", "null"),
        ("r_string", "[]"),
        ("m_bool", "{}"),
        ("f_enum", r#""GENRE_UNSPECIFIED""#),
    ] {
        assert_eq!(
            print(&plain(), at(name), &wire).unwrap(),
            expected,
            "{name}"
        );
    }
    let wire = encode(
        &plain(),
        wide2(),
        br#"{"single":{"a":1},"many":[{}],"rLeaf":[{}]}"#,
    )
    .unwrap();
    let leaf = Target::Field(field("wide.v2.Wide", "r_leaf"));
    assert_eq!(print(&plain(), leaf, &wire).unwrap(), "[{}]");
    let many = Target::Field(field("wide.v2.Wide", "many"));
    assert_eq!(print(&plain(), many, &wire).unwrap(), "[{}]");
}

#[test]
fn depth_is_counted_as_json_has_it() {
    let limits = CodecLimits {
        depth_max: 4,
        encoded_bytes_max: 1000,
    };
    for (name, open, inner, close) in [
        ("google.protobuf.ListValue", "[", "", "]"),
        ("google.protobuf.ListValue", "[", "1", "]"),
        ("google.protobuf.Struct", "{\"a\":", "1", "}"),
        ("google.protobuf.Struct", "{\"a\":", "null", "}"),
        ("google.protobuf.Value", "[", "", "]"),
        ("google.protobuf.Value", "{\"a\":", "\"x\"", "}"),
        ("wide.v3.Wide", "{\"child\":", "{\"fInt32\":1}", "}"),
    ] {
        let target = Target::Message(message(name));
        let own = usize::from(inner.starts_with('{'));
        for (depth, ok) in [(4, true), (5, false)] {
            let n = depth - own;
            let json = open.repeat(n) + inner + &close.repeat(n);
            let wire = encode(&plain(), target, json.as_bytes()).unwrap();
            // In one pass, and in slices.
            assert_eq!(
                plain()
                    .print(target, &wire, limits, &mut Vec::new())
                    .is_ok(),
                ok,
                "{json}"
            );
            let mut job = Printer::new(&plain(), target, &wire, limits).unwrap();
            let mut out = Vec::new();
            let sliced = loop {
                match job.step(&plain(), &wire, 1, &mut out) {
                    Ok(Progress::More) => {}
                    other => break other.is_ok(),
                }
            };
            assert_eq!(sliced, ok, "{json}");
            assert_eq!(
                plain()
                    .encode(target, json.as_bytes(), limits, &mut Vec::new())
                    .is_ok(),
                ok
            );
        }
    }
}
