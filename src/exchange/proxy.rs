//! Plain reverse proxy: the request goes on as it came, but for what is of one hop alone.
//!
//! Path, query and `Host` are the client's; `Via` and `X-Forwarded-*` are ours (`forwarded.rs`).
//! `Expect: 100-continue` is settled here: the client is told to go on when its body is wanted.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HOST, HeaderMap, TE, VIA};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::client_body::{ClientBody, Meter, too_large};
use crate::config::model::{UpstreamId, UpstreamProtocol};
use crate::failure::{Failure, GrpcCode};
use crate::live::Route;
use crate::transcode::metadata::join_cookies;
use crate::upstream::{AnswerBody, How, UpstreamBody};

use super::aim::Aim;
use super::body::{BreakOff, ReplyBody};
use super::deadline::{after, no_answer_in_time};
use super::forwarded::{clean, end_hop, host, tell_origin, wants_trailers};
use super::rewrite::Rewrite;
use super::tunnel::{self, Switched};
use super::{Connection, Current, fallback, headers};

/// Sends the request on and begins the reply with the head of the answer. Dropping it, or the reply's
/// body before its end, resets the upstream's stream (or closes its connection).
///
/// The route's `timeout` runs from the last piece of the request body to the head of the answer, so
/// that a long upload is not cut off; between pieces of the answer there is `stream_idle`.
///
/// # Errors
/// The body is too large or broke off, or the upstream doesn't answer.
pub(super) async fn forward(
    current: &Current,
    route: &Route,
    path: Rewrite<'_>,
    connection: &Connection,
    head: &Parts,
    body: ClientBody,
) -> Result<Response<ReplyBody>, Failure> {
    let policy = &route.policy;
    let max = policy.body_bytes_max;
    if body.size_hint().lower() > max.bytes() as u64 {
        return Err(too_large(max.bytes()));
    }
    let version = head.version;
    let aim = Aim {
        live: &current.live,
        route,
        plan: None,
        captures: &[],
        head,
        connection,
    };
    let how = aim.how(None);
    let protocol = protocol_of(current, route.upstream);
    // A site behind HTTP/2 gets the request without its wish, and says so.
    let switches =
        protocol == UpstreamProtocol::Http1 && tunnel::is_handshake(head) && body.is_end_stream();
    let onward = |protocol| {
        let trusted = &current.live.trusted_proxies;
        let mut head = outgoing(head.clone(), connection, trusted, protocol);
        path.apply(&mut head);
        if let Some(rules) = &policy.request_headers {
            headers::apply(rules, &mut head.headers);
        }
        head
    };
    let mut sent = onward(protocol);
    if switches {
        tunnel::mark(&mut sent.headers);
    }
    let (body, meter) = if body.is_end_stream() {
        (UpstreamBody::whole(Bytes::new()), None)
    } else {
        let (body, meter) = body.metered(max);
        (UpstreamBody::client(body.with_trailers(clean)), Some(meter))
    };
    let call = current
        .upstreams
        .call(route.upstream, Request::from_parts(sent, body), how);
    let mut answer = in_time(call, meter.as_deref(), policy.timeout).await;
    let other = route.fallback.as_ref().and_then(|f| f.upstream);
    if let Some(other) = other.filter(|_| meter.is_none() && !switches)
        && (fallback::may_go_elsewhere(&answer, &how)
            || how.idempotent
                && matches!(&answer, Ok(a) if fallback::is_absence_status(a.status())))
    {
        fallback::goes_elsewhere(current, answer, connection);
        let sent = onward(protocol_of(current, Some(other)));
        let request = Request::from_parts(sent, UpstreamBody::whole(Bytes::new()));
        let how = How {
            elsewhere: false,
            ..how
        };
        let call = current.upstreams.call(other, request, how);
        answer = in_time(call, None, policy.timeout).await;
    }
    let answer = answer?;
    match switches && answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        true => switch(answer, version, route),
        false => incoming(answer, version, route),
    }
}

fn protocol_of(current: &Current, upstream: Option<UpstreamId>) -> UpstreamProtocol {
    let upstream = upstream.and_then(|id| current.live.upstreams.get(id.0 as usize));
    upstream.map_or(UpstreamProtocol::Http2, |u| u.protocol)
}

/// Waits for the answer as long as the upload goes on, and `timeout` after it.
async fn in_time<T>(
    call: impl Future<Output = Result<T, Failure>>,
    meter: Option<&Meter>,
    timeout: Duration,
) -> Result<T, Failure> {
    let mut call = std::pin::pin!(call);
    let start = Instant::now();
    loop {
        let last = meter.map_or(start, |m| m.last().max(start));
        match tokio::time::timeout_at(after(last, timeout), &mut call).await {
            Ok(Ok(answer)) => return Ok(answer),
            // What was wrong with the body explains more than what the upstream made of it.
            Ok(Err(failure)) => {
                return Err(meter.and_then(Meter::take_failure).unwrap_or(failure));
            }
            Err(_) if meter.is_some_and(|m| m.last() > last) => {}
            Err(_) => return Err(no_answer_in_time()),
        }
    }
}

