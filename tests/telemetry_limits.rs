//! What tells of requests has bounds, and holds none of them up: logs that nobody reads, a disk that is
//! full, and clients that make names up.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use support::client::Http1;
use support::process::{Process, config};
use support::site::head;
use support::soon;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn folder(site: SocketAddr, log: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let protos = format!("{}/proto", env!("CARGO_MANIFEST_DIR"));
    let keys = json!({
        "workers": 1,
        "log": log,
        "descriptors": [{ "protos": protos }],
        "upstreams": {
            "games": { "endpoints": ["127.0.0.1:9"] },
            "site": { "endpoints": [site.to_string()], "protocol": "http1" },
        },
        "routes": [
            { "services": ["gamehub.v1.*"], "upstream": "games" },
            { "prefix": "/fixed/", "respond": { "body": "hi" } },
            { "prefix": "/site/", "upstream": "site" },
        ],
    });
    let file = folder.path().join("transom.yaml");
    fs::write(file, config(&keys)).expect("written");
    folder
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_transom"))
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

/// Lines of a log by what became of them.
async fn lines(process: &Process, output: &str, result: &str) -> u64 {
    let (_, metrics) = process.admin("/metrics").await;
    let series = format!("transom_log_lines_total{{output=\"{output}\",result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|l| l.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}"))
        .parse()
        .expect("a count")
}

/// What a pipe's reader has read so far.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Many requests whose lines are long, all of them answered.
async fn busy(process: &Process) {
    let long = "x".repeat(500);
    let path = "y".repeat(2000);
    let request = format!(
        "GET /fixed/{path} HTTP/1.1\r\nhost: {long}\r\nuser-agent: {long}\r\nreferer: {long}\r\n\r\n"
    );
    let mut client = Http1::connect(process.address).await;
    for _ in 0..50 {
        client.send(&request).await;
        assert_eq!(client.reply().await.expect("a reply").status, 200);
    }
}

