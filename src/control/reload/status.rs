//! How reloading has gone, for metrics, views and whoever waits for a reload.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::model::UpstreamId;
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
