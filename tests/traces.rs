//! Traces: a collector receives the spans of requests, with their parents right from the client across
//! the gateway to the service, and nothing that it or a client does costs a request.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use http::HeaderMap;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;
use support::client::{Http1, Reply};
use support::collector::{Collector, Manner, attribute, hex, spans};
use support::gateway::{Builder, Gateway};
use support::grpc;
use support::process::Process;
use support::rpc::Grpc;
use support::site::{Site, over_http1};
use support::soon;
use support::tls::{Authority, connect, front};
use support::upstream::{Call, Upstream};
use tokio::io::AsyncWriteExt;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Exports at once, and all.
fn traced(builder: Builder, collector: SocketAddr, protocol: &str) -> Builder {
    let endpoint = format!("http://{collector}");
    builder
        .set(
            "trace",
            json!({ "endpoint": endpoint, "protocol": protocol }),
        )
        .variable("OTEL_BSP_SCHEDULE_DELAY", 1)
}

fn get(path: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers
        .iter()
        .map(|(n, v)| format!("{n}: {v}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\nuser-agent: test/1\r\n{lines}\r\n")
}

async fn ask(gateway: &Gateway, headers: &[(&str, &str)]) -> Reply {
    let mut client = Http1::connect(gateway.address).await;
    client.send(get("/v1/games/7", headers)).await;
    client.reply().await.expect("a reply")
}

/// A request for a game, which the service answers; and what the service was told.
async fn asked(gateway: &Gateway, upstream: &mut Upstream, headers: &[(&str, &str)]) -> HeaderMap {
    let answered = async {
        let call = upstream.next().await;
        let told = call.request.headers().clone();
        grpc::answer(call, &json!({ "id": "7" }));
        told
    };
    let mut asking = std::pin::pin!(ask(gateway, headers));
    let told = tokio::select! {
        early = &mut asking => panic!("{headers:?}: {early:?}"),
        told = answered => told,
    };
    let reply = asking.await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    told
}

/// `00-{trace}-{span}-{flags}`
fn parent(trace: &[u8], span: &[u8], flags: &str) -> String {
    format!("00-{}-{}-{flags}", hex(trace), hex(span))
}

fn of(span: &Span, key: &str) -> Option<String> {
    attribute(&span.attributes, key)
}

fn has(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(of(span, key).as_deref(), Some(*value), "{key} of {span:#?}");
    }
}

fn code(span: &Span) -> StatusCode {
    span.status.as_ref().map_or(StatusCode::Unset, |s| s.code())
}

/// Answers without a message, as servers refuse.
fn refuse(mut call: Call, status: &str) {
    let head = http::Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", status)
        .body(())
        .expect("head");
    call.respond.send_response(head, true).expect("respond");
}

