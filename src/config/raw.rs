//! What the file says: sections and fields with their places, read against the table of keys.
//!
//! Every reader reports what is wrong and gives `None`, so that resolving goes on to the next fault.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Report};
use super::keys::{Key, Section as Keys, Shape};
use super::model::Place;
use super::scalar::{self, Trouble};
use super::source::{Source, Span};
use super::tree::{ERRORS_MAX, Entry, Kind, Node, Value, integer};

/// Known keys that are listed even when there is a near one.
const SHORT_LIST: usize = 8;

/// The file that is read and what has been found wrong with it.
pub struct Reader<'s> {
    pub source: &'s Source,
    report: RefCell<Report>,
}

impl<'s> Reader<'s> {
    pub fn new(source: &'s Source) -> Self {
        Self {
            source,
            report: RefCell::default(),
        }
    }

    pub fn push(&self, diagnostic: Diagnostic) {
        let mut report = self.report.borrow_mut();
        if report.diagnostics.len() < ERRORS_MAX {
            report.push(diagnostic);
        }
    }

    pub fn finish(self) -> Report {
        self.report.into_inner()
    }

    pub fn error(&self, span: Span, path: &str, message: impl Into<String>) {
        self.push(self.source.error(span, message).key(path));
    }
}

/// A map whose keys are known.
pub struct Section<'r, 'n> {
    pub reader: &'r Reader<'r>,
    keys: &'static Keys,
    entries: &'n [Entry],
    /// `routes[2]`; empty for the file.
    pub path: String,
    pub span: Span,
    /// Known keys that unknown ones were taken for: they aren't missing as well.
    meant: Vec<&'static str>,
}

/// A key that is there, and its value.
pub struct Field<'r, 'n> {
    pub reader: &'r Reader<'r>,
    pub node: &'n Node,
    pub key_span: Span,
    pub path: String,
    pub shape: &'static Shape,
}

