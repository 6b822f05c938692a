//! Fields and extensions: type, number, cardinality, presence and encoding.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::descriptor::{FieldDescriptor, MessageDescriptor};
use super::super::editions::{Features, FieldPresence, Syntax};
use super::super::names;
use super::super::types::{Cardinality, Field, Kind, MessageId, Presence};
use super::{FIELDS_MAX, Linker, Symbol};

/// The largest field number; extensions of a message set may go on to `i32::MAX - 1`.
const NUMBER_MAX: i32 = (1 << 29) - 1;
const RESERVED: std::ops::RangeInclusive<i32> = 19_000..=19_999;

const LABEL_REQUIRED: i32 = 2;
const LABEL_REPEATED: i32 = 3;
const TYPE_GROUP: i32 = 10;
const TYPE_MESSAGE: i32 = 11;
const TYPE_ENUM: i32 = 14;

/// Where a field is declared, which decides what its names and defaults mean.
struct Context<'c> {
    file: usize,
    syntax: Syntax,
    /// Names are looked up from here outwards.
    scope: &'c str,
    /// For faults.
    full_name: &'c str,
    inherited: Features,
    /// New index of the oneof it is in, real ones only.
    oneof: Option<u16>,
    extension: bool,
    in_map_entry: bool,
}

impl Linker<'_, '_> {
    /// The fields of a message as declared (extensions come later) and its real oneofs.
    pub(super) fn message_fields(&mut self, index: usize) -> (Vec<Field>, Box<[Box<str>]>) {
        let Some(pending) = self.messages.get(index) else {
            return (Vec::new(), Box::default());
        };
        let (proto, file, features) = (pending.proto, pending.file, pending.features);
        let message_name = Arc::clone(&pending.full_name);
        if proto.field.len() > FIELDS_MAX {
            self.fault(
                file,
                &message_name,
                format!("more than {FIELDS_MAX} fields"),
            );
            return (Vec::new(), Box::default());
        }
        let (oneofs, real) = self.oneofs(proto, file, &message_name);
        let syntax = self.syntax(file);
        let in_map_entry = proto
            .options
            .as_ref()
            .and_then(|o| o.map_entry)
            .unwrap_or(false);
        let mut fields = Vec::with_capacity(proto.field.len());
        for field in &proto.field {
            let name = field.name.as_deref().unwrap_or_default();
            let full_name = names::join(&message_name, name);
            if field.extendee.is_some() {
                self.fault(file, &full_name, "a field inside a message has an extendee");
                continue;
            }
            let declared = field.oneof_index.map(usize::try_from);
            let oneof = match declared {
                None => None,
                Some(Ok(at)) if at < proto.oneof_decl.len() => Some(at),
                Some(_) => {
                    self.fault(file, &full_name, "the oneof index is out of range");
                    continue;
                }
            };
            let set = oneof
                .and_then(|at| proto.oneof_decl.get(at))
                .and_then(|o| o.options.as_ref())
                .and_then(|o| o.features.as_ref());
            let inherited = self.features(file, &full_name, features, set);
            let context = Context {
                file,
                syntax,
                scope: &message_name,
                full_name: &full_name,
                inherited,
                oneof: oneof.and_then(|at| real.get(at).copied().flatten()),
                extension: false,
                in_map_entry,
            };
            fields.extend(self.field(field, &context));
        }
        self.check_duplicates(&fields, features, file, &message_name);
        (fields, oneofs)
    }

