//! What reflection told last, on disk: for a start with an upstream that is down, and for `transom check`.
//!
//! One file an upstream, a plain `FileDescriptorSet` under a name that holds the upstream's and the
//! SHA-256 of the content. Written beside and renamed, so that a file is whole or isn't there; one that
//! doesn't hold what its name says is passed over. The folder is the process' own: whoever could write
//! there could say what is served.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest;

use crate::limits::{KEPT_FILES_MAX, REFLECTION_BYTES_MAX};

use super::protos::read_at_most;

/// Below the folder of the config, which others may have a use for as well.
const FOLDER: &str = "reflection";
const SUFFIX: &str = ".binpb";
const UNFINISHED: &str = ".unfinished";
/// Characters of an upstream's name that stand in the file's.
const NAME_MAX: usize = 80;

/// Of a `FileDescriptorSet`, or of several texts: what `sha256sum` says of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_all([bytes])
    }

    /// Of these one after the other.
    #[must_use]
    pub fn of_all<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        // SHA-256 is 32 bytes: the default can't be seen.
        Self(context.finish().as_ref().try_into().unwrap_or_default())
    }
}

/// In hex, as many digits as the precision says.
impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a String doesn't fail.
            _ = write!(hex, "{byte:02x}");
        }
        f.pad(&hex)
    }
}

/// A folder of last good descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept(PathBuf);

/// A last good copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    pub descriptors: Vec<u8>,
    /// When an upstream told it for the first time.
    pub since: SystemTime,
}

impl Kept {
    /// Nothing is made yet.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self(folder.join(FOLDER))
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The last good copy of an upstream; `None` when there is no whole one.
    ///
    /// # Errors
    /// The folder is somebody else's, or can't be read.
    pub fn read(&self, upstream: &str) -> io::Result<Option<LastGood>> {
        match self.guard() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            guarded => guarded?,
        }
        let mut found = self.files()?;
        found.retain(|file| file.is_of(upstream));
        found.sort_by_key(|file| std::cmp::Reverse(file.since));
        for file in found {
            let Ok(descriptors) = read_at_most(&file.path, REFLECTION_BYTES_MAX as u64) else {
                continue;
            };
            if file.name == name_of(upstream, ContentHash::of(&descriptors)) {
                let since = file.since;
                return Ok(Some(LastGood { descriptors, since }));
            }
        }
        Ok(None)
    }

    /// Keeps these descriptors of an upstream in place of what was kept of it.
    ///
    /// # Errors
    /// The folder can't be made or written, or is somebody else's.
    pub fn write(&self, upstream: &str, descriptors: &[u8]) -> io::Result<()> {
        self.make()?;
        let name = name_of(upstream, ContentHash::of(descriptors));
        let path = self.0.join(&name);
        let whole = |old: &[u8]| old == descriptors;
        if !read_at_most(&path, REFLECTION_BYTES_MAX as u64).is_ok_and(|old| whole(&old)) {
            self.replace(&path, descriptors)?;
        }
        let mut others = self.files()?;
        others.retain(|file| file.name != name);
        for old in others.iter().filter(|file| file.is_of(upstream)) {
            fs::remove_file(&old.path)?;
        }
        others.retain(|file| !file.is_of(upstream));
        others.sort_by_key(|file| std::cmp::Reverse(file.since));
        for old in others.iter().skip(KEPT_FILES_MAX.saturating_sub(1)) {
            fs::remove_file(&old.path)?;
        }
        Ok(())
    }

    fn replace(&self, path: &Path, descriptors: &[u8]) -> io::Result<()> {
        let beside = path.with_extension(format!("{}{UNFINISHED}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(descriptors)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        })();
        if written.is_err() {
            // Of no use, and it may be the disk that is full.
            fs::remove_file(&beside).ok();
        }
        written?;
        File::open(&self.0)?.sync_all()
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        self.guard()?;
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
    }

    /// Whether the folder is one that nobody else can put files into.
    fn guard(&self) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.0)?;
        if !found.is_dir() {
            return Err(io::Error::other("it is not a folder"));
        }
        let me = rustix::process::geteuid().as_raw();
        let owner = found.uid();
        if owner != me && me != 0 {
            let why = format!("it belongs to user {owner}, and this is user {me}");
            return Err(io::Error::other(why));
        }
        if found.mode() & 0o022 != 0 {
            return Err(io::Error::other("other users may write there"));
        }
        Ok(())
    }

    /// All kept files, whole or not.
    fn files(&self) -> io::Result<Vec<KeptFile>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !name.ends_with(SUFFIX) {
                continue;
            }
            let Ok(data) = entry.metadata() else {
                continue;
            };
            if data.is_file() {
                found.push(KeptFile {
                    since: data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    path: entry.path(),
                    name,
                });
            }
        }
        Ok(found)
    }
}

