//! The grammar of path templates, by recursive descent.
//!
//! ```text
//! Template  = "/" Segments [ Verb ] ;   Segments = Segment { "/" Segment } ;
//! Segment   = "*" | "**" | LITERAL | Variable ;   Variable = "{" FieldPath [ "=" Segments ] "}" ;
//! FieldPath = IDENT { "." IDENT } ;     Verb = ":" LITERAL ;
//! ```
//!
//! A literal has any characters but wildcards, braces, `?`, `#`, blanks and a few more that no URL
//! has unescaped. A colon is part of a literal, but the last one in the last segment begins the verb.

use super::path::{decode, has_dot_segment};
use super::template::{PathTemplate, Segment, Span, TemplateError, Variable};
use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_SEGMENTS_MAX};

pub(super) fn parse(template: &str) -> Result<PathTemplate, TemplateError> {
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
        Ok(()) => Ok(PathTemplate {
            text: template.into(),
            segments: parser.segments.into(),
            verb: parser.verb,
            variables: parser.variables.into(),
            spans: parser.spans.into(),
            rest: parser.rest,
        }),
        Err(Fault { offset, message }) => Err(TemplateError {
            template: template.into(),
            offset,
            message: message.into(),
        }),
    }
}

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
    /// The segment that is `**`, once seen.
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
                self.text.floor_char_boundary(TEMPLATE_BYTES_MAX),
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
        let to = self.segments.len();
        let has_rest = self.rest.is_some_and(|at| at >= from);
        self.spans.push(Span { from, to });
        self.variables.push(Variable {
            field_path: field_path.into(),
            multi: has_rest || to - from != 1,
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
        if self.segments.len() == TEMPLATE_SEGMENTS_MAX {
            return fault(start, format!("more than {TEMPLATE_SEGMENTS_MAX} segments"));
        }
        if segment == Segment::Rest {
            if self.rest.is_some() {
                return fault(
                    start,
                    "a second `**`: where the first one ends could not be told",
                );
            }
            self.rest = Some(self.segments.len());
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
