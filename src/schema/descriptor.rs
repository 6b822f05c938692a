//! The parts of `google/protobuf/descriptor.proto` that a schema is made of, as wire structs.
//!
//! Only fields that change what a message, route or error means are here; prost skips the rest. Unlike
//! generated structs these keep `edition`, the features, and `google.api.http`, which on the wire is
//! an ordinary field of `MethodOptions`. Enums of descriptor.proto are plain `i32`s: an unknown number
//! must become an error with a name, not a default.

use prost::Message;

/// A set, its files still in bytes: a broken one is then named by its place.
#[derive(Clone, PartialEq, Message)]
pub struct RawSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub file: Vec<bytes::Bytes>,
}

/// A file's name alone, to call a file by it that can't be decoded whole.
#[derive(Clone, PartialEq, Message)]
pub struct FileName {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FileDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub package: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub dependency: Vec<String>,
    #[prost(int32, repeated, packed = "false", tag = "10")]
    pub public_dependency: Vec<i32>,
    #[prost(int32, repeated, packed = "false", tag = "11")]
    pub weak_dependency: Vec<i32>,
    #[prost(message, repeated, tag = "4")]
    pub message_type: Vec<MessageDescriptor>,
    #[prost(message, repeated, tag = "5")]
    pub enum_type: Vec<EnumDescriptor>,
    #[prost(message, repeated, tag = "6")]
    pub service: Vec<ServiceDescriptor>,
    #[prost(message, repeated, tag = "7")]
    pub extension: Vec<FieldDescriptor>,
    #[prost(message, optional, tag = "8")]
    pub options: Option<FeatureOptions50>,
    /// `SourceCodeInfo`, in bytes: only the places of methods are read.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub source_code_info: Option<bytes::Bytes>,
    #[prost(string, optional, tag = "12")]
    pub syntax: Option<String>,
    #[prost(int32, optional, tag = "14")]
    pub edition: Option<i32>,
}

/// `FileOptions`: nothing but the features matters.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureOptions50 {
    #[prost(message, optional, tag = "50")]
    pub features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub field: Vec<FieldDescriptor>,
    #[prost(message, repeated, tag = "3")]
    pub nested_type: Vec<MessageDescriptor>,
    #[prost(message, repeated, tag = "4")]
    pub enum_type: Vec<EnumDescriptor>,
    #[prost(message, repeated, tag = "5")]
    pub extension_range: Vec<ExtensionRange>,
    #[prost(message, repeated, tag = "6")]
    pub extension: Vec<FieldDescriptor>,
    #[prost(message, optional, tag = "7")]
    pub options: Option<MessageOptions>,
    #[prost(message, repeated, tag = "8")]
    pub oneof_decl: Vec<OneofDescriptor>,
}

/// `end` is exclusive.
#[derive(Clone, PartialEq, Message)]
pub struct ExtensionRange {
    #[prost(int32, optional, tag = "1")]
    pub start: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub end: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageOptions {
    #[prost(bool, optional, tag = "1")]
    pub message_set_wire_format: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub map_entry: Option<bool>,
    #[prost(message, optional, tag = "12")]
    pub features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub extendee: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub number: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub label: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    pub r#type: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub type_name: Option<String>,
    #[prost(message, optional, tag = "8")]
    pub options: Option<FieldOptions>,
    #[prost(int32, optional, tag = "9")]
    pub oneof_index: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub json_name: Option<String>,
    #[prost(bool, optional, tag = "17")]
    pub proto3_optional: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldOptions {
    #[prost(bool, optional, tag = "2")]
    pub packed: Option<bool>,
    #[prost(message, optional, tag = "21")]
    pub features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OneofDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub options: Option<OneofOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OneofOptions {
    #[prost(message, optional, tag = "1")]
    pub features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub value: Vec<EnumValueDescriptor>,
    #[prost(message, optional, tag = "3")]
    pub options: Option<EnumOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumValueDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub number: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumOptions {
    #[prost(bool, optional, tag = "2")]
    pub allow_alias: Option<bool>,
    #[prost(message, optional, tag = "7")]
    pub features: Option<FeatureSet>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ServiceDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub method: Vec<MethodDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MethodDescriptor {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub input_type: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub output_type: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub options: Option<MethodOptions>,
    #[prost(bool, optional, tag = "5")]
    pub client_streaming: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub server_streaming: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MethodOptions {
    #[prost(int32, optional, tag = "34")]
    pub idempotency_level: Option<i32>,
    /// The extension `google.api.http`.
    #[prost(message, optional, tag = "72295728")]
    pub http: Option<HttpRuleDescriptor>,
}

/// `google.api.HttpRule`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpRuleDescriptor {
    #[prost(oneof = "PatternDescriptor", tags = "2, 3, 4, 5, 6, 8")]
    pub pattern: Option<PatternDescriptor>,
    #[prost(string, tag = "7")]
    pub body: String,
    #[prost(message, repeated, tag = "11")]
    pub additional_bindings: Vec<HttpRuleDescriptor>,
    #[prost(string, tag = "12")]
    pub response_body: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum PatternDescriptor {
    #[prost(string, tag = "2")]
    Get(String),
    #[prost(string, tag = "3")]
    Put(String),
    #[prost(string, tag = "4")]
    Post(String),
    #[prost(string, tag = "5")]
    Delete(String),
    #[prost(string, tag = "6")]
    Patch(String),
    #[prost(message, tag = "8")]
    Custom(CustomPatternDescriptor),
}

#[derive(Clone, PartialEq, Message)]
pub struct CustomPatternDescriptor {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub path: String,
}

/// `FeatureSet`: each unset one is inherited.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct FeatureSet {
    #[prost(int32, optional, tag = "1")]
    pub field_presence: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub enum_type: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub repeated_field_encoding: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub utf8_validation: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    pub message_encoding: Option<i32>,
    #[prost(int32, optional, tag = "6")]
    pub json_format: Option<i32>,
}

/// `SourceCodeInfo.location`. `span` is line, column, \[end line,\] end column, all from zero.
#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(int32, repeated, tag = "1")]
    pub path: Vec<i32>,
    #[prost(int32, repeated, tag = "2")]
    pub span: Vec<i32>,
}