struct KeptFile {
    name: String,
    path: PathBuf,
    since: SystemTime,
}

impl KeptFile {
    fn is_of(&self, upstream: &str) -> bool {
        let hash = self.name.strip_prefix(&prefix_of(upstream));
        let hash = hash.and_then(|rest| rest.strip_suffix(SUFFIX));
        hash.is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

/// `games.5f3c….binpb`
fn name_of(upstream: &str, hash: ContentHash) -> String {
    format!("{}{hash}{SUFFIX}", prefix_of(upstream))
}

/// The upstream's name as far as it can stand in a file's, and what tells it from others where it can't.
fn prefix_of(upstream: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if upstream.len() <= NAME_MAX && upstream.bytes().all(plain) {
        return format!("{upstream}.");
    }
    let shown = upstream
        .chars()
        .filter(|c| u8::try_from(*c).is_ok_and(plain));
    let shown: String = shown.take(NAME_MAX).collect();
    format!("{shown}~{:.16}.", ContentHash::of(upstream.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> (tempfile::TempDir, Kept) {
        let root = tempfile::tempdir().unwrap();
        let kept = Kept::below(root.path());
        (root, kept)
    }

    fn descriptors(kept: &Kept, upstream: &str) -> Option<Vec<u8>> {
        kept.read(upstream).unwrap().map(|k| k.descriptors)
    }

    fn names(kept: &Kept) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(kept.folder())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_kept_last_is_read() {
        let (_root, kept) = kept();
        assert_eq!(descriptors(&kept, "games"), None);
        kept.write("games", b"one").unwrap();
        kept.write("games.x", b"other").unwrap();
        kept.write("games", b"two").unwrap();
        kept.write("games", b"two").unwrap();
        assert_eq!(descriptors(&kept, "games"), Some(b"two".to_vec()));
        assert_eq!(descriptors(&kept, "games.x"), Some(b"other".to_vec()));
        assert_eq!(descriptors(&kept, "shop"), None);
        assert_eq!(names(&kept).len(), 2, "the older copy is gone");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(kept.folder()), 0o700);
        for name in names(&kept) {
            assert_eq!(mode(&kept.folder().join(name)), 0o600);
        }
    }

    #[test]
    fn one_that_is_not_whole_is_passed_over() {
        let (_root, kept) = kept();
        kept.write("games", b"a whole set").unwrap();
        let file = kept.folder().join(&names(&kept)[0]);
        fs::write(&file, b"a who").unwrap();
        assert_eq!(descriptors(&kept, "games"), None);
        // And mended by the next.
        kept.write("games", b"a whole set").unwrap();
        assert_eq!(descriptors(&kept, "games"), Some(b"a whole set".to_vec()));
        fs::write(kept.folder().join("games.1.unfinished"), "x").unwrap();
        fs::write(kept.folder().join("games.nothex.binpb"), "x").unwrap();
        assert_eq!(descriptors(&kept, "games"), Some(b"a whole set".to_vec()));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_believed() {
        let (root, kept) = kept();
        kept.write("games", b"set").unwrap();
        fs::set_permissions(kept.folder(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = kept.read("games").unwrap_err();
        assert_eq!(error.to_string(), "other users may write there");
        fs::remove_dir_all(kept.folder()).unwrap();
        std::os::unix::fs::symlink(root.path(), kept.folder()).unwrap();
        assert!(kept.write("games", b"set").is_err());
    }

    #[test]
    fn names_of_upstreams_stay_inside_and_apart() {
        let (root, kept) = kept();
        let long = "u".repeat(300);
        for name in ["../up", "a/b", "a b", "ä", &long, &format!("{long}v")] {
            kept.write(name, name.as_bytes()).unwrap();
            assert_eq!(descriptors(&kept, name), Some(name.as_bytes().to_vec()));
        }
        assert_eq!(names(&kept).len(), 6);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn there_are_never_more_files_than_may_be() {
        let (_root, kept) = kept();
        for number in 0..KEPT_FILES_MAX + 3 {
            kept.write(&format!("u{number}"), b"set").unwrap();
        }
        assert_eq!(names(&kept).len(), KEPT_FILES_MAX);
        let last = format!("u{}", KEPT_FILES_MAX + 2);
        assert!(descriptors(&kept, &last).is_some());
    }
}
