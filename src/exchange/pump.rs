//! Request → gRPC message, gRPC message → reply. Long work is done in slices, with a turn for the
//! worker's other tasks after each.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use crate::client_body::{ClientBody, too_large};
use crate::codec::{
    Codec, CodecLimits, DecodeError, EncodeError, EncodeErrorKind, Encoder, Printer, Progress,
    Selection, Target,
};
use crate::config::model::Policy;
use crate::failure::{Failure, GrpcCode};
use crate::limits::{ByteLimit, Limits, PRINT_CHUNK_BYTES, WORK_SLICE_BYTES};
use crate::protocol::multipart;
use crate::protocol::rest::{self, MediaError, RawBody};
use crate::schema::FieldRef;
use crate::telemetry::{Direction, transcoding};
use crate::transcode::frame::{self, PREFIX_BYTES};
use crate::transcode::{BodyRule, MethodPlan, QueryPolicy, ResponseRule};

use super::body::{Document, ReplyBody};
use super::decompress::Packed;
use super::forms;
use super::holding::Holding;
use super::messages::Messages;
use super::reply;

/// Room for a message that path and query make.
const SMALL_MESSAGE_BYTES: usize = 128;

/// How the query of such a route is read.
pub(super) fn query_policy<'p>(policy: &'p Policy, limits: &Limits) -> QueryPolicy<'p> {
    QueryPolicy {
        unknown: policy.unknown_query,
        ignored: &policy.ignored_query_parameters,
        parameters_max: limits.query_parameters_max,
        partial: policy.partial_responses,
        compat: policy.compat,
    }
}

/// Reads and encodes the request: one framed gRPC message. Dropping it stops reading.
///
/// # Errors
/// 400, 413 or 415 with what is wrong with body, path or query.
pub(super) async fn encode(
    plan: &MethodPlan,
    policy: &Policy,
    limits: &Limits,
    captures: &[&str],
    head: &Parts,
    body: ClientBody,
) -> Result<Bytes, Failure> {
    let query = query_policy(policy, limits);
    // What path and query make of a message is mostly small.
    let mut wire = Vec::with_capacity(SMALL_MESSAGE_BYTES);
    let frame = frame::start(&mut wire);
    let max = limits.message_bytes_max;
    let mut room = Holding::of_request(body.account());
    if plan.takes_form(head.headers.get(CONTENT_TYPE)) {
        Box::pin(forms::bind(
            plan, policy, &query, captures, head, body, &mut wire,
        ))
        .await?;
        return room.seal(closed(wire, frame, max)?);
    }
    if let Some(boundary) = parts_of(plan, &head.headers) {
        let of = (head, &*boundary);
        Box::pin(forms::bind_parts(
            plan, policy, &query, captures, of, body, &mut wire,
        ))
        .await?;
        return room.seal(closed(wire, frame, max)?);
    }
    match (plan.body_target(), plan.body) {
        (Some(target), _) => {
            let mask = plan.mask_to_fill(head.uri.query(), &query);
            let into = (wire, &mut room);
            wire = encode_json(plan, (target, mask), policy, limits, head, body, into).await?;
        }
        (None, BodyRule::RawWhole | BodyRule::RawField(_)) => {
            let data = content(&head.headers, body, policy.body_bytes_max).await?;
            let content_type = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
            plan.bind_raw_body(content_type.unwrap_or_default(), &data, &mut wire);
        }
        (None, _) => refuse_content(body, policy).await?,
    }
    plan.bind(captures, head.uri.query(), &query, &mut wire)?;
    room.seal(closed(wire, frame, max)?)
}

/// The boundary of a form in parts, where the route takes one.
pub(super) fn parts_of(plan: &MethodPlan, headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(CONTENT_TYPE).filter(|_| plan.takes_files())?;
    multipart::boundary(content_type)
}

