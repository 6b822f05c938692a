//! Forms in parts: files into bytes and `google.api.HttpBody` fields, whole and as streams.

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use support::client::{Http1, Http2, Reply, whole};
use support::gateway::{Builder, Gateway};
use support::soon;
use support::upstream::{Call, Upstream};

const TYPE: &str = "multipart/form-data; boundary=xyz";

fn builder(upstream: &Upstream) -> Builder {
    Gateway::builder(upstream.address)
        .set("defaults", json!({ "form_bodies": true }))
        .route(json!({
            "post": "/v1/pictures",
            "rpc": "gamehub.v1.Thumbnails/PutThumbnail",
            "body": "*",
            "upstream": "games",
        }))
}

/// A form of these parts: disposition, more headers, content.
fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, more, content) in parts {
        let head = format!("--xyz\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--xyz--\r\n");
    body
}

async fn send(protocol: u8, gateway: &Gateway, line: &str, body: &[u8]) -> Reply {
    let (method, path) = line.split_once(' ').expect("a method");
    if protocol == 1 {
        let mut client = Http1::connect(gateway.address).await;
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: a\r\ncontent-type: {TYPE}\r\ncontent-length: {length}\r\n\r\n"
        );
        client.send([head.as_bytes(), body].concat()).await;
        return client.reply().await.expect("a reply");
    }
    let mut client = Http2::connect(gateway.address).await;
    let request = Request::builder()
        .method(method)
        .uri(format!("http://a{path}"));
    let request = request.header("content-type", TYPE);
    let request = request.body(Full::new(Bytes::copy_from_slice(body)));
    whole(
        client
            .send(request.expect("request"))
            .await
            .expect("a reply"),
    )
    .await
}

/// The messages of a call, to its end.
async fn messages(call: &mut Call) -> Vec<Value> {
    let (input, _) = support::protos::method(call.path().trim_start_matches('/'));
    let body = call.body().await;
    let (mut rest, mut found) = (&body[..], Vec::new());
    while let Some((prefix, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(prefix[1..].try_into().expect("four")) as usize;
        assert!(length <= 64 * 1024 + 64, "{length}");
        found.push(support::protos::decode(&input, &after[..length]));
        rest = &after[length..];
    }
    found
}

const FILE: (&str, &str, &[u8]) = (
    "name=\"image\"; filename=\"a.png\"",
    "Content-Type: image/png\r\n",
    b"\x89PNG\r\n--xy",
);

#[tokio::test]
async fn files_become_fields() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream).start();
    let image = json!({ "contentType": "image/png", "data": "iVBORw0KLS14eQ==" });
    for protocol in [1, 2] {
        for (line, parts, message) in [
            (
                "PUT /v1/games/7/thumbnail",
                &[FILE][..],
                json!({ "gameId": "7", "image": image }),
            ),
            (
                "POST /v1/pictures",
                &[("name=game_id", "", b"7"), FILE],
                json!({ "gameId": "7", "image": image }),
            ),
            (
                "POST /v1/pictures",
                &[
                    ("name=image; filename=x", "", b""),
                    ("name=gameId", "", b"8"),
                ],
                json!({ "gameId": "8", "image": {} }),
            ),
            ("POST /v1/pictures", &[], json!({})),
            ("POST /v1/recordings", &[FILE], image.clone()),
        ] {
            let serve = async {
                let mut call = upstream.next().await;
                let found = messages(&mut call).await;
                call.answer("\0\0\0\0\0");
                found
            };
            let body = form(parts);
            let (reply, found) = tokio::join!(send(protocol, &gateway, line, &body), serve);
            assert_eq!((reply.status, &found[..]), (200, &[message][..]), "{line}");
        }
    }
}

#[tokio::test]
async fn faults_name_the_part() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).start();
    let second = ("name=more; filename=b", "", &b"x"[..]);
    let text = ("name=title", "", &b"x"[..]);
    let cut = {
        let mut body = form(&[FILE]);
        body.truncate(body.len() - 8);
        body
    };
    for protocol in [1, 2] {
        for (line, body, part) in [
            ("PUT /v1/games/7/thumbnail", form(&[FILE, second]), "more"),
            ("PUT /v1/games/7/thumbnail", form(&[text]), "title"),
            ("PUT /v1/games/7/thumbnail", form(&[]), "no file"),
            ("PUT /v1/games/7/thumbnail", cut.clone(), "ends too soon"),
            ("POST /v1/pictures", form(&[second]), "more"),
            ("POST /v1/pictures", form(&[FILE, FILE]), "image"),
            ("POST /v1/pictures", form(&[text]), "title"),
            (
                "POST /v1/pictures",
                form(&[("name=game_id; filename=x", "", b"7")]),
                "game_id",
            ),
            (
                "POST /v1/pictures",
                form(&[("name=game_id", "", b"\xff")]),
                "game_id",
            ),
            (
                "POST /v1/pictures",
                form(&[("name=game_id", "", b"x")]),
                "game_id",
            ),
            ("POST /v1/recordings", form(&[text]), "title"),
            ("POST /v1/recordings", form(&[FILE, second]), "more"),
            ("POST /v1/recordings", form(&[]), "no file"),
            ("POST /v1/recordings", cut.clone(), "ends too soon"),
        ] {
            let reply = send(protocol, &gateway, line, &body).await;
            assert_eq!(reply.status, 400, "{line}: {}", reply.text());
            assert!(reply.text().contains(part), "{line}: {}", reply.text());
        }
        let head = "x: ".to_owned() + &"y".repeat(9000) + "\r\n";
        let body = form(&[("name=image; filename=x", &head, b"")]);
        for line in ["PUT /v1/games/7/thumbnail", "POST /v1/recordings"] {
            assert_eq!(
                send(protocol, &gateway, line, &body).await.status,
                413,
                "{line}"
            );
        }
    }
}

/// A large file goes up in pieces, the first while the rest has not been sent.
#[tokio::test]
async fn a_file_streams_up() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream).start();
    let content = vec![b'z'; 300_000];
    let body = form(&[("name=f; filename=f", "Content-Type: a/b\r\n", &content)]);
    let mut client = Http1::connect(gateway.address).await;
    let length = body.len();
    let head = format!(
        "POST /v1/recordings HTTP/1.1\r\nhost: a\r\ncontent-type: {TYPE}\r\n\
         content-length: {length}\r\n\r\n"
    );
    client.send(head).await;
    client.send(&body[..1000]).await;
    let mut call = upstream.next().await;
    let first = soon("a message", call.request.body_mut().data()).await;
    let first = first.expect("more").expect("data").len();
    let rest = async {
        client.send(&body[1000..]).await;
        client.reply().await.expect("a reply")
    };
    let serve = async {
        let rest = call.body().await.len();
        call.answer("\0\0\0\0\0");
        rest
    };
    let (reply, rest) = tokio::join!(rest, serve);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(first > 500 && first + rest > content.len());
}

#[tokio::test]
async fn without_the_key_a_form_is_a_body_like_others() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let body = form(&[FILE]);
    let serve = async {
        let mut call = upstream.next().await;
        let found = messages(&mut call).await;
        call.answer("\0\0\0\0\0");
        found
    };
    let line = "PUT /v1/games/7/thumbnail";
    let (reply, found) = tokio::join!(send(2, &gateway, line, &body), serve);
    assert_eq!(
        (reply.status, &found[0]["image"]["contentType"]),
        (200, &json!(TYPE))
    );
    assert_eq!(send(2, &gateway, "POST /v1/games", &body).await.status, 415);
}
