use std::sync::Arc;

use super::*;
use crate::codec::JsonOptions;
use crate::schema::{HttpPattern, SchemaBuilder, compile};

/// The schema of one file's text.
pub(crate) fn schema_of(text: &str) -> Arc<Schema> {
    let set =
        compile(&[("test.proto".to_owned(), text.to_owned())]).unwrap_or_else(|e| panic!("{e:?}"));
    let mut builder = SchemaBuilder::new();
    builder.add_set("protos test", &set).unwrap();
    Arc::new(builder.build().unwrap_or_else(|e| panic!("{e:?}")))
}

pub(crate) const PROTO: &str = r#"
syntax = "proto3";
package t;
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

service S {
  rpc M(In) returns (Out);
  rpc Watch(In) returns (stream Out);
  rpc Masks(TwoMasks) returns (Out);
  rpc Upload(google.api.HttpBody) returns (google.api.HttpBody);
}
enum Color { COLOR_UNSPECIFIED = 0; RED = 1; BLUE = -2; }
message Inner {
  string id = 1;
  int32 count = 2;
  Inner next = 3;
  repeated string names = 4;
  google.protobuf.Timestamp at = 5;
  google.protobuf.Int32Value boxed = 6;
  oneof pick { string left = 7; int64 right = 8; Inner deep = 9; }
  map<string, string> labels = 10;
}
message In {
  string game_id = 1;
  int32 page_size = 2;
  Inner inner = 3;
  repeated string tags = 4;
  map<string, string> labels = 5;
  map<int32, Inner> inners = 6;
  google.protobuf.Timestamp since = 7;
  google.protobuf.Duration took = 8;
  google.protobuf.FieldMask mask = 9;
  google.protobuf.StringValue note = 10;
  Color color = 11;
  repeated Color colors = 12;
  bytes data = 13;
  bool flag = 14;
  double ratio = 15;
  uint64 big = 16;
  oneof choice { string one = 17; int32 two = 18; Inner three = 19; google.api.HttpBody raw = 27; }
  google.protobuf.Struct extra = 20;
  google.protobuf.Value value = 21;
  google.api.HttpBody file = 22;
  repeated Inner list = 23;
  repeated google.protobuf.Timestamp times = 24;
  google.protobuf.Empty nothing = 25;
  google.protobuf.Any any = 26;
  map<string, int64> counts = 28;
  optional string maybe = 29;
}
message TwoMasks { Inner inner = 1; google.protobuf.FieldMask one = 2; google.protobuf.FieldMask two = 3; }
message Out { Inner inner = 1; google.api.HttpBody file = 2; repeated Inner list = 3; }
"#;

pub(crate) fn rule(text: &str, body: &str, response_body: &str) -> HttpRule {
    let (method, template) = text.split_once(' ').unwrap();
    HttpRule {
        pattern: HttpPattern {
            method: method.into(),
            template: template.into(),
        },
        body: body.into(),
        response_body: response_body.into(),
        additional_bindings: Vec::new(),
    }
}

pub(crate) fn build(method: &str, rule: &HttpRule) -> Result<MethodPlan, Vec<PlanError>> {
    build_for(Compat::None, method, rule)
}

fn build_for(compat: Compat, method: &str, rule: &HttpRule) -> Result<MethodPlan, Vec<PlanError>> {
    let schema = schema_of(PROTO);
    let codec = Arc::new(Codec::build(Arc::clone(&schema), JsonOptions::default()));
    let method = schema.find_method("t.S", method).unwrap();
    MethodPlan::build(codec, method, rule, compat).map(|(plan, _)| plan)
}

pub(crate) fn plan(text: &str, body: &str) -> MethodPlan {
    build("M", &rule(text, body, "")).unwrap_or_else(|e| panic!("{e:?}"))
}

fn names(plan: &MethodPlan, fields: &[FieldRef]) -> String {
    let schema = plan.codec.schema();
    let names: Vec<_> = fields
        .iter()
        .map(|f| &*schema.field(*f).unwrap().name)
        .collect();
    names.join(".")
}

