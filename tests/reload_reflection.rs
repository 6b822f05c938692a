//! What upstreams tell of themselves, as it comes, changes, lies and fails to come.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::ports::free;
use support::process::Process;
use transom::demo::{GrpcServer, Services};

const SHOP: &str = r#"syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
service Shop {
  rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/v1/items/{id}" }; }
}
message Item { int64 id = 1; string title = 2; }
"#;

/// A service that tells these descriptors, and answers UNIMPLEMENTED to every call.
fn tells(address: SocketAddr, proto: &str) -> GrpcServer {
    let texts = [("shop.proto".to_owned(), proto.to_owned())];
    let set = transom::schema::compile(&texts).expect("a proto");
    tells_set(address, &set)
}

fn tells_set(address: SocketAddr, set: &[u8]) -> GrpcServer {
    let services = Services::new().with_reflection(set).expect("a set");
    GrpcServer::start(address, services).expect("the service")
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn config(upstreams: &[(&str, SocketAddr)], reload: &str) -> String {
    let each = |line: &dyn Fn(&str, SocketAddr) -> String| {
        let lines: Vec<_> = upstreams.iter().map(|(name, at)| line(name, *at)).collect();
        lines.join(", ")
    };
    format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         descriptors: [{}]\n\
         upstreams: {{ {} }}\n\
         routes: [{{ path: /fixed, respond: {{ status: 204 }} }}, {}]\n\
         workers: 1\n\
         reload: {{ {reload} }}\n",
        each(&|name, _| format!("{{ reflection: {name} }}")),
        each(&|name, at| format!("{name}: {{ endpoints: [\"{at}\"] }}")),
        each(&|name, _| format!("{{ services: [\"{name}.v1.*\"], upstream: {name} }}")),
    )
}

fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    folder
}

fn state<'v>(told: &'v Value, source: &str) -> &'v str {
    let sources = told["sources"].as_array().expect("sources");
    let found = sources.iter().find(|s| s["name"] == source);
    found.map_or("", |s| s["state"].as_str().expect("a word"))
}

fn check(folder: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["check", "-c"])
        .arg(folder.join("transom.yaml"))
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code().expect("a code"), text)
}

/// Waits until there is a whole copy.
async fn one_is_kept(running: &Process) {
    let folder = running.path("kept/reflection");
    let is_whole = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        path.extension().is_some_and(|e| e == "binpb")
    };
    let kept = async {
        while !fs::read_dir(&folder).is_ok_and(|mut all| all.any(is_whole)) {
            tokio::task::yield_now().await;
        }
    };
    support::soon("a kept file", kept).await;
}

#[tokio::test]
async fn what_was_told_last_serves_when_the_upstream_is_down_at_the_start() {
    let service = tells(any(), SHOP);
    let address = service.address();
    let folder = folder(&config(&[("shop", address)], "keep: kept"));
    let (code, text) = check(folder.path());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("are not at hand"), "{text}");
    let first = Process::start(folder);
    // UNIMPLEMENTED comes from the service: the route is there.
    assert_eq!(first.status("/v1/items/1").await, 501);
    assert_eq!(state(&first.told().await, "reflection shop"), "told");
    one_is_kept(&first).await;
    let folder = first.stop();
    drop(service);

    let (code, text) = check(folder.path());
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("descriptors of `shop` are the last good copy, of ")
            && text.contains("fine: 2 routes"),
        "{text}"
    );

    let second = Process::start(folder);
    second.says("until `shop` tells its descriptors, the last good ones serve, of ");
    assert_eq!(second.status("/v1/items/1").await, 503, "nobody is there");
    assert_eq!(
        second.status("/v1/other").await,
        404,
        "all routes are known"
    );
    let told = second.told().await;
    assert_eq!(state(&told, "reflection shop"), "last_good_copy");
    // It comes, and has changed since.
    let _service = tells(address, &SHOP.replace("/v1/items", "/v2/items"));
    second.until("/v2/items/1", 501).await;
    assert_eq!(state(&second.told().await, "reflection shop"), "told");
    assert_eq!(second.status("/v1/items/1").await, 404);
}

#[tokio::test]
async fn an_upstream_that_comes_as_it_was_kept_is_only_noted() {
    let service = tells(any(), SHOP);
    let address = service.address();
    let first = Process::start(folder(&config(&[("shop", address)], "keep: kept")));
    one_is_kept(&first).await;
    let folder = first.stop();
    drop(service);
    let second = Process::start(folder);
    let _service = tells(address, SHOP);
    let told = second
        .until_told("told", |t| state(t, "reflection shop") == "told")
        .await;
    assert_eq!(told["generation"], 1, "{told}");
}

#[tokio::test]
async fn an_upstream_that_is_down_does_not_stop_the_others() {
    let shop = tells(any(), SHOP);
    let late = free();
    let upstreams = [("shop", shop.address()), ("late", late)];
    let running = Process::start(folder(&config(&upstreams, "")));
    assert_eq!(running.status("/v1/items/1").await, 501);
    assert_eq!(running.status("/fixed").await, 204);
    assert_eq!(running.status("/v1/late/1").await, 503, "awaited");
    assert_eq!(state(&running.told().await, "reflection late"), "awaited");
    let proto = SHOP
        .replace("shop.v1", "late.v1")
        .replace("/v1/items", "/v1/late");
    let _late = tells(late, &proto);
    running.until("/v1/late/1", 501).await;
    assert_eq!(running.status("/v1/other").await, 404);
    assert_eq!(running.status("/v1/items/1").await, 501);
}

