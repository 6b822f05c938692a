//! The endpoints of a Kubernetes service: its EndpointSlices, listed once and then watched.
//!
//! ```text
//! list ──► watch ──► event, bookmark: remember how far it came
//!   ▲        │ end or failure: watch again from there
//!   └────────┘ 410: what is known is too old to go on from
//! ```
//! While the API server fails, the last instances stand. A service without an instance that is ready is
//! told as such at once: that is an answer.

mod api;
mod slices;

use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::{Cluster, Endpoint, Service};
use crate::limits::{LOOKUP_AGAIN_MIN, LOOKUP_NUDGED_MIN, LOOKUP_TTL_MAX};
use crate::upstream::Location;

use super::book::Book;
use api::{Api, ApiError};
use slices::{Event, Slices};

/// Where the instances of a service are now.
///
/// # Errors
/// There are none, or there is no answer.
pub(super) async fn find(cluster: &Cluster, service: &Service) -> Result<Vec<Location>, String> {
    match Api::of(cluster, service)?.list().await {
        Ok((slices, _)) => slices::instances(&slices, &service.port),
        Err(ApiError::Gone) => Err("the list went away while it was read".to_owned()),
        Err(ApiError::Failed(error)) => Err(error),
    }
}

/// Keeps the instances of one service up to date.
pub(super) async fn follow(cluster: &Cluster, endpoint: &Endpoint, service: &Service, book: &Book) {
    let mut pace = Pace::default();
    loop {
        let listed = async {
            let api = Api::of(cluster, service)?;
            let listed = api.list().await?;
            Ok((api, listed))
        };
        let error = match listed.await {
            Ok((api, (slices, version))) => {
                let mut known = Known {
                    slices,
                    version,
                    endpoint,
                    service,
                    book,
                };
                known.settle();
                pace.failures = 0;
                known.watch(&api, &mut pace).await;
                None
            }
            Err(ApiError::Gone) => None,
            Err(ApiError::Failed(error)) => Some(error),
        };
        if let Some(error) = error {
            book.note(endpoint, Err(error));
            book.publish();
            pace.failures = pace.failures.saturating_add(1);
        }
        pace.wait().await;
    }
}

/// How soon the next question may follow.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    asked: Option<Instant>,
}

impl Pace {
    /// Waits out what is due after failures, and never asks more than once in a second.
    async fn wait(&mut self) {
        let wait: Duration = match self.failures {
            0 => LOOKUP_NUDGED_MIN,
            n => LOOKUP_AGAIN_MIN
                .saturating_mul(1 << n.min(8))
                .min(LOOKUP_TTL_MAX),
        };
        let wait = wait.mul_f64(1.0 + fastrand::f64() / 10.0);
        if let Some(asked) = self.asked {
            tokio::time::sleep_until(asked + wait).await;
        } else if self.failures > 0 {
            tokio::time::sleep(wait).await;
        }
        self.asked = Some(Instant::now());
    }
}

/// The slices as far as they have been told.
struct Known<'k> {
    slices: Slices,
    version: String,
    endpoint: &'k Endpoint,
    service: &'k Service,
    book: &'k Book,
}

impl Known<'_> {
    fn settle(&self) {
        match slices::instances(&self.slices, &self.service.port) {
            Ok(found) => self.book.note(self.endpoint, Ok(found)),
            Err(nobody) => self.book.note_nobody(self.endpoint, nobody),
        }
        self.book.publish();
    }

    /// Takes up what changes, until all must be listed anew.
    async fn watch(&mut self, api: &Api, pace: &mut Pace) {
        loop {
            pace.wait().await;
            match self.events(api, pace).await {
                Ok(()) => {}
                Err(ApiError::Gone) => return,
                Err(ApiError::Failed(error)) => {
                    self.book.note(self.endpoint, Err(error));
                    pace.failures = pace.failures.saturating_add(1);
                }
            }
        }
    }

    /// One watch to its end.
    async fn events(&mut self, api: &Api, pace: &mut Pace) -> Result<(), ApiError> {
        let mut watch = api.watch(&self.version).await?;
        if pace.failures > 0 {
            // What is known holds again.
            pace.failures = 0;
            self.settle();
        }
        while let Some(event) = watch.next().await? {
            let (slice, is_there) = match event {
                Event::Added(slice) | Event::Modified(slice) => (slice, Some(true)),
                Event::Deleted(slice) => (slice, Some(false)),
                Event::Bookmark(slice) => (slice, None),
                Event::Error(problem) => return Err(ApiError::Failed(problem.message)),
            };
            if !slice.metadata.resource_version.is_empty() {
                self.version.clone_from(&slice.metadata.resource_version);
            }
            match is_there {
                Some(true) => _ = self.slices.insert(slice.metadata.name.clone(), slice),
                Some(false) => _ = self.slices.remove(&slice.metadata.name),
                None => continue,
            }
            self.settle();
        }
        Ok(())
    }
}
