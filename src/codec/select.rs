//! Which fields of a message are printed (AIP-157 partial responses): a tree of field indices, compiled
//! from a request's text and bounded in paths and depth. What is not chosen is checked all the same.
//!
//! ```text
//! List = Item { "," Item } ;  Item = "*" | Name [ ("." | "/") Item | "(" List ")" ] ;
//! ```

use super::tables::{Form, Shape, Tables};
use super::{Codec, Target};
use crate::limits::{FIELD_PATH_DEPTH_MAX, SELECTED_FIELDS_MAX};
use crate::schema::{Kind, MessageId};

/// The node that has everything below it.
pub(super) const WHOLE: u32 = u32::MAX;

/// The fields of a message, and of those in it, that are to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The document's own message comes first.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    message: MessageId,
    whole: bool,
    /// Field indices, ascending, each with its node.
    fields: Vec<(u32, u32)>,
}

/// Why a list of fields chooses nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("{path:?}: no such field in {message}")]
    Unknown { path: String, message: String },
    #[error("{path:?} takes one value as a whole and has no fields to choose from")]
    NoFields { path: String },
    #[error("the reply has no fields to choose from")]
    NotMessage,
    #[error("expected the name of a field after {before:?}")]
    NoName { before: String },
    #[error("the parentheses don't match")]
    Parentheses,
    #[error("more than {SELECTED_FIELDS_MAX} fields are chosen")]
    TooMany,
    #[error("fields are chosen more than {FIELD_PATH_DEPTH_MAX} levels deep")]
    TooDeep,
}

impl Codec {
    /// Compiles a list of fields of what `target` prints: `title,games(id,delivery.browser)`, in JSON
    /// or proto names. The names after a repeated message are those of its elements.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn select(&self, target: Target, list: &str) -> Result<Selection, SelectError> {
        let root = match target {
            Target::Message(id) => Some(id),
            Target::Field(at) => {
                let field = self.tables.field(at);
                field.and_then(|f| object(&self.tables, f.kind, f.shape))
            }
        };
        let is_object = |id: &MessageId| {
            let table = self.tables.message(*id);
            table.is_some_and(|t| t.form == Form::Object)
        };
        let root = root.filter(is_object).ok_or(SelectError::NotMessage)?;
        let mut parser = Parser {
            tables: &self.tables,
            list,
            pos: 0,
            chosen: 0,
            nodes: vec![Node::of(root)],
        };
        parser.list(0, "", 0)?;
        match parser.pos == list.len() {
            true => Ok(Selection {
                nodes: parser.nodes,
            }),
            false => Err(SelectError::Parentheses),
        }
    }
}

impl Selection {
    /// The node of a field of this node's message, when it is chosen.
    #[inline]
    pub(super) fn child(&self, node: u32, field: u32) -> Option<u32> {
        match self.nodes.get(node as usize) {
            Some(node) if !node.whole => {
                let at = node.fields.binary_search_by_key(&field, |f| f.0).ok()?;
                node.fields.get(at).map(|f| f.1)
            }
            _ => Some(WHOLE),
        }
    }
}

impl Node {
    fn of(message: MessageId) -> Self {
        Self {
            message,
            whole: false,
            fields: Vec::new(),
        }
    }
}

/// The message whose fields may be chosen in a field's value.
fn object(tables: &Tables, kind: Kind, shape: Shape) -> Option<MessageId> {
    match (kind, shape) {
        (_, Shape::Map(_)) => None,
        (Kind::Message(id), _) => tables
            .message(id)
            .is_some_and(|t| t.form == Form::Object)
            .then_some(id),
        _ => None,
    }
}

struct Parser<'a> {
    tables: &'a Tables,
    list: &'a str,
    pos: usize,
    chosen: usize,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.list.get(self.pos..).unwrap_or_default()
    }

    fn take(&mut self, c: char) -> bool {
        let taken = self.rest().starts_with(c);
        self.pos += if taken { c.len_utf8() } else { 0 };
        taken
    }

    /// `before` is the path of the node, with a dot unless it is empty.
    fn list(&mut self, node: usize, before: &str, depth: usize) -> Result<(), SelectError> {
        loop {
            self.item(node, before, depth)?;
            if !self.take(',') {
                return Ok(());
            }
        }
    }

    fn item(&mut self, node: usize, before: &str, depth: usize) -> Result<(), SelectError> {
        if depth == FIELD_PATH_DEPTH_MAX {
            return Err(SelectError::TooDeep);
        }
        self.chosen += 1;
        if self.chosen > SELECTED_FIELDS_MAX {
            return Err(SelectError::TooMany);
        }
        if self.take('*') {
            if let Some(node) = self.nodes.get_mut(node) {
                node.whole = true;
            }
            return Ok(());
        }
        let end = self.rest().find([',', '.', '/', '(', ')']);
        let name = self.rest();
        let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
        if name.is_empty() {
            let before = self.list.get(..self.pos).unwrap_or_default().to_owned();
            return Err(SelectError::NoName { before });
        }
        let path = format!("{before}{name}");
        let (index, inner) = self.named(node, name, &path)?;
        self.pos += name.len();
        let child = self.child(node, index, inner);
        let nested = self.take('(');
        if !nested && !self.take('.') && !self.take('/') {
            if let Some(child) = child.and_then(|c| self.nodes.get_mut(c)) {
                child.whole = true;
            }
            return Ok(());
        }
        let child = child.ok_or_else(|| SelectError::NoFields { path: path.clone() })?;
        let before = format!("{path}.");
        if !nested {
            return self.item(child, &before, depth + 1);
        }
        self.list(child, &before, depth + 1)?;
        match self.take(')') {
            true => Ok(()),
            false => Err(SelectError::Parentheses),
        }
    }

    /// The index of a field, and the message whose fields may follow.
    fn named(
        &self,
        node: usize,
        name: &str,
        path: &str,
    ) -> Result<(u32, Option<MessageId>), SelectError> {
        let message = self.nodes.get(node).map(|n| n.message);
        let table = message.and_then(|id| self.tables.message(id));
        let found = table.and_then(|t| {
            let index = t.by_name(name.as_bytes(), WHOLE)?;
            Some((index, t.fields.get(index as usize)?))
        });
        match found {
            Some((index, field)) => Ok((index, object(self.tables, field.kind, field.shape))),
            None => Err(SelectError::Unknown {
                path: path.to_owned(),
                message: table.map(|t| t.full_name.to_string()).unwrap_or_default(),
            }),
        }
    }

    /// Chooses a field: its node, when it has fields of its own.
    fn child(&mut self, node: usize, index: u32, inner: Option<MessageId>) -> Option<usize> {
        let next = self.nodes.len();
        let own = self.nodes.get_mut(node)?;
        let child = match own.fields.binary_search_by_key(&index, |f| f.0) {
            Ok(at) => own.fields.get(at)?.1,
            Err(at) => {
                let child = inner.and_then(|_| u32::try_from(next).ok());
                let child = child.unwrap_or(WHOLE);
                own.fields.insert(at, (index, child));
                if let Some(message) = inner {
                    self.nodes.push(Node::of(message));
                }
                child
            }
        };
        (child != WHOLE).then_some(child as usize)
    }
}