#[tokio::test]
async fn parents_are_right_across_browser_gateway_and_service() {
    for (protocol, compression) in [
        ("grpc", "none"),
        ("grpc", "gzip"),
        ("http/protobuf", "none"),
        ("http/protobuf", "gzip"),
    ] {
        let mut collector = match protocol {
            "grpc" => Collector::over_grpc(Manner::Takes),
            _ => Collector::over_http(Manner::Takes),
        };
        let mut upstream = Upstream::start().await;
        let gateway = traced(
            Gateway::builder(upstream.address),
            collector.address,
            protocol,
        )
        .variable("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
        .variable("OTEL_SERVICE_NAME", "front")
        .start();
        let browser = format!("00-{ID}-{SPAN}-01");
        let sent = [("traceparent", &*browser), ("tracestate", "shop=1")];
        let told = asked(&gateway, &mut upstream, &sent).await;

        let export = collector.export().await;
        assert_eq!(export.headers["x-key"], "secret");
        let resource = export.message.resource_spans[0].resource.clone();
        let resource = resource.expect("a resource").attributes;
        let name = attribute(&resource, "service.name");
        assert_eq!(name.as_deref(), Some("front"));
        let all: Vec<_> = spans(export.message).collect();
        let [request, one] = &*all else {
            panic!("{all:#?}");
        };
        assert_eq!(hex(&request.trace_id), ID);
        assert_eq!(hex(&request.parent_span_id), SPAN);
        assert_eq!(request.trace_state, "shop=1");
        assert_eq!((one.trace_id.len(), one.span_id.len()), (16, 8));
        assert_eq!(one.trace_id, request.trace_id);
        assert_eq!(one.parent_span_id, request.span_id);
        let service = parent(&one.trace_id, &one.span_id, "01");
        assert_eq!(told["traceparent"], service);
        assert_eq!(told["tracestate"], "shop=1");

        assert_eq!(request.name, "GET /v1/games/{game_id}");
        assert_eq!(request.kind, SpanKind::Server as i32);
        assert_eq!(code(request), StatusCode::Unset);
        has(
            request,
            &[
                ("http.request.method", "GET"),
                ("url.scheme", "http"),
                ("url.path", "/v1/games/7"),
                ("http.route", "/v1/games/{game_id}"),
                ("http.response.status_code", "200"),
                ("network.protocol.version", "1.1"),
                ("server.address", "shop.example"),
                ("client.address", "127.0.0.1"),
                ("user_agent.original", "test/1"),
                ("transom.upstream", "games"),
                ("transom.rpc", "gamehub.v1.Catalogue/GetGame"),
                ("transom.code", "OK"),
            ],
        );
        assert_eq!(of(request, "rpc.system.name"), None);
        assert_eq!(of(request, "error.type"), None);
        assert_eq!(one.name, "gamehub.v1.Catalogue/GetGame");
        assert_eq!(one.kind, SpanKind::Client as i32);
        assert_eq!(code(one), StatusCode::Unset);
        has(
            one,
            &[
                ("rpc.system.name", "grpc"),
                ("rpc.method", "gamehub.v1.Catalogue/GetGame"),
                ("rpc.response.status_code", "OK"),
                ("server.address", "127.0.0.1"),
                ("server.port", &upstream.address.port().to_string()),
            ],
        );
        assert!(request.start_time_unix_nano <= one.start_time_unix_nano);
        assert!(one.start_time_unix_nano <= one.end_time_unix_nano);
        assert!(one.end_time_unix_nano <= request.end_time_unix_nano);
    }
}

#[tokio::test]
async fn every_form_of_a_client_is_heeded_and_told_to_the_service() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let mut upstream = Upstream::start().await;
    let gateway = traced(
        Gateway::builder(upstream.address),
        collector.address,
        "grpc",
    )
    .start();
    let decimal = u64::from_str_radix(SPAN, 16).expect("a span");
    let b3 = format!("{ID}-{SPAN}-1");
    let cloud = format!("{ID}/{decimal};o=1");
    let multi = [
        ("x-b3-traceid", ID),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "1"),
    ];
    // As OpenCensus' libraries write it.
    let binary = "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE";
    for sent in [
        &[("b3", &*b3)][..],
        &multi,
        &[("x-cloud-trace-context", &*cloud)],
        &[("grpc-trace-bin", binary)],
    ] {
        let told = asked(&gateway, &mut upstream, sent).await;
        let trail = collector.trail().await;
        assert_eq!(hex(&trail.request.trace_id), ID, "{sent:?}");
        assert_eq!(hex(&trail.request.parent_span_id), SPAN, "{sent:?}");
        let one = &trail.tries[0];
        assert_eq!(
            told["traceparent"],
            parent(&one.trace_id, &one.span_id, "01")
        );
        let (name, _) = sent[0];
        let span = hex(&one.span_id);
        match name {
            "b3" => assert_eq!(told["b3"], format!("{ID}-{span}-1")),
            "x-b3-traceid" => {
                assert_eq!(told["x-b3-traceid"], ID);
                assert_eq!(told["x-b3-spanid"], span);
            }
            "x-cloud-trace-context" => {
                let decimal = u64::from_str_radix(&span, 16).expect("a span");
                assert_eq!(told[name], format!("{ID}/{decimal};o=1"));
            }
            _ => assert_ne!(told[name], binary),
        }
    }
}

