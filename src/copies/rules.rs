//! What HTTP says about keeping an answer, and about giving it to somebody else.

use std::time::Duration;

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap, HeaderName, PRAGMA, RANGE, SET_COOKIE, VARY,
};

/// What an answer that may be kept says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// It is anybody's, whoever asked.
    pub is_public: bool,
    /// How old it was when it came.
    pub age: Duration,
    /// How old it may get, where it says so itself (RFC 5861 §4).
    pub usable: Option<Duration>,
}

impl Said {
    /// `None` for an answer that is not to be kept, or never to be given out later.
    pub(super) fn of(answer: &HeaderMap) -> Option<Self> {
        // Who it is for is known to the upstream alone.
        if answer.contains_key(SET_COOKIE) {
            return None;
        }
        let has = |name| directives(answer).any(|(n, _)| n.eq_ignore_ascii_case(name));
        let seconds = |name| {
            let mut all = directives(answer);
            let (_, value) = all.find(|(n, _)| n.eq_ignore_ascii_case(name))?;
            Some(Duration::from_secs(value.trim_matches('"').parse().ok()?))
        };
        if ["no-store", "private", "no-cache"].into_iter().any(has) {
            return None;
        }
        let if_error = seconds("stale-if-error");
        let strict = ["must-revalidate", "proxy-revalidate", "s-maxage"];
        if if_error.is_none() && strict.into_iter().any(has) {
            return None;
        }
        let fresh = seconds("s-maxage").or_else(|| seconds("max-age"));
        let age = answer.get(AGE).and_then(|v| v.to_str().ok()?.parse().ok());
        Some(Self {
            is_public: has("public"),
            age: Duration::from_secs(age.unwrap_or_default()),
            usable: if_error.map(|extra| fresh.unwrap_or_default().saturating_add(extra)),
        })
    }
}

/// The headers of requests that an answer depends on. `None` where that can't be told.
pub(super) fn vary(answer: &HeaderMap) -> Option<Box<[HeaderName]>> {
    let mut names = Vec::new();
    for line in answer.get_all(VARY) {
        for name in line.to_str().ok()?.split(',').map(str::trim) {
            if name == "*" {
                return None;
            }
            if !name.is_empty() {
                names.push(HeaderName::try_from(name).ok()?);
            }
        }
    }
    // Not everybody takes this coding, and it isn't said who does.
    if answer.contains_key(CONTENT_ENCODING) && names.is_empty() {
        return None;
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names.into())
}

/// The answer to such a request is for this client, or not the whole.
pub(super) fn forbids_keeping(request: &HeaderMap) -> bool {
    let mut all = directives(request);
    request.contains_key(RANGE) || all.any(|(name, _)| name.eq_ignore_ascii_case("no-store"))
}

/// The client wants what the upstream says now, or nothing.
pub(super) fn wants_no_copy(request: &HeaderMap) -> bool {
    let no_cache = |(name, _): (&str, &str)| name.eq_ignore_ascii_case("no-cache");
    let old_way = || {
        let pragma = request.get(PRAGMA).and_then(|v| v.to_str().ok());
        pragma.is_some_and(|text| text.trim().eq_ignore_ascii_case("no-cache"))
    };
    match request.contains_key(CACHE_CONTROL) {
        true => directives(request).any(no_cache),
        false => old_way(),
    }
}

/// Names and values of `Cache-Control`. A value of several words counts as its first.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|word| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.trim(), value.trim())
    })
}
