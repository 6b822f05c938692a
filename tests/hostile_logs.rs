//! What strangers send can't break the logs, grow the metrics or hold up requests: through the binary,
//! in each format of the access log.

mod support;

use std::fs;

use http::{HeaderValue, Request};
use serde_json::{Value, json};
use support::client::{Http1, Http2, whole};
use support::process::{Process, config};
use support::upstream::Upstream;
use support::{grpc, soon};

/// Longest line: two times a path of 2 KiB, a query of that, and headers of 512 bytes, all escaped.
const LINE_BYTES_MAX: usize = 24 * 1024;
const LONG: usize = 64 * 1024;

/// A gateway with one worker, so that lines come in the order of their exchanges.
fn folder(format: &str, more: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("access.log");
    let access = json!({ "format": format, "output": output, "query": true });
    let protos = format!("{}/proto", env!("CARGO_MANIFEST_DIR"));
    let mut keys = json!({
        "workers": 1,
        "limits": { "headers": "256KiB", "uri": "63KiB" },
        "log": { "level": "debug", "access": access },
        "descriptors": [{ "protos": protos }],
        "upstreams": { "games": { "endpoints": ["127.0.0.1:9"] } },
        "routes": [
            { "services": ["gamehub.v1.*"], "upstream": "games" },
            { "prefix": "/", "respond": { "body": "hi" } },
        ],
    });
    for (key, value) in more.as_object().expect("a map") {
        keys[key] = value.clone();
    }
    let file = folder.path().join("transom.yaml");
    fs::write(file, config(&keys)).expect("written");
    folder
}

/// A gateway whose access log is a file.
struct Logged {
    process: Process,
    read: usize,
    marks: usize,
}

impl Logged {
    fn start(format: &str, more: &Value) -> Self {
        Self {
            process: Process::start(folder(format, more)),
            read: 0,
            marks: 0,
        }
    }

    /// The lines since the last time, up to that of a request that this sends.
    async fn lines(&mut self) -> Vec<Vec<u8>> {
        self.marks += 1;
        let mark = format!("/mark-{}", self.marks);
        assert_eq!(self.process.status(&mark).await, 200);
        let file = self.process.path("access.log");
        let come = async {
            loop {
                let bytes = fs::read(&file).expect("a log");
                let new = bytes.get(self.read..).expect("it only grows");
                let lines: Vec<_> = new.split_inclusive(|b| *b == b'\n').collect();
                let of_mark = |line: &&[u8]| {
                    line.ends_with(b"\n") && line.windows(mark.len()).any(|w| w == mark.as_bytes())
                };
                if let Some(at) = lines.iter().position(of_mark) {
                    let found = lines.get(..at).expect("before it");
                    let found: Vec<_> = found.iter().map(|line| line.to_vec()).collect();
                    return (
                        found,
                        lines.iter().take(at + 1).map(|l| l.len()).sum::<usize>(),
                    );
                }
                tokio::task::yield_now().await;
            }
        };
        let (found, length) = soon("the mark's line", come).await;
        self.read += length;
        found
    }
}

/// A line that is one, whatever stands in it.
fn check(format: &str, what: &str, line: &[u8]) {
    let line = std::str::from_utf8(line).unwrap_or_else(|e| panic!("{format}, {what}: {e}"));
    let text = line.trim_end_matches('\n');
    assert!(
        text.len() <= LINE_BYTES_MAX,
        "{format}, {what}: {} bytes",
        text.len()
    );
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}');
    assert!(!text.contains(hidden), "{format}, {what}: {text:?}");
    if format != "pretty" {
        let told: Value =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("{format}, {what}: {e}: {text}"));
        let status = match format {
            "gcp" => &told["httpRequest"]["status"],
            "ecs" => &told["http.response.status_code"],
            _ => &told["status"],
        };
        assert!(status != 999, "{format}, {what}: {text}");
        // A member that a text has brought along.
        assert_eq!(told["forged"], Value::Null, "{format}, {what}: {text}");
    }
}

