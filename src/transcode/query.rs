//! Which field a query parameter names.
//!
//! A top-level name is a hash lookup; a dotted one walks the messages along its names, so recursive
//! types cost nothing at load and a bounded number of steps on the path.

use std::collections::HashMap;
use std::fmt;

use smallvec::SmallVec;

use crate::limits::FIELD_PATH_DEPTH_MAX;
use crate::schema::{Cardinality, Field, FieldIndex, FieldRef, Kind, MessageId, Schema, WellKnown};

use super::plan::{BodyRule, MethodPlan, Relation, relation, well_known};
use crate::schema::nearest;

/// A chain of fields from the input message down.
pub type Chain = SmallVec<[FieldRef; 4]>;

/// The top-level names that parameters may begin with.
#[derive(Debug)]
pub struct QueryFields {
    input: MessageId,
    top: HashMap<Box<str>, FieldIndex, foldhash::fast::RandomState>,
}

impl QueryFields {
    /// With a whole body there are none: every field is the body's.
    pub(super) fn new(schema: &Schema, input: MessageId, body: BodyRule) -> Self {
        let mut top = HashMap::default();
        let whole = matches!(body, BodyRule::Whole | BodyRule::RawWhole);
        let fields = schema.message(input).filter(|_| !whole).map(|m| &m.fields);
        for (i, field) in fields.into_iter().flatten().enumerate() {
            let Ok(i) = u32::try_from(i) else { break };
            if !field.extension {
                top.insert(field.name.clone(), FieldIndex(i));
            }
        }
        // JSON names go last: where one field's proto name is another's JSON name, JSON means the latter.
        for (i, field) in fields.into_iter().flatten().enumerate() {
            let Ok(i) = u32::try_from(i) else { break };
            if !field.extension {
                top.insert(field.json_name.clone(), FieldIndex(i));
            }
        }
        Self { input, top }
    }
}

/// What a parameter sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryField<'n> {
    /// Never empty. For a map it ends at the map field.
    pub chain: Chain,
    /// `en` of `title[en]`.
    pub key: Option<&'n str>,
    /// More than one value may be given.
    pub many: Many,
}

/// How often a parameter may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    Once,
    Repeated,
    /// Once for each key.
    PerKey,
}

/// Why a parameter sets no field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryFault<'n> {
    /// This name in it is no field of the message that it should be of.
    Unknown {
        name: &'n str,
        /// What stands before the name, dot included.
        before: &'n str,
        message: MessageId,
    },
    TakenByPath,
    TakenByBody,
    /// All fields come from the body.
    NoQuery,
    /// A message without a text form.
    Message,
    /// Goes on below something that holds no fields.
    NotMessage(&'n str),
    /// Goes on below a repeated field.
    Repeated(&'n str),
    RepeatedMessage,
    MapWithoutKey,
    MapOfMessages,
    KeyWithoutMap,
    BrokenKey,
    TooDeep,
}

impl fmt::Display for QueryFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { .. } => f.write_str("unknown query parameter"),
            Self::TakenByPath => f.write_str("comes from the path, not from the query"),
            Self::TakenByBody => f.write_str("comes from the body, not from the query"),
            Self::NoQuery => {
                f.write_str("all fields of this method come from the path and the body")
            }
            Self::Message => f.write_str("is a message: give one of its fields"),
            Self::NotMessage(name) => write!(f, "{name:?} takes one value and has no fields"),
            Self::Repeated(name) => write!(f, "{name:?} is repeated: its items have no names"),
            Self::RepeatedMessage => f.write_str("repeated messages can't be given in a query"),
            Self::MapWithoutKey => f.write_str("is a map: give one value as name[key]=value"),
            Self::MapOfMessages => f.write_str("a map of messages can't be given in a query"),
            Self::KeyWithoutMap => f.write_str("is not a map, so it takes no [key]"),
            Self::BrokenKey => f.write_str("the key must end with ] and stand last"),
            Self::TooDeep => write!(f, "has more than {FIELD_PATH_DEPTH_MAX} names"),
        }
    }
}

impl QueryFault<'_> {
    /// The nearest full parameter name, for an unknown one. Costs a pass over the message's names.
    #[must_use]
    pub fn suggestion(&self, plan: &MethodPlan) -> Option<String> {
        let Self::Unknown {
            name,
            before,
            message,
        } = self
        else {
            return None;
        };
        let names = plan.codec.schema().message(*message)?.fields.iter();
        // In the style that it was written in.
        let proto_names = plan.codec.options().proto_names || name.contains('_');
        let shown = names.filter(|f| !f.extension).map(|f| match proto_names {
            true => &*f.name,
            false => &*f.json_name,
        });
        nearest(name, shown).map(|n| format!("{before}{n}"))
    }
}

