//! The arguments of `transom routes` and `transom explain`, which look at a generation and serve nothing.

use super::{ConfigArgs, DescriptorArgs, Outcome};

/// Which config.
#[derive(Debug, clap::Args)]
pub struct RoutesArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
}

/// Which request.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// HTTP method
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// URL, or path and query
    #[arg(value_name = "URL")]
    pub url: String,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
}

pub fn routes(_: RoutesArgs) -> Outcome {
    anyhow::bail!("`routes` is not built yet")
}

pub fn explain(_: ExplainArgs) -> Outcome {
    anyhow::bail!("`explain` is not built yet")
}
