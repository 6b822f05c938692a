//! How much memory is used, of how much: as the kernel says of the process's cgroup, or of the process
//! where the config gives the limit.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes in use, and the bytes that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub used: u64,
    pub limit: u64,
}

/// Where the kernel tells of a process. A cgroup's own files may come and go, and its limit may be
/// changed, so all is read each time.
#[derive(Clone, Debug)]
pub struct Source {
    root: PathBuf,
}

impl Default for Source {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Source {
    /// With `proc` and `sys` below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The tightest limit of the process's cgroup and of those around it, and what is used of that.
    /// `None` without one.
    #[must_use]
    pub fn cgroup(&self) -> Option<Reading> {
        let groups = fs::read_to_string(self.root.join("proc/self/cgroup")).ok()?;
        let lines = groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        });
        let mut tightest: Option<Reading> = None;
        for (controllers, path) in lines {
            let (base, files) = match controllers {
                "" => ("sys/fs/cgroup", &V2),
                list if list.split(',').any(|c| c == "memory") => ("sys/fs/cgroup/memory", &V1),
                _ => continue,
            };
            let base = self.root.join(base);
            // The path is the host's where the cgroup's own root is mounted.
            for folder in Path::new(path.trim_start_matches('/')).ancestors() {
                if let Some(reading) = files.read(&base.join(folder))
                    && tightest.is_none_or(|t| reading.left() < t.left())
                {
                    tightest = Some(reading);
                }
            }
        }
        tightest
    }

    /// What the process itself has in memory.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(self.root.join("proc/self/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    }
}

impl Reading {
    fn left(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The files of one version of cgroups.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: pages of files that the kernel drops first, and that are no reason to worry.
    idle: &'static str,
}

const V2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    idle: "inactive_file",
};

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    idle: "total_inactive_file",
};

/// Version 1 says so of a group without a limit, rounded down to pages.
const ENDLESS: u64 = 1 << 62;

impl Files {
    fn read(&self, folder: &Path) -> Option<Reading> {
        let number = |name: &str| -> Option<u64> {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        // `max` is no number.
        let limit = number(self.limit).filter(|limit| (1..ENDLESS).contains(limit))?;
        let used = number(self.used)?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let idle = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == self.idle).then(|| value.trim().parse::<u64>().ok())?
        });
        Some(Reading {
            used: used.saturating_sub(idle.unwrap_or_default()),
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Source) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let source = Source::below(root.path());
        (root, source)
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let (_root, source) = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.current", "700\n"),
            ("sys/fs/cgroup/memory.stat", "anon 400\ninactive_file 250\n"),
        ]);
        let reading = Reading {
            used: 450,
            limit: 1000,
        };
        assert_eq!(source.cgroup(), Some(reading));
    }

    #[test]
    fn the_group_around_it_may_be_the_tighter_one() {
        let (_root, source) = tree(&[
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "1000\n"),
            ("sys/fs/cgroup/pods/one/memory.current", "100\n"),
            ("sys/fs/cgroup/pods/memory.max", "2000\n"),
            ("sys/fs/cgroup/pods/memory.current", "1900\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.current", "5000\n"),
        ]);
        let reading = Reading {
            used: 1900,
            limit: 2000,
        };
        assert_eq!(source.cgroup(), Some(reading));
    }

    #[test]
    fn version_1_is_read_where_it_has_the_memory() {
        let endless = "9223372036854771712\n";
        let (_root, source) = tree(&[
            (
                "proc/self/cgroup",
                "12:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/b\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "800\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "300\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "total_inactive_file 100\n",
            ),
            (
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
                endless,
            ),
            ("sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "1\n"),
        ]);
        let reading = Reading {
            used: 200,
            limit: 800,
        };
        assert_eq!(source.cgroup(), Some(reading));
    }

    #[test]
    fn nothing_and_nonsense_are_no_limit() {
        for files in [
            &[][..],
            &[("proc/self/cgroup", "0::/\n")],
            &[("proc/self/cgroup", "\u{fffd}\n:::\n0:x\n")],
            &[
                ("proc/self/cgroup", "0::/../../..\n"),
                ("sys/fs/cgroup/memory.max", "-1\n"),
                ("sys/fs/cgroup/memory.current", "12 apples\n"),
            ],
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "0\n"),
                ("sys/fs/cgroup/memory.current", "1\n"),
            ],
        ] {
            assert_eq!(tree(files).1.cgroup(), None, "{files:?}");
        }
    }

    #[test]
    fn this_process_is_in_memory() {
        assert!(Source::default().resident().unwrap() > 100_000);
    }
}
