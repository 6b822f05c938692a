//! WebSockets on the paths of methods: every kind of call, every way for it to end.

mod support;

use std::net::Ipv4Addr;

use fastwebsockets::OpCode;
use serde_json::json;
use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::{Answer, framed, trailers};
use support::upstream::Upstream;
use support::websocket::{Heard, Socket, handshake, masked};
use support::{protos, soon};
use tokio::io::AsyncWriteExt;

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

#[tokio::test]
async fn binary_messages_are_protobuf_and_the_path_wins() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let offer = [("sec-websocket-protocol", "proto")];
    let path = "/v1/rooms/den/chat";
    let said = protos::message("gamehub.v1.ChatMessage");
    let wire = |text: &str| protos::encode(&said, &json!({ "room": "pit", "text": text }));
    let mut socket = Socket::open(gateway.address, path, &offer).await;
    socket.binary(&wire("one")).await;
    socket.binary(&wire("two")).await;
    socket.end().await;
    let mut call = upstream.next().await;
    let sent = call.body().await;
    let first = protos::encode(&said, &json!({ "room": "den" }));
    let expected = [framed(&[wire("one"), first].concat()), framed(&wire("two"))].concat();
    assert_eq!(sent, expected);
    let mut answer = Answer::begin(&mut call);
    answer.message(&json!({ "text": "back" }));
    let back = protos::encode(&said, &json!({ "text": "back" }));
    assert_eq!(socket.next().await, Heard::Binary(back));
    answer.end("0");
    assert_eq!(socket.closed().await.0, 1000);

    // A field that is left open would swallow the room.
    let mut socket = Socket::open(gateway.address, path, &offer).await;
    let call = upstream.next().await;
    socket.binary(b"\x1a\x10text").await;
    let (code, reason) = socket.closed().await;
    assert_eq!(
        (code, &*reason),
        (4003, "INVALID_ARGUMENT: the message is not protobuf")
    );
    assert_eq!(soon("a reset", call.cancelled()).await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn what_a_client_does_wrong_is_the_close_and_cancels_the_call() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("limits", json!({ "body": "1KiB", "control_frames": 100 }))
        .start();
    let text = |data: &[u8]| masked(0x81, data);
    let pings = masked(0x89, b"").repeat(120);
    let empty_pieces = [masked(0x01, b""), masked(0x00, b"").repeat(20_000)].concat();
    for (what, bytes, code, says) in [
        (
            "not JSON",
            text(b"{\"text\": tru}"),
            4003,
            "INVALID_ARGUMENT: ",
        ),
        ("a field", text(b"{\"txet\": \"\"}"), 4003, "txet"),
        ("nothing", text(b" "), 4003, "INVALID_ARGUMENT: "),
        ("binary", masked(0x82, b"\x0a"), 1003, "text"),
        ("not masked", b"\x81\x02{}".to_vec(), 1002, ""),
        ("reserved", masked(0xc1, b"{}"), 1002, ""),
        ("opcode", masked(0x83, b"{}"), 1002, ""),
        ("a rest", masked(0x80, b"{}"), 1002, ""),
        ("a piece of a ping", masked(0x09, b""), 1002, ""),
        ("a long ping", masked(0x89, &[b'x'; 126]), 1002, ""),
        ("not UTF-8", text(b"{\"text\": \"\xff\"}"), 1007, "UTF-8"),
        ("too large", text(&[b' '; 1025]), 1009, "too large"),
        (
            "too large in pieces",
            [masked(0x01, &[b' '; 600]), masked(0x80, &[b' '; 600])].concat(),
            1009,
            "too large",
        ),
        (
            "too large to come",
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(),
            1009,
            "too large",
        ),
        ("pings", pings, 1008, "too many"),
        ("ends", text(b"").repeat(120), 1008, "too many"),
        ("empty pieces", empty_pieces, 1008, "too many"),
    ] {
        let socket = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
        let call = upstream.next().await;
        let mut socket = socket.raw(&bytes).await;
        let heard = match socket.next().await {
            Heard::Close(code, reason) => (code, reason),
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(heard.0, code, "{what}: {heard:?}");
        assert!(heard.1.contains(says), "{what}: {heard:?}");
        if what != "ends" {
            let reset = soon("a reset", call.cancelled()).await;
            assert_eq!(reset, h2::Reason::CANCEL, "{what}");
        }
    }
}

#[tokio::test]
async fn requests_after_the_only_one_or_after_the_end_are_refused() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for (path, messages, says) in [
        (WATCH, &["{}"][..], "one request message"),
        (
            "/gamehub.v1.Scores/WatchScores",
            &["{}", "{}"],
            "one request message",
        ),
        ("/v1/rooms/den/chat", &["{}", "", "{}"], "after the end"),
    ] {
        let mut socket = Socket::open(gateway.address, path, &[]).await;
        let (last, before) = messages.split_last().expect("messages");
        for message in before {
            socket.text(message).await;
        }
        let call = upstream.next().await;
        socket.text(last).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4003, "{path}: {reason}");
        assert!(reason.contains(says), "{path}: {reason}");
        assert_eq!(soon("a reset", call.cancelled()).await, h2::Reason::CANCEL);
    }
}

