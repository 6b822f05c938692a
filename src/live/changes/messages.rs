//! Messages and enums that calls carry, compared as their callers see them.

use std::sync::Arc;

use super::{BREAKING_MAX, Broken, HashSet, Whose};
use crate::schema::{Cardinality, Enum, EnumId, Field, Kind, Message, MessageId, Presence, Schema};

pub(super) struct Compared<'s> {
    old: &'s Schema,
    new: &'s Schema,
    seen: HashSet<(MessageId, MessageId)>,
    seen_enums: HashSet<(EnumId, EnumId)>,
    /// What has been said, so that causes which repeat are said once.
    said: HashSet<String>,
    pub(super) breaking: Vec<Broken>,
    pub(super) risky: Vec<String>,
}

impl<'s> Compared<'s> {
    pub(super) fn new(old: &'s Schema, new: &'s Schema) -> Self {
        Self {
            old,
            new,
            seen: HashSet::new(),
            seen_enums: HashSet::new(),
            said: HashSet::new(),
            breaking: Vec::new(),
            risky: Vec::new(),
        }
    }

    pub(super) fn breaks(&mut self, whose: Whose, what: String) {
        if self.breaking.len() < BREAKING_MAX && self.said.insert(what.clone()) {
            self.breaking.push(Broken { whose, what });
        }
    }

    fn risks(&mut self, what: String) {
        if self.risky.len() < BREAKING_MAX && self.said.insert(what.clone()) {
            self.risky.push(what);
        }
    }

    /// Two messages and all that they hold, each pair once.
    pub(super) fn messages(&mut self, was: MessageId, is: MessageId) {
        let mut open = vec![(was, is)];
        while let Some((was, is)) = open.pop() {
            if !self.seen.insert((was, is)) {
                continue;
            }
            if let (Some(old), Some(new)) = (self.old.message(was), self.new.message(is)) {
                self.fields(old, new, &mut open);
            }
        }
    }

    fn fields(&mut self, old: &Message, new: &Message, open: &mut Vec<(MessageId, MessageId)>) {
        let name: Arc<str> = Arc::clone(&old.full_name);
        let at = |index: Option<crate::schema::FieldIndex>| {
            index.and_then(|index| new.fields.get(index.position()))
        };
        for field in &old.fields {
            let of_name = at(new.field_by_name(&field.name));
            // One that has changed its number is told by its name.
            let (other, number_differs) = match at(new.field_by_number(field.number)) {
                Some(same) => (same, false),
                None => match of_name {
                    Some(other) => (other, true),
                    None => {
                        self.breaks(Whose::Everyone, format!("{name}.{} is gone", field.name));
                        continue;
                    }
                },
            };
            let place = format!("{name}.{}", field.name);
            if number_differs {
                let (was, is) = (field.number, other.number);
                let what = format!("{place}: its number was {was} and is {is}");
                self.breaks(Whose::Binary, what);
            }
            self.field(&place, field, other);
            match (field.kind, other.kind) {
                (Kind::Message(a), Kind::Message(b)) => open.push((a, b)),
                (Kind::Enum(a), Kind::Enum(b)) => self.enums(a, b),
                _ => {}
            }
        }
        for field in &new.fields {
            let is_asked_for = field.cardinality == Cardinality::Singular(Presence::Required);
            if is_asked_for && old.field_by_number(field.number).is_none() {
                let what = format!("{name}.{} is new and required", field.name);
                self.breaks(Whose::Everyone, what);
            }
        }
    }

    fn field(&mut self, place: &str, old: &Field, new: &Field) {
        let (was, is) = (self.kind(self.old, old), self.kind(self.new, new));
        if was != is {
            let what = format!("{place}: its type was {was} and is {is}");
            match difference(old, new) {
                Some(whose) => self.breaks(whose, what),
                None => self.risks(what),
            }
        }
        if old.json_name != new.json_name {
            let what = format!("{place}: its JSON name is {} now", new.json_name);
            self.breaks(Whose::Json, what);
        }
        let is_asked_for = Cardinality::Singular(Presence::Required);
        if new.cardinality == is_asked_for && old.cardinality != is_asked_for {
            self.breaks(Whose::Everyone, format!("{place} is required now"));
        }
        if old.oneof.is_none() && new.oneof.is_some() {
            self.risks(format!("{place} is one of a oneof now"));
        }
    }

