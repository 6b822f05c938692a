//! The storage in a folder that nobody else may read, in which every file is replaced whole.
//!
//! Writers take turns by a lock of the kernel's, which goes with the process. A file's version is made
//! of its inode, size and time of change, which every put moves on. A lease is a file that holds its
//! token and is locked too: it ends with its process at once, and at its time when the process hangs.

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Fence, Lease, Record, Storage, StorageError, Version};
use crate::limits::{ACME_STORAGE_POLL, ACME_STORED_BYTES_MAX};

/// Held by whoever writes.
const GUARD: &str = ".guard";
const LEASE: &str = ".lock";

/// The folder of one authority.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A lease of one name in a folder.
#[derive(Debug)]
pub struct Held {
    fence: Fence,
    #[expect(dead_code, reason = "the lock goes with the file")]
    file: File,
}

/// What the file of a lease says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Said {
    token: u64,
    until_ms: u64,
}

impl Lease for Held {
    fn fence(&self) -> &Fence {
        &self.fence
    }
}

impl Folder {
    /// Makes the folder if it isn't there.
    ///
    /// # Errors
    /// It can't be made, or others may look into it.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let wrong = |error| failed(path, error);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(wrong)?;
        let mode = fs::metadata(path).map_err(wrong)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let said = format!(
                "others may look into it (mode {mode:03o}), and it holds private keys: `chmod 700 {}`",
                path.display()
            );
            return Err(wrong(io::Error::other(said)));
        }
        Ok(Self(path.to_owned()))
    }

    /// Where a record is, for people.
    pub fn place(&self, key: &str) -> String {
        self.0.join(key).display().to_string()
    }

    /// What a file holds, read at once by who may wait for a disk; `None` when there is none.
    ///
    /// # Errors
    /// It can't be read, or is too large.
    pub fn read(&self, key: &str) -> Result<Option<Record>, StorageError> {
        let path = self.record(key)?;
        let read = File::open(&path).and_then(|file| {
            let metadata = file.metadata()?;
            let mode = metadata.mode() & 0o777;
            if mode & 0o077 != 0 {
                file.set_permissions(fs::Permissions::from_mode(0o600))?;
                let path = path.display();
                tracing::warn!(%path, "others could read it (mode {mode:03o}): it is ours alone now");
            }
            let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
            too_large(size)?;
            // All at once, so that no part of a key is left where it grew from.
            let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
            file.take(metadata.len()).read_to_end(&mut bytes)?;
            Ok(Record {
                bytes,
                version: version(&metadata),
            })
        });
        absent(read).map_err(|error| failed(&path, error))
    }

    fn put(
        &self,
        key: &str,
        seen: Option<&Version>,
        bytes: &[u8],
        fence: Option<&Fence>,
    ) -> Result<Version, StorageError> {
        let path = self.record(key)?;
        let wrong = |error| failed(&path, error);
        too_large(bytes.len()).map_err(wrong)?;
        let _guard = self.guard()?;
        let old = self.expect(key, &path, seen, fence)?;
        let made = self.replace(&path, bytes, |file| {
            old.as_ref().map_or(Ok(()), |old| pass(file, old))
        });
        let metadata = made.and_then(|file| file.metadata()).map_err(wrong)?;
        Ok(version(&metadata))
    }

    fn delete(&self, key: &str, seen: &Version, fence: Option<&Fence>) -> Result<(), StorageError> {
        let path = self.record(key)?;
        let _guard = self.guard()?;
        self.expect(key, &path, Some(seen), fence)?;
        let gone = fs::remove_file(&path).and_then(|()| File::open(&self.0)?.sync_all());
        gone.map_err(|error| failed(&path, error))
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys = Vec::new();
        let wrong = |error| failed(&self.0, error);
        for entry in fs::read_dir(&self.0).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name().into_string();
            keys.extend(name.ok().filter(|n| n.starts_with(prefix) && is_key(n)));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn now_at(&self, key: &str) -> Result<Option<Version>, StorageError> {
        let path = self.record(key)?;
        let found = absent(fs::metadata(&path)).map_err(|error| failed(&path, error))?;
        Ok(found.as_ref().map(version))
    }

    fn take(&self, name: &str, ttl: Duration) -> Result<Option<Held>, StorageError> {
        let path = self.lease_path(name)?;
        let wrong = |error| failed(&path, error);
        let _guard = self.guard()?;
        let said = self.said(&path).map_err(wrong)?;
        if let Some(old) = absent(File::open(&path)).map_err(wrong)? {
            match flock(&old, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if now_ms() < said.until_ms => return Ok(None),
                // Whoever has it hangs: it keeps its lock, on a file that is no longer the lease.
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(wrong(error.into())),
            }
        }
        let token = said.token.saturating_add(1);
        self.hold(name, &path, token, ttl).map(Some).map_err(wrong)
    }

    fn prolong(&self, held: &Held, ttl: Duration) -> Result<Option<Held>, StorageError> {
        let Fence { name, token } = &held.fence;
        let path = self.lease_path(name)?;
        let wrong = |error| failed(&path, error);
        let _guard = self.guard()?;
        if self.said(&path).map_err(wrong)?.token != *token {
            return Ok(None);
        }
        self.hold(name, &path, *token, ttl).map(Some).map_err(wrong)
    }

    /// Makes the file of a lease anew. Under the guard, and the new file is locked before it is seen.
    fn hold(&self, name: &str, path: &Path, token: u64, ttl: Duration) -> io::Result<Held> {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let until_ms = now_ms().saturating_add(ttl);
        let text = serde_json::to_vec(&Said { token, until_ms })?;
        let lock = |file: &File| Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?);
        let file = self.replace(path, &text, lock)?;
        let name = name.into();
        let fence = Fence { name, token };
        Ok(Held { fence, file })
    }

    /// One that can't be understood is older than all.
    fn said(&self, path: &Path) -> io::Result<Said> {
        let bytes = absent(fs::read(path))?;
        let said = bytes.and_then(|b| serde_json::from_slice(&b).ok());
        Ok(said.unwrap_or_default())
    }

    /// Under the guard: whether the record is as the writer thinks, and the writer still entitled.
    fn expect(
        &self,
        key: &str,
        path: &Path,
        seen: Option<&Version>,
        fence: Option<&Fence>,
    ) -> Result<Option<Metadata>, StorageError> {
        if let Some(Fence { name, token }) = fence {
            let lease = self.lease_path(name)?;
            let said = self.said(&lease).map_err(|error| failed(&lease, error))?;
            if said.token != *token {
                let (key, name) = (key.into(), name.clone());
                return Err(StorageError::Fenced { key, name });
            }
        }
        let old = absent(fs::metadata(path)).map_err(|error| failed(path, error))?;
        if old.as_ref().map(version).as_ref() != seen {
            return Err(StorageError::Changed { key: key.into() });
        }
        Ok(old)
    }

    /// Replaces a file whole: whoever dies meanwhile leaves the old one or the new one.
    fn replace(
        &self,
        path: &Path,
        bytes: &[u8],
        prepare: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<File> {
        // One is enough: there is one writer.
        let fresh = self.0.join(".new");
        let write = || {
            // A writer that died may have left one.
            absent(fs::remove_file(&fresh))?;
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&fresh)?;
            self.hand_over(&file)?;
            reached("made");
            file.write_all(bytes)?;
            prepare(&file)?;
            reached("written");
            file.sync_all()?;
            reached("synced");
            fs::rename(&fresh, path)?;
            reached("renamed");
            File::open(&self.0)?.sync_all()?;
            Ok(file)
        };
        write().inspect_err(|_| {
            fs::remove_file(&fresh).ok();
        })
    }

    /// Keeps other writers out for as long as it is held: never longer than one file takes.
    fn guard(&self) -> Result<File, StorageError> {
        let path = self.0.join(GUARD);
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let locked = options.open(&path).and_then(|file| {
            self.hand_over(&file)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        locked.map_err(|error| failed(&path, error))
    }

    /// What root makes belongs to the folder's owner, who has to work with it.
    fn hand_over(&self, file: &File) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let (folder, own) = (fs::metadata(&self.0)?, file.metadata()?);
        match (folder.uid(), folder.gid()) == (own.uid(), own.gid()) {
            true => Ok(()),
            false => std::os::unix::fs::fchown(file, Some(folder.uid()), Some(folder.gid())),
        }
    }

    fn record(&self, key: &str) -> Result<PathBuf, StorageError> {
        if is_key(key) {
            return Ok(self.0.join(key));
        }
        Err(StorageError::Key { key: key.into() })
    }

    fn lease_path(&self, name: &str) -> Result<PathBuf, StorageError> {
        self.record(name)?;
        Ok(self.0.join(format!("{name}{LEASE}")))
    }

    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let folder = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.unwrap_or_else(|error| Err(failed(&self.0, io::Error::other(error))))
    }
}

