//! Connect through the gateway: unary calls and streams, JSON and protobuf.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use h2::Reason;
use http::Request;
use serde_json::{Value, json};
use support::client::{Http2, Reply, whole};
use support::gateway::Gateway;
use support::grpc::{Answer, answer, framed, trailers};
use support::upstream::{Call, Upstream};
use support::{protos, soon};
use transom::transcode::coding::gzip;

const GET: &str = "/gamehub.v1.Catalogue/GetGame";
const REPORT: &str = "/gamehub.v1.Moderation/Report";
const WATCH: &str = "/gamehub.v1.Scores/WatchScores";
const JOIN: &str = "/gamehub.v1.Chat/Join";

async fn start() -> (Upstream, Gateway, Http2) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let client = Http2::connect(gateway.address).await;
    (upstream, gateway, client)
}

fn post(path: &str, content_type: &str) -> http::request::Builder {
    Request::post(format!("http://test{path}")).header("content-type", content_type)
}

async fn send(
    client: &mut Http2,
    request: http::request::Builder,
    body: impl Into<Vec<u8>>,
) -> Reply {
    let request = request.body(body.into().into()).expect("request");
    whole(client.send(request).await.expect("a reply")).await
}

/// One exchange whose call `script` answers.
async fn one<T>(
    upstream: &mut Upstream,
    client: &mut Http2,
    request: http::request::Builder,
    body: impl Into<Vec<u8>>,
    script: impl AsyncFnOnce(Call) -> T,
) -> (Reply, T) {
    tokio::join!(send(client, request, body), async {
        script(upstream.next().await).await
    })
}

fn value(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|e| panic!("{e}: {reply:?}"))
}

/// Envelopes of a body: flags and content.
fn envelopes(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        found.push((prefix[0], rest[..length].to_vec()));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "{body:?}");
    found
}

fn question(path: &str, json: &Value) -> Vec<u8> {
    protos::encode(&protos::method(path.trim_start_matches('/')).0, json)
}

#[tokio::test]
async fn unary_calls_in_json_and_protobuf() {
    let (mut upstream, _gateway, mut client) = start().await;
    let ask = json!({ "gameId": "7" });
    let script = async |mut call: Call| {
        let headers = call.request.headers().clone();
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["x-tenant"], "acme");
        assert!(headers["grpc-timeout"].to_str().unwrap().starts_with("49"));
        assert!(!headers.contains_key("connect-protocol-version"));
        assert_eq!(
            call.body().await,
            framed(&question(GET, &json!({ "gameId": "7" })))
        );
        let mut head = http::Response::new(());
        *head.headers_mut() = trailers(&[("content-type", "application/grpc"), ("x-cost", "3")]);
        let of = protos::method("gamehub.v1.Catalogue/GetGame").1;
        let wire = protos::encode(&of, &json!({ "title": "Origami" }));
        let mut down = call.respond.send_response(head, false).unwrap();
        down.send_data(framed(&wire).into(), false).unwrap();
        down.send_trailers(trailers(&[("grpc-status", "0"), ("x-last", "yes")]))
            .unwrap();
        wire
    };
    for (content_type, coding) in [
        ("application/json", None),
        ("application/json; charset=utf-8", Some("gzip")),
        ("application/proto", None),
        ("application/proto", Some("gzip")),
    ] {
        let mut body = match content_type.contains("json") {
            true => ask.to_string().into_bytes(),
            false => question(GET, &ask),
        };
        let mut request = post(GET, content_type)
            .header("connect-protocol-version", "1")
            .header("connect-timeout-ms", "5000")
            .header("x-tenant", "acme");
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
            body = gzip(&body).unwrap();
        }
        let (reply, wire) = one(&mut upstream, &mut client, request, body, script).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("x-cost"), Some("3"));
        assert_eq!(reply.header("trailer-x-last"), Some("yes"));
        assert_eq!(reply.header("grpc-status"), None);
        if content_type.contains("json") {
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert_eq!(value(&reply), json!({ "title": "Origami" }));
        } else {
            assert_eq!(reply.header("content-type"), Some("application/proto"));
            assert_eq!(reply.body, wire);
        }
    }
}

