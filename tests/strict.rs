//! Odd requests over a real socket, byte for byte: what hyper settles, what the check refuses, and
//! whether the connection lives. A change of hyper's mind shows here.

mod support;

use support::client::Http1;
use support::edge::Edge;
use transom::limits::{Limits, Timeouts};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Open,
    Closed,
}
use Then::{Closed, Open};

/// Sends `request`; expects `status` (0 for none) and `then`. The text of the mirrored reply.
async fn send(edge: &Edge, request: &[u8], status: u16, then: Then) -> String {
    let shown = request.escape_ascii().to_string();
    let mut client = Http1::connect(edge.address).await;
    client.send(request).await;
    let reply = client.reply().await;
    assert_eq!(reply.as_ref().map_or(0, |r| r.status), status, "{shown}");
    let text = reply.map_or(String::new(), |r| r.text().to_owned());
    match then {
        Closed => assert!(client.closed().await.is_empty(), "{shown}"),
        Open => assert_eq!(client.get("/next").await.status, 200, "{shown}"),
    }
    text
}

fn edge() -> Edge {
    Edge::start(Limits::default(), Timeouts::default())
}

#[tokio::test]
async fn refused_heads_close_the_connection() {
    let edge = edge();
    let table: &[(&[u8], u16)] = &[
        // Ours
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b/c\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nContent-Length: 1\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        // hyper's
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa9: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\nHost: a\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (request, status) in table {
        send(&edge, request, *status, Closed).await;
    }
}

#[tokio::test]
async fn what_hyper_settles_is_taken_as_settled() {
    let edge = edge();
    // Bare LF ends lines: RFC 9112 §2.2 lets a recipient take it, and nothing is left to see.
    let text = send(&edge, b"GET / HTTP/1.1\nHost: a\n\n", 200, Open).await;
    assert_eq!(text, "GET / HTTP/1.1\nhost: a\n\n");
    // A fragment is cut off before the target is seen.
    let text = send(&edge, b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", 200, Open).await;
    assert!(text.starts_with("GET /a?b HTTP/1.1\n"), "{text}");
    // Escapes and dots are the router's matter: they come through as they are.
    let text = send(
        &edge,
        b"GET /%2e%2e/%2f%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        200,
        Open,
    )
    .await;
    assert!(text.starts_with("GET /%2e%2e/%2f%00 HTTP/1.1\n"), "{text}");
    // Equal lengths count as one (RFC 9110 §8.6).
    let twice = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
    let text = send(&edge, twice, 200, Open).await;
    assert_eq!(text.matches("content-length: 1\n").count(), 1, "{text}");
    // Braces are no characters of a URI, but browsers send them in queries, and they mean nothing.
    let text = send(
        &edge,
        b"GET /{x}?{y} HTTP/1.1\r\nHost: a\r\n\r\n",
        200,
        Open,
    )
    .await;
    assert!(text.starts_with("GET /{x}?{y} HTTP/1.1\n"), "{text}");
    // No upgrade to HTTP/2 is made.
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let text = send(&edge, upgrade, 200, Open).await;
    assert!(!text.contains("upgrade: h2c"), "{text}");
}

#[tokio::test]
async fn a_length_beside_chunks_never_frames_the_body() {
    let edge = edge();
    // hyper drops the length, reads chunks, and closes after the reply: RFC 9112 §6.3, rule 3.
    let both = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let text = send(&edge, both, 200, Closed).await;
    assert!(text.ends_with("\n\nabc"), "{text}");
    assert!(!text.contains("content-length"), "{text}");
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let edge = edge();
    let mut client = Http1::connect(edge.address).await;
    client
        .send("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let first = client.reply().await.unwrap();
    assert!(first.text().starts_with("POST /1 ") && first.text().ends_with("\n\nabc"));
    let second = client.reply().await.unwrap();
    assert!(second.text().starts_with("GET /2 "));
}

#[tokio::test]
async fn an_expected_100_is_given_when_the_body_is_wanted() {
    let edge = edge();
    let mut client = Http1::connect(edge.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.unwrap().status, 100);
    client.send("abc").await;
    let reply = client.reply().await.unwrap();
    assert!(reply.text().ends_with("\n\nabc"));
}
