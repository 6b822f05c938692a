use std::sync::Arc;

use super::*;
use crate::route::{Builder, HostPattern, PathMatch, PathTemplate};

/// `METHOD /template`, `prefix /p` (forwards), `files /p` (a prefix that doesn't) or `path /p`, with
/// ` @host` behind it. A route's id is its index.
fn table(routes: &[&str]) -> Table {
    builder(routes).build().unwrap()
}

fn builder(routes: &[&str]) -> Builder {
    let mut builder = Builder::default();
    for (index, route) in routes.iter().enumerate() {
        let (route, host) = route.split_once(" @").unwrap_or((route, ""));
        let hosts: Vec<_> = host
            .split_terminator(',')
            .map(|h| HostPattern::parse(h).unwrap())
            .collect();
        let (kind, path) = route.split_once(' ').unwrap();
        let id = RouteId(index as u32);
        let place: Arc<str> = format!("line {index}").into();
        match kind {
            "prefix" => builder.path(&hosts, PathMatch::Prefix(path.into()), true, id, place),
            "files" => builder.path(&hosts, PathMatch::Prefix(path.into()), false, id, place),
            "path" => builder.path(&hosts, PathMatch::Exact(path.into()), true, id, place),
            "page" => builder.path(&hosts, PathMatch::Exact(path.into()), false, id, place),
            method => builder.rule(
                &hosts,
                method,
                &PathTemplate::parse(path).unwrap(),
                id,
                place,
            ),
        }
    }
    builder
}

fn ask(table: &Table, request: &str) -> String {
    let (request, host) = request.split_once(" @").unwrap_or((request, ""));
    let (method, path) = request.split_once(' ').unwrap();
    let path = RawPath::parse(path).unwrap();
    match table.lookup(host, &method.parse().unwrap(), &path) {
        Lookup::Matched(found) => format!("{} {}", found.route.0, found.captures.join("|"))
            .trim_end()
            .to_owned(),
        Lookup::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Lookup::NotFound => "404".to_owned(),
    }
}

fn check(routes: &[&str], cases: &[(&str, &str)]) {
    let table = table(routes);
    for (request, expected) in cases {
        assert_eq!(ask(&table, request), *expected, "{request} in {routes:?}");
    }
}

#[test]
fn captures_follow_the_template() {
    check(
        &[
            "GET /v1/games/{id}",
            "GET /v1/{name=shelves/*/books/*}",
            "GET /v1/{name=files/**}",
            "POST /v1/games/{id}:publish",
            "GET /v2/{a}/x/{b=**}",
            "GET /v3/{b=**}:run",
            "GET /",
        ],
        &[
            ("GET /v1/games/7", "0 7"),
            ("GET /v1/games/a%2Fb", "0 a%2Fb"),
            ("GET /v1/%67ames/7", "0 7"),
            ("GET /v1/games/", "404"),
            ("GET /v1/games", "404"),
            ("GET /v1/games/7/", "404"),
            ("GET /v1/shelves/1/books/2", "1 shelves/1/books/2"),
            ("GET /v1/files", "2 files"),
            ("GET /v1/files/", "2 files/"),
            ("GET /v1/files/a//b", "2 files/a//b"),
            ("GET /v1/files//etc", "404"),
            ("POST /v1/games/7:publish", "3 7"),
            ("POST /v1/games/a:b:publish", "3 a:b"),
            ("POST /v1/games/:publish", "405 GET, HEAD"),
            ("GET /v1/games/7:publish", "0 7:publish"),
            ("POST /v1/games/7%3Apublish", "405 GET, HEAD"),
            ("POST /v1/games/7:p%75blish", "3 7"),
            ("POST /v1/games/%37:publish", "3 %37"),
            ("GET /v1/games/7:hide", "0 7:hide"),
            ("GET /v2/1/x", "4 1|"),
            ("GET /v2/1/x/y/z", "4 1|y/z"),
            ("GET /v3/a/b:run", "5 a/b"),
            ("GET /v3:run", "5"),
            ("GET /v3/:run", "5"),
            ("GET /", "6"),
            ("GET //", "404"),
        ],
    );
}

