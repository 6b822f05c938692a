//! WebSockets on the paths of methods: a handshake there opens a call, of whatever kind it is.
//!
//! The handshake is a GET, so it stands for any method of its path; what is wrong with it is said in
//! HTTP, before the protocol changes. From then on it is `session` that talks, and a close code that
//! tells of failures. Sites behind proxied routes have their WebSockets to themselves (`tunnel.rs`).

mod down;
mod session;
mod socket;
mod up;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use smallvec::SmallVec;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::config::model::Policy;
use crate::failure::{Blame, Failure, GrpcCode};
use crate::listener::count;
use crate::live::{Live, Route, Target};
use crate::protocol::websocket::{Format, Offer, is_same_origin, key, named_method, put_version};
use crate::schema::StreamKind;
use crate::transcode::metadata::client_timeout;
use crate::transcode::{BodyRule, MethodPlan};
use crate::upstream::UpstreamBody;

use super::call::Asked as AskedCall;
use super::counters::{Counters, OpenSocket};
use super::deadline::Deadline;
use super::forwarded::{host, is_trusted};
use super::reply::{self, Voice, accept};
use super::stream::Rule;
use super::tunnel::{Switched, is_handshake};
use super::{Connection, Current, Matched, ReplyBody, lookup, pump, rpc};

use session::{First, Opened};

/// Methods whose rules a handshake may stand for, in the order in which they are named to clients.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A handshake on a method's path.
pub(super) struct Asked<'l, 'p> {
    route: &'l Route,
    plan: &'l Arc<MethodPlan>,
    captures: SmallVec<[&'p str; 4]>,
    query: Option<Cow<'p, str>>,
}

impl<'l> Asked<'l, '_> {
    pub(super) fn route(&self) -> &'l Route {
        self.route
    }
}

/// The method that a handshake is for. `None` for every other request, and where the path has no
/// method.
pub(super) fn claim<'l, 'p>(
    live: &'l Live,
    head: &'p Parts,
) -> Option<Result<Asked<'l, 'p>, Failure>> {
    if !is_handshake(head) {
        return None;
    }
    let query = head.uri.query().map(Cow::Borrowed);
    if let Some(route) = rpc::route(live, head) {
        let Target::Rpc(plan) = &route.target else {
            return None;
        };
        return Some(Ok(Asked {
            route,
            plan,
            captures: SmallVec::new(),
            query,
        }));
    }
    let mut found: SmallVec<[(Method, Asked<'l, 'p>); 2]> = SmallVec::new();
    for method in METHODS {
        let Ok(Matched { route, captures }) = lookup(live, head, &method) else {
            continue;
        };
        let known = found.iter().any(|(_, a)| std::ptr::eq(a.route, route));
        if let (Target::Rpc(plan), false) = (&route.target, known) {
            let query = query.clone();
            let asked = Asked {
                route,
                plan,
                captures,
                query,
            };
            found.push((method, asked));
        }
    }
    (!found.is_empty()).then(|| choose(found, head.uri.query()))
}

/// Of the rules of a path: the one that the query names, the one that streams, `GET`, the only one.
fn choose<'l, 'p>(
    mut found: SmallVec<[(Method, Asked<'l, 'p>); 2]>,
    query: Option<&str>,
) -> Result<Asked<'l, 'p>, Failure> {
    let several = found.len() > 1;
    // A query parameter of a message may be called so as well.
    let named = query.filter(|_| several).and_then(named_method);
    if let Some((method, rest)) = named
        && let Some(at) = found.iter().position(|(m, _)| *m == method)
    {
        let (_, mut asked) = found.swap_remove(at);
        asked.query = Some(Cow::Owned(rest));
        return Ok(asked);
    }
    let streams = |(_, asked): &(Method, Asked<'_, '_>)| asked.plan.stream != StreamKind::Unary;
    if found.iter().any(streams) {
        found.retain(|one| streams(one));
    }
    let names: Vec<String> = found.iter().map(|(m, _)| format!("?method={m}")).collect();
    let only = found.len() == 1;
    let mut found = found.into_iter();
    match found.next() {
        Some((method, asked)) if only || method == Method::GET => Ok(asked),
        _ => Err(Failure::client(format!(
            "this path has more than one method: add {}",
            names.join(" or ")
        ))),
    }
}

/// Answers a handshake: 101, and what the connection becomes.
///
/// # Errors
/// 400, 403 or 426: the handshake, or what path, query and headers say, is refused.
pub(super) fn open(
    asked: Asked<'_, '_>,
    current: &Rc<Current>,
    connection: Connection,
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
    let call = AskedCall {
        plan,
        policy,
        trusted: &live.trusted_proxies,
        connection: &connection,
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
    let opened = Opened {
        current: Rc::clone(current),
        upstream: route.upstream,
        plan: Arc::clone(plan),
        rule,
        format: offer.format,
        request: request.map(|_| ()),
        timeout: client_timeout(&head.headers)?,
        first,
        open: OpenSocket::new(counters),
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
    connection: Connection,
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
