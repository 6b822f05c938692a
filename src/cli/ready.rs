//! `transom ready`: what a container's health check runs, where there is neither shell nor curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::Uri;

use super::{ConfigArgs, Outcome, Usage, WRONG_INPUT};

/// Who doesn't answer within that is not ready.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// More than `/readyz` answers, and enough to tell why.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// The least that a socket can be told to wait.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  transom ready                                   asks /readyz at the config's `probes` address, else at `admin`
  transom ready --url http://127.0.0.1:9902/livez
  HEALTHCHECK CMD [\"/transom\", \"ready\"]           in a Dockerfile

Exit codes: 0 it is ready (2xx), 1 it isn't or nobody answers within 2 s, 2 wrong usage.")]
pub struct Args {
    /// What to ask instead: any http URL, of which 2xx is wanted
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "upstream"])]
    pub url: Option<Uri>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

pub fn run(args: Args) -> Outcome {
    let (address, host, path) = match &args.url {
        Some(url) => parts(url)?,
        None => {
            let address = probes(&args.config)?;
            (address, address.to_string(), "/readyz".to_owned())
        }
    };
    let (status, body) = get(address, &host, &path)?;
    if (200..300).contains(&status) {
        return Ok(ExitCode::SUCCESS);
    }
    super::print(&format!("{address} answers {status}: {}\n", body.trim()))?;
    Ok(ExitCode::from(WRONG_INPUT))
}

/// Where the config says that probes are answered, as reached from the same machine.
fn probes(config: &ConfigArgs) -> anyhow::Result<SocketAddr> {
    let config = config.load(None)?.config;
    let address = config.probes.or(config.admin);
    let mut address = address.ok_or_else(|| {
        Usage(
            "the config has neither a probes nor an admin address\nadd `probes: { address: \"0.0.0.0:9902\" }`, or name what to ask with --url"
                .to_owned(),
        )
    })?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

fn parts(url: &Uri) -> anyhow::Result<(SocketAddr, String, String)> {
    let usage = || Usage(format!("{url} is no http URL of a host"));
    let authority = url.authority().ok_or_else(usage)?;
    if url.scheme_str() != Some("http") {
        return Err(usage().into());
    }
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = (bare, authority.port_u16().unwrap_or(80))
        .to_socket_addrs()
        .with_context(|| format!("{host} can't be looked up"))?;
    let address = found
        .next()
        .with_context(|| format!("{host} has no address"))?;
    let path = url.path_and_query().map_or("/", |p| p.as_str());
    Ok((address, authority.to_string(), path.to_owned()))
}

/// The status, and the body as text.
fn get(address: SocketAddr, host: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let asked = || -> std::io::Result<Vec<u8>> {
        let end = Instant::now() + ANSWER_MAX;
        let left = || Some(end.saturating_duration_since(Instant::now()).max(TICK));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_write_timeout(left())?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let (mut reply, mut part) = (Vec::new(), [0; 4096]);
        while reply.len() < REPLY_BYTES_MAX && Instant::now() < end {
            stream.set_read_timeout(left())?;
            match stream.read(&mut part)? {
                0 => return Ok(reply),
                read => reply.extend_from_slice(part.get(..read).unwrap_or_default()),
            }
        }
        Err(std::io::ErrorKind::TimedOut.into())
    };
    let reply = asked().with_context(|| format!("nobody answers at {address}"))?;
    let reply = String::from_utf8_lossy(&reply);
    let status = reply
        .strip_prefix("HTTP/1.")
        .and_then(|r| r.get(2..5)?.parse().ok());
    let Some(status) = status else {
        bail!("{address} doesn't speak HTTP/1.1");
    };
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