impl MethodPlan {
    /// The field that a query parameter of this (decoded) name sets.
    ///
    /// # Errors
    /// See [`QueryFault`].
    pub fn query_field<'n>(&self, parameter: &'n str) -> Result<QueryField<'n>, QueryFault<'n>> {
        if self.query.top.is_empty() && matches!(self.body, BodyRule::Whole | BodyRule::RawWhole) {
            return Err(QueryFault::NoQuery);
        }
        let field = self.field_in(&self.query, None, parameter)?;
        let body = self.body.field();
        match body.is_some_and(|f| field.chain.first() == Some(&f)) {
            true => Err(QueryFault::TakenByBody),
            false => Ok(field),
        }
    }

    /// The field that a name in a form body sets.
    ///
    /// # Errors
    /// See [`QueryFault`].
    pub fn form_field<'n>(&self, parameter: &'n str) -> Result<QueryField<'n>, QueryFault<'n>> {
        match &self.form {
            Some(form) => self.field_in(&form.fields, form.below, parameter),
            None => Err(QueryFault::NoQuery),
        }
    }

    /// The field of this name among `fields`, which are those of the field `below` if there is one.
    fn field_in<'n>(
        &self,
        fields: &QueryFields,
        below_field: Option<FieldRef>,
        parameter: &'n str,
    ) -> Result<QueryField<'n>, QueryFault<'n>> {
        let (path, key) = split_key(parameter)?;
        let schema = self.codec.schema();
        let mut chain = Chain::new();
        let mut message = fields.input;
        let mut top = Some(fields);
        let mut rest = path;
        loop {
            let (name, deeper) = match rest.split_once('.') {
                Some((name, deeper)) => (name, Some(deeper)),
                None => (rest, None),
            };
            let at = name_in(schema, message, name, top.take());
            let Some((at, field)) = at else {
                let length = path.len().saturating_sub(rest.len());
                let before = path.get(..length).unwrap_or_default();
                return Err(QueryFault::Unknown {
                    name,
                    before,
                    message,
                });
            };
            if chain.len() == FIELD_PATH_DEPTH_MAX {
                return Err(QueryFault::TooDeep);
            }
            if chain.is_empty() {
                chain.extend(below_field);
            }
            chain.push(at);
            let Some(deeper) = deeper else {
                let many = leaf(schema, field, key)?;
                self.check_free(schema, &chain)?;
                return Ok(QueryField { chain, key, many });
            };
            message = below(schema, field, name)?;
            rest = deeper;
        }
    }

    /// The path doesn't set it.
    fn check_free(&self, schema: &Schema, chain: &[FieldRef]) -> Result<(), QueryFault<'static>> {
        let overlaps = |fields: &[FieldRef]| {
            let how = relation(schema, fields, chain);
            matches!(how, Relation::Same | Relation::Inside | Relation::Around)
        };
        match self.path.iter().any(|p| overlaps(&p.fields)) {
            true => Err(QueryFault::TakenByPath),
            false => Ok(()),
        }
    }
}

/// A field of a message, by the hashed names when it is at the top.
fn name_in<'s>(
    schema: &'s Schema,
    message: MessageId,
    name: &str,
    top: Option<&QueryFields>,
) -> Option<(FieldRef, &'s Field)> {
    let field = match top {
        Some(fields) => *fields.top.get(name)?,
        None => schema.message(message)?.field_by_name(name)?,
    };
    let at = FieldRef { message, field };
    Some((at, schema.field(at)?))
}

/// `title[en]` → `title`, `en`. The key may hold dots and brackets.
fn split_key(parameter: &str) -> Result<(&str, Option<&str>), QueryFault<'_>> {
    match parameter.split_once('[') {
        None => Ok((parameter, None)),
        Some((path, key)) => match key.strip_suffix(']') {
            Some(key) => Ok((path, Some(key))),
            None => Err(QueryFault::BrokenKey),
        },
    }
}

/// Whether the last field of a chain takes a text, and how often.
fn leaf(schema: &Schema, field: &Field, key: Option<&str>) -> Result<Many, QueryFault<'static>> {
    let text = match field.kind {
        Kind::Message(m) => has_text_form(schema, m),
        _ => true,
    };
    match (field.cardinality, key) {
        (Cardinality::Map { .. }, None) => Err(QueryFault::MapWithoutKey),
        (Cardinality::Map { .. }, Some(_)) if !text => Err(QueryFault::MapOfMessages),
        (Cardinality::Map { .. }, Some(_)) => Ok(Many::PerKey),
        (_, Some(_)) => Err(QueryFault::KeyWithoutMap),
        (Cardinality::Repeated { .. }, None) if !text => Err(QueryFault::RepeatedMessage),
        (Cardinality::Repeated { .. }, None) => Ok(Many::Repeated),
        (Cardinality::Singular(_), None) if !text => Err(QueryFault::Message),
        (Cardinality::Singular(_), None) => Ok(Many::Once),
    }
}

/// The message that a dotted name goes on in.
fn below<'n>(schema: &Schema, field: &Field, name: &'n str) -> Result<MessageId, QueryFault<'n>> {
    match (field.cardinality, field.kind) {
        (Cardinality::Repeated { .. }, _) => Err(QueryFault::Repeated(name)),
        (Cardinality::Map { .. }, _) => Err(QueryFault::MapWithoutKey),
        (_, Kind::Message(inner)) if !has_text_form(schema, inner) => Ok(inner),
        _ => Err(QueryFault::NotMessage(name)),
    }
}

/// Messages that one text stands for; all others are given field by field.
fn has_text_form(schema: &Schema, message: MessageId) -> bool {
    use WellKnown as W;
    match well_known(schema, message) {
        None | Some(W::Empty | W::HttpBody) => false,
        Some(
            W::Any
            | W::BoolValue
            | W::BytesValue
            | W::DoubleValue
            | W::Duration
            | W::FieldMask
            | W::FloatValue
            | W::Int32Value
            | W::Int64Value
            | W::ListValue
            | W::StringValue
            | W::Struct
            | W::Timestamp
            | W::UInt32Value
            | W::UInt64Value
            | W::Value,
        ) => true,
    }
}

#[cfg(test)]
mod tests;
