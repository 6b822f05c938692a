//! The machine's frames, and errors that name their path from them.

use super::keys::Keys;
use super::{Encoder, Fault, Str};
use crate::codec::{EncodeError, EncodeErrorKind};
use crate::schema::{FieldRef, MessageId};

/// A path or a name in an error is cut after this.
const PATH_BYTES_MAX: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Root,
    /// `any`: the members of an `Any`, so `@type` is among them.
    Message {
        id: MessageId,
        any: bool,
    },
    Repeated(FieldRef),
    Map(FieldRef),
    Struct,
    List,
    /// An `Any` whose `@type` is looked for; where its members begin.
    AnyStart(usize),
    /// An `Any` of a type with a JSON form of its own, which stands under `value`.
    AnyValue(MessageId),
    SkipObject,
    SkipArray,
}

/// What a frame reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A member, or the end.
    First,
    /// A comma, or the end.
    Next,
    Key,
    Colon,
    Value,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub kind: FrameKind,
    pub stage: Stage,
    /// Size of the next length prefix, by the last one.
    pub hint: u8,
    /// The field whose value is next; [`super::message::UNKNOWN`] and others have no field.
    pub field: u32,
    pub key: Str,
    /// Position in an array.
    pub index: usize,
    pub slots_base: usize,
    pub bits_base: usize,
    pub keys: Option<Box<Keys>>,
}

impl Frame {
    pub(super) fn new(kind: FrameKind, stage: Stage, slots_base: usize, bits_base: usize) -> Self {
        Self {
            kind,
            stage,
            hint: 1,
            field: 0,
            key: Str::default(),
            index: 0,
            slots_base,
            bits_base,
            keys: None,
        }
    }
}

impl Encoder {
    /// Not JSON.
    #[cold]
    pub(super) fn syntax(&self, what: &str) -> Fault {
        self.error(EncodeErrorKind::Syntax, what.into())
    }

    /// JSON, but not of this message.
    #[cold]
    pub(super) fn value_error(&self, what: impl Into<String>) -> Fault {
        self.error(EncodeErrorKind::Value, what.into())
    }

    /// An index of the tables that is not in them: of another schema.
    #[cold]
    pub(super) fn lost(&self) -> Fault {
        self.value_error("the document is not of this schema")
    }

    /// The error, at the value that is being read. Its path is filled in by [`Self::located`], which
    /// has the text that the names stand in.
    #[cold]
    pub(super) fn error(&self, kind: EncodeErrorKind, what: String) -> Fault {
        Box::new(EncodeError {
            path: String::new(),
            what,
            offset: self.pos,
            kind,
        })
    }

    /// Puts the path of the value at hand into the error.
    #[cold]
    pub(super) fn located(&self, json: &[u8], mut error: EncodeError) -> EncodeError {
        let mut path = String::new();
        for frame in &self.stack {
            frame.put_path(json, &mut path);
        }
        // Between members the container itself is meant.
        if !matches!(self.top.stage, Stage::First | Stage::Next) {
            self.top.put_path(json, &mut path);
        }
        error.path = path;
        error
    }
}

impl Frame {
    fn put_path(&self, json: &[u8], path: &mut String) {
        if path.len() > PATH_BYTES_MAX {
            return;
        }
        match self.kind {
            FrameKind::Root | FrameKind::AnyStart(_) => {}
            FrameKind::Repeated(_) | FrameKind::List | FrameKind::SkipArray => {
                path.push_str(&format!("[{}]", self.index));
            }
            FrameKind::Map(_) => {
                path.push_str("[\"");
                path.push_str(&self.key_text(json));
                path.push_str("\"]");
            }
            FrameKind::Message { .. }
            | FrameKind::Struct
            | FrameKind::AnyValue(_)
            | FrameKind::SkipObject => {
                let key = self.key_text(json);
                if !path.is_empty() && !key.starts_with('[') && !key.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
        }
    }

    fn key_text(&self, json: &[u8]) -> String {
        let raw = self.key.raw(json);
        let cut = raw.get(..raw.len().min(100)).unwrap_or(raw);
        String::from_utf8_lossy(cut).into_owned()
    }
}
