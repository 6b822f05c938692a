//! Who looks after one name: asks the schedule, acts, keeps what comes of it, and shows the new
//! certificate. The one that is served stays until there is a better one, whatever happens here.
//!
//! Killed at any point it can start again: an order is written down as soon as it is placed, with its
//! key, and goes on from there.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use instant_acme::{CertificateIdentifier, Identifier};
use tokio::time::{sleep, timeout};

use crate::limits::{ACME_DISK_RETRY, ACME_NAME_LOCK_POLL, ACME_PANIC_REST, ACME_SLEEP_MAX};
use crate::tls::Identity;

use super::authority::Session;
use super::board::{Board, Outcome};
use super::challenge::Solvers;
use super::error::{AcmeError, Cause, Step};
use super::issued::Issued;
use super::kept::{Kept, Open, Shelf, Unread};
use super::key::KeyType;
use super::office::Office;
use super::order::Wanted;
use super::renewal;
use super::schedule::{self, Action, Failure, Life, next, renew_at};
use super::storage::{Fence, Lease as _, StorageError, Version};

/// An authority that may be asked, and how.
#[derive(Debug)]
pub struct Choice {
    pub office: Arc<Office>,
    /// Where names are tried after a refusal.
    pub trial: Option<Arc<Office>>,
    pub solvers: Solvers,
    pub key_type: KeyType,
    pub profile: Option<Box<str>>,
}

/// Shows a certificate to clients.
pub type Show = Arc<dyn Fn(&str, Arc<Identity>) + Send + Sync>;

/// What looking after a name takes.
pub struct Clerk {
    pub name: Box<str>,
    /// The first is the one that the configuration names; the others are turned to when it fails.
    pub choices: Vec<Arc<Choice>>,
    /// A mark of how they are asked: with another one the failures of before don't count.
    pub settings: Box<str>,
    pub shelf: Shelf,
    pub board: Arc<Board>,
    pub show: Show,
}

/// A certificate that is served.
struct Served {
    identity: Arc<Identity>,
    /// What its authority calls it.
    id: Option<CertificateIdentifier<'static>>,
    version: Version,
}

impl Served {
    fn of(issued: Issued, version: Version) -> Self {
        let chain = &issued.identity.certified().cert;
        Self {
            id: chain.first().and_then(renewal::identifier),
            identity: Arc::new(issued.identity),
            version,
        }
    }

    fn serial(&self) -> Option<String> {
        self.id.as_ref().map(ToString::to_string)
    }
}

impl Clerk {
    /// Looks after the name for ever, also when a mistake of ours ends that in a panic. Dropping it
    /// stops that; an order under way can be taken up again.
    pub async fn run(self) -> Infallible {
        loop {
            // All that it knows is read anew.
            let panicked = AssertUnwindSafe(self.look_after()).catch_unwind().await;
            if panicked.is_err() {
                self.trouble("a panic: it is taken up again");
                sleep(ACME_PANIC_REST).await;
            }
        }
    }

    async fn look_after(&self) -> Infallible {
        // What couldn't be served when it was last read.
        let mut spoilt = None;
        // Orders in a row that failed without that being kept.
        let mut unkept = 0_u32;
        loop {
            // Other processes may have worked on it: what is on disk decides.
            let (served, mut kept) = match self.look().await {
                Ok(looked) => looked,
                Err(error) => {
                    self.trouble(&error.to_string());
                    sleep(ACME_DISK_RETRY).await;
                    if let Unread::Spoilt { version, .. } = error
                        && spoilt.replace(version.clone()) == Some(version)
                    {
                        self.set_aside(spoilt.take()).await;
                    }
                    continue;
                }
            };
            let now = SystemTime::now();
            let life = served.as_ref().map(|s| self.life(s, &kept));
            match next(life.as_ref(), &kept.course, self.choices.len(), now) {
                Action::Wait(at) => {
                    self.tell(served.as_ref(), &kept, Some(at));
                    let long = at.duration_since(now).unwrap_or_default();
                    let long = long.min(ACME_SLEEP_MAX).max(Duration::from_millis(10));
                    let seen = served.as_ref().map(|s| &s.version);
                    let changed = timeout(long, self.shelf.changed(seen, &kept)).await;
                    if let Ok(Err(error)) = changed {
                        self.trouble(&error.to_string());
                        sleep(ACME_DISK_RETRY.min(long)).await;
                    }
                }
                Action::AskWindow => {
                    self.ask_window(served.as_ref(), &mut kept).await;
                    self.note(kept).await;
                }
                Action::Order { authority, trial } => {
                    self.tell(served.as_ref(), &kept, None);
                    let turn = Turn { authority, trial };
                    match self.work(served, turn).await {
                        Ok(()) => unkept = 0,
                        Err(halt) => {
                            self.trouble(&halt.said);
                            sleep(halt.rest(&mut unkept)).await;
                        }
                    }
                }
            }
        }
    }

