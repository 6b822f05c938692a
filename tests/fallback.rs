//! What stands in for an upstream that can't answer, and what one dead upstream means for the rest.

mod support;

use std::net::SocketAddr;

use h2::Reason;
use http::Response;
use serde_json::{Value, json};
use support::client::{Http1, Reply};
use support::gateway::{Builder, Gateway};
use support::grpc;
use support::process::Process;
use support::site::Site;
use support::soon;
use support::upstream::{Call, Upstream, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An empty message.
const NOTHING: &str = "\0\0\0\0\0";

fn nobody() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address")
}

/// Of a service at `upstream`, with this in its place.
fn with(upstream: SocketAddr, fallback: Value) -> Builder {
    let services = ["gamehub.v1.*", "kinds.v1.*"];
    Gateway::builder(upstream).set(
        "routes",
        json!([{ "services": services, "upstream": "games", "fallback": fallback, "retry": "off" }]),
    )
}

fn unavailable(mut call: Call) {
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "14")
        .body(());
    let sent = call.respond.send_response(head.expect("a head"), true);
    sent.expect("sent");
}

fn fails(mut call: Call, code: &'static str) {
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code)
        .body(());
    let sent = call.respond.send_response(head.expect("a head"), true);
    sent.expect("sent");
}

async fn ask(gateway: &Gateway, request: &str) -> Reply {
    let mut client = Http1::connect(gateway.address).await;
    client.send(request).await;
    soon("a reply", client.reply()).await.expect("a reply")
}

async fn get(gateway: &Gateway, path: &str, more: &str) -> Reply {
    ask(
        gateway,
        &format!("GET {path} HTTP/1.1\r\nhost: games.example\r\n{more}\r\n"),
    )
    .await
}

async fn post(gateway: &Gateway, path: &str) -> Reply {
    let head = "host: games.example\r\ncontent-type: application/json\r\ncontent-length: 2";
    ask(
        gateway,
        &format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n{{}}"),
    )
    .await
}

/// How often something has stood in.
async fn counted(gateway: &Gateway, by: &str) -> u64 {
    let reports = gateway.running.reports().collect().await;
    let counts = reports.iter().flat_map(|r| &r.counts);
    let ours = counts.filter(|c| c.name == "fallbacks" && c.label == ("by", by));
    ours.map(|c| c.value).sum()
}

#[tokio::test]
async fn the_same_reply_for_an_upstream_that_is_not_there() {
    let fixed = json!({ "respond": {
        "status": 200, "body": "{\"games\":[]}", "content_type": "application/json",
        "headers": { "x-from": "fallback" },
    } });
    let gateway = with(nobody(), fixed).start();
    let reply = get(&gateway, "/v1/games", "").await;
    assert_eq!((reply.status, reply.text()), (200, "{\"games\":[]}"));
    assert_eq!(reply.header("x-from"), Some("fallback"));
    assert_eq!(counted(&gateway, "respond").await, 1);
    // The client's own mistakes are told as ever.
    let reply = get(&gateway, "/v1/games?nothing=1", "").await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(get(&gateway, "/nowhere", "").await.status, 404);
    assert_eq!(counted(&gateway, "respond").await, 1);
    // The operator knows whose fault it was.
    let reports = gateway.running.reports().collect().await;
    let faults = reports.iter().flat_map(|r| &r.routes).map(|r| r.faults[2]);
    assert_eq!(faults.sum::<u64>(), 1);
}

