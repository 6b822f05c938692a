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
use support::upstream::{Call, Upstream as Server};
use support::{on_a_worker, soon};
use tokio::sync::{mpsc, oneshot};
use transom::config::model::{Endpoint, Upstream, UpstreamId, UpstreamProtocol, UpstreamRules};
use transom::failure::{Failure, GrpcCode};
use transom::limits::Timeouts;
use transom::rt::LocalExec;
use transom::upstream::{AnswerBody, Fleet, FrameSource, How, UpstreamBody, Upstreams};

const GAMES: UpstreamId = UpstreamId(0);

fn pool(address: SocketAddr) -> Rc<Upstreams> {
    let spec = Upstream {
        name: "games".into(),
        endpoints: vec![Endpoint {
            host: address.ip().to_string().into(),
            port: address.port(),
        }],
        protocol: UpstreamProtocol::Http2,
        rules: UpstreamRules::default(),
        place: Arc::from("test"),
    };
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
fn a_refused_stream_is_sent_again_only_while_nothing_was_sent() {
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
        let failure = answered.await.unwrap().unwrap_err();
        assert_eq!(failure.code, GrpcCode::Unavailable);
        assert!(server.is_quiet());
        soon("the source's end", hand.closed()).await;
    });
}