    /// Makes way for a new certificate where none can be served from what is kept, and nobody has
    /// mended it meanwhile.
    async fn set_aside(&self, spoilt: Option<Version>) {
        let lease = match self.shelf.lease().await {
            Ok(Some(lease)) => lease,
            Ok(None) => return,
            Err(error) => return self.trouble(&error.to_string()),
        };
        match self.shelf.certificate().await {
            Err(Unread::Spoilt { version, .. }) if Some(&version) == spoilt.as_ref() => {}
            _ => return,
        }
        let name = &self.name;
        match self.shelf.set_aside("unreadable", lease.fence()).await {
            Ok(file) => {
                tracing::error!(%name, %file, "no certificate can be served from what was kept: it is set aside, and a new one is ordered");
            }
            Err(error) => self.trouble(&error.to_string()),
        }
    }

    /// What is on disk, shown if it is new.
    async fn look(&self) -> Result<(Option<Served>, Kept), Unread> {
        let issued = self.shelf.certificate().await?;
        let mut kept = self.shelf.kept().await?;
        let served = issued.map(|(issued, version)| Served::of(issued, version));
        let serial = served.as_ref().and_then(Served::serial);
        if served.is_some() && kept.serial != serial {
            // Its course was that of another certificate.
            kept = Kept {
                serial,
                version: kept.version,
                ..Kept::default()
            };
            kept.course.renewed(SystemTime::now(), fastrand::f64());
        }
        if kept.settings.as_deref() != Some(&*self.settings) {
            if kept.settings.is_some() {
                kept.course.forgive();
            }
            kept.settings = Some(self.settings.to_string());
        }
        if let Some(served) = &served {
            (self.show)(&self.name, Arc::clone(&served.identity));
        }
        Ok((served, kept))
    }

    fn life(&self, served: &Served, kept: &Kept) -> Life {
        Life {
            not_before: served.identity.not_before(),
            not_after: served.identity.not_after(),
            has_window: served.id.is_some() && self.issuer(kept).is_some(),
        }
    }

    /// Whoever issued the certificate, if that is somebody that we know.
    fn issuer(&self, kept: &Kept) -> Option<&Arc<Office>> {
        let issuer = kept.issuer.as_deref();
        let mut offices = self.choices.iter().map(|c| &c.office);
        offices.find(|o| issuer.is_none_or(|i| *o.authority.directory == *i))
    }

    async fn ask_window(&self, served: Option<&Served>, kept: &mut Kept) {
        let now = SystemTime::now();
        let later = |wait: Duration| now + wait.max(Duration::from_secs(60));
        let (Some(id), Some(office)) = (served.and_then(|s| s.id.as_ref()), self.issuer(kept))
        else {
            kept.course.untold(later(ACME_SLEEP_MAX * 6));
            return;
        };
        match office.authority.window(id).await {
            Ok(Some(window)) => {
                let (start, end) = (window.start, window.end);
                let ask_at = now + window.ask_again;
                let moved = kept.course.told(start, end, ask_at, fastrand::f64());
                if moved {
                    let (name, why) = (&self.name, window.explanation.as_deref());
                    let why = why.unwrap_or("no reason given");
                    let start = httpdate::fmt_http_date(start);
                    tracing::warn!(%name, %start, why, "the authority wants it renewed at another time");
                }
            }
            // It has no opinion: a third of the life left is all there is to go by.
            Ok(None) => kept.course.untold(later(ACME_SLEEP_MAX * 24)),
            Err(error) => {
                let (name, wait) = (&self.name, error.retry_after);
                tracing::debug!(%name, %error, "no renewal window");
                kept.course.untold(later(wait.unwrap_or(ACME_SLEEP_MAX)));
            }
        }
    }

