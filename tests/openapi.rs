//! The OpenAPI document: as `transom openapi` writes it, word for word, and as a listener serves it.
//! `UPDATE_GOLDEN=1 cargo test --test openapi` writes the documents anew, for reading by eye.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::both;
use support::client::{Http1, Reply};
use support::gateway::{Builder, Gateway};
use support::upstream::Upstream;

/// What it writes to stdout, and to stderr.
fn transom(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(arguments)
        .output()
        .expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {err}");
    (out, err)
}

fn compare(golden: &str, text: &str) {
    let golden = Path::new("tests/golden/openapi").join(golden);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, text).expect("write golden file");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let line = expected.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        expected == text,
        "{} differs from line {:?} on",
        golden.display(),
        line.map(|at| at + 1)
    );
}

#[test]
fn the_demo_s_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("games.binpb");
    std::fs::write(&set, transom::demo::DESCRIPTORS).expect("a file");
    let set = set.to_str().expect("UTF-8");
    let arguments = ["openapi", "config/demo.yaml", "--descriptors", set];
    let (json, err) = transom(&arguments);
    assert_eq!(err, "");
    let read: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(read["openapi"], "3.1.1");
    let (yaml, _) = transom(&[&arguments[..], &["--format", "yaml"]].concat());
    compare("demo.yaml", &yaml);
}

