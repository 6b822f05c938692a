//! The files of a schema as clients may have them: one consistent pool, whatever the sources were.
//!
//! Sources bring files of the same name with other content, and declarations that another source's
//! file has too. Here each declaration stands in one file, the one that the schema took it from; names
//! are given once, and imports lead to where things are. Files are cut on the wire, so options that
//! nobody here knows stay. Comments are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::descriptor::{FieldDescriptor, MessageDescriptor, ServiceDescriptor};
use super::names;
use super::sources::{Item, SourceFile, Unit, item_name, items};
use super::wire::Pieces;

/// Index of a file in its [`Files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

/// Fields of `FileDescriptorProto`.
const NAME: u32 = 1;
const DEPENDENCY: u32 = 3;
const MESSAGE: u32 = 4;
const ENUM: u32 = 5;
const SERVICE: u32 = 6;
const EXTENSION: u32 = 7;
const SOURCE_CODE_INFO: u32 = 9;
const PUBLIC_DEPENDENCY: u32 = 10;
const WEAK_DEPENDENCY: u32 = 11;
/// Of `ServiceDescriptorProto`.
const METHOD: u32 = 2;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// A message, an enum or an extension.
    Type,
    Service,
    Method,
}

/// A pool of files. Empty unless the schema's builder was told to keep them.
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<File>,
    by_name: HashMap<Box<str>, FileId>,
    symbols: HashMap<Box<str>, (SymbolKind, FileId)>,
    /// By the extended message and the number.
    extensions: HashMap<Box<str>, BTreeMap<i32, FileId>>,
}

#[derive(Debug)]
struct File {
    bytes: Bytes,
    package: Box<str>,
    imports: Box<[FileId]>,
    has_services: bool,
}

impl Files {
    /// A file by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<FileId> {
        self.by_name.get(name).copied()
    }

    /// The file that declares a message, an enum, an extension, a service or a method.
    #[must_use]
    pub fn declaring(&self, full_name: &str) -> Option<(SymbolKind, FileId)> {
        self.symbols.get(full_name).copied()
    }

    /// The extensions of a message by their numbers.
    #[must_use]
    pub fn extensions(&self, message: &str) -> Option<&BTreeMap<i32, FileId>> {
        self.extensions.get(message)
    }

    /// An encoded `FileDescriptorProto`, with those of its services' methods that `keep` wants; it is
    /// given the service's full name and the method's.
    #[must_use]
    pub fn encoded(&self, id: FileId, keep: impl Fn(&str, &str) -> bool) -> Bytes {
        match self.files.get(id.0 as usize) {
            Some(file) if file.has_services => file.with_methods(keep).into(),
            Some(file) => file.bytes.clone(),
            None => Bytes::new(),
        }
    }

    /// The files that these need, themselves included, and those that extend what is in them.
    #[must_use]
    pub fn closure(&self, roots: impl IntoIterator<Item = FileId>) -> HashSet<FileId> {
        let mut all = HashSet::new();
        let mut open: Vec<FileId> = roots.into_iter().collect();
        loop {
            while let Some(id) = open.pop() {
                if all.insert(id)
                    && let Some(file) = self.files.get(id.0 as usize)
                {
                    open.extend(file.imports.iter());
                }
            }
            let extended = self.extensions.iter().filter(|(message, _)| {
                let declared = self.declaring(message);
                declared.is_some_and(|(_, file)| all.contains(&file))
            });
            let more = extended.flat_map(|(_, by_number)| by_number.values());
            open.extend(more.filter(|id| !all.contains(id)));
            if open.is_empty() {
                return all;
            }
        }
    }
}

impl File {
    fn with_methods(&self, keep: impl Fn(&str, &str) -> bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        for piece in Pieces(&self.bytes) {
            let Some(content) = piece.content.filter(|_| piece.tag == SERVICE) else {
                out.extend_from_slice(piece.whole);
                continue;
            };
            let head = ServiceDescriptor::decode(content).unwrap_or_default();
            let service = names::join(&self.package, head.name.as_deref().unwrap_or_default());
            let mut methods = head.method.iter();
            let mut kept = Vec::with_capacity(content.len());
            let mut some = false;
            for piece in Pieces(content) {
                if piece.tag == METHOD {
                    let name = methods.next().and_then(|m| m.name.as_deref());
                    if !keep(&service, name.unwrap_or_default()) {
                        continue;
                    }
                    some = true;
                }
                kept.extend_from_slice(piece.whole);
            }
            if some {
                put(SERVICE, &kept, &mut out);
            }
        }
        out
    }
}

