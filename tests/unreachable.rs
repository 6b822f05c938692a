//! Upstreams that can't be reached, each by a real server of its kind: `check --online`, `transom status`
//! and the admin address say which endpoint it is, why, and what to do; clients learn the upstream's name.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::client::Http1;
use support::kubernetes::ApiServer;
use support::names::Names;
use support::process::Process;
use support::soon;
use support::tls::{Authority, front};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use transom::demo::{self, GrpcServer};

fn service() -> GrpcServer {
    demo::start(([127, 0, 0, 1], 0).into()).expect("the service")
}

/// An upstream that is wrong, and what is said of it.
struct Wrong {
    /// Keys of the upstream.
    keys: String,
    /// What stands for the endpoint in what is told.
    endpoint: String,
    why: &'static str,
    way_out: &'static str,
}

impl Wrong {
    /// At this port of `localhost`.
    fn at(port: u16, keys: &str, why: &'static str, way_out: &'static str) -> Self {
        Self {
            keys: format!("endpoints: [\"localhost:{port}\"], {keys}"),
            endpoint: format!("localhost:{port}"),
            why,
            way_out,
        }
    }
}

/// A config in a folder, with one upstream besides that is well.
fn folder(
    wrong: &str,
    name_servers: &str,
    well: &GrpcServer,
    authority: &Authority,
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let well = well.address();
    // Calls go where HTTP/1.1 is meant to be spoken as they come.
    let route = match wrong.contains("http1") {
        true => "{ prefix: /v1/games, upstream: games }",
        false => "{ services: [\"gamehub.v1.Catalogue\"], upstream: games }",
    };
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n{name_servers}\
         descriptors: [{{ protos: {} }}]\n\
         upstreams:\n  games: {{ {wrong} }}\n  well: {{ endpoints: [\"{well}\"] }}\n\
         routes:\n  - {route}\n  - {{ services: [\"gamehub.v1.Moderation\"], upstream: well }}\nworkers: 1\n",
        protos.display()
    );
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    folder
}

/// Exit code and what is printed.
fn transom(arguments: &[&str], folder: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("a code"), text + &said)
}

/// Has `check --online`, the gateway and its clients told of it.
async fn told(wrong: &Wrong, folder: tempfile::TempDir) {
    let why = wrong.why;
    let (code, text) = {
        let path = folder.path().to_owned();
        let checked = move || transom(&["check", "--online"], &path);
        tokio::task::spawn_blocking(checked).await.expect("it ran")
    };
    assert_eq!(code, 1, "{why}: {text}");
    for words in [
        &*wrong.endpoint,
        why,
        wrong.way_out,
        "`games`",
        "transom.yaml:5:",
        "1 error\n",
    ] {
        assert!(text.contains(words), "{words:?} of {why:?} in\n{text}");
    }

    let gateway = Process::start(folder);
    let games = async || {
        Http1::connect(gateway.address)
            .await
            .get("/v1/games/1")
            .await
    };
    let admin = gateway.admin.expect("an address").to_string();
    let path = gateway.folder.path().to_owned();
    // A name that has not been looked up yet is no instance, and what is known of it goes with it.
    let all = soon(why, async {
        loop {
            let reply = games().await;
            let (status, body) = (reply.status, reply.text());
            assert!(matches!(status, 502 | 503), "{why}: {status} {body}");
            assert!(body.contains("\\\"games\\\""), "{why}: {body}");
            let port = wrong.endpoint.rsplit(':').next().expect("a port");
            for secret in [
                "localhost",
                "127.0.0.1",
                port,
                "internal",
                "certificate",
                "TLS",
                ".sock",
            ] {
                assert!(!body.contains(secret), "{why}: {body}");
            }
            let told = gateway.told().await["troubles"].to_string();
            let (_, upstreams) = gateway.admin("/upstreams").await;
            let (admin, path) = (admin.clone(), path.clone());
            let asked = move || transom(&["status", "--admin", &admin], &path);
            let (code, shown) = tokio::task::spawn_blocking(asked).await.expect("it ran");
            assert_eq!(code, 0, "{shown}");
            let all = [told, upstreams, shown];
            if all.iter().all(|text| text.contains(why)) {
                break all;
            }
        }
    })
    .await;
    for text in &all {
        assert!(
            text.contains("games") && text.contains(&wrong.endpoint),
            "{text}"
        );
    }
}

/// A server that answers whatever comes first like this.
async fn scripted(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut scrap = [0; 1024];
            let _read = stream.read(&mut scrap).await;
            stream.write_all(answer).await.ok();
        }
    });
    port
}

