//! `transom run`: serve until told to stop.

use std::fmt::Write;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::life::{self, Started, Told};
use super::{ConfigArgs, FileArg, Outcome};
use anyhow::Context;
use tokio::sync::mpsc;

use crate::acme::{self, board::Board};
use crate::admin::{self, Scope, Views};
use crate::app::App;
use crate::config::Loaded;
use crate::config::diagnostic::{Format, Report};
use crate::config::model::{Config, Listener};
use crate::control::builder::Builder;
use crate::control::reload::{self, Asked, Origin, Reloader};
use crate::control::sources::Built;
use crate::handover::{self, Parent, PidFile, Program, Supervisor};
use crate::listener::{Inherited, Purpose};
use crate::live::{Live, Route, Target};
use crate::otlp;
use crate::telemetry::{Logs, Outputs, ProgramLog};
use crate::tls;

/// What to serve.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom run                                ./transom.yaml, ./config/transom.yaml or /etc/transom/transom.yaml
  transom run -c gateway.toml
  transom run --upstream localhost:50051     no file: reflection says what there is
  transom run --upstream localhost:50051 --listen 0.0.0.0:8080

Changes to the config file, .proto folders and descriptor sets are taken up while it serves, and what
reflection tells as well; SIGHUP reads all again.

SIGTERM or Ctrl-C lets requests under way finish; a second one ends at once. After SIGTERM it serves on
for `timeouts.drain_delay`, not ready, until load balancers know. SIGUSR2 starts the program anew on the
same sockets, and ends this process once that serves (as `transom upgrade` does).
TRANSOM_LOG sets what is logged to stderr (error, warn, info, debug), whatever `log.level` says.")]
pub struct Args {
    #[command(flatten)]
    pub file: FileArg,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to listen, with --upstream [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT", requires = "upstream", value_parser = super::input::listen_address)]
    pub listen: Option<SocketAddr>,
    /// Write the process id here, for those who send signals by it
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
}

/// Methods without a rule that the summary names.
const BARE_SHOWN: usize = 5;

pub fn run(args: Args) -> Outcome {
    let (mut parent, inherited) = handover::inherit()?;
    let outcome = serve(args, &mut parent, inherited);
    if let Err(error) = &outcome {
        // Whoever started this one in its place serves on, and says why.
        parent.failed(&super::failure(error, Format::Text).0);
    }
    outcome
}

fn serve(args: Args, parent: &mut Parent, inherited: Inherited) -> Outcome {
    let program = Program::current()?;
    let file = args.file.with(args.config)?;
    let Loaded { config, warnings } = file.load(args.listen)?;
    let origin = file.origin()?;
    let logs = log_to_stderr(&config)?;
    tell(&warnings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before anybody knows the process: without a handler a signal ends it.
        let mut told = Told::install()?;
        let started = tokio::select! {
            started = start(config, origin, inherited, logs.clone()) => started?,
            _ = told.signals.next() => return Ok(ExitCode::SUCCESS),
        };
        let written = args.pid_file.as_deref().map(|path| {
            let written = PidFile::write(path);
            written.with_context(|| format!("can't write {}", path.display()))
        });
        let _pid_file = written.transpose()?;
        parent.ready();
        Supervisor.ready();
        let code = life::live(started, told, program).await;
        logs.outputs.finish();
        Ok(code)
    })
}

