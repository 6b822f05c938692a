//! Upstreams on sockets of this machine.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::process::Process;
use support::soon;
use support::tls::{Authority, front};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use transom::demo::{self, GrpcServer};

/// A file that is a socket, and leads to a port.
struct Way {
    file: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    fn open(file: PathBuf, to: std::net::SocketAddr) -> Self {
        let listener = UnixListener::bind(&file).expect("bind");
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await.expect("the service");
                    let copied = tokio::io::copy_bidirectional(&mut client, &mut server);
                    copied.await.ok();
                });
            }
        });
        Self { file, task }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
        std::fs::remove_file(&self.file).ok();
    }
}

fn service() -> GrpcServer {
    demo::start(([127, 0, 0, 1], 0).into()).expect("the service")
}

/// A gateway whose `games` are as `upstream` says.
fn start(folder: tempfile::TempDir, upstream: &str, descriptors: &str) -> Process {
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         descriptors: [{{ {descriptors} }}]\nupstreams:\n  games: {{ {upstream} }}\n  \
         site: {{ endpoints: [\"unix:site.sock\"], protocol: http1 }}\n\
         routes:\n  - {{ services: [\"gamehub.v1.*\"], upstream: games }}\n  \
         - {{ prefix: /, upstream: site }}\nworkers: 1\n"
    );
    std::fs::write(folder.path().join("transom.yaml"), config).expect("written");
    Process::start(folder)
}

async fn get(gateway: &Process, path: &str) -> (u16, String) {
    let mut client = support::client::Http1::connect(gateway.address).await;
    let reply = client.get(path).await;
    (reply.status, reply.text().to_owned())
}

async fn endpoint(gateway: &Process) -> Value {
    let (_, text) = gateway.admin("/upstreams").await;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0]["endpoints"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_reflection_go_through_a_file() {
    let service = service();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("games.sock");
    let _way = Way::open(file.clone(), service.address());
    // Relative to the config's folder.
    let upstream = "endpoints: [\"unix:games.sock\"]";
    let gateway = start(folder, upstream, "reflection: games");
    let (status, body) = get(&gateway, "/v1/games/1").await;
    assert_eq!(status, 200, "{body}");
    let told = endpoint(&gateway).await;
    assert_eq!(told["address"], format!("unix:{}", file.display()));
    assert_eq!(told["trouble"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_goes_through_it_as_well() {
    let service = service();
    let authority = Authority::new("Internal");
    let pair = authority.server(&["localhost"]);
    let fine = front(&pair, &["h2"], None, service.address()).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
    let file = folder.path().join("games.sock");
    let _way = Way::open(file.clone(), fine.address);
    let upstream = format!(
        "endpoints: [\"unix:{}\"], tls: {{ ca: ca.crt }}",
        file.display()
    );
    let gateway = start(folder, &upstream, "reflection: games");
    let (status, body) = get(&gateway, "/v1/games/1").await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_of_http1_is_passed_on_to() {
    let service = service();
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("site.sock")).expect("bind");
    let site = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the gateway");
        let mut asked = String::new();
        while !asked.contains("\r\n\r\n") {
            let mut some = [0; 1024];
            let read = stream.read(&mut some).await.expect("a request");
            asked.push_str(std::str::from_utf8(&some[..read]).expect("text"));
        }
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        stream.write_all(reply).await.expect("written");
        asked
    });
    let _way = Way::open(folder.path().join("games.sock"), service.address());
    let upstream = "endpoints: [\"unix:games.sock\"]";
    let gateway = start(folder, upstream, "reflection: games");
    assert_eq!(get(&gateway, "/page").await, (200, "hi".to_owned()));
    let asked = soon("the request", site).await.expect("a request");
    assert!(asked.starts_with("GET /page HTTP/1.1\r\n"), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_there_is_told_to_operators_alone_and_tried_again() {
    let service = service();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("games.sock");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let protos = format!("protos: {}", protos.display());
    let upstream = "endpoints: [\"unix:games.sock\"]";
    let gateway = start(folder, upstream, &protos);
    let (status, body) = get(&gateway, "/v1/games/1").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("games"), "{body}");
    for secret in ["unix", "sock", "localhost"] {
        assert!(!body.contains(secret), "{body}");
    }
    let told = endpoint(&gateway).await;
    let trouble = told["trouble"].as_str().expect("trouble").to_owned();
    assert!(trouble.contains("games.sock: No such file"), "{trouble}");
    let line = gateway.says("no connection to an instance");
    assert!(line.contains("games.sock"), "{line}");
    let _way = Way::open(file, service.address());
    gateway.until("/v1/games/1", 200).await;
    assert_eq!(endpoint(&gateway).await["trouble"], Value::Null);
}
