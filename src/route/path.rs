//! Request paths: one strict check, then segments that are split before they are decoded.
//!
//! `%2F` never makes a segment and `%3A` never makes a verb. Escapes are decoded once. The same path
//! written with or without needless escapes has the same segments. A trailing slash is an empty last
//! segment, so `/games/` is not `/games`. Memory is allocated only when there is an escape or more
//! than [`SEGMENTS_INLINE`] segments.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::limits::PATH_SEGMENTS_MAX;

/// Segments of a path that fit without allocation.
const SEGMENTS_INLINE: usize = 12;

/// The path of a request as received: checked, split into segments, not decoded.
#[derive(Clone, Debug)]
pub struct RawPath<'p> {
    text: &'p str,
    segments: SmallVec<[PathSegment; SEGMENTS_INLINE]>,
    /// Decoded text of the segments that have escapes.
    decoded: Vec<u8>,
    verb: Option<VerbSplit>,
}

/// Why a request path is refused before routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path must start with a slash")]
    NotAbsolute,
    #[error("the path has a broken percent escape")]
    BadEscape,
    #[error("the path has an encoded NUL or control character")]
    Control,
    #[error("the path has a dot segment")]
    DotSegment,
    #[error("the path has a backslash")]
    Backslash,
    #[error("the path is not UTF-8 once decoded")]
    NotUtf8,
    #[error("the path has too many segments")]
    TooManySegments,
}

/// A range of the path's text, and the same decoded.
#[derive(Clone, Copy, Debug)]
struct PathSegment {
    raw: (u32, u32),
    plain: Piece,
}

/// A range of `text`, or of `decoded` when there were escapes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: u32,
    to: u32,
    escaped: bool,
}

/// The last segment read as `head:verb`.
#[derive(Clone, Copy, Debug)]
struct VerbSplit {
    /// Offset of the colon in `text`.
    colon: u32,
    head: Piece,
    verb: Piece,
}

impl<'p> RawPath<'p> {
    /// Checks and splits the path of a request (without its query).
    ///
    /// Dot segments are looked for in the decoded text, with encoded slashes, backslashes and `;`
    /// parameters taken as separators, because what is behind a proxied route may take them so.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(path: &'p str) -> Result<Self, PathError> {
        let bytes = path.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        let mut parsed = Self {
            text: path,
            segments: SmallVec::new(),
            decoded: Vec::new(),
            verb: None,
        };
        let mut start = 1;
        let mut escaped = false;
        let mut colon = None;
        for (at, &byte) in bytes.iter().enumerate().skip(1) {
            match byte {
                b'/' => {
                    parsed.segment(start, at, escaped)?;
                    (start, escaped, colon) = (at + 1, false, None);
                }
                b'%' => {
                    let byte = escape(bytes.get(at + 1..at + 3)).ok_or(PathError::BadEscape)?;
                    if byte < 0x20 || byte == 0x7f {
                        return Err(PathError::Control);
                    }
                    escaped = true;
                }
                b':' => colon = Some(at),
                b'\\' => return Err(PathError::Backslash),
                0..0x20 | 0x7f => return Err(PathError::Control),
                _ => {}
            }
        }
        parsed.segment(start, bytes.len(), escaped)?;
        parsed.verb = colon.and_then(|colon| parsed.split_verb(colon));
        Ok(parsed)
    }

    /// The path as received.
    #[must_use]
    pub fn as_str(&self) -> &'p str {
        self.text
    }

    /// How many segments it has: at least one, since `/` has an empty one.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The decoded segment; empty when there is none at this index.
    pub(super) fn segment_at(&self, index: usize) -> &[u8] {
        self.segments
            .get(index)
            .map_or(&[], |segment| self.bytes(segment.plain))
    }

    /// The last segment read as `head:verb`, both decoded: `None` without a colon or with nothing
    /// after it.
    pub(super) fn verb(&self) -> Option<(&[u8], &[u8])> {
        let split = self.verb?;
        Some((self.bytes(split.head), self.bytes(split.verb)))
    }

    /// The raw text of segments `from..to`, without the verb if `cut_verb`.
    pub(super) fn raw(&self, from: usize, to: usize, cut_verb: bool) -> &'p str {
        let Some(first) = self.segments.get(from) else {
            return "";
        };
        let Some(last) = to.checked_sub(1).and_then(|last| self.segments.get(last)) else {
            return "";
        };
        let end = match self.verb {
            Some(split) if cut_verb && to == self.len() => split.colon,
            _ => last.raw.1,
        };
        self.text
            .get(first.raw.0 as usize..end as usize)
            .unwrap_or_default()
    }

    fn bytes(&self, piece: Piece) -> &[u8] {
        let of = if piece.escaped {
            &self.decoded
        } else {
            self.text.as_bytes()
        };
        of.get(piece.from as usize..piece.to as usize)
            .unwrap_or_default()
    }

    fn segment(&mut self, from: usize, to: usize, escaped: bool) -> Result<(), PathError> {
        if self.segments.len() == PATH_SEGMENTS_MAX {
            return Err(PathError::TooManySegments);
        }
        let raw = self.text.as_bytes().get(from..to).unwrap_or_default();
        let plain = if escaped {
            let start = self.decoded.len();
            decode(raw, &mut self.decoded);
            let decoded = self.decoded.get(start..).unwrap_or_default();
            if std::str::from_utf8(decoded).is_err() {
                return Err(PathError::NotUtf8);
            }
            if has_dot_segment(decoded) {
                return Err(PathError::DotSegment);
            }
            Piece::new(start, self.decoded.len(), true)?
        } else {
            if raw.first() == Some(&b'.') && has_dot_segment(raw) {
                return Err(PathError::DotSegment);
            }
            Piece::new(from, to, false)?
        };
        let ends = Piece::new(from, to, false)?;
        self.segments.push(PathSegment {
            raw: (ends.from, ends.to),
            plain,
        });
        Ok(())
    }

    /// The last segment is split at its last raw colon. In its decoded text the colon stands as far
    /// from the end as the verb is long once decoded.
    fn split_verb(&self, colon: usize) -> Option<VerbSplit> {
        let last = self.segments.last()?;
        let verb = self.text.as_bytes().get(colon + 1..last.raw.1 as usize)?;
        let escapes = memchr::memchr_iter(b'%', verb).count();
        let long = u32::try_from(verb.len().checked_sub(2 * escapes)?).ok()?;
        let begin = last.plain.to.checked_sub(long)?;
        (long > 0).then_some(VerbSplit {
            colon: u32::try_from(colon).ok()?,
            head: Piece {
                to: begin.checked_sub(1)?,
                ..last.plain
            },
            verb: Piece {
                from: begin,
                ..last.plain
            },
        })
    }
}

