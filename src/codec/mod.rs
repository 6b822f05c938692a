//! JSON text to protobuf wire bytes and back, driven by tables compiled from a [`Schema`] and one set
//! of [`JsonOptions`]. No tree of values either way; work is done in slices with resumable state.

mod decimal;
mod enums;
mod json_in;
mod json_out;
mod lexer;
mod normalise;
mod offsets;
mod record;
mod scalar;
mod select;
mod tables;
mod text;
mod well_known;
mod wire;

use std::sync::Arc;

pub use self::enums::printed_names;
pub use self::json_in::Encoder;
pub use self::json_out::Printer;
pub use self::select::{SelectError, Selection};
use self::tables::Tables;

use crate::schema::{FieldRef, MessageId, Schema};

/// How JSON is printed and read. One [`Codec`] is compiled for each distinct value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JsonOptions {
    /// Print fields without presence even when they hold their default.
    pub emit_defaults: bool,
    /// Print message fields that are absent as `null`; members of a oneof are left out all the same.
    pub emit_nulls: bool,
    pub enums_as_numbers: bool,
    /// Print `game_id` rather than `gameId`. Both are always read.
    pub proto_names: bool,
    pub int64_as_numbers: bool,
    pub pretty: bool,
    /// Read `puzzle` as `PUZZLE`.
    pub case_insensitive_enums: bool,
    /// `GENRE_PUZZLE` of enum `Genre` is printed as `PUZZLE`, and both are read.
    pub strip_enum_prefix: bool,
    /// Skip unknown JSON fields (and unknown enum names) rather than refuse them.
    pub ignore_unknown_fields: bool,
}

/// Bounds of one document.
#[derive(Clone, Copy, Debug)]
pub struct CodecLimits {
    /// Nesting of JSON and messages.
    pub depth_max: usize,
    /// Size of the encoded message (JSON → wire).
    pub encoded_bytes_max: usize,
}

/// What a JSON document stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The whole message.
    Message(MessageId),
    /// The value of one field: a repeated field is an array, a map an object. Its wire form is the
    /// field's records, tags included, so it is part of the containing message.
    Field(FieldRef),
}

/// Why JSON can't be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}", path, if path.is_empty() { "" } else { ": " })]
pub struct EncodeError {
    /// `games[3].released`, names as the client wrote them; empty at the top.
    pub path: String,
    /// `expected an RFC 3339 timestamp`
    pub what: String,
    /// Byte offset in the document.
    pub offset: usize,
    pub kind: EncodeErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeErrorKind {
    /// Not JSON, or cut off.
    Syntax,
    /// JSON, but not of this message.
    Value,
    /// Nested deeper than the limit.
    TooDeep,
    /// The encoded message would be too large.
    TooLarge,
}

/// Why wire bytes can't be printed: they are malformed, or not of this message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}", path, if path.is_empty() { "" } else { ": " })]
pub struct DecodeError {
    pub path: String,
    pub what: String,
}

/// Whether a resumable job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// Call again; a slice of work has been done.
    More,
}

/// Tables for one schema and one set of options.
#[derive(Debug)]
pub struct Codec {
    schema: Arc<Schema>,
    options: JsonOptions,
    tables: Tables,
}

impl Codec {
    /// Compiles the tables: a few microseconds a message.
    #[must_use]
    pub fn build(schema: Arc<Schema>, options: JsonOptions) -> Self {
        let tables = Tables::build(&schema, &options);
        Self {
            schema,
            options,
            tables,
        }
    }

    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    #[must_use]
    pub fn options(&self) -> &JsonOptions {
        &self.options
    }

    /// Encodes a whole JSON document at once, appending to `wire`.
    ///
    /// # Errors
    /// See [`EncodeError`]; `wire` is then as it was.
    pub fn encode(
        &self,
        target: Target,
        json: &[u8],
        limits: CodecLimits,
        wire: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let job = Encoder::new(self, target, limits, Vec::new())?;
        job.run_to_end(self, json, wire)
    }

    /// Prints a whole wire message at once, appending to `json`.
    ///
    /// # Errors
    /// See [`DecodeError`]; nothing has been written then.
    pub fn print(
        &self,
        target: Target,
        wire: &[u8],
        limits: CodecLimits,
        json: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let mut job = Printer::new(self, target, wire, limits)?;
        while job.step(self, wire, usize::MAX, json)? == Progress::More {}
        Ok(())
    }

    /// The same message in the usual shape, unknown fields kept: what a parser would write again.
    /// Fields ascend, split messages are merged, of what may occur once the last one stays, repeated
    /// scalars are packed or not as declared.
    ///
    /// # Errors
    /// The wire is malformed, or text that must be UTF-8 is not.
    pub fn normalise(
        &self,
        message: MessageId,
        wire: &[u8],
        limits: CodecLimits,
    ) -> Result<Vec<u8>, DecodeError> {
        json_out::normalise(self, message, wire, limits)
    }

    /// Appends one field record for a path or query value: a scalar, an enum, or a message with a
    /// text form (Timestamp, Duration, FieldMask, wrappers; Struct, Value, ListValue and Any as JSON
    /// text). For a repeated field, one element.
    ///
    /// # Errors
    /// The text is not of the field's kind, or the field has no text form.
    pub fn encode_text(
        &self,
        field: FieldRef,
        text: &str,
        wire: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        text::put_field(self, field, text, wire)
    }

    /// Appends one entry of a map field (`labels[color]=red` in a query): key and value as text.
    ///
    /// # Errors
    /// The field is no map, or a text is not of its kind.
    pub fn encode_map_text(
        &self,
        field: FieldRef,
        key: &str,
        value: &str,
        wire: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        text::put_entry(self, field, key, value, wire)
    }
}

#[cfg(test)]
mod tests;
