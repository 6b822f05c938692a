//! CPU per request of the gateway, from socket to socket: `cargo bench --bench end_to_end`.
//!
//! A canned gRPC service, one worker of the gateway and HTTP/1.1 clients, each on threads of their own
//! in this process. What counts is the CPU time of the worker's thread (`/proc/self/task`), so the
//! figures hold on a busy machine too. For comparison, the same load through a bare hop: hyper and h2
//! with nothing between them; and with an access log. `SECONDS` and `CONNECTIONS` set the load; a word on the
//! command line chooses scenarios by name.

use std::io::{PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use transom::rt::LocalExec;

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/support/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/support/protos.rs"]
mod protos;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIST: usize = 100;

/// A request, and what the service answers.
struct Scenario {
    name: &'static str,
    request: String,
    answer: Bytes,
}

fn main() {
    let setting = |name: &str, default: &str| {
        let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
        text.parse::<f64>().expect("a number")
    };
    // Run as a test: only see that it works.
    let quick = std::env::args().any(|a| a == "--test");
    let seconds = if quick { 0.1 } else { setting("SECONDS", "3") };
    let seconds = Duration::try_from_secs_f64(seconds).expect("SECONDS is a time");
    let connections = setting("CONNECTIONS", "16") as usize;

    println!(
        "{:<18} {:>9} {:>14} {:>14} {:>7} {:>14} {:>7}",
        "scenario", "requests", "gateway us/req", "bare us/req", "ratio", "logging us/req", "ratio"
    );
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    for scenario in scenarios() {
        if !wanted.is_empty() && !wanted.iter().any(|w| scenario.name.contains(w.as_str())) {
            continue;
        }
        let upstream = upstream(scenario.answer.clone(), Ending::AtOnce);
        let gateway = gateway::Gateway::builder(upstream).start();
        let ours = measure(&scenario, gateway.address, connections, seconds, "worker-");
        drop(gateway);
        let (gateway, _lines) = logging(upstream);
        let logged = measure(&scenario, gateway.address, connections, seconds, "worker-");
        drop(gateway);
        let hop = bare_hop(upstream);
        let bare = measure(&scenario, hop, connections, seconds, "bare-hop");
        println!(
            "{:<18} {:>9} {:>14.1} {:>14.1} {:>7.2} {:>14.1} {:>7.2}",
            scenario.name,
            ours.requests,
            ours.micros(),
            bare.micros(),
            ours.micros() / bare.micros(),
            logged.micros(),
            logged.micros() / ours.micros()
        );
    }
    if wanted.is_empty() || wanted.iter().any(|w| "first message".contains(w.as_str())) {
        let samples = if quick { 5 } else { 500 };
        let median = first_message(samples).as_secs_f64() * 1e6;
        println!(
            "{:<18} {samples:>9} {median:>14.1} us to the client (median)",
            "first message"
        );
    }
}

/// A gateway with an access log in JSON, to a pipe that somebody reads. What is measured is its worker
/// thread; the log's own writes a batch now and then.
fn logging(upstream: SocketAddr) -> (gateway::Gateway, PipeWriter) {
    let (mut lines, pipe) = std::io::pipe().expect("a pipe");
    thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    let output = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let access = json!({ "access": { "format": "json", "output": output } });
    let gateway = gateway::Gateway::builder(upstream)
        .set("log", access)
        .start();
    (gateway, pipe)
}

/// How long the first message of a stream takes, from the request to its bytes, when no second one
/// follows: the median over connections used once. Nothing may wait for more.
fn first_message(samples: usize) -> Duration {
    let score = json!({ "gameId": "7", "sequence": 1, "player": "ann", "points": "1200" });
    let of = protos::method("gamehub.v1.Scores/WatchScores").1;
    let answer = framed(&protos::encode(&of, &score));
    let gateway = gateway::Gateway::builder(upstream(answer.into(), Ending::Never)).start();
    let request = get("/v1/games/7/scores:watch").replace("*/*", "application/x-ndjson");
    let mut times: Vec<Duration> = (0..samples)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.address).expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            let mut reply = Vec::new();
            let mut piece = [0; 4096];
            let start = std::time::Instant::now();
            stream.write_all(request.as_bytes()).expect("send");
            while !reply.ends_with(b"}\n\r\n") {
                let read = stream.read(&mut piece).expect("receive");
                assert!(read > 0, "closed: {}", String::from_utf8_lossy(&reply));
                reply.extend_from_slice(&piece[..read]);
            }
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn scenarios() -> Vec<Scenario> {
    let score =
        |i: usize| json!({ "gameId": "7", "sequence": i, "player": "ann", "points": "1200" });
    let scores: Vec<Value> = (1..=LIST).map(score).collect();
    let games: Vec<Value> = (1..=LIST).map(game).collect();
    let one = |method: &str, json: &Value| framed(&protos::encode(&protos::method(method).1, json));
    let stream = scores
        .iter()
        .flat_map(|s| one("gamehub.v1.Scores/WatchScores", s))
        .collect::<Vec<u8>>();
    let body =
        json!({ "title": "Tidal", "genre": "GENRE_PUZZLE", "tags": ["sea", "calm"] }).to_string();
    let play = |i: usize| {
        let event = json!({ "at": "1.5s", "levelFinished": { "level": i, "points": "1200" } });
        format!("{event}\n")
    };
    let plays: String = (1..=LIST).map(play).collect();
    vec![
        Scenario {
            name: "small GET",
            request: get("/v1/games/7"),
            answer: one("gamehub.v1.Catalogue/GetGame", &game(7)).into(),
        },
        Scenario {
            name: "small POST",
            request: format!(
                "POST /v1/games HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            answer: one("gamehub.v1.Catalogue/CreateGame", &game(7)).into(),
        },
        Scenario {
            name: "list of 100",
            request: get("/v1/games?page.size=100"),
            answer: one("gamehub.v1.Catalogue/ListGames", &json!({ "games": games })).into(),
        },
        Scenario {
            name: "stream of 100",
            request: get("/v1/games/7/scores:watch"),
            answer: stream.clone().into(),
        },
        Scenario {
            name: "events, 100",
            request: get("/v1/games/7/scores:watch").replace("*/*", "text/event-stream"),
            answer: stream.into(),
        },
        Scenario {
            name: "upload of 100",
            request: format!(
                "POST /v1/games/7/plays HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{plays}",
                plays.len()
            ),
            answer: one(
                "gamehub.v1.Telemetry/UploadPlay",
                &json!({ "events": LIST }),
            )
            .into(),
        },
    ]
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\naccept: */*\r\n\r\n")
}

fn game(id: usize) -> Value {
    json!({
        "id": id.to_string(),
        "name": format!("studios/paperfox/games/puzzle/{id}"),
        "title": "Tidal Garden",
        "localizedTitles": { "de": "Gezeitengarten" },
        "genre": "GENRE_PUZZLE",
        "tags": ["sea", "calm", "garden"],
        "rating": 4.25,
        "ratings": 1312,
        "releasedAt": "2024-02-29T08:00:00Z",
        "typicalSession": "900s",
        "playCount": "918273",
        "playersMax": 4,
        "minimumAge": 6,
        "browser": { "url": "https://play.example/tidal", "width": 1280, "height": 720 },
        "state": "PUBLISHED",
    })
}

fn framed(wire: &[u8]) -> Vec<u8> {
    let length = u32::try_from(wire.len()).expect("length").to_be_bytes();
    [&[0][..], &length, wire].concat()
}

/// What a load cost.
struct Cost {
    requests: u64,
    nanos: u64,
}

impl Cost {
    fn micros(&self) -> f64 {
        self.nanos as f64 / 1000.0 / self.requests as f64
    }
}

/// Puts load on `target`, and reads the CPU of the threads whose names begin with `threads`.
fn measure(
    scenario: &Scenario,
    target: SocketAddr,
    connections: usize,
    length: Duration,
    threads: &str,
) -> Cost {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let request = scenario.request.clone();
            thread::spawn(move || client(target, &request, &stop, &done))
        })
        .collect();
    thread::sleep(length / 5); // Warm: connections open, caches filled.
    let (before, nanos) = (done.load(Ordering::SeqCst), cpu_nanos(threads));
    thread::sleep(length);
    let cost = Cost {
        requests: done.load(Ordering::SeqCst) - before,
        nanos: cpu_nanos(threads) - nanos,
    };
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("a client");
    }
    cost
}

/// One connection: a request, its whole reply, and again.
fn client(target: SocketAddr, request: &str, stop: &AtomicBool, done: &AtomicU64) {
    let mut stream = TcpStream::connect(target).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    let mut buffer = Vec::with_capacity(256 * 1024);
    let mut piece = [0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes()).expect("send");
        buffer.clear();
        while !is_whole(&buffer) {
            let read = stream.read(&mut piece).expect("receive");
            assert!(read > 0, "closed: {}", String::from_utf8_lossy(&buffer));
            buffer.extend_from_slice(&piece[..read]);
        }
        let head = &buffer[..buffer.len().min(400)];
        assert!(
            buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(head)
        );
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_whole(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(4).position(|w| w == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase();
    match head.split("content-length: ").nth(1) {
        Some(rest) => {
            let length: usize = rest.lines().next().expect("line").parse().expect("length");
            reply.len() >= end + 4 + length
        }
        None => reply.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// CPU time of this process's threads whose names begin so.
fn cpu_nanos(name: &str) -> u64 {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("/proc") {
        let path = task.expect("task").path();
        // A thread may end while we look.
        let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if comm.starts_with(name) {
            let stat = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            let spent = stat.split(' ').next().and_then(|n| n.parse::<u64>().ok());
            nanos += spent.expect("/proc/self/task/*/schedstat");
        }
    }
    nanos
}

