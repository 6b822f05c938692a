//! Clients that leave and time that runs out: the upstream's stream is reset at once, at every stage.

mod support;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use support::client::{Http1, Http2};
use support::gateway::Gateway;
use support::grpc::{Answer, answer};
use support::soon;
use support::upstream::Upstream;

const UNARY: &str = "/v1/games/7";
const STREAM: &str = "/v1/games/7/scores:watch";

fn get(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("http://test{path}"));
    request.body(Full::default()).expect("request")
}

#[tokio::test]
async fn a_client_that_closes_while_it_waits() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for path in [UNARY, STREAM] {
        let mut client = Http1::connect(gateway.address).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        let call = upstream.next().await;
        drop(client);
        assert_eq!(
            soon("a reset", call.cancelled()).await,
            Reason::CANCEL,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_a_client_resets_while_it_waits() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Http2::connect(gateway.address).await;
    for path in [UNARY, STREAM] {
        let asked = client.send.send_request(get(path));
        let call = tokio::select! {
            call = upstream.next() => call,
            reply = asked => panic!("answered: {reply:?}"),
        };
        // The request's future has been dropped.
        assert_eq!(
            soon("a reset", call.cancelled()).await,
            Reason::CANCEL,
            "{path}"
        );
    }
    // The connection serves on.
    let (reply, ()) = tokio::join!(client.get(UNARY), async {
        answer(upstream.next().await, &json!({}));
    });
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();

    let mut client = Http1::connect(gateway.address).await;
    client
        .send(format!("GET {STREAM} HTTP/1.1\r\nhost: test\r\n\r\n"))
        .await;
    let mut call = upstream.next().await;
    let mut begun = Answer::begin(&mut call);
    begun.message(&json!({ "sequence": 1 }));
    assert_eq!(client.head().await.expect("a head").status, 200);
    drop(client);
    assert_eq!(begun.cancelled().await, Reason::CANCEL);

    let mut client = Http2::connect(gateway.address).await;
    let (reply, begun) = tokio::join!(client.send(get(STREAM)), async {
        let mut call = upstream.next().await;
        let mut begun = Answer::begin(&mut call);
        begun.message(&json!({ "sequence": 1 }));
        begun
    });
    drop(reply.expect("a reply"));
    assert_eq!(begun.cancelled().await, Reason::CANCEL);
}

#[tokio::test]
async fn a_client_that_leaves_inside_its_body_makes_no_call() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Http1::connect(gateway.address).await;
    let head = "POST /v1/games HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    client
        .send(format!("{head}content-length: 20\r\n\r\n{{\"title\""))
        .await;
    drop(client);
    // A whole request after it is the first that the service sees.
    let mut client = Http1::connect(gateway.address).await;
    let (reply, path) = tokio::join!(client.get(UNARY), async {
        let call = upstream.next().await;
        let path = call.path().to_owned();
        answer(call, &json!({}));
        path
    });
    assert_eq!(
        (reply.status, &*path),
        (200, "/gamehub.v1.Catalogue/GetGame")
    );
    assert!(upstream.is_quiet());
}

