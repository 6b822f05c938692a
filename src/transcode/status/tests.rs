use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::wire::{put_bytes, put_tag, put_varint};
use super::*;

fn map(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    pairs
        .iter()
        .map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_bytes(v).unwrap()))
        .collect()
}

/// A serialised `google.rpc.Status`.
pub(in crate::transcode) fn status(code: u64, details: &[(&str, &[u8])]) -> Vec<u8> {
    let mut wire = Vec::new();
    put_tag(1, 0, &mut wire);
    put_varint(code, &mut wire);
    put_bytes(2, b"inner", &mut wire);
    for (url, value) in details {
        let mut any = Vec::new();
        put_bytes(1, url.as_bytes(), &mut any);
        put_bytes(2, value, &mut any);
        put_bytes(3, &any, &mut wire);
    }
    wire
}

#[test]
fn a_status_of_zero_is_fine() {
    assert!(outcome(&map(&[("grpc-status", b"0")])).is_ok());
    assert!(outcome(&map(&[("grpc-status", b" 0 ")])).is_ok());
}

#[test]
fn a_service_fails_in_its_own_words() {
    let failure = outcome(&map(&[
        ("grpc-status", b"5"),
        ("grpc-message", b"no%20game"),
    ]))
    .unwrap_err();
    assert_eq!(failure.code, GrpcCode::NotFound);
    assert_eq!(failure.message, "no game");
    assert_eq!(failure.speaker, Speaker::Service);
    assert_eq!(failure.blame, Blame::Client);
    assert_eq!(failure.http_status(), 404);
    let failure = outcome(&map(&[("grpc-status", b"14")])).unwrap_err();
    assert_eq!(failure.blame, Blame::Upstream);
    assert_eq!(failure.retry, Retry::IfIdempotent);
}

#[test]
fn every_code_keeps_its_number() {
    for code in GrpcCode::ALL.iter().skip(1) {
        let number = code.number().to_string();
        let failure = outcome(&map(&[("grpc-status", number.as_bytes())])).unwrap_err();
        assert_eq!(failure.code, *code);
    }
}

#[test]
fn a_status_that_is_none_is_a_bad_gateway() {
    for bad in [&b""[..], b"x", b"-1", b"+5", b"5x", b"1.0", b"\xff"] {
        let failure = outcome(&map(&[("grpc-status", bad)])).unwrap_err();
        assert_eq!(failure.http_status(), 502, "{bad:?}");
        assert_eq!(failure.speaker, Speaker::Gateway);
    }
    assert_eq!(outcome(&HeaderMap::new()).unwrap_err().http_status(), 502);
}

#[test]
fn numbers_that_are_no_code_are_unknown() {
    for number in ["17", "99", "4294967295", "99999999999999999999"] {
        let failure = outcome(&map(&[("grpc-status", number.as_bytes())])).unwrap_err();
        assert_eq!(failure.code, GrpcCode::Unknown);
        assert_eq!(failure.http_status(), 500);
    }
}

fn with_details(value: &str) -> Failure {
    outcome(&map(&[
        ("grpc-status", b"8"),
        ("grpc-status-details-bin", value.as_bytes()),
    ]))
    .unwrap_err()
}

#[test]
fn details_are_read_padded_or_not() {
    let wire = status(8, &[("type.googleapis.com/a.B", b"x")]);
    for text in [STANDARD.encode(&wire), STANDARD_NO_PAD.encode(&wire)] {
        assert_eq!(with_details(&text).details.as_deref(), Some(&*wire));
    }
    let found: Vec<_> = status_details(&wire).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].type_name(), "a.B");
    assert_eq!(found[0].value, b"x");
}

#[test]
fn details_of_another_status_or_of_none_are_dropped() {
    let other = STANDARD.encode(status(5, &[]));
    let broken = STANDARD.encode([0x08, 0x08, 0x12, 0x7f]);
    for text in [other.as_str(), broken.as_str(), "!", "A", ""] {
        assert_eq!(with_details(text).details, None, "{text}");
    }
}

