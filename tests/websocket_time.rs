//! Time and slowness of WebSockets: signs of life, silence, drains, and sides that don't take what there is.

mod support;

use fastwebsockets::OpCode;
use serde_json::json;
use support::gateway::Gateway;
use support::grpc::Answer;
use support::soon;
use support::upstream::Upstream;
use support::websocket::{Heard, Socket};
use tokio::io::AsyncReadExt;

const WATCH: &str = "/v1/games/1/scores:watch";

#[tokio::test]
async fn a_client_is_asked_for_signs_of_life() {
    let mut upstream = Upstream::start().await;
    let timeouts = json!({ "ping_interval": "100ms", "ping_timeout": "10s" });
    let gateway = Gateway::builder(upstream.address)
        .set("timeouts", timeouts)
        .start();
    let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    // Answered, it goes on: each ping comes only after the last one's answer.
    for _ in 0..3 {
        let (opcode, ..) = socket.frame().await.expect("a frame");
        assert_eq!(opcode, OpCode::Ping);
    }
    answer.message(&json!({ "sequence": 1 }));
    assert_eq!(socket.next_json().await, json!({ "sequence": 1 }));
}

#[tokio::test]
async fn a_client_without_a_sign_of_life_is_given_up() {
    let mut upstream = Upstream::start().await;
    let timeouts = json!({ "ping_interval": "100ms", "ping_timeout": "100ms" });
    let gateway = Gateway::builder(upstream.address)
        .set("timeouts", timeouts)
        .start();
    let socket = Socket::open(gateway.address, WATCH, &[]).await;
    let answer = Answer::begin(&mut upstream.next().await);
    assert_eq!(answer.cancelled().await, h2::Reason::CANCEL);
    let mut rest = Vec::new();
    let mut stream = socket.into_stream();
    soon("the end", stream.read_to_end(&mut rest)).await.ok();
    // One ping, and no more words.
    assert_eq!(rest, [0x89, 0]);
}

#[tokio::test]
async fn silence_and_slowness_have_limits() {
    let mut upstream = Upstream::start().await;
    let idle = Gateway::builder(upstream.address)
        .set("defaults", json!({ "stream_idle": "1s" }))
        .start();
    let quick = Gateway::builder(upstream.address)
        .set("defaults", json!({ "timeout": "1s" }))
        .start();
    let brief = Gateway::builder(upstream.address)
        .set("defaults", json!({ "stream_max": "1s" }))
        .start();
    let slow = Gateway::builder(upstream.address)
        .set("timeouts", json!({ "body_idle": "1s" }))
        .start();
    let chat = "/v1/rooms/den/chat";
    for (gateway, path, said, begins, says) in [
        // Nobody says anything.
        (&idle, chat, &b""[..], false, "neither side"),
        (&idle, WATCH, b"", true, "sent nothing"),
        // The request doesn't come; the answer doesn't.
        (&idle, "/v1/games", b"", false, "didn't come in time"),
        (&quick, WATCH, b"", false, "didn't answer in time"),
        (
            &quick,
            "/gamehub.v1.Scores/ListScores",
            b"{}",
            false,
            "didn't answer in time",
        ),
        (&brief, chat, b"", true, "as long as it may"),
        // A message that stops midway, in its frame or before its last piece.
        (&slow, chat, b"\x01", false, "stopped coming"),
    ] {
        let is_amid = said.first() == Some(&1);
        let path = if path == "/v1/games" {
            "/v1/games?method=POST"
        } else {
            path
        };
        let mut socket = Socket::open(gateway.address, path, &[]).await;
        match said {
            [] => {}
            _ if is_amid => socket.piece(OpCode::Text, b"{", false).await,
            json => socket.text(std::str::from_utf8(json).expect("text")).await,
        }
        let mut call = None;
        if !says.contains("come in time") {
            call = Some(upstream.next().await);
        }
        let begun = begins.then(|| {
            let mut answer = Answer::begin(call.as_mut().expect("a call"));
            answer.message(&json!({}));
            answer
        });
        if begins {
            socket.next_json().await;
        }
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4004, "{path}: {reason}");
        assert!(
            reason.starts_with("DEADLINE_EXCEEDED: "),
            "{path}: {reason}"
        );
        assert!(reason.contains(says), "{path}: {reason}");
        match (begun, call) {
            (Some(answer), _) => assert_eq!(answer.cancelled().await, h2::Reason::CANCEL),
            (None, Some(call)) => {
                let reset = soon("a reset", call.cancelled()).await;
                assert_eq!(reset, h2::Reason::CANCEL, "{path}");
            }
            (None, None) => assert!(upstream.is_quiet(), "{path}"),
        }
    }
}

/// A talk is idle only when both are silent.
#[tokio::test]
async fn whoever_talks_keeps_the_call_alive() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "stream_idle": "1s" }))
        .start();
    let mut socket = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
    let mut call = upstream.next().await;
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(2) {
        socket.json(&json!({ "text": "still here" })).await;
        let data = soon("a message", call.request.body_mut().data()).await;
        let length = data.expect("open").expect("data").len();
        let flow = call.request.body_mut().flow_control();
        flow.release_capacity(length).expect("capacity");
    }
    let mut answer = Answer::begin(&mut call);
    answer.message(&json!({ "text": "so am I" }));
    assert_eq!(socket.next_json().await, json!({ "text": "so am I" }));
}

