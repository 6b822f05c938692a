//! The files that have come so far, kept as bytes, with just enough of each read to know what is
//! missing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use super::Budget;
use super::error::ReflectionProblem;
use super::session::Question;

/// What we need of a `google.protobuf.FileDescriptorProto`; the rest stays in the bytes.
#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<ServiceHead>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceHead {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

#[derive(Debug)]
struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Files {
    by_name: BTreeMap<String, File>,
    services: BTreeSet<String>,
    /// Imports of files that have come; those that haven't come are in `wanted`.
    wanted: BTreeSet<String>,
    /// Imports that the upstream doesn't have.
    given_up: BTreeSet<String>,
    bytes: usize,
    bytes_max: usize,
    files_max: usize,
}

impl Files {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            by_name: BTreeMap::new(),
            services: BTreeSet::new(),
            wanted: BTreeSet::new(),
            given_up: BTreeSet::new(),
            bytes: 0,
            bytes_max: budget.bytes_max,
            files_max: budget.files_max,
        }
    }

    pub(super) fn add_all(
        &mut self,
        files: Vec<Bytes>,
        asked: &Question,
    ) -> Result<(), ReflectionProblem> {
        files.into_iter().try_for_each(|file| self.add(file, asked))
    }

    fn add(&mut self, bytes: Bytes, asked: &Question) -> Result<(), ReflectionProblem> {
        let garbage = |reason: String| ReflectionProblem::Garbage {
            asked: asked.clone(),
            reason,
        };
        let head = Head::decode(bytes.clone()).map_err(|error| garbage(error.to_string()))?;
        if head.name.is_empty() {
            return Err(garbage("it has no name".to_owned()));
        }
        if let Some(known) = self.by_name.get(&head.name) {
            if known.bytes == bytes {
                return Ok(());
            }
            return Err(ReflectionProblem::TwoFiles { file: head.name });
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > self.bytes_max {
            return Err(ReflectionProblem::TooMany {
                what: "bytes of descriptors",
                limit: self.bytes_max,
            });
        }
        self.room_for_one()?;
        for service in head.service {
            self.services.insert(match head.package.as_str() {
                "" => service.name,
                package => format!("{package}.{}", service.name),
            });
        }
        self.wanted.remove(&head.name);
        for import in &head.dependency {
            if !self.by_name.contains_key(import)
                && !self.given_up.contains(import)
                && *import != head.name
            {
                self.wanted.insert(import.clone());
            }
        }
        let imports = head.dependency;
        self.by_name.insert(head.name, File { bytes, imports });
        Ok(())
    }

    /// Whether a file that has come declares this service (full name).
    pub(super) fn declare(&self, service: &str) -> bool {
        self.services.contains(service)
    }

    pub(super) fn contain(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// An import to ask for. The same one until its file comes or it is given up.
    pub(super) fn next_missing_import(&self) -> Option<String> {
        self.wanted.first().cloned()
    }

    /// Asks for it no more. Such names count as files: a server could make them up without end.
    pub(super) fn give_up(&mut self, import: &str) -> Result<(), ReflectionProblem> {
        self.room_for_one()?;
        self.wanted.remove(import);
        self.given_up.insert(import.to_owned());
        Ok(())
    }

    fn room_for_one(&self) -> Result<(), ReflectionProblem> {
        if self.by_name.len().saturating_add(self.given_up.len()) < self.files_max {
            return Ok(());
        }
        Err(ReflectionProblem::TooMany {
            what: "files",
            limit: self.files_max,
        })
    }

    /// A serialised `FileDescriptorSet`: each file after its imports. A cycle of imports is broken
    /// somewhere; whoever links the set reports it.
    pub(super) fn into_set(self) -> Vec<u8> {
        let mut file = Vec::with_capacity(self.by_name.len());
        let mut seen = BTreeSet::new();
        for root in self.by_name.keys() {
            // Depth first with a stack of our own: an import chain may be as long as the budget.
            let mut open = vec![(root.as_str(), false)];
            while let Some((name, imports_done)) = open.pop() {
                let Some(entry) = self.by_name.get(name) else {
                    continue;
                };
                if imports_done {
                    file.push(entry.bytes.clone());
                } else if seen.insert(name) {
                    open.push((name, true));
                    open.extend(entry.imports.iter().rev().map(|i| (i.as_str(), false)));
                }
            }
        }
        Set { file }.encode_to_vec()
    }
}
