use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::model::RulePlaces;
use crate::config::{self, Syntax};
use crate::route::{Lookup, RawPath};
use crate::schema::{HttpPattern, HttpRule, SchemaBuilder, compile};

pub(crate) const PROTO: &str = r#"syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto"; import "google/protobuf/field_mask.proto";

service Games {
  rpc GetGame(GetGameRequest) returns (Game) { option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {
      get: "/v1/games/{game_id}"
      additional_bindings { get: "/v1/shelves/{shelf}/games/{game_id}" }
    };
  }
  rpc CreateGame(CreateGameRequest) returns (Game) {
    option (google.api.http) = { post: "/v1/games" body: "game" };
  }
  rpc Watch(GetGameRequest) returns (stream Game) {
    option (google.api.http) = { get: "/v1/games/{game_id}:watch" };
  }
  rpc Upload(stream Game) returns (Game) {
    option (google.api.http) = { post: "/v1/games:upload" body: "*" };
  }
  rpc Hidden(Game) returns (Game);
}
service Shelves {
  rpc GetShelf(GetGameRequest) returns (Game) {
    option (google.api.http) = { get: "/v1/shelves/{shelf}" };
  }
}
message GetGameRequest {
  string game_id = 1;
  string shelf = 2;
  repeated string tags = 3;
  int32 page_size = 4;
  map<string, string> labels = 5;
}
message CreateGameRequest {
  Game game = 1;
  string request_id = 2;
  google.protobuf.FieldMask update_mask = 3;
}
message Game { string game_id = 1; string title = 2; int64 plays = 3; }
"#;

pub(crate) const CONFIG: &str = r#"descriptors: [{ file: games.binpb }]
listeners: [{ address: "127.0.0.1:8080" }]
upstreams:
  games: { endpoints: ["127.0.0.1:50051"] }
  site: { endpoints: ["127.0.0.1:3000"], protocol: http1 }
routes:
"#;

pub(crate) fn schema(text: &str) -> Arc<Schema> {
    let set =
        compile(&[("games.proto".to_owned(), text.to_owned())]).unwrap_or_else(|e| panic!("{e:?}"));
    let mut builder = SchemaBuilder::new();
    builder.add_set("protos test", &set).unwrap();
    Arc::new(builder.build().unwrap_or_else(|e| panic!("{e:?}")))
}

/// A generation of [`PROTO`] with these routes (YAML items).
pub(crate) fn live_with(routes: &str, rules: &[SelectorRule]) -> Result<Live, Vec<BuildError>> {
    let text = format!("{CONFIG}{routes}");
    let loaded = config::parse("transom.yaml", &text, Syntax::Yaml, Path::new(""), &|_| {
        None
    })
    .unwrap_or_else(|r| panic!("{r:?}"));
    Live::build(&loaded.config, schema(PROTO), rules)
}

/// A generation of other protos.
pub(crate) fn live_of(proto: &str, routes: &str) -> Live {
    let text = format!("{CONFIG}{routes}");
    let loaded = config::parse("transom.yaml", &text, Syntax::Yaml, Path::new(""), &|_| {
        None
    })
    .unwrap_or_else(|r| panic!("{r:?}"));
    Live::build(&loaded.config, schema(proto), &[]).unwrap_or_else(|e| panic!("{e:?}"))
}

pub(crate) fn live(routes: &str) -> Live {
    live_with(routes, &[]).unwrap_or_else(|e| panic!("{e:?}"))
}

const ALL: &str = "  - { services: [\"shop.v1.*\"], upstream: games }\n";

/// What takes the request: `Service/Method`, `proxy`, or the status.
fn target(live: &Live, method: &str, path: &str) -> String {
    let path = RawPath::parse(path).unwrap();
    match live.table.lookup("", &method.parse().unwrap(), &path) {
        Lookup::Matched(found) => match &live.route(found.route).unwrap().target {
            Target::Rpc(plan) => format!("{}/{}", plan.service, plan.method),
            Target::Proxy { .. } => "proxy".to_owned(),
            Target::Files(..) => "files".to_owned(),
            Target::Redirect(..) => "redirect".to_owned(),
            Target::Respond(_) => "respond".to_owned(),
        },
        Lookup::MethodNotAllowed { .. } => "405".to_owned(),
        Lookup::NotFound => "404".to_owned(),
    }
}

