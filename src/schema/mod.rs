//! Descriptors: from bytes to one linked, immutable [`Schema`].
//!
//! Read by our own `prost::Message` structs of `descriptor.proto` (with editions' features and the
//! `google.api.http` option as ordinary fields), linked by names into indices. No descriptor, however
//! broken, panics: each refusal is a [`SchemaError`] that names the file and the symbol.

mod annotations;
mod builtin;
mod compile;
mod descriptor;
mod diagnostics;
mod editions;
mod error;
mod files;
mod http_rule;
mod link;
mod names;
mod sources;
mod stub_options;
mod suggest;
mod types;
mod well_known;
mod wire;

pub use annotations::{Annotations, FieldNote};
pub use builtin::gateway_services;
pub use compile::{TEXT_BYTES_MAX, TEXT_FILES_MAX, compile, compile_good};
pub use error::{Place, SchemaError};
pub use files::{FileId, Files, SymbolKind};
pub use sources::{SET_BYTES_MAX, SchemaBuilder};
pub(crate) use suggest::nearest;

pub use types::{
    Cardinality, Enum, EnumId, EnumValue, ExtensionRef, Field, FieldIndex, FieldRef, HttpPattern,
    HttpRule, Kind, MapKey, Message, MessageId, Method, MethodRef, Presence, Schema, Service,
    StreamKind, WellKnown,
};

#[cfg(test)]
mod tests;
