//! Calls by clients that speak gRPC, or a protocol like it, on `/pkg.Service/Method`.
//!
//! Messages are not looked into: bytes pass as they come, with the lengths of messages followed
//! (`FrameMeter`). A method with one request is read whole before it is sent, so that it may be sent
//! again; a stream of requests goes up as it comes. Every failure is told in the client's protocol.

mod calling;
mod connect;
mod down;
mod refuse;
mod up;

pub use connect::ConnectStream;
pub use down::RpcReply;

use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use tokio::time::Instant;

use crate::client_body::ClientBody;
use crate::config::model::Policy;
use crate::failure::{Blame, Failure, GrpcCode, Limit};
use crate::limits::ByteLimit;
use crate::live::{Live, Route, Target};
use crate::protocol::connect as connect_protocol;
use crate::protocol::dialect::{Dialect, MessageFormat, WebBody};
use crate::protocol::grpc_web::{TextDecoder, TextError};
use crate::schema::StreamKind;
use crate::telemetry::{Account, Speech};
use crate::transcode::MethodPlan;
use crate::transcode::coding::CodingError;
use crate::transcode::frame::{FrameError, PREFIX_BYTES};
use crate::transcode::meter::FrameMeter;
use crate::transcode::status::check_head;
use crate::upstream::UpstreamBody;

use calling::Calling;
use down::Ending;
use refuse::refuse;

use super::body::ReplyBody;
use super::call::CodingOf;
use super::deadline::{Deadline, no_body_in_time};
use super::holding::{Holding, short_of_memory};
use super::pump;
use super::reply::Voice;
use super::waits::{Activity, First, Waits};
use super::{Connection, Current, Exchange, forwarded, host_name, lookup, not_yet};

/// The method that a path names.
pub(super) fn route<'l>(live: &'l Live, head: &Parts) -> Option<&'l Route> {
    let host = host_name(forwarded::host(head).unwrap_or_default());
    live.method(host, head.uri.path())
}

/// What a method's own path takes.
const TAKEN: &str = "application/json, application/proto, application/grpc, application/grpc-web";

/// Why a request for a method's own path is none of its calls, where no route takes it either.
pub(super) fn misplaced(live: &Live, head: &Parts) -> Option<Failure> {
    let route = route(live, head)?;
    if head.method != Method::POST {
        let message = format!(
            "{} is not allowed here: methods are called with POST",
            head.method
        );
        let mut failure = Failure::new(Blame::Client, GrpcCode::Unimplemented, message)
            .status(StatusCode::METHOD_NOT_ALLOWED);
        let safe = matches!(&route.target, Target::Rpc(plan) if plan.no_side_effects);
        failure.allow = Some(HeaderValue::from_static(if safe {
            "POST, GET"
        } else {
            "POST"
        }));
        return Some(failure);
    }
    let sent = head.headers.get(CONTENT_TYPE);
    let sent = sent.map_or("no content type".into(), |t| {
        String::from_utf8_lossy(t.as_bytes())
    });
    let mut failure = Failure::client(format!(
        "this method is called with application/json, not with {sent} (curl: -H 'content-type: application/json')"
    ))
    .status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    failure.accept_post = Some(TAKEN);
    Some(failure)
}

/// A request that speaks a protocol for calls, and the method that it is for.
pub(super) struct Call<'l> {
    dialect: Dialect,
    route: Option<&'l Route>,
}

impl<'l> Call<'l> {
    /// `None` for requests of other kinds, and for those whose path is no method's but one that is
    /// passed on.
    pub(super) fn claim(live: &'l Live, head: &Parts) -> Option<Self> {
        let Some(dialect) = head.headers.get(CONTENT_TYPE).and_then(Dialect::of) else {
            return Self::claim_connect(live, head);
        };
        let route = route(live, head);
        let ours = route.is_some()
            || live.rpcs.is_of_service(head.uri.path())
            || !lookup(live, head, &head.method)
                .is_ok_and(|found| matches!(found.route.target, Target::Proxy { .. }));
        ours.then_some(Self { dialect, route })
    }

    /// Connect's unary calls look like REST: a JSON POST on a method's own path, or a GET that says so.
    fn claim_connect(live: &'l Live, head: &Parts) -> Option<Self> {
        let query = head.uri.query();
        let format = match head.method {
            Method::POST => Dialect::may_be_connect(head.headers.get(CONTENT_TYPE)?),
            Method::GET => query.is_some_and(connect_protocol::is_get),
            _ => false,
        };
        if !format {
            return None;
        }
        let route = route(live, head)?;
        // With `auto` it is REST unless the client says otherwise.
        if route.policy.auto && !connect_protocol::says_so(&head.headers, query) {
            return None;
        }
        Some(Self {
            dialect: Dialect::ConnectUnary(MessageFormat::Json),
            route: Some(route),
        })
    }

