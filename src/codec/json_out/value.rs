//! One value: scalars, strings, and messages by their JSON form.

use super::print::{Frame, FrameKind, PIECE_BYTES, Print, Range, Text};
use super::{Cx, forms};
use crate::codec::record::{self, Content};
use crate::codec::tables::{FieldTable, Form, MessageTable, Shape};
use crate::codec::well_known::{self, Instant};
use crate::codec::{scalar, wire};
use crate::schema::{Kind, MessageId};

impl Print {
    /// One value without what stands before it; `false` when a frame or a long text was pushed.
    #[inline]
    pub(super) fn value(
        &mut self,
        cx: &Cx<'_>,
        field: &FieldTable,
        content: Content,
        out: &mut Vec<u8>,
    ) -> bool {
        match (content, field.kind) {
            (Content::Bytes { start, end }, Kind::String) => self.string((start, end), cx, out),
            (Content::Bytes { start, end }, Kind::Bytes) => self.base64((start, end), cx, out),
            (Content::Bytes { start, end }, Kind::Message(id)) => {
                self.message(cx, id, (start, end), out)
            }
            (Content::Group { start }, Kind::Message(id)) => {
                self.group(cx, id, field.number, start, out)
            }
            (Content::Varint(n), Kind::Enum(id)) => {
                let number = n as i32;
                match cx.tables.enumeration(id).and_then(|e| e.literal(number)) {
                    Some(literal) => out.extend_from_slice(literal),
                    None => put_integer(out, number),
                }
                true
            }
            _ => {
                put_scalar(out, field, content);
                true
            }
        }
    }

    #[inline]
    pub(super) fn string(&mut self, range: Range, cx: &Cx<'_>, out: &mut Vec<u8>) -> bool {
        out.push(b'"');
        if range.1 - range.0 > PIECE_BYTES {
            self.text = Some(Text {
                pos: range.0,
                end: range.1,
                base64: false,
            });
            return false;
        }
        scalar::put_escaped(out, cx.wire.get(range.0..range.1).unwrap_or(&[]));
        out.push(b'"');
        true
    }

    pub(super) fn base64(&mut self, range: Range, cx: &Cx<'_>, out: &mut Vec<u8>) -> bool {
        out.push(b'"');
        if range.1 - range.0 > PIECE_BYTES {
            self.text = Some(Text {
                pos: range.0,
                end: range.1,
                base64: true,
            });
            return false;
        }
        scalar::put_base64(out, cx.wire.get(range.0..range.1).unwrap_or(&[]));
        out.push(b'"');
        true
    }

    /// A message that is a group: an object finds its own end, any other form needs it first.
    pub(super) fn group(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        number: u32,
        start: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let is_object = cx
            .tables
            .message(id)
            .is_some_and(|t| t.form == Form::Object);
        let end = self.stack.last().map_or(start, |f| f.end);
        if is_object {
            self.open(b'{', out);
            let mut frame = Frame::new(FrameKind::Message(id), (start, end));
            frame.node = self.node;
            frame.group = true;
            self.stack.push(frame);
            return false;
        }
        let Some((content_end, after)) = record::group_end(cx.wire, start, end, number) else {
            return true;
        };
        if let Some(frame) = self.stack.last_mut() {
            frame.pos = after;
        }
        self.message(cx, id, (start, content_end), out)
    }

