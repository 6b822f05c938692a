//! WebSockets on the paths of methods: a handshake there opens a call, of whatever kind it is.
//!
//! The handshake is a GET, so it stands for any method of its path; what is wrong with it is said in
//! HTTP, before the protocol changes. From then on it is `session` that talks, and a close code that
//! tells of failures. Sites behind proxied routes have their WebSockets to themselves (`tunnel.rs`).

mod down;
mod session;
mod socket;
mod up;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::client_body::ClientBody;
use crate::config::model::Policy;
use crate::failure::{Blame, Failure, GrpcCode};
use crate::listener::count;
use crate::live::{Live, SocketRoute};
use crate::protocol::websocket::{Format, Offer, is_same_origin, key, put_version};
use crate::schema::StreamKind;
use crate::transcode::BodyRule;
use crate::transcode::metadata::client_timeout;
use crate::upstream::UpstreamBody;

use super::aim::Aim;
use super::call::Asked;
use super::counters::{Counters, OpenSocket};
use super::deadline::Deadline;
use super::forwarded::{host, is_trusted};
use super::reply::{self, Voice, accept};
use super::stream::Rule;
use super::tunnel::{Switched, is_handshake};
use super::{Connection, Current, ReplyBody, host_name, pump};

use session::{First, Opened};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The method that a handshake is for. `None` for every other request, and where the path has no
/// method.
pub(super) fn claim<'l, 'p>(
    live: &'l Live,
    head: &'p Parts,
) -> Option<Result<SocketRoute<'l, 'p>, Failure>> {
    if !is_handshake(head) {
        return None;
    }
    let host = host_name(host(head).unwrap_or_default());
    let found = live.socket_route(host, head.uri.path(), head.uri.query())?;
    Some(found.map_err(|ambiguous| Failure::client(ambiguous.to_string())))
}

/// A handshake has no content: what followed it would be taken for frames.
pub(super) fn check_bare(body: &ClientBody) -> Result<(), Failure> {
    match http_body::Body::is_end_stream(body) {
        true => Ok(()),
        false => Err(Failure::client("a WebSocket handshake has no body")),
    }
}

/// Answers a handshake: 101, and what the connection becomes.
///
/// # Errors
/// 400, 403 or 426: the handshake, or what path, query and headers say, is refused.
pub(super) fn open(
    asked: SocketRoute<'_, '_>,
    current: &Rc<Current>,
    connection: &Connection,
    head: &Parts,
    counters: Rc<Counters>,
) -> Result<Response<ReplyBody>, Failure> {
    let live = &current.live;
    let (route, plan) = (asked.route, asked.plan);
    let policy = &*route.policy;
    let accepted = derive_accept_key(key(&head.headers)?.as_bytes());
    let offer = Offer::read(&head.headers)?;
    let admitted = admit(policy, live, connection, head);
    let credentials = admitted.inspect_err(|_| count(&counters.origins_refused))?;
    let head = spoken(head, &offer, credentials)?;

    let deadline = Deadline::earliest(Instant::now(), &head.headers, policy)?;
    let call = Asked {
        plan,
        policy,
        trusted: &live.trusted_proxies,
        connection,
        head: &head,
        deadline: &deadline,
    };
    let request = call.rest(UpstreamBody::whole(bytes::Bytes::new()))?;
    let query = pump::query_policy(policy, &live.limits);
    let asked_for = asked.query.as_deref();
    let mut rule = Rule::of(plan, route, &live.limits, &head.headers);
    rule.selection = plan.selection(asked_for, &query)?;
    if rule.selection.is_some() && offer.format == Format::Proto {
        return Err(Failure::client("fields are chosen of JSON alone"));
    }
    let one = matches!(plan.stream, StreamKind::Unary | StreamKind::Server);
    let first = if one && plan.body == BodyRule::None {
        let mut wire = Vec::new();
        plan.bind(&asked.captures, asked_for, &query, &mut wire)?;
        First::Whole(pump::framed(wire, live.limits.message_bytes_max)?)
    } else {
        First::Part(plan.bind_apart(&asked.captures, asked_for, &query)?)
    };
    let aim = Aim {
        live,
        route,
        plan: Some(plan),
        captures: &asked.captures,
        head: &head,
        connection,
    };
    let opened = Opened {
        current: Rc::clone(current),
        hash: aim.hash(),
        upstream: route.upstream,
        plan: Arc::clone(plan),
        rule,
        format: offer.format,
        request: request.map(|_| ()),
        timeout: client_timeout(&head.headers)?,
        first,
        open: OpenSocket::new(counters),
        account: Rc::clone(&connection.account),
    };
    let tunnel = Switched::to(Box::new(move |client| {
        Box::pin(session::run(opened, client))
    }));
    let mut reply = Response::new(ReplyBody::Switched(tunnel));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    describe(&accepted, &offer, reply.headers_mut())?;
    Ok(reply)
}

