//! One value to one record: scalars, enums, and messages by their JSON form.

use super::frame::FrameKind;
use super::{Cx, Encoder, Fault, Outcome, Result, Str};
use crate::codec::decimal::{self, Short};
use crate::codec::scalar::{self, NumberError};
use crate::codec::tables::{FieldTable, Form};
use crate::codec::{lexer, well_known, wire};
use crate::schema::{EnumId, Kind, MessageId};

/// How a value is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codec) enum Put {
    /// With its tag; the default of a field without presence not at all.
    Field,
    /// With its tag.
    Element,
    /// Bare, in a packed record.
    Packed,
}

/// A number in quotes is no longer than this, escapes included.
const QUOTED_BYTES_MAX: usize = scalar::NUMBER_BYTES_MAX * 6;

impl Encoder {
    /// Writes one value of `field`. What opens slots has them closed down to `base` at its end.
    #[inline]
    pub(super) fn element(
        &mut self,
        cx: &Cx<'_>,
        field: &FieldTable,
        put: Put,
        base: usize,
    ) -> Result<Outcome> {
        match self.peek(cx) {
            Some(b) => self.element_at(cx, b, field, put, base),
            None => self.starved(cx, Outcome::Starved),
        }
    }

    /// The same for a value whose first byte `b` is at `self.pos`.
    #[inline]
    pub(super) fn element_at(
        &mut self,
        cx: &Cx<'_>,
        b: u8,
        field: &FieldTable,
        put: Put,
        base: usize,
    ) -> Result<Outcome> {
        self.reserve(64);
        match field.kind {
            Kind::Message(id) => return self.message_value(cx, Some(field), id, base),
            Kind::Bool => self.bool_value(cx, b, field, put)?,
            Kind::Enum(id) => return self.enum_value(cx, b, field, id, put),
            Kind::String | Kind::Bytes => return self.text_value(cx, b, field, put, base),
            _ => match b {
                b'-' | b'0'..=b'9' => {
                    if let Some((number, end)) = decimal::short_number(cx.json, self.pos)
                        && put_short_number(&mut self.wire, number, field, put)
                    {
                        self.pos = end;
                        return Ok(Outcome::Written);
                    }
                    let number = self.number(cx)?;
                    self.put_number(cx, number, field, put)?;
                    self.pos += number.len();
                }
                b'"' => {
                    let Some(s) = self.string(cx)? else {
                        return Ok(Outcome::Starved);
                    };
                    self.quoted_number(cx, s, field, put)?;
                    self.pos = s.end + 1;
                }
                _ => return Err(self.unexpected(cx, number_name(field.kind))),
            },
        }
        Ok(Outcome::Written)
    }

    #[inline]
    fn text_value(
        &mut self,
        cx: &Cx<'_>,
        b: u8,
        field: &FieldTable,
        put: Put,
        base: usize,
    ) -> Result<Outcome> {
        let is_text = field.kind == Kind::String;
        if b != b'"' {
            return Err(self.unexpected(cx, if is_text { "a string" } else { "base64" }));
        }
        let Some(s) = self.string(cx)? else {
            return Ok(Outcome::Starved);
        };
        if s.len() == 0 && put == Put::Field && field.implicit {
            self.pos = s.end + 1;
            return Ok(Outcome::Written);
        }
        field.tag.put(&mut self.wire);
        let outcome = if is_text {
            self.put_text(cx, s, base)?
        } else {
            self.put_base64(cx, s, base)?
        };
        self.pos = s.end + 1;
        Ok(outcome)
    }

