use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::codec::{Codec, JsonOptions};
use crate::schema::{HttpRule, SchemaBuilder, compile};
use crate::transcode::plan::tests::rule;

const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/api/field_behavior.proto";
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";

// Finds things.
service Shop {
  // One thing. There is more to say of it.
  rpc Get(Thing) returns (Thing);
  rpc Old(Thing) returns (Thing) { option deprecated = true; }
  rpc Watch(Thing) returns (stream Thing);
  rpc Tell(stream Thing) returns (stream Thing);
  rpc Raw(google.api.HttpBody) returns (google.api.HttpBody);
}
// Of what sort.
enum Sort {
  SORT_UNSPECIFIED = 0;
  // With wheels.
  SORT_CAR = 1;
  SORT_AUTO = 1;
  option allow_alias = true;
}
message Thing {
  string name = 1 [(google.api.field_behavior) = REQUIRED];
  uint64 seen = 2 [(google.api.field_behavior) = OUTPUT_ONLY];
  string token = 3 [(google.api.field_behavior) = INPUT_ONLY];
  Sort sort = 4;
  Thing part = 5;
  map<string, string> labels = 6;
  map<int32, Thing> parts = 7;
  repeated int64 numbers = 8;
  oneof way { string road = 9; int32 rail = 10; }
  google.protobuf.Struct extra = 11;
  repeated google.protobuf.Value values = 12;
  google.protobuf.BoolValue maybe = 13;
  google.protobuf.Any any = 14;
  bytes data = 15;
  string old_name = 16 [deprecated = true];
  Place at = 17;
}
message Place {
  string shelf = 1;
  Thing thing = 2;
}
"#;

fn schema() -> Arc<Schema> {
    let set = compile(&[("shop.proto".to_owned(), PROTO.to_owned())]).expect("it compiles");
    let mut builder = SchemaBuilder::new().keep_annotations(true);
    builder.add_set("protos", &set).expect("a set");
    Arc::new(builder.build().expect("a schema"))
}

/// A method, its rule, and the JSON options of its route.
type Case<'c> = (&'c str, HttpRule, JsonOptions);

fn told(cases: &[Case<'_>], change: impl Fn(&mut Operation<'_>)) -> Value {
    let schema = schema();
    let plan = |(method, rule, options): &Case<'_>| {
        let codec = Arc::new(Codec::build(Arc::clone(&schema), options.clone()));
        let method = schema
            .find_method("shop.v1.Shop", method)
            .expect("a method");
        let built = MethodPlan::build(codec, method, rule, Compat::None);
        built.expect("a plan").0
    };
    let plans: Vec<MethodPlan> = cases.iter().map(plan).collect();
    let statuses = Statuses::default();
    let operations = plans.iter().map(|plan| {
        let mut operation = Operation {
            plan,
            errors: ErrorFormat::Status,
            statuses: &statuses,
            compat: Compat::None,
            partial_responses: false,
            headers: Vec::new(),
        };
        change(&mut operation);
        operation
    });
    let operations: Vec<Operation<'_>> = operations.collect();
    let facts = Facts {
        server: "/".to_owned(),
        ..Facts::default()
    };
    document(&schema, &facts, &operations)
}

fn of(method: &str, text: &str, body: &str) -> Value {
    told(
        &[(method, rule(text, body, ""), JsonOptions::default())],
        |_| {},
    )
}

/// Names of the parameters in a place.
fn names<'v>(operation: &'v Value, place: &str) -> Vec<&'v str> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let found = all.filter(|p| p["in"] == place);
    found.map(|p| p["name"].as_str().expect("a name")).collect()
}

