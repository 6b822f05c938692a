//! The same through a running gateway, with a service that answers as the table says.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;

use crate::support::client::{Http1, Http2, Reply, whole};
use crate::support::gateway::{Builder, Gateway};
use crate::support::upstream::{Call, Upstream};
use crate::support::{protos, soon};

use super::table::{Case, Table};

pub fn builder(table: &Table, upstream: SocketAddr) -> Builder {
    let mut builder = Gateway::builder(upstream);
    for (path, rpc, body) in [
        ("/v1/games/{game_id}/reports", "Moderation/Report", "*"),
        ("/v1/rooms/{room}/chat", "Chat/Join", "*"),
        (
            "/v1/games/{game_id}/levels",
            "Telemetry/UploadPlay",
            "level_started",
        ),
    ] {
        builder = builder.route(serde_json::json!({
            "post": path,
            "rpc": format!("gamehub.v1.{rpc}"),
            "body": body,
            "upstream": "games",
        }));
    }
    for route in &table.routes {
        builder = builder.route(route.clone());
    }
    let mut defaults = table.defaults.clone();
    // A case is one call: a service that can't answer is asked once.
    defaults["retry"] = "off".into();
    for (key, value) in [("defaults", &defaults), ("limits", &table.limits)] {
        if *value != Value::Null {
            builder = builder.set(key, value.clone());
        }
    }
    builder
}

/// Runs every case over both protocols; all that fail are told of.
pub fn check(table: &Table) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let mut upstream = Upstream::start().await;
        let gateway = builder(table, upstream.address).start();
        let mut failures = Vec::new();
        for case in &table.cases {
            for protocol in [Protocol::Http1, Protocol::Http2] {
                let run = run(&gateway, &mut upstream, case, protocol);
                if let Err(error) = soon(&case.name, run).await {
                    failures.push(format!("{} ({protocol:?}): {error}", case.name));
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    });
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

async fn run(
    gateway: &Gateway,
    upstream: &mut Upstream,
    case: &Case,
    protocol: Protocol,
) -> Result<(), String> {
    let mut asked = std::pin::pin!(ask(gateway.address, case, protocol));
    let Some(expected) = &case.call else {
        let reply = asked.await;
        return match upstream.is_quiet() {
            true => judge(case, &reply),
            false => Err("the service was called".to_owned()),
        };
    };
    if expected.cancelled {
        return cancelled(gateway, upstream, case, asked.await).await;
    }
    let mut call = tokio::select! {
        call = upstream.next() => call,
        reply = &mut asked => {
            let text = String::from_utf8_lossy(&reply.body);
            return Err(format!("no call was made: {} {text}", reply.status));
        }
    };
    let serve = async {
        let judged = judge_call(&mut call, expected).await;
        answer(call, case, &expected.method);
        judged
    };
    let (judged, reply) = tokio::join!(serve, asked);
    judged?;
    judge(case, &reply)
}

/// A call that the gateway gives up: it may be reset before the service hears of it at all. The call of
/// another request comes after it.
async fn cancelled(
    gateway: &Gateway,
    upstream: &mut Upstream,
    case: &Case,
    reply: Reply,
) -> Result<(), String> {
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("GET /v1/games/1 HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    loop {
        let call = upstream.next().await;
        if call.path().ends_with("/GetGame") {
            crate::support::grpc::answer(call, &serde_json::json!({}));
            client.reply().await.expect("a reply");
            return judge(case, &reply);
        }
        let reason = call.cancelled().await;
        if reason != h2::Reason::CANCEL {
            return Err(format!("the call was reset with {reason:?}"));
        }
    }
}

async fn ask(address: SocketAddr, case: &Case, protocol: Protocol) -> Reply {
    let body = case.body();
    let headers = case.headers();
    match protocol {
        Protocol::Http1 => {
            let mut text = format!("{} {} HTTP/1.1\r\n", case.method(), case.url());
            if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
                text.push_str("host: test\r\n");
            }
            if case.method() == "HEAD" {
                text.push_str("connection: close\r\n");
            }
            for (name, value) in &headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            if let Some(body) = &body {
                text.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            text.push_str("\r\n");
            let mut client = Http1::connect(address).await;
            client.send(text).await;
            client.send(body.unwrap_or_default()).await;
            match case.method() {
                "HEAD" => client.reply_to_head().await,
                _ => client.reply().await.expect("a reply"),
            }
        }
        Protocol::Http2 => {
            let host = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("host"));
            let host = host.map_or("test", |(_, v)| v.as_str());
            let mut request = Request::builder()
                .method(case.method())
                .uri(format!("http://{host}{}", case.url()));
            for (name, value) in &headers {
                if !name.eq_ignore_ascii_case("host") {
                    request = request.header(name, value);
                }
            }
            let body = Full::new(Bytes::from(body.unwrap_or_default()));
            let request = request.body(body).expect("request");
            let mut client = Http2::connect(address).await;
            whole(client.send(request).await.expect("a reply")).await
        }
    }
}

