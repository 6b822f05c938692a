//! How often a bound on exchanges was hit, and what is held now; one set for each worker.

use std::cell::Cell;
use std::rc::Rc;

use http::StatusCode;

use crate::failure::{Failure, Limit};
use crate::listener::{count, limit_hit};
use crate::telemetry::Count;

#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that were larger than a limit (413, RESOURCE_EXHAUSTED).
    pub too_large: Cell<u64>,
    /// Those of them that only grew so when they were unpacked.
    pub bombs: Cell<u64>,
    /// `limits.reply`: messages of services that were larger.
    pub replies_too_large: Cell<u64>,
    /// WebSockets open now, those of proxied sites apart.
    pub sockets: Cell<usize>,
    /// Handshakes of pages that may not make them.
    pub origins_refused: Cell<u64>,
    /// `limits.control_frames`, and messages that don't end: WebSockets closed for them.
    pub socket_floods: Cell<u64>,
    /// `timeouts.ping_timeout`: WebSockets whose clients were gone.
    pub sockets_dead: Cell<u64>,
    /// `timeouts.body_idle`: WebSockets closed amid a message.
    pub slow_messages: Cell<u64>,
    /// WebSockets that were still open when a drain, or their connection's age, ended them.
    pub sockets_ended: Cell<u64>,
    /// `limits.compressors`: replies that went out as they are, with all compressors in use.
    pub uncompressed: Cell<u64>,
    /// `limits.kept_replies`: calls that ended because their client sent and didn't read.
    pub unread: Cell<u64>,
    /// `limits.held`: requests and answers that found no room.
    pub unheld: Cell<u64>,
    /// `limits.memory`: requests that were refused.
    pub shed: Cell<u64>,
    /// Watches of health open now.
    pub watches: Cell<usize>,
    /// `limits.health_watches`: those that were refused.
    pub watches_refused: Cell<u64>,
    /// Requests that something else answered in an upstream's place.
    pub fallbacks: Fallbacks,
    /// Compressors in use now.
    pub compressors: Cell<usize>,
}

/// What stood in for upstreams.
#[derive(Debug, Default)]
pub struct Fallbacks {
    /// Calls that went to another upstream.
    pub upstream: Cell<u64>,
    pub stale: Cell<u64>,
    pub respond: Cell<u64>,
}

impl Fallbacks {
    fn report(&self) -> [Count; 3] {
        let by = |what, value: &Cell<u64>| Count {
            name: "fallbacks",
            about: "Requests for which something stood in for an upstream.",
            label: ("by", what),
            value: value.get(),
        };
        [
            by("upstream", &self.upstream),
            by("stale", &self.stale),
            by("respond", &self.respond),
        ]
    }
}

impl Counters {
    /// All of them, for metrics.
    #[must_use]
    pub fn report(&self) -> Vec<Count> {
        let hit = |limit, value: &Cell<u64>| limit_hit(limit, value.get());
        let mut counts = vec![
            hit("body", &self.too_large),
            hit("unpacked", &self.bombs),
            hit("reply", &self.replies_too_large),
            hit("health_watches", &self.watches_refused),
            hit("origins", &self.origins_refused),
            hit("socket_frames", &self.socket_floods),
            hit("socket_ping", &self.sockets_dead),
            hit("socket_message_idle", &self.slow_messages),
            hit("sockets_drained", &self.sockets_ended),
            hit("compressors", &self.uncompressed),
            hit("kept_replies", &self.unread),
            hit("held", &self.unheld),
            hit("memory", &self.shed),
        ];
        counts.extend(self.fallbacks.report());
        counts
    }

    /// Counts a failure by the limit that was met, if it is about one.
    pub(super) fn note(&self, failure: &Failure) {
        let of_request = matches!(failure.limit, Some(Limit::Unpacked | Limit::Message));
        if of_request || failure.http_status() == StatusCode::PAYLOAD_TOO_LARGE {
            count(&self.too_large);
        }
        match failure.limit {
            Some(Limit::Unpacked) => count(&self.bombs),
            Some(Limit::Reply) => count(&self.replies_too_large),
            Some(Limit::Held) => count(&self.unheld),
            Some(Limit::Memory) => count(&self.shed),
            Some(Limit::Message) | None => {}
        }
    }

    /// A place for a compressor, unless `max` are taken; that is counted.
    pub(super) fn compressor(self: &Rc<Self>, max: usize) -> Option<Place> {
        let taken = self.compressors.get();
        if taken >= max {
            count(&self.uncompressed);
            return None;
        }
        self.compressors.set(taken.saturating_add(1));
        Some(Place(Rc::clone(self)))
    }
}

/// An open WebSocket, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenSocket(Rc<Counters>);

impl OpenSocket {
    pub(super) fn new(counters: Rc<Counters>) -> Self {
        counters
            .sockets
            .set(counters.sockets.get().saturating_add(1));
        Self(counters)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        let open = self.0.sockets.get().saturating_sub(1);
        self.0.sockets.set(open);
    }
}

/// A compressor's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Rc<Counters>);

impl Drop for Place {
    fn drop(&mut self) {
        let taken = self.0.compressors.get();
        self.0.compressors.set(taken.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_body::too_large;

    #[test]
    fn places_come_back() {
        let counters = Rc::new(Counters::default());
        let first = counters.compressor(2);
        let second = counters.compressor(2);
        assert!(first.is_some() && second.is_some());
        assert!(counters.compressor(2).is_none());
        drop(first);
        assert!(counters.compressor(2).is_some());
        drop(second);
        assert_eq!(
            (counters.compressors.get(), counters.uncompressed.get()),
            (0, 1)
        );
    }

    #[test]
    fn refusals_are_counted_by_their_limit() {
        let counters = Counters::default();
        counters.note(&Failure::client("no"));
        counters.note(&too_large(1));
        counters.note(&too_large(1).over(Limit::Unpacked));
        assert_eq!((counters.too_large.get(), counters.bombs.get()), (2, 1));
        counters.note(&Failure::client("a message").over(Limit::Message));
        counters.note(&Failure::client("an answer").over(Limit::Reply));
        assert_eq!((counters.too_large.get(), counters.bombs.get()), (3, 1));
        assert_eq!(counters.replies_too_large.get(), 1);
    }
}
