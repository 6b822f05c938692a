//! Where accounts, certificates and their courses are kept, possibly by several processes at once.
//!
//! Every record has a version, and a write says which one it goes by: who has been overtaken is told
//! so and changes nothing. A lease keeps others from a piece of work; its token, which only grows,
//! keeps out who had it before and hasn't noticed the loss. A back end passes `conformance`; the
//! folder is the one that there is.

mod folder;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod memory;

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use zeroize::Zeroizing;

pub use folder::Folder;

/// Which state of a record: means something to its back end alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Box<str>);

/// What is kept under a key.
#[derive(Clone)]
pub struct Record {
    pub bytes: Zeroizing<Vec<u8>>,
    pub version: Version,
}

/// Says that a write is part of leased work. A later lease of the same name makes it void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub name: Box<str>,
    /// Greater than that of all leases of the name before.
    pub token: u64,
}

/// A lease that is held. Dropping it gives it back.
pub trait Lease: Send {
    fn fence(&self) -> &Fence;
}

/// What can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("another process has changed {key} meanwhile")]
    Changed { key: Box<str> },
    #[error("{key} isn't ours to change any more: another process works on {name}")]
    Fenced { key: Box<str>, name: Box<str> },
    #[error("{key:?} can't be the name of a record")]
    Key { key: Box<str> },
    #[error("{place}: {error}{}", way_out(.error))]
    Failed { place: String, error: io::Error },
}

/// A back end. Keys and names of leases are separate; both are file names without a dot in front.
///
/// Dropping one of the futures leaves open whether the thing is done, and never leaves half of it.
pub trait Storage: Send + Sync {
    type Lease: Lease;

    /// What is kept under a key, whole.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Record>, StorageError>> + Send;

    /// Keeps `bytes` for good, if the record is at the version `seen` (`None`: isn't there) and nobody
    /// has had the lease since. Returns the new version.
    fn put_if(
        &self,
        key: &str,
        seen: Option<&Version>,
        bytes: Zeroizing<Vec<u8>>,
        fence: Option<&Fence>,
    ) -> impl Future<Output = Result<Version, StorageError>> + Send;

    /// Takes the record away under the same conditions.
    fn delete_if(
        &self,
        key: &str,
        seen: &Version,
        fence: Option<&Fence>,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Keys that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, StorageError>> + Send;

    /// Waits until the record is at another version than `seen`. A change before the call counts as
    /// well, so none is missed.
    fn changed(
        &self,
        key: &str,
        seen: Option<&Version>,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Keeps others from the work `name` for as long as it is held, at most `ttl`. `None`: another has
    /// it.
    fn lease(
        &self,
        name: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Option<Self::Lease>, StorageError>> + Send;

    /// Holds it for `ttl` from now. `None`: another has got it meanwhile.
    fn renew(
        &self,
        lease: Self::Lease,
        ttl: Duration,
    ) -> impl Future<Output = Result<Option<Self::Lease>, StorageError>> + Send;
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most hold private keys.
        f.debug_struct("Record")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What to do about it.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => ": make room there",
        io::ErrorKind::QuotaExceeded => ": raise the quota, or make room there",
        io::ErrorKind::ReadOnlyFilesystem => ": mount it so that it can be written to",
        io::ErrorKind::PermissionDenied => {
            ": it must belong to the user that the gateway runs as, who must be allowed to write to it"
        }
        _ => "",
    }
}

impl StorageError {
    /// Another process was there first.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Fenced { .. })
    }
}
