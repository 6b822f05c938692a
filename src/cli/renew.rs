//! `transom renew`: a certificate of an authority before its time.

use std::process::ExitCode;

use super::{ConfigArgs, Outcome};
use crate::acme::renew;
use crate::control;

/// Which ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom renew api.example.com            after what kept the authority from it was mended
  transom renew -c transom.yaml a.example.com b.example.com

A running gateway sees it within 15 s. The old certificate serves until the new one is there.")]
pub struct Args {
    /// The names that certificates are for, as in the config
    #[arg(required = true)]
    pub names: Vec<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

pub fn run(args: Args) -> Outcome {
    let config = args.config.load(None)?.config;
    let wanted = control::wanted(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for name in &args.names {
        let name = name.to_ascii_lowercase();
        let done = runtime.block_on(renew(&wanted, &name));
        done.map_err(|error| anyhow::anyhow!("{name} is not renewed: {error}"))?;
        super::print(&format!(
            "{name} is to be renewed: `transom certs` tells what comes of it\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