#[tokio::test]
async fn errors_are_json_with_the_codes_status() {
    let (mut upstream, _gateway, mut client) = start().await;
    // google.rpc.Status { code: 5, details: [Any { type_url: "t/a.B", value: "v" }] }
    let details = STANDARD.encode(b"\x08\x05\x1a\x0a\x0a\x05t/a.B\x12\x01v");
    let script = async |mut call: Call| {
        let mut head = http::Response::new(());
        *head.headers_mut() = trailers(&[
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "no game"),
            ("grpc-status-details-bin", &details),
            ("x-hint", "a"),
        ]);
        call.respond.send_response(head, true).unwrap();
    };
    let request = post(REPORT, "application/json");
    let (reply, ()) = one(&mut upstream, &mut client, request, "{}", script).await;
    assert_eq!((reply.status, reply.header("x-hint")), (404, Some("a")));
    assert_eq!(
        value(&reply),
        json!({ "code": "not_found", "message": "no game",
                "details": [{ "type": "a.B", "value": "dg" }] })
    );
    let bomb = gzip(&vec![b' '; 8 << 20]).unwrap();
    let json = "application/json";
    let cases: Vec<(http::request::Builder, Vec<u8>, u16, &str)> = vec![
        (
            post(GET, json),
            b"{\"gameId\":".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            post(GET, json),
            b"{\"nope\":1}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            post(GET, json).header("connect-protocol-version", "2"),
            b"{}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            post(GET, json).header("connect-timeout-ms", "soon"),
            b"{}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            post(GET, json).header("content-encoding", "lzma"),
            b"{}".to_vec(),
            501,
            "unimplemented",
        ),
        (
            post(GET, json).header("content-encoding", "gzip"),
            b"{}".to_vec(),
            400,
            "invalid_argument",
        ),
        (
            post(GET, json).header("content-encoding", "gzip"),
            bomb,
            429,
            "resource_exhausted",
        ),
        (post(WATCH, json), b"{}".to_vec(), 415, "invalid_argument"),
        (
            post("/gamehub.v1.Catalogue/Nope", "application/proto"),
            Vec::new(),
            501,
            "unimplemented",
        ),
    ];
    for (request, body, status, code) in cases {
        let reply = send(&mut client, request, body).await;
        assert_eq!(
            (reply.status, &value(&reply)["code"]),
            (status, &json!(code)),
            "{reply:?}"
        );
    }
    assert!(upstream.is_quiet());
}

