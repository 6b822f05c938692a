//! The body of a reply on its way out: while it lives its connection is busy.
//!
//! A client may keep a stream's window shut while its connection flows. hyper doesn't poll a body then,
//! so a body can't have a timer of its own: from its second piece on it is watched by the connection's
//! driver, which takes it away when the client has asked for nothing for too long.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::failure::{Blame, Failure, GrpcCode};

use super::pulse::{InFlight, Outgoing, Pulse};
use super::sniff::Protocol;

/// What hyper gets for a body.
pub(super) enum Reply<B: Unpin> {
    /// No piece is out yet, or there is but one.
    Held {
        body: B,
        in_flight: InFlight,
        protocol: Protocol,
    },
    Watched {
        stream: Rc<Stream<B>>,
        _watch: Watch,
    },
    Empty,
}

/// A stream's entry with the driver, until it is dropped.
pub(super) struct Watch {
    pulse: Rc<Pulse>,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pulse.unwatch(self.id);
    }
}

/// A body that driver and hyper share.
pub(super) struct Stream<B> {
    body: RefCell<Option<(B, InFlight)>>,
    given_at: Cell<Option<Instant>>,
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin + 'static> Reply<B> {
    pub(super) fn new(body: B, in_flight: InFlight, protocol: Protocol) -> Self {
        Self::Held {
            body,
            in_flight,
            protocol,
        }
    }

    /// Puts the body where the driver can take it away.
    fn watch(&mut self) {
        let Self::Held {
            body, in_flight, ..
        } = std::mem::replace(self, Self::Empty)
        else {
            return;
        };
        let pulse = Rc::clone(in_flight.pulse());
        let stream = Rc::new(Stream {
            body: RefCell::new(Some((body, in_flight))),
            given_at: Cell::new(Some(Instant::now())),
        });
        let id = pulse.watch(Rc::clone(&stream) as Rc<dyn Outgoing>);
        let _watch = Watch { pulse, id };
        *self = Self::Watched { stream, _watch };
    }
}

impl<B> Outgoing for Stream<B> {
    fn given_at(&self) -> Option<Instant> {
        self.given_at.get()
    }

    fn cut(&self) {
        self.given_at.set(None);
        // Not inside the borrow: dropping a body may run anything.
        let body = self.body.borrow_mut().take();
        drop(body);
    }
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin + 'static> Body for Reply<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Self::Held { body, protocol, .. } => {
                let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
                // On HTTP/1.1 a client that doesn't read blocks the socket: seen there.
                let more = frame.is_some() && !body.is_end_stream();
                if more && *protocol == Protocol::Http2 {
                    self.watch();
                }
                Poll::Ready(frame)
            }
            Self::Watched { stream, .. } => {
                stream.given_at.set(None);
                let mut shared = stream.body.borrow_mut();
                let Some((body, _)) = shared.as_mut() else {
                    return Poll::Ready(Some(Err(not_read())));
                };
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                stream.given_at.set(Some(Instant::now()));
                Poll::Ready(frame)
            }
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held { body, .. } => body.is_end_stream(),
            Self::Watched { stream, .. } => {
                let shared = stream.body.borrow();
                shared
                    .as_ref()
                    .is_some_and(|(body, _)| body.is_end_stream())
            }
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held { body, .. } => body.size_hint(),
            Self::Watched { .. } | Self::Empty => SizeHint::default(),
        }
    }
}

fn not_read() -> Failure {
    Failure::new(
        Blame::Client,
        GrpcCode::DeadlineExceeded,
        "the client stopped reading the reply",
    )
}
