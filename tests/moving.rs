//! Every example in docs/moving.md, as it is written there: each config is checked, each command is run,
//! each key that is named in prose or tables is policy that works.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PAGE: &str = include_str!("../docs/moving.md");

/// The blocks between fences of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after = PAGE.split(&*fence).skip(1);
    after
        .map(|text| text.split("\n```").next().expect("a block"))
        .collect()
}

/// A team's folder: its protos, the same as a descriptor set, and a config.
fn project(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let protos = folder.path().join("proto/gamehub/v1");
    std::fs::create_dir_all(&protos).expect("a folder");
    for entry in Path::new("proto/gamehub/v1").read_dir().expect("protos") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), protos.join(entry.file_name())).expect("a copy");
    }
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    };
    write("services.binpb", transom::demo::DESCRIPTORS);
    write("transom.yaml", config.as_bytes());
    folder
}

/// A line as a shell runs it, with `transom` on the path.
fn shell(folder: &Path, line: &str) -> Output {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_transom"));
    let mut path = program.parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").expect("a path"));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", path);
    shell.output().expect("runs")
}

fn passes(folder: &Path, line: &str) -> String {
    let output = shell(folder, line);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{out}{err}");
    out
}

#[test]
fn the_configs_are_right() {
    let configs = blocks("yaml");
    assert_eq!(configs.len(), 3);
    for config in configs {
        let out = passes(project(config).path(), "transom check");
        assert!(out.contains("fine: "), "{config}\n{out}");
    }
}

#[test]
fn the_commands_run() {
    let folder = project(blocks("yaml")[0]);
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let mut run = 0;
    for line in lines.map(|l| l.split("  #").next().expect("text").trim()) {
        assert!(line.starts_with("transom "), "{line}: nothing here runs it");
        assert!(!passes(folder.path(), line).is_empty(), "{line}");
        run += 1;
    }
    assert_eq!(run, 4);
}

/// `key: value` between backticks outside the blocks is a piece of the config: policy, or a source.
#[test]
fn the_keys_named_in_the_text_work() {
    let prose = PAGE.split("```").step_by(2);
    let quoted = prose.flat_map(|text| text.split('`').skip(1).step_by(2));
    let key = |q: &&str| {
        q.split_once(": ")
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let base = "listeners: [{ address: \"127.0.0.1:8080\" }]\n\
                upstreams: { games: { endpoints: [\"localhost:50051\"] } }\n\
                routes: [{ services: [\"gamehub.v1.*\"], upstream: games }]\n";
    let protos = "descriptors: [{ protos: proto/ }]\n";
    let mut checked = 0;
    for piece in quoted.filter(key) {
        let config = match piece.split_once(": ").expect("a key").0 {
            "descriptors" if piece.contains("rules") => {
                let protos = protos.replace("}]", "}, { rules: api.yaml }]");
                format!("{base}{protos}")
            }
            "descriptors" => format!("{base}{piece}\n"),
            "reflection" => format!("{base}descriptors: [{{ {piece} }}]\n"),
            _ => format!("{base}{protos}defaults: {{ {piece} }}\n"),
        };
        let folder = project(&config);
        let rules = "type: google.api.Service\nconfig_version: 3\nhttp:\n  rules:\n  \
                     - selector: gamehub.v1.Moderation.Report\n    post: /v1/reports\n    body: \"*\"\n";
        std::fs::write(folder.path().join("api.yaml"), rules).expect("a file");
        passes(folder.path(), "transom check");
        checked += 1;
    }
    assert!(checked > 30, "only {checked}");
}

#[test]
fn the_links_lead_somewhere() {
    let targets = PAGE.split("](").skip(1).filter_map(|t| t.split(')').next());
    for target in targets {
        assert!(Path::new("docs").join(target).exists(), "{target}");
    }
}
