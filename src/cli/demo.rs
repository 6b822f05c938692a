//! `transom demo`: an embedded gRPC service with the gateway in front, and curl lines to paste.
//!
//! Nothing is faked: the service listens on a socket of its own, the gateway asks its reflection and
//! runs with `config/demo.yaml`, as it would for anyone's service.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use super::life::Started;
use super::{Outcome, print};
use crate::admin::Admin;
use crate::app::{App, Running};
use crate::config::diagnostic::Report;
use crate::config::model::Config;
use crate::config::{self, Syntax};
use crate::control::reload::Origin;
use crate::control::sources::{self, Reflection};
use crate::demo::{self, GrpcServer};
use crate::drain::Signals;
use crate::listener::Inherited;

mod folder;

const CONFIG: &str = include_str!("../../config/demo.yaml");

/// Where to listen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the gateway listens; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", value_parser = super::input::listen_address)]
    pub listen: SocketAddr,
    /// Write the config and the protos to this folder, where they aren't there yet, and serve by them:
    /// what is changed there is taken up at once
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

pub fn run(args: Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        let service = demo::start(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let (gateway, _admin) = match &args.dir {
            None => (start(args.listen, &service).await?, None),
            Some(folder) => {
                let (gateway, admin) = start_in(folder, args.listen, service.address()).await?;
                (gateway, Some(admin))
            }
        };
        let address = gateway.addresses().first().copied();
        let address = address.context("the demo's config has no listener")?;
        let program = std::env::args().next();
        let program = program.as_deref().unwrap_or("transom");
        let folder = args.dir.as_deref();
        print(&banner(address, service.address(), program, folder))?;
        signals.next().await;
        tokio::select! {
            () = gateway.shutdown() => {}
            // Told twice: streams that somebody watches needn't end first.
            _ = signals.next() => {}
        }
        drop(service);
        Ok(ExitCode::SUCCESS)
    })
}

async fn start(listen: SocketAddr, service: &GrpcServer) -> anyhow::Result<Running> {
    let config = config(listen, service.address())?;
    let loaded = sources::load(&config, &Reflection::Ask { but: Vec::new() }).await?;
    App::start(&config, loaded.live)
        .context("the gateway doesn't start (--listen IP:PORT takes another address)")
}

/// The gateway as `transom run` has it, over the files of a folder.
async fn start_in(
    folder: &Path,
    listen: SocketAddr,
    service: SocketAddr,
) -> anyhow::Result<(Running, Admin)> {
    let written = folder::write(folder);
    let file = written.with_context(|| format!("can't write to {}", folder.display()))?;
    let environment = move |name: &str| match name {
        "LISTEN" => Some(listen.to_string()),
        "GAMES" => Some(service.to_string()),
        _ => std::env::var(name).ok(),
    };
    let path = file.clone();
    let load = move || config::load(&file, &environment);
    let loaded = load()?;
    let origin = Origin::File {
        path,
        load: Arc::new(load),
    };
    let logs = super::run::log_to_stderr(&loaded.config)?;
    let Started { running, admin, .. } =
        super::run::start(loaded.config, origin, Inherited::default(), logs).await?;
    Ok((running, admin))
}

fn config(listen: SocketAddr, service: SocketAddr) -> Result<Config, Report> {
    let environment = |name: &str| match name {
        "LISTEN" => Some(listen.to_string()),
        "GAMES" => Some(service.to_string()),
        _ => None,
    };
    let name = "config/demo.yaml";
    config::parse(name, CONFIG, Syntax::Yaml, Path::new(""), &environment).map(|l| l.config)
}

