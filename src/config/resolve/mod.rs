//! From what the file says to what it means: every value in range, every name known, every error with
//! its place. Of a config with errors the parts without fault come back beside them, for `check` alone.

mod acme;
mod cors;
mod health;
mod listeners;
mod log;
mod memory;
mod policy;
mod replies;
mod routes;
mod site;
mod trace;
mod upstream;

pub use routes::rule;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Related, Report, Severity};
use super::keys::FILE;
use super::model::{
    AdminToken, Breaking, Config, DescriptorSource, Place, Policy, Reload, Upstream, UpstreamId,
    UpstreamProtocol,
};
use super::raw::{Field, Reader, Section, did_you_mean};
use super::scalar;
use super::source::{Source, Span};
use super::tree::{ERRORS_MAX, Node};
use crate::limits::{ByteLimit, Limits, Timeouts};
use memory::memory;

/// Resolves a whole file. With errors in the report the config lacks the routes that are wrong; it is
/// `None` when a descriptor source is, since nobody knows what that would have defined.
pub fn resolve(
    source: &Source,
    root: &Node,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> (Option<Config>, Report) {
    let reader = Reader::new(source);
    let config = file(&reader, root, folder, environment);
    let mut report = reader.finish();
    if report.has_errors() {
        // What looks unused may only be misspelt where it is used.
        let errors = |d: &Diagnostic| d.severity == Severity::Error;
        report.diagnostics.retain(errors);
        let all = report.diagnostics.len() < ERRORS_MAX;
        return (config.filter(|_| all), report);
    }
    (config, report)
}

fn file(
    reader: &Reader<'_>,
    root: &Node,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<Config> {
    if root.is_null() {
        reader.push(
            reader
                .source
                .error(root.span, "an empty config")
                .help("the least is a listener, an upstream and a route"),
        );
        return None;
    }
    let file = Section::open(reader, &FILE, root, String::new())?;
    let limits = limits(&file);
    let base = Policy {
        body_bytes_max: limits.body_bytes_max,
        reply_bytes_max: limits.reply_bytes_max,
        ..Policy::default()
    };
    let defaults = file
        .section("defaults")
        .map_or_else(|| base.clone(), |section| policy::policy(&section, &base));
    let upstreams = Upstreams::read(&file, folder);
    let (descriptors, whole) = descriptors(&file, &upstreams, folder);
    let routes = routes::routes(&file, &upstreams, &defaults, folder);
    upstreams.warn_of_unused();
    let authorities = acme::Authorities::read(&file, folder);
    let listeners = listeners::listeners(&file, &authorities, folder);
    let config = Config {
        documented: listeners.iter().any(|l| l.openapi),
        listeners,
        acme: authorities.known,
        descriptors,
        routes,
        upstreams: upstreams.known,
        defaults: Arc::new(defaults),
        limits,
        timeouts: timeouts(&file),
        admin: address_of(&file, "admin"),
        admin_token: file
            .section("admin")
            .and_then(|admin| admin.field("token")?.text().map(AdminToken::new)),
        probes: address_of(&file, "probes"),
        reload: reload(&file, folder),
        log: log::log(&file, folder),
        trace: {
            let mut told = Vec::new();
            let tracing = super::trace::resolve(trace::trace(&file), environment, &mut told);
            told.into_iter().for_each(|d| reader.push(d));
            tracing
        },
        workers: count(&file, "workers").and_then(NonZeroUsize::new),
        trusted_proxies: file
            .items("trusted_proxies")
            .iter()
            .filter_map(|item| item.parse(scalar::network))
            .collect(),
        server_reflection: file
            .field("server_reflection")
            .and_then(|f| f.bool())
            .unwrap_or_default(),
    };
    whole.then_some(config)
}

/// An error at a field, with the place of the first of the two.
fn report_twice(field: &Field<'_, '_>, message: &str, first: Span) {
    let source = field.reader.source;
    let mut twice = field.fail(message);
    twice.related = Some(Related {
        location: source.location(first),
        snippet: source.snippet(first),
        label: "the first is here".into(),
    });
    field.reader.push(twice);
}

/// The upstreams and who uses them.
struct Upstreams<'r> {
    reader: &'r Reader<'r>,
    known: Vec<Upstream>,
    names: Vec<Span>,
    /// Names that stand in the file but whose sections are wrong: not unknown.
    broken: Vec<String>,
    used: std::cell::RefCell<Vec<bool>>,
}

impl<'r> Upstreams<'r> {
    fn read(file: &Section<'r, '_>, folder: &Path) -> Self {
        let mut read = Vec::new();
        let mut broken = Vec::new();
        let around = upstream::Around::read(file, folder);
        if let Some(field) = file.field("upstreams") {
            for (name, span, section) in field.named() {
                let place = field.reader.source.place(span);
                match upstream::upstream(name, place, &section, folder, &around) {
                    Some(upstream) => read.push((upstream, span)),
                    None => broken.push(name.to_owned()),
                }
            }
        }
        read.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        let (known, names): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        Self {
            reader: file.reader,
            used: std::cell::RefCell::new(vec![false; known.len()]),
            known,
            names,
            broken,
        }
    }

    /// The upstream that a field names.
    fn named_by(&self, field: &Field<'_, '_>) -> Option<UpstreamId> {
        let name = field.text()?;
        let Some(at) = self.known.iter().position(|u| &*u.name == name) else {
            if !self.broken.iter().any(|b| b == name) {
                let names = self.known.iter().map(|u| &*u.name);
                let mut unknown = field.fail(format!(
                    "unknown upstream `{}`",
                    field
                        .reader
                        .source
                        .shown(field.node.span)
                        .trim_matches(['"', '\''])
                ));
                unknown.label = did_you_mean(name, names.clone());
                let known: Vec<_> = names.map(|n| format!("`{n}`")).collect();
                let help = (!known.is_empty()).then(|| format!("known are {}", known.join(", ")));
                self.reader.push(unknown.maybe_help(help));
            }
            return None;
        };
        if let Some(used) = self.used.borrow_mut().get_mut(at) {
            *used = true;
        }
        u32::try_from(at).ok().map(UpstreamId)
    }

    /// The same for something that only gRPC can do.
    fn grpc_named_by(&self, field: &Field<'_, '_>, what: &str) -> Option<UpstreamId> {
        let id = self.named_by(field)?;
        let upstream = self.known.get(id.0 as usize)?;
        if upstream.protocol == UpstreamProtocol::Http1 {
            field.reader.push(
                field
                    .fail(format!(
                        "{what} needs gRPC, and this upstream is `protocol: http1`"
                    ))
                    .help(format!(
                        "`{}` is defined at {}",
                        upstream.name, upstream.place
                    )),
            );
            return None;
        }
        Some(id)
    }

    fn warn_of_unused(&self) {
        let used = self.used.borrow();
        for ((upstream, span), _) in self
            .known
            .iter()
            .zip(&self.names)
            .zip(used.iter())
            .filter(|(_, used)| !**used)
        {
            let message = format!("no route uses upstream `{}`", upstream.name);
            let diagnostic = self.reader.source.error(*span, message);
            self.reader.push(Diagnostic {
                severity: Severity::Warning,
                key: Some(format!("upstreams.{}", upstream.name)),
                ..diagnostic
            });
        }
    }
}

/// The sources, and whether these are all.
fn descriptors(
    file: &Section<'_, '_>,
    upstreams: &Upstreams<'_>,
    folder: &Path,
) -> (Vec<DescriptorSource>, bool) {
    let before = file.reader.errors();
    let items = file.items("descriptors");
    let mut sources = Vec::new();
    for item in &items {
        let Some(section) = item.section() else {
            continue;
        };
        let path = |name: &str| -> Option<(PathBuf, Place)> {
            let field = section.field(name)?;
            Some((folder.join(field.text()?), field.place()))
        };
        if let Some((folder, place)) = path("protos") {
            sources.push(DescriptorSource::Protos { folder, place });
        }
        if let Some((file, place)) = path("file") {
            sources.push(DescriptorSource::File { file, place });
        }
        if let Some((file, place)) = path("rules") {
            sources.push(DescriptorSource::Rules { file, place });
        }
        if let Some(field) = section.field("reflection")
            && let Some(upstream) = upstreams.grpc_named_by(&field, "reflection")
        {
            let place = field.place();
            sources.push(DescriptorSource::Reflection { upstream, place });
        }
    }
    // One whose upstream is wrong is missing without an error of its own.
    let whole = file.reader.errors() == before && sources.len() == items.len();
    (sources, whole)
}

fn limits(file: &Section<'_, '_>) -> Limits {
    let standard = Limits::default();
    let Some(section) = file.section("limits") else {
        return standard;
    };
    let bytes = |name, default| byte_limit(&section, name).unwrap_or(default);
    let number = |name, default| count(&section, name).unwrap_or(default);
    Limits {
        header_bytes_max: bytes("headers", standard.header_bytes_max),
        headers_max: number("header_count", standard.headers_max),
        uri_bytes_max: bytes("uri", standard.uri_bytes_max),
        body_bytes_max: bytes("body", standard.body_bytes_max),
        message_bytes_max: bytes("message", standard.message_bytes_max),
        reply_bytes_max: bytes("reply", standard.reply_bytes_max),
        query_parameters_max: number("query_parameters", standard.query_parameters_max),
        depth_max: number("depth", standard.depth_max),
        connections_max: number("connections", standard.connections_max),
        connections_per_ip_max: number("connections_per_ip", standard.connections_per_ip_max),
        streams_max: count(&section, "streams")
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(standard.streams_max),
        accept_rate_max: number("accept_rate", standard.accept_rate_max),
        body_rate_min: bytes("body_rate", standard.body_rate_min),
        control_frames_max: number("control_frames", standard.control_frames_max),
        compressors_max: number("compressors", standard.compressors_max),
        health_watches_max: number("health_watches", standard.health_watches_max),
        kept_replies_bytes_max: bytes("kept_replies", standard.kept_replies_bytes_max),
        stale_copies_bytes_max: bytes("stale_copies", standard.stale_copies_bytes_max),
        held_bytes_max: bytes("held", standard.held_bytes_max),
        memory: memory(&section),
    }
}

fn timeouts(file: &Section<'_, '_>) -> Timeouts {
    let standard = Timeouts::default();
    let Some(section) = file.section("timeouts") else {
        return standard;
    };
    let wait = |name, default| {
        let field = section.field(name);
        field.and_then(|f| f.duration()).unwrap_or(default)
    };
    Timeouts {
        headers: wait("headers", standard.headers),
        keep_alive: wait("keep_alive", standard.keep_alive),
        body_idle: wait("body_idle", standard.body_idle),
        write_idle: wait("write_idle", standard.write_idle),
        handshake: wait("handshake", standard.handshake),
        connect: wait("connect", standard.connect),
        ping_interval: wait("ping_interval", standard.ping_interval),
        ping_timeout: wait("ping_timeout", standard.ping_timeout),
        max_age: wait("max_age", standard.max_age),
        drain_delay: wait("drain_delay", standard.drain_delay),
        drain: wait("drain", standard.drain),
    }
}

fn address_of(file: &Section<'_, '_>, name: &str) -> Option<SocketAddr> {
    file.section(name)?.field("address")?.parse(scalar::address)
}

fn reload(file: &Section<'_, '_>, folder: &Path) -> Reload {
    let standard = Reload::default();
    let Some(section) = file.section("reload") else {
        return standard;
    };
    let wait = |name, default| {
        let field = section.field(name);
        field.and_then(|f| f.duration()).unwrap_or(default)
    };
    let watch = section.field("watch").and_then(|f| f.bool());
    Reload {
        watch: watch.unwrap_or(standard.watch),
        poll: wait("poll", standard.poll),
        reflection: wait("reflection", standard.reflection),
        breaking: match section.field("policy").and_then(|f| f.choice()) {
            Some("apply") => Breaking::Apply,
            Some("refuse_breaking") => Breaking::Refuse,
            Some(_) | None => standard.breaking,
        },
        keep: section
            .field("keep")
            .and_then(|f| f.text())
            .map(|keep| folder.join(keep)),
    }
}

fn byte_limit(section: &Section<'_, '_>, name: &str) -> Option<ByteLimit> {
    let bytes = section.field(name)?.size()?;
    ByteLimit::new(usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn count(section: &Section<'_, '_>, name: &str) -> Option<usize> {
    let number = section.field(name)?.integer()?;
    usize::try_from(number).ok()
}
