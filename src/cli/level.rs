//! `transom log-level`: how much a running gateway tells of itself.

use std::process::ExitCode;

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Outcome, Usage, remote};
use crate::config::model::LogLevel;
use crate::limits::RELOAD_ANSWER_MAX;
use crate::telemetry::LevelError;

/// Which gateway, and how much.
#[derive(Debug, clap::Args)]
#[group(id = "level")]
pub struct Args {
    /// error, warn, info, debug or trace; without it, the level that it has is told
    #[arg(value_name = "LEVEL")]
    pub wanted: Option<String>,
    #[command(flatten)]
    pub gateway: remote::Args,
}

/// `/status`, as far as it matters.
#[derive(Debug, Deserialize)]
struct Status {
    log_level: String,
}

pub fn run(args: Args) -> Outcome {
    let Some(level) = args.wanted else {
        let (_, body) = remote::ask(&args.gateway, Method::GET, "/status", RELOAD_ANSWER_MAX)?;
        let status: Status =
            serde_json::from_slice(&body).context("it doesn't answer as transom does")?;
        let level = &status.log_level;
        return told(&args.gateway, level, &format!("{level}\n"));
    };
    if LogLevel::named(&level).is_none() {
        return Err(Usage(LevelError::Unknown.to_string()).into());
    }
    let path = format!("/log-level?level={level}");
    let (status, body) = remote::ask(&args.gateway, Method::POST, &path, RELOAD_ANSWER_MAX)?;
    let text = String::from_utf8_lossy(&body);
    let level = text.trim();
    if status != StatusCode::OK {
        bail!("it answers {status}: {level}");
    }
    let words = format!("it logs {level} and worse, until a reload brings another `log.level`\n");
    told(&args.gateway, level, &words)
}

fn told(args: &remote::Args, level: &str, words: &str) -> Outcome {
    match args.json {
        true => super::print(&format!("{}\n", json!({ "log_level": level })))?,
        false => super::print(words)?,
    }
    Ok(ExitCode::SUCCESS)
}