#[test]
fn a_rule_is_joined_with_its_method() {
    let plan = plan("POST /v1/{game_id}/x/{inner.next.id=a/**}", "extra");
    assert_eq!(plan.grpc_path, "/t.S/M");
    assert_eq!(&*plan.rule, "POST /v1/{game_id}/x/{inner.next.id=a/**}");
    assert_eq!(&*plan.template, "/v1/{game_id}/x/{inner.next.id=a/**}");
    let paths: Vec<_> = plan
        .path
        .iter()
        .map(|p| (names(&plan, &p.fields), p.multi))
        .collect();
    assert_eq!(
        paths,
        [
            ("game_id".to_owned(), false),
            ("inner.next.id".to_owned(), true)
        ]
    );
    let BodyRule::Field(body) = plan.body else {
        panic!("{:?}", plan.body)
    };
    assert_eq!(names(&plan, &[body]), "extra");
    assert_eq!(plan.response, ResponseRule::Whole);
    assert_eq!(plan.body_target(), Some(Target::Field(body)));
}

#[test]
fn http_bodies_are_raw() {
    let upload = build("Upload", &rule("POST /u", "*", "")).unwrap();
    assert_eq!(
        (upload.body, upload.response),
        (BodyRule::RawWhole, ResponseRule::RawWhole)
    );
    assert_eq!(
        (upload.body_target(), upload.response_target()),
        (None, None)
    );
    let field = build("M", &rule("POST /u", "file", "file")).unwrap();
    assert!(matches!(field.body, BodyRule::RawField(_)));
    assert!(matches!(field.response, ResponseRule::RawField(_)));
    let list = build("M", &rule("POST /u", "list", "list")).unwrap();
    assert!(matches!(list.body, BodyRule::Field(_)));
    assert!(matches!(list.response, ResponseRule::Field(_)));
}

#[test]
fn path_variables_take_what_one_text_stands_for() {
    for field in [
        "game_id",
        "page_size",
        "since",
        "took",
        "note",
        "color",
        "data",
        "flag",
        "ratio",
        "big",
        "one",
        "maybe",
        "inner.at",
        "inner.boxed",
        "gameId",
    ] {
        let text = format!("GET /v1/{{{field}}}");
        assert!(build("M", &rule(&text, "", "")).is_ok(), "{field}");
    }
}

/// The faults of a rule, with help.
fn faults(text: &str, body: &str, response_body: &str) -> String {
    let errors = build("M", &rule(text, body, response_body)).unwrap_err();
    let line = |e: &PlanError| match &e.help {
        Some(help) => format!("{}: {} [{help}]", e.part, e.message),
        None => format!("{}: {}", e.part, e.message),
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn faults_name_the_part_and_what_was_meant() {
    let cases = [
        (
            "GET /{gameid}",
            "",
            "",
            "path variable {gameid}: t.In has no field \"gameid\" [did you mean \"game_id\"?]",
        ),
        (
            "GET /{inner.idd}",
            "",
            "",
            "path variable {inner.idd}: t.Inner has no field \"idd\" [did you mean \"id\"?]",
        ),
        (
            "GET /{tags}",
            "",
            "",
            "path variable {tags}: field \"tags\" is repeated, and a path holds one value [leave it out of the path: it is read from the query then, as ?tags=…&tags=…; or set `compat: grpc-gateway`, which reads a list with commas]",
        ),
        (
            "GET /{labels}",
            "",
            "",
            "path variable {labels}: field \"labels\" is a map, and a path holds one value [leave it out of the path, and have the body hold it]",
        ),
        (
            "GET /{list.id}",
            "",
            "",
            "path variable {list.id}: field \"list\" is repeated, and a path holds one value [leave it out of the path, and have the body hold it]",
        ),
        (
            "GET /{inner}",
            "",
            "",
            "path variable {inner}: field \"inner\" is a message, which no path text stands for [name one of its fields, such as {inner.id}]",
        ),
        (
            "GET /{mask}",
            "",
            "",
            "path variable {mask}: field \"mask\" is a message, which no path text stands for",
        ),
        (
            "GET /{game_id.x}",
            "",
            "",
            "path variable {game_id.x}: field \"game_id\" is not a message, so it has no \"x\"",
        ),
        (
            "GET /a",
            "*",
            "",
            "body: a GET request has no body [leave `body` out; fields that the path doesn't bind come from the query]",
        ),
        (
            "POST /a",
            "iner",
            "",
            "body: t.In has no field \"iner\" [did you mean \"inner\"?]",
        ),
        (
            "POST /a",
            "inner.next",
            "",
            "body: \"inner.next\" is not a top-level field",
        ),
        (
            "POST /a",
            "",
            "lst",
            "response_body: t.Out has no field \"lst\" [did you mean \"list\"?]",
        ),
        (
            "POST /{game_id}",
            "game_id",
            "",
            "path variable {game_id}: the body sets the same field",
        ),
        (
            "POST /{one}",
            "two",
            "",
            "path variable {one}: the body sets another member of the same oneof",
        ),
        (
            "GET /{one}/{two}",
            "",
            "",
            "path variable {two}: {one} sets another member of the same oneof",
        ),
        (
            "GET /{inner.left}/{inner.right}",
            "",
            "",
            "path variable {inner.right}: {inner.left} sets another member of the same oneof",
        ),
        (
            "GET /{since}/{since.seconds}",
            "",
            "",
            "path variable {since.seconds}: {since} sets a part of the same field",
        ),
        (
            "GET /{game_id}/{gameId}",
            "",
            "",
            "path variable {gameId}: {game_id} sets the same field",
        ),
        (
            "GET /{x}/{y}",
            "",
            "",
            "path variable {x}: t.In has no field \"x\"\npath variable {y}: t.In has no field \"y\"",
        ),
    ];
    for (text, body, response, expected) in cases {
        assert_eq!(
            faults(text, body, response),
            expected,
            "{text} body {body:?}"
        );
    }
}

#[test]
fn a_broken_template_or_method_is_told_with_its_rule() {
    let errors = build("M", &rule("GET v1/x", "", "")).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].part, RulePart::Template);
    assert!(
        errors[0]
            .to_string()
            .starts_with("GET v1/x of t.S/M: path: "),
        "{}",
        errors[0]
    );
    let errors = build("M", &rule("GE(T /v1/x", "", "")).unwrap_err();
    assert_eq!(errors[0].part, RulePart::Method);
    assert!(build("M", &rule("* /v1/x", "", "")).is_ok());
}

