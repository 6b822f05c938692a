//! Reads what a config's `descriptors` name, all of it, and plans a generation on it.
//!
//! Files are read whole and within bounds, folders in the order of their names, so that the same
//! sources give the same generation. Every fault of every source is reported, not the first alone.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::diagnostic::{Diagnostic, Location, Report, Snippet};
use crate::config::model::{Config, DescriptorSource, Place, SelectorRule, UpstreamId};
use crate::config::rules;
use crate::live::Live;
use crate::schema::{
    SET_BYTES_MAX, Schema, SchemaBuilder, SchemaError, TEXT_BYTES_MAX, TEXT_FILES_MAX, compile,
};

use super::reflection::{self, Budget};

/// Folders below a `protos` folder.
const FOLDER_DEPTH_MAX: usize = 32;

/// Where the descriptors of `reflection` sources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// From the upstreams.
    Ask,
    /// From this `FileDescriptorSet`, in place of them all.
    Instead(PathBuf),
    /// From nowhere: routes that need them are left out, with a warning.
    LeaveOut,
}

/// A generation, and what was worth a warning.
#[derive(Debug)]
pub struct Loaded {
    pub live: Live,
    pub warnings: Report,
}

/// Reads every source of `config` and plans it. Dropping the future ends the calls to upstreams.
///
/// # Errors
/// Every fault of the sources; of the routes, when the sources have none.
pub async fn load(config: &Config, reflection: &Reflection) -> Result<Loaded, Report> {
    let mut read = Sources::default();
    for source in &config.descriptors {
        match source {
            DescriptorSource::Protos { folder, place } => read.protos(folder, place),
            DescriptorSource::File { file, place } => read.set(file, place),
            DescriptorSource::Rules { file, .. } => match rules::load(file) {
                Ok(rules) => read.rules.extend(rules),
                Err(report) => read.faults.extend(report),
            },
            DescriptorSource::Reflection { .. } => {}
        }
    }
    let unread = read.reflect(config, reflection).await;
    let Sources {
        builder,
        mut rules,
        faults,
        mut warnings,
        places,
    } = read;
    if faults.has_errors() {
        return Err(faults);
    }
    let schema = builder.build().map_err(|errors| Report {
        diagnostics: errors.iter().map(|e| places.diagnostic(e)).collect(),
    })?;
    let schema = Arc::new(schema);
    let kept = match unread {
        true => leave_out(config, &schema, &mut rules, &mut warnings),
        false => config.clone(),
    };
    match Live::build(&kept, schema, &rules) {
        Ok(live) => Ok(Loaded { live, warnings }),
        Err(errors) => Err(Report {
            diagnostics: errors.iter().map(|e| e.diagnostic()).collect(),
        }),
    }
}

/// The config without what needs descriptors that nobody has read.
fn leave_out(
    config: &Config,
    schema: &Schema,
    rules: &mut Vec<SelectorRule>,
    warnings: &mut Report,
) -> Config {
    let mut kept = config.clone();
    kept.routes.retain(|route| {
        let known = route.matcher.is_known(schema);
        if !known {
            let message = "not checked: its descriptors come from reflection";
            let help =
                "--online asks the upstream, --descriptors FILE takes a descriptor set instead";
            warnings.push(Diagnostic::warning(message).at(&route.place).help(help));
        }
        known
    });
    rules.retain(|rule| {
        let (service, method) = rule.selector.rsplit_once('.').unwrap_or_default();
        schema.find_method(service, method).is_some()
    });
    kept
}

/// What has been read so far.
#[derive(Default)]
struct Sources {
    builder: SchemaBuilder,
    rules: Vec<SelectorRule>,
    faults: Report,
    warnings: Report,
    places: Places,
}

/// What a source is called in errors, and where it is named.
#[derive(Default)]
struct Places(Vec<Named>);

struct Named {
    origin: String,
    place: Place,
    /// Of a `protos` source: its files have lines to show.
    folder: Option<PathBuf>,
}

impl Sources {
    fn fault(&mut self, place: &Place, message: impl Into<String>) {
        self.faults.push(Diagnostic::error(message).at(place));
    }

    fn named(&mut self, origin: &str, place: &Place, folder: Option<&Path>) {
        self.places.0.push(Named {
            origin: origin.to_owned(),
            place: Arc::clone(place),
            folder: folder.map(Path::to_owned),
        });
    }

    fn add(&mut self, origin: &str, set: &[u8]) {
        if let Err(error) = self.builder.add_set(origin, set) {
            let told = self.places.diagnostic(&error);
            self.faults.push(told);
        }
    }

    fn set(&mut self, file: &Path, place: &Place) {
        let origin = format!("file {}", file.display());
        self.named(&origin, place, None);
        match read(file, SET_BYTES_MAX) {
            Ok(bytes) => self.add(&origin, &bytes),
            Err(message) => self.fault(place, message),
        }
    }

    fn protos(&mut self, folder: &Path, place: &Place) {
        let origin = format!("protos {}", folder.display());
        self.named(&origin, place, Some(folder));
        let mut files = Vec::new();
        if let Err(message) = collect(folder, "", 0, &mut files) {
            return self.fault(place, message);
        }
        if files.is_empty() {
            return self.fault(place, format!("no .proto file in {}", folder.display()));
        }
        match compile(&files) {
            Ok(set) => self.add(&origin, &set),
            Err(errors) => {
                for error in errors {
                    let told = self.places.diagnostic(&error.with_origin(&origin));
                    self.faults.push(told);
                }
            }
        }
    }

