//! Sources to one pool: decode, check sizes, and settle what two sources both declare.
//!
//! The unit of merging is a top-level declaration (message, enum, service, extension) by full name,
//! not a file: teams have a `service.proto` each, and one file goes by different paths in different
//! trees. Equal declarations are one; different ones of the same name are a clash that names both
//! sources. Packages that everyone vendors (`google.*`, `validate` …) come in many versions on
//! purpose: there the richest wins, and our built-in text stays unless the other keeps all of it.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;

use super::annotations;
use super::builtin;
use super::descriptor::{
    EnumDescriptor, FieldDescriptor, FileDescriptor, FileName, MessageDescriptor, RawSet,
    ServiceDescriptor,
};
use super::editions::{self, Features, Syntax};
use super::error::SchemaError;
use super::files;
use super::link;
use super::names;
use super::types::Schema;
use super::wire;

/// A set above this is refused unread. All of googleapis with comments is a quarter of it.
pub const SET_BYTES_MAX: usize = 128 << 20;
/// Files of all sources together.
pub const FILES_MAX: usize = 50_000;
/// Faults reported; the last line says how many more there were.
pub const FAULTS_MAX: usize = 1000;

/// Gathers descriptor sets and links them.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    files: Vec<SourceFile>,
    keep_files: bool,
    keep_annotations: bool,
}

/// A decoded file and where it came from.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// `file arcade.binpb`
    pub origin: Arc<str>,
    /// `file arcade.binpb: games.proto`
    pub label: Arc<str>,
    pub file: FileDescriptor,
    /// As it came.
    pub raw: bytes::Bytes,
    pub syntax: Syntax,
    pub features: Features,
    pub rank: Rank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    User,
    BuiltIn,
}

impl SchemaBuilder {
    /// An empty builder; the built-in descriptors join at [`build`](Self::build).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the files of an encoded `FileDescriptorSet`. `source` is what errors call it, such as
    /// `file arcade.binpb` or `reflection games`.
    ///
    /// # Errors
    /// The bytes are no descriptor set, or a file's header can't be understood. Nothing is added then.
    pub fn add_set(&mut self, source: &str, bytes: &[u8]) -> Result<(), SchemaError> {
        let files = decode_set(source, bytes, Rank::User)?;
        if self.files.len().saturating_add(files.len()) > FILES_MAX {
            return Err(
                SchemaError::new(format!("more than {FILES_MAX} files in all sources"))
                    .with_origin(source),
            );
        }
        self.files.extend(files);
        Ok(())
    }

    /// Lets the schema keep its files, for whoever asks for them.
    #[must_use]
    pub fn keep_files(mut self, keep: bool) -> Self {
        self.keep_files = keep;
        self
    }

    /// Lets the schema keep comments, for whoever writes documents.
    #[must_use]
    pub fn keep_annotations(mut self, keep: bool) -> Self {
        self.keep_annotations = keep;
        self
    }

    /// Links everything that was added, with the built-in descriptors behind it.
    ///
    /// # Errors
    /// Every fault of every source, a thousand at most.
    pub fn build(mut self) -> Result<Schema, Vec<SchemaError>> {
        match builtin::pool_set() {
            Ok(bytes) => match decode_set("built in", bytes, Rank::BuiltIn) {
                Ok(files) => self.files.extend(files),
                Err(error) => return Err(vec![error]),
            },
            Err(errors) => return Err(errors.clone()),
        }
        let mut faults = Faults::default();
        let units = merge(&self.files, &mut faults);
        let mut schema = link::link(&self.files, &units, &mut faults);
        if self.keep_files {
            schema.files = files::collect(&self.files, &units);
        }
        if self.keep_annotations {
            schema.annotations = annotations::collect(&self.files, &units);
        }
        faults.finish(schema)
    }
}

/// Collected faults, bounded.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    list: Vec<SchemaError>,
    more: usize,
}

impl Faults {
    pub fn push(&mut self, error: SchemaError) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(error);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn finish(mut self, schema: Schema) -> Result<Schema, Vec<SchemaError>> {
        if self.list.is_empty() {
            return Ok(schema);
        }
        if self.more > 0 {
            self.list
                .push(SchemaError::new(format!("and {} more", self.more)));
        }
        Err(self.list)
    }
}