    /// Names of the real oneofs, and for each declared one its place among them.
    fn oneofs(
        &mut self,
        proto: &MessageDescriptor,
        file: usize,
        message: &str,
    ) -> (Box<[Box<str>]>, Vec<Option<u16>>) {
        let mut members = vec![(0_usize, false); proto.oneof_decl.len()];
        for field in &proto.field {
            let at = field.oneof_index.and_then(|i| usize::try_from(i).ok());
            if let Some(slot) = at.and_then(|at| members.get_mut(at)) {
                slot.0 = slot.0.saturating_add(1);
                slot.1 |= field.proto3_optional.unwrap_or(false);
            }
        }
        let mut kept: Vec<Box<str>> = Vec::new();
        let mut places = Vec::with_capacity(members.len());
        for (oneof, (count, synthetic)) in proto.oneof_decl.iter().zip(members) {
            let name = oneof.name.as_deref().unwrap_or_default();
            let full = names::join(message, name);
            if !names::is_identifier(name) {
                self.fault(file, &full, "the oneof's name is not an identifier");
            } else if count == 0 {
                self.fault(file, &full, "the oneof has no fields");
            } else if synthetic && count > 1 {
                self.fault(
                    file,
                    &full,
                    "a proto3 optional field shares its oneof with others",
                );
            } else if kept.iter().any(|k| **k == *name) {
                self.fault(file, &full, "the oneof is declared twice");
            }
            places.push(if synthetic {
                None
            } else {
                u16::try_from(kept.len()).ok()
            });
            if !synthetic {
                kept.push(name.into());
            }
        }
        (kept.into(), places)
    }

    fn field(&mut self, proto: &FieldDescriptor, cx: &Context<'_>) -> Option<Field> {
        let name = proto.name.as_deref().unwrap_or_default();
        if !names::is_identifier(name) {
            self.fault(
                cx.file,
                cx.full_name,
                "the field's name is not an identifier",
            );
            return None;
        }
        let set = proto.options.as_ref().and_then(|o| o.features.as_ref());
        let features = self.features(cx.file, cx.full_name, cx.inherited, set);
        let number = self.field_number(proto, cx);
        let (kind, group) = self.kind(proto, cx)?;
        let cardinality = self.cardinality(proto, cx, features, kind)?;
        let delimited = match kind {
            // Maps stay length-prefixed whatever the file says: so do entries and the values in them.
            Kind::Message(id) => {
                group || (features.delimited && !cx.in_map_entry && !self.is_map_entry(id))
            }
            _ => false,
        };
        let (shown, json): (Box<str>, Box<str>) = if cx.extension {
            (cx.full_name.into(), format!("[{}]", cx.full_name).into())
        } else {
            (
                name.into(),
                proto.json_name.as_deref().unwrap_or(name).into(),
            )
        };
        if json.len() > names::FULL_NAME_BYTES_MAX || json.contains('\0') {
            self.fault(
                cx.file,
                cx.full_name,
                "the JSON name is too long or holds a NUL",
            );
            return None;
        }
        Some(Field {
            number: number?,
            name: shown,
            json_name: json,
            kind,
            cardinality,
            oneof: cx.oneof,
            extension: cx.extension,
            delimited,
            utf8_validated: kind == Kind::String && features.verify_utf8,
        })
    }

    fn field_number(&mut self, proto: &FieldDescriptor, cx: &Context<'_>) -> Option<u32> {
        let number = proto.number.unwrap_or_default();
        let max = if cx.extension {
            i32::MAX - 1
        } else {
            NUMBER_MAX
        };
        if number < 1 || number > max {
            self.fault(
                cx.file,
                cx.full_name,
                format!("the field number {number} is not between 1 and {NUMBER_MAX}"),
            );
            return None;
        }
        if RESERVED.contains(&number) {
            self.fault(
                cx.file,
                cx.full_name,
                format!(
                    "the field number {number} is reserved for protobuf itself (19000 to 19999)"
                ),
            );
            return None;
        }
        u32::try_from(number).ok()
    }

