//! `transom run` as a process: what it says, what it serves, how it stops.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use support::client::Http1;
use support::ports::free;
use support::rpc::Grpc;
use support::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The running command. Killed with the handle.
struct Transom {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Transom {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .arg("run")
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let mut told = String::new();
            let mut stderr = process.stderr.take().expect("it is piped");
            stderr.read_to_string(&mut told).expect("text");
            panic!("{line:?} is no address\n{told}");
        };
        Self {
            address: address.parse().expect("an address"),
            process,
            stdout,
        }
    }

    /// The next line on stdout.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for the end and gives the exit code.
    async fn ended(mut self) -> Option<i32> {
        let waiting = tokio::task::spawn_blocking(move || self.process.wait().expect("an end"));
        soon("the end of the process", waiting)
            .await
            .expect("joined")
            .code()
    }
}

impl Drop for Transom {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

const TERM: rustix::process::Signal = rustix::process::Signal::TERM;

fn written(folder: &Path, text: &str) -> String {
    let file = folder.join("transom.yaml");
    std::fs::write(&file, text).expect("the config is written");
    file.display().to_string()
}

/// A config of one plain route to `upstream`.
fn proxy(upstream: SocketAddr) -> String {
    format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         upstreams:\n  site: {{ endpoints: [\"{upstream}\"], protocol: http1 }}\n\
         routes:\n  - {{ prefix: /, upstream: site }}\n\
         timeouts: {{ drain_delay: 0s }}\n"
    )
}

#[tokio::test]
async fn without_a_file_a_service_is_served_by_its_reflection() {
    let any = "127.0.0.1:0".parse().expect("address");
    let service = transom::demo::start(any).expect("the service starts");
    let upstream = service.address().to_string();
    let mut transom = Transom::start(&["--upstream", &upstream, "--listen", "127.0.0.1:0"]);
    let summary = transom.line();
    assert!(summary.contains("routes: "), "{summary}");
    assert!(!summary.starts_with("0 "), "{summary}");
    let bare = transom.line();
    let named = "1 method without an HTTP rule: gamehub.v1.Moderation/Report (";
    assert!(bare.contains(named), "{bare}");
    let mut client = Http1::connect(transom.address).await;
    let reply = client.get("/v1/games/1").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // It lives on through SIGTERM's delay, and Ctrl-C has none.
    transom.signal(TERM);
    while client.get("/v1/games/1").await.header("connection") != Some("close") {}
    let mut client = Http1::connect(transom.address).await;
    assert_eq!(client.get("/v1/games/1").await.status, 200);
    transom.signal(rustix::process::Signal::INT);
    assert_eq!(transom.ended().await, Some(130));
    let transom = Transom::start(&["--upstream", &upstream, "--listen", "127.0.0.1:0"]);
    transom.signal(rustix::process::Signal::INT);
    assert_eq!(transom.ended().await, Some(0));
}

#[tokio::test]
async fn every_method_is_rest_where_that_is_asked_for() {
    let any = "127.0.0.1:0".parse().expect("address");
    let service = transom::demo::start(any).expect("the service starts");
    let upstream = service.address().to_string();
    let listen = ["--upstream", &upstream, "--listen", "127.0.0.1:0"];
    // Connect's errors have names for codes, REST's have numbers.
    for (auto, code) in [(&[][..], "\"not_found\""), (&["--auto"], "5")] {
        let transom = Transom::start(&[&listen, auto].concat());
        let mut client = Http1::connect(transom.address).await;
        let call = "POST /gamehub.v1.Catalogue/GetGame HTTP/1.1\r\nHost: test\r\n\
                    Content-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"gameId\":\"999999\"}";
        client.send(call).await;
        let reply = client.reply().await.expect("a reply");
        assert_eq!(reply.status, 404, "{}", reply.text());
        let start = format!("{{\"code\":{code},");
        assert!(reply.text().starts_with(&start), "{}", reply.text());
    }
}

#[tokio::test]
async fn routes_of_an_upstream_that_was_down_appear_when_it_comes() {
    let address = free();
    let upstream = address.to_string();
    let transom = Transom::start(&["--upstream", &upstream, "--listen", "127.0.0.1:0"]);
    let mut client = Http1::connect(transom.address).await;
    let reply = client.get("/v1/games/1").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert!(reply.text().contains("of upstream \\\"upstream\\\""));
    assert!(!reply.text().contains(&upstream), "{}", reply.text());
    let mut caller = Grpc::connect(transom.address).await;
    let unknown = Grpc::post("/gamehub.v1.Catalogue/GetGame");
    assert_eq!(caller.call(unknown, &[b""]).await.code(), "14");
    let _service = transom::demo::start(address).expect("the service starts");
    let appeared = async {
        loop {
            let reply = client.get("/v1/games/1").await;
            if reply.status == 200 {
                break reply;
            }
        }
    };
    let reply = soon("the routes", appeared).await;
    assert!(reply.text().contains("title"), "{}", reply.text());
    // Now it is known what there is.
    assert_eq!(client.get("/v1/nothing").await.status, 404);
}

#[tokio::test]
async fn a_stop_signal_lets_the_request_under_way_finish() {
    let site = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path(), &proxy(site.local_addr().expect("address")));
    let transom = Transom::start(&["-c", &file]);
    let mut client = Http1::connect(transom.address).await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let (mut stream, _) = soon("the request", site.accept()).await.expect("accept");
    let mut head = [0; 16];
    soon("its head", stream.read(&mut head))
        .await
        .expect("read");

    let address = transom.address;
    transom.signal(TERM);
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("the listener to close", refused).await;
    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
    stream.write_all(reply).await.expect("write");
    let reply = client.reply().await.expect("a reply");
    assert_eq!((reply.status, reply.text()), (200, "done"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(transom.ended().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let site = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path(), &proxy(site.local_addr().expect("address")));
    let transom = Transom::start(&["-c", &file]);
    let mut client = Http1::connect(transom.address).await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let _held = soon("the request", site.accept()).await.expect("accept");
    transom.signal(TERM);
    let address = transom.address;
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("the listener to close", refused).await;
    transom.signal(rustix::process::Signal::INT);
    assert_eq!(transom.ended().await, Some(130));
}

#[tokio::test]
async fn an_upstream_that_is_down_is_503_in_json() {
    let site = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = site.local_addr().expect("address");
    drop(site);
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path(), &proxy(address));
    let transom = Transom::start(&["-c", &file]);
    let mut client = Http1::connect(transom.address).await;
    let reply = client.get("/").await;
    assert_eq!(reply.status, 503);
    let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(body["code"], 14);
    assert_eq!(body["message"], r#"upstream "site" can't be reached"#);
    assert!(!reply.text().contains(&address.to_string()));
    assert_eq!(client.get("/again").await.status, 503);
}

#[test]
fn an_address_in_use_is_an_error_of_the_input() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let upstream = "127.0.0.1:1";
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["run", "--upstream", upstream, "--listen", &address])
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("text");
    let expected = format!("error: can't listen on {address}: the address is in use\n");
    assert!(told.ends_with(&expected), "{told}");
}
