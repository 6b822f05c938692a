//! What most verbs start from: a config, and where descriptors come from when nothing is running.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::diagnostic::Report;
use crate::config::model::Config;
use crate::config::{self, Loaded, Survey};
use crate::control::reach;
use crate::control::reload::Origin;
use crate::control::sources::{self, Built, Reflection};

/// The command was called wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Which config.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// The config file: YAML, or TOML or JSON by extension
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// No file: serve all that this gRPC service's reflection shows (`localhost:50051`)
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    pub upstream: Option<String>,
    /// With --upstream: serve every method as REST, `POST /pkg.Service/Method` with JSON
    #[arg(long, requires = "upstream")]
    pub auto: bool,
}

/// The config file by its place, for verbs whose only other arguments have names.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FileArg {
    /// The config file, as with -c
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "upstream"])]
    pub file: Option<PathBuf>,
}

impl FileArg {
    /// `config` with the file that was named by its place.
    ///
    /// # Errors
    /// [`Usage`] for what looks like a service's address.
    pub fn with(self, mut config: ConfigArgs) -> Result<ConfigArgs, Usage> {
        let Some(file) = self.file else {
            return Ok(config);
        };
        let text = file.to_string_lossy();
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if let (false, Some(Ok(_))) = (file.exists(), port) {
            return Err(Usage(format!(
                "{text} is no config file\nfor the service at that address: transom run --upstream {text}"
            )));
        }
        config.config = Some(file);
        Ok(config)
    }
}

impl ConfigArgs {
    /// Like [`Self::load`], for who wants to know all that is wrong.
    fn survey(&self) -> anyhow::Result<Survey> {
        if self.upstream.is_some() {
            let Loaded { config, warnings } = self.load(None)?;
            return Ok(Survey {
                config: Some(config),
                report: warnings,
            });
        }
        Ok(config::survey(&self.path()?, &environment)?)
    }

    /// Reads the config that was named, or the first of the usual places. `listen` is for
    /// `--upstream`; `None` is 127.0.0.1:8080.
    ///
    /// # Errors
    /// [`Report`] with every fault, or [`Usage`] when there is no config.
    pub fn load(&self, listen: Option<SocketAddr>) -> anyhow::Result<Loaded> {
        if let Some(endpoint) = &self.upstream {
            let listen = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
            let mut config = Config::for_upstream(endpoint, listen, self.auto)?;
            let mut warnings = Report::default();
            config.trace = config::trace::resolve(None, &environment, &mut warnings.diagnostics);
            if warnings.has_errors() {
                return Err(warnings.into());
            }
            return Ok(Loaded { config, warnings });
        }
        let path = self.path()?;
        Ok(config::load(&path, &environment)?)
    }

    /// Where a running gateway reads its config again.
    ///
    /// # Errors
    /// As [`Self::path`].
    pub fn origin(&self) -> Result<Origin, Usage> {
        if self.upstream.is_some() {
            return Ok(Origin::Fixed);
        }
        let path = self.path()?;
        let file = path.clone();
        Ok(Origin::File {
            path,
            load: Arc::new(move || config::load(&file, &environment)),
        })
    }

    /// The file that is read.
    ///
    /// # Errors
    /// [`Usage`] when none is named and none is found.
    pub fn path(&self) -> Result<PathBuf, Usage> {
        self.config.clone().or_else(config::find).ok_or_else(|| {
            Usage(format!(
                "no config file: there is no {}\n\
                 name one with -c FILE, or start without: transom run --upstream HOST:PORT, transom demo",
                config::SEARCH.join(", no ")
            ))
        })
    }
}

/// Where the descriptors of `reflection` sources come from in a command that only looks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DescriptorArgs {
    /// A FileDescriptorSet to take in place of every `reflection` source
    #[arg(long, value_name = "FILE")]
    pub descriptors: Option<PathBuf>,
    /// Ask the upstreams of `reflection` sources; `check` connects to every instance of every upstream
    #[arg(long, conflicts_with = "descriptors")]
    pub online: bool,
}

impl DescriptorArgs {
    /// How a command that only looks reads `reflection` sources. Where the only source is the
    /// upstream on the command line, it is asked.
    #[must_use]
    pub fn reflection(&self, config: &ConfigArgs) -> Reflection {
        match &self.descriptors {
            Some(file) => Reflection::Instead(file.clone()),
            None if self.online || config.upstream.is_some() => Reflection::Ask { but: Vec::new() },
            None => Reflection::Kept,
        }
    }
}

/// Config, descriptors, schema, routes: everything that `run` would serve, nothing of it served.
/// What is without fault in a wrong config is gone through as well, upstreams aside.
///
/// # Errors
/// [`Report`] with every fault and warning, [`Usage`] when there is no config.
pub fn generation(
    config: &ConfigArgs,
    descriptors: &DescriptorArgs,
) -> anyhow::Result<(Config, Built)> {
    gather(config, descriptors, false)
}

/// [`generation`]; where the network may be used, whether upstreams can be reached is among the faults.
///
/// # Errors
/// As [`generation`].
pub(super) fn everything(
    config: &ConfigArgs,
    descriptors: &DescriptorArgs,
) -> anyhow::Result<(Config, Built)> {
    gather(config, descriptors, descriptors.online)
}

fn gather(
    config: &ConfigArgs,
    descriptors: &DescriptorArgs,
    reach: bool,
) -> anyhow::Result<(Config, Built)> {
    let Survey {
        config: rest,
        report: mut told,
    } = config.survey()?;
    let Some(mut rest) = rest else {
        return Err(told.into());
    };
    // What descriptors say for people costs little where nothing is served.
    rest.documented = true;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reflection = match descriptors.reflection(config) {
        // An upstream of a wrong config may not be the one that is meant.
        Reflection::Ask { .. } if told.has_errors() => Reflection::Kept,
        Reflection::Ask { .. } if reach => {
            let local = tokio::task::LocalSet::new();
            let reached = local.block_on(&runtime, reach::reach(&rest));
            told.extend(reached.report);
            let but = reached.unreached;
            Reflection::Ask { but }
        }
        reflection => reflection,
    };
    match runtime.block_on(sources::load(&rest, &reflection)) {
        Ok(_) if told.has_errors() => Err(told.into()),
        Ok(mut built) => {
            built.report.diagnostics.splice(..0, told.diagnostics);
            Ok((rest, built))
        }
        Err(report) => {
            told.extend(report);
            told.sort();
            Err(told.into())
        }
    }
}

/// An address of `--listen`.
///
/// # Errors
/// It is none.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "expected an IP address and a port, such as `127.0.0.1:8080` or `[::]:8080`";
    Ok(text.parse().map_err(wrong)?)
}

/// Variables of the process; one that is no Unicode counts as unset.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
