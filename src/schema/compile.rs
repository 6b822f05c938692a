//! `.proto` texts to an encoded `FileDescriptorSet`, options and locations kept.
//!
//! protox parses and prost-reflect links; neither was made for strangers' input, so each call is behind
//! size and nesting limits and `catch_unwind`, and we walk the imports ourselves (theirs recurses).
//! Files are looked for among the given ones, then the built-in ones, then `google/protobuf`.
//! Editions texts are refused with a way out: protox knows no `edition = …`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use protox::prost_reflect::DescriptorPool;
use protox::prost_reflect::prost_types::FileDescriptorProto;

use super::builtin;
use super::diagnostics;
use super::error::{Place, SchemaError};
use super::names;
use super::stub_options;

/// One `.proto` text.
pub const TEXT_BYTES_MAX: usize = 8 << 20;
/// All texts of one call.
pub const TEXTS_BYTES_MAX: usize = 256 << 20;
/// Files of one call.
pub const TEXT_FILES_MAX: usize = 20_000;

type Texts<'a> = HashMap<Cow<'a, str>, &'a str>;

/// Compiles `(virtual path, text)` pairs: the path is what an `import` says, from the folder's root,
/// with `/` between its parts. Imported built-in files are in the result.
///
/// Vendored copies of built-in files under another root (`third_party/google/api/http.proto`) stand in
/// for the built-in ones. Copies of protobuf's well-known files are passed over, and whatever else lies in
/// `google/protobuf/` is compiled only when another file imports it.
///
/// # Errors
/// Every fault of every file, with its place; the origin of each is left for the caller to set.
pub fn compile(files: &[(String, String)]) -> Result<Vec<u8>, Vec<SchemaError>> {
    let (set, errors) = compile_good(files);
    if errors.is_empty() {
        Ok(set)
    } else {
        Err(errors)
    }
}

/// [`compile`] that keeps the files without fault whose imports are without fault as well: a set that
/// links, and every fault of the others. For whoever wants to know what else is wrong.
#[must_use]
pub fn compile_good(files: &[(String, String)]) -> (Vec<u8>, Vec<SchemaError>) {
    let refuse = |message: String| (Vec::new(), vec![SchemaError::new(message)]);
    if files.len() > TEXT_FILES_MAX {
        return refuse(format!(
            "{} files; at most {TEXT_FILES_MAX} are compiled",
            files.len()
        ));
    }
    let total = files
        .iter()
        .map(|(_, text)| text.len())
        .fold(0_usize, usize::saturating_add);
    if total > TEXTS_BYTES_MAX {
        return refuse(format!(
            "{total} bytes of text; at most {TEXTS_BYTES_MAX} are compiled"
        ));
    }
    let mut texts = Texts::with_capacity(files.len());
    let mut roots: Vec<&str> = Vec::with_capacity(files.len());
    for (path, text) in files {
        let name = canonical(path);
        // Editors on Windows leave one; protoc skips it too.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if builtin::is_protobuf(name) {
            continue;
        }
        if name == path {
            texts.insert(Cow::Borrowed(name), text);
        } else {
            texts.entry(Cow::Borrowed(name)).or_insert(text);
        }
        // protobuf's own tree brings tests and generator options that only it needs.
        if !name.starts_with("google/protobuf/") {
            roots.push(name);
        }
    }
    Compiler::new(texts).run(roots)
}

/// Compiles built-in files by name.
pub(super) fn compile_named<'a>(
    paths: impl Iterator<Item = &'a str>,
) -> Result<Vec<u8>, Vec<SchemaError>> {
    let (set, errors) = Compiler::new(Texts::new()).run(paths.collect());
    if errors.is_empty() {
        Ok(set)
    } else {
        Err(errors)
    }
}

/// The name by which others import this file: a vendored copy goes by the name it is known by.
fn canonical(path: &str) -> &str {
    if builtin::is_known(path) {
        return path;
    }
    path.match_indices('/')
        .filter_map(|(at, _)| path.get(at.saturating_add(1)..))
        .find(|tail| builtin::is_known(tail))
        .unwrap_or(path)
}

struct Compiler<'a> {
    texts: Texts<'a>,
    parsed: HashMap<String, FileDescriptorProto>,
    /// Files with faults of their own.
    failed: HashSet<String>,
    errors: Vec<SchemaError>,
    seen_errors: HashSet<String>,
}

