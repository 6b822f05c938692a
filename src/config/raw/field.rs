//! Readers of one value: a list, a section, text, a number. Each checks kind and range.

use std::borrow::Cow;
use std::time::Duration;

use super::{Field, Section, did_you_mean, join};
use crate::config::diagnostic::Diagnostic;
use crate::config::keys::Shape;
use crate::config::model::Place;
use crate::config::scalar::{self, Trouble};
use crate::config::source::Span;
use crate::config::tree::{Entry, Kind, Node, Value, integer};

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

    /// Names and values of a [`Shape::HeaderValues`]; each value is a field with its own place.
    pub fn header_values(&self) -> Vec<(&'n str, Field<'r, 'n>)> {
        let Value::Map(entries) = &self.node.value else {
            let what = format!("expected a map, found {}", self.node.kind_name());
            let help = "header names and their values: `{ x-tenant: acme }`";
            self.reader.push(self.fail(what).help(help));
            return Vec::new();
        };
        if entries.is_empty() {
            self.error("an empty map");
        }
        let pair = |entry: &'n Entry| {
            let field = Field {
                reader: self.reader,
                node: &entry.value,
                key_span: entry.key_span,
                path: join(&self.path, &entry.key),
                shape: &Shape::Text,
            };
            (entry.key.as_str(), field)
        };
        entries.iter().map(pair).collect()
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
                // Quotes help only where any text may stand.
                let help = match (other, self.shape) {
                    (_, Shape::Duration { .. }) => Some(scalar::DURATIONS.to_owned()),
                    (_, Shape::Size { .. }) => Some(scalar::SIZES.to_owned()),
                    (Value::Scalar(_), Shape::Choice(_) | Shape::ChoiceOr(..)) => None,
                    (Value::Scalar(_), _) => Some(format!(
                        "put it in quotes: `\"{}\"`",
                        self.reader.source.shown(self.node.span)
                    )),
                    _ => None,
                };
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

    /// A number of a [`Shape::Share`].
    pub fn share(&self) -> Option<f64> {
        let Shape::Share = *self.shape else {
            return None;
        };
        let Value::Scalar(s) = &self.node.value else {
            self.error(format!(
                "expected a number, found {}",
                self.node.kind_name()
            ));
            return None;
        };
        let number = match s.kind {
            Kind::Integer | Kind::Float => s.text.parse::<f64>().ok(),
            Kind::String if s.expanded => s.text.parse::<f64>().ok(),
            _ => None,
        };
        let within = number.filter(|n| (0.0..=1.0).contains(n));
        if within.is_none() {
            self.error("expected a number from 0 to 1");
        }
        within
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
            let expected = match (&*all, self.shape) {
                ([only], Shape::ChoiceOr(..)) => format!("expected {only}, or a map"),
                _ => format!("expected one of {}", all.join(", ")),
            };
            let mut wrong = self.fail(expected);
            wrong.label = did_you_mean(text, words.iter().copied());
            let keys = match self.shape {
                Shape::ChoiceOr(_, keys) => Some(keys.keys().map(|k| k.name)),
                _ => None,
            };
            let help = keys.map(|k| {
                format!(
                    "the keys of the map are {}",
                    k.collect::<Vec<_>>().join(", ")
                )
            });
            self.reader.push(wrong.maybe_help(help));
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
