//! A [`Failure`] as the body that a client reads.
//!
//! Written by hand, so that an error can always be said: the codec is asked only for the details that
//! a service sent, and one that it can't print is given as base64 rather than left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;

use crate::codec::{Codec, CodecLimits, Target};
use crate::failure::{Failure, GrpcCode, Speaker};
use crate::schema::WellKnown;

use super::status::{Detail, status_details};
use super::wire::{put_bytes, put_tag, put_varint};

/// The wire type of numbers.
const VARINT: u8 = 0;
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// The shape of an error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// `google.rpc.Status`: `{"code":5,"message":…,"details":[…]}`
    Status,
    /// `{"error":{"code":404,"status":"NOT_FOUND",…}}`
    Aip193,
    /// RFC 9457 `application/problem+json`
    Problem,
    /// As grpc-gateway writes it: `google.rpc.Status` with all its fields, nothing of ours.
    GrpcGateway,
}

impl ErrorFormat {
    #[must_use]
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Status | Self::Aip193 | Self::GrpcGateway => "application/json",
            Self::Problem => "application/problem+json",
        })
    }

    /// The format for a client that accepts this: one that names `application/problem+json` gets it.
    #[must_use]
    pub fn accepted(self, accept: Option<&HeaderValue>) -> Self {
        if self == Self::GrpcGateway {
            return self;
        }
        let ranges = accept.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let named = ranges.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default();
            let refused = parts.any(|p| matches!(p.get(..2), Some("q=" | "Q=")) && is_zero(p));
            essence.eq_ignore_ascii_case("application/problem+json") && !refused
        });
        match named {
            true => Self::Problem,
            false => self,
        }
    }
}

/// `q=0`, `q=0.000`
fn is_zero(weight: &str) -> bool {
    weight.bytes().skip(2).all(|b| matches!(b, b'0' | b'.'))
}

/// What clients are told of a service's inner faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// No `DebugInfo`, and none of a service's own words about INTERNAL and UNKNOWN.
    Hide,
    Show,
}

/// The body, and its content type. `codec` prints a service's details; without one they are base64.
#[must_use]
pub fn error_body(
    failure: &Failure,
    format: ErrorFormat,
    inner: Inner,
    codec: Option<&Codec>,
) -> (HeaderValue, Bytes) {
    let mut json = Vec::with_capacity(256);
    match format {
        ErrorFormat::Status => status_json(failure, inner, codec, &mut json),
        ErrorFormat::Aip193 => aip193(failure, inner, codec, &mut json),
        ErrorFormat::Problem => problem(failure, inner, codec, &mut json),
        ErrorFormat::GrpcGateway => whole_status(failure, inner, codec, &mut json),
    }
    (format.content_type(), json.into())
}

/// Appends the failure as `google.rpc.Status`: whole bodies, and the last element of a stream.
pub fn status_json(failure: &Failure, inner: Inner, codec: Option<&Codec>, json: &mut Vec<u8>) {
    json.extend_from_slice(b"{\"code\":");
    put_number(u32::from(failure.code.number()), json);
    put_key("message", json);
    put_string(client_message(failure, inner), json);
    put_details(failure, inner, codec, json);
    json.push(b'}');
}

/// The `google.rpc.Status` at the end of a stream, for a route of this format.
pub fn stream_status(
    failure: &Failure,
    format: ErrorFormat,
    inner: Inner,
    codec: Option<&Codec>,
    json: &mut Vec<u8>,
) {
    match format {
        ErrorFormat::GrpcGateway => whole_status(failure, inner, codec, json),
        ErrorFormat::Status | ErrorFormat::Aip193 | ErrorFormat::Problem => {
            status_json(failure, inner, codec, json);
        }
    }
}

/// With `details` even when there are none, and no details but the service's.
fn whole_status(failure: &Failure, inner: Inner, codec: Option<&Codec>, json: &mut Vec<u8>) {
    json.extend_from_slice(b"{\"code\":");
    put_number(u32::from(failure.code.number()), json);
    put_key("message", json);
    put_string(client_message(failure, inner), json);
    match put_service_details(failure, inner, codec, json) {
        b"," => json.push(b']'),
        _ => json.extend_from_slice(b",\"details\":[]"),
    }
    json.push(b'}');
}