#[tokio::test]
async fn a_method_without_side_effects_is_called_with_get() {
    let (mut upstream, _gateway, mut client) = start().await;
    let message = URL_SAFE_NO_PAD.encode(question(GET, &json!({ "gameId": "7" })));
    for (query, status) in [
        (
            "connect=v1&encoding=json&message=%7B%22gameId%22%3A%227%22%7D".to_owned(),
            200,
        ),
        (
            format!("connect=v1&encoding=proto&base64=1&message={message}"),
            200,
        ),
        (
            "connect=v1&encoding=json&base64=1&message=!".to_owned(),
            400,
        ),
        ("connect=v1&encoding=json".to_owned(), 400),
        ("connect=v1&encoding=xml&message=".to_owned(), 415),
    ] {
        let request = Request::get(format!("http://test{GET}?{query}"));
        let reply = if status == 200 {
            let script = async |mut call: Call| {
                assert_eq!(
                    call.body().await,
                    framed(&question(GET, &json!({ "gameId": "7" })))
                );
                answer(call, &json!({ "title": "Origami" }));
            };
            one(&mut upstream, &mut client, request, "", script).await.0
        } else {
            send(&mut client, request, "").await
        };
        assert_eq!(reply.status, status, "{query}: {reply:?}");
    }
    let request = Request::get(format!(
        "http://test{REPORT}?connect=v1&encoding=json&message=%7B%7D"
    ));
    let reply = send(&mut client, request, "").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn streams_are_envelopes_with_an_end() {
    let (mut upstream, _gateway, mut client) = start().await;
    let ask = json!({ "gameId": "7" });
    for format in ["json", "proto"] {
        for failing in [false, true] {
            let body = match format {
                "json" => framed(ask.to_string().as_bytes()),
                _ => framed(&question(WATCH, &ask)),
            };
            let script = async |mut call: Call| {
                assert_eq!(
                    call.body().await,
                    framed(&question(WATCH, &json!({ "gameId": "7" })))
                );
                let mut down = Answer::begin(&mut call);
                down.message(&json!({ "points": "1" }));
                down.message(&json!({ "points": "2" }));
                let status = if failing { "14" } else { "0" };
                let end = [("grpc-status", status), ("x-last", "yes")];
                down.stream.send_trailers(trailers(&end)).unwrap();
            };
            let request = post(WATCH, &format!("application/connect+{format}"));
            let (reply, ()) = one(&mut upstream, &mut client, request, body, script).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let content_type = format!("application/connect+{format}");
            assert_eq!(reply.header("content-type"), Some(content_type.as_str()));
            let found = envelopes(&reply.body);
            let of = protos::method("gamehub.v1.Scores/WatchScores").1;
            for ((flags, message), points) in found[..2].iter().zip(["1", "2"]) {
                let message: Value = match format {
                    "json" => serde_json::from_slice(message).unwrap(),
                    _ => protos::decode(&of, message),
                };
                assert_eq!((*flags, message), (0, json!({ "points": points })));
            }
            let end: Value = serde_json::from_slice(&found[2].1).unwrap();
            assert_eq!((found.len(), found[2].0), (3, 2));
            assert_eq!(end["metadata"], json!({ "x-last": ["yes"] }));
            let error = if failing {
                json!({ "code": "unavailable" })
            } else {
                Value::Null
            };
            assert_eq!(end["error"], error);
        }
    }
}

#[tokio::test]
async fn broken_streams_end_in_the_protocol() {
    let (mut upstream, _gateway, mut client) = start().await;
    let bomb = gzip(&vec![b' '; 8 << 20]).unwrap();
    let mut compressed = framed(&bomb);
    compressed[0] = 1;
    let cases: [(&[u8], &str, &str); 6] = [
        (b"\0\0\0\0\x09{}", "", "invalid_argument"),
        (b"\x09\0\0\0\0", "", "invalid_argument"),
        (&framed(b"{\"gameId\":"), "", "invalid_argument"),
        (b"", "", "invalid_argument"),
        (&compressed, "gzip", "resource_exhausted"),
        (&framed(b"{}"), "br", "unimplemented"),
    ];
    for (body, coding, code) in cases {
        let mut request = post(WATCH, "application/connect+json");
        if !coding.is_empty() {
            request = request.header("connect-content-encoding", coding);
        }
        let reply = send(&mut client, request, body).await;
        assert_eq!(reply.status, 200);
        let found = envelopes(&reply.body);
        let end: Value = serde_json::from_slice(&found[0].1).unwrap();
        assert_eq!(
            (found.len(), found[0].0, &end["error"]["code"]),
            (1, 2, &json!(code)),
            "{end}"
        );
    }
    assert!(upstream.is_quiet());
    let reply = send(&mut client, post(GET, "application/connect+json"), "").await;
    assert_eq!(reply.status, 415);

    // In the middle of a stream of requests.
    let body = [framed(b"{\"text\":\"hi\"}"), framed(b"{]")].concat();
    let request = post(JOIN, "application/connect+json");
    let (reply, reason) = one(&mut upstream, &mut client, request, body, async |call| {
        soon("a reset", call.cancelled()).await
    })
    .await;
    assert_eq!(reason, Reason::CANCEL);
    let found = envelopes(&reply.body);
    let end: Value = serde_json::from_slice(&found.last().unwrap().1).unwrap();
    assert_eq!(end["error"]["code"], "invalid_argument");
}

#[tokio::test]
async fn compressed_answers_are_expanded() {
    let (mut upstream, _gateway, mut client) = start().await;
    let script = async |mut call: Call| {
        let accepted = call.request.headers()["grpc-accept-encoding"].clone();
        assert!(accepted.to_str().unwrap().contains("gzip"));
        let mut head = http::Response::new(());
        let pairs = [
            ("content-type", "application/grpc"),
            ("grpc-encoding", "gzip"),
        ];
        *head.headers_mut() = trailers(&pairs);
        let of = protos::method("gamehub.v1.Catalogue/GetGame").1;
        let wire = protos::encode(&of, &json!({ "title": "Origami" }));
        let mut frame = framed(&gzip(&wire).unwrap());
        frame[0] = 1;
        let mut down = call.respond.send_response(head, false).unwrap();
        down.send_data(frame.into(), false).unwrap();
        down.send_trailers(trailers(&[("grpc-status", "0")]))
            .unwrap();
    };
    let rest = Request::get("http://test/v1/games/7");
    for request in [rest, post(GET, "application/json")] {
        let (reply, ()) = one(&mut upstream, &mut client, request, "", script).await;
        assert_eq!(value(&reply), json!({ "title": "Origami" }));
    }
}

#[tokio::test]
async fn auto_makes_json_rest_unless_the_client_says_connect() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "auto": true }))
        .start();
    let mut client = Http2::connect(gateway.address).await;
    let fail = async |mut call: Call| {
        let mut head = http::Response::new(());
        let pairs = [("content-type", "application/grpc"), ("grpc-status", "5")];
        *head.headers_mut() = trailers(&pairs);
        call.respond.send_response(head, true).unwrap();
    };
    let json = "application/json";
    let by_query = format!("{REPORT}?connect=v1");
    for (request, code) in [
        (post(REPORT, json), json!(5)),
        (
            post(REPORT, json).header("connect-protocol-version", "1"),
            json!("not_found"),
        ),
        (post(&by_query, json), json!("not_found")),
    ] {
        let (reply, ()) = one(&mut upstream, &mut client, request, "{}", fail).await;
        assert_eq!((reply.status, &value(&reply)["code"]), (404, &code));
    }
    // A stream is an array, as for any REST client; protobuf is Connect's still.
    let script = async |mut call: Call| {
        let mut down = Answer::begin(&mut call);
        down.message(&json!({ "points": "1" }));
        down.end("0");
    };
    let (reply, ()) = one(&mut upstream, &mut client, post(WATCH, json), "{}", script).await;
    assert_eq!(value(&reply), json!([{ "points": "1" }]));
    let (reply, ()) = one(
        &mut upstream,
        &mut client,
        post(REPORT, "application/proto"),
        "",
        fail,
    )
    .await;
    assert_eq!(value(&reply)["code"], "not_found");
}

