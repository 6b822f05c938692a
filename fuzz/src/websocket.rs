//! What is read of a handshake: a subprotocol is answered with only if it was offered and is no token,
//! a query loses nothing but the method that it names, and a reason fits its frame.

use http::{HeaderMap, HeaderValue};
use transom::protocol::websocket::{Close, Offer, REASON_BYTES_MAX, is_same_origin, named_method};

/// Lines: subprotocols, an origin, a host, a query; the rest is a reason.
pub fn check(data: &[u8]) {
    let mut lines = data.splitn(5, |b| *b == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    offer(line());
    let (origin, host) = (line(), String::from_utf8_lossy(line()));
    if is_same_origin(origin, &host, true) {
        assert!(is_same_origin(origin, &host, false));
        assert!(origin.starts_with(b"https://"));
    }
    query(&String::from_utf8_lossy(line()));
    let reason = String::from_utf8_lossy(line());
    let close = Close::new(Close::DONE, &reason);
    assert!(close.reason.len() <= REASON_BYTES_MAX && reason.starts_with(&close.reason));
}

fn offer(text: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(text) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-protocol", value);
    let Ok(offer) = Offer::read(&headers) else {
        return;
    };
    let text = std::str::from_utf8(text).expect("names are ASCII");
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(chosen) = offer.chosen {
        assert!(names.contains(&chosen) && ["json", "proto", "Bearer"].contains(&chosen));
    }
    if let Some(value) = offer.authorization {
        assert!(value.is_sensitive());
        let token = value.to_str().expect("ASCII").strip_prefix("Bearer ");
        let token = token.expect("a token");
        assert!(names.contains(&token) || names.contains(&&*format!("bearer.{token}")));
    }
}

fn query(query: &str) {
    if let Some((method, rest)) = named_method(query) {
        let named = format!("method={method}");
        assert!(query.split('&').any(|pair| pair == named));
        let left = query.split('&').filter(|pair| *pair != named);
        assert!(
            rest.split('&')
                .filter(|p| !p.is_empty())
                .eq(left.filter(|p| !p.is_empty()))
        );
    }
}
