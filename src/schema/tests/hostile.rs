//! Sets that protoc would never write: each is refused by name, all faults at once, nothing panics.

use prost::Message as _;

use super::super::descriptor::{
    CustomPatternDescriptor, EnumDescriptor, EnumOptions, EnumValueDescriptor, ExtensionRange,
    FieldDescriptor, FileDescriptor, HttpRuleDescriptor, MessageDescriptor, MessageOptions,
    MethodDescriptor, MethodOptions, OneofDescriptor, PatternDescriptor, RawSet, ServiceDescriptor,
};
use super::super::{Schema, SchemaBuilder, SchemaError};
use super::shown;

pub(super) fn set(files: &[FileDescriptor]) -> Vec<u8> {
    RawSet {
        file: files.iter().map(|f| f.encode_to_vec().into()).collect(),
    }
    .encode_to_vec()
}

pub(super) fn build(files: &[FileDescriptor]) -> Result<Schema, Vec<SchemaError>> {
    let mut builder = SchemaBuilder::new();
    builder
        .add_set("file x.binpb", &set(files))
        .map_err(|e| vec![e])?;
    builder.build()
}

pub(super) fn file(name: &str) -> FileDescriptor {
    FileDescriptor {
        name: Some(name.to_owned()),
        package: Some("p".to_owned()),
        syntax: Some("proto3".to_owned()),
        ..FileDescriptor::default()
    }
}

pub(super) fn message(name: &str, fields: Vec<FieldDescriptor>) -> MessageDescriptor {
    MessageDescriptor {
        name: Some(name.to_owned()),
        field: fields,
        ..MessageDescriptor::default()
    }
}

/// An optional scalar: 9 is string, 5 int32.
pub(super) fn scalar(name: &str, number: i32, kind: i32) -> FieldDescriptor {
    FieldDescriptor {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind),
        label: Some(1),
        ..FieldDescriptor::default()
    }
}

fn typed(name: &str, number: i32, kind: i32, type_name: &str) -> FieldDescriptor {
    FieldDescriptor {
        type_name: Some(type_name.to_owned()),
        ..scalar(name, number, kind)
    }
}

fn values(names: &[(&str, i32)]) -> Vec<EnumValueDescriptor> {
    names
        .iter()
        .map(|(n, v)| EnumValueDescriptor {
            name: Some((*n).to_owned()),
            number: Some(*v),
        })
        .collect()
}

fn refuses(file: FileDescriptor, wanted: &[&str]) {
    let errors = build(&[file]).expect_err("refused");
    let text = shown(&errors);
    for want in wanted {
        assert!(text.contains(want), "{want:?} is not in:\n{text}");
    }
    assert_eq!(errors.len(), wanted.len(), "{text}");
}

fn with_messages(messages: Vec<MessageDescriptor>) -> FileDescriptor {
    FileDescriptor {
        message_type: messages,
        ..file("x.proto")
    }
}

fn with_fields(fields: Vec<FieldDescriptor>) -> FileDescriptor {
    with_messages(vec![message("M", fields)])
}

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

#[test]
fn every_fault_is_reported_with_its_symbol() {
    refuses(
        with_fields(vec![
            scalar("a", 1, 9),
            scalar("b", 1, 9),
            scalar("a", 2, 9),
            scalar("zero", 0, 9),
            scalar("huge", i32::MAX, 9),
            scalar("ours", 19_500, 9),
            scalar("odd", 3, 77),
            scalar("we ird\n", 4, 9),
            typed("lost", 5, 11, ".p.Nowhere"),
            typed("bare", 6, 11, ""),
            FieldDescriptor {
                label: Some(2),
                ..scalar("must", 7, 9)
            },
            FieldDescriptor {
                label: Some(8),
                ..scalar("label", 8, 9)
            },
            FieldDescriptor {
                oneof_index: Some(3),
                ..scalar("pick", 9, 9)
            },
            typed("group", 10, 10, ".p.M"),
            typed("mixed", 11, 14, ".p.M"),
            FieldDescriptor {
                json_name: Some("z".into()),
                ..scalar("x", 12, 9)
            },
            FieldDescriptor {
                json_name: Some("z".into()),
                ..scalar("y", 13, 9)
            },
            FieldDescriptor {
                extendee: Some(".p.M".into()),
                ..scalar("ext", 14, 9)
            },
        ]),
        &[
            "p.M: a and b share the number 1",
            "p.M: the field a is declared twice",
            "p.M.zero: the field number 0 is not between",
            "p.M.huge: the field number 2147483647 is not between",
            "p.M.ours: the field number 19500 is reserved",
            "p.M.odd: the field type 77 is unknown",
            "the field's name is not an identifier",
            "p.M.lost: the type p.Nowhere is not declared in any source",
            "p.M.bare: the field has no type",
            "p.M.must: proto3 has no required fields",
            "p.M.label: the label 8 is unknown",
            "p.M.pick: the oneof index is out of range",
            "p.M.group: proto3 has no groups",
            "p.M.mixed: .p.M is a message, not an enum",
            "p.M: x and y have the same JSON name, z",
            "p.M.ext: a field inside a message has an extendee",
        ],
    );
}

