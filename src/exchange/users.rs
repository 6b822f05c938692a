//! Who goes on with a generation: requests, and replies until their end. Counted by clones of one `Rc`;
//! nothing of the generation but that is kept alive by being counted.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::failure::Failure;
use crate::listener::{ClientStream, Tunnel};
use crate::snapshot::Generation;

use super::{Current, ReplyBody};

/// One who goes on with a generation.
pub type User = Rc<Generation>;

/// The generations before the one that serves.
#[derive(Debug, Default)]
pub(super) struct Past(RefCell<Vec<(Weak<Current>, Weak<Generation>)>>);

impl Past {
    /// `old` serves no more requests.
    pub(super) fn push(&self, old: &Rc<Current>) {
        let mut past = self.0.borrow_mut();
        past.retain(|(_, users)| users.strong_count() > 0);
        past.push((Rc::downgrade(old), Rc::downgrade(&old.user)));
    }

    /// Those that are in use, and by how many.
    pub(super) fn in_use(&self) -> Vec<(Generation, u64)> {
        let past = self.0.borrow();
        let in_use = past.iter().filter_map(|(current, users)| {
            let generation = *users.upgrade()?;
            // One clone is the generation's own, as long as a request has all of it.
            let own = usize::from(current.strong_count() > 0);
            Some((generation, users.strong_count().saturating_sub(own) as u64))
        });
        in_use.collect()
    }
}

/// A reply's body, until whose end its generation is in use. So is it until the end of the tunnel that
/// the connection becomes.
#[derive(Debug)]
pub struct Held {
    body: ReplyBody,
    user: Option<User>,
}

impl Held {
    pub(super) fn new(body: ReplyBody, user: User) -> Self {
        Self {
            body,
            user: Some(user),
        }
    }

    /// What the connection becomes after a reply of 101.
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        let tunnel = self.body.take_tunnel()?;
        let user = self.user.take();
        let work = move |stream: ClientStream| -> Pin<Box<dyn Future<Output = ()>>> {
            let work = tunnel(stream);
            Box::pin(async move {
                work.await;
                drop(user);
            })
        };
        Some(Box::new(work))
    }
}

/// For replies to what never came to a route.
impl From<ReplyBody> for Held {
    fn from(body: ReplyBody) -> Self {
        Self { body, user: None }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