fn aip193(failure: &Failure, inner: Inner, codec: Option<&Codec>, json: &mut Vec<u8>) {
    json.extend_from_slice(b"{\"error\":{\"code\":");
    put_number(u32::from(failure.http_status().as_u16()), json);
    put_key("message", json);
    put_string(client_message(failure, inner), json);
    put_key("status", json);
    put_string(failure.code.name(), json);
    put_details(failure, inner, codec, json);
    json.extend_from_slice(b"}}");
}

/// RFC 9457 §3.1, with the code's name and the details as extension members.
fn problem(failure: &Failure, inner: Inner, codec: Option<&Codec>, json: &mut Vec<u8>) {
    let status = failure.http_status();
    json.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
    let title = match status.as_u16() {
        499 => "Client Closed Request",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    put_string(title, json);
    put_key("status", json);
    put_number(u32::from(status.as_u16()), json);
    put_key("detail", json);
    put_string(client_message(failure, inner), json);
    put_key("code", json);
    put_string(failure.code.name(), json);
    put_details(failure, inner, codec, json);
    json.push(b'}');
}

/// The message that a client may read.
#[must_use]
pub fn client_message(failure: &Failure, inner: Inner) -> &str {
    match (inner, failure.speaker, failure.code) {
        (Inner::Hide, Speaker::Service, GrpcCode::Internal) => "internal error",
        (Inner::Hide, Speaker::Service, GrpcCode::Unknown) => "unknown error",
        _ => &failure.message,
    }
}

/// The serialised `google.rpc.Status` that a client may read, or `None` when it would tell no more
/// than code and message do.
#[must_use]
pub fn client_details(failure: &Failure, inner: Inner) -> Option<Bytes> {
    let details = || {
        failure
            .details
            .as_deref()
            .into_iter()
            .flat_map(status_details)
    };
    let hides = inner == Inner::Hide
        && (client_message(failure, inner) != failure.message
            || details().any(|d| is_debug_info(&d)));
    match &failure.details {
        // As the service sent it, in most cases.
        Some(status) if !hides && failure.violations.is_empty() => return Some(status.clone()),
        None if failure.violations.is_empty() => return None,
        _ => {}
    }
    let shown = details().filter(|d| inner == Inner::Show || !is_debug_info(d));
    let mut any = Vec::new();
    for detail in shown {
        put_status_detail(detail.type_url, detail.value, &mut any);
    }
    if !failure.violations.is_empty() {
        let mut bad_request = Vec::new();
        for violation in &failure.violations {
            let mut wire = Vec::new();
            put_bytes(1, violation.field.as_bytes(), &mut wire);
            put_bytes(2, violation.description.as_bytes(), &mut wire);
            put_bytes(1, &wire, &mut bad_request);
        }
        put_status_detail(BAD_REQUEST, &bad_request, &mut any);
    }
    if any.is_empty() {
        return None;
    }
    let mut status = Vec::with_capacity(any.len() + 64);
    put_tag(1, VARINT, &mut status);
    put_varint(u64::from(failure.code.number()), &mut status);
    put_bytes(2, client_message(failure, inner).as_bytes(), &mut status);
    status.extend_from_slice(&any);
    Some(status.into())
}

/// One `Any` of `google.rpc.Status.details`.
fn put_status_detail(type_url: &str, value: &[u8], wire: &mut Vec<u8>) {
    let mut any = Vec::with_capacity(type_url.len() + value.len() + 8);
    put_bytes(1, type_url.as_bytes(), &mut any);
    put_bytes(2, value, &mut any);
    put_bytes(3, &any, wire);
}

fn is_debug_info(detail: &Detail<'_>) -> bool {
    detail.type_name() == "google.rpc.DebugInfo"
}

/// `,"details":[…]`, or nothing when there are none.
fn put_details(failure: &Failure, inner: Inner, codec: Option<&Codec>, json: &mut Vec<u8>) {
    let start = json.len();
    let separator = put_service_details(failure, inner, codec, json);
    if !failure.violations.is_empty() {
        json.extend_from_slice(separator);
        put_violations(failure, codec, json);
    }
    if json.len() > start {
        json.push(b']');
    }
}

/// The details that the service sent; gives what must stand before the next one, which is a comma
/// once there has been one.
fn put_service_details(
    failure: &Failure,
    inner: Inner,
    codec: Option<&Codec>,
    json: &mut Vec<u8>,
) -> &'static [u8] {
    let mut separator: &'static [u8] = b",\"details\":[";
    for detail in failure
        .details
        .as_deref()
        .into_iter()
        .flat_map(status_details)
    {
        if inner == Inner::Hide && is_debug_info(&detail) {
            continue;
        }
        json.extend_from_slice(std::mem::replace(&mut separator, b","));
        put_detail(&detail, codec, json);
    }
    separator
}

