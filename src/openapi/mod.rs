//! OpenAPI 3.1 of the plans that route: what a document says is what the router and the transcoder do,
//! because it is made of the same values. Parameters are those that [`MethodPlan::query_field`] takes,
//! names those that the route's codec prints.
//!
//! Routes that reach no method (proxied ones, files) have no description to give and are left out.

mod bodies;
mod errors;
mod operation;
mod parameters;
mod paths;
mod shapes;
#[cfg(test)]
pub(crate) mod tests;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::schema::Schema;
use crate::transcode::reply_status::Statuses;
use crate::transcode::{Compat, ErrorFormat, MethodPlan};

pub use yaml::to_yaml;

use operation::Names;
use paths::Address;
use shapes::Shapes;

/// Methods that a path item of OpenAPI 3.1 can have.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// One rule and how its route treats it.
#[derive(Clone, Debug)]
pub struct Operation<'l> {
    pub plan: &'l MethodPlan,
    pub errors: ErrorFormat,
    pub statuses: &'l Statuses,
    pub compat: Compat,
    /// Clients may choose fields of the reply (`$fields`).
    pub partial_responses: bool,
    /// Request headers that become metadata; only whole names can be told.
    pub headers: Vec<&'l str>,
}

impl Operation<'_> {
    /// `GET`; `*` is any.
    fn method(&self) -> &str {
        let rule = &*self.plan.rule;
        rule.split_once(' ').map_or(rule, |(method, _)| method)
    }
}

/// What a document says beside its operations.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where the API is; `/` is where the document is from.
    pub server: String,
    /// The host that the document is for, for its title.
    pub host: Option<String>,
    /// Clients need a certificate.
    pub client_certificates: bool,
}

/// The document of these operations, all of one schema. Their order doesn't matter.
#[must_use]
pub fn document(schema: &Schema, facts: &Facts, operations: &[Operation<'_>]) -> Value {
    let names = Names::of(operations);
    let mut shapes = Shapes::new(schema);
    let mut items: BTreeMap<String, PathItem<'_>> = BTreeMap::new();
    let mut sorted: Vec<&Operation<'_>> = operations.iter().collect();
    sorted.sort_by_key(|one| (&*one.plan.template, method_rank(one.method())));
    for operation in sorted {
        let Some(address) = Address::of(operation.plan) else {
            continue;
        };
        let item = items.entry(address.shape.clone()).or_default();
        item.operations.push((operation, address));
    }
    let mut ids = operation::Ids::new(names);
    let mut errors = errors::Errors::default();
    let mut paths = Map::new();
    let mut ordered: Vec<PathItem<'_>> = items.into_values().collect();
    ordered.sort_by_key(PathItem::text);
    for item in ordered {
        let text = item.text();
        paths.insert(text, item.value(&mut shapes, &mut ids, &mut errors));
    }
    let tags = tags(schema, &ids.names, operations);
    let mut root = Map::new();
    root.insert("openapi".into(), json!("3.1.1"));
    root.insert("info".into(), info(facts, operations));
    root.insert("servers".into(), json!([{ "url": facts.server }]));
    root.insert("security".into(), security(facts));
    root.insert("tags".into(), tags);
    root.insert("paths".into(), Value::Object(paths));
    let responses = errors.responses(&mut shapes);
    let mut components = Map::new();
    components.insert("schemas".into(), shapes.finish(errors.schemas()));
    components.insert("responses".into(), responses);
    components.insert("securitySchemes".into(), schemes(facts));
    root.insert("components".into(), Value::Object(components));
    Value::Object(root)
}

fn method_rank(method: &str) -> usize {
    let lower = method.to_ascii_lowercase();
    METHODS
        .iter()
        .position(|m| *m == lower)
        .unwrap_or(METHODS.len())
}

/// The operations of one shape of path. Templates that differ in names alone are one item, as the
/// specification wants it: the names that most of them have are those of all.
#[derive(Default)]
struct PathItem<'l> {
    operations: Vec<(&'l Operation<'l>, Address)>,
}

