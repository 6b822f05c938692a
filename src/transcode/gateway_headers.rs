//! grpc-gateway's names for what crosses: `grpcgateway-*` and `Grpc-Metadata-*` on the way to the
//! service, `Grpc-Metadata-*` and `Grpc-Trailer-*` on the way back.
//!
//! Beside what a route passes anyway. What never crosses under its own name doesn't under a prefix
//! either: there a client could forge `x-forwarded-for` or gRPC's own headers.

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::failure::Failure;

use super::metadata::{
    BINARY, Crossing, Trust, crossing, is_carried, is_connection_listed, is_hop_by_hop,
    is_metadata_key,
};

/// Before the names of a service's leading metadata.
pub const METADATA_PREFIX: &str = "grpc-metadata-";
/// Before the names of its trailing metadata.
pub const TRAILER_PREFIX: &str = "grpc-trailer-";
/// Before the names of permanent HTTP headers, on their way to the service.
const HTTP_PREFIX: &str = "grpcgateway-";

/// The headers that grpc-gateway takes from the IANA's permanent registry.
fn is_permanent(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-charset"
            | "accept-language"
            | "accept-ranges"
            | "authorization"
            | "cache-control"
            | "content-type"
            | "cookie"
            | "date"
            | "expect"
            | "from"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-schedule-tag-match"
            | "if-unmodified-since"
            | "max-forwards"
            | "origin"
            | "pragma"
            | "referer"
            | "user-agent"
            | "via"
            | "warning"
    )
}

/// The name under which grpc-gateway passes a header on, if it does.
#[must_use]
pub fn metadata_name(name: &HeaderName, trust: Trust) -> Option<HeaderName> {
    let text = name.as_str();
    if is_permanent(text) {
        return HeaderName::try_from(format!("{HTTP_PREFIX}{text}")).ok();
    }
    let inner = text.strip_prefix(METADATA_PREFIX)?;
    let inner = HeaderName::try_from(inner).ok()?;
    let crosses = match crossing(&inner) {
        Crossing::Never => false,
        Crossing::OfProxies => trust == Trust::Trusted,
        Crossing::Always | Crossing::ByList => true,
    };
    (crosses && is_metadata_key(inner.as_str())).then_some(inner)
}

/// Adds to `metadata` what grpc-gateway would pass on, under its names. A value that gRPC can't carry
/// is left out, as it is there.
///
/// # Errors
/// A binary value that is not base64.
pub fn to_metadata(
    headers: &HeaderMap,
    trust: Trust,
    metadata: &mut HeaderMap,
) -> Result<(), Failure> {
    for (name, value) in headers {
        let Some(new) = metadata_name(name, trust) else {
            continue;
        };
        if is_connection_listed(headers, name) {
            continue;
        }
        if is_carried(&new, value) {
            metadata.append(new, value.clone());
        } else if new.as_str().ends_with("-bin") {
            let message = format!("invalid binary header {name}: must be base64");
            return Err(Failure::client(message));
        }
    }
    Ok(())
}

/// Adds a service's metadata to the headers (or trailers) of a reply, each name after `prefix`; what
/// `plain` says crosses under its own name.
pub fn to_reply(
    metadata: &HeaderMap,
    prefix: &str,
    plain: impl Fn(&HeaderName) -> bool,
    reply: &mut HeaderMap,
) {
    for (name, value) in metadata {
        if let Some(new) = reply_name(name, prefix).filter(|_| !plain(name))
            && let Some(value) = reply_value(name, value)
        {
            reply.append(new, value);
        }
    }
}

/// The name of a service's metadata in a reply: gRPC's own has none.
#[must_use]
pub fn reply_name(name: &HeaderName, prefix: &str) -> Option<HeaderName> {
    let text = name.as_str();
    let own = text.starts_with("grpc-") || is_hop_by_hop(text);
    HeaderName::try_from(format!("{prefix}{text}"))
        .ok()
        .filter(|_| !own)
}

/// Binary metadata is shown as the bytes that it stands for, where a header can hold them.
fn reply_value(name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    if !name.as_str().ends_with("-bin") {
        return Some(value.clone());
    }
    let bytes = BINARY.decode(value.as_bytes()).ok()?;
    HeaderValue::from_bytes(&bytes).ok()
}

/// Whether a client takes trailers: `TE: trailers`.
#[must_use]
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let first = headers.get(header::TE).and_then(|v| v.to_str().ok());
    first.is_some_and(|te| te.to_ascii_lowercase().contains("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_way_to_the_service() {
        for (name, trust, expected) in [
            ("cookie", Trust::Untrusted, Some("grpcgateway-cookie")),
            (
                "authorization",
                Trust::Untrusted,
                Some("grpcgateway-authorization"),
            ),
            ("grpc-metadata-x-tenant", Trust::Untrusted, Some("x-tenant")),
            ("grpc-metadata-a~b", Trust::Untrusted, None),
            ("grpc-metadata-", Trust::Untrusted, None),
            ("grpc-metadata-grpc-timeout", Trust::Trusted, None),
            ("grpc-metadata-te", Trust::Trusted, None),
            ("grpc-metadata-x-forwarded-for", Trust::Trusted, None),
            ("grpc-metadata-x-real-ip", Trust::Untrusted, None),
            ("grpc-metadata-x-real-ip", Trust::Trusted, Some("x-real-ip")),
            ("x-tenant", Trust::Trusted, None),
            ("connection", Trust::Trusted, None),
        ] {
            let found = metadata_name(&HeaderName::from_static(name), trust);
            assert_eq!(found.as_ref().map(HeaderName::as_str), expected, "{name}");
        }
    }

    #[test]
    fn names_and_values_on_the_way_back() {
        let mut metadata = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("x-cost", "3"),
            ("x-open", "1"),
            ("x-raw-bin", "aGk="),
            ("x-odd-bin", "AAEC"),
            ("grpc-status", "0"),
            ("te", "trailers"),
        ] {
            metadata.insert(name, value.parse().unwrap());
        }
        let mut reply = HeaderMap::new();
        to_reply(&metadata, METADATA_PREFIX, |n| n == "x-open", &mut reply);
        let mut found: Vec<_> = reply
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("grpc-metadata-content-type", "application/grpc"),
                ("grpc-metadata-x-cost", "3"),
                ("grpc-metadata-x-raw-bin", "hi"),
            ]
        );
    }
}
