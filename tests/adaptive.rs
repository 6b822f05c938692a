//! A limit on calls that follows from how the upstream answers.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use support::client::Http1;
use support::gateway::Gateway;
use support::grpc;
use support::soon;
use support::upstream::Upstream;
use tokio::sync::Semaphore;

const CALLERS: usize = 60;

/// Does so many calls at once, 10 ms each; the others wait for these.
fn serve(mut upstream: Upstream, at_once: &Arc<Semaphore>) -> tokio::task::JoinHandle<()> {
    let at_once = Arc::clone(at_once);
    tokio::spawn(async move {
        loop {
            let call = upstream.next().await;
            let at_once = Arc::clone(&at_once);
            tokio::spawn(async move {
                let _working = at_once.acquire().await.expect("open");
                tokio::time::sleep(Duration::from_millis(10)).await;
                grpc::answer(call, &json!({ "title": "Tidal" }));
            });
        }
    })
}

#[derive(Default)]
struct Count {
    answered: AtomicU64,
    shed: AtomicU64,
    stop: AtomicBool,
}

async fn calls(gateway: std::net::SocketAddr, count: Arc<Count>) {
    let mut client = Http1::connect(gateway).await;
    while !count.stop.load(Ordering::Relaxed) {
        let reply = client.get("/v1/games/7").await;
        match reply.status {
            200 => &count.answered,
            503 => {
                assert_eq!(reply.header("retry-after"), Some("1"));
                &count.shed
            }
            other => panic!("{other}: {}", reply.text()),
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_can_t_do_at_once_is_shed_and_taken_again_when_it_can() {
    let upstream = Upstream::start().await;
    let load = json!({
        "in_flight": 200, "queue": 0,
        "adaptive": { "min": 2, "probe": "1s" },
    });
    let endpoints = [upstream.address.to_string()];
    let gateway = Gateway::builder(upstream.address)
        .upstream("games", json!({ "endpoints": endpoints, "load": load }))
        .start();
    let at_once = Arc::new(Semaphore::new(4));
    let serving = serve(upstream, &at_once);
    let count = Arc::<Count>::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(calls(gateway.address, Arc::clone(&count))))
        .collect();

    let live = gateway.running.live().load();
    let shared = gateway.running.fleet().upstream(&live.upstreams[0]);
    let limit = || shared.adapted().expect("it adapts").limit;
    let becomes = async |what: &str, is_so: &dyn Fn(usize) -> bool| {
        let looked = async {
            while !is_so(limit()) {
                assert!(callers.iter().all(|c| !c.is_finished()), "a caller ended");
                tokio::task::yield_now().await;
            }
        };
        soon(what, looked).await;
    };
    becomes("a limit that fits", &|limit| limit <= 12).await;
    assert!(limit() >= 2);
    assert!(count.shed.load(Ordering::Relaxed) > 0);
    // With room for all of them, all are let through again.
    at_once.add_permits(200);
    becomes("a limit that grows", &|limit| limit >= CALLERS).await;

    count.stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no caller failed");
    }
    assert!(count.answered.load(Ordering::Relaxed) > 0);
    serving.abort();
}
