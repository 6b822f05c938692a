//! What goes back to the client.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::codec::{Codec, Printer, Progress};
use crate::failure::Failure;
use crate::limits::PRINT_CHUNK_BYTES;
use crate::telemetry::Account;

use super::compress::Compressed;
use super::fallback::Copied;
use super::files::FileBody;
use super::gateway_reply::Trailed;
use super::kept::Kept;
use super::proxy::Relayed;
use super::pump::print_more;
use super::reply;
use super::rpc::{ConnectStream, RpcReply};
use super::stream::{MessageStream, RawStream};
use super::tunnel::Switched;

/// Body of a reply. An error in it ends the connection (HTTP/1.1) or the stream (HTTP/2) visibly.
/// Dropping it before its end cancels what it comes from.
#[derive(Debug)]
pub enum ReplyBody {
    /// One buffer.
    Whole(Option<Bytes>),
    /// A long JSON document, printed as it is taken.
    Document(Box<Document>),
    /// The messages of a stream as JSON.
    Messages(Box<MessageStream>),
    /// The messages of a stream as they are.
    Raw(Box<RawStream>),
    /// One of these two, read whether or not the client reads.
    Kept(Box<Kept>),
    /// Any of the others, compressed.
    Compressed(Box<Compressed>),
    /// A file, or a part of one.
    File(Box<FileBody>),
    /// An upstream's own body.
    Relayed(Box<Relayed>),
    /// One that is kept for when its upstream is down.
    Copied(Box<Copied>),
    /// Nothing: the connection becomes a tunnel.
    Switched(Switched),
    /// The answer to a client that speaks gRPC.
    Rpc(Box<RpcReply>),
    /// The answer to a Connect client.
    Connect(Box<ConnectStream>),
    /// A body with trailers of the service's metadata.
    Trailed(Box<Trailed>),
}

impl ReplyBody {
    #[must_use]
    pub fn empty() -> Self {
        Self::Whole(None)
    }

    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|b| !b.is_empty()))
    }

    /// What the connection becomes after a reply of 101.
    pub fn take_tunnel(&mut self) -> Option<crate::listener::Tunnel> {
        match self {
            Self::Switched(switched) => switched.take(),
            _ => None,
        }
    }
}

impl ReplyBody {
    /// The next piece of a stream's messages; other bodies have none.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        match self {
            Self::Messages(messages) => messages.poll_chunk(cx).map(|c| c.map(Ok)),
            Self::Raw(raw) => raw.poll_chunk(cx),
            _ => Poll::Ready(None),
        }
    }

    /// Cancels the call of a stream's messages: the failure is their last word.
    pub(super) fn give_up(&mut self, failure: Failure) {
        match self {
            Self::Messages(messages) => messages.give_up(failure),
            Self::Raw(raw) => raw.give_up(failure),
            _ => {}
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Switched(_) => Poll::Ready(None),
            Self::Document(document) => document.poll_chunk(cx),
            Self::Messages(messages) => messages.poll_chunk(cx).map(|c| c.map(Ok)),
            Self::Raw(raw) => raw.poll_chunk(cx),
            Self::Kept(kept) => kept.poll_chunk(cx),
            Self::File(file) => file.poll_chunk(cx),
            Self::Compressed(compressed) => return compressed.poll_frame(cx),
            Self::Relayed(relayed) => return relayed.poll_frame(cx),
            Self::Copied(copied) => return copied.poll_frame(cx),
            Self::Rpc(rpc) => return rpc.poll_frame(cx).map(|f| f.map(Ok)),
            Self::Connect(stream) => stream.poll_chunk(cx).map(|c| c.map(Ok)),
            Self::Trailed(trailed) => return trailed.poll_frame(cx),
        };
        chunk.map(|c| c.map(|c| c.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Switched(_) => true,
            Self::Relayed(relayed) => relayed.is_end_stream(),
            Self::Copied(copied) => copied.is_end_stream(),
            Self::Rpc(rpc) => rpc.is_end_stream(),
            Self::Compressed(compressed) => compressed.is_end_stream(),
            Self::File(file) => file.left() == 0,
            Self::Document(_)
            | Self::Messages(_)
            | Self::Raw(_)
            | Self::Kept(_)
            | Self::Connect(_)
            | Self::Trailed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Relayed(relayed) => relayed.size_hint(),
            Self::Copied(copied) => copied.size_hint(),
            Self::Switched(_) => SizeHint::with_exact(0),
            Self::File(file) => SizeHint::with_exact(file.left()),
            Self::Compressed(_)
            | Self::Document(_)
            | Self::Messages(_)
            | Self::Raw(_)
            | Self::Kept(_)
            | Self::Rpc(_)
            | Self::Connect(_)
            | Self::Trailed(_) => SizeHint::default(),
        }
    }
}

/// A failure that breaks a body off, told one turn late: hyper throws away what it has not written yet
/// when a body fails, and writes it when a body has to wait.
#[derive(Debug)]
pub(super) struct BreakOff {
    /// The route's rule, for the log.
    route: Arc<str>,
    account: Option<Rc<Account>>,
    failure: Option<Failure>,
}

impl BreakOff {
    pub(super) fn new(route: Arc<str>, account: Option<&Rc<Account>>) -> Self {
        Self {
            route,
            account: account.cloned(),
            failure: None,
        }
    }

    /// Keeps the failure for the next turn.
    pub(super) fn defer<T>(&mut self, failure: Failure, cx: &Context<'_>) -> Poll<T> {
        reply::note(&failure, Some(&self.route), self.account.as_deref());
        self.failure = Some(failure);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(super) fn take(&mut self) -> Option<Failure> {
        self.failure.take()
    }
}

/// The rest of a JSON document whose wire form has been checked: one chunk a turn.
pub struct Document {
    codec: Arc<Codec>,
    wire: Bytes,
    printer: Printer,
    /// Printed and not taken yet.
    ready: Option<Vec<u8>>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is more to print.
    More,
    /// There is, but others have their turn first.
    Resting,
    Done,
}

impl Document {
    /// Goes on after `json`, which is the document's beginning.
    pub(super) fn new(codec: Arc<Codec>, wire: Bytes, printer: Printer, json: Vec<u8>) -> Self {
        Self {
            codec,
            wire,
            printer,
            ready: Some(json),
            state: State::More,
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(Ok(ready.into())));
        }
        match self.state {
            State::Done => return Poll::Ready(None),
            State::Resting => {
                self.state = State::More;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::More => {}
        }
        let mut json = Vec::with_capacity(PRINT_CHUNK_BYTES);
        match print_more(&self.codec, &mut self.printer, &self.wire, &mut json) {
            Ok(Progress::More) => self.state = State::Resting,
            Ok(Progress::Done) => self.state = State::Done,
            Err(failure) => {
                self.state = State::Done;
                return Poll::Ready(Some(Err(failure)));
            }
        }
        if !json.is_empty() {
            return Poll::Ready(Some(Ok(json.into())));
        }
        self.poll_chunk(cx)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("wire_bytes", &self.wire.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
