//! A running gateway and Let's Encrypt's test authority: every way to prove a name through the
//! listeners themselves, and renewals under load.
#![cfg(feature = "peers")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use support::acme::dns::NameServer;
use support::pebble::{Pebble, Terms};
use support::process::Process;
use support::soon;
use support::tls::connect;

/// Between requests, and between handshakes: a load and not a flood.
const PAUSE: Duration = Duration::from_millis(4);

/// Trusts what Pebble issues.
async fn client(pebble: &Pebble) -> ClientConfig {
    let url = format!("{}/roots/0", pebble.management);
    let root = pebble.root.http().get(&url).await.expect("the root");
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(&root.body).expect("PEM");
    roots.add(root).expect("a root");
    ClientConfig::builder_with_provider(transom::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Listens where Pebble looks.
fn start(pebble: &Pebble, names: &str, more: &str) -> Process {
    start_before(pebble, names, more, "")
}

/// Beside what is `behind` it: descriptors and upstreams.
fn start_before(pebble: &Pebble, names: &str, more: &str, behind: &str) -> Process {
    let behind = if behind.is_empty() {
        "routes:\n"
    } else {
        behind
    };
    let (http, tls, directory) = (pebble.http, pebble.tls, &pebble.directory);
    let config = format!(
        "listeners:\n\
         - {{ address: \"{http}\", redirect_https: true }}\n\
         - {{ address: \"{tls}\", tls: {{ acme: own, names: [{names}] }} }}\n\
         acme:\n\
         \x20 own: {{ directory: \"{directory}\", storage: kept, roots: ca.pem, agree_to_terms: true, {more} }}\n\
         {behind}\
         \x20 - {{ prefix: /, respond: {{ body: here }} }}\n\
         workers: 2\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), pebble.root.pem()).expect("written");
    std::fs::write(folder.path().join("transom.yaml"), config).expect("written");
    Process::start(folder)
}

async fn until_shown(process: &Process, client: &ClientConfig, name: &str) {
    let shown = async {
        while connect(process.addresses[1], name, client.clone())
            .await
            .is_err()
        {}
    };
    soon(name, shown).await;
}

#[tokio::test]
async fn names_and_addresses_are_proved_by_the_listeners() {
    let names = NameServer::start("example.com.", None).await;
    let pebble = Pebble::start(&Terms {
        dns: Some(names.address),
        ..Terms::default()
    });
    let client = client(&pebble).await;
    for challenge in ["http-01", "tls-alpn-01"] {
        let more = format!("challenges: [{challenge}]");
        let process = start(&pebble, "api.example.com, 127.0.0.1", &more);
        until_shown(&process, &client, "api.example.com").await;
        until_shown(&process, &client, "127.0.0.1").await;
    }
}

#[tokio::test]
async fn wildcards_are_proved_by_a_web_service_and_by_updates() {
    let names = NameServer::start("example.com.", None).await;
    let pebble = Pebble::start(&Terms {
        dns: Some(names.address),
        ..Terms::default()
    });
    let client = client(&pebble).await;
    let hook = support::acme::answers::hook(names.clone(), "secret").await;
    let server = names.address;
    for way in [
        format!("webhook: {{ url: \"http://{hook}/dns/\", headers: {{ authorization: secret }} }}"),
        format!("update: {{ server: \"{server}\" }}"),
    ] {
        let more = format!("dns: {{ {way}, propagation: {{ servers: [\"{server}\"] }} }}");
        let process = start(&pebble, "\"*.example.com\"", &more);
        until_shown(&process, &client, "any.example.com").await;
        assert_eq!(names.records(), [], "nothing stays behind");
    }
}

/// What clients saw of the renewals.
#[derive(Default)]
struct Seen {
    handshakes: AtomicUsize,
    requests: AtomicUsize,
    events: AtomicUsize,
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_break_no_handshake_and_no_connection() {
    // The first is half a minute old by then, and would have expired.
    renew(24, &["api.example.com"], 3).await;
}

/// The full form: `benches/soak/pebble`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn renewals_break_nothing_for_ten_minutes() {
    let names = ["api.example.com", "www.example.com", "m.example.com"];
    renew(75, &names, 48).await;
}

/// Certificates of `validity` seconds, under load until `times` new ones have come.
async fn renew(validity: u64, all: &[&str], times: usize) {
    let names = NameServer::start("example.com.", None).await;
    let pebble = Pebble::start(&Terms {
        dns: Some(names.address),
        validity: Some(validity),
        ..Terms::default()
    });
    let client = client(&pebble).await;
    let service = transom::demo::start(([127, 0, 0, 1], 0).into()).expect("the service");
    let behind = format!(
        "descriptors: [{{ reflection: games }}]\n\
         upstreams: {{ games: {{ endpoints: [\"{}\"] }} }}\n\
         routes:\n  - {{ services: [\"gamehub.v1.*\"], upstream: games }}\n",
        service.address()
    );
    let more = "challenges: [tls-alpn-01, http-01]";
    let process = start_before(&pebble, &all.join(", "), more, &behind);
    let seen = Arc::new(Seen::default());
    let address = process.addresses[1];
    let mut tasks = tokio::task::JoinSet::new();
    for name in all {
        until_shown(&process, &client, name).await;
        // One connection that stays, with a stream and requests, and others that come and go.
        let mut staying = client.clone();
        staying.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect(address, name, staying).await;
        let io = TokioIo::new(stream.expect("a handshake"));
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        tasks.spawn(hear_events(
            sender.clone(),
            (*name).to_owned(),
            Arc::clone(&seen),
        ));
        tasks.spawn(ask(sender, (*name).to_owned(), Arc::clone(&seen)));
        let shake = shake(
            address,
            (*name).to_owned(),
            client.clone(),
            Arc::clone(&seen),
        );
        tasks.spawn(shake);
    }
    let process = tokio::task::spawn_blocking(move || {
        for _ in 0..times {
            process.says("a new certificate");
        }
        process
    });
    let _process = process.await.expect("renewed");
    seen.over.store(true, Ordering::Relaxed);
    // None has failed or been cut.
    while let Some(done) = soon("the end", tasks.join_next()).await {
        done.expect("nothing broken");
    }
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    let (shakes, requests) = (count(&seen.handshakes), count(&seen.requests));
    let events = count(&seen.events);
    println!(
        "{times} new certificates of {validity} s: {shakes} handshakes, {requests} requests and {events} \
         events on {} connections that stayed; 0 failed, 0 cut",
        all.len()
    );
    assert!(requests > 100 && shakes > 100 && events > 100);
}

/// A request after the other on a connection that stays.
async fn ask(mut sender: SendRequest<Empty<Bytes>>, name: String, seen: Arc<Seen>) {
    while !seen.over.load(Ordering::Relaxed) {
        let reply = sender.send_request(get(&name, "/")).await.expect("a reply");
        assert_eq!(reply.status(), 200);
        reply.into_body().collect().await.expect("a body");
        seen.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

/// One stream to the end, which has to come from here.
async fn hear_events(mut sender: SendRequest<Empty<Bytes>>, name: String, seen: Arc<Seen>) {
    let path = "/v1/games/6/scores:watch?count=1000000&interval=0.02s";
    let reply = sender.send_request(get(&name, path)).await.expect("a head");
    assert_eq!(reply.status(), 200);
    let mut body = reply.into_body();
    while !seen.over.load(Ordering::Relaxed) {
        let frame = soon("an event", body.frame()).await.expect("no end");
        frame.expect("an event");
        seen.events.fetch_add(1, Ordering::Relaxed);
    }
}

async fn shake(address: SocketAddr, name: String, client: ClientConfig, seen: Arc<Seen>) {
    while !seen.over.load(Ordering::Relaxed) {
        let made = connect(address, &name, client.clone()).await;
        made.expect("a handshake");
        seen.handshakes.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

fn get(name: &str, path: &str) -> http::Request<Empty<Bytes>> {
    let request = http::Request::get(format!("https://{name}{path}"));
    let request = request.header("accept", "text/event-stream, */*");
    request.body(Empty::new()).expect("a request")
}

#[tokio::test]
async fn a_storm_of_refused_nonces_holds_up_no_certificate() {
    let names = NameServer::start("example.com.", None).await;
    let pebble = Pebble::start(&Terms {
        dns: Some(names.address),
        env: &[("PEBBLE_WFE_NONCEREJECT", "50")],
        ..Terms::default()
    });
    let client = client(&pebble).await;
    let all = "a.example.com, b.example.com, c.example.com, d.example.com";
    let process = start(&pebble, all, "key_type: p384");
    for name in all.split(", ") {
        until_shown(&process, &client, name).await;
    }
}
