//! Cross-origin policy (Fetch §3.2): which pages of other origins may read replies. Pure: compiled
//! from the config, asked by the exchange.
//!
//! Origins are compared as browsers write them: lower case, without a default port. `null` never
//! matches, since any sandboxed page can have it.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::model::HeaderPattern;
use super::scalar::Trouble;

/// What browsers keep a preflight for at most: Chrome two hours, Firefox a day.
pub const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// Request headers that clients of every protocol here send.
const REQUEST_HEADERS: &[&str] = &[
    "accept",
    "accept-language",
    "authorization",
    "cache-control",
    "connect-accept-encoding",
    "connect-content-encoding",
    "connect-protocol-version",
    "connect-timeout-ms",
    "content-encoding",
    "content-language",
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-event-id",
    "range",
    "traceparent",
    "tracestate",
    "x-grpc-web",
    "x-requested-with",
    "x-request-id",
    "x-server-timeout",
    "x-user-agent",
];

/// Response headers that clients of every protocol here read.
const RESPONSE_HEADERS: &[&str] = &[
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-encoding",
    "connect-content-encoding",
    "x-request-id",
    "retry-after",
    "etag",
    "location",
    "content-range",
    "content-disposition",
];

/// Names that come with a prefix: metadata and trailers as headers.
const RESPONSE_PREFIXES: &[&str] = &["grpc-metadata-", "grpc-trailer-", "trailer-"];

/// Who may read the replies of a route from a page of another origin, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    pub origins: Vec<Origin>,
    /// Cookies and other credentials of the browser come along.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
    /// Beside those of the protocols.
    pub allow_headers: Vec<HeaderPattern>,
    /// Beside those of the protocols.
    pub expose_headers: Vec<HeaderPattern>,
    /// Pages of public sites may ask a server in a private network.
    pub private_network: bool,
    /// The response headers that a page may read, whether or not they are there: written once.
    pub exposed: HeaderValue,
}

/// One origin, or some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://www.example.com`
    Exact(Box<str>),
    /// `https://*.example.com`, `http://localhost:*`
    Pattern {
        /// With `://`.
        scheme: Box<str>,
        /// With the dot before it for subdomains.
        host: Box<str>,
        subdomains: bool,
        port: Port,
    },
}

/// The port of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// None is written, so it is the scheme's own.
    Default,
    Any,
    /// With its colon.
    This(Box<str>),
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            credentials: false,
            max_age: MAX_AGE,
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            private_network: false,
            exposed: exposed(&[]),
        }
    }
}

impl Cors {
    /// Whether pages of `origin` may read the replies.
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        let origin = std::str::from_utf8(origin);
        origin.is_ok_and(|origin| self.origins.iter().any(|o| o.matches(origin)))
    }

    /// Whether the reply is the same whatever the origin is.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.origins.contains(&Origin::Any)
    }

    /// Whether a page may send this request header.
    #[must_use]
    pub fn takes_header(&self, name: &HeaderName) -> bool {
        REQUEST_HEADERS.contains(&name.as_str())
            || self.allow_headers.iter().any(|p| p.matches(name))
    }

    /// With these response headers beside those of the protocols.
    #[must_use]
    pub fn exposing(mut self, headers: Vec<HeaderPattern>) -> Self {
        self.exposed = exposed(&headers);
        self.expose_headers = headers;
        self
    }

    /// Whether a page may read a header that is not one of `exposed`.
    #[must_use]
    pub fn exposes(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        RESPONSE_PREFIXES.iter().any(|p| text.starts_with(p))
            || self.expose_headers.iter().any(|p| match p {
                HeaderPattern::Prefix(prefix) => text.starts_with(&**prefix),
                HeaderPattern::Name(_) => false,
            })
    }
}