/// Runs a server on a thread of this name; gives its address.
fn serve<F>(
    name: &str,
    connection: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    socket.set_nonblocking(true).expect("nonblocking");
    let address = socket.local_addr().expect("address");
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        tokio::task::LocalSet::new().block_on(&runtime.expect("runtime"), async {
            let socket = tokio::net::TcpListener::from_std(socket).expect("socket");
            loop {
                let (stream, _) = socket.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                tokio::task::spawn_local(connection(stream));
            }
        });
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("thread");
    address
}

/// What comes after the frames of an answer.
#[derive(Clone, Copy)]
enum Ending {
    AtOnce,
    /// Nothing, until the caller leaves.
    Never,
}

/// A gRPC service that answers everything with the same frames and OK.
fn upstream(answer: Bytes, ending: Ending) -> SocketAddr {
    serve("upstream", move |stream| {
        let answer = answer.clone();
        async move {
            let handshake = h2::server::Builder::new()
                .initial_window_size(1024 * 1024)
                .initial_connection_window_size(16 * 1024 * 1024)
                .handshake::<_, Bytes>(stream);
            let mut server = handshake.await.expect("handshake");
            while let Some(Ok((request, mut respond))) = server.accept().await {
                let answer = answer.clone();
                tokio::task::spawn_local(async move {
                    // A stream that is answered before its end would be reset.
                    let mut body = request.into_body();
                    while let Some(Ok(data)) = body.data().await {
                        body.flow_control().release_capacity(data.len()).ok();
                    }
                    let head = Response::builder().header("content-type", "application/grpc");
                    let head = head.body(()).expect("head");
                    let mut stream = respond.send_response(head, false).expect("respond");
                    stream.send_data(answer, false).expect("data");
                    if let Ending::Never = ending {
                        let left = std::future::poll_fn(|cx| stream.poll_reset(cx));
                        left.await.ok();
                        return;
                    }
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().expect("value"));
                    stream.send_trailers(trailers).expect("trailers");
                });
            }
        }
    })
}

