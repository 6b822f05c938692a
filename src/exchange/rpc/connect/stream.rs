//! Connect's streams: envelopes both ways, recoded message by message.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;

use crate::client_body::ClientBody;
use crate::codec::{Codec, CodecLimits, Encoder, Printer, Progress, Target};
use crate::config::model::Policy;
use crate::failure::Failure;
use crate::limits::{ByteLimit, WORK_SLICE_BYTES};
use crate::protocol::connect::{self, end_stream, put_metadata};
use crate::protocol::dialect::MessageFormat;
use crate::schema::{MessageId, StreamKind};
use crate::telemetry::Account;
use crate::transcode::coding::Coding;
use crate::transcode::frame::{self, Decoder, Next};
use crate::upstream::{FrameSource, UpstreamBody};

use super::super::super::Counters;
use super::super::super::body::ReplyBody;
use super::super::super::call::CodingOf;
use super::super::super::deadline::{Deadline, no_body_in_time};
use super::super::super::messages::Messages;
use super::super::super::pump::{self, codec_limits, unprintable};
use super::super::super::reply::{inner, note};
use super::super::super::waits::Waits;
use super::super::calling::Calling;
use super::super::up::Watch;
use super::super::{of_client, waits};
use super::packing::Packing;
use super::{ACCEPT_CODING, CONTENT_CODING, OF_MESSAGES, coding, not_served, stream_type};

impl Calling<'_> {
    /// A call whose requests, answers or both are streams.
    pub(in super::super) async fn stream(
        self,
        format: MessageFormat,
        body: ClientBody,
    ) -> Result<Response<ReplyBody>, Failure> {
        connect::version(&self.head.headers)?;
        if self.plan.stream == StreamKind::Unary || format == MessageFormat::Other {
            return Err(not_served(
                "this method is called with application/json or application/proto",
            ));
        }
        let deadline = self.deadline(connect::timeout(&self.head.headers)?);
        let coding = coding(self.head.headers.get(CONTENT_CODING))?;
        let watch = Watch::new();
        let recoding = Recoding::new(self, format, coding, body, Rc::clone(&watch));
        let (frames, up) = self.requests(recoding, watch, &deadline).await?;
        let grpc = HeaderValue::from_static("application/grpc");
        let asked = self.asked(&deadline);
        let request = asked.rpc(grpc, CodingOf::Gateway, frames)?;

        let mut waits = waits(self.plan.stream, self.policy(), &deadline, up.as_ref());
        let how = self.aim().how(Some(&deadline).filter(|_| up.is_none()));
        let answer = pin!(self.send(request, how));
        let answer = waits.bound(answer).await;
        let answer = answer.map_err(|f| up.as_ref().and_then(|u| u.failure()).unwrap_or(f))?;
        let messages = Messages::open(answer, self.policy().reply_bytes_max)?;
        let mut reply = Response::new(ReplyBody::empty());
        put_metadata(messages.metadata()[0], "", reply.headers_mut());
        reply
            .headers_mut()
            .insert(CONTENT_TYPE, stream_type(format));
        reply.headers_mut().insert(ACCEPT_CODING, OF_MESSAGES);
        let packing = Packing::of(&self);
        if packing.is_some() {
            reply.headers_mut().insert(CONTENT_CODING, OF_MESSAGES);
        }
        *reply.body_mut() = ReplyBody::Connect(Box::new(ConnectStream {
            account: Rc::clone(&self.connection.account),
            messages: Some(messages),
            printing: (format == MessageFormat::Json).then(|| Printing {
                codec: Arc::clone(&self.plan.codec),
                of: self.plan.output,
                limits: codec_limits(self.limits()),
                job: None,
            }),
            waits,
            up,
            policy: Arc::clone(&self.route.policy),
            rule: Arc::clone(&self.route.rule),
            counters: Rc::clone(&self.current.counters),
            packing,
        }));
        Ok(reply)
    }

    /// One request is read whole, so that it may be sent again; more go up as they come.
    async fn requests(
        &self,
        mut recoding: Recoding,
        watch: Rc<Watch>,
        deadline: &Deadline,
    ) -> Result<(UpstreamBody, Option<Rc<Watch>>), Failure> {
        if matches!(self.plan.stream, StreamKind::Client | StreamKind::Bidi) {
            recoding.body = recoding.body.patient();
            return Ok((UpstreamBody::frames(recoding), Some(watch)));
        }
        let reading = pin!(async {
            let mut whole = Vec::new();
            while let Some(frame) = std::future::poll_fn(|cx| recoding.poll_next(cx)).await {
                let frame = frame.map_err(|told| watch.failure().unwrap_or(told))?;
                if !whole.is_empty() {
                    return Err(Failure::client("the method takes one request message"));
                }
                whole.extend_from_slice(&frame);
            }
            if whole.is_empty() {
                return Err(Failure::client("the method takes one request message"));
            }
            Ok(UpstreamBody::whole(whole.into()))
        });
        let frames = deadline.bound(reading, no_body_in_time).await?;
        Ok((frames, None))
    }
}

