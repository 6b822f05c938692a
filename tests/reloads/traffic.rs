//! Clients of every protocol that never stop, and streams that stay open all along. A call that fails,
//! and a stream that ends, is a panic of its task, which [`Traffic::end`] tells of.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use transom::demo::proto::gamehub::v1::{GetGameRequest, WatchScoresRequest};

use crate::support::client::{Http1, Http2};
use crate::support::grpc::framed;
use crate::support::rpc::Grpc;
use crate::support::tls::{Authority, connect};
use crate::support::websocket::Socket;

/// When calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Still = 0,
    Reloads = 1,
}

/// Between two calls of a client.
const PAUSE: Duration = Duration::from_millis(2);
const GAME: &str = "/gamehub.v1.Catalogue/GetGame";

/// What clients share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    phase: AtomicUsize,
    /// How long calls took, by the phase that they began in.
    took: Mutex<[Vec<Duration>; 2]>,
    /// The same of `/livez`.
    probes: Mutex<[Vec<Duration>; 2]>,
    pieces: AtomicUsize,
}

/// Where they call.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    pub admin: SocketAddr,
}

#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub took: [Vec<Duration>; 2],
    pub probes: [Vec<Duration>; 2],
    /// Messages of the streams.
    pub pieces: usize,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// One more message of a stream.
    fn heard(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }
}

impl Traffic {
    /// `each` clients of each kind, and `each` streams.
    pub fn start(at: Places, authority: &Arc<Authority>, each: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for _ in 0..each {
            for way in WAYS {
                let client = Client::new(way, at, authority);
                clients.spawn(calls(Arc::clone(&shared), client));
            }
            clients.spawn(events(Arc::clone(&shared), at.plain));
            clients.spawn(socket(Arc::clone(&shared), at.plain));
            clients.spawn(watches(Arc::clone(&shared), at.plain));
        }
        let probes = Client::new(Way::Probe, at, authority);
        clients.spawn(calls(Arc::clone(&shared), probes));
        Self { shared, clients }
    }

    pub fn phase(&self, phase: Phase) {
        self.shared.phase.store(phase as usize, Ordering::Relaxed);
    }

    /// How many calls have been answered.
    fn answered(&self) -> usize {
        let took = self.shared.took.lock().expect("unpoisoned");
        took.iter().map(Vec::len).sum()
    }