#[tokio::test]
async fn a_drain_and_old_age_are_told_before_the_connection_is_cut() {
    let mut upstream = Upstream::start().await;
    for timeouts in [
        json!({ "drain": "2s" }),
        json!({ "drain": "2s", "max_age": "1s" }),
    ] {
        let drains = timeouts.get("max_age").is_none();
        let gateway = Gateway::builder(upstream.address)
            .set("timeouts", timeouts)
            .start();
        let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
        let mut answer = Answer::begin(&mut upstream.next().await);
        answer.message(&json!({ "sequence": 1 }));
        assert_eq!(socket.next_json().await, json!({ "sequence": 1 }));
        // What ends in time is not disturbed.
        let mut short = Socket::open(gateway.address, "/v1/games/7", &[]).await;
        let call = upstream.next().await;
        let address = gateway.address;
        let stopping = tokio::spawn(async move {
            if drains {
                gateway.running.shutdown().await;
                None
            } else {
                Some(gateway)
            }
        });
        if drains {
            // Draining has begun once nobody is let in.
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
        answer.message(&json!({ "sequence": 2 }));
        assert_eq!(socket.next_json().await, json!({ "sequence": 2 }));
        support::grpc::answer(call, &json!({ "title": "Pong" }));
        assert_eq!(short.next_json().await, json!({ "title": "Pong" }));
        assert_eq!(short.closed().await.0, 1000);
        assert_eq!(socket.closed().await.0, 1001);
        assert_eq!(answer.cancelled().await, h2::Reason::CANCEL);
        soon("the drain's end", stopping).await.expect("joined");
    }
}

/// A service that would send without end is stopped by a client that doesn't read.
#[tokio::test]
async fn a_slow_client_slows_the_service() {
    const TOTAL: usize = 64 * 1024 * 1024;
    const AHEAD_MAX: usize = 16 * 1024 * 1024;
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut socket = Socket::open(gateway.address, WATCH, &[]).await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    let said = json!({ "player": "x".repeat(60_000) });
    let length = 60_000 + 16;
    let (sent, read) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let write = async {
        while sent.get() < TOTAL {
            answer.stream.reserve_capacity(length);
            while answer.stream.capacity() < length {
                let room = std::future::poll_fn(|cx| answer.stream.poll_capacity(cx));
                soon("room", room).await.expect("open").expect("room");
            }
            answer.message(&said);
            sent.set(sent.get() + length);
            let ahead = sent.get().saturating_sub(read.get());
            assert!(ahead <= AHEAD_MAX, "{ahead} bytes on the way");
        }
        answer.end("0");
    };
    let take = async {
        loop {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            match socket.next().await {
                Heard::Text(text) => read.set(read.get() + text.len().min(length)),
                other => break other,
            }
        }
    };
    let ((), end) = tokio::join!(write, take);
    assert_eq!(end, Heard::Close(1000, "OK".to_owned()));
    assert!(read.get() > TOTAL - TOTAL / 100, "{}", read.get());
}

/// A client that doesn't read at all is cut off after `write_idle`, and the call with it.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("timeouts", json!({ "write_idle": "100ms" }))
        .start();
    let _socket = Socket::open(gateway.address, WATCH, &[]).await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    let said = json!({ "player": "x".repeat(60_000) });
    let cut = async {
        loop {
            answer.stream.reserve_capacity(60_016);
            let room = std::future::poll_fn(|cx| answer.stream.poll_capacity(cx)).await;
            match room {
                Some(Ok(room)) if room >= 60_016 => answer.message(&said),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
    };
    soon("the cut", cut).await;
}

#[tokio::test]
async fn a_slow_service_slows_the_client() {
    const TOTAL: usize = 64 * 1024 * 1024;
    const AHEAD_MAX: usize = 16 * 1024 * 1024;
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let offer = [("sec-websocket-protocol", "proto")];
    let mut socket = Socket::open(gateway.address, "/v1/recordings", &offer).await;
    let mut call = upstream.next().await;
    let sent = std::cell::Cell::new(0);
    let write = async {
        let piece = [&[0x12, 0x80, 0x80, 0x04][..], &[b'x'; 64 * 1024]].concat();
        while sent.get() < TOTAL {
            socket.binary(&piece).await;
            sent.set(sent.get() + piece.len());
        }
        socket.end().await;
    };
    let read = async {
        let mut read = 0;
        loop {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            let body = call.request.body_mut();
            let Some(data) = soon("a piece", body.data()).await else {
                break;
            };
            let data = data.expect("data");
            let flow = body.flow_control();
            flow.release_capacity(data.len()).expect("capacity");
            read += data.len();
            let ahead = sent.get().saturating_sub(read);
            assert!(ahead <= AHEAD_MAX, "{ahead} bytes on the way");
        }
        assert!(read > TOTAL, "{read}");
    };
    tokio::join!(write, read);
    support::grpc::answer(call, &json!({ "sizeBytes": "67108864" }));
    assert_eq!(
        socket.next_json_of("gamehub.v1.Recording").await["sizeBytes"],
        "67108864"
    );
    assert_eq!(socket.closed().await.0, 1000);
}

/// A client that goes away while the service takes nothing of what it has sent: nobody reads the end of
/// its connection then.
#[tokio::test]
async fn a_client_that_leaves_behind_its_messages_is_missed() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("timeouts", json!({ "ping_interval": "100ms" }))
        .start();
    let mut socket = Socket::open(gateway.address, "/v1/rooms/den/chat", &[]).await;
    let call = upstream.next().await;
    let said = json!({ "text": "x".repeat(60_000) });
    for _ in 0..8 {
        socket.json(&said).await;
    }
    drop(socket);
    assert_eq!(soon("a reset", call.cancelled()).await, h2::Reason::CANCEL);
}
