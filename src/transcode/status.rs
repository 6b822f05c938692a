//! How an upstream call ended: head and trailers → `Ok` or a [`Failure`].
//!
//! Whatever an upstream sends gives one of these two; garbage in a status is read as far as it can be.

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::failure::{Blame, Failure, GrpcCode, Retry, Speaker};

use super::metadata::{BINARY, decode_message};
use super::wire::{Record, Records};

/// Whether the head of an answer is that of a gRPC answer. With `grpc-status` in it ("trailers only")
/// the head is the end as well: ask [`outcome`] then.
///
/// # Errors
/// It isn't: what a proxy on the way, or a server that isn't a gRPC one, answered.
pub fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes());
    let grpc = content_type.is_some_and(is_grpc);
    if grpc && (status == StatusCode::OK || is_trailers_only(headers)) {
        return Ok(());
    }
    let source = format!(
        "HTTP status {}, content-type {:?}",
        status.as_u16(),
        content_type
            .map(String::from_utf8_lossy)
            .unwrap_or_default()
    );
    if status == StatusCode::OK {
        let message = "the upstream's answer is not gRPC";
        let failure = Failure::upstream(GrpcCode::Unavailable, message);
        return Err(failure.status(StatusCode::BAD_GATEWAY).caused_by(source));
    }
    let code = code_of_http(status);
    let message = format!("the upstream answered with HTTP status {}", status.as_u16());
    let mut failure = Failure::upstream(code, message).caused_by(source);
    failure.retry_after_seconds = retry_after(headers);
    match code {
        GrpcCode::Unavailable => failure.retry = Retry::IfIdempotent,
        GrpcCode::Unauthenticated | GrpcCode::PermissionDenied => {}
        _ => failure = failure.status(StatusCode::BAD_GATEWAY),
    }
    Err(failure)
}

/// Whether the head of an answer is also its end.
#[must_use]
pub fn is_trailers_only(headers: &HeaderMap) -> bool {
    headers.contains_key("grpc-status")
}

/// `application/grpc`, `application/grpc+proto`, with or without parameters.
fn is_grpc(content_type: &[u8]) -> bool {
    let essence = content_type
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default();
    let name = b"application/grpc";
    match essence.trim_ascii().split_at_checked(name.len()) {
        Some((own, rest)) => {
            own.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.starts_with(b"+"))
        }
        None => false,
    }
}

/// gRPC's `http-grpc-status-mapping`, for answers without a gRPC status.
fn code_of_http(status: StatusCode) -> GrpcCode {
    match status.as_u16() {
        400 => GrpcCode::Internal,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 => GrpcCode::Unimplemented,
        429 | 502 | 503 | 504 => GrpcCode::Unavailable,
        _ => GrpcCode::Unknown,
    }
}

/// Seconds of a `Retry-After`; dates are left to the client's own judgement.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// How the call ended, by its trailers (or by its head, when that has a `grpc-status`).
///
/// # Errors
/// The status is not OK, missing, or no number.
pub fn outcome(trailers: &HeaderMap) -> Result<(), Failure> {
    let Some(status) = trailers.get("grpc-status") else {
        let message = "the service ended the call without a status";
        let failure = Failure::upstream(GrpcCode::Unknown, message);
        return Err(failure.status(StatusCode::BAD_GATEWAY));
    };
    let number = status.to_str().ok().map(str::trim).filter(|s| is_number(s));
    let Some(number) = number else {
        let message = "the service ended the call with a status that is no number";
        let failure = Failure::upstream(GrpcCode::Unknown, message);
        let source = format!("grpc-status: {status:?}");
        return Err(failure.status(StatusCode::BAD_GATEWAY).caused_by(source));
    };
    let code = GrpcCode::from_number(number.parse().unwrap_or(u32::MAX));
    if code == GrpcCode::Ok {
        return Ok(());
    }
    let message = trailers
        .get("grpc-message")
        .map(|v| decode_message(v.as_bytes()));
    let mut failure = Failure::new(blame(code), code, message.unwrap_or_default());
    failure.speaker = Speaker::Service;
    failure.details = trailers
        .get("grpc-status-details-bin")
        .and_then(|v| details(v.as_bytes(), number));
    failure.retry_after_seconds = failure.details.as_deref().and_then(retry_info);
    if code == GrpcCode::Unavailable {
        failure.retry = Retry::IfIdempotent;
    }
    Err(failure)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Who must change something when a service answers with this code.
fn blame(code: GrpcCode) -> Blame {
    use GrpcCode as C;
    match code {
        C::Ok
        | C::Cancelled
        | C::InvalidArgument
        | C::NotFound
        | C::AlreadyExists
        | C::PermissionDenied
        | C::FailedPrecondition
        | C::Aborted
        | C::OutOfRange
        | C::Unauthenticated => Blame::Client,
        C::Unknown
        | C::DeadlineExceeded
        | C::ResourceExhausted
        | C::Unimplemented
        | C::Internal
        | C::Unavailable
        | C::DataLoss => Blame::Upstream,
    }
}

/// The serialised `google.rpc.Status`, when it can be read and is of this status: a code of its own
/// that differs means that something on the way replaced one of the two.
fn details(value: &[u8], number: &str) -> Option<Bytes> {
    let wire = BINARY.decode(value).ok()?;
    let mut records = Records::of(&wire);
    let mut code = 0;
    for record in records.by_ref() {
        if let Record::Varint(1, value) = record {
            code = value;
        }
    }
    let same = records.is_done() && number.parse() == Ok(code);
    same.then(|| wire.into())
}

/// One `google.protobuf.Any` of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Detail<'w> {
    pub type_url: &'w str,
    pub value: &'w [u8],
}

impl Detail<'_> {
    /// `google.rpc.RetryInfo`
    pub(super) fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// The details of a serialised `google.rpc.Status`; those that aren't an `Any` are left out.
pub(super) fn status_details(status: &[u8]) -> impl Iterator<Item = Detail<'_>> {
    Records::of(status).filter_map(|record| match record {
        Record::Bytes(3, any) => {
            let mut detail = Detail {
                type_url: "",
                value: &[],
            };
            for record in Records::of(any) {
                match record {
                    Record::Bytes(1, url) => detail.type_url = std::str::from_utf8(url).ok()?,
                    Record::Bytes(2, value) => detail.value = value,
                    _ => {}
                }
            }
            Some(detail)
        }
        _ => None,
    })
}

/// Whole seconds, rounded up, of a `google.rpc.RetryInfo`.
fn retry_info(status: &[u8]) -> Option<u32> {
    let info = status_details(status).find(|d| d.type_name() == "google.rpc.RetryInfo")?;
    let mut delay = None;
    for record in Records::of(info.value) {
        if let Record::Bytes(1, duration) = record {
            delay = Some(duration);
        }
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for record in Records::of(delay?) {
        match record {
            Record::Varint(1, v) => seconds = v.cast_signed(),
            Record::Varint(2, v) => nanos = v.cast_signed(),
            _ => {}
        }
    }
    let seconds = seconds.saturating_add(i64::from(nanos > 0));
    Some(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
pub(in crate::transcode) mod tests;
