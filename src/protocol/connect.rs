//! The Connect protocol: unary calls as plain HTTP, streams as envelopes that end in one of JSON.
//!
//! An envelope is a gRPC frame with one more flag, for the one that ends a stream.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::failure::{Failure, GrpcCode};
use crate::transcode::Inner;
use crate::transcode::error_body::{client_message, each_detail, put_string};
use crate::transcode::metadata::client_metadata;

use super::dialect::MessageFormat;

/// The flag of the envelope that ends a stream.
const END_STREAM: u8 = 0x02;
const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// Of the query of a GET: for URLs or not, padded or not.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A code as Connect spells it.
#[must_use]
pub fn code_name(code: GrpcCode) -> &'static str {
    match code {
        GrpcCode::Ok => "ok",
        GrpcCode::Cancelled => "canceled",
        GrpcCode::Unknown => "unknown",
        GrpcCode::InvalidArgument => "invalid_argument",
        GrpcCode::DeadlineExceeded => "deadline_exceeded",
        GrpcCode::NotFound => "not_found",
        GrpcCode::AlreadyExists => "already_exists",
        GrpcCode::PermissionDenied => "permission_denied",
        GrpcCode::ResourceExhausted => "resource_exhausted",
        GrpcCode::FailedPrecondition => "failed_precondition",
        GrpcCode::Aborted => "aborted",
        GrpcCode::OutOfRange => "out_of_range",
        GrpcCode::Unimplemented => "unimplemented",
        GrpcCode::Internal => "internal",
        GrpcCode::Unavailable => "unavailable",
        GrpcCode::DataLoss => "data_loss",
        GrpcCode::Unauthenticated => "unauthenticated",
    }
}

/// Appends a failure as Connect's error JSON.
pub fn put_error(failure: &Failure, inner: Inner, json: &mut Vec<u8>) {
    json.extend_from_slice(b"{\"code\":");
    put_string(code_name(failure.code), json);
    let message = client_message(failure, inner);
    if !message.is_empty() {
        json.extend_from_slice(b",\"message\":");
        put_string(message, json);
    }
    let mut separator: &[u8] = b",\"details\":[";
    each_detail(failure, inner, |type_name, value| {
        json.extend_from_slice(std::mem::replace(&mut separator, b","));
        json.extend_from_slice(b"{\"type\":");
        put_string(type_name, json);
        json.extend_from_slice(b",\"value\":");
        put_string(&STANDARD_NO_PAD.encode(value), json);
        json.push(b'}');
    });
    if separator == b"," {
        json.push(b']');
    }
    json.push(b'}');
}

/// The envelope that ends a stream: how it ended, and the trailers' metadata.
#[must_use]
pub fn end_stream(failure: Option<(&Failure, Inner)>, trailers: &HeaderMap) -> Vec<u8> {
    let mut end = vec![END_STREAM, 0, 0, 0, 0];
    end.push(b'{');
    if let Some((failure, inner)) = failure {
        end.extend_from_slice(b"\"error\":");
        put_error(failure, inner, &mut end);
    }
    let mut separator: &[u8] = match failure {
        Some(_) => b",\"metadata\":{",
        None => b"\"metadata\":{",
    };
    for name in trailers.keys().filter(|name| client_metadata(name)) {
        end.extend_from_slice(std::mem::replace(&mut separator, b","));
        put_string(name.as_str(), &mut end);
        end.extend_from_slice(b":[");
        for (i, value) in trailers.get_all(name).iter().enumerate() {
            if i > 0 {
                end.push(b',');
            }
            put_string(&String::from_utf8_lossy(value.as_bytes()), &mut end);
        }
        end.push(b']');
    }
    if separator == b"," {
        end.push(b'}');
    }
    end.push(b'}');
    let length = u32::try_from(end.len().saturating_sub(5)).unwrap_or(u32::MAX);
    for (to, from) in end.iter_mut().skip(1).zip(length.to_be_bytes()) {
        *to = from;
    }
    end
}

/// Adds metadata to a reply's headers, under these names with `prefix`.
pub fn put_metadata(metadata: &HeaderMap, prefix: &str, headers: &mut HeaderMap) {
    for (name, value) in metadata.iter().filter(|(name, _)| client_metadata(name)) {
        if prefix.is_empty() {
            headers.append(name.clone(), value.clone());
        } else if let Ok(name) = HeaderName::try_from(format!("{prefix}{name}")) {
            headers.append(name, value.clone());
        }
    }
}

/// Whether the client says that it speaks Connect.
///
/// # Errors
/// A version that isn't known.
pub fn version(headers: &HeaderMap) -> Result<bool, Failure> {
    match headers.get(VERSION).map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(b"1") => Ok(true),
        Some(_) => Err(Failure::client("connect-protocol-version must be 1")),
    }
}

/// Whether the client says so, in whatever version.
#[must_use]
pub fn says_so(headers: &HeaderMap, query: Option<&str>) -> bool {
    headers.contains_key(VERSION) || query.is_some_and(|q| parameter(q, "connect").is_some())
}

