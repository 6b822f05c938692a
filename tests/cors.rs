//! Cross-origin requests as browsers make them, over HTTP/1.1 and HTTP/2: preflights, marks on every
//! kind of reply, and what caches are told.

mod support;

use serde_json::{Value, json};
use support::both;
use support::client::Reply;
use support::gateway::{Builder, Gateway};
use support::upstream::{Upstream, raw};
use tokio::io::AsyncWriteExt;

const SITE: &str = "https://www.example.com";

fn builder(upstream: &Upstream, cors: Value) -> Builder {
    Gateway::builder(upstream.address).set("defaults", json!({ "cors": cors }))
}

async fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    both::ask(gateway.address, method, path, headers).await
}

fn vary(reply: &Reply) -> Vec<&str> {
    let values = reply.headers.iter().filter(|(n, _)| n == "vary");
    values.map(|(_, v)| v.as_str()).collect()
}

#[tokio::test]
async fn preflights_are_answered_by_the_route_they_ask_for() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(
        &upstream,
        json!({ "origins": [SITE, "https://*.example.org"], "credentials": true,
                "allow_headers": ["x-tenant"], "private_network": true }),
    )
    .start();
    for (path, method, origin, allowed) in [
        ("/v1/games/7", "GET", SITE, Some("GET")),
        (
            "/v1/games/7",
            "DELETE",
            "https://a.example.org",
            Some("DELETE"),
        ),
        ("/v1/games/7", "PUT", SITE, None),
    ] {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", method),
            (
                "access-control-request-headers",
                "x-tenant,content-type, x-other",
            ),
            ("access-control-request-private-network", "true"),
        ];
        let reply = ask(&gateway, "OPTIONS", path, &asked).await;
        assert_eq!(reply.status, 204, "{method} {path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert_eq!(
            reply.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(reply.header("access-control-max-age"), Some("7200"));
        assert_eq!(
            reply.header("access-control-allow-private-network"),
            Some("true")
        );
        assert_eq!(
            reply.header("access-control-allow-headers"),
            Some("x-tenant, content-type")
        );
        let methods = reply
            .header("access-control-allow-methods")
            .expect("methods");
        match allowed {
            Some(allowed) => assert_eq!(methods, allowed),
            None => assert!(
                methods.contains("GET") && !methods.contains("PUT"),
                "{methods}"
            ),
        }
        assert_eq!(
            vary(&reply),
            [
                "Origin",
                "Access-Control-Request-Method",
                "Access-Control-Request-Headers",
                "Access-Control-Request-Private-Network"
            ]
        );
        assert!(reply.body.is_empty());
    }
    assert!(upstream.is_quiet());
}

#[tokio::test]
async fn refused_pages_get_no_mark_and_caches_know_why() {
    let mut upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!({ "origins": [SITE] })).start();
    let evil = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "GET"),
    ];
    let reply = ask(&gateway, "OPTIONS", "/v1/games/7", &evil).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert_eq!(vary(&reply)[0], "Origin");
    // No preflight: a path without such a method is no route.
    let reply = ask(&gateway, "OPTIONS", "/v1/games/7", &evil[..1]).await;
    assert_eq!(reply.status, 405);
    assert_eq!(vary(&reply), ["Origin"]);
    assert!(upstream.is_quiet());
}

#[tokio::test]
async fn every_kind_of_reply_is_marked() {
    let upstream = Upstream::start().await;
    let gateway = builder(
        &upstream,
        json!({ "origins": [SITE], "expose_headers": ["x-cost"] }),
    )
    .upstream(
        "gone",
        json!({ "endpoints": ["127.0.0.1:1"], "protocol": "http1" }),
    )
    .route(json!({ "prefix": "/gone/", "upstream": "gone" }))
    .start();
    for (method, path, status) in [
        ("GET", "/nothing/at/all", 404),
        ("PUT", "/v1/games/7", 405),
        ("GET", "/v1/games/7?wrong=1", 400),
        ("GET", "/gone/x", 503),
    ] {
        let reply = ask(&gateway, method, path, &[("origin", SITE)]).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert_eq!(reply.header("access-control-allow-origin"), Some(SITE));
        assert_eq!(vary(&reply), ["Origin"]);
        let exposed = reply
            .header("access-control-expose-headers")
            .expect("exposed");
        for name in [
            "grpc-status",
            "grpc-status-details-bin",
            "x-request-id",
            "x-cost",
        ] {
            assert!(exposed.contains(name), "{name} in {exposed}");
        }
        // Stored replies to requests of the site itself depend on the origin as well.
        let plain = ask(&gateway, method, path, &[]).await;
        assert_eq!(plain.header("access-control-allow-origin"), None);
        assert_eq!(vary(&plain), ["Origin"]);
    }
}

#[tokio::test]
async fn a_star_is_the_same_for_all() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, json!({ "origins": ["*"] })).start();
    for headers in [&[][..], &[("origin", "null")], &[("origin", SITE)]] {
        let reply = ask(&gateway, "GET", "/nothing/at/all", headers).await;
        let expected = (!headers.is_empty()).then_some("*");
        assert_eq!(reply.header("access-control-allow-origin"), expected);
        assert!(vary(&reply).is_empty());
    }
}

/// A site with marks of its own.
async fn site() -> std::net::SocketAddr {
    raw(|_, mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(
                tokio::io::AsyncReadExt::read_u8(&mut stream)
                    .await
                    .expect("head"),
            );
        }
        let reply = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://other.example\r\n\
                     vary: Accept, origin\r\ngrpc-metadata-cost: 3\r\ncontent-length: 2\r\n\
                     connection: close\r\n\r\nok";
        stream.write_all(reply.as_bytes()).await.expect("write");
    })
    .await
}

#[tokio::test]
async fn a_site_keeps_its_own_marks_only_where_the_route_has_none() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .upstream(
            "site",
            json!({ "endpoints": [site().await.to_string()], "protocol": "http1" }),
        )
        .set("defaults", json!({ "cors": { "origins": [SITE] } }))
        .route(json!({ "prefix": "/own/", "upstream": "site", "cors": "off" }))
        .route(json!({ "prefix": "/site/", "upstream": "site", "cors": { "credentials": true } }))
        .start();
    let asked = [("origin", SITE)];
    let reply = ask(&gateway, "GET", "/own/x", &asked).await;
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://other.example")
    );
    let reply = ask(&gateway, "GET", "/site/x", &asked).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some(SITE));
    assert_eq!(
        reply.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(vary(&reply), ["Accept, origin"]);
    let exposed = reply
        .header("access-control-expose-headers")
        .expect("exposed");
    assert!(exposed.ends_with(", grpc-metadata-cost"), "{exposed}");
    // A preflight to a route without a policy is for the upstream.
    let asked = [("origin", SITE), ("access-control-request-method", "PUT")];
    let reply = ask(&gateway, "OPTIONS", "/own/x", &asked).await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    let reply = ask(&gateway, "OPTIONS", "/site/x", &asked).await;
    assert_eq!((reply.status, reply.text()), (204, ""));
}
