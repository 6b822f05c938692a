//! Files found and opened below a root: blocking, so off the worker's loop, and never outside the
//! root, whatever links there are.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::config::model::Files;
use crate::limits::FILE_CHUNK_BYTES;
use crate::protocol::coding::Coding;

use super::conditions::Validators;

/// What is asked of the folder.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Relative, decoded, without hidden parts; empty is the root.
    pub path: String,
    /// The path ends in a slash.
    pub folder: bool,
    /// A browser shows what comes.
    pub navigates: bool,
    /// The codings that the client takes, the best first.
    pub codings: smallvec::SmallVec<[Coding; 3]>,
}

/// A file to send.
#[derive(Debug)]
pub(super) struct Opened {
    pub file: File,
    /// Relative to the root, without the extension of its coding.
    pub path: String,
    pub length: u64,
    pub coding: Option<Coding>,
    pub validators: Validators,
}

#[derive(Debug)]
pub(super) enum Found {
    File(Box<Opened>),
    /// A folder whose path lacks its slash.
    Folder,
    Nothing,
}

/// Blocks.
///
/// # Errors
/// What is there can't be read.
pub(super) fn find(files: &Files, wanted: &Wanted) -> io::Result<Found> {
    let root = match Root::open(&files.root) {
        Ok(root) => root,
        Err(error) if is_nothing(&error) => {
            tracing::warn!(root = %files.root.display(), "the folder of a files route is not there");
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(error),
    };
    let found = match root.open_below(&wanted.path)? {
        Some((_, meta)) if meta.is_dir() => {
            let index = joined(&wanted.path, &files.index);
            match root.regular(&index)? {
                Some(_) if !wanted.folder => return Ok(Found::Folder),
                Some((file, meta)) => Some((file, meta, index)),
                None => None,
            }
        }
        Some((file, meta)) if meta.is_file() && !wanted.folder => {
            Some((file, meta, wanted.path.clone()))
        }
        _ => None,
    };
    let page = match (found, &files.spa) {
        (Some(found), _) => Some(found),
        (None, Some(spa)) if wanted.navigates => {
            let page = root.regular(spa)?;
            page.map(|(file, meta)| (file, meta, spa.to_string()))
        }
        (None, _) => None,
    };
    let Some((file, meta, path)) = page else {
        return Ok(Found::Nothing);
    };
    let (file, meta, coding) = match sibling(&root, &path, files, wanted)? {
        Some((file, meta, coding)) => (file, meta, Some(coding)),
        None => (file, meta, None),
    };
    Ok(Found::File(Box::new(Opened {
        validators: validators(&meta, coding)?,
        length: meta.len(),
        file,
        path,
        coding,
    })))
}

fn joined(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

/// The file in a coding that the client takes, as it was compressed beforehand.
fn sibling(
    root: &Root,
    path: &str,
    files: &Files,
    wanted: &Wanted,
) -> io::Result<Option<(File, Metadata, Coding)>> {
    if !files.precompressed {
        return Ok(None);
    }
    for coding in &wanted.codings {
        let name = format!("{path}{}", coding.extension());
        if let Some((file, meta)) = root.regular(&name)? {
            return Ok(Some((file, meta, *coding)));
        }
    }
    Ok(None)
}

fn validators(meta: &Metadata, coding: Option<Coding>) -> io::Result<Validators> {
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    let nanos = u32::try_from(meta.ctime_nsec()).unwrap_or(0);
    let changed = Duration::new(part(meta.ctime()), nanos.min(999_999_999));
    let now = SystemTime::now();
    Ok(Validators::new(
        meta.len(),
        meta.modified()?,
        changed,
        coding,
        now,
    ))
}

/// A folder that paths are looked up in.
struct Root<'f> {
    folder: File,
    path: &'f Path,
}

impl<'f> Root<'f> {
    /// Anew for each request: a deployment may have put another folder in its place.
    fn open(path: &'f Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            folder: folder.into(),
            path,
        })
    }

    fn regular(&self, path: &str) -> io::Result<Option<(File, Metadata)>> {
        let found = self.open_below(path)?;
        Ok(found.filter(|(_, meta)| meta.is_file()))
    }

    /// What is at a path, unless a link there leads out of the root. Never waits for a pipe's other
    /// end.
    fn open_below(&self, path: &str) -> io::Result<Option<(File, Metadata)>> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), inside);
        let opened = match opened {
            // Older kernels, and sandboxes that don't know it.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => self.open_checked(path),
            opened => opened.map(File::from).map_err(io::Error::from),
        };
        match opened {
            Ok(file) => {
                let meta = file.metadata()?;
                Ok(Some((file, meta)))
            }
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same by names: what a link leads to is looked at before it is opened.
    fn open_checked(&self, path: &str) -> io::Result<File> {
        let root = self.path.canonicalize()?;
        let real = root.join(path).canonicalize()?;
        if !real.starts_with(&root) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !real.metadata()?.is_file() && !real.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        File::open(real)
    }
}

/// What nobody is told more of: not there, not ours to read, a link out of the root, a name that no
/// file can have.
fn is_nothing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let quiet = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::XDEV,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::ACCESS,
        Errno::NXIO,
        Errno::NODEV,
    ];
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || quiet.iter().any(|e| code == Some(e.raw_os_error()))
}

/// A piece of at most [`FILE_CHUNK_BYTES`] from `at`, before `to`. Blocks.
///
/// # Errors
/// It can't be read, or ends too soon.
pub(super) fn piece(file: &File, at: u64, to: u64) -> io::Result<Vec<u8>> {
    let left = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(FILE_CHUNK_BYTES)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The two ways to open agree, so that older kernels serve what newer ones do, and no more.
    #[test]
    fn without_openat2_the_same_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("root/sub")).unwrap();
        for name in ["root/a.txt", "root/sub/b.txt", "outside.txt"] {
            std::fs::write(at(name), name).unwrap();
        }
        for (to, link) in [
            ("a.txt", "root/inside"),
            ("sub", "root/folder"),
            ("../outside.txt", "root/escape"),
            ("..", "root/up"),
            ("nowhere", "root/broken"),
            ("loop", "root/loop"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        let pipe = rustix::fs::CWD;
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
        rustix::fs::mknodat(pipe, at("root/pipe"), kind, mode, 0).unwrap();
        let path = at("root");
        let root = Root::open(&path).unwrap();
        for (name, found) in [
            ("a.txt", true),
            ("sub/b.txt", true),
            ("inside", true),
            ("folder/b.txt", true),
            (".", true),
            ("sub", true),
            ("escape", false),
            ("up/outside.txt", false),
            ("../outside.txt", false),
            ("broken", false),
            ("loop", false),
            ("nothing", false),
            ("a.txt/b", false),
        ] {
            let plain = root.open_below(name).unwrap();
            assert_eq!(plain.is_some(), found, "{name}");
            let checked = match root.open_checked(name) {
                Ok(file) => Some(file.metadata().unwrap().ino()),
                Err(error) if is_nothing(&error) => None,
                Err(error) => panic!("{name}: {error}"),
            };
            assert_eq!(checked, plain.map(|(_, meta)| meta.ino()), "{name}");
        }
        // Neither waits for the pipe's other end.
        assert!(root.regular("pipe").unwrap().is_none());
        assert!(root.open_checked("pipe").is_err());
    }
}
