//! The listener's limits on sizes and connections: each refuses, is counted, and is over when its
//! cause is.

mod support;

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use support::client::{Http1, Http2, whole};
use support::edge::Edge;
use support::soon;
use transom::limits::{ByteLimit, Limits, Timeouts};

const LONG: Duration = Duration::from_secs(600);

fn patient() -> Timeouts {
    Timeouts {
        headers: LONG,
        keep_alive: LONG,
        body_idle: LONG,
        write_idle: LONG,
        ping_interval: LONG,
        ..Timeouts::default()
    }
}

#[tokio::test]
async fn connections_of_one_address_are_limited_and_the_limit_recovers() {
    let limits = Limits {
        connections_per_ip_max: 2,
        ..Limits::default()
    };
    let edge = Edge::start(limits, patient());
    let mut first = Http1::connect(edge.address).await;
    first.get("/").await;
    let mut second = Http1::connect(edge.address).await;
    second.get("/").await;
    let third = Http1::connect(edge.address).await;
    assert!(third.closed().await.is_empty());
    assert_eq!((edge.gate.open(), edge.gate.refused()), (2, 1));
    drop(first);
    let again = async {
        loop {
            let mut client = Http1::connect(edge.address).await;
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
            if client.reply().await.is_some() {
                break;
            }
        }
    };
    soon("a place", again).await;
    assert_eq!(second.get("/").await.status, 200);
    let refused = edge.gate.refused();
    drop(second);
    let counts = edge.finish().await;
    assert_eq!((counts.refused_by_ip, counts.refused_full), (refused, 0));
}

#[tokio::test]
async fn sizes_are_limited() {
    let limits = Limits {
        header_bytes_max: ByteLimit::kib(8),
        uri_bytes_max: ByteLimit::kib(2),
        headers_max: 100,
        ..Limits::default()
    };
    let edge = Edge::start(limits, patient());
    let long = "x".repeat(3 * 1024);
    let large = "x".repeat(9 * 1024);
    let many = "a: b\r\n".repeat(101);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\n"), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: t\r\na: {large}\r\n\r\n"),
            431,
        ),
        (format!("GET / HTTP/1.1\r\nHost: t\r\n{many}\r\n"), 431),
        ("GET / HTTP/1.1\r\nHost t\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = Http1::connect(edge.address).await;
        client.send(&request).await;
        assert_eq!(client.reply().await.unwrap().status, status);
        client.closed().await;
    }
    let mut http2 = Http2::connect(edge.address).await;
    assert_eq!(http2.get(&format!("/{long}")).await.status, 414);
    let mut request = Request::get("http://test/").body(Full::default()).unwrap();
    for n in 0..120 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        request.headers_mut().insert(name, "v".parse().unwrap());
    }
    assert_eq!(whole(http2.send(request).await.unwrap()).await.status, 431);
    drop(http2);
    let counts = edge.finish().await;
    assert_eq!((counts.heads_too_large, counts.unreadable), (2, 1));
}

/// Closed with bytes of the client unread, the connection would be reset, and the reply lost.
#[tokio::test]
async fn a_client_that_writes_on_after_a_refusal_gets_to_read_it() {
    const PIECE: usize = 256 * 1024;
    // More than sockets hold.
    const PIECES: usize = 256;
    let edge = Edge::start(Limits::default(), Timeouts::default());
    let mut client = Http1::connect(edge.address).await;
    // Refused before anybody looks at its body.
    let head = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nHost: other\r\nContent-Length: {}\r\n\r\n",
        PIECE * PIECES
    );
    client.send(head).await;
    let piece = vec![b'x'; PIECE];
    for _ in 0..PIECES {
        soon("room", client.send(&piece)).await;
    }
    let reply = soon("the reply", client.reply()).await.expect("a reply");
    assert_eq!(reply.status, 400);
    assert!(soon("the end", client.closed()).await.is_empty());
    assert_eq!(edge.finish().await.refused_requests, 1);
}
