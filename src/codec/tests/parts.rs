//! Parts of a message: one field as a document, path and query values.

use super::{encode, field, message, plain, print, wide3};
use crate::codec::Target;

#[test]
fn fields_as_targets() {
    let at = |name| Target::Field(field("wide.v3.Wide", name));
    for (name, json, whole) in [
        (
            "r_leaf",
            r#"[{"size":1},{}]"#,
            r#"{"rLeaf":[{"size":1},{}]}"#,
        ),
        ("r_int32", "[1,2]", r#"{"rInt32":[1,2]}"#),
        ("m_string", r#"{"a":"b"}"#, r#"{"mString":{"a":"b"}}"#),
        ("f_leaf", "{}", r#"{"fLeaf":{}}"#),
        ("f_leaf", "null", "{}"),
        ("f_string", r#""a""#, r#"{"fString":"a"}"#),
        (
            "timestamp",
            r#""1970-01-01T00:00:01Z""#,
            r#"{"timestamp":"1970-01-01T00:00:01Z"}"#,
        ),
        ("value", "null", r#"{"value":null}"#),
    ] {
        let wire = encode(&plain(), at(name), json.as_bytes()).unwrap();
        assert_eq!(print(&plain(), wide3(), &wire).unwrap(), whole);
        if json != "null" || name == "value" {
            assert_eq!(print(&plain(), at(name), &wire).unwrap(), json);
        }
    }
    let error = encode(&plain(), at("r_leaf"), br#"[{"size":{}}]"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[0].size: expected an int32, found an object"
    );
    for name in [
        "google.protobuf.Timestamp",
        "google.protobuf.Value",
        "google.protobuf.Int64Value",
    ] {
        let json = if name.ends_with("Timestamp") {
            r#""1970-01-01T00:00:01Z""#
        } else {
            r#""5""#
        };
        let wire = encode(&plain(), Target::Message(message(name)), json.as_bytes()).unwrap();
        assert_eq!(
            print(&plain(), Target::Message(message(name)), &wire).unwrap(),
            json
        );
    }
}

#[test]
fn text_values() {
    let set = |name: &str, text: &str| {
        let mut wire = Vec::new();
        let result = plain().encode_text(field("wide.v3.Wide", name), text, &mut wire);
        result
            .map(|()| print(&plain(), wide3(), &wire).unwrap())
            .map_err(|e| e.to_string())
    };
    for (name, text, whole) in [
        ("f_int32", "5", r#"{"fInt32":5}"#),
        ("o_int32", "0", r#"{"oInt32":0}"#),
        ("f_string", "a\"b", r#"{"fString":"a\"b"}"#),
        ("o_string", "", r#"{"oString":""}"#),
        ("f_bool", "true", r#"{"fBool":true}"#),
        ("f_bytes", "-_8", r#"{"fBytes":"+/8="}"#),
        ("f_double", "NaN", r#"{"fDouble":"NaN"}"#),
        ("f_enum", "GENRE_ARCADE", r#"{"fEnum":"GENRE_ARCADE"}"#),
        ("f_enum", "-7", r#"{"fEnum":"GENRE_ODD"}"#),
        ("r_int32", "7", r#"{"rInt32":[7]}"#),
        (
            "timestamp",
            "2024-01-01T00:00:00Z",
            r#"{"timestamp":"2024-01-01T00:00:00Z"}"#,
        ),
        ("duration", "1.5s", r#"{"duration":"1.500s"}"#),
        (
            "mask",
            "fInt32,f_leaf.size",
            r#"{"mask":"fInt32,fLeaf.size"}"#,
        ),
        ("w_int64", "9", r#"{"wInt64":"9"}"#),
        ("w_string", "", r#"{"wString":""}"#),
        ("struct", r#"{"a":1}"#, r#"{"struct":{"a":1}}"#),
        ("value", "[1]", r#"{"value":[1]}"#),
        ("r_struct", r#"{"a":1}"#, r#"{"rStruct":[{"a":1}]}"#),
        ("list", "[null]", r#"{"list":[null]}"#),
    ] {
        assert_eq!(set(name, text).as_deref(), Ok(whole), "{name}={text}");
    }
    for (name, text, error) in [
        ("f_int32", "five", r#"expected an int32, found "five""#),
        ("f_int32", "", r#"expected an int32, found """#),
        ("f_int32", "+5", r#"expected an int32, found "+5""#),
        ("f_enum", "+1", r#""+1" is not a value of wide.v3.Genre"#),
        (
            "f_enum",
            "4294967297",
            r#""4294967297" is not a value of wide.v3.Genre"#,
        ),
        ("f_bool", "yes", r#"expected true or false, found "yes""#),
        (
            "f_leaf",
            "x",
            "wide.v3.Leaf has no text form; set its fields",
        ),
        ("m_string", "x", "a map is set as `field[key]=value`"),
        (
            "timestamp",
            "now",
            r#"expected an RFC 3339 timestamp, found "now""#,
        ),
        ("struct", "[]", "expected an object, found an array"),
    ] {
        assert_eq!(set(name, text), Err(error.into()), "{name}={text}");
    }
    // A default is written, so that it overrides what stands before it.
    let mut wire = encode(&plain(), wide3(), br#"{"fInt32":5}"#).unwrap();
    plain()
        .encode_text(field("wide.v3.Wide", "f_int32"), "0", &mut wire)
        .unwrap();
    assert_eq!(print(&plain(), wide3(), &wire).unwrap(), "{}");
    let mut wire = Vec::new();
    let map = |name, key, value, wire: &mut Vec<u8>| {
        plain().encode_map_text(field("wide.v3.Wide", name), key, value, wire)
    };
    map("m_string", "k", "v", &mut wire).unwrap();
    map("m_int64", "-1", "GENRE_PUZZLE", &mut wire).unwrap();
    map("m_sfixed64", "2", "{\"a\":[]}", &mut wire).unwrap();
    assert_eq!(
        print(&plain(), wide3(), &wire).unwrap(),
        r#"{"mString":{"k":"v"},"mInt64":{"-1":"GENRE_PUZZLE"},"mSfixed64":{"2":{"a":[]}}}"#
    );
    assert!(map("m_bool", "1", "1", &mut wire).is_err());
    assert!(map("f_int32", "1", "1", &mut wire).is_err());
}
