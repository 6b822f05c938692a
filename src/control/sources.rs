//! From a config to a generation: descriptor sources read, linked to one schema, routes planned on it.
//! Every fault of every stage comes back in one report.
//!
//! Reads files and nothing else: what reflection answered is handed in. A `reflection` source without
//! an answer leaves its routes out, and says which.

mod partial;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Location, Report, Severity, Snippet};
use crate::config::model::{
    Config, DescriptorSource, Destination, Place, SelectorRule, Upstream, UpstreamId,
};
use crate::config::rules;
use crate::limits::{DESCRIPTOR_SET_BYTES_MAX, PROTO_BYTES_MAX, REFLECTION_INSTANCES_MAX};
use crate::live::{BuildError, Live};
use crate::schema::{self, Schema, SchemaBuilder, SchemaError};
use crate::tls;

use super::agree;
use super::certificates::{self, Absent};
use super::kept::{ContentHash, Kept};
use super::protos::{Protos, read_at_most};
use super::reflection::{self, Budget, Instance};

/// An encoded `FileDescriptorSet` for each upstream that answered.
pub type Reflections = HashMap<UpstreamId, Arc<Vec<u8>>>;

/// A generation, and what is to be said about it.
#[derive(Debug)]
pub struct Built {
    pub live: Live,
    /// Rules that aren't served, and why.
    pub report: Report,
    /// Upstreams whose reflection wasn't there.
    pub unread: Vec<UpstreamId>,
    /// What could not be checked for want of it, and is left out.
    pub unchecked: Report,
    /// What the descriptors are from, in the order of the config.
    pub read: Vec<Source>,
}

/// A source of descriptors, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `protos proto/`, `file games.binpb`, `reflection games`
    pub name: String,
    /// The upstream, of reflection.
    pub upstream: Option<UpstreamId>,
    /// Of its content, and for folders of all of them; `None` when it wasn't there.
    pub hash: Option<ContentHash>,
}

impl Built {
    /// What concerns somebody who doesn't look at every rule: warnings, and what is left out.
    #[must_use]
    pub fn warnings(&self) -> Report {
        let mut warnings = self.report.clone();
        warnings.diagnostics.retain(|d| d.severity > Severity::Note);
        warnings.extend(self.unchecked.clone());
        warnings
    }
}

/// Builds the generation of a config.
///
/// # Errors
/// Every fault of the sources, of the schema and of the routes. Where one stage has faults the next goes
/// on with what is left, and tells only what is wrong whatever the rest says.
pub fn build(
    config: &Config,
    reflections: &Reflections,
    tls: &Arc<tls::Shared>,
) -> Result<Built, Report> {
    build_with(config, reflections, tls, Absent::Fault)
}

fn build_with(
    config: &Config,
    reflections: &Reflections,
    tls: &Arc<tls::Shared>,
    absent: Absent,
) -> Result<Built, Report> {
    let mut sources = Sources::read(config, reflections);
    let mut config = config.clone();
    certificates::equip(&mut config, absent, &mut sources.report);
    let config = &config;
    let mut done = sources.build(config);
    let doors = certificates::doors(config, tls, absent, &mut sources.report);
    let wanted = certificates::wanted(config, absent, &mut sources.report);
    if let Some(live) = &mut done {
        (live.doors, live.wanted) = (doors.into(), wanted);
    }
    let (mut report, mut unchecked) = (sources.report, sources.unchecked);
    let text_of = |file: &str| sources.protos.text_of(file);
    report.quote(&text_of);
    report.sort();
    unchecked.quote(&text_of);
    match done {
        Some(live) if !report.has_errors() => Ok(Built {
            live,
            report,
            unread: sources.unread,
            unchecked,
            read: sources.read,
        }),
        _ => Err(report),
    }
}

/// Where the descriptors of `reflection` sources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// From the upstreams, but for those that have been found out of reach: that has been told.
    Ask { but: Vec<UpstreamId> },
    /// From this `FileDescriptorSet`, in place of them all.
    Instead(PathBuf),
    /// From what is kept of a running gateway (`reload.keep`), else from nowhere: what needs them is
    /// left out, and named.
    Kept,
}