/// Something to paste: what it shows, and the command with `@` for the gateway's URL.
const LINES: &[(&str, &str)] = &[
    ("one game", "curl @/v1/games/1"),
    (
        "a list: repeated tags, a number, a nested message (the page), a time",
        "curl '@/v1/games?tags=water&tags=singleplayer&min_rating=4&page.size=2&released_after=2022-01-01T00:00:00Z'",
    ),
    (
        "a name of many segments: GET /v1/{name=studios/*/games/**}",
        "curl @/v1/studios/kiln/games/adventure/the-long-stair",
    ),
    (
        "create",
        r#"curl --json '{"title": "Glass Garden", "genre": "GENRE_PUZZLE", "tags": ["garden"], "typicalSession": "600s"}' @/v1/games"#,
    ),
    (
        "change two fields: the service's FieldMask is filled from the body",
        r#"curl -X PATCH --json '{"tagline": "Mind the gap", "playersMax": 16}' @/v1/games/4"#,
    ),
    (
        "a custom verb (publishes what you created)",
        "curl --json '{}' @/v1/games/25:publish",
    ),
    ("remove (try it twice)", "curl -i -X DELETE @/v1/games/24"),
    (
        "an error of the service, with typed details",
        "curl -i @/v1/games/404",
    ),
    (
        "every bad field at once",
        r#"curl --json '{"title": "", "tags": ["Not a tag"]}' @/v1/games"#,
    ),
    (
        "live scores, one JSON line each, as they come",
        "curl -N -H 'Accept: application/x-ndjson' '@/v1/games/6/scores:watch?count=5&interval=0.4s'",
    ),
    (
        "the same, and the feed breaks half way: the error is the last line",
        "curl -N -H 'Accept: application/x-ndjson' '@/v1/games/6/scores:watch?count=5&interval=0s&fail_after=2'",
    ),
    (
        "a picture, as bytes",
        "curl -o thumbnail.svg @/v1/games/9/thumbnail",
    ),
    (
        "and up again, for another game",
        "curl -T thumbnail.svg -H 'Content-Type: image/svg+xml' @/v1/games/1/thumbnail",
    ),
    (
        "the events of a play, one JSON line each, sent as a stream",
        r#"printf '{"levelStarted":{"level":1}}\n{"at":"42s","levelFinished":{"level":1,"points":"900"}}\n' | curl -T - -X POST -H 'Content-Type: application/x-ndjson' @/v1/games/7/plays"#,
    ),
    (
        "the second of these is wrong, and the error says which",
        r#"curl --json '[{"levelStarted":{"level":1}}, {"at":"soon"}]' @/v1/games/7/plays"#,
    ),
    (
        "a recording in pieces, as they come",
        "head -c 1000000 /dev/zero | curl -T - -X POST -H 'Content-Type: application/x-moves' @/v1/recordings",
    ),
    (
        "a chat: lines up and lines down at the same time",
        r#"printf '{"player":"ada","text":"hi"}\n{"player":"ada","text":"bye"}\n' | curl -N -T - -X POST -H 'Content-Type: application/x-ndjson' -H 'Accept: application/x-ndjson' @/v1/rooms/lobby/chat"#,
    ),
    (
        "live scores as server-sent events",
        "curl -N -H 'Accept: text/event-stream' '@/v1/games/6/scores:watch?count=2&interval=0s'",
    ),
    (
        "a method without annotation: its route is in the gateway's config",
        r#"curl --json '{"reason": "CHEATING", "comment": "player eli never loses"}' @/v1/games/5/reports"#,
    ),
];

fn banner(
    gateway: SocketAddr,
    service: SocketAddr,
    program: &str,
    folder: Option<&Path>,
) -> String {
    let url = format!("http://{gateway}");
    let from = match folder {
        None => "by reflection".to_owned(),
        Some(folder) => format!("from {}", folder.join("proto").display()),
    };
    let mut text = format!(
        "\
Transom demo: {url}
A catalogue of web games, served in gRPC on {service}; the gateway has its descriptors {from}.

Paste any of these:
"
    );
    for (what, line) in LINES {
        let line = line.replace('@', &url);
        // Writing to a String can't fail.
        _ = write!(text, "\n  # {what}\n  {line}\n");
    }
    if let Some(folder) = folder {
        text.push_str("\nChange what is served, and ask again:\n");
        for (what, line) in folder::lines(folder) {
            let line = line.replace('@', &url);
            _ = write!(text, "\n  # {what}\n  {line}\n");
        }
    }
    _ = write!(
        text,
        "
  # the API as a page, to read and try: {url}/docs

  # which rule takes a request, what is bound to what, and why other rules lost
  {program} explain --upstream {service} GET '{url}/v1/games?tags=water&min_rating=4'

Its config and protos as files, to edit while it serves: {program} demo --dir FOLDER
Your own service: {program} run --upstream HOST:PORT
Stop with Ctrl-C.
"
    );
    text
}
