//! The commands: one file a verb. Arguments here; what several verbs need beside them.
//!
//! Exit codes: 0 fine, 1 the input is wrong, 2 wrong usage.

mod certs;
mod check;
mod demo;
mod diff;
mod input;
mod level;
mod life;
mod look;
mod openapi;
mod ready;
mod remote;
mod renew;
mod revoke;
pub mod routes;
mod run;
mod schema;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::diagnostic::{Format, Report};

pub use crate::explain;
pub use input::{ConfigArgs, DescriptorArgs, FileArg, Usage, generation};

/// The input is wrong.
pub const WRONG_INPUT: u8 = 1;
/// The command was called wrongly.
pub const WRONG_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Start here:
  transom demo                               a gRPC service and the gateway in one process, with curl lines to try
  transom run --upstream localhost:50051     your own service, no file: its reflection says what to serve
  transom run -c transom.yaml                with a config file

Before you deploy:
  transom check                              every mistake at once, with its line
  transom check --format github              the same as annotations of a pull request
  transom diff old.yaml transom.yaml         what that would change for callers, and whom it would break
  transom routes                             what is served, by which method, and where that is written
  transom explain GET '/v1/games/7?tags=a'   which rule takes a request, and why the others don't
  transom openapi > openapi.json             the same for front-end developers and their tools

While it runs (by its `admin` address):
  transom status                             its generation, the last reload and what that changed
  transom reload                             read config and descriptors again
  transom certs                              its certificates: until when, renewed when, what went wrong
  transom log-level debug                    have it tell more of itself
  transom upgrade                            go on with the program that is on disk now

Without -c, the config is ./transom.yaml, ./config/transom.yaml or /etc/transom/transom.yaml.
Exit codes: 0 fine, 1 the input is wrong, 2 wrong usage.";

/// The front door of a web platform: REST/JSON in, gRPC out, from descriptors loaded at run time.
#[derive(Debug, Parser)]
#[command(name = "transom", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve, by a config file or straight in front of one gRPC service
    Run(run::Args),
    /// Try it: an embedded gRPC service with the gateway in front, and curl lines that work
    Demo(demo::Args),
    /// Find every mistake in the config, the descriptors and the routes
    Check(check::Args),
    /// Tell what another config, or other descriptors, would change for callers, and whom it would break
    Diff(diff::Args),
    /// List what is served: METHOD PATH -> service/method -> upstream, and where it is written
    Routes(look::RoutesArgs),
    /// Tell which rule takes a request, what its parts are bound to, and why other rules lost
    Explain(look::ExplainArgs),
    /// Write the OpenAPI 3.1 document of the routes
    Openapi(openapi::Args),
    /// Tell how a running gateway is: its generation, the last reload and what it changed
    Status(remote::Args),
    /// Tell by the exit code whether a running gateway takes requests: for health checks of containers
    Ready(ready::Args),
    /// Have a running gateway read config and descriptors again, and tell what came of it
    Reload(remote::Args),
    /// List the certificates of a running gateway: how long they last, and what becomes of them
    Certs(remote::Args),
    /// Renew certificates of an ACME authority now, whatever has failed before
    Renew(renew::Args),
    /// Take a certificate of an ACME authority back: nobody should trust it any more
    Revoke(revoke::Args),
    /// Have another process of the program follow a running one on its sockets, without a refused connection
    Upgrade(remote::Args),
    /// Tell how much a running gateway logs of itself, or change it until the next reload that does
    LogLevel(level::Args),
    /// Print the JSON Schema of the config file
    Schema(schema::Args),
}

/// How a command that worked ends: not each finding is a failure of the command.
pub type Outcome = anyhow::Result<ExitCode>;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Demo(args) => demo::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Diff(args) => diff::diff(args),
        Verb::Routes(args) => look::routes(args),
        Verb::Explain(args) => look::explain(args),
        Verb::Openapi(args) => openapi::run(args),
        Verb::Status(args) => remote::status(args),
        Verb::Ready(args) => ready::run(args),
        Verb::Reload(args) => remote::reload(args),
        Verb::Certs(args) => certs::certs(args),
        Verb::Renew(args) => renew::run(args),
        Verb::Revoke(args) => revoke::run(args),
        Verb::Upgrade(args) => remote::upgrade(args),
        Verb::LogLevel(args) => level::run(args),
        Verb::Schema(args) => schema::run(args),
    };
    outcome.unwrap_or_else(|error| {
        let (text, code) = failure(&error, stderr_format());
        // Nobody is left to tell when stderr is closed.
        _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(code)
    })
}

fn failure(error: &anyhow::Error, format: Format) -> (String, u8) {
    if let Some(report) = error.downcast_ref::<Report>() {
        return (report.render(format), WRONG_INPUT);
    }
    let code = match error.downcast_ref::<Usage>() {
        Some(_) => WRONG_USAGE,
        None => WRONG_INPUT,
    };
    (format!("error: {error:#}\n"), code)
}

/// Text for stderr: in colour on a terminal, unless `NO_COLOR` is set.
#[must_use]
pub fn stderr_format() -> Format {
    text_format(std::io::stderr().is_terminal())
}

/// Text for stdout: in colour on a terminal, unless `NO_COLOR` is set.
#[must_use]
pub fn stdout_format() -> Format {
    text_format(std::io::stdout().is_terminal())
}

fn text_format(terminal: bool) -> Format {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    match terminal && !refused {
        true => Format::Coloured,
        false => Format::Text,
    }
}

/// Writes the answer of a command. A reader that leaves early (`| head`) is no fault.
///
/// # Errors
/// stdout can't be written to.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_how_to_start() {
        let help = Cli::command().render_long_help().to_string();
        for line in ["transom demo", "transom run --upstream", "Exit codes"] {
            assert!(help.contains(line), "{line} in\n{help}");
        }
    }

    #[test]
    fn wrong_usage_is_told_from_wrong_input() {
        let usage = anyhow::Error::from(Usage("no".into()));
        assert_eq!(failure(&usage, Format::Text).1, WRONG_USAGE);
        let report = anyhow::Error::from(Report::default());
        assert_eq!(failure(&report, Format::Text).1, WRONG_INPUT);
    }
}
