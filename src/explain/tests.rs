use super::*;
use crate::live::tests::live;

const ROUTES: &str = "  - { services: [\"shop.v1.*\"], upstream: games }\n  \
                      - { prefix: /, upstream: site }\n";

fn ask(method: &str, url: &str, body: Option<&str>) -> Answer {
    let question = Question {
        headers: Vec::new(),
        method: method.parse().unwrap(),
        url: url.parse().unwrap(),
        host: None,
        body: body.map(|b| b.as_bytes().to_vec()),
    };
    explain(&live(ROUTES), &question)
}

/// The text form up to the rules that lost, whose words are the route table's.
fn head(answer: &Answer) -> String {
    let mut out = Vec::new();
    answer.print(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.split("\nwhy others lost").next().unwrap().to_owned()
}

#[test]
fn a_request_that_goes_through() {
    let answer = ask(
        "GET",
        "/v1/games/a%2Fb?tags=x&tags=y%20z&pageSize=5&labels[en]=q",
        None,
    );
    assert_eq!(answer.status, None);
    assert_eq!(
        head(&answer),
        "\
GET /v1/games/a%2Fb?tags=x&tags=y%20z&pageSize=5&labels[en]=q
  matches GET /v1/games/{game_id} (games.proto:6:3)
  goes to shop.v1.Games/GetGame (unary) on upstream games

bindings
  path   {game_id}   \"a/b\"  → game_id
  query  tags        \"x\"    → tags
  query  tags        \"y z\"  → tags
  query  pageSize    \"5\"    → page_size
  query  labels[en]  \"q\"    → labels[en]

message shop.v1.GetGameRequest for /shop.v1.Games/GetGame
  {
    \"gameId\": \"a/b\",
    \"tags\": [
      \"x\",
      \"y z\"
    ],
    \"pageSize\": 5,
    \"labels\": {
      \"en\": \"q\"
    }
  }
"
    );
    assert!(answer.others.iter().any(|o| o.rule == "prefix /"));
    assert!(
        answer
            .others
            .iter()
            .all(|o| o.rule != "GET /v1/games/{game_id}")
    );
}

#[test]
fn every_fault_of_a_request_is_shown() {
    let answer = ask(
        "GET",
        "/v1/games/7?page_size=x&pagesize=5&game_id=8&a%zz=1",
        None,
    );
    assert_eq!(answer.status, Some(400));
    let text = head(&answer);
    let faults = text.split("\nfaults\n").nth(1).unwrap();
    assert_eq!(faults.lines().count(), 4, "{text}");
    assert!(
        text.contains("refused with 400: 4 fields are wrong: page_size, pagesize, game_id, a%zz")
    );
    assert!(
        text.contains("pagesize   \"5\"  ✗ unknown query parameter; did you mean \"pageSize\"?"),
        "{text}"
    );
    assert!(
        text.contains("✗ comes from the path, not from the query"),
        "{text}"
    );
    assert_eq!(answer.sent, None);
}

#[test]
fn a_body_is_part_of_the_message() {
    let body = r#"{"title": "Pong", "plays": "7"}"#;
    let answer = ask("POST", "/v1/games?request_id=r", Some(body));
    let sent: serde_json::Value = serde_json::from_str(&answer.sent.clone().unwrap().json).unwrap();
    assert_eq!(
        sent,
        serde_json::json!({"game": {"title": "Pong", "plays": "7"}, "requestId": "r"})
    );
    assert!(
        head(&answer).contains("body   JSON        31 bytes  → game\n"),
        "{}",
        head(&answer)
    );
    let none = ask("POST", "/v1/games", None);
    assert!(head(&none).contains("→ game (none given: try --body)"));
    let unread = ask("GET", "/v1/games/7", Some("{}"));
    assert!(head(&unread).contains("✗ the rule takes no body"));
}

