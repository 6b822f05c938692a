//! The linked form: messages and enums by index, features resolved, nothing left to look up by name.

use std::collections::HashMap;
use std::sync::Arc;

use super::annotations::Annotations;
use super::files::Files;

/// Index of a message in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub(crate) u32);

/// Index of an enum in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnumId(pub(crate) u32);

/// Position of a field in [`Message::fields`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldIndex(pub(crate) u32);

impl FieldIndex {
    /// The same as an index into [`Message::fields`].
    #[must_use]
    pub const fn position(self) -> usize {
        self.0 as usize
    }
}

/// One field of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldRef {
    pub message: MessageId,
    pub field: FieldIndex,
}

/// An extension by its full name: the message it extends and its place there.
pub type ExtensionRef = FieldRef;

/// All descriptors of one generation, merged and linked.
///
/// Invariant: every id in it is an index into it, and each message's fields ascend by number.
#[derive(Debug, Default)]
pub struct Schema {
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
    pub(crate) services: Vec<Service>,
    pub(crate) messages_by_name: HashMap<Arc<str>, MessageId>,
    pub(crate) enums_by_name: HashMap<Arc<str>, EnumId>,
    pub(crate) services_by_name: HashMap<Arc<str>, usize>,
    pub(crate) extensions_by_name: HashMap<Arc<str>, ExtensionRef>,
    pub(crate) files: Files,
    pub(crate) annotations: Annotations,
}

impl Schema {
    /// All messages; [`MessageId`]s index it.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The message with this id, or `None` for an id of another schema.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(id.0 as usize)
    }

    /// The enum with this id, or `None` for an id of another schema.
    #[must_use]
    pub fn enumeration(&self, id: EnumId) -> Option<&Enum> {
        self.enums.get(id.0 as usize)
    }

    /// The field, or `None` for a reference of another schema.
    #[must_use]
    pub fn field(&self, at: FieldRef) -> Option<&Field> {
        self.message(at.message)?.fields.get(at.field.0 as usize)
    }

    /// A message by its full name (`pkg.Message.Nested`), as in `Any` type URLs.
    #[must_use]
    pub fn find_message(&self, full_name: &str) -> Option<MessageId> {
        self.messages_by_name.get(full_name).copied()
    }

    /// An enum by its full name.
    #[must_use]
    pub fn find_enum(&self, full_name: &str) -> Option<EnumId> {
        self.enums_by_name.get(full_name).copied()
    }

    /// An extension by its full name (`pkg.ext`), without brackets.
    #[must_use]
    pub fn find_extension(&self, full_name: &str) -> Option<ExtensionRef> {
        self.extensions_by_name.get(full_name).copied()
    }

    /// The files that it is from, if its builder was to keep them.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What its sources say for people, if its builder was to keep that.
    #[must_use]
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// All services, in the order of the sources.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// A service by its full name.
    #[must_use]
    pub fn find_service(&self, full_name: &str) -> Option<&Service> {
        self.services.get(*self.services_by_name.get(full_name)?)
    }

    /// A method by `pkg.Service` and `Method`.
    #[must_use]
    pub fn find_method(&self, service: &str, method: &str) -> Option<MethodRef<'_>> {
        let service = self.find_service(service)?;
        let method = service.methods.iter().find(|m| &*m.name == method)?;
        Some(MethodRef { service, method })
    }
}

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// `pkg.Outer.Inner`, no leading dot.
    pub full_name: Arc<str>,
    /// Ascending by number; extensions that the schema knows of are among them.
    pub fields: Box<[Field]>,
    /// Names of the oneofs, synthetic ones (proto3 `optional`) left out.
    pub oneofs: Box<[Box<str>]>,
    /// The JSON form that ProtoJSON gives it, when that isn't a plain object.
    pub well_known: Option<WellKnown>,
    /// A synthesised `map<>` entry: key is field 1, value field 2.
    pub map_entry: bool,
    /// proto2 `message_set_wire_format`.
    pub message_set: bool,
    /// The source (file or upstream) and file it came from, for errors.
    pub file: Arc<str>,
}

impl Message {
    /// A field by number.
    #[must_use]
    pub fn field_by_number(&self, number: u32) -> Option<FieldIndex> {
        let at = self
            .fields
            .binary_search_by_key(&number, |f| f.number)
            .ok()?;
        u32::try_from(at).ok().map(FieldIndex)
    }

