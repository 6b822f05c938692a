//! Why descriptors or `.proto` texts were refused: one value a fault, with the place to look.

use std::fmt;

/// One fault of one source. The program that shows it adds colour and layout, not words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError(Box<Fault>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fault {
    origin: String,
    file: Option<String>,
    place: Option<Place>,
    symbol: Option<String>,
    message: String,
    help: Option<String>,
    lacks: bool,
}

/// A place in a `.proto` text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From one.
    pub line: usize,
    /// In characters, from one.
    pub column: usize,
    /// In characters; at least one. The caret line is `column - 1` spaces and this many `^`.
    pub width: usize,
    /// The whole line, when the text is at hand.
    pub snippet: Option<String>,
}

impl SchemaError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Fault {
            message: message.into(),
            ..Fault::default()
        }))
    }

    pub(crate) fn of(mut self, symbol: &str) -> Self {
        self.0.symbol = Some(symbol.to_owned());
        self
    }

    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.0.file = Some(file.to_owned());
        self
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    pub(crate) fn lacking(mut self) -> Self {
        self.0.lacks = true;
        self
    }

    /// Whether the fault is only that a file or type isn't there: another source may have it.
    #[must_use]
    pub fn lacks(&self) -> bool {
        self.0.lacks
    }

    /// The same fault with the source it came from: [`compile`](super::compile) doesn't know it.
    #[must_use]
    pub fn with_origin(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.0.origin);
        self
    }

    /// The source as the caller named it (`file arcade.binpb`, `reflection games`); may be empty.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// The `.proto` file's virtual path.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// Where in that file.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The full name of the message, field, enum, method it is about.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        self.0.symbol.as_deref()
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for SchemaError {
    /// One line: `origin: file:line:col: symbol: message (help)`, what is unknown left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = &self.0;
        if !fault.origin.is_empty() {
            write!(f, "{}: ", fault.origin)?;
        }
        match (&fault.file, &fault.place) {
            (Some(file), Some(at)) => write!(f, "{file}:{}:{}: ", at.line, at.column)?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, _) => {}
        }
        if let Some(symbol) = &fault.symbol {
            write!(f, "{symbol}: ")?;
        }
        f.write_str(&fault.message)?;
        if let Some(help) = &fault.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SchemaError {}
