//! gRPC through the gateway as it is: all four kinds of call, by the frame.

mod support;

use std::time::Duration;

use h2::Reason;
use serde_json::json;
use support::gateway::Gateway;
use support::grpc::{framed, trailers};
use support::rpc::{Answer, Grpc};
use support::soon;
use support::upstream::{Call, Upstream};

const GET: &str = "/gamehub.v1.Catalogue/GetGame";
const WATCH: &str = "/gamehub.v1.Scores/WatchScores";
const UPLOAD: &str = "/gamehub.v1.Telemetry/UploadPlay";
const JOIN: &str = "/gamehub.v1.Chat/Join";
/// A method without a REST rule.
const REPORT: &str = "/gamehub.v1.Moderation/Report";

async fn start() -> (Upstream, Gateway, Grpc) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let client = Grpc::connect(gateway.address).await;
    (upstream, gateway, client)
}

fn head(pairs: &[(&'static str, &str)]) -> http::Response<()> {
    let mut response = http::Response::new(());
    let type_ = [("content-type", "application/grpc")];
    *response.headers_mut() = trailers(&[&type_[..], pairs].concat());
    response
}

#[tokio::test]
async fn a_unary_call_passes_with_its_metadata_and_trailers() {
    let (mut upstream, _gateway, mut client) = start().await;
    let request = Grpc::post(GET)
        .header("x-tenant", "acme")
        .header("key-bin", "AAEC")
        .header("user-agent", "grpc-test/1")
        .header("grpc-timeout", "5S")
        .header("grpc-accept-encoding", "gzip,identity")
        .header("cookie", "session=1")
        .header("x-forwarded-for", "6.6.6.6");
    let answering = tokio::spawn(async move {
        let mut call = upstream.next().await;
        let headers = call.request.headers().clone();
        let body = call.body().await;
        let mut down = call
            .respond
            .send_response(head(&[("x-cost", "3")]), false)
            .unwrap();
        down.send_data(framed(b"answer").into(), false).unwrap();
        let end = [("grpc-status", "0"), ("x-last", "yes")];
        down.send_trailers(trailers(&end)).unwrap();
        (headers, body)
    });
    let answer = client.call(request, &[b"question"]).await;
    let (headers, body) = answering.await.unwrap();
    assert_eq!(body, framed(b"question"));
    assert_eq!(headers["x-tenant"], "acme");
    assert_eq!(headers["key-bin"], "AAEC");
    assert_eq!(headers["user-agent"], "grpc-test/1");
    assert_eq!(headers["grpc-accept-encoding"], "gzip,identity");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["content-type"], "application/grpc");
    assert!(headers["grpc-timeout"].to_str().unwrap().starts_with("49"));
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert!(headers.contains_key("x-request-id"));
    assert!(!headers.contains_key("cookie"));

    assert_eq!(answer.status, 200);
    assert_eq!(answer.head["content-type"], "application/grpc");
    assert_eq!(answer.head["x-cost"], "3");
    assert_eq!(answer.data, framed(b"answer"));
    assert_eq!(answer.code(), "0");
    assert_eq!(answer.trailers["x-last"], "yes");
}

/// One call, answered by `script`.
async fn one<T: Send + 'static>(
    upstream: &mut Upstream,
    client: &mut Grpc,
    request: http::request::Builder,
    script: impl FnOnce(Call) -> T,
) -> (Answer, T) {
    let answering = async { script(upstream.next().await) };
    let calling = client.call(request, &[b""]);
    let (answer, told) = tokio::join!(calling, answering);
    (answer, told)
}

#[tokio::test]
async fn a_services_failure_passes_and_its_inner_words_stay_inside() {
    let (mut upstream, _gateway, mut client) = start().await;
    // google.rpc.Status { code: 5, details: [Any { type_url: "t/x", value: "v" }] }
    let details = "CAUaCAoDdC94EgF2";
    for (method, ends) in [(GET, true), (WATCH, false), (REPORT, true)] {
        let told = [
            ("grpc-status", "5"),
            ("grpc-message", "no %C3%A9"),
            ("grpc-status-details-bin", details),
            ("x-hint", "a"),
        ];
        let script = |mut call: Call| {
            if ends {
                call.respond.send_response(head(&told), true).unwrap();
            } else {
                let mut down = call.respond.send_response(head(&[]), false).unwrap();
                down.send_data(framed(b"first").into(), false).unwrap();
                down.send_trailers(trailers(&told)).unwrap();
            }
        };
        let (answer, ()) = one(&mut upstream, &mut client, Grpc::post(method), script).await;
        assert_eq!((answer.status, answer.code()), (200, "5"), "{method}");
        assert_eq!(answer.message(), "no %C3%A9");
        assert_eq!(answer.trailer("grpc-status-details-bin"), Some(details));
        assert_eq!(answer.trailer("x-hint"), Some("a"));
    }
    let script = |mut call: Call| {
        let told = [("grpc-status", "13"), ("grpc-message", "at db7:5432")];
        call.respond.send_response(head(&told), true).unwrap();
    };
    let (answer, ()) = one(&mut upstream, &mut client, Grpc::post(GET), script).await;
    assert_eq!((answer.code(), answer.message()), ("13", "internal error"));
}

