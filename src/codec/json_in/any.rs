//! Values without a schema of their own: `Any`, `Struct`, `Value` and `ListValue`.

use super::frame::{FrameKind, Stage};
use super::message::{Member, TYPE, UNKNOWN};
use super::{Cx, Encoder, Flow, Outcome, Result};
use crate::codec::tables::{FieldTable, Form};
use crate::codec::{scalar, wire};
use crate::schema::MessageId;

/// Looking for a late `@type` reads members twice. Beyond this many times the document's size it is
/// refused, so that nesting can't make it quadratic.
const RESCANS_MAX: usize = 4;

impl Encoder {
    /// A `google.protobuf.Value`: any JSON, as a record of `field` or bare.
    pub(super) fn json_value(
        &mut self,
        cx: &Cx<'_>,
        field: Option<&FieldTable>,
        base: usize,
    ) -> Result<Outcome> {
        let Some(b) = self.peek(cx) else {
            return self.starved(cx, Outcome::Starved);
        };
        if b == b'"' && self.string(cx)?.is_none() {
            return Ok(Outcome::Starved);
        }
        self.open_optional(field);
        match b {
            b'n' => {
                self.literal(cx, b"null")?;
                self.wire.extend_from_slice(&[0x08, 0]);
            }
            b't' => {
                self.literal(cx, b"true")?;
                self.wire.extend_from_slice(&[0x20, 1]);
            }
            b'f' => {
                self.literal(cx, b"false")?;
                self.wire.extend_from_slice(&[0x20, 0]);
            }
            b'"' => {
                let Some(s) = self.string(cx)? else {
                    return Ok(Outcome::Starved);
                };
                self.wire.push(0x1a);
                let outcome = self.put_text(cx, s, base)?;
                self.pos = s.end + 1;
                return Ok(outcome);
            }
            b'{' | b'[' => {
                let (tag, kind) = match b {
                    b'{' => (0x2a, FrameKind::Struct),
                    _ => (0x32, FrameKind::List),
                };
                self.wire.push(tag);
                self.open_length(self.top.hint.into());
                self.push(kind, base)?;
                return Ok(Outcome::Opened);
            }
            b'-' | b'0'..=b'9' => self.json_number(cx)?,
            _ => return Err(self.syntax("expected a value")),
        }
        self.close_slots(base);
        Ok(Outcome::Written)
    }

    fn json_number(&mut self, cx: &Cx<'_>) -> Result<()> {
        let text = self.number(cx)?;
        let Ok(value) = scalar::double(text) else {
            return Err(self.value_error("the number is out of range for a double"));
        };
        self.wire.push(0x11);
        self.wire.extend_from_slice(&value.to_le_bytes());
        self.pos += text.len();
        Ok(())
    }