/// [`build`] with the reflection that it needs. Dropping the future ends the calls to upstreams.
///
/// # Errors
/// Those of [`build`]; an upstream that was asked and gave no answer.
pub async fn load(config: &Config, reflection: &Reflection) -> Result<Built, Report> {
    let tls = Arc::default();
    let asked = reflection_sources(config);
    let mut reflections = Reflections::new();
    let mut report = Report::default();
    match reflection {
        Reflection::Kept => (reflections, report) = last_good(config),
        Reflection::Ask { but } => {
            let heard;
            let mut config = config.clone();
            config.descriptors.retain(|source| match source {
                DescriptorSource::Reflection { upstream, .. } => !but.contains(upstream),
                _ => true,
            });
            let config = &config;
            (heard, report) = reflect(config, |_| None, &Budget::default()).await;
            for (id, told) in heard {
                let agreed = agree::agree(&told, None);
                report.diagnostics.extend(agreed.disagreement(config, id));
                reflections.insert(id, agreed.descriptors);
            }
        }
        Reflection::Instead(file) => match read_at_most(file, DESCRIPTOR_SET_BYTES_MAX) {
            Ok(set) => {
                let (all, set) = (asked.into_iter(), Arc::new(set));
                reflections.extend(all.map(|(id, _)| (id, Arc::clone(&set))));
            }
            Err(error) => {
                let message = format!("can't read {}: {error}", file.display());
                return Err(Report::of(Diagnostic::error(message)));
            }
        },
    }
    if report.has_errors() {
        // What else is wrong is worth knowing, though not what only lacks the answer.
        if let Err(other) = build_with(config, &reflections, &tls, Absent::Unchecked) {
            report.extend(other);
        }
        return Err(report);
    }
    let mut built = build_with(config, &reflections, &tls, Absent::Unchecked)?;
    built.report.diagnostics.splice(..0, report.diagnostics);
    Ok(built)
}

/// What the instances of upstreams have told.
pub type Heard = HashMap<UpstreamId, Vec<Told>>;

/// What one instance has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `10.0.0.7:50051`
    pub instance: Arc<str>,
    pub descriptors: Arc<Vec<u8>>,
}

/// Asks every upstream that is a `reflection` source, those that `instances` gives of it or else all that
/// can be found, at the same time. Dropping the future ends all that it opened.
pub async fn reflect(
    config: &Config,
    instances: impl Fn(&Upstream) -> Option<Vec<Instance>>,
    budget: &Budget,
) -> (Heard, Report) {
    let asked = reflection_sources(config);
    let questions = asked.iter().filter_map(|(id, place)| {
        let upstream = config.upstreams.get(id.0 as usize)?;
        let instances = instances(upstream);
        Some(async move {
            let mut instances = match instances {
                Some(instances) => instances,
                None => Instance::all_of(upstream).await,
            };
            instances.truncate(REFLECTION_INSTANCES_MAX);
            // Building tells of files that can't be used.
            let upstream = equipped(upstream).await.ok()?;
            let answers = reflection::ask(&upstream, &instances, budget).await;
            Some((*id, place, answers))
        })
    });
    let mut heard = Heard::new();
    let mut report = Report::default();
    let answered = futures_util::future::join_all(questions).await;
    for (id, place, answers) in answered.into_iter().flatten() {
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                report.push(Diagnostic::error(error.to_string()).at(place));
                continue;
            }
        };
        for (instance, reflected) in answers {
            for missing in &reflected.missing {
                let message = format!("reflection leaves out {}: {}", missing.name, missing.reason);
                let warning = Diagnostic::warning(message).at(place);
                if !report.diagnostics.contains(&warning) {
                    report.push(warning);
                }
            }
            heard.entry(id).or_default().push(Told {
                instance: instance.to_string().into(),
                descriptors: Arc::new(reflected.descriptors),
            });
        }
    }
    quote(&mut report);
    (heard, report)
}