impl<'a> Compiler<'a> {
    fn new(texts: Texts<'a>) -> Self {
        Self {
            texts,
            parsed: HashMap::new(),
            failed: HashSet::new(),
            errors: Vec::new(),
            seen_errors: HashSet::new(),
        }
    }

    fn run(mut self, roots: Vec<&str>) -> (Vec<u8>, Vec<SchemaError>) {
        for root in &roots {
            self.parse(root);
        }
        let order = self.order(&roots);
        (self.link(order), self.errors)
    }

    fn error(&mut self, error: SchemaError) {
        if self.errors.len() < super::sources::FAULTS_MAX
            && self.seen_errors.insert(error.to_string())
        {
            self.errors.push(error);
        }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.texts
            .get(name)
            .copied()
            .or_else(|| builtin::text(name))
    }

    /// Parses a file once; false when there is none of that name.
    fn parse(&mut self, name: &str) -> bool {
        if self.parsed.contains_key(name) {
            return true;
        }
        let Some(text) = self.text(name) else {
            let known = builtin::is_protobuf(name)
                .then(|| DescriptorPool::global().get_file_by_name(name))
                .flatten();
            let Some(file) = known else { return false };
            self.parsed
                .insert(name.to_owned(), file.file_descriptor_proto().clone());
            return true;
        };
        let file = match parse_text(name, text) {
            Ok(mut file) => {
                stub_options::strip(&mut file, |stub| !self.texts.contains_key(stub));
                file
            }
            Err(errors) => {
                errors.into_iter().for_each(|e| self.error(e));
                self.failed.insert(name.to_owned());
                // Still "there", so that whoever imports it isn't blamed as well.
                FileDescriptorProto::default()
            }
        };
        self.parsed.insert(name.to_owned(), file);
        true
    }

    /// All files that are needed, imports before importers; with a stack of our own, because a chain
    /// of imports may be as long as there are files.
    fn order(&mut self, roots: &[&str]) -> Vec<String> {
        let mut order = Vec::new();
        let mut open: HashSet<String> = HashSet::new();
        let mut done: HashSet<String> = HashSet::new();
        for root in roots {
            let mut stack: Vec<(String, usize)> = vec![((*root).to_owned(), 0)];
            while let Some((name, next)) = stack.pop() {
                if next == 0 && (done.contains(&name) || !open.insert(name.clone())) {
                    continue;
                }
                let import = self
                    .parsed
                    .get(&name)
                    .and_then(|f| f.dependency.get(next))
                    .cloned();
                let Some(import) = import else {
                    open.remove(&name);
                    done.insert(name.clone());
                    order.push(name);
                    continue;
                };
                stack.push((name.clone(), next.saturating_add(1)));
                if open.contains(&import) {
                    self.cycle(&stack, &import, next);
                } else if self.parse(&import) {
                    if !done.contains(&import) {
                        stack.push((import, 0));
                    }
                } else {
                    self.missing(&name, &import, next);
                }
            }
        }
        order
    }

    fn cycle(&mut self, stack: &[(String, usize)], import: &str, index: usize) {
        let mut path: Vec<&str> = stack
            .iter()
            .map(|(name, _)| name.as_str())
            .skip_while(|n| *n != import)
            .collect();
        path.push(import);
        let message = if path.len() > 12 {
            format!(
                "files import each other in a circle of {}",
                path.len().saturating_sub(1)
            )
        } else {
            format!("files import each other: {}", path.join(" -> "))
        };
        let name = stack
            .last()
            .map(|(name, _)| name.clone())
            .unwrap_or_default();
        let error = self.at_import(&name, index, SchemaError::new(message));
        self.error(error);
        self.failed.insert(name);
    }

    fn missing(&mut self, name: &str, import: &str, index: usize) {
        let tail = canonical(import);
        let elsewhere = self.texts.keys().find(|path| {
            path.strip_suffix(import)
                .is_some_and(|root| root.ends_with('/'))
        });
        let help = if tail != import {
            format!("{tail} is built in, no need to vendor it: import it by that name")
        } else if let Some(path) = elsewhere {
            let root = path.strip_suffix(import).unwrap_or_default();
            format!(
                "{path} is there: name {root} as a folder of protos of its own, or import the file by its whole path"
            )
        } else {
            format!(
                "looked for among the {} given files, the built-in ones (google/api, google/rpc, google/type, …) and google/protobuf",
                self.texts.len()
            )
        };
        let error = SchemaError::new(format!(
            "the import {:?} is nowhere to be found",
            names::shown(import)
        ))
        .with_help(help)
        .lacking();
        let error = self.at_import(name, index, error);
        self.error(error);
        self.failed.insert(name.to_owned());
    }