#[test]
fn a_path_below_the_body_field_is_fine() {
    let plan = plan("PATCH /v1/{inner.id}", "inner");
    assert!(matches!(plan.body, BodyRule::Field(_)));
}

#[test]
fn grpc_gateway_reads_lists_from_the_path() {
    let gateway = |path: &str, body: &str| {
        build_for(Compat::GrpcGateway, "M", &rule(path, body, ""))
            .map(|plan| plan.path.iter().map(|b| b.list).collect::<Vec<_>>())
            .map_err(|faults| faults.into_iter().map(|f| f.message).collect::<Vec<_>>())
    };
    assert_eq!(gateway("GET /{tags}/{game_id}", ""), Ok(vec![true, false]));
    assert_eq!(gateway("POST /{colors}", "inner"), Ok(vec![true]));
    for (path, body, fault) in [
        ("GET /{list}", "", "is repeated"),
        ("GET /{times}", "", "is repeated"),
        ("GET /{list.id}", "", "is repeated"),
        ("GET /{labels}", "", "is a map"),
        ("POST /{tags}", "*", "would be added to the one of the body"),
    ] {
        let faults = gateway(path, body).unwrap_err();
        assert!(faults[0].contains(fault), "{path}: {faults:?}");
    }
}

#[test]
fn what_a_location_can_not_be_taken_from() {
    let schema = schema_of(PROTO);
    let codec = Codec::build(Arc::clone(&schema), JsonOptions::default());
    let output = schema.find_message("t.In").unwrap();
    let build = |text| LocationTemplate::build(&codec, output, text);
    assert!(build("/a/{game_id}/{inner.id=**}").is_ok());
    for (text, fault) in [
        ("a/{game_id}", "invalid path template"),
        ("/a", "no field of the reply"),
        ("/a/*/{game_id}", "a wildcard outside"),
        ("/{game_idd}", "t.In has no field \"game_idd\""),
        ("/{tags}", "holds more than one value"),
        ("/{labels}", "holds more than one value"),
        ("/{inner}", "is a message"),
        ("/{game_id.x}", "is not a message, so it has no \"x\""),
    ] {
        let (message, _) = build(text).unwrap_err();
        assert!(message.contains(fault), "{text}: {message}");
    }
}
