//! Several instances of an upstream, some of them bad: where calls go, and which are sent again.

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use support::ports::free;
use support::upstream::{Call, Upstream as Server};
use support::{on_a_worker, soon};
use transom::config::model::{
    Balance, Connections, Endpoint, HedgeRule, Load, RetryRule, Upstream, UpstreamId,
    UpstreamProtocol, UpstreamRules,
};
use transom::failure::{Failure, GrpcCode};
use transom::limits::Timeouts;
use transom::rt::LocalExec;
use transom::upstream::{
    AnswerBody, Fleet, How, Location, Member, Members, UpstreamBody, Upstreams,
};

const GAMES: UpstreamId = UpstreamId(0);

/// A server that treats every call alike, and how many it had.
struct Instance {
    address: SocketAddr,
    calls: Rc<Cell<usize>>,
}

impl Instance {
    async fn start(behave: impl Fn(Call) + 'static) -> Self {
        let mut server = Server::start().await;
        let address = server.address;
        let calls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&calls);
        tokio::task::spawn_local(async move {
            loop {
                let call = server.next().await;
                counted.set(counted.get() + 1);
                behave(call);
            }
        });
        Self { address, calls }
    }

    async fn good() -> Self {
        Self::start(|call| call.answer("good")).await
    }

    /// Every call ends with this status at once, with a word about being asked again.
    async fn failing(code: GrpcCode, pushback: Option<&'static str>) -> Self {
        Self::start(move |mut call| {
            let mut head = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", code.number().to_string());
            if let Some(pushback) = pushback {
                head = head.header("grpc-retry-pushback-ms", pushback);
            }
            let head = head.body(()).unwrap();
            call.respond.send_response(head, true).unwrap();
        })
        .await
    }

    /// Calls are taken and never answered.
    async fn silent() -> Self {
        let held = Rc::new(std::cell::RefCell::new(Vec::new()));
        Self::start(move |call| held.borrow_mut().push(call)).await
    }
}

fn spec(instances: &[&Instance], rules: UpstreamRules) -> Upstream {
    let endpoint = |i: &&Instance| Endpoint::host(i.address.ip(), i.address.port());
    let endpoints = instances.iter().map(endpoint).collect();
    Upstream {
        rules,
        ..Upstream::new("games", endpoints)
    }
}

fn pool(instances: &[&Instance], rules: UpstreamRules) -> Rc<Upstreams> {
    let spec = spec(instances, rules);
    let (timeouts, exec) = (Timeouts::default(), LocalExec::default());
    Upstreams::new(&Fleet::new(1), &[spec], &timeouts, &exec)
}

async fn call(pool: &Rc<Upstreams>, how: How<'_>) -> Result<Response<AnswerBody>, Failure> {
    let request = Request::post("/gamehub.v1.Games/Get")
        .body(UpstreamBody::whole("question".into()))
        .unwrap();
    soon("an answer", pool.call(GAMES, request, how)).await
}

/// Calls once and reads the answer to its end.
async fn whole(pool: &Rc<Upstreams>, how: How<'_>) -> Result<GrpcCode, Failure> {
    let answer = call(pool, how).await?;
    let head = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await?;
    let status = head.or_else(|| body.trailers()?.get("grpc-status").cloned());
    let number = status.expect("a status").to_str().unwrap().parse().unwrap();
    Ok(GrpcCode::from_number(number))
}

fn rule() -> RetryRule {
    RetryRule::default()
}

fn again(rule: &RetryRule) -> How<'_> {
    How {
        retry: Some(rule),
        idempotent: true,
        ..How::default()
    }
}

#[test]
fn an_instance_whose_calls_fail_is_left_out() {
    on_a_worker(async {
        let bad = Instance::failing(GrpcCode::Unavailable, None).await;
        let (good, fine) = (Instance::good().await, Instance::good().await);
        let rules = UpstreamRules {
            balance: Balance::RoundRobin,
            ..UpstreamRules::default()
        };
        let pool = pool(&[&bad, &good, &fine], rules);
        for _ in 0..60 {
            whole(&pool, How::default()).await.unwrap();
        }
        assert_eq!(bad.calls.get(), 5, "as many as may fail in a row");
        assert!(good.calls.get() > 20 && fine.calls.get() > 20);
        assert_eq!(pool.counted(GAMES).ejections, 1);
    });
}

