//! One request and its reply: look up, encode, call, decode; every failure ends in `reply::refuse`.

mod aim;
mod body;
mod call;
mod compress;
mod converse;
mod cors;
mod counters;
mod deadline;
mod decompress;
mod docs;
mod fallback;
mod fate;
mod files;
mod fixed;
mod forms;
mod forwarded;
mod gateway_reply;
mod headers;
mod holding;
mod kept;
mod messages;
mod overriding;
mod own;
mod preflight;
mod proxy;
mod pump;
mod reply;
mod request_id;
mod requests;
mod rewrite;
mod rpc;
mod stream;
mod told;
mod tunnel;
mod unpacking;
mod users;
mod vary;
mod waits;
mod websocket;

pub use body::ReplyBody;
pub use counters::Counters;
pub use told::Told;
pub use users::{Held, User};

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::request::Parts;
use http::{Method, Request, Response};
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client_body::ClientBody;
use crate::config::model::{Policy, ToHttps};
use crate::copies::Copies;
use crate::failure::{Blame, Failure, GrpcCode};
use crate::limits::DESCRIPTORS_RETRY_AFTER_SECONDS;
use crate::live::{Live, Route, Target};
use crate::memory::Memory;
use crate::route::{Lookup, RawPath};
use crate::schema::StreamKind;
use crate::snapshot::Generation;
use crate::telemetry::{Account, Book, Series, Speech};
use crate::tokens::Tokens;
use crate::transcode::MethodPlan;
use crate::transcode::gateway_headers::takes_trailers;
use crate::upstream::{UpstreamBody, Upstreams};

use aim::Aim;
use call::Asked;
use deadline::{Deadline, no_answer_in_time, no_body_in_time};
use messages::Messages;
use reply::{Voice, accept};
use request_id::{Ids, X_REQUEST_ID};
use stream::Shape;
use users::Past;

/// One generation as a worker holds it: the published value, and this worker's connections to the
/// upstreams that it names. Both are taken together, so that an id never meets another generation's
/// pools.
#[derive(Debug)]
pub struct Current {
    pub live: Arc<Live>,
    pub upstreams: Rc<Upstreams>,
    /// Of the worker, whatever it serves.
    pub counters: Rc<Counters>,
    /// Of the process: good answers, for when their upstreams are down.
    pub copies: Arc<Copies>,
    /// Of its routes, numbered as in `live`.
    pub series: Rc<Series>,
    /// Each who goes on with it has a clone.
    pub user: User,
}

impl Current {
    /// Puts the route that a request takes on its account.
    fn takes(&self, voice: &Voice<'_>) {
        if let (Some(account), Some(track)) = (voice.account, self.series.of(voice.series)) {
            account.note_track(track);
        }
    }
}

/// What a worker gives to every exchange.
#[derive(Debug)]
pub struct Exchange {
    current: RefCell<Rc<Current>>,
    past: Past,
    ids: Ids,
    /// Of all generations.
    book: Rc<Book>,
    notices: watch::Sender<Notice>,
    tokens: Arc<Tokens>,
    memory: Arc<Memory>,
}

/// What those who watch the gateway are woken for.
#[derive(Clone, Copy, Debug, Default)]
struct Notice {
    draining: bool,
}

impl Exchange {
    #[must_use]
    pub fn new(current: Current, tokens: Arc<Tokens>, memory: Arc<Memory>) -> Self {
        Self {
            current: RefCell::new(Rc::new(current)),
            past: Past::default(),
            ids: Ids::new(),
            book: Rc::new(Book::charging(Arc::clone(memory.budget()))),
            notices: watch::Sender::default(),
            tokens,
            memory,
        }
    }

    /// The generation now: to be taken once, and kept for the whole request. No atomic is touched.
    #[must_use]
    pub fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// The accounts of exchanges.
    #[must_use]
    pub fn book(&self) -> &Rc<Book> {
        &self.book
    }

    /// What was hit of the bounds on exchanges.
    #[must_use]
    pub fn counters(&self) -> Rc<Counters> {
        Rc::clone(&self.current.borrow().counters)
    }

    /// Later requests see `next`; those under way keep theirs.
    pub fn replace(&self, next: Current) {
        let old = self.current.replace(Rc::new(next));
        self.past.push(&old);
        self.notices.send_modify(|_| {});
    }

