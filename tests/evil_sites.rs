//! Proxied HTTP/1.1 upstreams that answer with bytes of their own making: each gets its client a 502 or
//! a reply that is visibly broken off, in bounded time and memory, and the gateway serves on.

mod support;

use serde_json::json;
use support::client::Http1;
use support::gateway::Gateway;
use support::soon;
use support::upstream::raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Name, what the upstream writes, how often the last part again, and how the client's reply begins.
const ANSWERS: &[(&str, &str, &str, usize, &str)] = &[
    ("no HTTP", "SSH-2.0-server\r\n\r\n", "", 0, "502"),
    (
        "101 unasked",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "",
        0,
        "502",
    ),
    (
        "an endless head",
        "HTTP/1.1 200 OK\r\n",
        "a: bbbbbbbbbbbbbbbb\r\n",
        100_000,
        "502",
    ),
    (
        "a header without an end",
        "HTTP/1.1 200 OK\r\na: ",
        "bbbbbbbbbbbbbbbb",
        100_000,
        "502",
    ),
    (
        "a length twice",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "",
        0,
        "502",
    ),
    (
        "a negative length",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "",
        0,
        "502",
    ),
    (
        "a broken chunk",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "",
        0,
        "200",
    ),
    (
        "a chunk of 2^64",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "",
        0,
        "200",
    ),
    (
        "trailers without an end",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        "a: bbbbbbbbbbbbbbbb\r\n",
        100_000,
        "200",
    ),
    (
        "cut off",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        "",
        0,
        "200",
    ),
];

#[tokio::test]
async fn answers_that_are_none() {
    for (name, first, again, times, begins) in ANSWERS {
        let address = raw(move |_, mut stream| async move {
            let mut asked = [0; 1024];
            let _any = stream.read(&mut asked).await;
            let again = again.repeat(100);
            if stream.write_all(first.as_bytes()).await.is_err() {
                return;
            }
            for _ in 0..times / 100 {
                if stream.write_all(again.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let gateway = Gateway::builder("127.0.0.1:1".parse().expect("address"))
            .upstream(
                "site",
                json!({ "endpoints": [address.to_string()], "protocol": "http1" }),
            )
            .route(json!({ "prefix": "/old/", "upstream": "site" }))
            .start();
        let mut client = Http1::connect(gateway.address).await;
        client
            .send("GET /old/a HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
            .await;
        let bytes = soon(name, client.closed()).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {begins}")),
            "{name}: {text}"
        );
        if *begins == "200" {
            assert!(!text.ends_with("0\r\n\r\n"), "{name}: {text}");
        }
        let mut other = Http1::connect(gateway.address).await;
        assert_eq!(other.get("/v1/games/x").await.status, 400, "after {name}");
    }
}
