//! The pure core: what the data path does, in the order that it does it, without a socket.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Uri};
use transom::codec::{
    CodecLimits, EncodeErrorKind, Printer, Progress, Selection, Target as JsonTarget,
};
use transom::config::model::Policy;
use transom::failure::{Failure, GrpcCode};
use transom::live::{Live, Route, Target};
use transom::protocol::elements::{self, Arrangement, Elements};
use transom::protocol::events::{Events, Resume};
use transom::protocol::rest;
use transom::protocol::stream::{Framer, StreamFormat, arrangement};
use transom::route::{Lookup, RawPath};
use transom::schema::StreamKind;
use transom::transcode::error_body::{error_body, stream_status};
use transom::transcode::reply_status::is_bare;
use transom::transcode::status::outcome;
use transom::transcode::{BodyRule, Inner, MethodPlan, QueryPolicy, ResponseRule};

use crate::support::gateway::Gateway;
use crate::support::protos;

use super::table::{Case, Table};

/// Runs every case; all that fail are told of.
pub fn check(table: &Table) {
    let nowhere = "127.0.0.1:1".parse().expect("address");
    let (_, live) = super::running::builder(table, nowhere).live();
    let failures: Vec<String> = table
        .cases
        .iter()
        .filter(|case| case.gateway_only.is_none())
        .filter_map(|case| {
            run(&live, case)
                .err()
                .map(|e| format!("{}: {e}", case.name))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let _ = Gateway::builder;
}

fn run(live: &Live, case: &Case) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    for (name, value) in case.headers() {
        let name: HeaderName = name.parse().expect("name");
        headers.append(name, value.parse().expect("value"));
    }
    let uri: Uri = case.url().parse().expect("url");
    let method = Method::from_bytes(case.method().as_bytes()).expect("method");
    let (status, body) = match respond(live, case, &method, &uri, &headers)? {
        Ok((policy, body)) => {
            let status = policy.statuses.of_success();
            (
                status.as_u16(),
                if is_bare(status) { Vec::new() } else { body },
            )
        }
        Err((policy, failure)) => {
            let (_, body) = refusal(live, &policy, &headers, &failure);
            (policy.statuses.of_failure(&failure).as_u16(), body)
        }
    };
    if status != case.reply.status {
        let text = String::from_utf8_lossy(&body);
        return Err(format!(
            "status is {status}, not {}: {text}",
            case.reply.status
        ));
    }
    match method {
        Method::HEAD => Ok(()),
        _ => case.reply.check_body(&body),
    }
}

fn refusal(
    live: &Live,
    policy: &Policy,
    headers: &HeaderMap,
    failure: &Failure,
) -> (http::HeaderValue, Vec<u8>) {
    let format = policy.errors.accepted(headers.get("accept"));
    let inner = inner(policy);
    let (content_type, body) = error_body(failure, format, inner, Some(&live.codec));
    (content_type, body.to_vec())
}

fn inner(policy: &Policy) -> Inner {
    match policy.hide_internal {
        true => Inner::Hide,
        false => Inner::Show,
    }
}

type Outcome = Result<(Policy, Vec<u8>), (Policy, Failure)>;

fn respond(
    live: &Live,
    case: &Case,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Outcome, String> {
    let refused = |failure| Ok(Err(((*live.defaults).clone(), failure)));
    let path = match RawPath::parse(uri.path()) {
        Ok(path) => path,
        Err(error) => return refused(Failure::client(error.to_string())),
    };
    let found = match live.table.lookup("test", method, &path) {
        Lookup::Matched(found) => found,
        Lookup::MethodNotAllowed { .. } => {
            let failure = Failure::client("is not allowed here");
            return refused(failure.status(http::StatusCode::METHOD_NOT_ALLOWED));
        }
        Lookup::NotFound => {
            let mut failure = Failure::client("no route has this path");
            failure.code = GrpcCode::NotFound;
            return refused(failure);
        }
    };
    let route = live.route(found.route).expect("route");
    let Target::Rpc(plan) = &route.target else {
        return Err("not a transcoded route".to_owned());
    };
    let refused = |failure| Ok(Err(((*route.policy).clone(), failure)));
    let query = query_policy(live, route);
    let selection = match plan.selection(uri.query(), &query) {
        Ok(selection) => selection,
        Err(failure) => return refused(failure),
    };
    let encoded = match plan.stream {
        StreamKind::Client | StreamKind::Bidi if plan.body != BodyRule::None => {
            encode_stream(live, route, plan, &found.captures, case, uri, headers)
        }
        _ => encode(live, route, plan, &found.captures, case, uri, headers).map(|w| vec![w]),
    };
    let encoded = match encoded {
        Ok(encoded) => encoded,
        Err(failure) => return refused(failure),
    };
    let Some(call) = &case.call else {
        return Err(format!("made the call {}", plan.grpc_path));
    };
    if plan.grpc_path.as_str() != format!("/{}", call.method) {
        return Err(format!("called {}", plan.grpc_path));
    }
    let (input, output) = protos::method(&call.method);
    let found: Vec<_> = encoded.iter().map(|w| protos::decode(&input, w)).collect();
    let wanted = call.wanted();
    let wanted: Vec<_> = wanted.iter().map(|m| protos::normal(&input, m)).collect();
    if found != wanted {
        return Err(format!("sent\n  {found:?}, not\n  {wanted:?}"));
    }
    let wires = case.answer.wires(&output);
    match answer(live, (route, selection), plan, case, headers, &wires) {
        Ok(body) => Ok(Ok(((*route.policy).clone(), body))),
        Err(failure) => refused(failure),
    }
}

fn limits(live: &Live) -> CodecLimits {
    CodecLimits {
        depth_max: live.limits.depth_max,
        encoded_bytes_max: live.limits.message_bytes_max.bytes(),
    }
}

fn query_policy<'l>(live: &Live, route: &'l Route) -> QueryPolicy<'l> {
    QueryPolicy {
        unknown: route.policy.unknown_query,
        ignored: &route.policy.ignored_query_parameters,
        parameters_max: live.limits.query_parameters_max,
        partial: route.policy.partial_responses,
        compat: route.policy.compat,
    }
}