#[tokio::test]
async fn what_a_service_answers_is_its_answer() {
    let mut service = Upstream::start().await;
    let fixed = json!({ "stale": "1h", "respond": { "status": 299 } });
    let gateway = with(service.address, fixed).start();
    for (code, status) in [("5", 404), ("7", 403), ("13", 500), ("12", 501), ("4", 504)] {
        let (reply, ()) = tokio::join!(get(&gateway, "/v1/games/1", ""), async {
            fails(service.next().await, code);
        });
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let (reply, ()) = tokio::join!(get(&gateway, "/v1/games/1", ""), async {
        fails(service.next().await, "14");
    });
    assert_eq!(reply.status, 299);
}

#[tokio::test]
async fn another_upstream_is_asked() {
    let mut other = Upstream::start().await;
    let down = with(nobody(), json!({ "upstream": "other" }))
        .upstream("other", json!({ "endpoints": [other.address.to_string()] }))
        .start();
    // Neither came to the first, so both may go to the second.
    let (reply, ()) = tokio::join!(get(&down, "/v1/games/1", ""), async {
        other.next().await.answer(NOTHING);
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (reply, ()) = tokio::join!(post(&down, "/kinds"), async {
        other.next().await.answer(NOTHING);
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
    // A stream that has not begun.
    let (reply, ()) = tokio::join!(get(&down, "/watch", ""), async {
        other.next().await.answer(NOTHING);
    });
    assert_eq!((reply.status, reply.text()), (200, "[{}]"));
    assert_eq!(counted(&down, "upstream").await, 3);
}

#[tokio::test]
async fn an_upstream_that_hangs_leaves_time_for_another() {
    let (mut first, mut other) = (Upstream::start().await, Upstream::start().await);
    let gateway = Gateway::builder(first.address)
        .set(
            "routes",
            json!([{
                "services": ["gamehub.v1.*"], "upstream": "games", "timeout": "1h",
                "retry": { "attempts": 2, "per_try": "50ms" }, "fallback": { "upstream": "other" },
            }]),
        )
        .upstream("other", json!({ "endpoints": [other.address.to_string()] }))
        .start();
    let (reply, ()) = tokio::join!(get(&gateway, "/v1/games/1", ""), async {
        let (one, two) = (first.next().await, first.next().await);
        other.next().await.answer(NOTHING);
        assert_eq!(one.cancelled().await, Reason::CANCEL);
        assert_eq!(two.cancelled().await, Reason::CANCEL);
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(first.is_quiet());
}

#[tokio::test]
async fn copies_are_shared_by_workers_and_outlive_a_reload() {
    let service = transom::demo::start(([127, 0, 0, 1], 0).into()).expect("the service");
    let folder = tempfile::tempdir().expect("a folder");
    let protos = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    // A connection for each request, so that the workers take turns.
    let config = |upstream: SocketAddr| {
        format!(
            "listeners: [{{ address: \"127.0.0.1:0\", accept: deal }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
             descriptors: [{{ protos: {} }}]\nupstreams: {{ games: {{ endpoints: [\"{upstream}\"] }} }}\n\
             routes: [{{ services: [\"gamehub.v1.*\"], upstream: games, fallback: {{ stale: 1h }} }}]\nworkers: 2\n",
            protos.display()
        )
    };
    let file = folder.path().join("transom.yaml");
    std::fs::write(&file, config(service.address())).expect("written");
    let gateway = Process::start(folder);
    let good = Http1::connect(gateway.address)
        .await
        .get("/v1/games/1")
        .await;
    assert_eq!((good.status, good.header("age")), (200, None));
    drop(service);
    let away = nobody();
    let beside = gateway.path("transom.new");
    std::fs::write(&beside, config(away)).expect("written");
    std::fs::rename(beside, gateway.path("transom.yaml")).expect("renamed");
    gateway.says("reloaded");
    // Held open, so that the next goes to the other worker.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Http1::connect(gateway.address).await;
        let stale = client.get("/v1/games/1").await;
        assert_eq!((stale.status, &stale.body), (200, &good.body));
        assert!(stale.header("age").is_some());
        clients.push(client);
    }
    let (_, metrics) = gateway.admin("/metrics").await;
    assert!(
        metrics.contains("transom_fallbacks_total{by=\"stale\"} 4"),
        "{metrics}"
    );
    assert!(metrics.contains("transom_stale_copies 2"), "{metrics}");
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_elsewhere() {
    let (mut first, mut other) = (Upstream::start().await, Upstream::start().await);
    let gateway = with(first.address, json!({ "upstream": "other" }))
        .upstream("other", json!({ "endpoints": [other.address.to_string()] }))
        .start();
    let (reply, ()) = tokio::join!(post(&gateway, "/kinds"), async {
        first.next().await.reset(Reason::INTERNAL_ERROR);
    });
    assert!(reply.status >= 500, "{}", reply.text());
    let (reply, ()) = tokio::join!(post(&gateway, "/kinds"), async {
        unavailable(first.next().await);
    });
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(other.is_quiet());
    assert_eq!(counted(&gateway, "upstream").await, 0);
    // To ask does no harm.
    for fail in [unavailable, |call: Call| call.reset(Reason::INTERNAL_ERROR)] {
        let (reply, ()) = tokio::join!(get(&gateway, "/v1/games/1", ""), async {
            fail(first.next().await);
            other.next().await.answer(NOTHING);
        });
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(counted(&gateway, "upstream").await, 2);
    // When neither can, the second says so.
    let (reply, ()) = tokio::join!(get(&gateway, "/v1/games/1", ""), async {
        unavailable(first.next().await);
        unavailable(other.next().await);
    });
    assert_eq!(reply.status, 503);
}

#[tokio::test]
async fn the_last_good_answer_of_a_service() {
    let mut service = Upstream::start().await;
    let rule = json!({ "stale": "1h", "respond": { "status": 299 } });
    let gateway = with(service.address, rule).start();
    let (good, ()) = tokio::join!(get(&gateway, "/v1/games/1", ""), async {
        service.next().await.answer(NOTHING);
    });
    assert_eq!((good.status, good.header("age")), (200, None));
    let mut down = async |path: &str, more: &str| {
        let (reply, ()) = tokio::join!(get(&gateway, path, more), async {
            unavailable(service.next().await);
        });
        reply
    };
    let stale = down("/v1/games/1", "").await;
    assert_eq!((stale.status, stale.text()), (200, good.text()));
    assert_eq!(stale.header("content-type"), good.header("content-type"));
    assert_eq!(stale.header("cache-status"), Some("transom; fwd=stale"));
    let age: u64 = stale
        .header("age")
        .expect("an age")
        .parse()
        .expect("seconds");
    assert!(age < 3600 && stale.header("date").is_some());
    assert_eq!(counted(&gateway, "stale").await, 1);
    // Another one, and another's.
    assert_eq!(down("/v1/games/2", "").await.status, 299);
    assert_eq!(
        down("/v1/games/1", "authorization: Bearer a\r\n")
            .await
            .status,
        299
    );
    assert_eq!(
        down("/v1/games/1", "cache-control: no-cache\r\n")
            .await
            .status,
        299
    );
    // It takes no word of the first's, who has no name.
    assert_eq!(down("/v1/games/1", "cookie: a=b\r\n").await.status, 200);
    assert_eq!(counted(&gateway, "respond").await, 3);
    let (_, copies) = gateway.running.copies().held();
    assert_eq!(copies, 2, "a copy and what it varies by");
}

#[tokio::test]
async fn a_long_document_is_kept_as_it_is_sent() {
    let mut service = Upstream::start().await;
    let gateway = with(service.address, json!({ "stale": "1h" })).start();
    let text = "x".repeat(300_000);
    let said = json!({ "stringField": text });
    let (good, ()) = tokio::join!(get(&gateway, "/kinds", ""), async {
        grpc::answer(service.next().await, &said);
    });
    assert_eq!(good.status, 200);
    assert!(good.body.len() > text.len());
    let (stale, ()) = tokio::join!(get(&gateway, "/kinds", ""), async {
        unavailable(service.next().await);
    });
    assert_eq!(stale.header("cache-status"), Some("transom; fwd=stale"));
    assert!(stale.body == good.body);
}

#[tokio::test]
async fn metadata_tells_answers_apart() {
    let mut service = Upstream::start().await;
    let route = json!([{
        "services": ["gamehub.v1.*"], "upstream": "games", "retry": "off",
        "fallback": { "stale": "1h" }, "headers": { "to_metadata": ["x-tenant", "cookie"] },
    }]);
    let gateway = Gateway::builder(service.address)
        .set("routes", route)
        .start();
    for more in ["x-tenant: a\r\n", "cookie: own=1\r\n"] {
        let (good, ()) = tokio::join!(get(&gateway, "/v1/games/1", more), async {
            service.next().await.answer(NOTHING);
        });
        assert_eq!(good.status, 200);
    }
    for (more, status) in [
        ("x-tenant: a\r\n", 200),
        ("x-tenant: b\r\n", 503),
        ("", 503),
        ("cookie: own=1\r\n", 503),
    ] {
        let (reply, ()) = tokio::join!(get(&gateway, "/v1/games/1", more), async {
            unavailable(service.next().await);
        });
        assert_eq!(reply.status, status, "{more}");
    }
}

/// A site behind a `prefix`.
fn site(site: &Site, fallback: Value, limits: Value) -> Gateway {
    Gateway::builder(nobody())
        .set("limits", limits)
        .upstream(
            "site",
            json!({ "endpoints": [site.address.to_string()], "protocol": "http1" }),
        )
        .upstream(
            "other",
            json!({ "endpoints": [nobody().to_string()], "protocol": "http1" }),
        )
        .route(
            json!({ "prefix": "/site/", "upstream": "site", "fallback": fallback, "retry": "off" }),
        )
        .start()
}

/// Answers the next request so.
async fn says(site: &Site, answer: &str) {
    let (mut stream, _) = site.next().await;
    let answer = answer.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.expect("written");
}

#[tokio::test]
async fn the_last_good_answer_of_a_site() {
    let upstream = Site::start().await;
    let gateway = site(&upstream, json!({ "stale": "1h" }), json!({}));
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nage: 5\r\nx-own: 1\r\nvary: accept-language\r\n\r\npage";
    let german = "accept-language: de\r\n";
    let (reply, ()) = tokio::join!(get(&gateway, "/site/a?b", german), says(&upstream, good));
    assert_eq!((reply.status, reply.text()), (200, "page"));
    let down = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\ndown";
    let (reply, ()) = tokio::join!(get(&gateway, "/site/a?b", german), says(&upstream, down));
    assert_eq!((reply.status, reply.text()), (200, "page"));
    assert_eq!(
        reply.header("cache-status"),
        Some("transom; fwd=stale; fwd-status=503")
    );
    assert_eq!(reply.header("x-own"), Some("1"));
    let age: u64 = reply
        .header("age")
        .expect("an age")
        .parse()
        .expect("seconds");
    assert!(age >= 5);
    // In another language there is none, and what the site says is passed on.
    let (reply, ()) = tokio::join!(get(&gateway, "/site/a?b", ""), says(&upstream, down));
    assert_eq!((reply.status, reply.text()), (503, "down"));
    let (reply, ()) = tokio::join!(get(&gateway, "/site/a?c", german), says(&upstream, down));
    assert_eq!(reply.status, 503);
    // Only the head of it, where no more is asked for.
    let mut client = Http1::connect(gateway.address).await;
    let head = format!("HEAD /site/a?b HTTP/1.1\r\nhost: games.example\r\n{german}\r\n");
    client.send(head).await;
    let (reply, ()) = tokio::join!(client.head(), says(&upstream, down));
    let reply = reply.expect("a head");
    assert_eq!(
        (reply.status, reply.header("content-length")),
        (200, Some("4"))
    );
    drop(upstream);
    let reply = get(&gateway, "/site/a?b", german).await;
    assert_eq!(reply.header("cache-status"), Some("transom; fwd=stale"));
    assert_eq!(counted(&gateway, "stale").await, 3);
}

#[tokio::test]
async fn large_answers_pass_and_are_kept_up_to_the_limit() {
    let upstream = Site::start().await;
    let gateway = site(
        &upstream,
        json!({ "stale": "1h" }),
        json!({ "stale_copies": "4MiB" }),
    );
    // A thirty-second of 4 MiB is 128 KiB.
    for (path, bytes, status) in [("/site/some", 100_000, 200), ("/site/more", 200_000, 502)] {
        let page = "x".repeat(bytes);
        let chunks: String = page
            .as_bytes()
            .chunks(10_000)
            .map(|c| format!("{:x}\r\n{}\r\n", c.len(), "x".repeat(c.len())))
            .collect();
        let good =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
        let answer = async {
            let (mut stream, _) = upstream.next().await;
            stream.write_all(good.as_bytes()).await.expect("written");
        };
        let (reply, ()) = tokio::join!(get(&gateway, path, ""), answer);
        assert_eq!((reply.status, reply.body.len()), (200, bytes));
        let down = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        let (reply, ()) = tokio::join!(get(&gateway, path, ""), says(&upstream, down));
        assert_eq!(reply.status, status);
        if status == 200 {
            assert_eq!(reply.body.len(), bytes);
        }
    }
    assert_eq!(gateway.running.copies().lost().1, 1);
    assert!(gateway.running.copies().held().0 < 256 * 1024);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_kept() {
    let upstream = Site::start().await;
    let gateway = site(&upstream, json!({ "stale": "1h" }), json!({}));
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("GET /site/a HTTP/1.1\r\nhost: games.example\r\n\r\n")
        .await;
    says(
        &upstream,
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
    )
    .await;
    client.closed().await;
    assert_eq!(gateway.running.copies().held(), (0, 0));
}

#[tokio::test]
async fn another_site_is_asked_for_what_has_no_body() {
    let (first, other) = (Site::start().await, Site::start().await);
    let gateway = Gateway::builder(nobody())
        .upstream(
            "site",
            json!({ "endpoints": [first.address.to_string()], "protocol": "http1" }),
        )
        .upstream(
            "other",
            json!({ "endpoints": [other.address.to_string()], "protocol": "http1" }),
        )
        .route(json!({
            "prefix": "/site/", "upstream": "site", "rewrite": "/", "retry": "off",
            "fallback": { "upstream": "other", "respond": { "status": 299 } },
        }))
        .start();
    let down = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
    let elsewhere = async {
        let (mut stream, head) = other.next().await;
        assert!(head.starts_with("GET /page HTTP/1.1\r\n"), "{head}");
        let good = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nother";
        stream.write_all(good).await.expect("written");
    };
    let (reply, (), ()) = tokio::join!(
        get(&gateway, "/site/page", ""),
        says(&first, down),
        elsewhere
    );
    assert_eq!((reply.status, reply.text()), (200, "other"));
    let posted = ask(
        &gateway,
        "POST /site/page HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
    );
    let (reply, ()) = tokio::join!(posted, says(&first, down));
    assert_eq!(reply.status, 299);
}

#[tokio::test]
async fn one_dead_service_leaves_the_others_alone() {
    // It takes every connection and every request, and never says a word.
    let hole = raw(|_, mut stream: TcpStream| async move {
        let mut scrap = [0; 4096];
        while stream.read(&mut scrap).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let refused = nobody();
    let mut well = Upstream::start().await;
    let gateway = Gateway::builder(well.address)
        .upstream(
            "hole",
            json!({
                "endpoints": [hole.to_string()], "protocol": "http1",
                "load": { "in_flight": 50, "queue": 10, "queue_wait": "10s" },
            }),
        )
        .upstream("refused", json!({ "endpoints": [refused.to_string()] }))
        .route(json!({ "prefix": "/hole/", "upstream": "hole", "timeout": "30s" }))
        .route(json!({ "prefix": "/refused/", "upstream": "refused" }))
        .start();
    let mut waiting = Vec::new();
    for number in 0..60 {
        let mut client = Http1::connect(gateway.address).await;
        let request = format!("GET /hole/{number} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.send(request).await;
        waiting.push(client);
    }
    // Once they all wait, one more is refused at once.
    soon("a full upstream", async {
        while get(&gateway, "/hole/more", "").await.status != 503 {}
    })
    .await;
    let mut client = Http1::connect(gateway.address).await;
    for _ in 0..100 {
        let (reply, ()) = tokio::join!(client.get("/v1/games/1"), async {
            well.next().await.answer(NOTHING);
        });
        assert_eq!(reply.status, 200);
        assert_eq!(get(&gateway, "/refused/", "").await.status, 503);
    }
    drop(waiting);
}
