//! The listeners' TLS, judged by testssl.sh, and spoken with curl, OpenSSL and Chromium.
#![cfg(feature = "peers")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::tls::Authority;

struct Gateway {
    folder: tempfile::TempDir,
    process: Child,
    address: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What an authority like Let's Encrypt issues, and nothing configured beside it.
fn gateway() -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Authority::new("Test Root");
    let issuer = root.below("Test Issuer");
    let day = std::time::Duration::from_secs(86_400);
    let now = std::time::SystemTime::now();
    let mut pair = issuer.issue(&["localhost", "127.0.0.1"], |params| {
        params.not_before = (now - day).into();
        params.not_after = (now + day * 89).into();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "localhost");
    });
    pair.cert.push_str(&issuer.pem);
    pair.write(folder.path(), "tls");
    fs::write(folder.path().join("root.crt"), &root.pem).expect("written");
    let config = "listeners: [{ address: \"127.0.0.1:0\", tls: { certificates: [{ cert: tls.crt, key: tls.key }] } }]\n\
                  routes: [{ path: /, respond: { body: \"<p id=here>here</p>\", content_type: text/html } }]\n";
    let file = folder.path().join("transom.yaml");
    fs::write(&file, config).expect("written");
    let mut process = Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["run", "-c"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("listening on https://");
    let address = address.expect("an address").parse().expect("an address");
    Gateway {
        folder,
        process,
        address,
    }
}

fn said(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [done.stdout, done.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn testssl_finds_nothing_above_low() {
    let gateway = gateway();
    let findings = gateway.folder.path().join("findings.json");
    let told = said(
        Command::new("testssl")
            .args([
                "-p",
                "-s",
                "-f",
                "-P",
                "-U",
                "--quiet",
                "--color",
                "0",
                "--warnings",
                "off",
            ])
            .arg("--add-ca")
            .arg(gateway.folder.path().join("root.crt"))
            .arg("--jsonfile")
            .arg(&findings)
            .arg(format!("localhost:{}", gateway.address.port())),
    );
    let text = fs::read_to_string(&findings).unwrap_or_else(|e| panic!("{e}\n{told}"));
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let id = |finding: &Value| finding["id"].as_str().unwrap_or_default().to_owned();
    let bad: Vec<_> = all
        .iter()
        .filter(|f| !["OK", "INFO", "LOW"].contains(&f["severity"].as_str().unwrap_or_default()))
        // Of the scan itself: how long it took, or a warning of the tool.
        .filter(|f| !["scanTime", "old_fart", "engine_problem"].contains(&id(f).as_str()))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}\n{told}");
    let found = |wanted: &str| all.iter().any(|f| id(f) == wanted && f["severity"] == "OK");
    for looked_at in [
        "TLS1_3",
        "TLS1_2",
        "PFS",
        "heartbleed",
        "BREACH",
        "secure_renego",
    ] {
        assert!(found(looked_at), "{looked_at} was not looked at: {told}");
    }
}

#[test]
fn curl_openssl_and_a_browser_connect() {
    let gateway = gateway();
    let root = gateway.folder.path().join("root.crt");
    let url = format!("https://localhost:{}/", gateway.address.port());
    for version in ["--http1.1", "--http2"] {
        let told = said(
            Command::new("curl")
                .args([
                    "-sS",
                    "-w",
                    "%{http_version} %{response_code}",
                    version,
                    "--cacert",
                ])
                .arg(&root)
                .arg(&url),
        );
        let http = if version == "--http2" { "2" } else { "1.1" };
        assert!(told.ends_with(&format!("{http} 200")), "{version}: {told}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let told = said(
            Command::new("openssl")
                .args([
                    "s_client",
                    "-alpn",
                    "h2",
                    "-verify_return_error",
                    version,
                    "-CAfile",
                ])
                .arg(&root)
                .args(["-servername", "localhost", "-connect"])
                .arg(gateway.address.to_string()),
        );
        assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
        assert!(told.contains("ALPN protocol: h2"), "{told}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let told = said(
            Command::new("openssl")
                .args(["s_client", old, "-cipher", "ALL:@SECLEVEL=0", "-connect"])
                .arg(gateway.address.to_string()),
        );
        assert!(told.contains("no peer certificate available"), "{told}");
    }
    let told = said(
        Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--ignore-certificate-errors",
            ])
            .arg(format!(
                "--user-data-dir={}",
                gateway.folder.path().join("browser").display()
            ))
            .args(["--dump-dom", &url]),
    );
    assert!(told.contains("<p id=\"here\">here</p>"), "{told}");
}
