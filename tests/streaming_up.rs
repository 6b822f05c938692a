//! Streaming requests on the pool: backpressure, cancellation, and when one may be sent again.

mod support;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::Answer;
use support::upstream::{Call, Upstream as Server};
use support::{on_a_worker, soon};
use tokio::sync::{mpsc, oneshot};
use transom::config::model::{Endpoint, Upstream, UpstreamId};
use transom::failure::{Failure, GrpcCode};
use transom::limits::Timeouts;
use transom::rt::LocalExec;
use transom::upstream::{AnswerBody, Fleet, FrameSource, How, UpstreamBody, Upstreams};

const GAMES: UpstreamId = UpstreamId(0);

fn pool(address: SocketAddr) -> Rc<Upstreams> {
    let endpoint = Endpoint::host(address.ip(), address.port());
    let spec = Upstream::new("games", vec![endpoint]);
    Upstreams::new(
        &Fleet::new(1),
        &[spec],
        &Timeouts::default(),
        &LocalExec::default(),
    )
}

/// Frames that a test sends by hand; says when it has been dropped.
struct ByHand {
    frames: mpsc::UnboundedReceiver<Result<Bytes, Failure>>,
    _dropped: oneshot::Sender<()>,
}

type Hand = mpsc::UnboundedSender<Result<Bytes, Failure>>;

fn by_hand() -> (Hand, oneshot::Receiver<()>, ByHand) {
    let (hand, frames) = mpsc::unbounded_channel();
    let (told, dropped) = oneshot::channel();
    let source = ByHand {
        frames,
        _dropped: told,
    };
    (hand, dropped, source)
}

impl FrameSource for ByHand {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        self.frames.poll_recv(cx)
    }
}

type Answered = tokio::task::JoinHandle<Result<Response<AnswerBody>, Failure>>;

fn call(pool: &Rc<Upstreams>, source: impl FrameSource + 'static) -> Answered {
    let pool = Rc::clone(pool);
    let request = Request::post("/a.B/C").body(UpstreamBody::frames(source));
    tokio::task::spawn_local(async move {
        soon(
            "an answer",
            pool.call(GAMES, request.unwrap(), How::default()),
        )
        .await
    })
}

async fn piece(call: &mut Call) -> Bytes {
    let body = call.request.body_mut();
    let data = soon("a piece", body.data())
        .await
        .expect("no end yet")
        .expect("data");
    body.flow_control()
        .release_capacity(data.len())
        .expect("capacity");
    data
}

/// How the request's side of a stream ended: `None` in good order.
async fn ending(call: &mut Call) -> Option<Reason> {
    let body = call.request.body_mut();
    loop {
        match soon("the request's end", body.data()).await? {
            // The frame that says END_STREAM.
            Ok(data) => assert!(data.is_empty(), "{data:?}"),
            Err(error) => return Some(error.reason().expect("a reset")),
        }
    }
}

#[test]
fn frames_and_answer_go_both_ways_at_once() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let (hand, dropped, source) = by_hand();
        let answered = call(&pool, source);
        let mut seen = server.next().await;
        let head = Response::new(());
        let mut down = seen.respond.send_response(head, false).unwrap();
        let mut answer = answered.await.unwrap().unwrap().into_body();
        for text in ["one", "two", "three"] {
            hand.send(Ok(text.into())).unwrap();
            assert_eq!(piece(&mut seen).await, text);
            down.send_data(text.into(), false).unwrap();
            let frame = soon("a frame", answer.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), text);
        }
        drop(hand);
        assert_eq!(ending(&mut seen).await, None);
        soon("the source's end", dropped).await.unwrap_err();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        down.send_trailers(trailers).unwrap();
        let last = soon("trailers", answer.frame()).await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap()["grpc-status"], "0");
        assert!(soon("the end", answer.frame()).await.is_none());
    });
}

/// As many frames as are taken.
struct Flood(Rc<Cell<usize>>);

const FLOOD_FRAME: usize = 8 * 1024;

