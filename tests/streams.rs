//! Streams piece by piece: what comes when, and what happens when one side is slow, fails or leaves.

mod support;

use serde_json::json;

use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::Answer;
use support::upstream::Upstream;

async fn next_chunk(client: &mut Http1) -> String {
    let chunk = support::soon("a chunk", client.chunk()).await;
    String::from_utf8(chunk.expect("more")).expect("text")
}

#[tokio::test]
async fn events_come_at_once_and_silence_is_filled_with_comments() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "sse": { "heartbeat": "20ms" } }))
        .start();
    let mut client = Http1::connect(gateway.address).await;
    let request =
        "GET /v1/games/7/scores:watch HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n";
    client.send(request).await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    answer.message(&json!({ "sequence": 1 }));

    let head = client.head().await.expect("a reply");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        next_chunk(&mut client).await,
        "id: 1\ndata: {\"sequence\":1}\n\n"
    );
    assert_eq!(next_chunk(&mut client).await, ":\n\n");
    assert_eq!(next_chunk(&mut client).await, ":\n\n");
    answer.message(&json!({ "sequence": 2 }));
    let mut text = next_chunk(&mut client).await;
    while text == ":\n\n" {
        text = next_chunk(&mut client).await;
    }
    assert_eq!(text, "id: 2\ndata: {\"sequence\":2}\n\n");
    answer.end("0");
    let rest = String::from_utf8(client.chunks().await).expect("text");
    assert_eq!(rest.trim_start_matches(":\n\n"), "id: 2/end\n\n");
}

/// A client's side of a stream that is written piece by piece.
enum Client {
    Http1(Http1),
    Http2(h2::SendStream<bytes::Bytes>, h2::client::ResponseFuture),
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// A reply under way.
enum Replying {
    Http1(Http1),
    Http2(h2::RecvStream, Box<h2::SendStream<bytes::Bytes>>),
}

impl Client {
    async fn post(protocol: Protocol, gateway: &Gateway, path: &str) -> Self {
        match protocol {
            Protocol::Http1 => {
                let mut client = Http1::connect(gateway.address).await;
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-ndjson\r\n\
                     accept: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
                );
                client.send(head).await;
                Self::Http1(client)
            }
            Protocol::Http2 => {
                let stream = tokio::net::TcpStream::connect(gateway.address)
                    .await
                    .expect("connect");
                stream.set_nodelay(true).expect("socket");
                let (send, connection) = h2::client::handshake(stream).await.expect("handshake");
                tokio::spawn(connection);
                let request = http::Request::post(format!("http://test{path}"))
                    .header("content-type", "application/x-ndjson")
                    .header("accept", "application/x-ndjson")
                    .body(())
                    .expect("request");
                let mut send = send.ready().await.expect("ready");
                let (reply, body) = send.send_request(request, false).expect("send");
                Self::Http2(body, reply)
            }
        }
    }

    async fn write(&mut self, text: &str) {
        match self {
            Self::Http1(client) => write_chunk(client, text).await,
            Self::Http2(body, _) => body.send_data(text.to_owned().into(), false).expect("data"),
        }
    }

    /// How much of `wanted` may be written now: over HTTP/1.1 the socket says so itself.
    async fn room(&mut self, wanted: usize) -> usize {
        match self {
            Self::Http1(_) => wanted,
            Self::Http2(body, _) => {
                body.reserve_capacity(wanted);
                let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
                room.expect("open").expect("room")
            }
        }
    }

    async fn write_bytes(&mut self, bytes: bytes::Bytes) {
        match self {
            Self::Http1(client) => {
                let head = format!("{:x}\r\n", bytes.len());
                client
                    .send([head.as_bytes(), &bytes, b"\r\n"].concat())
                    .await;
            }
            Self::Http2(body, _) => body.send_data(bytes, false).expect("data"),
        }
    }

    async fn end(&mut self) {
        match self {
            Self::Http1(client) => client.send("0\r\n\r\n").await,
            Self::Http2(body, _) => body.send_data(bytes::Bytes::new(), true).expect("end"),
        }
    }

    /// Waits for the head of the reply.
    async fn replying(self) -> (u16, Replying) {
        match self {
            Self::Http1(mut client) => {
                let head = client.head().await.expect("a reply");
                (head.status, Replying::Http1(client))
            }
            Self::Http2(send, reply) => {
                let reply = support::soon("a reply", reply).await.expect("a reply");
                let status = reply.status().as_u16();
                (status, Replying::Http2(reply.into_body(), Box::new(send)))
            }
        }
    }
}

