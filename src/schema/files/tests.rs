use std::collections::BTreeMap;

use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::super::compile;
use super::*;
use crate::schema::SchemaBuilder;

fn set(texts: &[(&str, &str)]) -> Vec<u8> {
    let texts: Vec<_> = texts
        .iter()
        .map(|(n, t)| ((*n).to_owned(), (*t).to_owned()))
        .collect();
    compile(&texts).expect("protos")
}

fn pool(sets: &[&[(&str, &str)]]) -> crate::schema::Schema {
    let mut builder = SchemaBuilder::new().keep_files(true);
    for (at, texts) in sets.iter().enumerate() {
        builder
            .add_set(&format!("file {at}"), &set(texts))
            .expect("a set");
    }
    builder.build().expect("a schema")
}

fn decoded(files: &Files, id: FileId) -> FileDescriptorProto {
    prost::Message::decode(files.encoded(id, |_, _| true)).expect("a file")
}

/// Every file, in an order in which a client could add them.
fn ordered(files: &Files) -> FileDescriptorSet {
    let mut all: BTreeMap<String, FileDescriptorProto> = files
        .by_name
        .values()
        .map(|id| decoded(files, *id))
        .map(|file| (file.name().to_owned(), file))
        .collect();
    let mut set = FileDescriptorSet::default();
    while !all.is_empty() {
        let ready = all
            .iter()
            .find(|(_, f)| f.dependency.iter().all(|d| !all.contains_key(d)));
        let name = ready.expect("no cycle").0.clone();
        set.file.extend(all.remove(&name));
    }
    set
}

#[test]
fn two_files_of_one_name_are_both_there() {
    let schema = pool(&[
        &[(
            "service.proto",
            "syntax = 'proto3'; package a; message M { string a = 1; } service S { rpc Go(M) returns (M); }",
        )],
        &[
            (
                "service.proto",
                "syntax = 'proto3'; package b; message M { string b = 1; }",
            ),
            (
                "uses.proto",
                "syntax = 'proto3'; package b; import 'service.proto'; message U { M m = 1; }",
            ),
        ],
    ]);
    let files = schema.files();
    let a = files.declaring("a.M").expect("a.M").1;
    let b = files.declaring("b.M").expect("b.M").1;
    assert_eq!(decoded(files, a).name(), "service.proto");
    assert_eq!(decoded(files, b).name(), "2/service.proto");
    let uses = files.named("uses.proto").expect("uses.proto");
    assert_eq!(decoded(files, uses).dependency, ["2/service.proto"]);
    DescriptorPool::from_file_descriptor_set(ordered(files)).expect("a pool");
    assert_eq!(files.closure([uses]).len(), 2);
}

#[test]
fn what_two_files_declare_is_in_one() {
    let shared = "syntax = 'proto3'; package common; message Page { int32 size = 1; }";
    let user = |import: &str, package: &str| {
        format!(
            "syntax = 'proto3'; package {package}; import '{import}'; message L {{ common.Page page = 1; }}"
        )
    };
    let one = user("common/page.proto", "one");
    let two = user("proto/common/page.proto", "two");
    let schema = pool(&[
        &[("common/page.proto", shared), ("one.proto", &one)],
        &[("proto/common/page.proto", shared), ("two.proto", &two)],
    ]);
    let files = schema.files();
    assert_eq!(files.named("proto/common/page.proto"), None);
    let two = files.named("two.proto").expect("two.proto");
    assert_eq!(decoded(files, two).dependency, ["common/page.proto"]);
    DescriptorPool::from_file_descriptor_set(ordered(files)).expect("a pool");
}

#[test]
fn vendored_files_of_two_versions_are_one_pool() {
    let old = "syntax = 'proto3'; package google.type; message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; } enum Day { NONE = 0; }";
    let new = "syntax = 'proto3'; package google.type; message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; string more = 4; }";
    let user = |package: &str| {
        format!(
            "syntax = 'proto3'; package {package}; import public 'google/type/money.proto'; message P {{ google.type.Money m = 1; }}"
        )
    };
    let (a, b) = (user("a"), user("b"));
    let schema = pool(&[
        &[("google/type/money.proto", old), ("a.proto", &a)],
        &[("google/type/money.proto", new), ("b.proto", &b)],
    ]);
    let files = schema.files();
    let money = files.declaring("google.type.Money").expect("Money").1;
    let day = files.declaring("google.type.Day").expect("Day").1;
    assert_ne!(money, day);
    assert_eq!(decoded(files, money).message_type[0].field.len(), 4);
    let a = decoded(files, files.named("a.proto").expect("a.proto"));
    assert_eq!(a.dependency.len(), 2, "{a:?}");
    assert_eq!(a.public_dependency, [0, 1]);
    DescriptorPool::from_file_descriptor_set(ordered(files)).expect("a pool");
}

#[test]
fn methods_are_left_out_and_options_stay() {
    let text = "syntax = 'proto3'; package p; import 'google/api/annotations.proto';
        message M {}
        service S {
            rpc A(M) returns (M) { option (google.api.http) = { get: '/a' }; }
            rpc B(M) returns (M);
        }
        service T { rpc C(M) returns (M); }";
    let schema = pool(&[&[("s.proto", text)]]);
    let files = schema.files();
    let id = files.named("s.proto").expect("s.proto");
    let kept = files.encoded(id, |service, method| (service, method) == ("p.S", "A"));
    let kept: FileDescriptorProto = prost::Message::decode(kept).expect("a file");
    let services: Vec<_> = kept
        .service
        .iter()
        .map(|s| (s.name(), s.method.len()))
        .collect();
    assert_eq!(services, [("S", 1)]);
    assert_eq!(kept.service[0].method[0].name(), "A");
    assert_eq!(files.declaring("p.S.B"), Some((SymbolKind::Method, id)));
    let option = b"\x22\x02/a";
    let bytes = files.encoded(id, |_, _| true);
    assert!(
        bytes
            .windows(option.len())
            .any(|w| w == b"\x12\x02/a" || w == option)
    );
    assert_eq!(decoded(files, id).source_code_info, None);
    // Those who extend what is there come along.
    let options = files
        .declaring("google.protobuf.MethodOptions")
        .expect("options")
        .1;
    let http = files.declaring("google.api.http").expect("http").1;
    assert!(files.closure([options]).contains(&http));
    let numbers = files
        .extensions("google.protobuf.MethodOptions")
        .expect("extensions");
    assert_eq!(numbers.get(&72_295_728), Some(&http));
}

#[test]
fn nothing_is_kept_unless_wanted() {
    let schema = SchemaBuilder::new().build().expect("a schema");
    assert!(schema.files().files.is_empty());
    assert_eq!(schema.files().encoded(FileId(0), |_, _| true), Bytes::new());
}
