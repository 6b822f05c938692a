//! The body of a reply on its way out: while it lives its connection is busy.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::failure::Failure;

use super::pulse::InFlight;
use super::streams::Piece;

/// What hyper gets for a body.
pub(super) struct Reply<B> {
    body: B,
    in_flight: InFlight,
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin + 'static> Reply<B> {
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, in_flight }
    }
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin + 'static> Body for Reply<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let piece = match &frame {
            Poll::Ready(_) => Piece::Given,
            Poll::Pending => Piece::Awaited,
        };
        self.in_flight.pulse().note(piece);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