#[test]
fn an_instance_that_restarts_is_missed_no_longer_than_it_is_away() {
    on_a_worker(async {
        let good = Instance::good().await;
        let away = Instance {
            address: free(),
            calls: Rc::default(),
        };
        let pool = pool(&[&away, &good], UpstreamRules::default());
        let many = (0..100).map(|_| whole(&pool, How::default()));
        for ended in futures_util::future::join_all(many).await {
            assert_eq!(ended.unwrap(), GrpcCode::Ok);
        }
        let counted = pool.counted(GAMES);
        assert!(counted.not_connected > 0, "it was never asked");
        assert_eq!(counted.ejections, 0);

        let socket = tokio::net::TcpListener::bind(away.address).await.unwrap();
        let mut server = Server::on(socket, 1000);
        let calling = async {
            loop {
                assert_eq!(whole(&pool, How::default()).await.unwrap(), GrpcCode::Ok);
            }
        };
        tokio::select! {
            call = server.next() => call.answer("back"),
            () = calling => {}
        }
    });
}

#[test]
fn a_fault_of_the_requests_leaves_nobody_out() {
    on_a_worker(async {
        let one = Instance::failing(GrpcCode::Internal, None).await;
        let other = Instance::failing(GrpcCode::Internal, None).await;
        // Chance might give one of them all calls at first, and nothing to compare it with.
        let rules = UpstreamRules {
            balance: Balance::RoundRobin,
            ..UpstreamRules::default()
        };
        let pool = pool(&[&one, &other], rules);
        for _ in 0..100 {
            whole(&pool, How::default()).await.unwrap();
        }
        assert_eq!(pool.counted(GAMES).ejections, 0);
    });
}

#[test]
fn half_broken_among_good_ones_is_left_out() {
    on_a_worker(async {
        let turn = Cell::new(0);
        let half = Instance::start(move |mut call: Call| {
            turn.set(turn.get() + 1);
            if turn.get() % 2 == 0 {
                return call.answer("good");
            }
            let head = Response::builder().header("grpc-status", "13").body(());
            call.respond.send_response(head.unwrap(), true).unwrap();
        })
        .await;
        let good = Instance::good().await;
        let rules = UpstreamRules {
            balance: Balance::RoundRobin,
            ..UpstreamRules::default()
        };
        let pool = pool(&[&half, &good], rules);
        for _ in 0..100 {
            whole(&pool, How::default()).await.unwrap();
        }
        assert_eq!(pool.counted(GAMES).ejections, 1);
        assert!(half.calls.get() <= 12, "{}", half.calls.get());
    });
}

#[test]
fn the_faster_one_gets_the_calls() {
    on_a_worker(async {
        // The slow one answers after ten answers of the fast one: no clock is needed.
        let held: Rc<std::cell::RefCell<Vec<Call>>> = Rc::default();
        let slow = {
            let held = Rc::clone(&held);
            Instance::start(move |call| held.borrow_mut().push(call)).await
        };
        let fast = Instance::good().await;
        let pool = pool(&[&slow, &fast], UpstreamRules::default());
        let mut waiting = Vec::new();
        for _ in 0..100 {
            let pool = Rc::clone(&pool);
            waiting.push(tokio::task::spawn_local(async move {
                whole(&pool, How::default()).await
            }));
            while fast.calls.get() + slow.calls.get() < waiting.len() {
                tokio::task::yield_now().await;
            }
        }
        assert!(slow.calls.get() <= 3, "{}", slow.calls.get());
        for call in held.take() {
            call.answer("late");
        }
        for call in waiting {
            call.await.unwrap().unwrap();
        }
    });
}

#[test]
fn an_idempotent_call_is_sent_to_another_instance() {
    on_a_worker(async {
        let bad = Instance::failing(GrpcCode::Unavailable, None).await;
        let good = Instance::good().await;
        let pool = pool(&[&bad, &good], UpstreamRules::default());
        let rule = rule();
        for _ in 0..20 {
            assert_eq!(whole(&pool, again(&rule)).await.unwrap(), GrpcCode::Ok);
        }
        assert!(bad.calls.get() > 0);
        assert_eq!(pool.counted(GAMES).retries, bad.calls.get() as u64);
    });
}

