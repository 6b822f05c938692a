//! Calls whose requests stream, over plain HTTP: documents in a JSON array or one after the other, or a
//! raw body in pieces. Requests go up while answers come down; neither waits for the other's end.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Response, Version};
use tokio::time::Instant;

use crate::client_body::ClientBody;
use crate::failure::Failure;
use crate::live::Route;
use crate::protocol::elements::Elements;
use crate::protocol::rest;
use crate::protocol::stream::arrangement;
use crate::schema::StreamKind;
use crate::transcode::{BodyRule, MethodPlan};
use crate::upstream::UpstreamBody;

use super::aim::Aim;
use super::call::Asked;
use super::deadline::Deadline;
use super::decompress::Packed;
use super::fate::Fate;
use super::forms::OneFile;
use super::kept::{Bound, Kept};
use super::messages::Messages;
use super::pump::{self, check_media, codec_limits};
use super::requests::{Cut, Ending, Requests};
use super::stream::{self, Shape};
use super::unpacking::{Coming, Pieces};
use super::{Connection, Current, ReplyBody};

/// One call. Dropping the future, or the reply's body, cancels it.
pub(super) async fn serve(
    current: &Current,
    route: &Route,
    plan: &Arc<MethodPlan>,
    captures: &[&str],
    connection: &Connection,
    head: &Parts,
    body: ClientBody,
) -> Result<Response<ReplyBody>, Failure> {
    let Current {
        live, upstreams, ..
    } = current;
    let policy = &*route.policy;
    let now = Instant::now();
    let deadline = Deadline::earliest(now, &head.headers, policy)?;
    let shape = Shape::choose(plan, &head.headers).of_route(policy);
    if plan.stream == StreamKind::Bidi
        && let Some(reply) = shape.nothing_more(&head.headers)
    {
        return Ok(reply);
    }
    let query = pump::query_policy(policy, &live.limits);
    let selection = plan.selection(head.uri.query(), &query)?;
    let fate = Fate::new();
    // A client of HTTP/1.1 may write all of its requests before it reads.
    let mut writing = None;
    let requests = match plan.body {
        // Nothing but path and query: one message.
        BodyRule::None => {
            let encoded = pump::encode(plan, policy, &live.limits, captures, head, body);
            UpstreamBody::whole(encoded.await?)
        }
        _ => {
            let cut = cut(plan, &head.headers, route)?;
            let body = Coming::new(body.patient());
            if plan.stream == StreamKind::Bidi && head.version < Version::HTTP_2 {
                writing = Some(body.clone());
            }
            let body = Pieces::new(body, Packed::of(&head.headers)?)?;
            let first = plan.bind_apart(captures, head.uri.query(), &query)?;
            UpstreamBody::frames(Requests {
                body,
                cut,
                plan: Arc::clone(plan),
                limits: codec_limits(&live.limits),
                first: Some(first),
                fate: Rc::clone(&fate),
                out: Vec::new(),
                piece: Bytes::new(),
                ending: Ending::More,
            })
        }
    };
    let asked = Asked {
        plan,
        policy,
        trusted: &live.trusted_proxies,
        connection,
        head,
        deadline: &deadline,
    };
    let call = asked.rest(requests)?;
    let aim = Aim {
        live,
        route,
        plan: Some(plan),
        captures,
        head,
        connection,
    };
    let how = aim.how(None);
    let work = pin!(async {
        let answer = upstreams.call(route.upstream, call, how).await?;
        let messages = Messages::open(answer, policy.reply_bytes_max)?.beside(&fate);
        if plan.stream == StreamKind::Client {
            return pump::decode(plan, policy, &live.limits, selection, messages).await;
        }
        let mut rule = stream::Rule::of(plan, route, &live.limits, &head.headers);
        rule.selection = selection;
        stream::begin_at_head(rule, shape, &deadline, messages).await
    });
    let reply = fate.bound(work, (policy.timeout, policy.stream_idle), &deadline);
    let reply = reply.await?;
    Ok(match writing {
        Some(requests) => keep(reply, requests, current),
        None => reply,
    })
}

/// Has what streams in the reply read whether or not the client reads it.
fn keep(reply: Response<ReplyBody>, requests: Coming, current: &Current) -> Response<ReplyBody> {
    let bound = Bound {
        bytes_max: current.live.limits.kept_replies_bytes_max,
        // Less than the listener gives a client that takes nothing: it would end without a word.
        patience: current.live.timeouts.write_idle / 2,
    };
    reply.map(|body| match body {
        ReplyBody::Messages(_) | ReplyBody::Raw(_) => {
            let counters = Rc::clone(&current.counters);
            ReplyBody::Kept(Box::new(Kept::new(body, requests, bound, counters)))
        }
        body => body,
    })
}

/// How the body is cut into messages.
///
/// # Errors
/// 415 for a body of another type.
fn cut(plan: &MethodPlan, headers: &HeaderMap, route: &Route) -> Result<Cut, Failure> {
    let content_type = headers.get(CONTENT_TYPE);
    let Some(target) = plan.body_target() else {
        if let Some(boundary) = pump::parts_of(plan, headers) {
            return Ok(Cut::Raw {
                content_type: Box::default(),
                begun: false,
                form: Some(Box::new(OneFile::new(&boundary))),
            });
        }
        let text = content_type.and_then(|v| v.to_str().ok());
        return Ok(Cut::Raw {
            content_type: text.unwrap_or_default().into(),
            begun: false,
            form: None,
        });
    };
    let arrangement = match arrangement(content_type) {
        Some(arrangement) => arrangement,
        None => {
            // grpc-gateway takes every body for JSON.
            if !route.policy.compat.is_grpc_gateway() {
                check_media(rest::check_json(content_type))?;
            }
            crate::protocol::elements::Arrangement::ArrayOrSequence
        }
    };
    Ok(Cut::Json {
        elements: Elements::new(arrangement, route.policy.body_bytes_max),
        target,
        job: None,
    })
}
