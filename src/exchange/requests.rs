//! A client's stream of requests as gRPC messages: documents of a JSON stream, or pieces of a raw body.
//!
//! It is read only as the upstream takes it, so a slow upstream slows the client, and no more is held
//! than one message and what the client sent in one piece. What path and query bind goes into the first
//! message alone.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::codec::{CodecLimits, Encoder, Progress, Target};
use crate::failure::Failure;
use crate::limits::{RAW_PIECE_BYTES, REQUEST_BATCH_BYTES, WORK_SLICE_BYTES};
use crate::protocol::elements::{ElementError, Elements, refusal};
use crate::transcode::MethodPlan;
use crate::transcode::frame;
use crate::upstream::FrameSource;

use super::fate::Fate;
use super::forms::{OneFile, Piece};
use super::unpacking::Pieces;

/// How the body is cut into messages.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each call, boxed with its source; the large variant is the usual one"
)]
pub(super) enum Cut {
    Json {
        elements: Elements,
        target: Target,
        job: Option<Job>,
    },
    /// Pieces of a `google.api.HttpBody`, and its type.
    Raw {
        content_type: Box<str>,
        begun: bool,
        /// The pieces are those of its file.
        form: Option<Box<OneFile>>,
    },
}

/// A document on its way into a frame at the end of its buffer.
pub(super) struct Job {
    document: Bytes,
    encoder: Encoder,
    frame: usize,
}

/// The requests of one call.
pub(super) struct Requests {
    pub(super) body: Pieces,
    pub(super) cut: Cut,
    pub(super) plan: Arc<MethodPlan>,
    pub(super) limits: CodecLimits,
    /// What path and query add to the first message.
    pub(super) first: Option<Vec<u8>>,
    pub(super) fate: Rc<Fate>,
    /// Frames that are done.
    pub(super) out: Vec<u8>,
    /// The rest of what the client sent in one piece.
    pub(super) piece: Bytes,
    pub(super) ending: Ending,
}

/// What comes after the frames that are done.
pub(super) enum Ending {
    More,
    Over,
    Failed(Failure),
}

impl FrameSource for Requests {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let polled = self.poll_out(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(_) => self.fate.given(),
        }
        polled
    }
}

