use serde_json::{Value, json};

use super::super::plan::tests::{build, plan, rule};
use super::*;
use crate::codec::{CodecLimits, Target};

pub(super) const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 1 << 20,
};

pub(super) fn policy() -> QueryPolicy<'static> {
    QueryPolicy {
        unknown: UnknownQuery::Reject,
        ignored: &[],
        parameters_max: 100,
        partial: false,
        compat: Compat::None,
    }
}

/// The message that a request makes, as JSON.
fn message(plan: &MethodPlan, captures: &[&str], query: &str, body: Option<&str>) -> Value {
    let mut wire = Vec::new();
    if let Some(body) = body {
        let target = plan.body_target().unwrap();
        plan.codec
            .encode(target, body.as_bytes(), LIMITS, &mut wire)
            .unwrap();
    }
    plan.bind(captures, Some(query), &policy(), &mut wire)
        .unwrap_or_else(|f| panic!("{query}: {f}"));
    print(plan, &wire)
}

fn print(plan: &MethodPlan, wire: &[u8]) -> Value {
    let mut json = Vec::new();
    let target = Target::Message(plan.input);
    plan.codec.print(target, wire, LIMITS, &mut json).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// `field: description` of each fault.
fn faults_with(
    plan: &MethodPlan,
    captures: &[&str],
    query: &str,
    policy: &QueryPolicy<'_>,
) -> Vec<String> {
    let failure = plan
        .bind(captures, Some(query), policy, &mut Vec::new())
        .unwrap_err();
    assert_eq!(failure.http_status(), 400);
    let line = |v: &FieldViolation| format!("{}: {}", v.field, v.description);
    failure.violations.iter().map(line).collect()
}

fn fault(plan: &MethodPlan, query: &str) -> String {
    faults_with(plan, &[], query, &policy()).join("\n")
}

#[test]
fn every_kind_of_value() {
    let plan = plan("GET /v1", "");
    for (query, expected) in [
        ("game_id=a", json!({"gameId": "a"})),
        ("gameId=a", json!({"gameId": "a"})),
        ("page_size=-5", json!({"pageSize": -5})),
        (
            "big=18446744073709551615",
            json!({"big": "18446744073709551615"}),
        ),
        ("ratio=1.5e3", json!({"ratio": 1500})),
        ("ratio=-Infinity", json!({"ratio": "-Infinity"})),
        ("flag=true", json!({"flag": true})),
        ("color=RED", json!({"color": "RED"})),
        ("color=-2", json!({"color": "BLUE"})),
        ("color=7", json!({"color": 7})),
        ("colors=RED&colors=BLUE", json!({"colors": ["RED", "BLUE"]})),
        ("data=aGk%3D", json!({"data": "aGk="})),
        ("data=aGk", json!({"data": "aGk="})),
        (
            "tags=b&tags=a&page_size=1&tags=b",
            json!({"tags": ["b", "a", "b"], "pageSize": 1}),
        ),
        ("tags=", json!({"tags": [""]})),
        (
            "since=2024-02-29T12:00:00.5Z",
            json!({"since": "2024-02-29T12:00:00.500Z"}),
        ),
        (
            "since=2024-02-29T12:00:00%2B02:00",
            json!({"since": "2024-02-29T10:00:00Z"}),
        ),
        ("took=1.5s", json!({"took": "1.500s"})),
        (
            "mask=gameId,inner.atMost",
            json!({"mask": "gameId,inner.atMost"}),
        ),
        ("note=x", json!({"note": "x"})),
        ("note=", json!({"note": ""})),
        ("maybe=", json!({"maybe": ""})),
        ("inner.boxed=0", json!({"inner": {"boxed": 0}})),
        (
            "extra=%7B%22a%22:[1,null]%7D",
            json!({"extra": {"a": [1, null]}}),
        ),
        ("value=%22x%22", json!({"value": "x"})),
        ("value=null", json!({"value": null})),
        (
            "labels[en]=x&labels[de]=y",
            json!({"labels": {"en": "x", "de": "y"}}),
        ),
        ("labels%5Ba.b%5D=x", json!({"labels": {"a.b": "x"}})),
        ("labels[]=x", json!({"labels": {"": "x"}})),
        ("counts[a]=5", json!({"counts": {"a": "5"}})),
        (
            "times=1970-01-01T00:00:01Z&times=1970-01-01T00:00:02Z",
            json!({"times": ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"]}),
        ),
        ("one=x", json!({"one": "x"})),
        (
            "three.id=x&three.count=2",
            json!({"three": {"id": "x", "count": 2}}),
        ),
        (
            "inner.next.next.id=x&inner.id=y&inner.next.count=3",
            json!({"inner": {"id": "y", "next": {"count": 3, "next": {"id": "x"}}}}),
        ),
        (
            "inner.labels[k]=v",
            json!({"inner": {"labels": {"k": "v"}}}),
        ),
        ("file.content_type=a", json!({"file": {"contentType": "a"}})),
        ("", json!({})),
    ] {
        assert_eq!(message(&plan, &[], query, None), expected, "{query}");
    }
}

#[test]
fn the_query_is_decoded_once() {
    let plan = plan("GET /v1", "");
    for (query, expected) in [
        ("game_id=a+b%2Bc%20d", "a b+c d"),
        ("game_id=%2541", "%41"),
        ("game_id=caf%C3%A9", "caf\u{e9}"),
        ("game%5Fid=a%26b%3Dc", "a&b=c"),
        ("game_id=a=b", "a=b"),
        ("&&game_id=a;b&", "a;b"),
    ] {
        assert_eq!(
            message(&plan, &[], query, None)["gameId"],
            expected,
            "{query}"
        );
    }
    assert_eq!(message(&plan, &[], "maybe", None), json!({"maybe": ""}));
    assert_eq!(
        message(&plan, &[], "game_id=%00", None),
        json!({"gameId": "\0"})
    );
    for query in [
        "game_id=%",
        "game_id=%4",
        "game_id=%zz",
        "game_id=%FF",
        "game_id=%C3%28",
        "%=1",
    ] {
        assert!(
            fault(&plan, query).ends_with("has a broken percent escape or is not UTF-8"),
            "{query}"
        );
    }
}

#[test]
fn each_fault_names_its_parameter() {
    let plan = plan("GET /v1", "");
    for (query, expected) in [
        (
            "pagesize=1",
            "pagesize: unknown query parameter; did you mean \"pageSize\"?",
        ),
        ("=1", ": unknown query parameter"),
        (
            "page_size=1&pageSize=2",
            "pageSize: is given more than once, and holds one value",
        ),
        (
            "since=1970-01-01T00:00:01Z&since=1970-01-01T00:00:01Z",
            "since: is given more than once, and holds one value",
        ),
        (
            "labels[a]=1&labels[a]=2",
            "labels[a]: is given more than once for this key",
        ),
        (
            "one=x&two=2",
            "two: is of the same oneof as \"one\": give one of them",
        ),
        (
            "three.id=x&one=x",
            "one: is of the same oneof as \"three.id\": give one of them",
        ),
        (
            "inner.left=x&inner.right=2",
            "inner.right: is of the same oneof as \"inner.left\": give one of them",
        ),
        (
            "inner.deep.left=x&inner.left=2",
            "inner.left: is of the same oneof as \"inner.deep.left\": give one of them",
        ),
        ("inner=x", "inner: is a message: give one of its fields"),
    ] {
        assert_eq!(fault(&plan, query), expected, "{query}");
    }
    // The words for a wrong value are the codec's.
    for query in [
        "page_size=",
        "page_size=x",
        "page_size=1.5",
        "page_size=2147483648",
        "flag=1",
        "flag=True",
        "flag",
        "color=PURPLE",
        "big=-1",
        "data=*",
        "since=yesterday",
        "took=5",
        "counts[a]=x",
        "extra=[1]",
        "ratio=1,5",
        "inners[1]=x",
    ] {
        let name = query.split('=').next().unwrap();
        assert!(
            fault(&plan, query).starts_with(&format!("{name}: ")),
            "{query}"
        );
    }
}

#[test]
fn two_fields_of_different_oneofs_are_fine() {
    let plan = plan("GET /v1", "");
    let query = "one=x&inner.left=y&inner.next.right=3";
    assert_eq!(
        message(&plan, &[], query, None),
        json!({"one": "x", "inner": {"left": "y", "next": {"right": "3"}}})
    );
}

#[test]
fn all_faults_are_told_together_up_to_a_bound() {
    let plan = plan("GET /v1", "");
    let failure = plan
        .bind(
            &[],
            Some("page_size=x&flag=y&zzz=1"),
            &policy(),
            &mut Vec::new(),
        )
        .unwrap_err();
    assert_eq!(failure.message, "3 fields are wrong: page_size, flag, zzz");
    let many = "x=1&".repeat(90);
    assert_eq!(
        faults_with(&plan, &[], &many, &policy()).len(),
        VIOLATIONS_MAX
    );
    let over = "tags=1&".repeat(101);
    assert_eq!(fault(&plan, &over), ": more than 100 query parameters");
}

#[test]
fn unknown_parameters_can_be_ignored_and_known_ones_still_bind() {
    let plan = plan("GET /v1/{game_id}", "");
    let ignore = QueryPolicy {
        unknown: UnknownQuery::Ignore,
        ..policy()
    };
    let mut wire = Vec::new();
    let query = "utm_source=x&page_size=5&inner.zzz=1";
    plan.bind(&["7"], Some(query), &ignore, &mut wire).unwrap();
    assert_eq!(print(&plan, &wire), json!({"gameId": "7", "pageSize": 5}));
    assert_eq!(
        faults_with(&plan, &["7"], "game_id=8", &ignore),
        ["game_id: comes from the path, not from the query"]
    );
    let ignored = ["key".into(), "page_size".into()];
    let listed = QueryPolicy {
        ignored: &ignored,
        ..policy()
    };
    wire.clear();
    plan.bind(&["7"], Some("key=x&page_size=zz"), &listed, &mut wire)
        .unwrap();
    assert_eq!(print(&plan, &wire), json!({"gameId": "7"}));
}

#[test]
fn captures_are_decoded_by_their_kind() {
    let plan = plan("GET /v1/{game_id}/{inner.id=a/**}", "");
    assert_eq!(
        message(&plan, &["a%2Fb+c%20", "a/x%2Fy/%7E"], "", None),
        json!({"gameId": "a/b+c ", "inner": {"id": "a/x%2Fy/~"}})
    );
    let faults = faults_with(&plan, &["%FF", "a"], "", &policy());
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("game_id: "), "{faults:?}");
}

#[test]
fn captures_of_the_wrong_kind_are_refused_by_name() {
    let numbers = plan("GET /v1/{page_size}/{since}", "");
    assert_eq!(
        message(&numbers, &["0", "1970-01-01T00:00:00Z"], "", None),
        json!({"since": "1970-01-01T00:00:00Z"})
    );
    let faults = faults_with(&numbers, &["x", "y"], "", &policy());
    assert!(
        faults[0].starts_with("page_size: ") && faults[1].starts_with("since: "),
        "{faults:?}"
    );
}

#[test]
fn the_path_wins_over_the_body() {
    let scalar = plan("POST /v1/{page_size}/{inner.id}", "*");
    assert_eq!(
        message(
            &scalar,
            &["0", "p"],
            "",
            Some(r#"{"pageSize": 9, "inner": {"id": "b", "count": 2}}"#)
        ),
        json!({"inner": {"id": "p", "count": 2}})
    );
    let messages = plan("POST /v1/{since}/{note}/{took}/{inner.boxed}", "*");
    let body = r#"{"since": "2024-01-01T00:00:00.25Z", "note": "b", "took": "9.5s", "inner": {"boxed": 7}}"#;
    assert_eq!(
        message(
            &messages,
            &["1970-01-01T00:00:01Z", "", "2s", "0"],
            "",
            Some(body)
        ),
        json!({"since": "1970-01-01T00:00:01Z", "note": "", "took": "2s", "inner": {"boxed": 0}})
    );
    let oneof = plan("POST /v1/{one}", "*");
    assert_eq!(
        message(&oneof, &["p"], "", Some(r#"{"two": 2}"#)),
        json!({"one": "p"})
    );
}

#[test]
fn a_body_field_leaves_the_rest_to_path_and_query() {
    let plan = plan("PATCH /v1/{inner.id}", "inner");
    assert_eq!(
        message(
            &plan,
            &["p"],
            "page_size=3",
            Some(r#"{"id": "b", "count": 2}"#)
        ),
        json!({"inner": {"id": "p", "count": 2}, "pageSize": 3})
    );
    assert_eq!(
        faults_with(&plan, &["p"], "inner.count=1", &policy()),
        ["inner.count: comes from the body, not from the query"]
    );
}

#[test]
fn a_oneof_is_set_by_path_body_or_query_alone() {
    let path = plan("GET /v1/{one}", "");
    assert_eq!(
        faults_with(&path, &["x"], "two=2", &policy()),
        ["two: is of the same oneof as \"one\" of the path"]
    );
    let body = plan("POST /v1", "three");
    let mut wire = Vec::new();
    let target = body.body_target().unwrap();
    body.codec
        .encode(target, br#"{"id": "x"}"#, LIMITS, &mut wire)
        .unwrap();
    let failure = body
        .bind(&[], Some("two=2"), &policy(), &mut wire)
        .unwrap_err();
    assert_eq!(failure.message, "two: is of the same oneof as the body");
    assert_eq!(message(&body, &[], "two=2", None), json!({"two": 2}));
}

#[test]
fn a_whole_body_leaves_nothing_to_the_query() {
    let plan = plan("POST /v1/{game_id}", "*");
    let faults = faults_with(&plan, &["x"], "page_size=1", &policy());
    assert_eq!(
        faults,
        ["page_size: all fields of this method come from the path and the body"]
    );
}

#[test]
fn raw_bodies_become_an_http_body() {
    let whole = build("Upload", &rule("POST /v1", "*", "")).unwrap();
    let mut wire = Vec::new();
    whole.bind_raw_body("image/png", b"\x89P", &mut wire);
    assert_eq!(
        print(&whole, &wire),
        json!({"contentType": "image/png", "data": "iVA="})
    );
    let field = plan("POST /v1/{game_id}", "file");
    wire.clear();
    field.bind_raw_body("", b"x", &mut wire);
    field
        .bind(&["7"], Some("tags=a"), &policy(), &mut wire)
        .unwrap();
    assert_eq!(
        print(&field, &wire),
        json!({"gameId": "7", "tags": ["a"], "file": {"data": "eA=="}})
    );
    wire.clear();
    plan("GET /v1", "").bind_raw_body("a", b"x", &mut wire);
    assert!(wire.is_empty());
}
