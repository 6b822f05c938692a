//! `transom check`: every mistake at once.

use std::process::ExitCode;

use super::{ConfigArgs, DescriptorArgs, Outcome};
use crate::config::diagnostic::{Format, Report};

/// What to check and how to say it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Output,
}

/// Who reads the findings.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
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
    let report = match args.config.load(None) {
        Ok(loaded) => loaded.warnings,
        Err(error) => error.downcast::<Report>()?,
    };
    let format = match args.format {
        Output::Text => super::stdout_format(),
        Output::Json => Format::Json,
        Output::Github => Format::Github,
        Output::Gitlab => Format::Gitlab,
    };
    super::print(&report.render(format))?;
    Ok(match report.has_errors() {
        true => ExitCode::from(super::WRONG_INPUT),
        false => ExitCode::SUCCESS,
    })
}
