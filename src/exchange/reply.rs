//! Replies: what is put on every one, and how each failure becomes one.

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::codec::Codec;
use crate::config::model::Policy;
use crate::failure::{Blame, Failure, GrpcCode, Limit, Speaker};
use crate::live::{Live, Route, Target};
use crate::protocol::rest::RawBody;
use crate::telemetry::{Account, brief};
use crate::transcode::error_body::error_body;
use crate::transcode::metadata::to_response;
use crate::transcode::reply_status::is_bare;
use crate::transcode::{ErrorFormat, Inner};

use super::body::ReplyBody;
use super::gateway_reply;
use super::request_id::X_REQUEST_ID;

/// RFC 5789 gives this shape to PATCH; the LDP has it for POST.
const ACCEPT_POST: http::HeaderName = http::HeaderName::from_static("accept-post");

/// How a route tells clients of failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voice<'v> {
    pub policy: &'v Policy,
    /// Prints a service's details.
    pub codec: &'v Codec,
    /// The route's, for the log.
    pub rule: Option<&'v str>,
    /// The number of the route's series of metrics.
    pub series: usize,
    /// Of the exchange, for a reply that has one.
    pub account: Option<&'v Account>,
}

impl<'v> Voice<'v> {
    pub(super) fn of(route: &'v Route, live: &'v Live, account: &'v Account) -> Self {
        Self {
            account: Some(account),
            ..Self::of_route(route, live)
        }
    }

    pub(super) fn of_route(route: &'v Route, live: &'v Live) -> Self {
        let codec = match &route.target {
            Target::Rpc(plan) => &plan.codec,
            _ => &live.codec,
        };
        Self {
            policy: &route.policy,
            codec,
            rule: Some(&route.rule),
            series: route.series,
            account: None,
        }
    }

    /// Where there is no route.
    pub(super) fn of_all(live: &'v Live, account: Option<&'v Account>) -> Self {
        Self {
            policy: &live.defaults,
            codec: &live.codec,
            rule: None,
            series: 0,
            account,
        }
    }
}

impl Voice<'_> {
    /// Tells the operator of a failure.
    pub(super) fn note(&self, failure: &Failure) {
        note(failure, self.rule, self.account);
    }
}

/// The reply to a request that failed. `accept` is the client's wish for the shape of the body.
pub(super) fn refuse(
    voice: Voice<'_>,
    accept: Option<&HeaderValue>,
    failure: &Failure,
) -> Response<ReplyBody> {
    voice.note(failure);
    let format: ErrorFormat = voice.policy.errors.accepted(accept);
    let (content_type, body) = error_body(failure, format, inner(voice.policy), Some(voice.codec));
    let status = voice.policy.statuses.of_failure(failure);
    let mut reply = Response::new(ReplyBody::whole(body));
    *reply.status_mut() = status;
    if let Some(metadata) = &failure.metadata {
        carry_metadata(&mut reply, voice.policy, [&**metadata]);
        if voice.policy.compat.is_grpc_gateway() {
            gateway_reply::carry_failed(&mut reply, voice.policy, failure);
        }
    }
    let status = reply.status();
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    if let Some(allow) = &failure.allow {
        headers.insert(ALLOW, allow.clone());
    }
    if let Some(types) = failure.accept_post {
        headers.insert(ACCEPT_POST, HeaderValue::from_static(types));
    }
    if let Some(seconds) = failure.retry_after_seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if voice.policy.compat.is_grpc_gateway()
        && failure.code == GrpcCode::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(&failure.message)
    {
        headers.insert(WWW_AUTHENTICATE, message);
    }
    // RFC 9110 §15.5.2 wants a challenge with each 401; the service's own is kept when it has one.
    if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
        let challenge = failure
            .metadata
            .as_ref()
            .and_then(|m| m.get(WWW_AUTHENTICATE));
        let bearer = HeaderValue::from_static("Bearer");
        headers.insert(WWW_AUTHENTICATE, challenge.cloned().unwrap_or(bearer));
    }
    reply
}

