//! When memory runs short: bodies find no room, requests are refused, and all is as before once there
//! is some again.

mod support;

use std::fs;

use http_body_util::Full;
use serde_json::{Value, json};
use support::client::{Http1, Http2, Reply};
use support::gateway::Gateway;
use support::grpc;
use support::process::Process;
use support::soon;
use support::upstream::Upstream;
use transom::memory::Level;

const KIB: usize = 1024;

/// A request to make a game, with a title of so many bytes.
fn body(title: usize) -> String {
    json!({ "title": "t".repeat(title) }).to_string()
}

fn head(length: usize) -> String {
    format!(
        "POST /v1/games HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// A client that has sent its request but for the last byte.
async fn sending(gateway: &Gateway, body: &str) -> Http1 {
    let mut client = Http1::connect(gateway.address).await;
    client.send(head(body.len())).await;
    client.send(&body[..body.len() - 1]).await;
    client
}

async fn finished(mut client: Http1) -> Reply {
    client.send("}").await;
    soon("a reply", client.reply()).await.expect("a reply")
}

async fn held(gateway: &Gateway, what: &str, is_so: impl Fn(usize) -> bool) {
    let budget = gateway.running.memory().budget();
    let looked = async {
        while !is_so(budget.held()) {
            assert!(budget.held() <= budget.max());
            tokio::task::yield_now().await;
        }
    };
    soon(what, looked).await;
}

async fn limit_hits(gateway: &Gateway, limit: &str) -> u64 {
    let reports = gateway.running.reports().collect().await;
    let counts = reports.iter().flat_map(|r| &r.counts);
    let of_it = counts.filter(|c| c.name == "limits_hit" && c.label.1 == limit);
    of_it.map(|c| c.value).sum()
}

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::builder(upstream.address)
        .set("limits", json!({ "held": "1MiB" }))
        .start()
}

#[tokio::test]
async fn who_finds_no_room_is_told_to_come_again() {
    let mut service = Upstream::start().await;
    let gateway = gateway(&service);
    // Four of 192 KiB are three quarters of the budget.
    let large = body(150 * KIB);
    let mut waiting = Vec::new();
    for nth in 1..=4 {
        waiting.push(sending(&gateway, &large).await);
        held(&gateway, "one more is held", |held| held == nth * 192 * KIB).await;
    }
    let mut more = sending(&gateway, &large).await;
    let refused = soon("a reply", more.reply()).await.expect("a reply");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text().contains("holds as much of bodies"));
    assert_eq!(limit_hits(&gateway, "held").await, 1);
    // Small ones need none.
    let (reply, ()) = tokio::join!(
        async { finished(sending(&gateway, &body(9)).await).await },
        async {
            grpc::answer(service.next().await, &json!({ "title": "small" }));
        }
    );
    assert_eq!(reply.status, 200, "{}", reply.text());

    // One that leaves makes room for another.
    drop(waiting.pop());
    held(&gateway, "room", |held| held == 3 * 192 * KIB).await;
    drop(waiting.pop());
    held(&gateway, "room", |held| held == 2 * 192 * KIB).await;
    for client in waiting {
        let (reply, ()) = tokio::join!(finished(client), async {
            grpc::answer(service.next().await, &json!({ "title": "large" }));
        });
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    held(&gateway, "all of it is given back", |held| held == 0).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_held_and_bounded() {
    let mut service = Upstream::start().await;
    let gateway = Gateway::builder(service.address)
        .set("limits", json!({ "held": "12MiB" }))
        .start();
    let title = json!({ "title": "t".repeat(8 * KIB * KIB) });
    // The client's window is two MiB, and isn't opened further.
    let mut client = Http2::connect(gateway.address).await;
    let path = "/v1/games/1";
    let first = client.send(
        http::Request::get(format!("http://test{path}"))
            .body(Full::default())
            .expect("a request"),
    );
    let answered = async {
        grpc::answer(service.next().await, &title);
    };
    let (first, ()) = tokio::join!(first, answered);
    let first = first.expect("a head");
    assert_eq!(first.status(), 200);
    let mut other = Http1::connect(gateway.address).await;
    let (refused, ()) = tokio::join!(other.get(path), async {
        grpc::answer(service.next().await, &title);
    });
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(first);
    drop(client);
    held(&gateway, "all of it is given back", |held| held == 0).await;
}

#[tokio::test]
async fn calls_of_all_protocols_are_refused_in_their_own_words() {
    let service = Upstream::start().await;
    let rules = json!({ "limit": "100GiB", "spare": 0, "shed": 0, "refuse": 1 });
    let gateway = Gateway::builder(service.address)
        .set("limits", json!({ "memory": rules }))
        .start();
    let post = |kind: &str| {
        http::Request::post("http://test/gamehub.v1.Catalogue/GetGame")
            .header("content-type", kind)
            .header("te", "trailers")
            .body(Full::from("\0\0\0\0\0"))
            .expect("a request")
    };
    let memory = gateway.running.memory();
    let shedding = async {
        while memory.level() != Level::Shed {
            tokio::task::yield_now().await;
        }
    };
    soon("too little memory", shedding).await;
    let mut client = Http2::connect(gateway.address).await;
    let rest = client.get("/v1/games/1").await;
    assert_eq!(rest.status, 503, "{}", rest.text());
    assert_eq!(rest.header("retry-after"), Some("1"));
    let grpc = client.send(post("application/grpc")).await.expect("a head");
    assert_eq!(grpc.status(), 200);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    let web = client
        .send(post("application/grpc-web+proto"))
        .await
        .expect("a head");
    assert_eq!(web.status(), 200);
    let connect = client
        .send(post("application/connect+proto"))
        .await
        .expect("a head");
    assert_eq!(connect.status(), 200);
    assert!(limit_hits(&gateway, "memory").await >= 2);
}

fn config(more: &str) -> String {
    format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         routes: [{{ path: /fixed, respond: {{ status: 204 }} }}]\n\
         limits: {{ memory: {{ {more} }} }}\n"
    )
}

#[tokio::test]
async fn a_process_near_its_limit_sheds_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("transom.yaml");
    fs::write(&file, config("guard: false")).expect("written");
    let running = Process::start(folder);
    assert_eq!(running.status("/fixed").await, 204);
    let level = |told: &Value| told["memory"]["level"].as_str().map(str::to_owned);
    let mut kept = Http1::connect(running.address).await;
    assert_eq!(kept.get("/fixed").await.header("connection"), None);

    // Any process takes more than one MiB: where each level begins is what differs.
    for (shares, name) in [
        ("spare: 0.5, shed: 1, refuse: 1", "refuse"),
        ("guard: false", "ample"),
    ] {
        fs::write(&file, config(&format!("limit: 1MiB, {shares}"))).expect("written");
        let is_there = |told: &Value| level(told).as_deref() == Some(name);
        running.until_told(name, is_there).await;
    }
    running.says("memory runs short: requests and connections are refused");
    running.says("memory is had again: all is served");
    assert_eq!(running.status("/fixed").await, 204);

    // Refused at the door; whoever is in is answered, and asked to go.
    fs::write(&file, config("limit: 1MiB")).expect("written");
    let told = running
        .until_told("refuse", |told| level(told).as_deref() == Some("refuse"))
        .await;
    assert!(told["memory"]["used"].as_u64() > told["memory"]["limit"].as_u64());
    let reply = kept.get("/fixed").await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (503, Some("close"))
    );
    let said = running.unheard();
    assert!(
        !said.iter().any(|l| l.contains("short of memory")),
        "{said:?}"
    );
    let mut shut = Http1::connect(running.address).await;
    shut.send("GET /fixed HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(soon("the end", shut.reply()).await.is_none());
    let (status, ready) = running.admin("/readyz?verbose").await;
    assert_eq!(status, 200, "{ready}");
    let (_, metrics) = running.admin("/metrics").await;
    for line in [
        "transom_memory_level 3",
        "transom_memory_limit_bytes 1048576",
        "transom_held_bytes_max 524288",
        "transom_limits_hit_total{limit=\"memory\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }

    fs::write(&file, config("limit: 100GiB")).expect("written");
    running
        .until_told("ample", |told| level(told).as_deref() == Some("ample"))
        .await;
    assert_eq!(running.status("/fixed").await, 204);
}