fn put(tag: u32, content: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn tag_of(item: Item<'_>) -> u32 {
    match item {
        Item::Message(_) => MESSAGE,
        Item::Enum(_) => ENUM,
        Item::Service(_) => SERVICE,
        Item::Extension(_) => EXTENSION,
    }
}

/// The pool of what was merged.
pub(super) fn collect(sources: &[SourceFile], units: &[Unit<'_>]) -> Files {
    Collecting::new(sources, units).run(units)
}

/// A file's imports: where they lead, and whether publicly.
type Imports = BTreeMap<FileId, bool>;

struct Collecting<'a> {
    sources: &'a [SourceFile],
    /// Where each top-level declaration is.
    owners: HashMap<String, usize>,
    /// What of a source file is in the pool: field and index.
    owned: HashSet<(usize, u32, usize)>,
    /// The pool's files among the sources; those are left out that have nothing in it.
    served: Vec<usize>,
    /// The same the other way round.
    ids: HashMap<usize, FileId>,
    by_origin: HashMap<(&'a str, &'a str), usize>,
    by_name: HashMap<&'a str, usize>,
}

impl<'a> Collecting<'a> {
    fn new(sources: &'a [SourceFile], units: &[Unit<'_>]) -> Self {
        let package = |at: usize| sources.get(at).map_or("", package);
        let full = |unit: &Unit<'_>| names::join(package(unit.file), item_name(unit.item));
        let owned = units.iter().map(|u| (u.file, tag_of(u.item), u.index));
        let mut collecting = Self {
            sources,
            owners: units.iter().map(|u| (full(u), u.file)).collect(),
            owned: owned.collect(),
            served: Vec::new(),
            ids: HashMap::new(),
            by_origin: HashMap::new(),
            by_name: HashMap::new(),
        };
        let holders: HashSet<usize> = units.iter().map(|u| u.file).collect();
        for (at, source) in sources.iter().enumerate() {
            let origin = (&*source.origin, name(source));
            collecting.by_origin.entry(origin).or_insert(at);
            collecting.by_name.entry(name(source)).or_insert(at);
            // A file of imports alone is in the way of nothing.
            if holders.contains(&at) || items(&source.file).next().is_none() {
                let id = FileId(u32::try_from(collecting.served.len()).unwrap_or(u32::MAX));
                collecting.ids.insert(at, id);
                collecting.served.push(at);
            }
        }
        collecting
    }

    fn run(self, units: &[Unit<'_>]) -> Files {
        let graph = self.graph();
        let mut pool = Files::default();
        let mut names = Vec::with_capacity(self.served.len());
        for (id, source) in self.served() {
            let name = pool.free_name(name(source));
            pool.by_name.insert(name.clone().into(), id);
            names.push(name);
        }
        for ((at, (_, source)), imports) in self.served.iter().zip(self.served()).zip(&graph) {
            pool.files.push(File {
                bytes: self.rewritten(*at, source, imports, &names).into(),
                package: package(source).into(),
                imports: imports.keys().copied().collect(),
                has_services: !source.file.service.is_empty(),
            });
        }
        for unit in units {
            let source = self.sources.get(unit.file);
            if let (Some(id), Some(source)) = (self.ids.get(&unit.file), source) {
                pool.declare(package(source), unit.item, *id);
            }
        }
        pool
    }

    fn served(&self) -> impl Iterator<Item = (FileId, &'a SourceFile)> {
        let sources = self.served.iter().filter_map(|at| self.sources.get(*at));
        (0..).map(FileId).zip(sources)
    }

    fn graph(&self) -> Vec<Imports> {
        let mut graph: Vec<Imports> = self
            .served()
            .map(|(id, source)| {
                let mut own = BTreeMap::new();
                for (at, public) in self.imported(source) {
                    if let Some(to) = self.ids.get(&at).filter(|to| **to != id) {
                        *own.entry(*to).or_default() |= public;
                    }
                }
                own
            })
            .collect();
        // What isn't where it was: there may be no way to it without going round.
        for (id, source) in self.served() {
            let mut wanted: Vec<(FileId, bool)> = Vec::new();
            let mut seen = HashSet::new();
            let mut open = vec![(source, false)];
            open.extend(self.imported(source).filter_map(|(at, public)| {
                let source = self.sources.get(at)?;
                Some((source, public))
            }));
            while let Some((from, public)) = open.pop() {
                if !seen.insert(std::ptr::from_ref(from)) {
                    continue;
                }
                wanted.extend(self.moved(from).map(|to| (to, public)));
                if std::ptr::eq(from, source) {
                    continue;
                }
                let passed_on = self.imported(from).filter(|(_, public)| *public);
                open.extend(passed_on.filter_map(|(at, _)| Some((self.sources.get(at)?, public))));
            }
            for (to, public) in wanted {
                if to != id
                    && !reaches(&graph, to, id)
                    && let Some(own) = graph.get_mut(id.0 as usize)
                {
                    *own.entry(to).or_default() |= public;
                }
            }
        }
        graph
    }

    /// The source files that one imports, and whether publicly.
    fn imported(&self, source: &'a SourceFile) -> impl Iterator<Item = (usize, bool)> {
        let names = source.file.dependency.iter().zip(0..);
        names.filter_map(|(name, index)| {
            let own = self.by_origin.get(&(&*source.origin, name.as_str()));
            let at = own.or_else(|| self.by_name.get(name.as_str()))?;
            Some((*at, source.file.public_dependency.contains(&index)))
        })
    }

    /// Where that of its declarations is which the pool has from other files.
    fn moved(&self, source: &SourceFile) -> impl Iterator<Item = FileId> {
        let package = package(source);
        let owners = items(&source.file)
            .filter_map(|(_, item)| self.owners.get(&names::join(package, item_name(item))));
        owners.filter_map(|at| self.ids.get(at).copied())
    }

    fn rewritten(
        &self,
        at: usize,
        source: &SourceFile,
        imports: &Imports,
        names: &[String],
    ) -> Vec<u8> {
        let name_of = |id: FileId| names.get(id.0 as usize).map_or("", String::as_str);
        let mut out = Vec::with_capacity(source.raw.len());
        if let Some(id) = self.ids.get(&at) {
            put(NAME, name_of(*id).as_bytes(), &mut out);
        }
        for (id, index) in imports.keys().zip(0_u64..) {
            put(DEPENDENCY, name_of(*id).as_bytes(), &mut out);
            if imports.get(id) == Some(&true) {
                encode_key(PUBLIC_DEPENDENCY, WireType::Varint, &mut out);
                encode_varint(index, &mut out);
            }
        }
        let mut counts = HashMap::new();
        for piece in Pieces(&source.raw) {
            match piece.tag {
                NAME | DEPENDENCY | PUBLIC_DEPENDENCY | WEAK_DEPENDENCY | SOURCE_CODE_INFO => {}
                MESSAGE | ENUM | SERVICE | EXTENSION => {
                    let index: &mut usize = counts.entry(piece.tag).or_default();
                    if self.owned.contains(&(at, piece.tag, *index)) {
                        out.extend_from_slice(piece.whole);
                    }
                    *index = index.saturating_add(1);
                }
                _ => out.extend_from_slice(piece.whole),
            }
        }
        out
    }
}

fn reaches(graph: &[Imports], from: FileId, to: FileId) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        if id == to {
            return true;
        }
        if seen.insert(id) {
            let imports = graph.get(id.0 as usize);
            open.extend(imports.into_iter().flat_map(|i| i.keys()));
        }
    }
    false
}