impl<'r, 'n> Section<'r, 'n> {
    /// Checks the keys of a map: known, with values, the required ones there, one of the alternatives.
    pub fn open(
        reader: &'r Reader<'r>,
        keys: &'static Keys,
        node: &'n Node,
        path: String,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let what = format!("expected a map, found {}", node.kind_name());
            let some: Vec<_> = keys
                .keys()
                .take(4)
                .map(|k| format!("`{}`", k.name))
                .collect();
            reader.push(
                reader
                    .source
                    .error(node.span, what)
                    .key(&path)
                    .help(format!("its keys are {} …", some.join(", "))),
            );
            return None;
        };
        let span = entries.first().map_or(node.span, |e| e.key_span);
        let mut section = Self {
            reader,
            keys,
            entries,
            path,
            span,
            meant: Vec::new(),
        };
        section.check_known();
        section.check_required();
        Some(section)
    }

    fn check_known(&mut self) {
        let present: HashSet<_> = self.entries.iter().map(|e| e.key.as_str()).collect();
        for entry in self.entries {
            let path = join(&self.path, &entry.key);
            if self.keys.key(&entry.key).is_none() {
                let unused = self
                    .keys
                    .keys()
                    .map(|k| k.name)
                    .filter(|k| !present.contains(k));
                let near = nearest(&entry.key, unused);
                self.meant.extend(near);
                let mut unknown = self
                    .reader
                    .source
                    .error(entry.key_span, format!("unknown key `{}`", entry.key))
                    .key(path);
                unknown.label = near.map(|n| format!("did you mean `{n}`?"));
                // A long list says nothing that a near name doesn't say better.
                let known: Vec<_> = self.keys.keys().map(|k| k.name).collect();
                let list = near.is_none() || known.len() <= SHORT_LIST;
                let help = list.then(|| format!("the keys here are {}", known.join(", ")));
                self.reader.push(unknown.maybe_help(help));
            } else if entry.value.is_null() {
                self.reader.error(
                    entry.key_span,
                    &path,
                    format!("`{}` has no value", entry.key),
                );
            }
        }
    }

    fn check_required(&self) {
        for key in self.keys.keys().filter(|k| k.required) {
            if !self.meant.contains(&key.name) && self.find(key.name).is_none() {
                self.reader.push(
                    self.reader
                        .source
                        .error(self.span, format!("`{}` is missing", key.name))
                        .key(&self.path)
                        .help(format!("{}: {}", key.name, key.about)),
                );
            }
        }
        let given: Vec<_> = self
            .entries
            .iter()
            .filter(|e| self.keys.exactly_one.contains(&e.key.as_str()))
            .collect();
        let names = || {
            let all: Vec<_> = self
                .keys
                .exactly_one
                .iter()
                .map(|k| format!("`{k}`"))
                .collect();
            all.join(", ")
        };
        let one_of = self.keys.exactly_one;
        match given.as_slice() {
            [] if one_of.is_empty() || self.meant.iter().any(|m| one_of.contains(m)) => {}
            [] => self.reader.error(
                self.span,
                &self.path,
                format!("one of {} is missing", names()),
            ),
            [_] => {}
            [first, second, ..] => self.reader.push(
                self.reader
                    .source
                    .error(
                        second.key_span,
                        format!("`{}` and `{}` exclude each other", first.key, second.key),
                    )
                    .key(&self.path)
                    .help(format!("exactly one of {}", names())),
            ),
        }
    }

    fn find(&self, name: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|e| e.key == name)
    }

    /// Whether the key stands there, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A key with a value.
    pub fn field(&self, name: &str) -> Option<Field<'r, 'n>> {
        let key: &'static Key = self.keys.key(name)?;
        let entry = self.find(name).filter(|e| !e.value.is_null())?;
        Some(Field {
            reader: self.reader,
            node: &entry.value,
            key_span: entry.key_span,
            path: join(&self.path, name),
            shape: &key.shape,
        })
    }

    /// A section under a key.
    pub fn section(&self, name: &str) -> Option<Section<'r, 'n>> {
        let field = self.field(name)?;
        let Shape::Section(keys) = field.shape else {
            return None;
        };
        Section::open(self.reader, keys, field.node, field.path)
    }

    /// The items of a list under a key; none when it isn't there.
    pub fn items(&self, name: &str) -> Vec<Field<'r, 'n>> {
        self.field(name).map(|f| f.items()).unwrap_or_default()
    }

    pub fn place(&self) -> Place {
        self.reader.source.place(self.span)
    }
}

impl<'r, 'n> Field<'r, 'n> {
    pub fn place(&self) -> Place {
        self.reader.source.place(self.node.span)
    }

    pub fn fail(&self, message: impl Into<String>) -> Diagnostic {
        self.reader
            .source
            .error(self.node.span, message)
            .key(&self.path)
    }

    pub fn error(&self, message: impl Into<String>) {
        self.reader.push(self.fail(message));
    }

