//! The one way from sources to a new generation while the old one serves: read, parse, compile, plan,
//! check, swap, report. Whatever fails leaves the old generation as it was.
//!
//! Begun by files that change, by SIGHUP, and by upstreams whose reflection tells something new;
//! building is done on the builder thread.

mod answers;
mod inputs;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch as published};
use tokio::time::Instant;

use crate::config::Loaded;
use crate::config::diagnostic::{Diagnostic, Format, Report, Severity};
use crate::config::model::{Breaking, Config, UpstreamId};
use crate::limits::{REFLECTION_AT_START_MAX, REFLECTION_RETRY_MAX, REFLECTION_RETRY_MIN};
use crate::live::{Changes, Live};
use crate::snapshot::{Generation, Snapshot};
use crate::upstream::Fleet;

use super::builder::Builder;
use super::reflection::Budget;
use super::sources::{self, Built};

pub use answers::Answers;
use inputs::{Inputs, Stamp};
use watch::Watch;

/// Reads the config anew.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Report> + Send + Sync>;

/// Where the config comes from.
#[derive(Clone)]
pub enum Origin {
    File {
        path: PathBuf,
        load: Load,
    },
    /// The command line: it stays as it is.
    Fixed,
}

impl Origin {
    fn inputs(&self, config: &Config) -> Inputs {
        let file = match self {
            Self::File { path, .. } => Some(path.as_path()),
            Self::Fixed => None,
        };
        Inputs::of(file, config)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => f.debug_tuple("File").field(path).finish(),
            Self::Fixed => f.write_str("Fixed"),
        }
    }
}

/// What a reload works on.
#[derive(Debug)]
pub struct Reloader {
    pub origin: Origin,
    /// Of the generation that serves.
    pub config: Arc<Config>,
    pub answers: Answers,
    /// Upstreams whose reflection has not answered yet.
    pub missing: Vec<UpstreamId>,
    /// What has been said about them already.
    pub told: Report,
    pub builder: Builder,
    pub live: Arc<Snapshot<Live>>,
    pub fleet: Arc<Fleet>,
    /// Somebody wants a reload now, whether files have changed or not.
    pub asked: Arc<Asked>,
    pub status: published::Sender<Status>,
    /// What the files held when they were read for the generation that serves, or before.
    pub seen: Seen,
}

/// Wishes for a reload, and the number of each: many that come together are one reload.
#[derive(Debug, Default)]
pub struct Asked {
    wishes: AtomicU64,
    told: Notify,
}

impl Asked {
    /// One more; its number, which [`Status::answered`] reaches with the reload that was begun after it.
    pub fn ask(&self) -> u64 {
        let number = self.wishes.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        self.told.notify_one();
        number
    }
}

/// How reloading has gone.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The number of the last wish that a finished reload was begun after.
    pub answered: u64,
    pub generation: Option<Generation>,
    /// When that began to serve.
    pub since: Option<SystemTime>,
    pub succeeded: u64,
    pub failed: u64,
    /// Of the last reload; `None` when it succeeded. The words of `transom check`.
    pub error: Option<Arc<str>>,
    /// What the last one that succeeded has changed.
    pub changes: Changes,
}

impl Reloader {
    /// Reloads whenever there is reason to. Dropping it stops that, between two steps.
    pub async fn run(mut self) {
        let mut watch = Watch::new(self.config.reload.poll);
        let mut inputs = self.inputs();
        let mut seen = self.seen;
        let mut retry = Retry::new();
        watch.follow(&inputs);
        loop {
            // Before the watch began nobody told of changes.
            let mut changed = self.has_changed(&inputs, &mut seen).await;
            let mut asked = false;
            let mut poll = self.next_poll();
            while !(changed || asked) {
                tokio::select! {
                    () = self.asked.told.notified() => asked = true,
                    () = watch.changed(), if self.is_watched() => {
                        changed = self.has_changed(&inputs, &mut seen).await;
                    }
                    () = retry.due(), if !self.missing.is_empty() => {
                        match self.ask_missing().await {
                            true => retry = Retry::new(),
                            false => retry.again(),
                        }
                    }
                    () = at(poll), if poll.is_some() => {
                        self.ask_again().await;
                        poll = self.next_poll();
                    }
                }
            }
            let answered = self.asked.wishes.load(Ordering::Acquire);
            self.reload().await;
            self.status.send_modify(|status| status.answered = answered);
            // `seen` is of before: what was written meanwhile is a change, unless other files are named.
            let named = self.inputs();
            if named != inputs {
                inputs = named;
                seen = Seen::default();
                self.has_changed(&inputs, &mut seen).await;
            }
            // Also the folders of the same names: they may be other ones now.
            watch.follow(&inputs);
        }
    }

