//! Every error that an operator can see, as it is printed: `tests/golden/config/*` and beside each file
//! a `.txt`. `UPDATE_GOLDEN=1 cargo test --test config_errors` writes them anew, for reading by eye.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transom::config::diagnostic::{Format, Report, Severity};
use transom::config::{self, rules};
use transom::control::sources;

const SECRET: &str = "hunter2";

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(SECRET.into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn inputs(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/golden").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("golden files")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_none_or(|e| e != "txt"))
        .collect();
    files.sort();
    files
}

/// Compares with the file beside the input; the wrong ones are all told at once.
fn compare(printed: &[(PathBuf, String)]) {
    let mut wrong = Vec::new();
    for (input, text) in printed {
        let mut golden = input.clone().into_os_string();
        golden.push(".txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, text).expect("write golden file");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if expected != *text {
            wrong.push(format!(
                "{}\n--- expected\n{expected}\n--- found\n{text}",
                golden.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn loaded(path: &Path) -> Report {
    match config::load(path, &environment) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    }
}

#[test]
fn of_configs() {
    let files = inputs("config");
    assert!(files.len() > 40, "only {} files", files.len());
    let print = |path: PathBuf| {
        let report = loaded(&path);
        assert!(!report.is_empty(), "{} is fine", path.display());
        let text = report.render(Format::Text);
        assert!(
            !text.contains('\u{1b}'),
            "{} steers the terminal",
            path.display()
        );
        assert!(
            !text.contains(SECRET),
            "{} tells the secret:\n{text}",
            path.display()
        );
        (path, text)
    };
    compare(&files.into_iter().map(print).collect::<Vec<_>>());
}

#[test]
fn of_service_rules() {
    let print = |path: PathBuf| {
        let report = rules::load(&path).expect_err("has faults");
        (path, report.render(Format::Text))
    };
    compare(&inputs("rules").into_iter().map(print).collect::<Vec<_>>());
}

/// Secrets stay in the environment whatever the format is.
#[test]
fn tell_no_secret_in_any_format() {
    let report = loaded(Path::new("tests/golden/config/variables.yaml"));
    assert!(report.count(Severity::Error) > 5);
    for format in [
        Format::Json,
        Format::Github,
        Format::Gitlab,
        Format::Coloured,
    ] {
        let text = report.render(format);
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn for_programs() {
    let path = Path::new("tests/golden/config/unknown_keys.yaml");
    let report = loaded(path);
    let named = |name: &str, format| {
        (
            PathBuf::from("tests/golden/format").join(name),
            report.render(format),
        )
    };
    compare(&[
        named("unknown_keys.json", Format::Json),
        named("unknown_keys.github", Format::Github),
        named("unknown_keys.gitlab", Format::Gitlab),
    ]);
}

#[test]
fn of_files_that_are_not_there() {
    let report = loaded(Path::new("tests/golden/no/such.yaml"));
    let text = report.render(Format::Text);
    assert!(
        text.contains("can't read tests/golden/no/such.yaml"),
        "{text}"
    );
}

/// Faults beyond the config: sources that can't be read, texts that don't compile, routes that don't fit.
/// Each folder of `tests/golden/sources` is one config with what it names.
#[test]
fn of_sources() {
    let mut printed = Vec::new();
    for folder in inputs("sources").into_iter().filter(|path| path.is_dir()) {
        let config = config::load(&folder.join("transom.yaml"), &environment)
            .unwrap_or_else(|report| panic!("{report}"))
            .config;
        let text = match sources::build(&config, &sources::Reflections::new(), &Arc::default()) {
            Ok(built) => {
                assert!(!built.unread.is_empty(), "{} is fine", folder.display());
                built.unchecked.render(Format::Text)
            }
            Err(report) => report.render(Format::Text),
        };
        printed.push((folder, text));
    }
    assert!(printed.len() > 8);
    compare(&printed);
}
