//! Sets that protoc would never write: each is refused by name, all faults at once, nothing panics.
//! Here are the builders of such sets.

mod bounds;
mod files;
mod messages;
mod services;

use prost::Message as _;

use super::shown;
use crate::schema::descriptor::{
    EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor, RawSet,
};
use crate::schema::{Schema, SchemaBuilder, SchemaError};

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
