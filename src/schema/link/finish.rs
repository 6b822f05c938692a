//! What needs linked fields: maps become maps, and well-known types are known by name and by shape.

use super::super::names;
use super::super::types::{Cardinality, Field, Kind, MapKey, Message, MessageId, Presence, Schema};
use super::super::well_known;
use super::Linker;

/// A map field found, to be written once nothing borrows the schema.
struct MapField {
    message: usize,
    field: usize,
    kind: Kind,
    cardinality: Cardinality,
    utf8: bool,
}

impl Linker<'_, '_> {
    pub(super) fn finish(&mut self, schema: &mut Schema) {
        self.check_map_entries(schema);
        for map in self.find_maps(schema) {
            let message = schema.messages.get_mut(map.message);
            if let Some(field) = message.and_then(|m| m.fields.get_mut(map.field)) {
                field.kind = map.kind;
                field.cardinality = map.cardinality;
                field.utf8_validated = map.utf8;
            }
        }
        // Only now: the shape of Struct has a map in it.
        let known: Vec<_> = (0..)
            .map(MessageId)
            .zip(&schema.messages)
            .map(|(_, m)| well_known::of(schema, m))
            .collect();
        for (message, known) in schema.messages.iter_mut().zip(known) {
            message.well_known = known;
        }
    }

    fn check_map_entries(&mut self, schema: &Schema) {
        for index in 0..schema.messages.len() {
            let Some(message) = schema.messages.get(index).filter(|m| m.map_entry) else {
                continue;
            };
            let Some(pending) = self.messages.get(index) else {
                continue;
            };
            let proto = pending.proto;
            let nested = !proto.nested_type.is_empty()
                || !proto.enum_type.is_empty()
                || !proto.extension.is_empty();
            let file = pending.file;
            // Faulty fields are reported already; two must be left for the shape to be judged.
            if proto.field.len() == message.fields.len() && (nested || entry_of(message).is_none())
            {
                self.fault(file, &message.full_name, "a map entry holds exactly `key = 1`, of a type that may be a key, and `value = 2`");
            }
        }
    }

    fn find_maps(&mut self, schema: &Schema) -> Vec<MapField> {
        let mut maps = Vec::new();
        for (at, message) in schema.messages.iter().enumerate() {
            for (place, field) in message.fields.iter().enumerate() {
                let Kind::Message(entry) = field.kind else {
                    continue;
                };
                let Some((key, value)) = schema
                    .message(entry)
                    .filter(|m| m.map_entry)
                    .and_then(entry_of)
                else {
                    continue;
                };
                let owner = self.messages.get(entry.0 as usize).and_then(|m| m.parent);
                let of_parent =
                    owner.is_some_and(|owner| owner.0 as usize == at) && !field.extension;
                if !of_parent || !matches!(field.cardinality, Cardinality::Repeated { .. }) {
                    let file = self.messages.get(at).map_or(0, |m| m.file);
                    let full = names::join(&message.full_name, &field.name);
                    self.fault(
                        file,
                        &full,
                        "a map entry is used outside the map it was made for",
                    );
                    continue;
                }
                let Some(map_key) = map_key(key.kind) else {
                    continue;
                };
                maps.push(MapField {
                    message: at,
                    field: place,
                    kind: value.kind,
                    cardinality: Cardinality::Map {
                        key: map_key,
                        entry,
                    },
                    utf8: if value.kind == Kind::String {
                        value.utf8_validated
                    } else {
                        key.utf8_validated
                    },
                });
            }
        }
        maps
    }
}

/// Key and value of a well-formed entry.
fn entry_of(message: &Message) -> Option<(&Field, &Field)> {
    let [key, value] = &*message.fields else {
        return None;
    };
    let plain = |f: &Field| {
        f.oneof.is_none()
            && !f.extension
            && matches!(f.cardinality, Cardinality::Singular(p) if p != Presence::Required)
    };
    let shaped =
        key.number == 1 && value.number == 2 && &*key.name == "key" && &*value.name == "value";
    (shaped && plain(key) && plain(value) && map_key(key.kind).is_some()).then_some((key, value))
}

fn map_key(kind: Kind) -> Option<MapKey> {
    Some(match kind {
        Kind::Bool => MapKey::Bool,
        Kind::Fixed32 => MapKey::Fixed32,
        Kind::Fixed64 => MapKey::Fixed64,
        Kind::Int32 => MapKey::Int32,
        Kind::Int64 => MapKey::Int64,
        Kind::Sfixed32 => MapKey::Sfixed32,
        Kind::Sfixed64 => MapKey::Sfixed64,
        Kind::Sint32 => MapKey::Sint32,
        Kind::Sint64 => MapKey::Sint64,
        Kind::String => MapKey::String,
        Kind::Uint32 => MapKey::Uint32,
        Kind::Uint64 => MapKey::Uint64,
        Kind::Bytes | Kind::Double | Kind::Enum(_) | Kind::Float | Kind::Message(_) => return None,
    })
}
