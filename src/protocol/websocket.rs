//! WebSockets for calls (RFC 6455): one message of a method is one message of the socket, and the
//! call's status is the code that the socket is closed with.
//!
//! Subprotocols: `json` (also when none is offered) for text messages, `proto` for binary ones. A page
//! can't set headers on a handshake, so a token may come as one more subprotocol: `bearer.<token>`, or
//! `Bearer` followed by the token itself. An empty text message says that the client has sent all of
//! its requests; a close says that it wants nothing more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::failure::Failure;
use crate::transcode::Inner;
use crate::transcode::error_body::client_message;

/// The one version that there is.
pub const VERSION: HeaderValue = HeaderValue::from_static("13");
/// A close frame has room for 125 bytes, two of them the code's.
pub const REASON_BYTES_MAX: usize = 123;
/// A call's status is this plus its number: the range that RFC 6455 §7.4.2 leaves to applications.
const OF_STATUS: u16 = 4000;

/// What a socket is closed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    /// At most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

impl Close {
    /// The call ended with OK.
    pub const DONE: u16 = 1000;
    /// The gateway stops, or the connection is old enough.
    pub const LEAVING: u16 = 1001;
    /// The client broke the rules of the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// Text where binary is spoken, or the other way round.
    pub const WRONG_KIND: u16 = 1003;
    /// A text message that isn't UTF-8.
    pub const NOT_TEXT: u16 = 1007;
    /// More frames than sense.
    pub const POLICY: u16 = 1008;
    /// A message over the limit.
    pub const TOO_LARGE: u16 = 1009;

    /// A code with a word on it, cut to what fits.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        Self {
            code,
            reason: cut(reason, REASON_BYTES_MAX).to_owned(),
        }
    }

    /// What a client is told of a call that failed: 4000 and the number of its code, and
    /// `CODE_NAME: message`. A message over a limit is 1009.
    #[must_use]
    pub fn of(failure: &Failure, inner: Inner) -> Self {
        let code = match failure.http_status {
            Some(StatusCode::PAYLOAD_TOO_LARGE) => Self::TOO_LARGE,
            _ => OF_STATUS + u16::from(failure.code.number()),
        };
        let name = failure.code.name();
        match client_message(failure, inner) {
            "" => Self::new(code, name),
            message => Self::new(code, &format!("{name}: {message}")),
        }
    }
}

/// The beginning of a text that fits into `max` bytes, with no character cut.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON in text messages.
    #[default]
    Json,
    /// Protobuf in binary messages.
    Proto,
}

/// What a client offers as subprotocols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub format: Format,
    /// The one to answer with: never the token, and never one that wasn't offered.
    pub chosen: Option<&'static str>,
    /// An `authorization` header's value.
    pub authorization: Option<HeaderValue>,
}

impl Offer {
    /// Reads `Sec-WebSocket-Protocol`. Names that aren't ours are passed over.
    ///
    /// # Errors
    /// 400: what is no list of names, and a name or a token twice.
    pub fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut names = Vec::new();
        for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            for name in value.as_bytes().split(|b| *b == b',') {
                let name = name.trim_ascii();
                let name = std::str::from_utf8(name).ok().filter(|n| is_token(n));
                let name = name.ok_or_else(|| bad("Sec-WebSocket-Protocol is no list of names"))?;
                if names.contains(&name) {
                    return Err(bad("Sec-WebSocket-Protocol has a name twice"));
                }
                names.push(name);
            }
        }
        let mut offer = Self::default();
        let mut etcd = false;
        let mut names = names.into_iter();
        while let Some(name) = names.next() {
            let token = if name == "Bearer" {
                etcd = true;
                names.next()
            } else {
                name.strip_prefix("bearer.").filter(|t| !t.is_empty())
            };
            match (name, token) {
                (_, Some(token)) => offer.authorize(token)?,
                ("json", None) if offer.chosen.is_none() => offer.choose(Format::Json, "json"),
                ("proto", None) if offer.chosen.is_none() => offer.choose(Format::Proto, "proto"),
                _ => {}
            }
        }
        // Browsers want one of their names back: this one tells nothing.
        if etcd && offer.chosen.is_none() {
            offer.chosen = Some("Bearer");
        }
        Ok(offer)
    }

    fn choose(&mut self, format: Format, name: &'static str) {
        self.format = format;
        self.chosen = Some(name);
    }

    fn authorize(&mut self, token: &str) -> Result<(), Failure> {
        if self.authorization.is_some() {
            return Err(bad("Sec-WebSocket-Protocol has more than one token"));
        }
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| bad("Sec-WebSocket-Protocol is no list of names"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }
}

/// A `token` of RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn bad(message: &'static str) -> Failure {
    Failure::client(message)
}

/// The key of a handshake whose request line and `Connection` say that it is one.
///
/// # Errors
/// 426 for another version (the reply must name ours), 400 for a key that is none.
pub fn key(headers: &HeaderMap) -> Result<&HeaderValue, Failure> {
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    if versions.next() != Some(&VERSION) || versions.next().is_some() {
        let failure = Failure::client("the version of WebSocket spoken here is 13");
        return Err(failure.status(StatusCode::UPGRADE_REQUIRED));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(bad("a WebSocket handshake has one Sec-WebSocket-Key"));
    };
    match STANDARD.decode(key.as_bytes()) {
        Ok(nonce) if nonce.len() == 16 => Ok(key),
        _ => Err(bad("Sec-WebSocket-Key must be 16 bytes in base64")),
    }
}

/// What the reply to a handshake in another version says.
pub fn put_version(headers: &mut HeaderMap) {
    headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Whether a page of `origin` comes from `host`. A proxy in front may have taken TLS off, so the
/// scheme counts only where the connection is known to be `secure`.
#[must_use]
pub fn is_same_origin(origin: &[u8], host: &str, secure: bool) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else {
        return false;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "https" => ":443",
        "http" if !secure => ":80",
        _ => return false,
    };
    let plain = |text: &str| text.strip_suffix(port).map_or(text.len(), str::len);
    let (authority, host) = (
        authority.get(..plain(authority)).unwrap_or_default(),
        host.get(..plain(host)).unwrap_or_default(),
    );
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

/// The method that `?method=` names, and the query without it.
#[must_use]
pub fn named_method(query: &str) -> Option<(Method, String)> {
    let is_name = |pair: &&str| pair.starts_with("method=");
    let mut named = query.split('&').filter(is_name);
    let (Some(pair), None) = (named.next(), named.next()) else {
        return None;
    };
    let method = Method::from_bytes(pair.strip_prefix("method=")?.as_bytes()).ok()?;
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_name(pair)).collect();
    Some((method, rest.join("&")))
}

#[cfg(test)]
mod tests;