impl Piece {
    fn new(from: usize, to: usize, escaped: bool) -> Result<Self, PathError> {
        let narrow = |at| u32::try_from(at).map_err(|_| PathError::TooManySegments);
        Ok(Self {
            from: narrow(from)?,
            to: narrow(to)?,
            escaped,
        })
    }
}

/// Decodes a captured variable: all escapes for a single segment; all but `%2F` for a `multi` one.
///
/// # Errors
/// When an escape is broken or the decoded bytes are not UTF-8; neither happens to a capture of a
/// [`RawPath`].
pub fn decode_capture(raw: &str, multi: bool) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw.as_bytes();
    let Some(first) = memchr::memchr(b'%', bytes) else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(bytes.get(..first).unwrap_or_default());
    let mut rest = bytes.get(first..).unwrap_or_default();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = tail;
            continue;
        }
        let hex = tail.get(..2);
        let byte = escape(hex).ok_or(PathError::BadEscape)?;
        if byte == b'/' && multi {
            out.push(b'%');
            out.extend_from_slice(hex.unwrap_or_default());
        } else {
            out.push(byte);
        }
        rest = tail.get(2..).unwrap_or_default();
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| PathError::NotUtf8)
}

/// The byte that two hexadecimal digits stand for.
fn escape(hex: Option<&[u8]>) -> Option<u8> {
    let &[high, low] = hex? else { return None };
    let digit = |byte| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Appends `raw` with its escapes decoded; a broken escape stays as it is.
pub(super) fn decode(raw: &[u8], out: &mut Vec<u8>) {
    out.extend(percent_encoding::percent_decode(raw));
}

/// Whether decoded text has `.` or `..` between slashes or backslashes, `;` parameters set aside.
pub(super) fn has_dot_segment(decoded: &[u8]) -> bool {
    decoded.split(|b| matches!(b, b'/' | b'\\')).any(|part| {
        let name = part.split(|b| *b == b';').next();
        matches!(name, Some(b"." | b".."))
    })
}

#[cfg(test)]
mod tests;
