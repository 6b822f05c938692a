//! Path captures and query string → wire records, appended to the body's.
//!
//! A message is the merge of its records (protobuf, "last one wins"), so nothing of the body is moved
//! or decoded, and the path wins because it comes later. Nested fields become nested records.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use foldhash::fast::RandomState;

use crate::codec::EncodeError;
use crate::failure::{Failure, FieldViolation};
use crate::limits::VIOLATIONS_MAX;
use crate::route::decode_capture;
use crate::schema::{FieldRef, Kind, MessageId, Schema, WellKnown};

use super::capture::Captured;
use super::compat::Compat;
use super::plan::{BodyRule, MethodPlan, PathBinding, Relation, relation, well_known};
use super::query::{Chain, Many, QueryFault, QueryField};
use super::wire::{self, Delimiting};

/// Unknown parameters that get a "did you mean": it costs a pass over the names.
const SUGGESTIONS_MAX: usize = 3;

/// What to do with a parameter that names no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownQuery {
    Reject,
    Ignore,
    /// Goes to the service as an extension of the request's `google.api.HttpBody`; refused where
    /// there is none.
    Capture,
}

/// How a query string is read.
#[derive(Clone, Copy, Debug)]
pub struct QueryPolicy<'p> {
    pub unknown: UnknownQuery,
    /// Parameters to skip in any case.
    pub ignored: &'p [Box<str>],
    pub parameters_max: usize,
    /// `$fields` chooses fields of the reply.
    pub partial: bool,
    pub compat: Compat,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Query,
    Form,
}

impl MethodPlan {
    /// Appends the fields that path and query set. `wire` holds the encoded body, if there is one;
    /// `captures` are the raw texts of the template's variables, in order.
    ///
    /// # Errors
    /// 400 with a field violation for each fault (the first [`VIOLATIONS_MAX`] of them); `wire` then
    /// holds rubbish past its old length.
    pub fn bind(
        &self,
        captures: &[&str],
        query: Option<&str>,
        policy: &QueryPolicy<'_>,
        wire: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        Binder::new(self, policy.compat, wire).bind(captures, None, query, policy)
    }

    /// The same for a request with a form body, which sets fields as the query does.
    ///
    /// # Errors
    /// As above.
    pub fn bind_form(
        &self,
        captures: &[&str],
        form: &str,
        query: Option<&str>,
        policy: &QueryPolicy<'_>,
        wire: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        Binder::new(self, policy.compat, wire).bind(captures, Some(form), query, policy)
    }

    /// The fields that path and query set, on their own: to be appended to the first message of a
    /// stream, whatever that holds.
    ///
    /// # Errors
    /// As [`MethodPlan::bind`].
    pub fn bind_apart(
        &self,
        captures: &[&str],
        query: Option<&str>,
        policy: &QueryPolicy<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let mut wire = Vec::new();
        let mut binder = Binder::new(self, policy.compat, &mut wire);
        binder.has_body = true;
        binder.bind(captures, None, query, policy)?;
        Ok(wire)
    }

    /// Appends to a client's own protobuf message what path and query have bound.
    ///
    /// # Errors
    /// The message leaves a field open: it would swallow what comes after it.
    pub fn append_bound(&self, bound: &[u8], message: &mut Vec<u8>) -> Result<(), Failure> {
        if !bound.is_empty() && !super::wire::is_closed(message) {
            return Err(Failure::client("the message is not protobuf"));
        }
        message.extend_from_slice(bound);
        Ok(())
    }

    /// Appends a raw body as the `google.api.HttpBody` that the rule takes it for. Nothing is appended
    /// for other rules.
    pub fn bind_raw_body(&self, content_type: &str, data: &[u8], wire: &mut Vec<u8>) {
        use super::plan::BodyRule as B;
        let start = wire.len();
        if !matches!(self.body, B::RawWhole | B::RawField(_)) {
            return;
        }
        if !content_type.is_empty() {
            wire::put_bytes(1, content_type.as_bytes(), wire);
        }
        if !data.is_empty() {
            wire::put_bytes(2, data, wire);
        }
        if let B::RawField(field) = self.body {
            wrap(self.codec.schema(), field, start, wire);
        }
    }
}

