//! What stands in for an upstream that can't answer: another one, a copy of what it said last, or the
//! same reply each time. The failure is the operator's to know all the same.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::client_body::ClientBody;
use crate::config::model::{Fallback, Policy, UpstreamId};
use crate::copies::{Asked, Draft, Found};
use crate::failure::{Blame, Failure, GrpcCode, Retry, Speaker};
use crate::listener::count;
use crate::live::{Route, Target};
use crate::schema::StreamKind;
use crate::upstream::{AnswerBody, How, UpstreamBody};

use super::body::ReplyBody;
use super::forwarded::host;
use super::reply::Voice;
use super::{Connection, Current, Matched, call, fixed};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a gateway before the service says when that can't answer (RFC 9110 §15.6).
pub(super) fn is_absence_status(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether the upstream is not there, is full, or doesn't get to answering. What it refuses, and what it
/// can't do, is an answer.
fn is_absence(failure: &Failure) -> bool {
    let ours = failure.speaker == Speaker::Gateway;
    failure.blame == Blame::Upstream
        && failure.limit.is_none()
        && match failure.code {
            GrpcCode::Unavailable => true,
            GrpcCode::DeadlineExceeded => ours,
            _ => ours && failure.http_status() == StatusCode::BAD_GATEWAY,
        }
}

/// Whether a call that ended so is worth asking another upstream, and does no harm there.
pub(super) fn may_go_elsewhere(
    answer: &Result<Response<AnswerBody>, Failure>,
    how: &How<'_>,
) -> bool {
    match answer {
        Ok(answer) => how.idempotent && says_unavailable(answer.headers()),
        Err(failure) => is_absence(failure) && (how.idempotent || failure.retry == Retry::IfUnsent),
    }
}

/// An answer that is nothing but this status.
fn says_unavailable(headers: &HeaderMap) -> bool {
    let unavailable = GrpcCode::Unavailable.number();
    let status = headers.get(GRPC_STATUS).and_then(|v| v.to_str().ok());
    status.is_some_and(|text| text.parse() == Ok(unavailable))
}

/// A message for another upstream, where there is one.
pub(super) struct Spare {
    upstream: UpstreamId,
    message: Bytes,
}

impl Spare {
    pub(super) fn of(route: &Route, message: &Bytes) -> Option<Box<Self>> {
        let upstream = route.fallback.as_ref()?.upstream?;
        let message = message.clone();
        Some(Box::new(Self { upstream, message }))
    }

    /// The other's answer, where the first gave none.
    pub(super) async fn or(
        self: Box<Self>,
        first: Result<Response<AnswerBody>, Failure>,
        current: &Current,
        asked: call::Asked<'_>,
        how: How<'_>,
    ) -> Result<Response<AnswerBody>, Failure> {
        if !may_go_elsewhere(&first, &how) {
            return first;
        }
        goes_elsewhere(current, first, asked.connection);
        let request = asked.rest(UpstreamBody::whole(self.message))?;
        let how = How {
            elsewhere: false,
            ..how
        };
        current.upstreams.call(self.upstream, request, how).await
    }
}

/// The first answer is given up for another's.
pub(super) fn goes_elsewhere(
    current: &Current,
    first: Result<Response<AnswerBody>, Failure>,
    connection: &Connection,
) {
    count(&current.counters.fallbacks.upstream);
    if let Err(failure) = first {
        super::reply::note(&failure, None, Some(&connection.account));
    }
}

/// Answers a request of a route with a fallback.
///
/// # Errors
/// As without one, where nothing can stand in.
pub(super) async fn respond(
    rule: &Fallback,
    current: &Current,
    connection: &Connection,
    matched: &Matched<'_, '_>,
    head: &Parts,
    body: ClientBody,
) -> Result<Response<ReplyBody>, Failure> {
    let route = matched.route;
    let asked = rule
        .stale
        .and_then(|_| asked(current, connection, route, head));
    let answered = super::respond(current, connection, matched, head, body).await;
    let status = match &answered {
        Err(failure) if is_absence(failure) => failure.http_status(),
        Ok(reply) if is_proxied(route) && is_absence_status(reply.status()) => reply.status(),
        Err(_) => return answered,
        Ok(_) => {
            let keep = asked.filter(|_| head.method == Method::GET);
            return answered.map(|reply| match keep {
                Some(asked) => kept(reply, asked, current, head),
                None => reply,
            });
        }
    };
    let copy = asked.zip(rule.stale).and_then(|(asked, age_max)| {
        let found = current.copies.find(&asked, &head.headers, age_max)?;
        Some(stale(found, status, answered.is_ok()))
    });
    let fallbacks = &current.counters.fallbacks;
    let reply = if let Some(copy) = copy {
        count(&fallbacks.stale);
        copy
    } else if let Some(same) = &rule.respond {
        count(&fallbacks.respond);
        fixed::respond(same)
    } else {
        return answered;
    };
    if let Err(failure) = &answered {
        Voice::of(route, &current.live, &connection.account).note(failure);
        current.counters.note(failure);
    }
    Ok(reply)
}

fn is_proxied(route: &Route) -> bool {
    matches!(route.target, Target::Proxy { .. })
}

/// What tells the answers to requests apart. `None` for requests whose answers are not kept.
fn asked(current: &Current, connection: &Connection, route: &Route, head: &Parts) -> Option<Asked> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let (proxied, plan) = match &route.target {
        Target::Proxy { .. } => (true, None),
        Target::Rpc(plan) if matches!(plan.stream, StreamKind::Unary) => (false, Some(plan)),
        _ => return None,
    };
    let policy = &*route.policy;
    let crosses = |name: &HeaderName| plan.is_some() && is_told(policy, name);
    let upstream = route.upstream?;
    let upstream = current.live.upstreams.get(upstream.0 as usize)?;
    let headers = &head.headers;
    let cookies = headers.contains_key(COOKIE) && (proxied || crosses(&COOKIE));
    let personal =
        cookies || headers.contains_key(AUTHORIZATION) || connection.certificate.is_some();
    let host = host(head).unwrap_or_default().to_ascii_lowercase();
    let scheme: &[u8] = if connection.tls { b"https" } else { b"http" };
    let target = head.uri.path_and_query().map_or("", |t| t.as_str());
    let parts = [
        route.rule.as_bytes(),
        upstream.name.as_bytes(),
        scheme,
        host.as_bytes(),
        target.as_bytes(),
    ];
    let mut told: Vec<_> = headers.iter().filter(|(name, _)| crosses(name)).collect();
    told.sort_by_key(|(name, _)| name.as_str());
    let told = told
        .iter()
        .flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    Some(Asked::new(parts.into_iter().chain(told), personal))
}

