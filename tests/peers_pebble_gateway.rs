//! A running gateway and Let's Encrypt's test authority: every way to prove a name through the
//! listeners themselves, and renewals under load.
#![cfg(feature = "peers")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use support::acme::dns::NameServer;
use support::pebble::{Pebble, Terms};
use support::process::Process;
use support::soon;
use support::tls::connect;

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
    let (http, tls, directory) = (pebble.http, pebble.tls, &pebble.directory);
    let config = format!(
        "listeners:\n\
         - {{ address: \"{http}\", redirect_https: true }}\n\
         - {{ address: \"{tls}\", tls: {{ acme: own, names: [{names}] }} }}\n\
         acme:\n\
         \x20 own: {{ directory: \"{directory}\", storage: kept, roots: ca.pem, agree_to_terms: true, {more} }}\n\
         routes: [{{ prefix: /, respond: {{ body: here }} }}]\n\
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
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_break_no_handshake_and_no_connection() {
    let names = NameServer::start("example.com.", None).await;
    let pebble = Pebble::start(&Terms {
        dns: Some(names.address),
        validity: Some(24),
        ..Terms::default()
    });
    let client = client(&pebble).await;
    let process = start(
        &pebble,
        "api.example.com",
        "challenges: [tls-alpn-01, http-01]",
    );
    until_shown(&process, &client, "api.example.com").await;
    let seen = Arc::new(Seen::default());
    let address = process.addresses[1];
    // One connection that stays, and others that come and go.
    let mut staying = client.clone();
    staying.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect(address, "api.example.com", staying).await;
    let io = TokioIo::new(stream.expect("a handshake"));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let requests = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            while !seen.over.load(Ordering::Relaxed) {
                let request = http::Request::get("https://api.example.com/");
                let request = request.body(Empty::<Bytes>::new()).expect("a request");
                let reply = sender.send_request(request).await.expect("a reply");
                reply.into_body().collect().await.expect("a body");
                seen.requests.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    });
    let handshakes = tokio::spawn({
        let (seen, client) = (Arc::clone(&seen), client.clone());
        async move {
            while !seen.over.load(Ordering::Relaxed) {
                let made = connect(address, "api.example.com", client.clone()).await;
                made.expect("a handshake");
                seen.handshakes.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
    // The first is half a minute old by then, and would have expired.
    let process = tokio::task::spawn_blocking(move || {
        process.says("a new certificate");
        process.says("a new certificate");
        process.says("a new certificate");
        process
    });
    let _process = process.await.expect("renewed");
    seen.over.store(true, Ordering::Relaxed);
    soon("the requests", requests).await.expect("no cut stream");
    soon("the handshakes", handshakes)
        .await
        .expect("no failed handshake");
    assert!(seen.requests.load(Ordering::Relaxed) > 100);
    assert!(seen.handshakes.load(Ordering::Relaxed) > 100);
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
