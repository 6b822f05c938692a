//! What is known of every certificate: told to operators, written by who looks after them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Certificates by name.
#[derive(Debug, Default)]
pub struct Board(Mutex<Told>);

/// All that there is to tell.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub certificates: BTreeMap<Box<str>, Entry>,
    /// Orders by authority and by what became of them.
    pub orders: BTreeMap<(Box<str>, Outcome), u64>,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Issued,
    Failed,
    /// On trial, and fine.
    Passed,
}

/// One certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The authority that it is to come from.
    pub authority: Box<str>,
    /// Who issued the one that is served.
    pub issuer: Option<Box<str>>,
    pub not_before: Option<SystemTime>,
    pub not_after: Option<SystemTime>,
    /// When the next order is due, failures apart.
    pub renewal: Option<SystemTime>,
    /// What the authority suggests.
    pub window: Option<(SystemTime, SystemTime)>,
    /// When something is done next; `None` while something is.
    pub next: Option<SystemTime>,
    pub failures: u32,
    pub error: Option<Box<str>>,
}

impl Outcome {
    /// For metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Failed => "failed",
            Self::Passed => "passed_trial",
        }
    }
}

impl Board {
    /// A copy of all that is known now.
    #[must_use]
    pub fn read(&self) -> Told {
        self.lock().clone()
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        let mut told = self.lock();
        change(told.certificates.entry(name.into()).or_default());
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().certificates.remove(name);
    }

    pub(super) fn count(&self, authority: &str, outcome: Outcome) {
        let mut told = self.lock();
        let count = told.orders.entry((authority.into(), outcome)).or_default();
        *count = count.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