    fn is_watched(&self) -> bool {
        self.config.reload.watch && matches!(self.origin, Origin::File { .. })
    }

    fn inputs(&self) -> Inputs {
        self.origin.inputs(&self.config)
    }

    /// Whether the files hold something else than what was `seen`, which they are from now on. They
    /// are read on the builder thread, and only if they look different: disks may be slow.
    async fn has_changed(&self, inputs: &Inputs, seen: &mut Seen) -> bool {
        if !self.is_watched() {
            return false;
        }
        let (inputs, before) = (inputs.clone(), *seen);
        let look = move || {
            let looks = Some(inputs.look());
            match before.looks == looks {
                true => before,
                false => Seen {
                    looks,
                    holds: Some(inputs.read()),
                },
            }
        };
        let now = self.builder.run(look).await.unwrap_or(before);
        let changed = now.holds != before.holds;
        *seen = now;
        changed
    }

    fn next_poll(&self) -> Option<Instant> {
        let interval = self.config.reload.reflection;
        let sources = sources::reflection_sources(&self.config);
        if interval.is_zero() || sources.is_empty() {
            return None;
        }
        Some(Instant::now() + interval.mul_f64(0.9 + fastrand::f64() / 5.0))
    }

    /// Reads the config and builds from it.
    async fn reload(&mut self) {
        let config = match &self.origin {
            Origin::Fixed => Arc::clone(&self.config),
            Origin::File { load, .. } => {
                let load = Arc::clone(load);
                match self.builder.run(move || load()).await {
                    Ok(Ok(loaded)) => {
                        tell(&loaded.warnings);
                        Arc::new(loaded.config)
                    }
                    Ok(Err(report)) => return self.failed(&report),
                    Err(error) => {
                        return self.failed(&Report::of(Diagnostic::error(error.to_string())));
                    }
                }
            }
        };
        let mut answers = self.answers.clone();
        let (found, report) = answers.ask_for(&config, &at_start()).await;
        if !found {
            tell(&as_warnings(report));
        }
        self.take_up(config, answers).await;
    }

    /// Builds and publishes; a fault leaves all as it was.
    async fn take_up(&mut self, config: Arc<Config>, answers: Answers) -> bool {
        let (of, known) = (Arc::clone(&config), answers.of(&config));
        let built = self.builder.run(move || sources::build(&of, &known)).await;
        let Built {
            live,
            report,
            unread,
            ..
        } = match built {
            Ok(Ok(built)) => built,
            Ok(Err(report)) => {
                self.failed(&report);
                return false;
            }
            Err(error) => {
                self.failed(&Report::of(Diagnostic::error(error.to_string())));
                return false;
            }
        };
        let before = self.live.load();
        let changes = Changes::between(&before, &live);
        if config.reload.breaking == Breaking::Refuse && !changes.breaking.is_empty() {
            let all = changes
                .breaking
                .iter()
                .map(|b| Diagnostic::error(format!("breaks callers: {b}")));
            let mut report = Report {
                diagnostics: all.collect(),
            };
            if let Some(last) = report.diagnostics.last_mut() {
                last.help = Some("`reload.policy: warn` takes such changes up".into());
            }
            self.failed(&report);
            return false;
        }
        let mut report = report;
        report.diagnostics.retain(|d| d.severity > Severity::Note);
        tell(&report);
        tell(&needs_restart(&self.config, &config));
        self.fleet.retain(&live.upstreams);
        let routes = live.routes.len();
        let generation = self.live.publish(Arc::new(live));
        tracing::info!(generation = generation.0, routes, "reloaded: {changes}");
        if config.reload.breaking == Breaking::Warn {
            for broken in &changes.breaking {
                tracing::warn!("breaks callers: {broken}");
            }
        }
        self.config = config;
        self.answers = answers;
        self.missing = unread;
        self.status.send_modify(|status| {
            status.generation = Some(generation);
            status.since = Some(SystemTime::now());
            status.succeeded = status.succeeded.saturating_add(1);
            status.error = None;
            status.changes = changes;
        });
        true
    }

