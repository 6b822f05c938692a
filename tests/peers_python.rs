//! A grpcio server as the upstream: reflection (v1alpha, as Python has it) and, from it alone, routes.
#![cfg(feature = "peers")]

#[path = "support/peer.rs"]
mod peer;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use peer::Peer;
use serde_json::{Value, json};
use transom::app::{App, Running};
use transom::config::model::Config;
use transom::control::reflection::{Budget, Reflected, fetch};
use transom::live::Live;
use transom::schema::{Schema, SchemaBuilder};

/// What `transom run --upstream 127.0.0.1:PORT` serves, on a free port.
fn config(peer: &Peer) -> Config {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config::for_upstream(&format!("127.0.0.1:{}", peer.port()), listen, false);
    config.expect("an endpoint")
}

async fn reflect(config: &Config) -> Reflected {
    let reflected = fetch(&config.upstreams[0], &Budget::default()).await;
    reflected.expect("the peer's descriptors")
}

fn schema(reflected: &Reflected) -> Schema {
    let mut builder = SchemaBuilder::new();
    let added = builder.add_set("reflection of the peer", &reflected.descriptors);
    added.expect("a descriptor set");
    builder.build().expect("a schema")
}

async fn gateway(peer: &Peer) -> Running {
    let config = config(peer);
    let schema = schema(&reflect(&config).await);
    let live = Live::build(&config, Arc::new(schema), &[]).expect("routes");
    App::start(&config, live).expect("the gateway starts")
}

/// Status and body of what curl gets.
fn curl(gateway: &Running, arguments: &[&str], path: &str) -> (u16, String) {
    curl_at(gateway.addresses()[0], arguments, path)
}

fn curl_at(address: SocketAddr, arguments: &[&str], path: &str) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("curl");
    assert!(output.status.success(), "{path}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, status) = text.rsplit_once('\n').expect("a last line");
    (status.parse().expect("a status"), body.to_owned())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_python_server_is_called_through_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("games.sock");
    let _peer = Peer::python_at(&socket);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config::for_upstream(&format!("unix:{}", socket.display()), listen, false);
    let config = config.expect("an endpoint");
    let schema = schema(&reflect(&config).await);
    let live = Live::build(&config, Arc::new(schema), &[]).expect("routes");
    let gateway = App::start(&config, live).expect("the gateway starts");
    let (status, body) = curl(&gateway, &[], "/v1/games/1");
    assert_eq!(
        (status, json(&body)["title"].as_str()),
        (200, Some("Origami")),
        "{body}"
    );
    let (status, body) = curl(&gateway, &[], "/v1/games/1/scores:watch?count=2");
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_python_server_describes_itself() {
    let peer = Peer::python();
    let config = config(&peer);
    let reflected = reflect(&config).await;
    assert_eq!(
        reflected.services,
        [
            "gamehub.lobby.v1.Lobby",
            "gamehub.v1.Catalogue",
            "gamehub.v1.Scores"
        ]
    );
    assert_eq!(reflected.missing, []);
    assert_eq!(
        reflect(&config).await,
        reflected,
        "the same bytes each time"
    );

    let schema = schema(&reflected);
    let get = schema.find_method("gamehub.v1.Catalogue", "GetGame");
    let rule = get.expect("GetGame").method.http.clone().expect("its rule");
    assert_eq!(&*rule.pattern.template, "/v1/games/{game_id}");
}

#[tokio::test]
async fn its_routes_are_served_from_reflection_alone() {
    let peer = Peer::python();
    let gateway = gateway(&peer).await;

    let (status, body) = curl(&gateway, &[], "/v1/games/1");
    let game = json(&body);
    assert_eq!((status, &game["title"]), (200, &json!("Origami")), "{body}");
    assert_eq!(game["localizedTitles"], json!({"ja": "折り紙"}));
    assert_eq!(game["playCount"], "18446744073709551615");
    assert_eq!(game["playsByCountry"], json!({"DE": "9007199254740993"}));
    assert_eq!(game["minimumAge"], 0, "a wrapper of zero is there");
    assert_eq!(game["tagline"], "");
    assert_eq!(game["releasedAt"], "2024-03-01T09:30:00Z");
    assert_eq!(game["metadata"]["levels"], json!([1, 2.5, null, true]));
    assert_eq!(game["awards"][0]["title"], "Folded best");

    let (status, body) = curl(&gateway, &[], "/v1/games?tags=water&genre=GENRE_RACING");
    let list = json(&body);
    assert_eq!((status, &list["totalSize"]), (200, &json!(1)), "{body}");
    assert_eq!(list["games"][0]["download"]["sha256"], "AAH+/w==");

    let (status, body) = curl(&gateway, &[], "/v1/games/77");
    let error = json(&body);
    assert_eq!((status, &error["code"]), (404, &json!(5)), "{body}");
    assert_eq!(error["details"][0]["reason"], "GAME_NOT_FOUND");

    // In the descriptors, but not in the server.
    let (status, body) = curl(&gateway, &[], "/v1/tags");
    assert_eq!((status, &json(&body)["code"]), (501, &json!(12)), "{body}");
}

/// The command itself, from nothing but the address of the server.
#[test]
fn the_command_serves_it_without_a_file() {
    let peer = Peer::python();
    let upstream = format!("127.0.0.1:{}", peer.port());
    let transom = Transom::start(&["--upstream", &upstream, "--listen", "127.0.0.1:0"]);

    let (status, body) = curl_at(transom.address, &[], "/v1/games/1");
    let game = json(&body);
    assert_eq!((status, &game["title"]), (200, &json!("Origami")), "{body}");
    let (status, body) = curl_at(transom.address, &[], "/v1/lobbies/north?level=0");
    let reply = json(&body);
    assert_eq!(
        (status, &reply["levelGiven"]),
        (200, &json!(true)),
        "{body}"
    );
    let lines = ["-H", "Accept: application/x-ndjson"];
    let path = "/v1/games/1/scores:watch?count=2";
    let (status, body) = curl_at(transom.address, &lines, path);
    assert_eq!((status, body.lines().count()), (200, 2), "{body}");
    let (status, body) = curl_at(transom.address, &[], "/v1/nothing");
    assert_eq!((status, &json(&body)["code"]), (404, &json!(5)), "{body}");
}

/// `transom run` as a process of its own. Killed with the handle.
struct Transom {
    process: Child,
    address: SocketAddr,
    /// Open as long as the process may write to it.
    _stdout: BufReader<ChildStdout>,
}

impl Transom {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .arg("run")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?} is no address"));
        Self {
            address: address.parse().expect("an address"),
            process,
            _stdout: stdout,
        }
    }
}

