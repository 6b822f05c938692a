use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::super::storage::{Folder, Storage as _};
use super::*;
use zeroize::Zeroizing;

fn bundle(name: &str) -> Zeroizing<Vec<u8>> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let text = made.signing_key.serialize_pem() + &made.cert.pem();
    Zeroizing::new(text.into_bytes())
}

fn clerk(folder: &Folder, show: Show) -> Clerk {
    Clerk {
        name: "a.test".into(),
        choices: Vec::new(),
        settings: "".into(),
        shelf: Shelf::new(folder, "a.test"),
        board: Arc::default(),
        show,
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_a_rest_and_no_certificate() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("acme")).unwrap();
    let (bytes, key) = (bundle("a.test"), "a.test.pem");
    folder.put_if(key, None, bytes, None).await.unwrap();
    let (shown, seen) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (tell, times) = (Arc::clone(&shown), Arc::clone(&seen));
    let show: Show = Arc::new(move |_, _| {
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("the first time");
        }
        tell.notify_one();
    });
    let clerk = clerk(&folder, show);
    let board = Arc::clone(&clerk.board);
    let at_work = tokio::spawn(clerk.run());
    shown.notified().await;
    assert!(seen.load(Ordering::Relaxed) > 1);
    assert!(board.read().certificates.contains_key("a.test"));
    at_work.abort();
}

#[test]
fn what_cannot_be_kept_is_waited_for_all_the_same() {
    let minute = Duration::from_secs(60);
    let mut unkept = 0;
    let halt = |waits| Halt {
        waits,
        ..Halt::new("the disk is full")
    };
    // No order was placed: the disk alone is tried again.
    assert_eq!(halt(None).rest(&mut unkept), ACME_DISK_RETRY);
    assert_eq!(unkept, 0);
    let rests: Vec<_> = (0..20)
        .map(|_| halt(Some(minute)).rest(&mut unkept))
        .collect();
    assert_eq!(rests[..3], [minute, minute * 2, minute * 4]);
    assert_eq!(rests[19], ACME_SLEEP_MAX);
    assert_eq!(halt(Some(Duration::MAX)).rest(&mut unkept), ACME_SLEEP_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_spoilt_certificate_makes_way_for_a_new_one() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("acme")).unwrap();
    let cut = bundle("a.test")[..300].to_vec();
    let put = folder.put_if("a.test.pem", None, Zeroizing::new(cut.clone()), None);
    put.await.unwrap();
    let at_work = tokio::spawn(clerk(&folder, Arc::new(|_, _| ())).run());
    let gone = async {
        while folder.get("a.test.pem").await.unwrap().is_some() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    gone.await;
    let aside = folder.get("a.test.unreadable.pem").await.unwrap();
    assert_eq!(*aside.unwrap().bytes, cut);
    at_work.abort();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_mended_in_time_is_served() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("acme")).unwrap();
    let half = Zeroizing::new(b"being copied".to_vec());
    let before = folder.put_if("a.test.pem", None, half, None).await.unwrap();
    let shown = Arc::new(Notify::new());
    let tell = Arc::clone(&shown);
    let clerk = clerk(&folder, Arc::new(move |_, _| tell.notify_one()));
    let board = Arc::clone(&clerk.board);
    let at_work = tokio::spawn(clerk.run());
    while board.read().certificates.is_empty() {
        tokio::task::yield_now().await;
    }
    let put = folder.put_if("a.test.pem", Some(&before), bundle("a.test"), None);
    put.await.unwrap();
    shown.notified().await;
    assert!(folder.get("a.test.unreadable.pem").await.unwrap().is_none());
    at_work.abort();
}