/// The head that goes upstream.
fn outgoing(
    mut head: Parts,
    connection: &Connection,
    trusted: &[ipnet::IpNet],
    protocol: UpstreamProtocol,
) -> Parts {
    let asked = host(&head).and_then(|h| HeaderValue::from_str(h).ok());
    let trailers = wants_trailers(&head.headers);
    // What `Connection` lists is the client's to take away; what we add afterwards is not.
    end_hop(&mut head.headers);
    join_cookies(&mut head.headers);
    tell_origin(&mut head, connection, trusted);
    if let Some(asked) = asked {
        head.headers.insert(HOST, asked);
    }
    head.headers.remove(EXPECT);
    if trailers && protocol == UpstreamProtocol::Http2 {
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    add_via(&mut head.headers, head.version);
    let path = head.uri.path_and_query().cloned();
    head.uri = path.map_or_else(Uri::default, Uri::from);
    head.version = match protocol {
        UpstreamProtocol::Http1 => Version::HTTP_11,
        UpstreamProtocol::Http2 => Version::HTTP_2,
    };
    head.extensions = http::Extensions::new();
    head
}

/// RFC 9110 §7.6.3: how the message came to us.
fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => "1.0 transom",
        Version::HTTP_2 => "2 transom",
        _ => "1.1 transom",
    };
    headers.append(VIA, HeaderValue::from_static(via));
}

/// The reply that makes a tunnel of the connection.
fn switch(
    answer: Response<AnswerBody>,
    asked_in: Version,
    route: &Route,
) -> Result<Response<ReplyBody>, Failure> {
    let (mut head, body) = answer.into_parts();
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let Some(upgrade) = upgrade.filter(|_| tunnel::is_to_websocket(&head.headers)) else {
        let message = "the upstream switched to a protocol that it wasn't asked for";
        let failure = Failure::upstream(GrpcCode::Internal, message);
        return Err(failure.status(StatusCode::BAD_GATEWAY));
    };
    end_hop(&mut head.headers);
    tunnel::mark(&mut head.headers);
    head.headers.remove(super::request_id::X_REQUEST_ID);
    head.version = asked_in;
    head.extensions = http::Extensions::new();
    let switched = Switched::new(upgrade, body, route.policy.stream_idle);
    Ok(Response::from_parts(head, ReplyBody::Switched(switched)))
}

/// The reply that the client gets.
fn incoming(
    answer: Response<AnswerBody>,
    asked_in: Version,
    route: &Route,
) -> Result<Response<ReplyBody>, Failure> {
    let (mut head, body) = answer.into_parts();
    if head.status.is_informational() {
        // Nothing that we sent asks for another protocol.
        let message = "the upstream switched protocols without being asked";
        let failure = Failure::upstream(GrpcCode::Internal, message);
        return Err(failure.status(StatusCode::BAD_GATEWAY));
    }
    end_hop(&mut head.headers);
    head.headers.remove(super::request_id::X_REQUEST_ID);
    head.version = asked_in;
    head.extensions = http::Extensions::new();
    let relayed = Relayed {
        broken: BreakOff::new(Arc::clone(&route.rule), body.account()),
        body,
        idle: route.policy.stream_idle,
        timer: None,
        waiting: false,
    };
    Ok(Response::from_parts(
        head,
        ReplyBody::Relayed(Box::new(relayed)),
    ))
}

/// An upstream's body on its way to the client, trailers included. It breaks off when the upstream
/// says nothing for too long.
pub struct Relayed {
    body: AnswerBody,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    broken: BreakOff,
}

impl Relayed {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(failure) = self.broken.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = false;
                Poll::Ready(Some(Ok(match frame.into_trailers() {
                    Ok(trailers) => Frame::trailers(clean(trailers)),
                    Err(frame) => frame,
                })))
            }
            Poll::Ready(Some(Err(failure))) => self.broken.defer(failure, cx),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.poll_timer(cx));
                let message = "the upstream sent nothing for too long";
                let failure = Failure::upstream(GrpcCode::DeadlineExceeded, message);
                self.broken.defer(failure, cx)
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => {
                if !self.waiting {
                    timer.as_mut().reset(after(Instant::now(), self.idle));
                }
                timer
            }
            none => none.insert(Box::pin(sleep_until(after(Instant::now(), self.idle)))),
        };
        self.waiting = true;
        timer.as_mut().poll(cx)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relayed")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
