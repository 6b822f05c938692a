//! Chosen fields, against pruning the whole document's tree.

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use super::generate::Random;
use super::oracle::{descriptor, options, parsed, random, scrambled};
use super::{LIMITS, codec, field, message, plain, print, wide2, wide3};
use crate::codec::{Codec, JsonOptions, Printer, Progress, Target};

fn selected(codec: &Codec, target: Target, list: &str, wire: &[u8], budget: usize) -> String {
    let selection = codec
        .select(target, list)
        .unwrap_or_else(|e| panic!("{list}: {e}"));
    let job = Printer::new(codec, target, wire, LIMITS).unwrap();
    let mut job = job.selecting(Some(Arc::new(selection)));
    let mut json = Vec::new();
    while job.step(codec, wire, budget, &mut json).unwrap() == Progress::More {}
    String::from_utf8(json).unwrap()
}

/// What one chosen path leads to; whole when it has no choices of its own.
#[derive(Debug, Default)]
struct Tree(Vec<(String, String, Tree)>);

fn object(kind: &Kind) -> Option<MessageDescriptor> {
    let Kind::Message(message) = kind else {
        return None;
    };
    let known = message.full_name().starts_with("google.protobuf.");
    (!known).then(|| message.clone())
}

/// A random choice of the fields of a message, none twice.
fn choose(of: &MessageDescriptor, rng: &mut Random, depth: usize) -> Tree {
    let mut tree = Tree::default();
    for field in of.fields() {
        if rng.below(3) == 0 {
            continue;
        }
        let inner = object(&field.kind()).filter(|_| !field.is_map() && depth < 4);
        let below = match inner {
            Some(inner) if rng.below(3) > 0 => choose(&inner, rng, depth + 1),
            _ => Tree::default(),
        };
        tree.0
            .push((field.json_name().into(), field.name().into(), below));
    }
    tree
}

fn write(tree: &Tree, rng: &mut Random) -> Vec<String> {
    let mut items = Vec::new();
    for (json, proto, below) in &tree.0 {
        let name = if rng.below(2) == 0 { json } else { proto };
        let inner = write(below, rng);
        match (&*inner, rng.below(2)) {
            ([], _) => items.push(name.clone()),
            (_, 0) => items.push(format!("{name}({})", inner.join(","))),
            (all, _) => items.extend(all.iter().map(|one| format!("{name}.{one}"))),
        }
    }
    items
}