#[test]
fn oneofs() {
    let oneof = |name: &str| OneofDescriptor {
        name: Some(name.to_owned()),
        options: None,
    };
    let at = |name, number, index| FieldDescriptor {
        oneof_index: Some(index),
        ..scalar(name, number, 9)
    };
    let optional = FieldDescriptor {
        proto3_optional: Some(true),
        ..at("c", 3, 1)
    };
    let repeated = FieldDescriptor {
        label: Some(3),
        ..at("r", 5, 0)
    };
    let mut m = message(
        "M",
        vec![
            at("a", 1, 0),
            at("b", 2, 1),
            optional,
            repeated,
            at("neg", 6, -1),
        ],
    );
    m.oneof_decl = vec![oneof("one"), oneof("two"), oneof("empty"), oneof("no name")];
    refuses(
        with_messages(vec![m]),
        &[
            "p.M.two: a proto3 optional field shares its oneof",
            "p.M.empty: the oneof has no fields",
            "p.M.no name: the oneof's name is not an identifier",
            "p.M.r: a field of a oneof can't be repeated",
            "p.M.neg: the oneof index is out of range",
        ],
    );
}

#[test]
fn enums() {
    let enumeration = |name: &str, v: &[(&str, i32)]| EnumDescriptor {
        name: Some(name.to_owned()),
        value: values(v),
        options: None,
    };
    let mut f = file("x.proto");
    f.enum_type = vec![
        enumeration("Empty", &[]),
        enumeration("First", &[("ONE", 1)]),
        enumeration("Alias", &[("A", 0), ("B", 0)]),
        enumeration("Twice", &[("A", 0), ("A", 1)]),
        enumeration("Odd", &[("a-b", 0)]),
        EnumDescriptor {
            options: Some(EnumOptions {
                allow_alias: Some(true),
                features: None,
            }),
            ..enumeration("Fine", &[("A", 0), ("B", 0)])
        },
    ];
    refuses(
        f,
        &[
            "p.Empty: an enum needs at least one value",
            "p.First: the first value of an open enum must be 0, but ONE is 1",
            "p.Alias: A and B share the number 0 without allow_alias",
            "p.Twice: the value A is declared twice",
            "p.Odd: the value name \"a-b\" is not an identifier",
        ],
    );
}

fn entry(fields: Vec<FieldDescriptor>) -> MessageDescriptor {
    MessageDescriptor {
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..message("XEntry", fields)
    }
}

#[test]
fn map_entries() {
    let holder = |entry: MessageDescriptor, label: i32| {
        let mut m = message(
            "M",
            vec![FieldDescriptor {
                label: Some(label),
                ..typed("x", 1, 11, ".p.M.XEntry")
            }],
        );
        m.nested_type = vec![entry];
        with_messages(vec![m])
    };
    let good = || vec![scalar("key", 1, 9), scalar("value", 2, 5)];
    build(&[holder(entry(good()), 3)]).unwrap();
    refuses(
        holder(entry(good()), 1),
        &["p.M.x: a map entry is used outside the map"],
    );
    for bad in [
        vec![scalar("key", 1, 9)],
        vec![scalar("key", 1, 1), scalar("value", 2, 5)],
        vec![scalar("key", 2, 9), scalar("value", 1, 5)],
        vec![
            scalar("key", 1, 9),
            scalar("value", 2, 5),
            scalar("more", 3, 5),
        ],
        vec![
            scalar("key", 1, 9),
            FieldDescriptor {
                label: Some(3),
                ..scalar("value", 2, 5)
            },
        ],
        vec![],
    ] {
        refuses(
            holder(entry(bad), 3),
            &["p.M.XEntry: a map entry holds exactly"],
        );
    }
    let thief = message(
        "Thief",
        vec![FieldDescriptor {
            label: Some(3),
            ..typed("x", 1, 11, ".p.M.XEntry")
        }],
    );
    let mut f = holder(entry(good()), 3);
    f.message_type.push(thief);
    refuses(f, &["p.Thief.x: a map entry is used outside the map"]);
    // An entry at the top, of itself.
    let own = entry(vec![
        scalar("key", 1, 9),
        typed("value", 2, 11, ".p.XEntry"),
    ]);
    refuses(
        with_messages(vec![own]),
        &["p.XEntry.value: a map entry is used outside the map"],
    );
}

