//! Real sets with bytes changed, cut and moved: an error or a schema, never a panic, and a schema that
//! comes out of it holds its invariants.

use proptest::prelude::*;

use super::super::{Cardinality, Kind, Schema, SchemaBuilder, compile};
use super::texts;

fn real() -> Vec<Vec<u8>> {
    let wide = [
        (
            "wide.proto",
            include_str!("../../../tests/schema_oracle/wide.proto"),
        ),
        (
            "wide2.proto",
            include_str!("../../../tests/schema_oracle/wide2.proto"),
        ),
    ];
    let operations = [(
        "a.proto",
        "syntax = \"proto3\"; import \"google/longrunning/operations.proto\";",
    )];
    vec![
        compile(&texts(&wide)).unwrap(),
        compile(&texts(&operations)).unwrap(),
        include_bytes!("../../../tests/fixtures/editions/editions.binpb").to_vec(),
    ]
}

/// Every id points somewhere, fields ascend, oneofs exist, maps have entries.
fn check(schema: &Schema) {
    for message in schema.messages() {
        assert!(
            message.fields.is_sorted_by(|a, b| a.number < b.number),
            "{}",
            message.full_name
        );
        for field in &message.fields {
            match field.kind {
                Kind::Message(id) => assert!(schema.message(id).is_some()),
                Kind::Enum(id) => assert!(!schema.enumeration(id).unwrap().values.is_empty()),
                _ => assert!(!field.delimited),
            }
            if let Cardinality::Map { entry, .. } = field.cardinality {
                let entry = schema.message(entry).unwrap();
                assert!(entry.map_entry && entry.fields.len() == 2);
            }
            if let Some(oneof) = field.oneof {
                assert!(usize::from(oneof) < message.oneofs.len());
            }
        }
    }
    for service in schema.services() {
        for method in &service.methods {
            assert!(
                schema.message(method.input).is_some() && schema.message(method.output).is_some()
            );
        }
    }
}

fn load(bytes: &[u8]) -> bool {
    let mut builder = SchemaBuilder::new();
    if builder.add_set("file mutated", bytes).is_err() {
        return false;
    }
    match builder.build() {
        Ok(schema) => check(&schema),
        Err(errors) => {
            assert!(!errors.is_empty());
            return false;
        }
    }
    true
}

#[test]
fn whole_sets_load() {
    assert!(real().iter().all(|set| load(set)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn changed_sets_never_panic(
        which in 0..3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        splice in prop::option::weighted(0.3, any::<[prop::sample::Index; 3]>()),
    ) {
        thread_local!(static SETS: Vec<Vec<u8>> = real());
        let mut bytes = SETS.with(|sets| sets[which].clone());
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some([from, to, at]) = splice {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let piece = bytes[from.min(to)..from.max(to).min(from.min(to) + 200)].to_vec();
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        load(&bytes);
    }

    #[test]
    fn changed_texts_never_panic(
        which in 0..3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\\n\\u{0}-\\u{ff}]{0,3}"), 1..5),
    ) {
        let mut text = [
            include_str!("../../../tests/schema_oracle/wide.proto"),
            include_str!("../../../tests/schema_oracle/wide2.proto"),
            include_str!("../../../proto/google/longrunning/operations.proto"),
        ][which].to_owned();
        for (at, with) in flips {
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
            text.replace_range(at..end, &with);
            if text.is_empty() {
                text.push(' ');
            }
        }
        let files = texts(&[("a.proto", text.as_str()), ("wide2.proto", include_str!("../../../tests/schema_oracle/wide2.proto"))]);
        match compile(&files) {
            Ok(set) => {
                let mut builder = SchemaBuilder::new();
                builder.add_set("protos", &set).unwrap();
                // What protoc's rules let through, ours may still refuse (a proto2 clash); never a panic.
                if let Ok(schema) = builder.build() {
                    check(&schema);
                }
            }
            Err(errors) => assert!(!errors.is_empty()),
        }
    }
}