fn exposed(named: &[HeaderPattern]) -> HeaderValue {
    let named = named.iter().filter_map(|p| match p {
        HeaderPattern::Name(name) => Some(name.as_str()),
        HeaderPattern::Prefix(_) => None,
    });
    let names: Vec<&str> = RESPONSE_HEADERS.iter().copied().chain(named).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

impl Origin {
    /// # Errors
    /// It is no origin, or one that nobody should let in.
    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        const FORMS: &str =
            "origins are written `https://www.example.com`, `https://*.example.com` or `*`";
        let wrong = |message: &'static str| Trouble::new(message).help(FORMS);
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.eq_ignore_ascii_case("null") {
            return Err(Trouble::new("`null` is the origin of any sandboxed page")
                .help("allowing it would let every site in"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("an origin has a scheme"));
        };
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !scheme_ok {
            return Err(wrong("expected a scheme such as `https`"));
        }
        if let Some(at) = rest.find('/') {
            let from = scheme.len() + 3 + at;
            return Err(
                wrong("an origin has no path, not even a slash at its end").at(from..text.len())
            );
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_port(rest).ok_or_else(|| wrong("expected a host"))?;
        let host = host.to_ascii_lowercase();
        let (name, subdomains) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (&*host, false),
        };
        if name.contains('*') {
            return Err(wrong("`*` stands for whole labels before the host alone"));
        }
        if !is_host(name) {
            return Err(wrong("expected a host"));
        }
        let port = match port {
            None => Port::Default,
            Some("*") => Port::Any,
            Some(port) => match (port.parse::<u16>(), &*scheme) {
                (Ok(80), "http") | (Ok(443), "https") => Port::Default,
                (Ok(number), _) if number > 0 => Port::This(format!(":{number}").into()),
                _ => return Err(wrong("the port is a number up to 65535, or `*`")),
            },
        };
        if !subdomains && port != Port::Any {
            let port = match &port {
                Port::This(port) => port,
                Port::Default | Port::Any => "",
            };
            return Ok(Self::Exact(format!("{scheme}://{name}{port}").into()));
        }
        let dot = if subdomains { "." } else { "" };
        Ok(Self::Pattern {
            scheme: format!("{scheme}://").into(),
            host: format!("{dot}{name}").into(),
            subdomains,
            port,
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *origin,
            Self::Pattern {
                scheme,
                host,
                subdomains,
                port,
            } => {
                let rest = origin.strip_prefix(&**scheme);
                let Some((name, own)) = rest.and_then(split_port) else {
                    return false;
                };
                let port_fits = match (port, own) {
                    (Port::Default, own) => own.is_none(),
                    (Port::Any, own) => own.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit())),
                    (Port::This(port), own) => own == port.strip_prefix(':'),
                };
                let name_fits = match subdomains {
                    // What stands before is a name: `evil.com/.example.com` has a slash in it.
                    true => name.strip_suffix(&**host).is_some_and(is_host),
                    false => *name == **host,
                };
                port_fits && name_fits
            }
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Pattern {
                scheme,
                host,
                subdomains,
                port,
            } => {
                let star = if *subdomains { "*" } else { "" };
                let port = match port {
                    Port::Default => "",
                    Port::Any => ":*",
                    Port::This(port) => port,
                };
                write!(f, "{scheme}{star}{host}{port}")
            }
        }
    }
}

