//! `transom diff`: what another config, or other descriptors, would change for callers.
//!
//! Both sides are built as `run` would build them and compared as generations are, so what is not
//! served is not compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use super::look::Form;
use super::{ConfigArgs, DescriptorArgs, Outcome, Usage};
use crate::config::model::{Config, DescriptorSource, Upstream};
use crate::control::reload::needs_restart;
use crate::control::sources::{self, Built, Reflection};
use crate::live::Changes;

/// Callers of the old one would stumble over the new one.
const BREAKS: u8 = 3;

/// Which two.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each is a config file (.yaml, .json, .toml), a FileDescriptorSet, or a folder of .proto files. Descriptors
are compared with every service mounted; a config, with what its routes serve.

Examples:
  transom diff old.binpb new.binpb              a field gone, retyped or renamed, a rule gone or moved
  transom diff main/transom.yaml transom.yaml   two checkouts; routes, listeners and upstreams as well
  transom diff main/proto proto --format json   for programs

  breaking    callers stumble; `in JSON alone` and `in binary alone` where it isn't all of them
  risky       all can be read as before, some values may not be what the other side expects
  changed, added, restart   nobody stumbles; the last takes a new process

Exit codes: 0 nothing breaks callers, 1 one of the two is wrong, 2 wrong usage, 3 something breaks callers.")]
pub struct Args {
    /// What serves now
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// What is to serve
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
}

/// A form that routes can be had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Config,
    Set,
    Protos,
}

impl Kind {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let found = std::fs::metadata(path);
        let found = found.with_context(|| format!("can't read {}", path.display()))?;
        let extension = path.extension().and_then(|e| e.to_str());
        Ok(match extension {
            _ if found.is_dir() => Self::Protos,
            Some("yaml" | "yml" | "json" | "toml") => Self::Config,
            Some(_) | None => Self::Set,
        })
    }
}

/// Something that is different.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    severity: &'static str,
    /// Who stumbles: `everyone`, `json` or `binary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    whose: Option<&'static str>,
    what: String,
}

