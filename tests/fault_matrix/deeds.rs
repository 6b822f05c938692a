//! What a service does to a call.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::Response;
use serde_json::json;

use crate::support::grpc::{Answer, trailers};
use crate::support::upstream::Call;
use crate::support::way::Way;

pub const GRPC: (&str, &str) = ("content-type", "application/grpc");
/// The beginning of a message of nine bytes.
pub const HALF: &[u8] = &[0, 0, 0, 0, 9, 8];

/// What a deed leaves open: it ends only if the gateway ends it.
pub enum Left {
    Nothing,
    /// The connection is gone.
    Unheard,
    /// Nothing has been sent, and no reset will come through.
    Mute(Call),
    /// Nothing has been sent.
    Silent(Call),
    /// The answer has begun.
    Begun(Call, SendStream<Bytes>),
    /// It goes on, byte after byte.
    Drips(Call, SendStream<Bytes>),
}

impl Left {
    /// Waits for the reset, and gives its reason.
    pub async fn over(self) -> Option<Reason> {
        match self {
            Self::Nothing | Self::Unheard => None,
            Self::Mute(mut call) => {
                // Kept until the connection is gone: dropping it would end the stream.
                tokio::spawn(async move {
                    poll_fn(|cx| call.respond.poll_reset(cx)).await.ok();
                });
                None
            }
            Self::Silent(call) => Some(call.cancelled().await),
            Self::Begun(_call, mut stream) => {
                let reset = poll_fn(|cx| stream.poll_reset(cx)).await;
                Some(reset.expect("a reset"))
            }
            Self::Drips(_call, mut stream) => Some(drip(&mut stream).await),
        }
    }
}

/// Sends byte after byte of a message, slowly, until the stream is reset.
async fn drip(stream: &mut SendStream<Bytes>) -> Reason {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    stream
        .send_data(Bytes::from_static(&[0, 0, 0, 255, 0]), false)
        .expect("a prefix");
    loop {
        tokio::select! {
            reset = poll_fn(|cx| stream.poll_reset(cx)) => return reset.expect("a reset"),
            _ = pace.tick() => drop(stream.send_data(Bytes::from_static(&[0]), false)),
        }
    }
}

pub fn reset(call: Call, reason: Reason) -> Left {
    call.reset(reason);
    Left::Nothing
}

/// One message, and OK.
pub fn fine(call: Call) -> Left {
    whole(call, vec![0; 5], "0")
}

/// These bytes, and a status.
pub fn whole(mut call: Call, bytes: impl Into<Bytes>, status: &str) -> Left {
    let mut answer = Answer::begin(&mut call);
    answer.bytes(bytes);
    answer.end(status);
    Left::Nothing
}

/// These bytes, and nothing more.
pub fn begun(mut call: Call, bytes: impl Into<Bytes>) -> Left {
    let mut answer = Answer::begin(&mut call);
    answer.bytes(bytes);
    Left::Begun(call, answer.stream)
}

/// These bytes, and an end without a status.
pub fn no_trailers(mut call: Call, bytes: &'static [u8]) -> Left {
    let mut answer = Answer::begin(&mut call);
    let end = answer.stream.send_data(bytes.into(), true);
    end.expect("the end");
    Left::Nothing
}

pub fn dripping(mut call: Call) -> Left {
    let answer = Answer::begin(&mut call);
    Left::Drips(call, answer.stream)
}

/// A head alone.
pub fn head(mut call: Call, status: u16, headers: &[(&'static str, &str)]) -> Left {
    let mut head = Response::builder().status(status).body(()).expect("head");
    head.headers_mut().extend(trailers(headers));
    call.respond.send_response(head, true).expect("respond");
    Left::Nothing
}

/// A page that goes on: whoever sees what it is need not read it.
pub fn page(mut call: Call, status: u16, content_type: &str) -> Left {
    let head = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(())
        .expect("head");
    let mut body = call.respond.send_response(head, false).expect("respond");
    body.send_data("<h1>hello</h1>".into(), false)
        .expect("body");
    Left::Begun(call, body)
}

/// A head with a coding, and bytes after it.
pub fn coded(mut call: Call, coding: &str, bytes: &'static [u8]) -> Left {
    let mut head = Response::new(());
    head.headers_mut()
        .extend(trailers(&[GRPC, ("grpc-encoding", coding)]));
    let mut body = call.respond.send_response(head, false).expect("respond");
    body.send_data(bytes.into(), false).expect("body");
    Left::Begun(call, body)
}

/// A message, OK, and trailers of so many times 30 kB.
pub fn long_trailers(mut call: Call, times: usize) -> Left {
    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let long = "x".repeat(30_000);
    let long = NAMES.iter().take(times).map(|name| (*name, &*long));
    let all: Vec<_> = std::iter::once(("grpc-status", "0")).chain(long).collect();
    let mut answer = Answer::begin(&mut call);
    answer.message(&json!({}));
    answer.stream.send_trailers(trailers(&all)).expect("sent");
    Left::Nothing
}

pub fn long_head(call: Call) -> Left {
    let long = "x".repeat(30_000);
    head(call, 200, &[GRPC, ("a", &long), ("b", &long), ("c", &long)])
}

/// GOAWAY, and then the answer.
pub fn goodbye(call: Call) -> Left {
    call.say_goodbye();
    fine(call)
}

/// An answer of which the way lets through the head, and as much of a message as may be.
pub fn cut(mut call: Call, way: &Way, bytes: usize) -> Left {
    way.cut_after(bytes);
    let mut answer = Answer::begin(&mut call);
    let mut half = vec![0; bytes];
    half.splice(..5, [0, 0, 255, 0, 0]);
    answer.bytes(half);
    tokio::spawn(async move {
        // Kept until the connection is gone.
        poll_fn(|cx| answer.stream.poll_reset(cx)).await.ok();
        drop(call);
    });
    Left::Unheard
}
