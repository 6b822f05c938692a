//! Texts of single values: durations, sizes, addresses, names. Each says what is wrong and
//! what would be right. Words that quote the text are owned ones: it may hold a secret.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::model::HeaderPattern;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Borrowed unless it quotes the text.
    pub message: Cow<'static, str>,
    /// Borrowed unless it quotes the text.
    pub help: Option<Cow<'static, str>>,
    /// The bytes at fault, when not all are.
    pub at: Option<Range<usize>>,
}

impl Trouble {
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
            help: None,
            at: None,
        }
    }

    pub fn help(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn at(mut self, at: Range<usize>) -> Self {
        self.at = Some(at);
        self
    }
}

/// How durations are written.
pub const DURATIONS: &str = "durations are written `250ms`, `5s`, `1m` or `1h`";

/// How sizes are written.
pub const SIZES: &str = "sizes are written `512B`, `64KiB`, `4MiB` or `1GiB`";

/// A number and its unit: both ASCII, digits first.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim_start()))
}

/// `250ms`, `5s`, `1m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, Trouble> {
    let wrong = || Trouble::new("expected a duration").help(DURATIONS);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Trouble::new("this duration has no unit").help(DURATIONS));
    }
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(millis).ok_or_else(wrong)?;
    Ok(Duration::from_millis(total))
}

/// A duration as [`duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let fits = units
        .iter()
        .find(|(_, n)| millis >= *n && millis.is_multiple_of(*n));
    match fits {
        Some((unit, n)) => format!("{}{unit}", millis / n),
        None => format!("{millis}ms"),
    }
}

/// `512B`, `64KiB`, `4MiB`, `1GiB`.
pub fn size(text: &str) -> Result<u64, Trouble> {
    let wrong = || Trouble::new("expected a size").help(SIZES);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Trouble::new("this size has no unit").help(SIZES));
    }
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        "K" | "KB" | "kB" | "Ki" | "kb" | "k" => {
            return Err(wrong().help("write `KiB`, which is 1024 bytes"));
        }
        "M" | "MB" | "Mi" | "mb" | "m" => {
            return Err(wrong().help("write `MiB`, which is 1024 × 1024 bytes"));
        }
        "G" | "GB" | "Gi" | "gb" | "g" => {
            return Err(wrong().help("write `GiB`, which is 1024 × 1024 × 1024 bytes"));
        }
        _ => return Err(wrong()),
    };
    number.checked_mul(bytes).ok_or_else(wrong)
}

/// A size as [`size`] reads it.
pub fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = units
        .iter()
        .find(|(_, n)| bytes >= *n && bytes.is_multiple_of(*n));
    match fits {
        Some((unit, n)) => format!("{}{unit}", bytes / n),
        None => format!("{bytes}B"),
    }
}

/// An address to listen on.
pub fn address(text: &str) -> Result<SocketAddr, Trouble> {
    text.parse().map_err(|_| {
        let wrong = Trouble::new("expected an IP address and a port");
        if let Some(port) = text.strip_prefix(':').filter(|p| p.parse::<u16>().is_ok()) {
            return wrong.help(format!(
                "for every address write `0.0.0.0:{port}` or `[::]:{port}`"
            ));
        }
        match text.rsplit_once(':') {
            Some(("localhost", port)) => wrong.help(format!("write `127.0.0.1:{port}`")),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                wrong.help("the port is a number up to 65535")
            }
            Some(_) => {
                wrong.help("an address to listen on is no name: `0.0.0.0:8080`, `[::]:8080`")
            }
            None => wrong.help("such as `0.0.0.0:8080` or `[::]:8080`"),
        }
    })
}

/// The URL of an API server, without a path.
pub fn api_server(text: &str) -> Result<Box<str>, Trouble> {
    let wrong = || {
        Trouble::new("expected the URL of an API server, without a path")
            .help("such as `https://10.0.0.1:6443`")
    };
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    let has_scheme = matches!(url.scheme_str(), Some("https" | "http"));
    let has_host = url
        .authority()
        .is_some_and(|a| !a.as_str().contains('@') && !a.host().is_empty());
    match has_scheme && has_host && url.path() == "/" && url.query().is_none() {
        true => Ok(text.trim_end_matches('/').into()),
        false => Err(wrong()),
    }
}

