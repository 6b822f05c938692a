//! Upstreams over TLS: whom we believe, and who we are. `unreachable.rs` has what is said when it doesn't fit.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use support::client::Http1;
use support::tls::{Authority, front};
use support::{PATIENCE, soon};
use transom::demo::{self, GrpcServer};

struct Gateway {
    folder: tempfile::TempDir,
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    said: mpsc::Receiver<String>,
}

fn service() -> GrpcServer {
    demo::start(([127, 0, 0, 1], 0).into()).expect("the service")
}

/// In front of one upstream, whose reflection says what it serves; or with the protos of the demo.
fn start(write: impl FnOnce(&Path), upstream: &str, descriptors: &str) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = descriptors.replace("PROTOS", protos.to_str().expect("a path"));
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         descriptors: [{{ {descriptors} }}]\nupstreams: {{ games: {{ {upstream} }} }}\n\
         routes: [{{ services: [\"gamehub.v1.*\"], upstream: games }}]\nworkers: 1\n"
    );
    let file = folder.path().join("transom.yaml");
    fs::write(&file, config).expect("written");
    let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["run", "-c"])
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (tell, said) = mpsc::channel();
    let stderr = BufReader::new(process.stderr.take().expect("piped"));
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    let stdout = BufReader::new(process.stdout.take().expect("piped"));
    let mut addresses = stdout.lines().map_while(Result::ok).filter_map(|line| {
        let (_, address) = line.split_once("http://")?;
        address.trim().parse().ok()
    });
    let mut next = || -> SocketAddr {
        addresses
            .next()
            .unwrap_or_else(|| panic!("{:?}", said.try_iter().collect::<Vec<_>>()))
    };
    let (address, admin) = (next(), next());
    Gateway {
        folder,
        process,
        address,
        admin,
        said,
    }
}

impl Gateway {
    async fn get(&self, path: &str) -> (u16, String) {
        let reply = Http1::connect(self.address).await.get(path).await;
        (reply.status, reply.text().to_owned())
    }

    /// What is said of the only endpoint.
    async fn trouble(&self) -> Value {
        let mut admin = Http1::connect(self.admin).await;
        let ask = format!("GET /upstreams HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin);
        admin.send(ask).await;
        let reply = admin.reply().await.expect("a reply");
        let all: Value = serde_json::from_slice(&reply.body).expect("JSON");
        all[0]["endpoints"][0]["trouble"].clone()
    }

    fn says(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never said: {words}"));
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_reflection_go_over_tls() {
    let service = service();
    let (authority, clients) = (Authority::new("Internal"), Authority::new("Gateways"));
    let pair = authority.server(&["localhost", "games.internal"]);
    let open = front(&pair, &["h2"], None, service.address()).await;
    let closed = front(&pair, &["h2"], Some(&clients), service.address()).await;
    // Servers from before ALPN.
    let old = front(&pair, &[], None, service.address()).await;
    let files = |folder: &Path| {
        fs::write(folder.join("ca.crt"), &authority.pem).expect("written");
        clients.client("gateway", 1).write(folder, "own");
    };
    for (address, host, tls) in [
        (open.address, "localhost", "ca: ca.crt"),
        (
            open.address,
            "127.0.0.1",
            "ca: ca.crt, server_name: games.internal",
        ),
        (
            closed.address,
            "localhost",
            "ca: ca.crt, cert: own.crt, key: own.key",
        ),
        (old.address, "localhost", "ca: ca.crt"),
    ] {
        let upstream = format!(
            "endpoints: [\"{host}:{}\"], tls: {{ {tls} }}",
            address.port()
        );
        let gateway = start(files, &upstream, "reflection: games");
        let (status, body) = gateway.get("/v1/games/1").await;
        assert_eq!(status, 200, "{tls}: {body}");
        assert_eq!(gateway.trouble().await, Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_is_believed_from_the_next_connection_on() {
    let service = service();
    let (first, second) = (Authority::new("First"), Authority::new("Second"));
    let names = ["localhost"];
    let upstream = front(&second.server(&names), &["h2"], None, service.address()).await;
    let upstream = format!(
        "endpoints: [\"localhost:{}\"], tls: {{ ca: ca.crt }}",
        upstream.address.port()
    );
    let ca = |folder: &Path| fs::write(folder.join("ca.crt"), &first.pem).expect("written");
    let gateway = start(ca, &upstream, "protos: PROTOS");
    assert_eq!(gateway.get("/v1/games/1").await.0, 503);
    let bundle = [&*first.pem, &*second.pem].concat();
    let beside = gateway.folder.path().join("ca.new");
    fs::write(&beside, bundle).expect("written");
    fs::rename(beside, gateway.folder.path().join("ca.crt")).expect("renamed");
    gateway.says("reloaded");
    soon("the call", async {
        while gateway.get("/v1/games/1").await.0 != 200 {}
    })
    .await;
    assert_eq!(gateway.trouble().await, Value::Null);
}
