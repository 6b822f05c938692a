//! Processes that follow one another, and processes that are stopped, under load of every kind: no
//! request fails. A connection that is closed before a byte of its reply is tried again, as clients do;
//! what is not idempotent is carried out once all the same.

#[path = "support/booked.rs"]
mod booked;
mod support;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use booked::Book;
use rustix::process::Signal;
use serde_json::json;
use support::client::Http1;
use support::line::Line;
use support::load::{Ask, Caller, Directory, Load, Via};
use support::ports::free;
use support::soon;

/// A service, and what it has written down.
struct Service {
    address: SocketAddr,
    book: Book,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::create(folder.path().join("book"));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let socket = socket.expect("bind");
        let address = socket.local_addr().expect("an address");
        let path = book.path().to_owned();
        tokio::spawn(
            async move { booked::serve(socket, &path, "tonic", std::future::pending()).await },
        );
        Self {
            address,
            book,
            _folder: folder,
        }
    }

    /// A gateway's config with these listeners and whatever else.
    fn config(&self, listeners: &str, more: &str) -> String {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let routes = json!([
            { "services": ["gamehub.v1.Scores"], "upstream": "games" },
            {
                "post": "/v1/reports", "rpc": "gamehub.v1.Moderation/Report", "body": "*",
                "upstream": "games",
            },
        ]);
        format!(
            "listeners: [{listeners}]\nworkers: 2\ndescriptors: [{{ protos: {} }}]\n\
             upstreams: {{ games: {{ endpoints: [\"{}\"] }} }}\nroutes: {routes}\n{more}\n",
            protos.display(),
            self.address,
        )
    }

    /// Ends the load; every call was answered, and each report carried out once.
    async fn compare(&self, what: &str, rounds: usize, begun: Instant, load: Load) {
        let account = load.end().await;
        let times = self.book.times("report");
        let lost = account.reports.iter();
        let lost = lost.filter(|(n, answered)| **answered && !times.contains_key(n));
        let lost = lost.count();
        let twice = times.values().filter(|times| **times > 1).count();
        println!(
            "{what}, {rounds} rounds in {:.0?}: {} answered, {} failed; of {} reports {twice} were carried \
             out twice, {lost} never; tried again since a connection was closed before a byte: {:?}",
            begun.elapsed(),
            account.answered,
            account.failed.len(),
            account.reports.len(),
            account.retried,
        );
        let failed = &account.failed;
        assert!(failed.is_empty(), "{:?}", failed.iter().take(20));
        assert_eq!((lost, twice), (0, 0));
        assert!(account.reports.len() > rounds);
    }
}

/// Clients of every kind.
fn callers(each: usize) -> Vec<Caller> {
    let asks = [Ask::Scores, Ask::Report, Ask::Watch(100)];
    let vias = [Via::Fresh, Via::Kept, Via::Http2];
    let all = asks
        .into_iter()
        .flat_map(|ask| vias.map(|via| Caller::new(ask, via)));
    let paced = all.map(|caller| caller.every(Duration::from_millis(2)));
    paced
        .flat_map(|caller| std::iter::repeat_n(caller, each))
        .collect()
}

/// Calls that are answered between two steps.
const STEP: u64 = 100;

async fn followed(rounds: usize, each: usize) {
    let service = Service::start().await;
    let listeners = "{ address: \"127.0.0.1:0\" }, { address: \"127.0.0.1:0\", accept: deal }";
    let config = service.config(listeners, "timeouts: { drain_delay: 200ms }");
    let mut line = Line::plain(&config);
    let (shared, dealt) = (line.address("listening on"), line.address("listening on"));
    let turn = InTurn(AtomicUsize::new(0), [shared, dealt]);
    let load = Load::of(turn, callers(each));
    load.goes_on(STEP).await;
    let begun = Instant::now();
    for _ in 0..rounds {
        let before = line.pid;
        line.hand_over();
        load.goes_on(STEP).await;
        line.ended(before).await;
        load.goes_on(STEP).await;
    }
    assert_eq!(line.first_ended().await, Some(0));
    service.compare("followed", rounds, begun, load).await;
}

/// Connections go to one and the other.
struct InTurn(AtomicUsize, [SocketAddr; 2]);