#[test]
fn rules_go_on_after_a_rest() {
    let documents = "/v1/{parent=projects/*/databases/*/documents";
    check(
        &[
            &format!("POST {documents}/**}}/{{collection_id}}"),
            &format!("GET {documents}/*/**}}/{{collection_id}}"),
            &format!("GET {documents}}}/{{collection_id}}"),
            "GET /v1/{name=projects/*/databases/*/documents/*/**}",
            "POST /v1/{name=**}/a:run",
            "PATCH /{name=**/sessions/*}",
            "PATCH /{name=**}",
        ],
        &[
            (
                "POST /v1/projects/p/databases/d/documents/c",
                "0 projects/p/databases/d/documents|c",
            ),
            (
                "POST /v1/projects/p/databases/d/documents/c/x%2Fy/e",
                "0 projects/p/databases/d/documents/c/x%2Fy|e",
            ),
            ("POST /v1/projects/p/databases/d/documents", "405 PATCH"),
            ("POST /v1/projects/p/databases/d/documents//c", "405 PATCH"),
            (
                "POST /v1/projects/p/databases/d/documents/c/",
                "405 GET, HEAD, PATCH",
            ),
            (
                "GET /v1/projects/p/databases/d/documents/c",
                "2 projects/p/databases/d/documents|c",
            ),
            (
                "GET /v1/projects/p/databases/d/documents/c/x/y",
                "1 projects/p/databases/d/documents/c/x|y",
            ),
            ("POST /v1/a:run", "4"),
            ("POST /v1/x/y/a:run", "4 x/y"),
            ("POST /v1/x/y/b:run", "405 PATCH"),
            ("PATCH /sessions/1", "6 sessions/1"),
            ("PATCH /x/sessions/1", "5 x/sessions/1"),
            ("PATCH /x/sessions/1/2", "6 x/sessions/1/2"),
        ],
    );
}

#[test]
fn more_after_a_rest_is_more_specific() {
    check(
        &[
            "GET /{a=**}",
            "GET /{a=**}/x",
            "GET /{a=**}/{b}",
            "GET /{a=**}/{b}/{c}",
            "GET /*/{a=**}/x",
            "GET /y/{a=**}",
            "GET /{a=**}/x:v",
            "GET /{a=**}:v",
        ],
        &[
            ("GET /", "0"),
            ("GET /x", "0 x"),
            ("GET /p/q", "2 p|q"),
            ("GET /p/x", "4"),
            ("GET /y/x", "5 x"),
            ("GET /o/p/q", "3 o|p|q"),
            ("GET /x:v", "7 x"),
            ("GET /:v", "7"),
            ("GET /p/q/x:v", "3 p|q|x:v"),
        ],
    );
    check(
        &[
            "GET /{a=**}/x",
            "GET /{a=**}/{b}",
            "GET /{a=**}/{b}/{c}",
            "files /",
        ],
        &[
            ("GET /x", "0"),
            ("GET /b", "1 |b"),
            ("GET /p/x", "0 p"),
            ("GET /p/q", "1 p|q"),
            ("GET /p/q/x", "2 p|q|x"),
            ("GET /", "3"),
        ],
    );
}

#[test]
fn the_most_specific_rule_that_accepts_the_method_wins() {
    check(
        &[
            "GET /games/top",
            "GET /games/{id}",
            "DELETE /games/{id}",
            "* /games/{a=**}",
            "GET /{x}/top/a",
            "HEAD /games/top",
            "GET /{x}/{y}/{z}",
            "* /raw/a",
            "GET /raw/a",
        ],
        &[
            ("GET /games/top", "0"),
            ("HEAD /games/top", "5"),
            ("HEAD /games/7", "1 7"),
            ("DELETE /games/top", "2 top"),
            ("PUT /games/top", "3 top"),
            ("GET /games/top/a", "3 top/a"),
            ("GET /x/top/a", "4 x"),
            ("GET /x/top/b", "6 x|top|b"),
            ("GET /raw/a", "8"),
            ("HEAD /raw/a", "8"),
            ("POST /raw/a", "7"),
            ("POST /x/top/a", "405 GET, HEAD"),
        ],
    );
}

#[test]
fn refused_methods_go_to_a_forwarding_prefix_and_never_to_files() {
    let rules = [
        "GET /v1/games/{id}",
        "DELETE /v1/games/{id}",
        "GET /v1/games",
    ];
    let with = |more: &'static str| [&rules[..], &[more]].concat();
    check(
        &with("prefix /"),
        &[
            ("PUT /v1/games/7", "3"),
            ("GET /v1/games/7", "0 7"),
            ("GET /v1/gamez", "3"),
            ("GET /", "3"),
        ],
    );
    check(
        &with("files /"),
        &[
            ("PUT /v1/games/7", "405 DELETE, GET, HEAD"),
            ("GET /v1/games/7/x", "404"),
            ("GET /v1/games/", "404"),
            ("GET /v1/gamez", "404"),
            ("GET /v1", "404"),
            ("GET /v2", "3"),
            ("GET /", "3"),
            ("GET /index.html", "3"),
        ],
    );
    check(
        &with("files /v1/"),
        &[
            ("GET /v1/docs", "3"),
            ("GET /v1/games/7/x", "404"),
            ("GET /v1", "404"),
        ],
    );
    check(
        &[
            "POST /{x=**}",
            "files /static/",
            "page /login",
            "prefix /old",
        ],
        &[
            ("GET /static/a.js", "1"),
            ("GET /login", "2"),
            ("POST /login", "2"),
            ("GET /login/", "405 POST"),
            ("GET /old", "3"),
            ("GET /old/a", "3"),
            ("GET /older", "405 POST"),
        ],
    );
}