/// Appends the body's part of the message, and the mask of what it gives where that is asked for.
async fn encode_json(
    plan: &MethodPlan,
    (target, mask): (Target, Option<FieldRef>),
    policy: &Policy,
    limits: &Limits,
    head: &Parts,
    body: ClientBody,
    (mut wire, room): (Vec<u8>, &mut Holding),
) -> Result<Vec<u8>, Failure> {
    if body.is_end_stream() {
        return Ok(wire);
    }
    // grpc-gateway takes every body for JSON.
    if !policy.compat.is_grpc_gateway() {
        check_media(rest::check_json(head.headers.get(CONTENT_TYPE)))?;
    }
    let json = content(&head.headers, body, policy.body_bytes_max).await?;
    if json.is_empty() {
        return Ok(wire);
    }
    let codec = &*plan.codec;
    // Most messages are shorter than their JSON. Room that isn't written to costs next to nothing; to
    // grow a large buffer is to copy it, and the worker's other calls wait meanwhile.
    room.cover(json.len())?;
    wire.reserve(json.len());
    let mut job =
        Encoder::new(codec, target, codec_limits(limits), wire).map_err(|e| of_body(&e))?;
    if mask.is_some() {
        job = job.noting_paths();
    }
    while encode_some(codec, &mut job, &json)? == Progress::More {
        tokio::task::yield_now().await;
    }
    let Some(mask) = mask else {
        return Ok(job.finish());
    };
    let (mut wire, paths) = job.finish_with_paths();
    plan.fill_mask(mask, &paths, &mut wire);
    Ok(wire)
}

/// Encodes a whole JSON document of a message.
///
/// # Errors
/// 400 or 413, naming the field.
pub(super) async fn encode_document(
    plan: &MethodPlan,
    limits: &Limits,
    json: &[u8],
) -> Result<Vec<u8>, Failure> {
    let target = Target::Message(plan.input);
    let room = Vec::with_capacity(json.len() + PREFIX_BYTES);
    let job = Encoder::new(&plan.codec, target, codec_limits(limits), room);
    let mut job = job.map_err(|e| of_body(&e))?;
    while encode_some(&plan.codec, &mut job, json)? == Progress::More {
        tokio::task::yield_now().await;
    }
    Ok(job.finish())
}

/// The beginning of encoding a JSON document.
pub(super) fn document(
    codec: &Codec,
    target: Target,
    limits: CodecLimits,
) -> Result<Encoder, Failure> {
    Encoder::new(codec, target, limits, Vec::new()).map_err(|e| of_body(&e))
}

/// One step of it.
pub(super) fn encode_some(
    codec: &Codec,
    job: &mut Encoder,
    json: &[u8],
) -> Result<Progress, Failure> {
    let step = || job.step(codec, json, WORK_SLICE_BYTES);
    transcoding(Direction::Request, step).map_err(|e| of_body(&e))
}

/// Puts the message into its frame: one buffer, so that it may be sent again.
pub(super) fn framed(mut wire: Vec<u8>, max: ByteLimit) -> Result<Bytes, Failure> {
    check_length(wire.len(), max)?;
    wire.reserve_exact(PREFIX_BYTES);
    wire.splice(0..0, [0; PREFIX_BYTES]);
    closed(wire, 0, max)
}

/// The same of a message that is there already.
pub(super) fn framed_copy(message: &[u8], max: ByteLimit) -> Result<Bytes, Failure> {
    let mut wire = Vec::with_capacity(message.len() + PREFIX_BYTES);
    let frame = frame::start(&mut wire);
    wire.extend_from_slice(message);
    closed(wire, frame, max)
}

/// The same where the message was written after the `frame` that began at its buffer's start.
fn closed(mut wire: Vec<u8>, frame: usize, max: ByteLimit) -> Result<Bytes, Failure> {
    check_length(wire.len().saturating_sub(PREFIX_BYTES), max)?;
    frame::finish(&mut wire, frame)
        .map_err(|e| Failure::client(e.to_string()).status(StatusCode::PAYLOAD_TOO_LARGE))?;
    Ok(wire.into())
}

