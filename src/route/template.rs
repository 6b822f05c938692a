//! Path templates of `google.api.http`; [`super::grammar`] parses them.
//!
//! Literals are kept decoded, so `/caf%C3%A9` and `/café` are one template. `**` stands once, anywhere:
//! `google/api/http.proto` wants it last, but Google's own services have it before the end, and the
//! peers take it. With one `**`, what it covers follows from the length of the path. The template `/`
//! alone is an addition of ours (and of most peers): it matches the path `/`.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::grammar;

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
    pub(super) text: Box<str>,
    pub(super) segments: Box<[Segment]>,
    pub(super) verb: Option<Box<str>>,
    pub(super) variables: Box<[Variable]>,
    pub(super) spans: Box<[Span]>,
    /// Where `**` stands.
    pub(super) rest: Option<usize>,
}

/// One segment of a template; variables are laid over them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Decoded text. Empty only in the template `/`.
    Literal(Box<str>),
    /// `*`: one segment that is not empty.
    One,
    /// `**`: any number of segments, also none; once in a template.
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

/// The segments of the template that a variable covers: `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: usize,
    pub to: usize,
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
    /// Anything but the grammar of `google/api/http.proto`; also a second `**`, a variable
    /// in a variable, a variable twice, a literal that no request can have, and more than
    /// [`TEMPLATE_BYTES_MAX`](crate::limits::TEMPLATE_BYTES_MAX) bytes or [`TEMPLATE_SEGMENTS_MAX`](crate::limits::TEMPLATE_SEGMENTS_MAX) segments.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        grammar::parse(template)
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

    /// The segments of the template that a variable covers, by its place in [`Self::variables`].
    #[must_use]
    pub fn covered_by(&self, variable: usize) -> Option<std::ops::Range<usize>> {
        self.spans.get(variable).map(|span| span.from..span.to)
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn rest(&self) -> Option<usize> {
        self.rest
    }

    /// The segments of a path of `len` segments that a variable covers, when the template takes it:
    /// what follows `**` stands as far from the end of the path as from the end of the template.
    pub(super) fn covered(&self, span: Span, len: usize) -> (usize, usize) {
        let place = |at: usize| match self.rest {
            Some(rest) if at > rest => (at + len).saturating_sub(self.segments.len()),
            _ => at,
        };
        (place(span.from), place(span.to))
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

#[cfg(test)]
mod tests;