impl FrameSource for Flood {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        self.0.set(self.0.get() + FLOOD_FRAME);
        Poll::Ready(Some(Ok(vec![b'x'; FLOOD_FRAME].into())))
    }
}

#[test]
fn a_slow_upstream_slows_the_source() {
    on_a_worker(async {
        const WINDOW: usize = 65_535;
        let mut server = Server::start().await;
        let taken = Rc::new(Cell::new(0));
        let _answered = call(&pool(server.address), Flood(Rc::clone(&taken)));
        let mut seen = server.next().await;
        // Reads a full window and gives none of it back.
        let mut got = 0;
        while got < WINDOW {
            let data = soon("data", seen.request.body_mut().data()).await;
            got += data.unwrap().unwrap().len();
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let held = taken.get() - got;
        assert!(
            held <= transom::limits::SEND_BUFFER_BYTES_MAX + 2 * FLOOD_FRAME,
            "{held}"
        );
        // And goes on when there is room again.
        let before = taken.get();
        seen.request
            .body_mut()
            .flow_control()
            .release_capacity(got)
            .unwrap();
        while taken.get() == before {
            piece(&mut seen).await;
        }
    });
}

/// A body that waits for a window has no other way to learn that nobody wants it sent.
#[test]
fn dropping_the_answer_cancels_a_stream_whose_window_is_shut() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let whole = UpstreamBody::whole(vec![b'x'; 1024 * 1024].into());
        let flood = UpstreamBody::frames(Flood(Rc::default()));
        for body in [whole, flood] {
            let request = Request::post("/a.B/C").body(body).unwrap();
            let answered = {
                let pool = Rc::clone(&pool);
                tokio::task::spawn_local(
                    async move { pool.call(GAMES, request, How::default()).await },
                )
            };
            let mut seen = server.next().await;
            let down = seen.respond.send_response(Response::new(()), false);
            let _down = down.unwrap();
            let answer = soon("an answer", answered).await.unwrap().unwrap();
            // All that the window allows is there.
            let mut got = 0;
            while got < 65_535 {
                let data = soon("data", seen.request.body_mut().data()).await;
                got += data.unwrap().unwrap().len();
            }
            drop(answer);
            assert_eq!(ending(&mut seen).await, Some(Reason::CANCEL));
        }
        assert_eq!(pool.in_flight(GAMES), 0);
    });
}

#[test]
fn dropping_the_call_or_its_answer_cancels_the_stream_and_drops_the_source() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        for has_answer in [false, true] {
            let (hand, dropped, source) = by_hand();
            let answered = call(&pool, source);
            let mut seen = server.next().await;
            hand.send(Ok("one".into())).unwrap();
            assert_eq!(piece(&mut seen).await, "one");
            if has_answer {
                let _down = seen
                    .respond
                    .send_response(Response::new(()), false)
                    .unwrap();
                drop(answered.await.unwrap().unwrap());
                assert_eq!(ending(&mut seen).await, Some(Reason::CANCEL));
            } else {
                answered.abort();
                assert_eq!(ending(&mut seen).await, Some(Reason::CANCEL));
            }
            soon("the source's end", dropped).await.unwrap_err();
            assert!(hand.is_closed());
        }
        assert_eq!(pool.in_flight(GAMES), 0);
    });
}

#[test]
fn an_answer_that_ends_early_ends_the_request() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let (hand, dropped, source) = by_hand();
        let answered = call(&pool, source);
        let mut seen = server.next().await;
        hand.send(Ok("one".into())).unwrap();
        assert_eq!(piece(&mut seen).await, "one");
        seen.respond.send_response(Response::new(()), true).unwrap();
        let mut answer = answered.await.unwrap().unwrap().into_body();
        assert!(soon("the end", answer.frame()).await.is_none());
        soon("the source's end", dropped).await.unwrap_err();
    });
}