    /// The number at `self.pos`, which does not move.
    #[inline]
    pub(super) fn number<'a>(&mut self, cx: &Cx<'a>) -> Result<&'a [u8]> {
        let end = self.pos.saturating_add(scalar::NUMBER_BYTES_MAX + 1);
        let window = cx.json.get(..end.min(cx.json.len())).unwrap_or(cx.json);
        match lexer::number_end(window, self.pos) {
            Some(at) if at < end => Ok(cx.json.get(self.pos..at).unwrap_or(&[])),
            Some(_) => Err(self.value_error("the number is too long")),
            None => Err(self.syntax("not a number")),
        }
    }

    /// A number in a string: int64 as ProtoJSON prints it, `"NaN"`, and any number at all.
    pub(super) fn quoted_number(
        &mut self,
        cx: &Cx<'_>,
        s: Str,
        field: &FieldTable,
        put: Put,
    ) -> Result<()> {
        if s.len() > QUOTED_BYTES_MAX {
            return Err(self.not_number(s.raw(cx.json), field, NumberError::Malformed));
        }
        if let Some((number, end)) = decimal::short_number(cx.json, s.start)
            && end == s.end
            && put_short_number(&mut self.wire, number, field, put)
        {
            return Ok(());
        }
        let mut scratch = Vec::new();
        let text = self.text(cx.json, s, &mut scratch)?;
        if put_not_finite(&mut self.wire, text, field, put) {
            return Ok(());
        }
        if lexer::number_end(text, 0) != Some(text.len()) {
            return Err(self.not_number(text, field, NumberError::Malformed));
        }
        self.put_number(cx, text, field, put)
    }

    #[cold]
    fn not_number(&self, text: &[u8], field: &FieldTable, why: NumberError) -> Fault {
        let (name, shown) = (number_name(field.kind), scalar::shown(text));
        self.value_error(match why {
            NumberError::Malformed => format!("expected {name}, found {shown}"),
            NumberError::OutOfRange => {
                let text = String::from_utf8_lossy(text.get(..text.len().min(40)).unwrap_or(&[]));
                format!("{text} is out of range for {name}")
            }
        })
    }

    /// Writes a number given as text of JSON's grammar.
    #[inline]
    fn put_number(&mut self, _: &Cx<'_>, text: &[u8], field: &FieldTable, put: Put) -> Result<()> {
        match put_number(&mut self.wire, text, field, put) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.not_number(text, field, why)),
        }
    }

    #[inline]
    fn bool_value(&mut self, cx: &Cx<'_>, b: u8, field: &FieldTable, put: Put) -> Result<()> {
        let value = match b {
            b't' => self.literal(cx, b"true").map(|()| 1)?,
            b'f' => self.literal(cx, b"false").map(|()| 0)?,
            _ => return Err(self.unexpected(cx, "true or false")),
        };
        put_varint(&mut self.wire, value, field, put);
        Ok(())
    }

    fn enum_value(
        &mut self,
        cx: &Cx<'_>,
        b: u8,
        field: &FieldTable,
        id: EnumId,
        put: Put,
    ) -> Result<Outcome> {
        let table = cx.tables.enumeration(id).ok_or_else(|| self.lost())?;
        let number = match b {
            b'n' if table.null => self.literal(cx, b"null").map(|()| 0)?,
            b'"' => {
                let Some(s) = self.string(cx)? else {
                    return Ok(Outcome::Starved);
                };
                let mut scratch = Vec::new();
                let name = self.text(cx.json, s, &mut scratch)?;
                let Some(number) = table.number(name) else {
                    if cx.codec.options.ignore_unknown_fields {
                        self.pos = s.end + 1;
                        return Ok(Outcome::Dropped);
                    }
                    let (full, shown) = (&table.full_name, scalar::shown(name));
                    return Err(self.value_error(format!("{shown} is not a value of {full}")));
                };
                self.pos = s.end + 1;
                number
            }
            b'-' | b'0'..=b'9' => {
                let text = self.number(cx)?;
                let number = scalar::integer(text)
                    .and_then(|n| i32::try_from(n).map_err(|_| NumberError::OutOfRange));
                match number {
                    Ok(number) => {
                        self.pos += text.len();
                        number
                    }
                    Err(why) => return Err(self.not_number(text, field, why)),
                }
            }
            _ => return Err(self.unexpected(cx, "the name or number of an enum value")),
        };
        put_varint(&mut self.wire, i64::from(number) as u64, field, put);
        Ok(Outcome::Written)
    }

    /// The document's own message: content without a record around it.
    pub(super) fn bare_message(&mut self, cx: &Cx<'_>, id: MessageId) -> Result<Outcome> {
        match self.peek(cx) {
            None => self.starved(cx, Outcome::Starved),
            Some(_) => {
                let base = self.slots.len();
                let outcome = self.message_value(cx, None, id, base)?;
                Ok(self.after_value(outcome))
            }
        }
    }

    /// A message by its form, as a record of `field` or bare.
    pub(super) fn message_value(
        &mut self,
        cx: &Cx<'_>,
        field: Option<&FieldTable>,
        id: MessageId,
        base: usize,
    ) -> Result<Outcome> {
        let table = cx.tables.message(id).ok_or_else(|| self.lost())?;
        let b = cx.json.get(self.pos).copied().unwrap_or(0);
        // A value that may starve does so before its record is begun.
        if b == b'"' && self.string(cx)?.is_none() {
            return Ok(Outcome::Starved);
        }
        let (open, kind) = match table.form {
            Form::Object => (b'{', FrameKind::Message { id, any: false }),
            Form::Struct => (b'{', FrameKind::Struct),
            Form::ListValue => (b'[', FrameKind::List),
            Form::Any => (b'{', FrameKind::AnyStart(self.pos + 1)),
            Form::Value => return self.json_value(cx, field, base),
            Form::Wrapper => {
                let inner = table.fields.first().ok_or_else(|| self.lost())?;
                self.open_optional(field);
                let outcome = self.element(cx, inner, Put::Field, base)?;
                if outcome == Outcome::Written {
                    self.close_slots(base);
                }
                return Ok(outcome);
            }
            form => return self.string_form(cx, field, form, b, base),
        };
        if b != open {
            let expected = if open == b'{' {
                "an object"
            } else {
                "an array"
            };
            return Err(self.unexpected(cx, expected));
        }
        self.open_optional(field);
        self.push(kind, base)?;
        if let FrameKind::Message { id, .. } = kind {
            self.open_bits(cx, id);
        }
        Ok(Outcome::Opened)
    }

    #[inline]
    pub(super) fn open_optional(&mut self, field: Option<&FieldTable>) {
        if let Some(field) = field {
            self.open_record(field);
        }
    }

    /// Timestamp, Duration and FieldMask.
    fn string_form(
        &mut self,
        cx: &Cx<'_>,
        field: Option<&FieldTable>,
        form: Form,
        b: u8,
        base: usize,
    ) -> Result<Outcome> {
        let expected = match form {
            Form::Timestamp => "an RFC 3339 timestamp",
            Form::Duration => "a duration in seconds like \"1.5s\"",
            _ => "a comma-separated list of lowerCamelCase field paths",
        };
        if b != b'"' {
            return Err(self.unexpected(cx, expected));
        }
        let Some(s) = self.string(cx)? else {
            return Ok(Outcome::Starved);
        };
        self.open_optional(field);
        let mut scratch = Vec::new();
        let text = self.text(cx.json, s, &mut scratch)?;
        let fits = put_string_form(form, text, &mut self.wire);
        if !fits {
            return Err(self.unexpected(cx, expected));
        }
        self.pos = s.end + 1;
        self.close_slots(base);
        Ok(Outcome::Written)
    }

    /// Takes `true`, `false` or `null`.
    #[inline]
    pub(super) fn literal(&mut self, cx: &Cx<'_>, word: &[u8]) -> Result<()> {
        let end = self.pos + word.len();
        if cx.json.get(self.pos..end) != Some(word) {
            return Err(self.syntax("expected a value"));
        }
        self.pos = end;
        Ok(())
    }

    /// The value at `self.pos` is of the wrong kind, or no value at all.
    #[cold]
    pub(super) fn unexpected(&mut self, cx: &Cx<'_>, expected: &str) -> Fault {
        let rest = cx.json.get(self.pos..).unwrap_or(&[]);
        let found = match rest {
            [b'{', ..] => "an object".into(),
            [b'[', ..] => "an array".into(),
            [b'"', text @ ..] => {
                let mut escaped = false;
                let limit = text.len().min(200);
                let (_, end) = lexer::scan_string(text, 0, limit, &mut escaped);
                scalar::shown(text.get(..end.min(text.len())).unwrap_or(&[]))
            }
            _ if rest.starts_with(b"true") => "true".into(),
            _ if rest.starts_with(b"false") => "false".into(),
            _ if rest.starts_with(b"null") => "null".into(),
            _ => match lexer::number_end(rest.get(..40.min(rest.len())).unwrap_or(&[]), 0) {
                Some(end) => String::from_utf8_lossy(rest.get(..end).unwrap_or(&[])).into_owned(),
                None => return self.syntax("expected a value"),
            },
        };
        self.value_error(format!("expected {expected}, found {found}"))
    }
}

