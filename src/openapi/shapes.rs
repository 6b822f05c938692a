//! Messages and enums as JSON Schema, in the form that a route's codec reads and prints them.
//!
//! Each that is used becomes one component under its full name. Routes with JSON options of their own
//! have components of their own, with a number behind the name.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::codec::{JsonOptions, printed_names};
use crate::schema::{
    Cardinality, Enum, EnumId, Field, FieldRef, Kind, MapKey, Message, MessageId, Presence, Schema,
    WellKnown,
};

/// Components of one document.
pub(super) struct Shapes<'s> {
    pub schema: &'s Schema,
    /// Sets of JSON options met so far, as far as they change a schema.
    variants: Vec<JsonOptions>,
    named: HashMap<(Thing, usize), String>,
    open: Vec<(Thing, usize)>,
    /// Messages without those of their fields that come from a path.
    lacking: Vec<(MessageId, Vec<FieldRef>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    Message(MessageId),
    Enum(EnumId),
    /// A message without some of its fields, by place in [`Shapes::lacking`].
    Lacking(usize),
}

/// A schema with the members of another value laid over it.
pub(super) fn with(schema: Value, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    match schema {
        Value::Object(mut map) => {
            for (key, value) in more {
                map.insert(key.to_owned(), value);
            }
            Value::Object(map)
        }
        other => other,
    }
}

impl<'s> Shapes<'s> {
    pub fn new(schema: &'s Schema) -> Self {
        Self {
            schema,
            variants: Vec::new(),
            named: HashMap::new(),
            open: Vec::new(),
            lacking: Vec::new(),
        }
    }

    /// A whole message.
    pub fn message(&mut self, id: MessageId, options: &JsonOptions) -> Value {
        let Some(message) = self.schema.message(id) else {
            return json!({});
        };
        match message
            .well_known
            .and_then(|known| well_known(known, options))
        {
            Some(schema) => schema,
            None => self.reference(Thing::Message(id), &message.full_name, options),
        }
    }

    /// A whole message without some of its top-level fields, which come from elsewhere.
    pub fn message_without(
        &mut self,
        id: MessageId,
        left_out: &[FieldRef],
        options: &JsonOptions,
    ) -> Value {
        let schema = self.schema;
        match schema.message(id) {
            Some(message) if !left_out.is_empty() && message.well_known.is_none() => {
                let lacking = (id, left_out.to_vec());
                let same = |(one, _): &&(MessageId, Vec<FieldRef>)| *one == id;
                let before = self.lacking.iter().filter(same).count();
                let known = self.lacking.iter().position(|one| *one == lacking);
                let nth = known.map_or(before, |at| {
                    self.lacking.iter().take(at).filter(same).count()
                });
                let at = known.unwrap_or(self.lacking.len());
                if known.is_none() {
                    self.lacking.push(lacking);
                }
                // No name of a message has a hyphen.
                let name = match nth {
                    0 => format!("{}-body", message.full_name),
                    nth => format!("{}-body{}", message.full_name, nth.saturating_add(1)),
                };
                self.reference(Thing::Lacking(at), &name, options)
            }
            _ => self.message(id, options),
        }
    }

    /// The fields of a message that must be there.
    pub fn required(&self, id: MessageId, left_out: &[FieldRef]) -> bool {
        let Some(message) = self.schema.message(id) else {
            return false;
        };
        let words = self.schema.annotations();
        let mut fields = message.fields.iter().filter(|field| {
            let at = message.field_by_number(field.number);
            let left_out =
                at.is_some_and(|field| left_out.contains(&FieldRef { message: id, field }));
            !left_out
        });
        fields.any(|field| {
            field.cardinality == Cardinality::Singular(Presence::Required)
                || words
                    .field(&format!("{}.{}", message.full_name, field.name))
                    .required
        })
    }

