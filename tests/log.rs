//! What the operator reads of a call that failed: the route's rule, whichever way the failure went,
//! and a source only where there is one.

mod support;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use h2::Reason;
use serde_json::json;
use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::Answer;
use support::rpc::Grpc;
use support::upstream::Upstream;

/// Lines of this process, since they were last taken.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> String {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(std::mem::take(&mut *bytes)).expect("text")
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The workers are threads of their own, so the lines are of the process: one test, in a binary of its
/// own.
#[tokio::test]
async fn a_failed_call_s_line_names_its_route() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("transom=debug")
        .with_writer(move || writer.clone())
        .init();
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .route(json!({ "prefix": "/old/", "upstream": "games" }))
        .start();
    let read = |what: &str, message: &str, route: &str| {
        let text = lines.take();
        let line = text.lines().find(|line| line.contains(message));
        let line = line.unwrap_or_else(|| panic!("{what}: no {message:?} in\n{text}"));
        assert!(
            line.contains(&format!("route=\"{route}\"")),
            "{what}: {line}"
        );
        assert!(!line.contains("source=\"\""), "{what}: {line}");
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    let refused = "service failed";
    let failed = "upstream failed";

    let mut client = Http1::connect(gateway.address).await;
    client.get("/v1/games/x").await;
    read(
        "a bad request",
        "request refused",
        "GET /v1/games/{game_id}",
    );

    for (what, path, rule) in [
        ("before its head", "/v1/games/7", "GET /v1/games/{game_id}"),
        ("a proxied one", "/old/a", "prefix /old/"),
    ] {
        tokio::join!(client.get(path), async {
            upstream.next().await.reset(Reason::INTERNAL_ERROR);
        });
        read(what, failed, rule);
    }
    for (what, path, rule) in [
        (
            "a stream of JSON",
            "/v1/games/7/scores:watch",
            "GET /v1/games/{game_id}/scores:watch",
        ),
        (
            "a raw stream",
            "/files/a:download",
            "GET /files/{name}:download",
        ),
    ] {
        let mut client = Http1::connect(gateway.address).await;
        client.send(get(path)).await;
        let mut call = upstream.next().await;
        let mut answer = Answer::begin(&mut call);
        answer.message(&json!({}));
        answer.end("14");
        client.closed().await;
        read(what, refused, rule);
    }
    let mut client = Http1::connect(gateway.address).await;
    client.send(get("/old/b")).await;
    let mut call = upstream.next().await;
    let mut answer = call
        .respond
        .send_response(http::Response::new(()), false)
        .expect("head");
    answer.send_data("part".into(), false).expect("data");
    answer.send_reset(Reason::INTERNAL_ERROR);
    client.closed().await;
    read("a proxied body", failed, "prefix /old/");

    let mut client = Grpc::connect(gateway.address).await;
    let get_game = "/gamehub.v1.Catalogue/GetGame";
    let rule = format!("POST {get_game}");
    tokio::join!(client.call(Grpc::post(get_game), &[b""]), async {
        upstream.next().await.reset(Reason::INTERNAL_ERROR);
    });
    read("a gRPC call", failed, &rule);
    tokio::join!(client.call(Grpc::post(get_game), &[b""]), async {
        let mut call = upstream.next().await;
        Answer::begin(&mut call).end("13");
    });
    read("a gRPC call's trailers", refused, &rule);
    tokio::join!(client.call(Grpc::post(get_game), &[b""]), async {
        let mut call = upstream.next().await;
        Answer::begin(&mut call)
            .stream
            .send_reset(Reason::INTERNAL_ERROR);
    });
    read("a gRPC call's answer", failed, &rule);
}