/// The content of a Timestamp, Duration or FieldMask from its text.
pub(in crate::codec) fn put_string_form(form: Form, text: &[u8], out: &mut Vec<u8>) -> bool {
    let at = match form {
        Form::Timestamp => well_known::parse_timestamp(text),
        Form::Duration => well_known::parse_duration(text),
        _ => return well_known::put_mask_wire(text, out),
    };
    at.map(|at| at.put_wire(out)).is_some()
}

/// Writes NaN or an infinity; `false` if the text is none of them or the field can't hold it.
pub(in crate::codec) fn put_not_finite(
    out: &mut Vec<u8>,
    text: &[u8],
    field: &FieldTable,
    put: Put,
) -> bool {
    let Some(special) = scalar::not_finite(text) else {
        return false;
    };
    match field.kind {
        Kind::Double => put_fixed64(out, special.to_bits(), field, put),
        Kind::Float => put_fixed32(out, (special as f32).to_bits(), field, put),
        _ => return false,
    }
    true
}

#[inline]
pub(in crate::codec) fn put_number(
    out: &mut Vec<u8>,
    text: &[u8],
    field: &FieldTable,
    put: Put,
) -> std::result::Result<(), NumberError> {
    match field.kind {
        Kind::Double => put_fixed64(out, scalar::double(text)?.to_bits(), field, put),
        Kind::Float => put_fixed32(out, scalar::float(text)?.to_bits(), field, put),
        Kind::Int32 => put_varint(out, i64::from(within::<i32>(text)?) as u64, field, put),
        Kind::Int64 => put_varint(out, within::<i64>(text)? as u64, field, put),
        Kind::Uint32 => put_varint(out, within::<u32>(text)?.into(), field, put),
        Kind::Uint64 => put_varint(out, within::<u64>(text)?, field, put),
        Kind::Sint32 => put_varint(out, wire::zigzag32(within::<i32>(text)?).into(), field, put),
        Kind::Sint64 => put_varint(out, wire::zigzag64(within::<i64>(text)?), field, put),
        Kind::Fixed32 => put_fixed32(out, within::<u32>(text)?, field, put),
        Kind::Sfixed32 => put_fixed32(out, within::<i32>(text)? as u32, field, put),
        Kind::Fixed64 => put_fixed64(out, within::<u64>(text)?, field, put),
        Kind::Sfixed64 => put_fixed64(out, within::<i64>(text)? as u64, field, put),
        _ => return Err(NumberError::Malformed),
    }
    Ok(())
}

