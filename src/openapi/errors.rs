//! What a failed request gets, in each format that a route may have.

use serde_json::{Map, Value, json};

use crate::transcode::ErrorFormat;

use super::shapes::Shapes;

const PROBLEM: &str = "Error.Problem";
const AIP193: &str = "Error.AIP193";

/// The formats that a document's operations have.
#[derive(Debug, Default)]
pub(super) struct Errors {
    used: Vec<ErrorFormat>,
}

impl Errors {
    /// A reference to the reply of this format.
    pub fn reference(&mut self, format: ErrorFormat) -> Value {
        if !self.used.contains(&format) {
            self.used.push(format);
        }
        json!({ "$ref": format!("#/components/responses/{}", name(format)) })
    }

    /// All replies that were referred to.
    pub fn responses(&self, shapes: &mut Shapes<'_>) -> Value {
        let mut responses = Map::new();
        for format in &self.used {
            let schema = match format {
                ErrorFormat::Status | ErrorFormat::GrpcGateway => shapes.status(),
                ErrorFormat::Aip193 => reference(AIP193),
                ErrorFormat::Problem => reference(PROBLEM),
            };
            let mut content = Map::new();
            if *format != ErrorFormat::Problem {
                content.insert("application/json".into(), json!({ "schema": schema }));
            }
            // Whoever accepts it by name gets it.
            if *format != ErrorFormat::GrpcGateway {
                let problem = json!({ "schema": reference(PROBLEM) });
                content.insert("application/problem+json".into(), problem);
            }
            let told = json!({
                "description": "The request failed: 4xx for what the client may change, 5xx otherwise. `details` has what the service says of it, each with its `@type`.",
                "content": content,
            });
            responses.insert(name(*format).to_owned(), told);
        }
        Value::Object(responses)
    }

    /// The schemas that these need beside messages.
    pub fn schemas(&self) -> Vec<(&'static str, Value)> {
        let mut schemas = Vec::new();
        if self.used.contains(&ErrorFormat::Aip193) {
            schemas.push((AIP193, aip193()));
        }
        if self.used.iter().any(|f| *f != ErrorFormat::GrpcGateway) {
            schemas.push((PROBLEM, problem()));
        }
        schemas
    }
}

fn name(format: ErrorFormat) -> &'static str {
    match format {
        ErrorFormat::Status => "Error",
        ErrorFormat::Aip193 => "ErrorAIP193",
        ErrorFormat::Problem => "ErrorProblem",
        ErrorFormat::GrpcGateway => "ErrorGrpcGateway",
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn details() -> Value {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": { "@type": { "type": "string" } },
            "required": ["@type"],
            "additionalProperties": true,
        },
    })
}

fn code() -> Value {
    json!({
        "type": "string",
        "description": "The name of the gRPC code, such as `NOT_FOUND`.",
    })
}

/// AIP-193's JSON form.
fn aip193() -> Value {
    json!({
        "type": "object",
        "properties": { "error": {
            "type": "object",
            "properties": {
                "code": { "type": "integer", "description": "The HTTP status." },
                "message": { "type": "string" },
                "status": code(),
                "details": details(),
            },
            "required": ["code", "message", "status"],
        } },
        "required": ["error"],
    })
}

/// RFC 9457.
fn problem() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": { "type": "string" },
            "status": { "type": "integer", "description": "The HTTP status." },
            "detail": { "type": "string" },
            "code": code(),
            "details": details(),
        },
        "required": ["type", "title", "status", "detail", "code"],
    })
}