#[tokio::test]
async fn descriptors_that_cannot_be_used_are_a_fault_of_their_source_alone() {
    let shop = tells(any(), SHOP);
    // The same message, and not the same: the two can't be one schema.
    let clash = SHOP
        .replace("string title", "bool title")
        .replace("/v1/items", "/v1/bad");
    let bad = tells(any(), &clash);
    let upstreams = [("shop", shop.address()), ("bad", bad.address())];
    let text = config(&upstreams, "reflection: 200ms, keep: kept").replace("bad.v1", "bad.v2");
    let running = Process::start(folder(&text));
    running.says("the descriptors that `bad` tells by reflection can't be used");
    running.says("shop.v1.Item");
    assert_eq!(running.status("/v1/items/1").await, 501);
    assert_eq!(running.status("/v1/bad/1").await, 503, "awaited");
    let told = running.told().await;
    assert_eq!(state(&told, "reflection bad"), "awaited");
    assert!(
        told["last_error"]
            .as_str()
            .is_some_and(|e| e.contains("shop.v1.Item")),
        "{told}"
    );
    // Another that is told later: the old one serves on, and it is said once.
    let address = shop.address();
    drop(shop);
    let lies = SHOP.replace(
        "message Item {",
        "service Two { rpc Get(Item) returns (Item) { option (google.api.http) = { get: \"/v1/items/{id}\" }; } }\nmessage Item {",
    );
    let _shop = tells(address, &lies);
    running.says("the descriptors that `shop` tells by reflection can't be used");
    let told = running
        .until_told("a failure", |t| t["reloads"]["failed"] == 1)
        .await;
    assert_eq!(state(&told, "reflection shop"), "told");
    assert!(told["sources"][0]["refused"].is_string(), "{told}");
    assert_eq!(running.status("/v1/items/1").await, 501);
    // A poll later it is mended.
    drop(bad);
    drop(_shop);
    let _shop = tells(address, &SHOP.replace("/v1/items", "/v3/items"));
    running.until("/v3/items/1", 501).await;
    let told = running.told().await;
    assert_eq!(told["reloads"]["failed"], 1, "said once: {told}");
}

/// [`SHOP`] with one more route.
fn more() -> String {
    SHOP.replace(
        "service Shop {",
        "service Shop {\n  rpc More(Item) returns (Item) { option (google.api.http) = { get: \"/v1/more/{id}\" }; }",
    )
}

#[tokio::test]
async fn while_instances_differ_the_one_with_all_of_it_is_served() {
    let (old, new) = (tells(any(), SHOP), tells(any(), &more()));
    let both = format!("{}\", \"{}", old.address(), new.address());
    let text = config(&[("shop", old.address())], "reflection: 100ms");
    let text = text.replace(
        &format!("endpoints: [\"{}", old.address()),
        &format!("endpoints: [\"{both}"),
    );
    let running = Process::start(folder(&text));
    assert_eq!(running.status("/v1/more/1").await, 501);
    let told = running.told().await;
    let versions = told["sources"][0]["versions"].as_array().expect("versions");
    let names: Vec<_> = versions.iter().map(|v| v["instances"][0].clone()).collect();
    let expected = [new.address().to_string(), old.address().to_string()];
    assert_eq!(names, expected, "{told}");
    let lacks = versions[1]["lacks"].to_string();
    assert!(lacks.contains("GET /v1/more/{id} is gone"), "{told}");
    let shown = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args([
            "status",
            "--admin",
            &running.admin.expect("admin").to_string(),
        ])
        .output()
        .expect("runs");
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("its instances differ"), "{shown}");
    assert_eq!(told["reloads"]["failed"], 0);

    // The deploy is rolled back: what nobody tells any more goes.
    drop(new);
    let _back = tells(expected[0].parse().expect("an address"), SHOP);
    running.until("/v1/more/1", 404).await;
    let told = running.told().await;
    let versions = told["sources"][0]["versions"].as_array().expect("versions");
    assert_eq!(versions.len(), 1, "{told}");
}

#[tokio::test]
async fn a_method_that_the_service_lacks_has_it_asked_at_once() {
    let old = tells(any(), &more());
    let address = old.address();
    let running = Process::start(folder(&config(&[("shop", address)], "reflection: 1h")));
    drop(old);
    let _new = tells(address, &SHOP.replace("/v1/items", "/v2/items"));
    // Each of these calls tells that the method is not there.
    let asked = async {
        loop {
            running.status("/v1/more/1").await;
            if running.status("/v2/items/1").await == 501 {
                break;
            }
        }
    };
    support::soon("the new route", asked).await;
    assert_eq!(running.status("/v1/more/1").await, 404);
}