    /// Puts the place of a file's `index`th import on an error.
    fn at_import(&self, name: &str, index: usize, error: SchemaError) -> SchemaError {
        let error = error.in_file(&names::shown(name));
        let info = self
            .parsed
            .get(name)
            .and_then(|f| f.source_code_info.as_ref());
        let wanted = i32::try_from(index).map(|index| [3, index]);
        let span = info.and_then(|info| {
            info.location
                .iter()
                .find(|l| Ok(l.path.as_slice()) == wanted.as_ref().map(<[i32; 2]>::as_slice))
        });
        let Some([line, column, rest @ ..]) = span.map(|l| l.span.as_slice()) else {
            return error;
        };
        let from_one = |n: i32| usize::try_from(n).unwrap_or_default().saturating_add(1);
        let width = match rest {
            [end] => usize::try_from(end.saturating_sub(*column))
                .unwrap_or(1)
                .max(1),
            _ => 1,
        };
        let line = from_one(*line);
        let snippet = self
            .text(name)
            .and_then(|t| t.lines().nth(line.saturating_sub(1)))
            .map(diagnostics::snippet);
        error.at(Place {
            line,
            column: from_one(*column),
            width,
            snippet,
        })
    }

    /// The encoded set of the files that have no fault, nor import one that has.
    fn link(&mut self, order: Vec<String>) -> Vec<u8> {
        let mut pool = DescriptorPool::new();
        for name in order {
            let Some(file) = self.parsed.remove(&name) else {
                continue;
            };
            // What misses a type only because its file failed is no fault of its own.
            let mut imports = file.dependency.iter();
            if self.failed.contains(&name) || imports.any(|import| self.failed.contains(import)) {
                self.failed.insert(name);
                continue;
            }
            let added = catch_unwind(AssertUnwindSafe(|| pool.add_file_descriptor_proto(file)));
            match added {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => {
                    let text = self.text(&name).unwrap_or_default();
                    let found = diagnostics::of(&error.with_source_code(text), &name, text);
                    found.into_iter().for_each(|e| self.error(e));
                }
                Err(_) => {
                    // The pool may be half written: nothing more can be learned from it.
                    self.error(crashed(&name));
                    return Vec::new();
                }
            }
            self.failed.insert(name);
        }
        pool.encode_to_vec()
    }
}

fn crashed(name: &str) -> SchemaError {
    SchemaError::new("the compiler gave up on this file")
        .in_file(&names::shown(name))
        .with_help("compile it with protoc or buf and use the descriptor set")
}

fn parse_text(name: &str, text: &str) -> Result<FileDescriptorProto, Vec<SchemaError>> {
    let fail = |error: SchemaError| Err(vec![error.in_file(&names::shown(name))]);
    if text.len() > TEXT_BYTES_MAX {
        return fail(SchemaError::new(format!(
            "the file has {} bytes; at most {TEXT_BYTES_MAX} are compiled",
            text.len()
        )));
    }
    if let Some(offset) = diagnostics::edition_keyword(text) {
        let place = diagnostics::place(text, offset, "edition".len());
        return fail(
            SchemaError::new("editions can't be compiled from text")
                .at(place)
                .with_help("compile the file with protoc or buf and name the result as `file:`, or take it from the service by `reflection:`"),
        );
    }
    if let Some(offset) = diagnostics::too_deep(text) {
        let place = diagnostics::place(text, offset, 1);
        return fail(SchemaError::new("the file nests too deep").at(place));
    }
    match catch_unwind(AssertUnwindSafe(|| {
        protox::file::File::from_source(name, text)
    })) {
        Ok(Ok(file)) => Ok(file.into()),
        Ok(Err(error)) => Err(diagnostics::of(&error, name, text)),
        Err(_) => Err(vec![crashed(name)]),
    }
}
