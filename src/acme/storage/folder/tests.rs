use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};

use super::*;

const STEPS: [&str; 4] = ["made", "written", "synced", "renamed"];
const FOLDER: &str = "TRANSOM_TEST_FOLDER";
const DIE_AT: &str = "TRANSOM_TEST_DIE_AT";

/// Dies there as by `kill -9`, when it is asked to.
pub fn reached(step: &str) {
    if std::env::var(DIE_AT).is_ok_and(|at| at == step) {
        kill_process(getpid(), Signal::KILL).unwrap();
    }
}

fn fresh() -> (tempfile::TempDir, Folder) {
    let outer = tempfile::tempdir().unwrap();
    let folder = Folder::open(&outer.path().join("deep/acme")).unwrap();
    (outer, folder)
}

fn text(folder: &Folder, key: &str) -> Option<(String, Version)> {
    let record = folder.read(key).unwrap()?;
    let text = String::from_utf8(record.bytes.to_vec()).unwrap();
    Some((text, record.version))
}

// Waits between looks at the folder take no time.
#[tokio::test(start_paused = true)]
async fn a_folder_conforms() {
    let (_outer, one) = fresh();
    let other = Folder::open(&one.0).unwrap();
    super::super::conformance::check(&one, &other).await;
}

#[test]
fn what_is_put_is_for_nobody_else() {
    let (_outer, folder) = fresh();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    folder.put("a.pem", None, b"one", None).unwrap();
    let held = folder.take("a", Duration::from_secs(60)).unwrap();
    assert!(held.is_some());
    let names = fs::read_dir(&folder.0).unwrap().map(|e| e.unwrap().path());
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for path in &names {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    // Somebody has been at it with another umask.
    let path = folder.0.join("a.pem");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(text(&folder, "a.pem").unwrap().0, "one");
    assert_eq!(mode(&path), 0o600);
    let record = folder.read("a.pem").unwrap();
    let shown = format!("{record:?}");
    assert!(!shown.contains("bytes"), "{shown}");
}

#[test]
fn a_folder_that_others_may_look_into_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let error = Folder::open(outer.path()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_file_that_was_changed_by_hand_is_another_version() {
    let (_outer, folder) = fresh();
    let old = folder.put("a.pem", None, b"one", None).unwrap();
    fs::write(folder.0.join("a.pem"), "by hand").unwrap();
    let put = folder.put("a.pem", Some(&old), b"two", None);
    assert!(put.unwrap_err().is_overtaken());
    assert_eq!(text(&folder, "a.pem").unwrap().0, "by hand");
}

#[test]
fn a_file_from_the_future_is_passed() {
    let (_outer, folder) = fresh();
    folder.put("a", None, b"1", None).unwrap();
    let future = SystemTime::now() + Duration::from_secs(86_400 * 365);
    let file = File::options().write(true).open(folder.0.join("a"));
    let times = FileTimes::new().set_modified(future);
    file.unwrap().set_times(times).unwrap();
    let mut seen = text(&folder, "a").unwrap().1;
    for _ in 0..3 {
        let next = folder.put("a", Some(&seen), b"1", None).unwrap();
        assert_ne!(next, seen);
        seen = next;
    }
    let modified = fs::metadata(folder.0.join("a")).unwrap().modified();
    assert!(modified.unwrap() > future);
}

#[test]
fn what_cant_be_written_leaves_the_old_one() {
    let (_outer, folder) = fresh();
    let old = folder.put("a.pem", None, b"one", None).unwrap();
    let large = vec![b'x'; usize::try_from(ACME_STORED_BYTES_MAX).unwrap() + 1];
    let error = folder.put("a.pem", Some(&old), &large, None).unwrap_err();
    assert!(error.to_string().contains("1048576 at most"), "{error}");
    // A disk that takes no new file.
    fs::create_dir(folder.0.join(".new")).unwrap();
    let error = folder.put("a.pem", Some(&old), b"two", None).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("deep/acme/a.pem: "), "{said}");
    assert!(!error.is_overtaken());
    assert_eq!(text(&folder, "a.pem"), Some(("one".into(), old)));
}

#[test]
fn who_is_killed_while_it_writes_leaves_the_old_or_the_new() {
    const NAME: &str =
        "acme::storage::folder::tests::who_is_killed_while_it_writes_leaves_the_old_or_the_new";
    if let Some(path) = std::env::var_os(FOLDER) {
        let folder = Folder::open(Path::new(&path)).unwrap();
        let seen = text(&folder, "a.pem").unwrap().1;
        let long = "new".repeat(10_000);
        folder
            .put("a.pem", Some(&seen), long.as_bytes(), None)
            .unwrap();
        return;
    }
    for (at, step) in STEPS.into_iter().enumerate() {
        let (_outer, folder) = fresh();
        let old = folder.put("a.pem", None, b"old", None).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([NAME, "--exact"]).env(FOLDER, &folder.0);
        let died = child.env(DIE_AT, step).output().unwrap();
        assert_eq!(died.status.signal(), Some(9), "at {step}: {died:?}");
        let (found, version) = text(&folder, "a.pem").unwrap();
        let done = at == STEPS.len() - 1;
        assert_eq!(version != old, done, "at {step}");
        let wanted = if done {
            "new".repeat(10_000)
        } else {
            "old".into()
        };
        assert_eq!(found, wanted, "at {step}");
        // It left no lock, and what it left is no hindrance.
        folder.put("a.pem", Some(&version), b"next", None).unwrap();
        assert_eq!(folder.keys("").unwrap(), ["a.pem"]);
    }
}

#[test]
fn a_lease_ends_with_its_process() {
    const NAME: &str = "acme::storage::folder::tests::a_lease_ends_with_its_process";
    const LONG: Duration = Duration::from_secs(3600);
    if let Some(path) = std::env::var_os(FOLDER) {
        let folder = Folder::open(Path::new(&path)).unwrap();
        let held = folder.take("a", LONG).unwrap().unwrap();
        assert_eq!(held.fence.token, 1);
        kill_process(getpid(), Signal::KILL).unwrap();
    }
    let (_outer, folder) = fresh();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([NAME, "--exact"]).env(FOLDER, &folder.0);
    let died = child.output().unwrap();
    assert_eq!(died.status.signal(), Some(9), "{died:?}");
    let held = folder.take("a", LONG).unwrap().unwrap();
    assert_eq!(held.fence.token, 2);
}

#[tokio::test]
async fn what_root_makes_belongs_to_the_folders_owner() {
    use std::os::unix::fs::{MetadataExt, chown};
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("kept");
    let folder = Folder::open(&path).unwrap();
    // Who isn't root can give nothing away: the folder is theirs.
    let owner = match rustix::process::geteuid().is_root() {
        true => 65534,
        false => rustix::process::geteuid().as_raw(),
    };
    chown(&path, Some(owner), None).unwrap();
    let bytes = Zeroizing::new(b"key".to_vec());
    let lease = folder
        .lease("a.test", Duration::from_secs(9))
        .await
        .unwrap();
    folder
        .put_if("a.test.pem", None, bytes, lease.as_ref().map(|l| l.fence()))
        .await
        .unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(&path).unwrap() {
        let metadata = entry.unwrap().metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (owner, 0o600));
        files += 1;
    }
    assert_eq!(files, 3, "the record, the lease and the guard");
}