#[tokio::test]
async fn what_nobody_can_read_costs_the_trace_and_not_the_request() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let mut upstream = Upstream::start().await;
    let gateway = traced(
        Gateway::builder(upstream.address),
        collector.address,
        "grpc",
    )
    .start();
    let good = format!("00-{ID}-{SPAN}-01");
    let long = "f".repeat(3000);
    let members = vec!["a=1"; 600].join(",");
    for sent in [
        &[("traceparent", &*long)][..],
        &[(
            "traceparent",
            "00-00000000000000000000000000000000-0000000000000000-01",
        )],
        &[("traceparent", &*good), ("traceparent", &*good)],
        &[("traceparent", "\""), ("tracestate", &*members)],
        &[
            ("b3", &*long),
            ("x-b3-traceid", &*long),
            ("x-b3-spanid", ""),
        ],
        &[
            ("x-cloud-trace-context", &*long),
            ("grpc-trace-bin", &*long),
        ],
    ] {
        let told = asked(&gateway, &mut upstream, sent).await;
        let trail = collector.trail().await;
        assert_eq!(trail.request.parent_span_id, [0; 0], "{sent:?}");
        let one = &trail.tries[0];
        assert_eq!(
            told["traceparent"],
            parent(&one.trace_id, &one.span_id, "01")
        );
        assert_eq!(told.get_all("traceparent").iter().count(), 1);
        assert_eq!(told.get("tracestate"), None);
    }
    // A state that is too much goes alone.
    let sent = [("traceparent", &*good), ("tracestate", &*members)];
    let told = asked(&gateway, &mut upstream, &sent).await;
    let trail = collector.trail().await;
    assert_eq!(hex(&trail.request.parent_span_id), SPAN);
    assert_eq!(
        (&*trail.request.trace_state, told.get("tracestate")),
        ("", None)
    );
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let mut upstream = Upstream::start().await;
    let gateway = traced(
        Gateway::builder(upstream.address),
        collector.address,
        "grpc",
    )
    .start();
    let mut told = Vec::new();
    let (reply, ()) = tokio::join!(ask(&gateway, &[]), async {
        let first = upstream.next().await;
        told.push(first.request.headers()["traceparent"].clone());
        refuse(first, "14");
        let second = upstream.next().await;
        told.push(second.request.headers()["traceparent"].clone());
        grpc::answer(second, &json!({ "id": "7" }));
    });
    assert_eq!(reply.status, 200);
    let trail = collector.trail().await;
    assert_eq!(code(&trail.request), StatusCode::Unset);
    let expected = trail
        .tries
        .iter()
        .map(|one| parent(&one.trace_id, &one.span_id, "01"));
    assert_eq!(expected.collect::<Vec<_>>(), told);
    let [failed, good] = &*trail.tries else {
        panic!("{trail:#?}");
    };
    assert_eq!(
        (code(failed), code(good)),
        (StatusCode::Error, StatusCode::Unset)
    );
    has(
        failed,
        &[
            ("rpc.response.status_code", "UNAVAILABLE"),
            ("error.type", "UNAVAILABLE"),
        ],
    );
    assert!(failed.end_time_unix_nano <= good.start_time_unix_nano);
    assert_eq!(of(failed, "http.request.resend_count"), None);
    has(
        good,
        &[
            ("rpc.response.status_code", "OK"),
            ("http.request.resend_count", "1"),
        ],
    );
}

