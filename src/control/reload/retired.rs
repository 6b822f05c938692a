//! Generations that have been replaced, until nobody uses them.
//!
//! Whoever lets go of a generation last frees it, which takes as long as a part of building it: a
//! worker would do that between two requests. So they are held here, and freed where they were built.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::RETIRED_LOOK;
use crate::live::Live;

use super::when::at;

/// Replaced generations, each with its last reference.
#[derive(Debug, Default)]
pub struct Retired {
    held: Vec<Arc<Live>>,
    /// When to look whether somebody still uses them.
    look: Option<Instant>,
}

impl Retired {
    pub(super) fn add(&mut self, replaced: Arc<Live>) {
        self.held.push(replaced);
        self.look_after(Duration::ZERO);
    }

    /// Resolves when it is time to look; never when there is nothing.
    pub(super) async fn due(&self) {
        at(self.look).await;
    }

    /// Those that nobody else has: nobody can have them again.
    pub(super) fn unused(&mut self) -> Vec<Arc<Live>> {
        let all = std::mem::take(&mut self.held);
        let (unused, held) = all
            .into_iter()
            .partition(|live| Arc::strong_count(live) == 1);
        self.held = held;
        self.look = None;
        if !self.held.is_empty() {
            self.look_after(RETIRED_LOOK);
        }
        unused
    }

    fn look_after(&mut self, wait: Duration) {
        self.look = Some(Instant::now() + wait);
    }
}