    /// The items of a list, which may not be empty.
    pub fn items(&self) -> Vec<Field<'r, 'n>> {
        let Shape::List(shape) = self.shape else {
            return Vec::new();
        };
        let Value::List(items) = &self.node.value else {
            let wrong = self.fail(format!("expected a list, found {}", self.node.kind_name()));
            let help = match &self.node.value {
                Value::Scalar(_) => Some(format!(
                    "write it as a list: `[{}]`",
                    self.reader.source.shown(self.node.span)
                )),
                Value::Map(_) => Some("each item of a list starts with `- `".into()),
                Value::List(_) => None,
            };
            self.reader.push(wrong.maybe_help(help));
            return Vec::new();
        };
        if items.is_empty() {
            self.error("an empty list");
        }
        let item = |(index, node): (usize, &'n Node)| Field {
            reader: self.reader,
            node,
            key_span: node.span,
            path: format!("{}[{index}]", self.path),
            shape,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The item as a section.
    pub fn section(&self) -> Option<Section<'r, 'n>> {
        let Shape::Section(keys) = self.shape else {
            return None;
        };
        Section::open(self.reader, keys, self.node, self.path.clone())
    }

    /// Named sections: the name, its place, the section.
    pub fn named(&self) -> Vec<(&'n str, Span, Section<'r, 'n>)> {
        let Shape::Named(keys) = self.shape else {
            return Vec::new();
        };
        let Value::Map(entries) = &self.node.value else {
            let what = format!("expected a map of names, found {}", self.node.kind_name());
            let help = matches!(self.node.value, Value::List(_))
                .then(|| "each has its name as key: `games: { … }`".to_owned());
            self.reader.push(self.fail(what).maybe_help(help));
            return Vec::new();
        };
        if entries.is_empty() {
            self.error("an empty map");
        }
        let mut all = Vec::new();
        for entry in entries {
            let path = join(&self.path, &entry.key);
            if let Err(trouble) = scalar::name(&entry.key) {
                self.reader.error(entry.key_span, &path, trouble.message);
            }
            if entry.value.is_null() {
                let message = format!("`{}` has no value", entry.key);
                self.reader.error(entry.key_span, &path, message);
            } else if let Some(section) = Section::open(self.reader, keys, &entry.value, path) {
                all.push((entry.key.as_str(), entry.key_span, section));
            }
        }
        all
    }

    /// The text of a value that is text.
    pub fn text(&self) -> Option<&'n str> {
        let what = self.wanted();
        match &self.node.value {
            Value::Scalar(s) if s.kind == Kind::String || s.expanded => {
                if s.text.is_empty() {
                    self.error(format!("expected {what}, found an empty string"));
                    return None;
                }
                Some(&s.text)
            }
            other => {
                let wrong = self.fail(format!("expected {what}, found {}", self.node.kind_name()));
                let help = matches!(other, Value::Scalar(_)).then(|| {
                    format!(
                        "put it in quotes: `\"{}\"`",
                        self.reader.source.shown(self.node.span)
                    )
                });
                self.reader.push(wrong.maybe_help(help));
                None
            }
        }
    }

    /// The text, read by a function that says what is wrong.
    pub fn parse<T>(&self, read: impl FnOnce(&'n str) -> Result<T, Trouble>) -> Option<T> {
        self.check(self.text()?, read)
    }

    fn check<T>(
        &self,
        text: &'n str,
        read: impl FnOnce(&'n str) -> Result<T, Trouble>,
    ) -> Option<T> {
        match read(text) {
            Ok(value) => Some(value),
            Err(trouble) => {
                self.trouble(text, trouble);
                None
            }
        }
    }

    /// Reports a trouble, at its own bytes where the file has the text as it is. What quotes a value
    /// that came from the environment isn't shown.
    fn trouble(&self, text: &str, trouble: Trouble) {
        let expanded = matches!(&self.node.value, Value::Scalar(s) if s.expanded);
        let shown = |words: &Cow<'static, str>| !expanded || matches!(words, Cow::Borrowed(_));
        let message = match shown(&trouble.message) {
            true => trouble.message.into_owned(),
            false => "the value of this variable can't stand here".to_owned(),
        };
        let help = trouble.help.filter(shown).map(Cow::into_owned);
        let mut wrong = self.fail(message).maybe_help(help);
        if let Some(at) = trouble.at {
            let written = self.reader.source.slice(self.node.span);
            if let Some(found) = written.find(text) {
                let base = self.node.span.start + found;
                let span = Span::new(base + at.start, base + at.end.max(at.start + 1));
                wrong.location = Some(self.reader.source.location(span));
                wrong.snippet = Some(self.reader.source.snippet(span));
            }
        }
        self.reader.push(wrong);
    }

    pub fn bool(&self) -> Option<bool> {
        if let Value::Scalar(s) = &self.node.value {
            match (s.kind, s.text.to_ascii_lowercase().as_str()) {
                (Kind::Bool, word) => return Some(word == "true"),
                (Kind::String, word @ ("yes" | "no" | "on" | "off" | "true" | "false")) => {
                    let right = matches!(word, "yes" | "on" | "true");
                    let wrong = self
                        .fail("expected `true` or `false`, found a string")
                        .help(if matches!(word, "true" | "false") {
                            "leave the quotes off".to_owned()
                        } else {
                            "`yes`, `no`, `on` and `off` are plain strings in YAML 1.2".to_owned()
                        })
                        .label(format!("write `{right}`"));
                    self.reader.push(wrong);
                    return None;
                }
                _ => {}
            }
        }
        self.error(format!(
            "expected `true` or `false`, found {}",
            self.node.kind_name()
        ));
        None
    }

    pub fn integer(&self) -> Option<u64> {
        let Shape::Integer { min, max } = *self.shape else {
            return None;
        };
        match &self.node.value {
            Value::Scalar(s) if s.kind == Kind::Integer => {
                let number = integer(&s.text).and_then(|n| u64::try_from(n).ok());
                let number = number.filter(|n| (min..=max).contains(n));
                if number.is_none() {
                    self.error(format!(
                        "out of range: expected a number from {min} to {max}"
                    ));
                }
                number
            }
            Value::Scalar(s) if s.kind == Kind::Float => {
                self.error("expected a whole number");
                None
            }
            _ => {
                self.error(format!(
                    "expected a number, found {}",
                    self.node.kind_name()
                ));
                None
            }
        }
    }

    pub fn duration(&self) -> Option<Duration> {
        let Shape::Duration { min, max } = *self.shape else {
            return None;
        };
        let value = self.check(self.text_or_number()?, scalar::duration)?;
        if (min..=max).contains(&value) {
            return Some(value);
        }
        self.error(format!(
            "out of range: expected {} to {}",
            scalar::show_duration(min),
            scalar::show_duration(max)
        ));
        None
    }

    pub fn size(&self) -> Option<u64> {
        let Shape::Size { min, max } = *self.shape else {
            return None;
        };
        let value = self.check(self.text_or_number()?, scalar::size)?;
        if (min..=max).contains(&value) {
            return Some(value);
        }
        self.error(format!(
            "out of range: expected {} to {}",
            scalar::show_size(min),
            scalar::show_size(max)
        ));
        None
    }

    /// Durations and sizes say themselves that a bare number lacks its unit.
    fn text_or_number(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar(s) if s.kind == Kind::Integer => Some(&s.text),
            _ => self.text(),
        }
    }

    /// One of the words of a [`Shape::Choice`].
    pub fn choice(&self) -> Option<&'static str> {
        let (Shape::Choice(words) | Shape::ChoiceOr(words, _)) = *self.shape else {
            return None;
        };
        let text = self.text()?;
        let found = words.iter().find(|w| **w == text);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|w| format!("`{w}`")).collect();
            let mut wrong = self.fail(format!("expected one of {}", all.join(", ")));
            wrong.label = did_you_mean(text, words.iter().copied());
            self.reader.push(wrong);
        }
        found.copied()
    }

    fn wanted(&self) -> &'static str {
        match self.shape {
            Shape::Duration { .. } => "a duration such as `5s`",
            Shape::Size { .. } => "a size such as `64KiB`",
            Shape::Address => "an address such as `0.0.0.0:8080`",
            Shape::Choice(_) => "a word",
            _ => "a string",
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The nearest of the known names, when it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const NEAR_ENOUGH: f64 = 0.7;
    const WORD_BYTES_MAX: usize = 100;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let plain = word.to_ascii_lowercase().replace('-', "_");
    let distance =
        |k: &str| strsim::normalized_damerau_levenshtein(&plain, &k.to_ascii_lowercase());
    known
        .map(|k| (distance(k), k))
        .filter(|(near, _)| *near >= NEAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// [`nearest`] as a question.
pub fn did_you_mean<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    nearest(word, known).map(|k| format!("did you mean `{k}`?"))
}
