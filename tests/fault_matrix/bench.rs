//! What runs a row of the table: a gateway, the way to its upstream, and what stands there.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::Reason;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::deeds::Left;
use crate::support::client::{Http1, Http2, Reply, whole};
use crate::support::gateway::Gateway;
use crate::support::grpc::answer;
use crate::support::tls::{Authority, Front, front};
use crate::support::upstream::{Call, Scripted, Upstream, raw};
use crate::support::way::Way;
use crate::support::{PATIENCE, soon};
use crate::wire;

/// Unary, server stream, client stream: name, method, path, body.
pub const KINDS: [(&str, &str, &str, &str); 3] = [
    ("unary", "GET", "/v1/games/7", ""),
    ("server stream", "GET", "/v1/games/7/scores:watch", ""),
    ("client stream", "POST", "/v1/games/7/plays", "[{}]"),
];

/// The deadline of rows that wait for it. All other times are so long that the test would fail.
const DEADLINE: &str = "1s";
const NEVER: &str = "1h";

/// One fault, and what clients see of it.
pub struct Row {
    pub name: &'static str,
    pub place: Place,
    /// What becomes of a call that arrives; of its further sendings, the following.
    pub deeds: &'static [fn(Call, &Way) -> Left],
    pub seen: [Seen; 3],
    /// How often each kind of call is sent, where that is known.
    pub sent: Option<[usize; 3]>,
    pub time: Time,
    /// What becomes of the way once all calls are there.
    pub then: Option<fn(&Way)>,
}

/// What ends a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The fault itself.
    Ample,
    /// The call's deadline, or the silence that a stream may have.
    Late,
    /// The time that connecting may take.
    SlowConnect,
}

/// Where the way leads when calls are made.
pub enum Place {
    Sound,
    /// A server with settings of its own.
    Server(fn() -> h2::server::Builder),
    Script(fn(usize, tokio::net::TcpStream) -> Scripted),
    Refusing,
    Deaf,
    Silent,
    /// TLS where none is expected.
    Tls,
    /// TLS is expected: nothing of it, a certificate that is too old, and one of another name.
    NoTls,
    Expired,
    OtherName,
    /// TLS is spoken: by somebody whom an unknown authority vouches for, to nobody without a certificate,
    /// for HTTP/1.1 alone, and by nobody after all.
    OtherAuthority,
    WantsOurs,
    TlsForHttp1,
    SilentTls,
}

impl Place {
    fn is_over_tls(&self) -> bool {
        matches!(
            self,
            Self::NoTls
                | Self::Expired
                | Self::OtherName
                | Self::OtherAuthority
                | Self::WantsOurs
                | Self::TlsForHttp1
                | Self::SilentTls
        )
    }
}

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Fine,
    /// Status, and code of the error.
    Refused(u16, u64),
    /// A stream whose last element is an error of this code.
    Ended(u64),
    /// Something else.
    Odd,
}

#[derive(Clone, Copy)]
pub struct Cell {
    pub kind: usize,
    pub http: u8,
}

impl Cell {
    pub fn name(self, row: &Row) -> String {
        let (kind, ..) = KINDS[self.kind];
        format!("{} / {kind} / HTTP/{}", row.name, self.http)
    }

    fn id(self) -> String {
        format!("{}-{}", self.kind, self.http)
    }
}

/// What a gateway holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    tasks: u64,
    clients: u64,
    connections: u64,
    files: usize,
    /// Requests, streams and calls under way.
    under_way: u64,
    panics: u64,
}

pub struct Bench {
    sound: Upstream,
    sound_address: SocketAddr,
    /// What stands at the other place.
    other: Option<Upstream>,
    other_address: Option<SocketAddr>,
    _fronts: Vec<Front>,
    way: Way,
    gateway: Gateway,
    base: Held,
}