/// An address to ask: with a port that somebody may listen on.
pub fn server(text: &str) -> Result<SocketAddr, Trouble> {
    let wrong = || {
        Trouble::new("expected an IP address and a port")
            .help("such as `10.0.0.2:53` or `[fd00::2]:53`")
    };
    let address: SocketAddr = text.parse().map_err(|_| wrong())?;
    match address.port() {
        0 => Err(wrong()),
        _ => Ok(address),
    }
}

/// RFC 1123, and underscores, which Docker and Kubernetes users have; a dot at the end is the root.
pub fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// A host that a route is limited to.
pub fn host(text: &str) -> Result<crate::route::HostPattern, Trouble> {
    let wrong = |message: &'static str| {
        Trouble::new(message)
            .help("hosts are written `api.example.com` or `*.example.com`, without a port")
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_address = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .is_ok();
    if name.contains(':') && !is_address {
        return Err(wrong("a host has no port and no scheme"));
    }
    if !is_address && !is_host_name(name) {
        return Err(wrong("expected a host name"));
    }
    crate::route::HostPattern::parse(text).ok_or_else(|| wrong("expected a host name"))
}

/// A name that a certificate is for: a host, a wildcard or an address, as they stand in certificates.
pub fn certificate_name(text: &str) -> Result<Box<str>, Trouble> {
    let wrong = |message: &'static str| {
        let help = "names are written `api.example.com`, `*.example.com` or `192.0.2.7`";
        Trouble::new(message).help(help)
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string().into());
    }
    if !text.is_ascii() {
        return Err(wrong("this name is not ASCII").help("write it in its `xn--` form"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let below = name.strip_prefix("*.").unwrap_or(name);
    if below.contains(['*', ':', '/']) || !is_host_name(below) {
        return Err(wrong("expected the name of a host, without a port"));
    }
    Ok(name.to_ascii_lowercase().into())
}

/// A name or address that a certificate may be for.
pub fn peer_name(text: &str) -> Result<Box<str>, Trouble> {
    match text.parse::<IpAddr>().is_ok() || is_host_name(text) {
        true => Ok(text.into()),
        false => Err(Trouble::new("expected a host name or an IP address")
            .help("such as `games.internal`, without a port")),
    }
}

/// A header name, or a prefix that ends in `*`.
pub fn header(text: &str) -> Result<HeaderPattern, Trouble> {
    const HELP: &str = "such as `x-tenant`, or `x-app-*` for all that begin so";
    let lower = text.to_ascii_lowercase();
    if lower == "*" {
        return Err(Trouble::new("`*` alone would let every header through").help(HELP));
    }
    let prefix = lower.strip_suffix('*');
    let name = HeaderName::try_from(prefix.unwrap_or(&lower))
        .map_err(|_| Trouble::new("expected a header name").help(HELP))?;
    if crosses_never(name.as_str()) {
        return Err(Trouble::new(format!("`{name}` never crosses"))
            .help("it belongs to one connection or to gRPC itself"));
    }
    Ok(match prefix {
        Some(_) => HeaderPattern::Prefix(name.as_str().into()),
        None => HeaderPattern::Name(name),
    })
}

/// Hop-by-hop names (RFC 9110 §7.6.1) and gRPC's own.
fn crosses_never(name: &str) -> bool {
    const HOP_BY_HOP: &[&str] = &[
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    name.starts_with("grpc-") || HOP_BY_HOP.contains(&name)
}

/// An address or a network.
pub fn network(text: &str) -> Result<IpNet, Trouble> {
    let wrong = || {
        Trouble::new("expected an IP address or network")
            .help("such as `10.0.0.0/8`, `fd00::/8` or `127.0.0.1`")
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    if network.trunc() != network {
        return Err(Trouble::new("this network has bits set past its prefix")
            .help(format!("write `{}`", network.trunc())));
    }
    Ok(network)
}

fn is_identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `gamehub.v1.*`: characters of a full name and `*`.
pub fn service_glob(text: &str) -> Result<(), Trouble> {
    const HELP: &str = "such as `gamehub.v1.Catalogue`, `gamehub.v1.*` or `*`";
    if text.contains('/') {
        return Err(Trouble::new("expected the name of a service, without a method").help(HELP));
    }
    let segment = |s: &str| {
        let word = s.replace('*', "x");
        is_identifier(&word)
    };
    if text.split('.').all(segment) {
        return Ok(());
    }
    Err(Trouble::new("expected the full name of a service").help(HELP))
}

/// `gamehub.v1.Moderation/Report` → service and method.
pub fn rpc(text: &str) -> Result<(&str, &str), Trouble> {
    const HELP: &str = "a method is written `package.Service/Method`";
    let wrong = || Trouble::new("expected the full name of a method").help(HELP);
    let Some((service, method)) = text.trim_start_matches('/').split_once('/') else {
        return Err(match text.rsplit_once('.') {
            Some((service, method)) if text.split('.').all(is_identifier) => {
                wrong().help(format!("write `{service}/{method}` if that is the service"))
            }
            _ => wrong(),
        });
    };
    if text.starts_with('/') || !service.split('.').all(is_identifier) || !is_identifier(method) {
        return Err(wrong());
    }
    Ok((service, method))
}

/// `gamehub.v1.Moderation.Report`.
pub fn selector(text: &str) -> Result<(), Trouble> {
    if text.contains('.') && text.split('.').all(is_identifier) {
        return Ok(());
    }
    let wrong = Trouble::new("expected the full name of a method");
    Err(wrong.help(if text.contains('/') {
        "a selector is written `package.Service.Method`, with a dot"
    } else {
        "a selector is written `package.Service.Method`, one method each"
    }))
}

/// A literal path to match.
pub fn url_path(text: &str) -> Result<(), Trouble> {
    if !text.starts_with('/') {
        return Err(Trouble::new("a path starts with a slash").help("such as `/legacy/`"));
    }
    if text.contains(['{', '}', '*']) {
        return Err(
            Trouble::new("a `prefix` or `path` is literal: no `{…}`, no `*`")
                .help("use `get`, `post` … with `rpc` for a template"),
        );
    }
    let plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'"' | b'<' | b'>');
    if let Some(at) = text.bytes().position(|b| !plain(b)) {
        return Err(Trouble::new("this can't stand in the path of a URL")
            .help("query and fragment are no part of it; other characters are percent-encoded")
            .at(at..at + 1));
    }
    crate::route::RawPath::parse(text)
        .map(|_| ())
        .map_err(|error| Trouble::new(error.to_string()))
}

/// The name of an HTTP method, or `*`.
pub fn method(text: &str) -> Result<(), Trouble> {
    if text == "*" {
        return Ok(());
    }
    http::Method::from_bytes(text.as_bytes()).map_err(|_| {
        Trouble::new("expected the name of an HTTP method").help("such as `QUERY`, or `*` for any")
    })?;
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Trouble::new("HTTP methods are case-sensitive")
            .help(format!("write `{}`", text.to_ascii_uppercase())));
    }
    Ok(())
}

/// A top-level field's name, or `*` where that is allowed.
pub fn field(text: &str, star: bool) -> Result<(), Trouble> {
    if (star && text == "*") || is_identifier(text) {
        return Ok(());
    }
    let message = if star {
        "expected `\"*\"` or the name of a field of the message"
    } else if text == "*" {
        return Err(Trouble::new("expected the name of a field of the reply")
            .help("leave `response_body` out for the whole reply"));
    } else {
        "expected the name of a field of the reply"
    };
    Err(if text.contains('.') {
        Trouble::new(message).help("only a top-level field, so no dots")
    } else {
        Trouble::new(message)
    })
}

/// The name of an upstream: it goes into logs, metrics and messages.
pub fn name(text: &str) -> Result<(), Trouble> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=63).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Trouble::new(
        "expected a name of up to 63 letters, digits, `-`, `_` and `.`",
    ))
}