    /// Waits until so many more have been answered, and the streams have brought as many messages.
    pub async fn goes_on(&mut self, calls: usize, pieces: usize) {
        let heard = |shared: &Shared| shared.pieces.load(Ordering::Relaxed);
        let (calls, pieces) = (self.answered() + calls, heard(&self.shared) + pieces);
        let going = async {
            while self.answered() < calls || heard(&self.shared) < pieces {
                if let Some(ended) = self.clients.try_join_next() {
                    panic!("a client has ended: {ended:?}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        crate::support::soon("calls and messages", going).await;
    }

    /// Ends it. Every call must have been answered, and no stream have ended by itself.
    pub async fn end(mut self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no call failed, and no stream was cut");
        }
        Outcome {
            took: std::mem::take(&mut self.shared.took.lock().expect("unpoisoned")),
            probes: std::mem::take(&mut self.shared.probes.lock().expect("unpoisoned")),
            pieces: self.shared.pieces.load(Ordering::Relaxed),
        }
    }
}

/// How a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kept,
    Fresh,
    Http2,
    Grpc,
    Connect,
    GrpcWeb,
    /// A handshake for each call.
    Tls,
    /// `/livez`, which is no call.
    Probe,
}

const WAYS: [Way; 7] = [
    Way::Kept,
    Way::Fresh,
    Way::Http2,
    Way::Grpc,
    Way::Connect,
    Way::GrpcWeb,
    Way::Tls,
];

/// A client, with the connection that it keeps.
struct Client {
    way: Way,
    at: Places,
    trusted: Arc<rustls::ClientConfig>,
    http1: Option<Http1>,
    http2: Option<Http2>,
    grpc: Option<Grpc>,
}

/// Calls until the end, and writes down how long each took.
async fn calls(shared: Arc<Shared>, mut client: Client) {
    while shared.goes_on() {
        let phase = shared.phase.load(Ordering::Relaxed);
        let begun = Instant::now();
        client.call().await;
        let took = begun.elapsed();
        let book = match client.way {
            Way::Probe => &shared.probes,
            _ => &shared.took,
        };
        book.lock().expect("unpoisoned")[phase].push(took);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Client {
    fn new(way: Way, at: Places, authority: &Authority) -> Self {
        Self {
            way,
            at,
            trusted: Arc::new(authority.trusted()),
            http1: None,
            http2: None,
            grpc: None,
        }
    }

    async fn call(&mut self) {
        match self.way {
            Way::Kept => self.get("/v1/games/1").await,
            // That address goes by the name that it is asked for.
            Way::Probe => {
                let client = self.http1().await;
                client
                    .send("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    .await;
                assert_eq!(client.reply().await.expect("a reply").status, 200);
            }
            Way::Fresh => {
                self.http1 = None;
                self.get("/v1/games/2").await;
            }
            Way::Http2 => {
                let mut client = match self.http2.take() {
                    Some(client) => client,
                    None => Http2::connect(self.at.plain).await,
                };
                assert_eq!(client.get("/v1/games/3").await.status, 200);
                self.http2 = Some(client);
            }
            Way::Grpc => {
                let mut client = match self.grpc.take() {
                    Some(client) => client,
                    None => Grpc::connect(self.at.plain).await,
                };
                let answer = client.call(Grpc::post(GAME), &[&game()]).await;
                assert_eq!(answer.code(), "0", "{answer:?}");
                self.grpc = Some(client);
            }
            Way::Connect => {
                let more = "application/proto\r\nconnect-protocol-version: 1";
                self.post(more, &game()).await;
            }
            Way::GrpcWeb => {
                let more = "application/grpc-web+proto\r\nx-grpc-web: 1";
                let text = self.post(more, &framed(&game())).await;
                let status = text.replace(' ', "");
                assert!(status.contains("grpc-status:0"), "{text}");
            }
            Way::Tls => self.shake_hands().await,
        }
    }

    /// The connection over HTTP/1.1.
    async fn http1(&mut self) -> &mut Http1 {
        if self.http1.is_none() {
            let at = match self.way {
                Way::Probe => self.at.admin,
                _ => self.at.plain,
            };
            self.http1 = Some(Http1::connect(at).await);
        }
        self.http1.as_mut().expect("connected")
    }

    async fn get(&mut self, path: &str) {
        let reply = self.http1().await.get(path).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    async fn post(&mut self, content_type: &str, body: &[u8]) -> String {
        let head = format!(
            "POST {GAME} HTTP/1.1\r\nhost: test\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let client = self.http1().await;
        client.send([head.as_bytes(), body].concat()).await;
        let reply = client.reply().await.expect("a reply");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 200, "{text}");
        text
    }

    async fn shake_hands(&mut self) {
        let stream = connect(self.at.tls, "localhost", Arc::clone(&self.trusted)).await;
        let mut stream = stream.expect("a handshake");
        let request = "GET /v1/games/5 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.expect("a reply");
        let text = String::from_utf8_lossy(&reply);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

fn game() -> Vec<u8> {
    let request = GetGameRequest {
        game_id: 4,
        ..GetGameRequest::default()
    };
    request.encode_to_vec()
}

const EVENTS: &str = "GET /v1/games/6/scores:watch?interval=0.05s HTTP/1.1\r\n\
    host: test\r\naccept: text/event-stream\r\n\r\n";

async fn events(shared: Arc<Shared>, at: SocketAddr) {
    let mut client = Http1::connect(at).await;
    client.send(EVENTS).await;
    assert_eq!(client.head().await.expect("a head").status, 200);
    while shared.goes_on() {
        client.chunk().await.expect("the next event");
        shared.heard();
    }
}

async fn socket(shared: Arc<Shared>, at: SocketAddr) {
    let mut socket = Socket::open(at, "/v1/rooms/den/chat", &[]).await;
    while shared.goes_on() {
        socket
            .json(&json!({ "player": "ada", "text": "hello" }))
            .await;
        socket.next_json().await;
        shared.heard();
        tokio::time::sleep(PAUSE * 10).await;
    }
}

async fn watches(shared: Arc<Shared>, at: SocketAddr) {
    let mut client = Grpc::connect(at).await;
    let request = Grpc::post("/gamehub.v1.Scores/WatchScores");
    let mut call = client.begin(request).await;
    let asks = WatchScoresRequest {
        game_id: 7,
        interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: 50_000_000,
        }),
        ..WatchScoresRequest::default()
    };
    call.message(&asks.encode_to_vec());
    call.finish();
    let mut down = call.answer().await;
    while shared.goes_on() {
        down.piece().await;
        shared.heard();
    }
}
