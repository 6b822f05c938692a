//! The printer: an explicit stack machine over wire in the usual shape.
//!
//! It stops between values, inside packed records, among defaults and inside long strings, so one
//! slice never prints much more than it was asked for.

use std::sync::Arc;

use super::Cx;
use crate::codec::select::WHOLE;
use crate::codec::{Selection, Target, scalar};
use crate::schema::{FieldRef, MessageId};

/// Long strings are printed in pieces of this size: a multiple of three for base64, and small enough
/// that six times of it (all control characters) is still one chunk.
pub(super) const PIECE_BYTES: usize = 9 * 1024;
/// Depth beyond which pretty printing indents no further.
const INDENT_MAX: usize = 100;
/// Node of a selection for the document's own message.
const ROOT: u32 = 0;

#[derive(Debug)]
pub(super) struct Print {
    pub(super) stack: Vec<Frame>,
    /// The document's own message, until the first step.
    root: Option<MessageId>,
    pub(super) text: Option<Text>,
    pub(super) pretty: bool,
    indent: usize,
    pub(super) selection: Option<Arc<Selection>>,
    /// Node of the selection for the message that is printed next.
    pub(super) node: u32,
}

/// A long string being printed; its quote is closed after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub pos: usize,
    pub end: usize,
    pub base64: bool,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub kind: FrameKind,
    pub pos: usize,
    pub end: usize,
    /// The next field whose default may have to be printed.
    pub next: u32,
    /// One past the index of the array or map that is open.
    pub open: u32,
    /// Nothing has been printed since the last opening bracket.
    pub first: bool,
    /// End of the packed record that `pos` is in; 0: in none.
    pub packed: usize,
    /// Node of the selection that its fields are chosen by.
    pub node: u32,
    /// A group: it ends at its end tag rather than at `end`.
    pub group: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Message(MessageId),
    /// One field of a message is the document.
    Only(FieldRef),
    Struct(MessageId),
    List(MessageId),
    /// After the value of an `Any` that stood under `value`.
    AnyTail,
}

/// A message's content, by range.
pub(super) type Range = (usize, usize);

impl Print {
    pub(super) fn new(cx: &Cx<'_>, target: Target, selection: Option<Arc<Selection>>) -> Self {
        let mut print = Self {
            stack: Vec::new(),
            root: None,
            text: None,
            pretty: cx.codec.options.pretty,
            indent: 0,
            node: if selection.is_some() { ROOT } else { WHOLE },
            selection,
        };
        match target {
            Target::Message(id) => print.root = Some(id),
            Target::Field(at) => {
                let mut frame = Frame::new(FrameKind::Only(at), (0, cx.wire.len()));
                frame.node = print.node;
                print.stack.push(frame);
            }
        }
        print
    }

    /// Prints about `budget` bytes more; `true` when the document is complete.
    pub(super) fn step(&mut self, cx: &Cx<'_>, budget: usize, out: &mut Vec<u8>) -> bool {
        let stop = out.len().saturating_add(budget);
        // Work that prints nothing (unknown fields) must end too.
        let mut fuel = budget.max(1024);
        if let Some(id) = self.root.take() {
            self.message(cx, id, (0, cx.wire.len()), out);
        }
        loop {
            if self.text.is_some() {
                self.text_step(cx, out);
            } else {
                let Some(frame) = self.stack.last() else {
                    return true;
                };
                match frame.kind {
                    FrameKind::Message(id) => self.message_step(cx, id, stop, &mut fuel, out),
                    FrameKind::Only(at) => self.only_step(cx, at, stop, &mut fuel, out),
                    FrameKind::Struct(id) => self.struct_step(cx, id, out),
                    FrameKind::List(id) => self.list_step(cx, id, out),
                    FrameKind::AnyTail => {
                        self.stack.pop();
                        self.close(b'}', false, out);
                    }
                }
            }
            fuel = fuel.saturating_sub(1);
            if out.len() >= stop || fuel == 0 {
                return self.stack.is_empty() && self.text.is_none();
            }
        }
    }

    pub(super) fn open(&mut self, bracket: u8, out: &mut Vec<u8>) {
        out.push(bracket);
        self.indent += 1;
    }

    pub(super) fn close(&mut self, bracket: u8, empty: bool, out: &mut Vec<u8>) {
        self.indent = self.indent.saturating_sub(1);
        if self.pretty && !empty {
            self.newline(out);
        }
        out.push(bracket);
    }

    pub(super) fn newline(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.resize(out.len() + self.indent.min(INDENT_MAX) * 2, b' ');
    }

    /// What stands before a member or an element.
    #[inline]
    pub(super) fn separate(&self, first: bool, out: &mut Vec<u8>) {
        if !first {
            out.push(b',');
        }
        if self.pretty {
            self.newline(out);
        }
    }

    pub(super) fn text_step(&mut self, cx: &Cx<'_>, out: &mut Vec<u8>) {
        let Some(text) = &mut self.text else { return };
        let until = (text.pos + PIECE_BYTES).min(text.end);
        let piece = cx.wire.get(text.pos..until).unwrap_or(&[]);
        if text.base64 {
            scalar::put_base64(out, piece);
        } else {
            scalar::put_escaped(out, piece);
        }
        text.pos = until;
        if text.pos >= text.end {
            out.push(b'"');
            self.text = None;
        }
    }

    #[inline]
    pub(super) fn take_first(&mut self) -> bool {
        match self.stack.last_mut() {
            Some(frame) => std::mem::replace(&mut frame.first, false),
            None => true,
        }
    }

    /// After a group its parent goes on behind the end tag, which only the group has found.
    pub(super) fn leave(&mut self, frame: &Frame) {
        if frame.group
            && let Some(parent) = self.stack.last_mut()
        {
            parent.pos = frame.pos;
        }
    }

    pub(super) fn end_container(&mut self, bracket: u8, out: &mut Vec<u8>) {
        if let Some(frame) = self.stack.pop() {
            self.close(bracket, frame.first, out);
        }
    }
}

impl Frame {
    pub(super) fn new(kind: FrameKind, range: Range) -> Self {
        Self {
            kind,
            pos: range.0,
            end: range.1,
            next: 0,
            open: 0,
            first: true,
            packed: 0,
            node: WHOLE,
            group: false,
        }
    }
}