    /// A field's value: arrays and maps as such. Its comment comes with it.
    pub fn field(&mut self, at: FieldRef, options: &JsonOptions) -> Value {
        let schema = self.schema;
        let (Some(message), Some(field)) = (schema.message(at.message), schema.field(at)) else {
            return json!({});
        };
        let full_name = format!("{}.{}", message.full_name, field.name);
        let words = schema.annotations();
        let note = words.field(&full_name);
        let mut shape = self.value(field.kind, options);
        if let Some(format) = note.format {
            shape = with(shape, [("format", json!(format))]);
        }
        shape = match field.cardinality {
            Cardinality::Singular(_) => {
                let message = matches!(field.kind, Kind::Message(_)) && field.oneof.is_none();
                match options.emit_nulls && message {
                    true => json!({ "anyOf": [shape, { "type": "null" }] }),
                    false => shape,
                }
            }
            Cardinality::Repeated { .. } => json!({ "type": "array", "items": shape }),
            Cardinality::Map { key, .. } => map(key, shape),
        };
        let mut comment = words.comment(&full_name).map(str::to_owned);
        if note.immutable {
            let fixed = "It can't be changed later.";
            comment = Some(comment.map_or(fixed.to_owned(), |c| format!("{c}\n\n{fixed}")));
        }
        if let Some(oneof) = field
            .oneof
            .and_then(|at| message.oneofs.get(usize::from(at)))
        {
            let one = format!("One of `{oneof}`.");
            comment = Some(comment.map_or(one.clone(), |c| format!("{c}\n\n{one}")));
        }
        let flags = [
            ("readOnly", note.output_only),
            ("writeOnly", note.input_only),
            ("deprecated", words.is_deprecated(&full_name)),
        ];
        let flags = flags.into_iter().filter(|(_, set)| *set);
        let comment = comment.map(|text| ("description", json!(text)));
        with(
            shape,
            comment
                .into_iter()
                .chain(flags.map(|(key, _)| (key, json!(true)))),
        )
    }

    /// One value, whatever the field's cardinality.
    pub fn value(&mut self, kind: Kind, options: &JsonOptions) -> Value {
        match kind {
            Kind::Message(id) => self.message(id, options),
            Kind::Enum(id) => {
                let schema = self.schema;
                match schema.enumeration(id) {
                    Some(one) if &*one.full_name == "google.protobuf.NullValue" => {
                        json!({ "type": "null" })
                    }
                    Some(one) => self.reference(Thing::Enum(id), &one.full_name, options),
                    None => json!({}),
                }
            }
            plain => scalar(plain, options),
        }
    }

