//! The arguments of `transom routes` and `transom explain`, which look at a generation and serve nothing.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;

use super::explain::{Question, explain as answer};
use super::routes::{Listing, Which};
use super::{ConfigArgs, DescriptorArgs, Outcome, Usage, print};
use crate::control::sources::Built;

/// A body on the command line or in a file; more than a gateway takes by default.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Which config.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom routes                             the routes of ./transom.yaml
  transom routes --upstream localhost:50051  what a service's reflection would give
  transom routes --all --format json         methods without a rule too, for programs")]
pub struct RoutesArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub descriptors: DescriptorArgs,
    /// List methods of mounted services by name (for gRPC, gRPC-Web and Connect), and those without an HTTP rule
    #[arg(long)]
    pub all: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
}

/// Which request.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom explain GET '/v1/games/7?tags=a'
  transom explain POST /v1/games --body '{\"title\": \"Pong\"}'
  transom explain POST /v1/games --body @game.json
  transom explain GET https://api.example.com/v1/games")]
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
    /// The request body; `@FILE` reads it from a file, `@-` from stdin
    #[arg(long, value_name = "TEXT")]
    pub body: Option<String>,
    /// The request's host, for routes of one
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
}

/// Who reads the answer.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Form {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

pub fn routes(args: RoutesArgs) -> Outcome {
    let loaded = load(&args.config, &args.descriptors)?;
    let which = match args.all {
        true => Which::All,
        false => Which::Ruled,
    };
    let listing = Listing::of(&loaded.live, which);
    show(&listing, args.format, |out| listing.print(out))?;
    Ok(ExitCode::SUCCESS)
}

pub fn explain(args: ExplainArgs) -> Outcome {
    let question = Question {
        method: args
            .method
            .parse()
            .map_err(|_| Usage(format!("{:?} is not an HTTP method", args.method)))?,
        url: url(&args.url)?,
        host: args.host,
        body: args.body.as_deref().map(body).transpose()?,
        headers: args
            .headers
            .iter()
            .map(|h| header(h))
            .collect::<Result<_, _>>()?,
    };
    let loaded = load(&args.config, &args.descriptors)?;
    let answer = answer(&loaded.live, &question);
    show(&answer, args.format, |out| answer.print(out))?;
    Ok(match answer.status {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(super::WRONG_INPUT),
    })
}

/// `name: value`, as curl takes it.
fn header(text: &str) -> Result<(http::HeaderName, http::HeaderValue), Usage> {
    let pair = text.split_once(':').and_then(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        Some((name, http::HeaderValue::from_str(value.trim()).ok()?))
    });
    pair.ok_or_else(|| Usage(format!("{text:?} is no header, such as `x-tenant: acme`")))
}

/// A path with its query, or a whole URL. `localhost:8080/v1` would parse as neither.
fn url(text: &str) -> Result<http::Uri, Usage> {
    if !text.starts_with('/') && !text.contains("://") {
        return Err(Usage(format!(
            "{text:?} is no path, such as `/v1/games?tags=a`, and no whole URL, such as `http://localhost:8080/v1/games`"
        )));
    }
    text.parse()
        .map_err(|e| Usage(format!("{text:?} is not a URL: {e}")))
}

fn show(
    answer: &impl serde::Serialize,
    form: Form,
    text: impl Fn(&mut Vec<u8>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = Vec::new();
    match form {
        Form::Text => text(&mut out)?,
        Form::Json => {
            serde_json::to_writer_pretty(&mut out, answer)?;
            out.push(b'\n');
        }
    }
    print(&String::from_utf8_lossy(&out))
}

/// The generation that the arguments mean; warnings go to stderr.
fn load(config: &ConfigArgs, descriptors: &DescriptorArgs) -> anyhow::Result<Built> {
    let (_, built) = super::generation(config, descriptors)?;
    let text = built.warnings().render(super::stderr_format());
    // The answer on stdout is what was asked for: a closed stderr doesn't matter.
    _ = std::io::stderr().write_all(text.as_bytes());
    Ok(built)
}

fn body(argument: &str) -> anyhow::Result<Vec<u8>> {
    let Some(file) = argument.strip_prefix('@') else {
        return Ok(argument.as_bytes().to_vec());
    };
    let mut bytes = Vec::new();
    match file {
        "-" => std::io::stdin()
            .take(BODY_BYTES_MAX)
            .read_to_end(&mut bytes),
        file => std::fs::File::open(Path::new(file))
            .and_then(|f| f.take(BODY_BYTES_MAX).read_to_end(&mut bytes)),
    }
    .with_context(|| format!("can't read the body from {file}"))?;
    Ok(bytes)
}
