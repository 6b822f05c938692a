//! gRPC answers by the piece, for tests that script a service.

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, Response};
use serde_json::Value;

use super::protos;
use super::upstream::Call;

/// An answer that has begun.
#[derive(Debug)]
pub struct Answer {
    pub stream: SendStream<Bytes>,
    of: prost_reflect::MessageDescriptor,
}

impl Answer {
    /// Sends the head of an ordinary answer to the call.
    pub fn begin(call: &mut Call) -> Self {
        let of = protos::method(call.path().trim_start_matches('/')).1;
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .expect("head");
        let stream = call.respond.send_response(head, false).expect("respond");
        Self { stream, of }
    }

    pub fn message(&mut self, json: &Value) {
        self.bytes(framed(&protos::encode(&self.of, json)));
    }

    pub fn bytes(&mut self, bytes: impl Into<Bytes>) {
        self.stream.send_data(bytes.into(), false).expect("data");
    }

    /// Waits until the gateway resets the stream, and says why.
    pub async fn cancelled(mut self) -> h2::Reason {
        let reset = std::future::poll_fn(|cx| self.stream.poll_reset(cx));
        super::soon("a reset", reset).await.expect("a reset")
    }

    pub fn end(mut self, status: &str) {
        self.stream
            .send_trailers(trailers(&[("grpc-status", status)]))
            .expect("trailers");
    }
}

/// Answers with one message and OK.
pub fn answer(mut call: Call, json: &Value) {
    let mut answer = Answer::begin(&mut call);
    answer.message(json);
    answer.end("0");
}

pub fn framed(wire: &[u8]) -> Vec<u8> {
    let length = u32::try_from(wire.len()).expect("length").to_be_bytes();
    [&[0][..], &length, wire].concat()
}

pub fn trailers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(n, v)| {
            let name = http::HeaderName::from_static(n);
            (name, v.parse().expect("value"))
        })
        .collect()
}
