//! What goes back to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

/// Body of a reply. An error in it ends the connection (HTTP/1.1) or the stream (HTTP/2) visibly.
#[derive(Debug)]
pub enum ReplyBody {
    Whole(Option<Bytes>),
}

impl ReplyBody {
    #[must_use]
    pub fn empty() -> Self {
        Self::Whole(None)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = crate::failure::Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
        }
    }
}
