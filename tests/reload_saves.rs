//! Every way in which files change under a running gateway: as editors, deployments and version
//! control write them, and as mistakes leave them. What is whole is taken up; what isn't is told with
//! its place, while the old generation serves on.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::process::Process;
use transom::schema::compile;

const CATALOGUE: &str = r#"syntax = "proto3";
package gamehub.v1;
import "google/api/annotations.proto";
service Catalogue {
  rpc GetGame(GetGameRequest) returns (Game) {
    option (google.api.http) = { get: "/v0/games/{game_id}" };
  }
}
message GetGameRequest { int64 game_id = 1; }
message Game { int64 id = 1; string title = 3; }
"#;

const MORE: &str = r#"syntax = "proto3";
package more.v1;
import "google/api/annotations.proto";
service More { rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/more/0" }; } }
message Item { int64 id = 1; }
"#;

/// [`CATALOGUE`] of this version, which shows in its path.
fn catalogue(version: usize) -> String {
    CATALOGUE.replace("/v0/", &format!("/v{version}/"))
}

fn more(version: usize) -> Vec<u8> {
    let text = MORE.replace("/more/0", &format!("/more/{version}"));
    compile(&[("more.proto".to_owned(), text)]).expect("a proto")
}

/// A gateway over protos, a set and a config, each of version 0.
fn start() -> (Process, transom::demo::GrpcServer) {
    let service = transom::demo::start(([127, 0, 0, 1], 0).into()).expect("the service");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::create_dir_all(root.join("proto/deep")).expect("a folder");
    write(&root.join("proto/deep/catalogue.proto"), catalogue(0));
    write(&root.join("more.binpb"), more(0));
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         descriptors: [{{ protos: proto }}, {{ file: more.binpb }}]\n\
         upstreams: {{ games: {{ endpoints: [\"{}\"] }} }}\n\
         routes: [{{ path: /config/0, respond: {{ status: 204 }} }}, {{ services: [\"*\"], upstream: games }}]\n\
         workers: 1\n",
        service.address()
    );
    write(&root.join("transom.yaml"), config);
    (Process::start(folder), service)
}

fn write(file: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(file, bytes).expect("written");
}

/// What holds a version of something, and what is written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Proto,
    Set,
    Config,
}

impl What {
    const ALL: [Self; 3] = [Self::Proto, Self::Set, Self::Config];

    fn file(self) -> &'static str {
        match self {
            Self::Proto => "proto/deep/catalogue.proto",
            Self::Set => "more.binpb",
            Self::Config => "transom.yaml",
        }
    }

    /// Its text of a version. A config is made of the one that is there.
    fn text(self, config: &str, version: usize) -> Vec<u8> {
        match self {
            Self::Proto => catalogue(version).into_bytes(),
            Self::Set => more(version),
            Self::Config => {
                let path = format!("/config/{version},");
                config.replace("/config/0,", &path).into_bytes()
            }
        }
    }

    /// A path that this version has, and its status.
    fn sign(self, version: usize) -> (String, u16) {
        match self {
            Self::Proto => (format!("/v{version}/games/1"), 200),
            Self::Set => (format!("/more/{version}"), 501),
            Self::Config => (format!("/config/{version}"), 204),
        }
    }
}

type Save = fn(&Path, &[u8]);

/// Writes the bytes into a file beside this one.
fn beside(file: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let beside = file.with_extension("new");
    write(&beside, bytes);
    beside
}

/// How files are saved.
const SAVES: [(&str, Save); 9] = [
    ("another file takes the name", |file, bytes| {
        fs::rename(beside(file, bytes), file).expect("renamed");
    }),
    ("emptied and written", |file, bytes| write(file, bytes)),
    ("removed, then made anew", |file, bytes| {
        fs::remove_file(file).expect("removed");
        write(file, bytes);
    }),
    (
        "the old one is put aside first, and removed last",
        |file, bytes| {
            let backup = file.with_extension("old~");
            fs::rename(file, &backup).expect("renamed");
            write(file, bytes);
            fs::remove_file(backup).expect("removed");
        },
    ),
    ("written in pieces", |file, bytes| {
        let mut open = File::create(file).expect("a file");
        for piece in bytes.chunks(40) {
            open.write_all(piece).expect("written");
            open.sync_data().expect("on disk");
        }
    }),
    ("written over without being emptied", |file, bytes| {
        let mut open = OpenOptions::new().write(true).open(file).expect("a file");
        open.write_all(bytes).expect("written");
        open.set_len(bytes.len() as u64).expect("cut");
    }),
    (
        "of the same time as before, as copies keep it",
        |file, bytes| {
            let before = fs::metadata(file)
                .and_then(|m| m.modified())
                .expect("a time");
            let copy = beside(file, bytes);
            let open = OpenOptions::new().write(true).open(&copy).expect("a file");
            open.set_modified(before).expect("set");
            fs::rename(copy, file).expect("renamed");
        },
    ),
    ("a link to another file", |file, bytes| {
        let other = file.with_extension("linked");
        write(&other, bytes);
        let link = file.with_extension("link");
        symlink(&other, &link).expect("a link");
        fs::rename(link, file).expect("renamed");
    }),
    ("its folder is another one", |file, bytes| {
        // Only that of the protos is a folder of its own.
        let folder = file.parent().expect("a folder");
        if !folder.ends_with("deep") {
            return fs::rename(beside(file, bytes), file).expect("renamed");
        }
        let (old, new) = (folder.with_extension("old"), folder.with_extension("new"));
        fs::create_dir(&new).expect("a folder");
        write(&new.join(file.file_name().expect("a name")), bytes);
        // Two of a name would be a fault, if it were looked between.
        let aside = folder.join("../../aside");
        fs::rename(folder, &aside).expect("renamed");
        fs::rename(new, folder).expect("renamed");
        fs::remove_dir_all(aside).expect("removed");
        assert!(!old.exists());
    }),
];

#[tokio::test]
async fn whatever_way_a_file_is_saved_it_is_taken_up() {
    let (running, _service) = start();
    let config = fs::read_to_string(running.path("transom.yaml")).expect("text");
    let mut version = 0;
    for (how, save) in SAVES {
        for what in What::ALL {
            version += 1;
            save(&running.path(what.file()), &what.text(&config, version));
            let (path, status) = what.sign(version);
            println!("{how}: {what:?} has {path}");
            running.until(&path, status).await;
        }
    }
}

/// A place to break something in: what is done, and the words that tell of it.
struct Fault {
    what: &'static str,
    spoil: fn(&Path),
    says: &'static [&'static str],
}

fn proto(root: &Path, change: impl Fn(String) -> String) {
    let text = change(catalogue(0));
    fs::rename(
        beside(&root.join(What::Proto.file()), text.as_bytes()),
        root.join(What::Proto.file()),
    )
    .expect("renamed");
}

fn other(root: &Path, text: &str) {
    write(&root.join("proto/other.proto"), text);
}

const FAULTS: [Fault; 17] = [
    Fault {
        what: "a syntax error",
        spoil: |root| proto(root, |text| text.replace("returns (Game)", "retuns (Game)")),
        says: &["catalogue.proto:5:"],
    },
    Fault {
        what: "a type that isn't there",
        spoil: |root| proto(root, |text| text.replace("returns (Game)", "returns (Gme)")),
        says: &["catalogue.proto:5:", "Gme"],
    },
    Fault {
        what: "a missing import",
        spoil: |root| {
            proto(root, |text| {
                text.replace("import \"g", "import \"gone.proto\";\nimport \"g")
                    .replace("int64 id = 1;", "gone.v1.Id id = 1;")
            });
        },
        says: &["catalogue.proto", "gone"],
    },
    Fault {
        what: "two rules for the same requests",
        spoil: |root| {
            proto(root, |text| {
                let (head, rest) = text.split_once("  rpc ").expect("a method");
                let method = rest.split_once("\n}").expect("its end").0;
                let again = method.replace("GetGame(", "Again(");
                format!("{head}  rpc {again}\n  rpc {rest}")
            });
        },
        says: &["catalogue.proto", "Again", "GetGame"],
    },
    Fault {
        what: "half a proto",
        spoil: |root| proto(root, |text| text[..text.len() / 2].to_owned()),
        says: &["catalogue.proto"],
    },
    Fault {
        what: "a proto that isn't text",
        spoil: |root| write(&root.join("proto/other.proto"), [0xff, 0xfe, 0x00]),
        says: &["other.proto"],
    },
    Fault {
        what: "an edition in text",
        spoil: |root| other(root, "edition = \"2023\";\npackage other.v1;\n"),
        says: &["other.proto", "edition"],
    },
    Fault {
        what: "one message in two versions",
        spoil: |root| {
            other(
                root,
                "syntax = \"proto3\";\npackage gamehub.v1;\nmessage Game { int64 id = 1; bytes title = 3; }\n",
            );
        },
        says: &["gamehub.v1.Game", "catalogue.proto", "other.proto"],
    },
    Fault {
        what: "a set of another version than the protos",
        spoil: |root| {
            let text = CATALOGUE.replace("string title = 3;", "string title = 4;");
            let set = compile(&[("older.proto".to_owned(), text)]).expect("a proto");
            write(&root.join("more.binpb"), set);
        },
        says: &["gamehub.v1.Game"],
    },
    Fault {
        what: "half a set",
        spoil: |root| {
            let set = more(0);
            write(&root.join("more.binpb"), &set[..set.len() / 2]);
        },
        says: &["more.binpb"],
    },
    Fault {
        what: "a set that is just being written",
        spoil: |root| write(&root.join("more.binpb"), ""),
        says: &["more.binpb is empty"],
    },
    Fault {
        what: "64 MiB that are no set",
        spoil: |root| {
            let file = File::create(root.join("more.binpb")).expect("a file");
            file.set_len(64 * 1024 * 1024).expect("a length");
        },
        says: &["more.binpb"],
    },
    Fault {
        what: "a set without end",
        spoil: |root| {
            let file = File::create(root.join("more.binpb")).expect("a file");
            file.set_len(1 << 40).expect("a length");
        },
        says: &["more.binpb", "more than 134217728 bytes"],
    },
    Fault {
        what: "no folder",
        spoil: |root| fs::remove_dir_all(root.join("proto")).expect("removed"),
        says: &["transom.yaml:3:", "proto"],
    },
    Fault {
        what: "a file that is a link to itself",
        spoil: |root| symlink("other.proto", root.join("proto/other.proto")).expect("a link"),
        says: &["other.proto"],
    },
    Fault {
        what: "half a config",
        spoil: |root| {
            let file = root.join("transom.yaml");
            let text = fs::read_to_string(&file).expect("text");
            let half = text.split_once("upstreams: ").expect("upstreams").0;
            write(&file, format!("{half}upstreams: {{ games: {{"));
        },
        says: &["transom.yaml:4:"],
    },
    Fault {
        what: "an empty config",
        spoil: |root| write(&root.join("transom.yaml"), ""),
        says: &["transom.yaml"],
    },
];

/// Puts all back as it was.
fn mend(root: &Path, config: &str, version: usize) {
    fs::remove_file(root.join("proto/other.proto")).ok();
    fs::create_dir_all(root.join("proto/deep")).expect("a folder");
    // Each at once: half of one would be another state to serve.
    let put = |what: What, bytes: &[u8]| {
        let file = root.join(what.file());
        fs::rename(beside(&file, bytes), &file).expect("renamed");
    };
    put(What::Set, &more(0));
    put(What::Config, config.as_bytes());
    put(What::Proto, catalogue(version).as_bytes());
}

#[tokio::test]
async fn whatever_is_broken_is_told_and_the_old_generation_serves_on() {
    let (running, _service) = start();
    let root = running.folder.path();
    let config = fs::read_to_string(root.join("transom.yaml")).expect("text");
    for (before, fault) in FAULTS.iter().enumerate() {
        println!("{}", fault.what);
        (fault.spoil)(root);
        let is_told = |told: &serde_json::Value| {
            let error = told["last_error"].as_str().unwrap_or_default();
            fault.says.iter().all(|words| error.contains(words))
        };
        let told = running.until_told(fault.what, is_told).await;
        println!("{}\n", told["last_error"].as_str().expect("text"));
        for (path, status) in [
            (format!("/v{before}/games/1"), 200),
            ("/more/0".into(), 501),
        ] {
            assert_eq!(
                running.status(&path).await,
                status,
                "{}: {path}",
                fault.what
            );
        }
        let metrics = running.admin("/metrics").await.1;
        assert!(metrics.contains("transom_config_last_reload_successful 0"));

        mend(root, &config, before + 1);
        running
            .until(&format!("/v{}/games/1", before + 1), 200)
            .await;
        // It is told a moment after it is served.
        let mended = |told: &serde_json::Value| told["last_error"].is_null();
        running.until_told("that it is mended", mended).await;
    }
}

/// The files that a config names which can't be taken up are looked at as well: one of them may be what
/// is mended.
#[tokio::test]
async fn what_a_new_config_names_may_be_mended_by_itself() {
    let (running, _service) = start();
    let root = running.folder.path();
    let config = fs::read_to_string(root.join("transom.yaml")).expect("text");
    fs::create_dir(root.join("new")).expect("a folder");
    let text = |mistake: &str| {
        format!(
            "syntax = \"proto3\";\npackage new.v1;\nimport \"google/api/annotations.proto\";\n\
             service New {{ rpc Get(It) {mistake}returns (It) {{ option (google.api.http) = \
             {{ get: \"/new/{{id}}\" }}; }} }}\nmessage It {{ int64 id = 1; }}\n"
        )
    };
    write(&root.join("new/new.proto"), text("re"));
    let named = config.replacen("descriptors: [", "descriptors: [{ protos: new }, ", 1);
    assert_ne!(named, config);
    write(&root.join("transom.yaml"), &named);
    let fault = |told: &serde_json::Value| {
        let error = told["last_error"].as_str().unwrap_or_default();
        error.contains("new.proto:4:")
    };
    running.until_told("the mistake", fault).await;
    write(&root.join("new/new.proto"), text(""));
    running.until("/new/1", 501).await;
    // What both name is looked at as ever.
    write(&running.path(What::Proto.file()), catalogue(1));
    running.until("/v1/games/1", 200).await;
}

#[tokio::test]
async fn links_in_a_circle_are_gone_round_once() {
    let (running, _service) = start();
    for name in ["proto/again", "proto/deep/up", "proto/deep/and_up"] {
        symlink(running.path("proto"), running.path(name)).expect("a link");
    }
    write(&running.path(What::Proto.file()), catalogue(1));
    running.until("/v1/games/1", 200).await;
    assert_eq!(running.told().await["reloads"]["failed"], 0);
}