async fn write_chunk(client: &mut Http1, text: &str) {
    client.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
}

impl Replying {
    async fn write(&mut self, text: &str) {
        match self {
            Self::Http1(client) => write_chunk(client, text).await,
            Self::Http2(_, send) => send.send_data(text.to_owned().into(), false).expect("data"),
        }
    }

    async fn end(&mut self) {
        match self {
            Self::Http1(client) => client.send("0\r\n\r\n").await,
            Self::Http2(_, send) => send.send_data(bytes::Bytes::new(), true).expect("end"),
        }
    }

    /// The next piece; `None` at the end.
    async fn piece(&mut self) -> Option<String> {
        let piece = match self {
            Self::Http1(client) => support::soon("a chunk", client.chunk()).await,
            Self::Http2(body, _) => {
                let data = support::soon("data", body.data()).await?;
                let data = data.expect("data");
                body.flow_control()
                    .release_capacity(data.len())
                    .expect("capacity");
                Some(data.to_vec())
            }
        };
        piece.map(|p| String::from_utf8(p).expect("text"))
    }

    async fn rest(mut self) -> String {
        let mut all = String::new();
        while let Some(piece) = self.piece().await {
            all.push_str(&piece);
        }
        all
    }
}

/// The next request message, which comes as one frame.
async fn message(call: &mut support::upstream::Call) -> serde_json::Value {
    let (input, _) = support::protos::method(call.path().trim_start_matches('/'));
    let body = call.request.body_mut();
    let data = support::soon("a message", body.data()).await;
    let data = data.expect("more").expect("data");
    body.flow_control()
        .release_capacity(data.len())
        .expect("capacity");
    assert_eq!(data.len(), 5 + usize::from(data[4]), "one frame");
    support::protos::decode(&input, &data[5..])
}

fn chat(upstream: &Upstream) -> support::gateway::Builder {
    Gateway::builder(upstream.address).route(json!({
        "post": "/v1/rooms/{room}/chat",
        "rpc": "gamehub.v1.Chat/Join",
        "body": "*",
        "upstream": "games",
    }))
}

#[tokio::test]
async fn a_conversation_goes_both_ways_at_once() {
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    for protocol in BOTH {
        let mut client = Client::post(protocol, &gateway, "/v1/rooms/den/chat").await;
        let mut call = upstream.next().await;
        // The reply has begun before a word has been said.
        let mut answer = Answer::begin(&mut call);
        client.write("{\"text\":\"a\"}\n{\"te").await;
        assert_eq!(
            message(&mut call).await,
            json!({ "room": "den", "text": "a" })
        );
        let (status, mut replying) = client.replying().await;
        assert_eq!(status, 200);
        for text in ["b", "c", "d"] {
            let said = json!({ "text": text });
            answer.message(&said);
            assert_eq!(replying.piece().await.unwrap(), format!("{said}\n"));
            let rest = format!("xt\":\"{text}\"}}\n{{\"te");
            replying.write(&rest).await;
            assert_eq!(message(&mut call).await, said);
        }
        replying.write("xt\":\"e\"}").await;
        assert_eq!(message(&mut call).await, json!({ "text": "e" }));
        replying.end().await;
        assert!(call.body().await.is_empty());
        answer.message(&json!({ "text": "bye" }));
        answer.end("0");
        assert_eq!(replying.rest().await, "{\"text\":\"bye\"}\n");
    }
}

