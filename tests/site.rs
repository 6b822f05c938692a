//! Routes for a web client: files, redirects, fixed replies, rewritten paths, headers set and removed.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use support::both::ask;
use support::client::{Http1, Http2, Reply};
use support::gateway::{Builder, Gateway};
use support::upstream::{Upstream, raw};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PAGE: &str = "<!doctype html><title>app</title>";
const BIG: usize = 300_000;

/// A built web client, and things that must never be served.
fn site() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("dist");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, bytes).expect("a file");
    };
    put("index.html", PAGE.as_bytes());
    put("assets/app-4f9a02c1.js", b"let a;");
    put("assets/app-4f9a02c1.js.br", b"BR");
    put("assets/app-4f9a02c1.js.gz", b"GZIP");
    put("fonts/a.woff2", b"font");
    put("docs/index.html", b"docs");
    put("no-index/a.txt", b"a");
    put("big.bin", &pattern());
    put("empty.txt", b"");
    put("with space.txt", b"space");
    put(".env", b"SECRET=1");
    put(".git/config", b"secret");
    put(".well-known/security.txt", b"contact");
    fs::write(folder.path().join("outside.txt"), "outside").expect("a file");
    fs::create_dir(folder.path().join("dist-2")).expect("a folder");
    fs::write(folder.path().join("dist-2/x.txt"), "beside").expect("a file");
    symlink("../outside.txt", root.join("escape.txt")).expect("a link");
    symlink(folder.path().join("outside.txt"), root.join("absolute.txt")).expect("a link");
    symlink("../dist-2", root.join("folder-escape")).expect("a link");
    symlink("/proc/self/environ", root.join("magic.txt")).expect("a link");
    symlink("docs/index.html", root.join("inside.html")).expect("a link");
    symlink("loop.txt", root.join("loop.txt")).expect("a link");
    // Long enough ago for strong tags.
    for entry in walk(&root) {
        let file = fs::File::options().write(true).open(&entry).expect("open");
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        file.set_modified(time).expect("a time");
    }
    folder
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files.extend(walk(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

fn pattern() -> Vec<u8> {
    (0..BIG)
        .map(|n| u8::try_from(n % 251).expect("a byte"))
        .collect()
}

fn root(folder: &TempDir) -> Value {
    json!(folder.path().join("dist").to_str().expect("text"))
}

fn builder() -> Builder {
    Gateway::builder("127.0.0.1:1".parse().expect("address"))
}

fn serving(folder: &TempDir) -> Gateway {
    builder()
        .route(json!({ "prefix": "/", "files": { "root": root(folder), "spa": "index.html" } }))
        .route(
            json!({ "prefix": "/plain/", "files": { "root": root(folder), "precompressed": false,
                                                       "immutable": ["fonts"] } }),
        )
        .route(json!({ "path": "/alone/empty.txt", "files": { "root": root(folder) } }))
        .start()
}

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[tokio::test]
async fn what_is_served_and_what_is_not() {
    let folder = site();
    let gateway = serving(&folder);
    for (path, headers, status, body) in [
        ("/", &[][..], 200, PAGE),
        ("/assets/app-4f9a02c1.js", &[], 200, "let a;"),
        ("/docs/", &[], 200, "docs"),
        ("/with%20space.txt", &[], 200, "space"),
        ("/%77ith%20space.txt", &[], 200, "space"),
        ("/empty.txt", &[], 200, ""),
        ("/inside.html", &[], 200, "docs"),
        ("/.well-known/security.txt", &[], 200, "contact"),
        ("/plain/docs/?x=1", &[], 200, "docs"),
        ("/alone/empty.txt", &[], 200, ""),
        // The application's own paths, for browsers alone.
        ("/play/7", &[BROWSER], 200, PAGE),
        ("/play/7", &[], 404, ""),
        ("/play/7", &[("accept", "*/*")], 404, ""),
        ("/missing.js", &[BROWSER], 404, ""),
        ("/plain/play", &[BROWSER], 404, ""),
        // Never, whoever asks; a name that could be a page's is one.
        ("/.env", &[BROWSER], 404, ""),
        ("/%2eenv", &[BROWSER], 404, ""),
        ("/.git/config", &[BROWSER], 404, ""),
        ("/escape.txt", &[BROWSER], 404, ""),
        ("/absolute.txt", &[], 404, ""),
        ("/magic.txt", &[], 404, ""),
        ("/loop.txt", &[], 404, ""),
        ("/folder-escape/x.txt", &[], 404, ""),
        ("/..%2Foutside.txt", &[], 400, ""),
        ("/%2e%2e/outside.txt", &[], 400, ""),
        ("/docs%2Findex.html", &[BROWSER], 404, ""),
        ("/docs%5Cindex.html", &[], 404, ""),
        ("/index.html%00.txt", &[], 400, ""),
        ("//index.html", &[], 404, ""),
        ("/docs//index.html", &[], 404, ""),
        ("/index.html/", &[], 404, ""),
        ("/no-index/", &[], 404, ""),
        ("/no-index", &[], 404, ""),
    ] {
        let reply = ask(gateway.address, "GET", path, headers).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        if status == 200 {
            assert_eq!(reply.text(), body, "{path}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        } else {
            let json: Value = serde_json::from_slice(&reply.body).expect("JSON");
            assert!(json["message"].is_string(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_path_under_a_rule_is_never_the_page() {
    let folder = site();
    let gateway = serving(&folder);
    let reply = ask(gateway.address, "GET", "/v1/gmaes", &[BROWSER]).await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    // A rule refuses the method: never files.
    let reply = ask(gateway.address, "PUT", "/v1/games/7", &[BROWSER]).await;
    assert_eq!(reply.status, 405);
}

#[tokio::test]
async fn types_and_how_long_they_may_be_kept() {
    let folder = site();
    let gateway = serving(&folder);
    let forever = "public, max-age=31536000, immutable";
    for (path, media, keep) in [
        ("/", "text/html; charset=utf-8", "no-cache"),
        (
            "/assets/app-4f9a02c1.js",
            "text/javascript; charset=utf-8",
            forever,
        ),
        ("/fonts/a.woff2", "font/woff2", "no-cache"),
        ("/plain/fonts/a.woff2", "font/woff2", forever),
        ("/big.bin", "application/octet-stream", "no-cache"),
    ] {
        let reply = ask(gateway.address, "GET", path, &[]).await;
        assert_eq!(reply.header("content-type"), Some(media), "{path}");
        assert_eq!(reply.header("cache-control"), Some(keep), "{path}");
    }
}

#[tokio::test]
async fn methods_other_than_reading_are_refused() {
    let folder = site();
    let gateway = serving(&folder);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let reply = ask(gateway.address, method, "/index.html", &[]).await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
    let reply = ask(gateway.address, "HEAD", "/big.bin", &[]).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-length"), Some("300000"));
    assert_eq!(reply.header("accept-ranges"), Some("bytes"));
}

#[tokio::test]
async fn a_folder_without_its_slash_is_sent_to_it() {
    let folder = site();
    let gateway = serving(&folder);
    let reply = ask(gateway.address, "GET", "/docs?x=1", &[]).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, Some("/docs/?x=1"))
    );
    let reply = ask(gateway.address, "GET", "/plain/docs", &[]).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, Some("/plain/docs/"))
    );
}

#[tokio::test]
async fn siblings_that_were_compressed_before() {
    let folder = site();
    let gateway = serving(&folder);
    let path = "/assets/app-4f9a02c1.js";
    let mut tags = Vec::new();
    for (accept, coding, body) in [
        (None, None, "let a;"),
        (Some("gzip, br"), Some("br"), "BR"),
        (Some("gzip, br;q=0.5"), Some("gzip"), "GZIP"),
        (Some("zstd, gzip;q=0.1"), Some("gzip"), "GZIP"),
        (Some("br;q=0"), None, "let a;"),
    ] {
        let headers: Vec<_> = accept.map(|a| ("accept-encoding", a)).into_iter().collect();
        let reply = ask(gateway.address, "GET", path, &headers).await;
        assert_eq!(reply.header("content-encoding"), coding, "{accept:?}");
        assert_eq!(reply.text(), body);
        assert_eq!(
            reply.header("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
        tags.push(reply.header("etag").expect("a tag").to_owned());
        let head = ask(gateway.address, "HEAD", path, &headers).await;
        assert_eq!(head.header("content-encoding"), coding);
        let length = body.len().to_string();
        assert_eq!(head.header("content-length"), Some(&*length));
    }
    assert_ne!(tags[0], tags[1]);
    assert_ne!(tags[1], tags[2]);
    let plain = ask(
        gateway.address,
        "GET",
        "/plain/assets/app-4f9a02c1.js",
        &[("accept-encoding", "br")],
    )
    .await;
    assert_eq!((plain.text(), plain.header("vary")), ("let a;", None));
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let folder = site();
    let gateway = serving(&folder);
    let first = ask(gateway.address, "GET", "/big.bin", &[]).await;
    let tag = first.header("etag").expect("a tag").to_owned();
    let date = first.header("last-modified").expect("a date").to_owned();
    assert!(tag.starts_with('"'), "{tag} is strong");
    for (headers, status) in [
        (&[("if-none-match", &*tag)][..], 304),
        (
            &[
                ("if-none-match", "\"other\""),
                ("if-modified-since", &*date),
            ],
            200,
        ),
        (&[("if-modified-since", &*date)], 304),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-match", &*tag)], 200),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = ask(gateway.address, method, "/big.bin", headers).await;
            assert_eq!(reply.status, status, "{method} {headers:?}");
            if status == 304 {
                assert_eq!(reply.header("etag"), Some(&*tag));
                assert!(reply.body.is_empty() && reply.header("content-type").is_none());
                assert!(reply.header("content-length").is_none_or(|l| l != "0"));
            }
        }
    }
    fs::write(folder.path().join("dist/big.bin"), "new").expect("a file");
    let changed = ask(
        gateway.address,
        "GET",
        "/big.bin",
        &[("if-none-match", &tag)],
    )
    .await;
    assert_eq!((changed.status, changed.text()), (200, "new"));
    assert!(
        changed.header("etag").expect("a tag").starts_with("W/"),
        "just written"
    );
}

#[tokio::test]
async fn parts_of_a_file() {
    let folder = site();
    let gateway = serving(&folder);
    let whole = pattern();
    let first = ask(gateway.address, "GET", "/big.bin", &[]).await;
    assert_eq!(first.body, whole);
    let tag = first.header("etag").expect("a tag").to_owned();
    for (range, more, status, from, to) in [
        ("bytes=0-0", None, 206, 0, 1),
        ("bytes=100-199999", None, 206, 100, 200_000),
        ("bytes=299990-", None, 206, 299_990, BIG),
        ("bytes=-10", None, 206, BIG - 10, BIG),
        ("bytes=-0", None, 416, 0, 0),
        ("bytes=300000-", None, 416, 0, 0),
        ("bytes=0-1,5-6", None, 200, 0, BIG),
        ("bytes=9-1", None, 200, 0, BIG),
        ("bytes=0-9", Some(("if-range", &*tag)), 206, 0, 10),
        ("bytes=0-9", Some(("if-range", "\"other\"")), 200, 0, BIG),
    ] {
        let headers: Vec<_> = [("range", range)].into_iter().chain(more).collect();
        let reply = ask(gateway.address, "GET", "/big.bin", &headers).await;
        assert_eq!(reply.status, status, "{range}");
        assert_eq!(reply.body, whole[from..to], "{range}");
        let told = match status {
            206 => Some(format!("bytes {from}-{}/{BIG}", to - 1)),
            416 => Some(format!("bytes */{BIG}")),
            _ => None,
        };
        assert_eq!(reply.header("content-range"), told.as_deref(), "{range}");
    }
    let head = ask(
        gateway.address,
        "HEAD",
        "/big.bin",
        &[("range", "bytes=0-1")],
    )
    .await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("300000"))
    );
}

/// A client that doesn't read makes nobody read the file ahead, and others are served meanwhile.
#[tokio::test]
async fn a_slow_reader_holds_nobody_up() {
    let folder = site();
    let gateway = serving(&folder);
    let file = fs::File::create(folder.path().join("dist/huge.bin")).expect("a file");
    file.set_len(1 << 30).expect("a length");
    let mut slow = Http1::connect(gateway.address).await;
    slow.send("GET /huge.bin HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    let head = slow.head().await.expect("a head");
    assert_eq!(head.header("content-length"), Some("1073741824"));
    let mut other = Http2::connect(gateway.address).await;
    for _ in 0..20 {
        assert_eq!(other.get("/docs/").await.text(), "docs");
    }
    drop(slow);
    assert_eq!(other.get("/docs/").await.text(), "docs");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_found() {
    let gateway = builder()
        .route(json!({ "prefix": "/", "files": { "root": "/no/such/folder" } }))
        .start();
    assert_eq!(ask(gateway.address, "GET", "/x", &[]).await.status, 404);
}

#[tokio::test]
async fn redirects_and_fixed_replies() {
    let gateway = builder()
        .route(json!({ "prefix": "/old/", "hosts": ["www.example.com"], "redirect": { "to": "/new/{rest}" } }))
        .route(json!({ "prefix": "/", "hosts": ["www.example.com"],
                       "redirect": { "to": "https://{host}{path}", "code": 308 } }))
        .route(
            json!({ "path": "/gone", "hosts": ["www.example.com"], "respond": { "status": 410, "body": "gone for good",
                       "headers": { "x-why": "old" } } }),
        )
        .route(json!({ "path": "/nothing", "hosts": ["www.example.com"], "respond": { "status": 204 } }))
        .start();
    for (path, status, location) in [
        ("/old/a%20b?x=1", 307, "/new/a%20b?x=1"),
        ("/old//evil.example/", 307, "/new/evil.example/"),
        ("/a/b?c", 308, "https://www.example.com/a/b?c"),
    ] {
        for method in ["GET", "POST", "HEAD"] {
            let reply = ask(gateway.address, method, path, &[]).await;
            assert_eq!(
                (reply.status, reply.header("location")),
                (status, Some(location))
            );
            assert!(reply.body.is_empty());
        }
    }
    let reply = ask(gateway.address, "POST", "/gone", &[]).await;
    assert_eq!((reply.status, reply.text()), (410, "gone for good"));
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reply.header("x-why"), Some("old"));
    let reply = ask(gateway.address, "HEAD", "/gone", &[]).await;
    assert_eq!(
        (reply.header("content-length"), reply.body.len()),
        (Some("13"), 0)
    );
    assert_eq!(
        ask(gateway.address, "GET", "/nothing", &[]).await.status,
        204
    );
}

/// An upstream that says what it was asked.
async fn echo() -> std::net::SocketAddr {
    raw(|_, mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let reply = format!(
            "HTTP/1.1 200 OK\r\nserver: nginx/1.0\r\nx-internal-a: 1\r\nreferrer-policy: origin\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            head.len()
        );
        stream.write_all(reply.as_bytes()).await.expect("write");
        stream.write_all(&head).await.expect("write");
    })
    .await
}

fn line<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    let name = format!("{name}: ");
    reply.text().lines().find_map(|l| l.strip_prefix(&*name))
}

#[tokio::test]
async fn paths_and_headers_on_their_way_to_an_upstream() {
    let address = echo().await.to_string();
    let gateway = builder()
        .upstream("site", json!({ "endpoints": [address], "protocol": "http1" }))
        .route(json!({ "prefix": "/api/", "upstream": "site", "rewrite": "/v2/", "headers": {
            "request": { "remove": ["x-debug", "x-secret-*"], "set": { "x-tenant": "acme", "host": "inner.example" } },
            "response": { "remove": ["server", "x-internal-*"], "set": { "x-served-by": "transom" } },
        }, "security_headers": { "frame_options": "deny", "content_security_policy": "default-src 'self'" } }))
        .start();
    let mut client = Http1::connect(gateway.address).await;
    client
        .send("GET /api/a%2Fb?x=1 HTTP/1.1\r\nhost: www.example.com\r\nx-debug: 1\r\nx-secret-a: 1\r\nx-tenant: evil\r\n\r\n")
        .await;
    let reply = client.reply().await.expect("a reply");
    assert!(
        reply.text().starts_with("GET /v2/a%2Fb?x=1 HTTP/1.1\r\n"),
        "{}",
        reply.text()
    );
    for (name, value) in [
        ("x-tenant", Some("acme")),
        ("host", Some("inner.example")),
        ("x-forwarded-host", Some("www.example.com")),
        ("x-forwarded-prefix", Some("/api")),
        ("x-debug", None),
        ("x-secret-a", None),
    ] {
        assert_eq!(line(&reply, name), value, "{name}");
    }
    for (name, value) in [
        ("server", None),
        ("x-internal-a", None),
        ("x-served-by", Some("transom")),
        ("x-frame-options", Some("DENY")),
        ("x-content-type-options", Some("nosniff")),
        ("content-security-policy", Some("default-src 'self'")),
        // Its own.
        ("referrer-policy", Some("origin")),
        ("cross-origin-opener-policy", Some("same-origin")),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn headers_of_a_transcoded_call() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set(
            "defaults",
            json!({ "headers": {
            "to_metadata": ["x-tenant"],
            "request": { "set": { "x-tenant": "acme" } },
            "response": { "set": { "x-served-by": "transom" } },
        }, "security_headers": "on" }),
        )
        .start();
    let mut client = Http2::connect(gateway.address).await;
    let asked = client.get("/v1/games/7");
    let answered = async {
        let call = upstream.next().await;
        assert_eq!(call.request.headers()["x-tenant"], "acme");
        call.answer("\0\0\0\0\0");
    };
    let (reply, ()) = tokio::join!(asked, answered);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-served-by"), Some("transom"));
    assert_eq!(reply.header("x-frame-options"), Some("SAMEORIGIN"));
    let refused = client.get("/no/such/path").await;
    assert_eq!(
        (refused.status, refused.header("x-served-by")),
        (404, Some("transom"))
    );
}
