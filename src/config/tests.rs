use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::keys::{FILE, Key, Section, Shape};
use super::source::Source;
use super::tree::{Entry, Node, Value};
use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

fn parse_as(syntax: Syntax, text: &str) -> Result<Loaded, Report> {
    parse("t", text, syntax, Path::new("/etc/x"), &nothing)
}

fn yaml(text: &str) -> Result<Loaded, Report> {
    parse_as(Syntax::Yaml, text)
}

const LEAST: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
descriptors: [{ reflection: games }]
upstreams: { games: { endpoints: [localhost:50051] } }
routes: [{ services: ['*'], upstream: games }]
";

#[test]
fn the_least_config() {
    let loaded = yaml(LEAST).expect("loads");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.upstreams.len(), 1);
    assert_eq!(&*loaded.config.routes[0].place, "t:4:12");
    assert_eq!(loaded.config.limits, crate::limits::Limits::default());
    assert_eq!(loaded.config.timeouts, crate::limits::Timeouts::default());
    assert_eq!(*loaded.config.defaults, Policy::default());
}

#[test]
fn names_are_found_whatever_their_order() {
    let text = LEAST.replace(
        "upstreams: {",
        "upstreams: { zoo: { endpoints: ['a:1'] }, alpha: { endpoints: ['b:2'] },",
    );
    let config = yaml(&text).expect("loads").config;
    let names: Vec<_> = config.upstreams.iter().map(|u| &*u.name).collect();
    assert_eq!(names, ["alpha", "games", "zoo"]);
    assert_eq!(config.routes[0].upstream(), Some(UpstreamId(1)));
}

#[test]
fn a_route_goes_over_the_defaults_and_those_over_the_limits() {
    let text = format!(
        "{LEAST}{}",
        "limits: { body: 1KiB, reply: 2KiB }\n\
         defaults: { timeout: 2s, json: { pretty: true }, limits: { reply: 3KiB }, headers: { to_metadata: [x-a] } }\n"
    )
    .replace(
        "services: ['*'],",
        "services: ['*'], json: { proto_names: true }, limits: { body: 4KiB }, unknown_fields: ignore, update_mask: leave, partial_responses: true, unknown_query: capture, \
         headers: { to_metadata: [X-B, 'x-app-*'] }, errors: { hide_internal: false },",
    );
    let config = yaml(&text).expect("loads").config;
    let (defaults, route) = (&*config.defaults, &*config.routes[0].policy);
    assert_eq!(defaults.body_bytes_max.bytes(), 1024);
    assert_eq!(defaults.reply_bytes_max.bytes(), 3072);
    assert_eq!(route.body_bytes_max.bytes(), 4096);
    assert_eq!(route.reply_bytes_max.bytes(), 3072);
    assert_eq!(route.timeout, std::time::Duration::from_secs(2));
    assert!(route.json.pretty && route.json.proto_names && route.json.ignore_unknown_fields);
    assert!(!defaults.json.proto_names && defaults.hide_internal && !route.hide_internal);
    assert!(defaults.fill_update_mask && !route.fill_update_mask);
    assert!(!defaults.partial_responses && route.partial_responses);
    assert_eq!(route.unknown_query, crate::transcode::UnknownQuery::Capture);
    let names = |p: &Policy| p.to_metadata.len();
    assert_eq!((names(defaults), names(route)), (1, 2));
    assert!(route.to_metadata[0].matches(&http::HeaderName::from_static("x-b")));
}