fn errors(routes: &str, rules: &[SelectorRule]) -> String {
    let errors = live_with(routes, rules).unwrap_err();
    let line = |e: &BuildError| match &e.help {
        Some(help) => format!("{e} [{help}]\n"),
        None => format!("{e}\n"),
    };
    errors.iter().map(line).collect()
}

fn selector(selector: &str, text: &str) -> SelectorRule {
    let (method, template) = text.split_once(' ').unwrap();
    SelectorRule {
        selector: selector.into(),
        rule: HttpRule {
            pattern: HttpPattern {
                method: method.into(),
                template: template.into(),
            },
            body: "".into(),
            response_body: "".into(),
            additional_bindings: Vec::new(),
        },
        places: vec![RulePlaces {
            template: "api.yaml:4:5".into(),
            body: None,
            response_body: None,
        }],
        place: "api.yaml:3:17".into(),
    }
}

#[test]
fn annotations_and_their_additional_bindings_are_mounted() {
    let live = live(ALL);
    assert_eq!(target(&live, "GET", "/v1/games/7"), "shop.v1.Games/GetGame");
    assert_eq!(
        target(&live, "GET", "/v1/shelves/a/games/7"),
        "shop.v1.Games/GetGame"
    );
    assert_eq!(
        target(&live, "POST", "/v1/games"),
        "shop.v1.Games/CreateGame"
    );
    assert_eq!(
        target(&live, "GET", "/v1/games/7:watch"),
        "shop.v1.Games/Watch"
    );
    assert_eq!(
        target(&live, "GET", "/v1/shelves/a"),
        "shop.v1.Shelves/GetShelf"
    );
    assert_eq!(target(&live, "DELETE", "/v1/games/7"), "405");
    assert_eq!(target(&live, "GET", "/v1/x"), "404");
    assert_eq!(
        target(&live, "POST", "/v1/games:upload"),
        "shop.v1.Games/Upload"
    );
    assert_eq!(live.routes.len(), 6);
    let place = &live.routes[0].place;
    assert!(place.starts_with("games.proto:6:"), "{place}");
}

#[test]
fn what_is_not_served_is_noted() {
    let notes = live(ALL).notes;
    let shown: Vec<_> = notes
        .iter()
        .map(|n| format!("{} {} {}", n.method, n.rule, n.message))
        .collect();
    assert_eq!(shown, ["shop.v1.Games/Hidden  has no HTTP rule",]);
}

#[test]
fn globs_span_dots_and_choose_services() {
    let one = live("  - { services: [\"shop.v1.Sh*\"], upstream: games }\n");
    assert_eq!(one.routes.len(), 1);
    let twice = live("  - { services: [\"*\", shop.v1.Games], upstream: games }\n");
    assert_eq!(twice.routes.len(), 6);
    for (pattern, name, expected) in [
        ("*", "a.b.C", true),
        ("a.*", "a.b.C", true),
        ("a.*", "ab.C", false),
        ("a.b.C", "a.b.C", true),
        ("a.b.C", "a.b.CD", false),
        ("*.C", "a.b.C", true),
        ("a*b*c", "abc", true),
        ("a*b*c", "aXbXc", true),
        ("a*b*c", "acb", false),
        ("a*a", "a", false),
        ("", "a", false),
    ] {
        assert_eq!(
            mount::matches_glob(pattern, name),
            expected,
            "{pattern} {name}"
        );
    }
}

#[test]
fn a_glob_without_a_service_is_an_error_with_help() {
    assert_eq!(
        errors(
            "  - { services: [\"shp.v1.*\", \"grpc.*\"], upstream: games }\n",
            &[]
        ),
        "transom.yaml:7:18: no service matches \"shp.v1.*\" [did you mean \"shop.v1.*\"?]\n\
         transom.yaml:7:30: no service matches \"grpc.*\"\n"
    );
}

