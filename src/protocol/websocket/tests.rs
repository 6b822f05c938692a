use proptest::prelude::*;

use super::*;
use crate::failure::{Blame, GrpcCode};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_str(v).unwrap()))
        .collect()
}

fn read(offered: &str) -> Result<Offer, String> {
    let headers = headers(&[("sec-websocket-protocol", offered)]);
    Offer::read(&headers).map_err(|f| f.message.to_string())
}

#[test]
fn the_status_is_the_code_and_the_reason() {
    for code in GrpcCode::ALL {
        let failure = Failure::new(Blame::Upstream, code, "why");
        let close = Close::of(&failure, Inner::Hide);
        assert_eq!(close.code, 4000 + u16::from(code.number()));
        assert_eq!(close.reason, format!("{}: why", code.name()));
    }
    let silent = Close::of(&Failure::client(""), Inner::Hide);
    assert_eq!(silent, Close::new(4003, "INVALID_ARGUMENT"));
    let large = Failure::new(Blame::Client, GrpcCode::ResourceExhausted, "too large")
        .status(StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(Close::of(&large, Inner::Hide).code, 1009);
    let mut inner = Failure::upstream(GrpcCode::Internal, "secret");
    inner.speaker = crate::failure::Speaker::Service;
    assert!(!Close::of(&inner, Inner::Hide).reason.contains("secret"));
    assert_eq!(Close::of(&inner, Inner::Show).reason, "INTERNAL: secret");
}

#[test]
fn a_token_is_never_answered_with() {
    let offer = |format, chosen, token: Option<&'static str>| {
        let authorization = token.map(HeaderValue::from_static);
        Ok(Offer {
            format,
            chosen,
            authorization,
        })
    };
    let (json, proto) = (Format::Json, Format::Proto);
    for (offered, read_as) in [
        ("json", offer(json, Some("json"), None)),
        ("proto, json", offer(proto, Some("proto"), None)),
        ("json,proto", offer(json, Some("json"), None)),
        ("graphql-ws", offer(json, None, None)),
        ("JSON", offer(json, None, None)),
        ("bearer.a.b-c_d", offer(json, None, Some("Bearer a.b-c_d"))),
        (
            "proto, bearer.t",
            offer(proto, Some("proto"), Some("Bearer t")),
        ),
        ("Bearer, t", offer(json, Some("Bearer"), Some("Bearer t"))),
        (
            "Bearer, t, proto",
            offer(proto, Some("proto"), Some("Bearer t")),
        ),
        // A token by any name.
        (
            "Bearer, json",
            offer(json, Some("Bearer"), Some("Bearer json")),
        ),
        ("Bearer", offer(json, Some("Bearer"), None)),
        ("bearer.", offer(json, None, None)),
    ] {
        assert_eq!(read(offered), read_as, "{offered}");
    }
    assert_eq!(Offer::read(&HeaderMap::new()).unwrap(), Offer::default());
    let told = read("bearer.secret").unwrap();
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn bad_lists_are_refused() {
    for (offered, why) in [
        ("", "no list"),
        ("json,,proto", "no list"),
        ("js on", "no list"),
        ("json, json", "twice"),
        ("bearer.a=, json", "no list"),
        ("bearer.a, bearer.b", "more than one token"),
        ("bearer.a, Bearer, b", "more than one token"),
    ] {
        let message = read(offered).unwrap_err();
        assert!(message.contains(why), "{offered}: {message}");
    }
    let two = headers(&[
        ("sec-websocket-protocol", "json"),
        ("sec-websocket-protocol", "bearer.t"),
    ]);
    let offer = Offer::read(&two).unwrap();
    assert_eq!(offer.chosen, Some("json"));
    assert!(offer.authorization.is_some());
}

#[test]
fn a_key_is_sixteen_bytes_and_the_version_13() {
    let with = |version: &[&str], keys: &[&str]| {
        let mut map = HeaderMap::new();
        for v in version {
            map.append(SEC_WEBSOCKET_VERSION, HeaderValue::from_str(v).unwrap());
        }
        for k in keys {
            map.append(SEC_WEBSOCKET_KEY, HeaderValue::from_str(k).unwrap());
        }
        key(&map).map(|_| ()).map_err(|f| f.http_status().as_u16())
    };
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(with(&["13"], &[KEY]), Ok(()));
    for (version, keys, status) in [
        (&[][..], &[KEY][..], 426),
        (&["8"], &[KEY], 426),
        (&["13, 8"], &[KEY], 426),
        (&["13", "8"], &[KEY], 426),
        (&["13"], &[], 400),
        (&["13"], &[KEY, KEY], 400),
        (&["13"], &["dGhlIHNhbXBsZSBub25j"], 400),
        (&["13"], &["?"], 400),
    ] {
        assert_eq!(with(version, keys), Err(status), "{version:?} {keys:?}");
    }
}

#[test]
fn an_origin_is_the_same_by_host_and_port() {
    for (origin, host, secure, same) in [
        ("https://a.example", "a.example", false, true),
        ("https://a.example", "A.example:443", false, true),
        ("http://a.example", "a.example", false, true),
        ("http://a.example", "a.example", true, false),
        ("https://a.example", "a.example", true, true),
        ("http://a.example:8080", "a.example:8080", false, true),
        ("http://a.example:8080", "a.example", false, false),
        ("http://a.example", "a.example:80", false, true),
        ("http://a.example", "a.example:443", false, false),
        ("https://a.example", "a.example:80", false, false),
        ("https://b.example", "a.example", false, false),
        ("https://a.example.evil", "a.example", false, false),
        ("null", "a.example", false, false),
        ("null", "", false, false),
        ("https://", "", false, false),
        ("file://", "a.example", false, false),
        ("ftp://a.example", "a.example", false, false),
        ("http://[::1]:80", "[::1]", false, true),
    ] {
        let found = is_same_origin(origin.as_bytes(), host, secure);
        assert_eq!(found, same, "{origin} {host} {secure}");
    }
}

#[test]
fn a_method_is_taken_out_of_the_query() {
    let read = |query: &str| named_method(query).map(|(m, rest)| (m.to_string(), rest));
    let some = |m: &str, rest: &str| Some((m.to_owned(), rest.to_owned()));
    assert_eq!(read("method=PUT"), some("PUT", ""));
    assert_eq!(read("a=1&method=PUT&b=2"), some("PUT", "a=1&b=2"));
    assert_eq!(read("a=1"), None);
    assert_eq!(read("method=PUT&method=GET"), None);
    assert_eq!(read("method="), None);
    assert_eq!(read("my_method=PUT"), None);
}

proptest! {
    #[test]
    fn a_reason_fits_and_begins_what_was_said(text in "\\PC*", code in 1000_u16..5000) {
        let close = Close::new(code, &text);
        prop_assert!(close.reason.len() <= REASON_BYTES_MAX);
        prop_assert!(text.starts_with(&close.reason));
        // No more is cut than has to be.
        prop_assert!(text == close.reason || close.reason.len() > REASON_BYTES_MAX - 4);
    }

    #[test]
    fn what_is_chosen_was_offered_and_is_no_token(
        names in proptest::collection::vec(
            prop_oneof![
                "json|proto|Bearer|bearer\\.[a-z]{1,5}|[a-zA-Z.,= ]{0,6}",
                "[!-~]{1,12}",
            ],
            0..6,
        )
    ) {
        let text = names.join(", ");
        if let Ok(offer) = read(&text) {
            let offered: Vec<&str> = text.split(',').map(str::trim).collect();
            if let Some(chosen) = offer.chosen {
                prop_assert!(offered.contains(&chosen));
                prop_assert!(["json", "proto", "Bearer"].contains(&chosen));
            }
            if let Some(token) = offer.authorization {
                let token = token.to_str().unwrap().strip_prefix("Bearer ").unwrap();
                let dotted = format!("bearer.{token}");
                prop_assert!(offered.contains(&token) || offered.contains(&dotted.as_str()));
            }
        }
    }

    #[test]
    fn any_origin_and_host_can_be_compared(origin in "\\PC{0,30}", host in "\\PC{0,30}") {
        let same = is_same_origin(origin.as_bytes(), &host, false);
        prop_assert!(!same || !host.is_empty());
        let own = format!("https://{host}");
        prop_assert_eq!(
            is_same_origin(own.as_bytes(), &host, true),
            !host.is_empty() && host != ":443"
        );
    }
}
