use std::sync::Mutex;

use super::*;
use crate::config::model::Upstream;
use crate::limits::{LOOKUP_TTL_MIN, UPSTREAM_MEMBERS_MAX};
use crate::upstream::{Member, Members};

/// Answers what it is told to, and notes when it was asked.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    answers: HashMap<String, Result<Found<IpAddr>, String>>,
    services: HashMap<String, Result<Found<Service>, String>>,
    asked: Vec<(Instant, String)>,
}

impl Script {
    fn answer(&self, name: &str, addresses: &[&str], ttl: u64) {
        let found = Found {
            records: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ttl: Duration::from_secs(ttl),
        };
        self.0
            .lock()
            .unwrap()
            .answers
            .insert(name.to_owned(), Ok(found));
    }

    fn fail(&self, name: &str) {
        let failed = Err("SERVFAIL".to_owned());
        self.0
            .lock()
            .unwrap()
            .answers
            .insert(name.to_owned(), failed);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }
}

impl Resolve for Script {
    async fn addresses(&self, name: &str) -> Result<Found<IpAddr>, String> {
        let mut script = self.0.lock().unwrap();
        script.asked.push((Instant::now(), name.to_owned()));
        script
            .answers
            .get(name)
            .cloned()
            .unwrap_or_else(|| Err("NXDOMAIN".to_owned()))
    }

    async fn services(&self, name: &str) -> Result<Found<Service>, String> {
        let mut script = self.0.lock().unwrap();
        script.asked.push((Instant::now(), name.to_owned()));
        let known = script.services.get(name).cloned();
        known.unwrap_or_else(|| Err("NXDOMAIN".to_owned()))
    }
}

fn upstream(endpoints: &[(&str, u16)]) -> Upstream {
    let endpoint = |(host, port): &(&str, u16)| Endpoint::host(host, *port);
    Upstream::new("games", endpoints.iter().map(endpoint).collect())
}

fn places(shared: &Shared) -> Vec<String> {
    let members = shared.members();
    let place = |m: &Arc<Member>| match &m.location {
        Location::Name { .. } => format!("{}?", m.location),
        known => known.to_string(),
    };
    members.iter().map(place).collect()
}

/// Runs `test` with an upstream that is followed, in time that passes by itself.
fn followed(endpoints: &[(&str, u16)], script: &Script, test: impl AsyncFnOnce(Arc<Shared>)) {
    following(upstream(endpoints), script, test);
}

fn following(upstream: Upstream, script: &Script, test: impl AsyncFnOnce(Arc<Shared>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let shared = Fleet::new(1).upstream(&upstream);
        let task = tokio::spawn(follow(Arc::clone(&shared), script.clone()));
        test(shared).await;
        task.abort();
    });
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn each_address_is_an_instance_and_who_stays_is_the_same() {
    let script = Script::default();
    script.answer("games", &["10.0.0.2", "10.0.0.1", "10.0.0.2"], 10);
    followed(
        &[("games", 80), ("10.0.0.9", 81)],
        &script,
        async |shared| {
            assert_eq!(places(&shared), ["games:80?", "10.0.0.9:81"]);
            pass(1).await;
            assert_eq!(
                places(&shared),
                ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:81"]
            );
            let before = shared.members();
            script.answer("games", &["10.0.0.2", "10.0.0.3"], 10);
            pass(11).await;
            assert_eq!(
                places(&shared),
                ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.9:81"]
            );
            let after = shared.members();
            let find = |members: &Members, text: &str| {
                let at = |m: &&Arc<Member>| m.location == Location::Address(text.parse().unwrap());
                members.iter().find(at).map(Arc::clone).unwrap()
            };
            for stays in ["10.0.0.2:80", "10.0.0.9:81"] {
                assert!(
                    Arc::ptr_eq(&find(&before, stays), &find(&after, stays)),
                    "{stays}"
                );
            }
        },
    );
}

#[test]
fn the_last_good_answer_stands() {
    let script = Script::default();
    script.answer("games", &["10.0.0.1"], 10);
    followed(&[("games", 80)], &script, async |shared| {
        pass(1).await;
        let generation = *shared.changes().borrow();
        for broken in [true, false] {
            match broken {
                true => script.fail("games"),
                false => _ = script.0.lock().unwrap().answers.remove("games"),
            }
            pass(600).await;
            assert_eq!(places(&shared), ["10.0.0.1:80"]);
        }
        assert_eq!(
            *shared.changes().borrow(),
            generation,
            "nothing was published"
        );
        script.answer("games", &["10.0.0.2"], 10);
        pass(40).await;
        assert_eq!(places(&shared), ["10.0.0.2:80"]);
    });
}