impl Bench {
    pub async fn start(row: &Row) -> Self {
        let sound = Upstream::start().await;
        let mut other = None;
        let mut fronts = Vec::new();
        let authority = Authority::new("Internal");
        let other_authority = Authority::new("Another");
        let pair = match row.place {
            Place::OtherAuthority => other_authority.server(&["127.0.0.1"]),
            Place::Expired => authority.expired(&["127.0.0.1"]),
            Place::OtherName => authority.server(&["games.example.com"]),
            _ => authority.server(&["127.0.0.1"]),
        };
        let good = authority.server(&["127.0.0.1"]);
        let over_tls = row.place.is_over_tls();
        let mut sound_address = sound.address;
        if over_tls {
            let front = front(&good, &["h2"], None, sound.address).await;
            sound_address = front.address;
            fronts.push(front);
        }
        let other_address = match row.place {
            Place::Sound | Place::Refusing | Place::Deaf | Place::Silent | Place::SilentTls => None,
            Place::Server(builder) => {
                let socket = tokio::net::TcpListener::bind("127.0.0.1:0");
                let server = Upstream::built(socket.await.expect("bind"), builder());
                Some(other.insert(server).address)
            }
            Place::Script(script) => Some(raw(script).await),
            Place::NoTls => Some(sound.address),
            Place::Tls
            | Place::Expired
            | Place::OtherName
            | Place::OtherAuthority
            | Place::WantsOurs
            | Place::TlsForHttp1 => {
                let protocol = match row.place {
                    Place::TlsForHttp1 => "http/1.1",
                    _ => "h2",
                };
                let clients = matches!(row.place, Place::WantsOurs).then_some(&authority);
                let front = front(&pair, &[protocol], clients, sound.address).await;
                let address = front.address;
                fronts.push(front);
                Some(address)
            }
        };
        let way = Way::to(sound_address).await;
        let gateway = gateway(row, way.address, over_tls.then_some(&*authority.pem));
        let mut bench = Self {
            sound,
            sound_address,
            other,
            other_address,
            _fronts: fronts,
            way,
            gateway,
            base: Held::default(),
        };
        soon("an answer", bench.is_served()).await;
        bench.base = bench.settled().await;
        bench
    }

    /// Makes calls at a time; what is wrong with them.
    pub async fn run(&mut self, row: &Row, cells: &[Cell]) -> Vec<String> {
        self.lead_astray(row).await;
        wire::asked();
        let asked = join_all(cells.iter().map(|cell| ask(self.gateway.address, *cell)));
        let mut asked = Box::pin(asked);
        let (mut sent, mut left) = (HashMap::<String, usize>::new(), Vec::new());
        let seen = loop {
            let arrives = async {
                match &mut self.other {
                    Some(other) => other.some().await,
                    None => self.sound.some().await,
                }
            };
            let call = tokio::select! {
                biased;
                seen = &mut asked => break seen,
                call = arrives => call,
            };
            let id = call.request.headers()["x-cell"].to_str().expect("ASCII");
            let count = sent.entry(id.to_owned()).or_default();
            let deed = row.deeds.get(*count).or(row.deeds.last());
            *count += 1;
            let rest = deed.expect("no call may arrive")(call, &self.way);
            left.push(tokio::spawn(rest.over()));
            if let Some(then) = row.then
                && left.len() == cells.len()
            {
                then(&self.way);
            }
        };
        self.way.pass();
        for left in left {
            if let Some(reason) = soon("the stream's end", left).await.expect("a reset") {
                assert_eq!(reason, Reason::CANCEL);
            }
        }
        let mut wrong = Vec::new();
        for (cell, (seen, text)) in cells.iter().zip(seen) {
            let expected = row.seen[cell.kind];
            if seen != expected {
                let name = cell.name(row);
                wrong.push(format!(
                    "{name}: expected {expected:?}, got {seen:?}: {text}"
                ));
            }
            let sent = match row.place {
                Place::Script(_) => wire::asked(),
                _ => sent.get(&cell.id()).copied().unwrap_or_default(),
            };
            if let Some(expected) = row.sent
                && sent != expected[cell.kind]
            {
                let (name, expected) = (cell.name(row), expected[cell.kind]);
                wrong.push(format!("{name}: expected {expected} sendings, got {sent}"));
            }
        }
        assert!(self.sound.is_quiet(), "a call after the reply");
        self.heal(row).await;
        soon("an answer as if nothing had been", self.is_served()).await;
        let held = self.settled().await;
        if held != self.base {
            let names: Vec<_> = cells.iter().map(|c| c.name(row)).collect();
            wrong.push(format!(
                "{names:?}: left behind: {held:?}, base {:?}",
                self.base
            ));
        }
        wrong
    }