fn prune(value: &mut Value, tree: &Tree) {
    match value {
        _ if tree.0.is_empty() => {}
        Value::Array(items) => items.iter_mut().for_each(|i| prune(i, tree)),
        Value::Object(members) => {
            let own = |key: &str| tree.0.iter().find(|(j, p, _)| j == key || p == key);
            members.retain(|key, _| own(key).is_some());
            for (key, value) in members {
                prune(value, &own(key).expect("kept").2);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chosen_fields_are_what_pruning_leaves(seed: u64, bits in 0u8..32, budget in 1usize..60) {
        for (target, scramble) in [(wide3(), false), (wide2(), false), (wide3(), true), (wide2(), true)] {
            let mut rng = Random::new(seed);
            let tree = choose(&descriptor(target), &mut rng, 0);
            let list = write(&tree, &mut rng).join(",");
            // As many as a request may choose.
            prop_assume!(!list.is_empty() && list.matches([',', '.', '(']).count() < 250);
            let codec = codec(options(bits).0);
            let wire = match scramble {
                true => scrambled(target, seed),
                false => random(target, seed).encode_to_vec(),
            };
            let Ok(whole) = print(&codec, target, &wire) else { continue };
            let mut expected: Value = serde_json::from_str(&whole).unwrap();
            prune(&mut expected, &tree);
            let found = selected(&codec, target, &list, &wire, budget);
            prop_assert_eq!(parsed(&found), parsed(&expected.to_string()), "{}\n{}", list, whole);
        }
    }
}

#[test]
fn lists_of_fields() {
    let json = r#"{"fInt32":1,"fString":"s","fLeaf":{"name":"n","size":2},"rLeaf":[{"name":"a","size":1},{}],"mString":{"a":"b"}}"#;
    let wire = super::encode(&plain(), wide3(), json.as_bytes()).unwrap();
    for (list, expected) in [
        ("*", json),
        ("fInt32", r#"{"fInt32":1}"#),
        ("f_int32,f_string", r#"{"fInt32":1,"fString":"s"}"#),
        ("fLeaf.size", r#"{"fLeaf":{"size":2}}"#),
        ("fLeaf/size", r#"{"fLeaf":{"size":2}}"#),
        ("fLeaf(size)", r#"{"fLeaf":{"size":2}}"#),
        ("fLeaf.size,fLeaf", r#"{"fLeaf":{"name":"n","size":2}}"#),
        ("fLeaf,fLeaf.size", r#"{"fLeaf":{"name":"n","size":2}}"#),
        ("fLeaf.*", r#"{"fLeaf":{"name":"n","size":2}}"#),
        ("rLeaf.name", r#"{"rLeaf":[{"name":"a"},{}]}"#),
        (
            "rLeaf(name,size),mString",
            r#"{"rLeaf":[{"name":"a","size":1},{}],"mString":{"a":"b"}}"#,
        ),
        ("fDouble", "{}"),
    ] {
        assert_eq!(
            parsed(&selected(&plain(), wide3(), list, &wire, 9)),
            parsed(expected),
            "{list}"
        );
    }
    let list = Target::Field(field("wide.v3.Wide", "r_leaf"));
    assert_eq!(
        selected(&plain(), list, "name", &wire, 9),
        r#"[{"name":"a"},{}]"#
    );
    let defaults = codec(JsonOptions {
        emit_defaults: true,
        ..JsonOptions::default()
    });
    assert_eq!(
        selected(&defaults, wide3(), "fBool,fLeaf.size", b"", 9),
        r#"{"fBool":false}"#
    );
}

#[test]
fn lists_that_choose_nothing() {
    let refused = |target, list: &str| plain().select(target, list).unwrap_err().to_string();
    for (list, why) in [
        ("", r#"expected the name of a field after """#),
        ("fInt32,", r#"expected the name of a field after "fInt32,""#),
        ("fLeaf.", r#"expected the name of a field after "fLeaf.""#),
        ("fLeaf()", r#"expected the name of a field after "fLeaf(""#),
        ("nope", r#""nope": no such field in wide.v3.Wide"#),
        (
            "fLeaf.nope",
            r#""fLeaf.nope": no such field in wide.v3.Leaf"#,
        ),
        (
            "fInt32.a",
            r#""fInt32" takes one value as a whole and has no fields to choose from"#,
        ),
        (
            "mString.a",
            r#""mString" takes one value as a whole and has no fields to choose from"#,
        ),
        (
            "timestamp.seconds",
            r#""timestamp" takes one value as a whole and has no fields to choose from"#,
        ),
        ("fLeaf(size", "the parentheses don't match"),
        ("fLeaf)", "the parentheses don't match"),
        ("fLeaf(size)x", "the parentheses don't match"),
    ] {
        assert_eq!(refused(wide3(), list), why, "{list}");
    }
    let many = vec!["fInt32"; 257].join(",");
    assert_eq!(refused(wide3(), &many), "more than 256 fields are chosen");
    let struct_ = Target::Message(message("google.protobuf.Struct"));
    assert_eq!(
        refused(struct_, "a"),
        "the reply has no fields to choose from"
    );
    let map = Target::Field(field("wide.v3.Wide", "m_string"));
    assert_eq!(refused(map, "a"), "the reply has no fields to choose from");
    let deep = "child.".repeat(40) + "fInt32";
    let target = wide2();
    assert_eq!(
        refused(target, &deep),
        "fields are chosen more than 32 levels deep"
    );
}
