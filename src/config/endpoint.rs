//! Where instances of an upstream are, as it is written in a config.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use http::uri::Authority;

use super::scalar::{Trouble, is_host_name};

/// How to reach one or more instances.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An IP address, or a DNS name with any number of them.
    Host { host: Arc<str>, port: u16 },
    /// The targets of the name's SRV records, each with its own port (RFC 2782).
    Srv(Arc<str>),
    /// The endpoints of a Kubernetes service.
    Kubernetes(Service),
    /// A socket of this machine, by its file.
    Unix(Arc<Path>),
}

/// A Kubernetes service, and the port that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub name: Arc<str>,
    /// `None`: that of the cluster's settings, or the pod's own.
    pub namespace: Option<Arc<str>>,
    pub port: ServicePort,
}

/// A port of the pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServicePort {
    Number(u16),
    Name(Arc<str>),
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// How endpoints are written.
const FORMS: &str = "endpoints are written `dns:host:port`, `host:port`, `10.0.0.7:3000`, \
                     `[fd00::7]:3000`, `srv:_grpc._tcp.games.internal`, \
                     `k8s:games.default:grpc` or `unix:/run/games.sock`";

/// The longest name of a socket's file (`sun_path` of Linux, which ends in a zero).
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Endpoint {
    /// `host` is an IP address or a DNS name.
    #[must_use]
    pub fn host(host: impl ToString, port: u16) -> Self {
        Self::Host {
            host: host.to_string().into(),
            port,
        }
    }

    /// The instance, when it is one whose address is known.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Host { host, port } => {
                let ip = host.parse().ok()?;
                Some(SocketAddr::new(ip, *port))
            }
            Self::Srv(_) | Self::Kubernetes(_) | Self::Unix(_) => None,
        }
    }

    /// What its instances are called in requests, and by their certificates. `None` for what the
    /// config refuses.
    #[must_use]
    pub fn authority(&self) -> Option<Authority> {
        match self {
            Self::Host { .. } => self.to_string().parse().ok(),
            // Not the target: whoever answers for a name server could choose that (RFC 6125 §6.2.1).
            Self::Srv(name) => {
                let is_service = |label: &&str| label.starts_with('_');
                let domain: Vec<_> = name.split('.').skip_while(is_service).collect();
                domain.join(".").trim_end_matches('.').parse().ok()
            }
            // A name that certificates in clusters have.
            Self::Kubernetes(service) => {
                let space = service.namespace.as_ref();
                let name = match space {
                    Some(space) => format!("{}.{space}.svc", service.name),
                    None => service.name.to_string(),
                };
                name.parse().ok()
            }
            // As gRPC has it for sockets of this machine.
            Self::Unix(_) => Some(Authority::from_static("localhost")),
        }
    }

    /// With a path that starts at `folder`.
    pub(super) fn in_folder(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path).into()),
            other => other,
        }
    }
}

/// As it is written.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Srv(name) => write!(f, "srv:{name}"),
            Self::Kubernetes(service) => {
                write!(f, "k8s:{}", service.name)?;
                if let Some(namespace) = &service.namespace {
                    write!(f, ".{namespace}")?;
                }
                write!(f, ":{}", service.port)
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads an endpoint.
pub(super) fn parse(text: &str) -> Result<Endpoint, Trouble> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    if let Some(name) = text.strip_prefix("srv:") {
        return srv(name);
    }
    if let Some(service) = text.strip_prefix("k8s:") {
        return kubernetes(service);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(Trouble::new("an endpoint has no scheme")
            .help("leave it off; `protocol` says what is spoken, `tls: on` that it is over TLS")
            .at(0..scheme.len() + 3));
    }
    match text.strip_prefix("dns:") {
        Some(named) => host_and_port(named, true),
        None => host_and_port(text, false),
    }
}

fn wrong(message: &'static str) -> Trouble {
    Trouble::new(message).help(FORMS)
}

fn unix(path: &str) -> Result<Endpoint, Trouble> {
    if path.is_empty() {
        return Err(wrong("this endpoint has no path"));
    }
    if path.starts_with("//") {
        return Err(wrong("`unix:` is followed by a path alone").at(5..7));
    }
    if path.contains('\0') || path.len() > UNIX_PATH_BYTES_MAX {
        return Err(Trouble::new(
            "a socket's path has 107 bytes at most, and no zero",
        ));
    }
    Ok(Endpoint::Unix(Path::new(path).into()))
}

