//! The program's own log: `tracing` events as lines of the format that the config names, through a
//! queue that never makes anybody wait, with a level that can be changed while it runs.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::model::{Log, LogFormat, LogLevel};

use super::line::{Object, is_hidden};
use super::sink::{Events, Output, Outputs};

/// What is logged, and how it is changed.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    /// In words.
    now: String,
    /// Of the config when it was last read.
    configured: Option<LogLevel>,
    /// The environment has the word, whatever the config says.
    fixed: bool,
}

/// Why a level isn't one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum LevelError {
    #[error("a level is error, warn, info, debug or trace")]
    Unknown,
    #[error("this process has no log of its own")]
    NoLog,
}

impl Level {
    /// Logs `level` and worse from now on.
    ///
    /// # Errors
    /// It is no level.
    pub fn set(&self, level: &str) -> Result<(), LevelError> {
        if LogLevel::named(level).is_none() {
            return Err(LevelError::Unknown);
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = state.handle.as_ref().ok_or(LevelError::NoLog)?;
        handle
            .reload(EnvFilter::new(level))
            .map_err(|_| LevelError::NoLog)?;
        level.clone_into(&mut state.now);
        Ok(())
    }

    /// Takes up what the config says, if it says something else than before: what was set by hand
    /// stands until then.
    pub fn configure(&self, level: LogLevel) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.configured.replace(level);
        let changed = before != Some(level) && !state.fixed;
        drop(state);
        if changed {
            // Without a log of our own there is nothing to change.
            self.set(level.name()).ok();
        }
    }

    /// What is logged now.
    #[must_use]
    pub fn now(&self) -> String {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.now.clone()
    }
}

/// The program's log as it is begun.
#[derive(Clone, Copy, Debug)]
pub struct ProgramLog<'a> {
    pub level: LogLevel,
    /// `None`: for people.
    pub format: Option<LogFormat>,
    pub coloured: bool,
    /// `TRANSOM_LOG`, which wins over the level of the config.
    pub environment: Option<&'a str>,
}

impl ProgramLog<'_> {
    /// Begins to log to stderr. Only the first call in a process does something.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(self, outputs: &Outputs) -> io::Result<Level> {
        let asked = self.environment.filter(|text| !text.is_empty());
        let parsed = asked.and_then(|text| EnvFilter::try_new(text).ok().map(|f| (f, text)));
        let fixed = parsed.is_some();
        let (filter, now) = match parsed {
            Some((filter, text)) => (filter, text.to_owned()),
            None => (
                EnvFilter::new(self.level.name()),
                self.level.name().to_owned(),
            ),
        };
        let (filter, handle) = reload::Layer::new(filter);
        let events = Events(outputs.sink(&Output::Stderr)?);
        // Without a choice it is for people, whatever collects it.
        let format = self.format.unwrap_or(LogFormat::Pretty);
        let base = tracing_subscriber::fmt::layer().with_writer(move || events.clone());
        let begun = match format {
            LogFormat::Pretty => {
                let layer = base.with_ansi(self.coloured).with_target(false);
                let layer = layer.fmt_fields(debug_fn(put_field).delimited(" "));
                tracing_subscriber::registry()
                    .with(filter)
                    .with(layer)
                    .try_init()
            }
            machine => {
                let layer = base.event_format(Lines(machine));
                tracing_subscriber::registry()
                    .with(filter)
                    .with(layer)
                    .try_init()
            }
        };
        let state = State {
            handle: begun.is_ok().then_some(handle),
            now,
            configured: Some(self.level),
            fixed,
        };
        Ok(Level(Arc::new(Mutex::new(state))))
    }
}

/// What a reload changes about logs.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    pub outputs: Arc<Outputs>,
    pub level: Level,
}

impl Logs {
    /// Opens what a config to be wants to log to.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(&self, log: &Log) -> io::Result<()> {
        match &log.access {
            Some(access) => self.outputs.sink(&access.output).map(drop),
            None => Ok(()),
        }
    }

    /// Takes up a config that is served now.
    pub fn take_up(&self, log: &Log) {
        self.level.configure(log.level);
        let access = log.access.as_ref().map(|access| &access.output);
        self.outputs
            .retain(|output| *output == Output::Stderr || Some(output) == access);
    }
}

/// A field for people. What strangers say may be in any of them, so nothing in it moves a terminal's
/// cursor; only messages, which are ours, may have more than one line.
fn put_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() == "message" {
        let mut shown = Shown { out, lines: true };
        return write!(shown, "{value:?}");
    }
    match out.has_ansi_escapes() {
        true => write!(out, "\u{1b}[3m{field}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
        false => write!(out, "{field}=")?,
    }
    write!(Shown { out, lines: false }, "{value:?}")
}

/// Passes on what can be seen, and escapes the rest.
struct Shown<'o, 'w> {
    out: &'o mut Writer<'w>,
    lines: bool,
}

impl fmt::Write for Shown<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_hidden) {
            let mut characters = part.chars();
            match characters.next_back().filter(|c| is_hidden(*c)) {
                Some('\n') if self.lines => self.out.write_str(part)?,
                Some(hidden) => {
                    write!(self.out, "{}{}", characters.as_str(), hidden.escape_debug())?
                }
                None => self.out.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Events as JSON of one of the formats.
#[derive(Clone, Copy, Debug)]
struct Lines(LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut out = Vec::with_capacity(256);
        let level = *event.metadata().level();
        let mut line = Object::open(&mut out);
        let (time, name, target) = match self.0 {
            LogFormat::Gcp => ("time", "severity", "target"),
            LogFormat::Ecs => ("@timestamp", "log.level", "log.logger"),
            LogFormat::Json | LogFormat::Pretty => ("time", "level", "target"),
        };
        line.time(time, SystemTime::now());
        line.text(name, word(self.0, level));
        if self.0 == LogFormat::Ecs {
            line.text("ecs.version", "8.11.0");
            line.text("service.name", "transom");
        }
        line.text(target, event.metadata().target());
        let mut fields = Fields(line);
        event.record(&mut fields);
        fields.0.close();
        writeln!(writer, "{}", String::from_utf8_lossy(&out))
    }
}

fn word(format: LogFormat, level: tracing::Level) -> &'static str {
    let gcp = format == LogFormat::Gcp;
    match level {
        tracing::Level::ERROR if gcp => "ERROR",
        tracing::Level::WARN if gcp => "WARNING",
        tracing::Level::INFO if gcp => "INFO",
        _ if gcp => "DEBUG",
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

struct Fields<'o>(Object<'o>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.bool(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.shown(field.name(), &format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_for_people_are_safe_to_look_at() {
        let mut text = String::new();
        for lines in [true, false] {
            let out = &mut Writer::new(&mut text);
            let mut shown = Shown { out, lines };
            write!(shown, "a\u{1b}[2J\nb\u{9b}\u{202e}é\r").unwrap();
        }
        let end = "b\\u{9b}\\u{202e}é\\r";
        let told = format!("a\\u{{1b}}[2J\n{end}a\\u{{1b}}[2J\\n{end}");
        assert_eq!(text, told);
    }
}
