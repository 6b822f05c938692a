//! A [`MethodPlan`]: an HTTP rule joined with its method, executable as it stands.
//!
//! Every name in the rule is resolved here, once. What can't be executed is a [`PlanError`] that says
//! which part of which rule is at fault; all faults of a rule are reported together.

use std::fmt;
use std::sync::Arc;

use crate::codec::{Codec, Target};
use crate::route::PathTemplate;
use crate::schema::{
    Cardinality, Field, FieldRef, HttpRule, Kind, MessageId, MethodRef, Schema, StreamKind,
    WellKnown,
};

use super::compat::Compat;
use super::form::FormFields;
use super::location::LocationTemplate;
use super::query::QueryFields;
use super::update::filled_mask;
use crate::schema::nearest;

/// All that a transcoded route needs, resolved at load.
#[derive(Debug)]
pub struct MethodPlan {
    /// `pkg.Service`
    pub service: Arc<str>,
    /// `Method`
    pub method: Arc<str>,
    /// `/pkg.Service/Method`, the `:path` of the upstream call.
    pub grpc_path: http::uri::PathAndQuery,
    pub input: MessageId,
    pub output: MessageId,
    pub stream: StreamKind,
    pub idempotent: bool,
    pub no_side_effects: bool,
    /// The rule as written: `GET /v1/games/{game_id}` (for explain, logs and metric labels).
    pub rule: Arc<str>,
    /// The path template alone: `/v1/games/{game_id}`.
    pub template: Arc<str>,
    /// One for each variable of the template, in order.
    pub path: Box<[PathBinding]>,
    pub body: BodyRule,
    pub response: ResponseRule,
    /// The fields that query parameters may set.
    pub query: QueryFields,
    /// The field mask that a PATCH without one gets, made of the fields of its JSON body.
    pub filled_mask: Option<FieldRef>,
    /// The fields that a form body may set, where one is taken.
    pub(super) form: Option<Box<FormFields>>,
    /// The `Location` of replies.
    pub location: Option<Box<LocationTemplate>>,
    /// Whether files of a `multipart/form-data` body may stand for the body or its fields.
    pub(super) files: bool,
    /// Compiled for this route's JSON options.
    pub codec: Arc<Codec>,
}

/// Where a path variable's value goes: the chain of fields from the input message down.
#[derive(Clone, Debug)]
pub struct PathBinding {
    /// `game.id`
    pub name: Box<str>,
    pub fields: Box<[FieldRef]>,
    pub multi: bool,
    /// The text is a list, with commas: the last field is repeated. grpc-gateway's way.
    pub list: bool,
}

/// What the HTTP body stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    None,
    /// JSON of the whole input message.
    Whole,
    /// JSON of one field.
    Field(FieldRef),
    /// The input message is a `google.api.HttpBody`: raw bytes.
    RawWhole,
    /// One field is a `google.api.HttpBody`: raw bytes.
    RawField(FieldRef),
}

impl BodyRule {
    /// The top-level field that the body stands for, when it is one.
    #[must_use]
    pub fn field(self) -> Option<FieldRef> {
        match self {
            Self::Field(f) | Self::RawField(f) => Some(f),
            Self::None | Self::Whole | Self::RawWhole => None,
        }
    }
}

/// What of the reply message becomes the HTTP body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseRule {
    Whole,
    Field(FieldRef),
    RawWhole,
    RawField(FieldRef),
}

/// The part of a rule that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulePart {
    Method,
    Template,
    /// `{game.id}`
    Variable(Box<str>),
    Body,
    ResponseBody,
}

impl fmt::Display for RulePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Template => f.write_str("path"),
            Self::Variable(name) => write!(f, "path variable {{{name}}}"),
            Self::Body => f.write_str("body"),
            Self::ResponseBody => f.write_str("response_body"),
        }
    }
}

/// Why a rule can't be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} of {method}: {part}: {message}")]
pub struct PlanError {
    /// `GET /v1/games/{game_id}`
    pub rule: Box<str>,
    /// `pkg.Service/Method`
    pub method: Box<str>,
    pub part: RulePart,
    pub message: String,
    /// `did you mean "game_id"?`
    pub help: Option<String>,
}