type Calls = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

thread_local! {
    /// The bare hop's connection.
    static CALLS: Rc<OnceCell<Calls>> = Rc::default();
}

/// The least that a gateway of this make can cost: takes the request, makes a call with five bytes,
/// and replies with the bytes of the answer as they are.
fn bare_hop(upstream: SocketAddr) -> SocketAddr {
    serve("bare-hop", move |stream| async move {
        let service = hyper::service::service_fn(move |_| async move {
            let calls = CALLS.with(Rc::clone);
            let mut calls = calls.get_or_init(|| connect(upstream)).await.clone();
            let call = Request::post("http://upstream/pkg.Service/Method")
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .body(Full::from(&[0; 5][..]))
                .expect("call");
            calls.ready().await.expect("a connection");
            let answer = calls.send_request(call).await.expect("answer");
            let body = answer.into_body().collect().await.expect("body").to_bytes();
            let reply = Response::builder().header("content-type", "application/json");
            Ok::<_, std::convert::Infallible>(reply.body(Full::<Bytes>::from(body)).expect("reply"))
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        serving.await.ok();
    })
}

async fn connect(upstream: SocketAddr) -> Calls {
    let stream = tokio::net::TcpStream::connect(upstream)
        .await
        .expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    let handshake =
        hyper::client::conn::http2::handshake(LocalExec::default(), TokioIo::new(stream));
    let (calls, connection) = handshake.await.expect("handshake");
    tokio::task::spawn_local(connection);
    calls
}
