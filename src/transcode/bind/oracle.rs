//! Binding against an independent reading: a random request's fields are set one by one in a JSON
//! tree, and the bound wire is decoded and printed by prost-reflect.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

use super::super::plan::tests::{PROTO, plan};
use super::tests::{LIMITS, policy};
use crate::schema::compile;

/// Parameter, its text, and the field's JSON by json names; `*` where it is appended.
type Choice = (&'static str, &'static str, fn() -> Value);

/// No two of one oneof, none twice unless repeated.
const CHOICES: &[Choice] = &[
    ("game_id", "a%20b", || json!("a b")),
    ("pageSize", "-7", || json!(-7)),
    ("big", "18446744073709551615", || {
        json!("18446744073709551615")
    }),
    ("ratio", "2.5", || json!(2.5)),
    ("flag", "true", || json!(true)),
    ("color", "BLUE", || json!("BLUE")),
    ("data", "_-8", || json!("/+8=")),
    ("since", "2024-02-29T12:00:00.25%2B01:00", || {
        json!("2024-02-29T11:00:00.250Z")
    }),
    ("took", "-1.5s", || json!("-1.500s")),
    ("note", "", || json!("")),
    ("maybe", "", || json!("")),
    ("mask", "gameId,inner.id", || json!("gameId,inner.id")),
    (
        "extra",
        "%7B%22k%22:[true,%22x%22]%7D",
        || json!({"k": [true, "x"]}),
    ),
    ("tags*", "x", || json!("x")),
    ("tags*", "y", || json!("y")),
    ("tags*", "x", || json!("x")),
    ("colors*", "RED", || json!("RED")),
    ("times*", "1970-01-01T00:00:01Z", || {
        json!("1970-01-01T00:00:01Z")
    }),
    ("labels[a]", "1", || json!("1")),
    ("labels[b.c]", "2", || json!("2")),
    ("counts[a]", "9007199254740993", || {
        json!("9007199254740993")
    }),
    ("inner.id", "i", || json!("i")),
    ("inner.count", "3", || json!(3)),
    ("inner.boxed", "0", || json!(0)),
    ("inner.names*", "n", || json!("n")),
    ("inner.names*", "m", || json!("m")),
    ("inner.labels[z]", "1", || json!("1")),
    ("inner.left", "l", || json!("l")),
    ("inner.next.id", "j", || json!("j")),
    ("inner.next.at", "1970-01-01T00:00:02Z", || {
        json!("1970-01-01T00:00:02Z")
    }),
    ("inner.next.next.deep.right", "5", || json!("5")),
    ("three.count", "4", || json!(4)),
    ("three.id", "t", || json!("t")),
];

const JSON_NAMES: &[(&str, &str)] = &[("game_id", "gameId")];

/// Sets one choice in the tree.
fn set(tree: &mut Value, name: &str, value: Value) {
    let (path, append) = match name.strip_suffix('*') {
        Some(path) => (path, true),
        None => (name, false),
    };
    let (path, key) = match path.split_once('[') {
        Some((path, key)) => (path, key.strip_suffix(']')),
        None => (path, None),
    };
    let mut at = tree;
    for name in path.split('.') {
        let known = JSON_NAMES.iter().find(|(proto, _)| *proto == name);
        at = &mut at[known.map_or(name, |(_, json)| json)];
    }
    match (append, key) {
        (true, _) => match at {
            Value::Array(items) => items.push(value),
            empty => *empty = json!([value]),
        },
        (false, Some(key)) => at[key] = value,
        (false, None) => *at = value,
    }
}

fn decoded(wire: &[u8]) -> Value {
    let set = compile(&[("test.proto".to_owned(), PROTO.to_owned())]).unwrap();
    let pool = DescriptorPool::decode(set.as_slice()).unwrap();
    let message = pool.get_message_by_name("t.In").unwrap();
    let message = DynamicMessage::decode(message, wire).unwrap();
    let mut json = serde_json::Serializer::new(Vec::new());
    message
        .serialize_with_options(&mut json, &SerializeOptions::new())
        .unwrap();
    serde_json::from_slice(&json.into_inner()).unwrap()
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    subsequence(CHOICES.to_vec(), 0..=CHOICES.len()).prop_shuffle()
}

fn query_of(chosen: &[Choice]) -> String {
    let pair = |(name, text, _): &Choice| format!("{}={text}", name.trim_end_matches('*'));
    chosen.iter().map(pair).collect::<Vec<_>>().join("&")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_query_means_what_its_parameters_mean(chosen in choices()) {
        let plan = plan("GET /v1", "");
        let mut wire = Vec::new();
        plan.bind(&[], Some(&query_of(&chosen)), &policy(), &mut wire).unwrap();
        let mut expected = json!({});
        for (name, _, value) in &chosen {
            set(&mut expected, name, value());
        }
        prop_assert_eq!(decoded(&wire), expected);
    }

    /// The path's value stands, whatever the body says; all else of the body stays.
    #[test]
    fn the_path_overrides_a_body(
        chosen in choices(),
        (rule, capture, name, value) in select(vec![
            ("POST /v1/{game_id}", "p", "game_id", json!("p")),
            ("POST /v1/{since}", "1970-01-01T00:00:09Z", "since", json!("1970-01-01T00:00:09Z")),
            ("POST /v1/{took}", "9s", "took", json!("9s")),
            ("POST /v1/{note}", "p", "note", json!("p")),
            ("POST /v1/{inner.id}", "p", "inner.id", json!("p")),
            ("POST /v1/{inner.next.at}", "1970-01-01T00:00:09Z", "inner.next.at", json!("1970-01-01T00:00:09Z")),
            ("POST /v1/{ratio}", "0.5", "ratio", json!(0.5)),
        ]),
    ) {
        let mut body = json!({});
        for (name, _, value) in &chosen {
            set(&mut body, name, value());
        }
        let plan = plan(rule, "*");
        let mut wire = Vec::new();
        let text = body.to_string();
        let target = plan.body_target().unwrap();
        plan.codec.encode(target, text.as_bytes(), LIMITS, &mut wire).unwrap();
        plan.bind(&[capture], None, &policy(), &mut wire).unwrap();
        set(&mut body, name, value);
        prop_assert_eq!(decoded(&wire), body);
    }
}