/// Writes a short number; `false` if it is not of the field's range, or not easily told.
#[inline]
pub(super) fn put_short_number(
    out: &mut Vec<u8>,
    number: Short,
    field: &FieldTable,
    put: Put,
) -> bool {
    let n = match (number, field.kind) {
        (number, Kind::Double) => {
            let Some(value) = number.double() else {
                return false;
            };
            put_fixed64(out, value.to_bits(), field, put);
            return true;
        }
        (number, Kind::Float) => {
            let Some(value) = number.float() else {
                return false;
            };
            put_fixed32(out, value.to_bits(), field, put);
            return true;
        }
        (Short::Integer(n), _) => n,
        _ => return false,
    };
    match field.kind {
        Kind::Int32 => match i32::try_from(n) {
            Ok(_) => put_varint(out, n as u64, field, put),
            Err(_) => return false,
        },
        Kind::Int64 => put_varint(out, n as u64, field, put),
        Kind::Uint32 => match u32::try_from(n) {
            Ok(n) => put_varint(out, n.into(), field, put),
            Err(_) => return false,
        },
        Kind::Uint64 => match u64::try_from(n) {
            Ok(n) => put_varint(out, n, field, put),
            Err(_) => return false,
        },
        _ => return false,
    }
    true
}

#[inline]
fn within<T: TryFrom<i128>>(text: &[u8]) -> std::result::Result<T, NumberError> {
    T::try_from(scalar::integer(text)?).map_err(|_| NumberError::OutOfRange)
}

#[inline]
pub(in crate::codec) fn put_varint(out: &mut Vec<u8>, value: u64, field: &FieldTable, put: Put) {
    if put == Put::Field && field.implicit && value == 0 {
        return;
    }
    if put != Put::Packed {
        field.tag.put(out);
    }
    wire::put_varint(out, value);
}

#[inline]
pub(in crate::codec) fn put_fixed64(out: &mut Vec<u8>, bits: u64, field: &FieldTable, put: Put) {
    if put == Put::Field && field.implicit && bits == 0 {
        return;
    }
    if put != Put::Packed {
        field.tag.put(out);
    }
    out.extend_from_slice(&bits.to_le_bytes());
}

#[inline]
pub(in crate::codec) fn put_fixed32(out: &mut Vec<u8>, bits: u32, field: &FieldTable, put: Put) {
    if put == Put::Field && field.implicit && bits == 0 {
        return;
    }
    if put != Put::Packed {
        field.tag.put(out);
    }
    out.extend_from_slice(&bits.to_le_bytes());
}

/// What a number of this kind is called in errors.
pub(in crate::codec) fn number_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Double => "a double",
        Kind::Float => "a float",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an int32",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an int64",
        Kind::Uint32 | Kind::Fixed32 => "a uint32",
        Kind::Uint64 | Kind::Fixed64 => "a uint64",
        Kind::Enum(_) => "the name or number of an enum value",
        _ => "a number",
    }
}