    /// Asks every upstream at once. True when some descriptors stay unread.
    async fn reflect(&mut self, config: &Config, reflection: &Reflection) -> bool {
        let asked: Vec<(UpstreamId, &Place)> = config
            .descriptors
            .iter()
            .filter_map(|source| match source {
                DescriptorSource::Reflection { upstream, place } => Some((*upstream, place)),
                _ => None,
            })
            .collect();
        let Some((_, first)) = asked.first() else {
            return false;
        };
        match reflection {
            Reflection::LeaveOut => return true,
            Reflection::Instead(file) => {
                self.set(file, first);
                return false;
            }
            Reflection::Ask => {}
        }
        let budget = Budget::default();
        let calls = asked.iter().filter_map(|(id, place)| {
            let upstream = config.upstreams.get(id.0 as usize)?;
            let budget = &budget;
            Some(async move { (upstream, *place, reflection::fetch(upstream, budget).await) })
        });
        for (upstream, place, answer) in join_all(calls).await {
            let origin = format!("reflection {}", upstream.name);
            self.named(&origin, place, None);
            match answer {
                Ok(found) => {
                    for missing in &found.missing {
                        let message = format!("{origin}: {}: {}", missing.name, missing.reason);
                        self.warnings.push(Diagnostic::warning(message).at(place));
                    }
                    self.add(&origin, &found.descriptors);
                }
                Err(error) => self.fault(place, error.to_string()),
            }
        }
        false
    }
}

impl Places {
    /// The error at its line when there is a text, else where the config names its source.
    fn diagnostic(&self, error: &SchemaError) -> Diagnostic {
        let origin = error.origin();
        let source = self.0.iter().find(|n| n.origin == origin);
        let symbol = error.symbol().map(|s| format!("{s}: ")).unwrap_or_default();
        let folder = source.and_then(|s| s.folder.as_deref());
        if let (Some(folder), Some(file)) = (folder, error.file()) {
            let message = format!("{symbol}{}", error.message());
            let told = Diagnostic::error(message).maybe_help(error.help().map(str::to_owned));
            return in_text(told, &folder.join(file), error);
        }
        let file = error.file().map(|f| format!("{f}: ")).unwrap_or_default();
        let origin = match origin {
            "" => String::new(),
            origin => format!("{origin}: "),
        };
        let message = format!("{origin}{file}{symbol}{}", error.message());
        let told = Diagnostic::error(message).maybe_help(error.help().map(str::to_owned));
        match source {
            Some(source) => told.at(&source.place),
            None => told,
        }
    }
}

fn in_text(mut told: Diagnostic, path: &Path, error: &SchemaError) -> Diagnostic {
    let place = error.place();
    told.location = Some(Location {
        file: path.display().to_string().into(),
        line: place.map_or(1, |p| p.line),
        column: place.map_or(1, |p| p.column),
    });
    let line = place.and_then(|p| Some((p, p.snippet.as_deref()?)));
    told.snippet = line.map(|(place, line)| {
        let offset = |chars: usize| {
            line.char_indices()
                .nth(chars)
                .map_or(line.len(), |(at, _)| at)
        };
        let start = place.column.saturating_sub(1);
        Snippet::new(
            line,
            offset(start)..offset(start.saturating_add(place.width)),
        )
    });
    told
}

fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let name = file.display();
    let refuse = |e: std::io::Error| format!("can't read {name}: {e}");
    let mut bytes = Vec::new();
    File::open(file)
        .map_err(refuse)?
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(refuse)?;
    match bytes.len() > bytes_max {
        true => Err(format!("{name} has more than {bytes_max} bytes")),
        false => Ok(bytes),
    }
}

/// The `.proto` files of a folder and those below it, by their path from its root. Hidden names are
/// passed over: Kubernetes keeps its copies of a mount in such folders.
fn collect(
    folder: &Path,
    below: &str,
    depth: usize,
    files: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let refuse = |e: std::io::Error| format!("can't read {}: {e}", folder.display());
    if depth > FOLDER_DEPTH_MAX {
        return Err(format!(
            "{} is more than {FOLDER_DEPTH_MAX} folders deep",
            folder.display()
        ));
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(refuse)? {
        entries.push(entry.map_err(refuse)?.path());
    }
    entries.sort();
    for path in entries {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(format!("{} is not a UTF-8 name", path.display()));
        };
        if name.starts_with('.') {
            continue;
        }
        let name = match below {
            "" => name.to_owned(),
            below => format!("{below}/{name}"),
        };
        if path.is_dir() {
            collect(&path, &name, depth + 1, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            if files.len() >= TEXT_FILES_MAX {
                return Err(format!("more than {TEXT_FILES_MAX} .proto files"));
            }
            let text = String::from_utf8(read(&path, TEXT_BYTES_MAX)?)
                .map_err(|_| format!("{} is not UTF-8", path.display()))?;
            files.push((name, text));
        }
    }
    Ok(())
}