/// Puts a failure on account, and into the program's log where no line of the access log tells of it.
pub(super) fn note(failure: &Failure, route: Option<&str>, account: Option<&Account>) {
    if let Some(account) = account {
        account.note_failure(failure);
        if account.is_told() {
            return;
        }
    }
    log(failure, route);
}

/// Clients' mistakes are theirs; the rest is for the operator, but for requests that are shed: those are
/// many, counted, and the level of memory has a line of its own.
fn log(failure: &Failure, route: Option<&str>) {
    let is_shed = matches!(failure.limit, Some(Limit::Held | Limit::Memory));
    let is_quiet = is_shed || failure.blame == Blame::Client;
    if is_quiet && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let source = failure.source.as_ref().map(|s| brief(s).to_string());
    let source = source.as_deref().filter(|text| !text.is_empty());
    let error = brief(&failure.message).to_string();
    let error = &*error;
    let code = failure.code.name();
    match (failure.blame, failure.speaker) {
        (Blame::Client, _) => tracing::debug!(code, error, route, source, "request refused"),
        (Blame::Gateway, _) if is_shed => {
            tracing::debug!(code, error, route, source, "request shed");
        }
        (Blame::Upstream, Speaker::Gateway) => {
            tracing::warn!(code, error, route, source, "upstream failed");
        }
        (Blame::Upstream, Speaker::Service) => {
            tracing::info!(code, error, route, source, "service failed");
        }
        (Blame::Gateway, _) => tracing::warn!(code, error, route, source, "gateway failed"),
    }
}

/// What clients of this route are told of inner faults.
pub(super) fn inner(policy: &Policy) -> Inner {
    match policy.hide_internal {
        true => Inner::Hide,
        false => Inner::Show,
    }
}

/// The reply to a call that went well, as its route wants it: status, and what of the service's
/// metadata it lets through.
pub(super) fn succeed(
    reply: &mut Response<ReplyBody>,
    policy: &Policy,
    [head, trailers]: [&HeaderMap; 2],
) {
    *reply.status_mut() = policy.statuses.of_success();
    carry_metadata(reply, policy, [head, trailers]);
    if policy.compat.is_grpc_gateway() {
        gateway_reply::carry(reply, policy, head, trailers);
    }
}

/// Puts on what of the service's metadata the route lets through, and the status that it names there.
fn carry_metadata<'m>(
    reply: &mut Response<ReplyBody>,
    policy: &Policy,
    metadata: impl IntoIterator<Item = &'m HeaderMap>,
) {
    if policy.to_response.is_empty() && policy.statuses.from_metadata.is_none() {
        return;
    }
    let allow = |name: &HeaderName| policy.to_response.iter().any(|p| p.matches(name));
    for map in metadata {
        if let Some(status) = policy.statuses.named_by(map) {
            *reply.status_mut() = status;
        }
        to_response(map, allow, reply.headers_mut());
    }
}

/// A body whose type the service chose is not to be taken for another.
pub(super) fn describe_raw(reply: &mut Response<ReplyBody>, body: &RawBody) {
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, body.media_type());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The last touch: the request's id, and no content for `HEAD`.
pub(super) fn finish(
    mut reply: Response<ReplyBody>,
    method: &Method,
    id: HeaderValue,
) -> Response<ReplyBody> {
    reply.headers_mut().insert(X_REQUEST_ID, id);
    if is_bare(reply.status())
        && !matches!(reply.body(), ReplyBody::Relayed(_) | ReplyBody::Switched(_))
    {
        reply.headers_mut().remove(CONTENT_TYPE);
        *reply.body_mut() = ReplyBody::empty();
        return reply;
    }
    if method == Method::HEAD {
        // An upstream's answer to HEAD has the length that it wants to have.
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if let ReplyBody::Whole(content) = reply.body()
            && !bodiless.contains(&reply.status())
        {
            let length = content.as_ref().map_or(0, Bytes::len);
            reply
                .headers_mut()
                .entry(CONTENT_LENGTH)
                .or_insert(HeaderValue::from(length));
        }
        *reply.body_mut() = ReplyBody::empty();
    }
    reply
}

/// What the client would like errors to look like.
pub(super) fn accept(head: &Parts) -> Option<&HeaderValue> {
    head.headers.get(ACCEPT)
}
