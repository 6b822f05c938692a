//! WebSockets on the paths of methods: every kind of call, every way for it to end.

mod support;

use std::net::Ipv4Addr;

use serde_json::json;
use support::gateway::Gateway;
use support::grpc::Answer;
use support::upstream::Upstream;
use support::websocket::{Heard, Socket};

const WATCH: &str = "/v1/games/1/scores:watch";

/// A gateway before the demo's service.
fn demo() -> (transom::demo::GrpcServer, Gateway) {
    let service = transom::demo::start((Ipv4Addr::LOCALHOST, 0).into()).expect("the service");
    let gateway = Gateway::builder(service.address()).start();
    (service, gateway)
}

#[tokio::test]
async fn a_stream_of_the_service_comes_message_by_message() {
    let (_service, gateway) = demo();
    let path = format!("{WATCH}?count=3&interval=0s");
    let mut socket = Socket::open(gateway.address, &path, &[]).await;
    assert_eq!(socket.head.header("sec-websocket-protocol"), None);
    for sequence in 1..=3 {
        let score = socket.next_json().await;
        assert_eq!(score["sequence"], json!(sequence), "{score}");
    }
    assert_eq!(socket.closed().await, (1000, "OK".to_owned()));
    assert_eq!(socket.next().await, Heard::Gone);
}

#[tokio::test]
async fn a_failure_midway_is_the_close() {
    let (_service, gateway) = demo();
    let path = format!("{WATCH}?fail_after=2&interval=0s");
    let mut socket = Socket::open(gateway.address, &path, &[]).await;
    assert_eq!(socket.next_json().await["sequence"], json!(1));
    assert_eq!(socket.next_json().await["sequence"], json!(2));
    let (code, reason) = socket.closed().await;
    assert_eq!(code, 4014, "{reason}");
    assert!(reason.starts_with("UNAVAILABLE: "), "{reason}");
}

#[tokio::test]
async fn a_talk_goes_both_ways() {
    let (_service, gateway) = demo();
    let mut ada = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
    ada.json(&json!({ "player": "ada", "text": "hello" })).await;
    assert_eq!(ada.next_json().await["text"], "hello");
    let mut bob = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
    bob.json(&json!({ "player": "bob", "text": "hi" })).await;
    assert_eq!(bob.next_json().await["text"], "hello");
    for socket in [&mut ada, &mut bob] {
        let heard = socket.next_json().await;
        assert_eq!(
            (&heard["text"], &heard["room"]),
            (&json!("hi"), &json!("den"))
        );
    }
    ada.json(&json!({ "player": "ada", "text": "bye" })).await;
    assert_eq!(bob.next_json().await["text"], "bye");
    assert_eq!(ada.next_json().await["text"], "bye");
    ada.end().await;
    assert_eq!(ada.closed().await.0, 1000);
}

#[tokio::test]
async fn requests_stream_until_the_client_says_that_they_are_all() {
    let (_service, gateway) = demo();
    let mut socket = Socket::open(gateway.address, "/v1/games/1/plays", &[]).await;
    socket
        .json(&json!({ "levelStarted": { "level": 1 } }))
        .await;
    let finished = json!({ "levelFinished": { "level": 1, "points": "70" } });
    socket.json(&finished).await;
    socket.end().await;
    let summary = socket.next_json().await;
    assert_eq!(summary["points"], "70", "{summary}");
    assert_eq!(socket.closed().await, (1000, "OK".to_owned()));
}

#[tokio::test]
async fn one_call_is_one_message_each_way() {
    let (_service, gateway) = demo();
    // All of it is in the path.
    let mut socket = Socket::open(gateway.address, "/v1/games/1", &[]).await;
    assert_eq!(socket.next_json().await["title"], "Tidal");
    assert_eq!(socket.closed().await.0, 1000);
    // Its message is the body of the rule.
    let path = "/v1/games/1?method=PATCH";
    let mut socket = Socket::open(gateway.address, path, &[]).await;
    socket.json(&json!({ "tagline": "By a socket" })).await;
    let game = socket.next_json().await;
    assert_eq!(
        (&game["id"], &game["tagline"]),
        (&json!("1"), &json!("By a socket"))
    );
    assert_eq!(socket.closed().await.0, 1000);
    // By the method's own name.
    let path = "/gamehub.v1.Catalogue/GetGame";
    let mut socket = Socket::open(gateway.address, path, &[]).await;
    socket.json(&json!({ "gameId": "404" })).await;
    let (code, reason) = socket.closed().await;
    assert_eq!(code, 4005, "{reason}");
    assert!(reason.starts_with("NOT_FOUND: "), "{reason}");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for politely in [true, false] {
        let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
        let mut answer = Answer::begin(&mut upstream.next().await);
        answer.message(&json!({ "sequence": 1 }));
        assert_eq!(socket.next_json().await, json!({ "sequence": 1 }));
        if politely {
            socket.close(1000).await;
            assert_eq!(answer.cancelled().await, h2::Reason::CANCEL);
            assert_eq!(socket.closed().await.0, 1000);
        } else {
            drop(socket);
            assert_eq!(answer.cancelled().await, h2::Reason::CANCEL);
        }
    }
}