#[tokio::test]
async fn hedged_calls_have_spans_beside_each_other() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let (mut one, mut other) = (Upstream::start().await, Upstream::start().await);
    let both = [one.address.to_string(), other.address.to_string()];
    let builder = Gateway::builder(one.address)
        .upstream("games", json!({ "endpoints": both }))
        .set("defaults", json!({ "hedge": { "after": "1ms" } }));
    let gateway = traced(builder, collector.address, "grpc").start();
    let (reply, (won, lost)) = tokio::join!(ask(&gateway, &[]), async {
        // Neither answers before both are asked.
        let (slow, quick) = (one.next().await, other.next().await);
        let told = |call: &Call| call.request.headers()["traceparent"].clone();
        let (lost, won) = (told(&slow), told(&quick));
        grpc::answer(quick, &json!({ "id": "7" }));
        soon("a reset", slow.cancelled()).await;
        (won, lost)
    });
    assert_eq!(reply.status, 200);
    let trail = collector.trail().await;
    assert_eq!(trail.tries.len(), 2, "{trail:#?}");
    let of_told = |told: &http::HeaderValue| {
        let is = |s: &&Span| parent(&s.trace_id, &s.span_id, "01") == *told;
        trail.tries.iter().find(is).expect("a span of the try")
    };
    let (won, lost) = (of_told(&won), of_told(&lost));
    has(
        won,
        &[
            ("rpc.response.status_code", "OK"),
            ("server.port", &other.address.port().to_string()),
        ],
    );
    has(
        lost,
        &[
            ("rpc.response.status_code", "CANCELLED"),
            ("server.port", &one.address.port().to_string()),
        ],
    );
    assert_eq!(
        (code(won), code(lost)),
        (StatusCode::Unset, StatusCode::Error)
    );
    assert!(lost.end_time_unix_nano <= trail.request.end_time_unix_nano);
}

#[tokio::test]
async fn failures_are_errors_of_whom_they_are() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let mut upstream = Upstream::start().await;
    let gateway = traced(
        Gateway::builder(upstream.address),
        collector.address,
        "grpc",
    )
    .start();
    // `(what the service says, status, whether the server's span is an error)`
    for (status, expected, failed) in [("5", 404, false), ("13", 500, true)] {
        let (reply, ()) = tokio::join!(ask(&gateway, &[]), async {
            refuse(upstream.next().await, status);
        });
        assert_eq!(reply.status, expected);
        let trail = collector.trail().await;
        let is_error = code(&trail.request) == StatusCode::Error;
        assert_eq!(is_error, failed, "{:#?}", trail.request);
        assert_eq!(code(&trail.tries[0]), StatusCode::Error);
    }
    // gRPC has 200 for everything.
    for (status, failed) in [("5", false), ("13", true)] {
        let mut client = Grpc::connect(gateway.address).await;
        let request = Grpc::post("/gamehub.v1.Catalogue/GetGame");
        let (answer, ()) = tokio::join!(client.call(request, &[&[]]), async {
            refuse(upstream.next().await, status);
        });
        assert_eq!((answer.status, answer.code()), (200, status));
        let trail = collector.trail().await;
        assert_eq!(trail.request.name, "gamehub.v1.Catalogue/GetGame");
        let is_error = code(&trail.request) == StatusCode::Error;
        assert_eq!(is_error, failed, "{:#?}", trail.request);
        has(
            &trail.request,
            &[
                ("rpc.system.name", "grpc"),
                ("network.protocol.version", "2"),
            ],
        );
    }
    // Connect has words of its own.
    let mut client = Http1::connect(gateway.address).await;
    client
        .send(concat!(
            "POST /gamehub.v1.Catalogue/GetGame HTTP/1.1\r\nhost: test\r\n",
            "connect-protocol-version: 1\r\ncontent-type: application/json\r\n",
            "content-length: 2\r\n\r\n{}",
        ))
        .await;
    refuse(upstream.next().await, "5");
    assert_eq!(client.reply().await.expect("a reply").status, 404);
    let trail = collector.trail().await;
    has(
        &trail.request,
        &[
            ("rpc.system.name", "connectrpc"),
            ("rpc.response.status_code", "not_found"),
        ],
    );
    assert_eq!(code(&trail.request), StatusCode::Unset);
    // Nobody is asked, and nothing was called.
    let mut client = Http1::connect(gateway.address).await;
    let reply = client.get("/nowhere").await;
    assert_eq!(reply.status, 404);
    let trail = collector.trail().await;
    assert_eq!((&*trail.request.name, trail.tries.len()), ("GET", 0));
    assert_eq!(code(&trail.request), StatusCode::Unset);
    assert_eq!(of(&trail.request, "http.route"), None);
}

