//! Looks after every certificate that the published generation wants, one clerk each.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::limits::ACME_DISK_RETRY;
use crate::live::{Issuer, Live, Wanted};
use crate::snapshot::Snapshot;
use crate::tls::{self, Identity};
use crate::tokens::Tokens;

use super::board::Board;
use super::challenge::Certificates;
use super::clerk::{Choice, Clerk, Show};
use super::kept::Shelf;
use super::key::KeyType;
use super::office::Office;
use super::setup;
use super::storage::Folder;
use crate::config::acme::{DnsWay, KeyType as Configured};

/// What the task works with.
#[derive(Debug)]
pub struct Task {
    live: Arc<Snapshot<Live>>,
    board: Arc<Board>,
    tokens: Arc<Tokens>,
    certificates: Arc<Certificates>,
    shop: Arc<Shop>,
}

/// Certificates that clients are shown.
#[derive(Debug)]
struct Shop {
    tls: Arc<tls::Shared>,
    shown: Mutex<BTreeMap<Box<str>, Arc<Identity>>>,
}

impl Shop {
    fn change(&self, change: impl FnOnce(&mut BTreeMap<Box<str>, Arc<Identity>>) -> bool) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut shown) {
            self.tls.provide(shown.clone());
        }
    }

    /// Shows a certificate, unless it is the one that is shown.
    fn show(&self, name: &str, identity: Arc<Identity>) {
        let leaf = |i: &Identity| i.certified().cert.first().cloned();
        self.change(|shown| {
            if shown
                .get(name)
                .is_some_and(|old| leaf(old) == leaf(&identity))
            {
                return false;
            }
            shown.insert(name.into(), identity);
            true
        });
    }
}

impl Task {
    /// Shows what is in the storages already, so that the first handshake finds it.
    #[must_use]
    pub fn new(
        wanted: &Wanted,
        live: Arc<Snapshot<Live>>,
        tls: Arc<tls::Shared>,
        tokens: Arc<Tokens>,
        board: Arc<Board>,
    ) -> Self {
        let shop = Shop {
            tls: Arc::clone(&tls),
            shown: Mutex::default(),
        };
        shop.change(|shown| {
            for (name, at) in wanted.names.iter() {
                let Some(issuer) = wanted.authorities.get(*at) else {
                    continue;
                };
                let folder = Folder::open(&issuer.acme.storage);
                let shelf = folder.map(|f| Shelf::new(&f, name));
                // What is wrong with it is told by its clerk.
                if let Ok(shelf) = shelf
                    && let Ok(Some(issued)) = shelf.certificate_now()
                {
                    shown.insert(name.clone(), Arc::new(issued.identity));
                }
            }
            true
        });
        let publish = move |all| tls.challenge(all);
        Self {
            live,
            board,
            tokens,
            certificates: Arc::new(Certificates::new(Box::new(publish))),
            shop: Arc::new(shop),
        }
    }

    /// Looks after what is wanted, and follows what is published. Dropping it stops that.
    pub async fn run(self) {
        let mut changes = self.live.subscribe();
        let mut wanted = Wanted::default();
        let mut at_work: BTreeMap<Box<str>, AbortHandle> = BTreeMap::new();
        let mut clerks = JoinSet::new();
        loop {
            changes.mark_unchanged();
            let now = self.live.load().wanted.clone();
            if now != wanted || at_work.len() < now.names.len() {
                self.follow(&wanted, &now, &mut at_work, &mut clerks);
                wanted = now;
            }
            let lacks = at_work.len() < wanted.names.len();
            tokio::select! {
                done = changes.changed() => if done.is_err() { return },
                // They end when they are stopped alone.
                Some(_) = clerks.join_next() => {}
                // A folder that couldn't be had may be there by then.
                () = sleep(ACME_DISK_RETRY), if lacks => {}
            }
        }
    }

    /// Starts and stops clerks. When an authority has changed all begin anew: what they know is on
    /// disk. One for whom something is missing isn't started.
    fn follow(
        &self,
        before: &Wanted,
        now: &Wanted,
        at_work: &mut BTreeMap<Box<str>, AbortHandle>,
        clerks: &mut JoinSet<Infallible>,
    ) {
        let same = before.authorities == now.authorities;
        at_work.retain(|name, clerk| {
            let stays = same && before.names.get(name) == now.names.get(name);
            if !stays {
                clerk.abort();
            }
            stays
        });
        for gone in before.names.keys().filter(|n| !now.names.contains_key(*n)) {
            self.board.forget(gone);
            self.shop.change(|shown| shown.remove(gone).is_some());
        }
        let mut offices = Offices::default();
        let choices: Vec<_> = (0..now.authorities.len())
            .map(|at| self.choices(now, at, &mut offices))
            .collect();
        let shop = Arc::clone(&self.shop);
        let show: Show = Arc::new(move |name, identity| shop.show(name, identity));
        for (name, at) in now.names.iter() {
            if at_work.contains_key(name) {
                continue;
            }
            let choices = match choices.get(*at) {
                Some(Ok(choices)) => choices,
                Some(Err(error)) => {
                    self.complain(name, error);
                    continue;
                }
                None => continue,
            };
            let Some(folder) = now.authorities.get(*at) else {
                continue;
            };
            let folder = match offices.folder(&folder.acme.storage) {
                Ok(folder) => folder,
                Err(error) => {
                    self.complain(name, &error);
                    continue;
                }
            };
            let clerk = Clerk {
                name: name.clone(),
                choices: choices.clone(),
                settings: settings(now, *at),
                shelf: Shelf::new(&folder, name),
                board: Arc::clone(&self.board),
                show: Arc::clone(&show),
            };
            at_work.insert(name.clone(), clerks.spawn(clerk.run()));
        }
    }

