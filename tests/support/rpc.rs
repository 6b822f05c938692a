//! A gRPC client by the frame: every header, message and trailer is the test's own.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use super::grpc::framed;
use super::soon;

/// An HTTP/2 connection.
#[derive(Clone)]
pub struct Grpc {
    send: h2::client::SendRequest<Bytes>,
}

/// A call under way.
pub struct Ongoing {
    pub up: SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

/// What a call came to.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: HeaderMap,
    pub data: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Answer {
    /// A trailer, or a header of an answer without a body.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.head.get(name))?;
        Some(value.to_str().expect("ascii"))
    }

    pub fn code(&self) -> &str {
        self.trailer("grpc-status").expect("grpc-status")
    }

    pub fn message(&self) -> &str {
        self.trailer("grpc-message").unwrap_or_default()
    }
}

/// An answer that has begun.
pub struct Down {
    pub head: http::response::Parts,
    pub body: RecvStream,
}

impl Grpc {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        let (send, connection) = h2::client::handshake(stream).await.expect("handshake");
        tokio::spawn(connection);
        Self { send }
    }

    pub fn post(path: &str) -> http::request::Builder {
        Request::post(format!("http://test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    pub async fn begin(&mut self, request: http::request::Builder) -> Ongoing {
        let mut send = self.send.clone().ready().await.expect("ready");
        let request = request.body(()).expect("request");
        let (answer, up) = send.send_request(request, false).expect("send");
        Ongoing { up, answer }
    }

    /// One call with these request messages.
    pub async fn call(&mut self, request: http::request::Builder, messages: &[&[u8]]) -> Answer {
        let mut call = self.begin(request).await;
        for message in messages {
            call.message(message);
        }
        call.finish();
        call.whole().await
    }
}

impl Ongoing {
    pub fn message(&mut self, wire: &[u8]) {
        self.bytes(framed(wire));
    }

    pub fn bytes(&mut self, bytes: impl Into<Bytes>) {
        self.up.send_data(bytes.into(), false).expect("data");
    }

    /// No more messages.
    pub fn finish(&mut self) {
        self.up.send_data(Bytes::new(), true).expect("the end");
    }

    pub fn cancel(&mut self) {
        self.up.send_reset(Reason::CANCEL);
    }

    pub async fn answer(self) -> Down {
        self.split().await.1
    }

    pub async fn whole(self) -> Answer {
        self.answer().await.whole().await
    }

    /// Both sides, once the answer has begun.
    pub async fn split(self) -> (SendStream<Bytes>, Down) {
        let Self { up, answer } = self;
        let (head, body) = soon("an answer", answer)
            .await
            .expect("an answer")
            .into_parts();
        (up, Down { head, body })
    }
}

impl Down {
    /// The next piece of the body.
    pub async fn piece(&mut self) -> Bytes {
        let data = soon("a piece", self.body.data()).await;
        let data = data.expect("no end yet").expect("data");
        self.body
            .flow_control()
            .release_capacity(data.len())
            .expect("capacity");
        data
    }

    pub async fn whole(mut self) -> Answer {
        let mut whole = Vec::new();
        while let Some(data) = soon("the body", self.body.data()).await {
            let data = data.expect("data");
            self.body
                .flow_control()
                .release_capacity(data.len())
                .expect("capacity");
            whole.extend_from_slice(&data);
        }
        let trailers = soon("trailers", self.body.trailers())
            .await
            .expect("trailers");
        Answer {
            status: self.head.status.as_u16(),
            head: self.head.headers,
            data: whole,
            trailers: trailers.unwrap_or_default(),
        }
    }
}
