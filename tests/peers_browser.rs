//! The clients that a web page has, in headless Chromium, against the gateway and `gamehub.v1`: the
//! page comes from one gateway and calls another, so that every call is cross-origin.
#![cfg(feature = "peers")]

#[path = "support/protos.rs"]
#[allow(dead_code, reason = "the set alone")]
mod protos;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

/// `transom run` on a config of its own. Killed with the handle.
struct Gateway {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Gateway {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("transom.yaml");
        std::fs::write(&file, config).expect("the config");
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .arg("run")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?} is no address"));
        Self {
            address: address.parse().expect("an address"),
            process,
            _folder: folder,
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn peer() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/browser");
    let ready = folder.join("ready");
    assert!(
        ready.exists(),
        "there is no {}: run tests/peers/setup first",
        ready.display()
    );
    folder
}

/// What each client saw; one browser for all tests.
static SEEN: LazyLock<Value> = LazyLock::new(|| {
    let peer = peer();
    let service = transom::demo::start((Ipv4Addr::LOCALHOST, 0).into()).expect("the service");

    let root = tempfile::tempdir().expect("a folder");
    for name in ["index.html", "page.js"] {
        std::fs::copy(peer.join("page").join(name), root.path().join(name)).expect("the page");
    }
    std::fs::write(root.path().join("gamehub.binpb"), &*protos::SET).expect("descriptors");
    let site = Gateway::start(&format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]
routes:
  - prefix: /
    files: {{ root: {} }}
",
        root.path().display()
    ));
    let api = Gateway::start(&format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]
descriptors:
  - reflection: games
upstreams:
  games: {{ endpoints: [\"{}\"] }}
routes:
  - services: [\"gamehub.v1.*\"]
    upstream: games
defaults:
  cors: {{ origins: [\"http://{}\"] }}
",
        service.address(),
        site.address
    ));

    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new("node")
        .arg(peer.join("drive.js"))
        .args([
            format!("http://{}/", site.address),
            format!("http://{}", api.address),
        ])
        .arg(pictures)
        .output()
        .expect("node");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(seen["said"], json!([]), "the page's own faults");
    seen["results"].clone()
});

fn seen(client: &str) -> &'static Value {
    let seen = &SEEN[client];
    assert!(seen.is_object(), "no client {client:?}: {}", *SEEN);
    assert_eq!(seen["failed"], Value::Null, "{client}");
    seen
}

#[test]
fn connect_web_speaks_both_protocols_in_both_formats() {
    for client in [
        "connect JSON",
        "connect binary",
        "connect GET",
        "connect gRPC-Web",
    ] {
        let mut seen = seen(client).clone();
        let message = seen["missing"]["message"].take();
        assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{client}");
        let message = seen["broken"]["message"].take();
        assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{client}");
        let games = seen["games"].take();
        assert!(games.as_u64().is_some_and(|n| n > 0), "{client}: {games}");
        let details = seen["missing"]["details"].take();
        assert!(details.as_u64().is_some_and(|n| n > 0), "{client}");
        let details = seen["broken"]["details"].take();
        assert!(details.as_u64().is_some_and(|n| n > 0), "{client}");
        let expected = json!({
            "title": "Tidal",
            "id": "1",
            "requestId": "string", // a header that CORS has to expose
            "games": null,
            "missing": {
                "code": "NotFound", "message": null, "details": null, "reason": "GAME_NOT_FOUND"
            },
            "watched": {"sequences": [1, 2, 3]},
            "broken": {"sequences": [1, 2], "code": "Unavailable", "message": null, "details": null, "reason": "FEED_LOST"},
            "left": [1, 2, 3, 4, 5],
            "late": "DeadlineExceeded",
        });
        assert_eq!(seen, expected, "{client}");
    }
}

#[test]
fn grpc_web_speaks_text_and_binary() {
    for client in ["grpc-web text", "grpc-web binary"] {
        let seen = seen(client);
        assert_eq!(seen["found"], json!({"title": "Tidal"}), "{client}");
        assert_eq!(seen["missing"]["code"], json!(5), "{client}: {seen}");
        assert_eq!(seen["missing"]["details"], json!(true), "{client}: {seen}");
    }
    let text = seen("grpc-web text");
    assert_eq!(
        text["watched"],
        json!({"sequences": [1, 2, 3], "status": 0})
    );
    assert_eq!(text["broken"], json!({"sequences": [1, 2], "code": 14}));
}

#[test]
fn event_source_reads_events_and_the_terminal_error() {
    let live = seen("EventSource");
    assert_eq!(
        (&live["messages"], &live["end"]),
        (&json!([1, 2, 3]), &json!("enough"))
    );
    let ids = live["ids"].as_array().expect("ids");
    assert!(ids.iter().all(|id| id != ""), "{live}");
    let broken = seen("EventSource error");
    assert_eq!(
        (&broken["messages"], &broken["end"]),
        (&json!([1, 2]), &json!("error"))
    );
    assert_eq!(broken["error"]["code"], json!(14), "{broken}");
}

#[test]
fn fetch_reads_a_stream_as_it_comes() {
    let stream = seen("fetch stream");
    assert_eq!(stream["type"], "application/x-ndjson");
    assert_eq!(stream["lines"][1]["sequence"], json!(2), "{stream}");

    let rest = seen("fetch");
    assert_eq!(rest["game"]["status"], json!(200));
    assert_eq!(
        rest["game"]["id"],
        json!(true),
        "a header that CORS exposes"
    );
    assert_eq!(rest["missing"]["status"], json!(404));
    assert_eq!(
        rest["missing"]["body"]["details"][0]["reason"],
        "GAME_NOT_FOUND"
    );
    assert_eq!(rest["changed"]["body"]["tagline"], "From a browser");
    assert_eq!(rest["changed"]["body"]["id"], "4");
    assert_eq!(rest["plays"]["status"], json!(200), "{rest}");
}

#[test]
fn web_sockets_carry_every_kind_of_stream() {
    let watched = seen("WebSocket");
    let sequences = |seen: &Value| -> Vec<Value> {
        let messages = seen["messages"].as_array().expect("messages");
        messages.iter().map(|m| m["sequence"].clone()).collect()
    };
    assert_eq!(sequences(watched), [json!(1), json!(2), json!(3)]);
    assert_eq!(watched["code"], json!(1000), "{watched}");

    let broken = seen("WebSocket error");
    assert_eq!(sequences(broken), [json!(1), json!(2)]);
    assert_ne!(broken["code"], json!(1000), "{broken}");
    assert_ne!(broken["reason"], json!(""), "{broken}");

    let chat = seen("WebSocket chat");
    let texts: Vec<&Value> = chat["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|m| &m["text"])
        .collect();
    assert_eq!(texts, ["hello", "again"], "{chat}");
}
