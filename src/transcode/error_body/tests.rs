use http::{HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::status::tests::status;
use super::super::wire::put_bytes;
use super::*;
use crate::failure::{Failure, GrpcCode};

fn body(failure: &Failure, format: ErrorFormat, inner: Inner) -> Value {
    let (_, bytes) = error_body(failure, format, inner, None);
    serde_json::from_slice(&bytes).unwrap()
}

fn of_service(code: GrpcCode, message: &'static str, details: &[(&str, &[u8])]) -> Failure {
    let mut failure = Failure::upstream(code, message);
    failure.speaker = Speaker::Service;
    failure.details = Some(status(u64::from(code.number()), details).into());
    failure
}

#[test]
fn the_three_shapes() {
    let failure = Failure::new(
        crate::failure::Blame::Client,
        GrpcCode::NotFound,
        "no game 7",
    );
    assert_eq!(
        body(&failure, ErrorFormat::Status, Inner::Hide),
        json!({"code": 5, "message": "no game 7"})
    );
    assert_eq!(
        body(&failure, ErrorFormat::Aip193, Inner::Hide),
        json!({"error": {"code": 404, "message": "no game 7", "status": "NOT_FOUND"}})
    );
    assert_eq!(
        body(&failure, ErrorFormat::Problem, Inner::Hide),
        json!({"type": "about:blank", "title": "Not Found", "status": 404,
               "detail": "no game 7", "code": "NOT_FOUND"})
    );
}

#[test]
fn the_status_of_http_shows_where_it_says_more() {
    let failure = Failure::client("too big").status(StatusCode::PAYLOAD_TOO_LARGE);
    let aip = body(&failure, ErrorFormat::Aip193, Inner::Hide);
    assert_eq!(aip["error"]["code"], 413);
    let problem = body(&failure, ErrorFormat::Problem, Inner::Hide);
    assert_eq!(problem["title"], "Payload Too Large");
}

#[test]
fn violations_are_a_bad_request_detail() {
    let failure = Failure::client("two are wrong")
        .violation("page_size", "expected an integer")
        .violation("a\"b", "unknown");
    assert_eq!(
        body(&failure, ErrorFormat::Status, Inner::Hide)["details"],
        json!([{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
            {"field": "page_size", "description": "expected an integer"},
            {"field": "a\"b", "description": "unknown"}]}])
    );
}

#[test]
fn unknown_details_are_kept_as_base64_and_debug_info_is_hidden() {
    let failure = of_service(
        GrpcCode::NotFound,
        "x",
        &[
            ("type.googleapis.com/my.Detail", b"\x01\x02"),
            ("type.googleapis.com/google.rpc.DebugInfo", b"stack"),
        ],
    );
    let kept = json!({"@type": "type.googleapis.com/my.Detail", "value": "AQI="});
    assert_eq!(
        body(&failure, ErrorFormat::Status, Inner::Hide)["details"],
        json!([kept])
    );
    let shown = body(&failure, ErrorFormat::Status, Inner::Show);
    assert_eq!(shown["details"].as_array().unwrap().len(), 2);
    let alone = of_service(GrpcCode::NotFound, "x", &[("a/google.rpc.DebugInfo", b"")]);
    assert_eq!(
        body(&alone, ErrorFormat::Status, Inner::Hide),
        json!({"code": 5, "message": "x"})
    );
}

#[test]
fn a_services_own_words_about_inner_faults_are_hidden() {
    for (code, said) in [
        (GrpcCode::Internal, "internal error"),
        (GrpcCode::Unknown, "unknown error"),
        (GrpcCode::Unavailable, "db at 10.0.0.7"),
    ] {
        let failure = of_service(code, "db at 10.0.0.7", &[]);
        for format in [
            ErrorFormat::Status,
            ErrorFormat::Aip193,
            ErrorFormat::Problem,
        ] {
            let (_, hidden) = error_body(&failure, format, Inner::Hide, None);
            assert!(String::from_utf8_lossy(&hidden).contains(said), "{code:?}");
            let (_, shown) = error_body(&failure, format, Inner::Show, None);
            assert!(String::from_utf8_lossy(&shown).contains("10.0.0.7"));
        }
    }
    let ours = Failure::gateway(GrpcCode::Internal, "too many streams");
    assert_eq!(
        body(&ours, ErrorFormat::Status, Inner::Hide)["message"],
        "too many streams"
    );
}

