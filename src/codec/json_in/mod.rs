//! JSON → wire: one pass over the text by an explicit stack machine.
//!
//! Every frame is at a [`Stage`]; work stops only between stages, so a stage that runs out of input
//! for this slice leaves nothing behind and is simply entered again. Long strings are scanned and
//! copied in pieces. A length prefix is guessed when its message opens and put right when it closes
//! ([`wire::LengthSlot`]). Missing proto2 `required` fields are left to the service: path and query
//! may yet add them.

mod any;
mod bulk;
mod frame;
mod keys;
mod message;
mod order;
mod paths;
mod skip;
mod strings;
pub(super) mod value;

use self::bulk::Bulk;
use self::frame::{Frame, FrameKind, Stage};
use self::keys::Keys;
use self::order::Order;
use self::paths::Paths;
use self::strings::{Str, StringScan};
use self::value::Put;
use super::lexer;
use super::tables::{FieldTable, Tables};
use super::wire::{self, LengthSlot};
use super::{Codec, CodecLimits, EncodeError, EncodeErrorKind, Progress, Target};
use crate::schema::{FieldRef, MessageId};

/// Text is checked to be UTF-8 in windows of this size, ahead of the scan.
const UTF8_WINDOW_BYTES: usize = 64 * 1024;
/// Strings up to this long are copied at once, longer ones in pieces of this size.
const PIECE_BYTES: usize = 48 * 1024;
/// Moved bytes, beyond four times the output, after which length prefixes are padded instead.
const MOVED_BYTES_FREE: usize = 64 * 1024;

/// An error within: boxed, so that what is returned for each value fits registers.
type Fault = Box<EncodeError>;
type Result<T> = std::result::Result<T, Fault>;

/// JSON → wire in slices.
#[derive(Debug)]
pub struct Encoder {
    wire: Vec<u8>,
    /// Where this document begins in `wire`.
    base: usize,
    root: Root,
    limits: CodecLimits,
    pos: usize,
    /// This slice ends at the first stage that begins here or later.
    stop: usize,
    /// `json[..valid_to]` is UTF-8; `invalid`: and what follows is not.
    valid_to: usize,
    invalid: bool,
    scan: StringScan,
    top: Frame,
    stack: Vec<Frame>,
    slots: Vec<Slot>,
    /// Fields, oneofs and `@type` seen, by message frame.
    bits: Vec<u64>,
    /// Keys of a small map that is done, for the next one.
    spare_keys: Option<Box<Keys>>,
    bulk: Option<Bulk>,
    paths: Option<Box<Paths>>,
    order: Order,
    moved: usize,
    /// Bytes looked at twice because `@type` did not come first.
    rescanned: usize,
}

/// What the document's one value stands for.
#[derive(Clone, Copy, Debug)]
enum Root {
    Message(MessageId),
    Field(FieldRef),
    /// One element of a repeated field, or the value of another.
    Element(FieldRef),
}

/// What a closing frame still has to write.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Length(LengthSlot),
    /// A group's end tag, or the end of a MessageSet item.
    EndGroup(u32),
}

/// What a step of the machine came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Go on with whatever frame is on top now.
    On,
    /// This slice has no more input; enter the same stage again.
    Starved,
    Done,
}

/// What became of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// A frame or a bulk copy was pushed that will write it.
    Opened,
    Starved,
    /// An unknown enum name that the options say to ignore.
    Dropped,
}

/// What every step needs and none changes.
#[derive(Clone, Copy)]
struct Cx<'a> {
    codec: &'a Codec,
    tables: &'a Tables,
    json: &'a [u8],
}

impl Encoder {
    /// Starts a document; what is encoded is appended to `wire`.
    ///
    /// # Errors
    /// The target has no JSON form in this schema.
    pub fn new(
        codec: &Codec,
        target: Target,
        limits: CodecLimits,
        wire: Vec<u8>,
    ) -> std::result::Result<Self, EncodeError> {
        let root = match target {
            Target::Message(id) => Root::Message(id),
            Target::Field(at) => Root::Field(at),
        };
        Self::with_root(codec, root, limits, wire)
    }

