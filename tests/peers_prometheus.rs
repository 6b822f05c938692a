//! A real Prometheus scrapes the gateway while requests come and services fail: what it is told is
//! well-formed, and whatever the boards and alerts of `deploy/` ask for is there.
#![cfg(feature = "peers")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/protos.rs"]
mod protos;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

/// Longer than any event takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A gateway with an upstream that fails in every way, behind TLS as well.
struct Gateway {
    _process: Running,
    plain: SocketAddr,
    secure: SocketAddr,
    probes: SocketAddr,
}

fn gateway(folder: &Path, games: [SocketAddr; 2]) -> Gateway {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["shop.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).expect("names");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    fs::write(folder.join("cert.pem"), certificate.pem()).expect("written");
    fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let config = json!({
        "listeners": [
            { "address": "127.0.0.1:0" },
            { "address": "127.0.0.1:0", "tls": {
                "certificates": [{ "cert": "cert.pem", "key": "key.pem" }] } },
        ],
        "probes": { "address": "127.0.0.1:0" },
        "descriptors": [{ "protos": protos }],
        "upstreams": {
            // The second instance fails whatever it is asked: it is left out.
            "games": { "endpoints": games.map(|g| g.to_string()) },
            "gone": { "endpoints": ["127.0.0.1:9"], "protocol": "http1" },
        },
        "routes": [
            { "services": ["gamehub.v1.*"], "upstream": "games" },
            { "prefix": "/gone/", "upstream": "gone" },
        ],
        "limits": { "body": "1KiB" },
        "log": { "access": { "format": "json", "output": folder.join("access.log") } },
        // Nobody takes the spans.
        "trace": { "endpoint": "http://127.0.0.1:9" },
        "workers": 2,
    });
    let file = folder.join("transom.json");
    fs::write(&file, config.to_string()).expect("written");
    let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["run", "-c"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
    let process = Running(process);
    let mut on = |what: &str| -> SocketAddr {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix(what).and_then(|a| a.parse().ok());
        address.unwrap_or_else(|| panic!("{line:?} for {what:?}"))
    };
    let plain = on("listening on http://");
    let secure = on("listening on https://");
    let probes = on("probes on http://");
    thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    Gateway {
        _process: process,
        plain,
        secure,
        probes,
    }
}

/// Status and body of a request on a connection of its own.
fn request(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("sent");
    let mut reply = Vec::new();
    // One that breaks off is a reply too.
    stream.read_to_end(&mut reply).ok();
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let status = reply.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or_default(), body.to_owned())
}

/// Requests of every kind of outcome, until told to stop.
fn drive(plain: SocketAddr, secure: SocketAddr, stop: &AtomicBool) {
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        for (head, body) in [
            ("GET /v1/games/7", ""),
            ("GET /v1/games/7/scores:watch", ""),
            ("GET /v1/games/666", ""),
            ("POST /v1/games", r#"{"title":"Tidal"}"#),
            ("POST /v1/games", r#"{"title":"#),
            ("GET /gone/a", ""),
            // gRPC's own names: by Connect.
            ("POST /gamehub.v1.Catalogue/GetGame", r#"{"gameId":"7"}"#),
        ] {
            request(plain, head, body);
        }
        request(plain, &format!("GET /nowhere/{number}"), "");
        request(plain, "POST /v1/games", &"x".repeat(2048));
        // No handshake.
        request(secure, "GET /v1/games/7", "");
    }
}

/// The number of a game that the service fails for, as a varint: 666.
const UNWELL: [u8; 2] = [0x9a, 0x05];

/// A service that answers, but for one game; or one that always fails.
fn service(fails: bool) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
    socket.set_nonblocking(true).expect("set");
    let address = socket.local_addr().expect("address");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("runtime").block_on(async {
            let socket = tokio::net::TcpListener::from_std(socket).expect("socket");
            loop {
                let (stream, _) = socket.accept().await.expect("accept");
                tokio::spawn(async move {
                    let mut server = h2::server::handshake(stream).await.expect("handshake");
                    while let Some(Ok((request, respond))) = server.accept().await {
                        tokio::spawn(answer(request, respond, fails));
                    }
                });
            }
        });
    });
    address
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    fails: bool,
) {
    let of = protos::method(request.uri().path().trim_start_matches('/')).1;
    let mut body = request.into_body();
    let mut asked = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).ok();
        asked.extend_from_slice(&data);
    }
    let unwell = fails || asked.windows(2).any(|w| w == UNWELL);
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.body(()).expect("head");
    let Ok(mut stream) = respond.send_response(head, false) else {
        return;
    };
    if !unwell {
        let wire = protos::encode(&of, &json!({}));
        let length = u32::try_from(wire.len()).expect("short").to_be_bytes();
        let framed: Bytes = [&[0][..], &length, &wire].concat().into();
        stream.send_data(framed, false).ok();
    }
    let mut trailers = HeaderMap::new();
    let status = if unwell { "14" } else { "0" };
    trailers.insert("grpc-status", status.parse().expect("a value"));
    stream.send_trailers(trailers).ok();
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn prometheus(folder: &Path, target: SocketAddr) -> (Running, SocketAddr) {
    // Prometheus takes no port 0; nobody else takes this one meanwhile.
    let free = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("address");
    drop(free);
    let rules = deploy().join("prometheus");
    let config = format!(
        "global: {{ scrape_interval: 250ms, scrape_timeout: 200ms, evaluation_interval: 500ms }}\n\
         rule_files: [{0}/rules.yml, {0}/alerts.yml]\n\
         scrape_configs:\n  - job_name: transom\n    static_configs: [{{ targets: [\"{target}\"] }}]\n",
        rules.display()
    );
    let file = folder.join("prometheus.yml");
    fs::write(&file, config).expect("written");
    let process = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus (tests/peers/setup installs it)");
    (Running(process), address)
}