/// Adds the lines of the config.
pub(super) fn quote(report: &mut Report) {
    report.quote(&|file| Protos::default().text_of(file));
}

/// The upstream with the files of its TLS read, off the thread that asks.
pub(super) async fn equipped(upstream: &Upstream) -> Result<Upstream, Report> {
    let mut upstream = upstream.clone();
    if let Some(tls) = upstream.tls.clone() {
        let read = tokio::task::spawn_blocking(move || certificates::outgoing_of(&tls));
        let read = read
            .await
            .map_err(|e| Report::of(Diagnostic::error(e.to_string())))?;
        upstream.outgoing = Some(read?);
    }
    Ok(upstream)
}

/// What is kept of the upstreams that are `reflection` sources. Reads files.
fn last_good(config: &Config) -> (Reflections, Report) {
    let mut reflections = Reflections::new();
    let mut report = Report::default();
    let Some(keep) = &config.reload.keep else {
        return (reflections, report);
    };
    let kept = Kept::below(keep);
    for (id, place) in reflection_sources(config) {
        let Some(upstream) = config.upstreams.get(id.0 as usize) else {
            continue;
        };
        let name = &upstream.name;
        match kept.read(name) {
            Ok(Some(last)) => {
                let since = httpdate::fmt_http_date(last.since);
                let message = format!("descriptors of `{name}` are the last good copy, of {since}");
                let note = Diagnostic::error(message).severity(Severity::Note);
                report.push(note.at(&place));
                reflections.insert(id, Arc::new(last.descriptors));
            }
            Ok(None) => {}
            Err(error) => {
                let folder = kept.folder().display();
                let message =
                    format!("the last good descriptors in {folder} can't be read: {error}");
                report.push(Diagnostic::warning(message).at(&place));
            }
        }
    }
    quote(&mut report);
    (reflections, report)
}

/// The upstreams that are `reflection` sources, each once, and where that is written.
#[must_use]
pub fn reflection_sources(config: &Config) -> Vec<(UpstreamId, Place)> {
    let mut found: Vec<(UpstreamId, Place)> = Vec::new();
    for source in &config.descriptors {
        if let DescriptorSource::Reflection { upstream, place } = source
            && !found.iter().any(|(id, _)| id == upstream)
        {
            found.push((*upstream, Arc::clone(place)));
        }
    }
    found
}

/// What the sources hold.
struct Sources {
    builder: SchemaBuilder,
    protos: Protos,
    rules: Vec<SelectorRule>,
    /// What errors call a source, and its place in the config.
    origins: Vec<(String, Place)>,
    read: Vec<Source>,
    unread: Vec<UpstreamId>,
    unchecked: Report,
    report: Report,
    /// A `rules` file has faults, so nobody knows which annotations hold.
    rules_lost: bool,
}

impl Sources {
    fn read(config: &Config, reflections: &Reflections) -> Self {
        let mut sources = Self {
            builder: SchemaBuilder::new()
                .keep_files(config.server_reflection)
                .keep_annotations(config.documented),
            protos: Protos::default(),
            rules: Vec::new(),
            origins: Vec::new(),
            read: Vec::new(),
            unread: Vec::new(),
            unchecked: Report::default(),
            report: Report::default(),
            rules_lost: false,
        };
        for source in &config.descriptors {
            sources.source(config, source, reflections);
        }
        sources.compile();
        sources.look_for_folders(config);
        sources
    }

    /// A deployment may bring the folder of a `files` route later: until then it is worth a warning.
    fn look_for_folders(&mut self, config: &Config) {
        let mut seen = HashSet::new();
        for route in &config.routes {
            let Destination::Files(files) = &route.destination else {
                continue;
            };
            if files.root.is_dir() || !seen.insert(&files.root) {
                continue;
            }
            let root = files.root.display();
            let message = match files.root.exists() {
                true => format!("{root} is not a folder"),
                false => format!("there is no folder {root}"),
            };
            let help = "every path of this route is 404 until it is there";
            let warning = Diagnostic::warning(message).at(&files.place).help(help);
            self.report.push(warning);
        }
    }