    async fn lead_astray(&mut self, row: &Row) {
        match (&row.place, self.other_address) {
            (Place::Sound, _) => return,
            (Place::Refusing, _) => self.way.refuse().await,
            (Place::Deaf, _) => self.way.be_deaf().await,
            (Place::Silent | Place::SilentTls, _) => self.way.swallow_new().await,
            (_, Some(other)) => self.way.lead_to(other).await,
            (_, None) => unreachable!("a place of its own"),
        }
        soon("no connection", self.until(|held| held.connections == 0)).await;
    }

    async fn heal(&mut self, row: &Row) {
        if !matches!(row.place, Place::Sound) {
            self.way.lead_to(self.sound_address).await;
        }
    }

    /// Asks until it is answered as if nothing had been.
    async fn is_served(&mut self) {
        loop {
            let cell = Cell { kind: 0, http: 1 };
            let asked = ask(self.gateway.address, cell);
            let mut asked = Box::pin(asked);
            let (seen, _) = loop {
                tokio::select! {
                    biased;
                    seen = &mut asked => break seen,
                    call = self.sound.some() => answer(call, &json!({ "title": "T" })),
                }
            };
            if seen == Seen::Fine {
                return;
            }
        }
    }

    /// What is held once nothing is under way and nothing changes for the better.
    async fn settled(&self) -> Held {
        let base = self.base.clone();
        let settled = self.until(|held| match base.tasks {
            0 => held.under_way == 0 && held.clients == 0 && held.connections == 1,
            _ => *held == base,
        });
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(held) => held,
            Err(_) => self.held().await,
        }
    }

    async fn until(&self, is: impl Fn(&Held) -> bool) -> Held {
        loop {
            let held = self.held().await;
            if is(&held) {
                return held;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn held(&self) -> Held {
        let workers = self.gateway.running.reports().collect().await;
        let worker = workers.first().expect("a worker");
        let upstream = worker.upstreams.first().expect("an upstream");
        let panics = worker.counts.iter().filter(|c| c.name == "panics");
        Held {
            panics: panics.map(|c| c.value).sum(),
            tasks: worker.tasks,
            clients: worker.connections,
            connections: upstream.connections,
            files: std::fs::read_dir("/proc/self/fd").expect("files").count(),
            under_way: worker.active + worker.streams + upstream.in_flight,
        }
    }
}

fn gateway(row: &Row, upstream: SocketAddr, authority: Option<&str>) -> Gateway {
    let (deadline, connect) = match row.time {
        Time::Ample => (NEVER, NEVER),
        Time::Late => (DEADLINE, NEVER),
        Time::SlowConnect => (NEVER, DEADLINE),
    };
    let mut gateway = Gateway::builder(upstream)
        .set(
            "timeouts",
            json!({ "connect": connect, "ping_timeout": DEADLINE }),
        )
        .set(
            "defaults",
            json!({
                "timeout": deadline,
                "stream_idle": deadline,
                "headers": { "to_metadata": ["x-cell"] },
            }),
        );
    if let Some(authority) = authority {
        let upstream = json!({ "endpoints": [upstream.to_string()], "tls": "on" });
        gateway = gateway.upstream("games", upstream).believing(authority);
    }
    gateway.start()
}

/// One call on a connection of its own: what is seen, and the words.
async fn ask(address: SocketAddr, cell: Cell) -> (Seen, String) {
    let (_, method, path, body) = KINDS[cell.kind];
    let id = cell.id();
    let reply = if cell.http == 2 {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://test{path}"))
            .header("content-type", "application/json")
            .header("x-cell", id)
            .body(Full::<Bytes>::from(body))
            .expect("request");
        let mut client = Http2::connect(address).await;
        whole(client.send(request).await.expect("a reply")).await
    } else {
        let length = body.len();
        let mut client = Http1::connect(address).await;
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
                 x-cell: {id}\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        client.reply().await.expect("a reply")
    };
    let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)]).into_owned();
    (seen(&reply), format!("{} {text}", reply.status))
}

fn seen(reply: &Reply) -> Seen {
    let Ok(json) = serde_json::from_slice::<Value>(&reply.body) else {
        return Seen::Odd;
    };
    if reply.status != 200 {
        let code = json["code"].as_u64();
        return code.map_or(Seen::Odd, |code| Seen::Refused(reply.status, code));
    }
    let last = json.as_array().and_then(|all| all.last());
    match last.and_then(|last| last.get("error")) {
        Some(error) => error["code"].as_u64().map_or(Seen::Odd, Seen::Ended),
        None => Seen::Fine,
    }
}
