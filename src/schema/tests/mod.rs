//! The schema from outside: compile, link, merge, and what is refused.

mod basic;
mod editions;
mod hostile;
mod merge;
mod mutation;
mod texts;

use super::{Field, Message, Schema, SchemaBuilder, SchemaError, compile};

pub(super) fn texts(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

/// Compiles and links texts that must be right.
pub(super) fn schema_of(files: &[(&str, &str)]) -> Schema {
    let set = compile(&texts(files)).unwrap_or_else(|e| panic!("{}", shown(&e)));
    let mut builder = SchemaBuilder::new();
    builder.add_set("protos test", &set).unwrap();
    builder.build().unwrap_or_else(|e| panic!("{}", shown(&e)))
}

pub(super) fn shown(errors: &[SchemaError]) -> String {
    errors.iter().map(|e| format!("{e}\n")).collect()
}

pub(super) fn message<'s>(schema: &'s Schema, name: &str) -> &'s Message {
    schema
        .message(
            schema
                .find_message(name)
                .unwrap_or_else(|| panic!("no {name}")),
        )
        .unwrap()
}

pub(super) fn field<'s>(schema: &'s Schema, of: &str, name: &str) -> &'s Field {
    let message = message(schema, of);
    message
        .fields
        .iter()
        .find(|f| &*f.name == name)
        .unwrap_or_else(|| panic!("no {name} in {of}"))
}
