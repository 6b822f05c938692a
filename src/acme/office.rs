//! One authority's desk, shared by all names that go there: accounts, the number of orders at once,
//! and their pace.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use crate::limits::{ACME_ACCOUNT_LOCK_POLL, ACME_LEASE, ACME_ORDERS_AT_ONCE};

use super::authority::{Authority, Session};
use super::error::{AcmeError, Cause, Step};
use super::kept::account_file;
use super::pace::Pace;
use super::storage::{Folder, Lease as _, Storage as _, StorageError};

/// Where orders are placed.
#[derive(Debug)]
pub struct Office {
    pub authority: Authority,
    folder: Folder,
    /// One of us asks for an account, the others wait for it.
    registering: Mutex<()>,
    desks: Semaphore,
    pace: Mutex<Pace>,
    since: Instant,
}

impl Office {
    #[must_use]
    pub fn new(authority: Authority, folder: Folder) -> Arc<Self> {
        Arc::new(Self {
            authority,
            folder,
            registering: Mutex::default(),
            desks: Semaphore::new(ACME_ORDERS_AT_ONCE),
            pace: Mutex::default(),
            since: Instant::now(),
        })
    }

    /// A place among the orders under way. One that counts against the authority's limit on new ones
    /// waits in pace with that first, so that it holds up none that doesn't.
    pub async fn turn(&self, counts: bool) -> Option<SemaphorePermit<'_>> {
        if counts {
            let wait = self.pace.lock().await.take(self.since.elapsed());
            sleep(wait).await;
        }
        self.desks.acquire().await.ok()
    }

    /// The account: the stored one, or a new one that is stored at once.
    ///
    /// # Errors
    /// The authority or the disk.
    pub async fn session(&self) -> Result<Session, AcmeError> {
        let file = account_file(&self.authority.directory);
        let unkept = |e: StorageError| {
            let said = format!("the account can't be kept: {e}");
            AcmeError::new(Step::Account, Cause::Other(said))
        };
        let one = self.registering.lock().await;
        if let Some(held) = self.folder.get(&file).await.map_err(unkept)? {
            drop(one);
            return self.open(&file, &held.bytes).await;
        }
        let lease = loop {
            let lease = self.folder.lease(&file, ACME_LEASE).await;
            match lease.map_err(unkept)? {
                Some(lease) => break lease,
                None => sleep(ACME_ACCOUNT_LOCK_POLL).await,
            }
        };
        // Another process may have got one meanwhile.
        if let Some(held) = self.folder.get(&file).await.map_err(unkept)? {
            return self.open(&file, &held.bytes).await;
        }
        let (session, credentials) = self.authority.register().await?;
        let fence = Some(lease.fence());
        let kept = self.folder.put_if(&file, None, credentials, fence).await;
        kept.map_err(unkept)?;
        tracing::info!(authority = %self.authority.name, "a new ACME account");
        Ok(session)
    }

    async fn open(&self, file: &str, credentials: &[u8]) -> Result<Session, AcmeError> {
        if !Session::can_be_of(credentials) {
            let place = self.folder.place(file);
            let said = format!("{place} holds no account: move it away, and another one is made");
            return Err(AcmeError::new(Step::Account, Cause::Other(said)));
        }
        self.authority.open(credentials).await
    }

    /// The authority knows nothing of the account any more. Another one that somebody has got meanwhile
    /// stays.
    pub async fn forget_account(&self, session: &Session) {
        let file = account_file(&self.authority.directory);
        let forgotten = match self.folder.get(&file).await {
            Ok(Some(held)) if session.is_of(&held.bytes) => {
                self.folder.delete_if(&file, &held.version, None).await
            }
            other => other.map(drop),
        };
        // Whoever was first has forgotten it.
        if let Err(error) = forgotten
            && !error.is_overtaken()
        {
            tracing::warn!(%error, "an account that is gone can't be forgotten");
        }
    }
}