#[test]
fn a_source_that_fails_cancels_the_stream() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let (hand, _dropped, source) = by_hand();
        let answered = call(&pool, source);
        let mut seen = server.next().await;
        hand.send(Err(Failure::client("bad frame"))).unwrap();
        assert_eq!(ending(&mut seen).await, Some(Reason::CANCEL));
        let mut respond = seen.respond;
        poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
        answered.await.unwrap().unwrap_err();
    });
}

#[test]
fn a_refused_stream_is_sent_again_with_what_was_sent() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let (hand, _dropped, source) = by_hand();
        let answered = call(&pool, source);
        server.next().await.reset(Reason::REFUSED_STREAM);
        let mut again = server.next().await;
        hand.send(Ok("one".into())).unwrap();
        assert_eq!(piece(&mut again).await, "one");
        again.reset(Reason::REFUSED_STREAM);
        let mut again = server.next().await;
        assert_eq!(piece(&mut again).await, "one");
        hand.send(Ok("two".into())).unwrap();
        assert_eq!(piece(&mut again).await, "two");
        drop(hand);
        assert_eq!(ending(&mut again).await, None);
        again.answer("well");
        answered.await.unwrap().unwrap();
        assert!(server.is_quiet());
    });
}

#[test]
fn a_refused_stream_that_is_over_is_sent_again_whole() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let (hand, dropped, source) = by_hand();
        let answered = call(&pool, source);
        let mut refused = server.next().await;
        hand.send(Ok("all".into())).unwrap();
        drop(hand);
        assert_eq!(refused.body().await, b"all");
        soon("the source's end", dropped).await.ok();
        refused.reset(Reason::REFUSED_STREAM);
        let mut again = server.next().await;
        assert_eq!(again.body().await, b"all");
        again.answer("well");
        answered.await.unwrap().unwrap();
    });
}

/// What was sent is kept as long as it isn't much and no answer has begun.
#[test]
fn a_refused_stream_of_which_much_was_sent_is_not_sent_again() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = pool(server.address);
        let (hand, _dropped, source) = by_hand();
        let answered = call(&pool, source);
        let mut refused = server.next().await;
        let much = 40_000;
        for _ in 0..2 {
            hand.send(Ok(vec![0; much].into())).unwrap();
        }
        let mut came = 0;
        while came < 2 * much {
            came += piece(&mut refused).await.len();
        }
        refused.reset(Reason::REFUSED_STREAM);
        let failure = answered.await.unwrap().unwrap_err();
        assert_eq!(failure.code, GrpcCode::Unavailable);
        assert!(server.is_quiet());
        soon("the source's end", hand.closed()).await;
    });
}

const SAID_BYTES: usize = 200_000;
/// More than sockets and windows hold on the way up, and on the way down.
const SAID: usize = 100;

/// The next message of a call, framed, or `None` at the end of the requests.
async fn request_frame(call: &mut Call, ahead: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Reason> {
    loop {
        if let Some(length) = ahead.get(1..5) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + 5;
            if ahead.len() >= length {
                return Ok(Some(ahead.drain(..length).collect()));
            }
        }
        let body = call.request.body_mut();
        let data = match soon("a piece", body.data()).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error.reason().expect("a reset")),
            Some(Ok(data)) => data,
        };
        let flow = body.flow_control();
        flow.release_capacity(data.len()).expect("capacity");
        ahead.extend_from_slice(&data);
    }
}

/// Says each message again before it reads the next, as a plain service does. How it was ended early.
async fn echo(mut call: Call) -> Option<Reason> {
    let mut answer = Answer::begin(&mut call);
    let mut ahead = Vec::new();
    let reset = loop {
        let frame = match request_frame(&mut call, &mut ahead).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break None,
            Err(reset) => break Some(reset),
        };
        let mut frame = Bytes::from(frame);
        while !frame.is_empty() {
            answer.stream.reserve_capacity(frame.len());
            let room = poll_fn(|cx| answer.stream.poll_capacity(cx));
            let Some(Ok(room)) = soon("room", room).await else {
                return Some(answer.cancelled().await);
            };
            let piece = frame.split_to(room.min(frame.len()));
            if answer.stream.send_data(piece, false).is_err() {
                return Some(answer.cancelled().await);
            }
        }
    };
    if reset.is_none() {
        answer.end("0");
    }
    reset
}

