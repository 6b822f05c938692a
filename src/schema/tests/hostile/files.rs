//! Names, packages and imports: what files say to each other.

use super::{build, file, message, refuses, typed, with_fields, with_messages};
use crate::schema::Kind;
use crate::schema::descriptor::FileDescriptor;
use crate::schema::tests::{field, shown};

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
    let kind = |name| field(&schema, "p.Outer", name).kind;
    let id = |name| Kind::Message(schema.find_message(name).unwrap());
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
