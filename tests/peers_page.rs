//! The live page of `admin`, in headless Chromium: traffic, an instance that is down, a certificate that
//! ends soon, reloads, failures and what would become of a request; by keyboard, in the dark, on a phone.
#![cfg(feature = "peers")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

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

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{told}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The binary, killed with the handle.
struct Transom {
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Transom {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, stdout }
    }

    /// What follows these words, up to a blank or the end of the line.
    fn says(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).expect("text") > 0 {
            if let Some((_, rest)) = line.split_once(words) {
                let end = rest.find([' ', ';', '\n']).unwrap_or(rest.len());
                return rest[..end].to_owned();
            }
            line.clear();
        }
        panic!("it never says {words:?}");
    }
}

impl Drop for Transom {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn looked_at(admin: &str, gateway: &str) -> Value {
    let seen = run(Command::new("node")
        .arg("tests/peers/page/look.mjs")
        .arg(peer("browser"))
        .args([admin, gateway])
        .arg(env!("CARGO_TARGET_TMPDIR")));
    serde_json::from_str(&seen).expect("one line of JSON")
}

#[test]
fn the_live_page_is_looked_at() {
    let mut demo = Transom::start(&["demo", "--listen", "127.0.0.1:0"]);
    let games = demo.says("served in gRPC on ");
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "5"])
        .args(["-subj", "/CN=games.example", "-addext"])
        .args(["subjectAltName=DNS:games.example", "-keyout"])
        .args([&place("key.pem"), "-out", &place("cert.pem")]));
    let config = format!(
        "listeners:\n\
         \x20 - address: \"127.0.0.1:0\"\n\
         \x20 - {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: cert.pem, key: key.pem }}] }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         descriptors: [{{ reflection: games }}]\n\
         upstreams:\n\
         \x20 games: {{ endpoints: [\"{games}\"] }}\n\
         \x20 down: {{ endpoints: [\"127.0.0.1:9\"], protocol: http1 }}\n\
         routes:\n\
         \x20 - {{ services: [\"gamehub.v1.*\"], upstream: games }}\n\
         \x20 - {{ prefix: /down, upstream: down }}\n"
    );
    fs::write(place("transom.yaml"), config).expect("written");
    let mut transom = Transom::start(&["run", "-c", &place("transom.yaml")]);
    let gateway = format!("http://{}", transom.says("listening on http://"));
    let admin = format!("http://{}", transom.says("admin on http://"));

    let seen = looked_at(&admin, &gateway);
    assert_eq!(seen["said"], json!([]), "the browser complains");
    assert_eq!(seen["asked"], json!([admin]), "somebody else is asked");
    assert_eq!(seen["injected"], false, "a script that isn't its own ran");
    assert_eq!(seen["stage"], "serving");
    assert_eq!(seen["upstreams"], json!(["down", "games"]));
    let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
    let has = |key: &str, part: &str| assert!(text(key).contains(part), "{key}: {}", text(key));
    has("route", "gamehub.v1.Catalogue/GetGame");
    has("down", "0 of 1 up");
    has("down", "127.0.0.1:9");
    has("certificate", "games.example");
    has("ending", "bad");
    has("error", "503");
    assert_eq!(seen["skip"], "skip");
    assert_eq!(seen["filtered"], "* /down");
    assert_eq!(seen["paused"], "true");
    has("explained", "gamehub.v1.Catalogue/GetGame");
    has("explained", "game_id");
    assert_eq!(seen["notice"], "Reloaded.");
    has("reload", "generation 2");
    has("reload", "the same rules");
    assert_eq!(seen["unnamed"], json!([]), "controls without a name");
    assert_eq!(seen["faint"], json!([]), "hard to read");
    assert_eq!(
        seen["faintInTheDark"],
        json!([]),
        "hard to read in the dark"
    );
    assert!(seen["wide"].as_u64() <= Some(390), "{}", seen["wide"]);
}
