//! One published value of each kind: built whole by the control plane, loaded by workers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// Counts publications of one value, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// The published value. Publishing takes only a fully built one.
#[derive(Debug)]
pub struct Snapshot<T> {
    value: ArcSwap<T>,
    changed: watch::Sender<Generation>,
}

impl<T> Snapshot<T> {
    #[must_use]
    pub fn new(value: Arc<T>) -> Self {
        Self {
            value: ArcSwap::new(value),
            changed: watch::Sender::new(Generation(1)),
        }
    }

    /// The value now. An `Arc`, not a guard: it may be kept across an await.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// How many have been published.
    #[must_use]
    pub fn generation(&self) -> Generation {
        *self.changed.borrow()
    }

    /// Swaps the value in and wakes every subscriber.
    pub fn publish(&self, value: Arc<T>) -> Generation {
        self.value.store(value);
        let mut generation = Generation(0);
        self.changed.send_modify(|g| {
            g.0 = g.0.saturating_add(1);
            generation = *g;
        });
        generation
    }

    /// Told of each publication. Dropping it unsubscribes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Generation> {
        self.changed.subscribe()
    }
}
