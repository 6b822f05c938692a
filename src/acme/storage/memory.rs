//! A storage in memory, for tests: shows that the conformance suite asks for nothing that only a folder
//! has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{Fence, Lease, Record, Storage, StorageError, Version};

#[derive(Clone, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changes: Notify,
}

#[derive(Default)]
struct State {
    writes: u64,
    records: BTreeMap<String, Record>,
    /// The latest token of each name, and until when it is held.
    leases: BTreeMap<String, (u64, Option<Instant>)>,
}

pub struct Held {
    fence: Fence,
    shared: Arc<Shared>,
}

impl Lease for Held {
    fn fence(&self) -> &Fence {
        &self.fence
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some((token, until)) = state.leases.get_mut(&*self.fence.name)
            && *token == self.fence.token
        {
            *until = None;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expect(
        &self,
        key: &str,
        seen: Option<&Version>,
        fence: Option<&Fence>,
    ) -> Result<(), StorageError> {
        if key.is_empty() || key.starts_with('.') || key.contains('/') {
            return Err(StorageError::Key { key: key.into() });
        }
        if let Some(Fence { name, token }) = fence
            && self.leases.get(&**name).is_none_or(|(t, _)| t != token)
        {
            let (key, name) = (key.into(), name.clone());
            return Err(StorageError::Fenced { key, name });
        }
        if self.records.get(key).map(|r| &r.version) != seen {
            return Err(StorageError::Changed { key: key.into() });
        }
        Ok(())
    }
}

impl Storage for Memory {
    type Lease = Held;

    async fn get(&self, key: &str) -> Result<Option<Record>, StorageError> {
        Ok(self.0.lock().records.get(key).cloned())
    }

    async fn put_if(
        &self,
        key: &str,
        seen: Option<&Version>,
        bytes: Zeroizing<Vec<u8>>,
        fence: Option<&Fence>,
    ) -> Result<Version, StorageError> {
        let mut state = self.0.lock();
        state.expect(key, seen, fence)?;
        state.writes += 1;
        let version = Version(state.writes.to_string().into());
        let record = Record {
            bytes,
            version: version.clone(),
        };
        state.records.insert(key.to_owned(), record);
        self.0.changes.notify_waiters();
        Ok(version)
    }

    async fn delete_if(
        &self,
        key: &str,
        seen: &Version,
        fence: Option<&Fence>,
    ) -> Result<(), StorageError> {
        let mut state = self.0.lock();
        state.expect(key, Some(seen), fence)?;
        state.records.remove(key);
        self.0.changes.notify_waiters();
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let state = self.0.lock();
        let keys = state.records.keys().filter(|k| k.starts_with(prefix));
        Ok(keys.cloned().collect())
    }

    async fn changed(&self, key: &str, seen: Option<&Version>) -> Result<(), StorageError> {
        loop {
            let told = self.0.changes.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let now = self.get(key).await?.map(|r| r.version);
            if now.as_ref() != seen {
                return Ok(());
            }
            told.await;
        }
    }

    async fn lease(&self, name: &str, ttl: Duration) -> Result<Option<Held>, StorageError> {
        let mut state = self.0.lock();
        let (token, until) = state.leases.entry(name.to_owned()).or_default();
        if until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        *token += 1;
        *until = Some(Instant::now() + ttl);
        let fence = Fence {
            name: name.into(),
            token: *token,
        };
        let shared = Arc::clone(&self.0);
        Ok(Some(Held { fence, shared }))
    }

    async fn renew(&self, lease: Held, ttl: Duration) -> Result<Option<Held>, StorageError> {
        let mut state = self.0.lock();
        let found = state.leases.get_mut(&*lease.fence.name);
        let Some((_, until)) = found.filter(|(token, _)| *token == lease.fence.token) else {
            drop(state);
            return Ok(None);
        };
        *until = Some(Instant::now() + ttl);
        drop(state);
        Ok(Some(lease))
    }
}

#[tokio::test]
async fn memory_conforms() {
    let storage = Memory::default();
    super::conformance::check(&storage, &storage.clone()).await;
}
