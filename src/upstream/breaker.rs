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

#[cfg(test)]
mod tests;

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

    /// A place, if there is one without waiting.
    pub(super) fn try_enter(self: &Rc<Self>) -> Option<Place> {
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