/// Serves what can be served now; the routes of upstreams that don't answer yet follow, and so does
/// whatever changes.
pub(super) async fn start(
    config: Config,
    origin: Origin,
    mut inherited: Inherited,
    logs: Logs,
) -> anyhow::Result<Started> {
    let asked = Arc::new(Asked::default());
    let (upgrades, wishes) = mpsc::channel(1);
    let config = Arc::new(config);
    let builder = Builder::start()?;
    let tls = Arc::<tls::Shared>::default();
    let first = reload::first(&config, &origin, &builder, &tls).await?;
    tell(&first.silent);
    tell(&first.warnings);
    tell(&first.built.warnings());
    let Built { live, unread, .. } = first.built;
    let (mut sockets, mut operators) = (Vec::new(), Vec::new());
    for (scope, address) in [(Scope::Admin, config.admin), (Scope::Probes, config.probes)] {
        if let Some(address) = address {
            let passed = inherited.claim_operators(&scope.to_string(), address);
            let socket = passed
                .map_or_else(|| admin::bind(address), Ok)
                .with_context(|| format!("can't listen on {address} (`{scope}`)"))?;
            let purpose = Purpose::Operators(scope.to_string(), address);
            operators.push((purpose, socket.try_clone()?));
            sockets.push((scope, socket));
        }
    }
    let outputs = Arc::clone(&logs.outputs);
    if let Some(tracing) = &config.trace {
        outputs.export(otlp::start(tracing)?);
    }
    let running = App::start_with(&config, live, &mut inherited, outputs)?;
    for (name, address) in inherited.unclaimed() {
        tracing::warn!(
            "nothing is to listen on {address}, the socket {name} of the service manager"
        );
    }
    drop(inherited);
    let board = Arc::<Board>::default();
    let certificates = acme::Task::new(
        &running.live().load().wanted,
        Arc::clone(running.live()),
        Arc::clone(&tls),
        Arc::clone(running.tokens()),
        Arc::clone(&board),
    );
    let listen = running.addresses().first().copied();
    let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let summary = summary(&running.live().load(), unread.is_empty(), listen);
    let status = tokio::sync::watch::Sender::new(first.status);
    let views = Views {
        live: Arc::clone(running.live()),
        fleet: Arc::clone(running.fleet()),
        copies: Arc::clone(running.copies()),
        memory: Arc::clone(running.memory()),
        ports: Arc::clone(running.ports()),
        reports: Arc::clone(running.reports()),
        drained: running.drained(),
        status: status.subscribe(),
        asked: Arc::clone(&asked),
        board,
        logs: logs.clone(),
        upgrades,
        token: config.admin_token.clone(),
    };
    let reloads = status.subscribe();
    let admin = admin::start(sockets, views)?;
    let mut told = listening(&config.listeners, &running.addresses());
    for (scope, address) in admin.addresses() {
        _ = writeln!(told, "{scope} on http://{address}");
    }
    super::print(&format!("{told}{summary}"))?;
    // Who has been told why needs no second line; who hasn't does.
    if !unread.is_empty() && first.silent.is_empty() {
        let names: Vec<_> = unread
            .iter()
            .filter_map(|id| config.upstreams.get(id.0 as usize))
            .map(|u| &*u.name)
            .collect();
        tracing::warn!(
            upstreams = names.join(", "),
            "no descriptors yet: asking again until they come"
        );
    }
    if let Some(control) = running.control() {
        let reloader = Reloader {
            origin,
            config,
            answers: first.answers,
            told: first.silent,
            builder,
            live: Arc::clone(running.live()),
            fleet: Arc::clone(running.fleet()),
            ports: Arc::clone(running.ports()),
            logs,
            asked: Arc::clone(&asked),
            status,
            tls,
            seen: first.seen,
            saved: reload::Saved::new(),
            retired: reload::Retired::default(),
        };
        control.spawn(reloader.run());
        control.spawn(certificates.run());
    }
    Ok(Started {
        running,
        admin,
        operators,
        asked,
        reloads,
        wishes,
    })
}

fn tell(report: &Report) {
    if !report.is_empty() {
        let text = report.render(super::stderr_format());
        // Nobody is left to tell when stderr is closed.
        _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn listening(listeners: &[Listener], addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    for (listener, address) in listeners.iter().zip(addresses) {
        let scheme = match listener.tls {
            Some(_) => "https",
            None => "http",
        };
        // Writing to a String doesn't fail.
        _ = writeln!(text, "listening on {scheme}://{address}");
    }
    text
}

/// `37 routes: 35 to gRPC methods of 3 services, 2 passed on as they are`
fn summary(live: &Live, complete: bool, listen: SocketAddr) -> String {
    let mut services: Vec<&str> = Vec::new();
    let (mut passed_on, mut answered) = (0_usize, 0_usize);
    for route in &live.routes {
        match &route.target {
            Target::Rpc(plan) => services.push(&plan.service),
            Target::Proxy { .. } => passed_on += 1,
            Target::Files(..) | Target::Redirect(..) | Target::Respond(_) => answered += 1,
        }
    }
    let methods = services.len();
    services.sort_unstable();
    services.dedup();
    let mut text = format!(
        "{}: {methods} to gRPC methods of {}, {passed_on} passed on as they are\n",
        counted(live.routes.len(), "route"),
        counted(services.len(), "service"),
    );
    if answered > 0 {
        text.truncate(text.trim_end().len());
        text.push_str(&format!(", {answered} answered here\n"));
    }
    let bare: Vec<&str> = live
        .notes
        .iter()
        .filter(|n| n.rule.is_empty())
        .map(|n| &*n.method)
        .collect();
    if !bare.is_empty() {
        let shown = bare.get(..BARE_SHOWN).unwrap_or(&bare).join(", ");
        let more = match bare.len().saturating_sub(BARE_SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        _ = writeln!(
            text,
            "  {} without an HTTP rule: {shown}{more} (`transom routes --all` lists them)",
            counted(bare.len(), "method"),
        );
    }
    if !bare.is_empty() || (live.routes.is_empty() && complete) {
        text.push_str("  (methods get routes from google.api.http annotations, from `rpc` routes of a config file, or all at once by `auto: true`, with --upstream by --auto)\n");
    }
    if live.routes.is_empty()
        && let Some(path) = live.rpcs.routes().first().and_then(Route::path)
    {
        let at = match listen.ip().is_unspecified() {
            true => format!("localhost:{}", listen.port()),
            false => listen.to_string(),
        };
        _ = writeln!(
            text,
            "  they answer Connect, gRPC-Web and gRPC already:\n    curl http://{at}{path} -H 'content-type: application/json' -d '{{}}'"
        );
    }
    text
}

fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// The program's own log; only a second call in one process changes nothing.
pub(super) fn log_to_stderr(config: &Config) -> anyhow::Result<Logs> {
    let environment = std::env::var("TRANSOM_LOG").ok();
    let outputs = Arc::new(Outputs::default());
    let log = ProgramLog {
        level: config.log.level,
        format: config.log.format,
        coloured: super::stderr_format() == Format::Coloured,
        environment: environment.as_deref(),
    };
    let level = log.start(&outputs)?;
    Ok(Logs { outputs, level })
}