#[test]
fn config_rules_mount_methods_by_name() {
    let live = live(
        "  - { post: \"/v2/games/{game_id}\", rpc: shop.v1.Games/Hidden, body: \"*\", upstream: games }\n",
    );
    assert_eq!(target(&live, "POST", "/v2/games/7"), "shop.v1.Games/Hidden");
    assert!(live.notes.is_empty());
}

#[test]
fn unknown_rpcs_and_faulty_rules_are_all_told() {
    let routes = "  - { get: \"/a/{gme_id}\", rpc: shop.v1.Games/GetGames, upstream: games }\n  \
                  - { get: \"/b/{gme_id}\", rpc: shop.v1.Gmes/GetGame, upstream: games }\n  \
                  - { get: \"/c/{gme_id}\", rpc: shop.v1.Games/GetGame, upstream: games }\n  \
                  - { post: /d, rpc: shop.v1.Games/CreateGame, body: gam, upstream: games }\n  \
                  - { get: \"/e/{gme_id}\", rpc: far.off.Games/GetGame, upstream: games }\n";
    let variable = |place: &str, path: &str| {
        format!(
            "transom.yaml:{place}: GET {path}/{{gme_id}} of shop.v1.Games/GetGame: path variable {{gme_id}}: \
             shop.v1.GetGameRequest has no field \"gme_id\" [did you mean \"game_id\"?]\n"
        )
    };
    // What follows a wrong name is judged by the method that was likely meant.
    let told = [
        "transom.yaml:7:32: service shop.v1.Games has no method \"GetGames\" [did you mean \"GetGame\"?]\n",
        "transom.yaml:8:32: no descriptor has a service \"shop.v1.Gmes\" [did you mean \"shop.v1.Games\"?]\n",
        "transom.yaml:11:32: no descriptor has a service \"far.off.Games\"\n",
        &variable("9:12", "/c"),
        "transom.yaml:10:54: POST /d of shop.v1.Games/CreateGame: body: \
         shop.v1.CreateGameRequest has no field \"gam\" [did you mean \"game\"?]\n",
        &variable("7:12", "/a"),
        &variable("8:12", "/b"),
    ];
    assert_eq!(errors(routes, &[]), told.concat());
}

#[test]
fn selectors_replace_annotations_and_the_last_wins() {
    let rules = [
        selector("shop.v1.Games.GetGame", "GET /old/{game_id}"),
        selector("shop.v1.Games.GetGame", "GET /new/{game_id}"),
        selector("shop.v1.Games.Hidden", "GET /hidden"),
    ];
    let live = live_with(ALL, &rules).unwrap();
    assert_eq!(target(&live, "GET", "/new/7"), "shop.v1.Games/GetGame");
    assert_eq!(target(&live, "GET", "/hidden"), "shop.v1.Games/Hidden");
    for gone in ["/old/7", "/v1/games/7", "/v1/shelves/a/games/7"] {
        assert_eq!(target(&live, "GET", gone), "404", "{gone}");
    }
    let place = live
        .routes
        .iter()
        .find(|r| &*r.rule == "GET /new/{game_id}")
        .unwrap();
    assert_eq!(&*place.place, "api.yaml:4:5");
}

#[test]
fn selectors_of_nothing_are_errors() {
    assert_eq!(
        errors(
            ALL,
            &[
                selector("shop.v1.Games.GetGme", "GET /x"),
                selector("x", "GET /y")
            ]
        ),
        "api.yaml:3:17: selector: service shop.v1.Games has no method \"GetGme\" \
         [did you mean \"GetGame\"?]\n\
         api.yaml:3:17: selector: \"x\" is not a full method name\n"
    );
}

