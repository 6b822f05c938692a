//! Certificates that a running gateway gets, keeps and renews by itself.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use support::acme::ca::{At, Ca, Fault, Lie};
use support::acme::manners::COURSE;
use support::client::Http1;
use support::process::Process;
use support::soon;
use support::tls::connect;

const NAME: &str = "api.example.com";

/// A listener with certificates of `ca` for `names`, and one without TLS.
fn config(ca: &Ca, names: &str, more: &str) -> String {
    let directory = &ca.directory;
    format!(
        "listeners:\n\
         - {{ address: \"127.0.0.1:0\", redirect_https: true }}\n\
         - {{ address: \"127.0.0.1:0\", tls: {{ acme: own, names: [{names}] }} }}\n\
         acme:\n\
         \x20 own: {{ directory: \"{directory}\", storage: kept, roots: ca.pem, agree_to_terms: true, {more} }}\n\
         routes: [{{ prefix: /, respond: {{ body: here }} }}]\n\
         workers: 1\n"
    )
}

fn folder(ca: &Ca, config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ca.pem"), ca.root.pem()).expect("written");
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    folder
}

fn start(ca: &Ca, more: &str) -> Process {
    Process::start(folder(ca, &config(ca, NAME, more)))
}

/// The serial number of the certificate that is shown for a name.
async fn shown(process: &Process, ca: &Ca, name: &str) -> Option<Vec<u8>> {
    let config = ca.root.client();
    let stream = connect(process.addresses[1], name, config).await.ok()?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates()?.first()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).expect("a certificate");
    Some(leaf.raw_serial().to_vec())
}

async fn until_shown(process: &Process, ca: &Ca, name: &str) -> Vec<u8> {
    let asked = async {
        loop {
            if let Some(serial) = shown(process, ca, name).await {
                return serial;
            }
        }
    };
    soon("a certificate", asked).await
}