#[tokio::test]
async fn logs_that_nobody_reads_hold_up_nothing() {
    let log = json!({ "level": "trace", "access": { "format": "json", "output": "stdout" } });
    let mut process = Process::start_unread(folder(nowhere(), &log), binary());
    // The pipe fills first, then the queue.
    let filled = async {
        while lines(&process, "stdout", "dropped").await == 0 {
            busy(&process).await;
        }
    };
    soon("lines are dropped", filled).await;
    // What the program says of itself has a pipe of its own, and it is full as well.
    let loud = async {
        while lines(&process, "stderr", "dropped").await == 0 {
            let client = Http1::connect(process.address).await;
            drop(client);
        }
    };
    soon("the program's own lines are dropped", loud).await;
    busy(&process).await;
    assert_eq!(process.status("/fixed/a").await, 200);
    let (status, _) = process.reload().await;
    assert_eq!(status, 200);

    // Once somebody reads, whole lines come, and new ones are written.
    let written = lines(&process, "stdout", "written").await;
    let heard = Heard::default();
    process.read_on(heard.clone());
    let caught_up = async {
        loop {
            assert_eq!(process.status("/fixed/last").await, 200);
            let heard = heard
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let text = String::from_utf8(heard).expect("text");
            if let Some((before, _)) = text.split_once("\"/fixed/last\"") {
                return before.lines().count();
            }
            tokio::task::yield_now().await;
        }
    };
    soon("new lines", caught_up).await;
    assert!(lines(&process, "stdout", "written").await > written);
    let heard = heard
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let text = String::from_utf8(heard).expect("text");
    // It has said before what it serves.
    let said = text.find("{\"time\"").expect("a line");
    for line in text[said..]
        .split_inclusive('\n')
        .filter(|l| l.ends_with('\n'))
    {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn a_process_ends_though_nobody_reads_its_logs() {
    let log = json!({ "level": "trace", "access": { "format": "json", "output": "stdout" } });
    let process = Process::start_unread(folder(nowhere(), &log), binary());
    let filled = async {
        while lines(&process, "stdout", "dropped").await == 0 {
            busy(&process).await;
        }
        while lines(&process, "stderr", "dropped").await == 0 {
            drop(Http1::connect(process.address).await);
        }
    };
    soon("both pipes and queues are full", filled).await;
    assert!(process.terminate().await.success());
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let log = json!({ "access": { "format": "json", "output": "/dev/full" } });
    let process = Process::start(folder(nowhere(), &log));
    for _ in 0..4 {
        busy(&process).await;
    }
    let counted = async { while lines(&process, "/dev/full", "dropped").await < 200 {} };
    soon("200 lines are counted", counted).await;
    assert_eq!(lines(&process, "/dev/full", "dropped").await, 200);
    assert_eq!(lines(&process, "/dev/full", "written").await, 0);
    process.says("the log can't be written");
    let again = process.unheard();
    assert!(
        again.iter().all(|l| !l.contains("can't be written")),
        "{again:?}"
    );
    assert!(process.terminate().await.success());
}

/// A site that answers with whatever status the path ends in.
async fn any_status() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 1];
                while stream.peek(&mut first).await.is_ok_and(|n| n > 0) {
                    let head = head(&mut stream).await;
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    let path = target.split('?').next().unwrap_or_default();
                    let status = path.rsplit('/').next().unwrap_or_default();
                    let answer = format!("HTTP/1.1 {status} odd\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A request with names of its own in all places.
fn strange(random: &mut fastrand::Rng) -> String {
    let name = format!("zz{:016x}", random.u64(..));
    let status = match random.u32(200..600) {
        204 | 304 => 599,
        status => status,
    };
    let path = match random.u32(..6) {
        0 => format!("/fixed/{name}"),
        1 => format!("/nowhere/{name}"),
        2 => format!("/v1/{name}/7"),
        3 => format!("/gamehub.v1.Catalogue/{name}"),
        _ => format!("/site/{name}/{status}"),
    };
    let method = match random.bool() {
        true => "GET".to_owned(),
        false => format!("M{}", name.to_uppercase()),
    };
    let kind = match random.bool() {
        true => "application/grpc-web".to_owned(),
        false => format!("application/{name}"),
    };
    format!(
        "{method} {path}?{name}={name} HTTP/1.1\r\nhost: {name}.example\r\nuser-agent: {name}\r\n\
         content-length: 0\r\ncontent-type: {kind}\r\nx-request-id: {name}\r\n\r\n"
    )
}

async fn send_strange(process: &Process, random: &mut fastrand::Rng, count: usize) {
    let mut client = Http1::connect(process.address).await;
    let mut sent = 0;
    while sent < count {
        client.send(strange(random)).await;
        match client.reply().await {
            Some(_) => sent += 1,
            None => client = Http1::connect(process.address).await,
        }
    }
}

/// Names of all series.
async fn series(process: &Process) -> BTreeSet<String> {
    let (_, metrics) = process.admin("/metrics").await;
    assert!(!metrics.contains("zz"), "a client's name in\n{metrics}");
    let lines = metrics.lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|l| Some(l.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

#[tokio::test]
async fn names_that_clients_make_up_are_no_series() {
    let site = any_status().await;
    let process = Process::start(folder(site, &json!({ "level": "error" })));
    let mut random = fastrand::Rng::with_seed(7);
    send_strange(&process, &mut random, 2000).await;
    let before = series(&process).await;
    send_strange(&process, &mut random, 3000).await;
    let after = series(&process).await;
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    // The odd statuses of the site are what most of them tell.
    let statuses = "http_server_request_duration_seconds_count";
    let of_site = |name: &&String| name.starts_with(statuses) && name.contains("\"/site/\"");
    let known: Vec<_> = after.iter().filter(of_site).collect();
    assert!((10..=25).contains(&known.len()), "{known:?}");
    let (_, overview) = process.admin("/overview").await;
    assert!(overview.len() < 256 * 1024, "{} bytes", overview.len());
}
