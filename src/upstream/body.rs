//! What is sent upstream: one buffer that may be replayed, or a stream that may not.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::client_body::ClientBody;
use crate::failure::Failure;

/// Body of a request to an upstream.
#[derive(Debug)]
pub enum UpstreamBody {
    /// A whole message: may be sent again if it never arrived.
    Replayable(Option<Bytes>),
    /// The client's body, passed on as it comes.
    Client(ClientBody),
}

impl UpstreamBody {
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self::Replayable(Some(bytes).filter(|b| !b.is_empty()))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Replayable(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Client(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Replayable(bytes) => bytes.is_none(),
            Self::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Replayable(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Client(body) => body.size_hint(),
        }
    }
}
