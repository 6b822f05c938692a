//! Instances that are asked how they are: who is left out for what they say.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use support::client::Http1;
use support::gateway::Gateway;
use support::soon;
use support::upstream::{Call, Upstream, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use transom::upstream::{Member, Members};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
/// Not a status: the call ends with UNIMPLEMENTED.
const UNIMPLEMENTED: i32 = -12;
/// Not a status: the call is taken and never answered.
const SILENT: i32 = -1;

/// An instance that answers calls, and says of itself what a test wants.
struct Instance {
    address: SocketAddr,
    says: watch::Sender<i32>,
    /// What it says when it is watched, if that is something else.
    watched: Arc<AtomicI32>,
    checks: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Instance {
    async fn start(status: i32) -> Self {
        let mut server = Upstream::start().await;
        let (says, said) = watch::channel(status);
        let instance = Self {
            address: server.address,
            says,
            watched: Arc::new(AtomicI32::new(0)),
            checks: Arc::default(),
            calls: Arc::default(),
        };
        let (checks, calls) = (Arc::clone(&instance.checks), Arc::clone(&instance.calls));
        let watched = Arc::clone(&instance.watched);
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let call = server.next().await;
                let now = *said.borrow();
                match call.path() {
                    "/grpc.health.v1.Health/Check" => {
                        checks.fetch_add(1, Ordering::SeqCst);
                        match now {
                            SILENT => held.push(call),
                            status => answer(call, status),
                        }
                    }
                    "/grpc.health.v1.Health/Watch" => match watched.load(Ordering::SeqCst) {
                        UNIMPLEMENTED => answer(call, UNIMPLEMENTED),
                        _ => drop(tokio::spawn(tell(call, said.clone()))),
                    },
                    _ => {
                        calls.fetch_add(1, Ordering::SeqCst);
                        call.answer("\0\0\0\0\0");
                    }
                }
            }
        });
        instance
    }

    fn says(&self, status: i32) {
        self.says.send_replace(status);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until it has been asked `more` times from now on.
    async fn asked(&self, more: usize) {
        let until = self.checks.load(Ordering::SeqCst) + more;
        until_true("questions", || self.checks.load(Ordering::SeqCst) >= until).await;
    }
}

fn message(status: i32) -> Vec<u8> {
    vec![0, 0, 0, 0, 2, 8, u8::try_from(status).expect("a status")]
}

fn answer(mut call: Call, status: i32) {
    if status == UNIMPLEMENTED {
        let head = Response::builder().header("grpc-status", "12").body(());
        call.respond.send_response(head.unwrap(), true).unwrap();
        return;
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let sent = call.respond.send_response(head.body(()).unwrap(), false);
    let mut stream = sent.unwrap();
    stream.send_data(message(status).into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

/// `Watch`: the status now and each change.
async fn tell(mut call: Call, mut said: watch::Receiver<i32>) {
    let head = Response::builder().header("content-type", "application/grpc");
    let sent = call.respond.send_response(head.body(()).unwrap(), false);
    let mut stream = sent.unwrap();
    loop {
        let status = *said.borrow_and_update();
        if stream.send_data(message(status).into(), false).is_err() {
            return;
        }
        if said.changed().await.is_err() {
            return;
        }
    }
}

async fn until_true(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, waiting).await;
}

fn start(instances: &[SocketAddr], health: Value) -> Gateway {
    let endpoints: Vec<_> = instances.iter().map(ToString::to_string).collect();
    let games = json!({
        "endpoints": endpoints, "balance": "round_robin", "health": health, "ejection": "off",
    });
    let first = instances.first().copied().expect("an instance");
    Gateway::builder(first).upstream("games", games).start()
}

fn member(gateway: &Gateway, at: usize) -> Arc<Member> {
    let live = gateway.running.live().load();
    let shared = gateway.running.fleet().upstream(&live.upstreams[0]);
    Arc::clone(shared.members().iter().nth(at).expect("a member"))
}

async fn healthy(gateway: &Gateway, at: usize, wanted: bool) {
    let member = member(gateway, at);
    until_true("a verdict", || {
        let checks = member.checks();
        checks.passed + checks.failed > 0 && member.is_healthy() == wanted
    })
    .await;
}

/// So many calls, and what became of each.
async fn calls(gateway: &Gateway, count: usize) -> Vec<u16> {
    let mut client = Http1::connect(gateway.address).await;
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.get("/v1/games/7").await.status);
    }
    statuses
}

