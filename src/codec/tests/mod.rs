//! The codec over a wide proto3 and a wide proto2 message: tables of cases, DynamicMessage as the
//! oracle, and bytes that mean no good.

mod generate;
mod hostile;
mod oracle;
mod parts;
mod paths;
mod read;
mod robust;
mod schemas;
mod select;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use prost_reflect::DescriptorPool;

use super::{Codec, CodecLimits, DecodeError, EncodeError, JsonOptions, Target};
use crate::schema::{FieldRef, MessageId, Schema, SchemaBuilder, compile};

const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 64 << 20,
};

struct World {
    schema: Arc<Schema>,
    pool: DescriptorPool,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let files = [
        (
            "wide3.proto".to_owned(),
            include_str!("wide3.proto").to_owned(),
        ),
        (
            "wide2.proto".to_owned(),
            include_str!("wide2.proto").to_owned(),
        ),
    ];
    let set = compile(&files).unwrap();
    let mut builder = SchemaBuilder::new();
    builder.add_set("test", &set).unwrap();
    World {
        schema: Arc::new(builder.build().unwrap()),
        pool: DescriptorPool::decode(&*set).unwrap(),
    }
});

/// One codec for each set of options, compiled once.
fn codec(options: JsonOptions) -> Arc<Codec> {
    static BUILT: LazyLock<Mutex<HashMap<JsonOptions, Arc<Codec>>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap();
    let compile = || Arc::new(Codec::build(WORLD.schema.clone(), options.clone()));
    built.entry(options.clone()).or_insert_with(compile).clone()
}

fn plain() -> Arc<Codec> {
    codec(JsonOptions::default())
}

fn message(name: &str) -> MessageId {
    WORLD.schema.find_message(name).unwrap()
}

fn wide3() -> Target {
    Target::Message(message("wide.v3.Wide"))
}

fn wide2() -> Target {
    Target::Message(message("wide.v2.Wide"))
}

fn field(message_name: &str, name: &str) -> FieldRef {
    let id = message(message_name);
    let field = WORLD
        .schema
        .message(id)
        .unwrap()
        .field_by_name(name)
        .unwrap();
    FieldRef { message: id, field }
}

fn encode(codec: &Codec, target: Target, json: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut wire = Vec::new();
    codec.encode(target, json, LIMITS, &mut wire)?;
    Ok(wire)
}

fn print(codec: &Codec, target: Target, wire: &[u8]) -> Result<String, DecodeError> {
    let mut json = Vec::new();
    codec.print(target, wire, LIMITS, &mut json)?;
    Ok(String::from_utf8(json).unwrap())
}