impl MethodPlan {
    /// Joins one rule (its additional bindings are rules of their own) with its method. The template
    /// comes back parsed, for the route table.
    ///
    /// # Errors
    /// Every fault of the rule.
    pub fn build(
        codec: Arc<Codec>,
        method: MethodRef<'_>,
        rule: &HttpRule,
        compat: Compat,
    ) -> Result<(Self, PathTemplate), Vec<PlanError>> {
        let schema = Arc::clone(codec.schema());
        let mut job = Resolver::new(&schema, method, rule, compat);
        let template = job.template();
        let variables = template.as_ref().map(|t| job.variables(t));
        let body = job.body();
        let response = job.response();
        if let Some(path) = &variables {
            job.check_overlaps(path, body);
        }
        let grpc_path = job.grpc_path();
        let (Some(template), Some(path), Some(grpc_path), true) =
            (template, variables, grpc_path, job.errors.is_empty())
        else {
            return Err(job.errors);
        };
        let query = QueryFields::new(&schema, method.method.input, body);
        let plan = Self {
            service: Arc::clone(&method.service.full_name),
            method: Arc::from(&*method.method.name),
            grpc_path,
            input: method.method.input,
            output: method.method.output,
            stream: method.method.stream,
            idempotent: method.method.idempotent,
            no_side_effects: method.method.no_side_effects,
            rule: Arc::from(&*job.rule_text),
            template: Arc::from(template.as_str()),
            path: path.into(),
            body,
            response,
            query,
            filled_mask: filled_mask(&schema, method.method.input, rule, body),
            form: None,
            location: None,
            files: false,
            codec,
        };
        Ok((plan, template))
    }

    /// What a JSON body is read as; `None` when the rule takes no body or a raw one.
    #[must_use]
    pub fn body_target(&self) -> Option<Target> {
        match self.body {
            BodyRule::Whole => Some(Target::Message(self.input)),
            BodyRule::Field(field) => Some(Target::Field(field)),
            BodyRule::None | BodyRule::RawWhole | BodyRule::RawField(_) => None,
        }
    }

    /// What of the reply is printed as JSON; `None` when it is raw.
    #[must_use]
    pub fn response_target(&self) -> Option<Target> {
        match self.response {
            ResponseRule::Whole => Some(Target::Message(self.output)),
            ResponseRule::Field(field) => Some(Target::Field(field)),
            ResponseRule::RawWhole | ResponseRule::RawField(_) => None,
        }
    }
}

/// Resolves one rule, collecting what is wrong with it.
struct Resolver<'a> {
    schema: &'a Schema,
    method: MethodRef<'a>,
    rule: &'a HttpRule,
    rule_text: Box<str>,
    compat: Compat,
    errors: Vec<PlanError>,
}

impl<'a> Resolver<'a> {
    fn new(schema: &'a Schema, method: MethodRef<'a>, rule: &'a HttpRule, compat: Compat) -> Self {
        Self {
            compat,
            schema,
            method,
            rule,
            rule_text: rule_text(rule),
            errors: Vec::new(),
        }
    }

    fn fault(&mut self, part: RulePart, message: impl Into<String>, help: Option<String>) {
        self.errors.push(PlanError {
            rule: self.rule_text.clone(),
            method: format!(
                "{}/{}",
                self.method.service.full_name, self.method.method.name
            )
            .into(),
            part,
            message: message.into(),
            help,
        });
    }

    fn template(&mut self) -> Option<PathTemplate> {
        let kind = &*self.rule.pattern.method;
        if kind != "*" && http::Method::from_bytes(kind.as_bytes()).is_err() {
            self.fault(
                RulePart::Method,
                format!("{kind:?} is not an HTTP method"),
                None,
            );
        }
        match PathTemplate::parse(&self.rule.pattern.template) {
            Ok(template) => Some(template),
            Err(error) => {
                self.fault(RulePart::Template, error.to_string(), None);
                None
            }
        }
    }

    fn grpc_path(&mut self) -> Option<http::uri::PathAndQuery> {
        let path = format!(
            "/{}/{}",
            self.method.service.full_name, self.method.method.name
        );
        let parsed = http::uri::PathAndQuery::try_from(path.as_str());
        if parsed.is_err() {
            self.fault(
                RulePart::Method,
                format!("{path:?} can't be a request path"),
                None,
            );
        }
        parsed.ok()
    }

    fn variables(&mut self, template: &PathTemplate) -> Vec<PathBinding> {
        let mut bindings = Vec::new();
        for variable in template.variables() {
            match self.field_path(&variable.field_path) {
                Ok(fields) => bindings.push(PathBinding {
                    name: variable.field_path.clone(),
                    list: fields.last().is_some_and(|at| self.is_list(*at)),
                    fields,
                    multi: variable.multi,
                }),
                Err((message, help)) => {
                    self.fault(
                        RulePart::Variable(variable.field_path.clone()),
                        message,
                        help,
                    );
                }
            }
        }
        bindings
    }