fn check_length(length: usize, max: ByteLimit) -> Result<(), Failure> {
    let max = max.bytes();
    match length <= max {
        true => Ok(()),
        false => Err(Failure::client(format!(
            "the request makes a message of {length} bytes, the limit is {max}"
        ))
        .status(StatusCode::PAYLOAD_TOO_LARGE)),
    }
}

/// The whole body out of its content coding; both forms are bounded.
pub(super) async fn content(
    headers: &HeaderMap,
    body: ClientBody,
    max: ByteLimit,
) -> Result<Bytes, Failure> {
    let packed = Packed::of(headers)?;
    let mut room = Holding::of_request(body.account());
    let body = collect(body, max).await?;
    match packed {
        Packed::No => Ok(body),
        packed => Box::pin(packed.unpack(body, max, &mut room)).await,
    }
}

/// The whole body, in the buffer that it came in when that is one.
pub(super) async fn collect(mut body: ClientBody, max: ByteLimit) -> Result<Bytes, Failure> {
    let max = max.bytes();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max {
        return Err(too_large(max));
    }
    let mut room = Holding::of_request(body.account());
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if data.len() > max.saturating_sub(first.len().max(all.len())) {
            return Err(too_large(max));
        }
        // What is announced is only written to as it comes.
        room.cover(first.len().max(all.len()) + data.len())?;
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    room.seal(if all.is_empty() { first } else { all.into() })
}

/// A route without a body rule takes no content: dropping what a client sends would hide its
/// mistake. An empty object says nothing either and is let through. grpc-gateway doesn't look.
async fn refuse_content(body: ClientBody, policy: &Policy) -> Result<(), Failure> {
    if body.is_end_stream() {
        return Ok(());
    }
    let content = collect(body, policy.body_bytes_max).await?;
    match content.trim_ascii() {
        _ if policy.compat.is_grpc_gateway() => Ok(()),
        b"" | b"{}" => Ok(()),
        _ => Err(Failure::client("this route takes no request body")),
    }
}