#[test]
fn nothing_else_is_ever_sent_twice() {
    on_a_worker(async {
        let bad = Instance::failing(GrpcCode::Unavailable, None).await;
        let worse = Instance::start(|call| call.reset(h2::Reason::INTERNAL_ERROR)).await;
        let pool = pool(&[&bad, &worse], UpstreamRules::default());
        let rule = rule();
        let how = How {
            idempotent: false,
            ..again(&rule)
        };
        for _ in 0..20 {
            let ended = whole(&pool, how).await;
            assert_ne!(ended.ok(), Some(GrpcCode::Ok));
        }
        assert_eq!(bad.calls.get() + worse.calls.get(), 20);
    });
}

#[test]
fn other_codes_and_pushback_are_no_reason_to_send_again() {
    on_a_worker(async {
        let rule = rule();
        for (code, pushback, sent) in [
            (GrpcCode::NotFound, None, 1),
            (GrpcCode::Internal, None, 1),
            (GrpcCode::Unavailable, Some("-1"), 1),
            (GrpcCode::Unavailable, Some("1"), 2),
            (GrpcCode::Unavailable, None, 2),
            // By nobody but a server that is stopping.
            (GrpcCode::Cancelled, None, 2),
        ] {
            let only = Instance::failing(code, pushback).await;
            let pool = pool(&[&only], UpstreamRules::default());
            assert_eq!(whole(&pool, again(&rule)).await.unwrap(), code);
            assert_eq!(only.calls.get(), sent, "{code:?} {pushback:?}");
        }
    });
}

#[test]
fn retries_stay_within_the_budget() {
    on_a_worker(async {
        let bad = Instance::failing(GrpcCode::Unavailable, Some("0")).await;
        let pool = pool(&[&bad], UpstreamRules::default());
        let rule = rule();
        for _ in 0..500 {
            whole(&pool, again(&rule)).await.unwrap();
        }
        let counted = pool.counted(GAMES);
        // A fifth of the calls, and what is always allowed: three a second, for ten seconds.
        assert!(counted.retries <= 500 / 5 + 30, "{counted:?}");
        assert_eq!(counted.retries + counted.over_budget, 500);
        assert_eq!(bad.calls.get() as u64, 500 + counted.retries);
    });
}

#[test]
fn an_attempt_that_takes_too_long_is_given_up_for_another() {
    on_a_worker(async {
        let (silent, good) = (Instance::silent().await, Instance::good().await);
        let rules = UpstreamRules {
            balance: Balance::RoundRobin,
            ..UpstreamRules::default()
        };
        let pool = pool(&[&silent, &good], rules);
        let rule = RetryRule {
            attempts: NonZeroU32::new(3).unwrap(),
            per_try: Some(Duration::from_millis(20)),
            ..rule()
        };
        for _ in 0..2 {
            assert_eq!(whole(&pool, again(&rule)).await.unwrap(), GrpcCode::Ok);
        }
        assert!(silent.calls.get() > 0);
    });
}

#[test]
fn a_full_upstream_refuses_at_once_and_a_queue_waits() {
    on_a_worker(async {
        let held: Rc<std::cell::RefCell<Vec<Call>>> = Rc::default();
        let slow = {
            let held = Rc::clone(&held);
            Instance::start(move |call| held.borrow_mut().push(call)).await
        };
        let load = |queue_max| UpstreamRules {
            load: Load {
                in_flight_max: 1,
                queue_max,
                queue_wait: support::PATIENCE,
                adaptive: None,
            },
            ..UpstreamRules::default()
        };
        let begin = |pool: &Rc<Upstreams>| {
            let pool = Rc::clone(pool);
            tokio::task::spawn_local(async move { whole(&pool, How::default()).await })
        };
        let refusing = pool(&[&slow], load(0));
        let first = begin(&refusing);
        while slow.calls.get() < 1 {
            tokio::task::yield_now().await;
        }
        let refused = whole(&refusing, How::default()).await.unwrap_err();
        assert_eq!(refused.code, GrpcCode::Unavailable);
        assert_eq!(refused.retry_after_seconds, Some(1));
        assert_eq!(refusing.counted(GAMES).refused, 1);
        held.take().into_iter().for_each(|c| c.answer("done"));
        first.await.unwrap().unwrap();
        let next = begin(&refusing);
        while slow.calls.get() < 2 {
            tokio::task::yield_now().await;
        }
        held.take().into_iter().for_each(|c| c.answer("done"));
        next.await.unwrap().unwrap();

        let waiting = pool(&[&slow], load(1));
        let (one, two) = (begin(&waiting), begin(&waiting));
        while slow.calls.get() < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slow.calls.get(), 3, "one of the two waits");
        held.take().into_iter().for_each(|c| c.answer("done"));
        while slow.calls.get() < 4 {
            tokio::task::yield_now().await;
        }
        held.take().into_iter().for_each(|c| c.answer("done"));
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
        assert_eq!(waiting.counted(GAMES).refused, 0);
    });
}

