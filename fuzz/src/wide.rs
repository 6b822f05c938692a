//! The messages that the codec's targets use: those of its own tests.

use std::sync::{Arc, OnceLock};

use transom::codec::{Codec, CodecLimits, JsonOptions, Target};
use transom::schema::{MessageId, SchemaBuilder, compile};

pub const LIMITS: CodecLimits = CodecLimits {
    depth_max: 60,
    encoded_bytes_max: 1 << 20,
};

struct World {
    codecs: [Codec; 2],
    messages: [MessageId; 2],
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let set = compile(&[
            text(
                "wide3.proto",
                include_str!("../../src/codec/tests/wide3.proto"),
            ),
            text(
                "wide2.proto",
                include_str!("../../src/codec/tests/wide2.proto"),
            ),
        ]);
        let mut builder = SchemaBuilder::new();
        builder
            .add_set("protos fuzz", &set.expect("the protos compile"))
            .expect("a descriptor set");
        let schema = Arc::new(builder.build().expect("the schema links"));
        let lenient = JsonOptions {
            ignore_unknown_fields: true,
            case_insensitive_enums: true,
            strip_enum_prefix: true,
            emit_defaults: true,
            pretty: true,
            ..JsonOptions::default()
        };
        let message = |name| schema.find_message(name).expect("the message");
        World {
            messages: [message("wide.v3.Wide"), message("wide.v2.Wide")],
            codecs: [
                Codec::build(Arc::clone(&schema), JsonOptions::default()),
                Codec::build(schema, lenient),
            ],
        }
    })
}

pub fn pick(switches: u8) -> (&'static Codec, Target) {
    let world = world();
    let bit = |at: u8| usize::from(switches >> at & 1);
    (
        &world.codecs[bit(0)],
        Target::Message(world.messages[bit(1)]),
    )
}

/// What prints is read, and prints the same again.
pub fn round_trip(codec: &Codec, target: Target, wire: &[u8]) {
    let (mut json, mut again, mut printed) = (Vec::new(), Vec::new(), Vec::new());
    codec
        .print(target, wire, LIMITS, &mut json)
        .expect("good wire prints");
    let read = codec.encode(target, &json, LIMITS, &mut again);
    read.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
    codec
        .print(target, &again, LIMITS, &mut printed)
        .expect("what was read prints");
    assert_eq!(
        String::from_utf8_lossy(&printed),
        String::from_utf8_lossy(&json)
    );
}