fn describe(accepted: &str, offer: &Offer, headers: &mut HeaderMap) -> Result<(), Failure> {
    let accepted = HeaderValue::from_str(accepted);
    let accepted = accepted
        .map_err(|e| Failure::gateway(GrpcCode::Internal, "no answer to the key").caused_by(e))?;
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    if let Some(name) = offer.chosen {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok(())
}

/// The reply to a handshake that is refused, where HTTP wants more than a status.
pub(super) fn refuse(
    voice: Voice<'_>,
    head: &Parts,
    failure: Failure,
) -> Result<Response<ReplyBody>, Failure> {
    if failure.http_status != Some(StatusCode::UPGRADE_REQUIRED) {
        return Err(failure);
    }
    let mut reply = reply::refuse(voice, accept(head), &failure);
    put_version(reply.headers_mut());
    reply
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    Ok(reply)
}

/// What a browser adds to requests of its own accord: cookies and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credentials {
    Cross,
    /// The page is a stranger's, and may only ask what anyone may.
    Stay,
}

/// Whether a page of this origin may open a socket. Browsers guard no WebSocket: whoever lures a user
/// to a page could otherwise call in the user's name. Without an origin it is no browser.
fn admit(
    policy: &Policy,
    live: &Live,
    connection: &Connection,
    head: &Parts,
) -> Result<Credentials, Failure> {
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(Credentials::Cross);
    };
    let refused = || {
        let message = "pages of this origin may not open WebSockets here";
        Err(Failure::new(
            Blame::Client,
            GrpcCode::PermissionDenied,
            message,
        ))
    };
    if origins.next().is_some() {
        return refused();
    }
    let trusted = is_trusted(connection.peer.ip(), &live.trusted_proxies);
    let told = head.headers.get(&X_FORWARDED_PROTO);
    let secure = connection.tls || trusted && told.is_some_and(|p| p == "https");
    if is_same_origin(origin.as_bytes(), host(head).unwrap_or_default(), secure) {
        return Ok(Credentials::Cross);
    }
    match &policy.cors {
        Some(cors) if cors.allows(origin.as_bytes()) => Ok(match cors.credentials {
            true => Credentials::Cross,
            false => Credentials::Stay,
        }),
        _ => refused(),
    }
}

/// The request as its headers are to be taken: the token in its place, and nothing of the handshake.
fn spoken(head: &Parts, offer: &Offer, credentials: Credentials) -> Result<Parts, Failure> {
    let mut head = head.clone();
    let headers = &mut head.headers;
    if credentials == Credentials::Stay {
        headers.remove(COOKIE);
        headers.remove(AUTHORIZATION);
    }
    if let Some(token) = &offer.authorization {
        if headers.contains_key(AUTHORIZATION) {
            let message = "a token comes as a header or as a subprotocol, not as both";
            return Err(Failure::client(message));
        }
        headers.insert(AUTHORIZATION, token.clone());
    }
    for name in [
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_VERSION,
        SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_EXTENSIONS,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    Ok(head)
}