    fn failed(&self, report: &Report) {
        let text = report.render(Format::Text);
        tracing::error!(
            "not reloaded, the old generation serves on:\n{}",
            text.trim_end()
        );
        self.status.send_modify(|status| {
            status.failed = status.failed.saturating_add(1);
            status.error = Some(text.into());
        });
    }

    /// Asks the upstreams that have never answered. Whether one has now.
    async fn ask_missing(&mut self) -> bool {
        let mut answers = self.answers.clone();
        let (found, report) = answers.ask_for(&self.config, &Budget::default()).await;
        let report = as_warnings(report);
        if report != self.told {
            tell(&report);
            self.told = report;
        }
        found && self.take_up(Arc::clone(&self.config), answers).await
    }

    /// Asks the others whether they tell the same as before. One that doesn't answer has changed
    /// nothing.
    async fn ask_again(&mut self) {
        let mut answers = self.answers.clone();
        if answers.ask_again(&self.config, &Budget::default()).await {
            self.take_up(Arc::clone(&self.config), answers).await;
        }
    }
}

/// What the inputs were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    looks: Option<Stamp>,
    holds: Option<Stamp>,
}

impl Seen {
    /// What they are now: to be taken before they are read, so that nothing written later is missed.
    #[must_use]
    pub fn of(origin: &Origin, config: &Config) -> Self {
        let inputs = origin.inputs(config);
        Self {
            looks: Some(inputs.look()),
            holds: Some(inputs.read()),
        }
    }
}

/// When upstreams that don't answer are asked again: soon, and less and less often.
struct Retry {
    wait: Duration,
    at: Instant,
}

impl Retry {
    fn new() -> Self {
        Self {
            wait: REFLECTION_RETRY_MIN,
            at: Instant::now() + REFLECTION_RETRY_MIN,
        }
    }

    fn again(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(REFLECTION_RETRY_MAX);
        self.at = Instant::now() + self.wait;
    }

    async fn due(&self) {
        tokio::time::sleep_until(self.at).await;
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// What one round of questions may take while something waits for it.
#[must_use]
pub fn at_start() -> Budget {
    let budget = Budget::default();
    Budget {
        whole: budget.whole.min(REFLECTION_AT_START_MAX),
        ..budget
    }
}

/// An upstream that is down is no reason not to serve the others.
#[must_use]
pub fn as_warnings(mut report: Report) -> Report {
    for diagnostic in &mut report.diagnostics {
        if diagnostic.severity == Severity::Error {
            diagnostic.severity = Severity::Warning;
        }
    }
    report
}

/// What the config says that takes a new process.
fn needs_restart(before: &Config, after: &Config) -> Report {
    let mut report = Report::default();
    let old: Vec<_> = before.listeners.iter().map(|l| l.address).collect();
    for new in after.listeners.iter().filter(|l| !old.contains(&l.address)) {
        let message = format!("{} is listened on only after a restart", new.address);
        report.push(Diagnostic::warning(message).at(&new.place));
    }
    for gone in before
        .listeners
        .iter()
        .filter(|l| !after.listeners.iter().any(|n| n.address == l.address))
    {
        let message = format!("{} is listened on until a restart", gone.address);
        report.push(Diagnostic::warning(message).at(&gone.place));
    }
    if before.workers != after.workers {
        report.push(Diagnostic::warning("`workers` changes only with a restart"));
    }
    report
}

fn tell(report: &Report) {
    if !report.is_empty() {
        tracing::warn!("{}", report.render(Format::Text).trim_end());
    }
}
