//! Copies of good answers, kept for when who gave them is down. One store for the process: a copy for
//! each worker would take the memory many times, and most would lack what is asked for.
//!
//! What is kept follows RFC 9111 for shared caches (§3, §3.5, §4.1, §4.2.4) and RFC 5861 §4. Its size is
//! bounded; what was kept first gives way.

mod rules;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use foldhash::quality::RandomState;
use http::header::{AGE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use rules::Said;

/// Parts with a lock of their own, held for a look.
const SHARDS: usize = 8;
/// The share of a part that one copy may take.
const COPIES_OF_A_SHARD_MIN: usize = 4;
/// What a copy takes beside its bytes: nodes of the maps, and its own fields.
const OVERHEAD_BYTES: usize = 512;
/// What a header takes beside its bytes.
const HEADER_OVERHEAD_BYTES: usize = 192;

/// What an answer was given to. Two requests with the same get the same answer, as far as `Vary` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whatever tells resources apart: the route, the host, the target.
    key: Vec<u8>,
    /// The request says who it comes from.
    pub personal: bool,
}

impl Asked {
    /// Of these parts, none of which can be taken for another.
    #[must_use]
    pub fn new<'p>(parts: impl IntoIterator<Item = &'p [u8]>, personal: bool) -> Self {
        let mut key = Vec::with_capacity(128);
        for part in parts {
            key.extend_from_slice(&part.len().to_le_bytes());
            key.extend_from_slice(part);
        }
        Self { key, personal }
    }

    /// The same, told apart by these headers of the request as well.
    fn varied(&self, names: &[HeaderName], headers: &HeaderMap) -> Box<[u8]> {
        let mut key = self.key.clone();
        // Never the key of what it varies by.
        key.push(b'\n');
        for name in names {
            key.push(b'\n');
            key.extend_from_slice(name.as_str().as_bytes());
            for value in headers.get_all(name) {
                key.extend_from_slice(&value.len().to_le_bytes());
                key.extend_from_slice(value.as_bytes());
            }
        }
        key.into()
    }
}

/// What has been found.
#[derive(Clone, Debug)]
pub struct Found {
    /// With `Age` and `Date`.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Where an answer is to be kept, once its body is there.
#[derive(Debug)]
pub struct Draft {
    copies: Arc<Copies>,
    asked: Asked,
    vary: Box<[HeaderName]>,
    key: Box<[u8]>,
    headers: HeaderMap,
    said: Said,
    /// Of all copies.
    bytes_max: usize,
}

/// The store.
#[derive(Debug, Default)]
pub struct Copies {
    shards: [Mutex<Shard>; SHARDS],
    spread: RandomState,
    gave_way: AtomicU64,
    too_large: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    kept: HashMap<Arc<[u8]>, Kept, RandomState>,
    /// By when they were kept.
    order: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    cost: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Answers differ by these headers of the request.
    Varies(Box<[HeaderName]>),
    Copy(Box<Copy>),
}

#[derive(Debug)]
struct Copy {
    headers: HeaderMap,
    body: Bytes,
    at: Instant,
    said: Said,
}

impl Copies {
    /// Whether an answer with these headers may be kept for who asks the same, and then where. The
    /// request's headers are those that the upstream has seen.
    #[must_use]
    pub fn draft(
        self: &Arc<Self>,
        asked: Asked,
        request: &HeaderMap,
        answer: &HeaderMap,
        bytes_max: usize,
    ) -> Option<Draft> {
        if rules::forbids_keeping(request) {
            return None;
        }
        let said = Said::of(answer)?;
        if asked.personal && !said.is_public {
            return None;
        }
        let vary = rules::vary(answer)?;
        Some(Draft {
            key: asked.varied(&vary, request),
            copies: Arc::clone(self),
            asked,
            vary,
            headers: answer.clone(),
            said,
            bytes_max,
        })
    }

