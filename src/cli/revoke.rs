//! `transom revoke`: take a certificate of an authority back.

use std::process::ExitCode;

use super::{ConfigArgs, Outcome};
use crate::acme::{RevocationReason, revoke};
use crate::control;

/// Which one, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom revoke api.example.com                          its key may be known to others: nobody should trust it
  transom revoke -c transom.yaml old.example.com --reason cessation-of-operation

The certificate is set aside in its storage; a running gateway sees that within 15 s and orders another.
It shows the old one until then.")]
pub struct Args {
    /// The name that the certificate is for, as in the config
    pub name: String,
    /// What the authority is told
    #[arg(long, value_enum, default_value = "key-compromise")]
    pub reason: Reason,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// RFC 5280 §5.3.1, as far as subscribers may say.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

impl Reason {
    fn told(self) -> RevocationReason {
        match self {
            Self::Unspecified => RevocationReason::Unspecified,
            Self::KeyCompromise => RevocationReason::KeyCompromise,
            Self::AffiliationChanged => RevocationReason::AffiliationChanged,
            Self::Superseded => RevocationReason::Superseded,
            Self::CessationOfOperation => RevocationReason::CessationOfOperation,
        }
    }
}

pub fn run(args: Args) -> Outcome {
    let config = args.config.load(None)?.config;
    let wanted = control::wanted(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (name, reason) = (args.name.to_ascii_lowercase(), Some(args.reason.told()));
    let done = runtime.block_on(revoke(&wanted, &name, reason));
    let done = done.map_err(|error| anyhow::anyhow!("{name} is not revoked: {error}"))?;
    super::print(&format!(
        "{name} is revoked at {}; the certificate is kept as {}\n",
        done.authority,
        done.set_aside.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