#[test]
fn variables_of_many_segments_have_a_parameter_for_each() {
    for (template, path, parts) in [
        ("/v1/{name}", "/v1/{name}", &["name"][..]),
        ("/v1/{name=shelves/*}", "/v1/shelves/{shelf}", &["shelf"]),
        (
            "/v1/{name=categories/*/boxes/*}:open",
            "/v1/categories/{category}/boxes/{box}:open",
            &["category", "box"],
        ),
        ("/v1/{name=**}", "/v1/{name}", &["name"]),
        ("/v1/{name=a/**}", "/v1/a/{a}", &["a"]),
        ("/v1/*/x/*", "/v1/{v1}/x/{x}", &["v1", "x"]),
        (
            "/v1/{part.name=things/*/things/*}",
            "/v1/things/{thing}/things/{thing_2}",
            &["thing", "thing_2"],
        ),
        ("/caf%C3%A9/{name}", "/caf%C3%A9/{name}", &["name"]),
    ] {
        let document = of("Get", &format!("GET {template}"), "");
        let item = &document["paths"][path];
        assert!(item.is_object(), "{template}: {}", document["paths"]);
        assert_eq!(names(&item["get"], "path"), parts, "{template}");
    }
    let rest = of("Get", "GET /v1/{name=a/**}", "");
    let part = &rest["paths"]["/v1/a/{a}"]["get"]["parameters"][0];
    assert_eq!(part["x-multi-segment"], true);
}

#[test]
fn templates_of_one_shape_are_one_path() {
    let cases = [
        (
            "Get",
            rule("GET /v1/{name}", "", ""),
            JsonOptions::default(),
        ),
        (
            "Old",
            rule("DELETE /v1/{name}", "", ""),
            JsonOptions::default(),
        ),
        (
            "Watch",
            rule("PATCH /v1/{part.name}", "*", ""),
            JsonOptions::default(),
        ),
        (
            "Raw",
            rule("PURGE /v1/{content_type}", "", ""),
            JsonOptions::default(),
        ),
    ];
    let document = told(&cases, |_| {});
    let paths = document["paths"].as_object().expect("paths");
    let texts: Vec<&String> = paths.keys().collect();
    assert_eq!(texts, ["/v1/{name}"]);
    let item = &paths["/v1/{name}"];
    assert_eq!(names(&item["patch"], "path"), ["name"]);
    let said = item["patch"]["parameters"][0]["description"].as_str();
    assert_eq!(said, Some("Sets `part.name`."));
    assert_eq!(item["delete"]["deprecated"], true);
    // No method of OpenAPI 3.1.
    let purge = &item["x-additionalOperations"]["PURGE"];
    assert_eq!(purge["operationId"], "Shop_Raw");
}

#[test]
fn the_query_has_what_the_transcoder_takes() {
    let document = of("Get", "GET /v1/{name}", "");
    let get = &document["paths"]["/v1/{name}"]["get"];
    let query = names(get, "query");
    for name in [
        "token", "sort", "at.shelf", "labels", "numbers", "road", "extra", "maybe",
    ] {
        assert!(query.contains(&name), "{name} of {query:?}");
    }
    // Of the path, of the service, of no text, and without end.
    for name in [
        "name",
        "seen",
        "part.seen",
        "parts",
        "part",
        "at.thing.token",
    ] {
        assert!(!query.contains(&name), "{name} of {query:?}");
    }
    let find = |name: &str| {
        let all = get["parameters"].as_array().expect("parameters");
        all.iter().find(|p| p["name"] == name).expect("it").clone()
    };
    assert_eq!(find("labels")["style"], "deepObject");
    assert_eq!(find("oldName")["deprecated"], true);
    assert!(find("extra")["content"]["application/json"].is_object());
    assert_eq!(find("values")["schema"]["items"]["type"], "string");
    assert_eq!(
        find("numbers")["schema"],
        json!({ "type": "array", "items": { "type": "string", "format": "int64" } })
    );
    assert!(
        get["description"]
            .as_str()
            .expect("words")
            .contains("by their path")
    );

    let field = of("Get", "POST /v1/things", "at");
    let post = &field["paths"]["/v1/things"]["post"];
    assert!(names(post, "query").iter().all(|n| !n.starts_with("at.")));
    let whole = of("Get", "POST /v1/things", "*");
    assert!(names(&whole["paths"]["/v1/things"]["post"], "query").is_empty());
}

