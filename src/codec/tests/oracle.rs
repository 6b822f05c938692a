//! Against prost-reflect's DynamicMessage, over random messages.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::generate::{self, Random};
use super::{LIMITS, WORLD, codec, encode, plain, print, wide2, wide3};
use crate::codec::normalise::Normaliser;
use crate::codec::{Codec, Encoder, JsonOptions, Printer, Progress, Target};

pub(super) fn descriptor(target: Target) -> MessageDescriptor {
    let Target::Message(id) = target else {
        unreachable!()
    };
    let name = &WORLD.schema.message(id).unwrap().full_name;
    WORLD.pool.get_message_by_name(name).unwrap()
}

pub(super) fn random(target: Target, seed: u64) -> DynamicMessage {
    generate::message(&mut Random::new(seed), &descriptor(target), 0)
}

pub(super) fn oracle_json(message: &DynamicMessage, options: &SerializeOptions) -> String {
    let mut out = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut out, options).unwrap();
    String::from_utf8(out.into_inner()).unwrap()
}

pub(super) fn parsed(json: &str) -> Value {
    let mut value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    level(&mut value);
    value
}

/// `1.0` and `1` are one number.
fn level(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(level),
        Value::Object(members) => members.values_mut().for_each(level),
        Value::Number(n) => {
            let text = match n.as_f64() {
                Some(v) if n.is_f64() && v.fract() == 0.0 && v.abs() < 1e19 => {
                    (v as i128).to_string()
                }
                _ => n.to_string(),
            };
            *value = Value::String(format!("number {text}"));
        }
        _ => {}
    }
}

/// The options that both know, by the bits of a number.
pub(super) fn options(bits: u8) -> (JsonOptions, SerializeOptions) {
    let on = |bit: u8| bits >> bit & 1 == 1;
    let ours = JsonOptions {
        emit_defaults: on(0),
        enums_as_numbers: on(1),
        proto_names: on(2),
        int64_as_numbers: on(3),
        pretty: on(4),
        ..JsonOptions::default()
    };
    let theirs = SerializeOptions::new()
        .skip_default_fields(!on(0))
        .use_enum_numbers(on(1))
        .use_proto_field_name(on(2))
        .stringify_64_bit_integers(!on(3));
    (ours, theirs)
}

fn check_print(target: Target, seed: u64, bits: u8) {
    let message = random(target, seed);
    let (ours, theirs) = options(bits);
    let wire = message.encode_to_vec();
    let json = print(&codec(ours), target, &wire).unwrap();
    let expected = oracle_json(&message, &theirs);
    assert_eq!(parsed(&json), parsed(&expected), "{json}\n{expected}");
}

fn check_encode(target: Target, seed: u64) {
    let message = random(target, seed);
    let json = oracle_json(&message, &SerializeOptions::new());
    let wire = encode(&plain(), target, json.as_bytes()).unwrap_or_else(|e| panic!("{e}: {json}"));
    let back = DynamicMessage::decode(descriptor(target), &*wire).unwrap();
    let back = oracle_json(&back, &SerializeOptions::new());
    assert_eq!(parsed(&back), parsed(&through_oracle(&json, target)));
    // What we write is in the usual shape wherever the JSON is.
    assert_eq!(
        parsed(&print(&plain(), target, &wire).unwrap()),
        parsed(&json)
    );
}

/// The same document through the oracle once, so that both have been through text.
fn through_oracle(json: &str, target: Target) -> String {
    let mut de = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor(target), &mut de).unwrap();
    oracle_json(&message, &SerializeOptions::new())
}

