use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

fn rule(in_flight: usize, queue: usize) -> Load {
    Load {
        in_flight_max: in_flight,
        queue_max: queue,
        queue_wait: Duration::from_secs(1),
        adaptive: None,
    }
}

fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn no_more_than_the_limit_are_under_way() {
    paused(async {
        let places = Arc::new(Places::new(&rule(2, 1), 1));
        let breaker = Breaker::new(Arc::clone(&places));
        let first = breaker.enter().await.unwrap();
        let _second = breaker.enter().await.unwrap();
        let (third, fourth) = tokio::join!(breaker.enter(), breaker.enter());
        assert_eq!(third.unwrap_err(), Full::Waited);
        assert_eq!(fourth.unwrap_err(), Full::Queue);
        assert_eq!(breaker.refused(), 2);
        assert!(!places.is_wanted());
        drop(first);
        breaker.enter().await.unwrap();
    });
}

#[test]
fn a_place_that_comes_free_goes_to_who_waits_whichever_worker_it_is() {
    paused(async {
        let places = Arc::new(Places::new(&rule(1, 10), 2));
        let (one, other) = (Breaker::new(Arc::clone(&places)), Breaker::new(places));
        let held = one.enter().await.unwrap();
        let (entered, ()) = tokio::join!(other.enter(), async {
            tokio::task::yield_now().await;
            drop(held);
        });
        entered.unwrap();
    });
}

#[test]
fn who_leaves_the_queue_takes_nothing_along() {
    paused(async {
        let places = Arc::new(Places::new(&rule(1, 1), 1));
        let breaker = Breaker::new(Arc::clone(&places));
        let held = breaker.enter().await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(1), breaker.enter()).await;
        assert!(waited.is_err());
        assert!(!places.is_wanted());
        drop(held);
        breaker.enter().await.unwrap();
    });
}

proptest! {
    /// Whatever the order in which workers take and leave, the limit holds and no place is lost.
    #[test]
    fn places_are_neither_lost_nor_made(limit in 1usize..200, workers in 1usize..5, steps in prop::collection::vec((any::<bool>(), 0usize..5), 0..400)) {
        let places = Arc::new(Places::new(&rule(limit, 0), workers));
        let hands: Vec<_> = (0..workers).map(|_| Breaker::new(Arc::clone(&places))).collect();
        let mut held: Vec<Vec<Place>> = hands.iter().map(|_| Vec::new()).collect();
        for (take, who) in steps {
            let who = who % workers;
            if take {
                held[who].extend(hands[who].try_enter());
            } else {
                held[who].pop();
            }
            prop_assert!(held.iter().map(Vec::len).sum::<usize>() <= limit);
        }
        drop(held);
        drop(hands);
        prop_assert_eq!(places.free.available_permits(), limit);
    }

    /// One worker alone can use nearly all places: what the others keep is an eighth each way.
    #[test]
    fn little_lies_about(limit in 1usize..500, workers in 1usize..5) {
        let places = Arc::new(Places::new(&rule(limit, 0), workers));
        let hands: Vec<_> = (0..workers).map(|_| Breaker::new(Arc::clone(&places))).collect();
        for hand in &hands {
            drop((0..limit).map_while(|_| hand.try_enter()).collect::<Vec<_>>());
        }
        let taken: Vec<_> = (0..limit).map_while(|_| hands[0].try_enter()).collect();
        prop_assert!(taken.len() * 4 >= limit * 3, "{} of {limit}", taken.len());
    }
}

/// A call of the simulation, in milliseconds.
#[derive(Clone, Debug)]
struct Planned {
    worker: usize,
    comes: u64,
    takes: u64,
    /// Its client goes after so long in the queue.
    goes: Option<u64>,
}

prop_compose! {
    fn planned()(
        worker in 0usize..4, comes in 0u64..3000, takes in 1u64..1500, goes in prop::option::of(1u64..1500),
    ) -> Planned {
        Planned { worker, comes, takes, goes }
    }
}

/// What happens in a simulation.
#[derive(Default)]
struct Seen {
    in_flight: Cell<usize>,
    /// Those who wait, by number, in the order in which they came.
    queue: RefCell<Vec<usize>>,
}

const QUEUE_WAIT: u64 = 1000;