/// What Prometheus has for an expression now.
fn query(prometheus: SocketAddr, expression: &str) -> Result<Vec<Value>, String> {
    let output = Command::new("curl")
        .args(["-sS", "-G", "--data-urlencode"])
        .arg(format!("query={expression}"))
        .arg(format!("http://{prometheus}/api/v1/query"))
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let reply: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
    match reply["data"]["result"].as_array() {
        Some(found) => Ok(found.clone()),
        None => Err(text),
    }
}

/// Every expression of the boards, with the place of each. Variables stand for all.
fn of_boards() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(deploy().join("grafana")).expect("boards") {
        let path = entry.expect("an entry").path();
        let board: Value =
            serde_json::from_slice(&fs::read(&path).expect("a board")).expect("JSON");
        for panel in board["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let name = path.file_name().expect("a name").to_string_lossy();
                let place = format!("{name}: {}", panel["title"]);
                let expression = target["expr"].as_str().expect("an expression");
                let expression = expression
                    .replace("$__rate_interval", "1m")
                    .replace("$job", ".*")
                    .replace("$route", ".*")
                    .replace("$upstream", ".*");
                found.push((place, expression));
            }
        }
    }
    found
}

/// Every expression of rules and alerts; of alerts what they compare, since it may be well.
fn of_rules() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in ["rules.yml", "alerts.yml"] {
        let text = fs::read_to_string(deploy().join("prometheus").join(name)).expect("rules");
        let mut lines = text.lines().peekable();
        let mut of = String::new();
        while let Some(line) = lines.next() {
            let line = line.trim();
            if let Some(rule) = line
                .strip_prefix("- alert: ")
                .or(line.strip_prefix("- record: "))
            {
                of = rule.to_owned();
            }
            let Some(first) = line.strip_prefix("expr: ") else {
                continue;
            };
            let mut expression = first.trim_start_matches('|').to_owned();
            if first == "|" {
                while let Some(more) = lines.next_if(|l| l.starts_with("          ")) {
                    expression.push(' ');
                    expression.push_str(more.trim());
                }
            }
            if name == "alerts.yml" {
                let end = expression.rfind([' ']).expect("a number");
                let compared = expression[..end].trim_end_matches([' ', '<', '>', '=']);
                expression = compared.to_owned();
            }
            found.push((format!("{name}: {of}"), expression));
        }
    }
    found
}