/// Whether a service is told of this header, and may answer by it.
fn is_told(policy: &Policy, name: &HeaderName) -> bool {
    let theirs = policy.compat.is_grpc_gateway()
        && (name.as_str().starts_with("grpc-metadata-")
            || matches!(
                name.as_str(),
                "accept" | "accept-charset" | "accept-language" | "cookie" | "from" | "origin"
            ));
    theirs || policy.to_metadata.iter().any(|p| p.matches(name))
}

/// A copy as a reply. The request went forward, so it is no hit (RFC 9211 §2.2).
fn stale(found: Found, status: StatusCode, said: bool) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::whole(found.body));
    *reply.headers_mut() = found.headers;
    let told = match said {
        true => HeaderValue::try_from(format!(
            "transom; fwd=stale; fwd-status={}",
            status.as_u16()
        )),
        false => Ok(HeaderValue::from_static("transom; fwd=stale")),
    };
    if let Ok(told) = told {
        reply.headers_mut().append(CACHE_STATUS, told);
    }
    reply
}

/// The reply, kept on its way if it may be.
fn kept(
    mut reply: Response<ReplyBody>,
    asked: Asked,
    current: &Current,
    head: &Parts,
) -> Response<ReplyBody> {
    if reply.status() != StatusCode::OK {
        return reply;
    }
    let bytes_max = current.live.limits.stale_copies_bytes_max.bytes();
    let drafted = current
        .copies
        .draft(asked, &head.headers, reply.headers(), bytes_max);
    let Some(draft) = drafted else {
        return reply;
    };
    match reply.body() {
        ReplyBody::Whole(body) => draft.keep(body.as_deref().unwrap_or_default()),
        ReplyBody::Document(_) | ReplyBody::Relayed(_) => {
            let inner = std::mem::replace(reply.body_mut(), ReplyBody::empty());
            let length = inner.size_hint().exact();
            *reply.body_mut() = ReplyBody::Copied(Box::new(Copied {
                inner,
                bytes_max: draft.body_bytes_max(),
                draft: Some(draft),
                length,
                taken: Vec::new(),
            }));
        }
        // Streams, which have no end that is worth waiting for.
        _ => {}
    }
    reply
}

/// A body that is collected while it is sent.
#[derive(Debug)]
pub struct Copied {
    inner: ReplyBody,
    draft: Option<Draft>,
    bytes_max: usize,
    /// Of the whole, where that is known: nobody may ask for more then.
    length: Option<u64>,
    taken: Vec<u8>,
}

impl Copied {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => self.take(data),
                // What trailers say is not kept, so neither is what they belong to.
                None => self.draft = None,
            },
            Some(Err(_)) => self.draft = None,
            None => self.keep(),
        }
        Poll::Ready(frame)
    }

    fn take(&mut self, data: &[u8]) {
        if self.draft.is_none() {
            return;
        }
        if self.taken.len().saturating_add(data.len()) > self.bytes_max {
            self.taken = Vec::new();
            if let Some(draft) = self.draft.take() {
                draft.is_too_large();
            }
            return;
        }
        self.taken.extend_from_slice(data);
        if self.length == Some(self.taken.len() as u64) || self.inner.is_end_stream() {
            self.keep();
        }
    }

    fn keep(&mut self) {
        if let Some(draft) = self.draft.take() {
            draft.keep(&self.taken);
            self.taken = Vec::new();
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
