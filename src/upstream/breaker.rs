//! How much an upstream is given at once: places shared by all workers, and a queue that is short in
//! number and in time.
//!
//! Workers take places in handfuls and keep a few, so that most calls touch nothing shared. While
//! somebody waits, whoever is done gives its place to the queue instead, first come first served.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::model::Load;

use super::gradient::{CLASSES, Gradient, Seen, class};

#[cfg(test)]
mod tests;

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    waiting: AtomicUsize,
    rule: Load,
    /// Where the number of places changes.
    moving: Option<Moving>,
    /// What a worker takes at once, and keeps.
    handful: usize,
}

/// What the number of places follows from, and how it is changed.
#[derive(Debug)]
struct Moving {
    /// Places now.
    limit: AtomicUsize,
    /// Of those that are taken, how many are no more once they are left.
    surplus: AtomicUsize,
    /// The most that were taken since the last look.
    peak: AtomicUsize,
    /// Answers since then, by the time that they took.
    times: Box<[AtomicU32]>,
    gradient: Mutex<Gradient>,
}

impl Places {
    pub(super) fn new(rule: &Load, workers: usize) -> Self {
        let most = rule.in_flight_max.min(Semaphore::MAX_PERMITS);
        let gradient = rule.adaptive.as_ref().map(|a| Gradient::new(a, most));
        let moving = gradient.map(|gradient| Moving {
            limit: AtomicUsize::new(gradient.limit()),
            surplus: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            times: std::iter::repeat_with(AtomicU32::default)
                .take(CLASSES)
                .collect(),
            gradient: Mutex::new(gradient),
        });
        let limit = moving.as_ref().map(|m| m.limit.load(Ordering::Relaxed));
        Self {
            free: Semaphore::new(limit.unwrap_or(most)),
            waiting: AtomicUsize::new(0),
            handful: match moving {
                // There may be few, and whoever has some in store has more than its share.
                Some(_) => 0,
                // An eighth of the places at most lies about unused, a handful with each worker.
                None => most / workers.max(1).saturating_mul(8),
            },
            rule: rule.clone(),
            moving,
        }
    }

    /// Whether their number follows from the answers.
    pub(super) fn adapts(&self) -> bool {
        self.moving.is_some()
    }

    /// Notes how long an answer took, where that counts.
    pub(super) fn note_time(&self, time: Duration) {
        let moving = self.moving.as_ref();
        if let Some(class) = moving.and_then(|m| m.times.get(class(time))) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes as many places as the answers of late allow. `None` where the number is fixed.
    pub(super) fn adapt(&self, now: Duration, jitter: f64) -> Option<Adapted> {
        let moving = self.moving.as_ref()?;
        let mut times = [0; CLASSES];
        for (count, class) in times.iter_mut().zip(&moving.times) {
            *count = class.swap(0, Ordering::Relaxed);
        }
        let in_flight = self.taken(moving);
        let mut gradient = moving
            .gradient
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let seen = Seen {
            times: &times,
            in_flight,
            peak: moving
                .peak
                .swap(in_flight, Ordering::Relaxed)
                .max(in_flight),
        };
        gradient.look(now, seen, jitter);
        self.resize(moving, gradient.limit());
        Some(Adapted {
            limit: gradient.limit(),
            alone: gradient.alone(),
        })
    }

    /// The number of places, and what answers take when nothing waits, where these change.
    pub(super) fn adapted(&self) -> Option<Adapted> {
        let moving = self.moving.as_ref()?;
        let gradient = moving
            .gradient
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(Adapted {
            limit: gradient.limit(),
            alone: gradient.alone(),
        })
    }

    fn taken(&self, moving: &Moving) -> usize {
        let all = moving.limit.load(Ordering::Relaxed);
        let all = all.saturating_add(moving.surplus.load(Ordering::Relaxed));
        all.saturating_sub(self.free.available_permits())
    }

    /// Called by one at a time, who holds the gradient.
    fn resize(&self, moving: &Moving, limit: usize) {
        let before = moving.limit.swap(limit, Ordering::Relaxed);
        if limit < before {
            let fewer = before - limit;
            let gone = self.free.forget_permits(fewer);
            moving
                .surplus
                .fetch_add(fewer.saturating_sub(gone), Ordering::Relaxed);
        } else if limit > before {
            // Those who should have gone may stay.
            let more = limit - before;
            let take = |surplus: usize| Some(surplus.saturating_sub(more));
            let surplus = moving
                .surplus
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .unwrap_or_default();
            self.free.add_permits(more.saturating_sub(surplus));
        }
    }

    /// A place that is left, for whoever comes next.
    fn give_back(&self, count: usize) {
        let mut count = count;
        if let Some(moving) = &self.moving {
            let take = |surplus: usize| Some(surplus.saturating_sub(count));
            let surplus = moving
                .surplus
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .unwrap_or_default();
            count = count.saturating_sub(surplus);
        }
        self.free.add_permits(count);
    }

    fn note_peak(&self) {
        if let Some(moving) = &self.moving {
            moving.peak.fetch_max(self.taken(moving), Ordering::Relaxed);
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

/// Where the number of places follows from the answers: how many there are, and how long answers take
/// when nothing waits, once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adapted {
    pub limit: usize,
    pub alone: Option<Duration>,
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
                places.note_peak();
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
                places.note_peak();
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
            places.give_back(kept.saturating_sub(keep));
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.places.give_back(self.kept.get());
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
