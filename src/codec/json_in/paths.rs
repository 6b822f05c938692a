//! The paths of the fields that a document gives: the update mask of a PATCH that came without one.
//!
//! Noted while the document is read. Only messages from the document's own down through singular
//! fields are gone into: a list, a map and whatever has a JSON form of its own is one path. `null`
//! and `{}` name the field itself; what is skipped names nothing.

use super::{Cx, Encoder, Outcome, Result};
use crate::codec::tables::{FieldTable, Form, Shape};
use crate::codec::wire;
use crate::schema::{FieldRef, Kind};

#[derive(Debug)]
pub(super) struct Paths {
    /// `repeated string paths = 1` of a FieldMask.
    wire: Vec<u8>,
    /// `delivery.browser.`: of the message whose members are noted.
    prefix: Vec<u8>,
    /// How long the prefix was above that message, and above those that it is in.
    above: Vec<usize>,
    /// Size of the stack while that message is on top.
    depth: usize,
}

impl Encoder {
    /// Notes the path of each field that the document gives, in proto names: the content of a
    /// `google.protobuf.FieldMask` relative to the document's own message. For a job that has not
    /// begun.
    #[must_use]
    pub fn noting_paths(mut self) -> Self {
        self.paths = Some(Box::new(Paths {
            wire: Vec::new(),
            prefix: Vec::new(),
            above: Vec::new(),
            depth: 1,
        }));
        self
    }

    /// The wire bytes and the content of the mask, after [`Progress::Done`](crate::codec::Progress).
    #[must_use]
    pub fn finish_with_paths(self) -> (Vec<u8>, Vec<u8>) {
        let paths = self.paths.map(|p| p.wire).unwrap_or_default();
        (self.wire, paths)
    }

    /// Whether the members of the message on top are noted.
    #[inline]
    pub(super) fn notes_paths(&self) -> bool {
        let here = self.stack.len();
        self.paths.as_ref().is_some_and(|p| p.depth == here)
    }

    /// Notes a member of the message that is, or just was, on top.
    #[cold]
    pub(super) fn note(
        &mut self,
        cx: &Cx<'_>,
        at: FieldRef,
        field: &FieldTable,
        outcome: Outcome,
    ) -> Result<()> {
        if matches!(outcome, Outcome::Starved | Outcome::Dropped) {
            return Ok(());
        }
        let Some(paths) = &mut self.paths else {
            return Ok(());
        };
        let name = match cx.codec.schema.field(at) {
            Some(own) if !own.extension => own.name.as_bytes(),
            _ => &field.json_name,
        };
        if outcome == Outcome::Opened && is_object(cx, field) {
            paths.above.push(paths.prefix.len());
            paths.prefix.extend_from_slice(name);
            paths.prefix.push(b'.');
            paths.depth += 1;
            return Ok(());
        }
        wire::put_tag(&mut paths.wire, 1, wire::LEN);
        wire::put_varint(&mut paths.wire, (paths.prefix.len() + name.len()) as u64);
        paths.wire.extend_from_slice(&paths.prefix);
        paths.wire.extend_from_slice(name);
        self.check_paths(cx)
    }

    /// Notes the message on top itself: it is `{}`.
    #[cold]
    pub(super) fn note_empty(&mut self, cx: &Cx<'_>) -> Result<()> {
        if let Some(paths) = &mut self.paths
            && let Some((_, own)) = paths.prefix.split_last()
        {
            wire::put_bytes(&mut paths.wire, 1, own);
        }
        self.check_paths(cx)
    }

    /// The message on top is about to end.
    #[inline]
    pub(super) fn leave_paths(&mut self) {
        let here = self.stack.len();
        if let Some(paths) = &mut self.paths
            && paths.depth == here
        {
            paths.depth = here.saturating_sub(1);
            let above = paths.above.pop();
            paths.prefix.truncate(above.unwrap_or_default());
        }
    }

    /// Deep messages have long paths: they count as much as what they name.
    fn check_paths(&self, cx: &Cx<'_>) -> Result<()> {
        let size = self.wire.len().saturating_sub(self.base);
        let noted = self.paths.as_ref().map_or(0, |p| p.wire.len());
        match size.saturating_add(noted) > self.limits.encoded_bytes_max {
            true => Err(self.too_large(cx)),
            false => Ok(()),
        }
    }
}

fn is_object(cx: &Cx<'_>, field: &FieldTable) -> bool {
    let Kind::Message(id) = field.kind else {
        return false;
    };
    field.shape == Shape::Singular
        && cx
            .tables
            .message(id)
            .is_some_and(|table| table.form == Form::Object)
}