async fn until_other(process: &Process, ca: &Ca, than: &[u8]) -> Vec<u8> {
    let asked = async {
        loop {
            let serial = shown(process, ca, NAME)
                .await
                .expect("it serves all the time");
            if serial != than {
                return serial;
            }
        }
    };
    soon("another certificate", asked).await
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

#[tokio::test]
async fn a_certificate_is_ordered_kept_and_served_after_a_restart() {
    let ca = Ca::start();
    let process = start(&ca, "");
    let serial = until_shown(&process, &ca, NAME).await;
    let kept = process.path("kept");
    assert_eq!(mode(&kept), 0o700);
    for file in fs::read_dir(&kept).expect("a folder") {
        let file = file.expect("an entry").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert!(!kept.join("api.example.com.order.pem").exists());
    let bundle = fs::read_to_string(kept.join("api.example.com.pem")).expect("kept");
    assert!(
        bundle.starts_with("-----BEGIN PRIVATE KEY-----"),
        "{bundle}"
    );
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    // The authority may be gone by then.
    let folder = process.stop();
    let (asked, accounts) = (ca.orders().len(), ca.state().accounts);
    assert_eq!((asked, accounts), (1, 1));
    let process = Process::start(folder);
    assert_eq!(shown(&process, &ca, NAME).await, Some(serial));
    // Nobody else is served.
    let other = connect(process.addresses[1], "other.example.com", ca.root.client()).await;
    assert!(other.is_err());
}

#[tokio::test]
async fn the_plain_listener_redirects_all_but_what_authorities_look_for() {
    let ca = Ca::start();
    ca.fail(At::Challenge, 1, Fault::Silence);
    let process = start(&ca, "challenges: [http-01], answer_timeout: 60s");
    soon("the challenge is ready", ca.is_asked(At::Challenge)).await;
    let mut client = Http1::connect(process.address).await;
    let token = "/.well-known/acme-challenge/token-0-0";
    let reply = client.get(token).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text().to_owned();
    assert!(text.starts_with("token-0-0."), "{text}");
    for path in [
        "/",
        "/.well-known/acme-challenge/other",
        "/.well-known/acme-challenge/",
    ] {
        let reply = client.get(path).await;
        assert_eq!(reply.status, 308, "{path}");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_over_and_over_while_it_serves() {
    let ca = Ca::start();
    {
        let mut state = ca.state();
        // A minute of it has passed when it is issued.
        state.manners.validity = Duration::from_secs(70);
        state.manners.window = None;
    }
    let process = start(&ca, "");
    let mut serial = until_shown(&process, &ca, NAME).await;
    for _ in 0..3 {
        serial = until_other(&process, &ca, &serial).await;
    }
}

#[tokio::test]
async fn renewals_name_what_they_replace_and_follow_a_window_that_moves() {
    let ca = Ca::start();
    // Ten seconds of rest at most.
    ca.state().manners.validity = Duration::from_secs(100);
    ca.state().manners.window = Some(|from, _| (from, from + Duration::from_secs(1)));
    ca.state().manners.explanation = Some("https://ca.example/incident");
    let process = start(&ca, "");
    let serial = until_shown(&process, &ca, NAME).await;
    until_other(&process, &ca, &serial).await;
    let orders = ca.orders();
    assert_eq!(orders[0].replaces, None);
    assert!(orders[1].replaces.is_some(), "{orders:?}");
}

#[tokio::test]
async fn one_that_is_killed_at_any_step_goes_on_with_at_most_one_more_order() {
    for at in COURSE {
        let ca = Ca::start();
        ca.fail(at, 1, Fault::Silence);
        let process = start(&ca, "answer_timeout: 60s");
        soon("the step", ca.is_asked(at)).await;
        let folder = process.stop();
        ca.state().manners.faults.clear();
        let process = Process::start(folder);
        until_shown(&process, &ca, NAME).await;
        let orders = ca.orders().len();
        assert!(orders <= 2, "{at:?}: {orders} orders");
        let is_early = matches!(at, At::Directory | At::Nonce | At::Account | At::NewOrder);
        assert!(is_early || orders == 1, "{at:?}: {orders} orders");
    }
}

#[tokio::test]
async fn a_failure_is_told_and_the_old_certificate_serves_on() {
    let ca = Ca::start();
    ca.state().manners.validity = Duration::from_secs(64);
    ca.state().manners.window = None;
    let process = start(&ca, "");
    until_shown(&process, &ca, NAME).await;
    ca.fail(
        At::NewOrder,
        1000,
        Fault::Problem(403, "rejectedIdentifier", None),
    );
    let line = process.says("the old certificate serves on");
    for word in ["as the test wants [rejectedIdentifier]", NAME] {
        assert!(line.contains(word), "{line}");
    }
    // It was due at once, so one more may have come before the failures did.
    assert!(shown(&process, &ca, NAME).await.is_some());
    // What was wrong is known after a restart, and not tried again at once.
    let asked = ca.state().asked[&At::NewOrder];
    let process = Process::start(process.stop());
    let kept = fs::read_to_string(process.path("kept/api.example.com.json")).expect("kept");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    assert!(kept["course"]["failures"].as_u64() >= Some(1), "{kept}");
    assert!(ca.state().asked[&At::NewOrder] <= asked + 1);
}

#[tokio::test]
async fn certificates_that_cannot_be_served_are_refused() {
    for (lie, words) in [
        (Lie::OtherKey, "the key is not the one of the certificate"),
        (Lie::Truncated, "it is cut off"),
        (
            Lie::OtherNames,
            "it is for somebody.else.example, not for api.example.com",
        ),
    ] {
        let ca = Ca::start();
        ca.state().manners.lie = lie;
        let process = start(&ca, "");
        let line = process.says("no certificate yet");
        assert!(
            line.contains("the authority sent what can't be served"),
            "{line}"
        );
        assert!(line.contains(words), "{line}");
        assert!(!process.path("kept/api.example.com.pem").exists());
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_once_and_stops_nothing() {
    let ca = Ca::start();
    let ahead = SystemTime::now() + Duration::from_secs(3 * 3600 + 60);
    ca.state().manners.date = Some(ahead);
    let process = start(&ca, "");
    let line = process.says("our clock is 3 h behind that of 127.0.0.1");
    assert!(line.contains("set it"), "{line}");
    until_shown(&process, &ca, NAME).await;
    let others = process.unheard();
    assert!(
        !others.iter().any(|l| l.contains("our clock")),
        "{others:?}"
    );
}

#[tokio::test]
async fn another_authority_is_turned_to_and_a_refused_name_is_tried_first() {
    let (bad, good) = (Ca::start(), Ca::start());
    bad.fail(
        At::NewOrder,
        1000,
        Fault::Problem(403, "rejectedIdentifier", None),
    );
    let more = format!(
        "next: other }}\n\
         \x20 other: {{ directory: \"{}\", storage: kept-other, roots: good.pem, agree_to_terms: true",
        good.directory
    );
    let folder = folder(&bad, &config(&bad, NAME, &more));
    fs::write(folder.path().join("good.pem"), good.root.pem()).expect("written");
    let process = Process::start(folder);
    until_shown(&process, &good, NAME).await;
    assert_eq!(good.orders().len(), 1);
    assert_eq!(bad.state().asked[&At::NewOrder], 1);
}

#[tokio::test]
async fn names_come_and_go_with_a_reload() {
    let ca = Ca::start();
    let process = start(&ca, "");
    let serial = until_shown(&process, &ca, NAME).await;
    let both = config(&ca, "api.example.com, www.example.com", "");
    fs::write(process.path("transom.yaml"), both).expect("written");
    process.hang_up();
    until_shown(&process, &ca, "www.example.com").await;
    assert_eq!(shown(&process, &ca, NAME).await, Some(serial));
    let one = config(&ca, "www.example.com", "");
    fs::write(process.path("transom.yaml"), one).expect("written");
    process.hang_up();
    let gone = async { while shown(&process, &ca, NAME).await.is_some() {} };
    soon("the name is gone", gone).await;
    assert_eq!(ca.orders().len(), 2);
}

#[tokio::test]
async fn what_is_wrong_with_the_storage_is_told() {
    let ca = Ca::start();
    let folder = folder(&ca, &config(&ca, NAME, ""));
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).expect("made");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o755)).expect("set");
    let process = Process::start(folder);
    let line = process.says("no certificate can be ordered");
    assert!(line.contains("chmod 700"), "{line}");
    assert_eq!(ca.orders().len(), 0);
}

#[tokio::test]
async fn operators_are_told_of_every_certificate() {
    let ca = Ca::start();
    ca.state()
        .manners
        .unproved
        .insert("bad.example.com".to_owned());
    let names = format!("{NAME}, bad.example.com");
    let admin = "admin: { address: \"127.0.0.1:0\" }\n";
    let text = format!("{}{admin}", config(&ca, &names, ""));
    let process = Process::start(folder(&ca, &text));
    until_shown(&process, &ca, NAME).await;
    process.says("no certificate yet");
    let told = async {
        loop {
            let (_, text) = process.admin("/certs").await;
            let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if all[0]["not_after"].is_u64() && all[1]["next_attempt"].is_u64() {
                return all;
            }
        }
    };
    let all = soon("both are told", told).await;
    assert_eq!(all[0]["names"][0], NAME);
    assert_eq!(all[0]["authority"], "own");
    assert_eq!(all[0]["issuer"], "a root of the tests");
    assert!(all[0]["renewal"].is_u64(), "{all}");
    let bad = &all[1];
    assert_eq!(
        (bad["failures"].as_u64(), bad["not_after"].as_u64()),
        (Some(1), None)
    );
    let error = bad["error"].as_str().expect("text");
    assert!(error.contains("the file holds something else"), "{error}");

    let (_, metrics) = process.admin("/metrics").await;
    for line in [
        "transom_tls_certificate_not_after_seconds{name=\"api.example.com\",source=\"acme\"} ",
        "transom_tls_certificate_not_after_seconds{name=\"bad.example.com\",source=\"acme\"} 0",
        "transom_acme_failures{name=\"bad.example.com\"} 1",
        "transom_acme_orders_total{authority=\"own\",result=\"issued\"} 1",
        "transom_acme_orders_total{authority=\"own\",result=\"failed\"} 1",
        "transom_acme_next_attempt_seconds{name=\"bad.example.com\"} ",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }

    let admin = process.admin.expect("an address").to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["certs", "--admin", &admin])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "one has no certificate");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = "api.example.com: acme own, issued by a root of the tests, until ";
    assert!(text.starts_with(line), "{text}");
    assert!(
        text.contains("bad.example.com: acme own, no certificate yet"),
        "{text}"
    );
    assert!(text.contains("1 failed attempt, the next "), "{text}");
}

/// A command about a name of the config.
fn about(verb: &str, name: &str, folder: &std::path::Path) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_transom"))
        .args([verb, name, "-c"])
        .arg(folder.join("transom.yaml"))
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.code(), text)
}

