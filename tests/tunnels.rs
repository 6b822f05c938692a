//! WebSockets of proxied sites: bytes both ways, and what ends them.

mod support;

use serde_json::json;
use support::client::Http1;
use support::site::{Site, exactly, has, head, names, over_http1};
use support::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HANDSHAKE: &[u8] = b"GET /site/live HTTP/1.1\r\nhost: a.example\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: WebSocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_a_tunnel_and_each_side_ends_for_itself() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = TcpStream::connect(gateway.address).await.expect("connect");
    client.write_all(HANDSHAKE).await.expect("handshake");
    let (mut served, asked) = site.next().await;
    assert!(has(&asked, "upgrade: websocket"), "{asked}");
    assert!(has(&asked, "connection: upgrade"), "{asked}");
    assert!(names(&asked, "sec-websocket-key"), "{asked}");
    // The first bytes of the tunnel come with the head.
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nhello";
    served.write_all(answer).await.expect("answer");
    let told = head(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    assert!(has(&told, "upgrade: websocket"), "{told}");
    assert!(has(&told, "sec-websocket-accept: x"), "{told}");
    assert!(!names(&told, "content-length"), "{told}");
    assert_eq!(exactly(&mut client, 5).await, "hello");
    client.write_all(b"GET / no request").await.expect("bytes");
    assert_eq!(exactly(&mut served, 16).await, "GET / no request");

    // Another request has a connection of its own.
    let mut other = Http1::connect(gateway.address).await;
    other
        .send("GET /site/plain HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .await;
    let (_plain, asked) = site.next().await;
    assert!(!names(&asked, "upgrade"), "{asked}");

    client.shutdown().await.expect("the client's end");
    let mut rest = Vec::new();
    soon("the end", served.read_to_end(&mut rest))
        .await
        .expect("the end");
    served.write_all(b"bye").await.expect("still open");
    drop(served);
    let mut rest = String::new();
    soon("the end", client.read_to_string(&mut rest))
        .await
        .expect("the end");
    assert_eq!(rest, "bye");
}

#[tokio::test]
async fn a_site_that_refuses_a_websocket_is_heard() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = TcpStream::connect(gateway.address).await.expect("connect");
    client.write_all(HANDSHAKE).await.expect("handshake");
    let (mut served, _) = site.next().await;
    let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    served.write_all(answer).await.expect("answer");
    let told = head(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
    assert_eq!(exactly(&mut client, 2).await, "no");
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_asked_is_502() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = TcpStream::connect(gateway.address).await.expect("connect");
    client.write_all(HANDSHAKE).await.expect("handshake");
    let (mut served, _) = site.next().await;
    let answer =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n";
    served.write_all(answer).await.expect("answer");
    let told = head(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
}

/// A tunnel with its first bytes behind it: the client's end and the site's.
async fn tunnel(site: &Site, gateway: &support::gateway::Gateway) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(gateway.address).await.expect("connect");
    client.write_all(HANDSHAKE).await.expect("handshake");
    let (mut served, _) = site.next().await;
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
    served.write_all(answer).await.expect("answer");
    let told = head(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    (client, served)
}

/// Both ends see the end of it.
async fn ended(mut client: TcpStream, mut served: TcpStream) {
    for stream in [&mut client, &mut served] {
        let mut rest = Vec::new();
        // A reset is an end as well.
        soon("the end", stream.read_to_end(&mut rest)).await.ok();
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn a_tunnel_that_is_silent_for_too_long_ends() {
    let site = Site::start().await;
    let gateway = over_http1(&site)
        .set("defaults", json!({ "stream_idle": "1s" }))
        .start();
    let (mut client, mut served) = tunnel(&site, &gateway).await;
    // One side that talks is enough for it to go on.
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(2) {
        served.write_all(b"tick").await.expect("bytes");
        assert_eq!(exactly(&mut client, 4).await, "tick");
    }
    ended(client, served).await;
}

#[tokio::test]
async fn a_drain_lets_a_tunnel_go_on_as_long_as_it_may() {
    let site = Site::start().await;
    for ends_itself in [true, false] {
        let drain = if ends_itself { "60s" } else { "1s" };
        let gateway = over_http1(&site)
            .set("timeouts", json!({ "drain": drain }))
            .start();
        let (mut client, mut served) = tunnel(&site, &gateway).await;
        let address = gateway.address;
        let stopping = tokio::spawn(gateway.running.shutdown());
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        client.write_all(b"still").await.expect("bytes");
        assert_eq!(exactly(&mut served, 5).await, "still");
        served.write_all(b"here").await.expect("bytes");
        assert_eq!(exactly(&mut client, 4).await, "here");
        if ends_itself {
            drop((client, served));
        } else {
            ended(client, served).await;
        }
        soon("the drain's end", stopping).await.expect("joined");
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_slows_the_site() {
    const TOTAL: usize = 64 * 1024 * 1024;
    const AHEAD_MAX: usize = 24 * 1024 * 1024;
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let (mut client, mut served) = tunnel(&site, &gateway).await;
    let (sent, read) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let write = async {
        let piece = vec![b'x'; 64 * 1024];
        while sent.get() < TOTAL {
            served.write_all(&piece).await.expect("bytes");
            sent.set(sent.get() + piece.len());
            let ahead = sent.get().saturating_sub(read.get());
            assert!(ahead <= AHEAD_MAX, "{ahead} bytes on the way");
        }
        served.shutdown().await.expect("the end");
    };
    let take = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            match soon("bytes", client.read(&mut buffer)).await.expect("open") {
                0 => break,
                length => read.set(read.get() + length),
            }
        }
    };
    tokio::join!(write, take);
    assert_eq!(read.get(), sent.get());
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let site = Site::start().await;
    let gateway = over_http1(&site)
        .set("timeouts", json!({ "write_idle": "100ms" }))
        .start();
    let (_client, mut served) = tunnel(&site, &gateway).await;
    let piece = vec![b'x'; 64 * 1024];
    let cut = async { while served.write_all(&piece).await.is_ok() {} };
    soon("the cut", cut).await;
}
