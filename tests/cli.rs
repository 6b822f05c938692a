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
    let whole = "\
note: services `*` could not be checked in full: descriptors of `games` are not at hand
  --> config/minimal.yaml:10:16
   |
10 |   - services: [\"*\"]
   |                ^^^

fine as far as it could be checked (see the notes; --online asks the upstreams): 0 routes
";
    assert_eq!(out, whole);
}

#[test]
fn check_of_a_wrong_config() {
    let (code, out, err) = told(&["check", "-c", WRONG]);
    assert_eq!((code, &*err), (1, ""), "{out}");
    assert!(
        out.contains("did you mean `address`?") && out.ends_with("6 errors\n"),
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
        assert_eq!(all.as_array().map(Vec::len), Some(6));
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
    assert!(out.contains("fine: ") && out.contains(" routes"), "{out}");
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

/// A folder with one service and a config.
fn project(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let proto = r#"syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
message Item { string item_id = 1; bool full = 2; }
service Shop {
  rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/v1/items/{item_id}" }; }
  rpc Audit(Item) returns (Item);
}
"#;
    std::fs::create_dir(folder.path().join("proto")).expect("a folder");
    std::fs::write(folder.path().join("proto/shop.proto"), proto).expect("a file");
    std::fs::write(folder.path().join("transom.yaml"), config).expect("a file");
    folder
}

/// Exit code, stdout, stderr of a command in a folder.
fn told_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().expect("a code"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

const TOP: &str = "\
listeners: [{ address: \"127.0.0.1:8080\" }]
descriptors: [{ protos: proto/ }]
upstreams: { shop: { endpoints: [\"localhost:50051\"] } }
";

/// Each fault as `line:column message`.
fn faults(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let (code, out, err) = told_in(
        folder,
        &[&["check", "--format", "json"], arguments].concat(),
    );
    assert_eq!((code, &*err), (1, ""), "{out}");
    let all: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
    let fault = |d: &serde_json::Value| {
        let at = &d["location"];
        format!(
            "{}:{} {}",
            at["line"],
            at["column"],
            d["message"].as_str().expect("text")
        )
    };
    all.iter().map(fault).collect()
}

#[test]
fn mistakes_of_every_stage_come_at_once() {
    let routes = "\
routes:
  - { services: [\"shop.v1.Shp\"], upstream: shop }
  - { services: [\"shop.v1.Shop\"], upstream: shop }
  - { post: \"/v1/a\", rpc: shop.v1.Shop/Audt, upstream: shop }
  - { get: \"/v1/items/{item_id}\", rpc: shop.v1.Shop/Audit, overide: true, upstream: shop }
  - { get: \"/v1/b/{nope}\", rpc: shop.v1.Shop/Audit, upstream: shop }
timeouts: { headers: 5 }
";
    let folder = project(&format!("{TOP}{routes}"));
    // The misspelt `overide` is one mistake: the conflict that it would have settled is none.
    assert_eq!(
        faults(folder.path(), &[]),
        [
            "5:18 no service matches \"shop.v1.Shp\"",
            "7:27 service shop.v1.Shop has no method \"Audt\"",
            "8:60 unknown key `overide`",
            "9:12 GET /v1/b/{nope} of shop.v1.Shop/Audit: path variable {nope}: shop.v1.Item has no field \"nope\"",
            "10:22 this duration has no unit",
        ]
    );
}

#[test]
fn a_wrong_descriptor_source_makes_nothing_else_look_wrong() {
    let routes = "routes: [{ services: [\"shop.v1.*\"], upstream: shop }]\n";
    let config = format!("{TOP}{routes}").replace("protos:", "protoss:");
    let folder = project(&config);
    assert_eq!(faults(folder.path(), &[]), ["2:17 unknown key `protoss`"]);
    // A reflection source whose upstream can't be read defines services nobody knows of.
    let config = format!("{TOP}{routes}")
        .replace("{ protos: proto/ }", "{ reflection: shop }")
        .replace(
            "upstreams: { shop: {",
            "upstreams: { shop: { protocol: grcp,",
        );
    let folder = project(&config);
    let found = faults(folder.path(), &["--online"]);
    assert_eq!(found.len(), 1, "{found:?}");
    // A missing variable is told once.
    let config = format!("{TOP}{routes}").replace("proto/", "${NO_SUCH_VARIABLE}/");
    let found = faults(project(&config).path(), &[]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn missing_files_are_told_beside_wrong_keys() {
    let config = format!("{TOP}routes: [{{ prefix: /, upstrem: shop }}]\n").replace(
        "[{ protos: proto/ }]",
        "[{ protos: prot/ }, { file: set.binpb }]",
    );
    let found = faults(project(&config).path(), &[]);
    let starts = [
        "2:25 can't read folder",
        "2:42 can't read",
        "4:23 unknown key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (fault, start) in found.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault} starts with {start}");
    }
}

#[test]
fn a_files_route_without_its_folder_is_warned_of() {
    let routes = "\
routes:
  - { services: [\"shop.v1.Shop\"], upstream: shop }
  - { prefix: /a/, files: { root: site } }
  - { prefix: /b/, files: { root: site } }
  - { prefix: /c/, files: { root: transom.yaml } }
  - { prefix: /d/, files: { root: proto } }
";
    let folder = project(&format!("{TOP}{routes}"));
    let (code, out, err) = told_in(folder.path(), &["check", "--format", "json"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    let all: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
    let told: Vec<_> = all
        .iter()
        .map(|d| {
            (
                d["severity"].as_str(),
                d["location"]["line"].as_u64(),
                d["message"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some("warning"), Some(6), Some("there is no folder site")),
            (
                Some("warning"),
                Some(8),
                Some("transom.yaml is not a folder")
            ),
        ]
    );
    let (code, out, _) = told_in(folder.path(), &["check"]);
    assert_eq!(code, 0);
    assert!(out.ends_with("fine: 5 routes, 2 warnings\n"), "{out}");
}

#[test]
fn wrong_values_say_what_would_be_right() {
    let folder = project(&format!(
        "{TOP}routes: [{{ services: [\"*\"], upstream: shop }}]\n"
    ));
    for (arguments, right) in [
        (
            &["run", "--upstream", "a:1", "--listen", ":8080"][..],
            "such as `127.0.0.1:8080`",
        ),
        (
            &["demo", "--listen", "localhost:8080"],
            "such as `127.0.0.1:8080`",
        ),
        (&["explain", "GET", "v1/items/7"], "such as `/v1/games"),
        (
            &["explain", "GET", "localhost:8080/v1/items/7"],
            "such as `http://localhost",
        ),
    ] {
        let (code, out, err) = told_in(folder.path(), arguments);
        assert_eq!((code, &*out), (2, ""), "{arguments:?}");
        assert!(err.contains(right), "{arguments:?}: {err}");
    }
}

#[test]
fn the_schema_is_printed() {
    let (code, out, _) = told(&["schema"]);
    assert_eq!(code, 0);
    let committed = std::fs::read_to_string("config/transom.schema.json").expect("the schema");
    assert_eq!(out, committed);
}

#[test]
fn a_config_file_may_be_named_by_its_place() {
    let (by_place, told_by_place, _) = told(&["check", WRONG]);
    let (named, told_named, _) = told(&["check", "-c", WRONG]);
    assert_eq!((by_place, told_by_place), (named, told_named));
    let (code, _, err) = told(&["run", "localhost:50051"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("transom run --upstream localhost:50051"),
        "{err}"
    );
    let (code, _, err) = told(&["check", WRONG, "-c", WRONG]);
    assert_eq!(code, 2, "{err}");
}

/// Two folders of [`project`], the second with the proto changed.
fn two(from: &str, to: &str) -> (tempfile::TempDir, tempfile::TempDir) {
    let routes = "routes: [{ services: [\"shop.v1.*\"], upstream: shop }]\n";
    let config = format!("{TOP}{routes}");
    let (old, new) = (project(&config), project(&config));
    let proto = new.path().join("proto/shop.proto");
    let text = std::fs::read_to_string(&proto).expect("text");
    assert!(text.contains(from), "{from}");
    std::fs::write(&proto, text.replace(from, to)).expect("written");
    (old, new)
}

/// `transom diff` of these two.
fn differences(old: &Path, new: &Path, more: &[&str]) -> (i32, String, String) {
    let both = [old.to_str().expect("text"), new.to_str().expect("text")];
    told(&[&["diff"], &both[..], more].concat())
}

#[test]
fn diff_tells_whom_a_change_breaks() {
    let (old, new) = two("bool full = 2;", "bool sold_out = 2; string title = 3;");
    let expected = "\
breaking  shop.v1.Item.full: its JSON name is soldOut now (in JSON alone)
1 in all, 1 of which breaks callers
";
    for name in ["transom.yaml", "proto"] {
        let found = differences(&old.path().join(name), &new.path().join(name), &[]);
        assert_eq!(found, (3, expected.to_owned(), String::new()), "{name}");
    }
    let (code, out, _) = differences(
        &old.path().join("proto"),
        &new.path().join("proto"),
        &["--format", "json"],
    );
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let whole = serde_json::json!({ "breaking": 1, "findings": [{
        "severity": "breaking",
        "whose": "json",
        "what": "shop.v1.Item.full: its JSON name is soldOut now (in JSON alone)",
    }]});
    assert_eq!((code, answer), (3, whole));
}

#[test]
fn diff_of_descriptor_sets() {
    let folder = tempfile::tempdir().expect("a folder");
    let compiled = |name: &str, more: &str| {
        let proto = format!(
            "syntax = \"proto3\"; package shop.v1; import \"google/api/annotations.proto\";\n\
             message Item {{ string item_id = 1; }}\n\
             service Shop {{ rpc Get(Item) returns (Item) {{ option (google.api.http) = {{ get: \"/v1/items/{{item_id}}\" {more} }}; }} }}\n"
        );
        let set = transom::schema::compile(&[("shop.proto".to_owned(), proto)]).expect("a proto");
        let file = folder.path().join(name);
        std::fs::write(&file, set).expect("written");
        file
    };
    let old = compiled("old.binpb", "");
    let new = compiled(
        "new.binpb",
        "additional_bindings { get: \"/v1/one/{item_id}\" }",
    );
    let (code, out, err) = differences(&old, &new, &[]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert_eq!(
        out,
        "added     GET /v1/one/{item_id}\n1 change, which breaks nobody\n"
    );
    let (code, out, _) = differences(&new, &old, &[]);
    assert_eq!(code, 3);
    assert!(
        out.starts_with("breaking  GET /v1/one/{item_id} is gone\n"),
        "{out}"
    );
    let same = differences(&old, &old, &[]);
    let nothing = "nothing changes for callers\n".to_owned();
    assert_eq!(same, (0, nothing, String::new()));
}

#[test]
fn diff_of_configs_tells_of_more_than_rules() {
    let (old, new) = two("bool full = 2;", "bool full = 2;");
    let file = new.path().join("transom.yaml");
    let text = std::fs::read_to_string(&file).expect("text");
    let text = text
        .replace("127.0.0.1:8080", "127.0.0.1:8081")
        .replace("localhost:50051", "localhost:50052")
        .replace("upstream: shop }", "upstream: shop, timeout: 3s }")
        + "workers: 3\nlimits: { body: 1MiB }\n";
    std::fs::write(&file, text).expect("written");
    let (code, out, err) = differences(&old.path().join("transom.yaml"), &file, &[]);
    assert_eq!((code, &*err), (3, ""), "{out}");
    for line in [
        "breaking  127.0.0.1:8080 is not listened on any more",
        "changed   GET /v1/items/{item_id}: other settings",
        "changed   upstream shop: localhost:50051 -> localhost:50052",
        "changed   `limits`: other settings",
        "restart   `workers` changes only with a restart",
        "added     127.0.0.1:8081 is listened on",
    ] {
        assert!(out.lines().any(|l| l == line), "{line} in\n{out}");
    }
}

#[test]
fn diff_of_what_is_wrong_or_no_pair() {
    let (old, new) = two("returns (Item) {", "returns (Itm) {");
    let (was, is) = (old.path().join("proto"), new.path().join("proto"));
    let (code, out, err) = differences(&was, &is, &[]);
    assert_eq!((code, &*out), (1, ""), "{err}");
    assert!(
        err.contains("shop.proto:6:") && err.contains("Itm"),
        "{err}"
    );
    let (code, _, err) = differences(&was, &old.path().join("transom.yaml"), &[]);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("only be compared with another config"),
        "{err}"
    );
    let (code, _, err) = differences(&was, Path::new("nowhere.binpb"), &[]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("can't read nowhere.binpb"), "{err}");
}