    /// The last answer kept, if it isn't older than this.
    #[must_use]
    pub fn find(&self, asked: &Asked, request: &HeaderMap, age_max: Duration) -> Option<Found> {
        if rules::wants_no_copy(request) {
            return None;
        }
        let vary = match &self.shard(&asked.key).kept.get(&*asked.key)?.what {
            What::Varies(names) => names.clone(),
            What::Copy(_) => return None,
        };
        let key = asked.varied(&vary, request);
        let shard = self.shard(&key);
        let What::Copy(copy) = &shard.kept.get(&*key)?.what else {
            return None;
        };
        let age = copy.said.age + copy.at.elapsed();
        if age > age_max
            || copy.said.usable.is_some_and(|usable| age > usable)
            || asked.personal && !copy.said.is_public
        {
            return None;
        }
        let mut headers = copy.headers.clone();
        let body = copy.body.clone();
        let began = SystemTime::now().checked_sub(copy.at.elapsed());
        drop(shard);
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
        if let Some(began) = began
            && !headers.contains_key(DATE)
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(began))
        {
            headers.insert(DATE, date);
        }
        Some(Found { headers, body })
    }

    /// Bytes of all copies, and how many there are.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let all = self.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            (shard.bytes, shard.kept.len())
        });
        all.fold((0, 0), |(bytes, count), (b, c)| (bytes + b, count + c))
    }

    /// Copies that gave way to newer ones, and answers that were too large to be kept.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.gave_way), of(&self.too_large))
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let at = self.spread.hash_one(key) >> 32;
        let at = usize::try_from(at).unwrap_or_default() % SHARDS;
        let [first, ..] = &self.shards;
        let shard = self.shards.get(at).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &[u8], what: What, cost: usize, bytes_max: usize) {
        let mut shard = self.shard(key);
        shard.remove(key);
        while shard.bytes.saturating_add(cost) > bytes_max / SHARDS && shard.drop_oldest() {
            self.gave_way.fetch_add(1, Ordering::Relaxed);
        }
        shard.insert(key, what, cost);
    }
}

impl Draft {
    /// So many bytes of a body are worth collecting.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        (self.bytes_max / SHARDS / COPIES_OF_A_SHARD_MIN).saturating_sub(self.cost())
    }

    /// What it takes without its body.
    fn cost(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(n, v)| n.as_str().len() + v.len() + HEADER_OVERHEAD_BYTES);
        OVERHEAD_BYTES + self.key.len() + headers.sum::<usize>()
    }

    /// Notes that there was too much.
    pub fn is_too_large(self) {
        self.copies.too_large.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the answer. All of it is copied: it may be a part of something larger.
    pub fn keep(self, body: &[u8]) {
        if body.len() > self.body_bytes_max() {
            return self.is_too_large();
        }
        let (copies, bytes_max) = (Arc::clone(&self.copies), self.bytes_max);
        let cost = self.cost() + body.len();
        let names = self
            .vary
            .iter()
            .map(|n| n.as_str().len() + OVERHEAD_BYTES / 8);
        let names_cost = OVERHEAD_BYTES + self.asked.key.len() + names.sum::<usize>();
        let copy = Copy {
            headers: owned(&self.headers),
            body: Bytes::copy_from_slice(body),
            at: Instant::now(),
            said: self.said,
        };
        copies.put(
            &self.asked.key,
            What::Varies(self.vary),
            names_cost,
            bytes_max,
        );
        copies.put(&self.key, What::Copy(Box::new(copy)), cost, bytes_max);
    }
}

/// The same headers, with memory of their own: those of a connection are parts of what was read at once.
fn owned(headers: &HeaderMap) -> HeaderMap {
    let mut own = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let bytes = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(mut copy)) = (name, bytes) {
            copy.set_sensitive(value.is_sensitive());
            own.append(name, copy);
        }
    }
    own
}

impl Shard {
    fn insert(&mut self, key: &[u8], what: What, cost: usize) {
        let (number, key) = (self.next, Arc::<[u8]>::from(key));
        self.next = number.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(cost);
        self.order.insert(number, Arc::clone(&key));
        self.kept.insert(key, Kept { number, cost, what });
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(kept) = self.kept.remove(key) {
            self.order.remove(&kept.number);
            self.bytes = self.bytes.saturating_sub(kept.cost);
        }
    }

    /// Whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.order.first_key_value() else {
            return false;
        };
        let key = Arc::clone(key);
        self.remove(&key);
        true
    }
}

#[cfg(test)]
mod tests;
