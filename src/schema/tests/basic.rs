//! What most users have: proto3 with annotations, proto2 beside it.

use super::super::builtin::TEXTS;
use super::super::{
    Cardinality, HttpPattern, Kind, MapKey, Presence, SchemaBuilder, StreamKind, WellKnown,
};
use super::{field, message, schema_of};

const GAMES: &str = r#"
syntax = "proto3";
package gamehub.v1;
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/field_mask.proto";

service Games {
  rpc Get(GetRequest) returns (Game) {
    option (google.api.http) = {
      get: "/v1/games/{game_id}"
      additional_bindings { custom { kind: "*" path: "/v1/any/{game_id}" } body: "*" response_body: "tags" }
    };
    option idempotency_level = NO_SIDE_EFFECTS;
  }
  rpc Watch(GetRequest) returns (stream Game);
  rpc Chat(stream GetRequest) returns (stream Game);
  rpc Upload(stream GetRequest) returns (Game);
}
message GetRequest { string game_id = 1; google.protobuf.FieldMask read_mask = 2; }
message Game {
  string game_id = 3;
  repeated string tags = 1;
  optional int32 rank = 2;
  map<string, Score> scores = 4;
  oneof prize { int64 coins = 5; string badge = 6; }
  repeated int32 levels = 7;
  repeated int32 loose = 8 [packed = false];
  State state = 9;
  google.protobuf.Timestamp made = 10;
  enum State { STATE_UNSPECIFIED = 0; OPEN = 1; }
  message Score { double points = 1 [json_name = "pts"]; }
}
"#;

#[test]
fn links_an_annotated_service() {
    let schema = schema_of(&[("gamehub/v1/games.proto", GAMES)]);
    let get = schema
        .find_method("gamehub.v1.Games", "Get")
        .unwrap()
        .method;
    assert_eq!(get.stream, StreamKind::Unary);
    assert!(get.idempotent && get.no_side_effects);
    assert_eq!(get.location.as_deref(), Some("gamehub/v1/games.proto:9:3"));
    let http = get.http.as_ref().unwrap();
    assert_eq!(
        http.pattern,
        HttpPattern {
            method: "GET".into(),
            template: "/v1/games/{game_id}".into()
        }
    );
    let [extra] = &*http.additional_bindings else {
        panic!("{http:?}")
    };
    assert_eq!(
        (&*extra.pattern.method, &*extra.body, &*extra.response_body),
        ("*", "*", "tags")
    );
    for (name, stream) in [
        ("Watch", StreamKind::Server),
        ("Chat", StreamKind::Bidi),
        ("Upload", StreamKind::Client),
    ] {
        assert_eq!(
            schema
                .find_method("gamehub.v1.Games", name)
                .unwrap()
                .method
                .stream,
            stream
        );
    }
    let service = schema.find_service("gamehub.v1.Games").unwrap();
    assert_eq!(&*service.file, "protos test: gamehub/v1/games.proto");
}

#[test]
fn links_fields() {
    let schema = schema_of(&[("gamehub/v1/games.proto", GAMES)]);
    let game = message(&schema, "gamehub.v1.Game");
    assert!(game.fields.is_sorted_by_key(|f| f.number));
    assert_eq!(game.oneofs.as_ref(), [Box::from("prize")]);
    let of = |name| field(&schema, "gamehub.v1.Game", name);
    assert_eq!(of("game_id").json_name.as_ref(), "gameId");
    assert_eq!(
        of("game_id").cardinality,
        Cardinality::Singular(Presence::Implicit)
    );
    assert!(of("game_id").utf8_validated);
    assert_eq!(
        of("rank").cardinality,
        Cardinality::Singular(Presence::Explicit)
    );
    assert_eq!(of("rank").oneof, None);
    assert_eq!((of("coins").oneof, of("badge").oneof), (Some(0), Some(0)));
    assert_eq!(
        of("levels").cardinality,
        Cardinality::Repeated { packed: true }
    );
    assert_eq!(
        of("loose").cardinality,
        Cardinality::Repeated { packed: false }
    );
    assert_eq!(
        of("tags").cardinality,
        Cardinality::Repeated { packed: false }
    );
    let entry = schema.find_message("gamehub.v1.Game.ScoresEntry").unwrap();
    assert_eq!(
        of("scores").cardinality,
        Cardinality::Map {
            key: MapKey::String,
            entry
        }
    );
    assert_eq!(
        of("scores").kind,
        Kind::Message(schema.find_message("gamehub.v1.Game.Score").unwrap())
    );
    assert!(schema.message(entry).unwrap().map_entry);
    assert_eq!(
        field(&schema, "gamehub.v1.Game.Score", "points")
            .json_name
            .as_ref(),
        "pts"
    );
    let Kind::Enum(state) = of("state").kind else {
        panic!()
    };
    assert!(!schema.enumeration(state).unwrap().closed);
    assert_eq!(
        message(&schema, "google.protobuf.Timestamp").well_known,
        Some(WellKnown::Timestamp)
    );
}

