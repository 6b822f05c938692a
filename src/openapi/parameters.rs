//! Parameters in path, query and headers, as a plan binds them.

use serde_json::{Map, Value, json};

use crate::schema::{Cardinality, FieldIndex, FieldRef, Kind, MessageId, WellKnown};
use crate::transcode::query::{Many, QueryFault};
use crate::transcode::{MethodPlan, PathBinding};

use super::Operation;
use super::paths::{Address, Part};
use super::shapes::{Shapes, json_name, with};

/// Query parameters of one operation; fields deeper in messages go on for ever where types recur.
const QUERY_PARAMETERS_MAX: usize = 200;
/// Names in one parameter.
const DEPTH_MAX: usize = 6;

/// All parameters of an operation, and whether there are more than are listed.
pub(super) fn parameters(
    operation: &Operation<'_>,
    address: &Address,
    shapes: &mut Shapes<'_>,
) -> (Vec<Value>, bool) {
    let plan = operation.plan;
    let mut all: Vec<Value> = Vec::new();
    for part in &address.parameters {
        all.push(of_path(plan, part, shapes));
    }
    let mut query = Query {
        plan,
        shapes,
        found: Vec::new(),
        cut: false,
    };
    query.message(plan.input, "", &mut Vec::new(), true);
    let (found, cut) = (query.found, query.cut);
    all.extend(found);
    if operation.partial_responses && plan.response_target().is_some() {
        all.push(json!({
            "name": "$fields",
            "in": "query",
            "description": "The fields of the reply that are wanted, such as `games(id,title)`; all without it.",
            "schema": { "type": "string" },
        }));
    }
    for name in &operation.headers {
        all.push(json!({ "name": name, "in": "header", "schema": { "type": "string" } }));
    }
    (all, cut)
}

fn of_path(plan: &MethodPlan, part: &Part, shapes: &mut Shapes<'_>) -> Value {
    let binding = part.variable.and_then(|at| plan.path.get(at));
    let field = binding.and_then(|b| b.fields.last().copied());
    let options = plan.codec.options();
    let (schema, comment) = match (field, binding) {
        (Some(field), Some(binding)) if part.whole && !part.rest => {
            let mut schema = shapes.field(field, options);
            let comment = take_description(&mut schema);
            let named = (*binding.name != *part.name).then(|| format!("Sets `{}`.", binding.name));
            (schema, joined(comment, named))
        }
        (_, binding) => {
            let note = told_of_part(plan, part, binding);
            let comment = field.and_then(|field| {
                take_description(&mut shapes.field(field, options)).filter(|_| part.whole)
            });
            (json!({ "type": "string" }), joined(comment, note))
        }
    };
    let mut parameter = Map::new();
    parameter.insert("name".into(), json!(part.name));
    parameter.insert("in".into(), json!("path"));
    parameter.insert("required".into(), json!(true));
    if let Some(text) = comment {
        parameter.insert("description".into(), json!(text));
    }
    if binding.is_some_and(|b| b.list) {
        parameter.insert("style".into(), json!("simple"));
    }
    parameter.insert("schema".into(), schema);
    if part.rest {
        // What OpenAPI has no word for: a generator of code would escape the slashes.
        parameter.insert("x-multi-segment".into(), json!(true));
    }
    Value::Object(parameter)
}

fn told_of_part(plan: &MethodPlan, part: &Part, binding: Option<&PathBinding>) -> Option<String> {
    let rest = part
        .rest
        .then(|| "Any number of segments: slashes stand as they are, unescaped.".to_owned());
    let of = binding.map(|binding| {
        let whole = plan.template.split('{').find_map(|piece| {
            let (variable, _) = piece.split_once('}')?;
            let (name, pattern) = variable.split_once('=')?;
            (*name == *binding.name).then_some(pattern)
        });
        match whole.filter(|_| !part.whole) {
            Some(pattern) => format!("A part of `{}`, which is `{pattern}`.", binding.name),
            None => format!("Sets `{}`.", binding.name),
        }
    });
    joined(of, rest)
}

fn joined(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(a), Some(b)) => Some(format!("{a}\n\n{b}")),
        (a, b) => a.or(b),
    }
}

/// A parameter has the description, not its schema.
fn take_description(schema: &mut Value) -> Option<String> {
    let map = schema.as_object_mut()?;
    match map.shift_remove("description")? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Walks the fields of the input that a query may set.
struct Query<'p, 'x, 's> {
    plan: &'p MethodPlan,
    shapes: &'x mut Shapes<'s>,
    found: Vec<Value>,
    /// There are more.
    cut: bool,
}