#[test]
fn retry_info_becomes_whole_seconds() {
    let retry = |seconds: u64, nanos: u64| {
        let mut duration = Vec::new();
        put_tag(1, 0, &mut duration);
        put_varint(seconds, &mut duration);
        put_tag(2, 0, &mut duration);
        put_varint(nanos, &mut duration);
        let mut info = Vec::new();
        put_bytes(1, &duration, &mut info);
        let wire = status(8, &[("type.googleapis.com/google.rpc.RetryInfo", &info)]);
        with_details(&STANDARD.encode(wire)).retry_after_seconds
    };
    assert_eq!(retry(30, 0), Some(30));
    assert_eq!(retry(30, 1), Some(31));
    assert_eq!(retry((-3_i64).cast_unsigned(), 0), Some(0));
    assert_eq!(retry(u64::MAX >> 1, 5), Some(u32::MAX));
    let wire = status(8, &[("x/google.rpc.RetryInfo", b"")]);
    assert_eq!(
        with_details(&STANDARD.encode(wire)).retry_after_seconds,
        None
    );
}

#[test]
fn heads_that_are_grpc_pass() {
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC; charset=utf-8",
    ] {
        let head = map(&[("content-type", content_type.as_bytes())]);
        assert!(check_head(StatusCode::OK, &head).is_ok(), "{content_type}");
    }
    let trailers_only = map(&[("content-type", b"application/grpc"), ("grpc-status", b"5")]);
    assert!(check_head(StatusCode::BAD_GATEWAY, &trailers_only).is_ok());
}

#[test]
fn heads_that_are_not_grpc_are_bad_gateways() {
    for content_type in [
        "text/html",
        "application/grpc-web",
        "application/grpcx",
        "application/json",
    ] {
        let head = map(&[
            ("content-type", content_type.as_bytes()),
            ("grpc-status", b"0"),
        ]);
        let failure = check_head(StatusCode::OK, &head).unwrap_err();
        assert_eq!(failure.http_status(), 502, "{content_type}");
        assert_eq!(failure.blame, Blame::Upstream);
    }
    assert!(check_head(StatusCode::OK, &HeaderMap::new()).is_err());
}

#[test]
fn http_statuses_map_as_grpc_says() {
    for (status, code, answered) in [
        (400, GrpcCode::Internal, 502),
        (401, GrpcCode::Unauthenticated, 401),
        (403, GrpcCode::PermissionDenied, 403),
        (404, GrpcCode::Unimplemented, 502),
        (429, GrpcCode::Unavailable, 503),
        (500, GrpcCode::Unknown, 502),
        (502, GrpcCode::Unavailable, 503),
        (503, GrpcCode::Unavailable, 503),
        (504, GrpcCode::Unavailable, 503),
        (302, GrpcCode::Unknown, 502),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let head = map(&[("content-type", b"text/html"), ("retry-after", b"7")]);
        let failure = check_head(status, &head).unwrap_err();
        assert_eq!(
            (failure.code, failure.http_status().as_u16()),
            (code, answered),
            "{status}"
        );
        assert_eq!(failure.retry_after_seconds, Some(7));
    }
}

proptest! {
    #[test]
    fn any_trailers_give_an_answer(
        status in prop::option::of(prop::collection::vec(0x20_u8..=0xff, 0..6)),
        message in prop::collection::vec((0x20_u8..=0xff).prop_filter("no DEL", |b| *b != 0x7f), 0..40),
        wire in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut trailers = HeaderMap::new();
        if let Some(Ok(value)) = status.map(|s| HeaderValue::from_bytes(&s)) {
            trailers.insert("grpc-status", value);
        }
        trailers.insert("grpc-message", HeaderValue::from_bytes(&message).unwrap());
        let details = STANDARD.encode(&wire);
        trailers.insert("grpc-status-details-bin", HeaderValue::from_str(&details).unwrap());
        let _ = outcome(&trailers);
        prop_assert!(status_details(&wire).count() <= wire.len());
    }
}