/// Bytes that loggers have stumbled over.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<(&'static str, Vec<u8>)> = vec![
        (
            "quotes",
            b"a\",\"status\":999,\"forged\":1,\"b\":\"".to_vec(),
        ),
        ("an end of the object", b"\"}\\\"}{\"forged\":1}".to_vec()),
        ("a backslash at the end", b"a\\".to_vec()),
        ("an escape sequence", b"a\x1b[2J\x1b]0;title\x07b".to_vec()),
        ("C1 alone", b"a\x9b31mb".to_vec()),
        ("C1 in UTF-8", "a\u{9b}31m\u{85}b".into()),
        ("NUL", b"a\0b".to_vec()),
        ("DEL", b"a\x7fb".to_vec()),
        ("a tab", b"a\tb".to_vec()),
        ("CR", b"a\rGET /forged 200".to_vec()),
        ("LF", b"a\n{\"forged\":1}".to_vec()),
        ("no UTF-8", b"a\xff\xfe\xc0\xaf\xed\xa0\x80b".to_vec()),
        ("half a character", "é".as_bytes()[..1].to_vec()),
        ("bidirectional", "a\u{202e}gpj.exe\u{2066}".into()),
        ("separators", "a\u{2028}b\u{2029}c\u{feff}".into()),
        ("coded", b"%0a%0d%1b%5b31m%00%22%7d%ff".to_vec()),
        ("formats", b"%s%n{}{0}${jndi:ldap://x}$(id)".to_vec()),
    ];
    for (name, byte) in [
        ("x", b'x'),
        ("quotes", b'"'),
        ("no UTF-8", 0xff),
        ("tabs", b'\t'),
    ] {
        let mut text = vec![byte; LONG];
        text.splice(..0, *b"a");
        text.push(b'z');
        let name = match name {
            "x" => "64 KiB of x",
            "quotes" => "64 KiB of quotes",
            "tabs" => "64 KiB of tabs",
            _ => "64 KiB of no UTF-8",
        };
        all.push((name, text));
    }
    all
}

const PLACES: [&str; 8] = [
    "method",
    "path",
    "query",
    "host",
    "user-agent",
    "referer",
    "x-request-id",
    "traceparent",
];

/// A request that has the text in this place.
fn request(place: &str, text: &[u8]) -> Vec<u8> {
    let or = |name: &str, usual: &str| match name == place {
        true => text.to_vec(),
        false => usual.as_bytes().to_vec(),
    };
    let mut whole = [
        &*or("method", "GET"),
        b" /",
        &or("path", "p"),
        b"?",
        &or("query", "q=1"),
        b" HTTP/1.1\r\nhost: ",
        &or("host", "shop.example"),
        b"\r\n",
    ]
    .concat();
    for name in &PLACES[4..] {
        if *name == place {
            whole.extend_from_slice(&[name.as_bytes(), b": ", text, b"\r\n"].concat());
        }
    }
    whole.extend_from_slice(b"connection: close\r\n\r\n");
    whole
}

async fn hostile_requests(format: &str) {
    let mut log = Logged::start(format, &json!({}));
    let mut answered = 0;
    for place in PLACES {
        for (name, text) in texts() {
            let what = format!("{name} as {place}");
            let mut client = Http1::connect(log.process.address).await;
            // It may be refused before it is sent whole.
            let request = request(place, &text);
            tokio::io::AsyncWriteExt::write_all(&mut client.stream, &request)
                .await
                .ok();
            let reply = client.reply().await;
            let lines = log.lines().await;
            for line in &lines {
                check(format, &what, line);
            }
            // What hyper refuses by itself, without a body, is no exchange.
            let is_ours = reply.as_ref().is_some_and(|r| !r.body.is_empty());
            assert_eq!(
                lines.len(),
                usize::from(is_ours),
                "{format}, {what}: {reply:?}"
            );
            answered += lines.len();
        }
    }
    assert!(answered > 40, "{format}: {answered}");

    let mut client = Http2::connect(log.process.address).await;
    for (name, text) in texts() {
        let Ok(value) = HeaderValue::from_bytes(&text) else {
            continue;
        };
        for place in &PLACES[4..] {
            let what = format!("{name} as {place} of HTTP/2");
            let request = Request::get("http://shop.example/p")
                .header(*place, value.clone())
                .body(http_body_util::Full::default());
            let reply = client.send(request.expect("a request")).await;
            let reply = whole(reply.unwrap_or_else(|e| panic!("{what}: {e}"))).await;
            let lines = log.lines().await;
            assert_eq!(lines.len(), 1, "{format}, {what}: {}", reply.status);
            check(format, &what, &lines[0]);
        }
    }
    for line in log.process.unheard() {
        check("pretty", "the program's own log", line.as_bytes());
    }
}

