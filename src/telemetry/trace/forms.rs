//! How headers tell of a trace: W3C's `traceparent`, Zipkin's B3 in one header or in several, Google's
//! `X-Cloud-Trace-Context`, and gRPC's binary `grpc-trace-bin`.
//!
//! The first of them that can be read is believed, in that order. A service is told in `traceparent`,
//! and in each form that the request came with, so that nobody sees a span that isn't its parent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::model::Propagator;
use crate::limits::{TRACE_STATE_BYTES_MAX, TRACE_STATE_MEMBERS_MAX};

use super::Trace;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
const CLOUD: HeaderName = HeaderName::from_static("x-cloud-trace-context");
const GRPC: HeaderName = HeaderName::from_static("grpc-trace-bin");

/// The known fields are 29 bytes; those of later versions come after them.
const GRPC_BYTES_MAX: usize = 128;

/// The forms beside `traceparent` that a service is told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    b3: bool,
    b3_multi: bool,
    cloud: bool,
    grpc: bool,
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub id: [u8; 16],
    /// Zeros where it has none.
    pub span: [u8; 8],
    /// `None` where it leaves that to us.
    pub sampled: Option<bool>,
    /// By `traceparent`, which `tracestate` belongs to.
    pub w3c: bool,
}

/// All that say something of a trace.
static ALL: [HeaderName; 10] = [
    TRACEPARENT,
    TRACESTATE,
    B3,
    B3_TRACE,
    B3_SPAN,
    B3_PARENT,
    B3_SAMPLED,
    B3_FLAGS,
    CLOUD,
    GRPC,
];

/// Whether anything is said of a trace. Most requests say nothing, and are looked at no further.
pub(super) fn is_said(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| ALL.contains(name))
}

impl Forms {
    /// Of a request that says nothing.
    pub(super) fn only(also: &[Propagator]) -> Self {
        Self {
            b3: also.contains(&Propagator::B3),
            b3_multi: also.contains(&Propagator::B3Multi),
            ..Self::default()
        }
    }

    pub(super) fn of(headers: &HeaderMap, also: &[Propagator]) -> Self {
        Self {
            b3: headers.contains_key(&B3) || also.contains(&Propagator::B3),
            b3_multi: headers.contains_key(&B3_TRACE) || also.contains(&Propagator::B3Multi),
            cloud: headers.contains_key(&CLOUD),
            grpc: headers.contains_key(&GRPC),
        }
    }

    /// Tells of this span as the parent, in place of whatever the headers say.
    pub(super) fn put(self, headers: &mut HeaderMap, id: [u8; 16], span: [u8; 8], sampled: bool) {
        put(headers, TRACEPARENT, &traceparent(id, span, sampled));
        if self == Self::default() {
            return;
        }
        let flag = if sampled { b'1' } else { b'0' };
        let (mut id_text, mut span_text) = ([0; 32], [0; 16]);
        put_hex(&id, &mut id_text);
        put_hex(&span, &mut span_text);
        if self.b3 {
            let parts = [&id_text[..], b"-", &span_text, b"-", &[flag]];
            put(headers, B3, &parts.concat());
        }
        if self.b3_multi {
            put(headers, B3_TRACE, &id_text);
            put(headers, B3_SPAN, &span_text);
            put(headers, B3_SAMPLED, &[flag]);
            headers.remove(B3_PARENT);
            headers.remove(B3_FLAGS);
        }
        if self.cloud {
            let decimal = u64::from_be_bytes(span).to_string();
            let parts = [&id_text[..], b"/", decimal.as_bytes(), b";o=", &[flag]];
            put(headers, CLOUD, &parts.concat());
        }
        if self.grpc {
            let bytes = [&[0, 0][..], &id, &[1], &span, &[2, u8::from(sampled)]];
            let text = STANDARD_NO_PAD.encode(bytes.concat());
            put(headers, GRPC, text.as_bytes());
        }
    }
}

/// What the headers of a request say of its trace, in any form.
pub(super) fn caller(headers: &HeaderMap) -> Option<Caller> {
    // Of two, nobody knows which is meant (Trace Context §3.2).
    let bytes = |name: &HeaderName| {
        let mut lines = headers.get_all(name).iter();
        let first = lines.next()?;
        lines.next().is_none().then(|| first.as_bytes())
    };
    let w3c = || {
        let trace = Trace::of_traceparent(bytes(&TRACEPARENT)?)?;
        Some(Caller {
            id: trace.id,
            span: trace.span,
            sampled: Some(trace.sampled),
            w3c: true,
        })
    };
    w3c()
        .or_else(|| of_b3(bytes(&B3)?))
        .or_else(|| of_b3_multi(headers))
        .or_else(|| of_cloud(bytes(&CLOUD)?))
        .or_else(|| of_grpc(bytes(&GRPC)?))
}

