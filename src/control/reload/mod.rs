//! The one way from sources to a new generation while the old one serves: read, parse, compile, plan,
//! check, swap, report. Whatever fails leaves the old generation as it was.
//!
//! Begun by files that change, by SIGHUP, and by upstreams whose reflection tells something new.

mod answers;
mod attempt;
mod first;
mod inputs;
mod listeners;
mod retired;
mod seen;
mod status;
mod watch;
mod when;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch as published};
use tokio::time::Instant;

use crate::config::Loaded;
use crate::config::diagnostic::{Diagnostic, Format, Report, Severity};
use crate::config::model::{Breaking, Config, UpstreamId};
use crate::limits::REFLECTION_AT_START_MAX;
use crate::listener::{Changed, Inherited, Ports};
use crate::live::{Changes, Live};
use crate::snapshot::{Generation, Snapshot};
use crate::telemetry::Logs;
use crate::tls;
use crate::upstream::Fleet;

use super::builder::Builder;
use super::certificates;
use super::kept::{ContentHash, Kept};
use super::reflection::Budget;
use super::sources::{self, Built, Source};

pub use super::agree::Version;
pub use answers::{Answers, Whence};
use answers::{Ask, Heard};
use attempt::Attempt;
pub use first::{First, first};
use inputs::Inputs;
pub use listeners::needs_restart;
pub use retired::Retired;
pub use seen::Seen;
pub use status::{Past, SourceState, SourceStatus, Status};
use watch::Watch;
use when::{Doubts, Retry, at};

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
    /// What has been said already about upstreams whose reflection has not answered yet.
    pub told: Report,
    pub builder: Builder,
    pub live: Arc<Snapshot<Live>>,
    pub fleet: Arc<Fleet>,
    /// Where it listens.
    pub ports: Arc<Ports>,
    pub logs: Logs,
    /// Somebody wants a reload now, whether files have changed or not.
    pub asked: Arc<Asked>,
    pub status: published::Sender<Status>,
    pub tls: Arc<tls::Shared>,
    /// What the files held when they were read for the generation that serves, or before.
    pub seen: Seen,
    /// What is on disk of what upstreams have told.
    pub saved: Saved,
    /// Generations before, while something goes on with them.
    pub retired: Retired,
}

/// Last good descriptors that are on disk: by upstream, where and what.
pub type Saved = HashMap<Arc<str>, (PathBuf, ContentHash)>;

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