#[test]
fn calls_that_belong_together_stay_together() {
    on_a_worker(async {
        let instances = [
            Instance::good().await,
            Instance::good().await,
            Instance::good().await,
        ];
        let all: Vec<_> = instances.iter().collect();
        let rules = UpstreamRules {
            balance: Balance::Hash,
            ..UpstreamRules::default()
        };
        let fewer = pool(&all[..2], rules.clone());
        let pool = pool(&all, rules);
        let counts = || -> Vec<usize> { instances.iter().map(|i| i.calls.get()).collect() };
        let mut homes = Vec::new();
        for key in 0..60 {
            let how = How {
                hash: Some(key),
                ..How::default()
            };
            let mut of_key = Vec::new();
            for pool in [&pool, &pool, &fewer] {
                let before = counts();
                whole(pool, how).await.unwrap();
                let after = counts();
                of_key.push((0..3).find(|at| before[*at] != after[*at]).unwrap());
            }
            assert_eq!(of_key[0], of_key[1], "key {key}");
            // Without the third, only its own keys move.
            assert!(of_key[0] == 2 || of_key[2] == of_key[0], "key {key}");
            homes.push(of_key[0]);
        }
        for at in 0..3 {
            assert!(homes.iter().filter(|h| **h == at).count() > 8, "{homes:?}");
        }
    });
}

#[test]
fn instances_come_and_go_without_a_failed_call() {
    on_a_worker(async {
        let held: Rc<std::cell::RefCell<Vec<Call>>> = Rc::default();
        let leaving = {
            let held = Rc::clone(&held);
            Instance::start(move |call| held.borrow_mut().push(call)).await
        };
        let coming = Instance::good().await;
        let fleet = Fleet::new(1);
        let spec = spec(&[&leaving], UpstreamRules::default());
        let (timeouts, exec) = (Timeouts::default(), LocalExec::default());
        let pool = Upstreams::new(&fleet, std::slice::from_ref(&spec), &timeouts, &exec);
        let open = {
            let pool = Rc::clone(&pool);
            tokio::task::spawn_local(async move { whole(&pool, How::default()).await })
        };
        while leaving.calls.get() < 1 {
            tokio::task::yield_now().await;
        }
        let endpoint = Endpoint::host("games.internal", 50051);
        let next = Member::new(Location::Address(coming.address), &endpoint).unwrap();
        fleet
            .upstream(&spec)
            .publish(Members::new([Arc::new(next)]));
        for _ in 0..10 {
            assert_eq!(whole(&pool, How::default()).await.unwrap(), GrpcCode::Ok);
        }
        assert_eq!((leaving.calls.get(), coming.calls.get()), (1, 10));
        held.take().into_iter().for_each(|c| c.answer("to the end"));
        assert_eq!(open.await.unwrap().unwrap(), GrpcCode::Ok);
    });
}

