//! The body of a reply whose end closes the account of its exchange: what passes is counted, and
//! dropping it, at its end or before, is the last word.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderName, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use ipnet::IpNet;

use crate::failure::Failure;
use crate::listener::Tunnel;
use crate::telemetry::{Account, Book, Open, Text, Trace};

use super::Connection;
use super::forwarded::{host, is_trusted};
use super::users::Held;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is sent to the client, counted.
#[derive(Debug)]
pub struct Told {
    // Dropped first: what it comes from may have something to say yet.
    body: Held,
    /// Gone when a tunnel has it.
    open: Option<Open>,
}

impl Told {
    /// Notes the head of the reply; the rest comes with its body.
    pub(super) fn reply(reply: Response<Held>, open: Open) -> Response<Self> {
        let account = open.account();
        account.note_reply(reply.status());
        if reply.body().is_end_stream() {
            account.note_end();
        }
        reply.map(|body| Self {
            body,
            open: Some(open),
        })
    }

    /// What the connection becomes after a reply of 101: the account is closed with it.
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        let tunnel = self.body.take_tunnel()?;
        let open = self.open.take()?;
        Some(Box::new(move |mut client| {
            client.note_in(open.account());
            Box::pin(async move {
                tunnel(client).await;
                open.account().note_end();
            })
        }))
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(open) = &self.open {
            let account = open.account();
            match &frame {
                Some(Ok(frame)) => {
                    account.note_sent(frame.data_ref().map_or(0, Bytes::len));
                    if frame.is_trailers() || self.body.is_end_stream() {
                        account.note_end();
                    }
                }
                Some(Err(failure)) => account.note_failure(failure),
                None => account.note_end(),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Keeps of a request what a line of the log may tell.
pub(super) fn describe(
    book: &Book,
    account: &Account,
    connection: &Connection,
    head: &Parts,
    id: &HeaderValue,
    trusted: &[IpNet],
) {
    account.note_client(client(connection, head, trusted), head.version);
    book.trace(account, &head.headers, connection.tls);
    if account.is_told() || account.is_traced() {
        describe_request(account, head, id);
    }
}

/// The same of a request that failed, which is remembered whether it has a line or not.
pub(super) fn describe_failed(account: &Account, head: &Parts, id: &HeaderValue) {
    if !account.is_told() && !account.is_traced() {
        describe_request(account, head, id);
    }
}

fn describe_request(account: &Account, head: &Parts, id: &HeaderValue) {
    account.note_text(Text::Method, head.method.as_str().as_bytes());
    account.note_text(Text::Path, head.uri.path().as_bytes());
    if let Some(query) = head.uri.query() {
        account.note_text(Text::Query, query.as_bytes());
    }
    if let Some(host) = host(head) {
        account.note_text(Text::Host, host.as_bytes());
    }
    for (what, name) in [(Text::UserAgent, USER_AGENT), (Text::Referer, REFERER)] {
        if let Some(value) = head.headers.get(name) {
            account.note_text(what, value.as_bytes());
        }
    }
    account.note_text(Text::RequestId, id.as_bytes());
    if !account.has_trace() {
        let parent = head.headers.get(TRACEPARENT);
        account.note_trace(parent.and_then(|p| Trace::of_traceparent(p.as_bytes())));
    }
}

/// The client, past the proxies that are trusted; its port is known only where it is the peer.
fn client(connection: &Connection, head: &Parts, trusted: &[IpNet]) -> (IpAddr, u16) {
    let peer = connection.peer.ip().to_canonical();
    if trusted.is_empty() || !is_trusted(peer, trusted) {
        return (peer, connection.peer.port());
    }
    let mut found = (peer, connection.peer.port());
    let lines = head.headers.get_all(&FORWARDED_FOR).iter().rev();
    for line in lines {
        let Ok(line) = line.to_str() else {
            return found;
        };
        for text in line.rsplit(',') {
            let Ok(address) = text.trim().parse::<IpAddr>() else {
                return found;
            };
            found = (address, 0);
            if !is_trusted(address, trusted) {
                return found;
            }
        }
    }
    found
}
