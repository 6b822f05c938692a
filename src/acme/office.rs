//! One authority's desk, shared by all names that go there: accounts, the number of orders at once,
//! and their pace.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use crate::limits::{ACME_ACCOUNT_LOCK_POLL, ACME_ORDERS_AT_ONCE};

use super::authority::{Authority, Session};
use super::error::{AcmeError, Cause, Step};
use super::folder::{Folder, FolderError};
use super::kept::account_file;
use super::pace::Pace;

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
        let unkept = |e: FolderError| {
            let said = format!("the account can't be kept: {e}");
            AcmeError::new(Step::Account, Cause::Other(said))
        };
        let one = self.registering.lock().await;
        if let Some(held) = self.folder.get(&file).map_err(unkept)? {
            drop(one);
            return self.authority.open(&held).await;
        }
        let _lock = loop {
            match self.folder.lock(&file).map_err(unkept)? {
                Some(lock) => break lock,
                None => sleep(ACME_ACCOUNT_LOCK_POLL).await,
            }
        };
        // Another process may have got one meanwhile.
        if let Some(held) = self.folder.get(&file).map_err(unkept)? {
            return self.authority.open(&held).await;
        }
        let (session, credentials) = self.authority.register().await?;
        self.folder.put(&file, &credentials).map_err(unkept)?;
        tracing::info!(authority = %self.authority.name, "a new ACME account");
        Ok(session)
    }

    /// The authority knows nothing of the account any more.
    pub fn forget_account(&self) {
        let file = account_file(&self.authority.directory);
        if let Err(error) = self.folder.remove(&file) {
            tracing::warn!(%error, "an account that is gone can't be forgotten");
        }
    }
}
