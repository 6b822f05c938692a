//! One field of a message as the whole document (`response_body`).

use super::Cx;
use super::print::Print;
use crate::codec::record::{self, Content};
use crate::codec::tables::{FieldTable, MessageTable, Shape};
use crate::schema::FieldRef;

impl Print {
    /// One field of a message as the document: its value, or what stands for it when it is absent.
    pub(super) fn only_step(
        &mut self,
        cx: &Cx<'_>,
        at: FieldRef,
        stop: usize,
        fuel: &mut usize,
        out: &mut Vec<u8>,
    ) {
        let (Some(table), Some(field)) = (cx.tables.message(at.message), cx.tables.field(at))
        else {
            self.stack.pop();
            return;
        };
        while let Some(frame) = self.stack.last_mut() {
            if frame.packed != 0 {
                if !self.packed_step(cx, table, at.field.0 + 1, stop, out) {
                    return;
                }
                continue;
            }
            let record = if frame.pos < frame.end {
                record::next(table, cx.wire, &mut frame.pos, frame.end)
            } else {
                None
            };
            let Some(record) = record else { break };
            *fuel = fuel.saturating_sub(1);
            let own =
                record.field == Some(at.field.0) && self.is_printed(cx, field, record.content);
            if own {
                if !self.open_only(field, out) {
                    return;
                }
                // Elements before it have had nodes of their own.
                self.node = self.stack.last().map_or(self.node, |f| f.node);
                if !self.record(cx, field, record.content, out) {
                    return;
                }
            } else if let Content::Group { start } = record.content {
                // Of another field: its end has to be looked for.
                self.skip_group(cx, table, record.field, start);
            }
            if out.len() >= stop || *fuel == 0 {
                return;
            }
        }
        self.end_only(field, out);
    }

    /// The bracket of the one field that is printed, before its first element.
    pub(super) fn open_only(&mut self, field: &FieldTable, out: &mut Vec<u8>) -> bool {
        let Some(frame) = self.stack.last_mut() else {
            return false;
        };
        if frame.open == 0 {
            frame.open = 1;
            match field.shape {
                Shape::Singular => {}
                Shape::Map(_) => self.open(b'{', out),
                _ => self.open(b'[', out),
            }
        }
        true
    }

    pub(super) fn end_only(&mut self, field: &FieldTable, out: &mut Vec<u8>) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        match field.shape {
            Shape::Map(_) if frame.open == 0 => out.extend_from_slice(b"{}"),
            Shape::Map(_) => self.close(b'}', frame.first, out),
            Shape::Repeated | Shape::Packed if frame.open == 0 => out.extend_from_slice(b"[]"),
            Shape::Repeated | Shape::Packed => self.close(b']', frame.first, out),
            Shape::Singular if frame.open != 0 => {}
            Shape::Singular if field.implicit => out.extend_from_slice(&field.zero),
            Shape::Singular => out.extend_from_slice(b"null"),
        }
    }

    pub(super) fn skip_group(
        &mut self,
        cx: &Cx<'_>,
        table: &MessageTable,
        field: Option<u32>,
        start: usize,
    ) {
        let number = field
            .and_then(|i| table.fields.get(i as usize))
            .map_or(0, |f| f.number);
        if let Some(frame) = self.stack.last_mut() {
            frame.pos = record::group_end(cx.wire, start, frame.end, number)
                .map_or(frame.end, |(_, after)| after);
        }
    }
}