#[tokio::test]
async fn a_body_that_ends_too_early_or_is_framed_wrongly() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let head = "POST /v1/games HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    for (name, rest) in [
        (
            "a size that is none",
            "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        ),
        (
            "a chunk longer than its size",
            "transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        let mut client = Http1::connect(gateway.address).await;
        client.send(format!("{head}{rest}")).await;
        if let Some(reply) = client.reply().await {
            assert_eq!(reply.status, 400, "{name}: {}", reply.text());
        }
    }
    let mut client = Http1::connect(gateway.address).await;
    client
        .send(format!("{head}content-length: 9\r\n\r\n{{}}"))
        .await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .expect("shutdown");
    if let Some(reply) = client.reply().await {
        assert!(matches!(reply.status, 400 | 499), "{}", reply.text());
    }
    assert!(upstream.is_quiet());
    assert_eq!(
        Http1::connect(gateway.address)
            .await
            .get("/nowhere")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_service_that_is_too_slow() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "timeout": "200ms" }))
        .start();
    for path in [UNARY, STREAM] {
        let mut client = Http1::connect(gateway.address).await;
        let (reply, call) = tokio::join!(client.get(path), upstream.next());
        let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!((reply.status, &body["code"]), (504, &json!(4)), "{path}");
        let sent = call.request.headers().get("grpc-timeout").cloned();
        assert_eq!(sent.is_some(), path == UNARY, "{path}: {sent:?}");
        assert_eq!(
            soon("a reset", call.cancelled()).await,
            Reason::CANCEL,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_client_may_have_less_time_than_the_route() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for (path, header) in [
        (UNARY, "grpc-timeout: 150m"),
        (UNARY, "x-server-timeout: 0.15"),
        (STREAM, "grpc-timeout: 150m"),
    ] {
        let mut client = Http1::connect(gateway.address).await;
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: test\r\n{header}\r\n\r\n"
            ))
            .await;
        let call = upstream.next().await;
        let sent = call.request.headers()["grpc-timeout"]
            .to_str()
            .expect("text")
            .to_owned();
        let (digits, unit) = sent.split_at_checked(sent.len() - 1).expect("a unit");
        let digits: u64 = digits.parse().expect("digits");
        let micros = match unit {
            "n" => digits / 1000,
            "u" => digits,
            "m" => digits * 1000,
            other => panic!("{other}"),
        };
        assert!((1..=150_000).contains(&micros), "{sent}");
        assert_eq!(
            client.reply().await.expect("a reply").status,
            504,
            "{path} {header}"
        );
        assert_eq!(soon("a reset", call.cancelled()).await, Reason::CANCEL);
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_or_lasts_too_long_ends_visibly() {
    let mut upstream = Upstream::start().await;
    for (defaults, says) in [
        (json!({ "stream_idle": "150ms" }), "nothing for too long"),
        (json!({ "stream_max": "150ms" }), "as long as it may"),
    ] {
        let gateway = Gateway::builder(upstream.address)
            .set("defaults", defaults)
            .start();
        let mut client = Http1::connect(gateway.address).await;
        let (reply, begun) = tokio::join!(client.get(STREAM), async {
            let mut call = upstream.next().await;
            let mut begun = Answer::begin(&mut call);
            begun.message(&json!({ "sequence": 1 }));
            begun
        });
        let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(body[1]["error"]["code"], 4, "{body}");
        let message = body[1]["error"]["message"].as_str().expect("text");
        assert!(message.contains(says), "{message}");
        assert_eq!(begun.cancelled().await, Reason::CANCEL);
    }
}

/// The first message reaches the client before the service has sent the second.
#[tokio::test]
async fn each_message_goes_out_when_it_is_there() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Http2::connect(gateway.address).await;
    let (reply, (_call, mut begun)) = tokio::join!(client.send(get(STREAM)), async {
        let mut call = upstream.next().await;
        let mut begun = Answer::begin(&mut call);
        begun.message(&json!({ "sequence": 1 }));
        (call, begun)
    });
    let mut body = reply.expect("a reply").into_body();
    for (sequence, expected) in [(2, "[{\"sequence\":1}"), (3, ",{\"sequence\":2}")] {
        let piece = soon("a message", body.frame())
            .await
            .expect("a piece")
            .expect("data");
        assert_eq!(piece.into_data().expect("data"), expected);
        begun.message(&json!({ "sequence": sequence }));
    }
    begun.end("0");
    let rest = soon("the end", body.collect())
        .await
        .expect("the rest")
        .to_bytes();
    assert_eq!(rest, ",{\"sequence\":3}]");
}

/// A document of many chunks is the same document.
#[tokio::test]
async fn a_long_answer_is_whole() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let games: Vec<Value> = (0..20_000)
        .map(|i| json!({ "id": i.to_string(), "title": format!("Game {i}: \"€\"\n"), "tags": ["a", "b"] }))
        .collect();
    let games = json!({ "games": games });
    let games = serde_json::from_str::<Value>(&games.to_string().replace(r#""id":"0","#, ""))
        .expect("JSON");
    let mut client = Http1::connect(gateway.address).await;
    let (reply, ()) = tokio::join!(client.get("/v1/games"), async {
        answer(upstream.next().await, &games);
    });
    assert!(reply.body.len() > 1024 * 1024);
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let found: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert!(found == games, "not the same list");
}

/// The other way: a long body is one message, however it comes.
#[tokio::test]
async fn a_long_body_is_whole() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let ids: Vec<String> = (1..=100_000).map(|i| i.to_string()).collect();
    let body = json!({ "gameIds": ids }).to_string();
    let head =
        "POST /v1/games:batchGet HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    for chunk in [body.len(), 7001] {
        let mut client = Http1::connect(gateway.address).await;
        client
            .send(format!("{head}transfer-encoding: chunked\r\n\r\n"))
            .await;
        let (reply, found) = tokio::join!(
            async {
                for piece in body.as_bytes().chunks(chunk) {
                    client.send(format!("{:x}\r\n", piece.len())).await;
                    client.send(piece).await;
                    client.send("\r\n").await;
                }
                client.send("0\r\n\r\n").await;
                client.reply().await.expect("a reply")
            },
            async {
                let mut call = upstream.next().await;
                let framed = call.body().await;
                answer(call, &json!({}));
                let (of, _) = support::protos::method("gamehub.v1.Catalogue/BatchGetGames");
                support::protos::decode(&of, &framed[5..])
            }
        );
        assert_eq!(reply.status, 200);
        assert!(found == json!({ "gameIds": ids }), "not the same numbers");
    }
}

#[tokio::test]
async fn a_body_that_will_be_too_large_is_refused_before_it_is_sent() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Http1::connect(gateway.address).await;
    let head = "POST /v1/games HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    client
        .send(format!(
            "{head}expect: 100-continue\r\ncontent-length: 5000000\r\n\r\n"
        ))
        .await;
    let reply = client.reply().await.expect("a reply");
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(upstream.is_quiet());
}