    /// Old generations that requests and replies of this worker go on with, and how many do.
    #[must_use]
    pub fn past(&self) -> Vec<(Generation, u64)> {
        self.past.in_use()
    }

    /// The gateway stops: tells those who watch it.
    pub fn drain(&self) {
        self.notices.send_modify(|notice| notice.draining = true);
    }
}

/// Facts of the client's connection, and the account of the exchange on it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: bool,
    /// The client's certificate, as services are told of it.
    pub certificate: Option<http::HeaderValue>,
    /// All requests are sent there.
    pub redirect: Option<ToHttps>,
    /// Its listener tells of the API.
    pub openapi: bool,
    /// Of [`Exchange::book`].
    pub account: Rc<Account>,
}

/// Answers one request. Never fails: each failure is a reply. Dropping the future or the reply's body
/// cancels the upstream call.
pub async fn exchange(
    cx: Rc<Exchange>,
    connection: Connection,
    request: Request<ClientBody>,
) -> Response<Told> {
    let current = cx.current(); // one generation serves the whole request
    let user = Rc::clone(&current.user);
    let account = &connection.account;
    let open = cx.book.follow(account);
    let active = current.series.begin();
    let (mut head, mut body) = request.into_parts();
    let id = cx.ids.of(head.headers.get(&X_REQUEST_ID));
    head.headers.insert(X_REQUEST_ID, id.clone());

    let live = &*current.live;
    told::describe(
        &cx.book,
        account,
        &connection,
        &head,
        &id,
        &live.trusted_proxies,
    );
    body.note_in(account);
    let mut voice = Voice::of_all(live, Some(account));
    current.takes(&voice);
    let answered = if let Some(text) = cx.tokens.answer(head.uri.path()) {
        account.note_speech(Speech::Http);
        Ok(fixed::token(&text))
    } else if let Some(to) = &connection.redirect {
        account.note_speech(Speech::Http);
        fixed::to_https(to, connection.local.port(), &head)
    } else if connection.openapi
        && let Some(answered) = docs::answer(live, &head)
    {
        account.note_speech(Speech::Http);
        answered
    } else if let Some(answered) = preflight::answer(live, &head, &mut voice) {
        current.takes(&voice);
        answered
    } else if let Some(asked) = websocket::claim(live, &head) {
        match asked {
            Ok(asked) => {
                voice = Voice::of(asked.route, live, account);
                current.takes(&voice);
                account.note_speech(Speech::WebSocket);
                let changed = headers::changed(voice.policy, &head);
                let head = changed.as_deref().unwrap_or(&head);
                let counters = Rc::clone(&current.counters);
                let opened = cx
                    .has_memory()
                    .and_then(|()| websocket::check_bare(&body))
                    .and_then(|()| websocket::open(asked, &current, &connection, head, counters));
                opened.or_else(|failure| websocket::refuse(voice, head, failure))
            }
            Err(failure) => Err(failure),
        }
    } else if let Some(call) = rpc::Call::claim(live, &head) {
        voice = call.voice(live, account);
        current.takes(&voice);
        account.note_speech(call.speech());
        Ok(Box::pin(async {
            let changed = headers::changed(voice.policy, &head);
            let head = changed.as_deref().unwrap_or(&head);
            call.answer(&cx, &current, &connection, head, body).await
        })
        .await)
    } else {
        match overriding::find(live, &head) {
            Ok(matched) => {
                voice = Voice::of(matched.route, live, account);
                current.takes(&voice);
                if !matches!(matched.route.target, Target::Rpc(_)) {
                    account.note_speech(Speech::Http);
                }
                // A proxied request's headers are changed where its origin has been told.
                let changed = match matched.route.target {
                    Target::Proxy { .. } => None,
                    _ => headers::changed(voice.policy, &head),
                };
                let head = changed.as_deref().unwrap_or(&head);
                match &matched.route.fallback {
                    _ if cx.is_short_of_memory() => Err(holding::short_of_memory()),
                    None => respond(&current, &connection, &matched, head, body).await,
                    Some(rule) => {
                        let rule = &**rule;
                        let answered =
                            fallback::respond(rule, &current, &connection, &matched, head, body);
                        Box::pin(answered).await
                    }
                }
            }
            Err(failure) => Err(match failure.code {
                GrpcCode::NotFound => rpc::misplaced(live, &head).unwrap_or(failure),
                _ => failure,
            }),
        }
    };
    if let Err(failure) = &answered {
        current.counters.note(failure);
        told::describe_failed(account, &head, &id);
    }
    let mut reply =
        answered.unwrap_or_else(|failure| reply::refuse(voice, accept(&head), &failure));
    if let Some(rule) = &voice.policy.compression {
        compress::apply(rule, &head, &mut reply, || {
            current.counters.compressor(live.limits.compressors_max)
        });
    }
    if let Some(rules) = &voice.policy.response_headers {
        headers::apply(rules, reply.headers_mut());
        if let Some(hsts) = rules.hsts.as_ref().filter(|_| connection.tls) {
            let entry = reply.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
            entry.or_insert_with(|| hsts.clone());
        }
    }
    if let Some(cors) = &voice.policy.cors {
        cors::mark(cors, &head, &mut reply);
    }
    let reply = reply::finish(reply, &head.method, id);
    drop(active);
    let reply = match takes_trailers(&head.headers) && head.method != Method::HEAD {
        true => gateway_reply::trail(reply),
        false => reply,
    };
    Told::reply(reply.map(|body| Held::new(body, user)), open)
}

