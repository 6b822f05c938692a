//! The paths of what a document gives, against a walk over its tree by descriptor.

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost_reflect::{Cardinality, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::generate::Random;
use super::oracle::{descriptor, oracle_json, random};
use super::{LIMITS, codec, encode, plain, wide2, wide3};
use crate::codec::{
    Codec, CodecLimits, EncodeError, EncodeErrorKind, Encoder, JsonOptions, Progress, Target,
};

/// The wire form and the paths, read in slices of this size.
fn noted(
    codec: &Codec,
    target: Target,
    json: &[u8],
    budget: usize,
    limits: CodecLimits,
) -> Result<(Vec<u8>, Vec<String>), EncodeError> {
    let mut job = Encoder::new(codec, target, limits, Vec::new())?.noting_paths();
    while job.step(codec, json, budget)? == Progress::More {}
    let (wire, mask) = job.finish_with_paths();
    let mask: prost_types::FieldMask = prost::Message::decode(&*mask).unwrap();
    Ok((wire, mask.paths))
}

fn paths(target: Target, json: &str) -> Vec<String> {
    let (wire, paths) = noted(&plain(), target, json.as_bytes(), usize::MAX, LIMITS).unwrap();
    assert_eq!(wire, encode(&plain(), target, json.as_bytes()).unwrap());
    paths
}

/// A message that is gone into.
fn object(kind: &Kind) -> Option<MessageDescriptor> {
    let Kind::Message(message) = kind else {
        return None;
    };
    let known = message.full_name().starts_with("google.protobuf.");
    (!known || message.full_name().ends_with(".Empty")).then(|| message.clone())
}

fn walk(
    tree: &Map<String, Value>,
    of: &MessageDescriptor,
    prefix: &str,
    out: &mut BTreeSet<String>,
) {
    for (key, value) in tree {
        let field = of
            .get_field_by_json_name(key)
            .or_else(|| of.get_field_by_name(key));
        let Some(field) = field else {
            assert!(key.starts_with('['), "{key}");
            let extension = of.get_extension_by_json_name(key).expect("an extension");
            let inner = object(&extension.kind()).filter(|_| !extension.is_list());
            step(value, inner, format!("{prefix}{key}"), out);
            continue;
        };
        let singular = field.cardinality() != Cardinality::Repeated;
        let inner = object(&field.kind()).filter(|_| singular);
        step(value, inner, format!("{prefix}{}", field.name()), out);
    }
}

fn step(value: &Value, inner: Option<MessageDescriptor>, path: String, out: &mut BTreeSet<String>) {
    match (value, inner) {
        (Value::Object(tree), Some(of)) if !tree.is_empty() => {
            walk(tree, &of, &format!("{path}."), out);
        }
        _ => assert!(out.insert(path)),
    }
}

/// Puts `null` and `{}` in places where they mean something.
fn blank(tree: &mut Map<String, Value>, of: &MessageDescriptor, rng: &mut Random) {
    for (key, value) in tree {
        let Some(field) = of.get_field_by_json_name(key) else {
            continue;
        };
        let inner = object(&field.kind()).filter(|_| field.cardinality() != Cardinality::Repeated);
        match (rng.below(6), inner) {
            (0, _) => *value = Value::Null,
            (1, Some(_)) => *value = Value::Object(Map::new()),
            (_, Some(of)) => {
                if let Value::Object(tree) = value {
                    blank(tree, &of, rng);
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths_are_those_of_the_tree(seed: u64, budget in 1usize..40) {
        for target in [wide3(), wide2()] {
            let of = descriptor(target);
            let json = oracle_json(&random(target, seed), &Default::default());
            let Value::Object(mut tree) = serde_json::from_str(&json).unwrap() else {
                unreachable!()
            };
            blank(&mut tree, &of, &mut Random::new(seed));
            let mut expected = BTreeSet::new();
            walk(&tree, &of, "", &mut expected);
            let json = Value::Object(tree).to_string();
            let (wire, found) = noted(&plain(), target, json.as_bytes(), budget, LIMITS).unwrap();
            prop_assert_eq!(&wire, &encode(&plain(), target, json.as_bytes()).unwrap());
            prop_assert_eq!(found.len(), expected.len(), "{}", &json);
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{}", json);
        }
    }
}

#[test]
fn lists_maps_and_json_forms_are_one_path() {
    for (json, expected) in [
        ("{}", ""),
        ("{ }", ""),
        (r#"{"fInt32":0,"fString":""}"#, "f_int32,f_string"),
        (r#"{"f_int32":1}"#, "f_int32"),
        (r#"{"fInt32":null,"fLeaf":null}"#, "f_int32,f_leaf"),
        (r#"{"fLeaf":{"size":1}}"#, "f_leaf.size"),
        (r#"{"fLeaf": { } }"#, "f_leaf"),
        (r#"{"rLeaf":[{"size":1}],"rInt32":[]}"#, "r_leaf,r_int32"),
        (r#"{"mString":{"a":"b"}}"#, "m_string"),
        (r#"{"value":{"a":{"b":1}}}"#, "value"),
        (r#"{"value":null}"#, "value"),
        (r#"{"timestamp":"1970-01-01T00:00:01Z"}"#, "timestamp"),
        (
            r#"{"any":{"@type":"type.googleapis.com/wide.v3.Leaf","size":2}}"#,
            "any",
        ),
    ] {
        assert_eq!(paths(wide3(), json).join(","), expected, "{json}");
    }
}

#[test]
fn what_is_skipped_is_not_noted() {
    let lenient = codec(JsonOptions {
        ignore_unknown_fields: true,
        ..JsonOptions::default()
    });
    let json = br#"{"nope":{"a":1},"fEnum":"NOPE","fLeaf":{"nope":1},"fInt32":1}"#;
    let (_, paths) = noted(&lenient, wide3(), json, usize::MAX, LIMITS).unwrap();
    assert_eq!(paths, ["f_int32"]);
}

#[test]
fn paths_count_as_encoded_bytes() {
    let limits = CodecLimits {
        encoded_bytes_max: 20,
        ..LIMITS
    };
    let json = br#"{"fLeaf":{"size":1}}"#;
    assert!(noted(&plain(), wide3(), json, usize::MAX, limits).is_ok());
    let json = br#"{"fLeaf":{"size":1},"fInt32":1}"#;
    let error = noted(&plain(), wide3(), json, usize::MAX, limits).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::TooLarge);
    assert!(
        plain()
            .encode(wide3(), json, limits, &mut Vec::new())
            .is_ok()
    );
}
