//! How WebSockets begin: what refuses a handshake, which pages may make one, and tokens that come with it.

mod support;

use serde_json::json;
use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::{Answer, answer};
use support::upstream::Upstream;
use support::websocket::{KEY, Socket, ask, behind, handshake, masked};

const WATCH: &str = "/v1/games/1/scores:watch";

/// Refusals before the protocol changes are plain HTTP.
#[tokio::test]
async fn a_handshake_that_is_wrong_is_refused_in_http() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let ok = handshake(WATCH, &[]);
    let chat = "/v1/rooms/den/chat";
    for (text, status, says) in [
        (ok.replace("version: 13", "version: 8"), 426, "version"),
        (ok.replace("sec-websocket-key", "x-key"), 400, "Key"),
        (ok.replace(KEY, "c2hvcnQ="), 400, "16 bytes"),
        (
            ok.replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nhi"),
            400,
            "no body",
        ),
        (handshake("/v1/nothing/7", &[]), 404, "no route"),
        (handshake("/gamehub.v1.Chat/Leave", &[]), 404, "no route"),
        (handshake("/v1/games/x/scores:watch", &[]), 400, "game_id"),
        (handshake(&format!("{WATCH}?cuont=3"), &[]), 400, "cuont"),
        (
            handshake(chat, &[("sec-websocket-protocol", "json, json")]),
            400,
            "twice",
        ),
        (
            handshake(chat, &[("grpc-timeout", "soon")]),
            400,
            "grpc-timeout",
        ),
        (
            handshake(
                chat,
                &[
                    ("authorization", "Bearer a"),
                    ("sec-websocket-protocol", "bearer.b"),
                ],
            ),
            400,
            "not as both",
        ),
        (
            handshake(chat, &[("origin", "https://evil.example")]),
            403,
            "origin",
        ),
    ] {
        let Err(reply) = ask(gateway.address, &text).await else {
            panic!("opened: {text}");
        };
        assert_eq!(reply.status, status, "{text}{}", reply.text());
        assert!(reply.text().contains(says), "{text}{}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let version = (status == 426).then_some("13");
        assert_eq!(reply.header("sec-websocket-version"), version);
        assert_eq!(reply.header("upgrade").is_some(), status == 426);
    }
    assert!(upstream.is_quiet());
    // A wish that isn't a whole handshake is for HTTP/1.1 to pass over.
    let mut client = Http1::connect(gateway.address).await;
    client
        .send(ok.replace("connection: keep-alive, Upgrade\r\n", ""))
        .await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    answer.message(&json!({ "sequence": 1 }));
    answer.end("0");
    assert_eq!(client.reply().await.expect("a reply").status, 200);
}

#[tokio::test]
async fn pages_need_the_origin_or_cors_and_strangers_bring_no_credentials() {
    let mut upstream = Upstream::start().await;
    let gateway = |cors: serde_json::Value| {
        let defaults = json!({
            "cors": cors,
            "headers": { "to_metadata": ["cookie"] },
        });
        Gateway::builder(upstream.address)
            .set("defaults", defaults)
            .start()
    };
    let strict = gateway(json!({ "origins": ["https://www.example.com"], "credentials": true }));
    let open = gateway(json!({ "origins": ["*"] }));
    for (gateway, origin, credentials) in [
        (&strict, None, Some(true)),
        (&strict, Some("https://api.example"), Some(true)),
        (&strict, Some("http://api.example"), Some(true)),
        (&strict, Some("https://www.example.com"), Some(true)),
        (&strict, Some("https://www.example.org"), None),
        (&strict, Some("null"), None),
        (&open, Some("https://api.example"), Some(true)),
        (&open, Some("https://anyone.example"), Some(false)),
    ] {
        let mut headers = vec![("cookie", "session=1"), ("authorization", "Basic dTpw")];
        headers.extend(origin.map(|o| ("origin", o)));
        let opened = ask(gateway.address, &handshake(WATCH, &headers)).await;
        let Some(credentials) = credentials else {
            assert_eq!(opened.err().map(|r| r.status), Some(403), "{origin:?}");
            continue;
        };
        let _socket = opened.expect("open");
        let call = upstream.next().await;
        for name in ["cookie", "authorization"] {
            let found = call.request.headers().contains_key(name);
            assert_eq!(found, credentials, "{origin:?} {name}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_a_subprotocol_becomes_metadata_and_is_not_told() {
    let mut upstream = Upstream::start().await;
    let defaults = json!({ "headers": { "to_metadata": ["sec-*"] } });
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", defaults)
        .start();
    for (offered, chosen) in [
        ("json, bearer.s3cret", Some("json")),
        ("bearer.s3cret", None),
        ("Bearer, s3cret", Some("Bearer")),
        ("other, Bearer, s3cret, proto", Some("proto")),
    ] {
        let offer = [("sec-websocket-protocol", offered)];
        let socket = Socket::open(gateway.address, WATCH, &offer).await;
        assert_eq!(socket.head.header("sec-websocket-protocol"), chosen);
        let call = upstream.next().await;
        let headers = call.request.headers();
        assert_eq!(headers["authorization"], "Bearer s3cret");
        let handshake = headers.keys().find(|n| n.as_str().starts_with("sec-"));
        assert_eq!(handshake, None, "{offered}");
        assert!(!format!("{:?}", socket.head).contains("s3cret"));
    }
}

/// Frames may come with the handshake: what follows its head is the socket's.
#[tokio::test]
async fn frames_may_come_behind_the_head_at_once() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut bytes = handshake("/gamehub.v1.Catalogue/GetGame", &[]).into_bytes();
    bytes.extend(masked(0x81, br#"{"gameId":"1"}"#));
    let mut client = Http1::connect(gateway.address).await;
    client.send(bytes).await;
    let head = client.head().await.expect("a head");
    let mut socket = behind(client, head);
    let mut call = upstream.next().await;
    assert_eq!(call.body().await, [0, 0, 0, 0, 2, 8, 1]);
    answer(call, &json!({ "title": "Tidal" }));
    assert_eq!(socket.next_json().await["title"], "Tidal");
    assert_eq!(socket.closed().await.0, 1000);
}
