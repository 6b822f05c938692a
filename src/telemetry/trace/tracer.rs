//! Which requests are traced, and the bounded queue that their spans leave by. Who serves never waits:
//! what the queue has no room for is dropped, and counted.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use http::HeaderMap;
use tokio::sync::mpsc;

use crate::config::model::Tracing;
use crate::limits::TRACE_END_MAX;

use super::Trace;
use super::forms::{Caller, Forms, TRACESTATE, caller, is_declined, is_said, state};
use super::record::{Handshake, Traced, Trail};

/// Requests that a worker hands over together.
const HANDED_MAX: usize = 64;

/// What the exporter is given.
#[derive(Debug)]
pub enum Order {
    Export(Vec<Trail>),
    /// Tell when all that came before is sent, or given up.
    Tell(SyncSender<()>),
}

/// The way of spans out of the process.
#[derive(Clone, Debug)]
pub struct Spans {
    rule: Arc<Tracing>,
    orders: mpsc::UnboundedSender<Order>,
    counts: Arc<Counts>,
}

/// What becomes of spans.
#[derive(Debug, Default)]
pub struct Counts {
    waiting: AtomicUsize,
    dropped: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanReport {
    pub exported: u64,
    /// There was no room to let them wait.
    pub dropped: u64,
    /// The collector didn't take them.
    pub failed: u64,
}

impl Counts {
    /// Requests that wait no more: sent, or given up.
    pub fn done(&self, trails: usize) {
        self.waiting.fetch_sub(trails, Ordering::Relaxed);
    }

    pub fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub fn failed(&self, spans: u64) {
        self.failed.fetch_add(spans, Ordering::Relaxed);
    }
}

impl Spans {
    /// A queue, and what the exporter takes from it.
    #[must_use]
    pub fn new(rule: Tracing) -> (Self, mpsc::UnboundedReceiver<Order>, Arc<Counts>) {
        // Bounded by `Counts::waiting`.
        let (orders, coming) = mpsc::unbounded_channel();
        let counts = Arc::<Counts>::default();
        let spans = Self {
            rule: Arc::new(rule),
            orders,
            counts: Arc::clone(&counts),
        };
        (spans, coming, counts)
    }

    #[must_use]
    pub fn report(&self) -> SpanReport {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SpanReport {
            exported: of(&self.counts.exported),
            dropped: of(&self.counts.dropped),
            failed: of(&self.counts.failed),
        }
    }

    /// Waits until what was handed over is sent, for a while.
    pub(in crate::telemetry) fn finish(&self) {
        let (tell, told) = sync_channel(1);
        if self.orders.send(Order::Tell(tell)).is_ok() {
            told.recv_timeout(TRACE_END_MAX).ok();
        }
    }

    fn put(&self, trails: Vec<Trail>) {
        let (count, counts) = (trails.len(), &self.counts);
        let before = counts.waiting.fetch_add(count, Ordering::Relaxed);
        let spans = trails.iter().map(Trail::spans).sum();
        let has_room = before.saturating_add(count) <= self.rule.queue;
        if !has_room || self.orders.send(Order::Export(trails)).is_err() {
            counts.done(count);
            counts.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

/// What is made of a request's headers.
#[derive(Debug)]
pub(in crate::telemetry) enum Begun {
    Traced(Box<Traced>),
    /// Services are told that it isn't.
    Untraced(Untraced),
    /// They are told by the client already.
    AsItCame,
}

/// A request that isn't traced, as services are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::telemetry) struct Untraced {
    id: [u8; 16],
    span: [u8; 8],
    forms: Forms,
    /// Its client has sent a `tracestate` that isn't of this trace.
    stray: bool,
}

impl Untraced {
    pub(in crate::telemetry) fn put(self, headers: &mut HeaderMap) {
        self.forms.put(headers, self.id, self.span, false);
        if self.stray {
            headers.remove(TRACESTATE);
        }
    }
}

/// The tracer of one worker.
#[derive(Debug)]
pub(in crate::telemetry) struct Tracer {
    spans: Spans,
    random: RefCell<fastrand::Rng>,
    batch: RefCell<Vec<Trail>>,
}

impl Tracer {
    pub(in crate::telemetry) fn new(spans: &Spans) -> Self {
        // Unique, not secret: the seed is the process's hash keys, which the system gives.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            spans: spans.clone(),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            batch: RefCell::default(),
        }
    }

    /// Decides on a request. The trace is what logs tell.
    pub(in crate::telemetry) fn begin(
        &self,
        headers: &HeaderMap,
        tls: bool,
        handshake: Option<Handshake>,
    ) -> (Trace, Begun) {
        let mut random = self.random.borrow_mut();
        let rule = &*self.spans.rule;
        let is_said = is_said(headers);
        let caller = is_said.then(|| caller(headers)).flatten();
        let told = match caller {
            Some(caller) => caller.sampled,
            None => (is_said && is_declined(headers)).then_some(false),
        };
        let Caller {
            id,
            span: parent,
            w3c,
            ..
        } = caller.unwrap_or_else(|| Caller {
            id: random.u128(1..).to_be_bytes(),
            span: [0; 8],
            sampled: None,
            w3c: false,
        });
        let sampled = told
            .filter(|_| rule.sampler.follows_parent)
            .unwrap_or_else(|| rule.sampler.takes(id));
        let trace = Trace::new(id, parent, sampled);
        if !sampled && caller.is_some() && told == Some(false) {
            return (trace, Begun::AsItCame);
        }
        let forms = match is_said {
            true => Forms::of(headers, &rule.also),
            false => Forms::only(&rule.also),
        };
        let span = random.u64(1..).to_be_bytes();
        if !sampled {
            let untraced = Untraced {
                id,
                span,
                forms,
                stray: is_said && !w3c,
            };
            return (trace, Begun::Untraced(untraced));
        }
        let traced = Traced {
            id,
            span,
            parent,
            state: w3c.then(|| state(headers)).flatten(),
            forms,
            handshake,
            tls,
            random: random.fork(),
            tries: Vec::new(),
        };
        (trace, Begun::Traced(Box::new(traced)))
    }

    /// Keeps a request that is over; whether it is the first to wait.
    pub(in crate::telemetry) fn keep(&self, trail: Trail) -> bool {
        let mut batch = self.batch.borrow_mut();
        let first = batch.is_empty();
        batch.push(trail);
        let full = batch.len() >= HANDED_MAX.min(self.spans.rule.queue);
        drop(batch);
        if full {
            self.flush();
        }
        first && !full
    }

    /// Hands all over.
    pub(in crate::telemetry) fn flush(&self) {
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        if !batch.is_empty() {
            self.spans.put(batch);
        }
    }
}

#[cfg(test)]
mod tests;
