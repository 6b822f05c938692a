//! Where a redirect goes: a URL or path with placeholders, checked at load so that no request can
//! make it lead to a host that the config doesn't name.

use super::scalar::Trouble;

/// A parsed `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTo {
    parts: Vec<Part>,
    has_query: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// What follows the prefix, without slashes at its beginning.
    Rest,
    /// The whole path.
    Path,
    /// The host that the client asked for, without its port.
    Host,
}

/// What of a request goes into the new place.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// As received, after the route's prefix.
    pub rest: &'r str,
    /// As received.
    pub path: &'r str,
    pub host: &'r str,
    pub query: Option<&'r str>,
}

impl RedirectTo {
    /// # Errors
    /// It is no URL and no path, or a placeholder stands where it could choose the host.
    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        const FORMS: &str =
            "such as `https://www.example.com{path}`, `https://{host}{path}` or `/new/{rest}`";
        let wrong = |message: &'static str| Trouble::new(message).help(FORMS);
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>');
        if let Some(at) = text.bytes().position(|b| !plain(b)) {
            let message = "this can't stand in a URL: percent-encode it";
            return Err(Trouble::new(message).at(at..at + 1));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once('{') {
            let (name, after) = inside
                .split_once('}')
                .ok_or_else(|| wrong("a `{` without its `}`"))?;
            if before.contains('}') {
                return Err(wrong("a `}` without its `{`"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(match name {
                "rest" => Part::Rest,
                "path" => Part::Path,
                "host" => Part::Host,
                _ => {
                    return Err(wrong(
                        "the placeholders are `{rest}`, `{path}` and `{host}`",
                    ));
                }
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err(wrong("a `}` without its `{`"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        check_places(text).map_err(wrong)?;
        Ok(Self {
            parts,
            has_query: text.contains('?'),
        })
    }

    /// The value of `Location`. The request's query comes along.
    #[must_use]
    pub fn expand(&self, asked: &Asked<'_>) -> String {
        let mut url = String::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Rest => url.push_str(asked.rest.trim_start_matches(['/', '\\'])),
                // At the beginning of a URL two slashes would make what follows the host.
                Part::Path if url.is_empty() => {
                    url.push('/');
                    url.push_str(asked.path.trim_start_matches(['/', '\\']));
                }
                Part::Path => url.push_str(asked.path),
                Part::Host => url.push_str(asked.host),
            }
        }
        if let Some(query) = asked.query.filter(|q| !q.is_empty()) {
            url.push(if self.has_query { '&' } else { '?' });
            url.push_str(query);
        }
        url
    }
}

impl std::fmt::Display for RedirectTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in &self.parts {
            f.write_str(match part {
                Part::Text(text) => text,
                Part::Rest => "{rest}",
                Part::Path => "{path}",
                Part::Host => "{host}",
            })?;
        }
        Ok(())
    }
}

/// `{host}` is a whole authority's name, `{path}` begins the path, `{rest}` is inside it.
fn check_places(text: &str) -> Result<(), &'static str> {
    if text.contains('#') && text.contains(['{', '?']) {
        return Err("a fragment would swallow the query");
    }
    let after_scheme = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let path = match after_scheme {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let end = rest.find("{path}").map_or(end, |at| at.min(end));
            let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let name = authority.split(':').next().unwrap_or_default();
            let named = name == "{host}" || !name.is_empty() && !name.contains(['{', '?', '@']);
            let port = authority.strip_prefix(name).unwrap_or_default();
            let port = port.strip_prefix(':').map(str::parse::<u16>);
            if !named || authority.contains('@') || matches!(port, Some(Err(_))) {
                return Err("expected a host after the scheme: a name, or `{host}` alone");
            }
            path
        }
        None if text.starts_with("//") => return Err("a URL has `http://` or `https://`"),
        None if text.starts_with('/') || text.starts_with("{path}") => text,
        None => return Err("expected a URL or a path"),
    };
    if path.contains("{host}") {
        return Err("`{host}` stands for the host alone");
    }
    if path.get(1..).is_some_and(|inner| inner.contains("{path}")) {
        return Err("`{path}` is the whole path: only a host may come before it");
    }
    // Right after a slash: what it is joined to is never part of a name.
    let joined = path.match_indices("{rest}").all(|(at, _)| {
        let before = path.get(..at).unwrap_or_default();
        before.ends_with(['/', '=']) && before != "//"
    });
    if !joined {
        return Err("`{rest}` comes after a slash");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location(to: &str, rest: &str, path: &str, query: Option<&str>) -> String {
        let to = RedirectTo::parse(to).unwrap_or_else(|e| panic!("{to}: {}", e.message));
        to.expand(&Asked {
            rest,
            path,
            host: "shop.example",
            query,
        })
    }

    #[test]
    fn placeholders_and_the_query_are_carried() {
        for (to, rest, path, query, expected) in [
            (
                "/new/{rest}",
                "a/b%20c",
                "/old/a/b%20c",
                None,
                "/new/a/b%20c",
            ),
            ("/new/{rest}", "a", "/old/a", Some("x=1"), "/new/a?x=1"),
            (
                "/new?from=old",
                "",
                "/old",
                Some("x=1"),
                "/new?from=old&x=1",
            ),
            ("/find?q={rest}", "a", "/old/a", None, "/find?q=a"),
            (
                "https://{host}{path}",
                "a",
                "/a",
                Some("b"),
                "https://shop.example/a?b",
            ),
            (
                "https://{host}:8443{path}",
                "",
                "/",
                None,
                "https://shop.example:8443/",
            ),
            (
                "https://www.example.com",
                "",
                "/",
                None,
                "https://www.example.com",
            ),
            ("{path}", "", "//evil.example/", None, "/evil.example/"),
            (
                "/{rest}",
                "/evil.example/",
                "/old//evil.example/",
                None,
                "/evil.example/",
            ),
        ] {
            assert_eq!(location(to, rest, path, query), expected, "{to}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for to in [
            "www.example.com",
            "//www.example.com",
            "ftp://www.example.com/",
            "javascript:alert(1)",
            "https://",
            "https:///x",
            "https://{rest}/",
            "https://{host}.evil/",
            "https://www.example.com{rest}",
            "https://user@www.example.com/",
            "https://www.example.com:x/",
            "/a/{path}",
            "/{host}/",
            "/a{rest}",
            "/a/{what}",
            "/a/{rest",
            "/a/rest}",
            "/a b",
            "/a\\b",
            "/a#{rest}",
        ] {
            assert!(RedirectTo::parse(to).is_err(), "{to}");
        }
    }

    proptest! {
        /// No request makes a redirect within the site leave it.
        #[test]
        fn a_path_stays_on_its_host(to in "(/|\\{path\\}|/new/|/\\?q=)(\\{rest\\})?", rest in "[/\\\\a.:@%]{0,12}") {
            if let Ok(parsed) = RedirectTo::parse(&to) {
                let path = format!("/{rest}");
                let url = parsed.expand(&Asked { rest: &rest, path: &path, host: "h", query: None });
                prop_assert!(url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\"), "{url}");
            }
        }
    }
}
