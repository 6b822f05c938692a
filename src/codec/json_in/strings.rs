//! The strings of a document: found, checked to be UTF-8 ahead of the scan, and unescaped.

use super::frame::Stage;
use super::{Cx, Encoder, Fault, Result, UTF8_WINDOW_BYTES};
use crate::codec::lexer::{self, Scan};
use crate::codec::tables::FieldTable;
use crate::codec::wire;

/// Strings up to this long are scanned anew rather than remembered.
const NEAR_BYTES: usize = 256;

/// Texts up to this long are written with one look at them.
const SHORT_BYTES: usize = 1024;

/// How far the string that starts at `start` has been scanned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StringScan {
    pub(super) start: usize,
    pub(super) at: usize,
    pub(super) escaped: bool,
    pub(super) done: bool,
}

/// A scanned string: what stands between its quotes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Str {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) escaped: bool,
}

impl Str {
    pub(super) fn raw(self, json: &[u8]) -> &[u8] {
        json.get(self.start..self.end).unwrap_or(&[])
    }

    pub(super) fn len(self) -> usize {
        self.end - self.start
    }
}

impl Encoder {
    /// Writes the text of a member that [`FieldTable::plain_text`] is true of, if it is short, has no
    /// escapes and stands right here: what most texts are. `false`: nothing was done.
    #[inline]
    pub(super) fn short_text(&mut self, cx: &Cx<'_>, field: &FieldTable) -> bool {
        let start = self.pos + 1;
        if cx.json.get(self.pos) != Some(&b'"') {
            return false;
        }
        let valid = cx.json.get(..self.valid_to).unwrap_or(cx.json);
        let near = valid.get(..start + SHORT_BYTES).unwrap_or(valid);
        let end = lexer::plain_end(near, start);
        let (Some(b'"'), Some(text)) = (near.get(end), near.get(start..end)) else {
            return false;
        };
        if !(text.is_empty() && field.implicit) {
            self.reserve(text.len() + 16);
            field.tag.put(&mut self.wire);
            wire::put_varint(&mut self.wire, text.len() as u64);
            self.wire.extend_from_slice(text);
        }
        self.pos = end + 1;
        self.top.index = 1;
        self.top.stage = Stage::Next;
        true
    }

    /// Scans the string at `self.pos`, which is its opening quote; `None` when the slice ended in
    /// it. Asking again for a scanned string costs nothing. `self.pos` does not move.
    #[inline]
    pub(super) fn string(&mut self, cx: &Cx<'_>) -> Result<Option<Str>> {
        let start = self.pos + 1;
        if self.scan.start != start {
            // Most strings are short, plain and right here.
            let valid = cx.json.get(..self.valid_to).unwrap_or(cx.json);
            let near = valid.get(..start + NEAR_BYTES).unwrap_or(valid);
            let end = lexer::plain_end(near, start);
            if near.get(end) == Some(&b'"') {
                return Ok(Some(Str {
                    start,
                    end,
                    escaped: false,
                }));
            }
            self.scan = StringScan {
                start,
                at: end,
                escaped: false,
                done: false,
            };
        }
        while !self.scan.done {
            let (scan, at) =
                lexer::scan_string(cx.json, self.scan.at, self.valid_to, &mut self.scan.escaped);
            self.scan.at = at;
            match scan {
                Scan::Quote => self.scan.done = true,
                Scan::Control => {
                    self.pos = at;
                    return Err(self.syntax("control characters in strings must be escaped"));
                }
                Scan::Limit if self.invalid => {
                    self.pos = self.valid_to;
                    return Err(self.syntax("the text is not valid UTF-8"));
                }
                Scan::Limit if self.valid_to >= cx.json.len() => {
                    self.pos = cx.json.len();
                    return Err(self.syntax("the document ends inside a string"));
                }
                Scan::Limit if at >= self.stop && at - start > 64 => {
                    // What was scanned counts as work, so that the next slice is one too.
                    self.stop = at;
                    return Ok(None);
                }
                Scan::Limit => self.extend_valid(cx.json, at.saturating_add(1)),
            }
        }
        Ok(Some(Str {
            start,
            end: self.scan.at,
            escaped: self.scan.escaped,
        }))
    }

    /// Validates UTF-8 up to `to` at least, in whole windows.
    pub(super) fn extend_valid(&mut self, json: &[u8], to: usize) {
        while self.valid_to < to.min(json.len()) && !self.invalid {
            let end = (self.valid_to + UTF8_WINDOW_BYTES).min(json.len());
            let window = json.get(self.valid_to..end).unwrap_or(&[]);
            if simdutf8::basic::from_utf8(window).is_ok() {
                self.valid_to = end;
                continue;
            }
            match simdutf8::compat::from_utf8(window) {
                Ok(_) => self.valid_to = end,
                Err(e) => {
                    self.valid_to += e.valid_up_to();
                    // A character cut by the window's end is not an error yet.
                    self.invalid = e.error_len().is_some() || end == json.len();
                }
            }
        }
    }

    /// The unescaped text of a string: in place if it has no escapes, else in `scratch`.
    pub(super) fn text<'t>(
        &mut self,
        json: &'t [u8],
        s: Str,
        scratch: &'t mut Vec<u8>,
    ) -> Result<&'t [u8]> {
        if !s.escaped {
            return Ok(s.raw(json));
        }
        scratch.clear();
        if let Err(at) = lexer::unescape(s.raw(json), 0, usize::MAX, scratch) {
            return Err(self.bad_escape(s, at));
        }
        Ok(scratch)
    }

    #[cold]
    pub(super) fn bad_escape(&mut self, s: Str, at: usize) -> Fault {
        self.pos = s.start + at;
        self.top.stage = Stage::Value;
        self.syntax("bad escape sequence (or half a surrogate pair)")
    }
}