/// Questions every 10 ms, and on a busy machine all the time for the answers.
fn often(more: Value) -> Value {
    let mut health = json!({ "grpc": "on", "interval": "10ms", "timeout": "60s" });
    for (key, value) in more.as_object().expect("keys") {
        health[key] = value.clone();
    }
    health
}

#[tokio::test]
async fn who_says_that_it_does_not_serve_is_left_out_until_it_does() {
    let (one, other) = (
        Instance::start(SERVING).await,
        Instance::start(SERVING).await,
    );
    let gateway = start(
        &[one.address, other.address],
        often(json!({ "unhealthy_after": 2 })),
    );
    healthy(&gateway, 0, true).await;
    healthy(&gateway, 1, true).await;
    assert_eq!(calls(&gateway, 4).await, [200; 4]);
    assert_eq!([one.calls(), other.calls()], [2, 2]);

    other.says(NOT_SERVING);
    healthy(&gateway, 1, false).await;
    let why = member(&gateway, 1).checks().why.expect("a reason");
    assert_eq!(&*why, "it says NOT_SERVING");
    assert_eq!(calls(&gateway, 4).await, [200; 4]);
    assert_eq!([one.calls(), other.calls()], [6, 2]);

    other.says(SERVING);
    healthy(&gateway, 1, true).await;
    assert_eq!(member(&gateway, 1).checks().why, None);
    calls(&gateway, 4).await;
    assert!(other.calls() > 2);
}

#[tokio::test]
async fn a_silent_one_is_left_out() {
    let (one, silent) = (
        Instance::start(SERVING).await,
        Instance::start(SILENT).await,
    );
    let gateway = start(
        &[one.address, silent.address],
        often(json!({ "timeout": "300ms" })),
    );
    healthy(&gateway, 1, false).await;
    let why = member(&gateway, 1).checks().why.expect("a reason");
    assert_eq!(&*why, "no answer within 300ms");
    // One that refuses is as bad, and it is asked on.
    silent.asked(2).await;
    assert!(!member(&gateway, 1).is_healthy());
}

#[tokio::test]
async fn what_a_watch_tells_counts_at_once() {
    let (one, other) = (
        Instance::start(SERVING).await,
        Instance::start(SERVING).await,
    );
    // The next question is an hour away, and a row would need ten.
    let health = json!({
        "grpc": { "watch": true }, "interval": "1h", "timeout": "10s",
        "unhealthy_after": 10, "healthy_after": 10,
    });
    let gateway = start(&[one.address, other.address], health);
    healthy(&gateway, 1, true).await;
    other.says(NOT_SERVING);
    healthy(&gateway, 1, false).await;
    assert_eq!(calls(&gateway, 4).await, [200; 4]);
    assert_eq!([one.calls(), other.calls()], [4, 0]);
    other.says(SERVING);
    healthy(&gateway, 1, true).await;
}

#[tokio::test]
async fn without_watch_it_is_asked_and_without_health_it_is_healthy() {
    let (one, other) = (
        Instance::start(SERVING).await,
        Instance::start(UNIMPLEMENTED).await,
    );
    one.watched.store(UNIMPLEMENTED, Ordering::SeqCst);
    let gateway = start(
        &[one.address, other.address],
        often(json!({ "grpc": { "watch": true }, "unhealthy_after": 1 })),
    );
    healthy(&gateway, 0, true).await;
    other.asked(3).await;
    assert_eq!(
        member(&gateway, 1).checks().failed,
        0,
        "UNIMPLEMENTED is no failure"
    );
    one.says(NOT_SERVING);
    healthy(&gateway, 0, false).await;
}

