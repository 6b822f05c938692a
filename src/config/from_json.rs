//! JSON to a [`Node`]: serde_json says whether it is JSON, then a walk over what is known to be valid
//! finds the places and the duplicate keys.

use super::diagnostic::Diagnostic;
use super::source::{Source, Span};
use super::tree::{DEPTH_MAX, Entry, Kind, NODES_MAX, Node, Scalar, Value, insert};

/// # Errors
/// What is no JSON (RFC 8259), or is beyond the tree's bounds; duplicate keys are all collected.
pub fn parse(source: &Source) -> Result<Node, Vec<Diagnostic>> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(source.text()) {
        return Err(vec![syntax_error(source, &error)]);
    }
    let mut walk = Walk {
        source,
        at: 0,
        depth: 0,
        nodes: 0,
        errors: Vec::new(),
    };
    match walk.value() {
        Some(node) if walk.errors.is_empty() => Ok(node),
        Some(_) => Err(walk.errors),
        None => {
            if walk.errors.is_empty() {
                walk.fail(format!(
                    "nested more than {DEPTH_MAX} deep, or more than {NODES_MAX} values"
                ));
            }
            Err(walk.errors)
        }
    }
}

fn syntax_error(source: &Source, error: &serde_json::Error) -> Diagnostic {
    // serde_json counts lines from 1 and columns in bytes; column 0 is the end of the line before.
    let before: usize = source
        .text()
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let mut at = (before + error.column().saturating_sub(1)).min(source.text().len());
    while !source.text().is_char_boundary(at) {
        at -= 1;
    }
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    source.error(Span::new(at, at), format!("invalid JSON: {message}"))
}

struct Walk<'s> {
    source: &'s Source,
    at: usize,
    depth: usize,
    nodes: usize,
    errors: Vec<Diagnostic>,
}

impl Walk<'_> {
    /// The next value; `None` past a bound.
    fn value(&mut self) -> Option<Node> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || self.depth > DEPTH_MAX {
            return None;
        }
        self.skip_space();
        let start = self.at;
        let value = match self.peek()? {
            b'{' => self.map()?,
            b'[' => self.list()?,
            b'"' => Value::Scalar(Scalar::new(self.string()?, Kind::String)),
            _ => self.word()?,
        };
        Some(Node {
            value,
            span: Span::new(start, self.at),
        })
    }

    fn map(&mut self) -> Option<Value> {
        let mut entries = Vec::new();
        self.depth += 1;
        self.at += 1;
        while self.another(b'}')? {
            let start = self.at;
            let key = self.string()?;
            let key_span = Span::new(start, self.at);
            self.skip_space();
            self.at += 1; // the colon
            let value = self.value()?;
            let entry = Entry {
                key,
                key_span,
                value,
            };
            if let Err(twice) = insert(self.source, &mut entries, entry) {
                self.errors.push(*twice);
                if self.errors.len() >= super::tree::ERRORS_MAX {
                    return None;
                }
            }
        }
        self.depth -= 1;
        Some(Value::Map(entries))
    }

    fn list(&mut self) -> Option<Value> {
        let mut items = Vec::new();
        self.depth += 1;
        self.at += 1;
        while self.another(b']')? {
            items.push(self.value()?);
        }
        self.depth -= 1;
        Some(Value::List(items))
    }

    /// Steps over space and a comma to the next item, or over the end.
    fn another(&mut self, end: u8) -> Option<bool> {
        self.skip_space();
        if self.peek()? == b',' {
            self.at += 1;
            self.skip_space();
        }
        let more = self.peek()? != end;
        if !more {
            self.at += 1;
        }
        Some(more)
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(self.source.text().get(start..self.at)?).ok()
    }

    fn word(&mut self) -> Option<Value> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            self.at += 1;
        }
        let text = self.source.text().get(start..self.at)?;
        let kind = match text {
            "null" => Kind::Null,
            "true" | "false" => Kind::Bool,
            number if number.contains(['.', 'e', 'E']) => Kind::Float,
            _ => Kind::Integer,
        };
        Some(Value::Scalar(Scalar::new(text, kind)))
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.source.text().as_bytes().get(self.at).copied()
    }

    fn fail(&mut self, message: String) {
        let at = Span::new(self.at, self.at);
        self.errors.push(self.source.error(at, message));
    }
}
