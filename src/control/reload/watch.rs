//! Tells of changes in folders: by the kernel's word, and by looking now and then where it has none
//! (network file systems, too many watches).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::limits::{WATCH_QUIET, WATCH_QUIET_MAX};

use super::inputs::Inputs;

/// The folders of some inputs, watched until it is dropped.
pub(super) struct Watch {
    told: Arc<Notify>,
    poll: Duration,
    /// `None` when the kernel gives no watches at all.
    watcher: Option<notify::RecommendedWatcher>,
    folders: Vec<(PathBuf, bool)>,
}

impl Watch {
    /// Looks by itself after each `poll`.
    pub(super) fn new(poll: Duration) -> Self {
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
            tracing::warn!(%error, poll = ?poll, "files can't be watched: looking now and then");
        }
        Self {
            told,
            poll,
            watcher: watcher.ok(),
            folders: Vec::new(),
        }
    }

    /// Watches the folders of `inputs`, and no others.
    pub(super) fn follow(&mut self, inputs: &Inputs) {
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

    /// Resolves when something may have changed, once it has been quiet for a moment: whoever writes
    /// several files, or one in pieces, is let finish. Dropping it loses nothing.
    pub(super) async fn changed(&self) {
        if tokio::time::timeout(self.poll, self.told.notified())
            .await
            .is_err()
        {
            return;
        }
        let quiet = async {
            while tokio::time::timeout(WATCH_QUIET, self.told.notified())
                .await
                .is_ok()
            {}
        };
        tokio::time::timeout(WATCH_QUIET_MAX, quiet).await.ok();
    }
}
