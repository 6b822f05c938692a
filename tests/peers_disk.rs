//! Certificates while the disk that keeps them is full or can't be written to: a real file system of
//! its own, in a mount namespace of the process (Linux, as root).
#![cfg(feature = "peers")]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use support::acme::ca::{At, Ca};
use support::process::Process;
use support::soon;
use support::tls::connect;

const NAME: &str = "api.example.com";

/// Keeps its certificates on a file system of a megabyte.
fn start(ca: &Ca) -> Process {
    let directory = &ca.directory;
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:0\", tls: {{ acme: own, names: [{NAME}] }} }}]\n\
         acme:\n\
         \x20 own: {{ directory: \"{directory}\", storage: kept, roots: ca.pem, agree_to_terms: true }}\n\
         routes: [{{ prefix: /, respond: {{ body: here }} }}]\n\
         workers: 1\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ca.pem"), ca.root.pem()).expect("written");
    fs::write(folder.path().join("transom.yaml"), config).expect("written");
    fs::create_dir(folder.path().join("kept")).expect("made");
    let kept = folder.path().join("kept");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(
        "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$0\" && gateway=$1 && shift && exec \"$gateway\" \"$@\"",
    );
    command.arg(kept).arg(env!("CARGO_BIN_EXE_transom"));
    Process::start_by(folder, command)
}

/// Runs a command where the process is.
fn beside(process: &Process, command: &str) {
    let done = Command::new("nsenter")
        .args(["--mount", "--target", &process.id().to_string()])
        .args(["sh", "-c", command])
        .arg(process.path("kept"))
        .output()
        .expect("nsenter starts");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command}: {told}");
}

async fn until_shown(process: &Process, ca: &Ca) {
    let shown = async {
        while connect(process.address, NAME, ca.root.client())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("a certificate", shown).await;
}

/// What it says when it can't keep anything, and that nothing is lost once it can.
async fn goes_on_after(spoil: &str, words: &[&str], repair: &str) {
    let ca = Ca::start();
    {
        let mut state = ca.state();
        // Renewed again and again.
        state.manners.validity = Duration::from_secs(70);
        state.manners.window = None;
    }
    let process = start(&ca);
    until_shown(&process, &ca).await;
    process.says("a new certificate");
    beside(&process, spoil);
    let line = process.says("a certificate can't be looked after");
    for word in words {
        assert!(line.contains(word), "{line}");
    }
    let files = process.path("kept");
    assert!(line.contains(&files.display().to_string()), "{line}");
    assert!(line.contains(NAME), "{line}");
    // The old one serves, and orders aren't placed that can't be written down.
    until_shown(&process, &ca).await;
    let placed = ca.state().asked[&At::NewOrder];
    process.says("a certificate can't be looked after");
    assert_eq!(ca.state().asked[&At::NewOrder], placed);
    beside(&process, repair);
    process.says("a new certificate");
    until_shown(&process, &ca).await;
    assert!(
        ca.state().asked[&At::NewOrder] <= placed + 1,
        "no order is lost"
    );
}

#[tokio::test]
async fn a_full_disk_is_told_and_costs_no_order() {
    goes_on_after(
        // To the last byte, whatever a block is.
        "cat /dev/zero >\"$0/filler\" 2>/dev/null; test -s \"$0/filler\"",
        &["No space left on device", "make room there"],
        "rm \"$0/filler\"",
    )
    .await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_to_is_told_and_costs_no_order() {
    goes_on_after(
        // Not while a file of it is open for writing.
        "until mount -o remount,ro \"$0\" 2>/dev/null; do sleep 0.01; done",
        &[
            "Read-only file system",
            "mount it so that it can be written to",
        ],
        "mount -o remount,rw \"$0\"",
    )
    .await;
}
