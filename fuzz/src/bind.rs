//! Binding: any path captures, query and body become a message that prints, or faults that a client
//! can read; what prints reads back to the same.
//!
//! Input: lines of rule number, captures (tabs between), query; the rest is the body.

use std::sync::{Arc, OnceLock};

use transom::codec::{Codec, CodecLimits, JsonOptions, Target};
use transom::failure::Blame;
use transom::limits::VIOLATIONS_MAX;
use transom::schema::{HttpPattern, HttpRule, SchemaBuilder, compile};
use transom::transcode::{Compat, MethodPlan, QueryPolicy, UnknownQuery};

const PROTO: &str = r#"syntax = "proto3";
package f;
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
service S { rpc M(In) returns (In); }
enum E { ZERO = 0; ONE = 1; }
message In {
  string s = 1;
  int32 i = 2;
  In in = 3;
  repeated string rs = 4;
  map<string, int64> m = 5;
  google.protobuf.Timestamp t = 6;
  google.protobuf.Duration d = 7;
  google.protobuf.FieldMask mask = 8;
  google.protobuf.StringValue w = 9;
  E e = 10;
  bytes b = 11;
  bool f = 12;
  double r = 13;
  float g = 14;
  oneof o { uint64 u = 15; In n = 16; sint32 z = 17; }
  google.protobuf.Struct st = 18;
  google.protobuf.Value v = 19;
  google.protobuf.Any any = 20;
  google.api.HttpBody raw = 21;
  map<bool, google.protobuf.Duration> md = 22;
  repeated E re = 23;
  optional string os = 24;
}
"#;

/// Method, template, body.
const RULES: &[(&str, &str, &str)] = &[
    ("GET", "/a", ""),
    ("POST", "/a", "*"),
    ("POST", "/a/{s}/{in.t}", "*"),
    ("POST", "/a/{i}/{in.s=x/**}", "in"),
    ("PUT", "/a/{t}/{w}", "raw"),
    ("GET", "/a/{u}/{e}", ""),
    ("POST", "/a", "n"),
    ("POST", "/a/{r}", "rs"),
];

fn plans() -> &'static [MethodPlan] {
    static PLANS: OnceLock<Vec<MethodPlan>> = OnceLock::new();
    PLANS.get_or_init(|| {
        let set = compile(&[("f.proto".to_owned(), PROTO.to_owned())]).expect("the proto compiles");
        let mut builder = SchemaBuilder::new();
        builder
            .add_set("protos fuzz", &set)
            .expect("a descriptor set");
        let schema = Arc::new(builder.build().expect("the schema links"));
        let codec = Arc::new(Codec::build(Arc::clone(&schema), JsonOptions::default()));
        let method = schema.find_method("f.S", "M").expect("the method");
        let plan = |(kind, template, body): &(&str, &str, &str)| {
            let rule = HttpRule {
                pattern: HttpPattern {
                    method: (*kind).into(),
                    template: (*template).into(),
                },
                body: (*body).into(),
                response_body: "".into(),
                additional_bindings: Vec::new(),
            };
            let built = MethodPlan::build(Arc::clone(&codec), method, &rule, Compat::None);
            built.expect("the rule is right").0
        };
        RULES.iter().map(plan).collect()
    })
}

pub fn check(data: &[u8]) {
    let mut parts = data.splitn(4, |b| *b == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(number), Ok(captures), Ok(query)) = (text(), text(), text()) else {
        return;
    };
    let body = parts.next().unwrap_or_default();
    let number = number.bytes().next().map_or(0, usize::from);
    let plan = &plans()[number % RULES.len()];
    let captures: Vec<&str> = captures.split('\t').collect();
    let limits = CodecLimits {
        depth_max: 100,
        encoded_bytes_max: 1 << 20,
    };
    let mut wire = Vec::new();
    match plan.body_target() {
        _ if body.is_empty() => {}
        Some(target) => {
            if plan.codec.encode(target, body, limits, &mut wire).is_err() {
                return;
            }
        }
        None => plan.bind_raw_body("a/b", body, &mut wire),
    }
    let policy = QueryPolicy {
        unknown: UnknownQuery::Reject,
        ignored: &[],
        parameters_max: 50,
        partial: false,
        compat: Default::default(),
    };
    if let Err(failure) = plan.bind(&captures, Some(query), &policy, &mut wire) {
        assert_eq!(failure.blame, Blame::Client);
        assert_eq!(failure.http_status(), 400);
        let count = failure.violations.len();
        // Each variable of the path may be at fault beside them.
        assert!((1..=VIOLATIONS_MAX + plan.path.len()).contains(&count));
        return;
    }
    let target = Target::Message(plan.input);
    let mut json = Vec::new();
    if let Err(error) = plan.codec.print(target, &wire, limits, &mut json) {
        // A query may name fields in snake_case, and not every such path has a JSON form.
        assert_eq!(error.what, "a path of the field mask has no JSON form");
        return;
    }
    let (mut again, mut printed) = (Vec::new(), Vec::new());
    let read = plan.codec.encode(target, &json, limits, &mut again);
    read.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
    plan.codec
        .print(target, &again, limits, &mut printed)
        .expect("what was read prints");
    assert_eq!(
        String::from_utf8_lossy(&printed),
        String::from_utf8_lossy(&json)
    );
}