#[tokio::test]
async fn an_instance_that_cannot_be_reached_is_a_try() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    // Nobody listens there.
    let closed = ([127, 0, 0, 1], 9).into();
    let gateway = traced(Gateway::builder(closed), collector.address, "grpc").start();
    assert_eq!(ask(&gateway, &[]).await.status, 503);
    let trail = collector.trail().await;
    assert_eq!(trail.tries.len(), 1, "{trail:#?}");
    has(&trail.tries[0], &[("error.type", "UNAVAILABLE")]);
    let status = trail.tries[0].status.as_ref().expect("a status");
    assert!(status.message.contains("refused"), "{status:?}");
}

#[tokio::test]
async fn a_request_that_is_passed_on_has_the_attributes_of_http() {
    let mut collector = Collector::over_http(Manner::Takes);
    let site = Site::start().await;
    let gateway = traced(over_http1(&site), collector.address, "http/protobuf").start();
    let mut client = Http1::connect(gateway.address).await;
    client.send(get("/site/a?secret=1", &[])).await;
    let (mut upstream, head) = site.next().await;
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope";
    upstream.write_all(answer).await.expect("answer");
    assert_eq!(client.reply().await.expect("a reply").status, 404);
    let trail = collector.trail().await;
    let one = &trail.tries[0];
    let told = format!("traceparent: {}", parent(&one.trace_id, &one.span_id, "01"));
    assert!(head.contains(&told), "{told} in {head}");
    assert_eq!((&*one.name, code(one)), ("GET", StatusCode::Error));
    let url = of(one, "url.full").expect("an address");
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/site/a"),
        "{url}"
    );
    has(
        one,
        &[("http.response.status_code", "404"), ("error.type", "404")],
    );
    assert_eq!(code(&trail.request), StatusCode::Unset);
}

/// The binary, which passes all on to `upstream` over HTTP/2.
fn process(collector: &Collector, upstream: &Upstream, listener: &str, wait: u64) -> Process {
    let folder = tempfile::tempdir().expect("a folder");
    process_in(folder, collector, upstream, listener, wait)
}

fn process_in(
    folder: tempfile::TempDir,
    collector: &Collector,
    upstream: &Upstream,
    listener: &str,
    wait: u64,
) -> Process {
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\"{listener} }}]\nadmin: {{ address: \
         \"127.0.0.1:0\" }}\nupstreams: {{ site: {{ endpoints: [\"{}\"], protocol: http2 }} }}\n\
         routes: [{{ prefix: /, upstream: site }}]\ntimeouts: {{ drain_delay: 0s }}\n\
         trace: {{ endpoint: \"http://{}\", protocol: grpc }}\n",
        upstream.address, collector.address
    );
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_transom"));
    command.env("OTEL_BSP_SCHEDULE_DELAY", wait.to_string());
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000");
    Process::start_by(folder, command)
}

const HOUR: u64 = 3_600_000;

#[tokio::test]
async fn metrics_tell_what_became_of_spans() {
    let mut collector = Collector::over_grpc(Manner::Refuses);
    let mut upstream = Upstream::start().await;
    let gateway = process(&collector, &upstream, "", 1);
    let mut client = Http1::connect(gateway.address).await;
    client.send(get("/", &[])).await;
    upstream.next().await.answer("here");
    assert_eq!(client.reply().await.expect("a reply").status, 200);
    collector.export().await;
    soon("the metric", async {
        let series = "transom_trace_spans_total{result=\"failed\"} 2";
        while !gateway.admin("/metrics").await.1.contains(series) {}
    })
    .await;
    gateway.says("traces can't be exported");
}

#[tokio::test]
async fn the_end_of_the_process_sends_what_waits_and_waits_for_nobody() {
    for manner in [Manner::Takes, Manner::NeverAnswers] {
        let mut collector = Collector::over_grpc(manner);
        let mut upstream = Upstream::start().await;
        let gateway = process(&collector, &upstream, "", HOUR);
        let mut client = Http1::connect(gateway.address).await;
        client.send(get("/", &[("connection", "close")])).await;
        upstream.next().await.answer("here");
        assert_eq!(client.reply().await.expect("a reply").status, 200);
        let status = gateway.terminate().await;
        assert!(status.success(), "{status}");
        let trail = collector.trail().await;
        assert_eq!(trail.tries.len(), 1, "{trail:#?}");
    }
}

