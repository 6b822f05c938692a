//! Plain reverse proxy: what crosses, what ends at the gateway, and how failures are told.

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use support::client::{Http1, Http2, whole};
use support::gateway::{Builder, Gateway};
use support::site::{Site, exactly, has, head, names, over_http1};
use support::soon;
use support::upstream::{Upstream, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn over_http2(upstream: &Upstream) -> Builder {
    Gateway::builder("127.0.0.1:1".parse().expect("address"))
        .upstream(
            "site",
            json!({ "endpoints": [upstream.address.to_string()], "protocol": "http2" }),
        )
        .route(json!({ "prefix": "/site/", "upstream": "site" }))
}

#[tokio::test]
async fn a_request_goes_on_as_it_came_but_for_its_hop() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send(concat!(
            "GET /site/a%2Fb/c;d?x=1&y=%20 HTTP/1.1\r\n",
            "host: shop.example:8080\r\n",
            "connection: keep-alive, x-hop, authorization, x-request-id, x-forwarded-for, via\r\n",
            "x_forwarded_for: 9.9.9.9\r\nx-forwarded-ssl: on\r\n",
            "keep-alive: timeout=5\r\n",
            "x-hop: 1\r\n",
            "te: trailers, gzip\r\n",
            "upgrade: websocket\r\n",
            "proxy-authorization: Basic x\r\n",
            "authorization: Bearer t\r\n",
            "cookie: a=b\r\n",
            "x-forwarded-for: 1.2.3.4\r\n",
            "x-forwarded-proto: https\r\n",
            "forwarded: for=1.2.3.4\r\n",
            "x-real-ip: 1.2.3.4\r\n",
            "x-request-id: id-1\r\n",
            "\r\n",
        ))
        .await;
    let (mut upstream, head) = site.next().await;
    assert!(
        head.starts_with("GET /site/a%2Fb/c;d?x=1&y=%20 HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "host: shop.example:8080",
        "authorization: Bearer t",
        "cookie: a=b",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: shop.example:8080",
        "x-request-id: id-1",
        "via: 1.1 transom",
    ] {
        assert!(has(&head, line), "{line} in {head}");
    }
    for name in [
        "upgrade",
        "keep-alive",
        "x-hop",
        "te",
        "proxy-authorization",
        "forwarded",
        "x-real-ip",
        "x_forwarded_for",
        "x-forwarded-ssl",
    ] {
        assert!(!names(&head, name), "{name} in {head}");
    }
    let answer = concat!(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\ncontent-type: text/plain\r\n",
        "connection: x-inner\r\nx-inner: 1\r\nkeep-alive: timeout=9\r\nset-cookie: a=1\r\n",
        "set-cookie: b=2\r\nx-request-id: theirs\r\n\r\nnope",
    );
    upstream.write_all(answer.as_bytes()).await.expect("answer");
    let reply = client.reply().await.expect("a reply");
    assert_eq!((reply.status, reply.text()), (404, "nope"));
    let cookies = reply
        .headers
        .iter()
        .filter(|(n, _)| n == "set-cookie")
        .count();
    assert_eq!(cookies, 2);
    assert_eq!(reply.header("x-inner"), None);
    assert_eq!(reply.header("keep-alive"), None);
    assert_eq!(reply.header("x-request-id"), Some("id-1"));
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let site = Site::start().await;
    let gateway = over_http1(&site)
        .set("trusted_proxies", json!(["127.0.0.0/8"]))
        .start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("GET /site/ HTTP/1.1\r\nhost: inner\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.example\r\n\r\n")
        .await;
    let (_upstream, head) = site.next().await;
    assert!(has(&head, "x-forwarded-for: 1.2.3.4, 127.0.0.1"), "{head}");
    assert!(has(&head, "x-forwarded-proto: https"), "{head}");
    assert!(has(&head, "x-forwarded-host: shop.example"), "{head}");
}

/// What hyper takes for one framing goes upstream framed anew.
#[tokio::test]
async fn bodies_are_framed_anew_and_streamed_both_ways() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = Http1::connect(gateway.address).await;
    let head = "POST /site/up HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}3;x=y\r\nabc\r\n")).await;
    // The first piece is there before the second is sent.
    let (mut upstream, head) = site.next().await;
    assert!(has(&head, "transfer-encoding: chunked"), "{head}");
    assert!(!names(&head, "content-length"), "{head}");
    assert_eq!(exactly(&mut upstream, 8).await, "3\r\nabc\r\n");
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(exactly(&mut upstream, 12).await, "2\r\nde\r\n0\r\n\r\n");

    // The same with the answer.
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await
        .expect("answer");
    let mut reply = client.head().await.expect("a head");
    assert_eq!(reply.status, 200);
    upstream
        .write_all(b"1\r\n!\r\n0\r\n\r\n")
        .await
        .expect("answer");
    reply.body = client.chunks().await;
    assert_eq!(reply.text(), "hi!");
}

