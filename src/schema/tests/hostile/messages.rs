//! Messages, fields, oneofs, enums, map entries and extensions.

use super::{build, file, message, refuses, scalar, typed, values, with_fields, with_messages};
use crate::schema::descriptor::{
    EnumDescriptor, EnumOptions, ExtensionRange, FieldDescriptor, MessageDescriptor,
    MessageOptions, OneofDescriptor,
};

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