#[tokio::test]
async fn the_first_request_of_a_connection_tells_of_its_handshake() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let authority = Authority::new("root");
    let folder = tempfile::tempdir().expect("a folder");
    authority
        .server(&["shop.example"])
        .write(folder.path(), "shop");
    let mut upstream = Upstream::start().await;
    let listener = ", tls: { certificates: [{ cert: shop.crt, key: shop.key }] }";
    let gateway = process_in(folder, &collector, &upstream, listener, 1);
    let mut stream = connect(gateway.address, "shop.example", authority.trusted())
        .await
        .expect("a connection");
    for first in [true, false] {
        stream
            .write_all(get("/v1/games/7", &[]).as_bytes())
            .await
            .expect("sent");
        upstream.next().await.answer("here");
        let trail = collector.trail().await;
        has(&trail.request, &[("url.scheme", "https")]);
        assert_eq!(trail.handshake.is_some(), first);
        if let Some(handshake) = trail.handshake {
            assert_eq!(handshake.trace_id, trail.request.trace_id);
            has(
                &handshake,
                &[
                    ("tls.protocol.name", "tls"),
                    ("tls.protocol.version", "1.3"),
                ],
            );
            let (begun, ended) = (handshake.start_time_unix_nano, handshake.end_time_unix_nano);
            assert!(begun <= ended && ended <= trail.request.end_time_unix_nano);
        }
    }
}

#[tokio::test]
async fn services_are_told_of_what_is_not_traced_and_nothing_is_exported() {
    let mut collector = Collector::over_grpc(Manner::Takes);
    let mut upstream = Upstream::start().await;
    let builder = Gateway::builder(upstream.address);
    let gateway = traced(builder, collector.address, "grpc")
        .variable("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        .start();
    let declined = format!("00-{ID}-{SPAN}-00");
    let told = asked(&gateway, &mut upstream, &[("traceparent", &declined)]).await;
    assert_eq!(told["traceparent"], declined);
    let told = asked(&gateway, &mut upstream, &[]).await;
    let begun = told["traceparent"].to_str().expect("text").to_owned();
    assert!(begun.ends_with("-00"), "{begun}");
    // A client that wants it is heeded; were the others exported, they would have come before.
    let wanted = format!("00-{ID}-{SPAN}-01");
    asked(&gateway, &mut upstream, &[("traceparent", &wanted)]).await;
    let trail = collector.trail().await;
    assert_eq!(hex(&trail.request.parent_span_id), SPAN);
}

#[tokio::test]
async fn a_gateway_that_does_not_trace_passes_on_what_came() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let wanted = format!("00-{ID}-{SPAN}-01");
    let sent = [
        ("traceparent", &*wanted),
        ("tracestate", "a=1"),
        ("b3", "x"),
    ];
    let told = asked(&gateway, &mut upstream, &sent).await;
    for (name, value) in sent {
        assert_eq!(told[name], value);
    }
    let told = asked(&gateway, &mut upstream, &[]).await;
    assert_eq!(told.get("traceparent"), None);
}