    /// A message by its form; `false` when a frame was pushed that goes on with it.
    pub(super) fn message(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        range: Range,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(table) = cx.tables.message(id) else {
            return true;
        };
        let content = cx.wire.get(range.0..range.1).unwrap_or(&[]);
        match table.form {
            Form::Object => {
                self.open(b'{', out);
                let mut frame = Frame::new(FrameKind::Message(id), range);
                frame.node = self.node;
                self.stack.push(frame);
                return false;
            }
            Form::Struct => {
                self.open(b'{', out);
                self.stack.push(Frame::new(FrameKind::Struct(id), range));
                return false;
            }
            Form::ListValue => {
                self.open(b'[', out);
                self.stack.push(Frame::new(FrameKind::List(id), range));
                return false;
            }
            Form::Any => return self.any(cx, range, out),
            Form::Value => return self.json_value(cx, table, range, out),
            Form::Wrapper => {
                let Some(field) = table.fields.first() else {
                    return true;
                };
                let mut pos = range.0;
                while pos < range.1 {
                    match record::next(table, cx.wire, &mut pos, range.1) {
                        Some(r) if r.field == Some(0) => {
                            return self.value(cx, field, r.content, out);
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                out.extend_from_slice(&field.zero);
            }
            Form::Timestamp => {
                out.push(b'"');
                well_known::put_timestamp(out, Instant::read_wire(content).unwrap_or_default());
                out.push(b'"');
            }
            Form::Duration => {
                out.push(b'"');
                well_known::put_duration(out, Instant::read_wire(content).unwrap_or_default());
                out.push(b'"');
            }
            Form::FieldMask => {
                out.push(b'"');
                forms::put_mask(out, content);
                out.push(b'"');
            }
        }
        true
    }

    /// A `google.protobuf.Value`: whatever its one member is.
    pub(super) fn json_value(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        range: Range,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut pos = range.0;
        while pos < range.1 {
            let Some(record) = record::next(table, cx.wire, &mut pos, range.1) else {
                break;
            };
            let field = record.field.and_then(|i| table.fields.get(i as usize));
            if let Some(field) = field {
                return self.value(cx, field, record.content, out);
            }
        }
        out.extend_from_slice(b"null");
        true
    }

    pub(super) fn any(&mut self, cx: &Cx<'_>, range: Range, out: &mut Vec<u8>) -> bool {
        let content = cx.wire.get(range.0..range.1).unwrap_or(&[]);
        let any = forms::Any::read(content);
        self.open(b'{', out);
        let Some((id, table)) =
            forms::type_of(cx, any.url).and_then(|id| Some((id, cx.tables.message(id)?)))
        else {
            self.close(b'}', true, out);
            return true;
        };
        self.separate(true, out);
        out.extend_from_slice(if self.pretty {
            b"\"@type\": "
        } else {
            b"\"@type\":"
        });
        scalar::put_json_string(out, any.url);
        let start = range.0 + any.at;
        let value = (start, start + any.value.len());
        if table.form == Form::Object {
            let mut frame = Frame::new(FrameKind::Message(id), value);
            frame.first = false;
            self.stack.push(frame);
        } else {
            self.separate(false, out);
            out.extend_from_slice(if self.pretty {
                b"\"value\": "
            } else {
                b"\"value\":"
            });
            self.stack.push(Frame::new(FrameKind::AnyTail, value));
            self.message(cx, id, value, out);
        }
        false
    }

    /// The next member of a Struct.
    pub(super) fn struct_step(&mut self, cx: &Cx<'_>, id: MessageId, out: &mut Vec<u8>) {
        let entry = cx.tables.message(id).and_then(|t| t.fields.first());
        let entry = entry.and_then(|f| match f.shape {
            Shape::Map(entry) => Some(entry),
            _ => None,
        });
        match (self.next_of(cx, id), entry) {
            (Some(range), Some(entry)) => {
                self.entry(cx, entry, range, out);
            }
            _ => self.end_container(b'}', out),
        }
    }

    /// The next element of a ListValue.
    pub(super) fn list_step(&mut self, cx: &Cx<'_>, id: MessageId, out: &mut Vec<u8>) {
        let value = cx.tables.message(id).and_then(|t| t.fields.first());
        let value = value.and_then(|f| match f.kind {
            Kind::Message(id) => Some(id),
            _ => None,
        });
        match (self.next_of(cx, id), value) {
            (Some(range), Some(value)) => {
                let first = self.take_first();
                self.separate(first, out);
                self.message(cx, value, range, out);
            }
            _ => self.end_container(b']', out),
        }
    }

    /// The range of the next record of the first field of the message on top.
    pub(super) fn next_of(&mut self, cx: &Cx<'_>, id: MessageId) -> Option<Range> {
        let table = cx.tables.message(id)?;
        let frame = self.stack.last_mut()?;
        while frame.pos < frame.end {
            let record = record::next(table, cx.wire, &mut frame.pos, frame.end)?;
            if let (Some(0), Content::Bytes { start, end }) = (record.field, record.content) {
                return Some((start, end));
            }
        }
        None
    }
}

#[inline]
pub(super) fn put_scalar(out: &mut Vec<u8>, field: &FieldTable, content: Content) {
    if field.quoted {
        out.push(b'"');
        put_bare(out, field, content);
        out.push(b'"');
    } else {
        put_bare(out, field, content);
    }
}

/// A bool or number, without quotes.
#[inline]
pub(super) fn put_bare(out: &mut Vec<u8>, field: &FieldTable, content: Content) {
    match (content, field.kind) {
        (Content::Varint(n), Kind::Bool) => {
            out.extend_from_slice(if n == 0 { b"false" } else { b"true" });
        }
        (Content::Varint(n), Kind::Int32) => put_integer(out, n as i32),
        (Content::Varint(n), Kind::Int64) => put_integer(out, n as i64),
        (Content::Varint(n), Kind::Uint32) => put_integer(out, n as u32),
        (Content::Varint(n), Kind::Uint64) => put_integer(out, n),
        (Content::Varint(n), Kind::Sint32) => put_integer(out, wire::unzigzag32(n as u32)),
        (Content::Varint(n), Kind::Sint64) => put_integer(out, wire::unzigzag64(n)),
        (Content::Fixed32(n), Kind::Fixed32) => put_integer(out, n),
        (Content::Fixed32(n), Kind::Sfixed32) => put_integer(out, n as i32),
        (Content::Fixed32(n), Kind::Float) => scalar::put_float(out, f32::from_bits(n)),
        (Content::Fixed64(n), Kind::Fixed64) => put_integer(out, n),
        (Content::Fixed64(n), Kind::Sfixed64) => put_integer(out, n as i64),
        (Content::Fixed64(n), Kind::Double) => scalar::put_double(out, f64::from_bits(n)),
        // No other pairs come out of `record::next`.
        _ => out.extend_from_slice(b"null"),
    }
}

#[inline]
pub(super) fn put_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
