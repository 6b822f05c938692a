//! The JSON Schema (draft 2020-12) of the config file, from the table of keys.
//!
//! Ranges of durations and sizes are left to `transom check`: a pattern can't say them readably.

use serde_json::{Map, Value, json};

use super::keys::{FILE, Key, Section, Shape};

/// The schema as it stands in `config/transom.schema.json`.
#[must_use]
pub fn text() -> String {
    let mut schema = schema();
    // So that a new key is a few lines of a diff, wherever its section stands.
    schema.sort_all_objects();
    // A tree of strings always prints.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn schema() -> Value {
    let mut defs = Map::new();
    let mut root = section(&FILE, &mut defs);
    if let Some(root) = root.as_object_mut() {
        root.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        root.insert("title".into(), "Transom".into());
        root.insert("$defs".into(), Value::Object(defs));
    }
    root
}

fn section(keys: &'static Section, defs: &mut Map<String, Value>) -> Value {
    let properties: Map<_, _> = keys
        .keys()
        .map(|key| (key.name.to_owned(), property(key, defs)))
        .collect();
    let required: Vec<_> = keys.keys().filter(|k| k.required).map(|k| k.name).collect();
    let mut object = json!({
        "type": "object",
        "description": keys.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if let Some(object) = object.as_object_mut() {
        if !required.is_empty() {
            object.insert("required".into(), json!(required));
        }
        let one_of =
            |keys: &[&str]| -> Value { keys.iter().map(|k| json!({"required": [k]})).collect() };
        match keys.exactly_one {
            [] => {}
            [only] => _ = object.insert("oneOf".into(), one_of(only)),
            sets => {
                let all: Value = sets.iter().map(|s| json!({"oneOf": one_of(s)})).collect();
                object.insert("allOf".into(), all);
            }
        }
    }
    object
}

fn property(key: &'static Key, defs: &mut Map<String, Value>) -> Value {
    let mut value = shape(&key.shape, defs);
    if let Some(value) = value.as_object_mut() {
        value.insert("description".into(), key.about.into());
        if let Some(default) = key.default {
            let typed = match key.shape {
                Shape::Bool | Shape::Integer { .. } | Shape::Share => {
                    serde_json::from_str(default).ok()
                }
                _ => None,
            };
            value.insert("default".into(), typed.unwrap_or_else(|| default.into()));
        }
    }
    value
}

fn shape(shape_of: &'static Shape, defs: &mut Map<String, Value>) -> Value {
    match *shape_of {
        Shape::Bool => or_variable(json!({"type": "boolean"}), defs),
        Shape::Integer { min, max } => or_variable(
            json!({"type": "integer", "minimum": min, "maximum": max}),
            defs,
        ),
        Shape::Share => or_variable(json!({"type": "number", "minimum": 0, "maximum": 1}), defs),
        Shape::Duration { .. } => {
            let form = json!({"type": "string", "pattern": "^[0-9]+ *(ms|s|m|h)$"});
            or_variable(reference("duration", form, defs), defs)
        }
        Shape::Size { .. } => {
            let form = json!({"type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB)$"});
            or_variable(reference("size", form, defs), defs)
        }
        Shape::Choice(words) => or_variable(json!({"enum": words}), defs),
        Shape::Template | Shape::UrlPath => {
            or_variable(json!({"type": "string", "pattern": "^/"}), defs)
        }
        Shape::Rpc => or_variable(
            json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$"}),
            defs,
        ),
        Shape::Text
        | Shape::Address
        | Shape::Endpoint
        | Shape::Host
        | Shape::Header
        | Shape::CorsHeader
        | Shape::Origin
        | Shape::Network
        | Shape::ServiceGlob
        | Shape::Method
        | Shape::Field { .. }
        | Shape::Upstream
        | Shape::Path => json!({"type": "string", "minLength": 1}),
        Shape::List(item) => json!({"type": "array", "minItems": 1, "items": shape(item, defs)}),
        Shape::Section(keys) => section_reference(keys, defs),
        Shape::HeaderValues => json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "string", "minLength": 1},
        }),
        Shape::Named(keys) => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,63}$"},
            "additionalProperties": section_reference(keys, defs),
        }),
        Shape::ChoiceOr(words, keys) => {
            let section = section_reference(keys, defs);
            let variable = variable(defs);
            json!({"anyOf": [{"enum": words}, section, variable]})
        }
    }
}

/// Any scalar may come from the environment.
fn or_variable(form: Value, defs: &mut Map<String, Value>) -> Value {
    json!({"anyOf": [form, variable(defs)]})
}

fn variable(defs: &mut Map<String, Value>) -> Value {
    reference(
        "variable",
        json!({
            "type": "string",
            "description": "Holds ${NAME} or ${NAME:-default}, replaced from the environment.",
            "pattern": "\\$\\{",
        }),
        defs,
    )
}

fn section_reference(keys: &'static Section, defs: &mut Map<String, Value>) -> Value {
    if !defs.contains_key(keys.name) {
        // Taken first, so that a section that holds itself ends here.
        defs.insert(keys.name.to_owned(), Value::Null);
        let built = section(keys, defs);
        defs.insert(keys.name.to_owned(), built);
    }
    json!({"$ref": format!("#/$defs/{}", keys.name)})
}

fn reference(name: &str, form: Value, defs: &mut Map<String, Value>) -> Value {
    defs.entry(name).or_insert(form);
    json!({"$ref": format!("#/$defs/{name}")})
}
