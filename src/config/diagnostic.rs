//! What an operator is told about the input: one type for config, descriptors and routes.
//!
//! Carries the line it speaks of, not the file, so it can outlive the text it was found in.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

mod render;

pub use render::Format;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth saying; nothing is wrong.
    Note,
    Warning,
    Error,
}

/// A place in a file; line and column count from 1, columns in characters. Line 0 is the whole file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

impl Location {
    /// Reads `file:line:column` or `file:line`; a text without numbers is a whole file.
    #[must_use]
    pub fn parse(place: &str) -> Self {
        let number = |text: &str| text.parse::<usize>().ok();
        let split = |text: &'_ str| -> Option<(String, usize)> {
            let (rest, last) = text.rsplit_once(':')?;
            Some((rest.to_owned(), number(last)?))
        };
        let (file, line, column) = match split(place) {
            Some((rest, last)) => match split(&rest) {
                Some((file, line)) => (file, line, last),
                None => (rest, last, 1),
            },
            None => (place.to_owned(), 0, 0),
        };
        Self {
            file: file.into(),
            line,
            column,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// A line and the bytes of it to mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    pub line: String,
    pub mark: Range<usize>,
}

impl Snippet {
    /// Keeps no more of a long line than is needed to see the mark, and marks whole characters.
    #[must_use]
    pub fn new(line: &str, mark: Range<usize>) -> Self {
        const LINE_BYTES_MAX: usize = 400;
        let end = LINE_BYTES_MAX.max(mark.start.saturating_add(80));
        let line = line.get(..line.ceil_char_boundary(end)).unwrap_or(line);
        let start = line.floor_char_boundary(mark.start);
        Self {
            mark: start..line.ceil_char_boundary(mark.end).max(start),
            line: line.to_owned(),
        }
    }
}

impl Snippet {
    /// Marks by column and width in characters, columns from 1.
    #[must_use]
    pub fn at(line: &str, column: usize, width: usize) -> Self {
        let offset = |chars: usize| {
            let mut starts = line.char_indices().map(|(at, _)| at);
            starts.nth(chars).unwrap_or(line.len())
        };
        let start = column.saturating_sub(1);
        Self::new(line, offset(start)..offset(start.saturating_add(width)))
    }

    /// Marks the word or the quoted text that starts at a column.
    fn word_at(line: &str, column: usize) -> Self {
        let start = column.saturating_sub(1);
        let rest: Vec<char> = line.chars().skip(start).collect();
        let end = |c: &char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | ';');
        let width = match rest.first() {
            Some(quote @ ('"' | '\'')) => {
                let close = rest.iter().skip(1).position(|c| c == quote);
                close.map_or(1, |at| at + 2)
            }
            _ => rest.iter().position(end).unwrap_or(rest.len()),
        };
        Self::at(line, column, width.max(1))
    }
}

/// Another place that has to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    pub location: Location,
    pub snippet: Snippet,
    pub label: String,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub location: Option<Location>,
    pub snippet: Option<Snippet>,
    /// Path of the key: `routes[2].timeout`.
    pub key: Option<String>,
    /// Beside the caret: what to write instead.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    pub related: Option<Related>,
}

impl Diagnostic {
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            location: None,
            snippet: None,
            key: None,
            label: None,
            help: None,
            related: None,
        }
    }

    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self::error(message).severity(Severity::Warning)
    }

    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// At a place that is known by its text alone.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.location = Some(Location::parse(place));
        self
    }

    #[must_use]
    pub fn key(mut self, path: impl Into<String>) -> Self {
        self.key = Some(path.into()).filter(|k| !k.is_empty());
        self
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.location {
            write!(f, "{at}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(label) = &self.label {
            write!(f, " ({label})")?;
        }
        Ok(())
    }
}

/// Everything that was found, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    #[must_use]
    pub fn of(diagnostic: Diagnostic) -> Self {
        Self {
            diagnostics: vec![diagnostic],
        }
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub fn extend(&mut self, other: Self) {
        self.diagnostics.extend(other.diagnostics);
    }

    /// Adds the source line to those that have a place alone. `text_of` gives the path on disk and the
    /// text of a file by the name that the place has for it.
    pub fn quote(&mut self, text_of: &dyn Fn(&str) -> Option<(String, String)>) {
        let mut texts: HashMap<Arc<str>, Option<(String, String)>> = HashMap::new();
        for diagnostic in self.diagnostics.iter_mut().filter(|d| d.snippet.is_none()) {
            let Some(at) = diagnostic.location.as_mut() else {
                continue;
            };
            let read = || text_of(&at.file);
            let Some((path, text)) = texts.entry(Arc::clone(&at.file)).or_insert_with(read) else {
                continue;
            };
            let line = at.line.checked_sub(1).and_then(|n| text.lines().nth(n));
            diagnostic.snippet = line.map(|line| Snippet::word_at(line, at.column));
            at.file = path.as_str().into();
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let of = |d: &&Diagnostic| d.severity == severity;
        self.diagnostics.iter().filter(of).count()
    }

    /// By file and line; what has no place comes last.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by(|a, b| {
            let place = |d: &Diagnostic| (d.location.is_none(), d.location.clone());
            place(a).cmp(&place(b))
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Format::Text))
    }
}

impl std::error::Error for Report {}
