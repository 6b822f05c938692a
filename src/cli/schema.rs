//! `transom schema`: the JSON Schema of the config file.

use std::process::ExitCode;

use super::Outcome;

/// No arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Editors check and complete transom.yaml when its first line is
  # yaml-language-server: $schema=./transom.schema.json
and that file is what this command prints:
  transom schema > transom.schema.json")]
pub struct Args {}

pub fn run(_: Args) -> Outcome {
    super::print(&crate::config::schema::text())?;
    Ok(ExitCode::SUCCESS)
}