#[tokio::test]
async fn the_gateways_own_failures_are_trailers_only_answers() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set(
            "upstreams",
            json!({ "games": { "endpoints": ["127.0.0.1:1"] } }),
        )
        .set("defaults", json!({ "limits": { "body": "1KiB" } }))
        .start();
    let mut client = Grpc::connect(gateway.address).await;
    let large = vec![b'x'; 1025];
    let cases: &[(&str, &[u8], &str, &str)] = &[
        (
            "/gamehub.v1.Catalogue/Nothing",
            b"",
            "12",
            "unknown method gamehub.v1.Catalogue/Nothing",
        ),
        (
            "/no.Such/Method",
            b"",
            "12",
            "unknown method no.Such/Method",
        ),
        (GET, b"", "14", "upstream \"games\" can't be reached"),
        (GET, &large, "8", "the request is larger than 1024 bytes"),
    ];
    for (path, message, code, text) in cases {
        let answer = client.call(Grpc::post(path), &[message]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.head["content-type"], "application/grpc");
        assert_eq!((answer.code(), answer.message()), (*code, *text), "{path}");
        assert_eq!(answer.head["grpc-status"], *code, "in the head");
        assert_eq!(answer.data, b"");
    }
    let request = Grpc::post(GET).header("grpc-timeout", "soon");
    let answer = client.call(request, &[b""]).await;
    assert_eq!(answer.code(), "3");
    let mut call = client.begin(Grpc::post(GET)).await;
    call.bytes(&b"\x09\0\0\0\0"[..]);
    call.finish();
    let answer = call.whole().await;
    assert_eq!(
        answer.message(),
        "the request can't be read: a message has unknown flags 0x09"
    );
}

#[tokio::test]
async fn both_sides_of_a_bidi_call_go_on_at_once() {
    let (mut upstream, _gateway, mut client) = start().await;
    let mut call = client.begin(Grpc::post(JOIN)).await;
    let mut seen = upstream.next().await;
    let mut down_there = seen.respond.send_response(head(&[]), false).unwrap();
    call.message(b"hello");
    let got = soon("a message", seen.request.body_mut().data())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, framed(b"hello"));
    down_there
        .send_data(framed(b"welcome").into(), false)
        .unwrap();
    let (mut up, mut down) = call.split().await;
    assert_eq!(down.piece().await, framed(b"welcome"));
    up.send_data(framed(b"again").into(), true).unwrap();
    let got = soon("a message", seen.request.body_mut().data())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, framed(b"again"));
    assert!(
        soon("the end", seen.request.body_mut().data())
            .await
            .is_none_or(|d| d.unwrap().is_empty())
    );
    down_there
        .send_trailers(trailers(&[("grpc-status", "0")]))
        .unwrap();
    assert_eq!(down.whole().await.code(), "0");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_all_kinds_of_call() {
    let (mut upstream, _gateway, mut client) = start().await;
    for method in [GET, WATCH, UPLOAD, JOIN] {
        for begun in [false, true] {
            let mut call = client.begin(Grpc::post(method)).await;
            call.message(b"one");
            if [GET, WATCH].contains(&method) {
                call.finish();
            }
            let mut seen = upstream.next().await;
            let reason = if begun {
                let down = seen.respond.send_response(head(&[]), false).unwrap();
                let (mut up, answer) = call.split().await;
                up.send_reset(Reason::CANCEL);
                drop(answer);
                let mut down = down;
                soon("a reset", std::future::poll_fn(|cx| down.poll_reset(cx)))
                    .await
                    .unwrap()
            } else {
                call.cancel();
                soon("a reset", seen.cancelled()).await
            };
            assert_eq!(reason, Reason::CANCEL, "{method} {begun}");
        }
    }
}