    /// Starts a document that is one element of `field`.
    pub(super) fn element_of(
        codec: &Codec,
        field: FieldRef,
        limits: CodecLimits,
        wire: Vec<u8>,
    ) -> std::result::Result<Self, EncodeError> {
        Self::with_root(codec, Root::Element(field), limits, wire)
    }

    fn with_root(
        codec: &Codec,
        root: Root,
        limits: CodecLimits,
        wire: Vec<u8>,
    ) -> std::result::Result<Self, EncodeError> {
        let known = match root {
            Root::Message(id) => codec.tables.message(id).is_some(),
            Root::Field(at) | Root::Element(at) => codec.tables.field(at).is_some(),
        };
        if !known {
            return Err(EncodeError {
                path: String::new(),
                what: "the target is not of this schema".into(),
                offset: 0,
                kind: EncodeErrorKind::Value,
            });
        }
        let base = wire.len();
        Ok(Self {
            wire,
            base,
            root,
            limits,
            pos: 0,
            stop: 0,
            valid_to: 0,
            invalid: false,
            scan: StringScan::default(),
            top: Frame::new(FrameKind::Root, Stage::Value, 0, 0),
            stack: Vec::new(),
            slots: Vec::new(),
            bits: Vec::new(),
            spare_keys: None,
            bulk: None,
            paths: None,
            order: Order::default(),
            moved: 0,
            rescanned: 0,
        })
    }

