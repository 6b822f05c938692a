//! Values that are read, checked and not written.

use super::frame::{FrameKind, Stage};
use super::message::Member;
use super::{Cx, Encoder, Flow, Outcome, Result};

impl Encoder {
    /// Skips the value at `self.pos`; objects and arrays by frames of their own.
    pub(super) fn skip_value(&mut self, cx: &Cx<'_>) -> Result<Outcome> {
        let Some(b) = self.peek(cx) else {
            return self.starved(cx, Outcome::Starved);
        };
        match b {
            b'"' => {
                let Some(s) = self.string(cx)? else {
                    return Ok(Outcome::Starved);
                };
                if s.escaped {
                    self.check_escapes(cx, s)?;
                }
                self.pos = s.end + 1;
            }
            b't' => self.literal(cx, b"true")?,
            b'f' => self.literal(cx, b"false")?,
            b'n' => self.literal(cx, b"null")?,
            b'-' | b'0'..=b'9' => self.pos += self.number(cx)?.len(),
            b'{' | b'[' => {
                let kind = match b {
                    b'{' => FrameKind::SkipObject,
                    _ => FrameKind::SkipArray,
                };
                self.push(kind, self.slots.len())?;
                return Ok(self.after_value(Outcome::Opened));
            }
            _ => return Err(self.syntax("expected a value")),
        }
        Ok(self.after_value(Outcome::Written))
    }

    pub(super) fn skip_object_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        loop {
            match self.top.stage {
                Stage::First | Stage::Next => match self.open_member(cx)? {
                    Member::Key => {}
                    Member::Starved => return Ok(Flow::Starved),
                    Member::End => return Ok(self.close()),
                },
                Stage::Key => {
                    let Some(key) = self.key(cx)? else {
                        return Ok(Flow::Starved);
                    };
                    if key.escaped {
                        self.check_escapes(cx, key)?;
                    }
                    self.top.key = key;
                    self.pos = key.end + 1;
                    self.top.stage = Stage::Colon;
                }
                Stage::Colon => {
                    if !self.colon(cx)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Value => match self.skip_value(cx)? {
                    Outcome::Opened => return Ok(Flow::On),
                    Outcome::Starved => return Ok(Flow::Starved),
                    Outcome::Written | Outcome::Dropped => {}
                },
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    pub(super) fn skip_array_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        loop {
            match self.open_element(cx)? {
                Member::Key => {}
                Member::Starved => return Ok(Flow::Starved),
                Member::End => return Ok(self.close()),
            }
            match self.skip_value(cx)? {
                Outcome::Opened => return Ok(Flow::On),
                Outcome::Starved => return Ok(Flow::Starved),
                Outcome::Written | Outcome::Dropped => {}
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    /// Escapes of a string that is not kept, in bounded space.
    fn check_escapes(&mut self, cx: &Cx<'_>, s: super::Str) -> Result<()> {
        let mut scratch = Vec::new();
        let mut done = 0;
        while done < s.len() {
            scratch.clear();
            match crate::codec::lexer::unescape(s.raw(cx.json), done, done + 4096, &mut scratch) {
                Ok(at) => done = at,
                Err(at) => return Err(self.bad_escape(s, at)),
            }
        }
        Ok(())
    }
}
