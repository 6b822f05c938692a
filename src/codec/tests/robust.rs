//! Bytes that mean no good, long values, and bounds on memory moved.

use proptest::prelude::*;

use super::{LIMITS, WORLD, encode, field, message, plain, print, wide2, wide3};
use crate::codec::{JsonOptions, Printer, Progress, Target};

/// JSON-like soup: more of it gets past the lexer than of plain noise.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"fInt32\"",
        "\"child\"",
        "\"any\"",
        "\"@type\"",
        "\"value\"",
        "\"t/wide.v3.Wide\"",
        "\"t/google.protobuf.Any\"",
        "\"t/google.protobuf.Value\"",
        "\"struct\"",
        "\"mInt32\"",
        "\"rLeaf\"",
        "\"kString\"",
        "null",
        "true",
        "1",
        "-1.5e3",
        "\"1\"",
        "\\",
        "\\u",
        "é",
        "\u{0}",
        " ",
        "\"list\"",
        "\"timestamp\"",
        "\"children\"",
        "\"rInt32\"",
        "{}",
        "[]",
        "\"a\":",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in soup(), noise in prop::collection::vec(any::<u8>(), 0..60), lenient: bool) {
        let codec = super::codec(JsonOptions { ignore_unknown_fields: lenient, ..JsonOptions::default() });
        for target in [wide3(), wide2()] {
            for json in [&text, &noise] {
                if let Ok(wire) = encode(&codec, target, json) {
                    prop_assert!(print(&codec, target, &wire).is_ok());
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(json).is_ok());
                }
            }
        }
    }

    #[test]
    fn no_wire_panics(noise in prop::collection::vec(any::<u8>(), 0..80)) {
        for id in (0..WORLD.schema.messages().len() as u32).step_by(3).map(crate::schema::MessageId) {
            if let Ok(json) = print(&plain(), Target::Message(id), &noise) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }
        let any_field = Target::Field(field("wide.v3.Wide", "r_leaf"));
        let _ = print(&plain(), any_field, &noise);
    }
}

#[test]
fn long_strings_survive_the_pieces() {
    let texts = [
        "é".repeat(100_000),
        "x".repeat(300_001),
        "\\\"\u{1}日".repeat(40_000),
    ];
    for text in texts {
        for name in ["fString", "kString", "wString", "value"] {
            let json = format!("{{\"{name}\":{}}}", serde_json::to_string(&text).unwrap());
            let wire = encode(&plain(), wide3(), json.as_bytes()).unwrap();
            let back: serde_json::Value =
                serde_json::from_str(&print(&plain(), wide3(), &wire).unwrap()).unwrap();
            assert_eq!(back[name], text);
        }
    }
    let bytes: Vec<u8> = (0..500_000u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    let mut base64 = Vec::new();
    crate::codec::scalar::put_base64(&mut base64, &bytes);
    for escape in [false, true] {
        let text = String::from_utf8(base64.clone()).unwrap();
        let text = if escape {
            text.replace('/', "\\/")
        } else {
            text
        };
        let wire = encode(
            &plain(),
            wide3(),
            format!("{{\"fBytes\":\"{text}\"}}").as_bytes(),
        )
        .unwrap();
        assert!(wire.ends_with(&bytes));
        let json = print(&plain(), wide3(), &wire).unwrap();
        assert_eq!(
            json.as_bytes()["{\"fBytes\":\"".len()..][..base64.len()],
            base64
        );
    }
    let bad = format!(
        "{{\"fBytes\":\"{}= {}\"}}",
        "A".repeat(100_003),
        "A".repeat(100_000)
    );
    assert!(encode(&plain(), wide3(), bad.as_bytes()).is_err());
}

#[test]
fn chunks_are_bounded() {
    let codec = super::codec(JsonOptions {
        emit_defaults: true,
        ..JsonOptions::default()
    });
    // Each empty child is two bytes of wire and two kilobytes of defaults.
    let wire = b"\x82\x03\x00".repeat(1000);
    let text = encode(
        &plain(),
        wide3(),
        format!("{{\"fString\":\"{}\"}}", "\\u0001".repeat(200_000)).as_bytes(),
    )
    .unwrap();
    for wire in [wire, text] {
        let mut job = Printer::new(&codec, wide3(), &wire, LIMITS).unwrap();
        loop {
            let mut chunk = Vec::new();
            let progress = job.step(&codec, &wire, 4096, &mut chunk).unwrap();
            assert!(chunk.len() < 64 * 1024, "{}", chunk.len());
            if progress == Progress::Done {
                break;
            }
        }
    }
}

/// A message of less than a slice is printed in one, though its JSON is longer than one.
#[test]
fn a_small_message_is_one_slice() {
    const SLICE: usize = 64 * 1024;
    let leaves = vec![r#"{"name":"some name or other","size":7}"#; 2400].join(",");
    let json = format!("{{\"rLeaf\":[{leaves}]}}");
    let wire = encode(&plain(), wide3(), json.as_bytes()).unwrap();
    assert!(wire.len() < SLICE && json.len() > SLICE);
    let mut job = Printer::new(&plain(), wide3(), &wire, LIMITS).unwrap();
    let mut out = Vec::new();
    let progress = job.step(&plain(), &wire, SLICE, &mut out).unwrap();
    assert_eq!((progress, out == json.as_bytes()), (Progress::Done, true));
}

/// Length prefixes of nested messages whose size is always guessed wrong.
#[test]
fn wrong_guesses_cost_no_more_than_the_document() {
    let mut json = String::new();
    for _ in 0..45 {
        json.push_str(r#"{"children":[{},"#);
    }
    json.push_str(&format!("{{\"fString\":\"{}\"}}", "x".repeat(3_000_000)));
    json.push_str(&"]}".repeat(45));
    let wire = encode(&plain(), wide3(), json.as_bytes()).unwrap();
    let printed = print(&plain(), wide3(), &wire).unwrap();
    assert_eq!(printed, json);
    let id = message("wide.v3.Wide");
    assert_eq!(wide3(), Target::Message(id));
}

#[test]
fn many_map_keys() {
    let entries: Vec<String> = (0..20_000).map(|i| format!("\"k{i}\":\"\"")).collect();
    let json = format!("{{\"mString\":{{{}}}}}", entries.join(","));
    let wire = encode(&plain(), wide3(), json.as_bytes()).unwrap();
    assert_eq!(print(&plain(), wide3(), &wire).unwrap(), json);
    let twice = format!("{{\"mString\":{{{},\"k777\":\"\"}}}}", entries.join(","));
    let error = encode(&plain(), wide3(), twice.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), r#"mString["k777"]: given twice"#);
}
