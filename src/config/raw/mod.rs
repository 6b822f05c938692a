//! What the file says: sections and fields with their places, read against the table of keys.
//!
//! Every reader reports what is wrong and gives `None`, so that resolving goes on to the next fault.

mod field;

use std::cell::RefCell;
use std::collections::HashSet;

use crate::config::diagnostic::{Diagnostic, Report, Severity};
use crate::config::keys::{Key, Section as Keys, Shape};
use crate::config::model::Place;
use crate::config::source::{Source, Span};
use crate::config::tree::{ERRORS_MAX, Entry, Node, Value};

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

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        self.report.borrow().count(Severity::Error)
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
        for one_of in self.keys.exactly_one {
            self.check_one_of(one_of);
        }
    }

    fn check_one_of(&self, one_of: &[&'static str]) {
        let given: Vec<_> = self
            .entries
            .iter()
            .filter(|e| one_of.contains(&e.key.as_str()))
            .collect();
        let names = || {
            let all: Vec<_> = one_of.iter().map(|k| format!("`{k}`")).collect();
            all.join(", ")
        };
        match given.as_slice() {
            [] if self.meant.iter().any(|m| one_of.contains(m)) => {}
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