impl Finding {
    fn new(severity: &'static str, what: impl Into<String>) -> Self {
        Self {
            severity,
            whose: None,
            what: what.into(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    /// How many of the findings are.
    breaking: usize,
    findings: Vec<Finding>,
}

pub fn diff(args: Args) -> Outcome {
    let kinds = (Kind::of(&args.old)?, Kind::of(&args.new)?);
    if (kinds.0 == Kind::Config) != (kinds.1 == Kind::Config) {
        let text =
            "a config can only be compared with another config, and descriptors with descriptors";
        return Err(Usage(text.to_owned()).into());
    }
    let (old_config, old) = side(&args.old, kinds.0, &args.descriptors)?;
    let (new_config, new) = side(&args.new, kinds.1, &args.descriptors)?;
    for built in [&old, &new] {
        let text = built.unchecked.render(super::stderr_format());
        // The answer is what was asked for: a closed stderr doesn't matter.
        _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
    let mut findings = of_callers(Changes::between(&old.live, &new.live));
    if kinds.0 == Kind::Config {
        findings.extend(of_configs(&old_config, &new_config));
        findings.sort_by_key(|f| ORDER.iter().position(|word| *word == f.severity));
    }
    let answer = Answer {
        breaking: findings.iter().filter(|f| f.severity == BREAKING).count(),
        findings,
    };
    let text = match args.format {
        Form::Text => answer.shown(),
        Form::Json => serde_json::to_string_pretty(&answer)? + "\n",
    };
    super::print(&text)?;
    Ok(match answer.breaking {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(BREAKS),
    })
}

const BREAKING: &str = "breaking";
const ORDER: [&str; 5] = [BREAKING, "risky", "changed", "restart", "added"];

fn side(path: &Path, kind: Kind, descriptors: &DescriptorArgs) -> anyhow::Result<(Config, Built)> {
    let place = path.display().to_string().into();
    let source = match kind {
        Kind::Config => {
            let config = ConfigArgs {
                config: Some(path.to_owned()),
                ..ConfigArgs::default()
            };
            return super::generation(&config, descriptors);
        }
        Kind::Set => DescriptorSource::File {
            file: path.to_owned(),
            place,
        },
        Kind::Protos => DescriptorSource::Protos {
            folder: path.to_owned(),
            place,
        },
    };
    // Nothing is asked or listened on: it stands for whatever serves these.
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::for_upstream("localhost:1", anywhere, false)?;
    config.descriptors = vec![source];
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let built = runtime.block_on(sources::load(&config, &Reflection::Kept))?;
    Ok((config, built))
}

fn of_callers(changes: Changes) -> Vec<Finding> {
    let calls_another = |rule: &str| {
        let told = format!("{rule} calls ");
        changes.breaking.iter().any(|b| b.what.starts_with(&told))
    };
    let mut moved = changes.moved.clone();
    // That is said already, in other words.
    moved.retain(|m| {
        m.split_once(": ")
            .is_none_or(|(rule, _)| !calls_another(rule))
    });
    let breaking = changes.breaking.iter().map(|broken| Finding {
        severity: BREAKING,
        whose: Some(broken.whose.word()),
        what: broken.to_string(),
    });
    let risky = changes.risky.iter().map(|what| Finding::new("risky", what));
    let moved = moved.into_iter().map(|what| Finding::new("changed", what));
    let altered = changes.altered.iter();
    let altered = altered.map(|rule| Finding::new("changed", format!("{rule}: other settings")));
    let added = changes.added.iter().map(|what| Finding::new("added", what));
    let all = breaking
        .chain(risky)
        .chain(moved)
        .chain(altered)
        .chain(added);
    all.collect()
}

fn of_configs(old: &Config, new: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let addresses =
        |of: &Config| -> Vec<SocketAddr> { of.listeners.iter().map(|l| l.address).collect() };
    let (before, after) = (addresses(old), addresses(new));
    for address in before.iter().filter(|a| !after.contains(a)) {
        let what = format!("{address} is not listened on any more");
        findings.push(Finding {
            severity: BREAKING,
            whose: Some("everyone"),
            what,
        });
    }
    for address in after.iter().filter(|a| !before.contains(a)) {
        findings.push(Finding::new("added", format!("{address} is listened on")));
    }
    findings.extend(of_upstreams(old, new));
    for (key, differs) in [
        ("limits", old.limits != new.limits),
        ("timeouts", old.timeouts != new.timeouts),
        (
            "trusted_proxies",
            old.trusted_proxies != new.trusted_proxies,
        ),
    ] {
        if differs {
            findings.push(Finding::new("changed", format!("`{key}`: other settings")));
        }
    }
    let restarts = needs_restart(old, new).diagnostics.into_iter();
    findings.extend(restarts.map(|d| Finding::new("restart", d.message)));
    findings
}

fn of_upstreams(old: &Config, new: &Config) -> Vec<Finding> {
    let by_name = |of: &'_ Config| -> BTreeMap<String, Upstream> {
        let named = of.upstreams.iter().map(|u| (u.name.to_string(), u.clone()));
        named.collect()
    };
    let (before, mut after) = (by_name(old), by_name(new));
    let mut findings = Vec::new();
    for (name, was) in before {
        let Some(is) = after.remove(&name) else {
            // The rules that went there are told of by themselves.
            findings.push(Finding::new("changed", format!("upstream {name} is gone")));
            continue;
        };
        let listed = |u: &Upstream| -> String {
            let all: Vec<_> = u.endpoints.iter().map(ToString::to_string).collect();
            all.join(", ")
        };
        if was.endpoints != is.endpoints {
            let what = format!("upstream {name}: {} -> {}", listed(&was), listed(&is));
            findings.push(Finding::new("changed", what));
        }
        let files = |u: &Upstream| {
            let tls = u.tls.iter();
            let files: Vec<_> = tls.clone().flat_map(|t| t.files().cloned()).collect();
            (tls.map(|t| t.server_name.clone()).next(), files)
        };
        if was.protocol != is.protocol || was.rules != is.rules || files(&was) != files(&is) {
            let what = format!("upstream {name}: other settings");
            findings.push(Finding::new("changed", what));
        }
    }
    let new = after.into_keys();
    findings.extend(new.map(|name| Finding::new("added", format!("upstream {name}"))));
    findings
}

impl Answer {
    /// For people: one line a finding, the worst first.
    fn shown(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            // Writing to a String doesn't fail.
            _ = writeln!(text, "{:<10}{}", finding.severity, finding.what);
        }
        text.push_str(&match (self.findings.len(), self.breaking) {
            (0, _) => "nothing changes for callers\n".to_owned(),
            (1, 0) => "1 change, which breaks nobody\n".to_owned(),
            (n, 0) => format!("{n} changes, none of which breaks callers\n"),
            (n, 1) => format!("{n} in all, 1 of which breaks callers\n"),
            (n, breaking) => format!("{n} in all, {breaking} of which break callers\n"),
        });
        text
    }
}
