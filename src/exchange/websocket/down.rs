//! The service's messages on their way to the client: printed as the client takes them, a long one in
//! frames of one message.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::codec::{Printer, Progress};
use crate::limits::{PRINT_CHUNK_BYTES, WEBSOCKET_WRITE_BYTES, WORK_SLICE_BYTES};
use crate::protocol::websocket::Format;

use super::super::messages::Messages;
use super::super::pump::{Content, broken_call, print_more};
use super::super::stream::Rule;
use super::super::waits::Waits;
use super::socket::{Kind, Socket};
use super::up::Stop;

pub(super) struct Down {
    pub(super) rule: Rule,
    pub(super) format: Format,
    pub(super) messages: Messages,
    /// The method answers with one message, which isn't told before the call has gone well.
    pub(super) single: Option<Option<Bytes>>,
    pub(super) job: Option<(Bytes, Printer)>,
    /// What is left of a message that goes out as it is.
    pub(super) rest: Option<Bytes>,
    pub(super) out: Vec<u8>,
    /// The service has said all.
    pub(super) over: bool,
}

impl Down {
    /// Goes on with the answer; ready once it has ended with OK and all of it is written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        waits: &mut Waits,
    ) -> Poll<Result<(), Stop>> {
        loop {
            ready!(socket.poll_room(cx)).map_err(Stop::Broken)?;
            if let Some(rest) = &mut self.rest {
                let piece = rest.split_to(rest.len().min(WEBSOCKET_WRITE_BYTES));
                let last = rest.is_empty();
                let written = socket.write(Kind::Binary, piece, last);
                written.map_err(Stop::Broken)?;
                if last {
                    self.rest = None;
                }
                continue;
            }
            if self.job.is_some() {
                if self.print(socket)? == Progress::More {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            if self.over {
                return Poll::Ready(Ok(()));
            }
            match self.messages.poll_next(cx) {
                Poll::Ready(message) => {
                    let message = message?;
                    waits.note()?;
                    self.arrived(message)?;
                }
                Poll::Pending => {
                    if let Poll::Ready(flushed) = socket.poll_flush(cx) {
                        flushed.map_err(Stop::Broken)?;
                    }
                    return waits.poll(cx).map(|late| Err(late.into()));
                }
            }
        }
    }

    fn arrived(&mut self, message: Option<Bytes>) -> Result<(), Stop> {
        let wire = match (&mut self.single, message) {
            (None, Some(wire)) => wire,
            (None, None) => {
                self.over = true;
                return Ok(());
            }
            (Some(kept @ None), Some(wire)) => {
                *kept = Some(wire);
                return Ok(());
            }
            (Some(Some(_)), Some(_)) => {
                return Err(broken_call("the service answered a unary call twice").into());
            }
            (Some(kept), None) => {
                self.over = true;
                let none = || broken_call("the service answered OK without a message");
                kept.take().ok_or_else(none)?
            }
        };
        self.begin(wire)
    }

    fn begin(&mut self, wire: Bytes) -> Result<(), Stop> {
        match (self.format, self.rule.content) {
            (Format::Proto, _) => self.rest = Some(wire),
            (Format::Json, Content::Raw { .. }) => {
                self.rest = Some(self.rule.raw_body(&wire)?.data);
            }
            (Format::Json, Content::Json(_)) => {
                let printer = self.rule.printer(&wire)?;
                self.job = Some((wire, printer));
            }
        }
        Ok(())
    }

    fn print(&mut self, socket: &mut Socket) -> Result<Progress, Stop> {
        let Some((wire, printer)) = &mut self.job else {
            return Ok(Progress::Done);
        };
        if self.out.capacity() == 0 {
            let likely = wire.len().saturating_mul(3).saturating_add(64);
            self.out.reserve(likely.min(WORK_SLICE_BYTES));
        }
        let progress = print_more(&self.rule.codec, printer, wire, &mut self.out)?;
        let done = progress == Progress::Done;
        if done || self.out.len() >= PRINT_CHUNK_BYTES {
            let piece = std::mem::take(&mut self.out).into();
            let written = socket.write(Kind::Text, piece, done);
            written.map_err(Stop::Broken)?;
        }
        if done {
            self.job = None;
        }
        Ok(progress)
    }
}
