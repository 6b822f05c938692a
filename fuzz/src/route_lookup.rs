//! Lookups: the first line is `METHOD /path [HOST]`, each other line a route: `METHOD /template [HOST]`,
//! `prefix /path [HOST]`, `files /path [HOST]` (doesn't forward) or `path /path [HOST]`.
//!
//! The table is built or names its conflicts; a lookup stays within the visits that the table
//! promises, agrees with its explanation, and doesn't change with needless escapes in the path.

use std::fmt::Write;

use http::Method;
use transom::route::{
    Builder, HostPattern, Lookup, PathMatch, PathTemplate, RawPath, RouteId, Table, Verdict,
    decode_capture,
};

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.lines();
    let Some((method, path, host)) = lines.next().and_then(words) else {
        return;
    };
    let mut builder = Builder::default();
    for (id, route) in (0..200).zip(lines) {
        add(&mut builder, RouteId(id), route);
    }
    let table = match builder.build() {
        Ok(table) => table,
        Err(conflicts) => {
            assert!(!conflicts.is_empty());
            return;
        }
    };
    let (Ok(method), Ok(raw)) = (method.parse::<Method>(), RawPath::parse(path)) else {
        return;
    };
    let (answer, visits) = table.lookup_counted(host, &method, &raw);
    let hosts = 3 + host.matches('.').count() as u64;
    assert!(visits <= 2 * hosts * table.visits_max(), "{visits} visits");
    explained(&table, host, &method, &raw, &answer);
    if let Lookup::Matched(found) = &answer {
        for capture in &found.captures {
            assert!(path.contains(capture));
            assert!(
                decode_capture(capture, true).is_ok() && decode_capture(capture, false).is_ok()
            );
        }
    }
    let escaped = escape(path);
    let raw = RawPath::parse(&escaped).expect("the same path");
    let again = table.lookup(host, &method, &raw);
    assert_eq!(route(&again), route(&answer), "{escaped}");
}

fn words(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split(' ');
    Some((
        words.next()?,
        words.next()?,
        words.next().unwrap_or_default(),
    ))
}

fn add(builder: &mut Builder, id: RouteId, route: &str) {
    let Some((kind, path, host)) = words(route) else {
        return;
    };
    let hosts: Vec<_> = HostPattern::parse(host).into_iter().collect();
    let place = route.into();
    match kind {
        "prefix" => builder.path(&hosts, PathMatch::Prefix(path.into()), true, id, place),
        "files" => builder.path(&hosts, PathMatch::Prefix(path.into()), false, id, place),
        "path" => builder.path(&hosts, PathMatch::Exact(path.into()), false, id, place),
        method => {
            if let Ok(template) = PathTemplate::parse(path) {
                builder.rule(&hosts, method, &template, id, place);
            }
        }
    }
}

fn route(answer: &Lookup<'_>) -> Result<RouteId, Option<String>> {
    match answer {
        Lookup::Matched(found) => Ok(found.route),
        Lookup::MethodNotAllowed { allow } => Err(Some(format!("{allow:?}"))),
        Lookup::NotFound => Err(None),
    }
}

fn explained(table: &Table, host: &str, method: &Method, path: &RawPath<'_>, answer: &Lookup<'_>) {
    let considered = table.explain(host, method, path);
    let first = considered
        .first()
        .filter(|first| first.verdict == Verdict::Wins);
    assert_eq!(
        first.map(|first| first.route),
        route(answer).ok(),
        "{considered:#?}"
    );
}

/// Escapes all that can be escaped without another meaning; escapes of the path itself stay.
fn escape(path: &str) -> String {
    let mut out = String::new();
    let mut own = 0;
    for byte in path.bytes() {
        if byte == b'%' {
            own = 3;
        }
        if own > 0 || byte == b'/' || byte == b':' {
            own = 0.max(own - 1);
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
