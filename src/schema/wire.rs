//! Descriptor bytes without decoding them: how many things they declare.
//!
//! Two bytes on the wire are a declaration of some hundred in memory, so a small set could fill it.
//! Counting first costs a pass over the bytes and no allocation.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Declarations (files, imports, messages, fields, values, methods, bindings …) of one set. All of
/// googleapis has a fifth of it.
pub(super) const ELEMENTS_MAX: usize = 2_000_000;
/// prost refuses messages nested deeper than this.
const DEPTH_MAX: usize = 100;

/// The length-delimited fields of a message, up to the first byte that makes no sense.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let (tag, wire_type) = decode_key(&mut self.0).ok()?;
            if wire_type == WireType::LengthDelimited {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                let (field, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                return Some((tag, field));
            }
            skip_field(wire_type, tag, &mut self.0, DecodeContext::default()).ok()?;
        }
        None
    }
}

/// A field of a message as it stands on the wire.
pub(super) struct Piece<'a> {
    pub tag: u32,
    /// Key and all.
    pub whole: &'a [u8],
    /// Of a length-delimited one.
    pub content: Option<&'a [u8]>,
}

/// All fields of a message, up to the first byte that makes no sense.
pub(super) struct Pieces<'a>(pub &'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let all = self.0;
        if all.is_empty() {
            return None;
        }
        let (tag, wire_type) = decode_key(&mut self.0).ok()?;
        let mut content = None;
        if wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
            let (field, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            content = Some(field);
        } else {
            skip_field(wire_type, tag, &mut self.0, DecodeContext::default()).ok()?;
        }
        let whole = all.get(..all.len().checked_sub(self.0.len())?)?;
        Some(Piece {
            tag,
            whole,
            content,
        })
    }
}

#[derive(Clone, Copy)]
enum Level {
    Set,
    File,
    Message,
    Enum,
    Service,
    Method,
    MethodOptions,
    Rule,
    Leaf,
}

/// Whether the set declares at most [`ELEMENTS_MAX`] things. Broken bytes are left to the decoder.
pub(super) fn is_moderate(set: &[u8]) -> bool {
    let mut left = ELEMENTS_MAX;
    count(set, Level::Set, DEPTH_MAX, &mut left)
}

fn count(bytes: &[u8], level: Level, depth: usize, left: &mut usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return true;
    };
    for (tag, field) in Fields(bytes) {
        let inner = match (level, tag) {
            (Level::Set, 1) => Level::File,
            (Level::File, 4) | (Level::Message, 3) => Level::Message,
            (Level::File, 5) | (Level::Message, 4) => Level::Enum,
            (Level::File, 6) => Level::Service,
            (Level::Service, 2) => Level::Method,
            (Level::Method, 4) => Level::MethodOptions,
            (Level::MethodOptions, 72_295_728) | (Level::Rule, 11) => Level::Rule,
            (Level::File, 3 | 7) | (Level::Message, 2 | 5 | 6 | 8) | (Level::Enum, 2) => {
                Level::Leaf
            }
            _ => continue,
        };
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => return false,
        }
        if !matches!(inner, Level::Leaf) && !count(field, inner, depth, left) {
            return false;
        }
    }
    true
}
