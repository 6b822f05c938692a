//! The addresses for operators and probes, of the running command.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::client::Http1;
use support::process;
use support::soon;
use tokio::net::TcpListener;

struct Running {
    folder: tempfile::TempDir,
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    probes: SocketAddr,
}

impl Running {
    /// A gateway with these routes and an upstream `site`.
    fn start(upstream: SocketAddr, routes: &str) -> Self {
        Self::start_with(upstream, routes, "{ address: \"127.0.0.1:0\" }")
    }

    fn start_with(upstream: SocketAddr, routes: &str, admin: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("transom.yaml");
        let config = format!(
            "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
             admin: {admin}\n\
             probes: {{ address: \"127.0.0.1:0\" }}\n\
             upstreams: {{ site: {{ endpoints: [\"{upstream}\"], protocol: http1 }} }}\n\
             workers: 2\nroutes:\n{routes}"
        );
        fs::write(&file, config).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["run", "-c"])
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let mut on = |what: &str| -> SocketAddr {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("text");
            let address = line.trim().strip_prefix(what).and_then(|a| a.parse().ok());
            address.unwrap_or_else(|| {
                let mut told = String::new();
                let mut stderr = process.stderr.take().expect("piped");
                stderr.read_to_string(&mut told).expect("text");
                panic!("{line:?} for {what:?}\n{told}");
            })
        };
        let address = on("listening on http://");
        let admin = on("admin on http://");
        let probes = on("probes on http://");
        Self {
            folder,
            process,
            address,
            admin,
            probes,
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("transom.yaml")
    }

    async fn get(&self, address: SocketAddr, path: &str) -> (u16, String) {
        let mut client = Http1::connect(address).await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        client.send(&head).await;
        let reply = client.reply().await.expect("a reply");
        (reply.status, reply.text().to_owned())
    }

    async fn send(&self, head: &str) -> (u16, String) {
        let mut client = Http1::connect(self.admin).await;
        client.send(head).await;
        let reply = client.reply().await.expect("a reply");
        (reply.status, reply.text().to_owned())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it runs");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

const FIXED: &str =
    "  - { path: /hello, respond: { body: hi } }\n  - { prefix: /, upstream: site }\n";

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

/// The value of one series.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find(|l| l.strip_prefix(series).is_some_and(|r| r.starts_with(' ')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let running = Running::start(nowhere(), FIXED);
    for _ in 0..3 {
        assert_eq!(running.get(running.address, "/hello").await.0, 200);
    }
    assert_eq!(running.get(running.address, "/secret/7f3a").await.0, 503);
    for address in [running.admin, running.probes] {
        let (status, metrics) = running.get(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(!metrics.contains("7f3a"), "{metrics}");
        let series = "http_server_request_duration_seconds_count{http_request_method=\"*\",\
                      http_response_status_code=\"200\",http_route=\"/hello\"}";
        assert_eq!(value(&metrics, series), Some(3.0), "{metrics}");
        let failed = "http_server_request_duration_seconds_count{http_request_method=\"*\",\
                      http_response_status_code=\"503\",http_route=\"/\"}";
        assert_eq!(value(&metrics, failed), Some(1.0), "{metrics}");
        assert_eq!(
            value(&metrics, "transom_upstream_calls_total{upstream=\"site\"}"),
            Some(1.0)
        );
        assert_eq!(value(&metrics, "transom_config_generation"), Some(1.0));
        assert_eq!(
            value(&metrics, "transom_limits_hit_total{limit=\"headers\"}"),
            Some(0.0)
        );
        assert!(value(&metrics, "process_resident_memory_bytes") > Some(0.0));
    }
}

#[tokio::test]
async fn it_is_ready_until_it_drains() {
    let site = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let running = Running::start(site.local_addr().expect("address"), FIXED);
    assert_eq!(
        running.get(running.probes, "/livez").await,
        (200, "ok\n".to_owned())
    );
    assert_eq!(
        running.get(running.probes, "/readyz").await,
        (200, "ok\n".to_owned())
    );
    let (_, verbose) = running.get(running.admin, "/readyz?verbose").await;
    assert!(
        verbose.starts_with("[+]serving\n[+]descriptors\n"),
        "{verbose}"
    );
    let mut open = Http1::connect(running.address).await;
    open.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let _held = soon("the request", site.accept()).await.expect("accept");
    running.signal(Signal::TERM);
    let unready = async { while running.get(running.probes, "/readyz").await.0 != 503 {} };
    soon("unready", unready).await;
    assert_eq!(running.get(running.probes, "/livez").await.0, 200);
}

#[tokio::test]
async fn a_reload_is_asked_for_and_its_outcome_told() {
    let running = Running::start(nowhere(), FIXED);
    let text = fs::read_to_string(running.config()).expect("text");
    let post = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let (status, told) = running.send(post).await;
    assert_eq!(status, 200, "{told}");
    fs::write(
        running.config(),
        text.replace("upstream: site }", "upstream: sites }"),
    )
    .expect("written");
    let (status, told) = running.send(post).await;
    assert_eq!(status, 422, "{told}");
    assert!(told.contains("unknown upstream `sites`"), "{told}");
    let (_, metrics) = running.get(running.probes, "/metrics").await;
    assert_eq!(
        value(&metrics, "transom_config_last_reload_successful"),
        Some(0.0)
    );
    fs::write(running.config(), text).expect("written");
    let (status, told) = running.send(post).await;
    assert_eq!(status, 200, "{told}");
    let (_, metrics) = running.get(running.probes, "/metrics").await;
    assert_eq!(
        value(&metrics, "transom_config_last_reload_successful"),
        Some(1.0)
    );
}

#[tokio::test]
async fn views_are_json_and_the_probes_address_has_none() {
    let running = Running::start(nowhere(), FIXED);
    for path in ["/status", "/routes", "/upstreams"] {
        let (status, text) = running.get(running.admin, path).await;
        assert_eq!(status, 200);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        assert_eq!(running.get(running.probes, path).await.0, 404, "{path}");
    }
    let post = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let mut client = Http1::connect(running.probes).await;
    client.send(post).await;
    assert_eq!(client.reply().await.expect("a reply").status, 404);
}

#[tokio::test]
async fn pages_of_other_origins_get_nothing() {
    let running = Running::start(nowhere(), FIXED);
    for (head, status) in [
        ("GET /status HTTP/1.1\r\nHost: localhost:9901\r\n\r\n", 200),
        ("GET /status HTTP/1.1\r\nHost: [::1]:9901\r\n\r\n", 200),
        ("GET /status HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 403),
        (
            "GET /status HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n",
            403,
        ),
        (
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n",
            403,
        ),
        (
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n",
            403,
        ),
        ("GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (
            "POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
            405,
        ),
    ] {
        assert_eq!(running.send(head).await.0, status, "{head}");
    }
}

#[tokio::test]
async fn status_and_reload_are_commands() {
    let running = Running::start(nowhere(), FIXED);
    let admin = running.admin.to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, err) = run(&["status", "--admin", &admin]);
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    assert!(
        out.starts_with("serving, generation 1, 0 reloads, 0 failed"),
        "{out}"
    );
    let text = fs::read_to_string(running.config()).expect("text");
    let more = text.replace(
        "routes:\n",
        "routes:\n  - { path: /more, respond: { body: more } }\n",
    );
    fs::write(running.config(), more).expect("written");
    let (code, out, _) = run(&["reload", "--admin", &admin]);
    assert_eq!(code, Some(0), "{out}");
    // Whoever was first, the watcher or the command: the route is there.
    assert_eq!(running.get(running.address, "/more").await.0, 200);
    fs::write(running.config(), "routes: []").expect("written");
    let (code, out, _) = run(&["reload", "--admin", &admin]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("missing key") || out.contains("the last reload failed"),
        "{out}"
    );
    let (code, out, _) = run(&["status", "--admin", &admin, "--json"]);
    assert_eq!(code, Some(1));
    serde_json::from_str::<serde_json::Value>(&out).expect("JSON");
    let (code, _, err) = run(&["status", "--admin", "127.0.0.1:1"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("nobody answers at 127.0.0.1:1"), "{err}");
    let (code, _, err) = run(&["status", "-c", "config/minimal.yaml"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("has no admin address"), "{err}");
}

#[tokio::test]
async fn a_token_is_wanted_where_there_is_one() {
    let admin = "{ address: \"127.0.0.1:0\", token: s3cret }";
    let running = Running::start_with(nowhere(), FIXED, admin);
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    for (path, more, status) in [
        ("/livez", "", 200),
        ("/readyz", "", 200),
        ("/status", "", 401),
        ("/metrics", "Authorization: Bearer s3cre\r\n", 401),
        ("/status", "Authorization: Bearer s3cret\r\n", 200),
        ("/metrics", "Authorization: Bearer s3cret\r\n", 200),
    ] {
        assert_eq!(
            running.send(&get(path, more)).await.0,
            status,
            "{path} {more}"
        );
    }
    assert_eq!(running.get(running.probes, "/metrics").await.0, 200);
    let ask = |token: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["status", "--admin", &running.admin.to_string()])
            .env("TRANSOM_ADMIN_TOKEN", token)
            .output();
        output.expect("it runs").status.code()
    };
    assert_eq!((ask("s3cret"), ask("wrong")), (Some(0), Some(1)));
}

#[tokio::test]
async fn the_log_s_level_changes_live() {
    let running = Running::start(nowhere(), FIXED);
    let post = |level: &str| {
        format!(
            "POST /log-level?level={level} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
    };
    assert_eq!(
        running.send(&post("debug")).await,
        (200, "debug\n".to_owned())
    );
    let (_, status) = running.get(running.admin, "/status").await;
    assert!(status.contains("\"log_level\":\"debug\""), "{status}");
    for level in ["loud", "", "off", "DEBUG", "debug,hyper=trace", "%64ebug"] {
        let (status, why) = running.send(&post(level)).await;
        let choices = "a level is error, warn, info, debug or trace\n";
        assert_eq!((status, &*why), (400, choices), "{level}");
    }
    // A page that a browser shows can't.
    let (path, none) = ("POST /log-level?level=error", "Content-Length: 0\r\n\r\n");
    for (head, refused) in [
        (
            "GET /log-level?level=error HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
        ),
        (
            format!("{path} HTTP/1.1\r\nHost: evil.example\r\n{none}"),
            403,
        ),
        (
            format!("{path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n{none}"),
            403,
        ),
        (
            format!("{path} HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n{none}"),
            403,
        ),
    ] {
        assert_eq!(running.send(&head).await.0, refused, "{head}");
    }
    let mut probes = Http1::connect(running.probes).await;
    probes
        .send(format!("{path} HTTP/1.1\r\nHost: localhost\r\n{none}"))
        .await;
    assert_eq!(probes.reply().await.expect("a reply").status, 404);
    let (_, status) = running.get(running.admin, "/status").await;
    assert!(status.contains("\"log_level\":\"debug\""), "{status}");
}

#[tokio::test]
async fn what_is_logged_follows_the_level() {
    let folder = tempfile::tempdir().expect("a folder");
    let routes = json!([{ "path": "/hello", "respond": { "body": "hi" } }]);
    let config = |level: &str| {
        process::config(&json!({ "log": { "level": level }, "routes": routes, "workers": 1 }))
    };
    let file = folder.path().join("transom.yaml");
    fs::write(&file, config("info")).expect("written");
    let process = process::Process::start(folder);
    let admin = process.admin.expect("an admin address").to_string();
    let level = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["log-level", "--admin", &admin])
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let refused = "request refused";
    assert_eq!(level(&[]), (Some(0), "info\n".to_owned()));
    assert_eq!(process.status("/quiet-1").await, 404);
    assert_eq!(level(&["debug"]).0, Some(0));
    assert_eq!(process.status("/loud").await, 404);
    process.says("was changed by hand");
    process.says(refused);
    assert_eq!(level(&["warn"]).0, Some(0));
    assert_eq!(process.status("/quiet-2").await, 404);
    // A reload that changes other things leaves it alone, one that changes it takes it up.
    fs::write(&file, config("info").replace("/hello", "/hallo")).expect("written");
    assert_eq!(process.reload().await.0, 200);
    assert_eq!(level(&[]), (Some(0), "warn\n".to_owned()));
    fs::write(&file, config("debug")).expect("written");
    assert_eq!(process.reload().await.0, 200);
    assert_eq!(level(&[]), (Some(0), "debug\n".to_owned()));
    let between = process.unheard();
    assert!(!between.iter().any(|l| l.contains(refused)), "{between:?}");
    assert_eq!(process.status("/loud").await, 404);
    process.says(refused);
    let json = "{\"log_level\":\"error\"}\n".to_owned();
    assert_eq!(level(&["error", "--json"]), (Some(0), json));
    let (code, told) = level(&["loud"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("error, warn, info, debug or trace"), "{told}");
}

#[tokio::test]
async fn browsers_get_the_page_and_others_what_it_shows() {
    let running = Running::start(nowhere(), FIXED);
    assert_eq!(running.get(running.address, "/hello").await.0, 200);
    assert_eq!(running.get(running.address, "/orders/7").await.0, 503);
    let (status, index) = running.get(running.admin, "/").await;
    assert_eq!(status, 200);
    assert!(index.contains("GET /overview"), "{index}");
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/explain.js", "text/javascript; charset=utf-8"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
        let mut client = Http1::connect(running.admin).await;
        client.send(&head).await;
        let reply = client.reply().await.expect("a reply");
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some(kind))
        );
        let policy = reply.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        // The name of SVG's elements is no place.
        let text = reply.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("://"), "{path} names another place");
        // Probes' address has no page.
        let mut client = Http1::connect(running.probes).await;
        client.send(&head).await;
        assert_eq!(client.reply().await.expect("a reply").status, 404);
    }
    let (status, told) = running.get(running.admin, "/overview").await;
    assert_eq!(status, 200, "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["errors"][0]["path"], "/orders/7", "{told}");
    assert_eq!(told["errors"][0]["blame"], "upstream");
    assert_eq!(told["load"]["site"]["calls"], 1);
    let hello = |route: &&serde_json::Value| route["route"] == "/hello";
    let routes = told["routes"].as_array().expect("routes");
    assert_eq!(routes.iter().find(hello).expect("it")["count"], 1);
    let (status, told) = running.get(running.admin, "/explain?url=/orders/7").await;
    assert_eq!(status, 200, "{told}");
    assert!(told.contains("\"site\""), "{told}");
    for (query, why) in [
        ("", "which request?"),
        ("url=orders", "neither a path"),
        ("url=/&method=%20", "is not an HTTP method"),
        ("url=/&header=x", "is no header"),
        ("url=%ff", "can't be read"),
    ] {
        let (status, told) = running
            .get(running.admin, &format!("/explain?{query}"))
            .await;
        assert_eq!(status, 400, "{query}: {told}");
        assert!(told.contains(why), "{query}: {told}");
    }
}

#[tokio::test]
async fn reloads_are_remembered_the_newest_first() {
    let running = Running::start(nowhere(), FIXED);
    let post = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let text = fs::read_to_string(running.config()).expect("text");
    fs::write(running.config(), text.replace("/hello", "/hallo")).expect("written");
    assert_eq!(running.send(post).await.0, 200);
    fs::write(running.config(), "routes: 7").expect("written");
    assert_eq!(running.send(post).await.0, 422);
    let (_, told) = running.get(running.admin, "/overview").await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let history = told["history"].as_array().expect("reloads");
    let failed = history[0]["error"].as_str().expect("an error");
    assert!(failed.contains("routes"), "{failed}");
    // The folder is watched too: another one may have found nothing left to change.
    let changes: Vec<_> = history.iter().map(|p| p["changes"].to_string()).collect();
    let has = |kind: &str, path: &str| {
        let told = |all: &String| all.contains(&format!("[\"{kind}\",")) && all.contains(path);
        changes.iter().any(told)
    };
    assert!(has("added", "/hallo") && has("removed", "/hello"), "{told}");
}
