//! A watchdog over the frames of one HTTP/2 connection.
//!
//! h2 bounds what frames make it keep, not how many come: PING, SETTINGS, PRIORITY, WINDOW_UPDATE and
//! frames of unknown types are free, and so is resetting a stream that has been begun. Each costs from
//! a budget here (`limits.control_frames`), which time refills, and so do our own frames: a client that
//! is served has reason to open windows and to cancel. When it is used up, the connection ends.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{H2_ANSWERED_BYTES_MIN, H2_FRAMES_ANSWERED};

use super::{Counters, count};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// GOAWAY (RFC 9113 §6.8) that promises nothing about any stream, with ENHANCE_YOUR_CALM.
pub(super) const CALM: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11,
];

/// What a frame's first nine bytes say (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

/// Finds the frames in bytes that come in any pieces.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 9],
    have: usize,
    /// Of a payload, still to come.
    skip: usize,
}

impl Frames {
    fn scan(&mut self, mut bytes: &[u8], mut see: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let free = self.head.get_mut(self.have..).unwrap_or_default();
            let taken = free.len().min(bytes.len());
            for (to, from) in free.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.have += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.have == self.head.len() {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.have = 0;
                self.skip = length;
                see(Head {
                    length,
                    kind,
                    flags,
                });
            }
        }
    }

    fn is_between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

/// The watchdog of one connection.
#[derive(Debug)]
pub(super) struct Flood {
    incoming: Frames,
    outgoing: Frames,
    left: usize,
    max: usize,
    refilled: Instant,
    counters: Rc<Counters>,
}

impl Flood {
    pub(super) fn new(frames_max: usize, counters: Rc<Counters>) -> Self {
        Self {
            incoming: Frames::default(),
            outgoing: Frames::default(),
            left: frames_max,
            max: frames_max,
            refilled: Instant::now(),
            counters,
        }
    }

    /// Looks at what a client sent, after the preface. `false` when it is too much.
    pub(super) fn on_read(&mut self, bytes: &[u8]) -> bool {
        let mut cost = 0;
        self.incoming.scan(bytes, |frame| {
            let free = match frame.kind {
                DATA => frame.length > 0 || frame.flags & END_STREAM != 0,
                HEADERS | CONTINUATION => true,
                _ => false,
            };
            cost += usize::from(!free);
        });
        if cost > self.left {
            self.refill();
        }
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => {
                count(&self.counters.floods);
                return false;
            }
        }
        true
    }

    /// Looks at what went out to it.
    pub(super) fn on_written(&mut self, bytes: &[u8]) {
        let mut answered = 0;
        self.outgoing.scan(bytes, |frame| {
            let counts = match frame.kind {
                DATA => frame.length >= H2_ANSWERED_BYTES_MIN,
                HEADERS => true,
                _ => false,
            };
            answered += usize::from(counts) * H2_FRAMES_ANSWERED;
        });
        self.left = self.left.saturating_add(answered).min(self.max);
    }

    /// Whether a frame of our own may be put after what has been written.
    pub(super) fn is_between_frames(&self) -> bool {
        self.outgoing.is_between()
    }

    fn refill(&mut self) {
        const MINUTE: Duration = Duration::from_secs(60);
        let now = Instant::now();
        let past = now.saturating_duration_since(self.refilled).min(MINUTE);
        let gained = (self.max as u128 * past.as_millis() / MINUTE.as_millis()) as usize;
        if gained > 0 {
            self.refilled = now;
            self.left = self.left.saturating_add(gained).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![
            0,
            0,
            u8::try_from(payload).unwrap(),
            kind,
            flags,
            0,
            0,
            0,
            1,
        ];
        bytes.resize(9 + payload, 0xff);
        bytes
    }

    #[test]
    fn frames_are_found_in_any_pieces() {
        let bytes = [
            frame(1, 4, 20),
            frame(0, 0, 0),
            frame(0, 1, 200),
            frame(6, 0, 8),
        ]
        .concat();
        for size in 1..bytes.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.scan(piece, |f| seen.push((f.kind, f.flags, f.length)));
            }
            assert_eq!(seen, [(1, 4, 20), (0, 0, 0), (0, 1, 200), (6, 0, 8)]);
            assert!(frames.is_between());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_refilled_by_time_and_by_answers() {
        let counters = Rc::new(Counters::default());
        let mut flood = Flood::new(100, Rc::clone(&counters));
        let ping = frame(6, 0, 8);
        assert!(flood.on_read(&ping.repeat(100)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(flood.on_read(&ping.repeat(10)));
        flood.on_written(&[frame(1, 4, 30), frame(0, 0, 30)].concat());
        // A dribble of bytes that the client's windows ask for is no answer.
        flood.on_written(&frame(0, 0, 1).repeat(50));
        assert!(flood.on_read(&frame(8, 0, 4).repeat(2 * H2_FRAMES_ANSWERED)));
        assert!(flood.on_read(&[frame(0, 0, 5), frame(0, 1, 0), frame(1, 5, 9)].concat()));
        assert_eq!(counters.floods.get(), 0);
        assert!(!flood.on_read(&frame(0, 0, 0)));
        assert_eq!(counters.floods.get(), 1);
    }
}