#[test]
fn a_config_rule_of_an_annotations_shape_needs_override() {
    let routes = |extra: &str| {
        format!(
            "{ALL}  - {{ get: \"/v1/games/{{game_id}}\", rpc: shop.v1.Games/Hidden, upstream: games{extra} }}\n"
        )
    };
    let told = errors(&routes(""), &[]);
    assert_eq!(
        told,
        "transom.yaml:8:12: GET /v1/games/* of shop.v1.Games/Hidden matches the same requests as the \
         rule of shop.v1.Games/GetGame at games.proto:6:3 [`override: true` on the config's route puts \
         it in the annotation's place]\n"
    );
    let live = live(&routes(", override: true"));
    assert_eq!(target(&live, "GET", "/v1/games/7"), "shop.v1.Games/Hidden");
    assert_eq!(
        target(&live, "GET", "/v1/shelves/a/games/7"),
        "shop.v1.Games/GetGame"
    );
    assert_eq!(
        target(&live, "POST", "/v1/games:upload"),
        "shop.v1.Games/Upload"
    );
    assert_eq!(live.routes.len(), 6);
    let note = live
        .notes
        .iter()
        .find(|n| &*n.method == "shop.v1.Games/GetGame")
        .unwrap();
    assert_eq!(&*note.message, "overridden at transom.yaml:8:12");
}

#[test]
fn two_config_rules_of_one_shape_are_an_error_even_with_override() {
    let one = "  - { get: \"/a/{game_id}\", rpc: shop.v1.Games/GetGame, upstream: games, override: true }\n";
    let told = errors(&format!("{one}{one}"), &[]);
    assert!(
        told.contains("transom.yaml:7:12") && told.contains("transom.yaml:8:12"),
        "{told}"
    );
}

/// Three methods of one shape, and one whose rule stands twice.
const CLASHING: &str = r#"syntax = "proto3";
package clash.v1;
import "google/api/annotations.proto";
service Streams {
  rpc Read(M) returns (M) { option (google.api.http) = { get: "/v1/{name=streams/*}" }; }
  rpc Split(M) returns (M) { option (google.api.http) = { get: "/v1/{other=streams/*}" }; }
  rpc Peek(M) returns (M) { option (google.api.http) = { get: "/v1/streams/*" }; }
  rpc Twice(M) returns (M) {
    option (google.api.http) = {
      get: "/v1/{name=twice/*}"
      additional_bindings { get: "/v1/{name=twice/*}" }
    };
  }
}
service Other { rpc Ask(M) returns (M); }
message M { string name = 1; string other = 2; }
"#;

fn clashing(routes: &str) -> Result<Live, String> {
    let text = format!("{CONFIG}{routes}");
    let loaded = config::parse("transom.yaml", &text, Syntax::Yaml, Path::new(""), &|_| {
        None
    });
    let config = loaded.unwrap_or_else(|r| panic!("{r:?}")).config;
    Live::build(&config, schema(CLASHING), &[]).map_err(|errors| {
        let line = |e: &BuildError| format!("{e} [{}]\n", e.help.as_deref().unwrap_or_default());
        errors.iter().map(line).collect()
    })
}

#[test]
fn annotations_that_clash_name_both_and_the_ways_out() {
    let told = clashing("  - { services: [\"*\"], upstream: games }\n").unwrap_err();
    let clash = |line: u8, method: &str| {
        format!(
            "games.proto:{line}:3: GET /v1/streams/* of clash.v1.Streams/{method} matches the same \
             requests as the rule of clash.v1.Streams/Read at games.proto:5:3 [`exclude: \
             [clash.v1.Streams/{method}]` on the `services` route leaves that method out; a route of \
             the config with `override: true` takes the place of both; a `rules` file gives methods \
             other paths]\n"
        )
    };
    assert_eq!(told, format!("{}{}", clash(6, "Split"), clash(7, "Peek")));
}

#[test]
fn excluded_methods_have_no_routes() {
    let live = clashing(
        "  - { services: [\"*\"], exclude: [clash.v1.Streams/Read, clash.v1.Streams/Peek], upstream: games }\n",
    )
    .unwrap();
    assert_eq!(
        target(&live, "GET", "/v1/streams/7"),
        "clash.v1.Streams/Split"
    );
    let notes: Vec<_> = live
        .notes
        .iter()
        .filter(|n| !n.rule.is_empty())
        .map(|n| format!("{} {}: {}", n.method, n.rule, n.message))
        .collect();
    assert_eq!(
        notes,
        [
            "clash.v1.Streams/Read GET /v1/{name=streams/*}: excluded at transom.yaml:7:34",
            "clash.v1.Streams/Peek GET /v1/streams/*: excluded at transom.yaml:7:57",
            "clash.v1.Streams/Twice GET /v1/twice/*: the method has the same rule twice",
        ]
    );
}

