//! The demo's config and protos as files, for people who want to change them and see what happens.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::CONFIG;

/// The protos of `gamehub.v1` by their place in the folder.
const PROTOS: &[(&str, &str)] = &[
    (
        "proto/gamehub/v1/catalogue.proto",
        include_str!("../../../proto/gamehub/v1/catalogue.proto"),
    ),
    (
        "proto/gamehub/v1/chat.proto",
        include_str!("../../../proto/gamehub/v1/chat.proto"),
    ),
    (
        "proto/gamehub/v1/game.proto",
        include_str!("../../../proto/gamehub/v1/game.proto"),
    ),
    (
        "proto/gamehub/v1/moderation.proto",
        include_str!("../../../proto/gamehub/v1/moderation.proto"),
    ),
    (
        "proto/gamehub/v1/scores.proto",
        include_str!("../../../proto/gamehub/v1/scores.proto"),
    ),
    (
        "proto/gamehub/v1/telemetry.proto",
        include_str!("../../../proto/gamehub/v1/telemetry.proto"),
    ),
    (
        "proto/gamehub/v1/thumbnails.proto",
        include_str!("../../../proto/gamehub/v1/thumbnails.proto"),
    ),
];

const HEADER: &str = "\
# What `transom demo --dir` serves by. Change it, or a file of proto/, and save: it is taken up at once.
# LISTEN and GAMES are filled in by the demo.
";

/// Writes what isn't there yet, and gives the config's place. What somebody has changed stays as it is.
///
/// # Errors
/// The folder or a file can't be written.
pub(super) fn write(folder: &Path) -> io::Result<PathBuf> {
    let file = folder.join("transom.yaml");
    for (name, text) in PROTOS {
        write_new(&folder.join(name), text)?;
    }
    write_new(&file, &config())?;
    Ok(file)
}

/// The demo's config, with the folder in place of reflection.
fn config() -> String {
    let (_, keys) = CONFIG.split_once("listeners:").unwrap_or_default();
    let keys = keys.replace("- reflection: games", "- protos: proto");
    format!("{HEADER}listeners:{keys}")
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// What to try, with `@` for the gateway's URL: a change, and what it does.
pub(super) fn lines(folder: &Path) -> [(&'static str, String); 4] {
    let file = folder.join("proto/gamehub/v1/catalogue.proto");
    // As a shell takes it, whatever stands in it.
    let file = format!("'{}'", file.display().to_string().replace('\'', r"'\''"));
    let edit = |from: &str, to: &str| format!("sed -i 's|{from}|{to}|' {file}");
    let old = r#"{ get: "/v1/games/{game_id}" };"#;
    let new =
        r#"{ get: "/v1/games/{game_id}" additional_bindings { get: "/v2/game/{game_id}" } };"#;
    [
        ("give a method one more path, in its proto", edit(old, new)),
        ("and ask for it there", "curl @/v2/game/1".to_owned()),
        (
            "a mistake changes nothing: it is told here, and the old routes serve on",
            edit("returns (Game)", "returns (Gam)"),
        ),
        ("mend it", edit("returns (Gam)", "returns (Game)")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_protos_are_there_and_what_is_changed_stays() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/gamehub/v1");
        assert_eq!(fs::read_dir(root).unwrap().count(), PROTOS.len());
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path()).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\n  - protos: proto\n"), "{text}");
        assert!(!text.contains("reflection"), "{text}");
        fs::write(&file, "mine").unwrap();
        write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        for (what, line) in lines(folder.path()) {
            let parts: Vec<_> = line.split('|').collect();
            if let ["sed -i 's", from, _, _] = parts[..] {
                let is_there = PROTOS[0].1.contains(from) || from == "returns (Gam)";
                assert!(is_there, "{what}: {from}");
            }
        }
    }
}
