//! Content codings both ways: replies for clients that take them, packed request bodies, and bombs.

mod support;

use std::io::{Read, Write};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use support::client::{Http1, Http2, Reply, whole};
use support::gateway::{Builder, Gateway};
use support::soon;
use support::upstream::{Call, Upstream};

fn unpacked(coding: Option<&str>, packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Some("gzip") => {
            _ = flate2::read::GzDecoder::new(packed)
                .read_to_end(&mut out)
                .expect("gzip")
        }
        Some("br") => {
            _ = brotli::Decompressor::new(packed, 4096)
                .read_to_end(&mut out)
                .expect("br")
        }
        Some("zstd") => out = zstd::decode_all(packed).expect("zstd"),
        Some(other) => panic!("{other}"),
        None => out.extend_from_slice(packed),
    }
    out
}

/// What the site answers: head and body.
async fn answer(mut call: Call, headers: &[(&str, &str)], body: &Bytes) {
    let mut head = Response::builder();
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    let head = head.body(()).expect("head");
    let only_head = call.request.method() == http::Method::HEAD;
    let mut stream = call
        .respond
        .send_response(head, only_head)
        .expect("respond");
    if !only_head {
        stream.send_data(body.clone(), true).expect("data");
    }
}

fn builder(upstream: &Upstream, compression: Value) -> Builder {
    Gateway::builder(upstream.address)
        .set("defaults", json!({ "compression": compression }))
        .upstream(
            "site",
            json!({ "endpoints": [upstream.address.to_string()] }),
        )
        .route(json!({ "prefix": "/site/", "upstream": "site" }))
}

/// One request over each protocol; the replies must say the same.
async fn ask(
    gateway: &Gateway,
    upstream: &mut Upstream,
    method: &str,
    accept: Option<&str>,
    headers: &[(&str, &str)],
    body: &Bytes,
) -> Reply {
    let mut h1 = Http1::connect(gateway.address).await;
    let line = accept.map_or(String::new(), |a| format!("accept-encoding: {a}\r\n"));
    h1.send(format!(
        "{method} /site/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{line}\r\n"
    ))
    .await;
    let read = async {
        match method {
            "HEAD" => h1.reply_to_head().await,
            _ => h1.reply().await.expect("a reply"),
        }
    };
    let serve = async { answer(upstream.next().await, headers, body).await };
    let (first, ()) = tokio::join!(read, serve);
    let mut h2 = Http2::connect(gateway.address).await;
    let mut request = Request::builder().method(method).uri("http://a/site/x");
    if let Some(accept) = accept {
        request = request.header("accept-encoding", accept);
    }
    let request = request.body(Full::default()).expect("request");
    let read = async { whole(h2.send(request).await.expect("a reply")).await };
    let serve = async { answer(upstream.next().await, headers, body).await };
    let (second, ()) = tokio::join!(read, serve);
    for name in [
        "content-encoding",
        "vary",
        "etag",
        "accept-ranges",
        "content-type",
    ] {
        assert_eq!(
            first.header(name),
            second.header(name),
            "{name} for {accept:?}"
        );
    }
    if method != "HEAD" {
        let coding = first.header("content-encoding");
        assert_eq!(
            unpacked(coding, &first.body),
            unpacked(coding, &second.body)
        );
    }
    first
}

fn text(length: usize) -> Bytes {
    let mut text = Vec::new();
    for n in 0_u64.. {
        if text.len() >= length {
            break;
        }
        text.extend_from_slice(
            format!("{{\"game\":{}}}", n.wrapping_mul(2_654_435_761)).as_bytes(),
        );
    }
    text.truncate(length);
    text.into()
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn the_best_coding_that_a_client_takes() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!("on")).start();
    for length in [1024, 60_000, 300_000] {
        let body = text(length);
        for (accept, coding) in [
            (None, None),
            (Some("gzip, deflate, br, zstd"), Some("br")),
            (Some("gzip, zstd"), Some("zstd")),
            (Some("gzip"), Some("gzip")),
            (Some("br;q=0.1, gzip"), Some("gzip")),
            (Some("br;q=0"), None),
            (Some("identity"), None),
        ] {
            let told = [JSON, ("etag", "\"1\""), ("accept-ranges", "bytes")];
            let reply = ask(&gateway, &mut upstream, "GET", accept, &told, &body).await;
            assert_eq!(reply.header("content-encoding"), coding, "{accept:?}");
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
            assert!(unpacked(coding, &reply.body) == body, "{accept:?} {length}");
            let (tag, ranges) = match coding {
                Some(_) => ("W/\"1\"", None),
                None => ("\"1\"", Some("bytes")),
            };
            assert_eq!(reply.header("etag"), Some(tag));
            assert_eq!(reply.header("accept-ranges"), ranges);
            assert!(coding.is_none() || reply.body.len() < length, "{accept:?}");
        }
    }
}

