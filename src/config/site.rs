//! What routes do that pass nothing on, and what any route does to headers. Checked at load.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, StatusCode};

use super::model::{HeaderPattern, Place};
use super::redirect::RedirectTo;
use super::scalar::Trouble;

/// Files of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub root: PathBuf,
    /// Where the config names it.
    pub place: Place,
    /// Served for a folder; its path ends in a slash.
    pub index: Box<str>,
    /// Relative to the root: the page for whatever a browser navigates to that is no file.
    pub spa: Option<Box<str>>,
    /// `x.js.br`, `.zst` and `.gz` beside `x.js` are sent in its place to clients that take them.
    pub precompressed: bool,
    /// Files with a hash in their name never change.
    pub hashed: bool,
    /// Paths below the root whose files never change either.
    pub immutable: Vec<Box<str>>,
}

/// Another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub to: RedirectTo,
    pub status: StatusCode,
}

/// The same reply to every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: bytes::Bytes,
}

/// Which replies are compressed, and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Shorter replies stay as they are.
    pub bytes_min: u64,
    pub effort: Effort,
}

/// Time against size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    Fast,
    Balanced,
    Small,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            bytes_min: crate::limits::COMPRESSED_BYTES_MIN,
            effort: Effort::Balanced,
        }
    }
}

/// What is done to the headers of one direction, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    pub remove: Vec<HeaderPattern>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Set unless something is there.
    pub default: Vec<(HeaderName, HeaderValue)>,
    /// The same for `Strict-Transport-Security`, over TLS alone (RFC 6797 §7.2).
    pub hsts: Option<HeaderValue>,
}

impl HeaderRules {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.set.is_empty()
            && self.default.is_empty()
            && self.hsts.is_none()
    }
}

/// Headers that say how a message is framed or belong to one connection: ours alone.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header that a rule may set.
pub(super) fn settable(text: &str) -> Result<HeaderName, Trouble> {
    let wrong = || Trouble::new("expected a header name").help("such as `x-tenant`");
    let name = HeaderName::try_from(text.to_ascii_lowercase()).map_err(|_| wrong())?;
    if FRAMING.contains(&name.as_str()) {
        return Err(Trouble::new("the gateway alone writes this header")
            .help("it says how a message is framed, or belongs to one connection"));
    }
    Ok(name)
}

/// A header that a rule may remove: a name, or a prefix that ends in `*`.
pub(super) fn removable(text: &str) -> Result<HeaderPattern, Trouble> {
    let Some(prefix) = text.strip_suffix('*') else {
        return settable(text).map(HeaderPattern::Name);
    };
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() || HeaderName::try_from(&*prefix).is_err() {
        return Err(
            Trouble::new("expected a header name, or a prefix that ends in `*`")
                .help("such as `x-powered-by`, `x-internal-*`"),
        );
    }
    match FRAMING.iter().any(|name| name.starts_with(&*prefix)) {
        true => Err(Trouble::new(
            "this prefix takes headers that the gateway alone writes",
        )),
        false => Ok(HeaderPattern::Prefix(prefix.into())),
    }
}

pub(super) fn header_value(text: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_str(text)
        .map_err(|_| Trouble::new("expected visible characters, without line breaks"))
}

/// A path below a root: no way out of it.
pub(super) fn below_root(text: &str) -> Result<(), Trouble> {
    let parts = || text.trim_end_matches('/').split('/');
    let wrong = |message| Err(Trouble::new(message).help("such as `index.html`, `assets/`"));
    if text.starts_with('/') {
        return wrong("a path below `root` starts without a slash");
    }
    if parts().any(|p| p.is_empty() || p.contains(['\\', '\0'])) {
        return wrong("expected a path below `root`");
    }
    if parts().any(|p| p.starts_with('.')) {
        return wrong("hidden files and `..` are never served");
    }
    Ok(())
}

/// A file in each folder.
pub(super) fn file_name(text: &str) -> Result<(), Trouble> {
    below_root(text)?;
    match text.contains('/') {
        true => Err(Trouble::new("expected the name of a file, without a path")),
        false => Ok(()),
    }
}
