//! The files that a generation is made of, and whether they are what they were.
//!
//! Names and times are looked at often and cheaply; what they hold decides. A folder that is swapped
//! by a link (Kubernetes) shows other files under the same names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::model::{Acme, Config, DescriptorSource, Tls, UpstreamTls};
use crate::limits::{DESCRIPTOR_SET_BYTES_MAX, PROTO_ENTRIES_MAX, PROTO_FOLDERS_DEEP_MAX};

/// Files are read in pieces of so many bytes.
const PIECE: usize = 64 * 1024;

type Hash64 = foldhash::quality::FoldHasher<'static>;

/// Files, and folders with all that is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

/// A state of the inputs. Equal ones are the same as far as it was looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

impl Inputs {
    /// The config file, and what the config names.
    #[must_use]
    pub fn of(file: Option<&Path>, config: &Config) -> Self {
        let mut inputs = Self::default();
        inputs.files.extend(file.map(Path::to_owned));
        let tls = config.listeners.iter().filter_map(|l| l.tls.as_ref());
        inputs.files.extend(tls.flat_map(Tls::files).cloned());
        let tls = config.upstreams.iter().filter_map(|u| u.tls.as_ref());
        inputs
            .files
            .extend(tls.flat_map(UpstreamTls::files).cloned());
        for source in &config.descriptors {
            match source {
                DescriptorSource::Protos { folder, .. } => {
                    inputs.folders.insert(folder.clone());
                }
                DescriptorSource::File { file, .. } | DescriptorSource::Rules { file, .. } => {
                    inputs.files.insert(file.clone());
                }
                DescriptorSource::Reflection { .. } => {}
            }
        }
        let roots = config.acme.iter().flat_map(Acme::files);
        inputs.files.extend(roots.cloned());
        inputs
    }

    /// These and others.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self {
            files: &self.files | &others.files,
            folders: &self.folders | &others.folders,
        }
    }

    /// Folders whose entries tell of changes: those of the files, and with `true` those that are
    /// inputs with all below them.
    pub fn watched(&self) -> impl Iterator<Item = (PathBuf, bool)> {
        let parents: BTreeSet<_> = self.files.iter().map(|file| parent(file)).collect();
        let parents = parents.into_iter().map(|p| (p, false));
        let folders = self.folders.iter().map(|f| (f.clone(), true));
        folders.chain(parents)
    }

    /// By names, sizes and times.
    #[must_use]
    pub fn look(&self) -> Stamp {
        self.stamp(|path, hash| match fs::metadata(path) {
            Ok(found) => {
                (found.dev(), found.ino(), found.len()).hash(hash);
                (found.mtime(), found.mtime_nsec(), found.ctime_nsec()).hash(hash);
            }
            Err(error) => error.kind().hash(hash),
        })
    }

    /// By names and contents.
    #[must_use]
    pub fn read(&self) -> Stamp {
        self.stamp(|path, hash| match contents(path, hash) {
            Ok(length) => length.hash(hash),
            Err(error) => error.kind().hash(hash),
        })
    }

    fn stamp(&self, add: impl Fn(&Path, &mut Hash64)) -> Stamp {
        let mut hash = foldhash::quality::FixedState::default().build_hasher();
        for file in &self.files {
            file.hash(&mut hash);
            add(file, &mut hash);
        }
        let mut left = PROTO_ENTRIES_MAX;
        for folder in &self.folders {
            walk(folder, &mut Vec::new(), &mut left, &mut |path| {
                path.hash(&mut hash);
                add(path, &mut hash);
            });
        }
        Stamp(hash.finish())
    }
}

/// Adds what a file holds, as far as whoever reads it goes, and gives its length. What is no file
/// (a pipe) has nothing that could be looked at again.
fn contents(path: &Path, hash: &mut Hash64) -> io::Result<u64> {
    let found = fs::metadata(path)?;
    // Before it is opened: a pipe would wait for somebody who writes.
    if !found.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut rest = File::open(path)?.take(DESCRIPTOR_SET_BYTES_MAX);
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        // Pieces are whole but for the last, or the same bytes would make different sums.
        let read = (&mut rest).take(PIECE as u64).read_to_end(&mut piece)?;
        hash.write(&piece);
        if read < PIECE {
            return Ok(found.len());
        }
    }
}

/// Visits the `.proto` files of a folder in the order of their names. Bounded; a folder that can't be
/// read is visited itself, so that it counts when that changes.
fn walk(folder: &Path, inside: &mut Vec<PathBuf>, left: &mut usize, visit: &mut dyn FnMut(&Path)) {
    let Ok(real) = folder.canonicalize() else {
        return visit(folder);
    };
    // Links may lead back up.
    if inside.len() >= PROTO_FOLDERS_DEEP_MAX || inside.contains(&real) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return visit(folder);
    };
    inside.push(real);
    let mut paths = Vec::new();
    for entry in entries.flatten() {
        let Some(fewer) = left.checked_sub(1) else {
            break;
        };
        *left = fewer;
        paths.push(entry.path());
    }
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, inside, left, visit);
        } else if path.extension().is_some_and(|e| e == "proto") {
            visit(&path);
        }
    }
    inside.pop();
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(root: &Path) -> Inputs {
        Inputs {
            files: [root.join("transom.yaml")].into(),
            folders: [root.join("protos")].into(),
        }
    }

    #[test]
    fn what_counts_is_what_the_files_hold() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        fs::create_dir_all(root.join("protos/deep")).unwrap();
        write("transom.yaml", "a");
        write("protos/deep/one.proto", "b");
        let inputs = inputs(root);
        let (looks, holds) = (inputs.look(), inputs.read());
        assert_eq!((inputs.look(), inputs.read()), (looks, holds));

        write("protos/deep/notes.txt", "of no concern");
        write("protos/.one.proto.swp", "nor this");
        assert_eq!(inputs.read(), holds);
        // Written anew with the same words: it looks different and is the same.
        fs::remove_file(root.join("transom.yaml")).unwrap();
        write("other", "a");
        fs::rename(root.join("other"), root.join("transom.yaml")).unwrap();
        assert_ne!(inputs.look(), looks);
        assert_eq!(inputs.read(), holds);

        for (name, text) in [
            ("protos/deep/one.proto", "c"),
            ("protos/two.proto", ""),
            ("transom.yaml", ""),
        ] {
            let before = inputs.read();
            write(name, text);
            assert_ne!(inputs.read(), before, "{name}");
        }
        let before = inputs.read();
        fs::remove_dir_all(root.join("protos")).unwrap();
        assert_ne!(inputs.read(), before);
    }

    #[test]
    fn neither_huge_files_nor_pipes_hold_it_up() {
        let root = tempfile::tempdir().unwrap();
        let inputs = inputs(root.path());
        let file = root.path().join("transom.yaml");
        File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let huge = inputs.read();
        File::create(&file).unwrap().set_len((1 << 40) + 1).unwrap();
        assert_ne!(inputs.read(), huge);
        fs::remove_file(&file).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_ne!(inputs.read(), huge);
        assert_eq!(inputs.read(), inputs.read());
    }

    #[test]
    fn a_loop_of_links_comes_to_an_end() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("protos");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.proto"), "").unwrap();
        for name in ["again", "and_again", "once_more"] {
            std::os::unix::fs::symlink(&folder, folder.join(name)).unwrap();
        }
        let mut visits = 0;
        walk(&folder, &mut Vec::new(), &mut 100, &mut |_| visits += 1);
        assert_eq!(visits, 1);
    }
}
