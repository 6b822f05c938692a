//! Who may know whom: the modules that each module of `src/` may name.
//!
//! The table is the design. A new arrow is a decision: add it here with the change that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of one layer may import all lower layers, and what stands beside their own name.
const LAYERS: &[(&str, u8, &[&str])] = &[
    ("failure", 0, &[]),
    ("limits", 0, &[]),
    ("route", 1, &[]),
    ("schema", 1, &["route"]),
    ("codec", 1, &["route", "schema"]),
    ("transcode", 1, &["route", "schema", "codec"]),
    ("protocol", 1, &["route", "schema", "codec", "transcode"]),
    ("openapi", 1, &["route", "schema", "codec", "transcode"]),
    ("config", 2, &["tls"]),
    ("snapshot", 2, &[]),
    ("copies", 2, &[]),
    ("memory", 2, &[]),
    ("drain", 2, &[]),
    ("client_body", 2, &["telemetry"]),
    ("gather", 2, &[]),
    ("rt", 2, &[]),
    ("telemetry", 2, &["config", "memory", "snapshot"]),
    ("tokens", 2, &[]),
    ("tls", 2, &[]),
    ("explain", 3, &[]),
    ("live", 2, &["config", "snapshot", "telemetry", "tls"]),
    ("listener", 3, &[]),
    ("upstream", 3, &[]),
    ("exchange", 4, &[]),
    ("acme", 5, &[]),
    ("handover", 4, &[]),
    ("otlp", 5, &[]),
    ("control", 5, &[]),
    ("admin", 5, &["acme", "control"]),
    ("demo", 5, &[]),
    ("app", 6, &["worker"]),
    ("worker", 6, &[]),
    ("cli", 7, &[]),
];

/// Crates that the pure core must never see.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "hyper",
    "rustls",
    "tonic",
    "h2",
    "std::net",
    "std::fs",
    "std::time::Instant",
    "std::time::SystemTime",
    "tracing",
    "rand",
];

#[test]
fn every_module_has_its_layer() {
    let known: BTreeSet<_> = LAYERS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let found: BTreeSet<_> = sources()
        .into_keys()
        .filter(|m| m != "lib" && m != "main")
        .collect();
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(missing.is_empty(), "modules without a layer: {missing:?}");
}

#[test]
fn no_module_names_one_that_it_may_not() {
    let mut wrong = Vec::new();
    for (module, files) in sources() {
        let Some(&(_, layer, beside)) = LAYERS.iter().find(|(name, ..)| *name == module) else {
            continue;
        };
        for file in files {
            for named in crate_names(&production_text(&file)) {
                let Some(&(_, other, _)) = LAYERS.iter().find(|(name, ..)| *name == named) else {
                    continue;
                };
                let lower = if layer == 1 {
                    other == 0
                } else {
                    other < layer
                };
                // Tasks never reach into the data path, nor it into them.
                let apart = layer == 5 && named == "exchange";
                if named != module && (apart || !(lower || beside.contains(&named.as_str()))) {
                    wrong.push(format!("{}: crate::{named}", file.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_core_knows_no_runtime() {
    let mut wrong = Vec::new();
    for (module, files) in sources() {
        let core = LAYERS
            .iter()
            .any(|(name, layer, _)| *name == module && *layer <= 1);
        for file in files.iter().filter(|_| core) {
            let text = production_text(file);
            for banned in NOT_IN_CORE {
                let path = format!("{banned}::");
                if text.lines().any(|l| !is_comment(l) && has_path(l, &path)) {
                    wrong.push(format!("{}: {banned}", file.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the core must stay pure:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    assert!(
        map.lines().count() <= 150,
        "ARCHITECTURE.md is to be read at one sitting: 150 lines"
    );
    let missing: Vec<_> = sources()
        .into_keys()
        .filter(|m| m != "lib" && m != "main" && !map.contains(&format!("`{m}")))
        .collect();
    assert!(missing.is_empty(), "not in ARCHITECTURE.md: {missing:?}");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Top-level module → its files.
fn sources() -> BTreeMap<String, Vec<PathBuf>> {
    let src = root().join("src");
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(&src).expect("src") {
        let path = entry.expect("entry of src").path();
        let module = path
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        let mut files = Vec::new();
        collect(&path, &mut files);
        if !files.is_empty() {
            modules.entry(module).or_default().extend(files);
        }
    }
    assert!(modules.len() > 10, "the sources were not found");
    modules
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("folder") {
            collect(&entry.expect("entry").path(), into);
        }
    } else if path.extension().is_some_and(|e| e == "rs")
        && path.file_name().is_some_and(|n| n != "tests.rs")
    {
        into.push(path.to_owned());
    }
}

/// The file up to its tests.
fn production_text(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("source");
    match text.find("#[cfg(test)]\nmod ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// Every `x` of `crate::x`, and of `crate::{x, y::z}`.
fn crate_names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code: String = text
        .lines()
        .filter(|l| !is_comment(l))
        .collect::<Vec<_>>()
        .join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => {
                names.insert(ident(rest));
            }
            Some(list) => {
                let mut depth = 0_i32;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphanumeric() => {
                            names.insert(ident(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn ident(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn crate_names_reads_both_forms() {
    let names = crate_names("use crate::a::B;\nuse crate::{c::{D, E}, f};\n// crate::g\n");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "c", "f"]);
}
