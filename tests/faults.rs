//! Upstreams that break the rules: every fault has its status, says so in JSON, and is forgotten with
//! the request.

mod support;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use support::client::{Http1, Http2, Reply};
use support::gateway::Gateway;
use support::grpc::{Answer, answer, framed, trailers};
use support::ports::free;
use support::soon;
use support::upstream::{Call, DATA, Frame, GOAWAY, HEADERS, Raw, Upstream, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const UNARY: &str = "/v1/games/7";
const STREAM: &str = "/v1/games/7/scores:watch";

/// What an upstream does to a call.
type Fault = fn(Call);

/// Name, what happens, and the status and code that a client sees.
const FAULTS: &[(&str, Fault, u16, u64)] = &[
    (
        "reset with INTERNAL_ERROR before the head",
        |c| c.reset(Reason::INTERNAL_ERROR),
        502,
        13,
    ),
    (
        "reset with CANCEL before the head",
        |c| c.reset(Reason::CANCEL),
        502,
        1,
    ),
    (
        "reset with NO_ERROR before the head",
        |c| c.reset(Reason::NO_ERROR),
        502,
        13,
    ),
    (
        "reset after the head",
        |mut c| reset_after(&mut c, b""),
        502,
        13,
    ),
    (
        "reset inside a message",
        |mut c| reset_after(&mut c, &[0, 0, 0, 0, 9, 8]),
        502,
        13,
    ),
    (
        "no status",
        |mut c| {
            let mut answer = Answer::begin(&mut c);
            answer.stream.send_data(Bytes::new(), true).expect("end");
        },
        502,
        2,
    ),
    (
        "a status that is no number",
        |c| head_only(c, 200, &[GRPC, ("grpc-status", "fine")]),
        502,
        2,
    ),
    (
        "an empty status",
        |c| head_only(c, 200, &[GRPC, ("grpc-status", "")]),
        502,
        2,
    ),
    (
        "a status that nobody knows",
        |c| head_only(c, 200, &[GRPC, ("grpc-status", "99")]),
        500,
        2,
    ),
    (
        "a page of a proxy on the way",
        |c| page(c, 503, "text/html"),
        503,
        14,
    ),
    (
        "a proxy that wants a password",
        |c| page(c, 401, "text/html"),
        401,
        16,
    ),
    (
        "a path that isn't there",
        |c| page(c, 404, "text/plain"),
        502,
        12,
    ),
    ("a redirect", |c| page(c, 302, "text/html"), 502, 2),
    ("a plain web server", |c| page(c, 200, "text/html"), 502, 14),
    (
        "no content type",
        |c| head_only(c, 200, &[("grpc-status", "0")]),
        502,
        14,
    ),
    (
        "a message longer than the answer",
        |c| bytes(c, vec![0, 0, 0, 0, 9, 8, 7], "0"),
        502,
        14,
    ),
    (
        "a prefix that is cut off",
        |c| bytes(c, vec![0, 0, 0], "0"),
        502,
        14,
    ),
    (
        "a message of 4 GiB",
        |c| bytes(c, vec![0, 255, 255, 255, 255, 1], "0"),
        502,
        8,
    ),
    (
        "a compressed message",
        |c| bytes(c, vec![1, 0, 0, 0, 1, 0], "0"),
        502,
        14,
    ),
    (
        "unknown flags",
        |c| bytes(c, vec![128, 0, 0, 0, 1, 0], "0"),
        502,
        14,
    ),
    (
        "wire that is none of the message",
        |c| bytes(c, framed(&[0x0a, 0xff]), "0"),
        502,
        13,
    ),
];

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn reset_after(call: &mut Call, bytes: &'static [u8]) {
    let mut answer = Answer::begin(call);
    answer.bytes(bytes);
    answer.stream.send_reset(Reason::INTERNAL_ERROR);
}

fn head_only(mut call: Call, status: u16, headers: &[(&'static str, &str)]) {
    let mut head = Response::builder().status(status).body(()).expect("head");
    head.headers_mut().extend(trailers(headers));
    call.respond.send_response(head, true).expect("respond");
}

fn page(mut call: Call, status: u16, content_type: &str) {
    let head = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(())
        .expect("head");
    let mut body = call.respond.send_response(head, false).expect("respond");
    body.send_data("<h1>hello</h1>".into(), true).expect("body");
}

fn bytes(mut call: Call, bytes: Vec<u8>, status: &str) {
    let mut answer = Answer::begin(&mut call);
    answer.bytes(bytes);
    answer.end(status);
}

fn error(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|e| panic!("{e}: {:?}", reply.text()))
}

/// Every fault before the first message has a reply of its own, for both kinds of call; the next call
/// is answered as if nothing had been.
#[tokio::test]
async fn faults_become_errors() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for path in [UNARY, STREAM] {
        for (name, fault, status, code) in FAULTS {
            let mut client = Http1::connect(gateway.address).await;
            let mut asked = Box::pin(client.get(path));
            // Some are worth another attempt, which fares no better.
            let reply = loop {
                tokio::select! {
                    biased;
                    reply = &mut asked => break reply,
                    call = upstream.next() => fault(call),
                }
            };
            drop(asked);
            assert_eq!(reply.status, *status, "{path}: {name}: {}", reply.text());
            assert_eq!(
                error(&reply)["code"],
                *code,
                "{path}: {name}: {}",
                reply.text()
            );
            assert_eq!(
                reply.header("content-type"),
                Some("application/json"),
                "{name}"
            );

            let (reply, ()) = tokio::join!(client.get(UNARY), async {
                answer(upstream.next().await, &json!({ "title": "T" }));
            });
            assert_eq!(reply.text(), r#"{"title":"T"}"#, "after {name}");
        }
    }
}

/// After the first message the same faults end the stream with an error that a client can see.
#[tokio::test]
async fn faults_in_a_stream_are_its_last_element() {
    let faults: &[(&str, fn(Answer), u64)] = &[
        (
            "reset",
            |mut a| a.stream.send_reset(Reason::INTERNAL_ERROR),
            13,
        ),
        (
            "no status",
            |mut a| a.stream.send_data(Bytes::new(), true).expect("end"),
            2,
        ),
        ("a status", |a| a.end("5"), 5),
        ("a status that is no number", |a| a.end("five"), 2),
        (
            "cut off",
            |mut a| {
                a.bytes(&[0, 0, 0, 0, 9][..]);
                a.end("0");
            },
            14,
        ),
        (
            "too large",
            |mut a| {
                a.bytes(&[0, 255, 0, 0, 0][..]);
                a.end("0");
            },
            8,
        ),
        (
            "compressed",
            |mut a| {
                a.bytes(&[1, 0, 0, 0, 0][..]);
                a.end("0");
            },
            14,
        ),
        (
            "wrong wire",
            |mut a| {
                a.bytes(framed(&[0x1a, 1, 0xff]));
                a.end("0");
            },
            13,
        ),
    ];
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for (name, fault, code) in faults {
        let mut client = Http2::connect(gateway.address).await;
        let request = Request::get(format!("http://test{STREAM}"));
        let request = request.body(Full::default()).expect("request");
        let (reply, begun) = tokio::join!(client.send(request), async {
            let mut call = upstream.next().await;
            let mut answer = Answer::begin(&mut call);
            answer.message(&json!({ "sequence": 1 }));
            answer
        });
        let reply = reply.expect("a reply");
        assert_eq!(reply.status(), 200, "{name}");
        let mut body = reply.into_body();
        let first = soon("a message", body.frame()).await.expect("a piece");
        let first = first.expect("data").into_data().expect("data");
        assert_eq!(first, "[{\"sequence\":1}", "{name}");
        fault(begun);
        let rest = soon("the end", body.collect())
            .await
            .expect("the rest")
            .to_bytes();
        let whole: Value = serde_json::from_slice(&[first, rest].concat()).expect("JSON");
        assert_eq!(whole[1]["error"]["code"], *code, "{name}: {whole}");
        assert_eq!(whole.as_array().expect("array").len(), 2, "{name}: {whole}");
    }
}

/// Raw pieces can't tell of an error: the reply is broken off.
#[tokio::test]
async fn a_raw_stream_that_fails_has_no_end() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let serve = async |upstream: &mut Upstream| {
        let mut call = upstream.next().await;
        let mut answer = Answer::begin(&mut call);
        answer.message(&json!({ "contentType": "text/plain", "data": "aGVsbG8=" }));
        answer.end("14");
    };
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("GET /files/a:download HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    serve(&mut upstream).await;
    let bytes = client.closed().await;
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("5\r\nhello\r\n"), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");

    use http_body_util::BodyExt;
    let mut client = support::client::Http2::connect(gateway.address).await;
    let request = http::Request::get("http://test/files/a:download");
    let request = request
        .body(http_body_util::Full::default())
        .expect("request");
    let (reply, ()) = tokio::join!(client.send(request), serve(&mut upstream));
    let body = soon("the body", reply.expect("head").into_body().collect()).await;
    let reason = body.expect_err("a whole body");
    assert!(format!("{reason:?}").contains("Reset"), "{reason:?}");
}

#[tokio::test]
async fn a_flood_of_empty_messages_is_an_answer_like_any() {
    const MESSAGES: usize = 100_000;
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for path in [UNARY, STREAM] {
        let mut client = Http1::connect(gateway.address).await;
        let (reply, ()) = tokio::join!(client.get(path), async {
            let mut call = upstream.next().await;
            let mut answer = Answer::begin(&mut call);
            answer.bytes(vec![0; 5 * MESSAGES]);
            answer.end("0");
        });
        match path {
            UNARY => assert_eq!(reply.status, 502),
            _ => assert_eq!(reply.body.len(), 3 * MESSAGES + 1),
        }
    }
}

#[tokio::test]
async fn heads_and_trailers_that_are_too_large_are_refused() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Http1::connect(gateway.address).await;
    let long = "x".repeat(30_000);
    // Just over our limit, over what h2 reads, and over what it bears.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for fields in [3, 10] {
        let long = names.iter().take(fields).map(|n| (*n, &*long));
        let many: Vec<_> = std::iter::once(("grpc-status", "0")).chain(long).collect();
        let (reply, ()) = tokio::join!(client.get(UNARY), async {
            let mut call = upstream.next().await;
            let mut answer = Answer::begin(&mut call);
            answer.message(&json!({}));
            let trailers = trailers(&many);
            answer.stream.send_trailers(trailers).expect("trailers");
        });
        assert_eq!(reply.status, 502, "{fields}: {}", reply.text());
        error(&reply);
    }
    let (reply, ()) = tokio::join!(client.get(UNARY), async {
        let call = upstream.next().await;
        head_only(call, 200, &[("a", &long), ("b", &long), ("c", &long)]);
    });
    assert_eq!(reply.status, 502, "{}", reply.text());
    error(&reply);
}