/// What became of spans, once `is_so`.
async fn counted(gateway: &Gateway, is_so: impl Fn(u64, u64) -> bool) {
    let spans = gateway.running.outputs().spans().expect("tracing").clone();
    soon("the counts", async {
        loop {
            let report = spans.report();
            if is_so(report.exported, report.failed) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_collector_over_tls_is_told_apart_from_others() {
    let authority = Authority::new("root");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.pem");
    fs::write(&root, &authority.pem).expect("written");
    authority.client("front", 1).write(folder.path(), "own");
    let pair = authority.server(&["localhost"]);
    for (over_grpc, alpn) in [(true, "h2"), (false, "http/1.1")] {
        let (mut collector, protocol) = match over_grpc {
            true => (Collector::over_grpc(Manner::Takes), "grpc"),
            false => (Collector::over_http(Manner::Takes), "http/protobuf"),
        };
        // For clients of the authority alone.
        let front = front(&pair, &[alpn], Some(&authority), collector.address).await;
        let mut upstream = Upstream::start().await;
        let endpoint = format!("https://localhost:{}", front.address.port());
        let trace = json!({ "endpoint": endpoint, "protocol": protocol });
        let builder = Gateway::builder(upstream.address)
            .set("trace", trace)
            .variable("OTEL_BSP_SCHEDULE_DELAY", 1)
            .variable("OTEL_EXPORTER_OTLP_CERTIFICATE", root.display())
            .variable(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                folder.path().join("own.crt").display(),
            )
            .variable(
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                folder.path().join("own.key").display(),
            );
        let gateway = builder.start();
        asked(&gateway, &mut upstream, &[]).await;
        assert_eq!(collector.trail().await.tries.len(), 1);
        // One whose certificate nobody has signed gets nothing.
        let other = Authority::new("other").server(&["localhost"]);
        let stranger = support::tls::front(&other, &[alpn], None, collector.address).await;
        let endpoint = format!("https://localhost:{}", stranger.address.port());
        let trace = json!({ "endpoint": endpoint, "protocol": protocol });
        let gateway = builder.set("trace", trace).start();
        asked(&gateway, &mut upstream, &[]).await;
        counted(&gateway, |exported, failed| (exported, failed) == (0, 2)).await;
    }
}

#[tokio::test]
async fn a_collector_that_is_busy_gets_the_spans_later() {
    for over_grpc in [true, false] {
        let (mut collector, protocol) = match over_grpc {
            true => (Collector::over_grpc(Manner::BusyFor(1)), "grpc"),
            false => (Collector::over_http(Manner::BusyFor(1)), "http/protobuf"),
        };
        let mut upstream = Upstream::start().await;
        let builder = Gateway::builder(upstream.address);
        let gateway = traced(builder, collector.address, protocol).start();
        asked(&gateway, &mut upstream, &[]).await;
        let (first, second) = (collector.export().await, collector.export().await);
        assert_eq!(first.message, second.message);
        counted(&gateway, |exported, failed| (exported, failed) == (2, 0)).await;
    }
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_counted_and_requests_go_on() {
    for manner in [Manner::Refuses, Manner::TakesNone] {
        for over_grpc in [true, false] {
            let (mut collector, protocol) = match over_grpc {
                true => (Collector::over_grpc(manner), "grpc"),
                false => (Collector::over_http(manner), "http/protobuf"),
            };
            let mut upstream = Upstream::start().await;
            let builder = Gateway::builder(upstream.address);
            let gateway = traced(builder, collector.address, protocol).start();
            for _ in 0..3 {
                asked(&gateway, &mut upstream, &[]).await;
                collector.export().await;
            }
            counted(&gateway, |exported, failed| (exported, failed) == (0, 6)).await;
        }
    }
}

#[tokio::test]
async fn requests_and_the_end_do_not_wait_for_a_collector() {
    // It takes the call and never answers, or isn't there; either would be waited for for an hour.
    for hangs in [true, false] {
        let mut collector = Collector::over_grpc(Manner::NeverAnswers);
        let address = match hangs {
            true => collector.address,
            false => ([127, 0, 0, 1], 9).into(),
        };
        let mut upstream = Upstream::start().await;
        let gateway = traced(Gateway::builder(upstream.address), address, "grpc")
            .variable("OTEL_EXPORTER_OTLP_TIMEOUT", 3_600_000)
            .variable("OTEL_BSP_MAX_QUEUE_SIZE", 2)
            .start();
        asked(&gateway, &mut upstream, &[]).await;
        if hangs {
            collector.export().await;
            for _ in 0..5 {
                asked(&gateway, &mut upstream, &[]).await;
            }
            let spans = gateway.running.outputs().spans().expect("tracing").clone();
            soon("spans without room", async {
                while spans.report().dropped == 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        let ended = tokio::task::spawn_blocking(move || drop(gateway));
        soon("the end", ended).await.expect("it ends");
    }
}
