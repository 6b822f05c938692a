//! Reloads of every kind in random order, a third of them broken, under clients of every protocol and
//! open streams: no call fails, no stream is cut, each fault is told, and what it took is given back.

#[path = "reloads/changes.rs"]
mod changes;
mod support;
#[path = "reloads/traffic.rs"]
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use changes::{KINDS, Kind, Sign, Sources, Teller, resident, shop};
use support::PATIENCE;
use support::client::Http1;
use support::process::Process;
use support::tls::{connect, shown};
use tokio_stream::wrappers::TcpListenerStream;
use traffic::{Phase, Places, Traffic};

/// Whoever looks again and again leaves the processor to the others between.
const LOOK: Duration = Duration::from_millis(5);

/// A gateway, and what it is made of.
struct Whole {
    running: Process,
    sources: Sources,
    places: Places,
    /// How many changes there have been.
    number: usize,
    /// Of each kind: good ones, and broken ones that were told.
    done: BTreeMap<Kind, [usize; 2]>,
    _games: transom::demo::GrpcServer,
}

impl Whole {
    async fn start() -> Self {
        let games = transom::demo::start(([127, 0, 0, 1], 0).into()).expect("the service");
        let teller = Teller::new(&shop());
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let socket = socket.expect("bind");
        let shop_at = socket.local_addr().expect("an address").to_string();
        let served = tonic::transport::Server::builder()
            .serve_with_incoming(teller.clone(), TcpListenerStream::new(socket));
        tokio::spawn(served);
        let folder = tempfile::tempdir().expect("a folder");
        let games_at = games.address().to_string();
        let sources = Sources::write(folder.path(), &games_at, &shop_at, teller);
        let running = Process::start(folder);
        let places = Places {
            plain: running.addresses[0],
            tls: running.addresses[1],
            admin: running.admin.expect("an admin address"),
        };
        Self {
            running,
            sources,
            places,
            number: 0,
            done: BTreeMap::new(),
            _games: games,
        }
    }

    /// Changes it, and waits until clients notice.
    async fn change(&mut self, kind: Kind) {
        self.number += 1;
        let sign = self.sources.change(kind, self.number);
        self.wait(&sign).await;
        self.done.entry(kind).or_default()[0] += 1;
    }

    /// Breaks it, waits until it is told, and mends it.
    async fn spoil(&mut self, kind: Kind) {
        self.number += 1;
        let sign = self.sources.spoil(kind, self.number);
        self.wait(&sign).await;
        self.done.entry(kind).or_default()[1] += 1;
        self.change(kind).await;
    }

    /// Whether as many faults have been told as there are with one more, the last in these words.
    async fn is_told(&self, words: &str) -> bool {
        let told = self.running.told().await;
        let error = told["last_error"].as_str().unwrap_or_default();
        failures(&told) > self.broken() && error.contains(words)
    }

