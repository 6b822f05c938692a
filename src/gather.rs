//! What a connection writes in one turn, sent in one system call.
//!
//! h2 hands over each DATA frame of 256 bytes or more by itself, so ten answers of one turn are ten
//! system calls, each of which costs as much as making the answer. Here small writes are held until the
//! turn is over, which is before any other task runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::GATHER_BYTES_MAX;

#[cfg(test)]
mod tests;

thread_local! {
    /// What the next turn holds its writes in. One for all connections of a thread, since one at a time
    /// has its turn: those that wait for something have no buffer.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream whose small writes wait for the end of the turn that made them. Outside of turns it is the
/// stream itself. Clones are the same stream: one is the connection's, one that of who polls it.
pub struct Gather<S>(Rc<RefCell<Gathered<S>>>);

struct Gathered<S> {
    stream: S,
    /// What the stream is still to get, behind the part of it that it has got.
    held: Vec<u8>,
    sent: usize,
    /// The stream may have kept some of what it got to itself: TLS does.
    unflushed: bool,
    in_turn: bool,
    /// Why what was held couldn't be sent: told with the next read or write.
    failed: Option<io::Error>,
}

impl<S> Gather<S> {
    /// Gathers what is written to `stream`.
    pub fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Gathered {
            stream,
            held: Vec::new(),
            sent: 0,
            unflushed: false,
            in_turn: false,
            failed: None,
        })))
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// One turn: polls the connection that writes here, and sends what it wrote. What the stream doesn't
    /// take yet goes in front of what the next turn writes; the task is woken once it can.
    pub fn turn<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.0.borrow_mut().in_turn = true;
        let polled = poll(cx);
        let mut gathered = self.0.borrow_mut();
        gathered.in_turn = false;
        if let Poll::Ready(Err(error)) = gathered.poll_send(cx) {
            gathered.failed = Some(error);
            // The connection is to hear of it, and it may have nothing else to wake for.
            cx.waker().wake_by_ref();
        }
        gathered.give_back();
        polled
    }
}

impl<S> Gathered<S> {
    /// The stream took so much of what is held.
    fn took(&mut self, bytes: usize) {
        self.unflushed = true;
        self.sent = self.sent.saturating_add(bytes);
        if self.sent >= self.held.len() {
            self.held.clear();
            self.sent = 0;
        }
    }

    /// Room for what a turn writes.
    fn take_room(&mut self) {
        self.held = SPARE.try_with(Cell::take).unwrap_or_default();
        if self.held.capacity() == 0 {
            self.held.reserve_exact(GATHER_BYTES_MAX);
        }
    }

    /// Gives the room to the next turn, unless something is still in it.
    fn give_back(&mut self) {
        if self.held.is_empty() && self.held.capacity() > 0 {
            let room = std::mem::take(&mut self.held);
            // A thread that ends has no next turn.
            let _ended = SPARE.try_with(|spare| spare.set(room));
        }
    }

    fn lost<T>(&mut self, error: io::Error) -> Poll<io::Result<T>> {
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Err(error))
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Hands what is held to the stream, all the way.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let rest = self.held.get(self.sent..).unwrap_or_default();
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                Ok(written @ 1..) => self.took(written),
                Ok(0) => return self.lost(io::ErrorKind::WriteZero.into()),
                Err(error) => return self.lost(error),
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let bytes: usize = pieces.iter().map(|p| p.len()).sum();
        if self.in_turn && self.held.len().saturating_add(bytes) <= GATHER_BYTES_MAX {
            if self.held.capacity() == 0 {
                self.take_room();
            }
            for piece in pieces {
                self.held.extend_from_slice(piece);
            }
            return Poll::Ready(Ok(bytes));
        }
        // Together with what is held, since it's too much to be held as well.
        while self.sent < self.held.len() {
            let rest = self.held.get(self.sent..).unwrap_or_default();
            let held = rest.len();
            let mut all = SmallVec::<[IoSlice<'_>; 8]>::new();
            all.push(IoSlice::new(rest));
            all.extend(pieces.iter().map(|p| IoSlice::new(p)));
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, &all);
            drop(all);
            match ready!(written) {
                Ok(0) => return self.lost(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.took(written.min(held));
                    if written > held {
                        return Poll::Ready(Ok(written - held));
                    }
                }
                Err(error) => return self.lost(error),
            }
        }
        self.unflushed = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.in_turn && !self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // TLS may have something to say of its own accord.
        self.unflushed = true;
        self.poll_send(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        match gathered.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut gathered.stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        // Nothing may be held back from a stream that ends.
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl<S> Clone for Gather<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Gather<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}