impl Reloader {
    /// Reloads whenever there is reason to. Dropping it stops that, between two steps.
    pub async fn run(mut self) {
        let mut watch = Watch::new();
        let mut inputs = self.inputs();
        let mut seen = self.seen;
        let mut retry = Retry::new();
        let mut doubts = Doubts::default();
        watch.follow(&inputs, self.config.reload.poll);
        self.keep().await;
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
                    () = retry.due(), if self.answers.are_owed(&self.config) => {
                        match self.ask_missing().await {
                            true => retry = Retry::new(),
                            false => retry.again(),
                        }
                    }
                    () = at(poll), if poll.is_some() => {
                        self.ask_again().await;
                        poll = self.next_poll();
                    }
                    () = self.retired.due() => self.free(),
                    names = self.fleet.doubted() => doubts.add(self.worth_asking(names)),
                    () = doubts.due() => {
                        let names = doubts.take();
                        let new = self.ask_named(&names).await;
                        doubts.asked(new);
                    }
                }
            }
            let answered = self.asked.wishes.load(Ordering::Acquire);
            let others = self.reload(&inputs).await;
            self.status.send_modify(|status| status.answered = answered);
            // `seen` is of before: what was written meanwhile is a change.
            if let Some(others) = others {
                (inputs, seen) = others;
            }
            // Also the folders of the same names: they may be other ones now.
            watch.follow(&inputs, self.config.reload.poll);
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
        let look = move || before.again(&inputs);
        let now = self.builder.run(look).await.unwrap_or(before);
        let changed = now.differs(before);
        *seen = now;
        changed
    }

    /// Those of the upstreams whose reflection is a source that is asked again.
    fn worth_asking(&self, mut names: Vec<Arc<str>>) -> Vec<Arc<str>> {
        let polled = !self.config.reload.reflection.is_zero();
        let sources = sources::reflection_sources(&self.config);
        let upstream = |id: UpstreamId| self.config.upstreams.get(id.0 as usize);
        let is_source = |name: &Arc<str>| {
            let mut sources = sources.iter().filter_map(|(id, _)| upstream(*id));
            sources.any(|u| u.name == *name)
        };
        names.retain(|name| polled && is_source(name));
        names
    }

    fn next_poll(&self) -> Option<Instant> {
        let interval = self.config.reload.reflection;
        let sources = sources::reflection_sources(&self.config);
        if interval.is_zero() || sources.is_empty() {
            return None;
        }
        Some(Instant::now() + interval.mul_f64(0.9 + fastrand::f64() / 5.0))
    }

    /// Reads the config and builds from it. Which files to look at from now on, when these are others.
    async fn reload(&mut self, inputs: &Inputs) -> Option<(Inputs, Seen)> {
        let mut others = None;
        let config = match &self.origin {
            Origin::Fixed => Arc::clone(&self.config),
            Origin::File { load, .. } => {
                let (load, origin) = (Arc::clone(load), self.origin.clone());
                let inputs = inputs.clone();
                let load = move || seen::load(&*load, &origin, &inputs);
                let fault = match self.builder.run(load).await {
                    Ok(Ok((loaded, named))) => {
                        tell(&loaded.warnings);
                        others = named;
                        Ok(Arc::new(loaded.config))
                    }
                    Ok(Err(report)) => Err(report),
                    Err(error) => Err(Report::of(Diagnostic::error(error.to_string()))),
                };
                match fault {
                    Ok(config) => config,
                    Err(report) => {
                        self.failed(&report);
                        self.renew_certificates().await;
                        return None;
                    }
                }
            }
        };
        let mut answers = self.answers.clone();
        answers.forgive();
        let ask = Ask {
            budget: at_start(),
            ..self.ask(&config)
        };
        let told = |answers: &Answers, id| answers.has_told(&config, id);
        let (heard, report) = answers.ask(&ask, |a, id| !told(a, id)).await;
        if !heard.any {
            tell(&as_warnings(report));
        }
        let taken_up = self.take_up(config, answers).await;
        if !taken_up {
            self.renew_certificates().await;
        }
        others.map(|others| if taken_up { others.named } else { others.all })
    }

    /// What certificates' files hold, while the rest can't be taken up.
    async fn renew_certificates(&self) {
        let (config, live) = (Arc::clone(&self.config), self.live.load());
        let renew = move || certificates::renew(&config, &live.doors);
        let new = self.builder.run(renew).await.unwrap_or_default();
        certificates::tell_of(&new);
    }

    /// Builds and publishes; a fault leaves all as it was. Whether there is another generation.
    async fn take_up(&mut self, config: Arc<Config>, mut answers: Answers) -> bool {
        let (of, choices) = (Arc::clone(&config), answers.choices(&config));
        let tls = Arc::clone(&self.tls);
        let before = self.live.load();
        let shown = certificates::shown(&before);
        // What is different is as much work as building it.
        let work = move || {
            let attempt = attempt::attempt(&of, &choices, &tls)?;
            let changes = Changes::between(&before, &attempt.built.live);
            Ok((attempt, changes))
        };
        let tried = self.builder.run(work);
        let (attempt, changes) = match tried.await {
            Ok(Ok(done)) => done,
            Ok(Err(report)) => {
                self.failed(&report);
                return self.later(&config, answers);
            }
            Err(error) => {
                self.failed(&Report::of(Diagnostic::error(error.to_string())));
                return self.later(&config, answers);
            }
        };
        let Attempt {
            built,
            used,
            refused,
        } = attempt;
        let Built {
            live,
            mut report,
            read,
            ..
        } = built;
        if config.reload.breaking == Breaking::Refuse && !changes.breaking.is_empty() {
            self.failed(&breaking(&changes));
            return self.later(&config, answers);
        }
        if let Err(error) = self.logs.open(&config.log) {
            let message = format!("the access log can't be written: {error}");
            self.failed(&Report::of(Diagnostic::error(message)));
            return self.later(&config, answers);
        }
        let mut nothing = Inherited::default();
        let change = match self.ports.prepare(&config.listeners, &mut nothing) {
            Ok(change) => change,
            Err(error) => {
                self.failed(&listeners::refused(&config, &error));
                return self.later(&config, answers);
            }
        };
        answers.settle(&config, &used, &refused);
        let sources = sources_of(&config, &read, &answers);
        report.diagnostics.retain(|d| d.severity > Severity::Note);
        tell(&report);
        tell(&needs_restart(&self.config, &config));
        self.fleet.retain(&live.upstreams);
        let routes = live.routes.len();
        self.retired.add(self.live.load());
        let generation = self.publish(live, &changes, sources);
        self.logs.take_up(&config.log);
        tracing::info!(generation = generation.0, routes, "reloaded: {changes}");
        certificates::tell_of_new(&shown, &self.live.load());
        // After the generation that says how connections are taken there.
        let changed = self.ports.carry_out(change).unwrap_or_else(|error| {
            tracing::error!(%error, "not all listeners have changed");
            Changed::default()
        });
        let listeners = listeners::told(&changed);
        listeners.iter().for_each(|l| tracing::info!("{l}"));
        if config.reload.breaking == Breaking::Warn {
            for broken in &changes.breaking {
                tracing::warn!("breaks callers: {broken}");
            }
        }
        self.config = config;
        self.answers = answers;
        self.status.send_modify(|status| status.listen(listeners));
        for refused in &refused {
            self.failed(&refused.report);
        }
        self.keep().await;
        true
    }

    /// Whoever sees the new generation finds it told: who asks meanwhile waits for that.
    fn publish(&self, live: Live, changes: &Changes, sources: Vec<SourceStatus>) -> Generation {
        let mut generation = Generation(0);
        self.status.send_modify(|status| {
            generation = self.live.publish(Arc::new(live));
            status.succeed(generation, changes.clone(), sources);
        });
        generation
    }

    /// Nothing is built from the news: they are for the next attempt, unless that is of another config.
    fn later(&mut self, config: &Arc<Config>, answers: Answers) -> bool {
        if Arc::ptr_eq(config, &self.config) {
            self.answers = answers;
        }
        false
    }

    /// Frees the generations that nobody uses any more, off this thread.
    fn free(&mut self) {
        let unused = self.retired.unused();
        if !unused.is_empty() {
            self.builder.begin(move || drop(unused));
        }
    }

    /// Keeps on disk what upstreams have told and is served.
    async fn keep(&mut self) {
        if let Some(keeping) = keeping(&self.config, &self.answers, &self.saved) {
            self.saved = self.builder.run(keeping).await.unwrap_or_default();
        }
    }

    fn failed(&self, report: &Report) {
        let text = report.render(Format::Text);
        tracing::error!(
            "not reloaded, the old generation serves on:\n{}",
            text.trim_end()
        );
        self.status.send_modify(|status| status.fail(text.into()));
    }

    fn ask<'a>(&'a self, config: &'a Config) -> Ask<'a> {
        Ask {
            config,
            fleet: Some(&self.fleet),
            builder: &self.builder,
            budget: Budget::default(),
        }
    }

    /// Asks upstreams that are `wanted`, and takes up what they tell. One that has told and doesn't
    /// answer now has changed nothing. What is to be said of those that don't answer.
    async fn ask_those(
        &mut self,
        wanted: impl Fn(&Answers, UpstreamId) -> bool,
    ) -> (Heard, Report) {
        let mut answers = self.answers.clone();
        let config = Arc::clone(&self.config);
        let (heard, report) = answers.ask(&self.ask(&config), wanted).await;
        match heard.new {
            true => {
                self.take_up(config, answers).await;
            }
            false if heard.any => self.confirmed(answers).await,
            false => {}
        }
        (heard, as_warnings(report))
    }

    /// Asks the upstreams that have never answered. Whether one has now.
    async fn ask_missing(&mut self) -> bool {
        let config = Arc::clone(&self.config);
        let wanted = |answers: &Answers, id| !answers.has_told(&config, id);
        let (heard, report) = self.ask_those(wanted).await;
        if report != self.told {
            tell(&report);
            self.told = report;
        }
        heard.any
    }

    /// Asks these upstreams. Whether one tells something new.
    async fn ask_named(&mut self, names: &BTreeSet<Arc<str>>) -> bool {
        let config = Arc::clone(&self.config);
        let wanted = |_: &Answers, id: UpstreamId| {
            let upstream = config.upstreams.get(id.0 as usize);
            upstream.is_some_and(|u| names.contains(&u.name))
        };
        self.ask_those(wanted).await.0.new
    }

    /// Asks those that have answered whether they tell the same as before.
    async fn ask_again(&mut self) {
        let config = Arc::clone(&self.config);
        let wanted = |answers: &Answers, id| answers.has_told(&config, id);
        self.ask_those(wanted).await;
    }

    /// What upstreams tell is what they are served from already.
    async fn confirmed(&mut self, answers: Answers) {
        self.answers = answers;
        let (config, answers) = (&self.config, &self.answers);
        self.status.send_modify(|status| {
            for source in &mut status.sources {
                if let Some(id) = source.upstream {
                    let (whence, refused) = answers.state_of(config, id);
                    source.versions = answers.versions(config, id).to_vec();
                    source.state = whence.map_or(SourceState::Awaited, SourceState::Reflection);
                    source.refused = refused;
                }
            }
        });
        self.keep().await;
    }
}