#[test]
fn bodies_lack_what_the_path_has() {
    let document = of("Get", "POST /v1/{name}", "*");
    let post = &document["paths"]["/v1/{name}"]["post"];
    let schema = &post["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/shop.v1.Thing-body");
    let body = &document["components"]["schemas"]["shop.v1.Thing-body"];
    assert!(
        body["properties"]["name"].is_null() && body["required"].is_null(),
        "{body}"
    );
    assert!(post["requestBody"]["required"].is_null());

    let whole = of("Get", "POST /v1/things", "*");
    let post = &whole["paths"]["/v1/things"]["post"];
    assert_eq!(post["requestBody"]["required"], true);
    let thing = &whole["components"]["schemas"]["shop.v1.Thing"];
    assert_eq!(thing["required"], json!(["name"]));
    assert_eq!(thing["properties"]["seen"]["readOnly"], true);
    assert_eq!(thing["properties"]["token"]["writeOnly"], true);
    assert_eq!(
        thing["dependentSchemas"]["road"],
        json!({ "properties": { "rail": false } })
    );
    let parts = &thing["properties"]["parts"];
    assert_eq!(parts["propertyNames"]["pattern"], "^-?[0-9]+$");
    assert_eq!(
        parts["additionalProperties"]["$ref"],
        "#/components/schemas/shop.v1.Thing"
    );
}

#[test]
fn streams_are_told_in_each_form() {
    let document = of("Watch", "GET /v1/{name}:watch", "");
    let content = &document["paths"]["/v1/{name}:watch"]["get"]["responses"]["200"]["content"];
    let kinds: Vec<&String> = content.as_object().expect("content").keys().collect();
    assert_eq!(
        kinds,
        [
            "application/json",
            "application/x-ndjson",
            "text/event-stream"
        ]
    );
    assert_eq!(content["application/json"]["schema"]["type"], "array");
    for kind in ["application/x-ndjson", "text/event-stream"] {
        let item = &content[kind]["x-itemSchema"]["$ref"];
        assert_eq!(item, "#/components/schemas/shop.v1.Thing", "{kind}");
    }
    let tell = of("Tell", "POST /v1/things:tell", "*");
    let tell = &tell["paths"]["/v1/things:tell"]["post"];
    let content = tell["requestBody"]["content"].as_object().expect("content");
    assert!(content.contains_key("application/jsonl"));
    assert_eq!(tell["x-grpc"]["stream"], "bidi");

    let raw = of("Raw", "POST /v1/raw", "*");
    let raw = &raw["paths"]["/v1/raw"]["post"];
    let binary = json!({ "*/*": { "schema": { "type": "string", "format": "binary" } } });
    assert_eq!(raw["requestBody"]["content"], binary);
    assert_eq!(raw["responses"]["200"]["content"], binary);
}

#[test]
fn options_of_a_route_change_its_shapes_alone() {
    let own = JsonOptions {
        proto_names: true,
        enums_as_numbers: true,
        int64_as_numbers: true,
        strip_enum_prefix: true,
        ..JsonOptions::default()
    };
    let stripped = JsonOptions {
        strip_enum_prefix: true,
        ..JsonOptions::default()
    };
    let cases = [
        ("Get", rule("GET /a/{name}", "", ""), JsonOptions::default()),
        ("Get", rule("GET /b/{name}", "", ""), own),
        ("Get", rule("GET /c/{name}", "", ""), stripped),
    ];
    let document = told(&cases, |_| {});
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["shop.v1.Sort"]["enum"],
        json!(["SORT_UNSPECIFIED", "SORT_CAR"]),
    );
    let told = schemas["shop.v1.Sort"]["description"].as_str();
    assert_eq!(told, Some("Of what sort.\n\n- `SORT_CAR`: With wheels."));
    assert_eq!(schemas["shop.v1.Sort-2"]["enum"], json!([0, 1]));
    assert_eq!(
        schemas["shop.v1.Sort-3"]["enum"],
        json!(["UNSPECIFIED", "CAR"])
    );
    let thing = &schemas["shop.v1.Thing-2"]["properties"];
    assert!(thing["old_name"].is_object() && thing["oldName"].is_null());
    assert_eq!(thing["seen"]["type"], "integer");
    let ids = ["/a/{name}", "/b/{name}", "/c/{name}"]
        .map(|path| document["paths"][path]["get"]["operationId"].clone());
    assert_eq!(ids, ["Shop_Get", "Shop_Get_2", "Shop_Get_3"]);
}

