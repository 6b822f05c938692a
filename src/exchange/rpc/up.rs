//! A stream of requests on its way up: the client's frames, passed on as they come.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use crate::client_body::ClientBody;
use crate::failure::{Blame, Failure};
use crate::limits::ByteLimit;
use crate::protocol::grpc_web::TextDecoder;
use crate::transcode::meter::FrameMeter;
use crate::upstream::FrameSource;

use super::super::waits::Activity;
use super::{not_base64, of_client};

/// What is known of a stream of requests that someone else reads.
#[derive(Debug)]
pub(in crate::exchange) struct Watch {
    pub(in crate::exchange) activity: Rc<Activity>,
    failure: RefCell<Option<Failure>>,
}

impl Watch {
    pub(in crate::exchange) fn new() -> Rc<Self> {
        Rc::new(Self {
            activity: Activity::new(),
            failure: RefCell::new(None),
        })
    }

    /// Why the stream broke off, if it did. Given out once.
    pub(in crate::exchange) fn failure(&self) -> Option<Failure> {
        self.failure.take()
    }

    /// Keeps the failure for the reply; the upstream is told less.
    pub(in crate::exchange) fn fail(&self, failure: Failure) -> Failure {
        let told = Failure::new(Blame::Client, failure.code, "the requests broke off");
        self.failure.replace(Some(failure));
        told
    }
}

/// The client's frames. Nothing of them is held.
#[derive(Debug)]
pub(super) struct Passing {
    body: ClientBody,
    /// Of a body in text form.
    text: Option<TextDecoder>,
    meter: FrameMeter,
    watch: Rc<Watch>,
}

impl Passing {
    pub(super) fn new(
        body: ClientBody,
        text: Option<TextDecoder>,
        message_bytes_max: ByteLimit,
    ) -> (Self, Rc<Watch>) {
        let watch = Watch::new();
        let passing = Self {
            body: body.patient(),
            text,
            meter: FrameMeter::new(message_bytes_max),
            watch: Rc::clone(&watch),
        };
        (passing, watch)
    }

    fn end(&self) -> Poll<Option<Result<Bytes, Failure>>> {
        self.watch.activity.end();
        let text = self.text.as_ref().map_or(Ok(()), TextDecoder::finish);
        let whole = text.map_err(not_base64);
        match whole.and_then(|()| self.meter.finish().map_err(of_client)) {
            Ok(()) => Poll::Ready(None),
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&self, failure: Failure) -> Poll<Option<Result<Bytes, Failure>>> {
        Poll::Ready(Some(Err(self.watch.fail(failure))))
    }
}

impl FrameSource for Passing {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return self.end(),
                Some(Err(failure)) => return self.fail(failure),
                Some(Ok(frame)) => frame,
            };
            let Ok(mut data) = frame.into_data() else {
                continue;
            };
            self.watch.activity.note();
            if let Some(text) = &mut self.text {
                let mut bytes = Vec::with_capacity(data.len() / 4 * 3 + 3);
                if let Err(error) = text.push(&data, &mut bytes) {
                    return self.fail(not_base64(error));
                }
                data = bytes.into();
            }
            if let Err(error) = self.meter.pass(&data) {
                return self.fail(of_client(error));
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }
}