    /// One order, alone among all processes that share the storage.
    async fn work(&self, before: Option<Served>, turn: Turn) -> Result<(), Halt> {
        let Some(choice) = self.choices.get(turn.authority) else {
            return Err(Halt::new("there is no authority to ask"));
        };
        let lease = self.shelf.lease().await.map_err(Halt::new)?;
        let Some(lease) = lease else {
            sleep(ACME_NAME_LOCK_POLL).await;
            return Ok(());
        };
        let fence = lease.fence().clone();
        tokio::select! {
            done = self.work_alone(before, turn, choice, &fence) => done,
            lost = self.shelf.hold(lease) => {
                let why = lost.err().map_or_else(String::new, |e| format!(": {e}"));
                Err(Halt::new(format!("an order was left to whoever holds the lease now{why}")))
            }
        }
    }

    async fn work_alone(
        &self,
        before: Option<Served>,
        turn: Turn,
        choice: &Choice,
        fence: &Fence,
    ) -> Result<(), Halt> {
        // Whoever had it may have done the work.
        let (served, mut kept) = self.look().await.map_err(Halt::new)?;
        let serial = |s: &Option<Served>| s.as_ref().and_then(Served::serial);
        if serial(&served) != serial(&before) {
            return Ok(());
        }
        let life = served.as_ref().map(|s| self.life(s, &kept));
        let office = match (turn.trial, &choice.trial) {
            (true, Some(trial)) => trial,
            _ => &choice.office,
        };
        let is_trial = turn.trial && choice.trial.is_some();
        let name = &self.name;
        tracing::info!(%name, authority = %office.authority.name, trial = is_trial, "ordering a certificate");
        let job = Job {
            choice,
            office,
            is_trial,
            served: served.as_ref(),
            issuer: kept.issuer.clone(),
            failures: kept.course.failures,
            fence,
        };
        let done = self.order(&job).await;
        let authority = &*choice.office.authority.name;
        match done {
            Ok(Some(issued)) => {
                let stored = self.store(issued, &mut kept, &job).await;
                let new = stored.map_err(Halt::new)?;
                self.board.count(authority, Outcome::Issued);
                let until = httpdate::fmt_http_date(new.not_after());
                tracing::info!(%name, %until, "a new certificate");
                (self.show)(name, new);
            }
            Ok(None) => {
                self.board.count(authority, Outcome::Passed);
                tracing::info!(%name, "the trial has passed");
                kept.course.passed();
            }
            Err(error) => {
                self.board.count(authority, Outcome::Failed);
                let said = error.to_string();
                let failure = Failure {
                    said: &said,
                    retry_after: error.retry_after,
                    heard: error.is_heard(),
                    may_try: choice.trial.is_some() && may_try(&error),
                    authorities: self.choices.len(),
                    chance: fastrand::f64(),
                };
                let now = SystemTime::now();
                kept.course.failed(&failure, life.as_ref(), now);
                let stored = self.shelf.keep_alone(&mut kept, fence).await;
                self.alarm(&error, served.as_ref(), &kept);
                return stored.map_err(|error| Halt {
                    waits: kept.course.waits(now),
                    ..Halt::new(error)
                });
            }
        }
        self.keep(&mut kept, fence).await;
        Ok(())
    }

    /// `None` for a trial, whose certificate is of no use.
    async fn order(&self, job: &Job<'_>) -> Result<Option<Issued>, AcmeError> {
        let office = job.office;
        // Renewals don't count against Let's Encrypt's limit on orders, and come late when they wait
        // behind new names.
        let renews = job.replaced().is_some();
        let _turn = office.turn(!renews || job.is_trial).await;
        let session = office.session().await?;
        match self.order_with(job, &session).await {
            // With it went the order that was placed in its name.
            Err(error) if error.is_account_gone() => {
                office.forget_account(&session).await;
                self.forget_order(job).await;
                let session = office.session().await?;
                self.order_with(job, &session).await
            }
            done => done,
        }
    }

