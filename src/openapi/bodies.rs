//! Bodies of requests and replies: JSON, raw bytes, forms, and streams in each of their forms.

use serde_json::{Map, Value, json};

use crate::codec::JsonOptions;
use crate::schema::{FieldRef, MessageId, StreamKind};
use crate::transcode::reply_status::is_bare;
use crate::transcode::{BodyRule, ResponseRule};

use super::Operation;
use super::shapes::Shapes;

const JSON: &str = "application/json";
const LINES: [&str; 2] = ["application/x-ndjson", "application/jsonl"];
const EVENTS: &str = "text/event-stream";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";
/// Of any type: the service is told which.
const ANY: &str = "*/*";

/// The body of a request; `None` when the rule takes none.
pub(super) fn request(operation: &Operation<'_>, shapes: &mut Shapes<'_>) -> Option<Value> {
    let plan = operation.plan;
    let options = plan.codec.options();
    let streams = matches!(plan.stream, StreamKind::Client | StreamKind::Bidi);
    let mut content = Map::new();
    let mut required = false;
    match plan.body {
        BodyRule::None if plan.binds_forms() => {
            let form = shapes.message(plan.input, options);
            content.insert(FORM.into(), json!({ "schema": form }));
        }
        BodyRule::None => return None,
        BodyRule::RawWhole | BodyRule::RawField(_) => {
            content.insert(ANY.into(), raw());
        }
        BodyRule::Whole | BodyRule::Field(_) => {
            let schema = match plan.body.field() {
                Some(field) => plain_field(field, options, shapes),
                None => shapes.message_without(plan.input, &top_level_of_path(operation), options),
            };
            match streams {
                true => {
                    let array = json!({ "type": "array", "items": schema });
                    content.insert(JSON.into(), json!({ "schema": array }));
                    for lines in LINES {
                        content.insert(
                            lines.into(),
                            documents(&schema, "One JSON document a line."),
                        );
                    }
                }
                false => {
                    required = demands(operation, shapes);
                    content.insert(JSON.into(), json!({ "schema": schema }));
                    if plan.binds_forms() {
                        content.insert(FORM.into(), json!({ "schema": schema }));
                    }
                    if plan.takes_files() {
                        content.insert(MULTIPART.into(), json!({ "schema": schema }));
                    }
                }
            }
        }
    }
    let mut body = Map::new();
    body.insert("content".into(), Value::Object(content));
    if required {
        body.insert("required".into(), json!(true));
    }
    Some(Value::Object(body))
}

/// Status and description of a reply that tells of success.
pub(super) fn success(operation: &Operation<'_>, shapes: &mut Shapes<'_>) -> (String, Value) {
    let plan = operation.plan;
    let options = plan.codec.options();
    let status = operation.statuses.of_success();
    let streams = matches!(plan.stream, StreamKind::Server | StreamKind::Bidi);
    let mut content = Map::new();
    match plan.response {
        ResponseRule::RawWhole | ResponseRule::RawField(_) => {
            content.insert(ANY.into(), raw());
        }
        ResponseRule::Whole | ResponseRule::Field(_) => {
            let schema = match plan.response {
                ResponseRule::Field(field) => plain_field(field, options, shapes),
                _ => shapes.message(plan.output, options),
            };
            match (streams, operation.compat.is_grpc_gateway()) {
                (false, _) => _ = content.insert(JSON.into(), json!({ "schema": schema })),
                (true, true) => {
                    let error = shapes.status();
                    let line = json!({
                        "type": "object",
                        "properties": { "result": schema, "error": error },
                    });
                    let how =
                        "One JSON object a line: a `result`, or the `error` that ends the stream.";
                    content.insert(JSON.into(), documents(&line, how));
                }
                (true, false) => streamed(&schema, &mut content),
            }
        }
    }
    let mut reply = Map::new();
    let reason = status.canonical_reason().unwrap_or("Success");
    reply.insert("description".into(), json!(reason));
    let mut headers = Map::new();
    if plan.location.is_some() {
        let location = json!({
            "description": "Where the thing is that was made.",
            "schema": { "type": "string", "format": "uri-reference" },
        });
        headers.insert("Location".into(), location);
    }
    if !headers.is_empty() {
        reply.insert("headers".into(), Value::Object(headers));
    }
    if !is_bare(status) {
        reply.insert("content".into(), Value::Object(content));
    }
    (status.as_u16().to_string(), Value::Object(reply))
}

fn streamed(schema: &Value, content: &mut Map<String, Value>) {
    let array = json!({
        "type": "array",
        "items": schema,
        "description": "After a failure the last element is an object whose `error` is a `google.rpc.Status`.",
    });
    content.insert(JSON.into(), json!({ "schema": array }));
    // The other names of lines are understood as well, and answered with this one.
    let [lines, ..] = LINES;
    let how = "One JSON document a line, as they come. After a failure the last one is an object whose `error` is a `google.rpc.Status`.";
    content.insert(lines.into(), documents(schema, how));
    let how = "Server-sent events with a JSON document each, as they come. A failure is an event `error`, its data a `google.rpc.Status`.";
    content.insert(EVENTS.into(), documents(schema, how));
}

/// Text that holds one document after the other. OpenAPI 3.2 calls what each of them is `itemSchema`.
fn documents(schema: &Value, how: &str) -> Value {
    json!({ "schema": { "type": "string", "description": how }, "x-itemSchema": schema })
}

fn raw() -> Value {
    json!({ "schema": { "type": "string", "format": "binary" } })
}

/// A field that stands for a whole body: it can't be read-only there.
fn plain_field(field: FieldRef, options: &JsonOptions, shapes: &mut Shapes<'_>) -> Value {
    let mut schema = shapes.field(field, options);
    if let Some(map) = schema.as_object_mut() {
        map.shift_remove("readOnly");
        map.shift_remove("writeOnly");
    }
    schema
}

/// Whether a request without a body would lack something.
fn demands(operation: &Operation<'_>, shapes: &Shapes<'_>) -> bool {
    let plan = operation.plan;
    let field = plan
        .body
        .field()
        .and_then(|at| Some((at, shapes.schema.field(at)?)));
    match field {
        None => shapes.required(plan.input, &top_level_of_path(operation)),
        Some((at, field)) => {
            let message = shapes.schema.message(at.message);
            let name = message.map(|m| format!("{}.{}", m.full_name, field.name));
            let note = name.map(|name| shapes.schema.annotations().field(&name));
            note.unwrap_or_default().required
        }
    }
}

/// The fields that come from the path alone.
fn top_level_of_path(operation: &Operation<'_>) -> Vec<FieldRef> {
    let whole = operation.plan.path.iter().filter(|b| b.fields.len() == 1);
    whole.filter_map(|b| b.fields.first().copied()).collect()
}

impl Shapes<'_> {
    /// `google.rpc.Status`, which every schema has.
    pub fn status(&mut self) -> Value {
        let schema = self.schema;
        let status: Option<MessageId> = schema.find_message("google.rpc.Status");
        status.map_or_else(
            || json!({ "type": "object" }),
            |id| self.message(id, &JsonOptions::default()),
        )
    }
}