#[test]
fn clients_that_name_problem_json_get_it() {
    let accepted =
        |accept: &str| ErrorFormat::Status.accepted(Some(&HeaderValue::from_str(accept).unwrap()));
    assert_eq!(accepted("application/problem+json"), ErrorFormat::Problem);
    assert_eq!(
        accepted("application/json, Application/Problem+JSON;q=0.5"),
        ErrorFormat::Problem
    );
    assert_eq!(
        accepted("application/problem+json;q=0"),
        ErrorFormat::Status
    );
    assert_eq!(
        accepted("application/problem+json; q=0.000"),
        ErrorFormat::Status
    );
    assert_eq!(accepted("application/json"), ErrorFormat::Status);
    assert_eq!(accepted("*/*"), ErrorFormat::Status);
    assert_eq!(ErrorFormat::Aip193.accepted(None), ErrorFormat::Aip193);
    assert_eq!(
        ErrorFormat::Problem.content_type(),
        "application/problem+json"
    );
}

proptest! {
    #[test]
    fn any_text_and_any_details_are_json(
        message in any::<String>(),
        field in any::<String>(),
        wire in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut failure = Failure::client(message.clone()).violation(field.clone(), "x");
        failure.details = Some(wire.into());
        for format in [ErrorFormat::Status, ErrorFormat::Aip193, ErrorFormat::Problem] {
            let (_, bytes) = error_body(&failure, format, Inner::Show, None);
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            if format == ErrorFormat::Status {
                prop_assert_eq!(&value["message"], &Value::from(message.clone()));
                let last = value["details"].as_array().unwrap().last().unwrap();
                prop_assert_eq!(&last["fieldViolations"][0]["field"], &Value::from(field.clone()));
            }
        }
    }
}

#[test]
fn details_that_the_schema_knows_are_printed_with_their_fields() {
    use std::sync::Arc;

    use crate::codec::JsonOptions;

    let schema =
        super::super::plan::tests::schema_of("syntax = \"proto3\";\npackage t;\nmessage M {}\n");
    let mut violation = Vec::new();
    put_bytes(1, b"title", &mut violation);
    put_bytes(2, b"too long", &mut violation);
    let mut bad_request = Vec::new();
    put_bytes(1, &violation, &mut bad_request);
    let failure = of_service(
        GrpcCode::InvalidArgument,
        "x",
        &[
            ("type.googleapis.com/google.rpc.BadRequest", &bad_request),
            ("type.googleapis.com/t.M", b""),
            ("type.googleapis.com/google.protobuf.Duration", b"\x08\x03"),
            ("type.googleapis.com/google.rpc.ErrorInfo", b"\xff"),
            ("", b""),
        ],
    );
    let details = json!([
        {"@type": "type.googleapis.com/google.rpc.BadRequest",
         "fieldViolations": [{"field": "title", "description": "too long"}]},
        {"@type": "type.googleapis.com/t.M"},
        {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "value": "/w=="},
        {"@type": "", "value": ""}
    ]);
    for pretty in [false, true] {
        let options = JsonOptions {
            pretty,
            ..JsonOptions::default()
        };
        let codec = Codec::build(Arc::clone(&schema), options);
        let (_, bytes) = error_body(&failure, ErrorFormat::Status, Inner::Hide, Some(&codec));
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["details"], details, "pretty: {pretty}");
    }
}
