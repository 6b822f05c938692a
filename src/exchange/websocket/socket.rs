//! The client's socket: whole messages in, pieces of messages out, and what was heard when.
//!
//! Framing is the crate's. What it leaves open is bounded here: how much may be buffered in either
//! direction, how many control frames may come, and how much may come without a message ending.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::limits::{
    ByteLimit, CLOSE_GRACE, WEBSOCKET_READ_BYTES, WEBSOCKET_WRITE_BYTES, WORK_SLICE_BYTES,
};
use crate::listener::ClientStream;
use crate::protocol::websocket::Close;

/// Why nothing more is read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client has closed, or is gone.
    Left,
    /// The client broke a rule, or met a limit.
    Refused(Close, Met),
}

/// The limit that a client met, for its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    None,
    Size,
    Flood,
}

/// A message of the client's.
#[derive(Debug)]
pub(super) enum Incoming {
    Text(Bytes),
    Binary(Bytes),
}

/// What kind of message a piece begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

pub(super) struct Socket {
    stream: WebSocketStream<Heard>,
    bounds: Bounds,
    /// Control frames that may still come; refilled by time.
    budget: f64,
    refilled: Instant,
    /// Written and not flushed.
    unflushed: usize,
    /// A message has begun and its last piece is not written.
    amid: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub message_bytes_max: ByteLimit,
    /// In a minute.
    pub control_frames_max: usize,
}

impl Bounds {
    /// What may come without a message ending: frames of a byte cost six more.
    fn unended_bytes_max(self) -> usize {
        let message = self.message_bytes_max.bytes();
        message.saturating_mul(8).saturating_add(WORK_SLICE_BYTES)
    }
}

impl Socket {
    pub(super) async fn new(client: ClientStream, bounds: Bounds) -> Self {
        let max = Some(bounds.message_bytes_max.bytes());
        let config = WebSocketConfig::default()
            .read_buffer_size(WEBSOCKET_READ_BYTES)
            // Written when it is flushed, and that is done in time.
            .write_buffer_size(WEBSOCKET_WRITE_BYTES.saturating_mul(2))
            .max_message_size(max)
            .max_frame_size(max);
        let heard = Heard {
            client,
            last: Instant::now(),
            blocked: None,
            unended: Cell::new(0),
        };
        let stream = WebSocketStream::from_raw_socket(heard, Role::Server, Some(config)).await;
        Self {
            stream,
            bounds,
            budget: bounds.control_frames_max as f64,
            refilled: Instant::now(),
            unflushed: 0,
            amid: false,
        }
    }

    /// When bytes of the client last came.
    pub(super) fn last_heard(&self) -> Instant {
        self.stream.get_ref().last
    }

    /// When the client last was behind with reading: what it is asked stands behind the rest.
    pub(super) fn last_blocked(&self) -> Option<Instant> {
        self.stream.get_ref().blocked
    }

    /// Whether the client has begun a frame and not ended the message.
    pub(super) fn is_amid(&self) -> bool {
        self.stream.get_ref().unended.get() > 0
    }

