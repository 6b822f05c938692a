//! Long strings, written piece by piece.

use super::frame::Stage;
use super::{Cx, Encoder, Fault, Flow, Outcome, PIECE_BYTES, Result, Str};
use crate::codec::lexer;
use crate::codec::scalar;
use crate::codec::wire;

/// A string being copied to the wire.
#[derive(Debug)]
pub(super) struct Bulk {
    text: Str,
    /// How much of it is done.
    done: usize,
    base64: bool,
    /// Slots to close when it is done.
    slots_base: usize,
}

impl Encoder {
    /// Writes the length and the text of `s`, then closes slots down to `slots_base`.
    #[inline]
    pub(super) fn put_text(&mut self, cx: &Cx<'_>, s: Str, slots_base: usize) -> Result<Outcome> {
        if s.escaped || s.len() > PIECE_BYTES {
            return self.put_long_text(cx, s, slots_base);
        }
        self.reserve(s.len() + 16);
        wire::put_varint(&mut self.wire, s.len() as u64);
        self.wire.extend_from_slice(s.raw(cx.json));
        self.close_slots(slots_base);
        Ok(Outcome::Written)
    }

    /// The same for text that has escapes or is written in pieces.
    fn put_long_text(&mut self, cx: &Cx<'_>, s: Str, slots_base: usize) -> Result<Outcome> {
        self.fits(cx, if s.escaped { s.len() / 6 } else { s.len() })?;
        self.reserve(s.len() + 16);
        if s.escaped {
            self.open_length(wire::varint_len(s.len() as u64));
        } else {
            wire::put_varint(&mut self.wire, s.len() as u64);
        }
        if s.len() > PIECE_BYTES {
            self.bulk = Some(Bulk {
                text: s,
                done: 0,
                base64: false,
                slots_base,
            });
            return Ok(Outcome::Opened);
        }
        if let Err(at) = lexer::unescape(s.raw(cx.json), 0, usize::MAX, &mut self.wire) {
            return Err(self.bad_escape(s, at));
        }
        self.close_slots(slots_base);
        Ok(Outcome::Written)
    }

    /// Writes the length of base64 text `s` decoded, and the bytes.
    pub(super) fn put_base64(&mut self, cx: &Cx<'_>, s: Str, slots_base: usize) -> Result<Outcome> {
        if s.escaped {
            return self.put_escaped_base64(cx, s, slots_base);
        }
        let mut s = s;
        // Padding is taken off here so that the length is known; a wrong one is left to be refused.
        let raw = s.raw(cx.json);
        let unpadded = match raw {
            [rest @ .., b'=', b'='] if rest.len() % 4 == 2 => rest.len(),
            [rest @ .., b'='] if rest.len() % 4 == 3 => rest.len(),
            _ => raw.len(),
        };
        s.end = s.start + unpadded;
        let len = unpadded / 4 * 3 + (unpadded % 4).saturating_sub(1);
        self.fits(cx, len)?;
        self.reserve(len + 16);
        wire::put_varint(&mut self.wire, len as u64);
        if s.len() > PIECE_BYTES {
            self.bulk = Some(Bulk {
                text: s,
                done: 0,
                base64: true,
                slots_base,
            });
            return Ok(Outcome::Opened);
        }
        if !scalar::base64_decode_unpadded(s.raw(cx.json), &mut self.wire) {
            return Err(self.not_base64(cx, s));
        }
        self.close_slots(slots_base);
        Ok(Outcome::Written)
    }

    fn put_escaped_base64(&mut self, cx: &Cx<'_>, s: Str, slots_base: usize) -> Result<Outcome> {
        let mut scratch = Vec::new();
        let text = self.text(cx.json, s, &mut scratch)?;
        self.open_length(wire::varint_len(text.len() as u64 / 4 * 3));
        if !scalar::base64_decode(text, &mut self.wire) {
            return Err(self.not_base64(cx, s));
        }
        self.close_slots(slots_base);
        Ok(Outcome::Written)
    }

    #[cold]
    fn not_base64(&mut self, cx: &Cx<'_>, s: Str) -> Fault {
        self.pos = s.start - 1;
        self.top.stage = Stage::Value;
        let shown = scalar::shown(s.raw(cx.json));
        self.value_error(format!("expected base64, found {shown}"))
    }

    /// Refuses early what can't fit.
    fn fits(&self, cx: &Cx<'_>, more: usize) -> Result<()> {
        let size = self.wire.len().saturating_sub(self.base);
        if more > self.limits.encoded_bytes_max.saturating_sub(size) {
            return Err(self.too_large(cx));
        }
        Ok(())
    }

    /// One piece more.
    pub(super) fn bulk_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        let Some(mut bulk) = self.bulk.take() else {
            return Ok(Flow::On);
        };
        let raw = bulk.text.raw(cx.json);
        let until = (bulk.done + PIECE_BYTES).min(raw.len());
        self.reserve(PIECE_BYTES);
        if bulk.base64 {
            // PIECE_BYTES is a multiple of four, so pieces but the last are whole.
            let piece = raw.get(bulk.done..until).unwrap_or(&[]);
            if !scalar::base64_decode_unpadded(piece, &mut self.wire) {
                return Err(self.not_base64(cx, bulk.text));
            }
            bulk.done = until;
        } else if bulk.text.escaped {
            match lexer::unescape(raw, bulk.done, until, &mut self.wire) {
                Ok(done) => bulk.done = done,
                Err(at) => return Err(self.bad_escape(bulk.text, at)),
            }
        } else {
            let piece = raw.get(bulk.done..until).unwrap_or(&[]);
            self.wire.extend_from_slice(piece);
            bulk.done = until;
        }
        if bulk.done >= raw.len() {
            self.close_slots(bulk.slots_base);
            return Ok(Flow::On);
        }
        self.bulk = Some(bulk);
        Ok(Flow::Starved)
    }
}
