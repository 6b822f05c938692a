//! YAML 1.2 to a [`Node`], by events: no recursion, aliases paid from the node budget.
//!
//! Absent on purpose: tags, merge keys and several documents. None has a meaning in a config, and each
//! hides what a file says.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as Marks};

use super::diagnostic::Diagnostic;
use super::source::{Source, Span};
use super::tree::{DEPTH_MAX, Entry, Kind, NODES_MAX, Node, Scalar, Value, core_kind, insert};

type Refused = Box<Diagnostic>;

/// Parses one document.
///
/// # Errors
/// What is no YAML, and what this config takes no part of; duplicate keys are all collected.
pub fn parse(source: &Source) -> Result<Node, Vec<Diagnostic>> {
    let mut tree = Builder::new(source);
    match tree.run() {
        Ok(()) if tree.errors.is_empty() => Ok(tree.root.unwrap_or_else(|| empty(source))),
        Ok(()) => Err(tree.errors),
        Err(fatal) => {
            tree.errors.push(*fatal);
            Err(tree.errors)
        }
    }
}

fn empty(source: &Source) -> Node {
    let end = source.text().len();
    Node {
        value: Value::Scalar(Scalar::new("", Kind::Null)),
        span: Span::new(end, end),
    }
}

/// A list or map that isn't closed yet.
struct Open {
    kind: OpenKind,
    start: usize,
    anchor: usize,
}

enum OpenKind {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, Span)>),
}

struct Builder<'s> {
    source: &'s Source,
    /// Byte offset of each character; empty for ASCII, where they are the same.
    offsets: Vec<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
    errors: Vec<Diagnostic>,
}

impl<'s> Builder<'s> {
    fn new(source: &'s Source) -> Self {
        let text = source.text();
        let offsets = if text.is_ascii() {
            Vec::new()
        } else {
            let starts = text.char_indices().map(|(at, _)| at);
            starts.chain([text.len()]).collect()
        };
        Self {
            source,
            offsets,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
            errors: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), Refused> {
        let mut documents = 0;
        for event in Parser::new_from_str(self.source.text()) {
            let (event, marks) = event.map_err(|error| {
                let at = self.offset(*error.marker());
                Box::new(syntax_error(self.source, at, error.info()))
            })?;
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
            }
            if documents > 1 {
                return Err(self.refuse(
                    self.span(marks),
                    "a second YAML document",
                    "a config is one document: put it in a file of its own",
                ));
            }
            self.event(event, self.span(marks))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refused> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                let kind = if style == ScalarStyle::Plain {
                    core_kind(&text)
                } else {
                    Kind::String
                };
                let value = Value::Scalar(Scalar::new(text, kind));
                self.add(Node { value, span }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(OpenKind::List(Vec::new()), span, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(OpenKind::Map(Vec::new(), None), span, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, kind: OpenKind, span: Span, anchor: usize) -> Result<(), Refused> {
        if self.open.len() >= DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} deep");
            return Err(Box::new(self.source.error(span, message)));
        }
        let at_key = matches!(
            self.open.last(),
            Some(Open {
                kind: OpenKind::Map(_, None),
                ..
            })
        );
        if at_key {
            return Err(Box::new(
                self.source.error(span, "a key must be a plain word"),
            ));
        }
        self.count(1, span)?;
        self.open.push(Open {
            kind,
            start: span.start,
            anchor,
        });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Refused> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map(entries, _) => Value::Map(entries),
        };
        let span = Span::new(open.start, span.end.max(open.start));
        self.place(Node { value, span }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Refused> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Box::new(
                self.source.error(span, "an alias inside its own anchor"),
            ));
        };
        let (node, size) = (node.clone(), *size);
        self.count(size, span)?;
        if self.open.len() + depth(&node) > DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} deep");
            return Err(Box::new(self.source.error(span, message)));
        }
        self.place(node, 0)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Refused> {
        self.count(1, node.span)?;
        self.place(node, anchor)
    }

    /// Puts a finished node where it belongs: key, value, item or root.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Refused> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size(&node)));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map(_, key @ None)) => *key = Some(key_of(self.source, node)?),
            Some(OpenKind::Map(entries, key)) => {
                let (key, key_span) = key.take().unwrap_or_default();
                let entry = Entry {
                    key,
                    key_span,
                    value: node,
                };
                if let Err(twice) = insert(self.source, entries, entry) {
                    self.errors.push(*twice);
                    if self.errors.len() >= super::tree::ERRORS_MAX {
                        return Err(Box::new(Diagnostic::error("too many errors")));
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Refused> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        let message = format!("more than {NODES_MAX} values, copies by alias included");
        Err(Box::new(self.source.error(span, message)))
    }

    fn refuse_tag(&self, tagged: bool, span: Span) -> Result<(), Refused> {
        if !tagged {
            return Ok(());
        }
        Err(self.refuse(
            span,
            "a YAML tag (`!…`) has no meaning here",
            "put quotes around a text that looks like something else",
        ))
    }

    fn refuse(&self, span: Span, message: &str, help: &str) -> Refused {
        Box::new(self.source.error(span, message).help(help))
    }

    fn offset(&self, marker: Marker) -> usize {
        let last = self.source.text().len();
        if self.offsets.is_empty() {
            return marker.index().min(last);
        }
        self.offsets.get(marker.index()).copied().unwrap_or(last)
    }

    fn span(&self, marks: Marks) -> Span {
        let start = self.offset(marks.start);
        Span::new(start, self.offset(marks.end).max(start))
    }
}

fn key_of(source: &Source, node: Node) -> Result<(String, Span), Refused> {
    match node.value {
        Value::Scalar(s) if s.text == "<<" => Err(Box::new(
            source
                .error(node.span, "merge keys (`<<`) are not part of YAML 1.2")
                .help("write the keys out; `defaults` gives policy to all routes"),
        )),
        Value::Scalar(s) => Ok((s.text, node.span)),
        Value::List(_) | Value::Map(_) => Err(Box::new(
            source.error(node.span, "a key must be a plain word"),
        )),
    }
}

/// The parser's words, and ours where its own don't help.
fn syntax_error(source: &Source, at: usize, info: &str) -> Diagnostic {
    let span = Span::new(at, at);
    let line = source.snippet(span).line;
    let indent: &str = line
        .split(|c: char| !c.is_whitespace())
        .next()
        .unwrap_or("");
    if indent.contains('\t') {
        let start = at.saturating_sub(source.location(span).column.saturating_sub(1));
        let tab = indent.find('\t').unwrap_or(0);
        return source
            .error(
                Span::new(start + tab, start + tab + 1),
                "a tab can't indent YAML",
            )
            .label("use spaces");
    }
    let help = match info {
        i if i.contains("quoted scalar") => Some("is a closing quote missing?"),
        i if i.contains("flow") => Some("is a closing bracket or a comma missing?"),
        i if i.contains("block mapping") || i.contains("block collection") => {
            Some("keys that belong together start in the same column")
        }
        _ => None,
    };
    source
        .error(span, format!("invalid YAML: {info}"))
        .maybe_help(help.map(Into::into))
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|e| 1 + size(&e.value)).sum(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| depth(&e.value)).max().unwrap_or(0),
    }
}