fn name(source: &SourceFile) -> &str {
    source.file.name.as_deref().unwrap_or_default()
}

fn package(source: &SourceFile) -> &str {
    source.file.package.as_deref().unwrap_or_default()
}

impl Files {
    /// The name, or one like it where another file has it.
    fn free_name(&self, name: &str) -> String {
        let others = (2_usize..).map(|n| format!("{n}/{name}"));
        let mut names = std::iter::once(name.to_owned()).chain(others);
        let free = names.find(|n| !self.by_name.contains_key(n.as_str()));
        free.unwrap_or_default()
    }

    fn declare(&mut self, scope: &str, item: Item<'_>, file: FileId) {
        let full = names::join(scope, item_name(item));
        match item {
            Item::Message(message) => self.declare_message(scope, message, file),
            Item::Enum(_) => self.symbol(full, SymbolKind::Type, file),
            Item::Extension(extension) => self.declare_extension(scope, extension, file),
            Item::Service(service) => {
                for method in &service.method {
                    let name = names::join(&full, method.name.as_deref().unwrap_or_default());
                    self.symbol(name, SymbolKind::Method, file);
                }
                self.symbol(full, SymbolKind::Service, file);
            }
        }
    }

    // The recursion is bounded: prost refuses messages nested over 100 deep.
    fn declare_message(&mut self, scope: &str, message: &MessageDescriptor, file: FileId) {
        let full = names::join(scope, message.name.as_deref().unwrap_or_default());
        for nested in &message.nested_type {
            self.declare_message(&full, nested, file);
        }
        for nested in &message.enum_type {
            let name = names::join(&full, nested.name.as_deref().unwrap_or_default());
            self.symbol(name, SymbolKind::Type, file);
        }
        for extension in &message.extension {
            self.declare_extension(&full, extension, file);
        }
        self.symbol(full, SymbolKind::Type, file);
    }

    fn declare_extension(&mut self, scope: &str, extension: &FieldDescriptor, file: FileId) {
        let name = names::join(scope, extension.name.as_deref().unwrap_or_default());
        self.symbol(name, SymbolKind::Type, file);
        let message = extension.extendee.as_deref().unwrap_or_default();
        let message = message.strip_prefix('.').unwrap_or(message);
        let numbers = self.extensions.entry(message.into()).or_default();
        numbers.insert(extension.number.unwrap_or_default(), file);
    }

    fn symbol(&mut self, name: String, kind: SymbolKind, file: FileId) {
        self.symbols.insert(name.into(), (kind, file));
    }
}

#[cfg(test)]
mod tests;
