//! A folder of `.proto` sources, read whole: what an `import` can name, and where each file is on disk.
//!
//! Links are followed, as Kubernetes mounts files by links, but never into a folder that is being walked;
//! names that begin with a dot are passed over (`..data` of such a mount would show each file twice).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::diagnostic::Diagnostic;
use crate::limits::{PROTO_BYTES_MAX, PROTO_ENTRIES_MAX, PROTO_FOLDERS_DEEP_MAX, PROTOS_BYTES_MAX};

/// All `.proto` files of the config, by import path.
#[derive(Debug, Default)]
pub struct Protos {
    files: BTreeMap<String, Proto>,
    bytes: u64,
}

#[derive(Debug)]
struct Proto {
    path: PathBuf,
    text: String,
}

impl Protos {
    /// Reads a folder. What is wrong is told at `place`, or at the file; the good files are kept.
    pub fn add(&mut self, folder: &Path, place: &str) -> Vec<Diagnostic> {
        let mut walk = Walk {
            protos: self,
            root: folder,
            place,
            entries: 0,
            found: 0,
            inside: Vec::new(),
            errors: Vec::new(),
        };
        if let Err(error) = walk.folder(folder, "") {
            walk.error(format!("can't read folder {}: {error}", folder.display()));
        } else if walk.found == 0 && walk.errors.is_empty() {
            walk.error(format!("no .proto file in {}", folder.display()));
        }
        walk.errors
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Import paths and texts, in the order of the paths.
    #[must_use]
    pub fn texts(&self) -> Vec<(String, String)> {
        let pair = |(name, proto): (&String, &Proto)| (name.clone(), proto.text.clone());
        self.files.iter().map(pair).collect()
    }

    /// Where the file of an import path is. A vendored copy goes by the path it is known by
    /// (`google/api/http.proto`), so the end of a path is enough.
    #[must_use]
    pub fn on_disk(&self, import: &str) -> Option<&Path> {
        if let Some(proto) = self.files.get(import) {
            return Some(&proto.path);
        }
        let tail = format!("/{import}");
        let vendored = self.files.iter().find(|(name, _)| name.ends_with(&tail));
        vendored.map(|(_, proto)| proto.path.as_path())
    }
}

struct Walk<'w> {
    protos: &'w mut Protos,
    root: &'w Path,
    place: &'w str,
    entries: usize,
    found: usize,
    /// The folders that are being walked, as they really are.
    inside: Vec<PathBuf>,
    errors: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn error(&mut self, message: String) {
        self.errors.push(Diagnostic::error(message).at(self.place));
    }

    /// Recursion is bounded by [`PROTO_FOLDERS_DEEP_MAX`].
    fn folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        let real = fs::canonicalize(folder)?;
        if self.inside.contains(&real) {
            return Ok(());
        }
        if self.inside.len() >= PROTO_FOLDERS_DEEP_MAX {
            self.error(format!(
                "folders nested more than {PROTO_FOLDERS_DEEP_MAX} deep in {}",
                self.root.display()
            ));
            return Ok(());
        }
        self.inside.push(real);
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            self.entries += 1;
            if self.entries > PROTO_ENTRIES_MAX {
                self.error(format!(
                    "more than {PROTO_ENTRIES_MAX} files and folders in {}",
                    self.root.display()
                ));
                self.inside.pop();
                return Ok(());
            }
            entries.push(entry?.path());
        }
        entries.sort();
        for path in entries {
            if self.entries > PROTO_ENTRIES_MAX {
                break;
            }
            if let Err(error) = self.entry(&path, prefix) {
                let message = format!("can't read {}: {error}", path.display());
                self.error(message);
            }
        }
        self.inside.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path, prefix: &str) -> io::Result<()> {
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        let Some(name) = name.to_str() else {
            let is_proto = path.extension().is_some_and(|e| e == "proto");
            return match is_proto {
                true => Err(io::Error::other("the file's name is not UTF-8")),
                false => Ok(()),
            };
        };
        if name.starts_with('.') {
            return Ok(());
        }
        let import = match prefix {
            "" => name.to_owned(),
            _ => format!("{prefix}/{name}"),
        };
        let is_proto = path.extension().is_some_and(|e| e == "proto");
        let kind = match fs::metadata(path) {
            Ok(kind) => kind,
            // A link to nowhere is somebody else's unless it would be a source.
            Err(error) if is_proto => return Err(error),
            Err(_) => return Ok(()),
        };
        if kind.is_dir() {
            return self.folder(path, &import);
        }
        match is_proto && kind.is_file() {
            true => self.file(path, import),
            false => Ok(()),
        }
    }

    fn file(&mut self, path: &Path, import: String) -> io::Result<()> {
        self.found += 1;
        let left = PROTOS_BYTES_MAX.saturating_sub(self.protos.bytes);
        let bytes = read_at_most(path, PROTO_BYTES_MAX.min(left))?;
        self.protos.bytes = self.protos.bytes.saturating_add(bytes.len() as u64);
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let good = error.as_bytes().get(..valid).unwrap_or_default();
                let line = good.iter().filter(|b| **b == b'\n').count() + 1;
                let wrong = Diagnostic::error("not UTF-8: a wrong byte in this line");
                self.errors
                    .push(wrong.at(&format!("{}:{line}", path.display())));
                return Ok(());
            }
        };
        if let Some(first) = self.protos.files.get(&import) {
            if first.text != text {
                let first = first.path.display().to_string();
                self.error(format!(
                    "{} and {first} differ, and both are imported as {import:?}",
                    path.display()
                ));
            }
            return Ok(());
        }
        let path = path.to_owned();
        self.protos.files.insert(import, Proto { path, text });
        Ok(())
    }
}

