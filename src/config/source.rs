//! The text of one file, and places in it.

use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Location, Snippet};
use super::model::Place;

/// A range of bytes in a [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// One file as it was read.
#[derive(Debug)]
pub struct Source {
    name: Arc<str>,
    text: Box<str>,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl Source {
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self {
            name: name.into(),
            lines: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
            text: text.into(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a span; empty for one of another source.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// What stands at a span, for a message: one line of it, and not too much of that. This is the
    /// text of the file, so a `${NAME}` in it shows no secret.
    #[must_use]
    pub fn shown(&self, span: Span) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        let line = self.slice(span).lines().next().unwrap_or("").trim_end();
        let mut shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        shown
    }

    /// `transom.yaml:31:5`
    #[must_use]
    pub fn place(&self, span: Span) -> Place {
        let at = self.location(span);
        format!("{}:{}:{}", at.file, at.line, at.column).into()
    }

    /// Line and column count from 1, columns in characters.
    #[must_use]
    pub fn location(&self, span: Span) -> Location {
        let (number, line) = self.line_of(span.start);
        let before = self.text.get(line.start..span.start.min(line.end));
        Location {
            file: Arc::clone(&self.name),
            line: number,
            column: before.map_or(0, |b| b.chars().count()) + 1,
        }
    }

    /// An error at a span, with its line.
    #[must_use]
    pub fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            location: Some(self.location(span)),
            snippet: Some(self.snippet(span)),
            ..Diagnostic::error(message)
        }
    }

    /// The line at a span and the part of it to mark.
    #[must_use]
    pub fn snippet(&self, span: Span) -> Snippet {
        let (_, line) = self.line_of(span.start);
        let text = self.text.get(line.clone()).unwrap_or("");
        let text = text.trim_end_matches(['\n', '\r']);
        let start = span.start.saturating_sub(line.start).min(text.len());
        let end = span.end.saturating_sub(line.start).min(text.len());
        Snippet::new(text, start..end.max(start))
    }

    fn line_of(&self, offset: usize) -> (usize, Range<usize>) {
        let index = self
            .lines
            .partition_point(|start| *start <= offset)
            .saturating_sub(1);
        let start = self.lines.get(index).copied().unwrap_or(0);
        let end = self.lines.get(index + 1).copied();
        (index + 1, start..end.unwrap_or(self.text.len()))
    }
}