    async fn wait(&self, sign: &Sign) {
        let looked = async {
            match sign {
                Sign::Says(words) => {
                    while !self.is_told(words).await {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                Sign::Path(path) => {
                    let mut client = Http1::connect(self.places.plain).await;
                    while client.get(path).await.status == 404 {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                Sign::Name(name) => {
                    let config = Arc::new(self.sources.authority().trusted());
                    loop {
                        let stream = connect(self.places.tls, name, Arc::clone(&config)).await;
                        // Until then it is one of another name, which this client refuses.
                        if stream.is_ok_and(|s| shown(&s).iter().any(|n| n.contains(name))) {
                            break;
                        }
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        };
        if tokio::time::timeout(PATIENCE, looked).await.is_err() {
            let said = self.running.unheard().join("\n");
            panic!("change {} is never seen: {sign:?}\n{said}", self.number);
        }
    }

    /// So many changes in an order that chance decides. Of three, one is broken and one mends it.
    async fn reloads(&mut self, thirds: usize, chance: &mut fastrand::Rng) {
        let mut broken: Vec<_> = std::iter::repeat_n([true, false], thirds)
            .flatten()
            .collect();
        chance.shuffle(&mut broken);
        for is_broken in broken {
            let kind = *chance.choice(KINDS.iter()).expect("one of them");
            match is_broken {
                true => self.spoil(kind).await,
                false => self.change(kind).await,
            }
        }
    }

    fn broken(&self) -> usize {
        self.done.values().map(|[_, broken]| broken).sum()
    }

    /// Every fault has been told, and nothing goes on with an old generation.
    async fn all_is_told_and_freed(&self) {
        let is_free = |told: &serde_json::Value| {
            let old = told["old_generations"].as_array();
            old.is_some_and(Vec::is_empty)
        };
        let told = self.running.until_told("old generations go", is_free);
        let told = told.await;
        assert!(failures(&told) >= self.broken(), "{told}");
        assert_eq!(told["last_error"], serde_json::Value::Null, "{told}");
        let metrics = self.running.admin("/metrics").await.1;
        for line in [
            "transom_config_generations_in_use 1",
            "transom_config_old_generation_users 0",
            "transom_config_last_reload_successful 1",
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }
        println!(
            "{:?}, of each kind [good, broken]; {}",
            self.done, told["reloads"]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_everything_changes() {
    let mut whole = Whole::start().await;
    let mut traffic = Traffic::start(whole.places, &whole.sources.authority(), 1);
    for kind in KINDS {
        whole.spoil(kind).await;
    }
    whole.reloads(5, &mut fastrand::Rng::with_seed(7)).await;
    traffic.goes_on(50, 10).await;
    let outcome = traffic.end().await;
    assert!(outcome.pieces > 10, "{}", outcome.pieces);
    whole.all_is_told_and_freed().await;
}

fn failures(told: &serde_json::Value) -> usize {
    let failed = told["reloads"]["failed"].as_u64();
    usize::try_from(failed.expect("a number")).expect("few")
}

/// Of a sorted list.
fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in the list"
    )]
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at).copied().unwrap_or_default()
}

fn print_times(what: &str, times: [Vec<Duration>; 2]) {
    let [still, reloads] = times.map(|mut times| {
        times.sort_unstable();
        times
    });
    for (when, sorted) in [("without reloads", &still), ("with reloads", &reloads)] {
        println!(
            "{what}, {when}: {} answered, p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, longest {:.2?}",
            sorted.len(),
            quantile(sorted, 0.5),
            quantile(sorted, 0.99),
            quantile(sorted, 0.999),
            sorted.last().copied().unwrap_or_default(),
        );
    }
    let ratio = quantile(&reloads, 0.99).as_secs_f64() / quantile(&still, 0.99).as_secs_f64();
    println!("{what}: p99 with reloads is {ratio:.2} of that without");
}

/// `benches/soak/reload` runs it: rounds with and without reloads in turn, so both have the machine alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes long"]
async fn a_thousand_reloads() {
    const ROUNDS: usize = 10;
    const STILL: Duration = Duration::from_secs(12);
    let each = std::env::var("THIRDS").map_or(33, |n| n.parse().expect("a number"));
    let mut chance = fastrand::Rng::with_seed(1_000);
    let mut whole = Whole::start().await;
    let mut traffic = Traffic::start(whole.places, &whole.sources.authority(), 2);
    // Pools, caches and the allocator's pages are there after this.
    whole.reloads(20, &mut chance).await;
    let base = resident(&whole.running);
    let mut most = base;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        traffic.phase(Phase::Reloads);
        whole
            .reloads(each + usize::from(round % 3 == 0), &mut chance)
            .await;
        let took = begun.elapsed();
        most = most.max(resident(&whole.running));
        traffic.phase(Phase::Still);
        tokio::time::sleep(took.min(STILL)).await;
        println!(
            "round {round} in {took:.0?}, {} KiB",
            resident(&whole.running)
        );
    }
    let after = resident(&whole.running);
    traffic.goes_on(50, 10).await;
    let outcome = traffic.end().await;
    println!(
        "no call failed, no stream was cut; the streams brought {} messages",
        outcome.pieces
    );
    whole.all_is_told_and_freed().await;
    print_times("calls", outcome.took);
    print_times("/livez", outcome.probes);
    println!("memory: {base} KiB before, {most} KiB at most, {after} KiB after");
    assert!(after <= base + base / 5, "memory has grown");
}
