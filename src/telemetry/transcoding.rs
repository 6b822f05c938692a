//! The time that a worker spends on making messages of JSON and JSON of messages.

use std::cell::Cell;
use std::time::Instant;

thread_local! {
    // A worker is a thread; whoever transcodes need not be told whose work it is.
    static NANOS: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// JSON to a message.
    Request,
    /// A message to JSON.
    Reply,
}

/// Does a piece of work, and counts its time.
pub fn transcoding<T>(direction: Direction, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let [mut requests, mut replies] = NANOS.get();
    let of = match direction {
        Direction::Request => &mut requests,
        Direction::Reply => &mut replies,
    };
    *of = of.saturating_add(nanos);
    NANOS.set([requests, replies]);
    done
}

/// Nanoseconds of this thread so far: for requests, and for replies.
#[must_use]
pub fn transcoded() -> [u64; 2] {
    NANOS.get()
}
