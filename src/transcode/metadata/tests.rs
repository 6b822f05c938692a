use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        map.append(name, value);
    }
    map
}

fn client(trust: Trust) -> Client<'static> {
    Client {
        peer: "10.1.2.3",
        trust,
        host: "api.example.com",
        scheme: "https",
    }
}

/// The metadata of these headers, without the forwarded ones, sorted.
fn crossed(pairs: &[(&str, &str)], allowed: &[&str]) -> Vec<String> {
    let mut metadata = HeaderMap::new();
    let allow = |n: &HeaderName| {
        allowed.iter().any(|a| match a.strip_suffix('*') {
            Some(prefix) => n.as_str().starts_with(prefix),
            None => n == a,
        })
    };
    to_metadata(
        &headers(pairs),
        allow,
        &client(Trust::Untrusted),
        &mut metadata,
    )
    .unwrap();
    let mut lines: Vec<_> = metadata
        .iter()
        .filter(|(n, _)| !n.as_str().starts_with("x-forwarded-"))
        .map(|(n, v)| format!("{n}={}", v.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn identity_and_trace_always_cross() {
    let pairs = [
        ("authorization", "Bearer x"),
        ("x-request-id", "7"),
        ("traceparent", "00-a-b-01"),
        ("tracestate", "k=v"),
        ("b3", "0"),
        ("x-b3-traceid", "a"),
        ("x-cloud-trace-context", "a/1"),
        ("grpc-trace-bin", "AAEC"),
    ];
    assert_eq!(crossed(&pairs, &[]).len(), pairs.len());
}

#[test]
fn transport_headers_never_cross_even_when_allowed() {
    for name in [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "host",
        "expect",
        "user-agent",
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "content-length",
        "content-encoding",
        "grpc-timeout",
        "grpc-encoding",
        "grpc-status",
        "grpc-accept-encoding",
        "grpc-previous-rpc-attempts",
        "max-forwards",
        "x-server-timeout",
    ] {
        assert_eq!(
            crossed(&[(name, "1")], &["*"]),
            Vec::<String>::new(),
            "{name}"
        );
    }
}

#[test]
fn the_rest_crosses_by_list() {
    let pairs = [
        ("x-tenant", "a"),
        ("x-tenant", "b"),
        ("x-app-one", "1"),
        ("cookie", "c=1"),
    ];
    assert_eq!(crossed(&pairs, &[]), Vec::<String>::new());
    assert_eq!(
        crossed(&pairs, &["x-tenant", "x-app-*"]),
        ["x-app-one=1", "x-tenant=a", "x-tenant=b"]
    );
}

#[test]
fn what_connection_lists_is_hop_by_hop() {
    let pairs = [
        ("connection", "keep-alive, X-Tenant"),
        ("connection", " Authorization "),
        ("x-tenant", "a"),
        ("authorization", "Bearer x"),
        ("x-request-id", "7"),
        ("connection", "x-request-id"),
    ];
    assert_eq!(
        crossed(&pairs, &["*"]),
        ["authorization=Bearer x", "x-request-id=7"]
    );
}

#[test]
fn the_pieces_of_a_cookie_cross_as_one() {
    let pieces = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
    assert_eq!(crossed(&pieces, &["cookie"]), ["cookie=a=1; b=2; c=3; d=4"]);
    assert_eq!(crossed(&pieces[..1], &["cookie"]), ["cookie=a=1"]);
}

#[test]
fn names_that_grpc_lacks_are_left_out() {
    assert_eq!(crossed(&[("x!y", "1"), ("x-y", "1")], &["*"]), ["x-y=1"]);
}

#[test]
fn values_that_grpc_can_not_carry_are_refused() {
    let refuse = |name: &str, value: &str| {
        let map = headers(&[(name, value)]);
        let mut metadata = HeaderMap::new();
        to_metadata(&map, |_| true, &client(Trust::Untrusted), &mut metadata)
    };
    let failure = refuse("x-tenant", "caf\u{e9}").unwrap_err();
    assert_eq!(failure.http_status(), 400);
    assert_eq!(failure.violations.first().unwrap().field, "x-tenant");
    assert!(refuse("authorization", "tab\there").is_err());
    assert!(refuse("x-key-bin", "not base64!").is_err());
    assert!(refuse("x-key-bin", "AAE=").is_ok());
    assert!(refuse("x-key-bin", "AAE").is_ok());
    assert!(refuse("x-key-bin", "AAE,AAEC").is_ok());
    // A trace that can't be read is no trace; the request goes on.
    assert!(refuse("grpc-trace-bin", "!").is_ok());
    assert_eq!(
        crossed(&[("grpc-trace-bin", "!")], &[]),
        Vec::<String>::new()
    );
}

fn forwarded(pairs: &[(&str, &str)], trust: Trust) -> [String; 3] {
    let mut metadata = HeaderMap::new();
    to_metadata(&headers(pairs), |_| false, &client(trust), &mut metadata).unwrap();
    ["for", "host", "proto"].map(|n| {
        let all: Vec<_> = metadata
            .get_all(format!("x-forwarded-{n}"))
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect();
        all.join("|")
    })
}

#[test]
fn forwarded_headers_are_believed_from_trusted_peers_alone() {
    let said = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2"),
        ("x-forwarded-host", "shop.example.com"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(
        forwarded(&said, Trust::Untrusted),
        ["10.1.2.3", "api.example.com", "https"]
    );
    assert_eq!(
        forwarded(&said, Trust::Trusted),
        ["192.0.2.1, 192.0.2.2, 10.1.2.3", "shop.example.com", "http"]
    );
    assert_eq!(
        forwarded(&[], Trust::Trusted),
        ["10.1.2.3", "api.example.com", "https"]
    );
}

#[test]
fn other_words_of_proxies_need_trust_and_the_list() {
    let pairs = [("x-real-ip", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
    assert_eq!(crossed(&pairs, &["*"]), Vec::<String>::new());
    let mut metadata = HeaderMap::new();
    to_metadata(
        &headers(&pairs),
        |_| true,
        &client(Trust::Trusted),
        &mut metadata,
    )
    .unwrap();
    assert!(metadata.contains_key("x-real-ip") && metadata.contains_key("forwarded"));
}

#[test]
fn answers_give_what_is_listed_and_nothing_of_the_transport() {
    let metadata = headers(&[
        ("x-cost", "1"),
        ("x-cost", "2"),
        ("set-cookie", "a=b"),
        ("content-length", "3"),
        ("content-type", "application/grpc"),
        ("grpc-status", "0"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-inner"),
        ("x-inner", "1"),
    ]);
    let mut reply = HeaderMap::new();
    to_response(&metadata, |_| true, &mut reply);
    let mut names: Vec<_> = reply.iter().map(|(n, _)| n.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["set-cookie", "x-cost", "x-cost"]);
    reply.clear();
    to_response(&metadata, |n| n == "x-cost", &mut reply);
    assert_eq!(reply.len(), 2);
}

#[test]
fn timeouts_are_read_exactly() {
    let of = |name: &str, value: &str| client_timeout(&headers(&[(name, value)]));
    for (text, expected) in [
        ("1H", Duration::from_secs(3600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("4m", Duration::from_millis(4)),
        ("5u", Duration::from_micros(5)),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("0S", Duration::ZERO),
    ] {
        assert_eq!(of("grpc-timeout", text).unwrap(), Some(expected), "{text}");
    }
    for text in [
        "",
        "1",
        "S",
        "123456789S",
        "-1S",
        "+1S",
        "1.5S",
        "1 S",
        "1s",
        "1h",
    ] {
        assert_eq!(
            of("grpc-timeout", text).unwrap_err().http_status(),
            400,
            "{text}"
        );
    }
    for (text, expected) in [
        ("1", Duration::from_secs(1)),
        ("1.5", Duration::from_millis(1500)),
        ("0.000000001", Duration::from_nanos(1)),
        ("0.0000000019", Duration::from_nanos(1)),
    ] {
        assert_eq!(
            of("x-server-timeout", text).unwrap(),
            Some(expected),
            "{text}"
        );
    }
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "1e3",
        "NaN",
        "inf",
        "1,5",
        "9999999999",
    ] {
        assert!(of("x-server-timeout", text).is_err(), "{text}");
    }
}

#[test]
fn the_smallest_timeout_wins_and_two_of_one_kind_are_refused() {
    let both = headers(&[("grpc-timeout", "2S"), ("x-server-timeout", "1.5")]);
    assert_eq!(
        client_timeout(&both).unwrap(),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(
        timeout(&both, Duration::from_secs(1)).unwrap(),
        Duration::from_secs(1)
    );
    assert_eq!(
        timeout(&both, Duration::from_secs(9)).unwrap(),
        Duration::from_millis(1500)
    );
    let none = headers(&[]);
    assert_eq!(
        timeout(&none, Duration::from_secs(9)).unwrap(),
        Duration::from_secs(9)
    );
    let twice = headers(&[("grpc-timeout", "2S"), ("grpc-timeout", "1S")]);
    assert!(client_timeout(&twice).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_no_longer_and_nearly_as_long(nanos in 0_u64..u64::MAX) {
        let time = Duration::from_nanos(nanos);
        let value = grpc_timeout(time);
        prop_assert!(value.len() <= 9);
        let read = parse_grpc_timeout(value.as_bytes()).unwrap();
        prop_assert!(read <= time.max(Duration::from_nanos(1)));
        // Eight digits, so no more than 1 in 10^7 is lost, except between 99999999 n and the next unit.
        prop_assert!(time.saturating_sub(read).as_nanos() <= u128::from(nanos) / 1_000 + 1);
    }
}

#[test]
fn the_longest_and_the_shortest_time_can_be_written() {
    assert_eq!(grpc_timeout(Duration::ZERO), "1n");
    assert_eq!(grpc_timeout(Duration::MAX), "99999999H");
    assert_eq!(grpc_timeout(Duration::from_secs(15)), "15000000u");
}

#[test]
fn messages_are_decoded_whatever_they_are() {
    assert_eq!(decode_message(b"no%20such%20game"), "no such game");
    assert_eq!(decode_message("caf%C3%A9".as_bytes()), "caf\u{e9}");
    assert_eq!(decode_message(b"100%"), "100%");
    assert_eq!(decode_message(b"%zz%4"), "%zz%4");
    assert_eq!(decode_message(b"%ff"), "\u{fffd}");
    assert_eq!(decode_message(b"\xff"), "\u{fffd}");
}