#[test]
fn exact_hosts_beat_wildcards_and_any() {
    check(
        &[
            "GET /a",
            "GET /a @api.example.com",
            "GET /{x} @*.example.com",
            "GET /c @*.example.com",
            "POST /p @api.example.com",
            "GET /p",
            "files / @www.example.com",
            "GET /v1/g/{id}",
            "prefix / @*.b.example.com",
        ],
        &[
            ("GET /a @other", "0"),
            ("GET /a @API.example.com", "1"),
            ("GET /a @api.example.com.", "1"),
            ("GET /c @api.example.com", "3"),
            ("GET /a @x.example.com", "2 a"),
            ("GET /a @example.com", "0"),
            ("GET /p @api.example.com", "2 p"),
            ("PUT /p @api.example.com", "405 GET, HEAD, POST"),
            ("GET /v1/g/1 @www.example.com", "7 1"),
            ("GET /v1/g/1/2 @www.example.com", "404"),
            ("GET /v1 @www.example.com", "6"),
            ("GET /a @a.b.example.com", "8"),
        ],
    );
}

#[test]
fn every_clash_is_named() {
    let clashes = builder(&[
        "GET /a/{x}",
        "GET /a/{y=*}",
        "POST /a/{y=*}",
        "GET /%61/* @h,i",
        "GET /a/{z} @i,h",
        "GET /a/{z} @*.h",
        "prefix /p",
        "prefix /p/",
        "files /p",
        "GET /a/{w}",
    ])
    .build()
    .unwrap_err();
    let clashes: Vec<_> = clashes.iter().map(ToString::to_string).collect();
    assert_eq!(
        clashes,
        [
            "GET /a/*: line 0 and line 1 match the same requests",
            "GET /a/* on h: line 3 and line 4 match the same requests",
            "prefix /p: line 6 and line 8 match the same requests",
            "GET /a/*: line 0 and line 9 match the same requests",
        ]
    );
}

/// Visits of the nodes by one lookup.
fn visits(table: &Table, request: &str) -> u64 {
    let (method, path) = request.split_once(' ').unwrap();
    let path = RawPath::parse(path).unwrap();
    table.lookup_counted("", &method.parse().unwrap(), &path).1
}

#[test]
fn visits_do_not_grow_with_the_number_of_routes() {
    let ordinary = |count: usize| {
        let mut rules = Vec::new();
        for at in 0..count / 5 {
            rules.push(format!("GET /v1/things{at}"));
            rules.push(format!("POST /v1/things{at}"));
            rules.push(format!("GET /v1/things{at}/{{id}}"));
            rules.push(format!("POST /v1/things{at}/{{id}}:run"));
            rules.push(format!("GET /v1/things{at}/{{id}}/parts/{{part=**}}"));
        }
        let rules: Vec<_> = rules.iter().map(String::as_str).collect();
        table(&rules)
    };
    let few = ordinary(10);
    for count in [10, 1_000, 10_000] {
        let many = ordinary(count);
        assert_eq!(many.len(), count);
        assert_eq!(many.visits_max(), few.visits_max());
        for (request, most) in [
            ("GET /v1/things1/7", 4),
            ("POST /v1/things1/7:run", 4),
            ("GET /v1/things0/7/parts/a/b/c", 5),
            ("DELETE /v1/things1/7", 8),
            ("GET /v1/nothing/7", 2),
            ("GET /v2", 1),
        ] {
            assert_eq!(visits(&many, request), visits(&few, request), "{request}");
            assert!(
                visits(&many, request) <= most,
                "{request}: {}",
                visits(&many, request)
            );
        }
    }
}