#[test]
fn words_come_from_comments() {
    let document = of("Get", "GET /v1/{name}", "");
    let get = &document["paths"]["/v1/{name}"]["get"];
    assert_eq!(get["summary"], "One thing");
    assert!(
        get["description"]
            .as_str()
            .expect("words")
            .starts_with("One thing. There is")
    );
    assert_eq!(
        document["tags"],
        json!([{ "name": "Shop", "description": "Finds things." }])
    );
    assert_eq!(
        document["info"],
        json!({ "title": "shop.v1", "version": "v1" })
    );
}

#[test]
fn errors_are_told_in_the_route_s_format() {
    for (format, name, kinds) in [
        (ErrorFormat::Status, "Error", 2),
        (ErrorFormat::Aip193, "ErrorAIP193", 2),
        (ErrorFormat::Problem, "ErrorProblem", 1),
        (ErrorFormat::GrpcGateway, "ErrorGrpcGateway", 1),
    ] {
        let cases = [(
            "Get",
            rule("GET /v1/{name}", "", ""),
            JsonOptions::default(),
        )];
        let document = told(&cases, |operation| operation.errors = format);
        let reply = &document["paths"]["/v1/{name}"]["get"]["responses"]["default"];
        assert_eq!(reply["$ref"], format!("#/components/responses/{name}"));
        let content = &document["components"]["responses"][name]["content"];
        assert_eq!(content.as_object().map(Map::len), Some(kinds), "{format:?}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let cases = [
        (
            "Get",
            rule("PUT /v1/{name}", "*", "part"),
            JsonOptions::default(),
        ),
        (
            "Tell",
            rule("POST /v1/{name}:tell", "*", ""),
            JsonOptions::default(),
        ),
    ];
    let document = told(&cases, |_| {});
    let mut open = vec![&document];
    let mut found = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(map) => {
                open.extend(map.values());
                if let Some(Value::String(to)) = map.get("$ref") {
                    let pointer = to.strip_prefix('#').expect("a local reference");
                    assert!(document.pointer(pointer).is_some(), "{to}");
                    found += 1;
                }
            }
            _ => {}
        }
    }
    assert!(found > 10, "{found}");
}

/// Read by the parser that the config has.
#[test]
fn yaml_says_what_json_says() {
    use saphyr::LoadableYamlNode;
    let awkward = json!({
        "a": [], "b": {}, "no": "yes", "1": "1.0", "t": "true", "e": "", "d": "a: b # c",
        "l": [1, -2.5, null, true, ["x", { "y": "z\n\"'" }], { "k": [{ "q": 1, "r": [2] }] }],
        "u": "é\u{2028}\u{7f}\u{0}", "s": " x ", "~": "-", "/p/{x}": "*/*",
    });
    let cases = [
        of("Get", "POST /v1/{name}", "*"),
        awkward,
        json!([]),
        json!("x: y"),
    ];
    for value in cases {
        let text = to_yaml(&value);
        let read = saphyr::Yaml::load_from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(plain(&read[0]), value, "{text}");
    }
}

fn plain(yaml: &saphyr::Yaml<'_>) -> Value {
    use saphyr::{Scalar, Yaml};
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(b)) => json!(b),
        Yaml::Value(Scalar::Integer(i)) => json!(i),
        Yaml::Value(Scalar::FloatingPoint(f)) => json!(f.into_inner()),
        Yaml::Value(Scalar::String(s)) => json!(s),
        Yaml::Sequence(items) => items.iter().map(plain).collect(),
        Yaml::Mapping(map) => {
            let pairs = map
                .iter()
                .map(|(k, v)| (k.as_str().expect("text").to_owned(), plain(v)));
            Value::Object(pairs.collect())
        }
        other => panic!("{other:?}"),
    }
}
