//! The table against a matcher that tries every route in turn and sorts what fits.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;
use crate::route::{Builder, HostPattern, PathMatch, PathTemplate, Verdict};

/// A template as the generator makes it: flat segments with variables laid over them.
#[derive(Clone, Debug)]
enum Kind {
    Rule {
        method: &'static str,
        segments: Vec<&'static str>,
        verb: &'static str,
        /// Start and length of each variable.
        variables: Vec<(usize, usize)>,
    },
    Prefix(String, bool),
    Exact(String, bool),
}

#[derive(Clone, Debug)]
struct Route {
    host: &'static str,
    kind: Kind,
}

fn plain(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

impl Route {
    fn template(&self) -> Option<String> {
        let Kind::Rule {
            segments,
            verb,
            variables,
            ..
        } = &self.kind
        else {
            return None;
        };
        let mut parts: Vec<String> = segments.iter().map(|s| (*s).to_owned()).collect();
        for (number, (from, len)) in variables.iter().enumerate() {
            parts[*from] = format!("{{v{number}={}", parts[*from]);
            parts[from + len - 1].push('}');
        }
        Some(format!("/{}{verb}", parts.join("/")))
    }

    /// What must not be there twice.
    fn shape(&self) -> String {
        let host = self.host;
        match &self.kind {
            Kind::Rule {
                method,
                segments,
                verb,
                ..
            } => {
                let segments: Vec<_> = segments.iter().map(|s| plain(s)).collect();
                format!("{host} {method} {segments:?}{}", plain(verb))
            }
            Kind::Prefix(path, _) => format!("{host} prefix {}", plain(path)),
            Kind::Exact(path, _) => format!("{host} path {}", plain(path)),
        }
    }

    fn add_to(&self, builder: &mut Builder, index: usize) {
        let hosts: Vec<_> = HostPattern::parse(self.host).into_iter().collect();
        let id = RouteId(index as u32);
        let place: Arc<str> = format!("line {index}").into();
        match &self.kind {
            Kind::Rule { method, .. } => {
                let template = PathTemplate::parse(&self.template().unwrap()).unwrap();
                builder.rule(&hosts, method, &template, id, place);
            }
            Kind::Prefix(path, forwards) => {
                builder.path(
                    &hosts,
                    PathMatch::Prefix(path.as_str().into()),
                    *forwards,
                    id,
                    place,
                );
            }
            Kind::Exact(path, forwards) => {
                builder.path(
                    &hosts,
                    PathMatch::Exact(path.as_str().into()),
                    *forwards,
                    id,
                    place,
                );
            }
        }
    }

    /// Lower is tried first; `None`: not for this host.
    fn host_rank(&self, host: &str) -> Option<usize> {
        match self.host.strip_prefix('*') {
            _ if self.host.is_empty() => Some(1000),
            None => (self.host == host).then_some(0),
            Some(tail) => {
                (host.len() > tail.len() && host.ends_with(tail)).then(|| 900 - tail.len())
            }
        }
    }

    /// The directory in which non-forwarding prefixes of fewer segments take nothing.
    fn directory(&self) -> Option<Vec<String>> {
        let Kind::Rule { segments, .. } = &self.kind else {
            return None;
        };
        let literals = segments.iter().take_while(|s| !s.starts_with('*')).count();
        let keep = if literals == segments.len() {
            literals - 1
        } else {
            literals
        };
        Some(segments[..keep].iter().map(|s| plain(s)).collect())
    }

    /// A sort key for each way in which the route fits the path, and its captures.
    fn fits(&self, path: &str) -> Option<(Vec<u8>, Vec<String>)> {
        let raw: Vec<&str> = path[1..].split('/').collect();
        match &self.kind {
            Kind::Prefix(prefix, _) => {
                let under = prefix.ends_with('/');
                let own = prefix.trim_matches('/');
                let own: Vec<_> = own
                    .split('/')
                    .filter(|s| !s.is_empty())
                    .map(plain)
                    .collect();
                let has: Vec<_> = raw.iter().map(|s| plain(s)).collect();
                let fits = has.starts_with(&own) && (!under || has.len() > own.len());
                let mut key = vec![b'a'; own.len()];
                if has.len() == own.len() {
                    *key.last_mut()? = b'b';
                }
                key.push(if under { b'x' } else { b'y' });
                fits.then_some((key, Vec::new()))
            }
            Kind::Exact(own, _) => {
                let mut key = vec![b'a'; raw.len() - 1];
                key.push(b'b');
                (plain(own) == plain(path)).then_some((key, Vec::new()))
            }
            Kind::Rule {
                segments,
                verb,
                variables,
                ..
            } => {
                let mut raw = raw;
                let with_verb = !verb.is_empty();
                if with_verb {
                    let last = raw.pop()?;
                    let (head, tail) = last.rsplit_once(':')?;
                    if plain(tail) != plain(&verb[1..]) {
                        return None;
                    }
                    raw.push(head);
                }
                let (key, taken) = deal(segments, &raw, with_verb)?;
                let captures = variables.iter().map(|(from, len)| {
                    let parts = taken[*from..from + len].concat();
                    parts.join("/")
                });
                Some((key, captures.collect()))
            }
        }
    }
}

/// Deals the segments of a path out to those of a template, one after the other: a sort key, and what
/// each has got. `**` tries every number of segments.
fn deal<'p>(
    segments: &[&str],
    raw: &[&'p str],
    with_verb: bool,
) -> Option<(Vec<u8>, Vec<Vec<&'p str>>)> {
    let Some((segment, after)) = segments.split_first() else {
        return raw.is_empty().then(Default::default);
    };
    let dealt = |code: u8, count: usize| {
        let (own, rest) = raw.split_at_checked(count)?;
        let (mut key, mut taken) = deal(after, rest, with_verb)?;
        let ends = !own.is_empty() && rest.is_empty() && !with_verb;
        key.insert(0, code + u8::from(ends));
        taken.insert(0, own.to_vec());
        Some((key, taken))
    };
    match *segment {
        "**" if after.is_empty() => {
            // A colon alone before its verb: not an empty segment, but the last.
            let slash = raw.len() > 1 && raw[0].is_empty();
            (!slash).then(|| dealt(b'f', raw.len()))?
        }
        "**" => {
            let starts = |count: &usize| *count == 0 || !raw[0].is_empty();
            let mut ways = (0..=raw.len()).filter(starts);
            let (mut key, taken) = ways.find_map(|count| dealt(b'e', count))?;
            // More segments after it come first, nothing that it stands for last.
            match taken[0].is_empty() {
                true => key[0] = b'h',
                false => key.insert(1, u8::MAX - after.len() as u8),
            }
            Some((key, taken))
        }
        "*" => (!raw.first()?.is_empty()).then(|| dealt(b'c', 1))?,
        literal => (plain(raw.first()?) == plain(literal)).then(|| dealt(b'a', 1))?,
    }
}

fn oracle(routes: &[Route], host: &str, method: &str, path: &str) -> String {
    let decoded: Vec<_> = path[1..].split('/').map(plain).collect();
    let here = || {
        routes
            .iter()
            .filter(|route| route.host_rank(host).is_some())
    };
    let deepest = here().filter_map(Route::directory);
    let deepest = deepest
        .filter(|dir| decoded.starts_with(dir))
        .map(|dir| dir.len())
        .max();
    let mut fitting: Vec<_> = routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| {
            let (key, captures) = route.fits(path)?;
            let order = match &route.kind {
                Kind::Rule { method: own, .. } if *own == method => 0,
                Kind::Rule { method: "GET", .. } => 1,
                Kind::Rule { .. } => 2,
                _ => 3,
            };
            Some((route.host_rank(host)?, key, order, index, captures))
        })
        .collect();
    fitting.sort();
    let mut refused = BTreeSet::new();
    for (.., index, captures) in fitting {
        let takes = match &routes[index].kind {
            Kind::Rule { method: own, .. } => {
                refused.insert(*own);
                *own == method || *own == "*" || (*own, method) == ("GET", "HEAD")
            }
            Kind::Exact(_, forwards) => *forwards || refused.is_empty(),
            Kind::Prefix(own, forwards) => {
                let depth = own.split('/').filter(|s| !s.is_empty()).count();
                *forwards || (refused.is_empty() && deepest.is_none_or(|deepest| deepest <= depth))
            }
        };
        if takes {
            return format!("{index} {}", captures.join("|"));
        }
    }
    if refused.contains("GET") {
        refused.insert("HEAD");
    }
    match refused.len() {
        0 => "404".into(),
        _ => format!("405 {}", refused.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

const LITERALS: &[&str] = &["a", "a", "b", "b", "%61", "c", "a%3Av", "é", "x%2Fy"];
const REQUESTED: &[&str] = &[
    "a", "a", "a", "b", "b", "%61", "%62", "c", "", "a:v", "b:w", "a%3Av", "a:%76", ":v", "a:b:v",
    "é", "%C3%A9", "x%2Fy", "x%2fy", "z:",
];
const HOSTS: &[&str] = &["", "", "", "h.x", "*.x", "*.y.x", "*.h.x"];

fn route() -> impl Strategy<Value = Route> {
    let segment = prop_oneof![3 => prop::sample::select(LITERALS), 2 => Just("*")];
    let rest = prop::option::weighted(0.35, 0usize..5);
    let verb = prop::sample::select(&["", "", "", ":v", ":w", ":%76"][..]);
    let method = prop::sample::select(&["GET", "GET", "POST", "HEAD", "*"][..]);
    let spans = prop::collection::vec((0usize..4, 1usize..4), 0..3);
    let rule = (
        prop::collection::vec(segment, 0..4),
        rest,
        verb,
        method,
        spans,
    );
    let rule = rule.prop_map(|(mut segments, rest, verb, method, spans)| {
        if let Some(at) = rest.or(segments.is_empty().then_some(0)) {
            segments.insert(at.min(segments.len()), "**");
        }
        let mut free = 0;
        let mut variables = Vec::new();
        for (skip, len) in spans {
            let from = free + skip;
            if from + len <= segments.len() {
                variables.push((from, len));
                free = from + len;
            }
        }
        Kind::Rule {
            method,
            segments,
            verb,
            variables,
        }
    });
    let path = prop::collection::vec(prop::sample::select(LITERALS), 0..3);
    let path = path.prop_map(|parts| format!("/{}", parts.join("/")));
    let path = (path, any::<bool>(), any::<bool>(), any::<bool>());
    let path = path.prop_map(|(mut path, slash, forwards, exact)| {
        if slash && path != "/" {
            path.push('/');
        }
        if exact {
            Kind::Exact(path, forwards)
        } else {
            Kind::Prefix(path, forwards)
        }
    });
    let kind = prop_oneof![4 => rule, 1 => path];
    (kind, prop::sample::select(HOSTS)).prop_map(|(kind, host)| Route { host, kind })
}

fn request() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let path = prop::collection::vec(prop::sample::select(REQUESTED), 1..7);
    (
        prop::sample::select(&["GET", "POST", "HEAD", "PUT"][..]),
        prop::sample::select(&["", "h.x", "a.y.x", "z.h.x", "other"][..]),
        path.prop_map(|parts| format!("/{}", parts.join("/"))),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_table_agrees_with_trying_every_route(
        routes in prop::collection::vec(route(), 1..14),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let mut shapes = BTreeSet::new();
        let mut builder = Builder::default();
        let mut kept = Vec::new();
        let mut clashing = Builder::default();
        for (index, route) in routes.iter().enumerate() {
            route.add_to(&mut clashing, index);
            if shapes.insert(route.shape()) {
                route.add_to(&mut builder, kept.len());
                kept.push(route.clone());
            }
        }
        let clashes = clashing.build().err().unwrap_or_default();
        prop_assert_eq!(clashes.len(), routes.len() - kept.len(), "{:#?}", clashes);

        let table = builder.build().unwrap();
        for (method, host, path) in &requests {
            let raw = RawPath::parse(path).unwrap();
            let method: Method = method.parse().unwrap();
            let (answer, visits) = table.lookup_counted(host, &method, &raw);
            let rounds = 2 * HOSTS.len() as u64;
            prop_assert!(visits <= table.visits_max() * rounds, "{} visits", visits);
            let printed = match &answer {
                Lookup::Matched(found) => format!("{} {}", found.route.0, found.captures.join("|")),
                Lookup::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
                Lookup::NotFound => "404".to_owned(),
            };
            let expected = oracle(&kept, host, method.as_str(), path);
            prop_assert_eq!(&printed, &expected, "{} {} on {:?} in {:#?}", method, path, host, kept);

            let explained = table.explain(host, &method, &raw);
            let winners: Vec<_> = explained.iter().filter(|c| c.verdict == Verdict::Wins).collect();
            for considered in &explained {
                let rule = matches!(kept[considered.route.0 as usize].kind, Kind::Rule { .. });
                let passed_over = matches!(
                    &considered.verdict,
                    Verdict::Shape { why } if why.starts_with("it doesn't forward")
                );
                prop_assert!(!(rule && passed_over), "{:#?}", explained);
            }
            match answer {
                Lookup::Matched(found) => {
                    prop_assert_eq!(winners.len(), 1, "{:#?}", explained);
                    prop_assert_eq!(winners[0].route, found.route);
                    prop_assert_eq!(explained[0].route, found.route);
                }
                _ => prop_assert!(winners.is_empty(), "{:#?}", explained),
            }
        }
    }
}