#[tokio::test]
async fn a_certificate_is_renewed_when_an_operator_says_so() {
    let ca = Ca::start();
    let process = start(&ca, "");
    let serial = until_shown(&process, &ca, NAME).await;
    let (code, text) = about("renew", "other.example.com", process.folder.path());
    assert_eq!(code, Some(1));
    assert!(text.contains("there are api.example.com"), "{text}");
    let (code, text) = about("renew", NAME, process.folder.path());
    assert_eq!(code, Some(0), "{text}");
    let renewed = async { while until_shown(&process, &ca, NAME).await == serial {} };
    soon("another certificate", renewed).await;
    assert_eq!(ca.orders().len(), 2);
}

#[tokio::test]
async fn what_is_damaged_in_the_storage_is_named_with_the_way_out() {
    let ca = Ca::start();
    let process = start(&ca, "");
    until_shown(&process, &ca, NAME).await;
    let folder = process.stop();
    let kept = folder.path().join("kept");
    let pem = kept.join("api.example.com.pem");
    std::fs::write(&pem, "half of it").expect("written");
    let process = Process::start(folder);
    let line = process.says("move it away, and another is ordered");
    assert!(line.contains(&pem.display().to_string()), "{line}");
    // It may have been set aside by then.
    std::fs::remove_file(&pem).ok();
    until_shown(&process, &ca, NAME).await;

    let files = std::fs::read_dir(&kept).expect("a folder");
    let mut files = files.map(|f| f.expect("a file").path());
    let is_account = |f: &std::path::PathBuf| {
        f.to_string_lossy().contains("/account-") && f.extension().is_some_and(|e| e == "json")
    };
    let account = files.find(is_account).expect("an account");
    std::fs::write(&account, "{").expect("written");
    assert_eq!(about("renew", NAME, process.folder.path()).0, Some(0));
    let line = process.says("holds no account: move it away");
    assert!(line.contains(&account.display().to_string()), "{line}");
}