fn encode_in_steps(
    codec: &Codec,
    target: Target,
    json: &[u8],
    rng: &mut Random,
) -> Result<Vec<u8>, String> {
    let mut job = Encoder::new(codec, target, LIMITS, Vec::new()).unwrap();
    for _ in 0..json.len() * 4 + 100 {
        let budget = 1 + rng.below(20);
        match job.step(codec, json, budget) {
            Ok(Progress::Done) => return Ok(job.finish()),
            Ok(Progress::More) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    panic!("no progress");
}

fn print_in_steps(
    codec: &Codec,
    target: Target,
    wire: &[u8],
    rng: &mut Random,
) -> Result<String, String> {
    let mut job = Printer::new(codec, target, wire, LIMITS).map_err(|e| e.to_string())?;
    let mut json = Vec::new();
    for _ in 0..wire.len() * 50 + 10_000 {
        let budget = 1 + rng.below(20);
        match job.step(codec, wire, budget, &mut json) {
            Ok(Progress::Done) => return Ok(String::from_utf8(json).unwrap()),
            Ok(Progress::More) => {}
            Err(e) => {
                assert!(json.is_empty(), "half a document before an error");
                return Err(e.to_string());
            }
        }
    }
    panic!("no progress");
}

/// Cuts a message into its top-level records.
fn records(wire: &[u8]) -> Vec<&[u8]> {
    let (mut pos, mut out) = (0, Vec::new());
    while pos < wire.len() {
        let start = pos;
        let (number, kind) = crate::codec::wire::tag(wire, &mut pos).unwrap();
        crate::codec::wire::skip(wire, &mut pos, wire.len(), number, kind).unwrap();
        out.push(&wire[start..pos]);
    }
    out
}

/// Records of several messages, shuffled: as legal, and as unusual, as wire can be.
pub(super) fn scrambled(target: Target, seed: u64) -> Vec<u8> {
    let mut rng = Random::new(seed);
    let wires: Vec<Vec<u8>> = (0..1 + rng.below(3))
        .map(|i| random(target, seed.wrapping_add(i as u64)).encode_to_vec())
        .collect();
    let mut parts: Vec<&[u8]> = wires.iter().flat_map(|w| records(w)).collect();
    for i in (1..parts.len()).rev() {
        parts.swap(i, rng.below(i + 1));
    }
    parts.concat()
}

fn check_scrambled(target: Target, seed: u64) {
    let wire = scrambled(target, seed);
    let message = DynamicMessage::decode(descriptor(target), &*wire).unwrap();
    // An `Any` merged from two may have the type of one and the value of the other, which the oracle
    // can't print and we may.
    let Ok(expected) = serde_json::to_string(&message) else {
        let _ = print(&plain(), target, &wire);
        return;
    };
    match print(&plain(), target, &wire) {
        Ok(json) => assert_eq!(parsed(&json), parsed(&expected), "{json}\n{expected}"),
        // Merged from two, its parts may be of different sign; the oracle doesn't mind.
        Err(e) => assert_eq!(e.what, "the duration is out of range"),
    }

    // The normaliser alone: the same message, and then nothing left to do.
    let Target::Message(id) = target else {
        unreachable!()
    };
    let normal = |wire: &[u8]| {
        let mut job = Normaliser::for_wire(id, wire.len(), LIMITS);
        while !job.step(&plain(), wire, 7) {}
        job.take().unwrap()
    };
    let once = normal(&wire);
    let back = DynamicMessage::decode(descriptor(target), &*once).unwrap();
    assert_eq!(
        parsed(&oracle_json(&back, &SerializeOptions::new())),
        parsed(&expected)
    );
    assert_eq!(normal(&once), once);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn prints_proto3_as_the_oracle(seed: u64, bits in 0u8..32) {
        check_print(wide3(), seed, bits);
    }

    #[test]
    fn prints_proto2_as_the_oracle(seed: u64, bits in (0u8..16).prop_map(|b| b * 2)) {
        check_print(wide2(), seed, bits);
    }

    #[test]
    fn encodes_proto3_as_the_oracle(seed: u64) {
        check_encode(wide3(), seed);
    }

    #[test]
    fn encodes_proto2_as_the_oracle(seed: u64) {
        check_encode(wide2(), seed);
    }

    #[test]
    fn scrambled_wire_means_what_the_oracle_says(seed: u64) {
        check_scrambled(wide3(), seed);
        check_scrambled(wide2(), seed);
    }

    #[test]
    fn slices_change_nothing(seed: u64) {
        let mut rng = Random::new(seed);
        for target in [wide3(), wide2()] {
            let codec = plain();
            let mut json = oracle_json(&random(target, seed), &SerializeOptions::new()).into_bytes();
            let whole = encode(&codec, target, &json).map_err(|e| e.to_string());
            prop_assert_eq!(encode_in_steps(&codec, target, &json, &mut rng), whole);
            // And the same refusal at the same place.
            if !json.is_empty() {
                let at = rng.below(json.len());
                json[at] = b"\"{}[]:,x\x80\\0"[rng.below(11)];
                let whole = encode(&codec, target, &json).map_err(|e| e.to_string());
                prop_assert_eq!(encode_in_steps(&codec, target, &json, &mut rng), whole);
            }
            let mut wire = scrambled(target, seed);
            let whole = print(&codec, target, &wire).map_err(|e| e.to_string());
            prop_assert_eq!(print_in_steps(&codec, target, &wire, &mut rng), whole);
            if !wire.is_empty() {
                let at = rng.below(wire.len());
                wire[at] = rng.next() as u8;
                let whole = print(&codec, target, &wire).map_err(|e| e.to_string());
                prop_assert_eq!(print_in_steps(&codec, target, &wire, &mut rng), whole);
            }
        }
    }
}