impl Requests {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            let full = self.out.len() >= REQUEST_BATCH_BYTES;
            let over = !matches!(self.ending, Ending::More);
            if !self.out.is_empty() && (full || over && self.job().is_none()) {
                return Poll::Ready(Some(Ok(self.take())));
            }
            match std::mem::replace(&mut self.ending, Ending::Over) {
                Ending::Failed(failure) => {
                    return Poll::Ready(Some(Err(self.fate.fail(failure))));
                }
                Ending::Over if self.job().is_none() => return Poll::Ready(None),
                ending => self.ending = ending,
            }
            match self.advance() {
                Ok(Advance::On) => {}
                Ok(Advance::Rest) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Advance::Starved) => match self.poll_body(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(failure)) => self.fail(failure),
                    Poll::Pending if !self.out.is_empty() => {
                        return Poll::Ready(Some(Ok(self.take())));
                    }
                    Poll::Pending => {
                        self.fate.awaits_client();
                        return Poll::Pending;
                    }
                },
                Err(failure) => self.fail(failure),
            }
        }
    }

    fn job(&self) -> Option<&Job> {
        match &self.cut {
            Cut::Json { job, .. } => job.as_ref(),
            Cut::Raw { .. } => None,
        }
    }

    /// What has come before the failure goes out before it.
    fn fail(&mut self, failure: Failure) {
        if let Cut::Json { job, .. } = &mut self.cut {
            *job = None;
        }
        self.ending = Ending::Failed(failure);
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.out).into()
    }

    /// Makes a step with what is here.
    fn advance(&mut self) -> Result<Advance, Failure> {
        match &mut self.cut {
            Cut::Json { job: Some(_), .. } => self.encode(),
            Cut::Json { elements, .. } => {
                let index = elements.next_index();
                match elements.next_element().map_err(|e| e.refusal(index))? {
                    Some(document) => self.begin(document),
                    None => Ok(Advance::Starved),
                }
            }
            Cut::Raw {
                content_type,
                form: Some(form),
                ..
            } if self.piece.is_empty() => match form.next_piece()? {
                Some(Piece::Type(of)) => {
                    *content_type = of.into();
                    Ok(Advance::On)
                }
                Some(Piece::Data(data)) => {
                    self.piece = data;
                    Ok(Advance::On)
                }
                None => Ok(Advance::Starved),
            },
            Cut::Raw { .. } if self.piece.is_empty() => Ok(Advance::Starved),
            Cut::Raw { .. } => {
                let length = self.piece.len().min(RAW_PIECE_BYTES);
                let piece = self.piece.split_to(length);
                self.raw(&piece)
            }
        }
    }

    fn begin(&mut self, document: Bytes) -> Result<Advance, Failure> {
        let Cut::Json {
            elements,
            target,
            job,
        } = &mut self.cut
        else {
            return Ok(Advance::On);
        };
        let mut out = std::mem::take(&mut self.out);
        let frame = frame::start(&mut out);
        let encoder = Encoder::new(&self.plan.codec, *target, self.limits, out);
        let index = elements.next_index().saturating_sub(1);
        *job = Some(Job {
            document,
            encoder: encoder.map_err(|e| refusal(index, &e))?,
            frame,
        });
        Ok(Advance::On)
    }

    /// Goes on with the document at hand.
    fn encode(&mut self) -> Result<Advance, Failure> {
        let Cut::Json { elements, job, .. } = &mut self.cut else {
            return Ok(Advance::On);
        };
        let Some(mut work) = job.take() else {
            return Ok(Advance::On);
        };
        let index = elements.next_index().saturating_sub(1);
        let step = work
            .encoder
            .step(&self.plan.codec, &work.document, WORK_SLICE_BYTES);
        match step {
            Ok(Progress::Done) => {
                self.out = work.encoder.finish();
                self.close(work.frame, index)?;
                Ok(Advance::On)
            }
            Ok(Progress::More) => {
                *job = Some(work);
                Ok(Advance::Rest)
            }
            Err(error) => {
                self.out = work.encoder.finish();
                self.out.truncate(work.frame);
                Err(refusal(index, &error))
            }
        }
    }

    fn raw(&mut self, data: &[u8]) -> Result<Advance, Failure> {
        let frame = frame::start(&mut self.out);
        if let Cut::Raw {
            content_type,
            begun,
            ..
        } = &mut self.cut
        {
            let content_type = match std::mem::replace(begun, true) {
                true => "",
                false => content_type,
            };
            self.plan.bind_raw_body(content_type, data, &mut self.out);
        }
        self.close(frame, 0)?;
        Ok(Advance::On)
    }

    /// Ends the frame that began at `frame`.
    fn close(&mut self, frame: usize, index: u64) -> Result<(), Failure> {
        if let Some(first) = self.first.take() {
            self.out.extend_from_slice(&first);
        }
        let max = self.limits.encoded_bytes_max;
        let length = self
            .out
            .len()
            .saturating_sub(frame.saturating_add(frame::PREFIX_BYTES));
        if length > max || frame::finish(&mut self.out, frame).is_err() {
            self.out.truncate(frame);
            return Err(ElementError::MessageTooLarge { length, max }.refusal(index));
        }
        Ok(())
    }

    /// Takes the next piece of the client's body, or its end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(piece) = ready!(self.body.poll_next(cx)) else {
            self.ending = Ending::Over;
            return Poll::Ready(self.end());
        };
        let data = piece?;
        match &mut self.cut {
            Cut::Json { elements, .. } => elements.push(data),
            Cut::Raw {
                form: Some(form), ..
            } => form.push(&data),
            Cut::Raw { .. } => self.piece = data,
        }
        Poll::Ready(Ok(()))
    }

    /// The last message, where only the body's end tells that it is whole.
    fn end(&mut self) -> Result<(), Failure> {
        if let Cut::Raw {
            form: Some(form), ..
        } = &self.cut
        {
            form.finish()?;
        }
        match &mut self.cut {
            Cut::Json { elements, .. } => {
                let index = elements.next_index();
                if let Some(document) = elements.finish().map_err(|e| e.refusal(index))? {
                    self.begin(document)?;
                }
            }
            // Path, query and type are said even of an empty body.
            Cut::Raw { begun: false, .. } => {
                self.raw(&[])?;
            }
            Cut::Raw { .. } => {}
        }
        Ok(())
    }
}

/// What a step came to.
enum Advance {
    On,
    /// Others have their turn first.
    Rest,
    /// More of the body is needed.
    Starved,
}