#[test]
fn links_proto2() {
    let schema = schema_of(&[(
        "old.proto",
        r#"
        syntax = "proto2";
        package old;
        message A {
          required string name = 1;
          optional E e = 2;
          repeated int32 many = 3;
          repeated int32 tight = 4 [packed = true];
          optional group Inner = 5 { optional int32 x = 1; }
          extensions 100 to 200;
        }
        enum E { TWO = 2; ONE = 1; }
        extend A { optional A sub = 100; repeated int32 nums = 101; }
        message Set { option message_set_wire_format = true; extensions 4 to max; }
        message Item { extend Set { optional Item item = 500000000; } }
    "#,
    )]);
    let of = |name| field(&schema, "old.A", name);
    assert_eq!(
        of("name").cardinality,
        Cardinality::Singular(Presence::Required)
    );
    assert!(!of("name").utf8_validated);
    assert_eq!(
        of("many").cardinality,
        Cardinality::Repeated { packed: false }
    );
    assert_eq!(
        of("tight").cardinality,
        Cardinality::Repeated { packed: true }
    );
    assert!(of("inner").delimited);
    let Kind::Enum(e) = of("e").kind else {
        panic!()
    };
    assert!(schema.enumeration(e).unwrap().closed);
    let sub = of("old.sub");
    assert!(sub.extension);
    assert_eq!(sub.json_name.as_ref(), "[old.sub]");
    assert_eq!(
        schema
            .field(schema.find_extension("old.sub").unwrap())
            .unwrap()
            .number,
        100
    );
    assert!(message(&schema, "old.Set").message_set);
    assert_eq!(
        schema
            .field(schema.find_extension("old.Item.item").unwrap())
            .unwrap()
            .number,
        500_000_000
    );
}

#[test]
fn error_details_and_well_known_types_are_always_there() {
    let schema = SchemaBuilder::new().build().unwrap();
    for (name, known) in [
        ("google.protobuf.Any", Some(WellKnown::Any)),
        ("google.protobuf.Struct", Some(WellKnown::Struct)),
        ("google.protobuf.Value", Some(WellKnown::Value)),
        ("google.protobuf.ListValue", Some(WellKnown::ListValue)),
        ("google.protobuf.Duration", Some(WellKnown::Duration)),
        ("google.protobuf.Empty", Some(WellKnown::Empty)),
        ("google.protobuf.FieldMask", Some(WellKnown::FieldMask)),
        ("google.protobuf.UInt64Value", Some(WellKnown::UInt64Value)),
        ("google.api.HttpBody", Some(WellKnown::HttpBody)),
        ("google.rpc.Status", None),
        ("google.rpc.BadRequest.FieldViolation", None),
    ] {
        assert_eq!(message(&schema, name).well_known, known, "{name}");
    }
    assert!(schema.services().is_empty());
}

#[test]
fn every_built_in_text_compiles_and_links() {
    let all: String = TEXTS
        .iter()
        .map(|(path, _)| format!("import \"{path}\";\n"))
        .collect();
    let schema = schema_of(&[("all.proto", &format!("syntax = \"proto3\";\n{all}"))]);
    for name in [
        "google.type.Money",
        "google.rpc.Status",
        "grpc.health.v1.HealthCheckRequest",
        "buf.validate.Violations",
    ] {
        message(&schema, name);
    }
    assert!(
        schema
            .find_service("grpc.reflection.v1alpha.ServerReflection")
            .is_some()
    );
}
