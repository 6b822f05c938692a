//! What is known of one upstream's instances, endpoint by endpoint, and the set that is made of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::model::Endpoint;
use crate::limits::UPSTREAM_MEMBERS_MAX;
use crate::upstream::{Location, Member, Members, Shared, Sought};

/// The last good answers.
#[derive(Debug)]
pub(super) struct Book {
    shared: Arc<Shared>,
    known: Mutex<HashMap<Endpoint, Vec<Location>>>,
}

impl Book {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            known: Mutex::default(),
        }
    }

    /// Notes an answer, or why there is none: the one before stands then. The first failure is told to
    /// the operator; what repeats it is detail.
    pub(super) fn note(&self, endpoint: &Endpoint, answer: Result<Vec<Location>, String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match answer {
            Ok(found) => {
                known.insert(endpoint.clone(), found);
                None
            }
            Err(error) => Some(error),
        };
        let instances = known.get(endpoint).map_or(0, Vec::len);
        drop(known);
        let is_news = self.shared.note_sought(Sought {
            endpoint: endpoint.clone(),
            instances,
            error: error.as_deref().map(Arc::from),
        });
        let upstream = &*self.shared.spec().name;
        match error {
            Some(error) if is_news => {
                tracing::warn!(upstream, %endpoint, error, instances, "instances can't be looked for: those that are known stand");
            }
            Some(error) => {
                tracing::debug!(upstream, %endpoint, error, "instances still can't be looked for");
            }
            None if is_news => {
                tracing::info!(upstream, %endpoint, instances, "instances are found again")
            }
            None => {}
        }
    }

    /// Notes that an endpoint has no instances, and why: an answer as good as any.
    pub(super) fn note_nobody(&self, endpoint: &Endpoint, why: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(endpoint.clone(), Vec::new());
        drop(known);
        let is_news = self.shared.note_sought(Sought {
            endpoint: endpoint.clone(),
            instances: 0,
            error: Some(why.as_str().into()),
        });
        if is_news {
            let upstream = &*self.shared.spec().name;
            tracing::warn!(upstream, %endpoint, why, "there are no instances");
        }
    }

    /// Publishes the instances if they have changed. Those that stay are the same ones as before.
    pub(super) fn publish(&self) {
        let shared = &self.shared;
        let before = shared.members();
        let wanted = self.wanted();
        let all = wanted.len();
        let wanted = wanted.get(..UPSTREAM_MEMBERS_MAX).unwrap_or(&wanted);
        let is = |member: &Arc<Member>, location: &Location| member.location == *location;
        let same = before.iter().count() == wanted.len()
            && wanted
                .iter()
                .all(|(_, location)| before.iter().any(|m| is(m, location)));
        if same && !shared.is_awaited() {
            return;
        }
        let members = wanted.iter().filter_map(|(endpoint, location)| {
            let kept = before.iter().find(|m| is(m, location)).map(Arc::clone);
            kept.or_else(|| Member::new(location.clone(), endpoint).map(Arc::new))
        });
        let members = Members::new(members);
        let (upstream, count) = (&*shared.spec().name, members.iter().count());
        if !same {
            tracing::info!(upstream, instances = count, "instances have changed");
        }
        if all > count {
            tracing::warn!(
                upstream,
                found = all,
                used = count,
                "more instances than can be used"
            );
        }
        shared.publish(members);
    }

    /// The instances, each once, in the order of the endpoints.
    fn wanted(&self) -> Vec<(&Endpoint, Location)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = self.shared.spec();
        let asks_others = !spec.name_servers.is_empty();
        let mut wanted: Vec<(&Endpoint, Location)> = Vec::new();
        for endpoint in &spec.endpoints {
            let found = match known.get(endpoint) {
                Some(found) => found.clone(),
                None => {
                    let own = Location::of(endpoint);
                    // Only the system's own resolver can be asked for each connection.
                    let own = own.filter(|l| !(asks_others && matches!(l, Location::Name { .. })));
                    own.into_iter().collect()
                }
            };
            for location in found {
                if !wanted.iter().any(|(_, known)| *known == location) {
                    wanted.push((endpoint, location));
                }
            }
        }
        wanted
    }
}