/// A client's envelopes as gRPC frames.
struct Recoding {
    body: ClientBody,
    decoder: Decoder,
    /// For JSON.
    codec: Option<Arc<Codec>>,
    of: MessageId,
    limits: CodecLimits,
    message_bytes_max: ByteLimit,
    job: Option<(Bytes, Encoder)>,
    watch: Rc<Watch>,
}

impl Recoding {
    fn new(
        calling: Calling<'_>,
        format: MessageFormat,
        coding: Option<Coding>,
        body: ClientBody,
        watch: Rc<Watch>,
    ) -> Self {
        let plan = calling.plan;
        Self {
            body,
            decoder: Decoder::new(calling.policy().body_bytes_max).with_coding(coding),
            codec: (format == MessageFormat::Json).then(|| Arc::clone(&plan.codec)),
            of: plan.input,
            limits: codec_limits(calling.limits()),
            message_bytes_max: calling.limits().message_bytes_max,
            job: None,
            watch,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            if let (Some(codec), Some((json, job))) = (&self.codec, &mut self.job) {
                if pump::encode_some(codec, job, json)? == Progress::More {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let done = self.job.take().map(|(_, job)| job.finish());
                let frame = pump::framed(done.unwrap_or_default(), self.message_bytes_max)?;
                return Poll::Ready(Ok(Some(frame)));
            }
            let next = self.decoder.next_step().map_err(of_client)?;
            if let Next::Resting = next {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Next::Message(message) = next {
                match &self.codec {
                    Some(codec) if !message.is_empty() => {
                        let job = pump::document(codec, Target::Message(self.of), self.limits)?;
                        self.job = Some((message, job));
                        continue;
                    }
                    _ => {
                        let frame = pump::framed(message.into(), self.message_bytes_max)?;
                        return Poll::Ready(Ok(Some(frame)));
                    }
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.decoder.finish().map_err(of_client)?;
                    self.watch.activity.end();
                    return Poll::Ready(Ok(None));
                }
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.watch.activity.note();
                        self.decoder.push(data);
                    }
                }
            }
        }
    }
}

impl FrameSource for Recoding {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        self.poll_frame(cx).map(|polled| match polled {
            Ok(frame) => frame.map(Ok),
            Err(failure) => Some(Err(self.watch.fail(failure))),
        })
    }
}

#[derive(Debug)]
struct Printing {
    codec: Arc<Codec>,
    of: MessageId,
    limits: CodecLimits,
    job: Option<(Bytes, Printer, Vec<u8>)>,
}