fn decode_set(source: &str, bytes: &[u8], rank: Rank) -> Result<Vec<SourceFile>, SchemaError> {
    let fail = |message: String| SchemaError::new(message).with_origin(source);
    if bytes.len() > SET_BYTES_MAX {
        return Err(fail(format!(
            "the descriptor set has {} bytes; at most {SET_BYTES_MAX} are read",
            bytes.len()
        )));
    }
    if !wire::is_moderate(bytes) {
        return Err(fail(format!(
            "the descriptor set declares more than {} things",
            wire::ELEMENTS_MAX
        )));
    }
    let set = RawSet::decode(bytes).map_err(|e| {
        fail(format!("not a FileDescriptorSet: {e}"))
            .with_help("make one with protoc --include_imports --descriptor_set_out=x.binpb, or buf build -o x.binpb")
    })?;
    if set.file.len() > FILES_MAX {
        return Err(fail(format!("more than {FILES_MAX} files in one set")));
    }
    let origin: Arc<str> = source.into();
    let mut files = Vec::with_capacity(set.file.len());
    for (index, raw) in set.file.iter().enumerate() {
        files.push(decode_file(&origin, index, raw, rank)?);
    }
    Ok(files)
}

fn decode_file(
    origin: &Arc<str>,
    index: usize,
    raw: &bytes::Bytes,
    rank: Rank,
) -> Result<SourceFile, SchemaError> {
    let mut file = match FileDescriptor::decode(raw.clone()) {
        Ok(file) => file,
        Err(error) => {
            let name = FileName::decode(raw.clone()).ok().and_then(|f| f.name);
            let name = name.unwrap_or_else(|| format!("#{}", index.saturating_add(1)));
            return Err(SchemaError::new(format!("not a file descriptor: {error}"))
                .with_origin(origin)
                .in_file(&names::shown(&name)));
        }
    };
    let name = names::shown(file.name.as_deref().unwrap_or("(unnamed file)"));
    let fail = |message: String| SchemaError::new(message).with_origin(origin).in_file(&name);
    let (syntax, features) = editions::of_file(&file).map_err(fail)?;
    let package = file.package.as_deref().unwrap_or_default();
    if !package.is_empty() {
        if package.len() > names::FULL_NAME_BYTES_MAX {
            return Err(fail("the package name is too long".to_owned()));
        }
        if let Some(bad) = package.split('.').find(|part| !names::is_identifier(part)) {
            return Err(fail(format!(
                "package {package:?}: {bad:?} is not an identifier"
            )));
        }
    }
    normalise(&mut file);
    let label = format!("{origin}: {name}").into();
    file.name = Some(name);
    Ok(SourceFile {
        origin: Arc::clone(origin),
        label,
        file,
        raw: raw.clone(),
        syntax,
        features,
        rank,
    })
}

/// Writes out what one producer states and another leaves to the default, so that equality is meaning.
fn normalise(file: &mut FileDescriptor) {
    file.message_type.iter_mut().for_each(normalise_message);
    file.extension.iter_mut().for_each(normalise_field);
}

// The recursion is bounded: prost refuses messages nested over 100 deep.
fn normalise_message(message: &mut MessageDescriptor) {
    message.field.iter_mut().for_each(normalise_field);
    message.extension.iter_mut().for_each(normalise_field);
    message.nested_type.iter_mut().for_each(normalise_message);
}

fn normalise_field(field: &mut FieldDescriptor) {
    field.label.get_or_insert(1);
    if field.extendee.is_some() {
        field.json_name = None;
    } else if field.json_name.is_none() {
        field.json_name = Some(names::json_name(field.name.as_deref().unwrap_or_default()));
    }
}

/// A top-level declaration, as it stands in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item<'a> {
    Message(&'a MessageDescriptor),
    Enum(&'a EnumDescriptor),
    Service(&'a ServiceDescriptor),
    Extension(&'a FieldDescriptor),
}

/// A declaration that is in the pool, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit<'a> {
    /// Into the builder's files.
    pub file: usize,
    /// Among its kind in that file, as source locations count.
    pub index: usize,
    pub item: Item<'a>,
}

/// All declarations, each name once, users' before built-in.
fn merge<'a>(files: &'a [SourceFile], faults: &mut Faults) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit<'a>> = Vec::new();
    let mut by_name: HashMap<String, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut clashes = Clashes::default();
    for (at, source) in files.iter().enumerate() {
        let package = source.file.package.as_deref().unwrap_or_default();
        for (index, item) in items(&source.file) {
            let unit = Unit {
                file: at,
                index,
                item,
            };
            let name = names::join(package, item_name(item));
            let Some(&slot) = by_name.get(&name) else {
                by_name.insert(name, units.len());
                units.push(unit);
                continue;
            };
            let Some(held) = units.get_mut(slot) else {
                continue;
            };
            let Some(holder) = files.get(held.file) else {
                continue;
            };
            match settle((holder, *held), (source, unit), package) {
                Verdict::Keep => {}
                Verdict::Replace => *held = unit,
                Verdict::Clash => clashes.add(files, held.file, at, &name),
            }
        }
    }
    clashes.report(files, faults);
    units
}

enum Verdict {
    Keep,
    Replace,
    Clash,
}

