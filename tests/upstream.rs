//! The pool against real sockets: limits, resending, going away, being down.

mod support;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use http::{Request, Response};
use http_body_util::BodyExt;
use support::ports::free;
use support::upstream::{DATA, Frame, GOAWAY, HEADERS, Raw, Upstream as Server, raw};
use support::{on_a_worker, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transom::config::model::{Endpoint, Upstream, UpstreamId, UpstreamProtocol};
use transom::failure::{Blame, Failure, GrpcCode, Retry};
use transom::limits::Timeouts;
use transom::rt::LocalExec;
use transom::upstream::{AnswerBody, Fleet, How, UpstreamBody, Upstreams};

const GAMES: UpstreamId = UpstreamId(0);

fn pool(endpoints: &[SocketAddr], protocol: UpstreamProtocol) -> Rc<Upstreams> {
    let endpoint = |a: &SocketAddr| Endpoint::host(a.ip(), a.port());
    let endpoints = endpoints.iter().map(endpoint).collect();
    let spec = Upstream {
        protocol,
        ..Upstream::new("games", endpoints)
    };
    let timeouts = Timeouts {
        connect: Duration::from_secs(30),
        ..Timeouts::default()
    };
    Upstreams::new(&Fleet::new(1), &[spec], &timeouts, &LocalExec::default())
}

fn http2(endpoints: &[SocketAddr]) -> Rc<Upstreams> {
    pool(endpoints, UpstreamProtocol::Http2)
}

fn post(path: &str, body: &'static str) -> Request<UpstreamBody> {
    Request::post(path)
        .body(UpstreamBody::whole(body.into()))
        .unwrap()
}

type Answered = tokio::task::JoinHandle<Result<Response<AnswerBody>, Failure>>;

fn call(pool: &Rc<Upstreams>, request: Request<UpstreamBody>) -> Answered {
    let pool = Rc::clone(pool);
    tokio::task::spawn_local(async move {
        soon("an answer", pool.call(GAMES, request, How::default())).await
    })
}

async fn text(answer: Response<AnswerBody>) -> String {
    let whole = answer.into_body().collect().await.unwrap();
    String::from_utf8(whole.to_bytes().to_vec()).unwrap()
}

#[test]
fn a_call_carries_its_head_body_and_trailers() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let answered = call(&pool, post("/gamehub.v1.Games/Get", "question"));
        let mut seen = server.next().await;
        let uri = seen.request.uri().clone();
        assert_eq!(
            uri.to_string(),
            format!("http://{}/gamehub.v1.Games/Get", server.address)
        );
        assert_eq!(seen.body().await, b"question");
        assert_eq!(pool.in_flight(GAMES), 1);
        seen.answer("answer");
        let whole = answered.await.unwrap().unwrap().into_body();
        let whole = whole.collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), "answer");
        assert_eq!(pool.in_flight(GAMES), 0);
    });
}

#[test]
fn a_host_header_becomes_the_authority() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let mut request = post("/", "");
        request
            .headers_mut()
            .insert("host", "www.example.com".parse().unwrap());
        let answered = call(&pool, request);
        let seen = server.next().await;
        assert_eq!(seen.request.uri().authority().unwrap(), "www.example.com");
        assert!(!seen.request.headers().contains_key("host"));
        seen.answer("");
        answered.await.unwrap().unwrap();
    });
}

#[test]
fn callers_share_one_attempt_to_connect() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let answers: Vec<_> = (0..50).map(|_| call(&pool, post("/", ""))).collect();
        for _ in 0..50 {
            server.next().await.answer("");
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn another_connection_is_opened_at_the_peers_stream_limit() {
    on_a_worker(async {
        let mut server = Server::with_streams_max(2).await;
        let pool = http2(&[server.address]);
        let answers: Vec<_> = (0..5).map(|_| call(&pool, post("/", ""))).collect();
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(server.next().await);
        }
        let mut on_each = [0; 5];
        held.iter().for_each(|c| on_each[c.connection] += 1);
        assert!(on_each.iter().all(|n| *n <= 2), "{on_each:?}");
        held.into_iter().for_each(|c| c.answer("done"));
        for answer in answers {
            assert_eq!(text(answer.await.unwrap().unwrap()).await, "done");
        }
    });
}

#[test]
fn goaway_sends_later_calls_to_a_new_connection_and_lets_the_old_one_finish() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let early = call(&pool, post("/early", ""));
        let held = server.next().await;
        held.say_goodbye();
        // Whatever the race with GOAWAY does to a call, it is answered in the end.
        let mut number = 0;
        loop {
            let late = call(&pool, post("/late", ""));
            let seen = server.next().await;
            number = number.max(seen.connection);
            seen.answer("late");
            assert_eq!(text(late.await.unwrap().unwrap()).await, "late");
            if number > 0 {
                break;
            }
        }
        held.answer("early");
        assert_eq!(text(early.await.unwrap().unwrap()).await, "early");
    });
}

