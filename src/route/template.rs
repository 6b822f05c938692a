//! Path templates of `google.api.http`.
//!
//! ```text
//! Template  = "/" Segments [ Verb ] ;   Segments = Segment { "/" Segment } ;
//! Segment   = "*" | "**" | LITERAL | Variable ;   Variable = "{" FieldPath [ "=" Segments ] "}" ;
//! FieldPath = IDENT { "." IDENT } ;     Verb = ":" LITERAL ;
//! ```
//!
//! Literals are kept decoded, so `/caf%C3%A9` and `/café` are one template. `**` stands last. The
//! template `/` alone is an addition of ours (and of most peers): it matches the path `/`.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::path::{decode, has_dot_segment};
use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_SEGMENTS_MAX};

/// What a literal keeps as it is when printed: the unreserved set of RFC 3986. A colon must not stay,
/// or the last segment would grow a verb.
const LITERAL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A parsed path template of `google.api.http`.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    text: Box<str>,
    segments: Box<[Segment]>,
    verb: Option<Box<str>>,
    variables: Box<[Variable]>,
    spans: Box<[Span]>,
}

/// One segment of a template; variables are laid over them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Decoded text. Empty only in the template `/`.
    Literal(Box<str>),
    /// `*`: one segment that is not empty.
    One,
    /// `**`: the rest of the path, also none of it; always the last segment.
    Rest,
}

/// One `{field.path=segments}` of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// `game.id`
    pub field_path: Box<str>,
    /// Whether it may span several segments (`%2F` stays as it is then).
    pub multi: bool,
}

/// The segments that a variable covers: `from..to`, or to the end of the path when it ends in `**`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: usize,
    pub to: usize,
    pub open: bool,
}

/// Why a template can't be parsed: byte offset in the template and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset} of {template:?})")]
pub struct TemplateError {
    pub template: Box<str>,
    pub offset: usize,
    pub message: Box<str>,
}

impl PathTemplate {
    /// # Errors
    /// Anything but the grammar of `google/api/http.proto`; also a `**` that is not last, a variable
    /// in a variable, a variable twice, a literal that no request can have, and more than
    /// [`TEMPLATE_BYTES_MAX`] bytes or [`TEMPLATE_SEGMENTS_MAX`] segments.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser {
            text: template,
            at: 0,
            segments: Vec::new(),
            verb: None,
            variables: Vec::new(),
            spans: Vec::new(),
            rest: None,
        };
        match parser.template() {
            Ok(()) => Ok(Self {
                text: template.into(),
                segments: parser.segments.into(),
                verb: parser.verb,
                variables: parser.variables.into(),
                spans: parser.spans.into(),
            }),
            Err(Fault { offset, message }) => Err(TemplateError {
                template: template.into(),
                offset,
                message: message.into(),
            }),
        }
    }

    /// The variables in the order they are written; captures come in the same order.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The template as it was written. [`fmt::Display`] prints the normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments, without regard to variables.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The decoded text of `:verb`.
    #[must_use]
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// What it matches, with the names of variables gone: `/v1/games/*:publish`.
    #[must_use]
    pub fn shape(&self) -> String {
        let mut out = String::new();
        for segment in &self.segments {
            out.push('/');
            out.push_str(&segment.to_string());
        }
        self.push_verb(&mut out);
        out
    }

    fn push_verb(&self, out: &mut String) {
        if let Some(verb) = &self.verb {
            out.push(':');
            out.extend(utf8_percent_encode(verb, LITERAL));
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => write!(f, "{}", utf8_percent_encode(text, LITERAL)),
            Self::One => f.write_str("*"),
            Self::Rest => f.write_str("**"),
        }
    }
}

