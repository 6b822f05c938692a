//! OpenAPI documents before others' eyes: a validator, a generator of TypeScript clients and its
//! compiler, and a browser that reads the page.
#![cfg(feature = "peers")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

fn peer(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".peers")
        .join(name);
    let ready = folder.join("ready");
    assert!(
        ready.exists(),
        "there is no {}: run tests/peers/setup first",
        ready.display()
    );
    folder
}

fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", told(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `transom demo`, killed with the handle.
struct Demo {
    process: Child,
    url: String,
}

impl Demo {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let url = line.trim().strip_prefix("Transom demo: ").expect("a URL");
        Self {
            url: url.to_owned(),
            process,
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn validate(file: &Path) -> Output {
    let mut judge = Command::new(peer("openapi").join("python/bin/openapi-spec-validator"));
    judge.args(["--schema", "3.1"]).arg(file);
    judge.output().expect("the validator")
}

#[test]
fn the_validator_finds_no_fault() {
    let folder = Path::new("tests/golden/openapi");
    let mut judged = 0;
    for entry in folder.read_dir().expect("golden files") {
        let file = entry.expect("an entry").path();
        if file.to_string_lossy().ends_with(".config.yaml") {
            continue;
        }
        let output = validate(&file);
        assert!(
            output.status.success(),
            "{}: {}",
            file.display(),
            told(&output)
        );
        judged += 1;
    }
    assert!(judged >= 4, "{judged}");

    // It would have.
    let text = std::fs::read_to_string(folder.join("demo.yaml")).expect("the document");
    for (was, is) in [
        (
            "operationId: Catalogue_GetGame\n",
            "operationId: Catalogue_ListGames\n",
        ),
        ("          in: path\n", "          in: road\n"),
        ("      responses:\n", "      replies:\n"),
    ] {
        assert!(text.contains(was), "{was}");
        let broken = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken-openapi.yaml");
        std::fs::write(&broken, text.replacen(was, is, 1)).expect("written");
        assert!(!validate(&broken).status.success(), "{is}");
    }
}

#[test]
fn a_typescript_client_compiles_and_works() {
    let modules = peer("openapi").join("node_modules");
    let demo = Demo::start();
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["client.ts", "node.d.ts", "tsconfig.json", "package.json"] {
        let from = Path::new("tests/peers/openapi").join(file);
        std::fs::copy(from, folder.path().join(file)).expect("a copy");
    }
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).expect("a link");
    let bin = |name: &str| {
        let mut command = Command::new(modules.join(".bin").join(name));
        command.current_dir(folder.path());
        command
    };
    // The document is the one that the listener serves.
    run(bin("openapi-typescript").args([&format!("{}/openapi.json", demo.url), "-o", "api.d.ts"]));
    run(bin("tsc").args(["-p", "."]));
    let seen = run(Command::new("node")
        .current_dir(folder.path())
        .args(["client.js", &demo.url]));
    let seen: Value = serde_json::from_str(&seen).expect("one line of JSON");
    let expected = json!({
        "title": "Tidal",
        "games": 1,
        "made": "Glass Garden",
        "rated": "number",
        "missing": [404, 5, "GAME_NOT_FOUND"],
        "watched": [1, 2, 3],
        "lines": 2,
        "looked": 404,
        "played": "900",
        "picture": true,
    });
    assert_eq!(seen, expected);
}

#[test]
fn the_page_is_read_and_tried_in_a_browser() {
    let demo = Demo::start();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let seen = run(Command::new("node")
        .arg("tests/peers/openapi/docs.js")
        .arg(peer("browser"))
        .arg(format!("{}/docs", demo.url))
        .arg(pictures));
    let seen: Value = serde_json::from_str(&seen).expect("one line of JSON");
    assert_eq!(seen["said"], json!([]), "the browser complains");
    assert_eq!(seen["asked"], json!([demo.url]), "somebody else is asked");
    // PURGE aside, which OpenAPI 3.1 can't say.
    let operations = seen["operations"].as_u64().expect("a number");
    assert!(operations >= 20, "{operations}");
    assert_eq!(seen["status"], "200");
    assert!(
        seen["body"].as_str().expect("text").contains("Tidal"),
        "{seen}"
    );
    assert_eq!(seen["dark"], true);
    assert!(seen["wide"].as_u64() <= Some(390), "{}", seen["wide"]);
}