    /// Goes on for about `budget` bytes of input. `json` is the same whole document at each call.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn step(
        &mut self,
        codec: &Codec,
        json: &[u8],
        budget: usize,
    ) -> std::result::Result<Progress, EncodeError> {
        let cx = Cx {
            codec,
            tables: &codec.tables,
            json,
        };
        if self.pos == 0 && self.wire.capacity() == 0 {
            self.wire.reserve(json.len().min(UTF8_WINDOW_BYTES));
        }
        // A string half scanned in the last slice goes on from there.
        let from = if self.scan.done {
            self.pos
        } else {
            self.pos.max(self.scan.at)
        };
        self.stop = from.saturating_add(budget.max(1)).min(json.len());
        self.extend_valid(json, self.stop);
        self.run(&cx).map_err(|e| self.located(json, *e))
    }

    /// All of the document at once, appended to `wire`, which is as it was if there is an error. The
    /// job is one that has not begun.
    pub(super) fn run_to_end(
        mut self,
        codec: &Codec,
        json: &[u8],
        wire: &mut Vec<u8>,
    ) -> std::result::Result<(), EncodeError> {
        self.base = wire.len();
        self.wire = std::mem::take(wire);
        let result = loop {
            match self.step(codec, json, usize::MAX) {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        *wire = self.wire;
        if result.is_err() {
            wire.truncate(self.base);
        }
        result
    }

    fn run(&mut self, cx: &Cx<'_>) -> Result<Progress> {
        if u32::try_from(cx.json.len()).is_err() {
            return Err(self.error(EncodeErrorKind::TooLarge, "larger than 4 GiB".into()));
        }
        loop {
            let flow = if self.bulk.is_some() {
                self.bulk_step(cx)?
            } else {
                self.frame_step(cx)?
            };
            self.check_size(cx)?;
            match flow {
                Flow::Done => return Ok(Progress::Done),
                Flow::Starved => return Ok(Progress::More),
                Flow::On if self.pos >= self.stop && self.pos < cx.json.len() => {
                    return Ok(Progress::More);
                }
                Flow::On => {}
            }
        }
    }

    /// The wire bytes, after [`Progress::Done`].
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.wire
    }

    #[inline]
    fn frame_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        match self.top.kind {
            FrameKind::Root => self.root_step(cx),
            FrameKind::Message { id, any } => self.message_step(cx, id, any),
            FrameKind::Repeated(at) => self.repeated_step(cx, at),
            FrameKind::Map(at) => self.map_step(cx, at),
            FrameKind::Struct => self.struct_step(cx),
            FrameKind::List => self.list_step(cx),
            FrameKind::AnyStart(start) => self.any_step(cx, start),
            FrameKind::AnyValue(id) => self.any_value_step(cx, id),
            FrameKind::SkipObject => self.skip_object_step(cx),
            FrameKind::SkipArray => self.skip_array_step(cx),
        }
    }

    fn root_step(&mut self, cx: &Cx<'_>) -> Result<Flow> {
        if self.top.stage == Stage::Value {
            let outcome = match self.root {
                Root::Message(id) => self.bare_message(cx, id)?,
                Root::Field(at) => {
                    let field = cx.tables.field(at).ok_or_else(|| self.lost())?;
                    self.field_value(cx, at, field)?
                }
                Root::Element(at) => {
                    let field = cx.tables.field(at).ok_or_else(|| self.lost())?;
                    let outcome = self.element(cx, field, Put::Element, 0)?;
                    self.after_value(outcome)
                }
            };
            return Ok(match outcome {
                Outcome::Starved => Flow::Starved,
                _ => Flow::On,
            });
        }
        self.pos = lexer::skip_whitespace(cx.json, self.pos, self.stop);
        if self.pos >= cx.json.len() {
            Ok(Flow::Done)
        } else if self.pos >= self.stop {
            Ok(Flow::Starved)
        } else {
            Err(self.syntax("nothing may follow the document"))
        }
    }

    /// The next byte that is not whitespace; `None` at the end of the slice or of the document.
    #[inline]
    fn peek(&mut self, cx: &Cx<'_>) -> Option<u8> {
        match cx.json.get(self.pos) {
            Some(&b) if b > b' ' => Some(b),
            _ => {
                let limit = self.stop.max(self.pos.saturating_add(64));
                self.pos = lexer::skip_whitespace(cx.json, self.pos, limit);
                match cx.json.get(self.pos) {
                    Some(b' ' | b'\n' | b'\r' | b'\t') => None,
                    other => other.copied(),
                }
            }
        }
    }

    /// After [`Self::peek`] came back with nothing: end of slice, or an unfinished document.
    #[cold]
    fn starved<T>(&self, cx: &Cx<'_>, then: T) -> Result<T> {
        if self.pos < cx.json.len() {
            Ok(then)
        } else {
            Err(self.syntax("the document ends too soon"))
        }
    }

    #[inline]
    fn check_size(&self, cx: &Cx<'_>) -> Result<()> {
        let size = self.wire.len().saturating_sub(self.base);
        if size > self.limits.encoded_bytes_max {
            return Err(self.too_large(cx));
        }
        Ok(())
    }

    #[cold]
    fn too_large(&self, _: &Cx<'_>) -> Fault {
        let max = self.limits.encoded_bytes_max;
        self.error(
            EncodeErrorKind::TooLarge,
            format!("the encoded message would be larger than {max} bytes"),
        )
    }

    /// Room for `more` bytes, growing a large buffer by an eighth rather than doubling it.
    #[inline]
    fn reserve(&mut self, more: usize) {
        let len = self.wire.len();
        if len > UTF8_WINDOW_BYTES && self.wire.capacity() - len < more {
            self.wire.reserve_exact(more + len / 8);
        }
    }

    fn open_length(&mut self, hint: usize) {
        let reserved = if self.padding() {
            wire::varint_len(self.limits.encoded_bytes_max as u64)
        } else {
            hint
        };
        let slot = LengthSlot::open(&mut self.wire, reserved.clamp(1, 5));
        self.slots.push(Slot::Length(slot));
    }

    /// Whether so much was moved for wrong guesses that it must stop.
    fn padding(&self) -> bool {
        self.moved > (self.wire.len() - self.base) * 4 + MOVED_BYTES_FREE
    }

    /// Closes slots down to `base`; what the last one came to is the parent's next guess.
    #[inline]
    fn close_slots(&mut self, base: usize) -> u8 {
        match self.slots.len() > base {
            true => self.close_open_slots(base),
            false => 1,
        }
    }

    fn close_open_slots(&mut self, base: usize) -> u8 {
        let mut width = 1;
        while self.slots.len() > base {
            match self.slots.pop() {
                Some(Slot::Length(slot)) => {
                    self.reserve(8);
                    let pad = self.padding();
                    let (moved, need) = slot.close(&mut self.wire, pad);
                    self.moved += moved;
                    if moved > PIECE_BYTES {
                        self.stop = self.stop.saturating_sub(moved / 16);
                    }
                    width = need as u8;
                }
                Some(Slot::EndGroup(number)) => {
                    wire::put_tag(&mut self.wire, number, wire::END_GROUP);
                }
                None => break,
            }
        }
        width
    }

    /// Pushes a frame for the container whose opening bracket is at `self.pos`, and takes that.
    fn push(&mut self, kind: FrameKind, slots_base: usize) -> Result<()> {
        if self.stack.len() >= self.limits.depth_max {
            let max = self.limits.depth_max;
            return Err(self.error(
                EncodeErrorKind::TooDeep,
                format!("nested deeper than {max} levels"),
            ));
        }
        self.pos += 1;
        let frame = Frame::new(kind, Stage::First, slots_base, self.bits.len());
        let parent = std::mem::replace(&mut self.top, frame);
        self.stack.push(parent);
        Ok(())
    }

    /// Ends the container on top, at its closing bracket.
    #[inline]
    fn close(&mut self) -> Flow {
        self.pos += 1;
        self.pop();
        Flow::On
    }

    fn pop(&mut self) {
        self.leave_paths();
        let width = self.close_slots(self.top.slots_base);
        if let Some(mut keys) = self.top.keys.take()
            && keys.recycle()
        {
            self.spare_keys = Some(keys);
        }
        self.bits.truncate(self.top.bits_base);
        if let Some(parent) = self.stack.pop() {
            self.top = parent;
            self.top.hint = width;
        }
    }

    /// Marks the fields and oneofs of the message on top; `true` if `bit` was marked before.
    #[inline]
    fn mark(&mut self, bit: usize) -> bool {
        let Some(word) = self.bits.get_mut(self.top.bits_base + bit / 64) else {
            return false;
        };
        let mask = 1 << (bit % 64);
        let seen = *word & mask != 0;
        *word |= mask;
        seen
    }

    fn open_bits(&mut self, cx: &Cx<'_>, id: MessageId) {
        let count = cx
            .tables
            .message(id)
            .map_or(0, |m| m.fields.len() + m.oneofs + 1);
        let words = count.div_ceil(64);
        self.bits.resize(self.bits.len() + words, 0);
    }

    /// Opens a message record of `field`: tag and length slot, group, or MessageSet item.
    fn open_record(&mut self, field: &FieldTable) {
        self.reserve(32);
        if field.set_item {
            wire::put_tag(&mut self.wire, 1, wire::GROUP);
            wire::put_tag(&mut self.wire, 2, wire::VARINT);
            wire::put_varint(&mut self.wire, u64::from(field.number));
            wire::put_tag(&mut self.wire, 3, wire::LEN);
            self.slots.push(Slot::EndGroup(1));
            self.open_length(self.top.hint.into());
        } else if field.delimited {
            field.tag.put(&mut self.wire);
            self.slots.push(Slot::EndGroup(field.number));
        } else {
            field.tag.put(&mut self.wire);
            self.open_length(self.top.hint.into());
        }
    }
}