fn breaking(changes: &Changes) -> Report {
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
    report
}

/// What there is to say of each source of a generation.
fn sources_of(config: &Config, read: &[Source], answers: &Answers) -> Vec<SourceStatus> {
    let status = |source: &Source| {
        let (state, refused) = match source.upstream {
            None => (SourceState::Read, None),
            Some(id) => {
                let (whence, refused) = answers.state_of(config, id);
                let whence = whence.filter(|_| source.hash.is_some());
                (
                    whence.map_or(SourceState::Awaited, SourceState::Reflection),
                    refused,
                )
            }
        };
        SourceStatus {
            name: source.name.clone(),
            upstream: source.upstream,
            hash: source.hash,
            state,
            versions: source
                .upstream
                .map_or_else(Vec::new, |id| answers.versions(config, id).to_vec()),
            refused,
        }
    };
    read.iter().map(status).collect()
}

/// The work of keeping on disk what is served and isn't there yet, for the builder thread; `None` when
/// there is none. Gives what is there then: what can't be written is told, and tried the next time.
fn keeping(
    config: &Config,
    answers: &Answers,
    saved: &Saved,
) -> Option<impl FnOnce() -> Saved + Send + 'static> {
    let folder = config.reload.keep.clone()?;
    let mut saved = saved.clone();
    let todo = answers.worth_keeping(config);
    (!todo.is_empty()).then_some(move || {
        let kept = Kept::below(&folder);
        for (upstream, descriptors) in todo {
            let is = (folder.clone(), ContentHash::of(&descriptors));
            if saved.get(&upstream) == Some(&is) {
                continue;
            }
            match kept.write(&upstream, &descriptors) {
                Ok(()) => {
                    saved.insert(upstream, is);
                }
                Err(error) => tracing::warn!(
                    folder = %kept.folder().display(),
                    %upstream,
                    %error,
                    "descriptors can't be kept for the next start"
                ),
            }
        }
        saved
    })
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

fn tell(report: &Report) {
    if !report.is_empty() {
        tracing::warn!("{}", report.render(Format::Text).trim_end());
    }
}
