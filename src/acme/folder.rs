//! Where accounts, certificates and their courses are kept: a folder that nobody else may read, in
//! which every file is replaced whole.
//!
//! A lock of the kernel's lets one process at a time work on a name, and goes with the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::limits::ACME_STORED_BYTES_MAX;

/// The folder of one authority.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// Held while a name is worked on.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock goes with the file")] File);

/// What can't be kept or read, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub struct FolderError {
    pub path: PathBuf,
    pub error: io::Error,
}

impl Folder {
    /// Makes the folder if it isn't there.
    ///
    /// # Errors
    /// It can't be made, or others may look into it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let wrong = |error| FolderError {
            path: path.to_owned(),
            error,
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(wrong)?;
        let mode = fs::metadata(path).map_err(wrong)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let said = format!(
                "others may look into it (mode {mode:03o}), and it holds private keys: `chmod 700 {}`",
                path.display()
            );
            return Err(wrong(io::Error::new(io::ErrorKind::PermissionDenied, said)));
        }
        Ok(Self(path.to_owned()))
    }

    /// What a file holds; `None` when there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
        let path = self.0.join(name);
        let read = File::open(&path).and_then(|file| {
            let size = file.metadata()?.len().min(ACME_STORED_BYTES_MAX);
            // All at once, so that no part of a key is left where it grew from.
            let mut bytes =
                Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
            file.take(ACME_STORED_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FolderError { path, error }),
        }
    }

    /// Replaces a file whole: whoever dies meanwhile leaves the old one or the new one.
    ///
    /// # Errors
    /// It can't be written; the old one is as it was.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.0.join(name);
        let fresh = self.0.join(format!(".{name}.new"));
        let write = || {
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| {
            fs::remove_file(&fresh).ok();
            FolderError {
                path: path.clone(),
                error,
            }
        })
    }

    /// Takes a file away; one that isn't there is gone already.
    ///
    /// # Errors
    /// It can't be taken away.
    pub fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FolderError { path, error })
            }
            _ => Ok(()),
        }
    }

    /// Keeps other processes from `name` for as long as it is held. `None`: another has it.
    ///
    /// # Errors
    /// There can be no locks here.
    pub fn lock(&self, name: &str) -> Result<Option<Lock>, FolderError> {
        let path = self.0.join(format!("{name}.lock"));
        let wrong = |error| FolderError {
            path: path.clone(),
            error,
        };
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(wrong)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(wrong(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_put_is_there_whole_and_for_nobody_else() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("deep/acme");
        let folder = Folder::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(folder.get("a.pem").unwrap().is_none());
        for text in ["one", "another, longer one", "x"] {
            folder.put("a.pem", text.as_bytes()).unwrap();
            assert_eq!(**folder.get("a.pem").unwrap().unwrap(), *text.as_bytes());
        }
        let mode = fs::metadata(path.join("a.pem")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What a process left that died is no hindrance.
        fs::write(path.join(".a.pem.new"), "half").unwrap();
        folder.put("a.pem", b"whole").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        folder.remove("a.pem").unwrap();
        folder.remove("a.pem").unwrap();
        assert!(folder.get("a.pem").unwrap().is_none());
    }

    #[test]
    fn a_folder_that_others_may_look_into_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = Folder::open(outer.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn one_at_a_time_has_the_lock() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("acme")).unwrap();
        let held = folder.lock("a").unwrap();
        assert!(held.is_some());
        assert!(folder.lock("a").unwrap().is_none());
        assert!(folder.lock("b").unwrap().is_some());
        drop(held);
        assert!(folder.lock("a").unwrap().is_some());
    }
}