/// The normal form: literals percent-encoded, `{name=*}` as `{name}`.
impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(self.text.len());
        let mut variables = self.variables.iter().zip(&self.spans).peekable();
        for (index, segment) in self.segments.iter().enumerate() {
            out.push('/');
            let here = variables.peek().copied();
            let inside = here.filter(|(_, span)| span.from <= index);
            let short = |span: &Span| span.to == span.from + 1 && *segment == Segment::One;
            if let Some((variable, span)) = inside.filter(|(_, span)| span.from == index) {
                out.push('{');
                out.push_str(&variable.field_path);
                if !short(span) {
                    out.push('=');
                }
            }
            if !inside.is_some_and(|(_, span)| short(span)) {
                out.push_str(&segment.to_string());
            }
            if inside.is_some_and(|(_, span)| span.to == index + 1) {
                out.push('}');
                variables.next();
            }
        }
        self.push_verb(&mut out);
        f.write_str(&out)
    }
}

/// Equal when they match and capture the same: `/a/{b}` and `/%61/{b=*}` are.
impl PartialEq for PathTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.segments == other.segments
            && self.verb == other.verb
            && self.variables == other.variables
            && self.spans == other.spans
    }
}

impl Eq for PathTemplate {}

struct Fault {
    offset: usize,
    message: String,
}

fn fault<T>(offset: usize, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        offset,
        message: message.into(),
    })
}

