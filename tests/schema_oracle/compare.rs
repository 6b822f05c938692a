//! Our schema beside prost-reflect's pool of the same proto2 and proto3 files: each difference, in words.

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind as TheirKind,
    MessageDescriptor, MethodDescriptor, Syntax,
};
use transom::schema::{Cardinality, Field, HttpRule, Kind, Message, Presence, Schema, StreamKind};

/// Differences; empty when both say the same of everything in the pool.
pub fn differences(schema: &Schema, pool: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for theirs in pool.all_messages() {
        match schema
            .find_message(theirs.full_name())
            .and_then(|id| schema.message(id))
        {
            Some(ours) => message(schema, ours, &theirs, &mut found),
            None => found.push(format!("no message {}", theirs.full_name())),
        }
    }
    for theirs in pool.all_extensions() {
        match schema
            .find_extension(theirs.full_name())
            .and_then(|at| schema.field(at))
        {
            Some(ours) => same(
                theirs.full_name(),
                &ours_of(schema, ours, None),
                &extension(&theirs),
                &mut found,
            ),
            None => found.push(format!("no extension {}", theirs.full_name())),
        }
    }
    for theirs in pool.all_enums() {
        let Some(ours) = schema
            .find_enum(theirs.full_name())
            .and_then(|id| schema.enumeration(id))
        else {
            found.push(format!("no enum {}", theirs.full_name()));
            continue;
        };
        let ours_values: Vec<_> = ours
            .values
            .iter()
            .map(|v| (v.name.to_string(), v.number))
            .collect();
        let mut theirs_values: Vec<_> = theirs
            .values()
            .map(|v| (v.name().to_owned(), v.number()))
            .collect();
        let mut sorted = ours_values.clone();
        sorted.sort();
        theirs_values.sort();
        same(theirs.full_name(), &sorted, &theirs_values, &mut found);
        same(
            theirs.full_name(),
            &ours.closed,
            &(theirs.parent_file().syntax() == Syntax::Proto2),
            &mut found,
        );
        same(
            theirs.full_name(),
            &ours.values.first().map(|v| v.number),
            &Some(theirs.default_value().number()),
            &mut found,
        );
    }
    for service in pool.services() {
        for theirs in service.methods() {
            method(schema, &theirs, pool, &mut found);
        }
    }
    found
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T, found: &mut Vec<String>) {
    if ours != theirs {
        found.push(format!("{what}: ours {ours:?}, theirs {theirs:?}"));
    }
}

fn message(schema: &Schema, ours: &Message, theirs: &MessageDescriptor, found: &mut Vec<String>) {
    let name = theirs.full_name();
    same(name, &ours.map_entry, &theirs.is_map_entry(), found);
    let plain = ours.fields.iter().filter(|f| !f.extension).count();
    same(name, &plain, &theirs.fields().count(), found);
    let oneofs: Vec<_> = theirs
        .oneofs()
        .filter(|o| !o.is_synthetic())
        .map(|o| o.name().to_owned())
        .collect();
    same(
        name,
        &ours.oneofs.iter().map(ToString::to_string).collect(),
        &oneofs,
        found,
    );
    for field in theirs.fields() {
        match ours
            .field_by_number(field.number())
            .and_then(|at| ours.fields.get(at.position()))
        {
            Some(ours_field) => same(
                field.full_name(),
                &ours_of(schema, ours_field, Some(ours)),
                &theirs_of(&field),
                found,
            ),
            None => found.push(format!("no field {}", field.full_name())),
        }
    }
}

/// Number, name, JSON name, kind, cardinality, presence, group, oneof.
type Facts = (u32, String, String, String, String, bool, Option<String>);

fn ours_of(schema: &Schema, field: &Field, of: Option<&Message>) -> Facts {
    let kind = |kind: Kind| match kind {
        Kind::Message(id) => format!(
            "message {}",
            schema.message(id).map_or("?", |m| &m.full_name)
        ),
        Kind::Enum(id) => format!(
            "enum {}",
            schema.enumeration(id).map_or("?", |e| &e.full_name)
        ),
        other => format!("{other:?}").to_lowercase(),
    };
    let (kind, often) = match field.cardinality {
        Cardinality::Map { entry, .. } => (kind(Kind::Message(entry)), "map".to_owned()),
        Cardinality::Repeated { packed } => {
            (kind(field.kind), format!("repeated, packed: {packed}"))
        }
        Cardinality::Singular(Presence::Required) => (kind(field.kind), "required".to_owned()),
        Cardinality::Singular(p) => (
            kind(field.kind),
            format!("presence: {}", p == Presence::Explicit),
        ),
    };
    let oneof = field
        .oneof
        .and_then(|at| of?.oneofs.get(usize::from(at)))
        .map(ToString::to_string);
    (
        field.number,
        field.name.to_string(),
        field.json_name.to_string(),
        kind,
        often,
        field.delimited,
        oneof,
    )
}

