//! The descriptors that tests serve, and the outside codec that judges ours.

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use transom::schema::{Schema, SchemaBuilder};

/// `gamehub.v1`, `kinds.v1` and `google.rpc`, compiled from their sources.
pub static SET: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let root = env!("CARGO_MANIFEST_DIR");
    let folders = [
        format!("{root}/proto"),
        format!("{root}/tests/fixtures/proto"),
    ];
    let mut compiler = protox::Compiler::new(folders).expect("folders");
    compiler.include_imports(true).include_source_info(true);
    compiler
        .open_files([
            "envoy/unknown_query_params.proto",
            "gamehub/v1/catalogue.proto",
            "gamehub/v1/chat.proto",
            "gamehub/v1/moderation.proto",
            "gamehub/v1/scores.proto",
            "gamehub/v1/telemetry.proto",
            "gamehub/v1/thumbnails.proto",
            "google/rpc/error_details.proto",
            "google/rpc/status.proto",
            "kinds/v1/kinds.proto",
        ])
        .expect("protos");
    compiler.encode_file_descriptor_set()
});

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(SET.as_slice()).expect("pool"));

pub fn schema() -> Schema {
    let mut builder = SchemaBuilder::new();
    builder.add_set("tests", &SET).expect("set");
    builder.build().expect("schema")
}

/// Input and output of `pkg.Service/Method`.
pub fn method(path: &str) -> (MessageDescriptor, MessageDescriptor) {
    let (service, method) = path.split_once('/').expect("a method's path");
    let service = POOL.get_service_by_name(service).expect("service");
    let method = service.methods().find(|m| m.name() == method);
    let method = method.expect("method");
    (method.input(), method.output())
}

pub fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).expect("message")
}

/// JSON → wire, by the outside codec.
pub fn encode(of: &MessageDescriptor, json: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(of.clone(), json)
        .unwrap_or_else(|e| panic!("{}: {e}: {json}", of.full_name()))
        .encode_to_vec()
}

/// Wire → JSON, by the outside codec: what two equal messages have in common.
pub fn decode(of: &MessageDescriptor, wire: &[u8]) -> Value {
    let message = DynamicMessage::decode(of.clone(), wire).expect("wire of the message");
    let options = SerializeOptions::new();
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("printable")
}

/// JSON in the form that [`decode`] gives.
pub fn normal(of: &MessageDescriptor, json: &Value) -> Value {
    decode(of, &encode(of, json))
}