#[test]
fn variables_take_the_kind_that_is_asked_for() {
    let environment = |name: &str| match name {
        "N" => Some("3".to_owned()),
        "NO" => Some("no".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let text = format!(
        "{LEAST}workers: ${{N}}\ndefaults: {{ json: {{ pretty: '${{X:-true}}' }}, timeout: '${{EMPTY:-7}}s', \
         ignored_query_parameters: ['${{N}}', '${{NO}}', '$$N', 'a$b', '${{N}}$${{N}}'] }}\n"
    );
    let loaded = parse("t", &text, Syntax::Yaml, Path::new(""), &environment);
    let config = loaded.unwrap_or_else(|r| panic!("{r}")).config;
    assert_eq!(config.workers.map(std::num::NonZeroUsize::get), Some(3));
    assert!(config.defaults.json.pretty);
    assert_eq!(config.defaults.timeout.as_secs(), 7);
    let names: Vec<_> = config
        .defaults
        .ignored_query_parameters
        .iter()
        .map(|p| &**p)
        .collect();
    assert_eq!(names, ["3", "no", "$N", "a$b", "3${N}"]);
}

#[test]
fn anchors_are_copies() {
    let text = LEAST.replace(
        "['*'], upstream: games }",
        "&all ['*'], upstream: games }, { services: *all, upstream: games, hosts: [a.example] }",
    );
    let config = yaml(&text).unwrap_or_else(|r| panic!("{r}")).config;
    assert_eq!(config.routes.len(), 2);
}

/// `config/transom.yaml` in the other two formats.
fn rewritten(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::List(items) => items.iter().map(rewritten).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|e| (e.key.clone(), rewritten(&e.value)))
            .collect(),
        Value::Scalar(s) => match s.kind {
            super::tree::Kind::Bool => (s.text == "true").into(),
            super::tree::Kind::Integer => s.text.parse::<i64>().expect("a number").into(),
            super::tree::Kind::Float => s.text.parse::<f64>().expect("a number").into(),
            _ => s.text.clone().into(),
        },
    }
}

fn sample() -> Source {
    let text = std::fs::read_to_string("config/transom.yaml").expect("the sample");
    Source::new("config/transom.yaml", &text)
}

/// Places are all that may differ.
fn without_places(config: &Config) -> String {
    let text = format!("{config:#?}");
    let lines = text.lines().filter(|l| !l.contains("\"t:"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_three_formats_mean_the_same() {
    let source = sample();
    let tree = from_yaml::parse(&source).expect("parses");
    let value = rewritten(&tree);
    let json = serde_json::to_string_pretty(&value).expect("json");
    let toml = toml::to_string(&value).expect("toml");
    let read = |syntax, text: &str| match parse_as(syntax, text) {
        Ok(loaded) => without_places(&loaded.config),
        Err(report) => panic!("{report}"),
    };
    let expected = read(Syntax::Yaml, source.text());
    assert!(expected.contains("gamehub.v1.*"));
    similar(&expected, &read(Syntax::Json, &json));
    similar(&expected, &read(Syntax::Toml, &toml));
    similar(&expected, &read(Syntax::Yaml, &json)); // JSON is YAML
}

fn similar(a: &str, b: &str) {
    let differs = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    assert_eq!((differs, a.lines().count()), (None, b.lines().count()));
}

/// Every path of a key in a table: `routes[].custom.kind`.
fn known_keys(section: &'static Section, path: &str, found: &mut Vec<(String, &'static Key)>) {
    for key in section.keys() {
        let path = format!("{path}{}", key.name);
        found.push((path.clone(), key));
        let mut shape = &key.shape;
        let mut below = path;
        while let Shape::List(item) = shape {
            below.push_str("[]");
            shape = item;
        }
        match shape {
            Shape::Section(inner) | Shape::ChoiceOr(_, inner) => {
                known_keys(inner, &format!("{below}."), found)
            }
            Shape::Named(inner) => known_keys(inner, &format!("{below}.*."), found),
            _ => {}
        }
    }
}

fn file_keys() -> Vec<(String, &'static Key)> {
    let mut found = Vec::new();
    known_keys(&FILE, "", &mut found);
    found
}

fn paths_in(node: &Node, path: &str, named: bool, found: &mut BTreeSet<String>) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            for item in items {
                paths_in(item, &format!("{path}[]"), false, found);
            }
        }
        Value::Map(entries) => {
            for Entry { key, value, .. } in entries {
                let key = if named { "*" } else { key };
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                found.insert(path.clone());
                paths_in(
                    value,
                    &path,
                    matches!(path.as_str(), "upstreams" | "acme"),
                    found,
                );
            }
        }
    }
}

