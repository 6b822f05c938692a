//! Diagnostics for people (text), programs (JSON) and the two CI systems that show them in a diff.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet as Excerpt};
use serde_json::{Value, json};

use super::{Diagnostic, Report, Severity, Snippet};

/// How to print a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    /// Text with colours, for a terminal.
    Coloured,
    /// One object for each, as an array.
    Json,
    /// Workflow commands of GitHub Actions.
    Github,
    /// A GitLab Code Quality report.
    Gitlab,
}

impl Report {
    /// The whole report, with a line break at the end unless it is empty text.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(&Renderer::plain()),
            Format::Coloured => self.text(&Renderer::styled()),
            Format::Json => pretty(self.diagnostics.iter().map(as_json).collect()),
            Format::Github => self.diagnostics.iter().map(as_github).collect(),
            Format::Gitlab => pretty(self.diagnostics.iter().map(as_gitlab).collect()),
        }
    }

    fn text(&self, renderer: &Renderer) -> String {
        let mut out = String::new();
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            out.push_str(&as_text(diagnostic, renderer));
            out.push('\n');
        }
        out
    }
}

fn as_text(d: &Diagnostic, renderer: &Renderer) -> String {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group: Group<'_> = Group::with_title(level.primary_title(&*d.message));
    let mark = |s: &Snippet| visible(s);
    if let (Some(at), Some(snippet)) = (&d.location, &d.snippet) {
        let mut annotation = AnnotationKind::Primary.span(mark(snippet));
        if let Some(label) = &d.label {
            annotation = annotation.label(plain(label));
        }
        let excerpt = Excerpt::source(&*snippet.line)
            .line_start(at.line)
            .path(&*at.file)
            .annotation(annotation);
        group = group.element(excerpt);
    } else if let Some(at) = &d.location {
        let origin = annotate_snippets::Origin::path(&*at.file);
        group = group.element(match at.line {
            0 => origin,
            line => origin.line(line).char_column(at.column),
        });
    }
    if let Some(related) = &d.related {
        let annotation = AnnotationKind::Context
            .span(mark(&related.snippet))
            .label(plain(&related.label));
        let excerpt = Excerpt::source(&*related.snippet.line)
            .line_start(related.location.line)
            .path(&*related.location.file)
            .annotation(annotation);
        group = group.element(excerpt);
    }
    if let Some(key) = &d.key {
        group = group.element(Level::NOTE.with_name(Some("key")).message(plain(key)));
    }
    if let Some(help) = &d.help {
        group = group.element(Level::HELP.message(plain(help)));
    }
    renderer.render(&[group])
}

/// Text of the input must not steer a terminal. The renderer sees to titles and source lines, and takes
/// these for our own.
fn plain(text: &str) -> String {
    let shown = |c: char| match c.is_control() && c != '\n' {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    text.chars().map(shown).collect()
}

/// The mark, at least one character wide where the line has one.
fn visible(snippet: &Snippet) -> std::ops::Range<usize> {
    let mark = snippet.mark.clone();
    if !mark.is_empty() {
        return mark;
    }
    let next = snippet
        .line
        .get(mark.start..)
        .and_then(|s| s.chars().next());
    mark.start..mark.start + next.map_or(0, char::len_utf8)
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn as_json(d: &Diagnostic) -> Value {
    let place = |l: &super::Location| json!({"file": &*l.file, "line": l.line, "column": l.column});
    json!({
        "severity": severity_name(d.severity),
        "message": d.message,
        "location": d.location.as_ref().map(place),
        "source": d.snippet.as_ref().map(|s| &s.line),
        "key": d.key,
        "label": d.label,
        "help": d.help,
        "related": d.related.as_ref().map(|r| json!({"location": place(&r.location), "label": r.label})),
    })
}

/// `::error file=…,line=…,col=…::…`. In properties `%`, line ends, `:` and `,` are escaped, in the
/// message `%` and line ends.
fn as_github(d: &Diagnostic) -> String {
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let command = match d.severity {
        Severity::Note => "notice",
        other => severity_name(other),
    };
    let place = d.location.as_ref().map_or(String::new(), |l| {
        let line = match l.line {
            0 => String::new(),
            line => format!(",line={line},col={}", l.column),
        };
        format!(" file={}{line}", property(&l.file))
    });
    format!("::{command}{place}::{}\n", data(&sentence(d)))
}

fn as_gitlab(d: &Diagnostic) -> Value {
    let severity = match d.severity {
        Severity::Error => "major",
        Severity::Warning => "minor",
        Severity::Note => "info",
    };
    let (file, line) = d
        .location
        .as_ref()
        .map_or(("", 1), |l| (&*l.file, l.line.max(1)));
    let description = sentence(d);
    json!({
        "description": description,
        "check_name": "transom check",
        "fingerprint": fingerprint(&[file, d.key.as_deref().unwrap_or(""), &description]),
        "severity": severity,
        "location": {"path": file, "lines": {"begin": line}},
    })
}

/// Message, what to write instead and help, on one line.
fn sentence(d: &Diagnostic) -> String {
    let mut all = d.message.clone();
    if let Some(label) = &d.label {
        all.push_str(" (");
        all.push_str(label);
        all.push(')');
    }
    if let Some(help) = &d.help {
        all.push_str("; ");
        all.push_str(help);
    }
    all
}

/// Names the finding from one pipeline to the next, so it must not depend on the line. FNV-1a.
fn fingerprint(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|p| p.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Keys by their names: programs don't mind, and a new one moves no other.
fn pretty(mut values: Vec<Value>) -> String {
    values.iter_mut().for_each(Value::sort_all_objects);
    // Values of strings and numbers always print.
    let mut text = serde_json::to_string_pretty(&values).unwrap_or_default();
    text.push('\n');
    text
}