#[tokio::test]
async fn messages_may_come_in_pieces_with_pings_between_them() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut socket = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
    let said = r#"{"text":"süß"}"#.as_bytes();
    // In the middle of a character.
    let (before, after) = said.split_at_checked(11).expect("long enough");
    socket.piece(OpCode::Text, before, false).await;
    socket.ping(b"are you there").await;
    assert_eq!(
        socket.frame().await,
        Some((OpCode::Pong, true, b"are you there".to_vec()))
    );
    socket.piece(OpCode::Continuation, b"", false).await;
    socket.piece(OpCode::Continuation, after, true).await;
    socket.end().await;
    let mut call = upstream.next().await;
    let message = protos::message("gamehub.v1.ChatMessage");
    let text = protos::encode(&message, &json!({ "text": "süß" }));
    let room = protos::encode(&message, &json!({ "room": "den" }));
    assert_eq!(call.body().await, framed(&[text, room].concat()));
}

#[tokio::test]
async fn a_long_message_comes_in_pieces() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let long = "ß".repeat(300_000);
    for offer in ["json", "proto"] {
        let offer = [("sec-websocket-protocol", offer)];
        let mut socket = Socket::open(gateway.address, WATCH, &offer).await;
        let mut answer = Answer::begin(&mut upstream.next().await);
        let score = json!({ "player": long });
        answer.message(&score);
        answer.message(&json!({ "sequence": 2 }));
        answer.end("0");
        let first = socket.next().await;
        assert!(socket.frames > 4, "{}", socket.frames);
        let of = protos::message("gamehub.v1.Score");
        let wire = match first {
            Heard::Text(text) => {
                let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                protos::encode(&of, &json)
            }
            Heard::Binary(wire) => wire,
            other => panic!("{other:?}"),
        };
        assert_eq!(wire, protos::encode(&of, &score));
        assert!(matches!(
            socket.next().await,
            Heard::Text(_) | Heard::Binary(_)
        ));
        assert_eq!(socket.closed().await.0, 1000);
    }
}

#[tokio::test]
async fn raw_bodies_are_binary_messages() {
    let (_service, gateway) = demo();
    let path = "/v1/games/1/thumbnail:download";
    let mut socket = Socket::open(gateway.address, path, &[]).await;
    let mut pieces = 0;
    let closed = loop {
        match socket.next().await {
            Heard::Binary(_) => pieces += 1,
            other => break other,
        }
    };
    assert_eq!(closed, Heard::Close(1000, "OK".to_owned()));
    assert!(pieces > 0);

    let mut socket = Socket::open(gateway.address, "/v1/recordings", &[]).await;
    socket.binary(b"abc").await;
    socket.binary(b"defg").await;
    socket.end().await;
    let recording = socket.next_json().await;
    assert_eq!(
        recording,
        json!({ "contentType": "application/octet-stream", "pieces": 2, "sizeBytes": "7" })
    );
    assert_eq!(socket.closed().await.0, 1000);
}