/// Policy is shown once, under `defaults` or in a route.
#[test]
fn the_sample_shows_every_key() {
    let source = sample();
    let tree = from_yaml::parse(&source).expect("parses");
    let mut shown = BTreeSet::new();
    paths_in(&tree, "", false, &mut shown);
    let policy = |path: &str| {
        let twin = |from, to| {
            let rest = path.strip_prefix(from);
            rest.is_some_and(|rest| shown.contains(&format!("{to}{rest}")))
        };
        twin("routes[].", "defaults.") || twin("defaults.", "routes[].")
    };
    let binding = |path: &str| {
        let rest = path.strip_prefix("routes[].additional_bindings[].");
        rest.is_some_and(|rest| shown.contains(&format!("routes[].{rest}")))
    };
    let missing: Vec<_> = file_keys()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !shown.contains(path) && !policy(path) && !binding(path))
        .collect();
    assert!(missing.is_empty(), "config/transom.yaml lacks {missing:?}");
}

#[test]
fn the_samples_load() {
    for name in ["config/transom.yaml", "config/minimal.yaml"] {
        let loaded = load(Path::new(name), &nothing).unwrap_or_else(|r| panic!("{r}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

/// A key that is accepted and then ignored would be found here: a value of a kind that no key takes must
/// be refused, wherever it stands.
#[test]
fn every_key_is_read() {
    for (path, key) in file_keys() {
        let text = with_value_at(&path, "[[[]]]");
        let report = yaml(&text)
            .map(|_| ())
            .expect_err(&format!("{path} is ignored:\n{text}"));
        let leaf = path.replace("[]", "[0]").replace(".*", ".games");
        let told = report
            .diagnostics
            .iter()
            .any(|d| d.key.as_deref().is_some_and(|k| k.starts_with(&leaf)));
        assert!(told, "{path} ({key:?}) isn't named:\n{text}\n{report}");
    }
}

/// The least config with one more value, as nested flow maps.
fn with_value_at(path: &str, value: &str) -> String {
    let mut root = serde_json::json!({
        "listeners": [{"address": "127.0.0.1:0"}],
        "descriptors": [{"reflection": "games"}],
        "upstreams": {"games": {"endpoints": ["localhost:50051"]}},
        "routes": [{"services": ["*"], "upstream": "games"}],
    });
    let mut at = &mut root;
    for part in path.split('.') {
        let name = if part == "*" {
            "games"
        } else {
            part.trim_end_matches("[]")
        };
        let alternatives = [
            keys::ROUTE.exactly_one,
            keys::DESCRIPTOR.exactly_one,
            keys::HEALTH.exactly_one,
        ]
        .concat()
        .concat();
        let rule = [
            "additional_bindings",
            "override",
            "rpc",
            "body",
            "response_body",
        ];
        let in_rule = path.starts_with("routes[]") && rule.contains(&name);
        if alternatives.contains(&name) || in_rule {
            if !at.is_object() {
                *at = serde_json::json!({});
            }
            let map = at.as_object_mut().expect("a map");
            map.retain(|key, _| !alternatives.contains(&key.as_str()));
        }
        if in_rule {
            at["post"] = "/v1/x".into();
            at["rpc"] = "a.B/C".into();
        }
        at = &mut at[name];
        // What such a section can't do without.
        let least = match name {
            "certificates" => serde_json::json!({ "cert": "a.crt", "key": "a.key" }),
            "client_certificates" => serde_json::json!({ "ca": "ca.crt" }),
            "health" => serde_json::json!({ "grpc": "on" }),
            "http" => serde_json::json!({ "path": "/healthz" }),
            "hedge" => serde_json::json!({ "after": "50ms" }),
            "hsts" => serde_json::json!({ "max_age": "1h" }),
            _ => serde_json::json!({}),
        };
        if part.ends_with("[]") {
            if !at.is_array() {
                *at = serde_json::json!([least]);
            }
            at = &mut at[0];
        } else if at.is_null() {
            *at = least;
        }
    }
    *at = serde_json::from_str(value).expect("json");
    root.to_string()
}

#[test]
fn written_defaults_are_the_defaults() {
    let standard = without_places(&yaml(LEAST).expect("loads").config);
    let mut checked = 0;
    for (path, key) in file_keys() {
        let (Some(default), Some(section)) = (key.default, path.split('.').next()) else {
            continue;
        };
        let in_the_open = ["limits", "timeouts", "defaults"].contains(&section);
        // A section that is there at all is something else than nothing.
        if !in_the_open || path.contains(".hsts.") || path.contains(".hedge.") {
            continue;
        }
        let value = match key.shape {
            Shape::Bool | Shape::Integer { .. } | Shape::Share => default.to_owned(),
            _ => format!("{default:?}"),
        };
        let text = with_value_at(&path, &value);
        let config = yaml(&text).unwrap_or_else(|r| panic!("{path}: {r}")).config;
        assert_eq!(standard, without_places(&config), "{path}: {default}");
        checked += 1;
    }
    assert!(checked > 30, "only {checked} defaults");
}

#[test]
fn the_schema_is_committed() {
    let path = "config/transom.schema.json";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, schema::text()).expect("write the schema");
    }
    let committed = std::fs::read_to_string(path).expect("the schema");
    assert_eq!(
        committed,
        schema::text(),
        "UPDATE_GOLDEN=1 cargo test writes it anew"
    );
}

#[test]
fn without_a_file() {
    let listen = "127.0.0.1:8080".parse().expect("an address");
    let config = Config::for_upstream("localhost:50051", listen, false).expect("an endpoint");
    assert_eq!(
        config.upstreams[0].endpoints,
        [model::Endpoint::host("localhost", 50051)]
    );
    let report = Config::for_upstream("localhost", listen, false).expect_err("no port");
    assert!(report.to_string().contains("no port"), "{report}");
}

#[test]
fn hostile_files_end_soon() {
    let bounded = |text: String| {
        let text = &text[..text.len().min(tree::FILE_BYTES_MAX)];
        for syntax in [Syntax::Yaml, Syntax::Json, Syntax::Toml] {
            assert!(parse_as(syntax, text).is_err());
        }
    };
    for unit in [
        "[", "{", "a: ", "- ", "&a ", "? ", "\"", "'", "a: [", "|\n ", "a.", "a: &x [", "\n", "[[",
        "{a: ",
    ] {
        bounded(unit.repeat(100_000));
    }
    bounded((0..100_000).map(|n| format!("k{n}: 1\n")).collect());
    bounded((0..100_000).map(|n| format!("k{n} = 1\n")).collect());
    bounded("x".repeat(tree::FILE_BYTES_MAX + 1));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        for syntax in [Syntax::Yaml, Syntax::Json, Syntax::Toml] {
            _ = parse_as(syntax, &text).map_err(|r| r.render(diagnostic::Format::Text));
        }
    }

    #[test]
    fn no_yamlish_text_panics(text in "([a-z]{0,4}|[ \\n\\t:\\-?,\\[\\]{}&*!|>'\"%@#$~é]|\\$\\{[A-Z:-]{0,4}\\}?|routes|upstreams|listeners){0,60}") {
        for syntax in [Syntax::Yaml, Syntax::Json, Syntax::Toml] {
            _ = parse_as(syntax, &text).map_err(|r| r.render(diagnostic::Format::Text));
        }
        _ = rules::parse("t", &text, Syntax::Yaml);
    }

    /// A good file with one piece of it changed: what is reported lies in the file.
    #[test]
    fn places_are_in_the_file(at in 0_usize..6000, cut in 0_usize..30, put in "[a-z:{}\\[\\]\"é \\n-]{0,6}") {
        let source = sample();
        let text = source.text();
        let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let end = (at..=(at + cut).min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(at);
        let changed = format!("{}{put}{}", &text[..at], &text[end..]);
        let lines = changed.split('\n').count();
        if let Err(report) = yaml(&changed) {
            for found in &report.diagnostics {
                let place = found.location.as_ref().expect("a place");
                prop_assert!((1..=lines).contains(&place.line), "{report}");
                let snippet = found.snippet.as_ref().expect("a line");
                prop_assert!(snippet.line.get(snippet.mark.clone()).is_some(), "{report}");
            }
        }
    }

    #[test]
    fn durations_and_sizes_read_what_they_show(n in 1_u64..1 << 40) {
        let duration = std::time::Duration::from_millis(n);
        prop_assert_eq!(scalar::duration(&scalar::show_duration(duration)), Ok(duration));
        prop_assert_eq!(scalar::size(&scalar::show_size(n)), Ok(n));
    }
}
