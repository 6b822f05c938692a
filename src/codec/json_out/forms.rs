//! The well-known messages as the printer reads them from the wire: few fields, found by number.

use super::Cx;
use crate::codec::{well_known, wire};
use crate::schema::MessageId;

/// The strings of a `repeated string` with number 1 (a FieldMask's paths).
#[derive(Debug)]
pub(super) struct Strings<'w> {
    content: &'w [u8],
    pos: usize,
}

impl<'w> Strings<'w> {
    pub(super) fn new(content: &'w [u8]) -> Self {
        Self { content, pos: 0 }
    }
}

impl<'w> Iterator for Strings<'w> {
    type Item = &'w [u8];

    fn next(&mut self) -> Option<&'w [u8]> {
        while self.pos < self.content.len() {
            if let (1, Some(range)) = bytes_field(self.content, &mut self.pos)? {
                return self.content.get(range);
            }
        }
        None
    }
}

/// Appends a FieldMask's paths, without quotes.
pub(super) fn put_mask(out: &mut Vec<u8>, content: &[u8]) {
    // An empty path has no place in the list, and names nothing.
    let paths = Strings::new(content).filter(|p| !p.is_empty());
    for (i, path) in paths.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        well_known::put_mask_path(out, path);
    }
}

/// An `Any`'s two fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Any<'w> {
    pub url: &'w [u8],
    pub value: &'w [u8],
    /// Where `value` stands in the content.
    pub at: usize,
}

impl<'w> Any<'w> {
    pub(super) fn read(content: &'w [u8]) -> Self {
        let (mut any, mut pos) = (Self::default(), 0);
        while pos < content.len() {
            let Some((number, range)) = bytes_field(content, &mut pos) else {
                break;
            };
            match (number, range) {
                (1, Some(range)) => any.url = content.get(range).unwrap_or(&[]),
                (2, Some(range)) => {
                    any.at = range.start;
                    any.value = content.get(range).unwrap_or(&[]);
                }
                _ => {}
            }
        }
        any
    }
}

/// Reads one record: its number, and its range if it has a length.
fn bytes_field(content: &[u8], pos: &mut usize) -> Option<(u32, Option<std::ops::Range<usize>>)> {
    let (number, kind) = wire::tag(content, pos)?;
    if kind != wire::LEN {
        wire::skip(content, pos, content.len(), number, kind)?;
        return Some((number, None));
    }
    let len = wire::length(content, pos, content.len())?;
    let start = *pos;
    *pos += len;
    Some((number, Some(start..*pos)))
}

/// The message type that a type URL names.
pub(super) fn type_of(cx: &Cx<'_>, url: &[u8]) -> Option<MessageId> {
    let (_, name) = std::str::from_utf8(url).ok()?.rsplit_once('/')?;
    cx.codec.schema.find_message(name)
}