/// Every mixture of `a` and `*` in `depth` segments: a path of `a`s that no rule takes in the end is
/// followed along all of them. A matcher that goes back and tries again pays the same for each rule.
fn mixtures(depth: u32) -> Builder {
    let rules: Vec<String> = (0..1_u32 << depth)
        .map(|bits| {
            let part = |at| if bits >> at & 1 == 1 { "/*" } else { "/a" };
            format!("GET {}/end", (0..depth).map(part).collect::<String>())
        })
        .collect();
    builder(&rules.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn overlapping_wildcards_are_bounded_when_the_table_is_built() {
    let request = format!("GET {}/x", "/a".repeat(9));
    let table = mixtures(9).build().unwrap();
    let most = table.visits_max();
    assert!(most <= crate::limits::LOOKUP_VISITS_MAX as u64, "{most}");
    assert_eq!(visits(&table, &request), (1 << 10) - 1);
    assert!(visits(&table, &request) <= most);

    let refused = mixtures(12).build().unwrap_err();
    let [refused] = refused.as_slice() else {
        panic!("{refused:?}");
    };
    assert!(matches!(
        refused.kind,
        crate::route::ConflictKind::Overlaps { .. }
    ));
    let message = refused.to_string();
    assert!(
        message.contains("overlap with too many others"),
        "{message}"
    );
    assert_ne!(refused.first, refused.second);
}

/// Rules that differ in one place each: a set of states that would be exponential if it were made
/// deterministic, and stays as small as the path is long when it is walked.
#[test]
fn a_diagonal_of_literals_is_cheap() {
    let depth = 60;
    let rules: Vec<String> = (0..depth)
        .map(|literal| {
            let part = |at| if at == literal { "/a" } else { "/*" };
            format!("GET {}", (0..depth).map(part).collect::<String>())
        })
        .collect();
    let table = table(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    let request = format!("POST {}", "/a".repeat(depth));
    // A refused method walks once more, for `Allow`.
    assert!(visits(&table, &request) <= 2 * table.visits_max());
    assert!(visits(&table, &request) <= 2 * (depth * depth) as u64);
    let request = format!("GET {}/a", "/b".repeat(depth - 1));
    assert_eq!(ask(&table, &request), format!("{}", depth - 1));
}

/// A `**` before the end is gone on from in one place for each number of segments after it, whatever
/// the length of the path; too many of them are refused with the others.
#[test]
fn rests_before_the_end_are_bounded() {
    let tails = |count: usize| {
        let rule = |tail: usize| format!("GET /**{}/end", "/a".repeat(tail));
        let rules: Vec<_> = (0..count).map(rule).collect();
        builder(&rules.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let one = tails(1).build().unwrap();
    for len in [2, 20, 254] {
        assert_eq!(visits(&one, &format!("GET {}/x", "/a".repeat(len))), 2);
    }
    let table = tails(40).build().unwrap();
    let most = table.visits_max();
    assert!(most <= crate::limits::LOOKUP_VISITS_MAX as u64, "{most}");
    let request = format!("GET {}/x", "/a".repeat(200));
    assert!(visits(&table, &request) <= most);
    // One for the root; after a `**` that n segments follow, one for each of them that is there.
    assert_eq!(visits(&table, &request), 1 + (1..=40).sum::<u64>());
    let request = format!("GET {}/end", "/a".repeat(200));
    assert_eq!(ask(&table, &request), "39");

    let refused = tails(100).build().unwrap_err();
    assert!(
        refused[0]
            .to_string()
            .contains("overlap with too many others"),
        "{refused:?}"
    );
    // Each mixture of literals and wildcards, after a `**` that may begin anywhere.
    let deep = |depth: u32| {
        let rule = |bits: u32| {
            let part = |at: u32| if bits >> at & 1 == 1 { "/*" } else { "/a" };
            format!("GET /**{}", (0..depth).map(part).collect::<String>())
        };
        let rules: Vec<_> = (0..1_u32 << depth).map(rule).collect();
        builder(&rules.iter().map(String::as_str).collect::<Vec<_>>()).build()
    };
    let table = deep(8).unwrap();
    let request = format!("POST {}", "/a".repeat(250));
    assert!(visits(&table, &request) <= 2 * table.visits_max());
    assert!(deep(11).is_err());
}

#[test]
fn odd_methods_and_long_paths() {
    check(
        &["LOCK /a", "* /b", "GET /b/{x=**}"],
        &[
            ("LOCK /a", "0"),
            ("GET /a", "405 LOCK"),
            ("* /a", "405 LOCK"),
            ("* /b", "1"),
            ("PURGE /b", "1"),
        ],
    );
    let table = table(&["GET /b/{x=**}"]);
    let long = format!("GET /b{}", "/x".repeat(255));
    assert_eq!(visits(&table, &long), 2);
    assert!(ask(&table, &long).starts_with("0 x/x"));
}
