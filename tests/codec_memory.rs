//! Memory of one encoding: never more than 2 × (body + encoded message) + 64 KiB, whatever the shape.
//! A tree of values takes up to 377 times the body for the same documents.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use transom::codec::{Codec, CodecLimits, JsonOptions, Target};
use transom::schema::{SchemaBuilder, compile};

/// Counts what is allocated. Growing in place is not relied on: old and new count at once.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// The one place where the tests need it: an allocator can't be written without.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PROTO: &str = r#"
syntax = "proto3";
package m;
import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
message M {
  repeated M list = 1;
  string s = 2;
  bool b = 3;
  google.protobuf.Value v = 4;
  map<string, int32> map = 5;
  repeated fixed64 wide = 6;
  repeated fixed64 wider = 536870911 [packed = false];
  bytes data = 7;
  google.protobuf.Any any = 8;
}
"#;

const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 256 << 20,
};

fn array(field: &str, element: &str, count: usize) -> String {
    let mut json = format!("{{\"{field}\":[{element}");
    for _ in 1..count {
        json.push(',');
        json.push_str(element);
    }
    json + "]}"
}

fn shapes() -> Vec<(&'static str, String)> {
    let mut nested = String::new();
    for _ in 0..45 {
        nested.push_str(r#"{"list":[{},"#);
    }
    nested.push_str(&format!("{{\"s\":\"{}\"}}", "x".repeat(3 << 20)));
    nested.push_str(&"]}".repeat(45));
    let keys: Vec<String> = (0..300_000).map(|i| format!("\"{i:x}\":1")).collect();
    let members: Vec<String> = (0..300_000).map(|i| format!("\"{i:x}\":[]")).collect();
    vec![
        ("values", array("v", "1", 2 << 20)),
        ("strings in messages", array("list", r#"{"s":""}"#, 400_000)),
        ("bools in messages", array("list", r#"{"b":true}"#, 400_000)),
        ("empty messages", array("list", "{}", 1 << 20)),
        ("empty objects", array("v", "{}", 1 << 20)),
        ("packed numbers", array("wide", "0", 2 << 20)),
        ("numbers with long tags", array("wider", "0", 1 << 20)),
        ("map keys", format!("{{\"map\":{{{}}}}}", keys.join(","))),
        (
            "struct keys",
            format!("{{\"v\":{{{}}}}}", members.join(",")),
        ),
        (
            "one string",
            format!("{{\"s\":\"{}\"}}", "é".repeat(2 << 20)),
        ),
        (
            "one escaped string",
            format!("{{\"s\":\"{}\"}}", r"\u0001".repeat(700_000)),
        ),
        (
            "bytes",
            format!("{{\"data\":\"{}\"}}", "QUJD".repeat(1 << 20)),
        ),
        (
            "escaped bytes",
            format!("{{\"data\":\"{}\"}}", r"\/\/\/\/".repeat(500_000)),
        ),
        ("wrong guesses of length", nested),
        (
            "late types",
            format!(
                r#"{{"any":{{"list":[{}{{}}],"@type":"t/m.M"}}}}"#,
                "{},".repeat(1 << 20)
            ),
        ),
    ]
}

// One test: the counts are of the whole process.
#[test]
fn encoding_stays_within_its_bound() {
    let set = compile(&[("m.proto".to_owned(), PROTO.to_owned())]).unwrap();
    let mut builder = SchemaBuilder::new();
    builder.add_set("test", &set).unwrap();
    let codec = Codec::build(Arc::new(builder.build().unwrap()), JsonOptions::default());
    let target = Target::Message(codec.schema().find_message("m.M").unwrap());
    for (name, json) in shapes() {
        let body = json.len();
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let mut wire = Vec::new();
        codec
            .encode(target, json.as_bytes(), LIMITS, &mut wire)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let peak = body + PEAK.load(Ordering::Relaxed) - before;
        let bound = 2 * (body + wire.len()) + 64 * 1024;
        println!("{name}: body {body}, encoded {}, peak {peak}", wire.len());
        assert!(peak <= bound, "{name}: {peak} of {bound} bytes");
    }
}
