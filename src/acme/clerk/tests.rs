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