fn settle(held: (&SourceFile, Unit<'_>), new: (&SourceFile, Unit<'_>), package: &str) -> Verdict {
    let same_language = held.0.syntax == new.0.syntax && held.0.features == new.0.features;
    if held.1.file != new.1.file && same_language && held.1.item == new.1.item {
        return Verdict::Keep;
    }
    if held.1.file == new.1.file || !builtin::is_vendored_package(package) {
        return Verdict::Clash;
    }
    if new.0.rank == Rank::BuiltIn {
        // A user's google.rpc.Status may know more than ours, but must not mean something else.
        let stays = !builtin::is_fixed_file(new.0.file.name.as_deref().unwrap_or_default())
            && keeps_all_of(held.1.item, new.1.item);
        return if stays {
            Verdict::Keep
        } else {
            Verdict::Replace
        };
    }
    if weight(new.1.item) > weight(held.1.item) {
        Verdict::Replace
    } else {
        Verdict::Keep
    }
}

pub(super) fn items(file: &FileDescriptor) -> impl Iterator<Item = (usize, Item<'_>)> {
    let messages = file.message_type.iter().map(Item::Message).enumerate();
    let enums = file.enum_type.iter().map(Item::Enum).enumerate();
    let services = file.service.iter().map(Item::Service).enumerate();
    let extensions = file.extension.iter().map(Item::Extension).enumerate();
    messages.chain(enums).chain(services).chain(extensions)
}

pub(super) fn item_name(item: Item<'_>) -> &str {
    let name = match item {
        Item::Message(m) => &m.name,
        Item::Enum(e) => &e.name,
        Item::Service(s) => &s.name,
        Item::Extension(f) => &f.name,
    };
    name.as_deref().unwrap_or_default()
}

fn weight(item: Item<'_>) -> usize {
    match item {
        Item::Message(m) => message_weight(m),
        Item::Enum(e) => e.value.len(),
        Item::Service(s) => s.method.len(),
        Item::Extension(_) => 1,
    }
}

fn message_weight(message: &MessageDescriptor) -> usize {
    let nested = message
        .nested_type
        .iter()
        .map(message_weight)
        .sum::<usize>();
    let enums = message
        .enum_type
        .iter()
        .map(|e| e.value.len())
        .sum::<usize>();
    message
        .field
        .len()
        .saturating_add(nested)
        .saturating_add(enums)
}

/// Whether `richer` has everything of `base`, unchanged.
fn keeps_all_of(richer: Item<'_>, base: Item<'_>) -> bool {
    match (richer, base) {
        (Item::Message(richer), Item::Message(base)) => keeps_message(richer, base),
        (Item::Enum(richer), Item::Enum(base)) => {
            base.value.iter().all(|v| richer.value.contains(v))
        }
        (richer, base) => richer == base,
    }
}

fn keeps_message(richer: &MessageDescriptor, base: &MessageDescriptor) -> bool {
    let fields = base.field.iter().all(|b| {
        richer.field.iter().any(|r| {
            (&r.name, r.number, r.label, r.r#type, &r.type_name)
                == (&b.name, b.number, b.label, b.r#type, &b.type_name)
        })
    });
    let nested = base.nested_type.iter().all(|b| {
        richer
            .nested_type
            .iter()
            .any(|r| r.name == b.name && keeps_message(r, b))
    });
    let enums = base.enum_type.iter().all(|b| {
        richer
            .enum_type
            .iter()
            .any(|r| r.name == b.name && keeps_all_of(Item::Enum(r), Item::Enum(b)))
    });
    fields && nested && enums
}

/// Clashes by pair of files: two versions of one file are one fault, not one a message.
#[derive(Default)]
struct Clashes {
    pairs: Vec<(usize, usize, String, usize)>,
}

impl Clashes {
    fn add(&mut self, files: &[SourceFile], held: usize, new: usize, name: &str) {
        let seen = |pair: &&mut (usize, usize, String, usize)| pair.0 == held && pair.1 == new;
        if let Some(pair) = self.pairs.iter_mut().rev().take(64).find(seen) {
            pair.3 = pair.3.saturating_add(1);
        } else if files.len() > new {
            self.pairs.push((held, new, name.to_owned(), 0));
        }
    }

    fn report(self, files: &[SourceFile], faults: &mut Faults) {
        for (held, new, name, more) in self.pairs {
            let (Some(held_file), Some(new_file)) = (files.get(held), files.get(new)) else {
                continue;
            };
            let more = if more > 0 {
                format!("; so do {more} other names of these files")
            } else {
                String::new()
            };
            let shown = names::shown(&name);
            let error = if held == new {
                SchemaError::new(format!("declared twice in one file{more}"))
            } else {
                SchemaError::new(format!("declared differently by {}{more}", held_file.label))
                    .with_help(
                        "give all sources the same version of the file, or leave it out of one",
                    )
            };
            let file = new_file.file.name.as_deref().unwrap_or_default();
            faults.push(error.of(&shown).with_origin(&new_file.origin).in_file(file));
        }
    }
}