impl Query<'_, '_, '_> {
    /// `required` while all messages around are.
    fn message(
        &mut self,
        id: MessageId,
        before: &str,
        around: &mut Vec<MessageId>,
        required: bool,
    ) {
        let schema = self.shapes.schema;
        let Some(message) = schema.message(id) else {
            return;
        };
        let ordinary = !matches!(
            message.well_known,
            Some(known) if known != WellKnown::HttpBody
        );
        if !ordinary {
            return;
        }
        if around.contains(&id) || around.len() >= DEPTH_MAX {
            self.cut = true;
            return;
        }
        around.push(id);
        for (at, field) in message
            .fields
            .iter()
            .enumerate()
            .filter(|(_, f)| !f.extension)
        {
            let Ok(at) = u32::try_from(at) else { break };
            let at = FieldRef {
                message: id,
                field: FieldIndex(at),
            };
            let name = format!("{before}{}", json_name(field, self.plan.codec.options()));
            let full_name = format!("{}.{}", message.full_name, field.name);
            let note = schema.annotations().field(&full_name);
            let required = required && note.required;
            // What only the service sets is nobody's to send.
            if note.output_only {
                continue;
            }
            match self.plan.query_field(&name) {
                Ok(found) => self.add(&name, at, found.many, required),
                Err(QueryFault::Message) => {
                    if self.plan.body.field() != Some(at)
                        && let Kind::Message(inner) = field.kind
                    {
                        self.message(inner, &format!("{name}."), around, required);
                    }
                }
                Err(QueryFault::MapWithoutKey) => {
                    if let Ok(found) = self.plan.query_field(&format!("{name}[key]")) {
                        self.add(&name, at, found.many, required);
                    }
                }
                Err(_) => {}
            }
        }
        around.pop();
    }

    fn add(&mut self, name: &str, at: FieldRef, many: Many, required: bool) {
        if self.found.len() >= QUERY_PARAMETERS_MAX {
            self.cut = true;
            return;
        }
        let options = self.plan.codec.options();
        let mut schema = self.shapes.field(at, options);
        let comment = take_description(&mut schema);
        let deprecated = match schema.as_object_mut() {
            Some(map) => {
                map.shift_remove("writeOnly");
                map.shift_remove("deprecated").is_some()
            }
            None => false,
        };
        let mut parameter = Map::new();
        parameter.insert("name".into(), json!(name));
        parameter.insert("in".into(), json!("query"));
        if required {
            parameter.insert("required".into(), json!(true));
        }
        if let Some(text) = comment {
            parameter.insert("description".into(), json!(text));
        }
        if deprecated {
            parameter.insert("deprecated".into(), json!(true));
        }
        match many {
            // `labels[en]=Tidal`
            Many::PerKey => _ = parameter.insert("style".into(), json!("deepObject")),
            // `tags=a&tags=b`, which is how a form's list is sent anyway.
            Many::Repeated => _ = parameter.insert("explode".into(), json!(true)),
            Many::Once => {}
        }
        match self.is_json_text(at) {
            true if many == Many::Once => {
                let content = json!({ "application/json": { "schema": schema } });
                parameter.insert("content".into(), content);
            }
            true => {
                let text = json!({ "type": "string", "contentMediaType": "application/json" });
                let schema = match many {
                    Many::Repeated => json!({ "type": "array", "items": text }),
                    Many::Once | Many::PerKey => with(
                        json!({ "type": "object" }),
                        [("additionalProperties", text)],
                    ),
                };
                parameter.insert("schema".into(), schema);
            }
            false => _ = parameter.insert("schema".into(), schema),
        }
        self.found.push(Value::Object(parameter));
    }

    /// A value that is written as JSON in the query.
    fn is_json_text(&self, at: FieldRef) -> bool {
        let schema = self.shapes.schema;
        let Some(field) = schema.field(at) else {
            return false;
        };
        let Kind::Message(id) = field.kind else {
            return false;
        };
        let known = match field.cardinality {
            Cardinality::Map { .. } | Cardinality::Repeated { .. } | Cardinality::Singular(_) => {
                schema.message(id).and_then(|m| m.well_known)
            }
        };
        matches!(
            known,
            Some(WellKnown::Any | WellKnown::ListValue | WellKnown::Struct | WellKnown::Value)
        )
    }
}
