//! How much an upstream is given at once: places shared by all workers, and a queue that is short in
//! number and in time.
//!
//! Workers take places in handfuls and keep a few, so that most calls touch nothing shared. While
//! somebody waits, whoever is done gives its place to the queue instead, first come first served.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::config::model::Load;

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    waiting: AtomicUsize,
    rule: Load,
    /// What a worker takes at once, and keeps.
    handful: usize,
}

impl Places {
    pub(super) fn new(rule: &Load, workers: usize) -> Self {
        Self {
            free: Semaphore::new(rule.in_flight_max.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            // An eighth of the places at most lies about unused, a handful with each worker.
            handful: rule.in_flight_max / workers.max(1).saturating_mul(8),
            rule: rule.clone(),
        }
    }

    /// Calls that wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

/// Why a call gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// As many wait already as may.
    Queue,
    /// It has waited for as long as it may.
    Waited,
}

/// One worker's hand in the places.
#[derive(Debug)]
pub(super) struct Breaker {
    places: Arc<Places>,
    kept: Cell<usize>,
    refused: Cell<u64>,
}

impl Breaker {
    pub(super) fn new(places: Arc<Places>) -> Rc<Self> {
        Rc::new(Self {
            places,
            kept: Cell::new(0),
            refused: Cell::new(0),
        })
    }

    /// Calls of this worker that got no place.
    pub(super) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// A place for one call, at once when there is one. Dropping the future leaves the queue.
    pub(super) async fn enter(self: &Rc<Self>) -> Result<Place, Full> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        // Boxed: it is seldom, and would be part of every call's future.
        let entered = Box::pin(self.wait()).await;
        if entered.is_err() {
            self.refused.set(self.refused.get().saturating_add(1));
        }
        entered
    }

    fn try_enter(self: &Rc<Self>) -> Option<Place> {
        if let Some(left) = self.kept.get().checked_sub(1) {
            self.kept.set(left);
            return Some(Place(Rc::clone(self)));
        }
        let places = &*self.places;
        if places.is_wanted() {
            return None;
        }
        // A whole handful, or else just the one that is needed.
        let handful = places.handful.max(1);
        for count in [handful, 1] {
            let permits = u32::try_from(count).unwrap_or(u32::MAX);
            if let Ok(taken) = places.free.try_acquire_many(permits) {
                taken.forget();
                self.kept.set(count.saturating_sub(1));
                return Some(Place(Rc::clone(self)));
            }
        }
        None
    }

    async fn wait(self: &Rc<Self>) -> Result<Place, Full> {
        let places = &*self.places;
        let ahead = places.waiting.fetch_add(1, Ordering::AcqRel);
        let _leaving = Leaving(places);
        if ahead >= places.rule.queue_max {
            return Err(Full::Queue);
        }
        match tokio::time::timeout(places.rule.queue_wait, places.free.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(Place(Rc::clone(self)))
            }
            Ok(Err(_)) | Err(_) => Err(Full::Waited),
        }
    }

    fn leave(&self) {
        let kept = self.kept.get().saturating_add(1);
        let places = &*self.places;
        let keep = if places.is_wanted() {
            0
        } else if kept > places.handful.saturating_mul(2) {
            places.handful
        } else {
            kept
        };
        self.kept.set(keep);
        if kept > keep {
            places.free.add_permits(kept.saturating_sub(keep));
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.places.free.add_permits(self.kept.get());
    }
}

/// One of those who wait, until it is dropped.
struct Leaving<'p>(&'p Places);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One call's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Rc<Breaker>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rule(in_flight: usize, queue: usize) -> Load {
        Load {
            in_flight_max: in_flight,
            queue_max: queue,
            queue_wait: Duration::from_secs(1),
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
}
