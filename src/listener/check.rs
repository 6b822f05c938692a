//! The strict request check: what hyper accepts and a front door must not, before any route is looked
//! up. A request that two readers could take for different ones is refused and its connection closed,
//! since the next reader may be a load balancer in front of us.
//!
//! Settled by hyper before this is asked, and taken as settled: framing (with both Content-Length and
//! Transfer-Encoding it drops the length, reads chunks and closes afterwards; equal lengths become
//! one), bare LF as line end (RFC 9112 §2.2 allows it), fragments in targets (cut off). What goes
//! upstream is framed anew in any case. `tests/strict.rs` states each.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, StatusCode, Version};

use crate::failure::{Failure, GrpcCode};
use crate::limits::Limits;

/// Methods to name when a method is refused whatever the path.
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// What the check has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'r> {
    /// The host (and port) asked for, as written; empty for HTTP/1.0 without one.
    pub authority: &'r str,
    /// The client asks to go on in HTTP/2 (`Upgrade: h2c`): answered in HTTP/1.1, and not passed on.
    pub upgrade_h2c: bool,
}

/// Checks the head of one request.
///
/// # Errors
/// A [`Failure`] with the status to answer with. After it an HTTP/1.1 connection must be closed.
pub fn check<'r>(parts: &'r Parts, limits: &Limits) -> Result<Checked<'r>, Failure> {
    sizes(parts, limits)?;
    method(&parts.method)?;
    target(parts)?;
    framing(parts)?;
    values(&parts.headers)?;
    expectation(&parts.headers)?;
    Ok(Checked {
        authority: authority(parts)?,
        upgrade_h2c: upgrades_to_h2c(&parts.headers),
    })
}

fn sizes(parts: &Parts, limits: &Limits) -> Result<(), Failure> {
    let path_and_query = parts.uri.path_and_query();
    let target_bytes = path_and_query.map_or(0, |p| p.as_str().len());
    if target_bytes > limits.uri_bytes_max.bytes() {
        return Err(
            Failure::client("the path and query are too long").status(StatusCode::URI_TOO_LONG)
        );
    }
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    if parts.headers.len() > limits.headers_max {
        return Err(Failure::client("too many header fields").status(too_large));
    }
    // As RFC 9113 §6.5.2 counts a header list.
    let list_bytes: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    if list_bytes > limits.header_bytes_max.bytes() {
        return Err(Failure::client("the header fields are too large").status(too_large));
    }
    Ok(())
}

/// Methods are case-sensitive: `get` is not `GET`, and no rule has it.
fn method(method: &Method) -> Result<(), Failure> {
    let refused =
        method == Method::CONNECT || method.as_str().bytes().any(|b| b.is_ascii_lowercase());
    if !refused {
        return Ok(());
    }
    let mut failure = Failure::new(
        crate::failure::Blame::Client,
        GrpcCode::Unimplemented,
        "the method is not supported",
    )
    .status(StatusCode::METHOD_NOT_ALLOWED);
    failure.allow = Some(ALLOW);
    Err(failure)
}

fn target(parts: &Parts) -> Result<(), Failure> {
    let path = parts.uri.path();
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(Failure::client("the target * is for OPTIONS alone"));
    }
    if path != "*" && !path.starts_with('/') {
        return Err(Failure::client("the path must start with a slash"));
    }
    match parts.uri.scheme() {
        None => Ok(()),
        Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => Ok(()),
        Some(_) => Err(Failure::client("the target's scheme must be http or https")),
    }
}

fn framing(parts: &Parts) -> Result<(), Failure> {
    let headers = &parts.headers;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    if lengths > 1 {
        return Err(Failure::client("more than one Content-Length"));
    }
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if parts.version >= Version::HTTP_2 {
        return Err(Failure::client("Transfer-Encoding has no place in HTTP/2"));
    }
    if codings.next().is_some() {
        return Err(Failure::client("more than one Transfer-Encoding"));
    }
    if lengths > 0 {
        return Err(Failure::client("both Content-Length and Transfer-Encoding"));
    }
    if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let unknown = Failure::new(
        crate::failure::Blame::Client,
        GrpcCode::Unimplemented,
        "the only transfer coding taken is chunked",
    );
    Err(unknown.status(StatusCode::NOT_IMPLEMENTED))
}

/// No bytes above ASCII: readers differ on what they mean, and gRPC metadata can't hold them.
fn values(headers: &HeaderMap) -> Result<(), Failure> {
    match headers
        .iter()
        .find(|(_, value)| !value.as_bytes().is_ascii())
    {
        None => Ok(()),
        Some((name, _)) => Err(Failure::client(format!(
            "the value of header {:?} is not ASCII",
            name.as_str()
        ))),
    }
}

fn expectation(headers: &HeaderMap) -> Result<(), Failure> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(known) {
        return Ok(());
    }
    Err(
        Failure::client("the only expectation taken is 100-continue")
            .status(StatusCode::EXPECTATION_FAILED),
    )
}

/// One host, well-formed, and the same in the target and in the header.
fn authority(parts: &Parts) -> Result<&str, Failure> {
    let in_target = parts.uri.authority().map(http::uri::Authority::as_str);
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let in_header = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::client("more than one Host"));
    }
    let in_header = match in_header {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| bad_host())?),
    };
    let found = match (in_target, in_header) {
        // RFC 9112 §3.2: HTTP/1.1 wants Host whatever the target says.
        (_, None) if parts.version == Version::HTTP_11 => {
            return Err(Failure::client("no Host"));
        }
        (None, None) if parts.version < Version::HTTP_11 => return Ok(""),
        (None, None) => return Err(Failure::client("no :authority and no Host")),
        (Some(target), Some(host)) if !same_host(target, host) => {
            return Err(Failure::client("the target and Host name different hosts"));
        }
        (Some(host), _) | (None, Some(host)) => host,
    };
    if is_host(found) && in_header.is_none_or(is_host) {
        Ok(found)
    } else {
        Err(bad_host())
    }
}

fn bad_host() -> Failure {
    Failure::client("Host is not a host name or address, with or without a port")
}

fn same_host(a: &str, b: &str) -> bool {
    let plain = |h: &str| h.strip_suffix(":80").unwrap_or(h).to_ascii_lowercase();
    a.eq_ignore_ascii_case(b) || plain(a) == plain(b)
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2, without percent escapes: no client sends those.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) => {
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                match after.strip_prefix(':') {
                    Some(port) => ("v6", Some(port)),
                    None if after.is_empty() => ("v6", None),
                    None => return false,
                }
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    !host.is_empty()
        && host.bytes().all(in_name)
        && port.is_none_or(|p| p.parse::<u16>().is_ok() && p.bytes().all(|b| b.is_ascii_digit()))
}

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

fn upgrades_to_h2c(headers: &HeaderMap) -> bool {
    let h2c = |value: &HeaderValue| {
        let mut protocols = value.as_bytes().split(|b| *b == b',');
        protocols.any(|p| p.trim_ascii().eq_ignore_ascii_case(b"h2c"))
    };
    headers.get_all(header::UPGRADE).iter().any(h2c)
}

/// Takes out what only concerns an upgrade to HTTP/2 that is not made.
pub fn strip_h2c(headers: &mut HeaderMap) {
    headers.remove(header::UPGRADE);
    headers.remove(HTTP2_SETTINGS);
}

#[cfg(test)]
mod tests;
