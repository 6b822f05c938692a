//! A client's socket, with what was read ahead put back, and its pulse kept.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;
use super::sniff::{PREFACE, Protocol};

/// The IO that hyper gets.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: S,
    ahead: [u8; PREFACE.len()],
    /// What of `ahead` is still to be given out.
    rest: std::ops::Range<usize>,
    protocol: Protocol,
    pulse: Rc<Pulse>,
}

impl<S> ClientIo<S> {
    pub(super) fn new(
        stream: S,
        ahead: [u8; PREFACE.len()],
        read: usize,
        protocol: Protocol,
        pulse: Rc<Pulse>,
    ) -> Self {
        Self {
            stream,
            ahead,
            rest: 0..read,
            protocol,
            pulse,
        }
    }

    fn written(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &done {
            Poll::Pending => self.pulse.on_write_blocked(),
            Poll::Ready(Ok(bytes)) => self.pulse.on_written(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
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
        if this.protocol == Protocol::Http1 && buf.filled().len() > before {
            this.pulse.on_read();
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
        self.written(done)
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
        self.written(done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
