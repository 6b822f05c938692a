//! Messages of a Connect stream in gzip, each for itself, on routes that compress and for clients that
//! take it. Short ones stay as they are, and so does the envelope that ends the stream.

use std::fmt;
use std::io::Write;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;

use crate::limits::WORK_SLICE_BYTES;
use crate::transcode::frame::{self, PREFIX_BYTES};

use super::super::super::compress::gzip_level;
use super::super::super::counters::Place;
use super::super::calling::Calling;
use super::ACCEPT_CODING;

/// The flag of a compressed message.
const COMPRESSED: u8 = 1;

pub(super) struct Packing {
    bytes_min: u64,
    level: Compression,
    job: Option<Job>,
    _place: Place,
}

/// A message on its way through the encoder.
struct Job {
    message: Bytes,
    encoder: GzEncoder<Vec<u8>>,
}

impl Packing {
    /// For this call, if it is to be.
    pub(super) fn of(calling: &Calling<'_>) -> Option<Self> {
        let rule = calling.policy().compression.as_ref()?;
        if !takes_gzip(&calling.head.headers) {
            return None;
        }
        let counters = &calling.current.counters;
        Some(Self {
            bytes_min: rule.bytes_min,
            level: gzip_level(rule.effort),
            job: None,
            _place: counters.compressor(calling.limits().compressors_max)?,
        })
    }

    /// Takes an envelope whose message is long enough.
    pub(super) fn begin(&mut self, envelope: &Bytes) -> bool {
        let mut message = envelope.clone();
        if message.len() < PREFIX_BYTES {
            return false;
        }
        let message = message.split_off(PREFIX_BYTES);
        if (message.len() as u64) < self.bytes_min {
            return false;
        }
        let mut start = Vec::with_capacity(message.len() / 2 + 64);
        _ = frame::start(&mut start);
        self.job = Some(Job {
            message,
            encoder: GzEncoder::new(start, self.level),
        });
        true
    }

    /// The envelope of the message at hand, if there is one: a slice of it a turn.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(job) = &mut self.job else {
            return Poll::Ready(None);
        };
        let slice = job.message.len().min(WORK_SLICE_BYTES);
        let slice = job.message.split_to(slice);
        // A `Vec` takes everything.
        job.encoder.write_all(&slice).ok();
        if !job.message.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let packed = self.job.take().and_then(|job| job.encoder.finish().ok());
        let mut packed = packed.unwrap_or_default();
        // It is hardly longer than the message, whose length fitted.
        frame::finish(&mut packed, 0).ok();
        if let Some(flags) = packed.first_mut() {
            *flags = COMPRESSED;
        }
        Poll::Ready(Some(packed.into()))
    }
}

/// Connect's own header: names without weights.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_CODING).iter();
    let names = values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    names.map(str::trim).any(|n| n.eq_ignore_ascii_case("gzip"))
}

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packing")
            .field("bytes_min", &self.bytes_min)
            .field("busy", &self.job.is_some())
            .finish_non_exhaustive()
    }
}