    /// Says why nobody looks after a name, once.
    fn complain(&self, name: &str, error: &str) {
        let mut is_new = false;
        self.board.change(name, |entry| {
            is_new = entry.error.as_deref() != Some(error);
            entry.error = Some(error.into());
        });
        if is_new {
            tracing::error!(%name, %error, "no certificate can be ordered");
        }
    }

    /// An authority, and those that are turned to when it fails.
    fn choices(
        &self,
        wanted: &Wanted,
        from: usize,
        offices: &mut Offices,
    ) -> Result<Vec<Arc<Choice>>, String> {
        let mut all = Vec::new();
        let mut at = Some(from);
        while let Some(issuer) = at.and_then(|at| wanted.authorities.get(at)) {
            if all.len() >= wanted.authorities.len() {
                break;
            }
            all.push(Arc::new(self.choice(issuer, offices)?));
            at = issuer.acme.next;
        }
        Ok(all)
    }

    fn choice(&self, issuer: &Issuer, offices: &mut Offices) -> Result<Choice, String> {
        let acme = &issuer.acme;
        let trial = acme.trial.as_deref();
        Ok(Choice {
            office: offices.of(issuer, &acme.directory)?,
            trial: trial.map(|url| offices.of(issuer, url)).transpose()?,
            solvers: setup::solvers(issuer, &self.tokens, &self.certificates)?,
            key_type: match acme.key_type {
                Configured::P256 => KeyType::P256,
                Configured::P384 => KeyType::P384,
                Configured::Rsa2048 => KeyType::Rsa2048,
            },
            profile: acme.profile.clone(),
        })
    }
}

/// A mark of all that decides whether an order succeeds: the authority, those behind it, and how each is
/// asked. Nothing can be told from it.
fn settings(wanted: &Wanted, from: usize) -> Box<str> {
    let mut hasher = DefaultHasher::new();
    let mut at = Some(from);
    for _ in 0..wanted.authorities.len() {
        let Some(issuer) = at.and_then(|at| wanted.authorities.get(at)) else {
            break;
        };
        let acme = &issuer.acme;
        (&acme.directory, &acme.contact, acme.agree_to_terms).hash(&mut hasher);
        (&issuer.roots, &issuer.hook_roots, &acme.profile).hash(&mut hasher);
        let ways = (&acme.challenges, &acme.dns, acme.key_type, &acme.trial);
        format!("{ways:?}").hash(&mut hasher);
        if let Some(eab) = &acme.eab {
            (&eab.key_id, &**eab.hmac_key.0).hash(&mut hasher);
        }
        if let Some(DnsWay::Update { key: Some(key), .. }) = acme.dns.as_ref().map(|d| &d.way) {
            key.key.0.hash(&mut hasher);
        }
        at = acme.next;
    }
    format!("{:016x}", hasher.finish()).into()
}

/// One of each, however many names go there.
#[derive(Default)]
struct Offices {
    folders: BTreeMap<PathBuf, Folder>,
    open: BTreeMap<(Box<str>, String), Arc<Office>>,
}

impl Offices {
    fn folder(&mut self, path: &PathBuf) -> Result<Folder, String> {
        if let Some(folder) = self.folders.get(path) {
            return Ok(folder.clone());
        }
        let folder = Folder::open(path).map_err(|e| e.to_string())?;
        self.folders.insert(path.clone(), folder.clone());
        Ok(folder)
    }

    fn of(&mut self, issuer: &Issuer, directory: &str) -> Result<Arc<Office>, String> {
        let key = (issuer.acme.name.clone(), directory.to_owned());
        if let Some(office) = self.open.get(&key) {
            return Ok(Arc::clone(office));
        }
        let folder = self.folder(&issuer.acme.storage)?;
        let authority = setup::authority(issuer, directory)?;
        let office = Office::new(authority, folder);
        self.open.insert(key, Arc::clone(&office));
        Ok(office)
    }
}