/// Scrapes until what is read has these.
fn text_with(probes: SocketAddr, wanted: &[&str]) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let (_, text) = request(probes, "GET /metrics", "");
        let missing: Vec<_> = wanted.iter().filter(|w| !text.contains(**w)).collect();
        if missing.is_empty() {
            return text;
        }
        assert!(Instant::now() < until, "never told: {missing:?}\n{text}");
    }
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new("promtool")
        .args(arguments)
        .current_dir(deploy().join("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (tests/peers/setup installs it)");
    let mut stdin = process.stdin.take().expect("piped");
    let input = input.to_owned();
    thread::spawn(move || stdin.write_all(input.as_bytes()));
    process.wait_with_output().expect("it ends")
}

#[test]
fn everything_that_boards_and_alerts_ask_for_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = gateway(folder.path(), [service(false), service(true)]);
    let stop = Arc::new(AtomicBool::new(false));
    let driver = {
        let (plain, secure) = (gateway.plain, gateway.secure);
        let stop = Arc::clone(&stop);
        thread::spawn(move || drive(plain, secure, &stop))
    };
    let text = text_with(
        gateway.probes,
        &[
            "grpc_client_handled_total{grpc_code=\"Unavailable\",grpc_method=\"GetGame\",grpc_service=\"gamehub.v1.Catalogue\",grpc_type=\"unary\"}",
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"GetGame\",grpc_service=\"gamehub.v1.Catalogue\",grpc_type=\"unary\"}",
            "rpc_client_call_duration_seconds_count{rpc_method=\"gamehub.v1.Catalogue/GetGame\",rpc_status_code=\"UNAVAILABLE\",rpc_system_name=\"grpc\"}",
            "transom_faults_total{fault=\"upstream\",http_request_method=\"*\",http_route=\"/gone/\"}",
            "transom_limits_hit_total{limit=\"body\"}",
            "transom_tls_certificate_not_after_seconds{name=\"shop.example\",source=\"file\"}",
        ],
    );
    let checked = promtool(&["check", "metrics"], &text);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}");
    // Paths of requests' own never become labels.
    assert!(!text.contains("/nowhere"), "{text}");
    let series = text.lines().filter(|l| !l.starts_with('#')).count();

    let (_process, prometheus) = prometheus(folder.path(), gateway.probes);
    let mut missing = of_boards();
    missing.extend(of_rules());
    let all = missing.len();
    assert!(all > 80, "{all} expressions");
    let until = Instant::now() + PATIENCE;
    let mut last = String::new();
    while !missing.is_empty() && Instant::now() < until {
        missing.retain(|(_, expression)| match query(prometheus, expression) {
            Ok(found) => found.is_empty(),
            Err(error) => {
                last = error;
                true
            }
        });
    }
    let (_, now) = request(gateway.probes, "GET /metrics", "");
    stop.store(true, Ordering::Relaxed);
    driver.join().expect("the driver");
    assert!(missing.is_empty(), "without data: {missing:#?}\n{last}");
    // Thousands of paths later there are hardly more series: what was rare has come by now.
    let later = now.lines().filter(|l| !l.starts_with('#')).count();
    assert!(later < series + 200, "{series} series, then {later}");
}

#[test]
fn alerts_fire_and_clear() {
    for arguments in [
        &["check", "rules", "rules.yml", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
    ] {
        let output = promtool(arguments, "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{output:?}");
    }
    // Every alert is tested.
    let read =
        |name: &str| fs::read_to_string(deploy().join("prometheus").join(name)).expect("text");
    let (alerts, tests) = (read("alerts.yml"), read("alerts_test.yml"));
    let names: BTreeSet<_> = alerts
        .lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "))
        .collect();
    let untested: Vec<_> = names.iter().filter(|n| !tests.contains(**n)).collect();
    assert!(untested.is_empty(), "untested: {untested:?}");
}
