//! Places in `.proto` texts: the compiler's diagnostics with line, column and snippet, and the checks
//! made before it sees a text.

use miette::Diagnostic;

use super::error::{Place, SchemaError};
use super::names;

/// Brackets open at once. Messages nest up to 31 in protoc; option values add some.
const DEPTH_MAX: usize = 100;
/// Characters of a snippet; minified text has lines without end.
const SNIPPET_CHARS_MAX: usize = 400;

/// All faults of one diagnostic, the first and those behind it.
pub(super) fn of(diagnostic: &dyn Diagnostic, file: &str, text: &str) -> Vec<SchemaError> {
    let mut errors = vec![one(diagnostic, file, text)];
    if let Some(related) = diagnostic.related() {
        errors.extend(related.map(|d| one(d, file, text)));
    }
    errors
}

fn one(diagnostic: &dyn Diagnostic, file: &str, text: &str) -> SchemaError {
    let message = diagnostic.to_string();
    let mut error = SchemaError::new(names::shown_text(&message)).in_file(&names::shown(file));
    if let Some(help) = diagnostic.help() {
        error = error.with_help(help.to_string());
    }
    // Of several labels the last is the later declaration, the one to change.
    match diagnostic.labels().and_then(Iterator::last) {
        Some(label) => error.at(place(text, label.offset(), label.len())),
        None => error,
    }
}

/// Line and column of a byte offset; an offset that isn't one counts as the end.
pub(super) fn place(text: &str, offset: usize, length: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let rest = text.get(line_start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    let marked = text
        .get(offset..offset.saturating_add(length))
        .unwrap_or_default();
    let marked = marked.lines().next().unwrap_or_default().chars().count();
    Place {
        line: before.matches('\n').count().saturating_add(1),
        column: column.saturating_add(1),
        width: marked.max(1),
        snippet: Some(snippet(line)),
    }
}

/// A line fit to show: tabs as single spaces so that columns hold, control characters out.
pub(super) fn snippet(line: &str) -> String {
    line.chars()
        .take(SNIPPET_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Offset of the keyword when the first statement is `edition = …`.
pub(super) fn edition_keyword(text: &str) -> Option<usize> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n')?.1;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/")?.1;
        } else {
            break;
        }
    }
    let after = rest.strip_prefix("edition")?.trim_start();
    after
        .starts_with('=')
        .then(|| text.len().saturating_sub(rest.len()))
}

/// Offset of the first bracket that is too deep: the parsers of option values recurse.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        if let Some(open) = quote {
            match byte {
                b'\\' => drop(bytes.next()),
                b'\n' => quote = None,
                _ if byte == open => quote = None,
                _ => {}
            }
            continue;
        }
        match (byte, bytes.peek().map(|(_, b)| *b)) {
            (b'"' | b'\'', _) => quote = Some(byte),
            (b'/', Some(b'/')) => while bytes.next_if(|(_, b)| *b != b'\n').is_some() {},
            (b'/', Some(b'*')) => {
                bytes.next();
                let mut star = false;
                for (_, b) in bytes.by_ref() {
                    if star && b == b'/' {
                        break;
                    }
                    star = b == b'*';
                }
            }
            (b'{' | b'[' | b'(' | b'<', _) => {
                depth = depth.saturating_add(1);
                if depth > DEPTH_MAX {
                    return Some(at);
                }
            }
            (b'}' | b']' | b')' | b'>', _) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}
