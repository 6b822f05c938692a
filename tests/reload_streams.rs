//! Streams and calls that are under way while generations come and go.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::client::Http1;
use support::process::Process;
use support::soon;
use support::websocket::{Heard, Socket};

/// A gateway in front of the demo's service.
fn start(more: &str) -> (Process, transom::demo::GrpcServer) {
    let service = transom::demo::start(([127, 0, 0, 1], 0).into()).expect("the service");
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         descriptors: [{{ reflection: games }}]\n\
         upstreams: {{ games: {{ endpoints: [\"{}\"] }} }}\n\
         routes:\n  - {{ services: [\"gamehub.v1.*\"], upstream: games }}\n\
         workers: 2\n{more}\n",
        service.address()
    );
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    (Process::start(folder), service)
}

/// Another generation, told by its number.
async fn next(running: &Process) -> u64 {
    let (status, told) = running.reload().await;
    assert_eq!(status, 200, "{told}");
    told["generation"].as_u64().expect("a number")
}

fn users(told: &Value) -> Vec<(u64, u64)> {
    let old = told["old_generations"].as_array().expect("a list");
    let number = |of: &Value, key: &str| of[key].as_u64().expect("a number");
    old.iter()
        .map(|o| (number(o, "generation"), number(o, "users")))
        .collect()
}

const EVENTS: &str = "GET /v1/games/6/scores:watch?count=100000&interval=0.01s HTTP/1.1\r\n\
    host: test\r\naccept: text/event-stream\r\n\r\n";

#[tokio::test]
async fn streams_go_on_with_the_generation_that_they_began_with() {
    let (running, _service) = start("");
    let mut events = Http1::connect(running.address).await;
    events.send(EVENTS).await;
    assert_eq!(events.head().await.expect("a head").status, 200);
    let mut socket = Socket::open(running.address, "/v1/rooms/den/chat", &[]).await;
    for round in 2..=5 {
        assert_eq!(next(&running).await, round);
        let text = format!("round {round}");
        socket.json(&json!({ "player": "ada", "text": text })).await;
        // Others may have joined or left.
        while !socket.next_json().await.to_string().contains(&text) {}
        for _ in 0..10 {
            soon("an event", events.chunk()).await.expect("an event");
        }
    }
    assert_eq!(users(&running.told().await), [(1, 2)]);
    let shown = running.admin("/metrics").await.1;
    assert!(
        shown.contains("transom_config_generations_in_use 2"),
        "{shown}"
    );
    assert!(
        shown.contains("transom_config_old_generation_users 2"),
        "{shown}"
    );

    // The routes go, and the streams still do not mind.
    let file = running.path("transom.yaml");
    let text = fs::read_to_string(&file).expect("text");
    let none = text.replace(
        "{ services: [\"gamehub.v1.*\"], upstream: games }",
        "{ path: /only, respond: { status: 204 } }",
    );
    fs::write(&file, none).expect("written");
    running.until("/only", 204).await;
    assert_eq!(running.status("/v1/games/1").await, 404);
    socket
        .json(&json!({ "player": "ada", "text": "still here" }))
        .await;
    while !socket.next_json().await.to_string().contains("still here") {}
    for _ in 0..10 {
        soon("an event", events.chunk()).await.expect("an event");
    }

    drop(events);
    drop(socket);
    let told = running
        .until_told("nobody uses it", |t| users(t).is_empty())
        .await;
    assert_eq!(told["reloads"]["failed"], 0, "{told}");
}

#[tokio::test]
async fn an_old_generation_goes_at_the_latest_with_its_connections() {
    let (running, _service) = start("timeouts: { max_age: 1s, drain: 1s, drain_delay: 0s }");
    let mut socket = Socket::open(running.address, "/v1/rooms/den/chat", &[]).await;
    next(&running).await;
    assert_eq!(users(&running.told().await), [(1, 1)]);
    // Nobody ends it, and nobody has to.
    let ended = async {
        loop {
            match socket.next().await {
                Heard::Close(code, _) => return Some(code),
                Heard::Gone => return None,
                Heard::Text(_) | Heard::Binary(_) => {}
            }
        }
    };
    assert_eq!(soon("the end", ended).await, Some(1001));
    running
        .until_told("nobody uses it", |t| users(t).is_empty())
        .await;
}

#[tokio::test]
async fn a_call_ends_as_it_began() {
    let (running, _service) = start("");
    // Its body comes slowly: it is routed, and not sent yet.
    let mut slow = Http1::connect(running.address).await;
    slow.send(
        "PATCH /v1/games/4 HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: 27\r\n\r\n{\"tagline\": ",
    )
    .await;
    running
        .until_told("it is under way", |t| t["stage"] == "serving")
        .await;
    let file = running.path("transom.yaml");
    let text = fs::read_to_string(&file).expect("text");
    let none = text.replace(
        "{ services: [\"gamehub.v1.*\"], upstream: games }",
        "{ path: /only, respond: { status: 204 } }",
    );
    // Routed by the first generation: its number shows among those in use.
    let routed = async {
        loop {
            next(&running).await;
            if !users(&running.told().await).is_empty() {
                break;
            }
        }
    };
    soon("the call is routed", routed).await;
    fs::write(&file, none).expect("written");
    running.until("/only", 204).await;
    slow.send("\"Mind the gap\"}").await;
    let reply = soon("a reply", slow.reply()).await.expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.text());
}