    /// The next message. Pings are answered on the way.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        loop {
            let message = match Pin::new(&mut self.stream).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&error))),
                Poll::Ready(None) => return Poll::Ready(Err(Broken::Left)),
                Poll::Pending => {
                    let unended = self.stream.get_ref().unended.get();
                    return match unended > self.bounds.unended_bytes_max() {
                        true => Poll::Ready(Err(flood())),
                        false => Poll::Pending,
                    };
                }
            };
            self.stream.get_ref().unended.set(0);
            let content = match message {
                Message::Text(text) => Incoming::Text(text.into()),
                Message::Binary(data) => Incoming::Binary(data),
                Message::Close(_) => return Poll::Ready(Err(Broken::Left)),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    if !self.afford() {
                        return Poll::Ready(Err(flood()));
                    }
                    continue;
                }
            };
            return Poll::Ready(Ok(content));
        }
    }

    /// Pays for a frame without content.
    pub(super) fn afford(&mut self) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let now = Instant::now();
        let max = self.bounds.control_frames_max as f64;
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.budget = (self.budget + max * passed / MINUTE.as_secs_f64()).min(max);
        self.budget -= 1.0;
        self.budget >= 0.0
    }

    /// Whether there is room for another piece: the client takes what there is.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.unflushed < WEBSOCKET_WRITE_BYTES {
            true => Poll::Ready(Ok(())),
            false => self.poll_flush(cx),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.unflushed = 0;
        Poll::Ready(flushed.map_err(|_| Broken::Left))
    }

    /// Writes a piece of a message, for which there is room.
    pub(super) fn write(&mut self, kind: Kind, piece: Bytes, last: bool) -> Result<(), Broken> {
        let data = match (std::mem::replace(&mut self.amid, !last), kind) {
            (true, _) => Data::Continue,
            (false, Kind::Text) => Data::Text,
            (false, Kind::Binary) => Data::Binary,
        };
        self.send(Message::Frame(Frame::message(
            piece,
            OpCode::Data(data),
            last,
        )))
    }

    /// Asks the client for a sign of life.
    pub(super) fn ping(&mut self) -> Result<(), Broken> {
        self.send(Message::Ping(Bytes::new()))
    }

    fn send(&mut self, message: Message) -> Result<(), Broken> {
        self.unflushed = self
            .unflushed
            .saturating_add(message.len())
            .saturating_add(8);
        let sent = Pin::new(&mut self.stream).start_send(message);
        sent.map_err(|_| Broken::Left)
    }

    /// Says why, behind all that is written, and waits a little for the client's part: what it hasn't
    /// read is lost when the connection is closed under it.
    pub(super) async fn close(mut self, close: Close) {
        let frame = CloseFrame {
            code: close.code.into(),
            reason: Utf8Bytes::from(close.reason),
        };
        if self.send(Message::Close(Some(frame))).is_err() || !self.flush().await {
            return;
        }
        // As far as it goes: the connection ends in any case.
        let _in_time = tokio::time::timeout(CLOSE_GRACE, self.end()).await;
    }

    /// Answers the client's close.
    pub(super) async fn part(mut self) {
        self.flush().await;
    }

    /// Takes as long as the client takes bytes: one that takes none is the listener's to cut off.
    async fn flush(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await.is_ok()
    }

    /// Reads up to the client's close, or its end.
    async fn end(&mut self) {
        while let Some(Ok(message)) =
            std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx)).await
        {
            if message.is_close() {
                return;
            }
        }
        // Its frames can't be read any more, but they must be taken for the close to arrive.
        let client = &mut self.stream.get_mut().client;
        if client.shutdown().await.is_ok() {
            let mut rest = vec![0; WEBSOCKET_READ_BYTES];
            while client.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        }
    }
}

fn flood() -> Broken {
    let close = Close::new(Close::POLICY, "too many frames without content");
    Broken::Refused(close, Met::Flood)
}

fn broken(error: &Error) -> Broken {
    let (close, met) = match error {
        Error::Capacity(_) => {
            let reason = "RESOURCE_EXHAUSTED: the message is too large";
            (Close::new(Close::TOO_LARGE, reason), Met::Size)
        }
        Error::Utf8(_) => (
            Close::new(Close::NOT_TEXT, "a text message is not UTF-8"),
            Met::None,
        ),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::ReceivedAfterClosing
            | ProtocolError::SendAfterClosing,
        ) => return Broken::Left,
        Error::Protocol(error) => (Close::new(Close::PROTOCOL, &error.to_string()), Met::None),
        error => (Close::new(Close::PROTOCOL, &error.to_string()), Met::None),
    };
    Broken::Refused(close, met)
}

/// The connection, and what came of it.
struct Heard {
    client: ClientStream,
    last: Instant,
    /// When the client last took no more bytes.
    blocked: Option<Instant>,
    /// Bytes since a message ended.
    unended: Cell<usize>,
}

impl AsyncRead for Heard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.client).poll_read(cx, buf))?;
        let came = buf.filled().len().saturating_sub(before);
        if came > 0 {
            this.last = Instant::now();
            this.unended.set(this.unended.get().saturating_add(came));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.client).poll_write(cx, bytes);
        if written.is_pending() {
            this.blocked = Some(Instant::now());
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().client).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().client).poll_shutdown(cx)
    }
}