#[test]
fn one_override_takes_the_place_of_every_annotation_of_its_shape() {
    let live = clashing(
        "  - { services: [\"*\"], upstream: games }\n  - { get: \"/v1/{other=streams/*}\", rpc: clash.v1.Streams/Split, override: true, upstream: games }\n",
    )
    .unwrap();
    assert_eq!(
        target(&live, "GET", "/v1/streams/7"),
        "clash.v1.Streams/Split"
    );
    let gone = live
        .notes
        .iter()
        .filter(|n| &*n.message == "overridden at transom.yaml:8:12");
    assert_eq!(gone.count(), 3);
    assert_eq!(live.routes.len(), 2);
    assert!(live.warnings.is_empty(), "{:?}", live.warnings);
}

#[test]
fn excluding_nothing_is_an_error() {
    let told = clashing(
        "  - { services: [clash.v1.Streams], exclude: [clash.v1.Streams/Raed, clash.v1.Other/Ask], upstream: games }\n",
    )
    .unwrap_err();
    assert!(
        told.starts_with(
            "transom.yaml:7:47: service clash.v1.Streams has no method \"Raed\" [did you mean \"Read\"?]\n"
        ),
        "{told}"
    );
    let other = "doesn't match clash.v1.Other [so nothing is excluded by it]";
    assert!(told.contains(other), "{told}");
}

#[test]
fn an_override_of_nothing_is_warned_of() {
    let live = live(&format!(
        "{ALL}  - {{ get: /x, rpc: shop.v1.Games/Hidden, upstream: games, override: true }}\n  \
         - {{ get: /y, additional_bindings: [{{ get: \"/v1/games/{{game_id}}\" }}], rpc: shop.v1.Games/Hidden, upstream: games, override: true }}\n"
    ));
    let warnings: Vec<_> = live
        .warnings
        .iter()
        .map(|w| format!("{}: {}", w.place, w.message))
        .collect();
    assert_eq!(
        warnings,
        [
            "transom.yaml:8:12: `override: true` overrides nothing: no annotation has the shape GET /x"
        ]
    );
}

#[test]
fn a_service_mounted_twice_is_told_once() {
    let told = errors(
        &format!("{ALL}  - {{ services: [shop.v1.Shelves], upstream: games }}\n"),
        &[],
    );
    assert_eq!(
        told,
        "transom.yaml:8:7: service shop.v1.Shelves is mounted already, at transom.yaml:7:7 \
         [name it in one route, or give the routes different `hosts`]\n"
    );
}

#[test]
fn routes_with_the_same_json_options_share_a_codec() {
    let live = live(&format!(
        "{ALL}  - {{ get: /a, rpc: shop.v1.Games/Hidden, upstream: games, json: {{ pretty: true }} }}\n"
    ));
    let codec = |rule: &str| {
        let route = live.routes.iter().find(|r| &*r.rule == rule).unwrap();
        let Target::Rpc(plan) = &route.target else {
            panic!()
        };
        Arc::as_ptr(&plan.codec)
    };
    assert_eq!(codec("POST /v1/games"), Arc::as_ptr(&live.codec));
    assert_ne!(codec("GET /a"), Arc::as_ptr(&live.codec));
}

#[test]
fn path_routes_stand_beside_rules() {
    let live = live(&format!("{ALL}  - {{ prefix: /, upstream: site }}\n"));
    assert_eq!(target(&live, "GET", "/index.html"), "proxy");
    assert_eq!(target(&live, "GET", "/v1/games/7"), "shop.v1.Games/GetGame");
    let route = live.routes.last().unwrap();
    assert_eq!(&*route.rule, "prefix /");
}