/// One pair of a query string, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'q> {
    pub name: Cow<'q, str>,
    /// Empty when there is no `=`.
    pub value: Cow<'q, str>,
}

/// The pairs of a query string. Empty pairs (`&&`) are skipped; `;` separates nothing.
pub fn parameters(query: &str) -> impl Iterator<Item = Result<Parameter<'_>, BadParameter<'_>>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode(name).zip(decode(value));
            match decoded {
                Some((name, value)) => Ok(Parameter { name, value }),
                None => Err(BadParameter { name }),
            }
        })
}

/// A pair with a broken percent escape, or that isn't UTF-8 once decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadParameter<'q> {
    /// Not decoded.
    pub name: &'q str,
}

/// `application/x-www-form-urlencoded` text; `None` when it is broken.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Binds one request.
struct Binder<'b> {
    plan: &'b MethodPlan,
    wire: &'b mut Vec<u8>,
    compat: Compat,
    has_body: bool,
    seen: Seen,
    /// Parameters of form and query.
    count: usize,
    violations: Vec<FieldViolation>,
    suggestions: usize,
    captured: Captured,
}

/// What the query has set so far. Hashed: a thousand parameters must not cost a million comparisons.
#[derive(Default)]
struct Seen {
    /// Fields that hold one value, and map entries by key.
    fields: HashSet<(Chain, Option<Box<str>>), RandomState>,
    /// The member of each oneof of each message, and the parameter that set it.
    oneofs: HashMap<(Chain, u16), (FieldRef, Box<str>), RandomState>,
}

impl Seen {
    /// Nothing set so far excludes this field.
    fn check(&self, schema: &Schema, field: &QueryField<'_>) -> Result<(), String> {
        for (holder, oneof, member) in oneofs(schema, &field.chain) {
            match self.oneofs.get(&(holder, oneof)) {
                Some((other, name)) if *other != member => {
                    return Err(format!(
                        "is of the same oneof as {name:?}: give one of them"
                    ));
                }
                _ => {}
            }
        }
        let again = match field.many {
            Many::Repeated => return Ok(()),
            Many::Once => "is given more than once, and holds one value",
            Many::PerKey => "is given more than once for this key",
        };
        let slot = (field.chain.clone(), field.key.map(Box::from));
        match self.fields.contains(&slot) {
            true => Err(again.to_owned()),
            false => Ok(()),
        }
    }

    fn remember(&mut self, schema: &Schema, name: &str, field: QueryField<'_>) {
        for (holder, oneof, member) in oneofs(schema, &field.chain) {
            let slot = self.oneofs.entry((holder, oneof));
            slot.or_insert_with(|| (member, name.into()));
        }
        if field.many != Many::Repeated {
            self.fields.insert((field.chain, field.key.map(Box::from)));
        }
    }
}

/// Each oneof along a chain: the chain to its message, its index there, and the member.
fn oneofs(schema: &Schema, chain: &[FieldRef]) -> impl Iterator<Item = (Chain, u16, FieldRef)> {
    chain.iter().enumerate().filter_map(|(depth, at)| {
        let oneof = schema.field(*at)?.oneof?;
        Some((chain.iter().take(depth).copied().collect(), oneof, *at))
    })
}

impl<'b> Binder<'b> {
    fn new(plan: &'b MethodPlan, compat: Compat, wire: &'b mut Vec<u8>) -> Self {
        let has_body = !wire.is_empty();
        Self {
            plan,
            wire,
            compat,
            has_body,
            seen: Seen::default(),
            count: 0,
            violations: Vec::new(),
            suggestions: 0,
            captured: Captured::default(),
        }
    }

