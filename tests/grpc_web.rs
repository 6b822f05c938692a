//! gRPC-Web through the gateway, binary and text, over HTTP/1.1 and HTTP/2.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::Reason;
use support::client::{Http1, Http2, Reply, whole};
use support::gateway::Gateway;
use support::grpc::{framed, trailers};
use support::soon;
use support::upstream::{Call, Upstream};

const GET: &str = "/gamehub.v1.Catalogue/GetGame";
const WATCH: &str = "/gamehub.v1.Scores/WatchScores";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    (upstream, gateway)
}

fn head() -> http::Response<()> {
    let mut response = http::Response::new(());
    let pairs = [("content-type", "application/grpc"), ("x-cost", "3")];
    *response.headers_mut() = trailers(&pairs);
    response
}

/// `name: value` lines as a trailer frame.
fn last(lines: &str) -> Vec<u8> {
    let mut frame = framed(lines.as_bytes());
    frame[0] = 0x80;
    frame
}

/// What a body stands for: text is decoded, quartet by quartet.
fn plain(reply: &Reply) -> Vec<u8> {
    match reply.header("content-type") {
        Some(BINARY) => reply.body.clone(),
        Some(TEXT) => {
            let quartets = reply.body.chunks(4);
            quartets
                .flat_map(|q| STANDARD.decode(q).expect("base64"))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

async fn over_http1(gateway: &Gateway, path: &str, content_type: &str, body: &[u8]) -> Reply {
    let mut client = Http1::connect(gateway.address).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nX-Grpc-Web: 1\r\n\
         X-Tenant: acme\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send([head.as_bytes(), body].concat()).await;
    client.reply().await.expect("a reply")
}

async fn over_http2(gateway: &Gateway, path: &str, content_type: &str, body: &[u8]) -> Reply {
    let mut client = Http2::connect(gateway.address).await;
    let request = http::Request::post(format!("http://test{path}"))
        .header("content-type", content_type)
        .header("x-grpc-web", "1")
        .header("x-tenant", "acme")
        .body(body.to_vec().into())
        .unwrap();
    whole(client.send(request).await.expect("a reply")).await
}

/// Both transports, one after the other.
async fn both(
    (upstream, gateway): (&mut Upstream, &Gateway),
    path: &str,
    content_type: &str,
    body: &[u8],
    script: impl AsyncFn(Call),
) -> [Reply; 2] {
    let body = if content_type.contains("text") {
        STANDARD.encode(body).into_bytes()
    } else {
        body.to_vec()
    };
    let answer = async |upstream: &mut Upstream| script(upstream.next().await).await;
    let (one, ()) = tokio::join!(
        over_http1(gateway, path, content_type, &body),
        answer(upstream)
    );
    let (two, ()) = tokio::join!(
        over_http2(gateway, path, content_type, &body),
        answer(upstream)
    );
    [one, two]
}

#[tokio::test]
async fn calls_pass_in_both_forms_over_both_transports() {
    let (mut upstream, gateway) = start().await;
    for content_type in [BINARY, TEXT] {
        for (path, messages) in [(GET, 1), (WATCH, 3)] {
            let script = async |mut call: Call| {
                let headers = call.request.headers().clone();
                assert_eq!(headers["content-type"], "application/grpc");
                assert_eq!(headers["te"], "trailers");
                assert_eq!(headers["x-tenant"], "acme");
                assert!(!headers.contains_key("x-grpc-web"));
                assert_eq!(call.body().await, framed(b"question"));
                let mut down = call.respond.send_response(head(), false).unwrap();
                for _ in 0..messages {
                    down.send_data(framed(b"answer").into(), false).unwrap();
                }
                let end = [("grpc-status", "0"), ("x-last", "yes")];
                down.send_trailers(trailers(&end)).unwrap();
            };
            let gate = (&mut upstream, &gateway);
            for reply in both(gate, path, content_type, &framed(b"question"), script).await {
                assert_eq!(reply.status, 200);
                assert_eq!(reply.header("content-type"), Some(content_type));
                assert_eq!(reply.header("x-cost"), Some("3"));
                let mut expected = framed(b"answer").repeat(messages);
                expected.extend(last("grpc-status: 0\r\nx-last: yes\r\n"));
                assert_eq!(plain(&reply), expected);
            }
        }
    }
}

#[tokio::test]
async fn failures_are_told_in_the_last_frame() {
    let (mut upstream, gateway) = start().await;
    for content_type in [BINARY, TEXT] {
        // At once, and after a message.
        for begun in [false, true] {
            let script = async |mut call: Call| {
                let status = [("grpc-status", "5"), ("grpc-message", "gone")];
                if begun {
                    let mut down = call.respond.send_response(head(), false).unwrap();
                    down.send_data(framed(b"first").into(), false).unwrap();
                    down.send_trailers(trailers(&status)).unwrap();
                } else {
                    let mut head = head();
                    head.headers_mut().extend(trailers(&status));
                    call.respond.send_response(head, true).unwrap();
                }
            };
            let gate = (&mut upstream, &gateway);
            for reply in both(gate, WATCH, content_type, &framed(b""), script).await {
                assert_eq!(reply.status, 200);
                assert_eq!(reply.header("grpc-status"), None);
                let text = String::from_utf8_lossy(&plain(&reply)).into_owned();
                assert!(text.contains("grpc-status: 5\r\n"), "{text:?}");
                assert!(text.contains("grpc-message: gone\r\n"), "{text:?}");
                assert_eq!(text.contains("first"), begun);
            }
        }
    }
}

#[tokio::test]
async fn broken_requests_are_refused_in_the_protocol() {
    let (mut upstream, gateway) = start().await;
    let cases: [(&str, &str, &[u8], &str); 5] = [
        (
            GET,
            TEXT,
            b"AAAA*A==",
            "the request can't be read: the body is not base64",
        ),
        (
            GET,
            TEXT,
            b"AAAAAAA",
            "the request can't be read: the body's base64 is cut off",
        ),
        (
            GET,
            BINARY,
            b"\0\0\0\0\x09abc",
            "the stream ends inside a message",
        ),
        (
            GET,
            BINARY,
            b"\x80\0\0\0\0",
            "a message has unknown flags 0x80",
        ),
        ("/gamehub.v1.Catalogue/Nope", BINARY, b"", "unknown method"),
    ];
    for (path, content_type, body, message) in cases {
        for reply in [
            over_http1(&gateway, path, content_type, body).await,
            over_http2(&gateway, path, content_type, body).await,
        ] {
            assert_eq!(reply.status, 200, "{message}");
            let text = String::from_utf8_lossy(&plain(&reply)).into_owned();
            assert!(text.contains(message), "{text:?}");
        }
    }
    assert!(upstream.is_quiet());
    let reply = over_http1(&gateway, GET, "application/grpc-web+thrift", b"").await;
    assert_eq!(reply.status, 415);
}

#[tokio::test]
async fn the_form_of_an_answer_follows_accept() {
    let (mut upstream, gateway) = start().await;
    let mut client = Http2::connect(gateway.address).await;
    let request = http::Request::post(format!("http://test{GET}"))
        .header("content-type", BINARY)
        .header("accept", TEXT)
        .body(framed(b"").into())
        .unwrap();
    let (reply, ()) = tokio::join!(client.send(request), async {
        support::grpc::answer(upstream.next().await, &serde_json::json!({ "title": "x" }));
    });
    let reply = whole(reply.unwrap()).await;
    assert_eq!(reply.header("content-type"), Some(TEXT));
    assert!(plain(&reply).ends_with(&last("grpc-status: 0\r\n")));
}

#[tokio::test]
async fn a_message_goes_out_as_it_comes_and_leaving_cancels() {
    let (mut upstream, gateway) = start().await;
    let mut client = Http1::connect(gateway.address).await;
    client
        .send(format!(
            "POST {WATCH} HTTP/1.1\r\nHost: test\r\nContent-Type: {TEXT}\r\nContent-Length: 8\r\n\r\nAAAAAAA="
        ))
        .await;
    let mut call = upstream.next().await;
    let mut down = call.respond.send_response(head(), false).unwrap();
    down.send_data(framed(b"first").into(), false).unwrap();
    let reply = client.head().await.expect("a head");
    assert_eq!(reply.status, 200);
    let chunk = client.chunk().await.expect("a chunk");
    assert_eq!(chunk, STANDARD.encode(framed(b"first")).into_bytes());
    drop(client);
    let reset = std::future::poll_fn(|cx| down.poll_reset(cx));
    assert_eq!(soon("a reset", reset).await.unwrap(), Reason::CANCEL);
}