#[tokio::test]
async fn what_is_sent_as_it_is() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!({ "effort": "fast" })).start();
    let (small, large) = (text(1023), text(5000));
    for (headers, body, vary) in [
        (&[JSON, ("content-length", "1023")][..], &small, None),
        (&[("content-type", "image/png")], &large, None),
        (&[], &large, None),
        (&[JSON, ("content-encoding", "gzip")], &large, None),
        (
            &[JSON, ("cache-control", "private, no-transform")],
            &large,
            None,
        ),
        (&[("content-type", "application/grpc")], &large, None),
        (
            &[JSON, ("content-range", "bytes 0-4999/9000")],
            &large,
            None,
        ),
    ] {
        let mut h2 = Http2::connect(gateway.address).await;
        let request = Request::get("http://a/site/x").header("accept-encoding", "gzip");
        let request = request.body(Full::default()).expect("request");
        let serve = async { answer(upstream.next().await, headers, body).await };
        let read = async { whole(h2.send(request).await.expect("a reply")).await };
        let (reply, ()) = tokio::join!(read, serve);
        assert!(reply.body == **body, "{headers:?}");
        assert_eq!(reply.header("vary"), vary, "{headers:?}");
    }
    let off = builder(&upstream, json!("off")).start();
    let reply = ask(&off, &mut upstream, "GET", Some("gzip"), &[JSON], &large).await;
    assert_eq!(
        (reply.header("content-encoding"), reply.header("vary")),
        (None, None)
    );
}

#[tokio::test]
async fn head_says_what_get_would() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!("on")).start();
    let told = [JSON, ("content-length", "5000"), ("etag", "\"1\"")];
    let reply = ask(
        &gateway,
        &mut upstream,
        "HEAD",
        Some("gzip"),
        &told,
        &Bytes::new(),
    )
    .await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(reply.header("etag"), Some("W/\"1\""));
    assert_eq!(
        (reply.header("content-length"), reply.body.len()),
        (None, 0)
    );
}

/// The first message is there, whole, while the second has not been sent.
#[tokio::test]
async fn a_stream_goes_out_message_by_message() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!("on")).start();
    for coding in ["gzip", "br", "zstd"] {
        let mut h2 = Http2::connect(gateway.address).await;
        let request = Request::get("http://a/site/x").header("accept-encoding", coding);
        let request = request.body(Full::default()).expect("request");
        let (response, mut stream) = tokio::join!(h2.send(request), async {
            let mut call = upstream.next().await;
            let head = Response::builder().header("content-type", "application/x-ndjson");
            let head = head.body(()).expect("head");
            let mut stream = call.respond.send_response(head, false).expect("respond");
            stream.send_data("{\"n\":1}\n".into(), false).expect("data");
            stream
        });
        let mut body = response.expect("a reply").into_body();
        let mut packed = Vec::new();
        let mut decoded = Vec::new();
        for n in 1..=3 {
            let expected: String = (1..=n).map(|n| format!("{{\"n\":{n}}}\n")).collect();
            while decoded.len() < expected.len() {
                let frame = soon("a piece", body.frame())
                    .await
                    .expect("more")
                    .expect("data");
                packed.extend_from_slice(&frame.into_data().expect("data"));
                decoded = so_far(coding, &packed);
            }
            assert_eq!(decoded, expected.as_bytes(), "{coding}");
            let next = format!("{{\"n\":{}}}\n", n + 1);
            stream.send_data(next.into(), n == 3).expect("data");
        }
        let rest = soon("the rest", body.collect())
            .await
            .expect("rest")
            .to_bytes();
        packed.extend_from_slice(&rest);
        assert!(unpacked(Some(coding), &packed).ends_with(b"{\"n\":4}\n"));
    }
}

/// What can be read of the beginning of a document.
fn so_far(coding: &str, packed: &[u8]) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(packed)),
        "br" => Box::new(brotli::Decompressor::new(packed, 4096)),
        _ => Box::new(zstd::stream::read::Decoder::new(packed).expect("zstd")),
    };
    let mut out = Vec::new();
    let mut byte = [0];
    while let Ok(1) = reader.read(&mut byte) {
        out.push(byte[0]);
    }
    out
}

fn gzip(content: &[u8]) -> Bytes {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(content).expect("gzip");
    out.finish().expect("gzip").into()
}

