use std::fmt::Write;

use super::*;
use crate::route::Builder;

fn games() -> Table {
    let mut builder = Builder::default();
    let routes = [
        ("GET", "/v1/games/{game_id}", ""),
        ("GET", "/v1/games/top", ""),
        ("DELETE", "/v1/games/{game_id}", ""),
        ("POST", "/v1/games/{game_id}:publish", ""),
        ("GET", "/v1/{name=**}", ""),
        ("GET", "/v1/games/{game_id}/scores", ""),
        ("GET", "/v1/players/{id}", ""),
        ("GET", "/v1/games/top", "admin.example.com"),
        ("GET", "/other", ""),
    ];
    for (index, (method, template, host)) in (0..).zip(routes) {
        let hosts: Vec<_> = HostPattern::parse(host).into_iter().collect();
        let template = PathTemplate::parse(template).unwrap();
        builder.rule(
            &hosts,
            method,
            &template,
            RouteId(index),
            format!("line {index}").into(),
        );
    }
    let prefixes = [("/", false), ("/v1/", true), ("/legacy/", true)];
    for (index, (prefix, forwards)) in (20..).zip(prefixes) {
        let path = PathMatch::Prefix(prefix.into());
        builder.path(&[], path, forwards, RouteId(index), "config".into());
    }
    builder.build().unwrap()
}

fn explain(host: &str, method: &str, path: &str) -> String {
    let path = RawPath::parse(path).unwrap();
    let explained = games().explain(host, &method.parse().unwrap(), &path);
    let mut out = String::new();
    for Considered {
        route,
        rule,
        verdict,
        ..
    } in explained
    {
        writeln!(out, "{} {rule}: {verdict:?}", route.0).unwrap();
    }
    out
}

#[test]
fn the_winner_stands_first_then_what_matches_then_what_is_near() {
    assert_eq!(
        explain("", "GET", "/v1/games/top"),
        r#"1 GET /v1/games/top: Wins
0 GET /v1/games/{game_id}: LessSpecific { than: RouteId(1), segment: 2 }
4 GET /v1/{name=**}: LessSpecific { than: RouteId(1), segment: 1 }
21 prefix /v1/: LessSpecific { than: RouteId(1), segment: 1 }
20 prefix /: LessSpecific { than: RouteId(1), segment: 0 }
2 DELETE /v1/games/{game_id}: WrongMethod { accepts: "DELETE" }
7 GET /v1/games/top: WrongHost
5 GET /v1/games/{game_id}/scores: Shape { why: "it has 4 segments, the path has 3 segments" }
3 POST /v1/games/{game_id}:publish: Shape { why: "it has the verb `:publish`, the path has none" }
6 GET /v1/players/{id}: Differs { segment: 1, wants: "players", has: "games" }
"#
    );
}

#[test]
fn a_verb_another_host_and_a_refused_method() {
    assert_eq!(
        explain("admin.example.com", "HEAD", "/v1/games/top")
            .lines()
            .next(),
        Some("7 GET /v1/games/top: Wins")
    );
    let verb = explain("", "POST", "/v1/games/7:hide");
    let expected = r#"3 POST /v1/games/{game_id}:publish: Shape { why: "it has the verb `:publish`, the path has `:hide`" }"#;
    assert!(verb.contains(expected), "{verb}");
    assert!(
        verb.starts_with("21 prefix /v1/: Wins\n20 prefix /: LessSpecific"),
        "{verb}"
    );
    let head = explain("", "HEAD", "/v1/games/7");
    assert!(
        head.starts_with("0 GET /v1/games/{game_id}: Wins\n"),
        "{head}"
    );
}