    async fn order_with(
        &self,
        job: &Job<'_>,
        session: &Session,
    ) -> Result<Option<Issued>, AcmeError> {
        let turn = usize::try_from(job.failures).unwrap_or_default();
        let turn = turn / self.choices.len().max(1);
        let open = self.place(job, session).await?;
        let solvers = &job.choice.solvers;
        let done = session.fulfil(&open.url, &open.key, solvers, turn).await;
        let done = done.and_then(|chain| Issued::check(&chain, &open.key, &self.name));
        if let Err(error) = &done
            && !error.passes()
            && !matches!(error.cause, Cause::Slow(_))
        {
            self.forget_order(job).await;
        }
        done.map(|issued| (!job.is_trial).then_some(issued))
    }

    async fn forget_order(&self, job: &Job<'_>) {
        if !job.is_trial
            && let Err(error) = self.shelf.forget_order(job.fence).await
        {
            tracing::warn!(name = %self.name, %error, "an order that has failed can't be forgotten");
        }
    }

    /// The order that was placed before and isn't done, or a new one.
    async fn place(&self, job: &Job<'_>, session: &Session) -> Result<Open, AcmeError> {
        let Job { choice, office, .. } = *job;
        let directory = &office.authority.directory;
        let own = |error: String| AcmeError::new(Step::Order, Cause::Other(error));
        if !job.is_trial
            && let Some(open) = self.shelf.open_order().await
            && open.directory == *directory
        {
            return Ok(open);
        }
        let key_type = choice.key_type;
        let key = blocking(move || key_type.generate()).await.map_err(own)?;
        let key = key.map_err(|e| own(format!("no key: {e}")))?;
        let names = [identifier(&self.name)];
        let wanted = Wanted {
            names: &names,
            profile: choice.profile.as_deref(),
            replaces: job.replaced().filter(|_| !job.is_trial),
        };
        let placed = session.place(&wanted).await?;
        let open = Open {
            directory: directory.clone(),
            url: placed.url,
            key,
        };
        if !job.is_trial {
            let kept = self.shelf.keep_order(&open, job.fence).await;
            kept.map_err(|e| own(format!("the order can't be written down: {e}")))?;
        }
        Ok(open)
    }

    /// First the certificate, then what is known of it: whatever is missing after a crash is found out
    /// again.
    async fn store(
        &self,
        issued: Issued,
        kept: &mut Kept,
        job: &Job<'_>,
    ) -> Result<Arc<Identity>, String> {
        let seen = job.served.map(|s| &s.version);
        let stored = self.shelf.keep_certificate(&issued, seen, job.fence).await;
        let version = match stored {
            Ok(version) => version,
            Err(error) => {
                // There is a newer one: ours would come up again at the next renewal.
                if error.is_overtaken() {
                    self.shelf.forget_order(job.fence).await.ok();
                }
                return Err(format!("the certificate can't be kept: {error}"));
            }
        };
        let new = Served::of(issued, version);
        kept.course.renewed(SystemTime::now(), fastrand::f64());
        kept.serial = new.serial();
        kept.issuer = Some(job.office.authority.directory.clone());
        self.keep(kept, job.fence).await;
        if let Err(error) = self.shelf.forget_order(job.fence).await {
            tracing::warn!(name = %self.name, %error, "an order that is done can't be forgotten");
        }
        Ok(new.identity)
    }

    async fn keep(&self, kept: &mut Kept, fence: &Fence) {
        let done = self.shelf.keep_alone(kept, fence).await;
        self.or_rest(done).await;
    }

    /// Keeps what whoever works on the name may know better.
    async fn note(&self, mut kept: Kept) {
        let done = self.shelf.keep(&mut kept).await;
        // In that case it is looked at anew.
        self.or_rest(done.or_else(|e| if e.is_overtaken() { Ok(()) } else { Err(e) }))
            .await;
    }

    async fn or_rest(&self, done: Result<(), StorageError>) {
        if let Err(error) = done {
            self.trouble(&error.to_string());
            // Without what is kept the same thing would be done at once again.
            sleep(ACME_DISK_RETRY).await;
        }
    }