#[test]
fn calls_that_wait_for_an_instance_that_goes_turn_to_another() {
    on_a_worker(async {
        // It accepts, and never says a word.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let coming = Instance::good().await;
        for protocol in [UpstreamProtocol::Http2, UpstreamProtocol::Http1] {
            let fleet = Fleet::new(1);
            let spec = Upstream {
                protocol,
                rules: UpstreamRules {
                    connections: Connections {
                        count_max: Some(1),
                        ..Connections::default()
                    },
                    ..UpstreamRules::default()
                },
                ..Upstream::new("games", vec![Endpoint::host(address.ip(), address.port())])
            };
            let timeouts = Timeouts {
                connect: Duration::from_secs(300),
                ..Timeouts::default()
            };
            let exec = LocalExec::default();
            let pool = Upstreams::new(&fleet, std::slice::from_ref(&spec), &timeouts, &exec);
            // With HTTP/1.1 the first one has the only connection, and the second waits.
            let calls: Vec<_> = (0..2)
                .map(|_| {
                    let pool = Rc::clone(&pool);
                    tokio::task::spawn_local(async move { call(&pool, How::default()).await })
                })
                .collect();
            let (first, _) = soon("a connection", silent.accept()).await.unwrap();
            // What is to wait does so by now: nobody else runs on this thread.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let next = Member::new(Location::Address(coming.address), &spec.endpoints[0]).unwrap();
            let members = Members::new([Arc::new(next)]);
            fleet.upstream(&spec).publish(members);
            match protocol {
                UpstreamProtocol::Http2 => {
                    for call in calls {
                        soon("an answer", call).await.unwrap().unwrap();
                    }
                }
                // The new instance speaks no HTTP/1.1: that they were sent there is enough.
                UpstreamProtocol::Http1 => {
                    let mut calls = calls.into_iter();
                    let (held, moved) = (calls.next().unwrap(), calls.next().unwrap());
                    assert!(soon("a failure", moved).await.unwrap().is_err());
                    assert!(!held.is_finished());
                    held.abort();
                }
            }
            drop(first);
        }
    });
}

#[test]
fn calls_from_before_bring_nobody_back() {
    on_a_worker(async {
        // The first call is held and ends well, late; those after it fail.
        let held: Rc<std::cell::RefCell<Vec<Call>>> = Rc::default();
        let flaky = {
            let held = Rc::clone(&held);
            let seen = Cell::new(0);
            Instance::start(move |mut call: Call| {
                seen.set(seen.get() + 1);
                if seen.get() == 1 {
                    return held.borrow_mut().push(call);
                }
                let head = Response::builder().header("grpc-status", "14").body(());
                call.respond.send_response(head.unwrap(), true).unwrap();
            })
            .await
        };
        let good = Instance::good().await;
        let rules = UpstreamRules {
            balance: Balance::RoundRobin,
            ..UpstreamRules::default()
        };
        let pool = pool(&[&flaky, &good], rules);
        let early = {
            let pool = Rc::clone(&pool);
            tokio::task::spawn_local(async move { whole(&pool, How::default()).await })
        };
        while flaky.calls.get() < 1 {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            whole(&pool, How::default()).await.unwrap();
        }
        assert_eq!(flaky.calls.get(), 6, "it is left out");
        held.take().into_iter().for_each(|c| c.answer("late"));
        assert_eq!(early.await.unwrap().unwrap(), GrpcCode::Ok);
        for _ in 0..20 {
            whole(&pool, How::default()).await.unwrap();
        }
        assert_eq!(flaky.calls.get(), 6, "and stays out");
    });
}

/// Beside the first one at once: no clock is needed to see who gets what.
const AT_ONCE: HedgeRule = HedgeRule {
    after: Duration::ZERO,
    attempts: NonZeroU32::MIN.saturating_add(1),
};

fn hedged(idempotent: bool) -> How<'static> {
    How {
        idempotent,
        hedge: Some(AT_ONCE),
        ..How::default()
    }
}

fn in_turn() -> UpstreamRules {
    UpstreamRules {
        balance: Balance::RoundRobin,
        ..UpstreamRules::default()
    }
}

#[test]
fn a_slow_call_is_made_elsewhere_too_and_the_loser_cancelled() {
    on_a_worker(async {
        let mut slow = Server::start().await;
        let silent = Instance {
            address: slow.address,
            calls: Rc::default(),
        };
        let good = Instance::good().await;
        let pool = pool(&[&silent, &good], in_turn());
        assert_eq!(whole(&pool, hedged(true)).await.unwrap(), GrpcCode::Ok);
        assert_eq!(good.calls.get(), 1);
        let loser = slow.next().await;
        let reason = soon("a reset", loser.cancelled()).await;
        assert_eq!(reason, h2::Reason::CANCEL);
        let counted = pool.counted(GAMES);
        assert_eq!(
            (counted.calls, counted.hedges, counted.hedges_won),
            (1, 1, 1)
        );
        assert_eq!(pool.in_flight(GAMES), 0);
    });
}

