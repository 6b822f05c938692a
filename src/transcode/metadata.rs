//! Headers of a request → gRPC metadata, metadata of an answer → headers, and deadlines.
//!
//! What crosses is decided by name alone: transport headers never do, identity and trace headers
//! always, the rest by allow-list. Nothing that a header can say makes another header cross.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::failure::Failure;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_SERVER_TIMEOUT: HeaderName = HeaderName::from_static("x-server-timeout");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Standard alphabet, padded or not (we don't): how gRPC writes binary metadata.
pub(super) const BINARY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Facts of the client's connection, for `X-Forwarded-*`.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    /// The peer's IP address as text.
    pub peer: &'c str,
    /// Whether the peer is a proxy whose `X-Forwarded-*` are believed.
    pub trust: Trust,
    /// `Host` or `:authority`.
    pub host: &'c str,
    pub scheme: &'static str,
}

/// Whether a peer's word about earlier hops is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Trusted,
    Untrusted,
}

/// Whether a header of a client becomes metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossing {
    Never,
    Always,
    ByList,
    /// By list, and only from trusted peers.
    OfProxies,
}

pub(super) fn crossing(name: &HeaderName) -> Crossing {
    match name.as_str() {
        "authorization"
        | "x-request-id"
        | "traceparent"
        | "tracestate"
        | "b3"
        | "x-cloud-trace-context"
        | "grpc-trace-bin"
        // Where a client that connects again wants its stream to go on.
        | "last-event-id" => Crossing::Always,
        // `user-agent` is the transport's own in gRPC; the forwarded ones are written anew.
        "accept" | "expect" | "host" | "max-forwards" | "user-agent" | "x-forwarded-for"
        | "x-forwarded-host" | "x-forwarded-proto" | "x-server-timeout" => Crossing::Never,
        "forwarded" | "x-real-ip" => Crossing::OfProxies,
        other if is_hop_by_hop(other) => Crossing::Never,
        other if starts(other, &["grpc-", "content-", "accept-", ":"]) => Crossing::Never,
        other if starts(other, &["x-b3-"]) => Crossing::Always,
        other if starts(other, &["x-forwarded-"]) => Crossing::OfProxies,
        _ => Crossing::ByList,
    }
}

fn starts(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|p| name.starts_with(p))
}

/// Headers that speak of one connection (RFC 9110 §7.6.1, and those that older software adds).
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What `Connection` must not take away, whoever lists it: it would change who asks for what, or cut
/// the request off from its traces.
#[must_use]
pub fn is_end_to_end(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization" | "cookie" | "host" | "x-request-id"
    )
}

/// Makes one field of the pieces that HTTP/2 may cut `cookie` into, as every other protocol wants it
/// (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else {
        return;
    };
    let mut whole = first.as_bytes().to_vec();
    for piece in std::iter::once(second).chain(pieces) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(piece.as_bytes());
    }
    if let Ok(mut whole) = HeaderValue::try_from(whole) {
        whole.set_sensitive(first.is_sensitive());
        headers.insert(header::COOKIE, whole);
    }
}

/// Whether a header of a client that speaks gRPC, gRPC-Web or Connect is metadata when no list says
/// so. What browsers, caches and proxies add of their own is not.
#[must_use]
pub fn is_metadata_of_rpc(name: &HeaderName) -> bool {
    match name.as_str() {
        "cache-control"
        | "cookie"
        | "dnt"
        | "from"
        | "origin"
        | "pragma"
        | "priority"
        | "range"
        | "referer"
        | "upgrade-insecure-requests"
        | "via"
        | "x-grpc-web"
        | "x-user-agent" => false,
        other => !starts(other, &["access-control-", "connect-", "if-", "sec-"]),
    }
}

/// Whether a name in an answer's head or trailers is metadata for a client that doesn't speak gRPC.
#[must_use]
pub fn client_metadata(name: &HeaderName) -> bool {
    let text = name.as_str();
    !is_hop_by_hop(text)
        && !starts(text, &["grpc-", "content-"])
        && !matches!(text, "date" | "x-request-id")
}

/// Takes out of an answer's metadata what a client that speaks gRPC is not to get: what concerns the
/// connection to the upstream, and what is written anew.
pub fn clean_metadata(metadata: &mut HeaderMap) {
    let gone: Vec<HeaderName> = metadata
        .keys()
        .filter(|name| {
            let text = name.as_str();
            is_hop_by_hop(text)
                || matches!(text, "content-length" | "x-request-id")
                || is_connection_listed(metadata, name)
        })
        .cloned()
        .collect();
    for name in gone {
        metadata.remove(name);
    }
}

