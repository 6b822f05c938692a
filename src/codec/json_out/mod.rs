//! Wire → JSON: validate, bring into the usual shape if need be, then print, all in slices.
//!
//! Nothing is printed before all of the wire has been found good, so a document is never cut short
//! by bad wire. The printer itself trusts the shape and still can't panic: what it can't read ends
//! the message.

mod direct;
mod forms;
mod object;
mod only;
mod print;
mod validate;
mod value;

use self::print::Print;
use self::validate::Validator;
use super::tables::Tables;
use super::{Codec, CodecLimits, DecodeError, Progress, Selection, Target};
use crate::codec::normalise::Normaliser;
use crate::schema::{EnumId, MessageId};

use std::sync::Arc;

type Result<T> = std::result::Result<T, DecodeError>;

/// What every step needs and none changes.
#[derive(Clone, Copy)]
pub(super) struct Cx<'a> {
    pub codec: &'a Codec,
    pub tables: &'a Tables,
    pub wire: &'a [u8],
}

impl Cx<'_> {
    /// Whether the enum has a value of this number, which the wire has as a varint.
    #[inline]
    fn knows(&self, id: EnumId, raw: u64) -> bool {
        let table = self.tables.enumeration(id);
        table.is_some_and(|e| e.literal(raw as i32).is_some())
    }
}

/// Wire → JSON in slices: validated first, then printed in chunks.
#[derive(Debug)]
pub struct Printer {
    target: Target,
    message: MessageId,
    limits: CodecLimits,
    stage: Stage,
    /// The wire in the usual shape, when it wasn't.
    normal: Option<Vec<u8>>,
    /// The fields to print; all when there is none.
    selection: Option<Arc<Selection>>,
}

/// The long way's jobs are boxed: most messages are printed in one pass, and the printer is moved.
#[derive(Debug)]
enum Stage {
    /// Small enough for one pass, which was not tried yet.
    Direct,
    /// Where the long way begins.
    Check,
    Validate(Box<Validator>),
    Normalise(Box<Normaliser>),
    Print(Box<Print>),
    Done,
}

impl Printer {
    /// Starts a document. `wire` is a whole message of the target's message type; for a
    /// [`Target::Field`] only that field of it is printed (its default, or `null`, when absent).
    ///
    /// # Errors
    /// The target is not of this codec's schema.
    pub fn new(
        codec: &Codec,
        target: Target,
        wire: &[u8],
        limits: CodecLimits,
    ) -> std::result::Result<Self, DecodeError> {
        let (message, known) = match target {
            Target::Message(id) => (id, codec.tables.message(id).is_some()),
            Target::Field(at) => (at.message, codec.tables.field(at).is_some()),
        };
        if !known {
            return Err(refused("the target is not of this schema"));
        }
        if u32::try_from(wire.len()).is_err() {
            return Err(refused("the message is larger than 4 GiB"));
        }
        Ok(Self {
            target,
            message,
            limits,
            stage: match target {
                Target::Message(_) if wire.len() <= direct::BYTES_MAX && !codec.options.pretty => {
                    Stage::Direct
                }
                _ => Stage::Check,
            },
            normal: None,
            selection: None,
        })
    }

    /// Prints only these fields. For a job that has not begun, and a selection of the same target.
    #[must_use]
    pub fn selecting(mut self, selection: Option<Arc<Selection>>) -> Self {
        if selection.is_some() {
            self.stage = Stage::Check;
        }
        self.selection = selection;
        self
    }

    /// Goes on for about `budget` bytes of work, appending to `json`. Malformed wire is reported
    /// before the first byte is written. `wire` is the same at each call.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn step(
        &mut self,
        codec: &Codec,
        wire: &[u8],
        budget: usize,
        json: &mut Vec<u8>,
    ) -> std::result::Result<Progress, DecodeError> {
        let budget = budget.max(1);
        let cx = Cx {
            codec,
            tables: &codec.tables,
            wire: self.normal.as_deref().unwrap_or(wire),
        };
        if let Stage::Direct = self.stage {
            if budget >= wire.len() && direct::print(&cx, self.message, self.limits.depth_max, json)
            {
                self.stage = Stage::Done;
                return Ok(Progress::Done);
            }
            self.stage = Stage::Check;
        }
        if let Stage::Check = self.stage {
            let job = Validator::new(codec, self.message, wire, self.limits);
            self.stage = Stage::Validate(Box::new(job));
        }
        let next = match &mut self.stage {
            Stage::Direct | Stage::Check => return Ok(Progress::More),
            Stage::Validate(job) => {
                if !job.step(&cx, budget)? {
                    return Ok(Progress::More);
                }
                if job.ordered() || self.normal.is_some() {
                    Stage::Print(Box::new(Print::new(
                        &cx,
                        self.target,
                        self.selection.clone(),
                    )))
                } else {
                    {
                        let job = Normaliser::for_print(self.message, wire.len(), self.limits);
                        Stage::Normalise(Box::new(job))
                    }
                }
            }
            Stage::Normalise(job) => {
                if !job.step(codec, wire, budget) {
                    return Ok(Progress::More);
                }
                let normal = job.take().ok_or_else(|| refused("malformed protobuf"))?;
                let again = Validator::for_normal(codec, self.message, &normal, self.limits);
                self.normal = Some(normal);
                Stage::Validate(Box::new(again))
            }
            Stage::Print(job) => {
                if !job.step(&cx, budget, json) {
                    return Ok(Progress::More);
                }
                Stage::Done
            }
            Stage::Done => Stage::Done,
        };
        self.stage = next;
        Ok(match self.stage {
            Stage::Done => Progress::Done,
            _ => Progress::More,
        })
    }
}

/// See [`Codec::normalise`].
pub(super) fn normalise(
    codec: &Codec,
    id: MessageId,
    wire: &[u8],
    limits: CodecLimits,
) -> Result<Vec<u8>> {
    let cx = Cx {
        codec,
        tables: &codec.tables,
        wire,
    };
    if codec.tables.message(id).is_none() {
        return Err(refused("the target is not of this schema"));
    }
    if u32::try_from(wire.len()).is_err() {
        return Err(refused("the message is larger than 4 GiB"));
    }
    let mut job = Validator::for_wire(codec, id, wire, limits);
    while !job.step(&cx, usize::MAX)? {}
    let mut job = Normaliser::for_wire(id, wire.len(), limits);
    while !job.step(codec, wire, usize::MAX) {}
    job.take().ok_or_else(|| refused("malformed protobuf"))
}

fn refused(what: &str) -> DecodeError {
    DecodeError {
        path: String::new(),
        what: what.into(),
    }
}