#[test]
fn what_may_not_be_sent_twice_is_never_hedged() {
    on_a_worker(async {
        let turn = Cell::new(0);
        // Answers after some of the worker's turns, in which a hedge would long have gone out.
        let one = Instance::start(move |call| {
            turn.set(turn.get() + 1);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                call.answer("good");
            });
        })
        .await;
        let other = Instance::good().await;
        let pool = pool(&[&one, &other], in_turn());
        for _ in 0..4 {
            whole(&pool, hedged(false)).await.unwrap();
        }
        assert_eq!(one.calls.get() + other.calls.get(), 4);
        assert_eq!(pool.counted(GAMES).hedges, 0);
    });
}

#[test]
fn a_hedge_that_fails_leaves_the_call_to_the_other() {
    on_a_worker(async {
        let failing = Instance::failing(GrpcCode::Unavailable, None).await;
        let good = Instance::good().await;
        let pool = pool(&[&failing, &good], in_turn());
        for _ in 0..4 {
            assert_eq!(whole(&pool, hedged(true)).await.unwrap(), GrpcCode::Ok);
        }
        // All fail: the last failure is the answer, and nobody is asked twice.
        let worse = Instance::failing(GrpcCode::Unavailable, None).await;
        let only_bad = self::pool(&[&failing, &worse], in_turn());
        let before = failing.calls.get() + worse.calls.get();
        let code = whole(&only_bad, hedged(true)).await.unwrap();
        assert_eq!(code, GrpcCode::Unavailable);
        assert_eq!(failing.calls.get() + worse.calls.get() - before, 2);
    });
}

#[test]
fn a_service_that_says_never_is_not_hedged_on() {
    on_a_worker(async {
        let failing = Instance::failing(GrpcCode::Unavailable, Some("-1")).await;
        let other = Instance::failing(GrpcCode::Unavailable, Some("-1")).await;
        let pool = pool(&[&failing, &other], in_turn());
        let long = HedgeRule {
            after: Duration::from_secs(3600),
            ..AT_ONCE
        };
        let how = How {
            hedge: Some(long),
            ..hedged(true)
        };
        assert_eq!(whole(&pool, how).await.unwrap(), GrpcCode::Unavailable);
        assert_eq!(failing.calls.get() + other.calls.get(), 1);
    });
}

#[test]
fn hedges_keep_to_the_budget() {
    on_a_worker(async {
        let one = Instance::good().await;
        let other = Instance::good().await;
        let rules = UpstreamRules {
            retry_budget: transom::config::model::RetryBudget {
                percent: 10,
                per_second_min: 0,
            },
            ..in_turn()
        };
        let pool = pool(&[&one, &other], rules);
        for _ in 0..100 {
            whole(&pool, hedged(true)).await.unwrap();
        }
        let counted = pool.counted(GAMES);
        assert!(counted.hedges <= 10, "{counted:?}");
        assert!(counted.over_budget > 0, "{counted:?}");
    });
}

#[test]
fn hedged_calls_leave_time_for_another_upstream() {
    on_a_worker(async {
        let mut silent = Server::start().await;
        let mut mute = Server::start().await;
        let instance = |server: &Server| Instance {
            address: server.address,
            calls: Rc::default(),
        };
        let pool = pool(&[&instance(&silent), &instance(&mute)], in_turn());
        let rule = RetryRule {
            attempts: NonZeroU32::MIN,
            per_try: Some(Duration::from_millis(50)),
            codes: vec![GrpcCode::Unavailable],
            idempotent: None,
        };
        let how = How {
            retry: Some(&rule),
            elsewhere: true,
            ..hedged(true)
        };
        let failure = soon("the end of both", whole(&pool, how))
            .await
            .unwrap_err();
        assert_eq!(failure.code, GrpcCode::DeadlineExceeded);
        for server in [&mut silent, &mut mute] {
            let left = server.next().await;
            let reason = soon("a reset", left.cancelled()).await;
            assert_eq!(reason, h2::Reason::CANCEL);
        }
    });
}