    pub(super) fn voice(&self, live: &'l Live, account: &'l Account) -> Voice<'l> {
        match self.route {
            Some(route) => Voice::of(route, live, account),
            None => Voice::of_all(live, Some(account)),
        }
    }

    /// The protocol that the client speaks.
    pub(super) fn speech(&self) -> Speech {
        match self.dialect {
            Dialect::Grpc(_) => Speech::Grpc,
            Dialect::GrpcWeb(..) => Speech::GrpcWeb,
            Dialect::ConnectUnary(_) | Dialect::ConnectStream(_) => Speech::Connect,
        }
    }

    /// Never fails: each failure is a reply. Dropping the future or the reply's body cancels the
    /// upstream call.
    pub(super) async fn answer(
        self,
        cx: &Rc<Exchange>,
        current: &Current,
        connection: &Connection,
        head: &Parts,
        body: ClientBody,
    ) -> Response<ReplyBody> {
        let voice = self.voice(&current.live, &connection.account);
        let Self { dialect, route } = self;
        let answered = match route.map(|route| (route, &route.target)) {
            _ if cx.is_short_of_memory() => Err(short_of_memory()),
            Some((route, Target::Rpc(plan))) => {
                let calling = Calling {
                    cx,
                    current,
                    connection,
                    route,
                    plan,
                    head,
                };
                call(calling, dialect, body).await
            }
            Some(_) => Err(unknown_method(head.uri.path())),
            None => Err(unknown(&current.live, head.uri.path())),
        };
        answered.unwrap_or_else(|failure| {
            current.counters.note(&failure);
            refuse(dialect, voice, head, &failure)
        })
    }
}

fn unknown(live: &Live, path: &str) -> Failure {
    let awaited = match live.rpcs.is_of_service(path) {
        true => None,
        false => not_yet(live),
    };
    awaited.unwrap_or_else(|| unknown_method(path))
}

fn unknown_method(path: &str) -> Failure {
    let name = path.trim_start_matches('/');
    Failure::new(
        Blame::Client,
        GrpcCode::Unimplemented,
        format!("unknown method {name}"),
    )
}

async fn call(
    calling: Calling<'_>,
    dialect: Dialect,
    body: ClientBody,
) -> Result<Response<ReplyBody>, Failure> {
    let Calling {
        route, plan, head, ..
    } = calling;
    match dialect {
        Dialect::ConnectUnary(format) => return Box::pin(calling.unary(format, body)).await,
        Dialect::ConnectStream(format) => return Box::pin(calling.stream(format, body)).await,
        Dialect::Grpc(_) | Dialect::GrpcWeb(..) => check(head, dialect)?,
    }
    let policy = &*route.policy;
    let deadline = Deadline::earliest(Instant::now(), &head.headers, policy)?;
    let (frames, up) = requests(plan, policy, &deadline, text(dialect), body).await?;
    let asked = calling.asked(&deadline);
    let request = asked.rpc(grpc_type(dialect, head), CodingOf::Client, frames)?;

    let aim = calling.aim();
    let how = aim.how(Some(&deadline).filter(|_| up.is_none()));
    let mut waits = waits(plan.stream, policy, &deadline, up.as_ref());
    let answer = pin!(calling.send(request, how));
    let answer = waits.bound(answer).await;
    // What was wrong with the requests explains more than what the upstream made of it.
    let answer =
        answer.map_err(|failure| up.as_ref().and_then(|u| u.failure()).unwrap_or(failure))?;
    check_head(answer.status(), answer.headers())?;
    let counters = &calling.current.counters;
    let ending = Ending::of(dialect, head);
    Ok(down::begin(answer, ending, route, waits, up, counters))
}

