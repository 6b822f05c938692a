//! A client's socket, with what was read ahead put back, and its pulse kept.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::{CALM, Flood};
use super::pulse::Pulse;
use super::sniff::PREFACE;

const TOO_MANY: &str = "too many HTTP/2 frames without content";

/// The IO that hyper gets.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: S,
    ahead: [u8; PREFACE.len()],
    /// What of `ahead` is still to be given out.
    rest: std::ops::Range<usize>,
    /// HTTP/2 alone.
    flood: Option<Flood>,
    pulse: Rc<Pulse>,
    /// The client has said that nothing more comes.
    ended: bool,
}

impl<S> ClientIo<S> {
    pub(super) fn new(
        stream: S,
        ahead: [u8; PREFACE.len()],
        read: usize,
        flood: Option<Flood>,
        pulse: Rc<Pulse>,
    ) -> Self {
        Self {
            stream,
            ahead,
            rest: 0..read,
            flood,
            pulse,
            ended: false,
        }
    }

    pub(super) fn pulse(&self) -> &Rc<Pulse> {
        &self.pulse
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            let ahead = this.ahead.get(this.rest.clone()).unwrap_or_default();
            let fits = ahead.len().min(buf.remaining());
            buf.put_slice(ahead.get(..fits).unwrap_or_default());
            this.rest.start += fits;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        let came = buf.filled().get(before..).unwrap_or_default();
        this.ended |= came.is_empty() && buf.remaining() > 0;
        match &mut this.flood {
            None if came.is_empty() => {}
            None => this.pulse.on_read(),
            Some(flood) => {
                if !flood.on_read(came) {
                    if flood.is_between_frames() {
                        // As far as it goes: the connection ends in any case.
                        let _told = Pin::new(&mut this.stream).poll_write(cx, &CALM);
                    }
                    let error = io::Error::new(io::ErrorKind::ConnectionAborted, TOO_MANY);
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let (Some(flood), Poll::Ready(Ok(written))) = (&mut self.flood, &done) {
            flood.on_written(bytes.get(..*written).unwrap_or_default());
        }
        done
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        if let (Some(flood), Poll::Ready(Ok(written))) = (&mut self.flood, &done) {
            let mut left = *written;
            for piece in pieces {
                let part = left.min(piece.len());
                flood.on_written(piece.get(..part).unwrap_or_default());
                left -= part;
            }
        }
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