    fn kind(&mut self, proto: &FieldDescriptor, cx: &Context<'_>) -> Option<(Kind, bool)> {
        let declared = proto.r#type.filter(|t| *t != 0);
        let scalar = match declared {
            Some(1) => Some(Kind::Double),
            Some(2) => Some(Kind::Float),
            Some(3) => Some(Kind::Int64),
            Some(4) => Some(Kind::Uint64),
            Some(5) => Some(Kind::Int32),
            Some(6) => Some(Kind::Fixed64),
            Some(7) => Some(Kind::Fixed32),
            Some(8) => Some(Kind::Bool),
            Some(9) => Some(Kind::String),
            Some(12) => Some(Kind::Bytes),
            Some(13) => Some(Kind::Uint32),
            Some(15) => Some(Kind::Sfixed32),
            Some(16) => Some(Kind::Sfixed64),
            Some(17) => Some(Kind::Sint32),
            Some(18) => Some(Kind::Sint64),
            None | Some(TYPE_GROUP | TYPE_MESSAGE | TYPE_ENUM) => None,
            Some(other) => {
                self.fault(
                    cx.file,
                    cx.full_name,
                    format!("the field type {other} is unknown"),
                );
                return None;
            }
        };
        if let Some(kind) = scalar {
            return Some((kind, false));
        }
        let Some(type_name) = proto.type_name.as_deref().filter(|n| !n.is_empty()) else {
            self.fault(cx.file, cx.full_name, "the field has no type");
            return None;
        };
        let fault = match (self.find(cx.scope, type_name), declared) {
            (None, _) => {
                self.unresolved(cx.file, cx.full_name, type_name);
                return None;
            }
            (Some(Symbol::Message(_)), Some(TYPE_GROUP)) if cx.syntax == Syntax::Proto3 => {
                "proto3 has no groups".to_owned()
            }
            (Some(Symbol::Message(id)), None | Some(TYPE_MESSAGE | TYPE_GROUP)) => {
                return Some((Kind::Message(id), declared == Some(TYPE_GROUP)));
            }
            (Some(Symbol::Enum(id)), None | Some(TYPE_ENUM)) => {
                return Some((Kind::Enum(id), false));
            }
            (Some(Symbol::Message(_)), _) => {
                format!("{} is a message, not an enum", names::shown(type_name))
            }
            (Some(Symbol::Enum(_)), _) => {
                format!("{} is an enum, not a message", names::shown(type_name))
            }
            (Some(_), _) => format!("{} is not a type", names::shown(type_name)),
        };
        self.fault(cx.file, cx.full_name, fault);
        None
    }

    fn cardinality(
        &mut self,
        proto: &FieldDescriptor,
        cx: &Context<'_>,
        features: Features,
        kind: Kind,
    ) -> Option<Cardinality> {
        let label = proto.label.unwrap_or(1);
        let optional = proto.proto3_optional.unwrap_or(false);
        let refuse = |linker: &mut Self, why: &str| {
            linker.fault(cx.file, cx.full_name, why);
            None
        };
        match label {
            1 => {}
            LABEL_REQUIRED if cx.syntax == Syntax::Proto3 => {
                return refuse(self, "proto3 has no required fields");
            }
            LABEL_REQUIRED | LABEL_REPEATED if cx.oneof.is_some() => {
                return refuse(self, "a field of a oneof can't be repeated or required");
            }
            LABEL_REQUIRED if cx.extension => {
                return refuse(self, "an extension can't be required");
            }
            LABEL_REQUIRED => return Some(Cardinality::Singular(Presence::Required)),
            LABEL_REPEATED if optional => {
                return refuse(self, "a repeated field can't be optional");
            }
            LABEL_REPEATED => {
                let option = proto.options.as_ref().and_then(|o| o.packed);
                let packed = if cx.syntax == Syntax::Edition {
                    features.packed
                } else {
                    option.unwrap_or(features.packed)
                };
                return Some(Cardinality::Repeated {
                    packed: packed && is_packable(kind),
                });
            }
            other => return refuse(self, &format!("the label {other} is unknown")),
        }
        let always = cx.oneof.is_some() || cx.extension || optional;
        Some(Cardinality::Singular(match features.presence {
            _ if always => Presence::Explicit,
            FieldPresence::LegacyRequired => Presence::Required,
            FieldPresence::Implicit if !matches!(kind, Kind::Message(_)) => Presence::Implicit,
            FieldPresence::Implicit | FieldPresence::Explicit => Presence::Explicit,
        }))
    }