/// A whole file, unless it is larger.
///
/// # Errors
/// It can't be read, or is larger.
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    fn names(protos: &Protos) -> Vec<&str> {
        protos.files.keys().map(String::as_str).collect()
    }

    #[test]
    fn files_go_by_their_import_paths() {
        let folder = folder(&[
            ("b.proto", ""),
            ("a/c.proto", ""),
            ("a/README.md", ""),
            (".git/x.proto", ""),
        ]);
        let mut protos = Protos::default();
        assert_eq!(protos.add(folder.path(), "t:1:1"), []);
        assert_eq!(names(&protos), ["a/c.proto", "b.proto"]);
        assert_eq!(
            protos.on_disk("c.proto"),
            Some(&*folder.path().join("a/c.proto"))
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_mount_of_kubernetes_is_read_once_and_loops_end() {
        use std::os::unix::fs::symlink;
        let folder = folder(&[("..2026/a.proto", "x"), ("sub/b.proto", "y")]);
        let at = |name: &str| folder.path().join(name);
        symlink("..2026", at("..data")).expect("link");
        symlink("..data/a.proto", at("a.proto")).expect("link");
        symlink("..", at("sub/up")).expect("link");
        symlink(".", at("self")).expect("link");
        symlink("nowhere", at("gone")).expect("link");
        let mut protos = Protos::default();
        assert_eq!(protos.add(folder.path(), "t:1:1"), []);
        assert_eq!(names(&protos), ["a.proto", "sub/b.proto"]);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let empty = folder(&[("a.txt", "")]);
        let bad = folder(&[("a.proto", "one")]);
        let other = folder(&[("a.proto", "two")]);
        fs::write(bad.path().join("b.proto"), b"\n\xff").expect("a file");
        let mut protos = Protos::default();
        let mut errors = protos.add(empty.path(), "t:1:1");
        errors.extend(protos.add(bad.path(), "t:2:1"));
        errors.extend(protos.add(other.path(), "t:3:1"));
        errors.extend(protos.add(&empty.path().join("gone"), "t:4:1"));
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let holds = |at: usize, start: &str, part: &str| {
            let text = &told[at];
            assert!(text.starts_with(start) && text.contains(part), "{text}");
        };
        holds(0, "t:1:1", "no .proto file");
        holds(
            1,
            &bad.path().display().to_string(),
            "b.proto:2:1: not UTF-8",
        );
        holds(2, "t:3:1", "differ, and both are imported as \"a.proto\"");
        holds(3, "t:4:1", "can't read folder");
        assert_eq!(told.len(), 4);
    }
}
