//! What a service does to a call, and what servers do that speak by the frame.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::Response;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::grpc::{Answer, trailers};
use crate::support::upstream::{Call, DATA, Frame, GOAWAY, HEADERS, RST_STREAM, Raw, Scripted};
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

/// Something that isn't HTTP/2.
pub fn http1(_: usize, mut stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut buffer = [0; 1024];
        let _any = stream.read(&mut buffer).await;
        let reply = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(reply).await.ok();
    })
}

pub fn closes(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move { drop(stream) })
}

pub fn closes_after_the_request(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        peer.until(HEADERS).await;
    })
}

/// A connection in two says that it hasn't begun on the call; the others answer it.
pub fn goes_away_before(number: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let asked = peer.until(HEADERS).await;
        if number.is_multiple_of(2) {
            peer.write(&Frame::goaway(0, 0)).await;
        } else {
            answer_by_hand(&mut peer, asked.stream).await;
        }
        while peer.read().await.is_some() {}
    })
}

pub fn always_goes_away(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        peer.until(HEADERS).await;
        peer.write(&Frame::goaway(0, 0)).await;
        while peer.read().await.is_some() {}
    })
}

/// GOAWAY for calls after this one, and then its answer.
pub fn goes_away_after(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let asked = peer.until(HEADERS).await;
        peer.write(&Frame::goaway(asked.stream, 0)).await;
        answer_by_hand(&mut peer, asked.stream).await;
        while peer.read().await.is_some() {}
    })
}

/// The head of an answer and these bytes of it, then a reset: by the frame, since h2 forgets what it has
/// not sent yet when it resets a stream.
fn resets_after(stream: TcpStream, bytes: &'static [u8]) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let call = peer.until(HEADERS).await.stream;
        peer.write(&Frame::new(HEADERS, 4, call, &head_by_hand()))
            .await;
        if !bytes.is_empty() {
            peer.write(&Frame::new(DATA, 0, call, bytes)).await;
        }
        peer.write(&Frame::new(RST_STREAM, 0, call, &[0, 0, 0, 2]))
            .await;
        while peer.read().await.is_some() {}
    })
}

pub fn resets_after_the_head(_: usize, stream: TcpStream) -> Scripted {
    resets_after(stream, &[])
}

pub fn resets_inside_a_message(_: usize, stream: TcpStream) -> Scripted {
    resets_after(stream, HALF)
}

pub fn resets_after_a_message(_: usize, stream: TcpStream) -> Scripted {
    resets_after(stream, &[0; 5])
}

/// It breaks off for an error of ours, and may have acted on the call.
pub fn goes_away_with_an_error(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let asked = peer.until(HEADERS).await;
        peer.write(&Frame::goaway(asked.stream, 1)).await;
    })
}

pub fn data_before_a_head(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let call = peer.until(HEADERS).await;
        peer.write(&Frame::new(DATA, 1, call.stream, b"hello"))
            .await;
        peer.until(GOAWAY).await;
    })
}

pub fn broken_compression(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let call = peer.until(HEADERS).await;
        peer.write(&Frame::new(HEADERS, 4, call.stream, &[0xff; 20]))
            .await;
        peer.until(GOAWAY).await;
    })
}

/// `:status 200` from HPACK's table, the rest spelt out.
fn head_by_hand() -> Vec<u8> {
    [vec![0x88], field("content-type", "application/grpc")].concat()
}

/// One empty message and OK, by the frame.
async fn answer_by_hand(peer: &mut Raw, stream: u32) {
    let head = head_by_hand();
    peer.write(&Frame::new(HEADERS, 4, stream, &head)).await;
    peer.write(&Frame::new(DATA, 0, stream, &[0; 5])).await;
    let end = field("grpc-status", "0");
    peer.write(&Frame::new(HEADERS, 5, stream, &end)).await;
}

/// A header field that is not kept (RFC 7541 §6.2.2), both shorter than 127 bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    let mut bytes = vec![0, length(name)];
    bytes.extend(name.as_bytes());
    bytes.push(length(value));
    bytes.extend(value.as_bytes());
    bytes
}
