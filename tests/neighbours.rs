//! What bad neighbours cost the others: instances among good ones that are slow or fail, an upstream
//! that has vanished, and bodies as large as they may be on the one worker. In CI that nothing fails which
//! need not; the times are what `benches/soak/neighbours` prints.

mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::client::Exec;
use support::process::Process;
use support::upstream::{Call, Upstream};
use support::way::Way;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use transom::transcode::frame;

/// How an instance treats its calls.
#[derive(Clone, Copy, Debug)]
struct Manner {
    takes: Duration,
    /// Every second call ends with UNAVAILABLE.
    fails_half: bool,
}

const GOOD: Manner = Manner {
    takes: Duration::from_millis(5),
    fails_half: false,
};
const SLOW: Manner = Manner {
    takes: Duration::from_millis(50),
    fails_half: false,
};
const HALF_BROKEN: Manner = Manner {
    takes: Duration::from_millis(5),
    fails_half: true,
};

/// A server of the same manner for all its calls, and how many it had.
struct Instance {
    address: SocketAddr,
    calls: Arc<AtomicU64>,
}

impl Instance {
    async fn start(manner: Manner) -> Self {
        Self::answering(manner, Bytes::from_static(&[0; 5])).await
    }

    /// The answer is this frame.
    async fn answering(manner: Manner, frame: Bytes) -> Self {
        let mut server = Upstream::start().await;
        let address = server.address;
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        tokio::spawn(async move {
            loop {
                let call = server.some().await;
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let fails = manner.fails_half && number % 2 == 1;
                let frame = frame.clone();
                tokio::spawn(async move { treat(call, manner.takes, fails, frame).await });
            }
        });
        Self { address, calls }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

async fn treat(mut call: Call, takes: Duration, fails: bool, frame: Bytes) {
    // A large one comes in pieces: all of it is read.
    while let Some(Ok(data)) = call.request.body_mut().data().await {
        let flow = call.request.body_mut().flow_control();
        flow.release_capacity(data.len()).ok();
    }
    tokio::time::sleep(takes).await;
    let head = Response::builder().header("content-type", "application/grpc");
    if fails {
        let head = head.header("grpc-status", "14").body(()).expect("a head");
        call.respond.send_response(head, true).ok();
        return;
    }
    let head = head.body(()).expect("a head");
    // Whoever has gone away needs no answer.
    let Ok(mut stream) = call.respond.send_response(head, false) else {
        return;
    };
    let mut rest = frame;
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len().min(1 << 20));
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        let piece = rest.split_to(room.min(rest.len()));
        if stream.send_data(piece, false).is_err() {
            return;
        }
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    stream.send_trailers(trailers).ok();
}

const PROTO: &str = "syntax = \"proto3\";
package neighbours;
service Small { rpc Get(Item) returns (Item); }
service Large { rpc Put(Item) returns (Item); }
message Item { repeated Line lines = 1; }
message Line { int64 id = 1; string text = 2; bool good = 3; }
";

/// A gateway whose small calls go to `small`, and the others to `large`.
fn gateway(small: &[SocketAddr], large: SocketAddr, workers: usize, timeout: &str) -> Process {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("protos")).expect("created");
    std::fs::write(folder.path().join("protos/neighbours.proto"), PROTO).expect("written");
    let small: Vec<_> = small.iter().map(ToString::to_string).collect();
    let most = json!({ "body": "64MiB", "reply": "64MiB" });
    let routes = json!([
        { "get": "/small", "rpc": "neighbours.Small/Get", "upstream": "small" },
        {
            "post": "/large", "rpc": "neighbours.Large/Put", "body": "*", "upstream": "large",
            "timeout": timeout, "limits": most,
        },
    ]);
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\nworkers: {workers}\n\
         descriptors: [{{ protos: protos }}]\nlimits: {{ message: 64MiB }}\n\
         upstreams:\n  small: {{ endpoints: {} }}\n  large: {{ endpoints: [\"{large}\"] }}\n\
         routes: {routes}\n",
        json!(small),
    );
    std::fs::write(folder.path().join("transom.yaml"), config).expect("written");
    Process::start(folder)
}

/// An item of about so many bytes, as JSON and as a frame.
fn item(size: usize) -> (Bytes, Bytes) {
    let text = "a line of some words, and \u{fc}ml\u{e4}uts";
    let mut json = String::from("{\"lines\":[");
    let mut frame = Vec::new();
    let at = frame::start(&mut frame);
    let mut id = 1_000_000_u32;
    while json.len() < size {
        id += 1;
        let comma = if frame.len() > 5 { "," } else { "" };
        write!(
            json,
            "{comma}{{\"id\":\"{id}\",\"text\":\"{text}\",\"good\":true}}"
        )
        .expect("text");
        let line = Line {
            id: id.into(),
            text: text.into(),
            good: true,
        };
        prost::encoding::message::encode(1, &line, &mut frame);
    }
    json.push_str("]}");
    frame::finish(&mut frame, at).expect("fits");
    (json.into(), frame.into())
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(bool, tag = "3")]
    good: bool,
}

/// What became of one kind of calls.
#[derive(Debug, Default)]
struct Taken {
    times: Vec<Duration>,
    /// Statuses other than 200, with how often.
    others: std::collections::BTreeMap<u16, usize>,
}

impl Taken {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        for (status, count) in other.others {
            *self.others.entry(status).or_default() += count;
        }
    }

