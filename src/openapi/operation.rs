//! One operation: its names, words, parameters and bodies.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use crate::schema::StreamKind;

use super::errors::Errors;
use super::paths::Address;
use super::shapes::Shapes;
use super::{Operation, bodies, parameters};

/// Short names of services, where they are of one alone.
#[derive(Debug)]
pub(super) struct Names {
    ambiguous: BTreeSet<String>,
}

impl Names {
    pub fn of(operations: &[Operation<'_>]) -> Self {
        let mut by_short: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for one in operations {
            let service = &*one.plan.service;
            by_short.entry(short(service)).or_default().insert(service);
        }
        let shared = by_short
            .into_iter()
            .filter(|(_, services)| services.len() > 1);
        Self {
            ambiguous: shared.map(|(short, _)| short.to_owned()).collect(),
        }
    }

    /// `Catalogue`, or the full name where several are called so.
    pub fn service<'n>(&self, full_name: &'n str) -> &'n str {
        let short = short(full_name);
        match self.ambiguous.contains(short) {
            true => full_name,
            false => short,
        }
    }
}

fn short(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}

/// Gives every operation an id of its own.
#[derive(Debug)]
pub(super) struct Ids {
    pub names: Names,
    given: HashMap<String, usize>,
}

impl Ids {
    pub fn new(names: Names) -> Self {
        Self {
            names,
            given: HashMap::new(),
        }
    }

    /// `Catalogue_GetGame`, and `Catalogue_GetGame_2` for its second rule.
    fn next(&mut self, operation: &Operation<'_>) -> String {
        let service = self
            .names
            .service(&operation.plan.service)
            .replace('.', "_");
        let id = format!("{service}_{}", operation.plan.method);
        let times = self.given.entry(id.clone()).or_default();
        *times = times.saturating_add(1);
        match *times {
            1 => id,
            // The only other underscores are of names, which no digit follows alone by accident:
            // `A_B_2` may be a method's, so what is given is remembered as well.
            n => {
                let free = (n..).map(|n| format!("{id}_{n}"));
                let id = free
                    .into_iter()
                    .find(|id| !self.given.contains_key(id))
                    .unwrap_or(id);
                self.given.insert(id.clone(), 1);
                id
            }
        }
    }
}

pub(super) fn describe(
    operation: &Operation<'_>,
    method: &str,
    address: &Address,
    shapes: &mut Shapes<'_>,
    ids: &mut Ids,
    errors: &mut Errors,
) -> Value {
    let plan = operation.plan;
    let full_name = format!("{}.{}", plan.service, plan.method);
    let words = shapes.schema.annotations();
    let (listed, cut) = parameters::parameters(operation, address, shapes);
    let mut said = Map::new();
    said.insert("operationId".into(), json!(ids.next(operation)));
    said.insert("tags".into(), json!([ids.names.service(&plan.service)]));
    let comment = words.comment(&full_name);
    let summary = comment.and_then(summary);
    if let Some(summary) = summary {
        said.insert("summary".into(), json!(summary));
    }
    // What the summary says is not said again.
    let more = comment.filter(|text| Some(text.trim_end_matches('.')) != summary);
    let mut description: Vec<&str> = more.into_iter().collect();
    description.extend(told_of_stream(
        plan.stream,
        method,
        plan.response_target().is_some(),
    ));
    if cut {
        description.push("Fields deeper in messages can be given in the query too, by their path.");
    }
    if plan.filled_mask.is_some() {
        description.push("Without a field mask, the fields of the body are what changes.");
    }
    if !description.is_empty() {
        said.insert("description".into(), json!(description.join("\n\n")));
    }
    if words.is_deprecated(&full_name) {
        said.insert("deprecated".into(), json!(true));
    }
    if !listed.is_empty() {
        said.insert("parameters".into(), Value::Array(listed));
    }
    if let Some(body) = bodies::request(operation, shapes) {
        said.insert("requestBody".into(), body);
    }
    let (status, reply) = bodies::success(operation, shapes);
    let mut responses = Map::new();
    responses.insert(status, reply);
    responses.insert("default".into(), errors.reference(operation.errors));
    said.insert("responses".into(), Value::Object(responses));
    let stream = match plan.stream {
        StreamKind::Unary => None,
        StreamKind::Server => Some("server"),
        StreamKind::Client => Some("client"),
        StreamKind::Bidi => Some("bidi"),
    };
    let mut grpc = Map::new();
    let path = plan.grpc_path.as_str().trim_start_matches('/');
    grpc.insert("method".into(), json!(path));
    if let Some(stream) = stream {
        grpc.insert("stream".into(), json!(stream));
    }
    said.insert("x-grpc".into(), Value::Object(grpc));
    Value::Object(said)
}

/// The first sentence, if it is one for a list.
fn summary(comment: &str) -> Option<&str> {
    const LONG: usize = 120;
    let paragraph = comment.split("\n\n").next()?;
    let end = paragraph.find(". ").or_else(|| paragraph.find(".\n"));
    let first = end.and_then(|at| paragraph.get(..at)).unwrap_or(paragraph);
    let first = first.trim_end_matches('.').trim();
    (!first.is_empty() && first.len() <= LONG && !first.contains('\n')).then_some(first)
}

fn told_of_stream(stream: StreamKind, method: &str, is_json: bool) -> Option<&'static str> {
    match (stream, method) {
        (StreamKind::Unary, _) => None,
        (StreamKind::Server, _) if !is_json => Some("Answers with bytes as they come."),
        (StreamKind::Server, _) => Some(
            "Answers with a stream: `Accept` chooses its form. A WebSocket on this path carries the same.",
        ),
        (StreamKind::Client, _) => {
            Some("Takes a stream of messages. A WebSocket on this path carries the same.")
        }
        (StreamKind::Bidi, "get") => Some(
            "Both sides stream. Over plain HTTP there is one request message, of path and query; a WebSocket on this path takes more.",
        ),
        (StreamKind::Bidi, _) => Some(
            "Both sides stream: `Accept` chooses the form of the answer. A WebSocket on this path carries the same.",
        ),
    }
}