fn chat(server: &Server, limits: serde_json::Value) -> Gateway {
    Gateway::builder(server.address)
        .set("limits", limits)
        .set("timeouts", json!({ "write_idle": "3s" }))
        .route(json!({
            "post": "/v1/rooms/{room}/chat",
            "rpc": "gamehub.v1.Chat/Join",
            "body": "*",
            "upstream": "games",
        }))
        .start()
}

/// Writes all requests and their end before it reads a byte.
async fn write_all(gateway: &Gateway, accept: &str) -> Http1 {
    let mut client = Http1::connect(gateway.address).await;
    let head = format!(
        "POST /v1/rooms/den/chat HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-ndjson\r\n\
         accept: {accept}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.send(head).await;
    let line = format!("{}\n", json!({ "text": "x".repeat(SAID_BYTES) }));
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    for _ in 0..SAID {
        soon("room for a request", client.send(&chunk)).await;
    }
    client.send("0\r\n\r\n").await;
    client
}

#[tokio::test]
async fn an_http1_client_may_write_everything_before_it_reads() {
    let mut server = Server::start().await;
    let gateway = chat(&server, json!({ "kept_replies": "32MiB" }));
    let client = tokio::spawn(async move {
        let mut client = write_all(&gateway, "application/x-ndjson").await;
        let reply = soon("the reply", client.reply()).await.expect("a reply");
        // And the connection is still good.
        assert_eq!(client.get("/nowhere").await.status, 404);
        reply
    });
    let echoed = soon("the echo", echo(server.next().await)).await;
    assert_eq!(echoed, None);
    let reply = client.await.unwrap();
    assert_eq!(reply.status, 200);
    let lines: Vec<_> = reply.text().lines().collect();
    assert_eq!(lines.len(), SAID);
    for line in lines {
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(said["text"].as_str().unwrap().len(), SAID_BYTES);
    }
}

#[tokio::test]
async fn replies_that_nobody_reads_end_the_call_with_a_last_word() {
    let mut server = Server::start().await;
    let gateway = Arc::new(chat(&server, json!({ "kept_replies": "256KiB" })));
    let (mut clients, mut echoes) = (Vec::new(), Vec::new());
    for accept in [
        "application/x-ndjson",
        "application/json",
        "text/event-stream",
    ] {
        let gateway = Arc::clone(&gateway);
        let client = tokio::spawn(async move {
            let mut client = write_all(&gateway, accept).await;
            soon("the reply", client.reply()).await.expect("a reply")
        });
        clients.push((accept, client));
        echoes.push(tokio::spawn(echo(server.next().await)));
    }
    for echoed in echoes {
        let ended = soon("the echo's end", echoed).await.unwrap();
        assert_eq!(ended, Some(Reason::CANCEL));
    }
    for (accept, client) in clients {
        let reply = client.await.unwrap();
        assert_eq!(reply.status, 200);
        let text = reply.text();
        let (messages, last) = match accept {
            "application/json" => {
                let mut all: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
                let last = all.pop().unwrap()["error"].clone();
                (all.len(), last)
            }
            "text/event-stream" => {
                let (before, last) = text.rsplit_once("event: error\n").unwrap();
                let data = last.lines().find_map(|l| l.strip_prefix("data: "));
                let last = serde_json::from_str(data.unwrap()).unwrap();
                (before.matches("data: ").count(), last)
            }
            _ => {
                let mut lines: Vec<_> = text.lines().collect();
                let last: serde_json::Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
                (lines.len(), last["error"].clone())
            }
        };
        assert!((1..SAID).contains(&messages), "{accept}: {messages}");
        assert_eq!(last["code"], 8, "{accept}: {last}");
        let message = last["message"].as_str().unwrap();
        assert!(message.contains("doesn't read"), "{message}");
    }
}
