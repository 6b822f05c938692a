//! Routes: from (host, method, raw path) to a [`RouteId`] and the raw text of its variables.
//!
//! Knows nothing of protobuf. A [`Table`] is immutable; its lookup walks a set of states, so its cost
//! grows with the path and not with the number of routes.

use std::sync::Arc;

use smallvec::SmallVec;

/// Which route: an index that the caller gave when it built the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// A parsed path template of `google.api.http`.
#[derive(Clone, Debug)]
pub struct PathTemplate {
    pub(crate) text: Box<str>,
    pub(crate) variables: Box<[Variable]>,
}

/// One `{field.path=segments}` of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// `game.id`
    pub field_path: Box<str>,
    /// Whether it may span several segments (`%2F` stays as it is then).
    pub multi: bool,
}

/// Why a template can't be parsed: byte offset in the template and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset} of {template:?})")]
pub struct TemplateError {
    pub template: Box<str>,
    pub offset: usize,
    pub message: Box<str>,
}

impl PathTemplate {
    /// # Errors
    /// Anything but the grammar of `google/api/http.proto`.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        Err(TemplateError {
            template: template.into(),
            offset: 0,
            message: "stub".into(),
        })
    }
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A host that a route is limited to: exact, or `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern(pub(crate) Box<str>);

impl HostPattern {
    /// Lower-cased; `None` when it isn't a host name or a `*.` wildcard of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(text.to_ascii_lowercase().into()))
    }
}

/// The path of a request as received: checked, split into segments, not decoded.
#[derive(Clone, Debug)]
pub struct RawPath<'p> {
    pub(crate) text: &'p str,
}

/// Why a request path is refused before routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path must start with a slash")]
    NotAbsolute,
    #[error("the path has a broken percent escape")]
    BadEscape,
    #[error("the path has an encoded NUL or control character")]
    Control,
    #[error("the path has a dot segment")]
    DotSegment,
    #[error("the path is not UTF-8 once decoded")]
    NotUtf8,
    #[error("the path has too many segments")]
    TooManySegments,
}

impl<'p> RawPath<'p> {
    /// # Errors
    /// See [`PathError`].
    pub fn parse(path: &'p str) -> Result<Self, PathError> {
        Ok(Self { text: path })
    }
}

/// What a prefix or path route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    Exact(Box<str>),
    Prefix(Box<str>),
}

/// Two routes of the same shape.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{shape}: {first} and {second} match the same requests")]
pub struct Conflict {
    /// `GET /v1/games/*`
    pub shape: Box<str>,
    pub first: Arc<str>,
    pub second: Arc<str>,
    pub routes: (RouteId, RouteId),
}

/// Collects routes for a [`Table`].
#[derive(Debug, Default)]
pub struct Builder {}

impl Builder {
    /// Adds an HTTP rule. `method` is upper-case or `*`; no hosts means any host; `place` says where
    /// the rule is written (`games.proto:12:3`).
    pub fn rule(
        &mut self,
        _hosts: &[HostPattern],
        _method: &str,
        _template: &PathTemplate,
        _id: RouteId,
        _place: Arc<str>,
    ) {
    }

    /// Adds a `prefix` or `path` route. With `forwards` it also takes requests whose path matches
    /// rules that all refuse the method.
    pub fn path(
        &mut self,
        _hosts: &[HostPattern],
        _path: PathMatch,
        _forwards: bool,
        _id: RouteId,
        _place: Arc<str>,
    ) {
    }

    /// # Errors
    /// Every pair of routes that match the same requests.
    pub fn build(self) -> Result<Table, Vec<Conflict>> {
        Ok(Table {})
    }
}

/// All routes of one generation.
#[derive(Debug, Default)]
pub struct Table {}

/// A route that takes the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'p> {
    pub route: RouteId,
    /// Raw (still percent-encoded) text of each variable, in the order of the template's variables.
    /// Empty for `prefix` and `path` routes.
    pub captures: SmallVec<[&'p str; 4]>,
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'p> {
    Matched(Match<'p>),
    /// Rules have this path, none this method. `allow` is the value of an `Allow` header.
    MethodNotAllowed {
        allow: http::HeaderValue,
    },
    NotFound,
}

impl Table {
    /// The route for a request. `host` is without port, lower-cased or not. `HEAD` matches a `GET`
    /// rule when no rule has `HEAD`.
    #[must_use]
    pub fn lookup<'p>(
        &self,
        _host: &str,
        _method: &http::Method,
        _path: &RawPath<'p>,
    ) -> Lookup<'p> {
        Lookup::NotFound
    }

    /// Every rule that was near, best first, with why it lost (for `transom explain`).
    #[must_use]
    pub fn explain(
        &self,
        _host: &str,
        _method: &http::Method,
        _path: &RawPath<'_>,
    ) -> Vec<Considered> {
        Vec::new()
    }
}

/// One rule that `explain` looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    pub route: RouteId,
    /// `GET /v1/games/{game_id}`
    pub rule: Box<str>,
    pub place: Arc<str>,
    pub verdict: Verdict,
}

/// Why a rule won or lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wins,
    /// It matches, but this one is more specific, from this segment on.
    LessSpecific {
        than: RouteId,
        segment: usize,
    },
    WrongMethod {
        accepts: Box<str>,
    },
    WrongHost,
    /// The path differs first in this segment (0-based): what the rule wants, what the request has.
    Differs {
        segment: usize,
        wants: Box<str>,
        has: Box<str>,
    },
    /// Same literals, but the path is longer or shorter, or has no such verb.
    Shape {
        why: Box<str>,
    },
}

/// Decodes a captured variable: all escapes for a single segment; all but `%2F` for a `multi` one.
///
/// # Errors
/// When the decoded bytes are not UTF-8.
pub fn decode_capture(raw: &str, multi: bool) -> Result<std::borrow::Cow<'_, str>, PathError> {
    let _ = multi;
    Ok(std::borrow::Cow::Borrowed(raw))
}
