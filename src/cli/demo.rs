//! `transom demo`: an embedded gRPC service with the gateway in front.

use std::net::SocketAddr;

use super::Outcome;

/// Where to listen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the gateway listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

pub fn run(_: Args) -> Outcome {
    anyhow::bail!("`demo` is not built yet")
}