fn encode(
    live: &Live,
    route: &Route,
    plan: &MethodPlan,
    captures: &[&str],
    case: &Case,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Vec<u8>, Failure> {
    let unsupported = |e: rest::MediaError| {
        Failure::client(e.to_string()).status(http::StatusCode::UNSUPPORTED_MEDIA_TYPE)
    };
    let query = query_policy(live, route);
    let content_type = headers.get("content-type");
    let body = case.body().filter(|b| !b.is_empty());
    let mut wire = Vec::new();
    if plan.takes_form(content_type) {
        let form = body.unwrap_or_default();
        let form =
            std::str::from_utf8(&form).map_err(|_| Failure::client("the form is not UTF-8"))?;
        plan.bind_form(captures, form, uri.query(), &query, &mut wire)?;
        return Ok(wire);
    }
    let grpc_gateway = route.policy.compat.is_grpc_gateway();
    match (plan.body_target(), body) {
        (Some(target), Some(json)) => {
            rest::check_coding(headers.get("content-encoding")).map_err(unsupported)?;
            if !grpc_gateway {
                rest::check_json(content_type).map_err(unsupported)?;
            }
            let mask = plan.mask_to_fill(uri.query(), &query);
            let encoded = plan.encode_body(target, mask, &json, limits(live), &mut wire);
            encoded.map_err(|e| {
                let failure = Failure::client(e.to_string());
                match e.kind {
                    EncodeErrorKind::TooLarge => {
                        failure.status(http::StatusCode::PAYLOAD_TOO_LARGE)
                    }
                    _ => failure.violation(e.path, e.what),
                }
            })?;
        }
        (None, body) if plan.body != BodyRule::None => {
            let text = content_type
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default();
            plan.bind_raw_body(text, &body.unwrap_or_default(), &mut wire);
        }
        (None, Some(body)) if body != b"{}" && !grpc_gateway => {
            return Err(Failure::client("this route takes no request body"));
        }
        _ => {}
    }
    plan.bind(captures, uri.query(), &query, &mut wire)?;
    Ok(wire)
}

/// The messages of a stream of requests.
fn encode_stream(
    live: &Live,
    route: &Route,
    plan: &MethodPlan,
    captures: &[&str],
    case: &Case,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Vec<Vec<u8>>, Failure> {
    let unsupported = |e: rest::MediaError| {
        Failure::client(e.to_string()).status(http::StatusCode::UNSUPPORTED_MEDIA_TYPE)
    };
    rest::check_coding(headers.get("content-encoding")).map_err(unsupported)?;
    let content_type = headers.get("content-type");
    let query = query_policy(live, route);
    let first = plan.bind_apart(captures, uri.query(), &query)?;
    let body = case.body().unwrap_or_default();
    let Some(target) = plan.body_target() else {
        let text = content_type.and_then(|v| v.to_str().ok());
        let mut wire = Vec::new();
        plan.bind_raw_body(text.unwrap_or_default(), &body, &mut wire);
        wire.extend(first);
        return Ok(vec![wire]);
    };
    let arrangement = match arrangement(content_type) {
        Some(arrangement) => arrangement,
        None => {
            rest::check_json(content_type).map_err(unsupported)?;
            Arrangement::ArrayOrSequence
        }
    };
    let mut elements = Elements::new(arrangement, route.policy.body_bytes_max);
    elements.push(body.into());
    let mut wires = Vec::new();
    loop {
        let index = elements.next_index();
        let next = match elements.next_element() {
            Ok(None) => elements.finish(),
            other => other,
        };
        let Some(document) = next.map_err(|e| e.refusal(index))? else {
            return Ok(wires);
        };
        let mut wire = Vec::new();
        plan.codec
            .encode(target, &document, limits(live), &mut wire)
            .map_err(|e| elements::refusal(index, &e))?;
        if index == 0 {
            wire.extend(&first);
        }
        wires.push(wire);
    }
}

/// The body that the client gets.
fn answer(
    live: &Live,
    (route, selection): (&Route, Option<Arc<Selection>>),
    plan: &MethodPlan,
    case: &Case,
    headers: &HeaderMap,
    wires: &[Vec<u8>],
) -> Result<Vec<u8>, Failure> {
    let ended = outcome(&case.answer.ending());
    let broken = || Failure::upstream(GrpcCode::Internal, "doesn't fit its description");
    let print = |target: JsonTarget, wire: &[u8], out: &mut Vec<u8>| {
        let job = Printer::new(&plan.codec, target, wire, limits(live)).map_err(|_| broken())?;
        let mut job = job.selecting(selection.clone());
        while job.step(&plan.codec, wire, 64, out).map_err(|_| broken())? == Progress::More {}
        Ok(())
    };
    let raw = |wire: &[u8]| {
        let wire = bytes::Bytes::copy_from_slice(wire);
        let body = match plan.response {
            ResponseRule::RawField(at) => {
                let field = plan.codec.schema().field(at).expect("field");
                rest::RawBody::parse_field(&wire, field.number)
            }
            _ => rest::RawBody::parse(&wire),
        };
        body.map(|b| b.data.to_vec()).map_err(|_| broken())
    };
    if matches!(plan.stream, StreamKind::Unary | StreamKind::Client) {
        ended?;
        let [wire] = wires else {
            return Err(broken());
        };
        let mut out = Vec::new();
        return match plan.response_target() {
            Some(target) => print(target, wire, &mut out).map(|()| out),
            None => raw(wire),
        };
    }
    let Some(target) = plan.response_target() else {
        ended?;
        return wires
            .iter()
            .map(|w| raw(w))
            .collect::<Result<Vec<_>, _>>()
            .map(|p| p.concat());
    };
    let format = match route.policy.compat.is_grpc_gateway() {
        true => StreamFormat::Results,
        false => StreamFormat::negotiate(headers),
    };
    let mut framer = Framer::with_events(
        format,
        Events::new(Resume::of(headers), route.policy.sse.retry),
    );
    let mut out = Vec::new();
    let mut failure = ended.err();
    for (at, wire) in wires.iter().enumerate() {
        let opened = framer.open(&mut out);
        match print(target, wire, &mut out) {
            Ok(()) => framer.close(opened, &mut out),
            Err(error) if at == 0 => return Err(error),
            Err(error) => {
                framer.revoke(opened, &mut out);
                failure = Some(error);
                break;
            }
        }
    }
    match failure {
        Some(failure) if wires.is_empty() => return Err(failure),
        Some(failure) => {
            let mut status = Vec::new();
            stream_status(
                &failure,
                route.policy.errors,
                inner(&route.policy),
                Some(&plan.codec),
                &mut status,
            );
            framer.fail(failure.code, &status, &mut out);
        }
        None => framer.finish(&mut out),
    }
    Ok(out)
}
