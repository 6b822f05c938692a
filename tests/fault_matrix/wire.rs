//! Servers that speak by the frame, for what `h2` would not do.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deeds::{GRPC, HALF};
use crate::support::upstream::{
    CONTINUATION, DATA, Frame, HEADERS, PING, PUSH_PROMISE, RST_STREAM, Raw, Scripted,
    WINDOW_UPDATE,
};

/// END_STREAM and END_HEADERS.
const LAST: u8 = 1;
const WHOLE: u8 = 4;

/// Calls that have arrived.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Calls that have arrived since this was asked last.
pub fn asked() -> usize {
    ASKED.swap(0, Ordering::SeqCst)
}

/// The number of the next call.
async fn call(peer: &mut Raw) -> u32 {
    let stream = peer.until(HEADERS).await.stream;
    ASKED.fetch_add(1, Ordering::SeqCst);
    stream
}

/// What is done to the first call of each connection. The connection stays open until the gateway
/// closes it.
fn does<D>(stream: TcpStream, deed: impl FnOnce(Raw, u32) -> D + Send + 'static) -> Scripted
where
    D: Future<Output = Raw> + Send,
{
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let asked = call(&mut peer).await;
        let mut peer = deed(peer, asked).await;
        peer.rest().await;
    })
}

/// Sends these frames upon the first call of each connection.
fn sends(stream: TcpStream, frames: impl FnOnce(u32) -> Vec<Frame> + Send + 'static) -> Scripted {
    does(stream, |mut peer, asked| async move {
        for frame in frames(asked) {
            peer.write(&frame).await;
        }
        peer
    })
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
        call(&mut peer).await;
    })
}

/// The connection is reset after a head and half a message.
pub fn breaks_inside_a_message(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let asked = call(&mut peer).await;
        peer.write(&head(asked)).await;
        peer.write(&Frame::new(DATA, 0, asked, HALF)).await;
        peer.0.set_zero_linger().expect("an option");
    })
}

/// GOAWAY before any call.
pub fn greets_with_goaway(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        peer.write(&Frame::goaway(0, 0)).await;
        peer.rest().await;
    })
}

/// One connection in two says that it hasn't begun on the call; the others answer it.
pub fn goes_away_before(number: usize, stream: TcpStream) -> Scripted {
    match number.is_multiple_of(2) {
        true => always_goes_away(number, stream),
        false => answers(number, stream),
    }
}

pub fn always_goes_away(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |_| vec![Frame::goaway(0, 0)])
}

/// GOAWAY for calls after this one, and then its answer.
pub fn goes_away_after(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| {
        let mut frames = vec![Frame::goaway(call, 0)];
        frames.extend(answer(call));
        frames
    })
}

/// It breaks off for an error of ours, and may have acted on the call.
pub fn goes_away_with_an_error(_: usize, stream: TcpStream) -> Scripted {
    Box::pin(async move {
        let mut peer = Raw::accept(stream).await;
        let asked = call(&mut peer).await;
        peer.write(&Frame::goaway(asked, 1)).await;
    })
}

pub fn answers(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, answer)
}

/// The head of an answer and these bytes of it, then a reset: by the frame, since h2 forgets what it has
/// not sent yet when it resets a stream.
fn resets_after(stream: TcpStream, bytes: &'static [u8]) -> Scripted {
    sends(stream, move |call| {
        let mut frames = vec![head(call)];
        if !bytes.is_empty() {
            frames.push(Frame::new(DATA, 0, call, bytes));
        }
        frames.push(reset(call, 2));
        frames
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

/// The whole answer, perhaps before the whole request, and that no more of it is needed.
pub fn resets_when_done(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| {
        let mut frames = answer(call);
        frames.push(reset(call, 0));
        frames
    })
}

/// Two heads that announce another.
pub fn hints_before_the_head(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| {
        let mut frames = vec![
            fields(WHOLE, call, &[(":status", "100")]),
            fields(WHOLE, call, &[(":status", "103"), ("link", "</a>")]),
        ];
        frames.extend(answer(call));
        frames
    })
}

pub fn data_before_a_head(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| vec![Frame::new(DATA, LAST, call, b"hello")])
}

pub fn broken_compression(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| {
        vec![Frame::new(HEADERS, WHOLE, call, &[0xff; 20])]
    })
}

pub fn pushes(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| {
        let promised = [&[0, 0, 0, 2][..], &field(":path", "/")].concat();
        vec![Frame::new(PUSH_PROMISE, WHOLE, call, &promised)]
    })
}

pub fn too_long_a_frame(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| {
        vec![Frame::new(HEADERS, WHOLE, call, &[0; 20_000])]
    })
}

/// Windows end at 2³¹ - 1.
pub fn too_wide_a_window(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |_| {
        vec![Frame::new(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255])]
    })
}

