//! `transom check`: every mistake at once, in config, descriptors and routes.

use std::process::ExitCode;

use super::{ConfigArgs, DescriptorArgs, FileArg, Outcome};
use crate::config::diagnostic::{Format, Report, Severity};
use crate::control::sources::Built;

/// What to check and how to say it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads what `run` would read and serves nothing. Without --online or --descriptors no network is used,
and routes that only a `reflection` source could tell of are named as not checked. --online also connects
to every instance of every upstream, as calls would, and tells why one can't be reached.

Examples:
  transom check
  transom check -c config/transom.yaml --online
  transom check --descriptors games.binpb --format github")]
pub struct Args {
    #[command(flatten)]
    pub file: FileArg,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Output,
}

/// Who reads the findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people: the line, a caret, what to write instead
    #[default]
    Text,
    /// An array of objects
    Json,
    /// Workflow commands of GitHub Actions
    Github,
    /// A GitLab Code Quality report
    Gitlab,
}

pub fn run(args: Args) -> Outcome {
    let config = args.file.with(args.config)?;
    let (report, built) = match super::input::everything(&config, &args.descriptors) {
        Ok((_, built)) => {
            let mut report = built.report.clone();
            report.extend(built.unchecked.clone());
            (report, Some(built))
        }
        Err(error) => (error.downcast::<Report>()?, None),
    };
    let mut text = report.render(match args.format {
        Output::Text => super::stdout_format(),
        Output::Json => Format::Json,
        Output::Github => Format::Github,
        Output::Gitlab => Format::Gitlab,
    });
    if args.format == Output::Text {
        if !report.is_empty() {
            text.push('\n');
        }
        text.push_str(&summary(&report, built.as_ref()));
    }
    super::print(&text)?;
    Ok(match report.has_errors() {
        true => ExitCode::from(super::WRONG_INPUT),
        false => ExitCode::SUCCESS,
    })
}

/// `fine: 12 routes, 1 warning`
fn summary(report: &Report, built: Option<&Built>) -> String {
    let some = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let warnings = match report.count(Severity::Warning) {
        0 => String::new(),
        n => format!(", {}", some(n, "warning")),
    };
    match built {
        None => format!(
            "{}{warnings}\n",
            some(report.count(Severity::Error), "error")
        ),
        Some(built) => {
            let word = match built.unread.is_empty() {
                true => "fine",
                false => {
                    "fine as far as it could be checked (see the notes; --online asks the upstreams)"
                }
            };
            format!(
                "{word}: {}{warnings}\n",
                some(built.live.routes.len(), "route")
            )
        }
    }
}
