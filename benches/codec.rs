//! The codec beside prost-reflect's DynamicMessage with serde_json: ns per message and MB/s of JSON.

use std::sync::{Arc, LazyLock};

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use transom::codec::{Codec, CodecLimits, JsonOptions, Target};
use transom::schema::{SchemaBuilder, compile};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

const PROTO: &str = r#"
syntax = "proto3";
package bench;
import "google/protobuf/timestamp.proto";

enum Genre { GENRE_UNSPECIFIED = 0; PUZZLE = 1; ARCADE = 2; }

message Game {
  string id = 1;
  string title = 2;
  Genre genre = 3;
  int64 plays = 4;
  double rating = 5;
  bool published = 6;
  repeated string tags = 7;
  google.protobuf.Timestamp released = 8;
  map<string, string> labels = 9;
  repeated double scores = 10;
}
message List { repeated Game games = 1; string next_page_token = 2; }
message Small { string id = 1; int32 count = 2; bool active = 3; string name = 4; }
message Numbers { repeated int32 ints = 1; repeated double doubles = 2; }
message Deep { Deep child = 1; int32 depth = 2; }
message Blob { string text = 1; bytes data = 2; }
"#;

const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 64 << 20,
};

struct World {
    codec: Codec,
    pool: DescriptorPool,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let set = compile(&[("bench.proto".to_owned(), PROTO.to_owned())]).unwrap();
    let mut builder = SchemaBuilder::new();
    builder.add_set("bench", &set).unwrap();
    World {
        codec: Codec::build(Arc::new(builder.build().unwrap()), JsonOptions::default()),
        pool: DescriptorPool::decode(&*set).unwrap(),
    }
});

/// A document and what it is.
struct Shape {
    json: String,
    wire: Vec<u8>,
    target: Target,
    descriptor: MessageDescriptor,
}

fn game(i: usize) -> String {
    format!(
        r#"{{"id":"game-{i:05}","title":"The Quest for the {i}th Door","genre":"ARCADE","plays":"{}","rating":{}.25,"published":true,"tags":["retro","two-player"],"released":"2024-02-{:02}T12:30:00Z","labels":{{"studio":"Lintel","engine":"canvas"}},"scores":[{}.5,17.125,0.1]}}"#,
        i * 7919,
        i % 5,
        i % 28 + 1,
        i
    )
}

fn shape(name: &str) -> Shape {
    let (message, json) = match name {
        "small" => (
            "bench.Small",
            r#"{"id":"a1b2c3","count":42,"active":true,"name":"Left door"}"#.to_owned(),
        ),
        "list" => {
            let games: Vec<String> = (1..=100).map(game).collect();
            let games = games.join(",");
            (
                "bench.List",
                format!(r#"{{"games":[{games}],"nextPageToken":"abc"}}"#),
            )
        }
        "ints" => {
            let items: Vec<String> = (0..10_000)
                .map(|i: i64| (i * i % 100_003).to_string())
                .collect();
            (
                "bench.Numbers",
                format!(r#"{{"ints":[{}]}}"#, items.join(",")),
            )
        }
        "doubles" => {
            let items: Vec<String> = (1..10_000)
                .map(|i| (1e5 / f64::from(i)).to_string())
                .collect();
            (
                "bench.Numbers",
                format!(r#"{{"doubles":[{}]}}"#, items.join(",")),
            )
        }
        "deep" => (
            "bench.Deep",
            r#"{"child":"#.repeat(90) + r#"{"depth":90}"# + &"}".repeat(90),
        ),
        "text_1mib" => (
            "bench.Blob",
            format!(r#"{{"text":"{}"}}"#, "lorem ipsum dolor ".repeat(58_254)),
        ),
        _ => (
            "bench.Blob",
            format!(r#"{{"data":"{}"}}"#, "QUJD".repeat(250_000)),
        ),
    };
    let id = WORLD.codec.schema().find_message(message).unwrap();
    let target = Target::Message(id);
    let mut wire = Vec::new();
    WORLD
        .codec
        .encode(target, json.as_bytes(), LIMITS, &mut wire)
        .unwrap();
    let descriptor = WORLD.pool.get_message_by_name(message).unwrap();
    // Both must do the same work.
    let theirs = DynamicMessage::decode(descriptor.clone(), &*wire).unwrap();
    let mut de = serde_json::Deserializer::from_str(&json);
    assert!(theirs == DynamicMessage::deserialize(descriptor.clone(), &mut de).unwrap());
    Shape {
        json,
        wire,
        target,
        descriptor,
    }
}

const SHAPES: [&str; 7] = [
    "small",
    "list",
    "ints",
    "doubles",
    "deep",
    "text_1mib",
    "base64_1mb",
];

#[divan::bench(args = SHAPES)]
fn json_to_wire(bencher: Bencher, name: &str) {
    let shape = shape(name);
    let mut wire = Vec::new();
    bencher
        .counter(BytesCount::new(shape.json.len()))
        .bench_local(|| {
            wire.clear();
            let json = black_box(shape.json.as_bytes());
            WORLD
                .codec
                .encode(shape.target, json, LIMITS, &mut wire)
                .unwrap();
            black_box(wire.len())
        });
}

#[divan::bench(args = SHAPES)]
fn json_to_wire_dynamic(bencher: Bencher, name: &str) {
    let shape = shape(name);
    let mut wire = Vec::new();
    bencher
        .counter(BytesCount::new(shape.json.len()))
        .bench_local(|| {
            wire.clear();
            let mut de = serde_json::Deserializer::from_slice(black_box(shape.json.as_bytes()));
            let message = DynamicMessage::deserialize(shape.descriptor.clone(), &mut de).unwrap();
            message.encode(&mut wire).unwrap();
            black_box(wire.len())
        });
}

#[divan::bench(args = SHAPES)]
fn wire_to_json(bencher: Bencher, name: &str) {
    let shape = shape(name);
    let mut json = Vec::new();
    bencher
        .counter(BytesCount::new(shape.json.len()))
        .bench_local(|| {
            json.clear();
            let wire = black_box(&*shape.wire);
            WORLD
                .codec
                .print(shape.target, wire, LIMITS, &mut json)
                .unwrap();
            black_box(json.len())
        });
}

#[divan::bench(args = SHAPES)]
fn wire_to_json_dynamic(bencher: Bencher, name: &str) {
    let shape = shape(name);
    let mut json = Vec::new();
    bencher
        .counter(BytesCount::new(shape.json.len()))
        .bench_local(|| {
            json.clear();
            let wire = black_box(&*shape.wire);
            let message = DynamicMessage::decode(shape.descriptor.clone(), wire).unwrap();
            serde_json::to_writer(&mut json, &message).unwrap();
            black_box(json.len())
        });
}