#[tokio::test]
async fn an_upstream_that_is_not_there() {
    let gateway = Gateway::builder(free()).start();
    let mut client = Http1::connect(gateway.address).await;
    for path in [UNARY, STREAM] {
        let reply = client.get(path).await;
        assert_eq!(
            (reply.status, &error(&reply)["code"]),
            (503, &json!(14)),
            "{}",
            reply.text()
        );
    }
    // What needs no upstream is answered still.
    assert_eq!(client.get("/v1/games/x").await.status, 400);
}

/// Whatever speaks on the other side, the client is told, and nothing breaks.
#[tokio::test]
async fn upstreams_that_speak_something_else() {
    type Script = fn(usize, tokio::net::TcpStream) -> support::upstream::Scripted;
    let scripts: &[(&str, Script)] = &[
        ("HTTP/1.1", |_, mut s| {
            Box::pin(async move {
                let mut buffer = [0; 1024];
                let _any = s.read(&mut buffer).await;
                s.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                    .await
                    .ok();
            })
        }),
        ("closes at once", |_, s| Box::pin(async move { drop(s) })),
        ("closes after the request", |_, s| {
            Box::pin(async move {
                let mut peer = Raw::accept(s).await;
                peer.until(HEADERS).await;
            })
        }),
        ("GOAWAY for the call", |_, s| {
            Box::pin(async move {
                let mut peer = Raw::accept(s).await;
                peer.until(HEADERS).await;
                peer.write(&Frame::goaway(0, 2)).await;
            })
        }),
        ("data before a head", |_, s| {
            Box::pin(async move {
                let mut peer = Raw::accept(s).await;
                let call = peer.until(HEADERS).await;
                peer.write(&Frame::new(DATA, 1, call.stream, b"hello"))
                    .await;
                peer.until(GOAWAY).await;
            })
        }),
        ("broken header compression", |_, s| {
            Box::pin(async move {
                let mut peer = Raw::accept(s).await;
                let call = peer.until(HEADERS).await;
                peer.write(&Frame::new(HEADERS, 4, call.stream, &[0xff; 20]))
                    .await;
                peer.until(GOAWAY).await;
            })
        }),
    ];
    for (name, script) in scripts {
        let address = raw(*script).await;
        let gateway = Gateway::builder(address).start();
        let mut client = Http1::connect(gateway.address).await;
        for path in [UNARY, STREAM] {
            let reply = soon(name, client.get(path)).await;
            assert!(
                matches!(reply.status, 502 | 503),
                "{name}: {}",
                reply.text()
            );
            assert!(
                error(&reply)["message"].is_string(),
                "{name}: {}",
                reply.text()
            );
        }
    }
}
