//! The config file: tree (its form) → raw (what it says) → resolve (every error, with its place) →
//! model (what it means).
//!
//! Three formats make one tree with places, one table of keys says what may stand in it, and whatever
//! is wrong comes back as one [`Report`]. Reading the file is the only thing here that touches a disk.

pub mod acme;
mod admin;
pub mod cors;
pub mod diagnostic;
mod endpoint;
mod fallback;
mod from_json;
mod from_toml;
mod from_yaml;
mod health;
mod interpolate;
pub mod keys;
mod listeners;
mod log;
pub mod model;
mod raw;
pub mod redirect;
mod resolve;
pub mod rules;
mod scalar;
pub mod schema;
pub mod site;
mod source;
pub mod trace;
mod tree;
mod upstreams;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diagnostic::{Diagnostic, Report};
use model::{
    Config, DescriptorSource, Destination, Glob, Listener, Matcher, Policy, Route, Upstream,
    UpstreamId,
};
use source::{Source, Span};

/// Where a config is looked for when none is named.
pub const SEARCH: &[&str] = &[
    "transom.yaml",
    "config/transom.yaml",
    "/etc/transom/transom.yaml",
];

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Yaml,
    Json,
    Toml,
}

impl Syntax {
    /// By extension; YAML unless it says otherwise.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "toml" => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// A config, and what was worth a warning.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Report,
}

/// What a file says when it may be wrong somewhere.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The parts without fault; `None` when what is missing would make other things look wrong.
    pub config: Option<Config>,
    /// Every fault of the file, or what is worth a warning.
    pub report: Report,
}

/// The first file of [`SEARCH`] that is there.
#[must_use]
pub fn find() -> Option<PathBuf> {
    SEARCH.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Reads and resolves a config file. `environment` looks variables up.
///
/// # Errors
/// All faults of the file, or the one why it can't be read.
pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Report> {
    survey(path, environment)?.loaded()
}

/// Reads a config file for somebody who wants to know all that is wrong, not only the first stage's part.
///
/// # Errors
/// Why it can't be read, or is no YAML, JSON or TOML.
pub fn survey(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Survey, Report> {
    let text = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let source = Source::new(&path.display().to_string(), &text);
    survey_text(&source, Syntax::of(path), folder, environment)
}

/// Resolves the text of a config. `name` is what errors call it; relative paths start at `folder`.
///
/// # Errors
/// All faults.
pub fn parse(
    name: &str,
    text: &str,
    syntax: Syntax,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Report> {
    survey_text(&Source::new(name, text), syntax, folder, environment)?.loaded()
}

fn survey_text(
    source: &Source,
    syntax: Syntax,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Survey, Report> {
    let mut root = tree_of(source, syntax)?;
    let mut faults = Vec::new();
    interpolate::expand(source, &mut root, environment, &mut faults);
    let (mut config, mut report) = resolve::resolve(source, &root, folder, environment);
    if !faults.is_empty() {
        config = None;
        // A value without its variables is wrong in ways that only repeat this.
        let lines: Vec<_> = faults
            .iter()
            .map(|f| f.location.clone().map(|l| l.line))
            .collect();
        report
            .diagnostics
            .retain(|d| !lines.contains(&d.location.clone().map(|l| l.line)));
        report.diagnostics.extend(faults);
    }
    report.sort();
    Ok(Survey { config, report })
}

impl Survey {
    /// # Errors
    /// Any fault.
    fn loaded(self) -> Result<Loaded, Report> {
        match self.config {
            Some(config) if !self.report.has_errors() => Ok(Loaded {
                config,
                warnings: self.report,
            }),
            _ => Err(self.report),
        }
    }
}

fn tree_of(source: &Source, syntax: Syntax) -> Result<tree::Node, Report> {
    if source.text().len() > tree::FILE_BYTES_MAX {
        let message = format!("more than {} bytes", tree::FILE_BYTES_MAX);
        return Err(Report::of(Diagnostic::error(message).at(source.name())));
    }
    if let Some(at) = source.text().find('\0') {
        let zero = source.error(Span::new(at, at + 1), "a NUL byte: this is no text");
        return Err(Report::of(zero));
    }
    let parsed = match syntax {
        Syntax::Yaml => from_yaml::parse(source),
        Syntax::Json => from_json::parse(source),
        Syntax::Toml => from_toml::parse(source),
    };
    parsed.map_err(|diagnostics| Report { diagnostics })
}

/// Reads a file of bounded size as text, without a byte order mark.
fn read(path: &Path) -> Result<String, Report> {
    let name = path.display().to_string();
    let refuse = |message: String| Report::of(Diagnostic::error(message).at(&name));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| refuse(format!("can't read {name}: {e}")))?;
    file.take(tree::FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| refuse(format!("can't read {name}: {e}")))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(refuse(format!("{name} is UTF-16: save it as UTF-8")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let good = error.as_bytes().get(..valid).unwrap_or_default();
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        refuse(format!("{name} is not UTF-8: a wrong byte in line {line}")).into_placed(line)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

impl Report {
    fn into_placed(mut self, line: usize) -> Self {
        for location in self
            .diagnostics
            .iter_mut()
            .filter_map(|d| d.location.as_mut())
        {
            (location.line, location.column) = (line, 1);
        }
        self
    }
}

impl Config {
    /// A config without a file: one gRPC service, asked for its descriptors by reflection, all of
    /// its annotations served at `listen`, and with `auto` every method by its own name as well.
    ///
    /// # Errors
    /// `endpoint` is none.
    pub fn for_upstream(endpoint: &str, listen: SocketAddr, auto: bool) -> Result<Self, Report> {
        let place: model::Place = "--upstream".into();
        let endpoint = endpoint::parse(endpoint).map_err(|trouble| {
            let wrong = Diagnostic::error(trouble.message).maybe_help(trouble.help.map(Into::into));
            Report::of(wrong.at("--upstream"))
        })?;
        let policy = Arc::new(Policy {
            auto,
            ..Policy::default()
        });
        let upstream = UpstreamId(0);
        Ok(Self {
            listeners: vec![Listener::plain(listen, "--listen".into())],
            descriptors: vec![DescriptorSource::Reflection {
                upstream,
                place: Arc::clone(&place),
            }],
            acme: Vec::new(),
            upstreams: vec![Upstream {
                place: Arc::clone(&place),
                ..Upstream::new("upstream", vec![endpoint])
            }],
            routes: vec![Route {
                matcher: Matcher::Services {
                    globs: vec![Glob {
                        pattern: "*".into(),
                        place: Arc::clone(&place),
                    }],
                    excluded: Vec::new(),
                },
                destination: Destination::Upstream(upstream),
                fallback: None,
                rewrite: None,
                hosts: Vec::new(),
                policy: Arc::clone(&policy),
                place,
            }],
            defaults: policy,
            limits: crate::limits::Limits::default(),
            admin: None,
            admin_token: None,
            probes: None,
            reload: model::Reload::default(),
            log: model::Log::default(),
            trace: None,
            timeouts: crate::limits::Timeouts::default(),
            workers: None,
            trusted_proxies: Vec::new(),
            server_reflection: false,
            documented: false,
        })
    }
}
