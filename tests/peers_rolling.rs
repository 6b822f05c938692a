//! Five gRPC servers, grpcio and tonic, restarted one after the other under steady load. What clients
//! know and what the servers wrote down are compared: no idempotent call fails, and no other one is
//! carried out twice.
#![cfg(feature = "peers")]

#[path = "support/booked.rs"]
mod booked;
mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use booked::Book;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::client::Http1;
use support::load::{Ask, Caller, Load, Via};
use support::process::Process;
use support::soon;

/// One of the five, on an address that it keeps.
struct Server {
    who: String,
    address: SocketAddr,
    book: Book,
    process: Option<Child>,
}

impl Server {
    fn new(at: usize, book: &Book) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
        Self {
            // Three of grpcio, two of tonic.
            who: format!("{}-{at}", ["grpcio", "tonic"][at % 2]),
            address: socket.local_addr().expect("an address"),
            book: book.clone(),
            process: None,
        }
    }

    fn command(&self) -> Command {
        let port = self.address.port().to_string();
        if self.who.starts_with("tonic") {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command
                .args(["--exact", "tonic_as_a_process", "--ignored"])
                .env("ROLLING_PORT", port)
                .env("ROLLING_BOOK", self.book.path())
                .env("ROLLING_WHO", &self.who)
                .stdout(Stdio::null());
            return command;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".peers/python/bin/python");
        assert!(
            python.exists(),
            "there is no {}: run tests/peers/setup first",
            python.display()
        );
        let mut command = Command::new(python);
        command
            .arg(root.join("tests/peers/python/rolling.py"))
            .args([&port])
            .arg(self.book.path())
            .arg(&self.who);
        command
    }

    /// Starts it, and waits until it takes connections.
    async fn start(&mut self) {
        let child = self.command().stdin(Stdio::piped()).spawn();
        self.process = Some(child.expect("it starts"));
        let up = async {
            while Http1::try_connect(self.address).await.is_none() {
                let ended = self.process.as_mut().map(Child::try_wait);
                assert!(matches!(ended, Some(Ok(None))), "{}: {ended:?}", self.who);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the server", up).await;
    }

    async fn end(&mut self, signal: Signal) {
        let mut child = self.process.take().expect("it runs");
        let pid = i32::try_from(child.id()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it runs");
        let ended = async {
            loop {
                if let Some(status) = child.try_wait().expect("a child") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let status = soon("its end", ended).await;
        if signal == Signal::TERM {
            assert!(status.success(), "{}: {status}", self.who);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

#[tokio::test]
#[ignore = "one of the servers, as a process of its own"]
async fn tonic_as_a_process() {
    let told = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let port: u16 = told("ROLLING_PORT").parse().expect("a port");
    let socket = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let kind = tokio::signal::unix::SignalKind::terminate();
    let mut terminate = tokio::signal::unix::signal(kind).expect("a handler");
    // Nobody is left to stop it when whoever started it is gone.
    std::thread::spawn(|| {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        std::process::exit(1);
    });
    let stop = async move { _ = terminate.recv().await };
    let book = told("ROLLING_BOOK");
    booked::serve(
        socket.expect("bind"),
        Path::new(&book),
        &told("ROLLING_WHO"),
        stop,
    )
    .await;
}

/// The five behind a gateway of its own process, under load.
struct Rolling {
    servers: Vec<Server>,
    book: Book,
    gateway: Process,
    load: Load,
    begun: Instant,
}

impl Rolling {
    async fn start(readers: usize, writers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::create(folder.path().join("book"));
        let mut servers: Vec<_> = (0..5).map(|at| Server::new(at, &book)).collect();
        for server in &mut servers {
            server.start().await;
        }
        let endpoints: Vec<_> = servers.iter().map(|s| s.address.to_string()).collect();
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let report = json!({
            "post": "/v1/reports", "rpc": "gamehub.v1.Moderation/Report", "body": "*", "upstream": "games"
        });
        let routes = json!([{ "services": ["gamehub.v1.Scores"], "upstream": "games" }, report]);
        let config = format!(
            "listeners: [{{ address: \"127.0.0.1:0\" }}]\nworkers: 2\n\
             descriptors: [{{ protos: {} }}]\n\
             upstreams: {{ games: {{ endpoints: {endpoints:?} }} }}\n\
             routes: {routes}\n",
            protos.display(),
        );
        std::fs::write(folder.path().join("transom.yaml"), config).expect("written");
        let gateway = Process::start(folder);
        let pause = Duration::from_millis(5);
        let one = |ask, via| Caller::new(ask, via).every(pause);
        let both = |ask, count| {
            let vias = [Via::Kept, Via::Http2].into_iter().cycle();
            vias.map(move |via| one(ask, via)).take(count)
        };
        let callers = both(Ask::Scores, readers).chain(both(Ask::Report, writers));
        let load = Load::of(gateway.address, callers);
        load.goes_on(100).await;
        Self {
            servers,
            book,
            gateway,
            load,
            begun: Instant::now(),
        }
    }

    /// Restarts each of them, one after the other, with so many calls before each step.
    async fn round(&mut self, signal: Signal, calls: u64) {
        for server in &mut self.servers {
            server.end(signal).await;
            self.load.goes_on(calls).await;
            server.start().await;
            self.load.goes_on(calls).await;
        }
    }

    /// Compares the ledgers.
    async fn end(self, what: &str) {
        let account = self.load.end().await;
        let times = self.book.times("report");
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        let reports = &account.reports;
        let lost = reports
            .iter()
            .filter(|(n, answered)| **answered && !times.contains_key(n));
        let lost: Vec<_> = lost.collect();
        let failed = reports.iter().filter(|(_, answered)| !**answered);
        let unknown = times.keys().filter(|n| !reports.contains_key(n)).count();
        println!(
            "{what}: {} calls answered in {:.0?}; of reading ones {} failed; of {} writing ones {} failed \
             ({} of these were carried out), {} were carried out twice, {} answered and not carried out; \
             calls by server: {:?}",
            account.answered,
            self.begun.elapsed(),
            account.failures_of(Ask::Scores),
            reports.len(),
            account.failures_of(Ask::Report),
            failed.filter(|(n, _)| times.contains_key(n)).count(),
            twice.len(),
            lost.len(),
            self.book.shares(),
        );
        for (ask, number, why) in account.failed.iter().take(20) {
            println!("  {ask:?} {number}: {why}");
        }
        for line in self.gateway.unheard() {
            println!("  {line}");
        }
        assert_eq!(account.failures_of(Ask::Scores), 0);
        assert!(twice.is_empty(), "{twice:?}");
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(unknown, 0);
        assert!(account.retried.is_empty(), "the gateway closed connections");
        let kinds = self.book.times("scores");
        assert!(!kinds.is_empty() && !times.is_empty());
        assert_eq!(self.book.shares().len(), 5, "a server without a call");
    }
}

#[tokio::test]
async fn five_servers_restart_one_after_the_other() {
    let mut rolling = Rolling::start(4, 4).await;
    rolling.round(Signal::TERM, 20).await;
    rolling.end("restarted in order").await;
}

#[tokio::test]
async fn five_servers_are_killed_one_after_the_other() {
    let mut rolling = Rolling::start(4, 4).await;
    rolling.round(Signal::KILL, 20).await;
    rolling.end("killed").await;
}

#[tokio::test]
#[ignore = "the whole of it: benches/soak/rolling"]
async fn five_servers_restart_for_minutes() {
    let mut rolling = Rolling::start(16, 16).await;
    for _ in 0..8 {
        rolling.round(Signal::TERM, 1000).await;
    }
    rolling.end("restarted in order").await;
    let mut rolling = Rolling::start(16, 16).await;
    for _ in 0..8 {
        rolling.round(Signal::KILL, 1000).await;
    }
    rolling.end("killed").await;
}