/// An answer's messages as envelopes; it always ends with the one that says how. Dropping it cancels
/// the call.
#[derive(Debug)]
pub struct ConnectStream {
    /// Gone at the end, so that the upstream's stream is.
    messages: Option<Messages>,
    /// For JSON.
    printing: Option<Printing>,
    waits: Waits,
    up: Option<Rc<Watch>>,
    policy: Arc<Policy>,
    /// The route's, for the log.
    rule: Arc<str>,
    counters: Rc<Counters>,
    account: Rc<Account>,
    /// For a client that takes compressed messages.
    packing: Option<Packing>,
}

impl ConnectStream {
    pub(in super::super::super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        if let Some(packed) = ready!(
            self.packing
                .as_mut()
                .map_or(Poll::Ready(None), |p| p.poll(cx))
        ) {
            return Poll::Ready(Some(packed));
        }
        let Some(messages) = &mut self.messages else {
            return Poll::Ready(None);
        };
        let envelope = match ready!(next(messages, self.printing.as_mut(), &mut self.waits, cx)) {
            Ok(Some(envelope)) => {
                if self.packing.as_mut().is_some_and(|p| p.begin(&envelope)) {
                    return self.poll_chunk(cx);
                }
                envelope
            }
            Ok(None) => {
                let end = end_stream(None, messages.metadata()[1]);
                self.messages = None;
                end.into()
            }
            Err(failure) => self.fail(failure),
        };
        Poll::Ready(Some(envelope))
    }

    fn fail(&mut self, failure: Failure) -> Bytes {
        self.messages = None;
        let own = self.up.as_ref().and_then(|up| up.failure());
        let failure = own.unwrap_or(failure);
        self.counters.note(&failure);
        note(&failure, Some(&self.rule), Some(&self.account));
        let none = HeaderMap::new();
        let metadata = failure.metadata.as_deref().unwrap_or(&none);
        end_stream(Some((&failure, inner(&self.policy))), metadata).into()
    }
}

fn next(
    messages: &mut Messages,
    mut printing: Option<&mut Printing>,
    waits: &mut Waits,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Failure>> {
    loop {
        if let Some(printing) = &mut printing
            && let Some(envelope) = ready!(printing.poll_printed(cx))?
        {
            return Poll::Ready(Ok(Some(envelope)));
        }
        let wire = match messages.poll_next(cx) {
            Poll::Ready(Ok(Some(wire))) => wire,
            Poll::Ready(end) => return Poll::Ready(end),
            Poll::Pending => return waits.poll(cx).map(Err),
        };
        waits.note()?;
        match &mut printing {
            Some(printing) => printing.begin(wire)?,
            None => return Poll::Ready(framed(wire.into()).map(Some)),
        }
    }
}

impl Printing {
    fn begin(&mut self, wire: Bytes) -> Result<(), Failure> {
        let target = Target::Message(self.of);
        let printer = Printer::new(&self.codec, target, &wire, self.limits).map_err(unprintable)?;
        let mut envelope = Vec::with_capacity(
            wire.len()
                .saturating_mul(2)
                .saturating_add(64)
                .min(WORK_SLICE_BYTES),
        );
        _ = frame::start(&mut envelope);
        self.job = Some((wire, printer, envelope));
        Ok(())
    }

    /// The envelope of the message at hand, if there is one.
    fn poll_printed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        let Some((wire, printer, envelope)) = &mut self.job else {
            return Poll::Ready(Ok(None));
        };
        let progress = printer.step(&self.codec, wire, WORK_SLICE_BYTES, envelope);
        if progress.map_err(unprintable)? == Progress::More {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut envelope = std::mem::take(envelope);
        self.job = None;
        frame::finish(&mut envelope, 0).map_err(frame::FrameError::of_upstream)?;
        Poll::Ready(Ok(Some(envelope.into())))
    }
}

fn framed(wire: Vec<u8>) -> Result<Bytes, Failure> {
    let prefix = frame::prefix(wire.len()).map_err(frame::FrameError::of_upstream)?;
    Ok([&prefix[..], &wire].concat().into())
}
