//! Bytes that are no descriptors, and more of everything than is taken.

use prost::Message as _;

use super::{build, file, scalar, with_fields};
use crate::schema::SchemaBuilder;
use crate::schema::descriptor::{FileDescriptor, RawSet};

#[test]
fn bytes_that_are_no_set() {
    let mut builder = SchemaBuilder::new();
    let error = builder
        .add_set("file x.binpb", b"\xff\xff\xff")
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("file x.binpb: not a FileDescriptorSet: "),
        "{error}"
    );
    let mut broken = file("games.proto").encode_to_vec();
    broken.extend_from_slice(&[0x22, 0x05, 0x01]);
    let error = builder
        .add_set(
            "reflection games",
            &RawSet {
                file: vec![broken.into()],
            }
            .encode_to_vec(),
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("reflection games: #1: not a file descriptor: "),
        "{error}"
    );
}

/// A chain of imports as long as the limits allow must not use up the stack.
#[test]
fn a_long_chain_of_imports() {
    let files: Vec<_> = (0..20_000)
        .map(|i| FileDescriptor {
            dependency: vec![format!("{}.proto", i + 1)],
            ..file(&format!("{i}.proto"))
        })
        .collect();
    build(&files).unwrap();
}

#[test]
fn nesting_is_bounded() {
    let mut bytes: Vec<u8> = vec![0x0a, 1, b'M'];
    for _ in 0..200 {
        let mut outer = vec![0x0a, 1, b'M', 0x1a];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.append(&mut bytes);
        bytes = outer;
    }
    let mut raw = file("deep.proto").encode_to_vec();
    raw.push(0x22);
    prost::encoding::encode_varint(bytes.len() as u64, &mut raw);
    raw.append(&mut bytes);
    let error = SchemaBuilder::new()
        .add_set(
            "file x.binpb",
            &RawSet {
                file: vec![raw.into()],
            }
            .encode_to_vec(),
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("deep.proto: not a file descriptor: "),
        "{error}"
    );
}

#[test]
fn faults_are_bounded() {
    let fields = (0..3000).map(|i| scalar(&format!("f{i}"), 0, 9)).collect();
    let errors = build(&[with_fields(fields)]).unwrap_err();
    assert_eq!(errors.len(), 1001);
    assert_eq!(errors[1000].message(), "and 2000 more");
}

/// Two bytes on the wire that take hundreds in memory.
#[test]
fn counts_are_bounded_before_anything_is_decoded() {
    let many = |tag: u8| [tag, 0].repeat(2_100_000);
    let mut files = vec![many(0x0a)];
    // Imports, messages, fields and additional bindings.
    for (tag, outer) in [
        (0x1a, &[][..]),
        (0x22, &[]),
        (0x12, &[4]),
        (0x5a, &[72_295_728, 4, 2, 6]),
    ] {
        let mut bytes = many(tag);
        for field in outer.iter().chain(&[1_u32]) {
            let mut wrapped = Vec::new();
            prost::encoding::encode_key(
                *field,
                prost::encoding::WireType::LengthDelimited,
                &mut wrapped,
            );
            prost::encoding::encode_varint(bytes.len() as u64, &mut wrapped);
            wrapped.append(&mut bytes);
            bytes = wrapped;
        }
        files.push(bytes);
    }
    for set in files {
        let error = SchemaBuilder::new()
            .add_set("file x.binpb", &set)
            .unwrap_err();
        assert_eq!(
            error.message(),
            "the descriptor set declares more than 2000000 things"
        );
    }
}
