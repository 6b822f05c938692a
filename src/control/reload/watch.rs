//! Tells of changes in folders: by the kernel's word, and by looking now and then where it has none
//! (network file systems, too many watches).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{WATCH_QUIET, WATCH_QUIET_MAX};

use super::inputs::Inputs;
use super::when::at;

/// The folders of some inputs, watched until it is dropped.
pub(super) struct Watch {
    told: Arc<Notify>,
    poll: Duration,
    /// When to look by itself.
    look: Option<Instant>,
    writing: Option<Writing>,
    /// `None` when the kernel gives no watches at all.
    watcher: Option<notify::RecommendedWatcher>,
    folders: Vec<(PathBuf, bool)>,
}

/// Somebody writes.
#[derive(Clone, Copy)]
struct Writing {
    quiet: Instant,
    at_most: Instant,
}

impl Writing {
    fn begin() -> Self {
        Self {
            quiet: Instant::now() + WATCH_QUIET,
            at_most: Instant::now() + WATCH_QUIET_MAX,
        }
    }

    fn goes_on(self) -> Self {
        Self {
            quiet: Instant::now() + WATCH_QUIET,
            ..self
        }
    }
}

impl Watch {
    pub(super) fn new() -> Self {
        let told = Arc::new(Notify::new());
        let tell = Arc::clone(&told);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too.
            let is_change = match event {
                Ok(event) => !matches!(event.kind, EventKind::Access(_)),
                Err(_) => true,
            };
            if is_change {
                tell.notify_one();
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files can't be watched: looking now and then (reload.poll)");
        }
        Self {
            told,
            poll: Duration::ZERO,
            look: None,
            writing: None,
            watcher: watcher.ok(),
            folders: Vec::new(),
        }
    }

    /// Watches the folders of `inputs`, and no others, and looks by itself after each `poll`.
    pub(super) fn follow(&mut self, inputs: &Inputs, poll: Duration) {
        self.poll = poll;
        self.look_later();
        let folders: Vec<_> = inputs.watched().collect();
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for (old, _) in self.folders.drain(..) {
            // A folder that is gone has lost its watch already.
            watcher.unwatch(&old).ok();
        }
        for (folder, deep) in &folders {
            let mode = match deep {
                true => RecursiveMode::Recursive,
                false => RecursiveMode::NonRecursive,
            };
            if let Err(error) = watcher.watch(folder, mode) {
                tracing::debug!(folder = %folder.display(), %error, "folder can't be watched");
            }
        }
        self.folders = folders;
    }

    fn look_later(&mut self) {
        self.look = Instant::now().checked_add(self.poll);
    }

    /// Resolves when something may have changed, once it has been quiet for a moment: whoever writes
    /// several files, or one in pieces, is let finish. Dropping it loses nothing: what it has been told,
    /// and since when it waits, is kept here.
    pub(super) async fn changed(&mut self) {
        loop {
            let until = match self.writing {
                Some(writing) => Some(writing.quiet.min(writing.at_most)),
                None => self.look,
            };
            tokio::select! {
                () = self.told.notified() => {
                    let writing = self.writing;
                    self.writing = Some(writing.map_or_else(Writing::begin, Writing::goes_on));
                }
                () = at(until) => break,
            }
        }
        self.writing = None;
        self.look_later();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives up waiting again and again, as whoever has other things to do meanwhile.
    async fn interrupted(watch: &mut Watch, each: Duration) -> Duration {
        let begun = Instant::now();
        while tokio::time::timeout(each, watch.changed()).await.is_err() {}
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_not_forgotten_when_other_things_come_between() {
        let mut watch = Watch::new();
        watch.follow(&Inputs::default(), Duration::from_secs(5));
        for each in [7, 60, 1000] {
            watch.told.notify_one();
            let waited = interrupted(&mut watch, Duration::from_millis(each)).await;
            assert!(
                waited >= WATCH_QUIET && waited < WATCH_QUIET * 2,
                "{waited:?}"
            );
        }
        // Nor is the time to look by itself.
        let waited = interrupted(&mut watch, Duration::from_secs(1)).await;
        assert_eq!(waited.as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_stops_writing_is_not_waited_for_without_end() {
        let mut watch = Watch::new();
        watch.follow(&Inputs::default(), Duration::from_secs(3600));
        let told = Arc::clone(&watch.told);
        let begun = Instant::now();
        let writer = tokio::spawn(async move {
            loop {
                told.notify_one();
                tokio::time::sleep(WATCH_QUIET / 2).await;
            }
        });
        watch.changed().await;
        writer.abort();
        assert!(
            begun.elapsed() <= WATCH_QUIET_MAX + WATCH_QUIET,
            "{:?}",
            begun.elapsed()
        );
    }
}