#[test]
fn routes_that_are_passed_over_say_so() {
    let mut builder = Builder::default();
    let template = PathTemplate::parse("/v1/games/{id}").unwrap();
    builder.rule(&[], "GET", &template, RouteId(0), "a".into());
    builder.path(
        &[],
        PathMatch::Prefix("/".into()),
        false,
        RouteId(1),
        "b".into(),
    );
    let table = builder.build().unwrap();
    let path = RawPath::parse("/v1/games/7/x").unwrap();
    let explained = table.explain("", &Method::GET, &path);
    let verdicts: Vec<_> = explained.iter().map(|c| (c.route.0, &c.verdict)).collect();
    let why = |why: &str| Verdict::Shape { why: why.into() };
    assert_eq!(
        verdicts,
        [
            (
                1,
                &why("it doesn't forward, and this path belongs to rules")
            ),
            (0, &why("it has 3 segments, the path has 4 segments")),
        ]
    );
}

#[test]
fn a_typing_error_in_the_first_segment_is_near() {
    let typo = explain("", "GET", "/v2/games/7");
    assert!(
        typo.contains(
            r#"0 GET /v1/games/{game_id}: Differs { segment: 0, wants: "v1", has: "v2" }"#
        ),
        "{typo}"
    );
    assert!(!typo.contains("/other"), "{typo}");
}

#[test]
fn the_answer_is_bounded() {
    let mut builder = Builder::default();
    for at in 0..100 {
        let template = PathTemplate::parse(&format!("/v1/{{x}}/{at}")).unwrap();
        builder.rule(&[], "GET", &template, RouteId(at), "a".into());
    }
    let table = builder.build().unwrap();
    let path = RawPath::parse("/v1/a/99").unwrap();
    let explained = table.explain("", &Method::GET, &path);
    assert_eq!(explained.len(), EXPLAINED_MAX);
    assert_eq!(explained[0].route, RouteId(99));
}

/// The near misses of a path, the nearest first.
fn near(rules: &[(&str, &str)], method: &str, path: &str) -> Vec<u32> {
    let mut builder = Builder::default();
    for (id, (method, template)) in (0..).zip(rules) {
        let template = PathTemplate::parse(template).unwrap();
        builder.rule(&[], method, &template, RouteId(id), "a".into());
    }
    let table = builder.build().unwrap();
    let path = RawPath::parse(path).unwrap();
    let explained = table.explain("", &method.parse().unwrap(), &path);
    explained.iter().map(|c| c.route.0).collect()
}

#[test]
fn the_nearest_by_spelling_stands_first() {
    let rules = [
        ("GET", "/v1/genres/{id}"),
        ("GET", "/v1/players/{id}"),
        ("DELETE", "/v1/games/{id}"),
        ("GET", "/v1/games/{id}/scores"),
        ("GET", "/v1/games/{id}"),
        ("POST", "/v1/games/{id}:publish"),
    ];
    assert_eq!(near(&rules, "GET", "/v1/gmaes/7"), [4, 2, 0, 3, 5, 1]);
    assert_eq!(near(&rules, "DELETE", "/v1/game/7")[0], 2);
    // Two match but for their method.
    assert_eq!(near(&rules, "POST", "/v1/games/7:publsh")[2], 5);
    assert_eq!(near(&rules, "GET", "/v1/games/7/score")[0], 3);
}

#[test]
fn a_segment_too_many_or_missing_is_near() {
    let rules = [
        ("GET", "/v1/games/{id}"),
        ("GET", "/v1/players/{id}"),
        ("GET", "/v1/{name=shelves/**}/books"),
        ("GET", "/health"),
    ];
    // The version forgotten, a base path in front, a typo where no literal agrees.
    assert_eq!(near(&rules, "GET", "/games/7"), [0]);
    assert_eq!(near(&rules, "GET", "/api/v1/players/7"), [1]);
    assert_eq!(near(&rules, "GET", "/helth"), [3]);
    assert_eq!(near(&rules, "GET", "/v1/shelvs/a/b/books")[0], 2);
    assert_eq!(near(&rules, "GET", "/something/else"), [] as [u32; 0]);
    let long = format!("/v1/{}/{}", "x".repeat(5000), "y/".repeat(20));
    near(&rules, "GET", &long);
}
