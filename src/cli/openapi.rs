//! `transom openapi`: the OpenAPI document of what is served, for generators of clients and for people.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use super::{ConfigArgs, DescriptorArgs, FileArg, Outcome, Usage, print};
use crate::config::model::Config;
use crate::openapi::{Facts, to_yaml};
use crate::route::HostPattern;

/// Which routes, and how they are written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom openapi > openapi.json                       the routes of ./transom.yaml
  transom openapi --format yaml                        the same in YAML
  transom openapi --host api.example.com               with the routes that are for this host alone
  transom openapi --upstream localhost:50051           of a service's reflection
  npx openapi-typescript <(transom openapi) -o api.ts  types for a web client

A listener with `openapi: true` serves it at /openapi.json, and a page of it at /docs.")]
pub struct Args {
    #[command(flatten)]
    pub file: FileArg,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
    /// The host that clients ask for; without it, routes for hosts of their own are left out
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Where the API is (`https://api.example.com`); without it, that follows from --host and the config
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Form {
    #[default]
    Json,
    Yaml,
}

pub fn run(args: Args) -> Outcome {
    let host = args.host.as_deref().map(host).transpose()?;
    let config = args.file.with(args.config)?;
    let (config, built) = super::generation(&config, &args.descriptors)?;
    let mut told = built.warnings().render(super::stderr_format());
    if host.is_none() {
        let others = built.live.route_hosts();
        let names: Vec<&str> = others.into_iter().map(HostPattern::as_str).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            told.push_str(&format!(
                "note: routes for hosts of their own are left out; --host takes one of: {names}\n"
            ));
        }
    }
    // The document on stdout is what was asked for: a closed stderr doesn't matter.
    _ = std::io::stderr().write_all(told.as_bytes());
    let facts = Facts {
        server: args
            .server
            .unwrap_or_else(|| server(&config, host.as_deref())),
        host: None,
        client_certificates: crate::live::needs_certificates(&config),
    };
    let document = built.live.openapi(host.as_deref(), &facts);
    print(&match args.format {
        Form::Json => json(&document)?,
        Form::Yaml => to_yaml(&document),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn json(document: &Value) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(text)
}

fn host(text: &str) -> Result<String, Usage> {
    let wrong = || Usage(format!("{text:?} is no host, such as `api.example.com`"));
    let host = HostPattern::parse(text).ok_or_else(wrong)?;
    Ok(host.as_str().to_owned())
}

/// A URL for a host: of the listener with TLS if there is one. Without a host, the document's own place.
fn server(config: &Config, host: Option<&str>) -> String {
    let Some(host) = host.filter(|host| !host.starts_with('*')) else {
        return "/".to_owned();
    };
    let secure = config.listeners.iter().find(|l| l.tls.is_some());
    let listener = secure.or_else(|| config.listeners.iter().find(|l| l.redirect.is_none()));
    let port = listener.map(|l| l.address).as_ref().map(SocketAddr::port);
    match (secure.is_some(), port) {
        (true, Some(443) | None) => format!("https://{host}"),
        (true, Some(port)) => format!("https://{host}:{port}"),
        (false, Some(80) | None) => format!("http://{host}"),
        (false, Some(port)) => format!("http://{host}:{port}"),
    }
}