/// The time that the client gives the call.
///
/// # Errors
/// It isn't one to ten digits.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(TIMEOUT_MS) else {
        return Ok(None);
    };
    let digits = value.as_bytes();
    let fits = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let millis = value
        .to_str()
        .ok()
        .filter(|_| fits)
        .and_then(|v| v.parse().ok());
    millis
        .map(|millis| Some(Duration::from_millis(millis)))
        .ok_or_else(|| Failure::client("connect-timeout-ms must be 1 to 10 digits"))
}

/// The request of a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub format: MessageFormat,
    pub message: Vec<u8>,
    pub compression: Option<Box<str>>,
}

/// Whether a query is that of a Connect GET.
#[must_use]
pub fn is_get(query: &str) -> bool {
    parameter(query, "connect").is_some_and(|v| v == "v1") && parameter(query, "encoding").is_some()
}

impl Query {
    /// # Errors
    /// `encoding` or `message` is missing or can't be read.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let format = match parameter(query, "encoding").as_deref() {
            Some("json") => MessageFormat::Json,
            Some("proto") => MessageFormat::Proto,
            Some(_) => {
                let failure = Failure::client("encoding must be json or proto");
                return Err(failure.status(http::StatusCode::UNSUPPORTED_MEDIA_TYPE));
            }
            None => return Err(Failure::client("encoding is missing")),
        };
        let Some(text) = raw(query, "message") else {
            return Err(Failure::client("message is missing"));
        };
        let text = decoded(text);
        let message = match parameter(query, "base64").as_deref() {
            Some("1") => {
                let read = URL_SAFE.decode(&text).or_else(|_| STANDARD.decode(&text));
                read.map_err(|_| Failure::client("message is not base64"))?
            }
            None | Some("0" | "") => text,
            Some(_) => return Err(Failure::client("base64 must be 1 or 0")),
        };
        let compression = parameter(query, "compression").map(Into::into);
        Ok(Self {
            format,
            message,
            compression,
        })
    }
}

/// The first value of a parameter, still encoded.
fn raw<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

fn parameter(query: &str, name: &str) -> Option<String> {
    String::from_utf8(decoded(raw(query, name)?)).ok()
}

/// `+` is a space, as in forms.
fn decoded(value: &str) -> Vec<u8> {
    let spaced: Vec<u8> = value
        .bytes()
        .map(|b| if b == b'+' { b' ' } else { b })
        .collect();
    percent_encoding::percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_json_with_details() {
        let failure = Failure::client("bad \"x\"").violation("a", "b");
        let mut json = Vec::new();
        put_error(&failure, Inner::Hide, &mut json);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"code":"invalid_argument","message":"bad \"x\"","details":[{"type":"google.rpc.BadRequest","value":"CgYKAWESAWI"}]}"#
        );
    }

    #[test]
    fn a_streams_end_has_error_and_metadata() {
        let mut trailers = HeaderMap::new();
        trailers.append("grpc-status", "0".parse().unwrap());
        let text = |end: Vec<u8>| {
            let length = u32::from_be_bytes([end[1], end[2], end[3], end[4]]);
            assert_eq!((end[0], length as usize), (2, end.len() - 5));
            String::from_utf8(end[5..].to_vec()).unwrap()
        };
        assert_eq!(text(end_stream(None, &trailers)), "{}");
        trailers.append("x-a", "1".parse().unwrap());
        trailers.append("x-a", "2".parse().unwrap());
        let metadata = r#""metadata":{"x-a":["1","2"]}"#;
        assert_eq!(text(end_stream(None, &trailers)), format!("{{{metadata}}}"));
        let failure = Failure::upstream(GrpcCode::NotFound, "gone");
        assert_eq!(
            text(end_stream(Some((&failure, Inner::Hide)), &trailers)),
            format!(r#"{{"error":{{"code":"not_found","message":"gone"}},{metadata}}}"#)
        );
    }

    #[test]
    fn queries_are_read() {
        let read = |q: &str| Query::parse(q).map_err(|f| f.message.to_string());
        let message = |q: &str| read(q).map(|q| String::from_utf8(q.message).unwrap());
        let json = "connect=v1&encoding=json&message=";
        assert_eq!(
            message(&format!("{json}%7B%22a%22%3A1%7D")),
            Ok("{\"a\":1}".into())
        );
        assert_eq!(message(json), Ok(String::new()));
        assert_eq!(message(&format!("{json}e30&base64=1")), Ok("{}".into()));
        assert_eq!(message(&format!("{json}e30%3D&base64=1")), Ok("{}".into()));
        assert_eq!(
            message(&format!("{json}e*0&base64=1")),
            Err("message is not base64".into())
        );
        assert_eq!(message("encoding=json"), Err("message is missing".into()));
        assert_eq!(message("message="), Err("encoding is missing".into()));
        assert_eq!(
            message("encoding=xml&message="),
            Err("encoding must be json or proto".into())
        );
        assert!(is_get(json) && !is_get("connect=v2&encoding=json") && !is_get("connect=v1"));
    }

    #[test]
    fn timeouts_have_up_to_ten_digits() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT_MS, text.parse().unwrap());
            timeout(&headers).map_err(|_| ())
        };
        assert_eq!(read("250"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(
            read("9999999999"),
            Ok(Some(Duration::from_millis(9_999_999_999)))
        );
        for bad in ["", "-1", "1s", "12345678901"] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
    }
}