    fn is_list(&self, at: FieldRef) -> bool {
        let field = self.schema.field(at);
        field.is_some_and(|f| matches!(f.cardinality, Cardinality::Repeated { .. }))
    }

    /// The chain of fields that a path variable names; its end takes a text.
    fn field_path(&self, path: &str) -> Result<Box<[FieldRef]>, (String, Option<String>)> {
        let mut message = self.method.method.input;
        let mut chain = Vec::new();
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let (at, field) = self.named(message, name)?;
            chain.push(at);
            match (field.cardinality, field.kind, names.peek()) {
                // Only grpc-gateway reads it as several.
                (Cardinality::Repeated { .. }, kind, None)
                    if self.compat.is_grpc_gateway() && !matches!(kind, Kind::Message(_)) => {}
                (Cardinality::Repeated { .. }, kind, next) => {
                    let of_texts = next.is_none() && !matches!(kind, Kind::Message(_));
                    let help = match of_texts {
                        true => format!(
                            "leave it out of the path: it is read from the query then, as \
                             ?{path}=…&{path}=…; or set `compat: grpc-gateway`, which reads a list with commas"
                        ),
                        false => BODY_HOLDS_IT.to_owned(),
                    };
                    let message = format!("field {name:?} is repeated, and a path holds one value");
                    return Err((message, Some(help)));
                }
                (Cardinality::Map { .. }, ..) => {
                    let message = format!("field {name:?} is a map, and a path holds one value");
                    return Err((message, Some(BODY_HOLDS_IT.to_owned())));
                }
                (_, Kind::Message(inner), Some(_)) => message = inner,
                (_, Kind::Message(inner), None) => {
                    if !takes_path_text(self.schema, inner) {
                        return Err((
                            format!("field {name:?} is a message, which no path text stands for"),
                            self.first_field(path, inner),
                        ));
                    }
                }
                (_, _, Some(next)) => {
                    return Err((
                        format!("field {name:?} is not a message, so it has no {next:?}"),
                        None,
                    ));
                }
                (_, _, None) => {}
            }
        }
        Ok(chain.into())
    }

    fn named(
        &self,
        message: MessageId,
        name: &str,
    ) -> Result<(FieldRef, &'a Field), (String, Option<String>)> {
        let Some(holder) = self.schema.message(message) else {
            return Err(("its message is not in this schema".into(), None));
        };
        let found = holder
            .field_by_name(name)
            .map(|field| FieldRef { message, field });
        if let Some((at, field)) = found.and_then(|at| Some((at, self.schema.field(at)?))) {
            return Ok((at, field));
        }
        let names = holder
            .fields
            .iter()
            .filter(|f| !f.extension)
            .map(|f| &*f.name);
        let help = nearest(name, names).map(|n| format!("did you mean {n:?}?"));
        Err((format!("{} has no field {name:?}", holder.full_name), help))
    }

    fn first_field(&self, path: &str, message: MessageId) -> Option<String> {
        let is_one_text = |field: &&Field| {
            let is_many = matches!(
                field.cardinality,
                Cardinality::Repeated { .. } | Cardinality::Map { .. }
            );
            !is_many && !matches!(field.kind, Kind::Message(_))
        };
        let fields = &self.schema.message(message)?.fields;
        let field = fields.iter().find(is_one_text)?;
        Some(format!(
            "name one of its fields, such as {{{path}.{}}}",
            field.name
        ))
    }

    fn body(&mut self) -> BodyRule {
        let body = &*self.rule.body;
        if !body.is_empty() && matches!(&*self.rule.pattern.method, "GET" | "HEAD") {
            let message = format!("a {} request has no body", self.rule.pattern.method);
            let help = "leave `body` out; fields that the path doesn't bind come from the query";
            self.fault(RulePart::Body, message, Some(help.into()));
        }
        let input = self.method.method.input;
        match body {
            "" => BodyRule::None,
            "*" if self.is_http_body(input) => BodyRule::RawWhole,
            "*" => BodyRule::Whole,
            name => match self.top_level(input, name, RulePart::Body) {
                Some((at, true)) => BodyRule::RawField(at),
                Some((at, false)) => BodyRule::Field(at),
                None => BodyRule::None,
            },
        }
    }

    fn response(&mut self) -> ResponseRule {
        let output = self.method.method.output;
        match &*self.rule.response_body {
            "" | "*" if self.is_http_body(output) => ResponseRule::RawWhole,
            "" | "*" => ResponseRule::Whole,
            name => match self.top_level(output, name, RulePart::ResponseBody) {
                Some((at, true)) => ResponseRule::RawField(at),
                Some((at, false)) => ResponseRule::Field(at),
                None => ResponseRule::Whole,
            },
        }
    }

    /// A top-level field, and whether it is a single `HttpBody`.
    fn top_level(
        &mut self,
        message: MessageId,
        name: &str,
        part: RulePart,
    ) -> Option<(FieldRef, bool)> {
        if name.contains('.') {
            self.fault(part, format!("{name:?} is not a top-level field"), None);
            return None;
        }
        match self.named(message, name) {
            Ok((at, field)) => {
                let single = matches!(field.cardinality, Cardinality::Singular(_));
                let raw = matches!(field.kind, Kind::Message(m) if self.is_http_body(m));
                Some((at, single && raw))
            }
            Err((message, help)) => {
                self.fault(part, message, help);
                None
            }
        }
    }

    fn is_http_body(&self, message: MessageId) -> bool {
        well_known(self.schema, message) == Some(WellKnown::HttpBody)
    }

    /// Two parts of the rule that set the same field, or two members of one oneof.
    fn check_overlaps(&mut self, path: &[PathBinding], body: BodyRule) {
        for (i, binding) in path.iter().enumerate() {
            for earlier in path.iter().take(i) {
                let message = match relation(self.schema, &earlier.fields, &binding.fields) {
                    Relation::Apart => continue,
                    Relation::Same => format!("{{{}}} sets the same field", earlier.name),
                    Relation::Inside | Relation::Around => {
                        format!("{{{}}} sets a part of the same field", earlier.name)
                    }
                    Relation::Rivals => {
                        format!("{{{}}} sets another member of the same oneof", earlier.name)
                    }
                };
                self.fault(RulePart::Variable(binding.name.clone()), message, None);
            }
            if binding.list && body == BodyRule::Whole {
                let message = "a list of the path would be added to the one of the body";
                let help = "name the field that is the body, or leave `body` out";
                self.fault(
                    RulePart::Variable(binding.name.clone()),
                    message,
                    Some(help.into()),
                );
            }
            let whole = |f: FieldRef| relation(self.schema, &[f], &binding.fields);
            match body.field().map(whole) {
                Some(Relation::Same) => self.fault(
                    RulePart::Variable(binding.name.clone()),
                    "the body sets the same field",
                    None,
                ),
                Some(Relation::Rivals) => self.fault(
                    RulePart::Variable(binding.name.clone()),
                    "the body sets another member of the same oneof",
                    None,
                ),
                _ => {}
            }
        }
    }
}