/// Answers one request, by hand: `:status 200` from HPACK's static table, then the end.
async fn answer_by_hand(raw: &mut Raw, stream: u32) {
    raw.write(&Frame::new(HEADERS, 4, stream, &[0x88])).await;
    raw.write(&Frame::new(DATA, 1, stream, b"by hand")).await;
}

#[test]
fn a_stream_past_the_last_of_a_goaway_is_sent_again() {
    on_a_worker(async {
        let address = raw(|number, stream| async move {
            let mut raw = Raw::accept(stream).await;
            let asked = raw.until(HEADERS).await;
            if number == 0 {
                raw.write(&Frame::goaway(0, 0)).await;
                while raw.read().await.is_some() {}
            } else {
                answer_by_hand(&mut raw, asked.stream).await;
                while raw.read().await.is_some_and(|f| f.kind != GOAWAY) {}
            }
        })
        .await;
        let answer = call(&http2(&[address]), post("/", "once more"));
        assert_eq!(text(answer.await.unwrap().unwrap()).await, "by hand");
    });
}

#[test]
fn a_refused_stream_is_sent_again_and_one_that_failed_is_not() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let answered = call(&pool, post("/", "body"));
        server.next().await.reset(Reason::REFUSED_STREAM);
        let mut again = server.next().await;
        assert_eq!(again.body().await, b"body");
        again.answer("second");
        assert_eq!(text(answered.await.unwrap().unwrap()).await, "second");

        let failed = call(&pool, post("/", "body"));
        server.next().await.reset(Reason::INTERNAL_ERROR);
        let failure = failed.await.unwrap().unwrap_err();
        assert_eq!(failure.code, GrpcCode::Internal);
        assert_eq!(failure.blame, Blame::Upstream);
        assert_eq!(failure.retry, Retry::IfIdempotent);
        assert!(server.is_quiet());
    });
}

#[test]
fn a_request_is_not_sent_again_for_ever() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let answered = call(&pool, post("/", ""));
        for _ in 0..transom::limits::SENDS_MAX {
            server.next().await.reset(Reason::REFUSED_STREAM);
        }
        let failure = answered.await.unwrap().unwrap_err();
        assert_eq!(failure.code, GrpcCode::Unavailable);
        assert!(server.is_quiet());
    });
}

#[test]
fn dropping_a_call_resets_its_stream_and_no_other() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let dropped = call(&pool, post("/dropped", ""));
        let seen = server.next().await;
        let other = call(&pool, post("/other", ""));
        let other_seen = server.next().await;
        dropped.abort();
        assert_eq!(soon("a reset", seen.cancelled()).await, Reason::CANCEL);
        assert_eq!(pool.in_flight(GAMES), 1);
        other_seen.answer("fine");
        assert_eq!(text(other.await.unwrap().unwrap()).await, "fine");
    });
}

#[test]
fn dropping_an_answer_resets_its_stream() {
    on_a_worker(async {
        let mut server = Server::start().await;
        let pool = http2(&[server.address]);
        let answered = call(&pool, post("/", ""));
        let mut seen = server.next().await;
        let mut stream = seen
            .respond
            .send_response(Response::new(()), false)
            .unwrap();
        let answer = answered.await.unwrap().unwrap();
        drop(answer);
        let reset = std::future::poll_fn(|cx| stream.poll_reset(cx));
        assert_eq!(soon("a reset", reset).await.unwrap(), Reason::CANCEL);
        assert_eq!(pool.in_flight(GAMES), 0);
    });
}

