//! Instances of a Kubernetes service, as an API server of the tests tells of them.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::StatusCode;
use serde_json::Value;
use support::client::Http1;
use support::kubernetes::{ApiServer, Gone, endpoint, ready};
use support::process::Process;
use support::soon;
use support::tls::{Authority, front};
use transom::demo::{self, GrpcServer};

fn service() -> GrpcServer {
    demo::start(([127, 0, 0, 1], 0).into()).expect("the service")
}

fn protos() -> String {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    format!("protos: {}", protos.display())
}

fn start(
    folder: tempfile::TempDir,
    kubernetes: &str,
    endpoint: &str,
    descriptors: &str,
) -> Process {
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         kubernetes: {{ {kubernetes} }}\ndescriptors: [{{ {descriptors} }}]\n\
         upstreams: {{ games: {{ endpoints: [\"{endpoint}\"] }} }}\n\
         routes: [{{ services: [\"gamehub.v1.*\"], upstream: games }}]\nworkers: 1\n"
    );
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    Process::start(folder)
}

/// A gateway in front of `games` in `arcade`, which `api` knows of.
fn in_front(api: &ApiServer) -> Process {
    let folder = tempfile::tempdir().expect("a folder");
    let kubernetes = format!("server: \"http://{}\"", api.address);
    start(folder, &kubernetes, "k8s:games.arcade:grpc", &protos())
}

async fn upstream(gateway: &Process) -> Value {
    let (_, text) = gateway.admin("/upstreams").await;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].clone()
}

async fn until_places(gateway: &Process, wanted: &[SocketAddr]) {
    let mut wanted: Vec<_> = wanted.iter().map(SocketAddr::to_string).collect();
    wanted.sort();
    let come = async {
        loop {
            let told = upstream(gateway).await;
            let endpoints = told["endpoints"].as_array().expect("a list");
            let address = |e: &Value| e["address"].as_str().expect("text").to_owned();
            let mut places: Vec<_> = endpoints.iter().map(address).collect();
            places.sort();
            if places == wanted {
                return;
            }
        }
    };
    soon(&format!("{wanted:?}"), come).await;
}

async fn until_error(gateway: &Process, wanted: Option<&str>) -> Value {
    let come = async {
        loop {
            let told = upstream(gateway).await["sought"][0].clone();
            match (told["error"].as_str(), wanted) {
                (None, None) => return told,
                (Some(error), Some(wanted)) if error.contains(wanted) => return told,
                _ => {}
            }
        }
    };
    soon(&format!("{wanted:?}"), come).await
}

async fn get(gateway: &Process) -> (u16, String) {
    let mut client = Http1::connect(gateway.address).await;
    let reply = client.get("/v1/games/1").await;
    (reply.status, reply.text().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_follow_the_slices_and_no_call_fails() {
    let servers: Vec<_> = (0..3).map(|_| service()).collect();
    let at: Vec<_> = servers.iter().map(GrpcServer::address).collect();
    let api = ApiServer::start().await;
    // More slices than there are on a page.
    for (name, address) in ["a", "b", "c"].into_iter().zip(&at) {
        api.set(name, address.port(), &[ready("127.0.0.1")]);
    }
    let gateway = in_front(&api);
    // The very first call waits for the list.
    assert_eq!(get(&gateway).await.0, 200);
    until_places(&gateway, &at).await;
    let asked = api.asked();
    let path = "/apis/discovery.k8s.io/v1/namespaces/arcade/endpointslices\
                ?labelSelector=kubernetes%2Eio%2Fservice%2Dname%3Dgames";
    assert!(asked.iter().all(|a| a.starts_with(path)), "{asked:?}");

    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let caller = {
        let (stop, calls, address) = (Arc::clone(&stop), Arc::clone(&calls), gateway.address);
        tokio::spawn(async move {
            let mut client = Http1::connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                let reply = client.get("/v1/games/1").await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                calls.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let more = async |count: usize| {
        let from = calls.load(Ordering::Relaxed);
        let come = async {
            while calls.load(Ordering::Relaxed) < from + count {
                tokio::task::yield_now().await;
            }
        };
        soon("calls", come).await;
    };
    for round in 0..3 {
        more(20).await;
        // One goes in an orderly way, one at once, and both come back.
        api.set(
            "a",
            at[0].port(),
            &[endpoint("127.0.0.1", false, true, true)],
        );
        api.remove("b");
        until_places(&gateway, &at[2..]).await;
        more(20).await;
        api.set("a", at[0].port(), &[ready("127.0.0.1")]);
        api.set("b", at[1].port(), &[ready("127.0.0.1")]);
        until_places(&gateway, &at).await;
        assert!(!caller.is_finished(), "a call failed in round {round}");
    }
    // Nobody is ready, but who goes still serves.
    for (name, address) in ["a", "b", "c"].into_iter().zip(&at) {
        let goes = name == "b";
        api.set(
            name,
            address.port(),
            &[endpoint("127.0.0.1", false, goes, goes)],
        );
    }
    until_places(&gateway, &at[1..2]).await;
    more(20).await;
    stop.store(true, Ordering::Relaxed);
    soon("the caller", caller).await.expect("no call failed");
    let told = upstream(&gateway).await;
    assert_eq!(told["endpoints"][0]["name"], "games.arcade.svc");
    assert_eq!(told["sought"][0]["endpoint"], "k8s:games.arcade:grpc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ends_goes_on_from_where_it_was() {
    let service = service();
    let api = ApiServer::start().await;
    api.set("a", service.address().port(), &[ready("127.0.0.1")]);
    let gateway = in_front(&api);
    let is_watch = |asked: &str| asked.contains("watch=true");
    let first = soon("a watch", api.asks(0, is_watch)).await;
    assert!(first.contains("&resourceVersion=101&"), "{first}");
    api.bookmark();
    api.set("b", 1, &[ready("127.0.0.9")]);
    until_places(
        &gateway,
        &[service.address(), "127.0.0.9:1".parse().unwrap()],
    )
    .await;
    let (seen, version) = (api.asked().len(), api.version());
    api.cut();
    let second = soon("a watch", api.asks(seen, |_| true)).await;
    let from = format!("&resourceVersion={version}&");
    assert!(is_watch(&second) && second.contains(&from), "{second}");
    api.remove("b");
    until_places(&gateway, &[service.address()]).await;
    assert_eq!(get(&gateway).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_listed_anew_when_the_watch_is_too_old() {
    let service = service();
    let api = ApiServer::start().await;
    api.set("a", 1, &[ready("127.0.0.9")]);
    let gateway = in_front(&api);
    until_places(&gateway, &["127.0.0.9:1".parse().unwrap()]).await;
    soon("a watch", api.asks(0, |a| a.contains("watch=true"))).await;
    let port = service.address().port();
    api.forget(Gone::ByStatus, |api| {
        api.remove("a");
        api.set("b", port, &[ready("127.0.0.1")]);
    });
    until_places(&gateway, &[service.address()]).await;
    soon(
        "a watch",
        api.asks(api.asked().len() - 1, |a| a.contains("watch=true")),
    )
    .await;
    api.forget(Gone::ByEvent, |api| api.set("c", 2, &[ready("127.0.0.9")]));
    until_places(
        &gateway,
        &[service.address(), "127.0.0.9:2".parse().unwrap()],
    )
    .await;
    until_error(&gateway, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_instances_stand_while_the_api_server_fails() {
    let service = service();
    let api = ApiServer::start().await;
    api.set("a", service.address().port(), &[ready("127.0.0.1")]);
    let gateway = in_front(&api);
    assert_eq!(get(&gateway).await.0, 200);
    soon("a watch", api.asks(0, |a| a.contains("watch=true"))).await;
    api.fails(Some((
        StatusCode::FORBIDDEN,
        "endpointslices is forbidden: no verb \"watch\"",
    )));
    api.cut();
    let told = until_error(&gateway, Some("403 Forbidden: endpointslices is forbidden")).await;
    assert_eq!(told["instances"], 1);
    assert_eq!(get(&gateway).await.0, 200);
    let line = gateway.says("instances can't be looked for");
    assert!(line.contains("k8s:games.arcade:grpc"), "{line}");
    api.fails(None);
    until_error(&gateway, None).await;
    gateway.says("instances are found again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_instances_is_told_and_fails_at_once() {
    let api = ApiServer::start().await;
    let gateway = in_front(&api);
    let (status, body) = get(&gateway).await;
    assert_eq!(status, 503, "{body}");
    for secret in ["k8s", "arcade", "127.0.0.1", "Slices"] {
        assert!(!body.contains(secret), "{body}");
    }
    until_error(
        &gateway,
        Some("there are no EndpointSlices of such a service"),
    )
    .await;
    gateway.says("there are no instances");
    api.set("a", 1, &[endpoint("127.0.0.9", false, false, false)]);
    until_error(&gateway, Some("of its 1 endpoints none is ready")).await;
    let service = service();
    api.set("a", service.address().port(), &[ready("127.0.0.1")]);
    gateway.until("/v1/games/1", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_asked_over_tls_with_the_token_of_now() {
    let service = service();
    let api = ApiServer::start().await;
    api.wants("first");
    api.set("a", service.address().port(), &[ready("127.0.0.1")]);
    let (authority, stranger) = (Authority::new("Cluster"), Authority::new("Stranger"));
    let pair = authority.server(&["127.0.0.1"]);
    let tls = front(&pair, &["http/1.1"], None, api.address).await;
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
    fs::write(folder.path().join("token"), "first\n").expect("written");
    let kubernetes = format!(
        "server: \"https://{}\", ca: ca.crt, token: token, namespace: arcade",
        tls.address
    );
    let gateway = start(folder, &kubernetes, "k8s:games:grpc", "reflection: games");
    assert_eq!(get(&gateway).await.0, 200);
    soon("a watch", api.asks(0, |a| a.contains("watch=true"))).await;
    api.wants("second");
    api.cut();
    until_error(&gateway, Some("401 Unauthorized")).await;
    fs::write(gateway.path("token"), "second\n").expect("written");
    until_error(&gateway, None).await;
    fs::write(gateway.path("ca.crt"), &stranger.pem).expect("written");
    api.cut();
    until_error(&gateway, Some("an authority that isn't known")).await;
    assert_eq!(get(&gateway).await.0, 200);
}