impl Drop for Transom {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn its_streams_come_line_by_line_and_say_how_they_failed() {
    let peer = Peer::python();
    let gateway = gateway(&peer).await;
    let lines = ["-H", "Accept: application/x-ndjson"];
    let (status, body) = curl(&gateway, &lines, "/v1/games/1/scores:watch?count=3");
    let points: Vec<_> = body.lines().map(|l| json(l)["points"].clone()).collect();
    assert_eq!(
        (status, points),
        (200, vec![json!("10"), json!("20"), json!("30")])
    );

    let (status, body) = curl(&gateway, &lines, "/v1/games/1/scores:watch?fail_after=1");
    let lines: Vec<_> = body.lines().map(json).collect();
    assert_eq!((status, lines.len()), (200, 2), "{body}");
    assert_eq!(lines[1]["error"]["code"], 14);
    assert_eq!(lines[1]["error"]["details"][0]["retryDelay"], "2s");
}

#[tokio::test]
async fn an_edition_means_what_it_says() {
    let peer = Peer::python();
    let gateway = gateway(&peer).await;

    // Explicit presence: a level of 0 is a level; the reply's own 0 is printed, an unset one isn't.
    let path = "/v1/lobbies/north?level=0&outfit.hat=bowler&outfit.colour=-7&friends=3&friends=4";
    let (status, body) = curl(&gateway, &[], path);
    let reply = json(&body);
    assert_eq!(status, 200, "{body}");
    assert_eq!(reply["levelGiven"], true);
    assert_eq!(reply["seat"], 0);
    assert_eq!(
        reply["asked"],
        json!({
            "lobby": "north", "level": 0, "friends": [3, 4],
            "outfit": {"hat": "bowler", "colour": "-7"},
        })
    );

    let (status, body) = curl(
        &gateway,
        &[
            "--json",
            r#"{"mood": "LOUD", "blocked": [1, 2], "nickname": ""}"#,
        ],
        "/v1/lobbies/south:enter",
    );
    let reply = json(&body);
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        reply["levelGiven"],
        Value::Null,
        "implicit presence: false isn't printed"
    );
    let asked = json!({"lobby": "south", "mood": "LOUD", "blocked": [1, 2]});
    assert_eq!(reply["asked"], asked);
}