#[test]
fn an_upstream_that_is_down_fails_at_once_and_comes_back() {
    on_a_worker(async {
        let address = free();
        let pool = http2(&[address]);
        for _ in 0..3 {
            let failure = call(&pool, post("/", "")).await.unwrap().unwrap_err();
            assert_eq!(failure.code, GrpcCode::Unavailable);
            assert_eq!(failure.http_status(), 503);
            assert_eq!(failure.message, r#"upstream "games" can't be reached"#);
            let source = failure.source.unwrap().to_string();
            assert!(source.contains(&address.to_string()), "{source}");
        }
        let mut server = Server::on(TcpListener::bind(address).await.unwrap(), 100);
        let answering = tokio::task::spawn_local(async move {
            // Each call, as one that was cut short by its own deadline is made again.
            loop {
                server.next().await.answer("back");
            }
        });
        let answer = soon("the way back", async {
            loop {
                match pool.call(GAMES, post("/", ""), How::default()).await {
                    Ok(answer) => break answer,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        assert_eq!(text(answer.await).await, "back");
        answering.abort();
    });
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    on_a_worker(async {
        let dead = free();
        let mut server = Server::start().await;
        let pool = http2(&[dead, server.address]);
        for _ in 0..6 {
            let answered = call(&pool, post("/", ""));
            server.next().await.answer("alive");
            assert_eq!(text(answered.await.unwrap().unwrap()).await, "alive");
        }
    });
}

#[test]
fn calls_go_to_the_least_busy_endpoint() {
    on_a_worker(async {
        let mut busy = Server::start().await;
        let mut free = Server::start().await;
        let pool = http2(&[busy.address, free.address]);
        let first = call(&pool, post("/", ""));
        let held = tokio::select! {
            held = busy.next() => held,
            held = free.next() => {
                std::mem::swap(&mut busy, &mut free);
                held
            }
        };
        for _ in 0..5 {
            let answered = call(&pool, post("/", ""));
            free.next().await.answer("");
            text(answered.await.unwrap().unwrap()).await;
        }
        assert!(busy.is_quiet());
        held.answer("");
        first.await.unwrap().unwrap();
    });
}

#[test]
fn a_peer_without_http2_is_found_out_before_a_request_is_sent() {
    on_a_worker(async {
        let address = raw(|_, mut stream: TcpStream| async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            let reply = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            stream.write_all(reply).await.unwrap();
        })
        .await;
        let failure = call(&http2(&[address]), post("/", ""));
        let failure = failure.await.unwrap().unwrap_err();
        assert_eq!(failure.code, GrpcCode::Unavailable);
        assert_eq!(failure.retry, Retry::IfUnsent);
        let source = failure.source.unwrap().to_string();
        assert!(source.contains("HTTP/2"), "{source}");
    });
}

/// One HTTP/1.1 request, read up to the end of its head.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn get(path: &str) -> Request<UpstreamBody> {
    Request::get(path)
        .body(UpstreamBody::whole(bytes::Bytes::new()))
        .unwrap()
}

#[test]
fn an_http1_connection_serves_one_request_after_the_other() {
    on_a_worker(async {
        let address = raw(|number, mut stream: TcpStream| async move {
            while let Some(head) = head(&mut stream).await {
                let line = head.lines().next().unwrap().to_owned();
                let body = format!("{number} {line} {}", head.contains("host: 127.0.0.1:"));
                let reply = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        })
        .await;
        let pool = pool(&[address], UpstreamProtocol::Http1);
        for path in ["/a", "/b", "/c"] {
            let answer = call(&pool, get(path)).await.unwrap().unwrap();
            let expected = format!("0 GET {path} HTTP/1.1 true");
            assert_eq!(text(answer).await, expected);
        }
    });
}

#[test]
fn a_stale_http1_connection_costs_a_get_nothing() {
    on_a_worker(async {
        let address = raw(|number, mut stream: TcpStream| async move {
            head(&mut stream).await.unwrap();
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(reply).await.unwrap();
            if number == 0 {
                // Reads the next request and closes without a word, as a server does whose
                // keep-alive ended while the request was on its way.
                head(&mut stream).await;
            } else {
                while head(&mut stream).await.is_some() {
                    stream.write_all(reply).await.unwrap();
                }
            }
        })
        .await;
        let pool = pool(&[address], UpstreamProtocol::Http1);
        let first = call(&pool, get("/")).await.unwrap().unwrap();
        assert_eq!(text(first).await, "ok");
        let second = call(&pool, get("/")).await.unwrap().unwrap();
        assert_eq!(text(second).await, "ok");
    });
}

#[test]
fn an_http1_answer_that_cant_be_read_is_502_and_asked_for_once() {
    on_a_worker(async {
        let address = raw(|number, mut stream: TcpStream| async move {
            assert_eq!(number, 0, "the request was sent again");
            head(&mut stream).await.unwrap();
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(reply).await.unwrap();
            head(&mut stream).await.unwrap();
            stream.write_all(b"\0garbage\r\n\r\n").await.unwrap();
        })
        .await;
        let pool = pool(&[address], UpstreamProtocol::Http1);
        let first = call(&pool, get("/")).await.unwrap().unwrap();
        assert_eq!(text(first).await, "ok");
        let failure = call(&pool, get("/")).await.unwrap().unwrap_err();
        assert_eq!(failure.http_status(), 502);
        assert_eq!(failure.retry, Retry::Never);
    });
}

#[test]
fn http1_requests_at_the_same_time_have_connections_of_their_own() {
    on_a_worker(async {
        let (seen, mut numbers) = tokio::sync::mpsc::unbounded_channel();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let open = Arc::clone(&gate);
        let address = raw(move |number, mut stream: TcpStream| {
            let (seen, gate) = (seen.clone(), Arc::clone(&gate));
            async move {
                head(&mut stream).await.unwrap();
                seen.send(number).unwrap();
                gate.acquire().await.unwrap().forget();
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(reply).await.unwrap();
            }
        })
        .await;
        let pool = pool(&[address], UpstreamProtocol::Http1);
        let answers: Vec<_> = (0..3).map(|_| call(&pool, get("/"))).collect();
        let mut on: Vec<usize> = Vec::new();
        for _ in 0..3 {
            on.push(soon("a request", numbers.recv()).await.unwrap());
        }
        on.sort_unstable();
        assert_eq!(on, [0, 1, 2]);
        open.add_permits(3);
        for answer in answers {
            assert_eq!(text(answer.await.unwrap().unwrap()).await, "ok");
        }
    });
}
