//! `transom status`, `transom reload` and `transom upgrade`: talk to a running gateway through its admin address.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::{ConfigArgs, Outcome, Usage, WRONG_INPUT};
use crate::config::model::AdminToken;
use crate::limits::{HANDOVER_MAX, RELOAD_ANSWER_MAX};

/// More than any view has.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The token of the admin address, in the environment: arguments can be seen by others.
const TOKEN: &str = "TRANSOM_ADMIN_TOKEN";
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Which gateway.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom status                             the gateway of ./transom.yaml, by its `admin` address
  transom status --admin 127.0.0.1:9901 --json
  transom reload                             read config and descriptors again, and tell what came of it
  transom log-level debug                    tell more of itself; without a level, tell the one it has
  transom upgrade                            start the program anew on the same sockets; once that serves, the old
                                             process stops accepting and drains (SIGUSR2 does the same)

TRANSOM_ADMIN_TOKEN is the token of its admin address, where it wants one and the config doesn't say.

Exit codes: 0 fine, 1 the last reload failed or nobody answers, 2 wrong usage.")]
pub struct Args {
    /// Its admin address; without it, that of the config
    #[arg(long, value_name = "IP:PORT", conflicts_with_all = ["config", "upstream"])]
    pub admin: Option<SocketAddr>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print what it answers, as it is
    #[arg(long)]
    pub json: bool,
}

pub fn status(args: Args) -> Outcome {
    let (_, body) = ask(&args, Method::GET, "/status", RELOAD_ANSWER_MAX)?;
    tell(&args, &body)
}

pub fn reload(args: Args) -> Outcome {
    let (status, body) = ask(&args, Method::POST, "/reload", RELOAD_ANSWER_MAX)?;
    if status == StatusCode::ACCEPTED {
        bail!("it is still reloading after {RELOAD_ANSWER_MAX:?}: `transom status` will tell");
    }
    if status != StatusCode::OK && status != StatusCode::UNPROCESSABLE_ENTITY {
        bail!(
            "it answers {status}: {}",
            String::from_utf8_lossy(&body).trim()
        );
    }
    tell(&args, &body)
}