/// Recursive descent, one function a production; `at` only moves forward.
struct Parser<'t> {
    text: &'t str,
    at: usize,
    segments: Vec<Segment>,
    verb: Option<Box<str>>,
    variables: Vec<Variable>,
    spans: Vec<Span>,
    /// Where `**` stands, once seen.
    rest: Option<usize>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn char_here(&self) -> char {
        let tail = self.text.get(self.at..).unwrap_or_default();
        tail.chars().next().unwrap_or('\0')
    }

    fn template(&mut self) -> Result<(), Fault> {
        if self.text.len() > TEMPLATE_BYTES_MAX {
            return fault(
                TEMPLATE_BYTES_MAX,
                format!("longer than {TEMPLATE_BYTES_MAX} bytes"),
            );
        }
        if self.peek() != Some(b'/') {
            return fault(0, "a path template starts with a slash");
        }
        self.at = 1;
        if self.text.len() == 1 {
            self.segments.push(Segment::Literal("".into()));
            return Ok(());
        }
        loop {
            match self.peek() {
                Some(b'{') => self.variable()?,
                _ => self.segment(false)?,
            }
            match self.peek() {
                None => return Ok(()),
                Some(b'/') => self.at += 1,
                Some(b':') => return self.verb(),
                Some(_) => {
                    let found = self.char_here();
                    return fault(
                        self.at,
                        format!("expected a slash, a verb or the end, found {found:?}"),
                    );
                }
            }
        }
    }

    fn variable(&mut self) -> Result<(), Fault> {
        let open = self.at;
        self.at += 1;
        let field_path = self.field_path()?;
        if self.variables.iter().any(|v| *v.field_path == *field_path) {
            return fault(
                open + 1,
                format!("the variable {field_path:?} stands twice"),
            );
        }
        let from = self.segments.len();
        match self.peek() {
            Some(b'}') => self.push(Segment::One, open)?,
            Some(b'=') => {
                self.at += 1;
                loop {
                    self.segment(true)?;
                    match self.peek() {
                        Some(b'/') => self.at += 1,
                        Some(b'}') => break,
                        None => return fault(open, "this variable has no closing brace"),
                        Some(_) => {
                            let found = self.char_here();
                            return fault(
                                self.at,
                                format!("expected a slash or a closing brace, found {found:?}"),
                            );
                        }
                    }
                }
            }
            None => return fault(open, "this variable has no closing brace"),
            Some(_) => {
                let found = self.char_here();
                return fault(
                    self.at,
                    format!(
                        "expected `=` or a closing brace after the field name, found {found:?}"
                    ),
                );
            }
        }
        self.at += 1;
        let open_end = self.segments.last() == Some(&Segment::Rest);
        let to = self.segments.len();
        self.spans.push(Span {
            from,
            to,
            open: open_end,
        });
        self.variables.push(Variable {
            field_path: field_path.into(),
            multi: open_end || to - from != 1,
        });
        Ok(())
    }

    fn field_path(&mut self) -> Result<String, Fault> {
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {}
                _ => return fault(self.at, "expected a field name (letters, digits and `_`)"),
            }
            while matches!(
                self.peek(),
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9')
            ) {
                self.at += 1;
            }
            if self.peek() != Some(b'.') {
                return Ok(self.text.get(start..self.at).unwrap_or_default().to_owned());
            }
            self.at += 1;
        }
    }

    /// `*`, `**` or a literal. The last colon of a literal that ends the template begins the verb.
    fn segment(&mut self, in_variable: bool) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'*') {
            self.at += 1;
            let mut kind = Segment::One;
            if self.peek() == Some(b'*') {
                self.at += 1;
                kind = Segment::Rest;
            }
            if matches!(self.peek(), Some(b'/' | b':' | b'}') | None) {
                return self.push(kind, start);
            }
            return fault(start, "a wildcard takes a whole segment");
        }
        while let Some(byte) = self.peek() {
            match byte {
                b'/' | b'}' => break,
                b'{' if in_variable => {
                    return fault(self.at, "a variable can't contain another variable");
                }
                b'{' | b'*' => {
                    return fault(self.at, "a wildcard or variable takes a whole segment");
                }
                b'?' | b'#' => {
                    return fault(self.at, "a template is a path: no query and no fragment");
                }
                b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|' | 0..0x20 | 0x7f => {
                    let found = self.char_here();
                    return fault(self.at, format!("{found:?} must be percent-encoded"));
                }
                _ => self.at += 1,
            }
        }
        if self.peek() == Some(b'}') && !in_variable {
            return fault(self.at, "a closing brace without an opening one");
        }
        if self.peek().is_none() && !in_variable {
            let tail = self.text.get(start..).unwrap_or_default();
            if let Some(colon) = tail.rfind(':') {
                self.at = start + colon;
            }
        }
        if self.at == start {
            return fault(start, "an empty segment");
        }
        let literal = self.literal(start, self.at)?;
        self.push(Segment::Literal(literal), start)
    }

    fn verb(&mut self) -> Result<(), Fault> {
        let start = self.at + 1;
        let tail = self.text.get(start..).unwrap_or_default();
        if tail.is_empty() {
            return fault(start, "an empty verb");
        }
        if let Some(slash) = tail.find('/') {
            return fault(start + slash, "nothing may follow a verb");
        }
        if let Some(wrong) = tail.find([':', '{', '}', '*', '?', '#', '\\', ' ']) {
            return fault(start + wrong, "a verb is plain text");
        }
        self.verb = Some(self.literal(start, self.text.len())?);
        Ok(())
    }

    fn literal(&self, from: usize, to: usize) -> Result<Box<str>, Fault> {
        let raw = self.text.get(from..to).unwrap_or_default();
        if let Some(at) = broken_escape(raw) {
            return fault(from + at, "a percent sign without two hexadecimal digits");
        }
        let mut bytes = Vec::with_capacity(raw.len());
        decode(raw.as_bytes(), &mut bytes);
        let Ok(text) = String::from_utf8(bytes) else {
            return fault(from, "this literal is not UTF-8 once decoded");
        };
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return fault(from, "this literal has an encoded control character");
        }
        if has_dot_segment(text.as_bytes()) {
            return fault(from, "a dot segment: no request may have one");
        }
        Ok(text.into())
    }

    fn push(&mut self, segment: Segment, start: usize) -> Result<(), Fault> {
        if let Some(rest) = self.rest {
            return fault(
                rest,
                "`**` must be the last segment: only a verb may follow it",
            );
        }
        if self.segments.len() == TEMPLATE_SEGMENTS_MAX {
            return fault(start, format!("more than {TEMPLATE_SEGMENTS_MAX} segments"));
        }
        if segment == Segment::Rest {
            self.rest = Some(start);
        }
        self.segments.push(segment);
        Ok(())
    }
}

/// Offset of the first `%` that two hexadecimal digits don't follow.
fn broken_escape(raw: &str) -> Option<usize> {
    let bytes = raw.as_bytes();
    memchr::memchr_iter(b'%', bytes).find(|at| {
        !bytes
            .get(at + 1..at + 3)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests;