async fn call(number: usize, plan: Planned, breaker: Rc<Breaker>, seen: Rc<Seen>, limit: usize) {
    tokio::time::sleep(Duration::from_millis(plan.comes)).await;
    let came = Instant::now();
    let places = Arc::clone(&breaker.places);
    let entering = async {
        let mut entering = std::pin::pin!(breaker.enter());
        let first = futures_util::poll!(entering.as_mut());
        match first {
            std::task::Poll::Ready(entered) => entered,
            std::task::Poll::Pending => {
                seen.queue.borrow_mut().push(number);
                entering.await
            }
        }
    };
    let patience = Duration::from_millis(plan.goes.unwrap_or(u64::MAX / 2));
    let entered = tokio::time::timeout(patience, entering).await;
    let waited = came.elapsed();
    let has_waited = {
        let mut queue = seen.queue.borrow_mut();
        let at = queue.iter().position(|n| *n == number);
        if let Some(at) = at {
            queue.remove(at);
            // First come, first served.
            assert!(
                at == 0 || !matches!(entered, Ok(Ok(_))),
                "{number} passed others"
            );
        }
        at.is_some()
    };
    match entered {
        Ok(Ok(place)) => {
            assert!(waited <= Duration::from_millis(QUEUE_WAIT));
            assert!(has_waited || waited.is_zero());
            seen.in_flight.set(seen.in_flight.get() + 1);
            assert!(seen.in_flight.get() <= limit);
            tokio::time::sleep(Duration::from_millis(plan.takes)).await;
            seen.in_flight.set(seen.in_flight.get() - 1);
            drop(place);
        }
        Ok(Err(Full::Queue)) => {
            assert!(waited.is_zero());
            assert!(seen.queue.borrow().len() >= places.rule.queue_max);
        }
        Ok(Err(Full::Waited)) => {
            assert_eq!(waited, Duration::from_millis(QUEUE_WAIT));
            assert_eq!(
                places.free.available_permits(),
                0,
                "it waited beside a free place"
            );
        }
        Err(_) => assert_eq!(waited, patience),
    }
}

proptest! {
    /// In simulated time, with clients that go away: the limits hold, whoever waits is served in turn,
    /// nobody waits in vain while a place is free, and in the end all places are back.
    #[test]
    fn the_queue_is_fair_and_loses_nothing(
        calls in prop::collection::vec(planned(), 1..60), limit in 1usize..6, queue in 0usize..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let rule = Load { queue_wait: Duration::from_millis(QUEUE_WAIT), ..rule(limit, queue) };
        // So few places that workers keep none.
        let places = Arc::new(Places::new(&rule, 4));
        let hands: Vec<_> = (0..4).map(|_| Breaker::new(Arc::clone(&places))).collect();
        let (seen, tasks) = (Rc::new(Seen::default()), tokio::task::LocalSet::new());
        tasks.block_on(&runtime, async {
            let mut all = tokio::task::JoinSet::new();
            for (number, plan) in calls.into_iter().enumerate() {
                let breaker = Rc::clone(&hands[plan.worker]);
                all.spawn_local(call(number, plan, breaker, Rc::clone(&seen), limit));
            }
            while let Some(ended) = all.join_next().await {
                ended.unwrap();
            }
        });
        prop_assert_eq!(seen.in_flight.get(), 0);
        prop_assert_eq!(places.waiting(), 0);
        drop(hands);
        prop_assert_eq!(places.free.available_permits(), limit);
    }
}

fn adaptive(most: usize) -> Places {
    let rule = Load {
        adaptive: Some(crate::config::model::Adaptive {
            in_flight_min: 1,
            ..Default::default()
        }),
        ..rule(most, 0)
    };
    Places::new(&rule, 4)
}

#[test]
fn fewer_places_are_there_once_those_who_have_them_leave() {
    let places = Arc::new(adaptive(64));
    let moving = places.moving.as_ref().unwrap();
    let breaker = Breaker::new(Arc::clone(&places));
    let mut taken: Vec<_> = (0..64).map(|_| breaker.try_enter().unwrap()).collect();
    assert!(breaker.try_enter().is_none());
    places.resize(moving, 10);
    taken.truncate(10);
    assert!(breaker.try_enter().is_none());
    taken.pop();
    assert!(breaker.try_enter().is_some());
    places.resize(moving, 64);
    let more: Vec<_> = std::iter::from_fn(|| breaker.try_enter()).collect();
    assert_eq!(taken.len() + more.len(), 64);
}

proptest! {
    #[test]
    fn however_places_come_and_go_there_are_as_many_as_may_be(
        steps in prop::collection::vec((0..3_u8, 1..100_usize), 1..200),
    ) {
        let places = Arc::new(adaptive(100));
        let moving = places.moving.as_ref().unwrap();
        let workers = [Breaker::new(Arc::clone(&places)), Breaker::new(Arc::clone(&places))];
        let mut taken = Vec::new();
        for (what, n) in steps {
            match what {
                0 => {
                    let limit = moving.limit.load(Ordering::Relaxed);
                    let before = taken.len();
                    taken.extend(workers[n % 2].try_enter());
                    assert!(taken.len() == before || taken.len() <= limit);
                    assert!(taken.len() > before || before >= limit);
                }
                1 if !taken.is_empty() => drop(taken.swap_remove(n % taken.len())),
                1 => {}
                _ => places.resize(moving, n),
            }
            assert_eq!(places.taken(moving), taken.len());
        }
        let limit = moving.limit.load(Ordering::Relaxed);
        drop(taken);
        assert_eq!(places.free.available_permits(), limit);
        assert_eq!(moving.surplus.load(Ordering::Relaxed), 0);
    }
}
