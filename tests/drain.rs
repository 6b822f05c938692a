//! Leaving in order: clients are told to go elsewhere, and none of them sees a failure.

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use support::client::{Http1, Http2, whole};
use support::gateway::Gateway;
use support::grpc::answer;
use support::soon;
use support::upstream::Upstream;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const FIXED: &str = "/fixed";
const UNARY: &str = "/v1/games/7";

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::builder(upstream.address)
        // Longer than any test: it is cut short when all has been seen.
        .set(
            "timeouts",
            json!({ "drain_delay": "1h", "keep_alive": "1h" }),
        )
        .route(json!({ "path": FIXED, "respond": { "status": 200, "body": "here" } }))
        .start()
}

/// Waits until the worker asks clients to go.
async fn left(gateway: &Gateway) {
    let told = async {
        loop {
            let mut client = Http1::connect(gateway.address).await;
            if client.get(FIXED).await.header("connection") == Some("close") {
                break;
            }
        }
    };
    tokio::select! {
        () = gateway.running.leave() => panic!("the delay is an hour"),
        () = soon("a farewell", told) => {}
    }
}

/// An HTTP/2 connection on which nothing is asked, once the gateway has read its preface.
async fn silent_http2(address: SocketAddr) -> JoinHandle<Result<(), h2::Error>> {
    let stream = TcpStream::connect(address).await.expect("connect");
    let (send, mut connection) = h2::client::handshake(stream).await.expect("handshake");
    let mut pings = connection.ping_pong().expect("the only one");
    let ended = tokio::spawn(async move {
        let end = connection.await;
        drop(send);
        end
    });
    let pong = pings.ping(h2::Ping::opaque());
    soon("a pong", pong).await.expect("a pong");
    ended
}

fn stop(gateway: Gateway) -> JoinHandle<()> {
    tokio::spawn(gateway.running.shutdown())
}

#[tokio::test]
async fn http1_clients_are_told_with_their_next_reply_and_closed_only_at_the_end() {
    let mut upstream = Upstream::start().await;
    let gateway = gateway(&upstream);
    let mut asks_again = Http1::connect(gateway.address).await;
    let mut idle = Http1::connect(gateway.address).await;
    for client in [&mut asks_again, &mut idle] {
        let reply = client.get(FIXED).await;
        assert_eq!((reply.status, reply.header("connection")), (200, None));
    }
    let mut waits = Http1::connect(gateway.address).await;
    waits
        .send(format!("GET {UNARY} HTTP/1.1\r\nhost: test\r\n\r\n"))
        .await;
    let call = upstream.next().await;

    left(&gateway).await;
    let reply = asks_again.get(FIXED).await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    assert!(asks_again.closed().await.is_empty());
    answer(call, &json!({}));
    let reply = waits.reply().await.expect("a reply");
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    // A request that nobody was told not to send, on a connection that has been idle all the time.
    let mut half = Http1::connect(gateway.address).await;
    half.send(format!("GET {FIXED} HTTP/1.1\r\nhost: ")).await;
    let reply = idle.get(FIXED).await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );

    let silent = Http1::connect(gateway.address).await;
    let stopping = stop(gateway);
    assert!(silent.closed().await.is_empty());
    half.send("test\r\n\r\n").await;
    let reply = half.reply().await.expect("a reply");
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    assert!(half.closed().await.is_empty());
    soon("the end", stopping).await.expect("joined");
}

#[tokio::test]
async fn an_idle_http1_connection_is_closed_at_the_end() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream);
    let mut idle = Http1::connect(gateway.address).await;
    idle.get(FIXED).await;
    left(&gateway).await;
    let mut byte = [0];
    assert!(
        idle.stream.try_read(&mut byte).is_err(),
        "it was closed before its time"
    );
    let stopping = stop(gateway);
    assert!(idle.closed().await.is_empty());
    soon("the end", stopping).await.expect("joined");
}

#[tokio::test]
async fn http2_clients_are_told_and_what_they_have_sent_is_answered() {
    let mut upstream = Upstream::start().await;
    let gateway = gateway(&upstream);
    let mut idle = Http2::connect(gateway.address).await;
    idle.get(FIXED).await;
    let mut busy = Http2::connect(gateway.address).await;
    let request = Request::get(format!("http://test{UNARY}"));
    let waiting = busy
        .send
        .send_request(request.body(Full::<Bytes>::default()).expect("a request"));
    let call = upstream.next().await;

    left(&gateway).await;
    soon("GOAWAY", idle.ended)
        .await
        .expect("joined")
        .expect("an orderly end");
    answer(call, &json!({ "title": "Pong" }));
    let reply = whole(soon("the reply", waiting).await.expect("a reply")).await;
    assert_eq!((reply.status, reply.text()), (200, r#"{"title":"Pong"}"#));
    soon("GOAWAY", busy.ended)
        .await
        .expect("joined")
        .expect("an orderly end");

    // Who comes now is served as well, before it is told to go.
    let mut late = Http2::connect(gateway.address).await;
    let reply = late.get(FIXED).await;
    assert_eq!((reply.status, reply.text()), (200, "here"));
    soon("GOAWAY", late.ended)
        .await
        .expect("joined")
        .expect("an orderly end");
    let never_asks = silent_http2(gateway.address).await;
    assert!(!never_asks.is_finished(), "it was closed before its time");
    let stopping = stop(gateway);
    soon("GOAWAY", never_asks)
        .await
        .expect("joined")
        .expect("an orderly end");
    soon("the end", stopping).await.expect("joined");
}