#[tokio::test]
async fn packed_requests() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let post = |coding: &str, body: Bytes| {
        Request::post("http://a/v1/games")
            .header("content-type", "application/json")
            .header("content-encoding", coding)
            .body(Full::new(body))
            .expect("request")
    };
    let content = br#"{"title":"Pong"}"#;
    for (coding, body) in [
        ("gzip", gzip(content)),
        (
            "zstd",
            zstd::encode_all(&content[..], 3).expect("zstd").into(),
        ),
    ] {
        let mut h2 = Http2::connect(gateway.address).await;
        let (reply, message) = tokio::join!(h2.send(post(coding, body)), async {
            let mut call = upstream.next().await;
            let message = call.body().await;
            call.answer("\0\0\0\0\0");
            message
        });
        assert_eq!(reply.expect("a reply").status(), 200, "{coding}");
        assert!(message.windows(4).any(|w| w == b"Pong"), "{coding}");
    }
    let mut h2 = Http2::connect(gateway.address).await;
    for (coding, body, status) in [
        ("gzip", gzip(&vec![b' '; 100 << 20]), 413),
        ("gzip", Bytes::from_static(content), 400),
        ("gzip", gzip(content).slice(..12), 400),
        ("lzma", Bytes::from_static(content), 415),
        ("gzip, br", Bytes::from_static(content), 415),
    ] {
        let reply = whole(h2.send(post(coding, body)).await.expect("a reply")).await;
        assert_eq!(reply.status, status, "{coding}: {}", reply.text());
    }
    assert!(upstream.is_quiet());
}

/// A stream of requests goes up message by message, whatever it is packed in.
#[tokio::test]
async fn packed_streams_of_requests() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let post = |coding: &str| {
        Request::post("http://a/v1/games/7/plays")
            .header("content-type", "application/x-ndjson")
            .header("content-encoding", coding)
    };
    let mut client = Http1::connect(gateway.address).await;
    client
        .send(
            "POST /v1/games/7/plays HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\n\
             content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    let chunk =
        |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(b"{}\n").expect("gzip");
    out.flush().expect("gzip");
    client.send(chunk(&std::mem::take(out.get_mut()))).await;
    let mut call = upstream.next().await;
    // The first is there while the second has not been written.
    let first = soon("a message", call.request.body_mut().data()).await;
    assert!(first.expect("more").expect("data").len() >= 5);
    out.write_all(b"{}\n").expect("gzip");
    client.send(chunk(&out.finish().expect("gzip"))).await;
    client.send("0\r\n\r\n").await;
    assert!(call.body().await.len() >= 5);
    call.answer("\0\0\0\0\0");
    assert_eq!(client.head().await.expect("a reply").status, 200);
    for (coding, body, status) in [
        ("gzip", gzip(&vec![b' '; 100 << 20]), 413),
        ("gzip", Bytes::from_static(b"{}"), 400),
        ("gzip", gzip(b"{}").slice(..12), 400),
        ("lzma", Bytes::from_static(b"{}"), 415),
    ] {
        let request = post(coding).body(Full::new(body)).expect("request");
        let mut h2 = Http2::connect(gateway.address).await;
        let reply = whole(h2.send(request).await.expect("a reply")).await;
        assert_eq!(reply.status, status, "{coding}: {}", reply.text());
    }
}

/// With all compressors in use replies go out as they are, until one is free again.
#[tokio::test]
async fn compressors_are_bounded() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!("on"))
        .set("limits", json!({ "compressors": 1 }))
        .start();
    let body = text(5000);
    let mut h2 = Http2::connect(gateway.address).await;
    let request = Request::get("http://a/site/x").header("accept-encoding", "gzip");
    let request = request.body(Full::default()).expect("request");
    let (response, mut stream) = tokio::join!(h2.send(request), async {
        let mut call = upstream.next().await;
        let head = Response::builder().header("content-type", "application/x-ndjson");
        let head = head.body(()).expect("head");
        call.respond.send_response(head, false).expect("respond")
    });
    let held = response.expect("a reply");
    assert_eq!(held.headers()["content-encoding"], "gzip");
    for accept in ["gzip", "br"] {
        let reply = ask(&gateway, &mut upstream, "GET", Some(accept), &[JSON], &body).await;
        assert_eq!(reply.header("content-encoding"), None);
        assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
        assert!(reply.body == body);
    }
    stream.send_data(body.clone(), true).expect("data");
    let held = whole(held).await;
    assert!(unpacked(Some("gzip"), &held.body) == body);
    let reply = ask(&gateway, &mut upstream, "GET", Some("gzip"), &[JSON], &body).await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
}