#[tokio::test]
async fn deadlines_end_calls_with_their_status() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set(
            "defaults",
            json!({ "timeout": "100ms", "stream_idle": "100ms" }),
        )
        .start();
    let mut upstream = upstream;
    let mut client = Grpc::connect(gateway.address).await;
    for method in [GET, WATCH] {
        let (answer, seen) = one(&mut upstream, &mut client, Grpc::post(method), |call| call).await;
        assert_eq!(answer.code(), "4", "{method}");
        assert_eq!(answer.message(), "the service didn't answer in time");
        assert_eq!(soon("a reset", seen.cancelled()).await, Reason::CANCEL);
    }
    // A stream that has begun may be silent for no longer than `stream_idle`.
    let script = |mut call: Call| {
        let mut down = call.respond.send_response(head(&[]), false).unwrap();
        down.send_data(framed(b"first").into(), false).unwrap();
        down
    };
    let (answer, _down) = one(&mut upstream, &mut client, Grpc::post(WATCH), script).await;
    assert_eq!(
        (answer.code(), &answer.data[..]),
        ("4", &framed(b"first")[..])
    );
    assert_eq!(answer.message(), "the service sent nothing for too long");
}

#[tokio::test]
async fn an_upload_may_take_longer_than_a_call() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "timeout": "50ms" }))
        .start();
    let mut upstream = upstream;
    let mut client = Grpc::connect(gateway.address).await;
    let mut call = client.begin(Grpc::post(UPLOAD)).await;
    let mut seen = upstream.next().await;
    for _ in 0..5 {
        call.message(b"piece");
        let got = soon("a message", seen.request.body_mut().data())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got, framed(b"piece"));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    call.finish();
    assert_eq!(
        call.whole().await.code(),
        "4",
        "once the client has said all"
    );
    assert_eq!(soon("a reset", seen.cancelled()).await, Reason::CANCEL);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_a_stream_of_requests() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "limits": { "body": "1KiB" } }))
        .start();
    let mut upstream = upstream;
    let mut client = Grpc::connect(gateway.address).await;
    let mut call = client.begin(Grpc::post(JOIN)).await;
    let fitting = vec![b'x'; 1024];
    for _ in 0..3 {
        call.message(&fitting);
    }
    let mut seen = upstream.next().await;
    let mut got = 0;
    while got < 3 * 1029 {
        let data = soon("data", seen.request.body_mut().data()).await;
        got += data.unwrap().unwrap().len();
    }
    call.message(&[b'x'; 1025]);
    let answer = call.whole().await;
    assert_eq!(answer.code(), "8");
    assert!(
        answer.message().contains("a message has 1025 bytes"),
        "{answer:?}"
    );
    assert_eq!(soon("a reset", seen.cancelled()).await, Reason::CANCEL);
}

#[tokio::test]
async fn broken_answers_end_with_a_status() {
    let (mut upstream, _gateway, mut client) = start().await;
    type Script = fn(Call);
    let cases: [(Script, &str, &str); 5] = [
        (
            |mut call| {
                let mut down = call.respond.send_response(head(&[]), false).unwrap();
                down.send_data(framed(b"first").into(), true).unwrap();
            },
            "2",
            "the service ended the call without a status",
        ),
        (
            |mut call| {
                let mut down = call.respond.send_response(head(&[]), false).unwrap();
                down.send_data(framed(b"first")[..7].to_vec().into(), false)
                    .unwrap();
                down.send_trailers(trailers(&[("grpc-status", "0")]))
                    .unwrap();
            },
            "14",
            "the service's answer can't be read: the stream ends inside a message",
        ),
        (
            |mut call| {
                let mut response = http::Response::new(());
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                call.respond.send_response(response, true).unwrap();
            },
            "14",
            "the upstream answered with HTTP status 503",
        ),
        (
            |mut call| {
                let mut down = call.respond.send_response(head(&[]), false).unwrap();
                down.send_data(framed(b"first").into(), false).unwrap();
                down.send_reset(Reason::INTERNAL_ERROR);
            },
            "13",
            // Before or after its head, as the reset may overtake it.
            "upstream \"games\" ",
        ),
        (
            |call| call.reset(Reason::ENHANCE_YOUR_CALM),
            "8",
            "upstream \"games\" gave no answer",
        ),
    ];
    for (script, code, message) in cases {
        let (answer, ()) = one(&mut upstream, &mut client, Grpc::post(WATCH), script).await;
        assert_eq!((answer.status, answer.code()), (200, code), "{message}");
        assert!(answer.message().starts_with(message), "{answer:?}");
    }
}

#[tokio::test]
async fn http1_and_get_are_refused() {
    let (_upstream, gateway, mut client) = start().await;
    let mut http1 = support::client::Http1::connect(gateway.address).await;
    http1
        .send(format!(
            "POST {GET} HTTP/1.1\r\nHost: test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    let reply = http1.reply().await.unwrap();
    assert_eq!(reply.status, 505);
    let request = http::Request::put(format!("http://test{GET}"));
    let request = request.header("content-type", "application/grpc");
    let answer = client.call(request, &[]).await;
    assert_eq!(
        (answer.status, &answer.head["allow"]),
        (405, &"POST".parse().unwrap())
    );
}
