//! `grpc.health.v1.Health`: of the gateway (`""`) and of each service that it mounts.
//!
//! A mounted service is SERVING: whether its upstream is well, its own health says. While the gateway
//! drains nothing is, and watches end.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use prost::Message;

use crate::failure::{Blame, Failure, GrpcCode};
use crate::listener::count;
use crate::live::Live;

use super::super::counters::Counters;
use super::super::{Notice, not_yet};
use super::{Asker, Requests, framed};

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct CheckResponse {
    #[prost(enumeration = "Status", tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ListRequest {}

#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(btree_map = "string, message", tag = "1")]
    statuses: BTreeMap<String, CheckResponse>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Status {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl Status {
    fn response(self) -> CheckResponse {
        CheckResponse {
            status: self.into(),
        }
    }
}

impl Asker {
    /// That of a service by its full name, unless none of the name is mounted.
    fn status(&self, live: &Live, service: &str) -> Option<Status> {
        let known = service.is_empty() || live.rpcs.has_service(&self.host, service);
        known.then(|| match self.cx.notices.borrow().draining {
            true => Status::NotServing,
            // Nothing is served yet.
            false if service.is_empty() && live.is_awaiting_all() => Status::NotServing,
            false => Status::Serving,
        })
    }
}

pub(super) async fn check(asker: Asker, mut requests: Requests) -> Result<Bytes, Failure> {
    let CheckRequest { service } = requests.only().await?;
    let live = &asker.cx.current().live;
    match asker.status(live, &service) {
        Some(status) => framed(&status.response()),
        None => Err(not_yet(live).unwrap_or_else(|| {
            let message = format!("no service {service:?} is mounted");
            Failure::new(Blame::Client, GrpcCode::NotFound, message)
        })),
    }
}

pub(super) async fn list(asker: Asker, mut requests: Requests) -> Result<Bytes, Failure> {
    let ListRequest {} = requests.only().await?;
    let live = &asker.cx.current().live;
    let services = live.rpcs.services(&asker.host);
    let statuses = std::iter::once("").chain(services).filter_map(|name| {
        let status = asker.status(live, name)?;
        Some((name.to_owned(), status.response()))
    });
    framed(&ListResponse {
        statuses: statuses.collect(),
    })
}

/// The status now, and whenever it is another.
pub(super) fn watch(
    asker: Asker,
    requests: Requests,
) -> Result<impl Stream<Item = Result<Bytes, Failure>>, Failure> {
    let watch = Watch {
        open: OpenWatch::new(&asker)?,
        changes: asker.cx.notices.subscribe(),
        service: None,
        told: None,
        asker,
        requests,
    };
    Ok(stream::unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(frame) => Some((Ok(frame), Some(watch))),
            Err(failure) => Some((Err(failure), None)),
        }
    }))
}

struct Watch {
    asker: Asker,
    requests: Requests,
    /// What is asked about, once that has come.
    service: Option<String>,
    told: Option<Status>,
    changes: tokio::sync::watch::Receiver<Notice>,
    #[expect(dead_code, reason = "held for its end")]
    open: OpenWatch,
}

impl Watch {
    async fn next(&mut self) -> Result<Bytes, Failure> {
        let service = match &self.service {
            Some(service) => service,
            None => {
                let CheckRequest { service } = self.requests.only().await?;
                self.service.insert(service)
            }
        };
        loop {
            let draining = self.changes.borrow_and_update().draining;
            let status = self.asker.status(&self.asker.cx.current().live, service);
            // An unknown one may be mounted later.
            let status = status.unwrap_or(Status::ServiceUnknown);
            if self.told.replace(status) != Some(status) {
                return framed(&status.response());
            }
            if draining || self.changes.changed().await.is_err() {
                return Err(leaving());
            }
        }
    }
}

/// Nobody's fault, and not worth a line in the log for each watch.
pub(super) fn leaving() -> Failure {
    let message = "the gateway is shutting down";
    Failure::new(Blame::Client, GrpcCode::Unavailable, message)
}

/// A place among the watches of a worker, until it is dropped.
struct OpenWatch(Rc<Counters>);

impl OpenWatch {
    fn new(asker: &Asker) -> Result<Self, Failure> {
        let current = asker.cx.current();
        let counters = &current.counters;
        let open = counters.watches.get();
        if open >= current.live.limits.health_watches_max {
            count(&counters.watches_refused);
            let message = "too many watches of health are open";
            return Err(Failure::new(
                Blame::Client,
                GrpcCode::ResourceExhausted,
                message,
            ));
        }
        counters.watches.set(open.saturating_add(1));
        Ok(Self(Rc::clone(counters)))
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        let open = self.0.watches.get();
        self.0.watches.set(open.saturating_sub(1));
    }
}
