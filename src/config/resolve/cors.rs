//! `cors`: keys on top of those of `defaults`; origins and credentials that go together.

use std::sync::Arc;

use super::super::cors::{Origin, header};
use super::super::keys::Shape;
use super::super::model::Policy;
use super::super::raw::{Field, Section};
use super::super::tree::Value;

pub fn cors(field: &Field<'_, '_>, policy: &mut Policy) {
    let (Value::Map(_), Shape::ChoiceOr(_, keys)) = (&field.node.value, field.shape) else {
        if field.choice().is_some() {
            policy.cors = None;
        }
        return;
    };
    let before = field.reader.errors();
    let Some(section) = Section::open(field.reader, keys, field.node, field.path.clone()) else {
        return;
    };
    let mut cors = policy.cors.as_deref().cloned().unwrap_or_default();
    if section.has("origins") {
        cors.origins = origins(&section);
    } else if cors.origins.is_empty() && field.reader.errors() == before {
        field.reader.push(
            field
                .fail("`cors` without `origins`")
                .help("such as `origins: [\"https://www.example.com\"]`"),
        );
    }
    let flag = |name| section.field(name).and_then(|f| f.bool());
    cors.credentials = flag("credentials").unwrap_or(cors.credentials);
    cors.private_network = flag("private_network").unwrap_or(cors.private_network);
    if let Some(age) = section.field("max_age").and_then(|f| f.duration()) {
        cors.max_age = age;
    }
    let headers = |name| {
        let items = section.items(name);
        let headers = items.iter().filter_map(|i| i.parse(header)).collect();
        section.has(name).then_some(headers)
    };
    if let Some(headers) = headers("allow_headers") {
        cors.allow_headers = headers;
    }
    if let Some(headers) = headers("expose_headers") {
        cors = cors.exposing(headers);
    }
    if cors.credentials && cors.is_open() {
        let at = section
            .field("credentials")
            .or_else(|| section.field("origins"));
        at.as_ref().unwrap_or(field).reader.push(
            at.as_ref()
                .unwrap_or(field)
                .fail("`credentials` with the origin `*`")
                .help("browsers refuse it, and any site could act as the user: name the origins"),
        );
    }
    policy.cors = Some(Arc::new(cors));
}

fn origins(section: &Section<'_, '_>) -> Vec<Origin> {
    let items = section.items("origins");
    let mut origins: Vec<Origin> = Vec::new();
    for item in &items {
        let Some(origin) = item.parse(Origin::parse) else {
            continue;
        };
        if origin == Origin::Any && items.len() > 1 {
            let alone = item.fail("`*` takes every origin already");
            item.reader
                .push(alone.help("leave the others out, or leave out `*`"));
        }
        origins.push(origin);
    }
    origins
}