pub(super) fn check_media(checked: Result<(), MediaError>) -> Result<(), Failure> {
    checked.map_err(|e| Failure::client(e.to_string()).status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// 400 or 413 for a JSON body, naming the field.
fn of_body(error: &EncodeError) -> Failure {
    match error.kind {
        EncodeErrorKind::TooLarge => {
            Failure::client(error.to_string()).status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        EncodeErrorKind::Syntax => Failure::client(format!(
            "the request body is not JSON: {error} (at byte {})",
            error.offset
        ))
        .violation(error.path.clone(), error.what.clone()),
        EncodeErrorKind::Value | EncodeErrorKind::TooDeep => {
            Failure::client(error.to_string()).violation(error.path.clone(), error.what.clone())
        }
    }
}

pub(super) fn codec_limits(limits: &Limits) -> CodecLimits {
    CodecLimits {
        depth_max: limits.depth_max,
        encoded_bytes_max: limits.message_bytes_max.bytes(),
    }
}

/// Reads the answer of a unary call and begins the reply. Dropping it resets the upstream's stream.
///
/// # Errors
/// The service's failure, or 502 for an answer that can't be one.
pub(super) async fn decode(
    plan: &MethodPlan,
    policy: &Policy,
    limits: &Limits,
    selection: Option<Arc<Selection>>,
    mut messages: Messages,
) -> Result<Response<ReplyBody>, Failure> {
    let wire = only(&mut messages).await?;
    let content = Content::of(plan);
    let location = plan.location.as_ref();
    let location = location.and_then(|l| l.of(&plan.codec, &wire, codec_limits(limits)));
    let mut reply = match content {
        Content::Raw { .. } => raw(content, &wire)?,
        Content::Json(target) => print(&plan.codec, (target, selection), limits, wire).await?,
    };
    reply::succeed(&mut reply, policy, messages.metadata());
    if let Some(location) = location {
        // The service's own, where the route lets it through, says more.
        reply.headers_mut().entry(LOCATION).or_insert(location);
    }
    Ok(reply)
}

/// The one message of a unary call, and its end.
///
/// # Errors
/// The service's failure, or 502 for an answer that isn't one message.
pub(super) async fn only(messages: &mut Messages) -> Result<Bytes, Failure> {
    let Some(wire) = messages.next().await? else {
        return Err(broken_call("the service answered OK without a message"));
    };
    if messages.next().await?.is_some() {
        return Err(broken_call("the service answered a unary call twice"));
    }
    Ok(wire)
}

/// What of a reply message goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Json(Target),
    /// The data of the message, or of this field of it: a `google.api.HttpBody`.
    Raw {
        field: Option<u32>,
    },
}

impl Content {
    pub(super) fn of(plan: &MethodPlan) -> Self {
        match plan.response {
            ResponseRule::Whole => Self::Json(Target::Message(plan.output)),
            ResponseRule::Field(at) => Self::Json(Target::Field(at)),
            ResponseRule::RawWhole => Self::Raw { field: None },
            ResponseRule::RawField(at) => {
                let field = plan.codec.schema().field(at).map(|f| f.number);
                Self::Raw { field }
            }
        }
    }
}

fn raw(content: Content, wire: &Bytes) -> Result<Response<ReplyBody>, Failure> {
    let body = raw_body(content, wire)?;
    let mut reply = Response::new(ReplyBody::whole(body.data.clone()));
    reply::describe_raw(&mut reply, &body);
    Ok(reply)
}

/// The `HttpBody` of a reply that is, or holds, one.
pub(super) fn raw_body(content: Content, wire: &Bytes) -> Result<RawBody, Failure> {
    let parsed = match content {
        Content::Raw {
            field: Some(number),
        } => RawBody::parse_field(wire, number),
        Content::Raw { field: None } | Content::Json(_) => RawBody::parse(wire),
    };
    parsed.map_err(|e| broken_call("the service's answer can't be read").caused_by(e))
}

/// Prints the message. Its wire form is checked whole before anything is sent; a small document is
/// sent as one buffer, the rest of a long one is printed as the client takes it.
pub(super) async fn print(
    codec: &Arc<Codec>,
    (target, selection): (Target, Option<Arc<Selection>>),
    limits: &Limits,
    wire: Bytes,
) -> Result<Response<ReplyBody>, Failure> {
    let printer = Printer::new(codec, target, &wire, codec_limits(limits)).map_err(unprintable)?;
    let mut printer = printer.selecting(selection);
    let mut json = Vec::with_capacity(printed_size(wire.len()));
    let body = loop {
        match print_more(codec, &mut printer, &wire, &mut json)? {
            Progress::Done => break ReplyBody::whole(json.into()),
            Progress::More if json.len() >= PRINT_CHUNK_BYTES => {
                let codec = Arc::clone(codec);
                break ReplyBody::Document(Box::new(Document::new(codec, wire, printer, json)));
            }
            Progress::More => tokio::task::yield_now().await,
        }
    };
    let mut reply = Response::new(body);
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(reply)
}

/// JSON is seldom more than thrice its wire form; a chunk is the most that is held.
fn printed_size(wire: usize) -> usize {
    wire.saturating_mul(3)
        .saturating_add(64)
        .min(PRINT_CHUNK_BYTES.saturating_add(1024))
}

pub(super) fn unprintable(error: DecodeError) -> Failure {
    broken_call("the service's answer doesn't fit its description").caused_by(error)
}

/// 502: the service broke the rules of the call.
pub(super) fn broken_call(message: &'static str) -> Failure {
    Failure::upstream(GrpcCode::Internal, message).status(StatusCode::BAD_GATEWAY)
}

/// One step of printing for [`Document`].
pub(super) fn print_more(
    codec: &Codec,
    printer: &mut Printer,
    wire: &[u8],
    json: &mut Vec<u8>,
) -> Result<Progress, Failure> {
    let step = || printer.step(codec, wire, WORK_SLICE_BYTES, json);
    transcoding(Direction::Reply, step).map_err(unprintable)
}