#[test]
fn extensions() {
    let mut base = message("Base", vec![scalar("a", 1, 9)]);
    base.extension_range = vec![
        ExtensionRange {
            start: Some(100),
            end: Some(110),
        },
        ExtensionRange {
            start: Some(1),
            end: Some(2),
        },
    ];
    let mut f = with_messages(vec![base]);
    f.enum_type = vec![EnumDescriptor {
        name: Some("E".into()),
        value: values(&[("Z", 0)]),
        options: None,
    }];
    let ext = |name: &str, number, of: &str| FieldDescriptor {
        extendee: Some(of.to_owned()),
        ..scalar(name, number, 9)
    };
    f.extension = vec![
        ext("fine", 100, ".p.Base"),
        ext("again", 100, ".p.Base"),
        ext("outside", 110, ".p.Base"),
        ext("over", 1, ".p.Base"),
        ext("lost", 100, ".p.Nobody"),
        ext("what", 100, ".p.E"),
        ext("none", 100, ""),
        FieldDescriptor {
            oneof_index: Some(0),
            ..ext("one", 101, ".p.Base")
        },
        FieldDescriptor {
            label: Some(3),
            ..ext("many", 102, "Base")
        },
    ];
    refuses(
        f,
        &[
            "p.again: p.fine extends .p.Base with the same number 100",
            "p.outside: the number 110 is in no extension range of .p.Base",
            "p.over: .p.Base has a field with the number 1",
            "p.lost: the type p.Nobody is not declared",
            "p.what: extends .p.E, which is not a message",
            "p.none: the type  is not declared",
            "p.one: an extension can't be in a oneof",
        ],
    );
}

fn rpc(name: &str, input: &str, http: Option<HttpRuleDescriptor>) -> MethodDescriptor {
    MethodDescriptor {
        name: Some(name.to_owned()),
        input_type: Some(input.to_owned()),
        output_type: Some(".p.M".to_owned()),
        options: Some(MethodOptions {
            idempotency_level: Some(7),
            http,
        }),
        ..MethodDescriptor::default()
    }
}

fn get(path: &str) -> HttpRuleDescriptor {
    HttpRuleDescriptor {
        pattern: Some(PatternDescriptor::Get(path.to_owned())),
        ..HttpRuleDescriptor::default()
    }
}

#[test]
fn services_and_http_rules() {
    let mut f = with_fields(vec![scalar("a", 1, 9)]);
    let bare = HttpRuleDescriptor::default();
    let custom = |kind: &str| HttpRuleDescriptor {
        pattern: Some(PatternDescriptor::Custom(CustomPatternDescriptor {
            kind: kind.to_owned(),
            path: "/x".to_owned(),
        })),
        ..bare.clone()
    };
    let nested = HttpRuleDescriptor {
        additional_bindings: vec![
            HttpRuleDescriptor {
                additional_bindings: vec![get("/b")],
                ..get("/a")
            },
            bare.clone(),
        ],
        ..get("/")
    };
    f.service = vec![ServiceDescriptor {
        name: Some("S".into()),
        method: vec![
            rpc("Fine", ".p.M", Some(get("/v1/a"))),
            rpc("Fine", ".p.M", None),
            rpc("Bare", ".p.M", Some(bare.clone())),
            rpc("Empty", ".p.M", Some(get(""))),
            rpc("NoKind", ".p.M", Some(custom(""))),
            rpc("Forged", ".p.M", Some(custom("GET / HTTP/1.1\r\n"))),
            rpc("Nested", ".p.M", Some(nested)),
            rpc("Lost", ".p.Gone", None),
            rpc("NoType", "", None),
            rpc("Own", ".p.S", None),
            rpc("a/b", ".p.M", None),
        ],
    }];
    refuses(
        f,
        &[
            "p.S.Fine: the method is declared twice",
            "p.S.Bare: the google.api.http option has no pattern",
            "p.S.Empty: the google.api.http option has an empty path",
            "p.S.NoKind: the google.api.http option has a custom pattern without a kind",
            "p.S.Forged: the google.api.http option has a custom pattern whose kind is no HTTP method",
            "p.S.Nested: additional_bindings[0] has additional_bindings of its own",
            "p.S.Nested: additional_bindings[1] has no pattern",
            "p.S.Lost: the type p.Gone is not declared",
            "p.S.NoType: the method has no request type",
            "p.S.Own: the request type .p.S is not a message",
            "p.S.a/b: the method's name is not an identifier",
        ],
    );
}

