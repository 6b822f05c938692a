//! Route lookup: 10, 1,000 and 10,000 ordinary routes, and tables made to be slow.
//!
//! `cargo bench --bench routes`. Each lookup includes the check and split of the path. The number of
//! nodes visited is a fact and not a measure: the unit tests of `route::table` assert it.

use std::fmt::Write;
use std::hint::black_box;

use http::Method;
use transom::route::{Builder, Lookup, PathMatch, PathTemplate, RawPath, RouteId, Table};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    visits();
    divan::main();
}

/// `METHOD /template`, or `prefix /path`.
fn build(routes: &[String]) -> Table {
    let mut builder = Builder::default();
    for (index, route) in (0..).zip(routes) {
        let (kind, path) = route.split_once(' ').expect("kind and path");
        let place = format!("line {index}").into();
        if kind == "prefix" {
            builder.path(
                &[],
                PathMatch::Prefix(path.into()),
                true,
                RouteId(index),
                place,
            );
        } else {
            let template = PathTemplate::parse(path).expect(path);
            builder.rule(&[], kind, &template, RouteId(index), place);
        }
    }
    builder.build().expect("no conflicts")
}

/// Ten routes a service, as annotated protos have them.
fn ordinary(count: usize) -> Table {
    let mut routes = Vec::new();
    for at in 0..count / 10 {
        let base = format!("/v1/collection{at}");
        routes.push(format!("GET {base}"));
        routes.push(format!("POST {base}"));
        routes.push(format!("GET {base}/{{id}}"));
        routes.push(format!("PATCH {base}/{{id}}"));
        routes.push(format!("DELETE {base}/{{id}}"));
        routes.push(format!("POST {base}/{{id}}:publish"));
        routes.push(format!("GET {base}/{{id}}/parts/{{part}}/pieces/{{piece}}"));
        routes.push(format!("GET {base}/{{id}}/files/{{name=**}}"));
        routes.push(format!("POST /acme.v1.Service{at}/Method"));
        routes.push(format!("prefix /site{at}/"));
    }
    build(&routes)
}

/// Every mixture of a literal and `*` in nine segments: 512 routes that one path follows to the end.
fn mixtures() -> Table {
    let routes: Vec<String> = (0..1_u32 << 9)
        .map(|bits| {
            let part = |at: u32| if bits >> at & 1 == 1 { "/*" } else { "/a" };
            format!("GET {}/end", (0..9).map(part).collect::<String>())
        })
        .collect();
    build(&routes)
}

/// Forty routes of forty segments, each with its literal in another place.
fn diagonal() -> Table {
    let routes: Vec<String> = (0..40)
        .map(|literal| {
            let part = |at: u32| if at == literal { "/a" } else { "/*" };
            format!("GET {}", (0..40).map(part).collect::<String>())
        })
        .collect();
    build(&routes)
}

/// A `**` in the middle, with everything from one to forty segments after it.
fn tails() -> Table {
    let routes: Vec<String> = (0..40)
        .map(|tail| format!("GET /**{}/end", "/a".repeat(tail)))
        .collect();
    build(&routes)
}

fn look<'p>(table: &Table, method: &Method, path: &'p str) -> Lookup<'p> {
    let path = RawPath::parse(black_box(path)).expect("a good path");
    table.lookup("api.example.com", method, &path)
}

const ASKED: [(&str, &str); 8] = [
    ("literal", "GET /v1/collection0"),
    ("variable", "GET /v1/collection0/42"),
    ("three_variables", "GET /v1/collection0/42/parts/7/pieces/9"),
    ("verb", "POST /v1/collection0/42:publish"),
    ("rest", "GET /v1/collection0/42/files/a/b/c.txt"),
    ("escaped", "GET /v1/collection0/a%20b"),
    ("refused", "PUT /v1/collection0/42"),
    ("unknown", "GET /v1/collections/42"),
];

fn split(request: &str) -> (Method, &str) {
    let (method, path) = request.split_once(' ').expect("method and path");
    (method.parse().expect("a method"), path)
}

fn visits() {
    let mut out = String::from("nodes visited by a lookup\n");
    for size in SIZES {
        let table = ordinary(size);
        write!(out, "{size:>6} routes (at most {}):", table.visits_max()).expect("memory");
        for (name, request) in ASKED {
            let (method, path) = split(request);
            let path = RawPath::parse(path).expect("a good path");
            let (_, visits) = table.lookup_counted("", &method, &path);
            write!(out, " {name} {visits}").expect("memory");
        }
        out.push('\n');
    }
    for (name, table, path) in [
        ("mixtures", mixtures(), "/a/a/a/a/a/a/a/a/a/x".to_owned()),
        ("diagonal", diagonal(), "/a".repeat(40)),
        ("tails", tails(), "/a".repeat(256)),
    ] {
        let path = RawPath::parse(&path).expect("a good path");
        let (_, visits) = table.lookup_counted("", &Method::POST, &path);
        writeln!(out, "{name} (at most {}): {visits}", table.visits_max()).expect("memory");
    }
    print!("{out}");
}

#[divan::bench_group]
mod ordinary_routes {
    use super::*;

    fn bench(bencher: divan::Bencher<'_, '_>, size: usize, which: usize) {
        let table = ordinary(size);
        let (method, path) = split(ASKED[which].1);
        bencher.bench(|| black_box(look(&table, &method, path)));
    }

    #[divan::bench(args = SIZES)]
    fn literal(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 0);
    }
    #[divan::bench(args = SIZES)]
    fn variable(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 1);
    }
    #[divan::bench(args = SIZES)]
    fn three_variables(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 2);
    }
    #[divan::bench(args = SIZES)]
    fn verb(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 3);
    }
    #[divan::bench(args = SIZES)]
    fn rest(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 4);
    }
    #[divan::bench(args = SIZES)]
    fn escaped(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 5);
    }
    #[divan::bench(args = SIZES)]
    fn refused(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 6);
    }
    #[divan::bench(args = SIZES)]
    fn unknown(bencher: divan::Bencher<'_, '_>, size: usize) {
        bench(bencher, size, 7);
    }
}

#[divan::bench_group]
mod adversarial {
    use super::*;

    #[divan::bench]
    fn all_mixtures(bencher: divan::Bencher<'_, '_>) {
        let table = mixtures();
        bencher.bench(|| black_box(look(&table, &Method::GET, "/a/a/a/a/a/a/a/a/a/x")));
    }

    #[divan::bench]
    fn a_diagonal(bencher: divan::Bencher<'_, '_>) {
        let table = diagonal();
        let path = "/a".repeat(40);
        bencher.bench(|| black_box(look(&table, &Method::POST, &path)));
    }

    #[divan::bench]
    fn many_tails(bencher: divan::Bencher<'_, '_>) {
        let table = tails();
        let path = "/a".repeat(256);
        bencher.bench(|| black_box(look(&table, &Method::GET, &path)));
    }

    #[divan::bench]
    fn many_segments(bencher: divan::Bencher<'_, '_>) {
        let table = ordinary(1_000);
        let path = "/a".repeat(256);
        bencher.bench(|| black_box(look(&table, &Method::GET, &path)));
    }
}

#[divan::bench(args = SIZES)]
fn build_table(bencher: divan::Bencher<'_, '_>, size: usize) {
    bencher.bench(|| ordinary(size));
}