    /// The time that so many hundredths of the calls stayed below.
    fn quantile(&mut self, hundredths: usize) -> Duration {
        self.times.sort_unstable();
        let at = self.times.len() * hundredths / 100;
        self.times[at.min(self.times.len() - 1)]
    }
}

/// What clients do: how many of them, each so many calls, with so long between the starts of two.
#[derive(Clone)]
struct Work {
    clients: usize,
    calls: usize,
    every: Duration,
    /// `POST /large` with this body, or `GET /small`.
    body: Option<Bytes>,
}

impl Work {
    /// Each client has a connection of its own, over HTTP/2.
    async fn run(self, gateway: SocketAddr) -> Taken {
        let mut clients = JoinSet::new();
        for client in 0..self.clients {
            let work = self.clone();
            clients.spawn(async move { work.client(gateway, client).await });
        }
        let mut taken = Taken::default();
        while let Some(client) = clients.join_next().await {
            taken.add(client.expect("no panic"));
        }
        taken
    }

    async fn client(self, gateway: SocketAddr, number: usize) -> Taken {
        let stream = TcpStream::connect(gateway).await.expect("connect");
        stream.set_nodelay(true).expect("set");
        let io = TokioIo::new(stream);
        let mut builder = http2::Builder::new(Exec);
        builder
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(8 << 20);
        let (mut send, connection) = builder.handshake(io).await.expect("a handshake");
        tokio::spawn(connection);
        let mut taken = Taken::default();
        // Not all at the same moment.
        let share = u32::try_from(number).expect("few") * self.every;
        tokio::time::sleep(share / u32::try_from(self.clients).expect("few")).await;
        let mut ticks = tokio::time::interval(self.every.max(Duration::from_nanos(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for _ in 0..self.calls {
            ticks.tick().await;
            let (method, path) = match self.body {
                Some(_) => (Method::POST, "/large"),
                None => (Method::GET, "/small"),
            };
            let request = Request::builder()
                .method(method)
                .uri(format!("http://test{path}"))
                .header("content-type", "application/json")
                .body(Full::new(self.body.clone().unwrap_or_default()))
                .expect("a request");
            let begun = Instant::now();
            let reply = send.send_request(request).await.expect("a reply");
            let status = reply.status().as_u16();
            let mut body = reply.into_body();
            while let Some(frame) = body.frame().await {
                frame.expect("the whole reply");
            }
            match status {
                200 => taken.times.push(begun.elapsed()),
                other => *taken.others.entry(other).or_default() += 1,
            }
        }
        taken
    }
}

/// The share of all calls that each instance had.
fn shares(before: &[u64], fleet: &[Instance]) -> Vec<f64> {
    let since: Vec<_> = fleet
        .iter()
        .zip(before)
        .map(|(i, b)| i.calls() - b)
        .collect();
    let all = since.iter().sum::<u64>().max(1);
    let share = |calls: &u64| {
        f64::from(u32::try_from(*calls).expect("few")) / f64::from(u32::try_from(all).expect("few"))
    };
    since.iter().map(share).collect()
}

async fn fleet(manners: impl IntoIterator<Item = Manner>) -> Vec<Instance> {
    let mut fleet = Vec::new();
    for manner in manners {
        fleet.push(Instance::start(manner).await);
    }
    fleet
}

/// Ten instances, of which one is slow and one fails half of its calls, beside ten good ones.
async fn bad_instances(rounds: usize, clients: usize, calls: usize) {
    let good = fleet([GOOD; 10]).await;
    let mut manners = [GOOD; 10];
    (manners[3], manners[7]) = (SLOW, HALF_BROKEN);
    let mixed = fleet(manners).await;
    let other = Instance::start(GOOD).await;
    let addresses = |fleet: &[Instance]| fleet.iter().map(|i| i.address).collect::<Vec<_>>();
    let beside = gateway(&addresses(&good), other.address, 2, "1s");
    let among = gateway(&addresses(&mixed), other.address, 2, "1s");
    let work = Work {
        clients,
        calls,
        every: Duration::from_millis(10),
        body: None,
    };
    let mut ratios = Vec::new();
    // The first second, in which the gateway learns.
    let learn = Work {
        calls: 100,
        ..work.clone()
    };
    let mut first = learn.clone().run(among.address).await;
    learn.run(beside.address).await;
    let before: Vec<_> = mixed.iter().map(Instance::calls).collect();
    for _ in 0..rounds {
        let mut healthy = work.clone().run(beside.address).await;
        let mut taken = work.clone().run(among.address).await;
        // GET is idempotent: what an instance refuses is asked of another.
        assert!(healthy.others.is_empty(), "{:?}", healthy.others);
        assert!(taken.others.is_empty(), "{:?}", taken.others);
        assert_eq!(taken.times.len(), clients * calls);
        let (p99, base) = (taken.quantile(99), healthy.quantile(99));
        println!("  p99 {p99:.1?}, of ten good ones {base:.1?}");
        ratios.push(p99.as_secs_f64() / base.as_secs_f64());
    }
    let shares = shares(&before, &mixed);
    println!(
        "ten instances, {clients} clients: {:.2} % of the calls to the slow one, {:.2} % to the one that \
         fails half; p99 {:.2} times that of ten good ones (median of {rounds}); p99 of the first second \
         {:.1?}",
        shares[3] * 100.0,
        shares[7] * 100.0,
        median(&mut ratios),
        first.quantile(99),
    );
    // A tenth is what they would have by turns.
    assert!(shares[3] < 0.05 && shares[7] < 0.05, "{shares:?}");
}

/// One upstream swallows all that is sent to it.
async fn a_vanished_upstream(rounds: usize, calls: usize) {
    let (small, large) = (Instance::start(GOOD).await, Instance::start(GOOD).await);
    let way = Way::to(large.address).await;
    let gateway = gateway(&[small.address], way.address, 1, "1s");
    let work = Work {
        clients: 16,
        calls,
        every: Duration::from_millis(10),
        body: None,
    };
    let lost = Work {
        clients: 16,
        calls: 2,
        every: Duration::from_millis(10),
        body: Some(Bytes::from_static(b"{}")),
    };
    work.clone().run(gateway.address).await;
    lost.clone().run(gateway.address).await;
    way.swallow();
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let mut alone = work.clone().run(gateway.address).await;
        let (mut beside, gone) = tokio::join!(
            work.clone().run(gateway.address),
            lost.clone().run(gateway.address),
        );
        assert!(alone.others.is_empty() && beside.others.is_empty());
        assert!(gone.times.is_empty(), "nobody can have answered");
        assert!(
            gone.others.keys().all(|status| [503, 504].contains(status)),
            "{:?}",
            gone.others
        );
        let (p99, base) = (beside.quantile(99), alone.quantile(99));
        println!(
            "  p99 {p99:.2?}, before {base:.2?}; the others: {:?}",
            gone.others
        );
        ratios.push(p99.as_secs_f64() / base.as_secs_f64());
    }
    println!(
        "one upstream of two vanished: p99 of the other route {:.2} times that before (median of {rounds})",
        median(&mut ratios)
    );
}

/// A runtime beside the test's.
struct Apart(Option<tokio::runtime::Runtime>);

impl Apart {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        Self(Some(runtime.expect("a runtime")))
    }

    /// Begins at once.
    fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        let task = self.0.as_ref().expect("it runs").spawn(task);
        async { task.await.expect("no panic") }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Bodies of 32 MiB, up and down, on the worker of small calls.
async fn large_bodies(rounds: usize, calls: usize, size: usize) {
    let (body, answer) = item(size);
    let at_once = Manner {
        takes: Duration::ZERO,
        ..GOOD
    };
    let small = Instance::start(GOOD).await;
    // On threads of its own: what is measured is the gateway, and not this program.
    let apart = Apart::start();
    let large = apart.run(Instance::answering(at_once, answer)).await;
    let gateway = gateway(&[small.address], large.address, 1, "30s");
    let work = Work {
        clients: 16,
        calls,
        every: Duration::from_millis(10),
        body: None,
    };
    let large = Work {
        clients: 2,
        calls: 1,
        every: Duration::ZERO,
        body: Some(body),
    };
    work.clone().run(gateway.address).await;
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let mut alone = work.clone().run(gateway.address).await;
        let passed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&passed);
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let (large, address) = (large.clone(), gateway.address);
        let heavy = apart.run(async move {
            loop {
                let taken = large.clone().run(address).await;
                assert!(taken.others.is_empty(), "{:?}", taken.others);
                count.fetch_add(taken.times.len(), Ordering::Relaxed);
                if *stopped.borrow_and_update() {
                    break;
                }
            }
        });
        let mut beside = work.clone().run(gateway.address).await;
        stop.send_replace(true);
        heavy.await;
        assert!(alone.others.is_empty() && beside.others.is_empty());
        let (p99, base) = (beside.quantile(99), alone.quantile(99));
        let passed = passed.load(Ordering::Relaxed);
        println!("  p99 {p99:.2?}, alone {base:.2?}; {passed} large ones passed");
        ratios.push(p99.as_secs_f64() / base.as_secs_f64());
    }
    println!(
        "bodies of {} MiB beside them on one worker: p99 of small calls {:.2} times that alone (median of \
         {rounds})",
        size >> 20,
        median(&mut ratios)
    );
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_instances_get_few_calls() {
    bad_instances(1, 8, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_upstream_holds_nobody_up() {
    a_vanished_upstream(1, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_hold_nobody_up() {
    large_bodies(1, 50, 4 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the whole of it: benches/soak/neighbours"]
async fn five_rounds_of_each() {
    bad_instances(5, 32, 500).await;
    a_vanished_upstream(5, 500).await;
    large_bodies(5, 500, 32 << 20).await;
}
