//! Files that change under a running gateway, as editors, deployments and mistakes change them.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use support::client::Http1;
use support::load::Load;
use support::ports::free;
use support::{PATIENCE, soon};

/// A gateway over a folder of its own, in front of the demo's service.
struct Running {
    folder: tempfile::TempDir,
    process: Child,
    address: SocketAddr,
    /// What it says on stderr, line by line.
    said: mpsc::Receiver<String>,
    _service: transom::demo::GrpcServer,
}

const CATALOGUE: &str = r#"syntax = "proto3";
package gamehub.v1;
import "google/api/annotations.proto";
service Catalogue {
  rpc GetGame(GetGameRequest) returns (Game) {
    option (google.api.http) = { get: "/v1/games/{game_id}" };
  }
}
message GetGameRequest { int64 game_id = 1; }
message Game { int64 id = 1; string title = 3; }
"#;

impl Running {
    fn start(reload: &str) -> Self {
        let service = transom::demo::start(([127, 0, 0, 1], 0).into()).expect("the service");
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("proto")).expect("a folder");
        fs::write(folder.path().join("proto/catalogue.proto"), CATALOGUE).expect("written");
        let config = config(service.address(), reload);
        fs::write(folder.path().join("transom.yaml"), config).expect("written");
        let file = folder.path().join("transom.yaml");
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["run", "-c"])
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .map(str::parse);
        let Some(Ok(address)) = address else {
            let mut told = String::new();
            process
                .stderr
                .take()
                .expect("piped")
                .read_to_string(&mut told)
                .expect("text");
            panic!("{line:?}\n{told}");
        };
        let (tell, said) = mpsc::channel();
        let stderr = BufReader::new(process.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            folder,
            process,
            address,
            said,
            _service: service,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits for a line with these words, and gives it.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never said: {words}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn hang_up(&self) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), Signal::HUP).expect("it runs");
    }

    async fn status(&self, path: &str) -> u16 {
        Http1::connect(self.address).await.get(path).await.status
    }

    /// Asks until the reply has this status.
    async fn until(&self, path: &str, status: u16) {
        let asked = async { while self.status(path).await != status {} };
        soon(path, asked).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn config(upstream: SocketAddr, reload: &str) -> String {
    format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         descriptors: [{{ protos: proto }}]\n\
         upstreams: {{ games: {{ endpoints: [\"{upstream}\"] }} }}\n\
         routes: [{{ services: [\"gamehub.v1.*\"], upstream: games }}]\n\
         workers: 2\n{reload}\n"
    )
}

/// [`CATALOGUE`] with another path for the game.
fn moved(to: &str) -> String {
    CATALOGUE.replace("/v1/games/", &format!("/{to}/games/"))
}

/// As editors do it: another file takes the name.
fn save(file: &Path, text: &str) {
    let beside = file.with_extension("tmp");
    fs::write(&beside, text).expect("written");
    fs::rename(beside, file).expect("renamed");
}

#[tokio::test]
async fn a_proto_that_is_edited_answers_on_its_new_path() {
    let running = Running::start("");
    assert_eq!(running.status("/v1/games/1").await, 200);
    assert_eq!(running.status("/v2/games/1").await, 404);
    save(&running.path("proto/catalogue.proto"), &moved("v2"));
    running.until("/v2/games/1", 200).await;
    assert_eq!(running.status("/v1/games/1").await, 404);
    let told = running.says("reloaded");
    assert!(
        told.contains("1 rule added (GET /v2/games/{game_id})"),
        "{told}"
    );
    running.says("breaks callers: GET /v1/games/{game_id} is gone");
    // Written in place, as other editors do.
    fs::write(running.path("proto/catalogue.proto"), moved("v3")).expect("written");
    running.until("/v3/games/1", 200).await;
}

#[tokio::test]
async fn the_config_file_is_read_again() {
    let running = Running::start("");
    let text = fs::read_to_string(running.path("transom.yaml")).expect("text");
    let more = text.replace(
        "routes: [",
        "routes: [{ path: /new, respond: { status: 204 } }, ",
    );
    save(&running.path("transom.yaml"), &more);
    running.until("/new", 204).await;
    assert_eq!(running.status("/v1/games/1").await, 200);
}

#[tokio::test]
async fn what_has_a_fault_leaves_the_old_one_serving_and_says_where() {
    let running = Running::start("");
    let (proto, file) = (
        running.path("proto/catalogue.proto"),
        running.path("transom.yaml"),
    );
    save(
        &proto,
        &CATALOGUE.replace("returns (Game)", "returns (Gme)"),
    );
    running.says("not reloaded");
    let told = running.says("catalogue.proto");
    assert!(told.contains(":5:"), "{told}");
    assert_eq!(running.status("/v1/games/1").await, 200);

    let text = fs::read_to_string(&file).expect("text");
    save(&file, &text.replace("upstream: games", "upstream: gams"));
    running.says("unknown upstream `gams`");
    assert_eq!(running.status("/v1/games/1").await, 200);

    fs::remove_file(&file).expect("removed");
    running.says("can't read");
    assert_eq!(running.status("/v1/games/1").await, 200);

    // All is well again: it goes on from there.
    save(&file, &text);
    save(&proto, &moved("v2"));
    running.until("/v2/games/1", 200).await;
}

#[tokio::test]
async fn a_config_map_that_is_swapped_by_its_link_is_seen() {
    let running = Running::start("");
    // The shape of a Kubernetes volume: names are links into `..data`, itself a link that is replaced.
    let root = running.path("proto");
    fs::remove_file(root.join("catalogue.proto")).expect("removed");
    let swap = |version: &str| {
        let data = root.join(format!("..{version}"));
        fs::create_dir(&data).expect("a folder");
        fs::write(data.join("catalogue.proto"), moved(version)).expect("written");
        symlink(format!("..{version}"), root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swapped");
    };
    swap("v2");
    symlink("..data/catalogue.proto", root.join("catalogue.proto")).expect("a link");
    running.until("/v2/games/1", 200).await;
    swap("v3");
    running.until("/v3/games/1", 200).await;
    assert_eq!(running.status("/v2/games/1").await, 404);
}

#[tokio::test]
async fn a_hangup_reads_all_again_even_unwatched() {
    let running = Running::start("reload: { watch: false }");
    save(&running.path("proto/catalogue.proto"), &moved("v2"));
    assert_eq!(running.status("/v2/games/1").await, 404);
    running.hang_up();
    running.until("/v2/games/1", 200).await;
}

#[tokio::test]
async fn breaking_changes_may_be_refused() {
    let running = Running::start("reload: { policy: refuse_breaking }");
    let proto = running.path("proto/catalogue.proto");
    save(&proto, &CATALOGUE.replace("string title = 3;", ""));
    running.says("breaks callers: gamehub.v1.Game.title is gone");
    assert_eq!(running.status("/v1/games/1").await, 200);
    let more = "  rpc ListGames(GetGameRequest) returns (Game) {\n    option (google.api.http) = { get: \"/v1/more\" };\n  }\n}\nmessage GetGameRequest";
    save(
        &proto,
        &CATALOGUE.replace("}\nmessage GetGameRequest", more),
    );
    let told = running.says("reloaded");
    assert!(told.contains("GET /v1/more"), "{told}");
}

#[tokio::test]
async fn connections_live_on_and_their_next_request_sees_the_new_routes() {
    let running = Running::start("");
    let mut client = Http1::connect(running.address).await;
    assert_eq!(client.get("/v1/games/1").await.status, 200);
    save(&running.path("proto/catalogue.proto"), &moved("v2"));
    let asked = async { while client.get("/v2/games/1").await.status != 200 {} };
    soon("the new path on the old connection", asked).await;
}

/// A config that listens on these, in JSON.
fn listening_on(running: &Running, listeners: &str) -> String {
    let text = fs::read_to_string(running.path("transom.yaml")).expect("text");
    let rest = text.split_once('\n').expect("lines").1;
    format!("listeners: [{listeners}]\n{rest}")
}

async fn refused(address: SocketAddr) {
    let refused = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    soon("the listener to close", refused).await;
}

#[tokio::test]
async fn listeners_come_and_go() {
    let running = Running::start("");
    let file = running.path("transom.yaml");
    let mut kept = Http1::connect(running.address).await;
    let reply = kept.get("/v1/games/1").await;
    assert_eq!((reply.status, reply.header("connection")), (200, None));
    let new = free();
    let both = format!("{{ address: \"127.0.0.1:0\" }}, {{ address: \"{new}\" }}");
    save(&file, &listening_on(&running, &both));
    running.says(&format!("{new} is listened on"));
    assert_eq!(
        Http1::connect(new).await.get("/v1/games/1").await.status,
        200
    );
    assert_eq!(running.status("/v1/games/1").await, 200);

    let only = format!("{{ address: \"{new}\" }}");
    save(&file, &listening_on(&running, &only));
    running.says(&format!("{} is not listened on any more", running.address));
    refused(running.address).await;
    // Its connections live on, and are asked to go elsewhere.
    let reply = kept.get("/v1/games/1").await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    let mut elsewhere = Http1::connect(new).await;
    let reply = elsewhere.get("/v1/games/1").await;
    assert_eq!((reply.status, reply.header("connection")), (200, None));
}

#[tokio::test]
async fn an_address_in_use_refuses_the_reload() {
    let running = Running::start("");
    let file = running.path("transom.yaml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken.local_addr().map(|address| (taken, address));
    let (socket, taken) = taken.expect("an address");
    let both = format!("{{ address: \"127.0.0.1:0\" }}, {{ address: \"{taken}\" }}");
    let more = listening_on(&running, &both).replace("/v1/", "/v2/");
    save(
        &file,
        &more.replace(
            "routes: [",
            "routes: [{ path: /new, respond: { status: 204 } }, ",
        ),
    );
    running.says("not reloaded, the old generation serves on");
    running.says(&format!("can't listen on {taken}: the address is in use"));
    running.says("transom.yaml:1:");
    assert_eq!(running.status("/new").await, 404);
    assert_eq!(running.status("/v1/games/1").await, 200);
    drop(socket);
    running.hang_up();
    running.until("/new", 204).await;
    assert_eq!(Http1::connect(taken).await.get("/new").await.status, 204);
}

#[tokio::test]
async fn a_listener_that_changes_refuses_nobody() {
    let running = Running::start("");
    let file = running.path("transom.yaml");
    let at = free();
    let on = |settings: &str| format!("{{ address: \"{at}\"{settings} }}");
    save(&file, &listening_on(&running, &on("")));
    running.says(&format!("{at} is listened on"));
    let load = Load::start(at, "/v1/games/1", 4, 2);
    // Who accepts changes, and what else is listened on.
    let port = at.port();
    for listeners in [
        on(", accept: deal"),
        format!("{}, {{ address: \"127.0.0.1:0\" }}", on(", accept: deal")),
        on(", accept: reuseport"),
        format!("{{ address: \"0.0.0.0:{port}\" }}"),
        format!("{{ address: \"0.0.0.0:{port}\", accept: deal }}"),
        on(""),
    ] {
        save(&file, &listening_on(&running, &listeners));
        running.says("reloaded");
        load.goes_on(50).await;
    }
    load.finish().await;

    // How connections are taken holds for new ones.
    let mut kept = Http1::connect(at).await;
    assert_eq!(kept.get("/v1/games/1").await.status, 200);
    save(
        &file,
        &listening_on(&running, &on(", redirect_https: true")),
    );
    let redirected =
        async { while Http1::connect(at).await.get("/v1/games/1").await.status != 308 {} };
    soon("redirects", redirected).await;
    let reply = kept.get("/v1/games/1").await;
    assert_eq!((reply.status, reply.header("connection")), (200, None));
}

#[tokio::test]
async fn a_field_and_a_method_that_are_added_answer() {
    let running = Running::start("");
    let mut client = Http1::connect(running.address).await;
    let game = client.get("/v1/games/1").await;
    assert!(!game.text().contains("rating"), "{}", game.text());
    assert_eq!(running.status("/v1/games").await, 404);
    let more = CATALOGUE
        .replace("string title = 3;", "string title = 3; double rating = 7;")
        .replace(
            "service Catalogue {",
            "service Catalogue {\n  rpc ListGames(ListGamesRequest) returns (ListGamesResponse) {\n    \
             option (google.api.http) = { get: \"/v1/games\" };\n  }",
        );
    let more = format!(
        "{more}message ListGamesRequest {{}}\nmessage ListGamesResponse {{ repeated Game games = 1; }}\n"
    );
    save(&running.path("proto/catalogue.proto"), &more);
    running.until("/v1/games", 200).await;
    let list = client.get("/v1/games").await;
    let games: serde_json::Value = serde_json::from_str(list.text()).expect("JSON");
    assert_eq!(games["games"][0]["title"], "Tidal");
    let game = client.get("/v1/games/1").await;
    assert!(game.text().contains("\"rating\":"), "{}", game.text());
    let told = running.says("reloaded");
    assert!(told.contains("GET /v1/games"), "{told}");
}
