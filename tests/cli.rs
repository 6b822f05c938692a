//! The program from outside: exit codes, and what goes to stdout and stderr.

use std::path::Path;
use std::process::{Command, Output};

fn transom(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(arguments)
        .env_remove("PORT")
        .output()
        .expect("runs")
}

/// Exit code, stdout, stderr.
fn told(arguments: &[&str]) -> (i32, String, String) {
    let output = transom(arguments);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("a code"),
        text(output.stdout),
        text(output.stderr),
    )
}

const WRONG: &str = "tests/golden/config/unknown_keys.yaml";

#[test]
fn check_of_a_good_config() {
    let (code, out, err) = told(&["check", "-c", "config/minimal.yaml"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert!(out.contains("services `*` could not be checked"), "{out}");
    assert!(out.contains("fine as far as it could be checked"), "{out}");
}

#[test]
fn check_of_a_wrong_config() {
    let (code, out, err) = told(&["check", "-c", WRONG]);
    assert_eq!((code, &*err), (1, ""), "{out}");
    assert!(
        out.contains("did you mean `address`?") && out.ends_with("8 errors\n"),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "colours in a pipe: {out}");
}

#[test]
fn check_for_programs() {
    let (code, out, _) = told(&["check", "-c", WRONG, "--format", "github"]);
    assert_eq!(code, 1);
    assert!(
        out.lines().all(|l| l.starts_with("::error file=tests/")),
        "{out}"
    );
    for format in ["json", "gitlab"] {
        let (code, out, _) = told(&["check", "-c", WRONG, "--format", format]);
        assert_eq!(code, 1);
        let all: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(all.as_array().map(Vec::len), Some(8));
    }
    let (code, out, _) = told(&[
        "check",
        "-c",
        "tests/golden/config/warnings.yaml",
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn check_of_an_upstream_that_is_not_there() {
    let (code, out, _) = told(&["check", "--upstream", "127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("by reflection") && out.contains("--upstream"),
        "{out}"
    );
}

#[test]
fn descriptors_in_place_of_reflection() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("games.binpb");
    std::fs::write(&set, transom::demo::DESCRIPTORS).expect("a file");
    let set = set.to_str().expect("UTF-8");
    let (code, out, err) = told(&["check", "-c", "config/minimal.yaml", "--descriptors", set]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert!(out.contains("\nfine: ") && out.contains(" routes"), "{out}");
    let (code, out, _) = told(&["routes", "-c", "config/minimal.yaml", "--descriptors", set]);
    assert_eq!(code, 0);
    assert!(out.contains("gamehub.v1.Catalogue/GetGame"), "{out}");
}

#[test]
fn wrong_usage() {
    for arguments in [
        &["serve"][..],
        &["check", "--format", "xml"],
        &["check", "-c", "a", "--upstream", "b:1"],
        &["explain", "G E T", "/v1", "-c", "config/minimal.yaml"],
        &[],
    ] {
        let (code, _, err) = told(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(!err.is_empty());
    }
    let empty = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .arg("check")
        .current_dir(empty.path())
        .output()
        .expect("runs");
    if !Path::new("/etc/transom/transom.yaml").exists() {
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("no config file"), "{err}");
    }
}

#[test]
fn the_schema_is_printed() {
    let (code, out, _) = told(&["schema"]);
    assert_eq!(code, 0);
    let committed = std::fs::read_to_string("config/transom.schema.json").expect("the schema");
    assert_eq!(out, committed);
}