fn srv(name: &str) -> Result<Endpoint, Trouble> {
    if let Some((_, port)) = name.rsplit_once(':') {
        return Err(wrong("`srv:` takes no port: its records have them")
            .at("srv:".len() + name.len() - port.len() - 1..4 + name.len()));
    }
    let endpoint = Endpoint::Srv(name.to_ascii_lowercase().into());
    match is_host_name(name) && endpoint.authority().is_some() {
        true => Ok(endpoint),
        false => Err(wrong("this is no DNS name")),
    }
}

fn kubernetes(text: &str) -> Result<Endpoint, Trouble> {
    const HELP: &str = "such as `k8s:games.default:grpc`: a service, its namespace (unless it is the \
                        pod's own), and the name of a port, or its number in the pods";
    let wrong = |message| Trouble::new(message).help(HELP);
    let Some((names, port)) = text.split_once(':') else {
        return Err(wrong("this endpoint has no port"));
    };
    let (name, namespace) = match names.split_once('.') {
        Some((name, namespace)) => (name, Some(namespace)),
        None => (names, None),
    };
    let mut labels = std::iter::once(name).chain(namespace);
    if !labels.all(is_label) {
        return Err(wrong("this is no name of a Kubernetes service"));
    }
    let port = match port.parse() {
        Ok(0) => return Err(wrong("the port is a number from 1 to 65535, or a name")),
        Ok(number) => ServicePort::Number(number),
        Err(_) if is_label(port) && port.len() <= 15 => ServicePort::Name(port.into()),
        Err(_) => return Err(wrong("the port is a number from 1 to 65535, or a name")),
    };
    Ok(Endpoint::Kubernetes(Service {
        name: name.into(),
        namespace: namespace.map(Into::into),
        port,
    }))
}

/// The name of a namespace.
pub(super) fn namespace(text: &str) -> Result<Box<str>, Trouble> {
    match is_label(text) {
        true => Ok(text.into()),
        false => Err(Trouble::new(
            "expected up to 63 small letters, digits and `-`",
        )),
    }
}

/// A name as Kubernetes has them (RFC 1123 §2.1, in small letters).
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn host_and_port(text: &str, named: bool) -> Result<Endpoint, Trouble> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(wrong("this endpoint has no port"));
    };
    let port: u16 = match port.parse() {
        Ok(0) | Err(_) => return Err(wrong("the port is a number from 1 to 65535")),
        Ok(port) => port,
    };
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() && !named => inner,
        Some(_) => return Err(wrong("expected an IPv6 address between the brackets")),
        None if host.contains(':') => {
            return Err(wrong("an IPv6 address stands between brackets"));
        }
        None => host,
    };
    if named && host.parse::<IpAddr>().is_ok() {
        return Err(wrong("`dns:` takes a name, and this is an address"));
    }
    let numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit()));
    let is_address = host.parse::<IpAddr>().is_ok();
    if !is_address && (numeric || !is_host_name(host)) {
        return Err(wrong("this host is no address and no DNS name"));
    }
    Ok(Endpoint::host(host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_told_again() {
        for (text, told, authority) in [
            ("localhost:1", "localhost:1", "localhost:1"),
            (
                "dns:Games.internal:50051",
                "games.internal:50051",
                "games.internal:50051",
            ),
            ("10.0.0.7:3000", "10.0.0.7:3000", "10.0.0.7:3000"),
            ("[fd00::7]:3000", "[fd00::7]:3000", "[fd00::7]:3000"),
            (
                "srv:_grpc._tcp.Games.internal",
                "srv:_grpc._tcp.games.internal",
                "games.internal",
            ),
            (
                "srv:games.service.consul.",
                "srv:games.service.consul.",
                "games.service.consul",
            ),
            (
                "k8s:games.default:grpc",
                "k8s:games.default:grpc",
                "games.default.svc",
            ),
            ("k8s:games:50051", "k8s:games:50051", "games"),
            ("unix:/run/games.sock", "unix:/run/games.sock", "localhost"),
            (
                "unix:games.sock",
                "unix:/etc/transom/games.sock",
                "localhost",
            ),
        ] {
            let endpoint = parse(text).unwrap().in_folder(Path::new("/etc/transom"));
            assert_eq!(endpoint.to_string(), told);
            assert_eq!(endpoint.authority().unwrap(), authority);
        }
    }

    #[test]
    fn only_addresses_have_one() {
        let address = |text: &str| parse(text).unwrap().address();
        assert_eq!(address("[::1]:3"), Some("[::1]:3".parse().unwrap()));
        assert_eq!(address("localhost:3"), None);
        assert_eq!(address("srv:_grpc._tcp.games"), None);
        assert_eq!(address("unix:/run/games.sock"), None);
    }
}
