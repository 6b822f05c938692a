//! From merged declarations to a [`Schema`]: names become indices, features become facts.
//!
//! First every message and enum gets its index and enters one table of names; then fields, extensions
//! and methods are resolved against it; last, what needs linked fields (maps, well-known shapes).
//! A fault skips its element and goes on, so that one pass reports them all.

mod fields;
mod finish;
mod imports;
mod services;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::descriptor::{EnumDescriptor, FeatureSet, FieldDescriptor, MessageDescriptor};
use super::editions::{Features, Syntax};
use super::error::SchemaError;
use super::names;
use super::sources::{Faults, Item, SourceFile, Unit};
use super::types::{Enum, EnumId, EnumValue, ExtensionRef, Field, Message, MessageId, Schema};

/// Messages of one schema; indices are `u32` and memory is finite.
const MESSAGES_MAX: usize = 500_000;
/// Fields of one message, extensions included.
const FIELDS_MAX: usize = 65_535;

type Names<V> = HashMap<Arc<str>, V, foldhash::fast::RandomState>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Message(MessageId),
    Enum(EnumId),
    Service,
    Extension,
}

/// A message that has its index and waits for its fields.
struct Pending<'a> {
    proto: &'a MessageDescriptor,
    full_name: Arc<str>,
    file: usize,
    features: Features,
    parent: Option<MessageId>,
}

/// An extension, wherever it is declared.
struct PendingExtension<'a> {
    proto: &'a FieldDescriptor,
    full_name: Arc<str>,
    scope: Arc<str>,
    file: usize,
    features: Features,
}

struct Linker<'a, 'f> {
    files: &'a [SourceFile],
    faults: &'f mut Faults,
    symbols: Names<Symbol>,
    messages: Vec<Pending<'a>>,
    extensions: Vec<PendingExtension<'a>>,
    enums: Vec<Enum>,
    imports: imports::Imports,
}

