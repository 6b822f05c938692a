//! How reloading has gone, for metrics, views and whoever waits for a reload.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::model::UpstreamId;
use crate::limits::RELOADS_KEPT_MAX;
use crate::live::Changes;
use crate::snapshot::Generation;

use super::super::agree::Version;
use super::super::kept::ContentHash;
use super::answers::Whence;

/// How reloading has gone.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The number of the last wish that a finished reload was begun after.
    pub answered: u64,
    pub generation: Option<Generation>,
    /// When that began to serve.
    pub since: Option<SystemTime>,
    pub succeeded: u64,
    pub failed: u64,
    /// Of the last reload; `None` when it succeeded. The words of `transom check`.
    pub error: Option<Arc<str>>,
    /// What the last one that succeeded has changed.
    pub changes: Changes,
    /// The same of the listeners, a line for each.
    pub listeners: Vec<String>,
    /// What the generation was built from, in the order of the config.
    pub sources: Vec<SourceStatus>,
    /// The last ones, the newest first.
    pub history: VecDeque<Arc<Past>>,
}

/// A reload that is over.
#[derive(Clone, Debug)]
pub struct Past {
    pub at: SystemTime,
    /// What served after it.
    pub generation: Option<Generation>,
    /// Why it failed.
    pub error: Option<Arc<str>>,
    /// What it changed, unless it failed.
    pub changes: Changes,
    pub listeners: Vec<String>,
}

impl Status {
    /// A new generation serves; what becomes of the listeners is told next, see [`Self::listen`].
    pub(super) fn succeed(
        &mut self,
        generation: Generation,
        changes: Changes,
        sources: Vec<SourceStatus>,
    ) {
        let now = SystemTime::now();
        self.generation = Some(generation);
        self.since = Some(now);
        self.succeeded = self.succeeded.saturating_add(1);
        self.error = None;
        self.sources = sources;
        self.remember(Past {
            at: now,
            generation: self.generation,
            error: None,
            changes: changes.clone(),
            listeners: Vec::new(),
        });
        self.changes = changes;
        self.listeners = Vec::new();
    }

    /// The listeners are those of the new generation.
    pub(super) fn listen(&mut self, changed: Vec<String>) {
        if let Some(past) = self.history.front_mut() {
            Arc::make_mut(past).listeners.clone_from(&changed);
        }
        self.listeners = changed;
    }

    /// The old generation serves on.
    pub(super) fn fail(&mut self, why: Arc<str>) {
        self.failed = self.failed.saturating_add(1);
        self.error = Some(Arc::clone(&why));
        self.remember(Past {
            at: SystemTime::now(),
            generation: self.generation,
            error: Some(why),
            changes: Changes::default(),
            listeners: Vec::new(),
        });
    }

    fn remember(&mut self, past: Past) {
        self.history.push_front(Arc::new(past));
        self.history.truncate(RELOADS_KEPT_MAX);
    }
}

/// A source of descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// `protos proto/`, `file games.binpb`, `reflection games`
    pub name: String,
    /// The upstream, of reflection.
    pub upstream: Option<UpstreamId>,
    /// Of what is served; `None` when nothing of it is.
    pub hash: Option<ContentHash>,
    pub state: SourceState,
    /// What its instances told the last time, the one that was taken first.
    pub versions: Vec<Version>,
    /// Why it isn't served from what it tells now.
    pub refused: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// A file or folder.
    Read,
    /// An upstream whose descriptors are not there.
    Awaited,
    Reflection(Whence),
}

impl SourceState {
    /// One word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Awaited => "awaited",
            Self::Reflection(Whence::Told) => "told",
            Self::Reflection(Whence::Former) => "told_by_former_endpoints",
            Self::Reflection(Whence::Kept(_)) => "last_good_copy",
        }
    }
}