#[test]
fn names_that_could_forge_something() {
    refuses(
        with_messages(vec![
            message("", vec![]),
            message("a.b", vec![]),
            message("x\r\ny", vec![]),
        ]),
        &[
            "the name is not an identifier",
            "p.a.b: the name is not an identifier",
            "p.x\\r\\ny: the name is not an identifier",
        ],
    );
    let error = build(&[FileDescriptor {
        package: Some("a..b".into()),
        ..file("x.proto")
    }])
    .unwrap_err();
    assert!(shown(&error).contains("package \"a..b\": \"\" is not an identifier"));
    let error = build(&[FileDescriptor {
        syntax: Some("proto9".into()),
        ..file("a\nb.proto")
    }])
    .unwrap_err();
    assert!(
        shown(&error).starts_with("file x.binpb: a\\nb.proto: syntax"),
        "{}",
        shown(&error)
    );
}

#[test]
fn packages_and_messages_of_one_name() {
    let inner = FileDescriptor {
        package: Some("p.M".into()),
        message_type: vec![message("N", vec![])],
        ..file("inner.proto")
    };
    let mut outer = message("M", vec![]);
    outer.nested_type = vec![message("N", vec![])];
    let errors = build(&[
        inner,
        FileDescriptor {
            message_type: vec![outer],
            ..file("outer.proto")
        },
    ])
    .unwrap_err();
    assert!(
        shown(&errors).contains("p.M.N: another declaration has the same full name"),
        "{}",
        shown(&errors)
    );
}

#[test]
fn relative_type_names_are_found_from_inside_out() {
    let mut outer = message(
        "Outer",
        vec![
            typed("inner", 1, 11, "Inner"),
            typed("up", 2, 11, "p.Other"),
            typed("untyped", 3, 0, "Other"),
        ],
    );
    outer.nested_type = vec![message("Inner", vec![])];
    let schema = build(&[with_messages(vec![
        outer,
        message("Inner", vec![]),
        message("Other", vec![]),
    ])])
    .unwrap();
    let kind = |name| super::field(&schema, "p.Outer", name).kind;
    let id = |name| super::super::Kind::Message(schema.find_message(name).unwrap());
    assert_eq!(kind("inner"), id("p.Outer.Inner"));
    assert_eq!(kind("up"), id("p.Other"));
    assert_eq!(kind("untyped"), id("p.Other"));
}

#[test]
fn imports() {
    let needs = |name: &str, of: &str| FileDescriptor {
        dependency: vec![of.to_owned()],
        ..file(name)
    };
    let errors = build(&[
        needs("a.proto", "b.proto"),
        needs("b.proto", "c.proto"),
        needs("c.proto", "a.proto"),
    ])
    .unwrap_err();
    assert_eq!(
        shown(&errors),
        "file x.binpb: a.proto: files import each other: a.proto -> b.proto -> c.proto -> a.proto\n"
    );
    let errors = build(&[needs("self.proto", "self.proto")]).unwrap_err();
    assert!(shown(&errors).contains("self.proto -> self.proto"));
    // Only options needed it: harmless.
    build(&[needs("a.proto", "acme/options.proto")]).unwrap();
    let lacks = FileDescriptor {
        dependency: vec!["b.proto".into(), "c.proto".into()],
        ..with_fields(vec![typed("b", 1, 11, ".q.B"), typed("c", 2, 11, ".q.C")])
    };
    let errors = build(&[lacks]).unwrap_err();
    let text = shown(&errors);
    assert_eq!(errors.len(), 1, "{text}");
    assert!(text.contains("p.M.b: imports b.proto, c.proto, which no source has; q.B and 1 more can't be found without"), "{text}");
    assert!(errors[0].help().unwrap().contains("--include_imports"));
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