/// Links `units`; faults go to `faults`, and the schema is whole only when there are none.
pub(super) fn link(files: &[SourceFile], units: &[Unit<'_>], faults: &mut Faults) -> Schema {
    let imports = imports::check(files, faults);
    let mut linker = Linker {
        files,
        faults,
        symbols: Names::default(),
        messages: Vec::new(),
        extensions: Vec::new(),
        enums: Vec::new(),
        imports,
    };
    for unit in units {
        linker.declare(*unit);
    }
    linker.resolve(units)
}

impl<'a> Linker<'a, '_> {
    fn fault(&mut self, file: usize, symbol: &str, message: impl Into<String>) {
        self.fault_with(file, SchemaError::new(message).of(&names::shown(symbol)));
    }

    fn fault_with(&mut self, file: usize, error: SchemaError) {
        let error = match self.files.get(file) {
            Some(source) => error
                .with_origin(&source.origin)
                .in_file(source.file.name.as_deref().unwrap_or_default()),
            None => error,
        };
        self.faults.push(error);
    }

    fn syntax(&self, file: usize) -> Syntax {
        self.files.get(file).map_or(Syntax::Proto3, |f| f.syntax)
    }

    fn declare(&mut self, unit: Unit<'a>) {
        let Some(source) = self.files.get(unit.file) else {
            return;
        };
        let package = source.file.package.as_deref().unwrap_or_default();
        match unit.item {
            Item::Message(proto) => {
                self.declare_message(proto, package, unit.file, source.features, None)
            }
            Item::Enum(proto) => self.declare_enum(proto, package, unit.file, source.features),
            Item::Extension(proto) => {
                self.declare_extension(proto, package, unit.file, source.features)
            }
            Item::Service(proto) => {
                let name = proto.name.as_deref().unwrap_or_default();
                self.register(package, name, unit.file, Symbol::Service);
            }
        }
    }

    /// Enters a name, or reports why it can't be one.
    fn register(
        &mut self,
        scope: &str,
        name: &str,
        file: usize,
        symbol: Symbol,
    ) -> Option<Arc<str>> {
        let full = names::join(scope, name);
        if !names::is_identifier(name) {
            self.fault(file, &full, "the name is not an identifier");
            return None;
        }
        if full.len() > names::FULL_NAME_BYTES_MAX {
            self.fault(file, &full, "the full name is too long");
            return None;
        }
        let full: Arc<str> = full.into();
        if self.symbols.insert(Arc::clone(&full), symbol).is_some() {
            self.fault(file, &full, "another declaration has the same full name");
            return None;
        }
        Some(full)
    }

    /// Features with an element's own laid over; an unknown value is a fault and changes nothing.
    fn features(
        &mut self,
        file: usize,
        symbol: &str,
        base: Features,
        set: Option<&FeatureSet>,
    ) -> Features {
        if set.is_none() || self.syntax(file) != Syntax::Edition {
            return base;
        }
        match base.overlaid(set) {
            Ok(features) => features,
            Err(message) => {
                self.fault(file, symbol, message);
                base
            }
        }
    }

    fn declare_message(
        &mut self,
        proto: &'a MessageDescriptor,
        scope: &str,
        file: usize,
        inherited: Features,
        parent: Option<MessageId>,
    ) {
        let name = proto.name.as_deref().unwrap_or_default();
        let index = self.messages.len();
        if index >= MESSAGES_MAX {
            if index == MESSAGES_MAX {
                self.fault(
                    file,
                    name,
                    format!("more than {MESSAGES_MAX} messages in all sources"),
                );
            }
            return;
        }
        let id = MessageId(u32::try_from(index).unwrap_or(u32::MAX));
        let Some(full_name) = self.register(scope, name, file, Symbol::Message(id)) else {
            return;
        };
        let set = proto.options.as_ref().and_then(|o| o.features.as_ref());
        let features = self.features(file, &full_name, inherited, set);
        self.messages.push(Pending {
            proto,
            full_name: Arc::clone(&full_name),
            file,
            features,
            parent,
        });
        for nested in &proto.nested_type {
            self.declare_message(nested, &full_name, file, features, Some(id));
        }
        for nested in &proto.enum_type {
            self.declare_enum(nested, &full_name, file, features);
        }
        for extension in &proto.extension {
            self.declare_extension(extension, &full_name, file, features);
        }
    }

    fn declare_extension(
        &mut self,
        proto: &'a FieldDescriptor,
        scope: &str,
        file: usize,
        features: Features,
    ) {
        let name = proto.name.as_deref().unwrap_or_default();
        let Some(full_name) = self.register(scope, name, file, Symbol::Extension) else {
            return;
        };
        self.extensions.push(PendingExtension {
            proto,
            full_name,
            scope: scope.into(),
            file,
            features,
        });
    }

    fn declare_enum(
        &mut self,
        proto: &'a EnumDescriptor,
        scope: &str,
        file: usize,
        inherited: Features,
    ) {
        let name = proto.name.as_deref().unwrap_or_default();
        let id = EnumId(u32::try_from(self.enums.len()).unwrap_or(u32::MAX));
        let Some(full_name) = self.register(scope, name, file, Symbol::Enum(id)) else {
            return;
        };
        let options = proto.options.as_ref();
        let set = options.and_then(|o| o.features.as_ref());
        let closed = self.features(file, &full_name, inherited, set).closed_enum;
        let alias = options.and_then(|o| o.allow_alias).unwrap_or(false);
        let mut numbers = HashMap::new();
        let mut seen = HashSet::new();
        let mut values = Vec::with_capacity(proto.value.len());
        for value in &proto.value {
            let name = value.name.as_deref().unwrap_or_default();
            let number = value.number.unwrap_or_default();
            if !names::is_identifier(name) {
                self.fault(
                    file,
                    &full_name,
                    format!(
                        "the value name {:?} is not an identifier",
                        names::shown(name)
                    ),
                );
            } else if !seen.insert(name) {
                self.fault(
                    file,
                    &full_name,
                    format!("the value {name} is declared twice"),
                );
            }
            match numbers.insert(number, name) {
                Some(first) if !alias => {
                    self.fault(
                        file,
                        &full_name,
                        format!("{first} and {name} share the number {number} without allow_alias"),
                    );
                }
                _ => {}
            }
            values.push(EnumValue {
                name: name.into(),
                number,
            });
        }
        match values.first() {
            None => self.fault(file, &full_name, "an enum needs at least one value"),
            Some(first) if !closed && first.number != 0 => {
                let message = format!(
                    "the first value of an open enum must be 0, but {} is {}",
                    first.name, first.number
                );
                self.fault(file, &full_name, message);
            }
            Some(_) => {}
        }
        self.enums.push(Enum {
            full_name,
            values: values.into(),
            closed,
        });
    }

    fn resolve(mut self, units: &[Unit<'a>]) -> Schema {
        let mut fields: Vec<Vec<Field>> = Vec::with_capacity(self.messages.len());
        let mut oneofs = Vec::with_capacity(self.messages.len());
        for index in 0..self.messages.len() {
            let (linked, names) = self.message_fields(index);
            fields.push(linked);
            oneofs.push(names);
        }
        let extensions = self.link_extensions(&mut fields);
        let services = self.link_services(units);
        self.report_imports();
        let mut messages = Vec::with_capacity(fields.len());
        for ((pending, mut fields), oneofs) in self.messages.iter().zip(fields).zip(oneofs) {
            fields.sort_by_key(|f| f.number);
            let options = pending.proto.options.as_ref();
            messages.push(Message {
                full_name: Arc::clone(&pending.full_name),
                fields: fields.into(),
                oneofs,
                well_known: None,
                map_entry: options.and_then(|o| o.map_entry).unwrap_or(false),
                message_set: options
                    .and_then(|o| o.message_set_wire_format)
                    .unwrap_or(false),
                file: self
                    .files
                    .get(pending.file)
                    .map_or_else(|| "".into(), |f| Arc::clone(&f.label)),
            });
        }
        let mut schema = Schema {
            messages,
            enums: std::mem::take(&mut self.enums),
            services,
            ..Schema::default()
        };
        self.index(&mut schema, extensions);
        self.finish(&mut schema);
        schema
    }

    fn index(&self, schema: &mut Schema, extensions: Vec<(Arc<str>, MessageId, u32)>) {
        for (name, symbol) in &self.symbols {
            match symbol {
                Symbol::Message(id) => drop(schema.messages_by_name.insert(Arc::clone(name), *id)),
                Symbol::Enum(id) => drop(schema.enums_by_name.insert(Arc::clone(name), *id)),
                Symbol::Service | Symbol::Extension => {}
            }
        }
        for (at, service) in schema.services.iter().enumerate() {
            schema
                .services_by_name
                .insert(Arc::clone(&service.full_name), at);
        }
        for (name, message, number) in extensions {
            let at = schema
                .message(message)
                .and_then(|m| m.field_by_number(number));
            if let Some(field) = at {
                schema
                    .extensions_by_name
                    .insert(name, ExtensionRef { message, field });
            }
        }
    }

    /// A type name as written: absolute with a leading dot, else looked for from `scope` outwards.
    fn find(&self, scope: &str, name: &str) -> Option<Symbol> {
        if let Some(absolute) = name.strip_prefix('.') {
            return self.symbols.get(absolute).copied();
        }
        let mut scope = scope;
        loop {
            let full = names::join(scope, name);
            if let Some(symbol @ (Symbol::Message(_) | Symbol::Enum(_))) =
                self.symbols.get(full.as_str())
            {
                return Some(*symbol);
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }
}