    fn source(&mut self, config: &Config, source: &DescriptorSource, reflections: &Reflections) {
        match source {
            DescriptorSource::Protos { folder, place } => {
                let found = self.protos.add(folder, place);
                self.note_read(format!("protos {}", folder.display()), None, None);
                self.report.diagnostics.extend(found);
                self.origins.push((PROTOS.to_owned(), Arc::clone(place)));
            }
            DescriptorSource::File { file, place } => self.set_file(file, place),
            DescriptorSource::Reflection { upstream, place } => {
                let name = config.upstreams.get(upstream.0 as usize).map(|u| &*u.name);
                let origin = format!("reflection {}", name.unwrap_or_default());
                let answer = reflections.get(upstream);
                let hash = answer.map(|bytes| ContentHash::of(bytes));
                self.note_read(origin.clone(), Some(*upstream), hash);
                match answer {
                    Some(bytes) => self.set(origin, place, bytes),
                    None if self.unread.contains(upstream) => {}
                    None => self.unread.push(*upstream),
                }
            }
            DescriptorSource::Rules { file, place } => match rules::load(file) {
                Ok(rules) => {
                    let bytes = read_at_most(file, PROTO_BYTES_MAX).unwrap_or_default();
                    let name = format!("rules {}", file.display());
                    self.note_read(name, None, Some(ContentHash::of(&bytes)));
                    self.rules.extend(rules);
                }
                Err(mut report) => {
                    // A file that isn't there is a fault of the line that names it.
                    for d in report
                        .diagnostics
                        .iter_mut()
                        .filter(|d| d.snippet.is_none())
                    {
                        d.location = Some(Location::parse(place));
                    }
                    self.report.extend(report);
                    self.rules_lost = true;
                }
            },
        }
    }

    fn set_file(&mut self, file: &Path, place: &Place) {
        let name = file.display();
        match read_at_most(file, DESCRIPTOR_SET_BYTES_MAX) {
            // It would be a set of nothing: so is one that somebody has just begun to write.
            Ok(bytes) if bytes.is_empty() => {
                let fault = Diagnostic::error(format!("{name} is empty")).at(place);
                let help = "a descriptor set is what `protoc --descriptor_set_out` writes";
                self.report.push(fault.help(help));
            }
            Ok(bytes) => {
                let origin = format!("file {name}");
                self.note_read(origin.clone(), None, Some(ContentHash::of(&bytes)));
                self.set(origin, place, &bytes);
            }
            Err(error) => {
                let message = format!("can't read {name}: {error}");
                self.report.push(Diagnostic::error(message).at(place));
            }
        }
    }

    fn note_read(&mut self, name: String, upstream: Option<UpstreamId>, hash: Option<ContentHash>) {
        self.read.push(Source {
            name,
            upstream,
            hash,
        });
    }

    fn set(&mut self, origin: String, place: &Place, bytes: &[u8]) {
        let added = self.builder.add_set(&origin, bytes);
        self.origins.push((origin, Arc::clone(place)));
        if let Err(error) = added {
            self.schema_error(&error);
        }
    }

    /// All `protos` folders are one search path, so that files of one import those of another. Tried
    /// even if some could not be read: their faults are not the only ones.
    fn compile(&mut self) {
        if self.protos.is_empty() {
            return;
        }
        // A file that could not be read may have what these lack.
        let lost = self.report.has_errors();
        let texts = self.protos.texts();
        let parts = texts.iter().flat_map(|(name, text)| [name, text]);
        let hash = ContentHash::of_all(parts.map(|part| part.as_bytes()));
        for source in self.read.iter_mut().filter(|s| s.hash.is_none()) {
            if source.upstream.is_none() {
                source.hash = Some(hash);
            }
        }
        let (set, mut errors) = schema::compile_good(&texts);
        errors.extend(self.builder.add_set(PROTOS, &set).err());
        for error in errors.iter().filter(|e| !(lost && e.lacks())) {
            self.schema_error(&error.clone().with_origin(PROTOS));
        }
    }