/// `GET /v1/games/{game_id}`
fn rule_text(rule: &HttpRule) -> Box<str> {
    format!("{} {}", rule.pattern.method, rule.pattern.template).into()
}

/// How two chains of fields of the same message stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Same,
    /// The second goes on below the first.
    Inside,
    /// The first goes on below the second.
    Around,
    /// They part at two members of one oneof.
    Rivals,
    Apart,
}

pub(super) fn relation(schema: &Schema, first: &[FieldRef], second: &[FieldRef]) -> Relation {
    let parted = first.iter().zip(second).find(|(a, b)| a != b);
    if let Some((a, b)) = parted {
        let oneof = |at: &FieldRef| schema.field(*at).and_then(|f| f.oneof);
        return match (oneof(a), oneof(b)) {
            (Some(x), Some(y)) if x == y => Relation::Rivals,
            _ => Relation::Apart,
        };
    }
    match first.len().cmp(&second.len()) {
        std::cmp::Ordering::Equal => Relation::Same,
        std::cmp::Ordering::Less => Relation::Inside,
        std::cmp::Ordering::Greater => Relation::Around,
    }
}

pub(super) fn well_known(schema: &Schema, message: MessageId) -> Option<WellKnown> {
    schema.message(message)?.well_known
}

/// Messages that a path segment may stand for: those whose JSON form is one string or number.
/// A field mask is left out: merged over a body, its paths would add up.
/// What becomes of what no path can hold.
const BODY_HOLDS_IT: &str = "leave it out of the path, and have the body hold it";

fn takes_path_text(schema: &Schema, message: MessageId) -> bool {
    use WellKnown as W;
    match well_known(schema, message) {
        Some(
            W::BoolValue
            | W::BytesValue
            | W::DoubleValue
            | W::Duration
            | W::FloatValue
            | W::Int32Value
            | W::Int64Value
            | W::StringValue
            | W::Timestamp
            | W::UInt32Value
            | W::UInt64Value,
        ) => true,
        Some(
            W::Any | W::Empty | W::FieldMask | W::HttpBody | W::ListValue | W::Struct | W::Value,
        )
        | None => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
