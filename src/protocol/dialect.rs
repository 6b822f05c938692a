//! Which of the protocols a request on `/pkg.Service/Method` speaks: told by its content type.

use http::HeaderValue;

/// How the messages of a call are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFormat {
    Proto,
    Json,
    /// A format of the client's and the service's own (`application/grpc+thrift`), which is passed on.
    Other,
}

/// How gRPC-Web's bytes are put into the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebBody {
    Binary,
    /// base64, for clients that can't read bytes as they come.
    Text,
}

/// A protocol for calls, with the format of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// gRPC over HTTP/2.
    Grpc(MessageFormat),
    GrpcWeb(WebBody, MessageFormat),
    /// One message each way, as plain HTTP. JSON alone doesn't tell it from REST.
    ConnectUnary(MessageFormat),
    ConnectStream(MessageFormat),
}

impl Dialect {
    /// Whether a content type is that of JSON, which Connect shares with REST.
    #[must_use]
    pub fn may_be_connect(content_type: &HeaderValue) -> bool {
        essence(content_type.as_bytes()).eq_ignore_ascii_case(b"application/json")
    }

    /// The protocol that a content type alone tells, parameters aside.
    #[must_use]
    pub fn of(content_type: &HeaderValue) -> Option<Self> {
        let essence = essence(content_type.as_bytes());
        if let Some(rest) = strip_prefix(essence, b"application/connect+") {
            return named(rest).map(Self::ConnectStream);
        }
        if essence.eq_ignore_ascii_case(b"application/proto") {
            return Some(Self::ConnectUnary(MessageFormat::Proto));
        }
        let rest = strip_prefix(essence, b"application/grpc")?;
        if let Some(rest) = strip_prefix(rest, b"-web-text") {
            return Some(Self::GrpcWeb(WebBody::Text, format(rest)?));
        }
        if let Some(rest) = strip_prefix(rest, b"-web") {
            return Some(Self::GrpcWeb(WebBody::Binary, format(rest)?));
        }
        format(rest).map(Self::Grpc)
    }
}

/// The media type before its parameters.
fn essence(content_type: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    content_type.get(..end).unwrap_or_default().trim_ascii()
}

/// Names of media types don't tell case apart (RFC 9110 §8.3.1).
fn strip_prefix<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What `+…` says; nothing is protobuf.
fn format(suffix: &[u8]) -> Option<MessageFormat> {
    match suffix.split_first() {
        None => Some(MessageFormat::Proto),
        Some((b'+', name)) => named(name),
        Some(_) => None,
    }
}

fn named(name: &[u8]) -> Option<MessageFormat> {
    match name.to_ascii_lowercase().as_slice() {
        b"" => None,
        b"proto" => Some(MessageFormat::Proto),
        b"json" => Some(MessageFormat::Json),
        _ => Some(MessageFormat::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_tell_the_protocol() {
        use MessageFormat as F;
        for (text, dialect) in [
            ("application/grpc", Some(Dialect::Grpc(F::Proto))),
            ("application/grpc+proto", Some(Dialect::Grpc(F::Proto))),
            (
                "Application/gRPC; charset=utf-8",
                Some(Dialect::Grpc(F::Proto)),
            ),
            ("application/grpc+json", Some(Dialect::Grpc(F::Json))),
            ("application/grpc+thrift", Some(Dialect::Grpc(F::Other))),
            (
                "application/grpc-web",
                Some(Dialect::GrpcWeb(WebBody::Binary, F::Proto)),
            ),
            (
                "application/grpc-web+json",
                Some(Dialect::GrpcWeb(WebBody::Binary, F::Json)),
            ),
            (
                "application/grpc-web-text",
                Some(Dialect::GrpcWeb(WebBody::Text, F::Proto)),
            ),
            (
                "application/grpc-web-text+proto",
                Some(Dialect::GrpcWeb(WebBody::Text, F::Proto)),
            ),
            ("application/grpc+", None),
            ("application/grpcs", None),
            ("application/grpc-websocket", None),
            ("application/proto", Some(Dialect::ConnectUnary(F::Proto))),
            (
                "application/connect+json",
                Some(Dialect::ConnectStream(F::Json)),
            ),
            (
                "application/connect+proto",
                Some(Dialect::ConnectStream(F::Proto)),
            ),
            ("application/connect+", None),
            ("application/json", None),
            ("", None),
        ] {
            let value = HeaderValue::from_static(text);
            assert_eq!(Dialect::of(&value), dialect, "{text}");
        }
    }
}