    fn check_duplicates(
        &mut self,
        fields: &[Field],
        features: Features,
        file: usize,
        message: &str,
    ) {
        let mut numbers: HashMap<u32, &str> = HashMap::with_capacity(fields.len());
        let mut proto_names: HashMap<&str, ()> = HashMap::with_capacity(fields.len());
        let mut json_names: HashMap<&str, &str> = HashMap::with_capacity(fields.len());
        for field in fields {
            if let Some(first) = numbers.insert(field.number, &field.name) {
                self.fault(
                    file,
                    message,
                    format!(
                        "{first} and {} share the number {}",
                        field.name, field.number
                    ),
                );
            }
            if proto_names.insert(&field.name, ()).is_some() {
                self.fault(
                    file,
                    message,
                    format!("the field {} is declared twice", field.name),
                );
                continue;
            }
            if let Some(first) = json_names.insert(&field.json_name, &field.name)
                && features.json_strict
            {
                let json = names::shown(&field.json_name);
                self.fault(
                    file,
                    message,
                    format!("{first} and {} have the same JSON name, {json}", field.name),
                );
            }
        }
    }

    pub(super) fn is_map_entry(&self, id: MessageId) -> bool {
        let options = self
            .messages
            .get(id.0 as usize)
            .and_then(|m| m.proto.options.as_ref());
        options.and_then(|o| o.map_entry).unwrap_or(false)
    }

    /// Adds each extension to the fields of what it extends.
    pub(super) fn link_extensions(
        &mut self,
        fields: &mut [Vec<Field>],
    ) -> Vec<(Arc<str>, MessageId, u32)> {
        let mut linked = Vec::new();
        let mut taken: HashMap<(MessageId, u32), Arc<str>> = HashMap::new();
        for extension in std::mem::take(&mut self.extensions) {
            let (file, proto) = (extension.file, extension.proto);
            let full_name = &extension.full_name;
            let extendee = proto.extendee.as_deref().unwrap_or_default();
            let id = match self.find(&extension.scope, extendee) {
                Some(Symbol::Message(id)) => id,
                Some(_) => {
                    self.fault(
                        file,
                        full_name,
                        format!("extends {}, which is not a message", names::shown(extendee)),
                    );
                    continue;
                }
                None => {
                    self.unresolved(file, full_name, extendee);
                    continue;
                }
            };
            if proto.oneof_index.is_some() {
                self.fault(file, full_name, "an extension can't be in a oneof");
                continue;
            }
            let context = Context {
                file,
                syntax: self.syntax(file),
                scope: &extension.scope,
                full_name,
                inherited: extension.features,
                oneof: None,
                extension: true,
                in_map_entry: false,
            };
            let Some(field) = self.field(proto, &context) else {
                continue;
            };
            if !self.in_extension_range(id, field.number) {
                self.fault(
                    file,
                    full_name,
                    format!(
                        "the number {} is in no extension range of {extendee}",
                        field.number
                    ),
                );
                continue;
            }
            if let Some(first) = taken.insert((id, field.number), Arc::clone(full_name)) {
                self.fault(
                    file,
                    full_name,
                    format!(
                        "{first} extends {extendee} with the same number {}",
                        field.number
                    ),
                );
                continue;
            }
            let Some(slot) = fields.get_mut(id.0 as usize) else {
                continue;
            };
            if slot
                .iter()
                .any(|f| !f.extension && f.number == field.number)
            {
                self.fault(
                    file,
                    full_name,
                    format!("{extendee} has a field with the number {}", field.number),
                );
            } else if slot.len() >= FIELDS_MAX {
                self.fault(
                    file,
                    full_name,
                    format!("{extendee} has more than {FIELDS_MAX} fields"),
                );
            } else {
                linked.push((Arc::clone(full_name), id, field.number));
                slot.push(field);
            }
        }
        linked
    }

    fn in_extension_range(&self, id: MessageId, number: u32) -> bool {
        let Some(message) = self.messages.get(id.0 as usize) else {
            return false;
        };
        let number = i64::from(number);
        message.proto.extension_range.iter().any(|range| {
            let (start, end) = (
                range.start.unwrap_or_default(),
                range.end.unwrap_or_default(),
            );
            i64::from(start) <= number && number < i64::from(end)
        })
    }
}

fn is_packable(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_))
}
