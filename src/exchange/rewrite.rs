//! The path that an upstream sees: what a route puts in place of its own part.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use crate::live::Below;

const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What of a path the upstream doesn't see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite<'r> {
    pub below: Below,
    /// In place of the route's own path; `None` leaves it.
    pub to: Option<&'r str>,
}

impl Rewrite<'_> {
    /// The part taken away is told in `X-Forwarded-Prefix`, for links that the upstream makes.
    pub(super) fn apply(&self, head: &mut Parts) {
        let Some(to) = self.to else {
            return;
        };
        let path = head.uri.path();
        let rest = self.below.rest(path);
        let own = path.strip_suffix(rest).unwrap_or(path);
        let prefix = HeaderValue::from_str(own).ok();
        let mut new = match rest {
            "" => to.to_owned(),
            rest => format!("{}{rest}", to.strip_suffix('/').unwrap_or(to)),
        };
        if let Some(query) = head.uri.query() {
            new.push('?');
            new.push_str(query);
        }
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.path_and_query = PathAndQuery::try_from(new).ok();
        // Scheme and authority stay as they are, so a whole URI stays one.
        head.uri = Uri::from_parts(parts).unwrap_or_default();
        if let Some(prefix) = prefix.filter(|p| !p.is_empty()) {
            head.headers.entry(FORWARDED_PREFIX).or_insert(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::PathMatch;

    #[test]
    fn the_rest_and_the_query_are_kept_as_they_came() {
        let prefix = |text: &str| Below::of(&PathMatch::Prefix(text.into()));
        let exact = Below::of(&PathMatch::Exact("/old".into()));
        for (below, to, uri, seen, told) in [
            (
                prefix("/api/"),
                "/",
                "/api/a%2Fb/?x=%20",
                "/a%2Fb/?x=%20",
                "/api",
            ),
            (prefix("/api/"), "/v2/", "/api/a", "/v2/a", "/api"),
            (prefix("/api/"), "/v2", "/api/", "/v2/", "/api"),
            (prefix("/api"), "/v2", "/api", "/v2", "/api"),
            (
                prefix("/%61pi/v1/"),
                "/",
                "/api/v%31/a//b",
                "/a//b",
                "/api/v%31",
            ),
            (prefix("/"), "/v2/", "/a", "/v2/a", ""),
            (exact, "/new", "/old?x", "/new?x", "/old"),
        ] {
            for base in ["", "http://shop.example"] {
                let request = http::Request::get(format!("{base}{uri}")).body(());
                let (mut head, ()) = request.unwrap().into_parts();
                Rewrite {
                    below,
                    to: Some(to),
                }
                .apply(&mut head);
                assert_eq!(head.uri.to_string(), format!("{base}{seen}"), "{uri}");
                let prefix = head.headers.get(FORWARDED_PREFIX);
                assert_eq!(prefix.map_or("", |v| v.to_str().unwrap()), told, "{uri}");
            }
        }
    }
}