#[tokio::test]
async fn hostile_requests_are_one_line_each_in_pretty() {
    hostile_requests("pretty").await;
}

#[tokio::test]
async fn hostile_requests_are_one_line_each_in_json() {
    hostile_requests("json").await;
}

#[tokio::test]
async fn hostile_requests_are_one_line_each_in_gcp() {
    hostile_requests("gcp").await;
}

#[tokio::test]
async fn hostile_requests_are_one_line_each_in_ecs() {
    hostile_requests("ecs").await;
}

/// Requests with something wrong that a failure's words repeat.
fn wrong() -> Vec<(&'static str, String)> {
    let long = |part: &str, times: usize| part.repeat(times);
    let get = |name: &'static str, path: String| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n");
        (name, head)
    };
    let body = format!("{{\"\\u001b\\n\\\"{}\":1}}", long("z", LONG));
    let post = format!(
        "POST /v1/games HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    vec![
        get(
            "a parameter",
            format!("/v1/games?{}=1", long("y%1b%22%0a", 4000)),
        ),
        get(
            "a value",
            format!("/v1/games?pageSize={}", long("%1b%22%0a", 4000)),
        ),
        ("a field", post),
    ]
}

/// A call that fails with words of the service's.
async fn fails_with_words(client: &mut Http1, upstream: &mut Upstream) {
    let words = format!(
        "no%0a%1b[31m%22,%22forged%22:1%e2%80%ae%ff{}",
        "x".repeat(12 * 1024)
    );
    tokio::join!(client.get("/v1/games/7"), async {
        let mut call = upstream.next().await;
        let mut stream = grpc::Answer::begin(&mut call).stream;
        let said = grpc::trailers(&[("grpc-status", "13"), ("grpc-message", &words)]);
        stream.send_trailers(said).expect("trailers");
    });
}

/// What is wrong with a request, and what a service says of it, is told in lines too.
#[tokio::test]
async fn hostile_words_of_failures_are_cut_and_escaped() {
    let mut upstream = Upstream::start().await;
    let games = json!({ "games": { "endpoints": [upstream.address.to_string()] } });
    for format in ["pretty", "json", "gcp", "ecs"] {
        let mut log = Logged::start(format, &json!({ "upstreams": games }));
        let mut client = Http1::connect(log.process.address).await;
        fails_with_words(&mut client, &mut upstream).await;
        let lines = log.lines().await;
        assert_eq!(lines.len(), 1, "{format}");
        check(format, "a service's words", &lines[0]);
        for (what, request) in wrong() {
            client.send(request).await;
            let reply = client.reply().await.expect("a reply");
            assert_eq!(reply.status, 400, "{what}: {}", reply.text());
            let lines = log.lines().await;
            assert_eq!(lines.len(), 1, "{format}, {what}");
            check(format, what, &lines[0]);
        }
    }
}

/// Without an access log the program's own tells of failures.
#[tokio::test]
async fn the_program_s_own_log_is_as_safe() {
    let mut upstream = Upstream::start().await;
    let games = json!({ "games": { "endpoints": [upstream.address.to_string()] } });
    for format in ["pretty", "json", "gcp", "ecs"] {
        let log = json!({ "level": "debug", "format": format });
        let process = Process::start(folder(format, &json!({ "upstreams": games, "log": log })));
        let mut client = Http1::connect(process.address).await;
        let say = |what: &str, words: &str| {
            let line = process.says(words);
            assert!(line.len() < LINE_BYTES_MAX, "{what}: {} bytes", line.len());
            assert!(!line.contains(char::is_control), "{what}: {line:?}");
            assert!(!line.contains('\u{202e}'), "{what}: {line:?}");
            if format != "pretty" {
                let told: Value = serde_json::from_str(&line).expect("JSON");
                assert_eq!(told["forged"], Value::Null, "{what}: {line}");
            }
        };
        fails_with_words(&mut client, &mut upstream).await;
        say("a service's words", "service failed");
        for (what, request) in wrong() {
            client.send(request).await;
            assert_eq!(client.reply().await.expect("a reply").status, 400, "{what}");
            say(what, "request refused");
        }
    }
}