/// `tracestate` of all its lines; `None` where it has more than a participant must keep (Trace Context
/// §3.3.1: 32 members, 512 characters).
pub(super) fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(TRACESTATE);
    let bytes = lines.iter().fold(0, |sum, line| sum + line.len() + 1);
    if bytes > TRACE_STATE_BYTES_MAX + 1 {
        return None;
    }
    let mut all = lines.iter();
    let whole = match (all.next()?, all.next()) {
        (only, None) => only.clone(),
        _ => {
            let lines: Vec<_> = lines.iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&lines.join(&b","[..])).ok()?
        }
    };
    let members = whole.as_bytes().split(|b| *b == b',').count();
    (members <= TRACE_STATE_MEMBERS_MAX && whole.to_str().is_ok()).then_some(whole)
}

/// Whether a client without a trace says that there is to be none (`b3: 0`).
pub(super) fn is_declined(headers: &HeaderMap) -> bool {
    let is =
        |name: &HeaderName, word: &[u8]| headers.get(name).is_some_and(|v| v.as_bytes() == word);
    is(&B3, b"0") || is(&B3_SAMPLED, b"0") || is(&B3_SAMPLED, b"false")
}

/// `{trace}-{span}[-{0, 1 or d}[-{parent}]]`
fn of_b3(text: &[u8]) -> Option<Caller> {
    let mut parts = text.split(|b| *b == b'-');
    let id = read_trace(parts.next()?)?;
    let span = read_hex(parts.next()?)?;
    let sampled = match parts.next() {
        None => None,
        Some(b"1" | b"d") => Some(true),
        Some(b"0") => Some(false),
        Some(_) => return None,
    };
    good(id, span, sampled)
}

fn of_b3_multi(headers: &HeaderMap) -> Option<Caller> {
    let id = read_trace(headers.get(&B3_TRACE)?.as_bytes())?;
    let span = read_hex(headers.get(&B3_SPAN)?.as_bytes())?;
    let debug = headers.get(&B3_FLAGS).is_some_and(|v| v == "1");
    let sampled = match headers.get(&B3_SAMPLED).map(HeaderValue::as_bytes) {
        _ if debug => Some(true),
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") => Some(false),
        _ => None,
    };
    good(id, span, sampled)
}

/// `{trace}/{span in decimal}[;o={0 or 1}]`
fn of_cloud(text: &[u8]) -> Option<Caller> {
    let text = std::str::from_utf8(text).ok()?;
    let (rest, options) = match text.split_once(';') {
        Some((rest, options)) => (rest, Some(options)),
        None => (text, None),
    };
    let (id, span) = rest.split_once('/').unwrap_or((rest, "0"));
    let caller = Caller {
        id: read_hex(id.as_bytes())?,
        span: span.parse::<u64>().ok()?.to_be_bytes(),
        sampled: match options {
            Some("o=1") => Some(true),
            Some("o=0") => Some(false),
            _ => None,
        },
        w3c: false,
    };
    (caller.id != [0; 16]).then_some(caller)
}

/// Version 0, then fields: 0 and the trace, 1 and the span, 2 and flags.
fn of_grpc(text: &[u8]) -> Option<Caller> {
    if text.len() > GRPC_BYTES_MAX {
        return None;
    }
    let text = text.strip_suffix(b"==").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    let (id, rest) = bytes.strip_prefix(&[0, 0])?.split_first_chunk::<16>()?;
    let (span, rest) = rest.strip_prefix(&[1])?.split_first_chunk::<8>()?;
    let flags = rest.strip_prefix(&[2]).and_then(<[u8]>::first);
    good(*id, *span, flags.map(|flags| flags & 1 == 1))
}

fn good(id: [u8; 16], span: [u8; 8], sampled: Option<bool>) -> Option<Caller> {
    (id != [0; 16] && span != [0; 8]).then_some(Caller {
        id,
        span,
        sampled,
        w3c: false,
    })
}

/// 32 digits, or the lower 16 of them.
fn read_trace(text: &[u8]) -> Option<[u8; 16]> {
    match text.len() {
        16 => Some(u128::from(u64::from_be_bytes(read_hex(text)?)).to_be_bytes()),
        _ => read_hex(text),
    }
}

/// Exactly twice as many digits as bytes.
pub(super) fn read_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else {
            return None;
        };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

pub(in crate::telemetry) fn put_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
}

fn traceparent(id: [u8; 16], span: [u8; 8], sampled: bool) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    if let Some(part) = text.get_mut(3..35) {
        put_hex(&id, part);
    }
    if let Some(part) = text.get_mut(36..52) {
        put_hex(&span, part);
    }
    let [.., last] = &mut text;
    *last = if sampled { b'1' } else { b'0' };
    text
}

/// What only this call has is kept out of HPACK's table.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(mut value) = HeaderValue::from_bytes(value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