async fn judge_call(call: &mut Call, expected: &super::table::Call) -> Result<(), String> {
    if call.path() != format!("/{}", expected.method) {
        return Err(format!("called {}", call.path()));
    }
    let (input, _) = protos::method(&expected.method);
    let found: Vec<_> = unframed(&call.body().await)?
        .iter()
        .map(|wire| protos::decode(&input, wire))
        .collect();
    let wanted: Vec<_> = expected
        .wanted()
        .iter()
        .map(|message| protos::normal(&input, message))
        .collect();
    if found != wanted {
        return Err(format!("sent\n  {found:?}, not\n  {wanted:?}"));
    }
    let headers = call.request.headers();
    for (name, value) in [("te", "trailers"), ("content-type", "application/grpc")] {
        if headers.get(name).is_none_or(|v| v != value) {
            return Err(format!("{name} is {:?}", headers.get(name)));
        }
    }
    for (name, wanted) in &expected.metadata {
        let found: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|v| v.to_str().expect("text"))
            .collect();
        let found = (!found.is_empty()).then(|| found.join(", "));
        if found != *wanted {
            return Err(format!("metadata {name} is {found:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

fn unframed(mut framed: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut messages = Vec::new();
    while !framed.is_empty() {
        let prefix = framed.first_chunk::<5>().ok_or("half a prefix")?;
        let [0, length @ ..] = *prefix else {
            return Err("a compressed message".to_owned());
        };
        let end = 5 + usize::try_from(u32::from_be_bytes(length)).expect("length");
        let message = framed.get(5..end).ok_or("half a message")?;
        messages.push(message.to_vec());
        framed = &framed[end..];
    }
    Ok(messages)
}

fn answer(mut call: Call, case: &Case, method: &str) {
    let (_, output) = protos::method(method);
    let wires = case.answer.wires(&output);
    let mut head = Response::builder().header("content-type", "application/grpc");
    for (name, value) in &case.answer.headers {
        head = head.header(name, value);
    }
    let mut head = head.body(()).expect("head");
    if wires.is_empty() && case.answer.status.is_some() {
        head.headers_mut().extend(case.answer.ending());
        call.respond.send_response(head, true).expect("respond");
        return;
    }
    let mut stream = call.respond.send_response(head, false).expect("respond");
    for wire in wires {
        let length = u32::try_from(wire.len()).expect("length").to_be_bytes();
        let framed = [&[0][..], &length, &wire].concat();
        stream.send_data(framed.into(), false).expect("data");
    }
    stream
        .send_trailers(case.answer.ending())
        .expect("trailers");
}

fn judge(case: &Case, reply: &Reply) -> Result<(), String> {
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status != case.reply.status {
        return Err(format!(
            "status is {}, not {}: {text}",
            reply.status, case.reply.status
        ));
    }
    for (name, wanted) in &case.reply.headers {
        let found = reply.header(name);
        if found != wanted.as_deref() {
            return Err(format!("header {name} is {found:?}, not {wanted:?}"));
        }
    }
    for (name, wanted) in &case.reply.trailers {
        let found = reply.trailer(name);
        if found != wanted.as_deref() {
            return Err(format!("trailer {name} is {found:?}, not {wanted:?}"));
        }
    }
    match case.method() {
        "HEAD" if reply.body.is_empty() => Ok(()),
        "HEAD" => Err(format!("a body for HEAD: {text}")),
        _ => case.reply.check_body(&reply.body),
    }
}