#[tokio::test]
async fn failures_of_the_service_at_any_time_are_the_close() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let fails =
        |code: &str, message: &str| trailers(&[("grpc-status", code), ("grpc-message", message)]);
    // Before anything, after the head, after a message; the service's own word or a broken answer.
    let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
    let mut call = upstream.next().await;
    let mut head = http::Response::new(());
    *head.headers_mut() = fails("16", "who%20are%20you");
    let content_type = "application/grpc".parse().expect("value");
    head.headers_mut().insert("content-type", content_type);
    call.respond.send_response(head, true).expect("respond");
    let told = "UNAUTHENTICATED: who are you".to_owned();
    assert_eq!(socket.closed().await, (4016, told));

    let long = "z".repeat(500);
    for (sent, status, message, code, reason) in [
        (0, "5", "gone", 4005, "NOT_FOUND: gone".to_owned()),
        (2, "13", "a secret", 4013, "INTERNAL".to_owned()),
        (1, "10", &*long, 4010, "ABORTED: zzz".to_owned()),
    ] {
        let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
        let mut answer = Answer::begin(&mut upstream.next().await);
        for sequence in 1..=sent {
            answer.message(&json!({ "sequence": sequence }));
        }
        let trailers = fails(status, message);
        answer.stream.send_trailers(trailers).expect("trailers");
        for _ in 0..sent {
            socket.next_json().await;
        }
        let told = socket.closed().await;
        assert_eq!(told.0, code);
        assert!(told.1.starts_with(&reason), "{told:?}");
        assert!(!told.1.contains("secret"), "{told:?}");
    }
    let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    answer.bytes(framed(&[0xff, 0xff]));
    let (code, reason) = socket.closed().await;
    assert_eq!(code, 4013, "{reason}");
    assert_eq!(answer.cancelled().await, h2::Reason::CANCEL);
    // Nobody there.
    drop(upstream);
    let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
    assert_eq!(socket.closed().await.0, 4014);
}

#[tokio::test]
async fn a_single_answer_is_told_only_when_the_call_has_gone_well() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for (messages, status, code) in [
        (1, "0", 1000),
        (1, "9", 4009),
        (2, "0", 4013),
        (0, "0", 4013),
    ] {
        let mut socket = Socket::open(gateway.address, "/v1/games/7", &[]).await;
        let mut answer = Answer::begin(&mut upstream.next().await);
        for _ in 0..messages {
            answer.message(&json!({ "title": "Pong" }));
        }
        answer
            .stream
            .send_trailers(trailers(&[("grpc-status", status)]))
            .ok();
        if code == 1000 {
            assert_eq!(socket.next_json().await, json!({ "title": "Pong" }));
        }
        assert_eq!(socket.closed().await.0, code, "{messages} {status}");
    }
}

/// A service that ends the call while the client still talks is heard, and what is under way is let go.
#[tokio::test]
async fn an_answer_that_ends_early_ends_the_talk() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut socket = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
    socket.json(&json!({ "text": "a" })).await;
    let mut call = upstream.next().await;
    let answer = Answer::begin(&mut call);
    answer.end("7");
    assert_eq!(socket.closed().await.0, 4007);
}

/// Whatever comes, the connection ends, and the gateway serves on.
#[tokio::test]
async fn rubbish_ends_the_connection_and_nothing_else() {
    let (_service, gateway) = demo();
    let mut frames = Vec::new();
    frames.extend(masked(0x81, br#"{"player":"ada","text":"hello"}"#));
    frames.extend(masked(0x89, b"ping"));
    frames.extend(masked(0x01, br#"{"player":"ada","#));
    frames.extend(masked(0x8a, b""));
    frames.extend(masked(0x80, br#""text":"again"}"#));
    frames.extend(masked(0x81, b""));
    let mut seed = 7_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).expect("31 bits")
    };
    for round in 0..150 {
        let mut bytes = frames.clone();
        for _ in 0..=random() % 3 {
            let at = random() % bytes.len();
            match random() % 3 {
                0 => bytes[at] ^= 1 << (random() % 8),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, u8::try_from(random() % 256).expect("a byte")),
            }
        }
        let path = format!("/v1/rooms/rubbish-{}/chat", round % 50);
        let mut client = Http1::connect(gateway.address).await;
        client.send(handshake(&path, &[])).await;
        client.send(&bytes).await;
        // The client's end, so that a frame that is never whole ends too.
        client.stream.shutdown().await.expect("the end");
        let told = client.closed().await;
        assert!(told.starts_with(b"HTTP/1.1 101 "), "{bytes:x?}");
    }
    let mut socket = Socket::open(gateway.address, "/v1/games/1", &[]).await;
    assert_eq!(socket.next_json().await["title"], "Tidal");
}
