//! Instances that are found by DNS: A, AAAA and SRV records of a name server of the tests.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use hickory_proto::op::ResponseCode;
use serde_json::Value;
use support::client::Http1;
use support::names::Names;
use support::process::Process;
use support::soon;
use transom::demo::{self, GrpcServer};

const SRV: &str = "_grpc._tcp.games.test";

fn service_at(address: &str) -> GrpcServer {
    demo::start(address.parse().expect("an address")).expect("the service")
}

fn service() -> GrpcServer {
    service_at("127.0.0.1:0")
}

/// A gateway that asks `names` for `endpoint`, with the protos of the demo.
fn start(names: &Names, endpoint: &str) -> Process {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    start_with(names, endpoint, &format!("protos: {}", protos.display()))
}

fn start_with(names: &Names, endpoint: &str, descriptors: &str) -> Process {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         dns: {{ servers: [\"{}\"] }}\ndescriptors: [{{ {descriptors} }}]\n\
         upstreams: {{ games: {{ endpoints: [\"{endpoint}\"] }} }}\n\
         routes: [{{ services: [\"gamehub.v1.*\"], upstream: games }}]\nworkers: 1\n",
        names.address
    );
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    Process::start(folder)
}

async fn upstream(gateway: &Process) -> Value {
    let (_, text) = gateway.admin("/upstreams").await;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].clone()
}

/// Where calls go, in order.
async fn places(gateway: &Process) -> Vec<String> {
    let told = upstream(gateway).await;
    let endpoints = told["endpoints"].as_array().expect("a list");
    let address = |e: &Value| e["address"].as_str().expect("text").to_owned();
    let mut places: Vec<_> = endpoints.iter().map(address).collect();
    places.sort();
    places
}

async fn until_places(gateway: &Process, wanted: &[SocketAddr]) {
    let mut wanted: Vec<_> = wanted.iter().map(SocketAddr::to_string).collect();
    wanted.sort();
    let come = async { while places(gateway).await != wanted {} };
    soon(&format!("{wanted:?}"), come).await;
}

async fn get(gateway: &Process) -> (u16, String) {
    let mut client = Http1::connect(gateway.address).await;
    let reply = client.get("/v1/games/1").await;
    (reply.status, reply.text().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_services_records_are_its_instances() {
    let (first, second) = (service(), service_at("127.0.0.2:0"));
    let spare = service();
    let names = Names::start(60).await;
    let (one, two) = (first.address(), second.address());
    names.services(
        SRV,
        &[
            (10, "one.games.test", one.port()),
            (10, "two.games.test", two.port()),
            (20, "one.games.test", spare.address().port()),
        ],
    );
    names.addresses("one.games.test", &["127.0.0.1"]);
    names.addresses("two.games.test", &["127.0.0.2"]);
    let gateway = start(&names, &format!("srv:{SRV}"));
    // The very first call waits for the answer.
    assert_eq!(get(&gateway).await.0, 200);
    until_places(&gateway, &[one, two]).await;
    let told = upstream(&gateway).await;
    assert_eq!(told["endpoints"][0]["name"], "games.test");
    assert_eq!(told["sought"][0]["endpoint"], format!("srv:{SRV}"));
    assert_eq!(told["sought"][0]["instances"], 2);
    assert_eq!(told["sought"][0]["error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_finds_them_as_well() {
    let service = service();
    let names = Names::start(60).await;
    names.services(SRV, &[(0, "one.games.test", service.address().port())]);
    names.addresses("one.games.test", &["127.0.0.1"]);
    let gateway = start_with(&names, &format!("srv:{SRV}"), "reflection: games");
    assert_eq!(get(&gateway).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_refuses_has_the_name_asked_for_at_once() {
    let names = Names::start(3600).await;
    let first = service_at("127.0.0.1:0");
    let port = first.address().port();
    names.addresses("games.test", &["127.0.0.1"]);
    let gateway = start(&names, &format!("games.test:{port}"));
    assert_eq!(get(&gateway).await.0, 200);
    // It moves, and the answer that is known holds for half a minute still.
    let moved = service_at(&format!("127.0.0.3:{port}"));
    names.addresses("games.test", &["127.0.0.3"]);
    let asked = names.asked();
    drop(first);
    let begun = std::time::Instant::now();
    gateway.until("/v1/games/1", 200).await;
    assert!(names.asked() > asked);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "it waited for the answer's end"
    );
    until_places(&gateway, &[moved.address()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_answer_stands_while_the_name_server_fails() {
    let service = service();
    let names = Names::start(1).await;
    names.services(SRV, &[(0, "one.games.test", service.address().port())]);
    names.addresses("one.games.test", &["127.0.0.1"]);
    let gateway = start(&names, &format!("srv:{SRV}"));
    assert_eq!(get(&gateway).await.0, 200);
    for (fails, told) in [
        (Some(ResponseCode::ServFail), "erver"),
        (None, "there is no such name"),
    ] {
        names.fails(fails);
        names.forget(SRV);
        let error = soon(told, async {
            loop {
                let told = upstream(&gateway).await;
                match told["sought"][0]["error"].as_str() {
                    Some(error) if fails.is_some() || error.contains("no such") => {
                        break error.to_owned();
                    }
                    _ => {}
                }
            }
        });
        let error = error.await;
        assert!(error.contains(told), "{told}: {error}");
        assert_eq!(get(&gateway).await.0, 200, "{told}");
        assert_eq!(upstream(&gateway).await["sought"][0]["instances"], 1);
    }
    let line = gateway.says("instances can't be looked for");
    assert!(line.contains(SRV) && line.contains("games"), "{line}");
    names.services(SRV, &[(0, "one.games.test", service.address().port())]);
    gateway.says("instances are found again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_stands_for_nothing_is_told_to_operators_alone() {
    let names = Names::start(60).await;
    names.services("_none._tcp.games.test", &[(0, ".", 0)]);
    for (endpoint, told) in [
        ("srv:_grpc._tcp.games.test", "there is no such name"),
        ("srv:_none._tcp.games.test", "the name has no service"),
        ("games.test:50051", "there is no such name"),
    ] {
        let gateway = start(&names, endpoint);
        let (status, body) = get(&gateway).await;
        assert_eq!(status, 503, "{endpoint}: {body}");
        assert!(
            body.contains("games") && !body.contains("games.test"),
            "{body}"
        );
        let sought = upstream(&gateway).await["sought"][0].clone();
        assert_eq!(
            (sought["instances"].as_u64(), sought["error"].as_str()),
            (Some(0), Some(told))
        );
        let line = gateway.says("instances can't be looked for");
        assert!(line.contains(endpoint) && line.contains(told), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_too_long_for_udp_is_asked_for_by_tcp() {
    let names = Names::start(60).await;
    let service = service();
    let many: Vec<String> = (2..102).map(|n| format!("127.0.1.{n}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many.push("127.0.0.1");
    names.addresses("games.test", &many);
    let gateway = start(&names, &format!("games.test:{}", service.address().port()));
    let all: Vec<_> = many
        .iter()
        .map(|ip| SocketAddr::new(ip.parse().expect("an address"), service.address().port()))
        .collect();
    until_places(&gateway, &all).await;
    assert!(names.asked_by_tcp() > 0);
    // All others refuse.
    assert_eq!(get(&gateway).await.0, 200);
}