    /// The members of a Struct: `map<string, Value> fields = 1`.
    pub(super) fn struct_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        loop {
            match self.top.stage {
                Stage::First | Stage::Next => match self.open_member(cx)? {
                    Member::Key => {}
                    Member::Starved => return Ok(Flow::Starved),
                    Member::End => return Ok(self.close()),
                },
                Stage::Key => {
                    if !self.map_key(cx, false)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Colon => {
                    if !self.colon(cx)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Value => match self.struct_value(cx)? {
                    Outcome::Opened => return Ok(Flow::On),
                    Outcome::Starved => return Ok(Flow::Starved),
                    Outcome::Written | Outcome::Dropped => self.check_size(cx)?,
                },
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    fn struct_value(&mut self, cx: &Cx<'_>) -> Result<Outcome> {
        let Some(b) = self.peek(cx) else {
            return self.starved(cx, Outcome::Starved);
        };
        if b == b'"' && self.string(cx)?.is_none() {
            return Ok(Outcome::Starved);
        }
        self.reserve(64);
        let base = self.slots.len();
        let hint = usize::from(self.top.hint);
        self.wire.push(0x0a);
        self.open_length(hint);
        self.wire.push(0x0a);
        self.put_key(cx, self.top.key)?;
        self.wire.push(0x12);
        self.open_length(hint);
        let outcome = self.json_value(cx, None, base)?;
        Ok(self.after_value(outcome))
    }

    /// The elements of a ListValue: `repeated Value values = 1`.
    pub(super) fn list_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        loop {
            match self.open_element(cx)? {
                Member::Key => {}
                Member::Starved => return Ok(Flow::Starved),
                Member::End => return Ok(self.close()),
            }
            if self.peek(cx) == Some(b'"') && self.string(cx)?.is_none() {
                return Ok(Flow::Starved);
            }
            self.reserve(64);
            let base = self.slots.len();
            self.wire.push(0x0a);
            self.open_length(self.top.hint.into());
            let outcome = self.json_value(cx, None, base)?;
            match self.after_value(outcome) {
                Outcome::Opened => return Ok(Flow::On),
                Outcome::Starved => return Ok(Flow::Starved),
                Outcome::Written | Outcome::Dropped => self.check_size(cx)?,
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }

    /// An `Any` before its type is known: goes through the members until `@type`, then begins again
    /// at `start` with the type's own frame.
    pub(super) fn any_step(&mut self, cx: &Cx<'_>, start: usize) -> Result<Flow> {
        loop {
            match self.top.stage {
                Stage::First | Stage::Next => match self.open_member(cx)? {
                    Member::Key => {}
                    Member::Starved => return Ok(Flow::Starved),
                    Member::End if self.top.stage == Stage::First => return Ok(self.close()),
                    Member::End => return Err(self.value_error("an Any needs its `@type`")),
                },
                Stage::Key => {
                    let Some(key) = self.key(cx)? else {
                        return Ok(Flow::Starved);
                    };
                    let mut scratch = Vec::new();
                    let is_type = self.text(cx.json, key, &mut scratch)? == b"@type";
                    self.top.field = if is_type { TYPE } else { UNKNOWN };
                    self.top.key = key;
                    self.pos = key.end + 1;
                    self.top.stage = Stage::Colon;
                }
                Stage::Colon => {
                    if !self.colon(cx)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Value if self.top.field == TYPE => return self.any_type(cx, start),
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

    /// The `@type` value: writes `type_url`, opens `value` and turns the frame into the type's.
    fn any_type(&mut self, cx: &Cx<'_>, start: usize) -> Result<Flow> {
        match self.peek(cx) {
            None => return self.starved(cx, Flow::Starved),
            Some(b'"') => {}
            Some(_) => return Err(self.unexpected(cx, "a type URL")),
        }
        let Some(s) = self.string(cx)? else {
            return Ok(Flow::Starved);
        };
        let mut scratch = Vec::new();
        let url = self.text(cx.json, s, &mut scratch)?;
        let id = std::str::from_utf8(url)
            .ok()
            .and_then(|url| url.rsplit_once('/'))
            .and_then(|(_, name)| cx.codec.schema.find_message(name));
        let Some(id) = id else {
            let shown = scalar::shown(url);
            return Err(self.value_error(format!("no type {shown} is known here")));
        };
        self.rescanned += self.pos - start;
        if self.rescanned > cx.json.len() * RESCANS_MAX {
            return Err(self.value_error("`@type` must come first in an Any"));
        }
        wire::put_bytes(&mut self.wire, 1, url);
        self.wire.push(0x12);
        self.open_length(self.top.hint.into());
        self.pos = start;
        self.top.stage = Stage::First;
        self.top.field = UNKNOWN;
        let table = cx.tables.message(id).ok_or_else(|| self.lost())?;
        if table.form == Form::Object {
            self.top.kind = FrameKind::Message { id, any: true };
            self.open_bits(cx, id);
        } else {
            self.top.kind = FrameKind::AnyValue(id);
            self.bits.push(0);
        }
        Ok(Flow::On)
    }

    /// The members of an `Any` whose type has a JSON form of its own: `@type` and `value`.
    pub(super) fn any_value_step(&mut self, cx: &Cx<'_>, id: MessageId) -> Result<Flow> {
        const VALUE: u32 = 0;
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
                    self.top.key = key;
                    let mut scratch = Vec::new();
                    self.top.field = match self.text(cx.json, key, &mut scratch)? {
                        b"@type" => TYPE,
                        b"value" => VALUE,
                        _ if cx.codec.options.ignore_unknown_fields => UNKNOWN,
                        _ => return Err(self.value_error("no such field in this Any")),
                    };
                    let bit = usize::from(self.top.field == VALUE);
                    if self.top.field != UNKNOWN && self.mark(bit) {
                        return Err(self.value_error("given twice"));
                    }
                    self.pos = key.end + 1;
                    self.top.stage = Stage::Colon;
                }
                Stage::Colon => {
                    if !self.colon(cx)? {
                        return Ok(Flow::Starved);
                    }
                }
                Stage::Value => {
                    let outcome = if self.top.field == VALUE {
                        if self.peek(cx).is_none() {
                            return self.starved(cx, Flow::Starved);
                        }
                        let base = self.slots.len();
                        let outcome = self.message_value(cx, None, id, base)?;
                        self.after_value(outcome)
                    } else {
                        self.skip_value(cx)?
                    };
                    match outcome {
                        Outcome::Opened => return Ok(Flow::On),
                        Outcome::Starved => return Ok(Flow::Starved),
                        Outcome::Written | Outcome::Dropped => {}
                    }
                }
            }
            if self.pos >= self.stop {
                return Ok(Flow::On);
            }
        }
    }
}
