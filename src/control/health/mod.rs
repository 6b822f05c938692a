//! Asks every instance of an upstream with `health` how it is, and has calls leave out those that
//! aren't well.
//!
//! Each instance has a task of its own, so a silent one holds up no other; instances that discovery
//! finds and loses are followed. Calls see the verdict as one atomic of the instance. What an
//! instance says by itself (`Watch`) counts at once, what it answers when asked as often in a row as
//! the config says.

mod ask;
mod judge;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::config::model::{Health, HealthQuestion, UpstreamProtocol};
use crate::failure::GrpcCode;
use crate::live::Live;
use crate::snapshot::Snapshot;
use crate::upstream::{Fleet, Member, Shared};

use ask::{Answers, Line, Told, Word};
use judge::Judge;

/// Asks on, generation after generation. Dropping it stops that.
pub async fn run(fleet: Arc<Fleet>, live: Arc<Snapshot<Live>>) {
    let mut changes = live.subscribe();
    let mut following: HashMap<Arc<str>, Task<Shared>> = HashMap::new();
    loop {
        let now = live.load();
        let mut next = HashMap::new();
        for spec in now.upstreams.iter().filter(|u| u.rules.health.is_some()) {
            let shared = fleet.upstream(spec);
            let kept = following.remove(&spec.name);
            let kept = kept.filter(|f| Arc::ptr_eq(&f.of, &shared));
            let kept = kept.unwrap_or_else(|| Task::spawn(&shared, follow(Arc::clone(&shared))));
            next.insert(Arc::clone(&spec.name), kept);
        }
        following = next;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A task about something, ended when it is dropped.
struct Task<T> {
    of: Arc<T>,
    task: JoinHandle<()>,
}

impl<T> Task<T> {
    fn spawn(of: &Arc<T>, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            of: Arc::clone(of),
            task: tokio::spawn(work),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks the instances of one upstream, whichever they are.
async fn follow(shared: Arc<Shared>) {
    let Some(rule) = shared.spec().rules.health.clone() else {
        return;
    };
    let mut changes = shared.changes();
    let mut asked: Vec<Task<Member>> = Vec::new();
    loop {
        changes.borrow_and_update();
        let members = shared.members();
        asked.retain(|task| members.iter().any(|m| Arc::ptr_eq(m, &task.of)));
        for member in members.iter() {
            if !asked.iter().any(|task| Arc::ptr_eq(member, &task.of)) {
                let patient = Patient::new(&shared, member, &rule);
                asked.push(Task::spawn(member, patient.attend()));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// One instance, and what is known of its health.
struct Patient {
    shared: Arc<Shared>,
    member: Arc<Member>,
    rule: Health,
    judge: Judge,
    line: Option<Line>,
    /// It has said that it doesn't know the question.
    unknowing: bool,
    /// `Watch`, while it is open.
    watched: Option<Answers>,
    /// The server has no `Watch`.
    unwatchable: bool,
}

impl Patient {
    fn new(shared: &Arc<Shared>, member: &Arc<Member>, rule: &Health) -> Self {
        Self {
            shared: Arc::clone(shared),
            member: Arc::clone(member),
            judge: Judge::new(rule.healthy_after, rule.unhealthy_after),
            rule: rule.clone(),
            line: None,
            unknowing: false,
            watched: None,
            unwatchable: false,
        }
    }

    async fn attend(mut self) {
        loop {
            let asked = Instant::now();
            let answer = match timeout(self.rule.timeout, self.ask()).await {
                Ok(Ok(word)) => word,
                Ok(Err(error)) => Word::Bad(error),
                Err(_) => Word::Bad(format!("no answer within {:?}", self.rule.timeout)),
            };
            let broken = self.line.as_ref().is_some_and(|line| !line.is_open());
            if broken || matches!(&answer, Word::Bad(_)) {
                // Whatever is wrong with the connection, the next question has a new one.
                self.line = None;
                self.watched = None;
            }
            self.note(&answer, Judge::note);
            // Up to a tenth sooner or later, so that gateways that started together ask apart.
            let spread = 0.9 + fastrand::f64() / 5.0;
            self.watch_until(asked + self.rule.interval.mul_f64(spread))
                .await;
        }
    }

    async fn ask(&mut self) -> Result<Word, String> {
        let spec = self.shared.spec();
        match (&self.rule.ask, spec.protocol) {
            (HealthQuestion::Http { path, status }, UpstreamProtocol::Http1) => {
                return ask::get_http1(&self.member, spec, path, *status).await;
            }
            (HealthQuestion::Http { .. } | HealthQuestion::Grpc { .. }, _) => {}
        }
        let line = match &mut self.line {
            Some(line) => line,
            closed => closed.insert(Line::open(&self.member, spec).await?),
        };
        match &self.rule.ask {
            HealthQuestion::Http { path, status } => line.get(path, *status).await,
            HealthQuestion::Grpc { service, watch } => {
                let word = line.check(service).await?;
                if word == Word::Good && *watch && !self.unwatchable && self.watched.is_none() {
                    self.watched = Some(line.watch(service).await?);
                }
                Ok(word)
            }
        }
    }

    /// Waits for the time of the next question; what the instance says until then counts at once.
    async fn watch_until(&mut self, next: Instant) {
        while let Some(watched) = &mut self.watched {
            let told = tokio::select! {
                told = watched.next() => told,
                () = tokio::time::sleep_until(next) => return,
            };
            match told {
                Ok(Told::Status(status)) => self.note(&ask::word(status), Judge::decide),
                Ok(Told::End(GrpcCode::Unimplemented, _)) => {
                    self.watched = None;
                    self.unwatchable = true;
                    let (upstream, endpoint) = (&*self.shared.spec().name, &self.member.authority);
                    tracing::info!(upstream, %endpoint, "health: it has no Watch, and is asked by Check alone");
                }
                // The end of the server, or of the stream alone: the next question tells.
                Ok(Told::End(..)) | Err(_) => {
                    self.watched = None;
                    let soon = Instant::now() + self.rule.timeout.min(AGAIN_SOON);
                    tokio::time::sleep_until(soon.min(next)).await;
                    return;
                }
            }
        }
        tokio::time::sleep_until(next).await;
    }

    fn note(&mut self, word: &Word, judge: impl FnOnce(&mut Judge, bool) -> Option<bool>) {
        let (upstream, endpoint) = (&*self.shared.spec().name, &self.member.authority);
        if *word == Word::Unknowing && !std::mem::replace(&mut self.unknowing, true) {
            tracing::warn!(upstream, %endpoint, "health: it doesn't know grpc.health.v1, and counts as healthy");
        }
        let why = match word {
            Word::Good | Word::Unknowing => None,
            Word::Bad(why) => Some(&**why),
        };
        self.member.note_check(why);
        let Some(healthy) = judge(&mut self.judge, why.is_none()) else {
            return;
        };
        let was = self.member.is_healthy();
        self.member.set_healthy(healthy);
        match why {
            None if was => tracing::debug!(upstream, %endpoint, "endpoint is healthy"),
            None => tracing::info!(upstream, %endpoint, "endpoint is healthy again"),
            Some(why) => tracing::warn!(upstream, %endpoint, why, "endpoint is not healthy"),
        }
    }
}

/// How soon an instance is asked again whose `Watch` has ended.
const AGAIN_SOON: Duration = Duration::from_millis(200);