pub fn another_ones_stream(_: usize, stream: TcpStream) -> Scripted {
    sends(stream, |call| answer(call + 1000))
}

fn strange_head(stream: TcpStream, of: &'static [(&'static str, &'static str)]) -> Scripted {
    sends(stream, |call| {
        let mut frames = answer(call);
        frames[0] = fields(WHOLE, call, of);
        frames
    })
}

pub fn head_without_a_status(_: usize, stream: TcpStream) -> Scripted {
    strange_head(stream, &[GRPC])
}

pub fn head_in_capitals(_: usize, stream: TcpStream) -> Scripted {
    strange_head(stream, &[(":status", "200"), GRPC, ("X-Game", "1")])
}

pub fn head_with_a_line_within(_: usize, stream: TcpStream) -> Scripted {
    strange_head(stream, &[(":status", "200"), GRPC, ("a", "b\r\nc: d")])
}

pub fn head_of_http1(_: usize, stream: TcpStream) -> Scripted {
    strange_head(stream, &[(":status", "200"), GRPC, ("connection", "close")])
}

pub fn length_that_is_too_short(_: usize, stream: TcpStream) -> Scripted {
    strange_head(stream, &[(":status", "200"), GRPC, ("content-length", "3")])
}

pub fn length_that_is_too_long(_: usize, stream: TcpStream) -> Scripted {
    strange_head(
        stream,
        &[(":status", "200"), GRPC, ("content-length", "30")],
    )
}

/// What it sends has no end; it reads nothing.
fn floods(stream: TcpStream, first: fn(u32) -> Frame, more: fn(u32) -> Frame) -> Scripted {
    does(stream, move |mut peer, call| async move {
        peer.write(&first(call)).await;
        while peer.can_write(&more(call)).await {}
        peer
    })
}

pub fn head_without_an_end(_: usize, stream: TcpStream) -> Scripted {
    floods(
        stream,
        |call| Frame::new(HEADERS, 0, call, &head(call).payload),
        |call| Frame::new(CONTINUATION, 0, call, &field("a", &"x".repeat(100))),
    )
}

pub fn trailers_without_an_end(_: usize, stream: TcpStream) -> Scripted {
    does(stream, |mut peer, call| async move {
        peer.write(&head(call)).await;
        peer.write(&Frame::new(DATA, 0, call, &[0; 5])).await;
        peer.write(&Frame::new(HEADERS, LAST, call, &[])).await;
        let more = field("a", &"x".repeat(100));
        while peer
            .can_write(&Frame::new(CONTINUATION, 0, call, &more))
            .await
        {}
        peer
    })
}

pub fn empty_data_without_an_end(_: usize, stream: TcpStream) -> Scripted {
    floods(stream, head, |call| Frame::new(DATA, 0, call, &[]))
}

pub fn hints_without_an_end(_: usize, stream: TcpStream) -> Scripted {
    let hint = |call| fields(WHOLE, call, &[(":status", "103")]);
    floods(stream, hint, hint)
}

pub fn pings_without_an_end(_: usize, stream: TcpStream) -> Scripted {
    let ping = |_| Frame::new(PING, 0, 0, &[0; 8]);
    floods(stream, ping, ping)
}

/// A head that comes byte after byte, on a connection that all calls share.
pub fn dripping_head(_: usize, stream: TcpStream) -> Scripted {
    does(stream, |peer, call| async move {
        let (mut reads, mut writes) = peer.0.into_split();
        let mut begins = vec![0, 39, 16, HEADERS, WHOLE];
        begins.extend(call.to_be_bytes());
        let drips = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            for byte in begins.into_iter().chain(std::iter::repeat(0)) {
                pace.tick().await;
                if writes.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            writes
        });
        tokio::io::copy(&mut reads, &mut tokio::io::sink())
            .await
            .ok();
        let writes = drips.await.expect("no panic");
        Raw(reads.reunite(writes).expect("one socket"))
    })
}

fn head(call: u32) -> Frame {
    fields(WHOLE, call, &[(":status", "200"), GRPC])
}

/// One empty message and OK.
fn answer(call: u32) -> Vec<Frame> {
    vec![
        head(call),
        Frame::new(DATA, 0, call, &[0; 5]),
        fields(WHOLE | LAST, call, &[("grpc-status", "0")]),
    ]
}

fn reset(call: u32, reason: u32) -> Frame {
    Frame::new(RST_STREAM, 0, call, &reason.to_be_bytes())
}

fn fields(flags: u8, call: u32, of: &[(&str, &str)]) -> Frame {
    let block: Vec<_> = of.iter().flat_map(|(n, v)| field(n, v)).collect();
    Frame::new(HEADERS, flags, call, &block)
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