const WITH_TLS: &str = "tls: { ca: ca.crt }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_does_not_fit() {
    let service = service();
    let authority = Authority::new("Internal");
    let (other, clients) = (Authority::new("Other"), Authority::new("Gateways"));
    let good = authority.server(&["localhost"]);
    let to = service.address();
    let fine = front(&good, &["h2"], None, to).await;
    let expired = front(&authority.expired(&["localhost"]), &["h2"], None, to).await;
    let elsewhere = authority.server(&["elsewhere.internal"]);
    let elsewhere = front(&elsewhere, &["h2"], None, to).await;
    let stranger = front(&other.server(&["localhost"]), &["h2"], None, to).await;
    let only_http1 = front(&good, &["http/1.1"], None, to).await;
    let closed = front(&good, &["h2"], Some(&clients), to).await;
    for (at, keys, why, way_out) in [
        (
            expired.address,
            WITH_TLS,
            "its certificate has expired",
            "has to be renewed there",
        ),
        (
            elsewhere.address,
            WITH_TLS,
            "its certificate is for another name",
            "`tls: { server_name: … }`",
        ),
        (
            stranger.address,
            WITH_TLS,
            "its certificate is of an authority that isn't known",
            "`tls: { ca: … }`",
        ),
        (
            only_http1.address,
            WITH_TLS,
            "it doesn't speak HTTP/2 over TLS",
            "is this the port of gRPC?",
        ),
        (
            closed.address,
            WITH_TLS,
            "it wants a certificate of ours",
            "`tls: { cert: …, key: … }`",
        ),
        (to, WITH_TLS, "the peer doesn't speak TLS", "`tls: off`"),
        (fine.address, "tls: off", "it speaks TLS", "`tls: on`"),
    ] {
        let wrong = Wrong::at(at.port(), keys, why, way_out);
        told(&wrong, folder(&wrong.keys, "", &service, &authority)).await;
    }
    drop((fine, expired, elsewhere, stranger, only_http1, closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol() {
    let service = service();
    let authority = Authority::new("Internal");
    let good = authority.server(&["localhost"]);
    let over_tls = front(&good, &["http/1.1"], None, service.address()).await;
    let http1 = scripted(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    for (port, keys, why, way_out) in [
        (
            http1,
            "tls: off",
            "it speaks HTTP/1.1, not HTTP/2",
            "is this the port of gRPC?",
        ),
        (http1, WITH_TLS, "the peer doesn't speak TLS", "`tls: off`"),
    ] {
        let wrong = Wrong::at(port, keys, why, way_out);
        told(&wrong, folder(&wrong.keys, "", &service, &authority)).await;
    }
    // Where HTTP/1.1 is wanted, calls learn less than a question of its own does.
    for (port, checked) in [
        (over_tls.address.port(), "it speaks TLS: `tls: on`"),
        (service.address().port(), "it speaks HTTP/2, not HTTP/1.1"),
    ] {
        let wrong = Wrong::at(port, "protocol: http1", "it", "");
        let folder = folder(&wrong.keys, "", &service, &authority);
        let path = folder.path().to_owned();
        let check = move || transom(&["check", "--online"], &path);
        let (code, text) = tokio::task::spawn_blocking(check).await.expect("it ran");
        assert!(code == 1 && text.contains(checked), "{text}");
        let gateway = Process::start(folder);
        let told = soon(checked, async {
            loop {
                let reply = Http1::connect(gateway.address)
                    .await
                    .get("/v1/games/1")
                    .await;
                assert!(matches!(reply.status, 502 | 503), "{}", reply.status);
                let told = gateway.told().await["troubles"].to_string();
                if told.contains("it doesn't speak HTTP/1.1") {
                    break told;
                }
            }
        });
        let told = told.await;
        assert!(
            told.contains("it doesn't speak HTTP/1.1: TLS (`tls: on`)"),
            "{told}"
        );
        assert!(told.contains(&wrong.endpoint), "{told}");
    }
    drop(over_tls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there() {
    let service = service();
    let authority = Authority::new("Internal");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let refused = Wrong::at(port, "tls: off", "Connection refused", "is the service up");
    told(&refused, folder(&refused.keys, "", &service, &authority)).await;

    let socket = Wrong {
        keys: "endpoints: [\"unix:games.sock\"]".to_owned(),
        endpoint: "games.sock".to_owned(),
        why: "No such file or directory",
        way_out: "is this its socket?",
    };
    told(&socket, folder(&socket.keys, "", &service, &authority)).await;

    // Of a name server that knows no names.
    let names = Names::start(1).await;
    let servers = format!("dns: {{ servers: [\"{}\"] }}\n", names.address);
    for endpoint in ["games.internal:50051", "srv:_grpc._tcp.games.internal"] {
        let unknown = Wrong {
            keys: format!("endpoints: [\"{endpoint}\"]"),
            endpoint: endpoint.to_owned(),
            why: "there is no such name",
            way_out: "`dns: { servers: […] }`",
        };
        // One line more before the upstreams.
        let folder = folder(&unknown.keys, "", &service, &authority);
        let file = folder.path().join("transom.yaml");
        let config = fs::read_to_string(&file).expect("read");
        fs::write(&file, config + &servers).expect("written");
        told(&unknown, folder).await;
    }

    // Of a cluster that has no such service.
    let api = ApiServer::start().await;
    let kubernetes = format!("kubernetes: {{ server: \"http://{}\" }}\n", api.address);
    let unknown = Wrong {
        keys: "endpoints: [\"k8s:games.internal:grpc\"]".to_owned(),
        endpoint: "k8s:games.internal:grpc".to_owned(),
        why: "there are no EndpointSlices of such a service",
        way_out: "are name and namespace right",
    };
    let folder = folder(&unknown.keys, "", &service, &authority);
    let file = folder.path().join("transom.yaml");
    let config = fs::read_to_string(&file).expect("read");
    fs::write(&file, config + &kubernetes).expect("written");
    told(&unknown, folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_is_a_warning_and_all_well_is_fine() {
    let service = service();
    let authority = Authority::new("Internal");
    let names = Names::start(1).await;
    names.addresses("games.internal", &["127.0.0.1", "127.0.0.9"]);
    let port = service.address().port();
    let servers = format!("dns: {{ servers: [\"{}\"] }}\n", names.address);
    let keys = format!("endpoints: [\"games.internal:{port}\"]");
    let check = async |folder: &tempfile::TempDir| {
        let path = folder.path().to_owned();
        let checked = move || transom(&["check", "--online"], &path);
        tokio::task::spawn_blocking(checked).await.expect("it ran")
    };
    let with = folder(&keys, &servers, &service, &authority);
    let (code, text) = check(&with).await;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("warning: upstream `games` can't be reached: 1 of 2 instances: "),
        "{text}"
    );
    assert!(
        text.contains(&format!("games.internal:{port} (127.0.0.9:{port}): ")),
        "{text}"
    );
    assert!(
        text.contains("fine: ") && text.ends_with(", 1 warning\n"),
        "{text}"
    );

    names.addresses("games.internal", &["127.0.0.1"]);
    let (code, text) = check(&with).await;
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("can't be reached"), "{text}");

    // A `reflection` source out of reach is told of once, at the endpoint.
    let file = with.path().join("transom.yaml");
    let config = fs::read_to_string(&file).expect("read");
    let (before, after) = config.split_once("descriptors:").expect("descriptors");
    let (_, after) = after.split_once('\n').expect("a line");
    let config = format!("{before}descriptors: [{{ reflection: games }}]\n{after}");
    fs::write(
        &file,
        config.replace(&format!("games.internal:{port}"), "127.0.0.9:9"),
    )
    .expect("written");
    let (code, text) = check(&with).await;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.ends_with("1 error\n") && !text.contains("by reflection"),
        "{text}"
    );
}
