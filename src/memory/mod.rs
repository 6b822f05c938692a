//! What the process holds in memory for its clients, and what it does when memory runs short: bodies
//! have a budget, and as the process comes near its limit it spares, sheds and refuses.
//!
//! Shared by all threads; workers look at one number that seldom changes, and count what is large alone.

mod budget;
mod guard;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

pub use budget::{Budget, Exhausted, Held};
pub use guard::{Level, next};
pub use source::{Reading, Source};

/// The state of the process.
#[derive(Debug, Default)]
pub struct Memory {
    budget: Arc<Budget>,
    level: AtomicU8,
    used: AtomicU64,
    /// Zero where there is none.
    limit: AtomicU64,
}

impl Memory {
    /// What bodies and messages may take.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How short memory is.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::of_number(self.level.load(Ordering::Relaxed))
    }

    /// What was read last: bytes in use, and the limit if there is one.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        let limit = self.limit.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed);
        (limit > 0).then_some(Reading { used, limit })
    }

    /// Notes a reading and what follows from it. Gives the level before.
    pub fn set(&self, reading: Option<Reading>, level: Level) -> Level {
        let Reading { used, limit } = reading.unwrap_or(Reading { used: 0, limit: 0 });
        self.used.store(used, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        Level::of_number(self.level.swap(level.number(), Ordering::Relaxed))
    }
}