#[test]
fn documents_of_hosts() {
    let config = "tests/golden/openapi/kinds.config.yaml";
    let arguments = ["openapi", config, "--format", "yaml"];
    let (any, err) = transom(&arguments);
    let names = "*.scores.example.com, old.example.com, scores.example.com";
    assert!(
        err.ends_with(&format!("--host takes one of: {names}\n")),
        "{err}"
    );
    compare("kinds.yaml", &any);
    for (host, golden) in [
        ("scores.example.com", "kinds.scores.yaml"),
        ("old.example.com", "kinds.old.yaml"),
    ] {
        let (document, err) = transom(&[&arguments[..], &["--host", host]].concat());
        assert_eq!(err, "");
        assert!(document.contains(&format!("https://{host}:8443")), "{host}");
        compare(golden, &document);
    }
    let server = ["--server", "https://api.example.com/"];
    let (document, _) = transom(&[&arguments[..], &server].concat());
    assert!(document.contains("url: \"https://api.example.com/\""));
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["openapi", config, "--host", "a b"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
}

fn builder(upstream: &Upstream) -> Builder {
    Gateway::builder(upstream.address).set(
        "listeners",
        json!([{ "address": "127.0.0.1:0", "openapi": true }]),
    )
}

fn document(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    serde_json::from_slice(&reply.body).expect("JSON")
}

#[tokio::test]
async fn a_listener_serves_it_to_those_who_lack_it() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        // What would take every path.
        .route(json!({ "prefix": "/", "upstream": "games" }))
        .start();
    let reply = both::ask(gateway.address, "GET", "/openapi.json", &[]).await;
    let paths = &document(&reply)["paths"];
    assert!(paths["/v1/games/{game_id}"]["get"].is_object(), "{paths}");
    let tag = reply.header("etag").expect("a tag").to_owned();
    assert!(tag.len() > 10 && tag.starts_with('"'), "{tag}");
    assert_eq!(reply.header("cache-control"), Some("no-cache"));

    for (name, value, status) in [
        ("if-none-match", &*tag, 304),
        ("if-none-match", &*format!("\"x\", W/{tag}"), 304),
        ("if-none-match", "\"x\"", 200),
        ("if-match", "\"x\"", 412),
    ] {
        let asked = [(name, value)];
        let reply = both::ask(gateway.address, "GET", "/openapi.json", &asked).await;
        assert_eq!(reply.status, status, "{name}: {value}");
        assert_eq!(reply.header("etag"), Some(&*tag));
        assert_eq!(reply.body.is_empty(), status != 200);
    }
    let head = both::ask(gateway.address, "HEAD", "/openapi.json", &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let post = both::ask(gateway.address, "POST", "/openapi.json", &[]).await;
    assert_eq!(post.status, 405);
    assert_eq!(post.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn other_listeners_know_nothing_of_it() {
    let upstream = Upstream::start().await;
    let listeners = json!([
        { "address": "127.0.0.1:0" }, { "address": "127.0.0.1:0", "openapi": true },
    ]);
    let gateway = Gateway::builder(upstream.address)
        .set("listeners", listeners)
        .start();
    let statuses = gateway.running.addresses();
    let mut found = Vec::new();
    for address in statuses {
        let mut client = Http1::connect(address).await;
        found.push(client.get("/openapi.json").await.status);
    }
    assert_eq!(found, [404, 200]);
}

#[tokio::test]
async fn each_host_has_its_own() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .set("routes", json!([
            { "services": ["gamehub.v1.Scores"], "upstream": "games" },
            { "services": ["gamehub.v1.Thumbnails"], "upstream": "games", "hosts": ["*.example.com"] },
            { "services": ["gamehub.v1.Chat"], "upstream": "games", "hosts": ["www.example.com"] },
        ]))
        .start();
    let mut client = Http1::connect(gateway.address).await;
    let mut tags = Vec::new();
    for (host, services) in [
        ("a.test", &["Scores"][..]),
        ("b.example.com:8080", &["Scores", "Thumbnails"]),
        ("www.example.com", &["Chat", "Scores", "Thumbnails"]),
    ] {
        let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {host}\r\n\r\n");
        client.send(request).await;
        let reply = client.reply().await.expect("a reply");
        let document = document(&reply);
        let all = document["tags"].as_array().expect("tags");
        let names: Vec<&str> = all.iter().filter_map(|t| t["name"].as_str()).collect();
        assert_eq!(names, services, "{host}");
        tags.push(reply.header("etag").expect("a tag").to_owned());
    }
    tags.dedup();
    assert_eq!(tags.len(), 3);
}

#[tokio::test]
async fn a_route_for_the_very_path_wins() {
    let upstream = Upstream::start().await;
    let own = json!({ "path": "/openapi.json", "respond": { "status": 200, "body": "mine" } });
    let builder = builder(&upstream).route(own);
    let (_, live) = builder.live();
    let told: Vec<&str> = live.warnings.iter().map(|w| &*w.message).collect();
    assert_eq!(
        told,
        ["this route has /openapi.json, which a listener's `openapi: true` is to serve"]
    );
    let reply = both::ask(builder.start().address, "GET", "/openapi.json", &[]).await;
    assert_eq!(reply.text(), "mine");
}

#[tokio::test]
async fn the_page_comes_from_here_alone() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .route(json!({ "prefix": "/", "upstream": "games" }))
        .start();
    let page = both::ask(gateway.address, "GET", "/docs", &[]).await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    let text = page.text();
    assert!(!text.contains("//"), "something from elsewhere: {text}");
    let files = text.split('"').filter(|part| part.starts_with("/docs/"));
    let files: Vec<&str> = files.chain(["/docs/LICENSE", "/docs/NOTICE"]).collect();
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        let plain = both::ask(gateway.address, "GET", file, &[]).await;
        assert_eq!(
            (plain.status, plain.header("content-encoding")),
            (200, None),
            "{file}"
        );
        assert!(!plain.body.is_empty());
        let accepts = [("accept-encoding", "br, gzip")];
        let packed = both::ask(gateway.address, "GET", file, &accepts).await;
        if packed.header("content-encoding").is_some() {
            let mut whole = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(&*packed.body);
            std::io::Read::read_to_end(&mut reader, &mut whole).expect("gzip");
            assert_eq!(whole, plain.body, "{file}");
            assert_eq!(packed.header("vary"), Some("Accept-Encoding"), "{file}");
            assert!(packed.body.len() * 2 < plain.body.len() + 2000, "{file}");
        }
        let tag = packed.header("etag").expect("a tag");
        let again = [("if-none-match", tag), ("accept-encoding", "gzip")];
        assert_eq!(
            both::ask(gateway.address, "GET", file, &again).await.status,
            304
        );
    }
    let slash = both::ask(gateway.address, "GET", "/docs/", &[]).await;
    assert_eq!(
        (slash.status, slash.header("location")),
        (308, Some("/docs"))
    );
    for path in ["/docs/nothing", "/docs/../x"] {
        let reply = both::ask(gateway.address, "GET", path, &[]).await;
        assert_eq!(reply.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_route_for_the_page_wins() {
    let upstream = Upstream::start().await;
    let own = json!({ "prefix": "/docs/", "respond": { "status": 200, "body": "mine" } });
    let gateway = builder(&upstream).route(own).start();
    for path in ["/docs/", "/docs/swagger-ui.css"] {
        let reply = both::ask(gateway.address, "GET", path, &[]).await;
        assert_eq!(reply.text(), "mine", "{path}");
    }
    let bare = both::ask(gateway.address, "GET", "/docs", &[]).await;
    assert_eq!(bare.status, 404, "as without the page");
    let document = both::ask(gateway.address, "GET", "/openapi.json", &[]).await;
    assert_eq!(document.status, 200);
}