    /// What was added, linked; when that has faults, the built-in descriptors alone.
    fn link(&mut self) -> Option<Arc<Schema>> {
        let lost = self.report.has_errors();
        match std::mem::take(&mut self.builder).build() {
            Ok(schema) => return Some(Arc::new(schema)),
            Err(errors) => {
                for error in errors.iter().filter(|e| !(lost && e.lacks())) {
                    self.schema_error(error);
                }
            }
        }
        SchemaBuilder::new().build().ok().map(Arc::new)
    }

    fn build(&mut self, config: &Config) -> Option<Live> {
        let schema = self.link()?;
        // What only descriptors that aren't here could tell of may well be there.
        let whole = self.unread.is_empty() && !self.report.has_errors();
        let partial;
        let config = match whole {
            true => config,
            false => {
                partial = self.partial(config, &schema);
                &partial
            }
        };
        match Live::build(config, schema, &self.rules) {
            Ok(mut live) => {
                live.awaited.clone_from(&self.unread);
                let served = live.notes.iter().filter(|n| !n.rule.is_empty());
                let notes = served.map(|n| {
                    let message = format!("{} ({}) is not served: {}", n.rule, n.method, n.message);
                    Diagnostic::error(message)
                        .severity(Severity::Note)
                        .at(&n.place)
                });
                self.report.diagnostics.extend(notes);
                let warnings = live.warnings.iter().filter(|_| whole);
                let warnings =
                    warnings.map(|w| Diagnostic::warning(&*w.message).at(&w.place).help(w.help));
                self.report.diagnostics.extend(warnings);
                Some(live)
            }
            Err(errors) => {
                self.report
                    .diagnostics
                    .extend(errors.iter().map(BuildError::diagnostic));
                None
            }
        }
    }

    /// At its line of a `.proto` text, or where the config names the source.
    fn schema_error(&mut self, error: &SchemaError) {
        let mut message = String::new();
        let disk = error.file().and_then(|file| self.protos.on_disk(file));
        if disk.is_none() {
            if !error.origin().is_empty() {
                message.push_str(error.origin());
                message.push_str(": ");
            }
            if let Some(file) = error.file() {
                message.push_str(file);
                if let Some(at) = error.place() {
                    message.push_str(&format!(":{}:{}", at.line, at.column));
                }
                message.push_str(": ");
            }
        }
        if let Some(symbol) = error.symbol() {
            message.push_str(symbol);
            message.push_str(": ");
        }
        message.push_str(error.message());
        let mut diagnostic = Diagnostic::error(message).maybe_help(error.help().map(Into::into));
        match (disk, error.place()) {
            (Some(path), Some(at)) => {
                diagnostic.location = Some(Location {
                    file: path.display().to_string().into(),
                    line: at.line,
                    column: at.column,
                });
                diagnostic.snippet = at
                    .snippet
                    .as_deref()
                    .map(|line| Snippet::at(line, at.column, at.width));
            }
            (Some(path), None) => diagnostic = diagnostic.at(&path.display().to_string()),
            (None, _) => {
                let origin = self.origins.iter().find(|(name, _)| name == error.origin());
                if let Some((_, place)) = origin {
                    diagnostic = diagnostic.at(place);
                }
            }
        }
        self.report.push(diagnostic);
    }
}

/// What errors call all the `protos` folders together.
const PROTOS: &str = "protos";

impl Protos {
    /// The path and text of a file by its path, or by its import path. Bounded; `None` when it isn't
    /// there or is no text.
    fn text_of(&self, file: &str) -> Option<(String, String)> {
        let path = self.on_disk(file).unwrap_or(Path::new(file));
        let bytes = read_at_most(path, PROTO_BYTES_MAX).ok()?;
        Some((path.display().to_string(), String::from_utf8(bytes).ok()?))
    }
}