    fn bind(
        mut self,
        captures: &[&str],
        form: Option<&str>,
        query: Option<&str>,
        policy: &QueryPolicy<'_>,
    ) -> Result<(), Failure> {
        for (binding, raw) in self.plan.path.iter().zip(captures) {
            self.path(binding, raw);
        }
        if let Some(form) = form {
            self.parameters(form, Place::Form, policy);
        }
        // grpc-gateway doesn't so much as look at the query of a rule whose body is everything.
        let whole = matches!(self.plan.body, BodyRule::Whole | BodyRule::RawWhole);
        let unread = policy.compat.is_grpc_gateway() && whole;
        if let Some(query) = query.filter(|_| !unread) {
            self.parameters(query, Place::Query, policy);
        }
        self.finish()
    }

    fn finish(self) -> Result<(), Failure> {
        self.captured.put(self.plan, self.wire);
        match self.violations.is_empty() {
            true => Ok(()),
            false => Err(refusal(self.violations)),
        }
    }

    fn violation(&mut self, field: &str, description: impl Into<String>) {
        self.violations.push(FieldViolation {
            field: field.to_owned(),
            description: description.into(),
        });
    }

    fn path(&mut self, binding: &PathBinding, raw: &str) {
        let text = match decode_capture(raw, binding.multi) {
            Ok(text) => text,
            Err(error) => return self.violation(&binding.name, error.to_string()),
        };
        if self.has_body {
            self.clear(&binding.fields);
        }
        let appended = match binding.list {
            false => self.append(&binding.fields, None, &text),
            true => {
                let mut values = text.split(',');
                values.try_for_each(|value| self.append(&binding.fields, None, value))
            }
        };
        if let Err(error) = appended {
            self.violation(&binding.name, describe(&error));
        }
    }

    /// A Timestamp of the path merged with one of the body would be neither: write explicit zeros
    /// between them. Scalars need none, the later record replaces the earlier.
    fn clear(&mut self, fields: &[FieldRef]) {
        let schema = self.plan.codec.schema();
        let kind = fields
            .last()
            .and_then(|at| schema.field(*at))
            .map(|f| f.kind);
        let Some(Kind::Message(message)) = kind else {
            return;
        };
        let start = self.wire.len();
        self.wire.extend_from_slice(zeros(schema, message));
        for field in fields.iter().rev() {
            wrap(schema, *field, start, self.wire);
        }
    }

    fn parameters(&mut self, text: &str, place: Place, policy: &QueryPolicy<'_>) {
        for parameter in parameters(text) {
            if self.count == policy.parameters_max {
                let message = format!("more than {} query parameters", policy.parameters_max);
                return self.violation("", message);
            }
            self.count += 1;
            match parameter {
                Ok(Parameter { name, value }) => self.parameter(&name, &value, place, policy),
                Err(bad) => self.violation(bad.name, "has a broken percent escape or is not UTF-8"),
            }
            if self.violations.len() >= VIOLATIONS_MAX {
                return;
            }
        }
    }

    fn parameter(&mut self, name: &str, value: &str, place: Place, policy: &QueryPolicy<'_>) {
        if policy.ignored.iter().any(|i| **i == *name) || self.plan.is_selector(name, policy) {
            return;
        }
        let found = match place {
            Place::Query => self.plan.query_field(name),
            Place::Form => self.plan.form_field(name),
        };
        let field = match found {
            Ok(field) => field,
            Err(QueryFault::TakenByPath | QueryFault::TakenByBody)
                if self.compat.is_grpc_gateway() =>
            {
                return;
            }
            Err(QueryFault::Unknown { .. } | QueryFault::NoQuery)
                if policy.unknown == UnknownQuery::Ignore =>
            {
                return;
            }
            Err(QueryFault::Unknown { .. } | QueryFault::NoQuery)
                if policy.unknown == UnknownQuery::Capture && self.plan.http_body().is_some() =>
            {
                return self.captured.add(name, value);
            }
            Err(fault) => return self.fault(name, &fault),
        };
        if let Err(description) = self.check_set(&field) {
            return self.violation(name, description);
        }
        let QueryField { chain, key, .. } = &field;
        match self.append(chain, *key, value) {
            Ok(()) => self.seen.remember(self.plan.codec.schema(), name, field),
            Err(error) => self.violation(name, describe(&error)),
        }
    }