#[tokio::test]
async fn what_was_mended_is_tried_at_once() {
    let ca = Ca::start();
    ca.state().manners.unproved.insert(NAME.to_owned());
    let process = start(&ca, "");
    process.says("no certificate yet");
    // Whoever mends it where the gateway can't see has to say so.
    ca.state().manners.unproved.clear();
    let (code, text) = about("renew", NAME, process.folder.path());
    assert_eq!(code, Some(0), "{text}");
    until_shown(&process, &ca, NAME).await;

    // Other settings are a new start: here and after a restart.
    let ca = Ca::start();
    ca.state().manners.unproved.insert(NAME.to_owned());
    let process = start(&ca, "");
    process.says("no certificate yet");
    let file = process.path("transom.yaml");
    let text = std::fs::read_to_string(&file).expect("a config");
    let other = text.replace(
        "agree_to_terms: true",
        "agree_to_terms: true, contact: [a@b.test]",
    );
    assert_ne!(text, other);
    ca.state().manners.unproved.clear();
    std::fs::write(&file, other).expect("written");
    until_shown(&process, &ca, NAME).await;
}

#[tokio::test]
async fn accounts_that_the_authority_has_lost_are_had_anew_by_one_of_many() {
    let ca = Ca::start();
    let names = "a.example.com, b.example.com, c.example.com, d.example.com";
    let process = Process::start(folder(&ca, &config(&ca, names, "")));
    until_shown(&process, &ca, "a.example.com").await;
    for name in ["b.example.com", "c.example.com", "d.example.com"] {
        until_shown(&process, &ca, name).await;
    }
    ca.state().forget_accounts();
    let folder = process.folder.path();
    for name in names.split(", ") {
        assert_eq!(about("renew", name, folder).0, Some(0));
    }
    let renewed = async { while ca.orders().len() < 8 {} };
    soon("four more orders", renewed).await;
    let failures = process.unheard();
    let failures: Vec<_> = failures
        .iter()
        .filter(|l| l.contains("not renewed yet"))
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(ca.state().accounts, 2);
}

#[tokio::test]
async fn a_certificate_is_revoked_and_replaced() {
    let ca = Ca::start();
    let process = start(&ca, "");
    let serial = until_shown(&process, &ca, NAME).await;
    let folder = process.stop();
    let revoke = |name: &str| about("revoke", name, folder.path());
    let (code, text) = revoke("other.example.com");
    assert_eq!(code, Some(1));
    assert!(text.contains("there are api.example.com"), "{text}");
    let (code, text) = revoke(NAME);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with("api.example.com is revoked at own"),
        "{text}"
    );
    assert_eq!(ca.state().revoked.len(), 1);
    let (code, text) = revoke(NAME);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("holds no certificate for api.example.com"),
        "{text}"
    );
    assert!(
        folder
            .path()
            .join("kept/api.example.com.revoked.pem")
            .exists()
    );
    let process = Process::start(folder);
    assert_ne!(until_shown(&process, &ca, NAME).await, serial);
    assert_eq!(ca.state().accounts, 1);
}