impl Storage for Folder {
    type Lease = Held;

    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        let key = key.to_owned();
        self.apart(move |folder| folder.read(&key)).await
    }

    async fn put_if(
        &self,
        key: &str,
        seen: Option<&Version>,
        bytes: Zeroizing<Vec<u8>>,
        fence: Option<&Fence>,
    ) -> Result<Version, StorageError> {
        let (key, seen, fence) = (key.to_owned(), seen.cloned(), fence.cloned());
        self.apart(move |folder| folder.put(&key, seen.as_ref(), &bytes, fence.as_ref()))
            .await
    }

    async fn delete_if(
        &self,
        key: &str,
        seen: &Version,
        fence: Option<&Fence>,
    ) -> Result<(), StorageError> {
        let (key, seen, fence) = (key.to_owned(), seen.clone(), fence.cloned());
        self.apart(move |folder| folder.delete(&key, &seen, fence.as_ref()))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let prefix = prefix.to_owned();
        self.apart(move |folder| folder.keys(&prefix)).await
    }

    async fn changed(&self, key: &str, seen: Option<&Version>) -> Result<(), StorageError> {
        loop {
            let key = key.to_owned();
            let now = self.apart(move |folder| folder.now_at(&key)).await?;
            if now.as_ref() != seen {
                return Ok(());
            }
            // Folders on a network don't tell of what others do there.
            tokio::time::sleep(ACME_STORAGE_POLL).await;
        }
    }

    async fn lease(&self, name: &str, ttl: Duration) -> Result<Option<Held>, StorageError> {
        let name = name.to_owned();
        self.apart(move |folder| folder.take(&name, ttl)).await
    }

    async fn renew(&self, lease: Held, ttl: Duration) -> Result<Option<Held>, StorageError> {
        self.apart(move |folder| folder.prolong(&lease, ttl)).await
    }
}