    /// A field (not an extension) by JSON name or proto name, as ProtoJSON parsers accept both.
    /// Linear: for load time; the codec compiles its own table.
    #[must_use]
    pub fn field_by_name(&self, name: &str) -> Option<FieldIndex> {
        let by = |f: &Field| !f.extension && (&*f.json_name == name || &*f.name == name);
        let at = self.fields.iter().position(by)?;
        u32::try_from(at).ok().map(FieldIndex)
    }
}

/// A field, its features (proto2, proto3 or edition) resolved.
#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// As in the proto; for an extension its full name (`pkg.ext`).
    pub name: Box<str>,
    /// The JSON name; for an extension `[pkg.ext]`.
    pub json_name: Box<str>,
    pub kind: Kind,
    pub cardinality: Cardinality,
    /// Index into [`Message::oneofs`].
    pub oneof: Option<u16>,
    pub extension: bool,
    /// Messages only: group encoding (proto2 `group`, editions `DELIMITED`).
    pub delimited: bool,
    /// Strings only: the text must be UTF-8 (proto3, editions `VERIFY`).
    pub utf8_validated: bool,
}

/// What a field (or a map's value) holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Bytes,
    Double,
    Enum(EnumId),
    Fixed32,
    Fixed64,
    Float,
    Int32,
    Int64,
    Message(MessageId),
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    String,
    Uint32,
    Uint64,
}

/// How often a field may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    Singular(Presence),
    /// `packed` is how we write it; both forms are read.
    Repeated {
        packed: bool,
    },
    /// `map<key, kind>`; [`Field::kind`] is the value's kind and `entry` the entry message.
    Map {
        key: MapKey,
        entry: MessageId,
    },
}

/// Whether an unset field differs from a default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Explicit,
    /// proto3 without `optional`: the default value means unset.
    Implicit,
    /// proto2 `required`.
    Required,
}

/// Kinds that a map key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKey {
    Bool,
    Fixed32,
    Fixed64,
    Int32,
    Int64,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    String,
    Uint32,
    Uint64,
}

/// An enum type.
#[derive(Debug)]
pub struct Enum {
    pub full_name: Arc<str>,
    /// As declared: the first is the default of an open enum; with `allow_alias` the first of equal
    /// numbers is the one to print.
    pub values: Box<[EnumValue]>,
    /// proto2 (and editions `CLOSED`): unknown numbers are unknown fields.
    pub closed: bool,
}

#[derive(Debug)]
pub struct EnumValue {
    pub name: Box<str>,
    pub number: i32,
}

/// Messages with a JSON form of their own (ProtoJSON) or a meaning in HTTP (`HttpBody`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WellKnown {
    Any,
    BoolValue,
    BytesValue,
    DoubleValue,
    Duration,
    Empty,
    FieldMask,
    FloatValue,
    /// `google.api.HttpBody`: an ordinary object in JSON, raw bytes as a whole body.
    HttpBody,
    Int32Value,
    Int64Value,
    ListValue,
    StringValue,
    Struct,
    Timestamp,
    UInt32Value,
    UInt64Value,
    Value,
}

/// A service and its methods.
#[derive(Debug)]
pub struct Service {
    /// `pkg.Service`.
    pub full_name: Arc<str>,
    pub methods: Box<[Method]>,
    /// The source and file it came from, for errors and `transom routes`.
    pub file: Arc<str>,
}

#[derive(Debug)]
pub struct Method {
    pub name: Box<str>,
    pub input: MessageId,
    pub output: MessageId,
    pub stream: StreamKind,
    /// The `google.api.http` option.
    pub http: Option<HttpRule>,
    /// `idempotency_level` is `NO_SIDE_EFFECTS` or `IDEMPOTENT`.
    pub idempotent: bool,
    /// `idempotency_level` is `NO_SIDE_EFFECTS` (Connect GET).
    pub no_side_effects: bool,
    /// Where it is declared: `games.proto:12:3`, when the source kept locations.
    pub location: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug)]
pub struct MethodRef<'s> {
    pub service: &'s Service,
    pub method: &'s Method,
}

/// Which sides of a call stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    Unary,
    Client,
    Server,
    Bidi,
}

/// `google.api.HttpRule` as written, whether in an annotation, a service YAML or our config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    pub pattern: HttpPattern,
    /// `""` none, `"*"` whole, else a top-level field.
    pub body: Box<str>,
    /// `""` whole, else a top-level field of the reply.
    pub response_body: Box<str>,
    /// One level: those of an additional binding are an error that the schema reports.
    pub additional_bindings: Vec<HttpRule>,
}

/// The rule's `pattern` oneof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPattern {
    /// An HTTP method, or `*` for any (`custom { kind: "*" }`).
    pub method: Box<str>,
    /// The path template, not parsed yet.
    pub template: Box<str>,
}