#[test]
fn answers_hold_for_their_time_within_bounds() {
    for (ttl, wait) in [
        (0, LOOKUP_TTL_MIN),
        (12, Duration::from_secs(12)),
        (9999, LOOKUP_TTL_MAX),
    ] {
        let script = Script::default();
        script.answer("games", &["10.0.0.1"], ttl);
        followed(&[("games", 80)], &script, async |_| {
            pass(120).await;
            let asked = &script.0.lock().unwrap().asked;
            for two in asked.windows(2) {
                let passed = two[1].0 - two[0].0;
                assert!(
                    passed >= wait && passed <= wait.mul_f64(1.11),
                    "{ttl}: {passed:?}"
                );
            }
            assert!(asked.len() > 2);
        });
    }
}

#[test]
fn a_nudge_asks_soon_but_not_at_any_rate() {
    let script = Script::default();
    script.answer("games", &["10.0.0.1"], 30);
    followed(&[("games", 80)], &script, async |shared| {
        pass(5).await;
        assert_eq!(script.asked(), 1);
        shared.nudge();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(script.asked(), 2);
        for _ in 0..100 {
            shared.nudge();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(script.asked() <= 4, "{}", script.asked());
    });
}

#[test]
fn instances_are_bounded() {
    let script = Script::default();
    let many: Vec<String> = (0..5000)
        .map(|n| format!("10.1.{}.{}", n / 250, n % 250))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    script.answer("games", &many, 30);
    followed(&[("games", 80)], &script, async |shared| {
        pass(1).await;
        assert_eq!(places(&shared).len(), UPSTREAM_MEMBERS_MAX);
    });
}

#[tokio::test]
async fn the_system_knows_itself() {
    let found = Names::of_the_system().addresses("localhost").await.unwrap();
    assert!(found.records.iter().all(IpAddr::is_loopback), "{found:?}");
}

impl Script {
    fn offer(&self, name: &str, services: &[(u16, &str, u16)]) {
        let service = |(priority, host, port): &(u16, &str, u16)| Service {
            priority: *priority,
            host: (*host).into(),
            port: *port,
        };
        let found = Found {
            records: services.iter().map(service).collect(),
            ttl: Duration::from_secs(10),
        };
        let mut script = self.0.lock().unwrap();
        script.services.insert(name.to_owned(), Ok(found));
    }
}

/// As [`followed`], for a name with SRV records.
fn served(script: &Script, test: impl AsyncFnOnce(Arc<Shared>)) {
    following(
        Upstream::new("games", vec![Endpoint::Srv("_grpc._tcp.games".into())]),
        script,
        test,
    );
}

const GAMES: &str = "_grpc._tcp.games";

#[test]
fn services_of_the_smallest_priority_that_can_be_found_are_used() {
    let script = Script::default();
    script.offer(
        GAMES,
        &[
            (2, "spare", 9),
            (1, "one", 80),
            (1, "two", 81),
            (1, "one", 80),
            (1, "one", 82),
        ],
    );
    script.answer("one", &["10.0.0.1"], 10);
    script.answer("two", &["10.0.0.2", "10.0.0.3"], 10);
    script.answer("spare", &["10.0.0.9"], 10);
    served(&script, async |shared| {
        assert!(shared.is_awaited());
        pass(1).await;
        assert!(!shared.is_awaited());
        assert_eq!(
            places(&shared),
            ["10.0.0.1:80", "10.0.0.1:82", "10.0.0.2:81", "10.0.0.3:81"]
        );
        script.offer(GAMES, &[(1, "nowhere", 80), (2, "spare", 9)]);
        pass(11).await;
        assert_eq!(places(&shared), ["10.0.0.9:9"]);
    });
}

#[test]
fn targets_that_fail_stay_where_they_were() {
    let script = Script::default();
    script.offer(GAMES, &[(1, "one", 80), (1, "two", 81)]);
    script.answer("one", &["10.0.0.1"], 10);
    script.answer("two", &["10.0.0.2"], 10);
    served(&script, async |shared| {
        pass(1).await;
        script.fail("one");
        script.answer("two", &["10.0.0.3"], 10);
        pass(15).await;
        assert_eq!(places(&shared), ["10.0.0.1:80", "10.0.0.3:81"]);
        script.0.lock().unwrap().services.clear();
        pass(60).await;
        assert_eq!(places(&shared), ["10.0.0.1:80", "10.0.0.3:81"]);
        let sought = shared.sought();
        assert_eq!(sought[0].error.as_deref(), Some("NXDOMAIN"));
        assert_eq!(sought[0].instances, 2);
    });
}

#[test]
fn one_that_finds_nobody_is_known_to_have_nobody() {
    served(&Script::default(), async |shared| {
        pass(1).await;
        assert!(!shared.is_awaited(), "calls needn't wait any more");
        assert!(places(&shared).is_empty());
    });
}