    fn trouble(&self, error: &str) {
        tracing::error!(name = %self.name, error, "a certificate can't be looked after");
        self.board
            .change(&self.name, |entry| entry.error = Some(error.into()));
    }

    fn alarm(&self, error: &AcmeError, served: Option<&Served>, kept: &Kept) {
        let name = &self.name;
        let again = kept.course.not_before.map(schedule::time);
        let again = again.map(httpdate::fmt_http_date).unwrap_or_default();
        match served.map(|s| s.identity.not_after()) {
            None => tracing::error!(%name, %error, %again, "no certificate yet"),
            Some(end) if end <= SystemTime::now() => {
                tracing::error!(%name, %error, %again, "the certificate has EXPIRED and is served all the same");
            }
            Some(end) => {
                let until = httpdate::fmt_http_date(end);
                tracing::warn!(%name, %error, %again, %until, "not renewed yet, the old certificate serves on");
            }
        }
    }

    fn tell(&self, served: Option<&Served>, kept: &Kept, next: Option<SystemTime>) {
        let identity = served.map(|s| &s.identity);
        let life = served.map(|s| self.life(s, kept));
        let authority = self.choices.first();
        self.board.change(&self.name, |entry| {
            entry.authority =
                authority.map_or_else(Box::default, |c| c.office.authority.name.clone());
            entry.issuer = identity.map(|i| i.issuer().into());
            entry.not_before = identity.map(|i| i.not_before());
            entry.not_after = identity.map(|i| i.not_after());
            entry.renewal = life.map(|life| renew_at(&life, &kept.course));
            let window = kept.course.window.as_ref();
            entry.window = window.map(|w| (schedule::time(w.start), schedule::time(w.end)));
            entry.next = next;
            entry.failures = kept.course.failures;
            entry.error = kept.course.error.as_deref().map(Into::into);
        });
    }
}

/// Work that came to nothing, and isn't to be taken up at once.
struct Halt {
    said: String,
    /// What was to be waited for after an order, if that couldn't be kept.
    waits: Option<Duration>,
}

impl Halt {
    fn new(said: impl ToString) -> Self {
        Self {
            said: said.to_string(),
            waits: None,
        }
    }

    /// How long to leave it alone. The authority isn't asked more often because our disk is full: the
    /// count of failures is in memory then.
    fn rest(&self, unkept: &mut u32) -> Duration {
        let Some(waits) = self.waits else {
            return ACME_DISK_RETRY;
        };
        let grown = waits.saturating_mul(1 << (*unkept).min(10));
        *unkept = unkept.saturating_add(1);
        grown.clamp(ACME_DISK_RETRY, ACME_SLEEP_MAX)
    }
}

/// Which order.
#[derive(Clone, Copy, Debug)]
struct Turn {
    authority: usize,
    trial: bool,
}

/// An order, and what it goes by.
struct Job<'a> {
    choice: &'a Choice,
    office: &'a Office,
    is_trial: bool,
    served: Option<&'a Served>,
    /// Of the certificate that is served.
    issuer: Option<String>,
    failures: u32,
    fence: &'a Fence,
}

impl Job<'_> {
    /// The certificate that the order would replace, which the same authority has to have made.
    fn replaced(&self) -> Option<&CertificateIdentifier<'static>> {
        let is_same = self.issuer.as_ref() == Some(&self.office.authority.directory);
        self.served?.id.as_ref().filter(|_| is_same)
    }
}

/// What a trial would find out as well: not that the authority is down, or has had enough.
fn may_try(error: &AcmeError) -> bool {
    match &error.cause {
        Cause::Invalid(_) | Cause::Solver(_) => true,
        Cause::Refused(_) => !error.is_limit() && !error.passes(),
        _ => false,
    }
}

fn identifier(name: &str) -> Identifier {
    match name.parse() {
        Ok(address) => Identifier::Ip(address),
        Err(_) => Identifier::Dns(name.to_owned()),
    }
}

/// Runs what may wait for a disk, or take long, apart from the control thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| e.to_string())
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