    fn fault(&mut self, name: &str, fault: &QueryFault<'_>) {
        let mut description = fault.to_string();
        if self.suggestions < SUGGESTIONS_MAX {
            self.suggestions += 1;
            if let Some(meant) = fault.suggestion(self.plan) {
                let _ = write!(description, "; did you mean {meant:?}?");
            }
        }
        self.violation(name, description);
    }

    /// Appends one value at the end of a chain of fields.
    fn append(
        &mut self,
        chain: &[FieldRef],
        key: Option<&str>,
        text: &str,
    ) -> Result<(), EncodeError> {
        let codec = &self.plan.codec;
        let start = self.wire.len();
        let Some((leaf, above)) = chain.split_last() else {
            return Ok(());
        };
        match key {
            None => {
                let text = self.compat.text(codec.schema(), *leaf, text);
                codec.encode_text(*leaf, &text, self.wire)?;
            }
            Some(key) => codec.encode_map_text(*leaf, key, text, self.wire)?,
        }
        for field in above.iter().rev() {
            wrap(codec.schema(), *field, start, self.wire);
        }
        Ok(())
    }

    /// Neither query, path nor body sets something that excludes this field.
    fn check_set(&self, field: &QueryField<'_>) -> Result<(), String> {
        let schema = self.plan.codec.schema();
        self.seen.check(schema, field)?;
        for binding in &self.plan.path {
            if relation(schema, &binding.fields, &field.chain) == Relation::Rivals {
                return Err(format!(
                    "is of the same oneof as {:?} of the path",
                    binding.name
                ));
            }
        }
        let body = self.plan.body.field().filter(|_| self.has_body);
        if body.is_some_and(|f| relation(schema, &[f], &field.chain) == Relation::Rivals) {
            return Err("is of the same oneof as the body".into());
        }
        Ok(())
    }
}

/// Makes what was written from `start` on the content of this message field.
pub(super) fn wrap(schema: &Schema, field: FieldRef, start: usize, wire: &mut Vec<u8>) {
    let Some(field) = schema.field(field) else {
        return;
    };
    let delimiting = match field.delimited {
        true => Delimiting::Group,
        false => Delimiting::Length,
    };
    wire::wrap(field.number, delimiting, start, wire);
}

/// The fields of a message that takes a path text, each explicitly zero.
fn zeros(schema: &Schema, message: MessageId) -> &'static [u8] {
    use WellKnown as W;
    match well_known(schema, message) {
        Some(W::Timestamp | W::Duration) => &[0x08, 0, 0x10, 0],
        Some(W::BoolValue | W::Int32Value | W::Int64Value | W::UInt32Value | W::UInt64Value) => {
            &[0x08, 0]
        }
        Some(W::DoubleValue) => &[0x09, 0, 0, 0, 0, 0, 0, 0, 0],
        Some(W::FloatValue) => &[0x0d, 0, 0, 0, 0],
        Some(W::StringValue | W::BytesValue) => &[0x0a, 0],
        _ => &[],
    }
}

fn describe(error: &EncodeError) -> String {
    error.to_string()
}

/// 400 that names every field at fault.
fn refusal(violations: Vec<FieldViolation>) -> Failure {
    let message = match violations.as_slice() {
        [one] if one.field.is_empty() => one.description.clone(),
        [one] => format!("{}: {}", one.field, one.description),
        many => {
            let mut names: Vec<&str> = many.iter().map(|v| v.field.as_str()).collect();
            names.dedup();
            format!("{} fields are wrong: {}", many.len(), names.join(", "))
        }
    };
    let mut failure = Failure::client(message);
    failure.violations = violations;
    failure
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
