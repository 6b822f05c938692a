//! JSON → wire: tables of documents.

use super::{codec, encode, field, plain, print, wide2, wide3};
use crate::codec::{CodecLimits, EncodeErrorKind, JsonOptions, Target};

/// Each document is read and printed again; what comes out is what it means.
fn reads(target: Target, cases: &[(&str, &str)]) {
    for (json, expected) in cases {
        let wire =
            encode(&plain(), target, json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(print(&plain(), target, &wire).unwrap(), *expected, "{json}");
    }
}

fn refuses(target: Target, cases: &[(&str, &str)]) {
    for (json, expected) in cases {
        match encode(&plain(), target, json.as_bytes()) {
            Ok(_) => panic!("{json} was read"),
            Err(e) => assert_eq!(e.to_string(), *expected, "{json}"),
        }
    }
}

#[test]
fn numbers_in_all_their_forms() {
    reads(
        wide3(),
        &[
            (r#"{"fInt32":1e2}"#, r#"{"fInt32":100}"#),
            (r#"{"fInt32":1.0}"#, r#"{"fInt32":1}"#),
            (r#"{"fInt32":"-7"}"#, r#"{"fInt32":-7}"#),
            (r#"{"fInt32":"1.5e1"}"#, r#"{"fInt32":15}"#),
            (r#"{"fInt32":-2147483648}"#, r#"{"fInt32":-2147483648}"#),
            (
                r#"{"fUint64":18446744073709551615}"#,
                r#"{"fUint64":"18446744073709551615"}"#,
            ),
            (
                r#"{"fInt64":"-9223372036854775808"}"#,
                r#"{"fInt64":"-9223372036854775808"}"#,
            ),
            (
                r#"{"fSint64":"9223372036854775807"}"#,
                r#"{"fSint64":"9223372036854775807"}"#,
            ),
            (r#"{"fDouble":"NaN"}"#, r#"{"fDouble":"NaN"}"#),
            (r#"{"fDouble":"-Infinity"}"#, r#"{"fDouble":"-Infinity"}"#),
            (r#"{"fFloat":"1.5"}"#, r#"{"fFloat":1.5}"#),
            (r#"{"fDouble":-0.0}"#, r#"{"fDouble":-0}"#),
            (r#"{"fFloat":3.4028235e38}"#, r#"{"fFloat":3.4028235e+38}"#),
            (r#"{"fInt32":0}"#, "{}"),
            (r#"{"oInt32":0}"#, r#"{"oInt32":0}"#),
            (r#"{"rInt32":[0,-1,"5"]}"#, r#"{"rInt32":[0,-1,5]}"#),
            (r#"{"rInt32":[]}"#, "{}"),
        ],
    );
    refuses(
        wide3(),
        &[
            (
                r#"{"fInt32":1.5}"#,
                r#"fInt32: expected an int32, found "1.5""#,
            ),
            (
                r#"{"fInt32":2147483648}"#,
                "fInt32: 2147483648 is out of range for an int32",
            ),
            (
                r#"{"fUint32":-1}"#,
                "fUint32: -1 is out of range for a uint32",
            ),
            (
                r#"{"fInt32":" 1"}"#,
                r#"fInt32: expected an int32, found " 1""#,
            ),
            (
                r#"{"fInt32":"0x1"}"#,
                r#"fInt32: expected an int32, found "0x1""#,
            ),
            (
                r#"{"fInt32":true}"#,
                "fInt32: expected an int32, found true",
            ),
            (
                r#"{"fInt32":"NaN"}"#,
                r#"fInt32: expected an int32, found "NaN""#,
            ),
            (
                r#"{"fDouble":1e400}"#,
                "fDouble: 1e400 is out of range for a double",
            ),
            (
                r#"{"fFloat":3.5e38}"#,
                "fFloat: 3.5e38 is out of range for a float",
            ),
            (
                r#"{"fDouble":"inf"}"#,
                r#"fDouble: expected a double, found "inf""#,
            ),
            (
                r#"{"fBool":"true"}"#,
                r#"fBool: expected true or false, found "true""#,
            ),
            (r#"{"fInt32":01}"#, "expected `,` or `}`"),
            (r#"{"fInt32":+1}"#, "fInt32: expected a value"),
            (r#"{"fInt32":.5}"#, "fInt32: expected a value"),
            (r#"{"fInt32":NaN}"#, "fInt32: expected a value"),
        ],
    );
}

#[test]
fn paths_are_as_the_client_wrote_them() {
    refuses(
        wide3(),
        &[
            (
                r#"{"children":[{},{},{},{"timestamp":"yesterday"}]}"#,
                r#"children[3].timestamp: expected an RFC 3339 timestamp, found "yesterday""#,
            ),
            (
                r#"{"child":{"f_leaf":{"nope":1}}}"#,
                "child.f_leaf.nope: no such field in wide.v3.Leaf",
            ),
            (
                r#"{"child":{"f_leaf":{"sise":1}}}"#,
                r#"child.f_leaf.sise: no such field in wide.v3.Leaf; did you mean "size"?"#,
            ),
            (
                r#"{"mInt32":{"5":{"size":"x"}}}"#,
                r#"mInt32["5"].size: expected an int32, found "x""#,
            ),
            (
                r#"{"mInt32":{"five":{}}}"#,
                r#"mInt32["five"]: expected an int32, found "five""#,
            ),
            (
                r#"{"struct":{"a":{"b":[1,nul]}}}"#,
                "struct.a.b[1]: expected a value",
            ),
            (
                r#"{"rInt32":[1,2,null]}"#,
                "rInt32[2]: null is not allowed in an array",
            ),
            (
                r#"{"mString":{"a":null}}"#,
                r#"mString["a"]: null is not allowed in a map"#,
            ),
            (r#"{"fLeaf":3}"#, "fLeaf: expected an object, found 3"),
            (
                r#"{"rLeaf":{}}"#,
                "rLeaf: expected an array, found an object",
            ),
            (
                r#"{"fBytes":"a b"}"#,
                r#"fBytes: expected base64, found "a b""#,
            ),
            (
                r#"{"fEnum":"PUZZLE"}"#,
                r#"fEnum: "PUZZLE" is not a value of wide.v3.Genre"#,
            ),
            (
                r#"{"any":{"@type":"x/no.Such"}}"#,
                r#"any: no type "x/no.Such" is known here"#,
            ),
            (r#"{"any":{"size":1}}"#, "any: an Any needs its `@type`"),
            ("[]", "expected an object, found an array"),
            ("3", "expected an object, found 3"),
            ("null", "expected an object, found null"),
        ],
    );
}

#[test]
fn names_nulls_and_duplicates() {
    reads(
        wide3(),
        &[
            (r#"{"f_int32":1}"#, r#"{"fInt32":1}"#),
            (r#"{"fInt32":1}"#, r#"{"fInt32":1}"#),
            (r#"{"explicit_name":"a"}"#, r#"{"otherName":"a"}"#),
            (r#"{"otherName":"a"}"#, r#"{"otherName":"a"}"#),
            (
                r#"{"fInt32":null,"fLeaf":null,"rInt32":null,"mString":null,"wInt32":null,"any":null}"#,
                "{}",
            ),
            (r#"{"value":null}"#, r#"{"value":null}"#),
            (r#"{"kValue":null}"#, r#"{"kValue":null}"#),
            (r#"{"kNull":null}"#, r#"{"kNull":null}"#),
            (r#"{"kNull":"NULL_VALUE"}"#, r#"{"kNull":null}"#),
            (r#"{"kString":null,"kInt32":0}"#, r#"{"kInt32":0}"#),
            (r#"{"kInt32":0,"kString":null}"#, r#"{"kInt32":0}"#),
            (
                r#"{"rValue":[null,1,"a",{},[]]}"#,
                r#"{"rValue":[null,1,"a",{},[]]}"#,
            ),
            (r#"{"mSfixed64":{"1":null}}"#, r#"{"mSfixed64":{"1":null}}"#),
            (r#"{"fInt\u0033\u0032":5}"#, r#"{"fInt32":5}"#),
            (
                " \t\r\n{ \"fInt32\" : 1 , \"fBool\" : true } \n",
                r#"{"fBool":true,"fInt32":1}"#,
            ),
        ],
    );
    refuses(
        wide3(),
        &[
            (r#"{"fInt32":1,"fInt32":1}"#, "fInt32: given twice"),
            (r#"{"fInt32":1,"f_int32":1}"#, "f_int32: given twice"),
            (r#"{"fInt32":null,"fInt32":1}"#, "fInt32: given twice"),
            (
                r#"{"kString":"","kInt32":0}"#,
                "kInt32: `kString` of the same oneof is given too",
            ),
            (
                r#"{"kNull":null,"kString":"a"}"#,
                "kString: `kNull` of the same oneof is given too",
            ),
            (
                r#"{"mString":{"a":"","a":""}}"#,
                r#"mString["a"]: given twice"#,
            ),
            (
                r#"{"mString":{"a":"","\u0061":""}}"#,
                r#"mString["\u0061"]: given twice"#,
            ),
            (
                r#"{"mInt32":{"1":{},"1.0":{}}}"#,
                r#"mInt32["1.0"]: given twice"#,
            ),
            (r#"{"struct":{"a":1,"a":2}}"#, "struct.a: given twice"),
            (
                r#"{"[wide.v2.ext_int32]":1}"#,
                "[wide.v2.ext_int32]: no such field in wide.v3.Wide",
            ),
        ],
    );
}

#[test]
fn what_is_not_json() {
    for json in [
        "",
        " ",
        "{",
        "{\"",
        "{\"a",
        "{\"fInt32\"",
        "{\"fInt32\":",
        "{\"fInt32\":1",
        "{\"fInt32\":1,",
        "{\"fInt32\":1,}",
        "{,}",
        "{\"fInt32\" 1}",
        "{fInt32:1}",
        "{'fInt32':1}",
        "{}{}",
        "{} x",
        "{}]",
        "{\"rInt32\":[1,]}",
        "{\"rInt32\":[,1]}",
        "{\"rInt32\":[1 2]}",
        "{\"rInt32\":[1}",
        "{\"fBool\":tru}",
        "{\"fString\":\"a\nb\"}",
        "{\"fString\":\"\\x\"}",
        "{\"fString\":\"\\ud800\"}",
        "{\"fString\":\"\\udc00\\ud800\"}",
        "{\"fString\":\"\\u12g4\"}",
        "{\"fString\":\"",
        "\u{feff}{}",
        "{\"fInt32\":1}//",
        "/**/{}",
        "{\"fInt32\":-}",
        "{\"fInt32\":1.}",
        "{\"fInt32\":1e}",
    ] {
        let error = encode(&plain(), wide3(), json.as_bytes()).unwrap_err();
        assert_eq!(error.kind, EncodeErrorKind::Syntax, "{json}: {error}");
    }
    for bytes in [
        &b"{\"fString\":\"\xff\"}"[..],
        b"{\"fString\":\"\xe2\x82\"}",
        b"{\"\xc0\x80\":1}",
        b"{\"fString\":\"\xed\xa0\x80\"}",
    ] {
        let error = encode(&plain(), wide3(), bytes).unwrap_err();
        assert_eq!(error.kind, EncodeErrorKind::Syntax, "{bytes:?}: {error}");
    }
}

#[test]
fn well_known_types() {
    reads(
        wide3(),
        &[
            (
                r#"{"timestamp":"2024-02-29T12:00:00+01:00"}"#,
                r#"{"timestamp":"2024-02-29T11:00:00Z"}"#,
            ),
            (
                r#"{"timestamp":"\u0032024-02-29T12:00:00Z"}"#,
                r#"{"timestamp":"2024-02-29T12:00:00Z"}"#,
            ),
            (r#"{"duration":"-1.5s"}"#, r#"{"duration":"-1.500s"}"#),
            (
                r#"{"mask":"fInt32,child.fLeaf"}"#,
                r#"{"mask":"fInt32,child.fLeaf"}"#,
            ),
            (r#"{"mask":""}"#, r#"{"mask":""}"#),
            (
                r#"{"wInt64":"5","wBool":false,"wString":"","wBytes":"AQ=="}"#,
                r#"{"wBool":false,"wBytes":"AQ==","wInt64":"5","wString":""}"#,
            ),
            (r#"{"empty":{}}"#, r#"{"empty":{}}"#),
            (r#"{"any":{}}"#, r#"{"any":{}}"#),
            (
                r#"{"any":{"@type":"t/wide.v3.Leaf","size":3,"name":"x"}}"#,
                r#"{"any":{"@type":"t/wide.v3.Leaf","name":"x","size":3}}"#,
            ),
            (
                r#"{"any":{"size":3,"name":"x","@type":"t/wide.v3.Leaf"}}"#,
                r#"{"any":{"@type":"t/wide.v3.Leaf","name":"x","size":3}}"#,
            ),
            (
                r#"{"any":{"value":{"value":"1s","@type":"t/google.protobuf.Duration"},"@type":"t/google.protobuf.Any"}}"#,
                r#"{"any":{"@type":"t/google.protobuf.Any","value":{"@type":"t/google.protobuf.Duration","value":"1s"}}}"#,
            ),
            (
                r#"{"any":{"@type":"t/google.protobuf.Value","value":null}}"#,
                r#"{"any":{"@type":"t/google.protobuf.Value","value":null}}"#,
            ),
            (
                r#"{"any":{"@type":"t/google.protobuf.Struct","value":{"a":{"b":[]}}}}"#,
                r#"{"any":{"@type":"t/google.protobuf.Struct","value":{"a":{"b":[]}}}}"#,
            ),
            (
                r#"{"list":[1,[2,[]],{"a":null}]}"#,
                r#"{"list":[1,[2,[]],{"a":null}]}"#,
            ),
        ],
    );
    refuses(
        wide3(),
        &[
            (
                r#"{"any":{"@type":"t/wide.v3.Leaf","@type":"t/wide.v3.Leaf"}}"#,
                "any.@type: given twice",
            ),
            (
                r#"{"any":{"@type":"wide.v3.Leaf"}}"#,
                r#"any: no type "wide.v3.Leaf" is known here"#,
            ),
            (
                r#"{"any":{"@type":"t/google.protobuf.Duration","valu":1}}"#,
                "any.valu: no such field in this Any",
            ),
            (
                r#"{"value":1e999}"#,
                "value: the number is out of range for a double",
            ),
            (
                r#"{"mask":"f_int32"}"#,
                r#"mask: expected a comma-separated list of lowerCamelCase field paths, found "f_int32""#,
            ),
        ],
    );
}

#[test]
fn proto2_groups_and_extensions() {
    reads(
        wide2(),
        &[
            (
                r#"{"needed":1,"single":{"a":1,"inner":{"needed":2}},"many":[{"b":"x"},{}],"picked":{"c":3}}"#,
                r#"{"needed":1,"single":{"a":1,"inner":{"needed":2}},"many":[{"b":"x"},{}],"picked":{"c":3}}"#,
            ),
            (
                r#"{"[wide.v2.ext_leaf]":{"size":1},"[wide.v2.ext_packed]":[1,-1],"[wide.v2.Holder.nested_ext]":{}}"#,
                r#"{"[wide.v2.ext_leaf]":{"size":1},"[wide.v2.ext_packed]":["1","-1"],"[wide.v2.Holder.nested_ext]":{}}"#,
            ),
            (
                r#"{"oEnum":"ALSO_TWO","rEnumPacked":["ONE",2]}"#,
                r#"{"oEnum":"TWO","rEnumPacked":["ONE","TWO"]}"#,
            ),
        ],
    );
}

#[test]
fn options_of_reading() {
    let lenient = codec(JsonOptions {
        ignore_unknown_fields: true,
        case_insensitive_enums: true,
        strip_enum_prefix: true,
        ..JsonOptions::default()
    });
    for (json, expected) in [
        (
            r#"{"x":{"y":[1,{"z":"\u0041"}]},"fInt32":1,"x":2}"#,
            r#"{"fInt32":1}"#,
        ),
        (r#"{"fEnum":"puzzle"}"#, r#"{"fEnum":"PUZZLE"}"#),
        (r#"{"fEnum":"Genre_Puzzle"}"#, r#"{"fEnum":"PUZZLE"}"#),
        (r#"{"fEnum":"nope","fInt32":1}"#, r#"{"fInt32":1}"#),
        (
            r#"{"rEnum":["ARCADE","nope",-7]}"#,
            r#"{"rEnum":["ARCADE","ODD"]}"#,
        ),
        (
            r#"{"mInt64":{"1":"nope","2":"HIGH"}}"#,
            r#"{"mInt64":{"2":"HIGH"}}"#,
        ),
        (
            r#"{"any":{"@type":"t/google.protobuf.Duration","x":[],"value":"1s"}}"#,
            r#"{"any":{"@type":"t/google.protobuf.Duration","value":"1s"}}"#,
        ),
    ] {
        let wire =
            encode(&lenient, wide3(), json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(print(&lenient, wide3(), &wire).unwrap(), expected, "{json}");
    }
    for bad in [
        r#"{"x":{"y":[1}}"#,
        r#"{"x":"\ud800"}"#,
        r#"{"x":01}"#,
        r#"{"x":}"#,
        r#"{"x":{"a"}}"#,
    ] {
        assert!(encode(&lenient, wide3(), bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn what_stood_before_stays() {
    for (json, whole) in [
        (r#"{"fInt32":7}"#, "ab@\x07"),
        (r#"{"fInt32":7,"x":1}"#, "ab"),
    ] {
        let mut wire = b"ab".to_vec();
        let _ = plain().encode(wide3(), json.as_bytes(), super::LIMITS, &mut wire);
        assert_eq!(wire, whole.as_bytes());
    }
    let mut wire = b"ab".to_vec();
    let at = field("wide.v3.Wide", "struct");
    assert!(plain().encode_text(at, "{\"a\":}", &mut wire).is_err());
    assert_eq!(wire, b"ab");
}

#[test]
fn limits_are_kept() {
    let limits = CodecLimits {
        depth_max: 5,
        encoded_bytes_max: 100,
    };
    let encode =
        |target, json: &str| plain().encode(target, json.as_bytes(), limits, &mut Vec::new());
    let nest = |n: usize| format!("{}{}", r#"{"child":"#.repeat(n) + "{}", "}".repeat(n));
    assert!(encode(wide3(), &nest(4)).is_ok());
    let error = encode(wide3(), &nest(5)).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::TooDeep);
    assert_eq!(
        error.to_string(),
        "child.child.child.child.child: nested deeper than 5 levels"
    );
    let list = Target::Field(field("wide.v3.Wide", "list"));
    assert!(encode(list, "[[[[[]]]]]").is_ok());
    assert!(encode(list, "[[[[[[]]]]]]").is_err());
    let text = |n: usize| format!(r#"{{"fString":"{}"}}"#, "a".repeat(n));
    assert!(encode(wide3(), &text(98)).is_ok());
    assert_eq!(
        encode(wide3(), &text(99)).unwrap_err().kind,
        EncodeErrorKind::TooLarge
    );
    assert_eq!(
        encode(wide3(), &text(100_000)).unwrap_err().kind,
        EncodeErrorKind::TooLarge
    );
}

#[test]
fn an_any_of_an_empty_with_or_without_its_value() {
    reads(
        wide3(),
        &[
            (
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty","value":{}}}"#,
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
            ),
            (
                r#"{"any":{"value":{ },"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
            ),
            (
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty"}}"#,
            ),
        ],
    );
    refuses(
        wide3(),
        &[
            (
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty","value":{"a":1}}}"#,
                "any.value.a: no such field in google.protobuf.Empty",
            ),
            (
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty","value":1}}"#,
                "any.value: expected an object, found 1",
            ),
            (
                r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Empty","value":{},"value":{}}}"#,
                "any.value: given twice",
            ),
            (
                r#"{"empty":{"value":{}}}"#,
                "empty.value: no such field in google.protobuf.Empty",
            ),
        ],
    );
}

/// Elements alike in an order that is not the schema's, and one that is like none of them.
#[test]
fn members_in_any_order() {
    let orders = [
        r#"{"size":1,"name":"a"}"#,
        r#"{"size":2,"name":"b"}"#,
        r#"{"name":"c","size":3}"#,
        r#"{"name":"d"}"#,
        r#"{"size" : 5 , "name" : "e"}"#,
        r#"{"\u0073ize":6,"name":"f"}"#,
        "{}",
        r#"{"size":8,"name":"h"}"#,
    ];
    let json = format!(r#"{{"rLeaf":[{}]}}"#, orders.join(","));
    let wire = encode(&plain(), wide3(), json.as_bytes()).unwrap();
    let expected = r#"{"rLeaf":[{"name":"a","size":1},{"name":"b","size":2},{"name":"c","size":3},{"name":"d"},{"name":"e","size":5},{"name":"f","size":6},{},{"name":"h","size":8}]}"#;
    let normal = encode(&plain(), wide3(), expected.as_bytes()).unwrap();
    assert_eq!(print(&plain(), wide3(), &wire).unwrap(), expected);
    assert_eq!(wire.len(), normal.len());
    refuses(
        wide3(),
        &[
            (
                r#"{"rLeaf":[{"size":1,"name":"a"},{"size":2,"name":"b","size":3}]}"#,
                "rLeaf[1].size: given twice",
            ),
            (
                r#"{"rLeaf":[{"size":1,"name":"a"},{"size":2,"nam":"b"}]}"#,
                "rLeaf[1].nam: no such field in wide.v3.Leaf; did you mean \"name\"?",
            ),
        ],
    );
}
