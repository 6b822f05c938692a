//! `transom run`: serve until told to stop.

use std::net::SocketAddr;

use super::{ConfigArgs, Outcome};

/// What to serve.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom run                                ./transom.yaml, ./config/transom.yaml or /etc/transom/transom.yaml
  transom run -c gateway.toml
  transom run --upstream localhost:50051     no file: reflection says what there is
  transom run --upstream localhost:50051 --listen 0.0.0.0:8080")]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where to listen, with --upstream [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT", requires = "upstream")]
    pub listen: Option<SocketAddr>,
}

pub fn run(args: Args) -> Outcome {
    let _ = args.config.load(args.listen)?;
    anyhow::bail!("`run` is not built yet")
}