    fn enums(&mut self, was: EnumId, is: EnumId) {
        if !self.seen_enums.insert((was, is)) {
            return;
        }
        let (Some(old), Some(new)) = (self.old.enumeration(was), self.new.enumeration(is)) else {
            return;
        };
        let numbered = |of: &Enum, number: i32| -> Option<Box<str>> {
            let found = of.values.iter().find(|v| v.number == number);
            found.map(|v| v.name.clone())
        };
        for value in &old.values {
            let place = format!("{}.{}", old.full_name, value.name);
            let same = new.values.iter().find(|v| v.name == value.name);
            match (same, numbered(new, value.number)) {
                (Some(same), _) if same.number == value.number => {}
                (Some(same), _) => {
                    let (was, is) = (value.number, same.number);
                    let what = format!("{place}: its number was {was} and is {is}");
                    self.breaks(Whose::Binary, what);
                }
                (None, Some(name)) => {
                    self.breaks(Whose::Json, format!("{place} is called {name} now"));
                }
                // An open enum keeps numbers that it has no name for.
                (None, None) => {
                    let whose = match new.closed {
                        true => Whose::Everyone,
                        false => Whose::Json,
                    };
                    self.breaks(whose, format!("{place} is gone"));
                }
            }
        }
    }

    fn kind(&self, schema: &Schema, field: &Field) -> String {
        let kind = match field.kind {
            Kind::Message(id) => schema.message(id).map(|m| m.full_name.to_string()),
            Kind::Enum(id) => schema.enumeration(id).map(|e| e.full_name.to_string()),
            plain => Some(format!("{plain:?}").to_lowercase()),
        };
        let kind = kind.unwrap_or_default();
        match field.cardinality {
            Cardinality::Singular(_) => kind,
            Cardinality::Repeated { .. } => format!("repeated {kind}"),
            Cardinality::Map { key, .. } => {
                format!("map<{}, {kind}>", format!("{key:?}").to_lowercase())
            }
        }
    }
}

/// How a value looks to one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Varint,
    Zigzag,
    Fixed4,
    Fixed8,
    Float4,
    Float8,
    Length,
    Number,
    Text,
    Name,
    Bool,
    Base64,
    Object,
}

/// Who can't read the one as the other. `None`: each reads it, though maybe not each value of it.
fn difference(old: &Field, new: &Field) -> Option<Whose> {
    let is_many = |f: &Field| match f.cardinality {
        Cardinality::Singular(_) => 0,
        Cardinality::Repeated { .. } => 1,
        Cardinality::Map { .. } => 2,
    };
    let is_message = |f: &Field| matches!(f.kind, Kind::Message(_));
    if is_many(old) != is_many(new) || is_many(old) == 2 || (is_message(old) || is_message(new)) {
        return Some(Whose::Everyone);
    }
    let is_same_wire = wire(old.kind) == wire(new.kind);
    let is_same_json = json(old.kind) == json(new.kind);
    match (is_same_wire, is_same_json) {
        (true, true) => None,
        (true, false) => Some(Whose::Json),
        (false, true) => Some(Whose::Binary),
        (false, false) => Some(Whose::Everyone),
    }
}

fn wire(kind: Kind) -> Form {
    match kind {
        Kind::Bool | Kind::Enum(_) | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => {
            Form::Varint
        }
        Kind::Sint32 | Kind::Sint64 => Form::Zigzag,
        Kind::Fixed32 | Kind::Sfixed32 => Form::Fixed4,
        Kind::Fixed64 | Kind::Sfixed64 => Form::Fixed8,
        Kind::Float => Form::Float4,
        Kind::Double => Form::Float8,
        Kind::Bytes | Kind::String | Kind::Message(_) => Form::Length,
    }
}

fn json(kind: Kind) -> Form {
    match kind {
        Kind::Bool => Form::Bool,
        Kind::Enum(_) => Form::Name,
        // 64 bits are text in JSON, and read from either.
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => Form::Text,
        Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 => Form::Number,
        Kind::Float | Kind::Double => Form::Float8,
        Kind::Bytes => Form::Base64,
        Kind::String => Form::Length,
        Kind::Message(_) => Form::Object,
    }
}