fn check(head: &Parts, dialect: Dialect) -> Result<(), Failure> {
    if head.method != http::Method::POST {
        let mut failure = Failure::client("calls are made with POST");
        failure.allow = Some(HeaderValue::from_static("POST"));
        return Err(failure.status(StatusCode::METHOD_NOT_ALLOWED));
    }
    // Trailers say how a call ended, and few clients get to see those of HTTP/1.1.
    if matches!(dialect, Dialect::Grpc(_)) && head.version < Version::HTTP_2 {
        let failure = Failure::client("gRPC needs HTTP/2");
        return Err(failure.status(StatusCode::HTTP_VERSION_NOT_SUPPORTED));
    }
    if let Dialect::GrpcWeb(_, MessageFormat::Json | MessageFormat::Other) = dialect {
        let failure = Failure::client("gRPC-Web is served with protobuf messages alone");
        return Err(failure.status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    Ok(())
}

/// The content type of the call upstream.
fn grpc_type(dialect: Dialect, head: &Parts) -> HeaderValue {
    let own = head.headers.get(CONTENT_TYPE);
    match dialect {
        Dialect::Grpc(_) => own.cloned(),
        _ => None,
    }
    .unwrap_or(HeaderValue::from_static("application/grpc"))
}

/// What goes up, and for a stream of requests what is known of it while it does.
async fn requests(
    plan: &MethodPlan,
    policy: &Policy,
    deadline: &Deadline,
    text: Option<TextDecoder>,
    body: ClientBody,
) -> Result<(UpstreamBody, Option<Rc<up::Watch>>), Failure> {
    let max = policy.body_bytes_max;
    match plan.stream {
        StreamKind::Unary | StreamKind::Server => {
            let collect = pin!(one_request(body, text, max));
            let frames = deadline.bound(collect, no_body_in_time).await?;
            Ok((UpstreamBody::whole(frames), None))
        }
        StreamKind::Client | StreamKind::Bidi => {
            let (source, watch) = up::Passing::new(body, text, max);
            Ok((UpstreamBody::frames(source), Some(watch)))
        }
    }
}

/// The whole of a request that is one message.
async fn one_request(
    body: ClientBody,
    text: Option<TextDecoder>,
    max: ByteLimit,
) -> Result<Bytes, Failure> {
    let framed = max.bytes().saturating_add(PREFIX_BYTES);
    let held = match &text {
        None => framed,
        Some(_) => framed.div_ceil(3).saturating_mul(4),
    };
    let mut room = Holding::of_request(body.account());
    let mut frames = pump::collect(body, ByteLimit::new(held).unwrap_or(max)).await;
    if let Err(failure) = &mut frames
        && failure.code == GrpcCode::ResourceExhausted
    {
        failure.message = format!("the request is larger than {} bytes", max.bytes()).into();
    }
    let mut frames = frames?;
    if let Some(mut text) = text {
        let mut bytes = Vec::with_capacity(frames.len() / 4 * 3 + 3);
        text.push(&frames, &mut bytes).map_err(not_base64)?;
        text.finish().map_err(not_base64)?;
        frames = room.seal(bytes.into())?;
    }
    let mut meter = FrameMeter::new(max);
    meter.pass(&frames).map_err(of_client)?;
    meter.finish().map_err(of_client)?;
    Ok(frames)
}

/// What reads the request's body when it is text.
fn text(dialect: Dialect) -> Option<TextDecoder> {
    matches!(dialect, Dialect::GrpcWeb(WebBody::Text, _)).then(TextDecoder::default)
}

fn not_base64(error: TextError) -> Failure {
    Failure::client(format!("the request can't be read: {error}"))
}

/// For frames that a client sent.
pub(super) fn of_client(error: FrameError) -> Failure {
    let message = format!("the request can't be read: {error}");
    let failure = |code| Failure::new(Blame::Client, code, message);
    match error {
        FrameError::TooLarge { .. } => failure(GrpcCode::ResourceExhausted).over(Limit::Message),
        FrameError::Coding(CodingError::TooLarge { .. }) => {
            failure(GrpcCode::ResourceExhausted).over(Limit::Unpacked)
        }
        _ => failure(GrpcCode::InvalidArgument),
    }
}

fn waits(
    stream: StreamKind,
    policy: &Policy,
    deadline: &Deadline,
    up: Option<&Rc<up::Watch>>,
) -> Waits {
    waits_beside(stream, policy, deadline, up.map(|u| Rc::clone(&u.activity)))
}

/// How long the answer may be waited for, beside requests that stream or after the only one.
pub(super) fn waits_beside(
    stream: StreamKind,
    policy: &Policy,
    deadline: &Deadline,
    activity: Option<Rc<Activity>>,
) -> Waits {
    let end = match stream {
        StreamKind::Unary => Some(deadline.of_answer()),
        StreamKind::Client | StreamKind::Server | StreamKind::Bidi => deadline.of_stream(),
    };
    let first = match activity {
        None => First::By(deadline.of_answer()),
        Some(_) => First::After(policy.timeout),
    };
    Waits::new(policy.stream_idle, end).of_call(first, activity)
}