/// Whether a `Connection` header lists this name, which makes it hop-by-hop too.
pub(super) fn is_connection_listed(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        let tokens = value.as_bytes().split(|b| *b == b',');
        tokens
            .map(<[u8]>::trim_ascii)
            .any(|t| t.eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

/// gRPC's metadata keys: `[0-9a-z_.-]`. HTTP allows more.
pub(super) fn is_metadata_key(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    name.bytes().all(allowed)
}

/// Adds to `metadata` what of a request's headers crosses. `allow` is the route's allow-list. A
/// listed header whose name gRPC can't carry is left out.
///
/// # Errors
/// A header that crosses has a value that gRPC can't carry.
pub fn to_metadata(
    headers: &HeaderMap,
    allow: impl Fn(&HeaderName) -> bool,
    client: &Client<'_>,
    metadata: &mut HeaderMap,
) -> Result<(), Failure> {
    for (name, value) in headers {
        let crosses = match crossing(name) {
            Crossing::Never => false,
            Crossing::Always => true,
            Crossing::ByList => allow(name),
            Crossing::OfProxies => client.trust == Trust::Trusted && allow(name),
        };
        let listed = !is_end_to_end(name) && is_connection_listed(headers, name);
        if !crosses || listed || !is_metadata_key(name.as_str()) {
            continue;
        }
        if is_carried(name, value) {
            metadata.append(name.clone(), value.clone());
        } else if crossing(name) == Crossing::ByList || name == header::AUTHORIZATION {
            return Err(refused(name, carried_form(name)));
        }
        // A broken trace header costs the trace, not the request.
    }
    join_cookies(metadata);
    forward(headers, client, metadata);
    Ok(())
}

/// Whether gRPC can carry the value: printable ASCII, or base64 for `-bin` names.
pub(super) fn is_carried(name: &HeaderName, value: &HeaderValue) -> bool {
    match name.as_str().ends_with("-bin") {
        true => value
            .as_bytes()
            .split(|b| *b == b',')
            .all(|part| BINARY.decode(part.trim_ascii()).is_ok()),
        false => value.as_bytes().iter().all(|b| (0x20..=0x7e).contains(b)),
    }
}

fn carried_form(name: &HeaderName) -> &'static str {
    match name.as_str().ends_with("-bin") {
        true => "must be base64",
        false => "must be printable ASCII",
    }
}

fn refused(name: &HeaderName, what: &str) -> Failure {
    Failure::client(format!("header {name}: {what}")).violation(name.as_str(), what)
}

/// `X-Forwarded-*`: continued when the peer is trusted, begun anew otherwise.
fn forward(headers: &HeaderMap, client: &Client<'_>, metadata: &mut HeaderMap) {
    let said = |name: &HeaderName| match client.trust {
        Trust::Untrusted => None,
        Trust::Trusted => headers.get(name).filter(|v| is_carried(name, v)).cloned(),
    };
    let mut chain = String::new();
    if client.trust == Trust::Trusted {
        for value in headers.get_all(X_FORWARDED_FOR) {
            if let Ok(text) = value.to_str() {
                chain.push_str(text);
                chain.push_str(", ");
            }
        }
    }
    let chain = match chain.is_empty() {
        true => HeaderValue::from_str(client.peer),
        false => HeaderValue::try_from(chain + client.peer),
    };
    let host = said(&X_FORWARDED_HOST).or_else(|| HeaderValue::from_str(client.host).ok());
    let proto = said(&X_FORWARDED_PROTO).unwrap_or(HeaderValue::from_static(client.scheme));
    if let Ok(chain) = chain {
        metadata.insert(X_FORWARDED_FOR, chain);
    }
    if let Some(host) = host.filter(|h| !h.is_empty()) {
        metadata.insert(X_FORWARDED_HOST, host);
    }
    metadata.insert(X_FORWARDED_PROTO, proto);
}

/// Adds to a reply's headers what of an answer's metadata (or trailers) its allow-list lets through.
/// Framing and transport headers never are, listed or not.
pub fn to_response(
    metadata: &HeaderMap,
    allow: impl Fn(&HeaderName) -> bool,
    reply: &mut HeaderMap,
) {
    for (name, value) in metadata {
        let text = name.as_str();
        let ours = is_hop_by_hop(text)
            || starts(text, &["grpc-", ":"])
            || matches!(
                text,
                "content-encoding" | "content-length" | "content-type" | "date" | "host"
            );
        if !ours && allow(name) && !is_connection_listed(metadata, name) {
            reply.append(name.clone(), value.clone());
        }
    }
}

/// The time that the client gives the call: the smaller of `grpc-timeout` and `X-Server-Timeout`.
///
/// # Errors
/// One of them is malformed, or given twice.
pub fn client_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let one = |name: &HeaderName, parse: fn(&[u8]) -> Option<Duration>, form: &str| {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        match (parse(value.as_bytes()), values.next()) {
            (Some(timeout), None) => Ok(Some(timeout)),
            (_, Some(_)) => Err(refused(name, "must be given once")),
            (None, None) => Err(refused(name, form)),
        }
    };
    let grpc = one(
        &GRPC_TIMEOUT,
        parse_grpc_timeout,
        "must be 1 to 8 digits and a unit (H M S m u n)",
    )?;
    let server = one(
        &X_SERVER_TIMEOUT,
        parse_seconds,
        "must be a number of seconds, such as 1.5",
    )?;
    Ok(match (grpc, server) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    })
}

