use super::*;
use http::Request;

/// A request head: method, target, version, header lines.
fn parts(method: &str, target: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .version(version);
    for (name, value) in headers {
        // Text beyond ASCII goes in as its bytes.
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// The status that the check answers with; 200 when it lets the request through.
fn status(parts: &Parts) -> u16 {
    match check(parts, &Limits::default()) {
        Ok(_) => 200,
        Err(failure) => failure.http_status().as_u16(),
    }
}

#[test]
fn http1_heads() {
    let host = ("host", "api.example.com");
    let table: &[(&str, &str, &[(&str, &str)], u16)] = &[
        ("GET", "/v1/games", &[host], 200),
        // Host
        ("GET", "/", &[], 400),
        ("GET", "/", &[host, host], 400),
        ("GET", "/", &[("host", "")], 400),
        ("GET", "/", &[("host", " ")], 400),
        ("GET", "/", &[("host", "a@b")], 400),
        ("GET", "/", &[("host", "a/b")], 400),
        ("GET", "/", &[("host", "a b")], 400),
        ("GET", "/", &[("host", "a,b")], 400),
        ("GET", "/", &[("host", "a:b")], 400),
        ("GET", "/", &[("host", "a:")], 400),
        ("GET", "/", &[("host", ":80")], 400),
        ("GET", "/", &[("host", "a:+80")], 400),
        ("GET", "/", &[("host", "a:70000")], 400),
        ("GET", "/", &[("host", "a:80:80")], 400),
        ("GET", "/", &[("host", "[::1]:8080")], 200),
        ("GET", "/", &[("host", "[::1]")], 200),
        ("GET", "/", &[("host", "[::1")], 400),
        ("GET", "/", &[("host", "[::1]8080")], 400),
        ("GET", "/", &[("host", "[nonsense]")], 400),
        ("GET", "/", &[("host", "::1")], 400),
        ("GET", "/", &[("host", "127.0.0.1:8080")], 200),
        ("GET", "/", &[("host", "a_b.example")], 200),
        // Absolute targets
        ("GET", "http://api.example.com/", &[host], 200),
        ("GET", "http://API.Example.com/", &[host], 200),
        ("GET", "http://api.example.com:80/", &[host], 200),
        ("GET", "http://api.example.com:81/", &[host], 400),
        ("GET", "http://other.example.com/", &[host], 400),
        ("GET", "http://api.example.com/", &[], 400),
        (
            "GET",
            "http://a@api.example.com/",
            &[("host", "a@api.example.com")],
            400,
        ),
        ("GET", "ftp://api.example.com/", &[host], 400),
        // Framing
        ("POST", "/", &[host, ("content-length", "3")], 200),
        (
            "POST",
            "/",
            &[host, ("content-length", "3"), ("content-length", "3")],
            400,
        ),
        ("POST", "/", &[host, ("transfer-encoding", "chunked")], 200),
        ("POST", "/", &[host, ("transfer-encoding", "Chunked")], 200),
        (
            "POST",
            "/",
            &[
                host,
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
            ],
            400,
        ),
        (
            "POST",
            "/",
            &[
                host,
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            400,
        ),
        (
            "POST",
            "/",
            &[host, ("transfer-encoding", "gzip, chunked")],
            501,
        ),
        (
            "POST",
            "/",
            &[host, ("transfer-encoding", "chunked, chunked")],
            501,
        ),
        ("POST", "/", &[host, ("transfer-encoding", "identity")], 501),
        // Methods and targets
        ("get", "/", &[host], 405),
        ("Get", "/", &[host], 405),
        ("PROPFIND", "/", &[host], 200),
        ("CONNECT", "api.example.com:443", &[host], 405),
        ("GET", "*", &[host], 400),
        ("OPTIONS", "*", &[host], 200),
        // Values
        ("GET", "/", &[host, ("x-name", "Zo\u{eb}")], 400),
        ("GET", "/", &[host, ("x-name", "tab\tinside")], 200),
        ("POST", "/", &[host, ("expect", "100-continue")], 200),
        ("POST", "/", &[host, ("expect", "100-Continue")], 200),
        ("POST", "/", &[host, ("expect", "200-ok")], 417),
        (
            "POST",
            "/",
            &[host, ("expect", "100-continue"), ("expect", "more")],
            417,
        ),
    ];
    for (method, target, headers, expected) in table {
        let parts = parts(method, target, Version::HTTP_11, headers);
        assert_eq!(status(&parts), *expected, "{method} {target} {headers:?}");
    }
}

#[test]
fn http2_heads() {
    let table: &[(&str, &[(&str, &str)], u16)] = &[
        ("http://api.example.com/", &[], 200),
        ("https://api.example.com/", &[], 200),
        (
            "http://api.example.com/",
            &[("host", "api.example.com")],
            200,
        ),
        (
            "http://api.example.com/",
            &[("host", "other.example.com")],
            400,
        ),
        ("http://user@api.example.com/", &[], 400),
        ("/", &[("host", "api.example.com")], 200),
        ("/", &[], 400),
        (
            "http://api.example.com/",
            &[("transfer-encoding", "chunked")],
            400,
        ),
        (
            "http://api.example.com/",
            &[("content-length", "1"), ("content-length", "1")],
            400,
        ),
    ];
    for (target, headers, expected) in table {
        let parts = parts("GET", target, Version::HTTP_2, headers);
        assert_eq!(status(&parts), *expected, "{target} {headers:?}");
    }
}

#[test]
fn http10_may_leave_host_out() {
    let without = parts("GET", "/", Version::HTTP_10, &[]);
    let checked = check(&without, &Limits::default()).unwrap();
    assert_eq!(checked.authority, "");
    let wrong = parts("GET", "/", Version::HTTP_10, &[("host", "a/b")]);
    assert_eq!(status(&wrong), 400);
}

#[test]
fn the_host_is_given_as_written() {
    let target = parts("GET", "http://A.example:81/", Version::HTTP_2, &[]);
    assert_eq!(
        check(&target, &Limits::default()).unwrap().authority,
        "A.example:81"
    );
    let header = parts("GET", "/", Version::HTTP_11, &[("host", "b.example")]);
    assert_eq!(
        check(&header, &Limits::default()).unwrap().authority,
        "b.example"
    );
}

#[test]
fn sizes() {
    let host = ("host", "a");
    let long = format!("/{}", "x".repeat(16 * 1024));
    assert_eq!(status(&parts("GET", &long, Version::HTTP_11, &[host])), 414);
    let value = "x".repeat(33 * 1024);
    let large = parts("GET", "/", Version::HTTP_11, &[host, ("a", &value)]);
    assert_eq!(status(&large), 431);
    let many: Vec<_> = std::iter::repeat_n(("a", "b"), 100).chain([host]).collect();
    assert_eq!(status(&parts("GET", "/", Version::HTTP_11, &many)), 431);
    assert_eq!(
        status(&parts("GET", "/", Version::HTTP_11, &many[1..])),
        200
    );
}

#[test]
fn a_refused_method_names_those_that_are_taken() {
    let lower = parts("get", "/", Version::HTTP_11, &[("host", "a")]);
    let failure = check(&lower, &Limits::default()).unwrap_err();
    assert!(failure.allow.unwrap().to_str().unwrap().contains("GET"));
}

#[test]
fn an_upgrade_to_http2_is_seen_and_stripped() {
    let mut asking = parts(
        "GET",
        "/",
        Version::HTTP_11,
        &[
            ("host", "a"),
            ("upgrade", "websocket, H2C"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
        ],
    );
    assert!(check(&asking, &Limits::default()).unwrap().upgrade_h2c);
    strip_h2c(&mut asking.headers);
    assert_eq!(asking.headers.len(), 1);
    let websocket = parts(
        "GET",
        "/",
        Version::HTTP_11,
        &[("host", "a"), ("upgrade", "websocket")],
    );
    assert!(!check(&websocket, &Limits::default()).unwrap().upgrade_h2c);
}