#[tokio::test]
async fn metadata_can_be_limited_to_a_list() {
    let mut upstream = Upstream::start().await;
    let headers = json!({ "to_metadata": ["x-tenant"], "rpc_metadata": "listed" });
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "headers": headers }))
        .start();
    let mut client = Http2::connect(gateway.address).await;
    for content_type in ["application/json", "application/grpc"] {
        let request = post(GET, content_type)
            .header("x-tenant", "a")
            .header("x-user", "b");
        let script = async |call: Call| {
            let headers = call.request.headers().clone();
            answer(call, &json!({}));
            headers
        };
        let (_, seen) = one(&mut upstream, &mut client, request, "", script).await;
        assert_eq!(seen["x-tenant"], "a");
        assert!(!seen.contains_key("x-user"), "{content_type}");
    }
}

#[tokio::test]
async fn other_requests_for_a_methods_path_are_told_how_to_call_it() {
    let (_upstream, _gateway, mut client) = start().await;
    let form = post(GET, "application/x-www-form-urlencoded");
    let reply = send(&mut client, form, "{}").await;
    assert_eq!(reply.status, 415, "{}", reply.text());
    assert!(
        reply.text().contains("-H 'content-type: application/json'"),
        "{}",
        reply.text()
    );
    assert!(
        reply
            .header("accept-post")
            .is_some_and(|t| t.starts_with("application/json, "))
    );
    let bare = Request::post(format!("http://test{GET}"));
    assert_eq!(send(&mut client, bare, "{}").await.status, 415);
    for method in ["GET", "PUT"] {
        let other = Request::builder()
            .method(method)
            .uri(format!("http://test{REPORT}"));
        let reply = send(&mut client, other, "").await;
        assert_eq!(reply.status, 405, "{}", reply.text());
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    let unknown = Request::post("http://test/gamehub.v1.Catalogue/Nothing");
    assert_eq!(send(&mut client, unknown, "").await.status, 404);
}