    fn reference(&mut self, thing: Thing, full_name: &str, options: &JsonOptions) -> Value {
        let variant = self.variant(options);
        let name = self.named.entry((thing, variant)).or_insert_with(|| {
            self.open.push((thing, variant));
            match variant {
                0 => full_name.to_owned(),
                more => format!("{full_name}-{}", more.saturating_add(1)),
            }
        });
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn variant(&mut self, options: &JsonOptions) -> usize {
        let relevant = JsonOptions {
            emit_nulls: options.emit_nulls,
            enums_as_numbers: options.enums_as_numbers,
            proto_names: options.proto_names,
            int64_as_numbers: options.int64_as_numbers,
            strip_enum_prefix: options.strip_enum_prefix,
            ..JsonOptions::default()
        };
        let known = self.variants.iter().position(|v| *v == relevant);
        known.unwrap_or_else(|| {
            self.variants.push(relevant);
            self.variants.len().saturating_sub(1)
        })
    }

    /// All components that were referred to, by name, and `more`.
    pub fn finish(mut self, more: Vec<(&'static str, Value)>) -> Value {
        let mut done: BTreeMap<String, Value> = BTreeMap::new();
        while let Some((thing, variant)) = self.open.pop() {
            let options = self.variants.get(variant).cloned().unwrap_or_default();
            let schema = self.schema;
            let value = match thing {
                Thing::Message(id) => match schema.message(id) {
                    Some(message) => self.object(id, message, &[], &options),
                    None => json!({}),
                },
                Thing::Lacking(at) => {
                    let (id, left_out) = self
                        .lacking
                        .get(at)
                        .cloned()
                        .unwrap_or_else(|| (MessageId(u32::MAX), Vec::new()));
                    match schema.message(id) {
                        Some(message) => self.object(id, message, &left_out, &options),
                        None => json!({}),
                    }
                }
                Thing::Enum(id) => match schema.enumeration(id) {
                    Some(one) => self.enumeration(one, &options),
                    None => json!({}),
                },
            };
            if let Some(name) = self.named.get(&(thing, variant)) {
                done.insert(name.clone(), value);
            }
        }
        for (name, schema) in more {
            done.entry(name.to_owned()).or_insert(schema);
        }
        Value::Object(done.into_iter().collect())
    }

    fn object(
        &mut self,
        id: MessageId,
        message: &Message,
        left_out: &[FieldRef],
        options: &JsonOptions,
    ) -> Value {
        let words = self.schema.annotations();
        let mut properties = Map::new();
        let mut required = Vec::new();
        let fields = message.fields.iter().enumerate();
        for (at, field) in fields {
            let Some(at) = message
                .field_by_number(field.number)
                .filter(|f| f.position() == at)
            else {
                continue;
            };
            let at = FieldRef {
                message: id,
                field: at,
            };
            if left_out.contains(&at) {
                continue;
            }
            let name = json_name(field, options);
            properties.insert(name.to_owned(), self.field(at, options));
            let full_name = format!("{}.{}", message.full_name, field.name);
            let must = field.cardinality == Cardinality::Singular(Presence::Required);
            if must || words.field(&full_name).required {
                required.push(json!(name));
            }
        }
        let mut schema = Map::new();
        schema.insert("type".into(), json!("object"));
        if let Some(comment) = words.comment(&message.full_name) {
            schema.insert("description".into(), json!(comment));
        }
        if words.is_deprecated(&message.full_name) {
            schema.insert("deprecated".into(), json!(true));
        }
        if !properties.is_empty() {
            schema.insert("properties".into(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".into(), Value::Array(required));
        }
        let rivals = rivals(message, options);
        if !rivals.is_empty() {
            schema.insert("dependentSchemas".into(), Value::Object(rivals));
        }
        Value::Object(schema)
    }

    fn enumeration(&self, one: &Enum, options: &JsonOptions) -> Value {
        let words = self.schema.annotations();
        let mut seen = Vec::new();
        let mut names = Vec::new();
        let mut told = Vec::new();
        for (value, name) in one.values.iter().zip(printed_names(one, options)) {
            // Of aliases the first is printed.
            if seen.contains(&value.number) {
                continue;
            }
            seen.push(value.number);
            let full = format!("{}.{}", one.full_name, value.name);
            if let Some(comment) = words.comment(&full) {
                let line = comment.replace('\n', " ");
                told.push(format!("- `{name}`: {line}"));
            }
            names.push(name);
        }
        let mut description = words.comment(&one.full_name).unwrap_or_default().to_owned();
        if !told.is_empty() {
            description = format!("{description}\n\n{}", told.join("\n"))
                .trim()
                .to_owned();
        }
        let mut schema = match options.enums_as_numbers {
            true => json!({
                "type": "integer", "format": "int32", "enum": seen, "x-enum-varnames": names,
            }),
            false => json!({ "type": "string", "enum": names }),
        };
        if !description.is_empty() {
            schema = with(schema, [("description", json!(description))]);
        }
        match words.is_deprecated(&one.full_name) {
            true => with(schema, [("deprecated", json!(true))]),
            false => schema,
        }
    }
}

/// A field's name in JSON.
pub(super) fn json_name<'f>(field: &'f Field, options: &JsonOptions) -> &'f str {
    match options.proto_names && !field.extension {
        true => &field.name,
        false => &field.json_name,
    }
}

/// For each member of a oneof: the others must be absent. In a keyword that generators of code pass
/// over, so that the types which they make of a message stay plain.
fn rivals(message: &Message, options: &JsonOptions) -> Map<String, Value> {
    /// The keyword grows with the square of the members.
    const MEMBERS_MAX: usize = 32;
    let mut rivals = Map::new();
    for oneof in 0..message.oneofs.len() {
        let of_it = |f: &&Field| f.oneof.map(usize::from) == Some(oneof);
        let members: Vec<&Field> = message.fields.iter().filter(of_it).collect();
        if members.len() < 2 || members.len() > MEMBERS_MAX {
            continue;
        }
        for member in &members {
            let others = members.iter().filter(|other| other.number != member.number);
            let others: Map<String, Value> = others
                .map(|other| (json_name(other, options).to_owned(), json!(false)))
                .collect();
            let name = json_name(member, options).to_owned();
            rivals.insert(name, json!({ "properties": others }));
        }
    }
    rivals
}

fn map(key: MapKey, value: Value) -> Value {
    let names = match key {
        MapKey::String => None,
        MapKey::Bool => Some(json!({ "enum": ["true", "false"] })),
        MapKey::Uint32 | MapKey::Uint64 | MapKey::Fixed32 | MapKey::Fixed64 => {
            Some(json!({ "pattern": "^[0-9]+$" }))
        }
        MapKey::Int32
        | MapKey::Int64
        | MapKey::Sint32
        | MapKey::Sint64
        | MapKey::Sfixed32
        | MapKey::Sfixed64 => Some(json!({ "pattern": "^-?[0-9]+$" })),
    };
    let mut schema = json!({ "type": "object", "additionalProperties": value });
    if let Some(names) = names {
        schema = with(schema, [("propertyNames", names)]);
    }
    schema
}

fn scalar(kind: Kind, options: &JsonOptions) -> Value {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Bytes => {
            json!({ "type": "string", "format": "byte", "contentEncoding": "base64" })
        }
        Kind::Double => json!({ "type": "number", "format": "double" }),
        Kind::Float => json!({ "type": "number", "format": "float" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({ "type": "integer", "format": "int32" })
        }
        Kind::Uint32 | Kind::Fixed32 => {
            json!({ "type": "integer", "format": "uint32", "minimum": 0 })
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => match options.int64_as_numbers {
            true => json!({ "type": "integer", "format": "int64" }),
            false => json!({ "type": "string", "format": "int64" }),
        },
        Kind::Uint64 | Kind::Fixed64 => match options.int64_as_numbers {
            true => json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
            false => json!({ "type": "string", "format": "uint64" }),
        },
        Kind::String => json!({ "type": "string" }),
        Kind::Enum(_) | Kind::Message(_) => json!({}),
    }
}

/// Messages with a form of their own. `None` for an ordinary object.
fn well_known(known: WellKnown, options: &JsonOptions) -> Option<Value> {
    use WellKnown as W;
    Some(match known {
        W::Any => json!({
            "type": "object",
            "properties": { "@type": {
                "type": "string",
                "description": "`type.googleapis.com/` and the full name of a message; its fields stand beside it.",
            } },
            "required": ["@type"],
            "additionalProperties": true,
        }),
        W::BoolValue => scalar(Kind::Bool, options),
        W::BytesValue => scalar(Kind::Bytes, options),
        W::DoubleValue => scalar(Kind::Double, options),
        W::Duration => json!({
            "type": "string",
            "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
            "examples": ["1.5s"],
        }),
        W::Empty => json!({ "type": "object" }),
        W::FieldMask => json!({
            "type": "string",
            "format": "field-mask",
            "examples": ["title,page.size"],
        }),
        W::FloatValue => scalar(Kind::Float, options),
        W::Int32Value => scalar(Kind::Int32, options),
        W::Int64Value => scalar(Kind::Int64, options),
        W::ListValue => json!({ "type": "array", "items": {} }),
        W::StringValue => scalar(Kind::String, options),
        W::Struct => json!({ "type": "object", "additionalProperties": true }),
        W::Timestamp => json!({ "type": "string", "format": "date-time" }),
        W::UInt32Value => scalar(Kind::Uint32, options),
        W::UInt64Value => scalar(Kind::Uint64, options),
        W::Value => json!({}),
        W::HttpBody => return None,
    })
}