fn their_kind(kind: &TheirKind) -> String {
    match kind {
        TheirKind::Message(m) => format!("message {}", m.full_name()),
        TheirKind::Enum(e) => format!("enum {}", e.full_name()),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn theirs_of(field: &FieldDescriptor) -> Facts {
    let often = if field.is_map() {
        "map".to_owned()
    } else if field.is_list() {
        format!("repeated, packed: {}", field.is_packed())
    } else if field.cardinality() == prost_reflect::Cardinality::Required {
        "required".to_owned()
    } else {
        format!("presence: {}", field.supports_presence())
    };
    let oneof = field
        .containing_oneof()
        .filter(|o| !o.is_synthetic())
        .map(|o| o.name().to_owned());
    let (name, json) = (field.name().to_owned(), field.json_name().to_owned());
    (
        field.number(),
        name,
        json,
        their_kind(&field.kind()),
        often,
        field.is_group(),
        oneof,
    )
}

fn extension(field: &ExtensionDescriptor) -> Facts {
    let often = if field.is_list() {
        format!("repeated, packed: {}", field.is_packed())
    } else {
        format!("presence: {}", field.supports_presence())
    };
    let (name, json) = (
        field.full_name().to_owned(),
        format!("[{}]", field.full_name()),
    );
    (
        field.number(),
        name,
        json,
        their_kind(&field.kind()),
        often,
        field.is_group(),
        None,
    )
}

fn method(
    schema: &Schema,
    theirs: &MethodDescriptor,
    pool: &DescriptorPool,
    found: &mut Vec<String>,
) {
    let name = theirs.full_name();
    let Some(ours) = schema.find_method(theirs.parent_service().full_name(), theirs.name()) else {
        found.push(format!("no method {name}"));
        return;
    };
    let ours = ours.method;
    let full = |id| {
        schema
            .message(id)
            .map(|m| m.full_name.to_string())
            .unwrap_or_default()
    };
    same(
        name,
        &full(ours.input),
        &theirs.input().full_name().to_owned(),
        found,
    );
    same(
        name,
        &full(ours.output),
        &theirs.output().full_name().to_owned(),
        found,
    );
    let stream = match (theirs.is_client_streaming(), theirs.is_server_streaming()) {
        (false, false) => StreamKind::Unary,
        (true, false) => StreamKind::Client,
        (false, true) => StreamKind::Server,
        (true, true) => StreamKind::Bidi,
    };
    same(name, &ours.stream, &stream, found);
    let options = theirs.options();
    let rule = pool
        .get_extension_by_name("google.api.http")
        .filter(|http| options.has_extension(http))
        .map(|http| {
            let value = options.get_extension(&http).into_owned();
            rule(value.as_message().expect("google.api.http is a message"))
        });
    same(name, &ours.http.as_ref().map(ours_rule), &rule, found);
}

/// Method, template, body, response body; additional bindings behind.
fn ours_rule(rule: &HttpRule) -> Vec<[String; 4]> {
    let one = |r: &HttpRule| {
        [
            &r.pattern.method,
            &r.pattern.template,
            &r.body,
            &r.response_body,
        ]
        .map(ToString::to_string)
    };
    std::iter::once(rule)
        .chain(&rule.additional_bindings)
        .map(one)
        .collect()
}

fn rule(rule: &DynamicMessage) -> Vec<[String; 4]> {
    let text = |m: &DynamicMessage, name: &str| {
        m.get_field_by_name(name)
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let mut pattern = (String::new(), String::new());
    for method in ["get", "put", "post", "delete", "patch"] {
        if rule.has_field_by_name(method) {
            pattern = (method.to_uppercase(), text(rule, method));
        }
    }
    if rule.has_field_by_name("custom") {
        let custom = rule
            .get_field_by_name("custom")
            .expect("declared")
            .into_owned();
        let custom = custom.as_message().expect("a message");
        pattern = (text(custom, "kind"), text(custom, "path"));
    }
    let mut rules = vec![[
        pattern.0,
        pattern.1,
        text(rule, "body"),
        text(rule, "response_body"),
    ]];
    let more = rule
        .get_field_by_name("additional_bindings")
        .expect("declared")
        .into_owned();
    for extra in more.as_list().expect("a list") {
        rules.extend(self::rule(extra.as_message().expect("a message")));
    }
    rules
}