fn is_key(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.ends_with(LEASE)
        && !name.contains(['/', '\0'])
}

fn failed(path: &Path, error: io::Error) -> StorageError {
    let place = path.display().to_string();
    StorageError::Failed { place, error }
}

fn absent<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn too_large(size: usize) -> io::Result<()> {
    if size as u64 <= ACME_STORED_BYTES_MAX {
        return Ok(());
    }
    let said = format!("{size} bytes, {ACME_STORED_BYTES_MAX} at most");
    Err(io::Error::new(ErrorKind::FileTooLarge, said))
}

fn version(metadata: &Metadata) -> Version {
    let (s, ns) = (metadata.mtime(), metadata.mtime_nsec());
    Version(format!("{}-{}-{s}.{ns:09}", metadata.ino(), metadata.len()).into())
}

/// Dates a file after the one that it replaces, however coarse the clock or the disk is.
fn pass(file: &File, old: &Metadata) -> io::Result<()> {
    let old = old.modified()?;
    for step in [Duration::from_nanos(1), Duration::from_secs(2)] {
        if file.metadata()?.modified()? > old {
            return Ok(());
        }
        file.set_times(FileTimes::new().set_modified(old + step))?;
    }
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Where tests let it die.
#[cfg(not(test))]
const fn reached(_step: &str) {}

#[cfg(test)]
use tests::reached;

#[cfg(test)]
mod tests;
