//! Server streams for gRPC-Web and Connect clients, in every form and over both transports: clients that
//! leave in the middle, and clients that are slow to read.

mod support;

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::{Reason, RecvStream};
use serde_json::{Value, json};
use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::{Answer, framed};
use support::upstream::Upstream;
use support::{protos, soon};

const WATCH: &str = "/gamehub.v1.Scores/WatchScores";

#[derive(Clone, Copy, Debug)]
enum Form {
    Web,
    WebText,
    ConnectProto,
    ConnectJson,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Http1,
    Http2,
}

const ALL: [(Form, Transport); 8] = [
    (Form::Web, Transport::Http1),
    (Form::Web, Transport::Http2),
    (Form::WebText, Transport::Http1),
    (Form::WebText, Transport::Http2),
    (Form::ConnectProto, Transport::Http1),
    (Form::ConnectProto, Transport::Http2),
    (Form::ConnectJson, Transport::Http1),
    (Form::ConnectJson, Transport::Http2),
];

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text",
            Self::ConnectProto => "application/connect+proto",
            Self::ConnectJson => "application/connect+json",
        }
    }

    /// A request without a field.
    fn request(self) -> Vec<u8> {
        match self {
            Self::Web | Self::ConnectProto => framed(b""),
            Self::WebText => STANDARD.encode(framed(b"")).into(),
            Self::ConnectJson => framed(b"{}"),
        }
    }

    /// How many bytes this message is in an answer.
    fn length(self, message: &Value) -> usize {
        let wire = framed(&protos::encode(&protos::method(&WATCH[1..]).1, message));
        match self {
            Self::Web | Self::ConnectProto => wire.len(),
            // Pieces are padded each for itself: no less than this.
            Self::WebText => wire.len().div_ceil(3) * 4,
            Self::ConnectJson => 5 + message.to_string().len(),
        }
    }
}

/// An answer that has begun.
enum Reading {
    Http1(Http1),
    Http2(RecvStream),
}

impl Reading {
    async fn piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(client) => soon("a chunk", client.chunk()).await.map(Bytes::from),
            Self::Http2(body) => {
                let data = soon("data", body.data()).await?.expect("data");
                let flow = body.flow_control();
                flow.release_capacity(data.len()).expect("capacity");
                Some(data)
            }
        }
    }
}

/// A call whose answer has begun with this message.
async fn call(
    (form, transport): (Form, Transport),
    gateway: &Gateway,
    upstream: &mut Upstream,
    first: &Value,
) -> (Reading, Answer) {
    let begin = async {
        let mut answer = Answer::begin(&mut upstream.next().await);
        answer.message(first);
        answer
    };
    let body = form.request();
    match transport {
        Transport::Http1 => {
            let mut client = Http1::connect(gateway.address).await;
            let head = format!(
                "POST {WATCH} HTTP/1.1\r\nhost: test\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
                form.content_type(),
                body.len()
            );
            client.send([head.as_bytes(), &body].concat()).await;
            let answer = begin.await;
            assert_eq!(client.head().await.expect("a reply").status, 200);
            (Reading::Http1(client), answer)
        }
        Transport::Http2 => {
            let stream = tokio::net::TcpStream::connect(gateway.address).await;
            let stream = stream.expect("connect");
            stream.set_nodelay(true).expect("socket");
            let handshake = h2::client::handshake(stream).await;
            let (send, connection) = handshake.expect("handshake");
            tokio::spawn(connection);
            let request = http::Request::post(format!("http://test{WATCH}"))
                .header("content-type", form.content_type())
                .body(())
                .expect("request");
            let mut send = send.ready().await.expect("ready");
            let (reply, mut up) = send.send_request(request, false).expect("send");
            up.send_data(body.into(), true).expect("data");
            let answer = begin.await;
            let reply = soon("a reply", reply).await.expect("a reply");
            assert_eq!(reply.status(), 200);
            (Reading::Http2(reply.into_body()), answer)
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    for case in ALL {
        let first = json!({ "sequence": 1 });
        let (mut reading, answer) = call(case, &gateway, &mut upstream, &first).await;
        let piece = reading.piece().await.expect("a message");
        assert!(!piece.is_empty(), "{case:?}");
        drop(reading);
        assert_eq!(answer.cancelled().await, Reason::CANCEL, "{case:?}");
    }
}

/// What is under way stays below what buffers and windows hold, however much the service would like to
/// send, and all of it arrives.
#[tokio::test]
async fn a_slow_client_slows_the_service() {
    const TOTAL: usize = 32 * 1024 * 1024;
    const AHEAD_MAX: usize = 16 * 1024 * 1024;
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let said = json!({ "player": "x".repeat(60_000) });
    for case in ALL {
        let (mut reading, mut answer) = call(case, &gateway, &mut upstream, &said).await;
        let length = case.0.length(&said);
        let (sent, read) = (Cell::new(length), Cell::new(0));
        let write = async {
            let window = 60_000 + 64;
            while sent.get() < TOTAL {
                answer.stream.reserve_capacity(window);
                while answer.stream.capacity() < window {
                    let room = std::future::poll_fn(|cx| answer.stream.poll_capacity(cx));
                    let room = soon("room", room).await;
                    room.expect("open").expect("room");
                }
                answer.message(&said);
                sent.set(sent.get() + length);
                let ahead = sent.get().saturating_sub(read.get());
                assert!(ahead <= AHEAD_MAX, "{case:?}: {ahead} bytes on the way");
            }
            answer.end("0");
        };
        let take = async {
            while let Some(piece) = reading.piece().await {
                // As far as it goes while nothing is read.
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                read.set(read.get() + piece.len());
            }
        };
        tokio::join!(write, take);
        // The end comes on top.
        assert!(
            read.get() > sent.get(),
            "{case:?}: {} of {}",
            read.get(),
            sent.get()
        );
    }
}