#[test]
fn methods_are_found_by_name_and_host() {
    let live = live(
        "  - { services: [shop.v1.Games], hosts: [a.example.com], upstream: games }\n  \
         - { services: [shop.v1.Games], hosts: [\"*.example.com\"], exclude: [shop.v1.Games/Hidden], upstream: games }\n",
    );
    let place = |host: &str, path: &str| live.rpcs.find(host, path).map(|r| &*r.place);
    let get = "/shop.v1.Games/GetGame";
    assert_eq!(place("a.example.com", get), Some("transom.yaml:7:7"));
    assert_eq!(place("b.example.com", get), Some("transom.yaml:8:7"));
    assert_eq!(place("example.org", get), None);
    assert_eq!(place("a.example.com", "/shop.v1.Games/getgame"), None);
    let hidden = "/shop.v1.Games/Hidden";
    assert!(place("a.example.com", hidden).is_some());
    assert_eq!(place("b.example.com", hidden), None, "excluded");
    assert!(live.rpcs.is_of_service("/shop.v1.Games/Nope"));
    assert!(!live.rpcs.is_of_service("/shop.v1.Shelves/GetShelf"));
}

#[test]
fn auto_mounts_every_method_once_more() {
    let live = live("  - { services: [shop.v1.Games], auto: true, upstream: games }\n");
    assert_eq!(
        target(&live, "POST", "/shop.v1.Games/Hidden"),
        "shop.v1.Games/Hidden"
    );
    assert_eq!(
        target(&live, "POST", "/shop.v1.Games/GetGame"),
        "shop.v1.Games/GetGame"
    );
    assert_eq!(target(&live, "GET", "/v1/games/7"), "shop.v1.Games/GetGame");
    assert_eq!(target(&live, "GET", "/shop.v1.Games/GetGame"), "405");
}

#[test]
fn a_socket_opens_the_method_that_streams_or_the_one_that_is_named() {
    let rules = "  - { services: [\"shop.v1.*\"], upstream: games }\n  \
        - { put: \"/v1/games/{game_id}\", rpc: shop.v1.Games/GetGame, upstream: games }\n  \
        - { post: /v2/games, rpc: shop.v1.Games/CreateGame, body: game, upstream: games }\n  \
        - { put: /v2/games, rpc: shop.v1.Games/CreateGame, body: game, upstream: games }\n  \
        - { get: /v2/live, rpc: shop.v1.Games/GetGame, upstream: games }\n  \
        - { post: /v2/live, rpc: shop.v1.Games/Upload, body: \"*\", upstream: games }\n  \
        - { prefix: /, upstream: site }\n";
    let live = live(rules);
    let opened = |target: &str| {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        live.socket_route("any.example", path, query).map(|opened| {
            opened
                .map(|o| (o.route.rule.to_string(), o.query.map(String::from)))
                .map_err(|e| e.to_string())
        })
    };
    let ok =
        |rule: &str, query: Option<&str>| Some(Ok((rule.to_owned(), query.map(str::to_owned))));
    // GET where nothing streams, unless another is named.
    assert_eq!(opened("/v1/games/7"), ok("GET /v1/games/{game_id}", None));
    assert_eq!(
        opened("/v1/games/7?tags=a&method=PUT&tags=b"),
        ok("PUT /v1/games/{game_id}", Some("tags=a&tags=b"))
    );
    // Not a method of the path: it may be a parameter.
    assert_eq!(
        opened("/v1/games/7?method=fast"),
        ok("GET /v1/games/{game_id}", Some("method=fast"))
    );
    assert_eq!(opened("/v2/live"), ok("POST /v2/live", None));
    assert_eq!(opened("/v2/live?method=GET"), ok("GET /v2/live", None));
    // One alone needs no name, and `method` is its own.
    assert_eq!(
        opened("/v1/games:upload?method=POST"),
        ok("POST /v1/games:upload", Some("method=POST"))
    );
    assert_eq!(
        opened("/v2/games"),
        Some(Err(
            "this path has more than one method: add ?method=POST or ?method=PUT".to_owned()
        ))
    );
    assert_eq!(opened("/v2/games?method=PUT"), ok("PUT /v2/games", None));
    assert_eq!(
        opened("/shop.v1.Games/Hidden?a=b"),
        ok("POST /shop.v1.Games/Hidden", Some("a=b"))
    );
    // A proxied site's own.
    assert_eq!(opened("/socket"), None);
    assert_eq!(opened("/v1/%zz"), None);
}
