//! Compression in Connect: requests in every coding that is told of, answers where the route compresses.

mod support;

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::Request;
use serde_json::{Value, json};
use support::client::{Http2, Reply, whole};
use support::gateway::Gateway;
use support::grpc::{Answer, answer, framed};
use support::protos;
use support::upstream::{Call, Upstream};
use transom::transcode::coding::gzip;

const GET: &str = "/gamehub.v1.Catalogue/GetGame";
const WATCH: &str = "/gamehub.v1.Scores/WatchScores";

async fn start(defaults: Value) -> (Upstream, Gateway, Http2) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).set("defaults", defaults);
    let gateway = gateway.start();
    let client = Http2::connect(gateway.address).await;
    (upstream, gateway, client)
}

fn post(path: &str, content_type: &str) -> http::request::Builder {
    Request::post(format!("http://test{path}")).header("content-type", content_type)
}

async fn send(client: &mut Http2, request: http::request::Builder, body: Vec<u8>) -> Reply {
    let request = request.body(body.into()).expect("request");
    whole(client.send(request).await.expect("a reply")).await
}

fn br(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut packed, 4096, 5, 19);
    encoder.write_all(plain).expect("brotli");
    drop(encoder);
    packed
}

fn unpacked(coding: &str, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(packed).read_to_end(&mut plain),
        "br" => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain),
        "zstd" => zstd::stream::read::Decoder::new(packed)
            .expect("zstd")
            .read_to_end(&mut plain),
        other => panic!("{other}"),
    };
    read.unwrap_or_else(|error| panic!("{coding}: {error}"));
    plain
}

fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => gzip(plain).expect("gzip"),
        "br" => br(plain),
        _ => zstd::encode_all(plain, 3).expect("zstd"),
    }
}

#[tokio::test]
async fn requests_come_in_three_codings() {
    let (mut upstream, _gateway, mut client) = start(json!({})).await;
    let ask = json!({ "gameId": "7" }).to_string();
    let wire = protos::encode(&protos::method(&GET[1..]).0, &json!({ "gameId": "7" }));
    for coding in ["gzip", "br", "zstd"] {
        let body = packed(coding, ask.as_bytes());
        let get = format!(
            "http://test{GET}?connect=v1&encoding=json&base64=1&compression={coding}&message={}",
            URL_SAFE.encode(&body)
        );
        let posted = post(GET, "application/json").header("content-encoding", coding);
        for (request, body) in [(posted, body), (Request::get(get), Vec::new())] {
            let script = async |mut call: Call| {
                assert_eq!(call.body().await, framed(&wire), "{coding}");
                answer(call, &json!({ "title": "Origami" }));
            };
            let (reply, ()) = tokio::join!(send(&mut client, request, body), async {
                script(upstream.next().await).await
            });
            assert_eq!(reply.text(), r#"{"title":"Origami"}"#, "{coding}");
        }
    }
}

#[tokio::test]
async fn codings_that_are_broken_or_unknown_are_refused() {
    let (mut upstream, _gateway, mut client) =
        start(json!({ "limits": { "body": "64KiB" } })).await;
    let bomb = vec![b' '; 200 * 1024];
    for (coding, body, code) in [
        ("lzma", b"{}".to_vec(), "unimplemented"),
        ("deflate", b"{}".to_vec(), "unimplemented"),
        ("br", b"{}no".to_vec(), "invalid_argument"),
        ("zstd", b"no".to_vec(), "invalid_argument"),
        ("br", packed("br", &bomb), "resource_exhausted"),
        ("zstd", packed("zstd", &bomb), "resource_exhausted"),
    ] {
        let request = post(GET, "application/json").header("content-encoding", coding);
        let reply = send(&mut client, request, body).await;
        let told: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(told["code"], code, "{coding}: {told}");
        assert_eq!(reply.header("accept-encoding"), Some("gzip, br, zstd"));
    }
    assert!(upstream.is_quiet());
}

#[tokio::test]
async fn unary_answers_are_compressed_where_the_route_says_so() {
    let (mut upstream, _gateway, mut client) = start(json!({ "compression": "on" })).await;
    let long = json!({ "title": "x".repeat(5000) });
    for content_type in ["application/json", "application/proto"] {
        for (accept, coding) in [
            ("gzip", "gzip"),
            ("br, gzip", "br"),
            ("zstd", "zstd"),
            ("", ""),
        ] {
            let request = post(GET, content_type).header("accept-encoding", accept);
            let (reply, ()) = tokio::join!(send(&mut client, request, Vec::new()), async {
                answer(upstream.next().await, &long);
            });
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"), "{reply:?}");
            let plain = match reply.header("content-encoding") {
                None => {
                    assert_eq!(coding, "");
                    reply.body.clone()
                }
                Some(told) => {
                    assert_eq!(told, coding);
                    assert!(reply.body.len() < 500);
                    unpacked(told, &reply.body)
                }
            };
            let expected = match content_type {
                "application/json" => long.to_string().into_bytes(),
                _ => protos::encode(&protos::method(&GET[1..]).1, &long),
            };
            assert_eq!(plain, expected, "{content_type} {accept}");
        }
    }
}

/// Flags and content.
fn envelopes(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        found.push((prefix[0], rest[..length].to_vec()));
        body = &rest[length..];
    }
    found
}

#[tokio::test]
async fn messages_of_streams_are_compressed_each_for_itself() {
    let route = [json!({ "compression": "on" }), json!({})];
    // More than is compressed in a turn.
    let long = json!({ "player": "y".repeat(300_000) });
    let short = json!({ "player": "z" });
    for (compresses, defaults) in [true, false].into_iter().zip(route) {
        let (mut upstream, _gateway, mut client) = start(defaults).await;
        for (accept, takes) in [("gzip", true), ("br, gzip", true), ("br", false)] {
            for content_type in ["application/connect+json", "application/connect+proto"] {
                let request = post(WATCH, content_type).header("connect-accept-encoding", accept);
                let ask = match content_type {
                    "application/connect+json" => framed(b"{}"),
                    _ => framed(b""),
                };
                let (reply, ()) = tokio::join!(send(&mut client, request, ask), async {
                    let mut answer = Answer::begin(&mut upstream.next().await);
                    for message in [&long, &short, &long] {
                        answer.message(message);
                    }
                    answer.end("0");
                });
                let packs = compresses && takes;
                let told = packs.then_some("gzip");
                assert_eq!(reply.header("connect-content-encoding"), told);
                assert_eq!(reply.header("connect-accept-encoding"), Some("gzip"));
                assert_eq!(reply.header("content-encoding"), None);
                let found = envelopes(&reply.body);
                let flags: Vec<u8> = found.iter().map(|(flag, _)| *flag).collect();
                let packed = u8::from(packs);
                assert_eq!(flags, [packed, 0, packed, 2], "{accept} {content_type}");
                let contents = found.iter().map(|(flag, content)| match flag {
                    1 => unpacked("gzip", content),
                    _ => content.clone(),
                });
                let expected = |message: &Value| match content_type {
                    "application/connect+json" => message.to_string().into_bytes(),
                    _ => protos::encode(&protos::method(&WATCH[1..]).1, message),
                };
                let expected = [
                    expected(&long),
                    expected(&short),
                    expected(&long),
                    b"{}".to_vec(),
                ];
                assert!(contents.eq(expected), "{accept} {content_type}");
            }
        }
    }
}
