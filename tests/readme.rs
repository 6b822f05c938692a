//! Every example in README.md, as it is written there: the config is checked, the commands are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const README: &str = include_str!("../README.md");

/// The blocks between fences of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after = README.split(&*fence).skip(1);
    let blocks: Vec<_> = after
        .map(|text| text.split("\n```").next().expect("a block"))
        .collect();
    assert!(!blocks.is_empty(), "README.md has no {language} block");
    blocks
}

/// Commands of the shell blocks, without what is said about them.
fn commands() -> Vec<&'static str> {
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let command = |line: &'static str| line.split("  #").next().expect("text").trim();
    lines.map(command).filter(|line| !line.is_empty()).collect()
}

/// What stands between backticks outside the blocks.
fn quoted() -> Vec<&'static str> {
    let prose = README.split("```").step_by(2);
    prose
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in from.read_dir().expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).expect("a copy"),
        }
    }
}

/// A platform team's folder: the README's config, and the protos that it speaks of. Nothing of
/// google's is there, since the README promises that nothing is needed.
fn project(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(
        Path::new("proto/gamehub"),
        &folder.path().join("proto/gamehub"),
    );
    std::fs::write(
        folder.path().join("services.binpb"),
        transom::demo::DESCRIPTORS,
    )
    .expect("a file");
    std::fs::write(folder.path().join("transom.yaml"), config).expect("a file");
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

fn config() -> &'static str {
    let blocks = blocks("yaml");
    assert_eq!(blocks.len(), 1, "one config");
    blocks[0]
}

#[test]
fn the_config_is_right_with_every_source_that_it_names() {
    let folder = project(config());
    let out = passes(folder.path(), "transom check");
    assert!(out.contains("fine: "), "{out}");
    for other in ["file: services.binpb", "reflection: games"] {
        assert!(config().contains(&format!("`{other}`")), "{other}");
        let folder = project(&config().replace("protos: proto/", other));
        let out = passes(folder.path(), "transom check");
        assert!(out.contains("fine"), "{other}: {out}");
    }
}

/// Those that look are run as they stand; those that serve must be understood, and what they serve is
/// tested elsewhere (`run_command.rs`, `demo.rs`).
#[test]
fn the_commands_run() {
    let folder = project(config());
    let (mut run, mut understood) = (0, 0);
    for line in commands() {
        let verb = line.strip_prefix("transom ").unwrap_or("");
        if verb.starts_with("run") || line.contains("-- demo") {
            let arguments = line.split_once("-- ").map_or(verb, |(_, after)| after);
            // `--help` ends the command after its arguments are read, of which the last one may be
            // wrong: so `--help` is put last.
            let help = passes(folder.path(), &format!("transom {arguments} --help"));
            assert!(help.contains("Usage: transom"), "{help}");
            understood += 1;
        } else if !verb.is_empty() {
            let out = passes(folder.path(), line);
            assert!(!out.is_empty(), "{line}");
            run += 1;
        } else {
            assert_eq!(line, "tests/run", "a command that nothing here runs");
            assert!(Path::new(line).is_file());
        }
    }
    assert_eq!((run, understood), (3, 3), "{:?}", commands());
}

/// `key: value` in the prose is policy, for a route or for all.
#[test]
fn the_keys_named_in_the_prose_work() {
    let policies: Vec<_> = quoted()
        .into_iter()
        .filter(|q| {
            let word = |w: &str| {
                w.chars()
                    .all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c))
            };
            q.split_once(": ")
                .is_some_and(|(key, value)| word(key) && word(value))
        })
        .collect();
    assert!(policies.len() >= 3, "{policies:?}");
    for policy in policies {
        let folder = project(&format!("{}\ndefaults: {{ {policy} }}\n", config()));
        passes(folder.path(), "transom check");
        let of_route = config().replacen("body: \"*\"", &format!("body: \"*\"\n    {policy}"), 1);
        passes(project(&of_route).path(), "transom check");
    }
    for command in quoted().into_iter().filter(|q| q.starts_with("transom ")) {
        // These ask a gateway that runs.
        let help = match command {
            "transom upgrade" | "transom reload" | "transom status" => " --help",
            _ => "",
        };
        passes(Path::new("."), &format!("{command}{help}"));
    }
}

#[test]
fn the_links_lead_somewhere() {
    let targets: Vec<_> = README
        .split("](")
        .skip(1)
        .filter_map(|text| text.split(')').next())
        .collect();
    assert!(!targets.is_empty());
    for target in targets {
        let file = target.split('#').next().expect("text");
        assert!(
            target.starts_with("https://") || Path::new(file).exists(),
            "{target}"
        );
    }
}