/// The reply to a request that was refused before it came to a route.
#[must_use]
pub fn refuse(
    cx: &Exchange,
    connection: &Connection,
    head: &Parts,
    failure: &Failure,
) -> Response<Told> {
    let current = cx.current();
    let account = &connection.account;
    let open = cx.book.follow(account);
    let id = cx.ids.of(None);
    told::describe(
        &cx.book,
        account,
        connection,
        head,
        &id,
        &current.live.trusted_proxies,
    );
    told::describe_failed(account, head, &id);
    let voice = Voice::of_all(&current.live, Some(account));
    current.takes(&voice);
    Told::reply(reply::refuse(voice, None, failure).map(Held::from), open)
}

/// A route, and the raw texts of its variables.
struct Matched<'l, 'p> {
    route: &'l Route,
    captures: SmallVec<[&'p str; 4]>,
}

async fn respond(
    current: &Current,
    connection: &Connection,
    matched: &Matched<'_, '_>,
    head: &Parts,
    body: ClientBody,
) -> Result<Response<ReplyBody>, Failure> {
    let Matched { route, captures } = matched;
    match &route.target {
        // Boxed, as are streams below: a future is as large as its largest branch, and it is moved.
        Target::Proxy { below, rewrite } => {
            let path = rewrite::Rewrite {
                below: *below,
                to: rewrite.as_deref(),
            };
            Box::pin(proxy::forward(current, route, path, connection, head, body)).await
        }
        Target::Files(files, below) => {
            Box::pin(files::serve(files, below, route, &connection.account, head)).await
        }
        Target::Redirect(to, below) => fixed::redirect(to, below, head),
        Target::Respond(with) => Ok(fixed::respond(with)),
        Target::Rpc(plan) if matches!(plan.stream, StreamKind::Client | StreamKind::Bidi) => {
            let answered = converse::serve(current, route, plan, captures, connection, head, body);
            Box::pin(answered).await
        }
        Target::Rpc(plan) => {
            transcode(current, route, plan, captures, connection, head, body).await
        }
    }
}

/// One REST request as one gRPC call.
async fn transcode(
    current: &Current,
    route: &Route,
    plan: &MethodPlan,
    captures: &[&str],
    connection: &Connection,
    head: &Parts,
    body: ClientBody,
) -> Result<Response<ReplyBody>, Failure> {
    let Current {
        live, upstreams, ..
    } = current;
    let policy = &*route.policy;
    let form = Form::choose(plan, policy, &head.headers);
    if let Form::Stream(shape) = form
        && let Some(reply) = shape.nothing_more(&head.headers)
    {
        return Ok(reply);
    }
    let query = pump::query_policy(policy, &live.limits);
    let selection = plan.selection(head.uri.query(), &query)?;
    let deadline = Deadline::earliest(Instant::now(), &head.headers, policy)?;

    let message = {
        let limits = &live.limits;
        let encode = pin!(pump::encode(plan, policy, limits, captures, head, body));
        deadline.bound(encode, no_body_in_time).await?
    };
    let asked = Asked {
        plan,
        policy,
        trusted: &live.trusted_proxies,
        connection,
        head,
        deadline: &deadline,
    };
    let spare = fallback::Spare::of(route, &message);
    let call = asked.rest(UpstreamBody::whole(message))?;
    let aim = Aim {
        live,
        route,
        plan: Some(plan),
        captures,
        head,
        connection,
    };
    let how = aim.how(Some(&deadline));
    let answer = pin!(async {
        let answer = upstreams.call(route.upstream, call, how).await;
        let answer = match spare {
            None => answer?,
            Some(spare) => Box::pin(spare.or(answer, current, asked, how)).await?,
        };
        let open = |answer| Messages::open(answer, policy.reply_bytes_max);
        match form {
            Form::Unary => {
                let limits = &live.limits;
                pump::decode(plan, policy, limits, selection, open(answer)?).await
            }
            Form::Stream(shape) => {
                let mut rule = stream::Rule::of(plan, route, &live.limits, &head.headers);
                rule.selection = selection;
                let begun =
                    Box::pin(async { stream::begin(rule, shape, &deadline, open(answer)?).await });
                match begun.await {
                    Err(failure) if policy.compat.is_grpc_gateway() => {
                        let voice = Voice::of(route, live, &connection.account);
                        Ok(gateway_reply::refuse_stream(voice, &failure))
                    }
                    begun => begun,
                }
            }
        }
    });
    deadline.bound(answer, no_answer_in_time).await
}

/// What the client gets.
enum Form {
    Unary,
    Stream(Shape),
}

impl Form {
    fn choose(plan: &MethodPlan, policy: &Policy, headers: &http::HeaderMap) -> Self {
        match plan.stream {
            StreamKind::Unary | StreamKind::Client => Self::Unary,
            StreamKind::Server | StreamKind::Bidi => {
                Self::Stream(Shape::choose(plan, headers).of_route(policy))
            }
        }
    }
}

/// The route for a request.
///
/// # Errors
/// 400, 404 or 405.
fn lookup<'l, 'p>(
    live: &'l Live,
    head: &'p Parts,
    method: &Method,
) -> Result<Matched<'l, 'p>, Failure> {
    let path = RawPath::parse(head.uri.path()).map_err(|e| Failure::client(e.to_string()))?;
    let host = host_name(forwarded::host(head).unwrap_or_default());
    let found = match live.table.lookup(host, method, &path) {
        Lookup::Matched(found) => found,
        Lookup::MethodNotAllowed { allow } => return Err(not_allowed(head, allow)),
        Lookup::NotFound => return Err(not_yet(live).unwrap_or_else(not_found)),
    };
    Ok(Matched {
        route: live.route(found.route).ok_or_else(not_found)?,
        captures: found.captures,
    })
}

/// A host without its port; an IPv6 address keeps its brackets.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Until every upstream has told what it serves, a path without a route may be one of theirs.
fn not_yet(live: &Live) -> Option<Failure> {
    let names = live
        .awaited
        .iter()
        .filter_map(|id| live.upstreams.get(id.0 as usize));
    let names: Vec<_> = names.map(|u| format!("{:?}", u.name)).collect();
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "no route has this path yet: the descriptors of upstream {} haven't come",
        names.join(", ")
    );
    // Logged as a 404 is: unknown paths come from everywhere, and whoever asks for the descriptors
    // warns of the upstream.
    let mut failure = Failure::new(Blame::Client, GrpcCode::Unavailable, message);
    failure.retry_after_seconds = Some(DESCRIPTORS_RETRY_AFTER_SECONDS);
    Some(failure)
}

fn not_found() -> Failure {
    Failure::new(Blame::Client, GrpcCode::NotFound, "no route has this path")
}

fn not_allowed(head: &Parts, allow: http::HeaderValue) -> Failure {
    let message = format!("{} is not allowed here", head.method);
    let mut failure = Failure::new(Blame::Client, GrpcCode::Unimplemented, message)
        .status(http::StatusCode::METHOD_NOT_ALLOWED);
    failure.allow = Some(allow);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved several times for each request.
    #[test]
    fn the_future_of_an_exchange_stays_small() {
        let size = size_of_future(exchange);
        assert!(size <= 5 * 1024 + 512, "{size} bytes");
    }

    #[test]
    fn a_host_is_without_its_port() {
        for (host, name) in [
            ("shop.example", "shop.example"),
            ("shop.example:8080", "shop.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_name(host), name);
        }
    }
}
