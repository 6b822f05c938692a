//! The listener alone, with a service of the test's own behind it: no routes, no upstream.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use transom::client_body::ClientBody;
use transom::config::model::ListenerId;
use transom::failure::Failure;
use transom::limits::{Limits, Timeouts};
use transom::listener::{self, Bounds, Connections, Counters, Ends, Gate, Listener, Stop};
use transom::live::Door;
use transom::rt::LocalExec;

/// What the listener let through: answered by the test.
#[derive(Debug)]
pub struct Arrived {
    pub request: Request<()>,
    /// The whole body, or the status of the failure that it ended in.
    pub body: Result<Vec<u8>, u16>,
    pub reply: oneshot::Sender<Response<ReplyBody>>,
}

/// A body that a test can let wait.
#[derive(Debug)]
pub enum ReplyBody {
    Whole(Option<Bytes>),
    Pieces(mpsc::UnboundedReceiver<Bytes>),
    /// This many bytes, as fast as they are taken.
    Flood(usize),
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Pieces(pieces) => std::task::ready!(pieces.poll_recv(cx)),
            Self::Flood(0) => None,
            Self::Flood(left) => {
                let piece = (*left).min(64 * 1024);
                *left -= piece;
                Some(vec![b'x'; piece].into())
            }
        };
        Poll::Ready(next.map(|b| Ok(Frame::data(b))))
    }
}

/// Replies at once with the method, target and body of the request, unless the path starts with
/// `/ask`: then the test is asked.
#[derive(Clone)]
struct Mirror {
    bounds: Rc<Bounds>,
    asked: mpsc::UnboundedSender<Arrived>,
}

impl listener::Service for Mirror {
    type Body = ReplyBody;

    fn bounds(&self, _listener: &ListenerId) -> Option<Rc<Bounds>> {
        Some(Rc::clone(&self.bounds))
    }

    fn answer(
        &self,
        _: Ends,
        request: Request<ClientBody>,
    ) -> impl Future<Output = Response<ReplyBody>> + 'static {
        let asked = self.asked.clone();
        async move {
            let (head, body) = request.into_parts();
            assert_ne!(head.uri.path(), "/panic", "as asked");
            let body = match body.collect().await {
                Ok(whole) => Ok(whole.to_bytes().to_vec()),
                Err(failure) => Err(failure.http_status().as_u16()),
            };
            if !head.uri.path().starts_with("/ask") {
                return mirror(&head, body);
            }
            let (reply, answered) = oneshot::channel();
            let arrived = Arrived {
                request: Request::from_parts(head, ()),
                body,
                reply,
            };
            asked.send(arrived).ok();
            answered.await.unwrap_or_default_reply()
        }
    }

    fn refuse(&self, _: Ends, _: &Parts, failure: &Failure) -> Response<ReplyBody> {
        let text = Bytes::from(failure.message.to_string());
        let mut reply = Response::new(ReplyBody::Whole(Some(text)));
        *reply.status_mut() = failure.http_status();
        reply
    }
}

trait OrDefault {
    fn unwrap_or_default_reply(self) -> Response<ReplyBody>;
}

impl<E> OrDefault for Result<Response<ReplyBody>, E> {
    fn unwrap_or_default_reply(self) -> Response<ReplyBody> {
        self.unwrap_or_else(|_| Response::new(ReplyBody::Whole(None)))
    }
}

fn mirror(head: &http::request::Parts, body: Result<Vec<u8>, u16>) -> Response<ReplyBody> {
    let (status, body) = match body {
        Ok(body) => (200, body),
        Err(status) => (status, Vec::new()),
    };
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(format!("{name}: ").as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend(body);
    let mut reply = Response::new(ReplyBody::Whole(Some(text.into())));
    *reply.status_mut() = http::StatusCode::from_u16(status).expect("status");
    reply
}

/// A listener on a thread of its own.
#[derive(Debug)]
pub struct Edge {
    pub address: SocketAddr,
    pub gate: Arc<Gate>,
    asked: mpsc::UnboundedReceiver<Arrived>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Counts>>,
}

/// What the listener counted, after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub slow_heads: u64,
    pub idle_closed: u64,
    pub stalled: u64,
    pub refused_requests: u64,
    pub accept_pauses: u64,
    pub accept_delays: u64,
    pub slow_bodies: u64,
    pub aged: u64,
    pub cut: u64,
    pub refused_full: u64,
    pub refused_by_ip: u64,
    pub unreadable: u64,
    pub heads_too_large: u64,
    pub floods: u64,
    pub panics: u64,
}

impl Edge {
    pub fn start(limits: Limits, timeouts: Timeouts) -> Self {
        let bound = listener::bind("127.0.0.1:0".parse().expect("address"), 1).expect("bind");
        let gate = Arc::new(Gate::default());
        let (asked, questions) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let at_gate = Arc::clone(&gate);
        let thread = std::thread::spawn(move || {
            super::on_a_worker(async move {
                let counters = Rc::new(Counters::default());
                let connections = Rc::new(Connections::default());
                let exec = LocalExec::default();
                let socket = bound.sockets.into_iter().next().expect("a socket");
                let id = ListenerId {
                    address: bound.address,
                    nth: 0,
                };
                let bounds = Bounds {
                    limits,
                    timeouts,
                    door: Door {
                        id,
                        tls: None,
                        redirect: None,
                        openapi: false,
                        proxy_protocol: false,
                    },
                    trusted_proxies: Rc::default(),
                };
                let listener = Listener {
                    id,
                    service: Mirror {
                        bounds: Rc::new(bounds),
                        asked,
                    },
                    gate: at_gate,
                    connections: Rc::clone(&connections),
                    counters: Rc::clone(&counters),
                    exec: exec.clone(),
                    last: RefCell::default(),
                };
                let socket = tokio::net::TcpListener::from_std(socket).expect("socket");
                listener::accept(&listener, socket, async {
                    stopped.await.ok();
                    Stop::Close
                })
                .await;
                connections.close();
                super::soon("the connections' end", connections.closed()).await;
                Counts {
                    slow_heads: counters.slow_heads.get(),
                    idle_closed: counters.idle_closed.get(),
                    stalled: counters.stalled.get(),
                    refused_requests: counters.refused_requests.get(),
                    accept_pauses: counters.accept_pauses.get(),
                    accept_delays: counters.accept_delays.get(),
                    slow_bodies: counters.slow_bodies.get(),
                    aged: counters.aged.get(),
                    cut: counters.cut.get(),
                    refused_full: counters.refused_full.get(),
                    refused_by_ip: counters.refused_by_ip.get(),
                    unreadable: counters.unreadable.get(),
                    heads_too_large: counters.heads_too_large.get(),
                    floods: counters.floods.get(),
                    panics: exec.panics(),
                }
            })
        });
        Self {
            address: bound.address,
            gate,
            asked: questions,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The next request to `/ask…`.
    pub async fn arrived(&mut self) -> Arrived {
        super::soon("a request", self.asked.recv())
            .await
            .expect("the edge runs")
    }

    /// Begins to drain; connections finish what they do.
    pub fn drain(&mut self) {
        self.stop.take();
    }

    /// Drains, waits for the end, and gives the counts.
    pub async fn finish(mut self) -> Counts {
        self.drain();
        let thread = self.thread.take().expect("still running");
        tokio::task::spawn_blocking(|| thread.join().expect("the edge doesn't panic"))
            .await
            .expect("joined")
    }
}