/// One `Any`, as ProtoJSON prints it.
fn put_detail(detail: &Detail<'_>, codec: Option<&Codec>, json: &mut Vec<u8>) {
    json.extend_from_slice(b"{\"@type\":");
    put_string(detail.type_url, json);
    let start = json.len();
    if codec.is_some_and(|codec| put_known(detail, codec, json).is_some()) {
        return;
    }
    json.truncate(start);
    put_key("value", json);
    put_string(&STANDARD.encode(detail.value), json);
    json.push(b'}');
}

/// The rest of a detail whose type the schema has.
fn put_known(detail: &Detail<'_>, codec: &Codec, json: &mut Vec<u8>) -> Option<()> {
    let schema = codec.schema();
    let id = schema.find_message(detail.type_name())?;
    let special = !matches!(
        schema.message(id)?.well_known,
        None | Some(WellKnown::HttpBody)
    );
    let limits = CodecLimits {
        depth_max: 100,
        encoded_bytes_max: usize::MAX,
    };
    let mut printed = Vec::new();
    codec
        .print(Target::Message(id), detail.value, limits, &mut printed)
        .ok()?;
    if special {
        put_key("value", json);
        json.extend_from_slice(&printed);
        json.push(b'}');
        return Some(());
    }
    let members = printed.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    if members != b"}" {
        json.push(b',');
    }
    json.extend_from_slice(members);
    Some(())
}

/// The gateway's own findings, as `google.rpc.BadRequest`.
fn put_violations(failure: &Failure, codec: Option<&Codec>, json: &mut Vec<u8>) {
    json.extend_from_slice(b"{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\"");
    let proto_names = codec.is_some_and(|c| c.options().proto_names);
    put_key(
        match proto_names {
            true => "field_violations",
            false => "fieldViolations",
        },
        json,
    );
    let mut separator = b'[';
    for violation in &failure.violations {
        json.push(std::mem::replace(&mut separator, b','));
        json.extend_from_slice(b"{\"field\":");
        put_string(&violation.field, json);
        put_key("description", json);
        put_string(&violation.description, json);
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
}

fn put_number(number: u32, json: &mut Vec<u8>) {
    json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// `,"key":`
fn put_key(key: &str, json: &mut Vec<u8>) {
    json.push(b',');
    put_string(key, json);
    json.push(b':');
}

/// What of a failure's details a client may read: type name and value of each.
pub fn each_detail(failure: &Failure, inner: Inner, mut told: impl FnMut(&str, &[u8])) {
    let status = client_details(failure, inner).unwrap_or_default();
    for detail in status_details(&status) {
        told(detail.type_name(), detail.value);
    }
}

/// A JSON string. `<`, `>` and `&` are escaped too, so that the text is harmless where a browser
/// takes the body for a page.
pub(crate) fn put_string(text: &str, json: &mut Vec<u8>) {
    json.push(b'"');
    for c in text.chars() {
        match c {
            '"' => json.extend_from_slice(b"\\\""),
            '\\' => json.extend_from_slice(b"\\\\"),
            '\n' => json.extend_from_slice(b"\\n"),
            '\r' => json.extend_from_slice(b"\\r"),
            '\t' => json.extend_from_slice(b"\\t"),
            c if c < ' ' || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{7f}') => {
                json.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => json.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    json.push(b'"');
}

#[cfg(test)]
mod tests;