impl PathItem<'_> {
    fn address(&self) -> Option<&Address> {
        let all = || self.operations.iter().map(|(_, address)| address);
        let rank = |one: &&Address| {
            let as_many = all().filter(|other| other.text == one.text).count();
            (as_many, std::cmp::Reverse(one.text.matches('.').count()))
        };
        // Of equals `max_by_key` takes the last.
        all().rev().max_by_key(rank)
    }

    fn text(&self) -> String {
        self.address().map(|a| a.text.clone()).unwrap_or_default()
    }

    fn value(
        self,
        shapes: &mut Shapes<'_>,
        ids: &mut operation::Ids,
        errors: &mut errors::Errors,
    ) -> Value {
        let parts = self.address().map(|a| a.parameters.as_slice());
        let parts = parts.unwrap_or_default().iter();
        let names: Vec<String> = parts.map(|p| p.name.clone()).collect();
        let mut item = Map::new();
        let mut others = Map::new();
        let mut operations = self.operations;
        operations.sort_by_key(|(operation, _)| method_rank(operation.method()));
        for (operation, mut address) in operations {
            address.rename(&names);
            let method = operation.method().to_ascii_lowercase();
            let methods: Vec<&str> = match method.as_str() {
                // Any method; those that can have what the rule wants of it.
                "*" if operation.plan.body == crate::transcode::BodyRule::None => {
                    vec!["get", "put", "post", "delete", "patch"]
                }
                "*" => vec!["put", "post", "patch"],
                one => vec![one],
            };
            for method in methods {
                let described =
                    operation::describe(operation, method, &address, shapes, ids, errors);
                // A rule of the method itself goes before one of any.
                match METHODS.contains(&method) {
                    true => item.entry(method).or_insert(described),
                    // OpenAPI 3.2 has a place for these, `additionalOperations`; 3.1 has none.
                    false => others
                        .entry(method.to_ascii_uppercase())
                        .or_insert(described),
                };
            }
        }
        if !others.is_empty() {
            item.insert("x-additionalOperations".into(), Value::Object(others));
        }
        Value::Object(item)
    }
}

fn info(facts: &Facts, operations: &[Operation<'_>]) -> Value {
    let packages: BTreeSet<&str> = operations
        .iter()
        .filter_map(|one| one.plan.service.rsplit_once('.'))
        .map(|(package, _)| package)
        .collect();
    let version = packages.iter().filter_map(|package| {
        let last = package.rsplit('.').next()?;
        let is_version = last
            .strip_prefix('v')?
            .starts_with(|c: char| c.is_ascii_digit());
        is_version.then_some(last)
    });
    let version = version.max().unwrap_or("1").to_owned();
    let packages: Vec<&str> = packages.into_iter().collect();
    let title = match (&facts.host, packages.as_slice()) {
        (Some(host), _) => host.clone(),
        (None, []) => "HTTP API".to_owned(),
        (None, [one]) => (*one).to_owned(),
        (None, [first, rest @ ..]) if rest.len() < 3 => rest
            .iter()
            .fold((*first).to_owned(), |all, one| format!("{all}, {one}")),
        (None, [first, rest @ ..]) => format!("{first} and {} more packages", rest.len()),
    };
    json!({ "title": title, "version": version })
}

/// What clients may show, none of which the gateway asks for itself: services judge `authorization`.
fn security(facts: &Facts) -> Value {
    match facts.client_certificates {
        true => json!([{ "clientCertificate": [] }, { "clientCertificate": [], "bearer": [] }]),
        false => json!([{}, { "bearer": [] }]),
    }
}

fn schemes(facts: &Facts) -> Value {
    let mut schemes = Map::new();
    let bearer = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "`authorization` is passed on to the services, which say what they want of it.",
    });
    schemes.insert("bearer".into(), bearer);
    if facts.client_certificates {
        let certificate = json!({
            "type": "mutualTLS",
            "description": "Connections without a client's certificate are refused.",
        });
        schemes.insert("clientCertificate".into(), certificate);
    }
    Value::Object(schemes)
}

fn tags(schema: &Schema, names: &Names, operations: &[Operation<'_>]) -> Value {
    let services: BTreeSet<&str> = operations.iter().map(|one| &*one.plan.service).collect();
    let tags = services.into_iter().map(|service| {
        let mut tag = Map::new();
        tag.insert("name".into(), json!(names.service(service)));
        if let Some(comment) = schema.annotations().comment(service) {
            tag.insert("description".into(), json!(comment));
        }
        Value::Object(tag)
    });
    tags.collect()
}