/// Host and port of an authority; `None` when nothing is the host.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end_of_v6 = authority.starts_with('[').then(|| authority.find(']'));
    let split = match end_of_v6 {
        Some(end) => {
            let (host, rest) = authority.split_at_checked(end? + 1)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return None,
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    (!split.0.is_empty() && split.1 != Some("")).then_some(split)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.split('.').all(label)
}

/// A header of `allow_headers` and `expose_headers`: a name, a prefix, or `*`.
pub(super) fn header(text: &str) -> Result<HeaderPattern, Trouble> {
    const HELP: &str = "such as `x-tenant`, `x-app-*` for all that begin so, or `*`";
    let lower = text.to_ascii_lowercase();
    let wrong = || Trouble::new("expected a header name").help(HELP);
    match lower.strip_suffix('*') {
        Some("") => Ok(HeaderPattern::Prefix("".into())),
        Some(prefix) => match HeaderName::try_from(prefix) {
            Ok(name) => Ok(HeaderPattern::Prefix(name.as_str().into())),
            Err(_) => Err(wrong()),
        },
        None => HeaderName::try_from(&*lower)
            .map(HeaderPattern::Name)
            .map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        let origins = origins.iter().map(|o| Origin::parse(o).expect(o));
        Cors {
            origins: origins.collect(),
            ..Cors::default()
        }
    }

    #[test]
    fn origins_match_as_browsers_write_them() {
        for (pattern, yes, no) in [
            (
                "https://www.example.com",
                &["https://www.example.com"][..],
                &[
                    "http://www.example.com",
                    "https://www.example.com:8443",
                    "https://www.example.com.evil.com",
                    "https://evil-www.example.com",
                    "https://www.example.com/",
                    "null",
                    "",
                ][..],
            ),
            (
                "HTTPS://Shop.Example:443",
                &["https://shop.example"],
                &["https://shop.example:443", "http://shop.example"],
            ),
            (
                "https://*.example.com",
                &["https://a.example.com", "https://a.b.example.com"],
                &[
                    "https://example.com",
                    "https://evilexample.com",
                    "https://.example.com",
                    "https://a.example.com:444",
                    "https://a.example.com.evil.com",
                    "https://evil.com/.example.com",
                    "https://evil.com#.example.com",
                    "https://evil.com:1@x.example.com",
                    "http://a.example.com",
                ],
            ),
            (
                "http://localhost:*",
                &["http://localhost", "http://localhost:5173"],
                &[
                    "http://localhost:x",
                    "http://localhost:",
                    "http://localhost.evil.com:80",
                ],
            ),
            (
                "http://*.test:8080",
                &["http://a.test:8080"],
                &["http://a.test", "http://a.test:80801", "http://a.test:*"],
            ),
            (
                "http://[::1]:3000",
                &["http://[::1]:3000"],
                &["http://[::1]"],
            ),
            (
                "capacitor://localhost",
                &["capacitor://localhost"],
                &["http://localhost"],
            ),
            ("*", &["https://any.example", "null"], &[]),
        ] {
            let cors = cors(&[pattern]);
            for origin in yes {
                assert!(cors.allows(origin.as_bytes()), "{pattern} takes {origin}");
            }
            for origin in no {
                assert!(
                    !cors.allows(origin.as_bytes()),
                    "{pattern} refuses {origin}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "www.example.com",
            "https://",
            "https://www.example.com/",
            "https://www.example.com/app",
            "https://*",
            "https://a*.example.com",
            "https://*.*.example.com",
            "https://example.com:0",
            "https://example.com:99999",
            "https://user@example.com",
            "://x",
            "null",
            "ht tp://x",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_of_the_protocols_need_no_list() {
        let mut cors = cors(&["*"]);
        let name = |n: &'static str| HeaderName::from_static(n);
        assert!(cors.takes_header(&name("connect-protocol-version")));
        assert!(!cors.takes_header(&name("x-app-a")));
        assert!(cors.exposes(&name("grpc-metadata-cost")));
        assert!(!cors.exposes(&name("set-cookie")));
        cors.allow_headers = vec![header("X-App-*").expect("a prefix")];
        let cors = cors.exposing(vec![header("x-cost").expect("a name")]);
        assert!(cors.takes_header(&name("x-app-a")));
        let always = cors.exposed.to_str().expect("text");
        assert!(always.contains("grpc-status-details-bin") && always.ends_with(", x-cost"));
    }

    proptest! {
        /// Whatever a wildcard takes is an origin of a name that ends so, and nothing else.
        #[test]
        fn a_wildcard_takes_subdomains_alone(origin in "(https?://)?[a-z.:/@#?*\\[\\]0-9-]{0,12}(\\.example\\.com)?(:[0-9*]{1,3})?") {
            let cors = cors(&["https://*.example.com"]);
            let host = origin.strip_prefix("https://").and_then(|h| h.strip_suffix(".example.com"));
            let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let expected = host.is_some_and(|h| h.split('.').all(label));
            prop_assert_eq!(cors.allows(origin.as_bytes()), expected, "{}", origin);
        }

        /// What is written is what is matched, and parses to itself.
        #[test]
        fn an_exact_origin_takes_itself(origin in "[a-z]{2,8}://[a-z0-9]{1,8}(\\.[a-z]{1,5}){0,3}(:[1-9][0-9]{1,3})?") {
            let parsed = Origin::parse(&origin).expect("an origin");
            prop_assert!(cors(&[&parsed.to_string()]).allows(parsed.to_string().as_bytes()));
            prop_assert!(parsed.to_string() == origin || origin.ends_with(":80") || origin.ends_with(":443"));
        }
    }
}
