//! One request and its reply.

mod body;

pub use body::ReplyBody;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};

use crate::client_body::ClientBody;
use crate::failure::Failure;
use crate::live::Live;
use crate::upstream::Upstreams;

/// One generation as a worker holds it: the published value, and this worker's connections to the
/// upstreams that it names. Both are taken together, so that an id never meets another generation's
/// pools.
#[derive(Debug)]
pub struct Current {
    pub live: Arc<Live>,
    pub upstreams: Rc<Upstreams>,
}

/// What a worker gives to every exchange.
#[derive(Debug)]
pub struct Exchange {
    current: RefCell<Rc<Current>>,
}

impl Exchange {
    #[must_use]
    pub fn new(current: Current) -> Self {
        Self {
            current: RefCell::new(Rc::new(current)),
        }
    }

    /// The generation now: to be taken once, and kept for the whole request. No atomic is touched.
    #[must_use]
    pub fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// Later requests see `next`; those under way keep theirs.
    pub fn replace(&self, next: Current) {
        self.current.replace(Rc::new(next));
    }
}

/// Facts of the client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: bool,
}

/// The reply to a request that was refused before it came to a route.
#[must_use]
pub fn refuse(live: &Live, failure: &Failure) -> Response<ReplyBody> {
    let _ = live;
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = failure.http_status();
    reply
}

/// Answers one request. Never fails: each failure is a reply. Dropping the future or the reply's body
/// cancels the upstream call.
pub async fn exchange(
    cx: Rc<Exchange>,
    connection: Connection,
    request: Request<ClientBody>,
) -> Response<ReplyBody> {
    let _ = (cx, connection, request);
    Response::new(ReplyBody::empty())
}
