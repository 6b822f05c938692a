//! One request and its reply.

mod body;

pub use body::ReplyBody;

use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::live::Live;
use crate::upstream::Upstreams;

/// What a worker gives to every exchange: the live generation and its own connections.
#[derive(Debug)]
pub struct Exchange {
    pub live: Rc<std::cell::RefCell<Rc<Live>>>,
    pub upstreams: Rc<Upstreams>,
}

/// Facts of the client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: bool,
}

/// Answers one request. Never fails: each failure is a reply. Dropping the future or the reply's body
/// cancels the upstream call.
pub async fn exchange(
    cx: Rc<Exchange>,
    connection: Connection,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let _ = (cx, connection, request);
    Response::new(ReplyBody::empty())
}