impl Directory for InTurn {
    fn address(&self) -> SocketAddr {
        self.1[self.0.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

/// A gateway that may be stopped and started, as a load balancer sees it.
struct Target {
    address: SocketAddr,
    probes: SocketAddr,
    ready: AtomicBool,
}

/// Sends connections to those that were ready when it last looked.
#[derive(Clone)]
struct Balancer(Arc<[Target; 2]>, Arc<AtomicUsize>);

impl Directory for Balancer {
    fn address(&self) -> SocketAddr {
        let ready = self.0.iter().filter(|t| t.ready.load(Ordering::Relaxed));
        let ready: Vec<_> = ready.collect();
        let turn = self.1.fetch_add(1, Ordering::Relaxed);
        ready[turn % ready.len()].address
    }
}

impl Balancer {
    /// Looks at all of them, ten times a second.
    async fn keep_looking(self) {
        loop {
            for target in &*self.0 {
                let ready = is_ready(target.probes).await;
                target.ready.store(ready, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until(&self, at: usize, ready: bool) {
        let looked = async {
            while self.0[at].ready.load(Ordering::Relaxed) != ready {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the balancer takes notice", looked).await;
    }
}

async fn is_ready(probes: SocketAddr) -> bool {
    let Some(stream) = Http1::try_connect(probes).await else {
        return false;
    };
    let mut client = Http1::from(stream);
    client
        .send("GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    client
        .reply()
        .await
        .is_some_and(|reply| reply.status == 200)
}

/// Two gateways behind a load balancer, restarted in turn.
async fn stopped(rounds: usize, each: usize) {
    let service = Service::start().await;
    let target = || Target {
        address: free(),
        probes: free(),
        ready: AtomicBool::new(false),
    };
    let balancer = Balancer(Arc::new([target(), target()]), Arc::default());
    let start = |at: usize| {
        let target = &balancer.0[at];
        let listener = format!("{{ address: \"{}\" }}", target.address);
        let more = format!(
            "probes: {{ address: \"{}\" }}\ntimeouts: {{ drain_delay: 1s }}",
            target.probes
        );
        Line::plain(&service.config(&listener, &more))
    };
    let mut gateways = [start(0), start(1)];
    let looking = tokio::spawn(balancer.clone().keep_looking());
    for at in 0..2 {
        balancer.until(at, true).await;
    }
    let load = Load::of(balancer.clone(), callers(each));
    load.goes_on(STEP).await;
    let begun = Instant::now();
    for round in 0..rounds {
        let at = round % 2;
        gateways[at].signal(Signal::TERM);
        assert_eq!(gateways[at].first_ended().await, Some(0));
        balancer.until(at, false).await;
        load.goes_on(STEP).await;
        gateways[at] = start(at);
        balancer.until(at, true).await;
        load.goes_on(STEP).await;
    }
    service
        .compare("stopped behind a balancer", rounds, begun, load)
        .await;
    looking.abort();
}

/// The service manager keeps the socket while one process ends and another starts.
async fn activated(rounds: usize, each: usize) {
    let service = Service::start().await;
    let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("an address");
    let listener = format!("{{ address: \"{address}\" }}");
    let start = || {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = OwnedFd::from(socket.try_clone().expect("a copy"));
        // Its standard input becomes number 3.
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_transom")]);
        command.stdin(Stdio::from(kept));
        let more = "timeouts: { drain_delay: 0s }";
        let line = Line::start(command, folder, &service.config(&listener, more));
        assert_eq!(line.address("listening on"), address);
        line
    };
    let mut gateway = start();
    let load = Load::of(address, callers(each));
    load.goes_on(STEP).await;
    let begun = Instant::now();
    for _ in 0..rounds {
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.first_ended().await, Some(0));
        gateway = start();
        load.goes_on(STEP).await;
    }
    service
        .compare("stopped on a socket that is kept", rounds, begun, load)
        .await;
}

#[tokio::test]
async fn no_request_fails_when_another_process_follows() {
    followed(2, 1).await;
}

#[tokio::test]
async fn no_request_fails_when_one_of_two_is_stopped() {
    stopped(2, 1).await;
}

#[tokio::test]
async fn no_request_fails_when_the_service_manager_restarts_it() {
    activated(2, 1).await;
}

#[tokio::test]
#[ignore = "the whole of it: benches/soak/restarts"]
async fn twenty_rounds_of_each() {
    followed(20, 4).await;
    stopped(20, 4).await;
    activated(20, 4).await;
}