pub fn upgrade(args: Args) -> Outcome {
    let (status, body) = ask(&args, Method::POST, "/upgrade", HANDOVER_MAX)?;
    let text = String::from_utf8_lossy(&body);
    if status != StatusCode::OK {
        bail!("{}", text.trim());
    }
    let next: Next = serde_json::from_slice(&body).context("it doesn't answer as transom does")?;
    match args.json {
        true => super::print(&text)?,
        false => super::print(&format!("process {} has taken over\n", next.pid))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer to a wish for another process.
#[derive(Debug, Deserialize)]
struct Next {
    pid: u32,
}

fn tell(args: &Args, body: &[u8]) -> Outcome {
    let status: Status =
        serde_json::from_slice(body).context("it doesn't answer as transom does")?;
    let text = match args.json {
        true => String::from_utf8_lossy(body).into_owned(),
        false => status.shown(),
    };
    super::print(&text)?;
    Ok(match status.last_error {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(WRONG_INPUT),
    })
}

/// `/status`, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    stage: String,
    generation: u64,
    reloads: Reloads,
    last_error: Option<String>,
    last_changes: Changes,
    /// An older gateway doesn't tell these.
    #[serde(default)]
    old_generations: Vec<Old>,
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    troubles: Vec<Trouble>,
}

/// An instance that can't be reached, or an endpoint without any.
#[derive(Debug, Deserialize)]
struct Trouble {
    upstream: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Old {
    generation: u64,
    users: u64,
}

#[derive(Debug, Deserialize)]
struct Source {
    name: String,
    state: String,
    since: Option<u64>,
    sha256: Option<String>,
    refused: Option<String>,
    /// What its instances tell.
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    sha256: String,
    instances: Vec<String>,
    lacks: Vec<String>,
}

impl Source {
    /// `reflection games: told, sha256 3f5a…`
    fn shown(&self) -> String {
        let state = self.state.replace('_', " ");
        let mut text = format!("{}: {state}", self.name);
        if let Some(since) = self.since {
            let since = UNIX_EPOCH + Duration::from_secs(since);
            _ = write!(text, " of {}", httpdate::fmt_http_date(since));
        }
        if let Some(hash) = &self.sha256 {
            _ = write!(text, ", sha256 {hash:.12}");
        }
        if self.refused.is_some() {
            text.push_str(", what it tells now is refused");
        }
        if self.versions.len() > 1 {
            text.push_str("; its instances differ");
            for version in &self.versions {
                let instances = version.instances.join(", ");
                _ = write!(text, "\n    {:.12} of {instances}", version.sha256);
                if let Some(first) = version.lacks.first() {
                    _ = write!(text, " lacks {} (first: {first})", version.lacks.len());
                }
            }
        }
        text
    }
}

#[derive(Debug, Deserialize)]
struct Reloads {
    succeeded: u64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    moved: Vec<String>,
    #[serde(default)]
    altered: Vec<String>,
    breaking: Vec<String>,
    #[serde(default)]
    risky: Vec<String>,
    listeners: Vec<String>,
}

impl Status {
    /// For people.
    fn shown(&self) -> String {
        let mut text = format!(
            "{}, generation {}, {} reloads, {} failed (transom {})\n",
            self.stage, self.generation, self.reloads.succeeded, self.reloads.failed, self.version,
        );
        let changes = &self.last_changes;
        for (items, what) in [
            (&changes.added, "added"),
            (&changes.removed, "gone"),
            (&changes.moved, "moved"),
            (&changes.altered, "other settings"),
            (&changes.breaking, "breaks callers"),
            (&changes.risky, "may break callers"),
        ] {
            for item in items {
                // Writing to a String doesn't fail.
                _ = writeln!(text, "  {what}: {item}");
            }
        }
        for old in &self.old_generations {
            let (generation, users) = (old.generation, old.users);
            _ = writeln!(
                text,
                "  generation {generation} is still used by {users} requests or streams"
            );
        }
        for source in &self.sources {
            _ = writeln!(text, "  {}", source.shown());
        }
        for Trouble { upstream, why } in &self.troubles {
            _ = writeln!(text, "  upstream {upstream}: {why}");
        }
        for line in &changes.listeners {
            _ = writeln!(text, "  {line}");
        }
        if let Some(error) = &self.last_error {
            let error = error.trim_end();
            _ = writeln!(
                text,
                "the last reload failed, the old generation serves on:\n{error}"
            );
        }
        text
    }
}

pub(super) fn ask(
    args: &Args,
    method: Method,
    path: &str,
    answer_max: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let environment = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    let given = environment.as_deref().map(AdminToken::new);
    let (address, token) = match args.admin {
        Some(address) => (address, given),
        None => {
            let config = args.config.load(None)?.config;
            let address = config.admin.ok_or_else(|| {
                Usage(
                    "the config has no admin address\nname it with --admin IP:PORT, or add `admin: { address: \"127.0.0.1:9901\" }`"
                        .to_owned(),
                )
            })?;
            (address, given.or(config.admin_token))
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (status, body) = runtime.block_on(exchange(address, token, method, path, answer_max))?;
    if status == StatusCode::UNAUTHORIZED {
        bail!("it wants another token: set {TOKEN}, or `admin: {{ token: … }}` in the config");
    }
    Ok((status, body))
}

async fn exchange(
    address: SocketAddr,
    token: Option<AdminToken>,
    method: Method,
    path: &str,
    answer_max: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let connecting = tokio::net::TcpStream::connect(address);
    let stream = tokio::time::timeout(CONNECT_MAX, connecting)
        .await
        .map_err(anyhow::Error::from)
        .and_then(|connected| connected.map_err(Into::into))
        .with_context(|| format!("nobody answers at {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token.header());
    }
    let request = request
        .header(header::HOST, address.to_string())
        .body(Full::new(Bytes::new()))?;
    let exchanged = async {
        let reply = sender.send_request(request).await?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|e| anyhow::anyhow!(e))?;
        anyhow::Ok((status, body.to_bytes()))
    };
    let answered = tokio::time::timeout(answer_max + CONNECT_MAX, exchanged)
        .await
        .with_context(|| format!("no answer from {address}"))?;
    driving.abort();
    answered.with_context(|| format!("{address} doesn't answer as transom does"))
}
