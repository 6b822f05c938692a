//! What is told of the client: forwarding headers are believed from trusted peers alone, hop-by-hop
//! fields end here (RFC 9110 §7.6.1).

use std::net::IpAddr;

use http::header::{
    CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;

use crate::transcode::metadata::is_end_to_end;

use super::Connection;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// A client's certificate, as Envoy tells of it.
pub(super) const FORWARDED_CLIENT_CERT: HeaderName =
    HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// For one connection, whether or not `Connection` lists them.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a header says where a request comes from: anyone can write those, so a stranger's are
/// dropped. Servers of the CGI kind read `X_Forwarded_For` as `X-Forwarded-For`; so does this.
fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let same = |a: &u8, b: &u8| a == b || (*a == b'_' && *b == b'-');
    let begins = |with: &[u8]| {
        let begin = name.get(..with.len());
        begin.is_some_and(|begin| begin.iter().zip(with).all(|(a, b)| same(a, b)))
    };
    let is = |whole: &[u8]| name.len() == whole.len() && begins(whole);
    begins(b"x-forwarded-") || is(FORWARDED.as_str().as_bytes()) || is(b"x-real-ip")
}

/// Trailers that would change what a message is, or who sends it (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [HeaderName; 9] = [
    HOST,
    http::header::CONTENT_LENGTH,
    http::header::CONTENT_ENCODING,
    http::header::CONTENT_TYPE,
    http::header::AUTHORIZATION,
    http::header::COOKIE,
    http::header::SET_COOKIE,
    http::header::VIA,
    super::request_id::X_REQUEST_ID,
];

fn drop_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|n| is_claim(n)).cloned().collect();
    for claim in &claims {
        headers.remove(claim);
    }
}

/// Whether the peer's word on the client is taken.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[ipnet::IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// Makes the forwarding headers true: a stranger's are dropped, then the peer is appended to
/// `X-Forwarded-For`, and host and scheme are set unless a trusted peer has.
pub(super) fn tell_origin(head: &mut Parts, connection: &Connection, trusted: &[ipnet::IpNet]) {
    let host = host(head).and_then(|h| HeaderValue::from_str(h).ok());
    let headers = &mut head.headers;
    let peer = connection.peer.ip().to_canonical();
    if !is_trusted(peer, trusted) {
        drop_claims(headers);
    }
    let mut chain = String::new();
    for earlier in headers.get_all(&FORWARDED_FOR) {
        if let Ok(earlier) = earlier.to_str() {
            chain.push_str(earlier);
            chain.push_str(", ");
        }
    }
    chain.push_str(&peer.to_string());
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    let scheme = HeaderValue::from_static(if connection.tls { "https" } else { "http" });
    headers.entry(FORWARDED_PROTO).or_insert(scheme);
    if let Some(certificate) = &connection.certificate {
        headers.insert(FORWARDED_CLIENT_CERT, certificate.clone());
    }
}

/// The host that the client asks for, with its port: the authority of HTTP/2 and of absolute
/// targets, else `Host`.
pub(super) fn host(head: &Parts) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST)?.to_str().ok(),
    }
}

/// Takes out what is for one connection alone. `te: trailers` is the one value of `TE` that may be
/// sent on, where the caller wants it.
pub(super) fn end_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove(TE);
}

/// Trailers as they may go on, in either direction.
pub(super) fn clean(mut trailers: HeaderMap) -> HeaderMap {
    end_hop(&mut trailers);
    for name in &NOT_IN_TRAILERS {
        trailers.remove(name);
    }
    drop_claims(&mut trailers);
    trailers
}

/// Whether `TE` says that trailers are welcome.
pub(super) fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|coding| coding.split(';').next())
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::builder().uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn from(peer: &str) -> Connection {
        Connection {
            peer: peer.parse().unwrap(),
            local: "127.0.0.1:8080".parse().unwrap(),
            tls: false,
            certificate: None,
            redirect: None,
            openapi: false,
            account: std::rc::Rc::default(),
        }
    }

    fn all<'h>(head: &'h Parts, name: &str) -> Vec<&'h str> {
        let values = head.headers.get_all(name);
        values.iter().map(|v| v.to_str().unwrap()).collect()
    }

    #[test]
    fn a_strangers_claims_are_dropped() {
        let mut head = head(&[
            ("host", "shop.example:8080"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-prefix", "/admin"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-client-cert", "Subject=root"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_ssl", "on"),
            ("x_real_ip", "1.1.1.1"),
            ("x-forwarder", "kept"),
        ]);
        tell_origin(&mut head, &from("203.0.113.9:5000"), &[]);
        assert_eq!(all(&head, "x-forwarded-for"), ["203.0.113.9"]);
        assert_eq!(all(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(all(&head, "x-forwarded-host"), ["shop.example:8080"]);
        let mut left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let ours = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        assert_eq!(left, [&["host"], &ours[..], &["x-forwarder"]].concat());
    }

    #[test]
    fn a_trusted_peers_word_is_kept_and_added_to() {
        let mut head = head(&[
            ("host", "inner"),
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
        ]);
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        tell_origin(&mut head, &from("[::ffff:10.1.2.3]:5000"), &trusted);
        assert_eq!(
            all(&head, "x-forwarded-for"),
            ["1.1.1.1, 2.2.2.2, 3.3.3.3, 10.1.2.3"]
        );
        assert_eq!(all(&head, "x-forwarded-proto"), ["https"]);
        assert_eq!(all(&head, "x-forwarded-host"), ["shop.example"]);
    }

    #[test]
    fn a_hop_ends_with_all_that_connection_lists() {
        let mut head = head(&[
            ("connection", "close, X-Secret-Hop"),
            ("connection", "authorization"),
            ("x-secret-hop", "1"),
            ("authorization", "Bearer x"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ]);
        assert!(wants_trailers(&head.headers));
        end_hop(&mut head.headers);
        let mut left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-kept"]);
    }
}
