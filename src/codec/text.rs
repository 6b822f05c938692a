//! Path and query values: one text to one field record, without JSON around it.

use super::json_in::Encoder;
use super::json_in::value::{self, Put};
use super::lexer;
use super::scalar::{self, NumberError};
use super::tables::{FieldTable, Form, Shape};
use super::{Codec, CodecLimits, EncodeError, EncodeErrorKind};
use super::{well_known, wire};
use crate::schema::{EnumId, FieldRef, Kind, MessageId};

/// JSON text in a query (Struct, Value, ListValue, Any).
const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: i32::MAX as usize,
};

type Result<T> = std::result::Result<T, EncodeError>;

/// See [`Codec::encode_text`]. The record is always written, a default too, so that it overrides
/// what stands before it.
pub(super) fn put_field(codec: &Codec, at: FieldRef, text: &str, out: &mut Vec<u8>) -> Result<()> {
    let field = codec.tables.field(at).ok_or_else(lost)?;
    if let Shape::Map(_) = field.shape {
        return Err(refused("a map is set as `field[key]=value`"));
    }
    let begin = out.len();
    if let Kind::Message(id) = field.kind
        && is_json_form(codec, id)
    {
        let job = Encoder::element_of(codec, at, LIMITS, Vec::new())?;
        return job.run_to_end(codec, text.as_bytes(), out);
    }
    put(codec, field, text.as_bytes(), out).inspect_err(|_| out.truncate(begin))
}

/// See [`Codec::encode_map_text`].
pub(super) fn put_entry(
    codec: &Codec,
    at: FieldRef,
    key: &str,
    value: &str,
    out: &mut Vec<u8>,
) -> Result<()> {
    let field = codec.tables.field(at).ok_or_else(lost)?;
    let Shape::Map(entry) = field.shape else {
        return Err(refused("not a map"));
    };
    let (key_field, value_field) = codec.tables.entry(entry).ok_or_else(lost)?;
    let mut content = Vec::new();
    put(codec, key_field, key.as_bytes(), &mut content)?;
    match value_field.kind {
        Kind::Message(id) if is_json_form(codec, id) => {
            let at = FieldRef {
                message: entry,
                field: crate::schema::FieldIndex(1),
            };
            let job = Encoder::element_of(codec, at, LIMITS, Vec::new())?;
            job.run_to_end(codec, value.as_bytes(), &mut content)?;
        }
        _ => put(codec, value_field, value.as_bytes(), &mut content)?,
    }
    field.tag.put(out);
    wire::put_varint(out, content.len() as u64);
    out.extend_from_slice(&content);
    Ok(())
}

fn is_json_form(codec: &Codec, id: MessageId) -> bool {
    let form = codec.tables.message(id).map(|m| m.form);
    matches!(
        form,
        Some(Form::Struct | Form::Value | Form::ListValue | Form::Any)
    )
}

fn put(codec: &Codec, field: &FieldTable, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    match field.kind {
        Kind::Message(id) => put_message(codec, field, id, text, out)?,
        Kind::Bool => {
            let value = match text {
                b"true" => 1,
                b"false" => 0,
                _ => return Err(expected("true or false", text)),
            };
            value::put_varint(out, value, field, Put::Element);
        }
        Kind::String => {
            field.tag.put(out);
            wire::put_varint(out, text.len() as u64);
            out.extend_from_slice(text);
        }
        Kind::Bytes => {
            let mut bytes = Vec::new();
            if !scalar::base64_decode(text, &mut bytes) {
                return Err(expected("base64", text));
            }
            field.tag.put(out);
            wire::put_varint(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
        Kind::Enum(id) => {
            let number = enum_number(codec, id, text)?;
            value::put_varint(out, i64::from(number) as u64, field, Put::Element);
        }
        _ => put_number(field, text, out)?,
    }
    Ok(())
}

fn put_number(field: &FieldTable, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let name = value::number_name(field.kind);
    if value::put_not_finite(out, text, field, Put::Element) {
        return Ok(());
    }
    let whole =
        text.len() <= scalar::NUMBER_BYTES_MAX && lexer::number_end(text, 0) == Some(text.len());
    if !whole {
        return Err(expected(name, text));
    }
    value::put_number(out, text, field, Put::Element).map_err(|why| match why {
        NumberError::Malformed => expected(name, text),
        NumberError::OutOfRange => refused(format!(
            "{} is out of range for {name}",
            scalar::shown(text)
        )),
    })
}

fn enum_number(codec: &Codec, id: EnumId, text: &[u8]) -> Result<i32> {
    let table = codec.tables.enumeration(id).ok_or_else(lost)?;
    if let Some(number) = table.number(text) {
        return Ok(number);
    }
    // A number as JSON has it: no plus sign.
    let is_number =
        text.len() <= scalar::NUMBER_BYTES_MAX && lexer::number_end(text, 0) == Some(text.len());
    let number = match is_number {
        true => scalar::integer(text).ok(),
        false => None,
    };
    number.and_then(|n| i32::try_from(n).ok()).ok_or_else(|| {
        let (shown, name) = (scalar::shown(text), &table.full_name);
        refused(format!("{shown} is not a value of {name}"))
    })
}

/// Messages with a text form.
fn put_message(
    codec: &Codec,
    field: &FieldTable,
    id: MessageId,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let table = codec.tables.message(id).ok_or_else(lost)?;
    let mut content = Vec::new();
    match table.form {
        Form::Wrapper => {
            let inner = table.fields.first().ok_or_else(lost)?;
            put(codec, inner, text, &mut content)?;
        }
        form @ (Form::Timestamp | Form::Duration | Form::FieldMask) => {
            let fits = match form {
                Form::FieldMask => well_known::put_mask_paths(text, &mut content),
                _ => value::put_string_form(form, text, &mut content),
            };
            if !fits {
                let what = match form {
                    Form::Timestamp => "an RFC 3339 timestamp",
                    Form::Duration => "a duration in seconds like 1.5s",
                    _ => "a comma-separated list of field paths",
                };
                return Err(expected(what, text));
            }
        }
        _ => {
            let name = &table.full_name;
            return Err(refused(format!("{name} has no text form; set its fields")));
        }
    }
    field.tag.put(out);
    if field.delimited {
        out.extend_from_slice(&content);
        wire::put_tag(out, field.number, wire::END_GROUP);
    } else {
        wire::put_varint(out, content.len() as u64);
        out.extend_from_slice(&content);
    }
    Ok(())
}

fn expected(what: &str, text: &[u8]) -> EncodeError {
    refused(format!("expected {what}, found {}", scalar::shown(text)))
}

fn refused(what: impl Into<String>) -> EncodeError {
    EncodeError {
        path: String::new(),
        what: what.into(),
        offset: 0,
        kind: EncodeErrorKind::Value,
    }
}

fn lost() -> EncodeError {
    refused("the field is not of this schema")
}