#[tokio::test]
async fn nobody_healthy_is_taken_for_a_fault_of_the_checks() {
    for (panic_percent, expected) in [(50, 200), (0, 503)] {
        let (one, other) = (
            Instance::start(NOT_SERVING).await,
            Instance::start(NOT_SERVING).await,
        );
        let more = json!({ "panic_percent": panic_percent });
        let gateway = start(&[one.address, other.address], often(more));
        healthy(&gateway, 0, false).await;
        healthy(&gateway, 1, false).await;
        assert_eq!(calls(&gateway, 2).await, [expected; 2]);
    }
}

#[tokio::test]
async fn instances_that_come_are_asked_and_those_that_go_are_not() {
    let (one, other) = (
        Instance::start(SERVING).await,
        Instance::start(NOT_SERVING).await,
    );
    let gateway = start(&[one.address], often(json!({ "panic_percent": 0 })));
    healthy(&gateway, 0, true).await;
    let live = gateway.running.live().load();
    let shared = gateway.running.fleet().upstream(&live.upstreams[0]);
    let endpoint = transom::config::model::Endpoint::host(other.address.ip(), other.address.port());
    let place = transom::upstream::Location::Address(other.address);
    let new = Arc::new(Member::new(place, &endpoint).expect("a member"));
    shared.publish(Members::new([member(&gateway, 0), Arc::clone(&new)]));
    until_true("a verdict", || !new.is_healthy()).await;
    shared.publish(Members::new([Arc::clone(&new)]));
    // Two questions to the one that stayed: the other one's task is long gone by then.
    other.asked(2).await;
    let asked = one.checks.load(Ordering::SeqCst);
    other.asked(3).await;
    assert_eq!(one.checks.load(Ordering::SeqCst), asked);
}

/// An HTTP/1.1 server whose status a test sets.
async fn site(
    status: watch::Receiver<u16>,
    paths: tokio::sync::mpsc::UnboundedSender<String>,
) -> SocketAddr {
    raw(move |_, mut stream| {
        let (status, paths) = (status.clone(), paths.clone());
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).await.is_err() {
                    return;
                }
                head.extend(byte);
            }
            let head = String::from_utf8(head).expect("text");
            let path = head.split(' ').nth(1).expect("a path").to_owned();
            let number = if path == "/healthz" {
                *status.borrow()
            } else {
                200
            };
            paths.send(path).ok();
            let reply = format!(
                "HTTP/1.1 {number} Told\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
            );
            stream.write_all(reply.as_bytes()).await.ok();
        }
    })
    .await
}

#[tokio::test]
async fn plain_http_is_asked_by_a_get() {
    let (paths, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let (says, said) = watch::channel(204);
    let (_fine, fine_said) = watch::channel(200);
    let (one, other) = (
        site(fine_said, paths.clone()).await,
        site(said, paths).await,
    );
    let health = json!({
        "http": { "path": "/healthz" }, "interval": "10ms", "timeout": "60s", "unhealthy_after": 1,
    });
    let site = json!({
        "endpoints": [one.to_string(), other.to_string()], "protocol": "http1",
        "balance": "round_robin", "health": health, "ejection": "off",
    });
    let gateway = Gateway::builder(one)
        .upstream("games", site)
        .set("routes", json!([{ "prefix": "/", "upstream": "games" }]))
        .start();
    healthy(&gateway, 1, true).await;
    assert_eq!(asked.recv().await.as_deref(), Some("/healthz"));
    says.send_replace(503);
    healthy(&gateway, 1, false).await;
    let why = member(&gateway, 1).checks().why.expect("a reason");
    assert_eq!(&*why, "status 503");
    assert_eq!(calls(&gateway, 4).await, [200; 4]);
    says.send_replace(200);
    healthy(&gateway, 1, true).await;
}