#[tokio::test]
async fn a_bad_message_in_the_middle_ends_a_conversation_visibly() {
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    for protocol in BOTH {
        let mut client = Client::post(protocol, &gateway, "/v1/rooms/den/chat").await;
        client.write("{\"text\":\"a\"}\n").await;
        let mut call = upstream.next().await;
        message(&mut call).await;
        let mut answer = Answer::begin(&mut call);
        answer.message(&json!({ "text": "b" }));
        let (_, mut replying) = client.replying().await;
        assert_eq!(replying.piece().await.unwrap(), "{\"text\":\"b\"}\n");
        replying.write("{\"text\":7}\n").await;
        let error: serde_json::Value = serde_json::from_str(&replying.rest().await).unwrap();
        assert_eq!(error["error"]["code"], 3);
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with("[1].text: ")
        );
        assert_eq!(answer.cancelled().await, h2::Reason::CANCEL);
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_upload() {
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    for path in ["/v1/rooms/den/chat", "/v1/games/7/plays"] {
        for protocol in BOTH {
            let mut client = Client::post(protocol, &gateway, path).await;
            client.write("{}\n").await;
            let mut call = upstream.next().await;
            message(&mut call).await;
            drop(client);
            assert_eq!(
                call.cancelled().await,
                h2::Reason::CANCEL,
                "{path} {protocol:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_early_ends_the_upload() {
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    for protocol in BOTH {
        let mut client = Client::post(protocol, &gateway, "/v1/games/7/plays").await;
        client.write("{}\n").await;
        let mut call = upstream.next().await;
        message(&mut call).await;
        let mut answer = Answer::begin(&mut call);
        answer.message(&json!({ "events": 1 }));
        answer.end("0");
        let (status, replying) = client.replying().await;
        assert_eq!(status, 200);
        if let Replying::Http2(..) = replying {
            assert_eq!(replying.rest().await, "{\"events\":1}");
        }
    }
}

#[tokio::test]
async fn a_client_may_take_its_time_between_messages() {
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream)
        .set("timeouts", json!({ "body_idle": "20ms" }))
        .set("defaults", json!({ "timeout": "40ms" }))
        .start();
    for protocol in BOTH {
        let mut client = Client::post(protocol, &gateway, "/v1/games/7/plays").await;
        client.write("{}\n").await;
        let mut call = upstream.next().await;
        message(&mut call).await;
        // Requests that begin later are refused meanwhile, for either time.
        let mut stalled = Http1::connect(gateway.address).await;
        let head = "POST /v1/games HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
        stalled
            .send([head, "content-length: 9\r\n\r\n{"].concat())
            .await;
        assert_eq!(stalled.head().await.expect("a reply").status, 408);
        let mut unanswered = Client::post(protocol, &gateway, "/v1/games/7/plays").await;
        unanswered.end().await;
        assert_eq!(unanswered.replying().await.0, 504);
        let _given_up = upstream.next().await;
        client.write("{}\n").await;
        message(&mut call).await;
        client.end().await;
        support::grpc::answer(call, &json!({ "events": 2 }));
        assert_eq!(client.replying().await.0, 200);
    }
}

#[tokio::test]
async fn a_client_that_stops_sending_is_408_and_a_silent_service_504() {
    let mut upstream = Upstream::start().await;
    for (defaults, status) in [
        (json!({ "stream_idle": "30ms" }), 408),
        (json!({ "timeout": "30ms" }), 504),
    ] {
        let gateway = chat(&upstream)
            .set("defaults", defaults)
            .set("timeouts", json!({ "drain": "100ms" }))
            .start();
        for protocol in BOTH {
            let mut client = Client::post(protocol, &gateway, "/v1/games/7/plays").await;
            client.write("{}\n").await;
            let mut call = upstream.next().await;
            message(&mut call).await;
            if status == 504 {
                client.end().await;
            }
            assert_eq!(client.replying().await.0, status);
            assert_eq!(call.cancelled().await, h2::Reason::CANCEL);
        }
    }
}

/// The client is never further ahead of the service than buffers and windows on the way allow, however
/// much it would like to send. Over HTTP/1.1 the sockets' own buffers come on top.
#[tokio::test]
async fn a_slow_service_slows_the_upload() {
    const TOTAL: usize = 64 * 1024 * 1024;
    const MIB: usize = 1024 * 1024;
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    for (protocol, ahead_max) in [(Protocol::Http1, 16 * MIB), (Protocol::Http2, MIB)] {
        let mut client = Client::post(protocol, &gateway, "/v1/recordings").await;
        let mut call = upstream.next().await;
        let sent = std::cell::Cell::new(0);
        let write = async {
            let piece = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
            while sent.get() < TOTAL {
                let room = client.room(piece.len()).await.min(TOTAL - sent.get());
                let piece = piece.slice(..room.min(piece.len()));
                let length = piece.len();
                client.write_bytes(piece).await;
                sent.set(sent.get() + length);
            }
            client.end().await;
        };
        let read = async {
            let mut read = 0;
            loop {
                // The writer may go as far as it can before each piece is taken.
                for _ in 0..2 {
                    tokio::task::yield_now().await;
                }
                let body = call.request.body_mut();
                let Some(data) = support::soon("a piece", body.data()).await else {
                    break;
                };
                let data = data.expect("data");
                body.flow_control()
                    .release_capacity(data.len())
                    .expect("capacity");
                read += data.len();
                let ahead = sent.get().saturating_sub(read);
                assert!(ahead <= ahead_max, "{protocol:?}: {ahead} bytes on the way");
            }
            assert!(read > TOTAL, "{read}");
        };
        tokio::join!(write, read);
        support::grpc::answer(call, &json!({ "sizeBytes": "67108864" }));
        assert_eq!(client.replying().await.0, 200);
    }
}

/// A service that would send without end is stopped by a client that does not read: what is under way
/// stays below what buffers and windows hold, and goes on when the client reads.
#[tokio::test]
async fn a_slow_client_slows_the_service() {
    const TOTAL: usize = 64 * 1024 * 1024;
    const AHEAD_MAX: usize = 16 * 1024 * 1024;
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    for protocol in BOTH {
        let client = Client::post(protocol, &gateway, "/v1/rooms/den/chat").await;
        let mut call = upstream.next().await;
        let mut answer = Answer::begin(&mut call);
        let said = json!({ "text": "x".repeat(60_000) });
        let length = 60_000 + r#"{"text":""}"#.len() + 1;
        let (sent, read) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        answer.message(&said);
        sent.set(length);
        let (_, mut replying) = client.replying().await;
        let write = async {
            while sent.get() < TOTAL {
                answer.stream.reserve_capacity(length + 64);
                while answer.stream.capacity() < length + 64 {
                    let room = std::future::poll_fn(|cx| answer.stream.poll_capacity(cx));
                    support::soon("room", room)
                        .await
                        .expect("open")
                        .expect("room");
                }
                answer.message(&said);
                sent.set(sent.get() + length);
                let ahead = sent.get().saturating_sub(read.get());
                assert!(ahead <= AHEAD_MAX, "{protocol:?}: {ahead} bytes on the way");
            }
            answer.end("0");
        };
        let take = async {
            // As far as it goes while nothing is read, and then whenever a piece has been.
            while let Some(piece) = replying.piece().await {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                read.set(read.get() + piece.len());
            }
        };
        tokio::join!(write, take);
        assert_eq!(read.get(), sent.get(), "{protocol:?}");
    }
}

/// Whatever a stream is framed as, a client that leaves in its middle cancels it.
#[tokio::test]
async fn a_client_that_leaves_cancels_every_kind_of_stream() {
    let mut upstream = Upstream::start().await;
    let gateway = chat(&upstream).start();
    let scores = ("/v1/games/7/scores:watch", json!({ "sequence": 1 }));
    let raw = (
        "/v1/games/7/thumbnail:download",
        json!({ "contentType": "image/png", "data": "eA==" }),
    );
    for (accept, (path, message)) in [
        ("application/json", &scores),
        ("application/x-ndjson", &scores),
        ("text/event-stream", &scores),
        ("image/png", &raw),
    ] {
        for protocol in BOTH {
            let begin = async {
                let mut answer = Answer::begin(&mut upstream.next().await);
                answer.message(message);
                answer
            };
            let answer = match protocol {
                Protocol::Http1 => {
                    let mut client = Http1::connect(gateway.address).await;
                    let head =
                        format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n");
                    client.send(head).await;
                    let answer = begin.await;
                    assert_eq!(client.head().await.expect("a reply").status, 200);
                    assert!(!next_chunk(&mut client).await.is_empty(), "{accept}");
                    answer
                }
                Protocol::Http2 => {
                    let mut client = support::client::Http2::connect(gateway.address).await;
                    let request = http::Request::get(format!("http://a{path}"));
                    let request = request.header("accept", accept).body(Default::default());
                    let sent = client.send(request.expect("request"));
                    let (reply, answer) = tokio::join!(sent, begin);
                    let mut body = reply.expect("a reply").into_body();
                    let piece = http_body_util::BodyExt::frame(&mut body);
                    let piece = support::soon("a piece", piece).await.expect("more");
                    assert!(piece.expect("data").is_data(), "{accept}");
                    // The stream alone is left: the connection goes on.
                    drop(body);
                    let reason = answer.cancelled().await;
                    assert_eq!(reason, h2::Reason::CANCEL, "{accept} {protocol:?}");
                    assert!(client.get("/nothing").await.status >= 404);
                    continue;
                }
            };
            let reason = answer.cancelled().await;
            assert_eq!(reason, h2::Reason::CANCEL, "{accept} {protocol:?}");
        }
    }
}