#[tokio::test]
async fn continue_is_said_here_when_the_body_is_wanted() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("PUT /site/up HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.expect("continue").status, 100);
    client.send("ab").await;
    let (mut upstream, head) = site.next().await;
    assert!(!names(&head, "expect"), "{head}");
    assert_eq!(exactly(&mut upstream, 2).await, "ab");
    // An upstream's own 1xx is for us.
    upstream
        .write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
        .await
        .expect("answer");
    assert_eq!(client.reply().await.expect("a reply").status, 204);
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("HEAD /site/a HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await;
    let (mut upstream, head) = site.next().await;
    assert!(head.starts_with("HEAD "), "{head}");
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
        .await
        .expect("answer");
    let reply = client.reply_to_head().await;
    assert_eq!(
        (reply.status, reply.header("content-length")),
        (200, Some("1234"))
    );
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn trailers_cross_both_ways_over_http2() {
    let mut upstream = Upstream::start().await;
    let gateway = over_http2(&upstream).start();
    let pieces: Vec<Result<Frame<Bytes>, std::convert::Infallible>> = vec![
        Ok(Frame::data("abc".into())),
        Ok(Frame::trailers(support::grpc::trailers(&[
            ("x-sum", "6"),
            ("host", "evil.example"),
            ("content-length", "9"),
            ("authorization", "Bearer stolen"),
            ("x-forwarded-for", "1.2.3.4"),
        ]))),
    ];
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let stream = TcpStream::connect(gateway.address).await.expect("connect");
    let (mut send, connection) = hyper::client::conn::http2::handshake(
        support::client::Exec,
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("handshake");
    tokio::spawn(connection);
    let request = Request::post("http://shop.example/site/x?q")
        .header("te", "trailers")
        .body(body)
        .expect("request");
    let (reply, ()) = tokio::join!(send.send_request(request), async {
        let mut call = upstream.next().await;
        assert_eq!(
            call.request.uri().to_string(),
            "http://shop.example/site/x?q"
        );
        assert_eq!(call.request.headers()["te"], "trailers");
        assert_eq!(call.request.headers()["via"], "2 transom");
        assert!(!call.request.headers().contains_key("host"));
        assert_eq!(call.body().await, b"abc");
        let trailers = call.request.body_mut().trailers().await.expect("trailers");
        let trailers = trailers.expect("trailers");
        assert_eq!(
            (&trailers["x-sum"], trailers.len()),
            (&"6".parse().expect("value"), 1)
        );
        let head = Response::builder().status(201).body(()).expect("head");
        let mut answer = call.respond.send_response(head, false).expect("respond");
        answer.send_data("ok".into(), false).expect("data");
        let trailers = support::grpc::trailers(&[("x-end", "1"), ("content-length", "9")]);
        answer.send_trailers(trailers).expect("trailers");
    });
    let reply = reply.expect("a reply");
    assert_eq!(reply.status(), 201);
    let collected = reply.into_body().collect().await.expect("body");
    let trailers = collected.trailers().expect("trailers").clone();
    assert_eq!(trailers["x-end"], "1");
    assert!(!trailers.contains_key("content-length"));
    assert_eq!(collected.to_bytes(), "ok");
}

#[tokio::test]
async fn a_client_that_leaves_resets_the_upstream() {
    let mut upstream = Upstream::start().await;
    let gateway = over_http2(&upstream).start();
    for request in [
        "GET /site/wait HTTP/1.1\r\nhost: test\r\n\r\n",
        "POST /site/up HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc",
    ] {
        let mut client = Http1::connect(gateway.address).await;
        client.send(request).await;
        let call = upstream.next().await;
        drop(client);
        let reason = soon("a reset", call.cancelled()).await;
        assert!(
            matches!(reason, h2::Reason::CANCEL | h2::Reason::INTERNAL_ERROR),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn failures_are_json() {
    let nobody = Site::start().await;
    let gone = nobody.address;
    drop(nobody);
    let cut = raw(|_, mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    let garbage = raw(|_, mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"\0\0hello\r\n\r\n").await.ok();
    })
    .await;
    let silent = raw(|_, mut stream| async move {
        head(&mut stream).await;
        stream.read_u8().await.ok();
    })
    .await;
    for (name, address, statuses) in [
        ("not there", gone, &[503][..]),
        ("cut off", cut, &[502, 503]),
        ("garbage", garbage, &[502]),
        ("silent", silent, &[504]),
    ] {
        let gateway = Gateway::builder("127.0.0.1:1".parse().expect("address"))
            .upstream(
                "site",
                json!({ "endpoints": [address.to_string()], "protocol": "http1" }),
            )
            .route(json!({ "prefix": "/site/", "upstream": "site", "timeout": "300ms" }))
            .start();
        let mut client = Http1::connect(gateway.address).await;
        let reply = client.get("/site/x").await;
        assert!(
            statuses.contains(&reply.status),
            "{name}: {} {}",
            reply.status,
            reply.text()
        );
        let error: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert!(error["message"].is_string(), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken_off() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("GET /site/x HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    let (mut upstream, _) = site.next().await;
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await
        .expect("answer");
    drop(upstream);
    let text = String::from_utf8(client.closed().await).expect("text");
    assert!(
        text.contains("abc") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_has_its_limit_here_too() {
    let mut upstream = Upstream::start().await;
    let gateway = over_http2(&upstream)
        .route(json!({ "path": "/site/small", "upstream": "site", "limits": { "body": "4B" } }))
        .start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("POST /site/small HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.expect("a reply").status, 413);
    assert!(upstream.is_quiet());

    let mut client = Http1::connect(gateway.address).await;
    let head = "POST /site/small HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    client
        .send(format!("{head}3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"))
        .await;
    let reply = client.reply().await.expect("a reply");
    assert_eq!(reply.status, 413, "{}", reply.text());
}

/// gRPC is HTTP like any: a prefix route passes it through.
#[tokio::test]
async fn grpc_passes_through() {
    let mut upstream = Upstream::start().await;
    let gateway = over_http2(&upstream).start();
    let mut client = Http2::connect(gateway.address).await;
    let request = Request::post("http://test/site/pkg.Service/Method")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "1S")
        .body(Full::from("\0\0\0\0\0"))
        .expect("request");
    let (reply, ()) = tokio::join!(client.send(request), async {
        let mut call = upstream.next().await;
        assert_eq!(call.request.headers()["grpc-timeout"], "1S");
        assert_eq!(call.body().await, [0; 5]);
        call.answer("\0\0\0\0\0");
    });
    let reply = reply.expect("a reply");
    assert_eq!(reply.headers()["content-type"], "application/grpc");
    let collected = reply.into_body().collect().await.expect("body");
    assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn http2_clients_and_http1_upstreams_meet() {
    let site = Site::start().await;
    let gateway = over_http1(&site).start();
    let mut client = Http2::connect(gateway.address).await;
    let request = Request::post("http://shop.example/site/x")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .body(Full::from("abc"));
    let (reply, ()) = tokio::join!(client.send(request.expect("request")), async {
        let (mut upstream, head) = site.next().await;
        assert!(head.starts_with("POST /site/x HTTP/1.1\r\n"), "{head}");
        assert!(has(&head, "cookie: a=1; b=2; c=3"), "{head}");
        assert!(has(&head, "host: shop.example"), "{head}");
        assert!(has(&head, "content-length: 3") || has(&head, "transfer-encoding: chunked"));
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            .await
            .expect("answer");
    });
    let reply = whole(reply.expect("a reply")).await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    assert_eq!(reply.header("connection"), None);
}