#[test]
fn a_mask_that_is_filled_is_told() {
    let rule = "patch: /v2/games, rpc: shop.v1.Games/CreateGame, body: game, upstream: games";
    let ask = |rule: &str, url: &str| {
        let question = Question {
            headers: Vec::new(),
            method: http::Method::PATCH,
            url: url.parse().unwrap(),
            host: None,
            body: Some(br#"{"title": null, "plays": 7}"#.to_vec()),
        };
        explain(&live(&format!("  - {{ {rule} }}\n")), &question)
    };
    let note = "body  field names            → update_mask (the query gives no mask)\n";
    let filled = ask(rule, "/v2/games");
    assert!(head(&filled).contains(note), "{}", head(&filled));
    let sent = filled.sent.unwrap().json;
    assert!(sent.contains(r#""updateMask": "title,plays""#), "{sent}");
    let given = ask(rule, "/v2/games?updateMask=plays");
    assert!(!head(&given).contains("field names"));
    let left = ask(&format!("{rule}, update_mask: leave"), "/v2/games");
    assert!(!left.sent.unwrap().json.contains("updateMask"));
}

#[test]
fn chosen_fields_are_told() {
    let routes = "  - { services: [\"shop.v1.*\"], upstream: games, partial_responses: true }\n";
    let ask = |url: &str| {
        let question = Question {
            headers: Vec::new(),
            method: http::Method::GET,
            url: url.parse().unwrap(),
            host: None,
            body: None,
        };
        explain(&live(routes), &question)
    };
    let fine = ask("/v1/games/7?$fields=title");
    assert!(head(&fine).contains("$fields    \"title\"  → the fields of the reply"));
    assert_eq!(fine.status, None);
    let wrong = ask("/v1/games/7?$fields=nope");
    assert_eq!(wrong.status, Some(400));
    assert_eq!(wrong.violations[0].0, "$fields");
}

#[test]
fn a_wrong_body_is_a_400_that_names_the_field() {
    let answer = ask("POST", "/v1/games", Some(r#"{"plays": true}"#));
    assert_eq!(answer.status, Some(400));
    assert_eq!(answer.violations[0].0, "plays");
}

#[test]
fn requests_that_no_rule_takes() {
    let method = ask("DELETE", "/v1/games/7", None);
    let routed = method.route.clone().unwrap();
    assert_eq!(
        routed.target, "proxy",
        "the prefix route takes what rules refuse"
    );
    let without_proxy = live("  - { services: [\"shop.v1.*\"], upstream: games }\n");
    let question = |method: &str, url: &str| Question {
        headers: Vec::new(),
        method: method.parse().unwrap(),
        url: url.parse().unwrap(),
        host: None,
        body: None,
    };
    let refused = explain(&without_proxy, &question("DELETE", "/v1/games/7"));
    assert_eq!(refused.status, Some(405));
    assert!(refused.message.unwrap().contains("GET"));
    assert!(
        refused
            .others
            .iter()
            .any(|o| o.rule == "GET /v1/games/{game_id}")
    );
    let missing = explain(&without_proxy, &question("GET", "/v2/games/7"));
    assert_eq!(missing.status, Some(404));
    let broken = explain(&without_proxy, &question("GET", "/v1/%zz"));
    assert_eq!(broken.status, Some(400));
}

#[test]
fn long_lists_of_losers_are_cut_in_the_text_alone() {
    let mut answer = ask("GET", "/v1/games/7", None);
    let loser = answer.others[0].clone();
    answer.others = vec![loser; OTHERS_SHOWN + 3];
    let mut out = Vec::new();
    answer.print(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.ends_with("  and 3 that are further off: --format json has them\n"),
        "{text}"
    );
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["others"].as_array().unwrap().len(), OTHERS_SHOWN + 3);
}

#[test]
fn headers_cross_or_are_dropped_with_the_reason() {
    use super::headers::bindings;
    use crate::config::model::{Compat, HeaderPattern, Policy};
    let mut policy = Policy {
        to_metadata: vec![HeaderPattern::Prefix("x-app-".into())],
        ..Policy::default()
    };
    let headers: Vec<_> = [
        ("authorization", "Bearer x"),
        ("x-app-a", "1"),
        ("x-other", "2"),
        ("te", "trailers"),
        ("cookie", "a=b"),
        ("x-app-raw-bin", "?"),
        ("grpc-metadata-x-tenant", "acme"),
    ]
    .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
    .into();
    let told = |policy: &Policy| -> Vec<String> {
        let text = |b: super::Binding| b.field.or(b.note).unwrap_or_default();
        bindings(&headers, policy).into_iter().map(text).collect()
    };
    let unlisted = "dropped: not in headers.to_metadata";
    let never = "dropped: never crosses";
    assert_eq!(
        told(&policy),
        [
            "metadata authorization",
            "metadata x-app-a",
            unlisted,
            never,
            unlisted,
            "header x-app-raw-bin: must be base64",
            never,
        ]
    );
    policy.compat = Compat::GrpcGateway;
    let found = told(&policy);
    assert_eq!(
        found[0],
        "metadata authorization, grpcgateway-authorization"
    );
    assert_eq!(found[4], "metadata grpcgateway-cookie");
    assert_eq!(found[6], "metadata x-tenant");
}

#[test]
fn a_web_socket_is_explained_as_one() {
    let text = |url: &str| head(&ask("GET", url, None));
    let watch = text("ws://shop.example/v1/games/7:watch?pageSize=5");
    assert!(
        watch.contains("matches GET /v1/games/{game_id}:watch"),
        "{watch}"
    );
    assert!(
        watch.contains("websocket: no message is awaited, each answer is one; closed with 1000"),
        "{watch}"
    );
    assert!(watch.contains("→ page_size"), "{watch}");
    // The handshake is a GET, the rule a POST.
    let upload = text("wss://shop.example/v1/games:upload");
    assert!(
        upload.contains("websocket: each message is a request, the answer is one"),
        "{upload}"
    );
    let by_name = text("ws://shop.example/shop.v1.Games/Hidden");
    assert!(
        by_name.contains("websocket: the first message is the request"),
        "{by_name}"
    );
    let unknown = ask("GET", "ws://shop.example/nowhere", None);
    assert_eq!(unknown.status, Some(404));
    let plain = text("/v1/games/7:watch");
    assert!(plain.contains("also: a WebSocket on this path"), "{plain}");
    assert!(!text("/v1/games/7").contains("WebSocket"));
}

#[test]
fn what_a_route_takes_beside_json_and_puts_on_replies_is_told() {
    let rule = "post: /v2/games, rpc: shop.v1.Games/CreateGame, body: game, upstream: games, \
                form_bodies: true, method_override: true, location: \"/v2/games/{title}\", \
                status: { OK: 201, from_metadata: x-http-code }, \
                headers: { to_response: [x-cost, \"x-app-*\"] }";
    let ask = |rule: &str| {
        let question = Question {
            headers: Vec::new(),
            method: http::Method::POST,
            url: "/v2/games".parse().unwrap(),
            host: None,
            body: Some(b"{}".to_vec()),
        };
        head(&explain(&live(&format!("  - {{ {rule} }}\n")), &question))
    };
    let told = ask(rule);
    for line in [
        "texts bound like the query; files of multipart/form-data",
        "a POST with X-HTTP-Method-Override",
        "what the service says in x-http-code, else 201",
        "/v2/games/{title}",
        "x-cost, x-app-*; other metadata of the service is dropped",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let plain = "post: /v2/games, rpc: shop.v1.Games/CreateGame, body: game, upstream: games";
    assert!(!ask(plain).contains("status"), "{}", ask(plain));
    let theirs = ask(&format!(
        "{plain}, compat: grpc-gateway, headers: {{ to_response: [x-cost] }}"
    ));
    assert!(theirs.contains("bound like the query"), "{theirs}");
    assert!(
        theirs.contains("other metadata as Grpc-Metadata-*"),
        "{theirs}"
    );
}

#[test]
fn a_connect_get_is_told_by_its_query() {
    let get = |path: &str, message: &str| {
        let url = format!("/shop.v1.Games/{path}?connect=v1&encoding=json&message={message}");
        ask("GET", &url, None)
    };
    let answer = get("GetGame", "%7B%22gameId%22%3A%227%22%7D");
    let text = head(&answer);
    assert_eq!(answer.status, None, "{text}");
    assert!(text.contains("protocols: Connect"), "{text}");
    assert!(text.contains("\"gameId\": \"7\""), "{text}");
    assert_eq!(get("GetGame", "%7Bno").status, Some(400));
    assert_eq!(get("Hidden", "%7B%7D").status, Some(405));
    assert_eq!(get("Watch", "%7B%7D").status, Some(415));
    let bad = "/shop.v1.Games/GetGame?connect=v1&encoding=json";
    assert_eq!(ask("GET", bad, None).status, Some(400));
    // Without the version it is no call.
    let plain = ask(
        "GET",
        "/shop.v1.Games/Hidden?encoding=json&message=%7B%7D",
        None,
    );
    assert_eq!(plain.route.unwrap().rule, "prefix /");
}

#[test]
fn a_rule_on_a_methods_own_path_gets_what_is_no_call() {
    let live = live(&format!(
        "{ROUTES}  - {{ post: /shop.v1.Games/Hidden, rpc: shop.v1.Games/GetGame, upstream: games }}\n"
    ));
    let question = Question {
        headers: Vec::new(),
        method: http::Method::POST,
        url: "/shop.v1.Games/Hidden".parse().unwrap(),
        host: None,
        body: None,
    };
    let answer = explain(&live, &question);
    let text = head(&answer);
    assert_eq!(
        answer.route.as_ref().unwrap().target,
        "shop.v1.Games/Hidden"
    );
    let other = "otherwise: content types of no protocol for calls, and not JSON, go to \
                 POST /shop.v1.Games/Hidden (transom.yaml:";
    assert!(text.contains(other), "{text}");
    let own = ask("POST", "/shop.v1.Games/GetGame", None);
    assert!(head(&own).contains("go to prefix /"));
}

#[test]
fn the_gateways_own_methods_are_told() {
    let body = Some(r#"{"service": "shop.v1.Games"}"#);
    let answer = ask("POST", "/grpc.health.v1.Health/Check", body);
    let text = head(&answer);
    assert_eq!(answer.status, None, "{text}");
    assert!(text.contains("built in"), "{text}");
    assert!(
        text.contains("protocols: gRPC, gRPC-Web, Connect\n"),
        "{text}"
    );
}