/// The smaller of the client's time and the route's.
///
/// # Errors
/// See [`client_timeout`].
pub fn timeout(headers: &HeaderMap, route: Duration) -> Result<Duration, Failure> {
    Ok(client_timeout(headers)?.map_or(route, |t| t.min(route)))
}

/// gRPC over HTTP/2: `TimeoutValue TimeoutUnit`.
fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let count = decimal(digits, 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(count.saturating_mul(3600)),
        b'M' => Duration::from_secs(count.saturating_mul(60)),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `12`, `1.5`; what is finer than a nanosecond is dropped.
fn parse_seconds(value: &[u8]) -> Option<Duration> {
    let mut parts = value.splitn(2, |b| *b == b'.');
    let seconds = decimal(parts.next()?, 9)?;
    let Some(fraction) = parts.next() else {
        return Some(Duration::from_secs(seconds));
    };
    decimal(fraction, 18)?;
    let nanos = (0..9).fold(0_u32, |n, i| {
        let digit = fraction
            .get(i)
            .map_or(0, |d| u32::from(d.saturating_sub(b'0')));
        n * 10 + digit
    });
    Some(Duration::new(seconds, nanos))
}

/// One to `digits_max` digits and nothing else.
fn decimal(digits: &[u8], digits_max: usize) -> Option<u64> {
    let fits = !digits.is_empty() && digits.len() <= digits_max;
    if !fits || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// A `grpc-timeout` value: the finest unit in which the time fits 8 digits, rounded down, never zero.
#[must_use]
pub fn grpc_timeout(left: Duration) -> HeaderValue {
    let units: [(u64, u8); 6] = [
        (1, b'n'),
        (1_000, b'u'),
        (1_000_000, b'm'),
        (1_000_000_000, b'S'),
        (60_000_000_000, b'M'),
        (3_600_000_000_000, b'H'),
    ];
    // More than 64 bits of nanoseconds are half a millennium: as long as can be said.
    let fits = u64::try_from(left.as_nanos().max(1))
        .ok()
        .and_then(|nanos| {
            let (size, unit) = units.iter().find(|(size, _)| nanos / size <= 99_999_999)?;
            Some((nanos / size, *unit))
        });
    let (count, unit) = fits.unwrap_or((99_999_999, b'H'));
    let mut number = itoa::Buffer::new();
    let number = number.format(count).as_bytes();
    // Eight digits at most.
    let mut text = [unit; 9];
    for (to, from) in text.iter_mut().zip(number) {
        *to = *from;
    }
    let text = text.get(..=number.len()).unwrap_or(b"1n");
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("1n"))
}

/// Binary metadata as gRPC writes it.
#[must_use]
pub fn binary_value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::try_from(BINARY.encode(bytes)).unwrap_or(HeaderValue::from_static(""))
}

/// A `grpc-message`: percent-encoded UTF-8. Never fails: broken escapes stay as they are, broken
/// UTF-8 becomes U+FFFD.
#[must_use]
pub fn decode_message(value: &[u8]) -> String {
    percent_encoding::percent_decode(value)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests;
