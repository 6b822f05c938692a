//! The access log: one line for each exchange, whatever became of it, and nothing that a client sends
//! breaks the line.

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::client::Http1;
use support::gateway::{Builder, Gateway};
use support::grpc::Answer;
use support::rpc::Grpc;
use support::soon;
use support::upstream::Upstream;

/// A gateway whose log goes to a file.
struct Logged {
    gateway: Gateway,
    file: PathBuf,
    read: usize,
    _folder: tempfile::TempDir,
}

impl Logged {
    fn start(builder: Builder, format: &str, more: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("access.log");
        let mut access = json!({ "format": format, "output": file });
        for (key, value) in more.as_object().expect("a map") {
            access[key] = value.clone();
        }
        let gateway = builder.set("log", json!({ "access": access })).start();
        Self {
            gateway,
            file,
            read: 0,
            _folder: folder,
        }
    }

    /// The next line. It is written a moment after the exchange.
    async fn line(&mut self) -> String {
        let next = async {
            loop {
                let text = fs::read_to_string(&self.file).expect("text");
                if let Some(line) = text[self.read..].split_inclusive('\n').next()
                    && line.ends_with('\n')
                {
                    return line.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let line = soon("a line", next).await;
        self.read += line.len();
        line.trim_end().to_owned()
    }

    async fn json(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn get(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: shop.example\r\nuser-agent: test/1\r\nx-request-id: id-7\r\n\
         traceparent: {TRACE}\r\n\r\n"
    )
}

/// Members that are the same at each run.
fn told(line: &Value, names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), line[name].clone()))
        .collect()
}

#[tokio::test]
async fn a_call_s_line_tells_its_whole_way() {
    let mut upstream = Upstream::start().await;
    let mut log = Logged::start(Gateway::builder(upstream.address), "json", &json!({}));
    let mut client = Http1::connect(log.gateway.address).await;
    let asked = async {
        client.send(get("/v1/games/7?readMask=title")).await;
        client.reply().await.expect("a reply")
    };
    let (reply, ()) = tokio::join!(asked, async {
        let mut call = upstream.next().await;
        let mut answer = Answer::begin(&mut call);
        answer.message(&json!({ "id": "7" }));
        answer.end("0");
    });
    let line = log.json().await;
    let names = [
        "kind",
        "level",
        "status",
        "code",
        "method",
        "host",
        "path",
        "query",
        "route",
        "rpc",
        "upstream",
        "endpoint",
        "tries",
        "received_bytes",
        "sent_bytes",
        "protocol",
        "speech",
        "client",
        "user_agent",
        "request_id",
        "trace_id",
        "parent_id",
        "fault",
        "error",
    ];
    assert_eq!(
        told(&line, &names),
        json!({
            "kind": "access", "level": "info", "status": reply.status, "code": if reply.status == 200 { "OK" } else { "INVALID_ARGUMENT" },
            "method": "GET", "host": "shop.example", "path": "/v1/games/7", "query": null,
            "route": "GET /v1/games/{game_id}", "rpc": "gamehub.v1.Catalogue/GetGame",
            "upstream": "games", "endpoint": upstream.address.to_string(), "tries": 1,
            "received_bytes": 0, "sent_bytes": reply.text().len(), "protocol": "HTTP/1.1",
            "speech": "rest", "client": "127.0.0.1", "user_agent": "test/1",
            "request_id": "id-7", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "parent_id": "00f067aa0ba902b7", "fault": null, "error": null,
        })
    );
    for time in ["duration_ms", "request_ms", "upstream_ms", "reply_ms"] {
        assert!(
            line[time].as_f64().is_some_and(|t| t >= 0.0),
            "{time}: {line}"
        );
    }
}

#[tokio::test]
async fn a_failure_s_line_says_whose_fault_it_was() {
    let mut upstream = Upstream::start().await;
    let builder = Gateway::builder(upstream.address).upstream(
        "gone",
        json!({ "endpoints": ["127.0.0.1:9"], "protocol": "http1" }),
    );
    let builder = builder.route(json!({ "prefix": "/gone/", "upstream": "gone" }));
    let mut log = Logged::start(builder, "json", &json!({}));
    let mut client = Http1::connect(log.gateway.address).await;
    let names = [
        "status", "code", "fault", "error", "route", "level", "tries",
    ];

    client.get("/v1/nothing/here").await;
    let line = log.json().await;
    assert_eq!(
        told(&line, &names),
        json!({ "status": 404, "code": "NOT_FOUND", "fault": "client", "level": "warn", "tries": 0,
            "error": "no route has this path", "route": null })
    );
    tokio::join!(client.get("/v1/games/7"), async {
        let mut call = upstream.next().await;
        Answer::begin(&mut call).end("5");
    });
    let line = log.json().await;
    assert_eq!(
        told(&line, &["status", "code", "fault", "level", "tries"]),
        json!({ "status": 404, "code": "NOT_FOUND", "fault": "client", "level": "warn", "tries": 1 })
    );
    client.get("/gone/a").await;
    let line = log.json().await;
    assert_eq!(
        told(
            &line,
            &["status", "code", "fault", "level", "upstream", "speech"]
        ),
        json!({ "status": 503, "code": "UNAVAILABLE", "fault": "upstream", "level": "error",
            "upstream": "gone", "speech": "http" })
    );
    // Refused before any route is looked for.
    client
        .send("GET /v1/games/7 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        .await;
    client.reply().await.expect("a reply");
    let line = log.json().await;
    assert_eq!(
        told(&line, &["status", "fault", "path"]),
        json!({ "status": 400, "fault": "client", "path": "/v1/games/7" })
    );
}

#[tokio::test]
async fn a_stream_s_line_comes_at_its_end_and_tells_of_a_client_that_left() {
    let mut upstream = Upstream::start().await;
    let mut log = Logged::start(Gateway::builder(upstream.address), "json", &json!({}));
    let mut client = Http1::connect(log.gateway.address).await;
    client.send(get("/v1/games/7/scores:watch")).await;
    let mut call = upstream.next().await;
    let mut answer = Answer::begin(&mut call);
    answer.message(&json!({}));
    client.head().await;
    drop(client);
    let line = log.json().await;
    assert_eq!(
        told(&line, &["status", "code", "fault", "error", "rpc"]),
        json!({ "status": 200, "code": "CANCELLED", "fault": "client", "error": "the client left",
            "rpc": "gamehub.v1.Scores/WatchScores" })
    );
    // One that fails midway has told 200 already.
    let mut client = Http1::connect(log.gateway.address).await;
    client.send(get("/v1/games/7/scores:watch")).await;
    let mut call = upstream.next().await;
    let mut answer = Answer::begin(&mut call);
    answer.message(&json!({}));
    client.head().await;
    answer.end("14");
    let line = log.json().await;
    assert_eq!(
        told(&line, &["status", "code", "fault"]),
        json!({ "status": 200, "code": "UNAVAILABLE", "fault": "upstream" })
    );
    // A client that leaves before there is a reply.
    let mut client = Http1::connect(log.gateway.address).await;
    client.send(get("/v1/games/7")).await;
    let _call = upstream.next().await;
    drop(client);
    let line = log.json().await;
    assert_eq!(
        told(&line, &["status", "code", "fault", "path"]),
        json!({ "status": 499, "code": "CANCELLED", "fault": "client", "path": "/v1/games/7" })
    );
}

#[tokio::test]
async fn a_grpc_call_s_line_has_its_own_code() {
    let mut upstream = Upstream::start().await;
    let mut log = Logged::start(Gateway::builder(upstream.address), "json", &json!({}));
    let mut client = Grpc::connect(log.gateway.address).await;
    tokio::join!(
        client.call(Grpc::post("/gamehub.v1.Catalogue/GetGame"), &[b""]),
        async {
            let mut call = upstream.next().await;
            Answer::begin(&mut call).end("13");
        }
    );
    let line = log.json().await;
    assert_eq!(
        told(
            &line,
            &["status", "code", "fault", "protocol", "speech", "rpc"]
        ),
        json!({ "status": 200, "code": "INTERNAL", "fault": "upstream",
            "protocol": "HTTP/2", "speech": "grpc", "rpc": "gamehub.v1.Catalogue/GetGame" })
    );
}

#[tokio::test]
async fn hostile_texts_stay_in_their_place() {
    let upstream = Upstream::start().await;
    for format in ["json", "gcp", "ecs", "pretty"] {
        let fixed = json!({ "path": "/hi", "respond": { "body": "hi" } });
        let builder = Gateway::builder(upstream.address)
            .route(fixed)
            .set("limits", json!({ "headers": "128KiB" }));
        let mut log = Logged::start(builder, format, &json!({ "query": true }));
        let long = "x".repeat(64 * 1024);
        for agent in [
            &b"a\"b\\c\xff\xfe\t\"}{"[..],
            "\u{202e}\u{85}é".as_bytes(),
            long.as_bytes(),
        ] {
            let mut client = Http1::connect(log.gateway.address).await;
            let mut request = b"GET /hi?a=%22%7D%0a HTTP/1.1\r\nhost: t\r\nuser-agent: ".to_vec();
            request.extend_from_slice(agent);
            request.extend_from_slice(b"\r\nreferer: http://e/\x1b\r\n\r\n");
            // What is no header at all never comes so far.
            let request: Vec<u8> = request.into_iter().filter(|b| *b != 0x1b).collect();
            client.send(&request).await;
            let reply = client.reply().await.expect("a reply");
            // The strict check refuses what isn't ASCII, and its line has it all the same.
            assert!([200, 400].contains(&reply.status), "{}", reply.text());
            let line = log.line().await;
            assert!(line.len() < 8 * 1024, "{format}: {} bytes", line.len());
            let hidden = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!line.contains(hidden), "{format}: {line:?}");
            if format != "pretty" {
                serde_json::from_str::<Value>(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            }
        }
    }
}

#[tokio::test]
async fn formats_have_the_names_that_their_readers_know() {
    let upstream = Upstream::start().await;
    let fixed = json!({ "path": "/hi", "respond": { "body": "hi" } });
    let builder = Gateway::builder(upstream.address).route(fixed);
    let mut log = Logged::start(builder.clone(), "gcp", &json!({ "project": "shop" }));
    let mut client = Http1::connect(log.gateway.address).await;
    client.send(get("/hi")).await;
    client.reply().await.expect("a reply");
    let line = log.json().await;
    assert_eq!(line["severity"], "INFO");
    assert_eq!(line["httpRequest"]["requestMethod"], "GET");
    assert_eq!(line["httpRequest"]["status"], 200);
    assert_eq!(line["httpRequest"]["responseSize"], "2");
    assert!(
        line["httpRequest"]["latency"]
            .as_str()
            .is_some_and(|l| l.ends_with('s'))
    );
    assert_eq!(
        line["logging.googleapis.com/trace"],
        "projects/shop/traces/4bf92f3577b34da6a3ce929d0e0e4736"
    );
    assert_eq!(line["logging.googleapis.com/trace_sampled"], true);

    let mut log = Logged::start(builder.clone(), "ecs", &json!({}));
    let mut client = Http1::connect(log.gateway.address).await;
    client.send(get("/hi")).await;
    client.reply().await.expect("a reply");
    let line = log.json().await;
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(line["url.path"], "/hi");
    assert_eq!(line["trace.id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["event.outcome"], "success");
    assert_eq!(line["transom"]["route"], "path /hi");

    let mut log = Logged::start(builder, "pretty", &json!({}));
    let mut client = Http1::connect(log.gateway.address).await;
    client.send(get("/hi")).await;
    client.reply().await.expect("a reply");
    let line = log.line().await;
    assert!(line.contains(" 200 GET /hi "), "{line}");
}

#[tokio::test]
async fn sampling_leaves_out_what_went_well_alone() {
    let upstream = Upstream::start().await;
    let fixed = json!({ "path": "/hi", "respond": { "body": "hi" } });
    let builder = Gateway::builder(upstream.address).route(fixed);
    let mut log = Logged::start(builder, "json", &json!({ "sample_2xx": 0 }));
    let mut client = Http1::connect(log.gateway.address).await;
    for path in ["/hi", "/hi", "/nowhere"] {
        client.get(path).await;
    }
    assert_eq!(log.json().await["path"], "/nowhere");
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_the_one_it_names() {
    let upstream = Upstream::start().await;
    let fixed = json!({ "path": "/hi", "respond": { "body": "hi" } });
    let builder = Gateway::builder(upstream.address)
        .route(fixed)
        .set("trusted_proxies", json!(["127.0.0.1", "10.0.0.0/8"]));
    let mut log = Logged::start(builder, "json", &json!({}));
    let mut client = Http1::connect(log.gateway.address).await;
    for (forwarded, told) in [
        ("6.6.6.6, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("nonsense", "127.0.0.1"),
    ] {
        let head = format!("GET /hi HTTP/1.1\r\nhost: t\r\nx-forwarded-for: {forwarded}\r\n\r\n");
        client.send(head).await;
        client.reply().await.expect("a reply");
        assert_eq!(log.json().await["client"], told);
    }
}
