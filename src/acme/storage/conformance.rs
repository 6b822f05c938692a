//! What every storage must do, asked through two handles as two processes would have them.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Lease, Storage, StorageError, Version};

const LONG: Duration = Duration::from_secs(3600);

/// Panics where the storage, which is empty, doesn't do what [`Storage`] promises.
pub async fn check<S: Storage + Clone + 'static>(one: &S, other: &S) {
    versions(one, other).await;
    keys(one).await;
    one_of_many_wins(one).await;
    changes_are_seen(one, other).await;
    leases(one, other).await;
    a_lost_lease_writes_nothing(one, other).await;
}

fn text(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

async fn kept<S: Storage>(storage: &S, key: &str) -> Option<(String, Version)> {
    let record = storage.get(key).await.unwrap()?;
    let text = String::from_utf8(record.bytes.to_vec()).unwrap();
    Some((text, record.version))
}

fn overtaken<T: std::fmt::Debug>(done: Result<T, StorageError>) {
    assert!(
        matches!(done, Err(StorageError::Changed { .. })),
        "{done:?}"
    );
}

async fn versions<S: Storage>(one: &S, other: &S) {
    assert_eq!(kept(one, "a").await, None);
    let first = one.put_if("a", None, text("1"), None).await.unwrap();
    assert_eq!(kept(other, "a").await, Some(("1".into(), first.clone())));
    overtaken(other.put_if("a", None, text("2"), None).await);
    // The same bytes are another version all the same, and no version comes again.
    let mut all = vec![first.clone()];
    for _ in 0..50 {
        let last = all.last();
        let next = other.put_if("a", last, text("1"), None).await.unwrap();
        assert!(!all.contains(&next), "{next:?} twice");
        all.push(next);
    }
    let last = all.last().unwrap().clone();
    overtaken(one.put_if("a", Some(&first), text("3"), None).await);
    overtaken(one.delete_if("a", &first, None).await);
    assert_eq!(kept(one, "a").await, Some(("1".into(), last.clone())));
    one.delete_if("a", &last, None).await.unwrap();
    assert_eq!(kept(other, "a").await, None);
    overtaken(other.delete_if("a", &last, None).await);
    overtaken(other.put_if("a", Some(&last), text("4"), None).await);
    let large = "x".repeat(500_000);
    let empty = other.put_if("a", None, text(""), None).await.unwrap();
    let grown = other.put_if("a", Some(&empty), text(&large), None);
    let grown = grown.await.unwrap();
    assert_eq!(kept(one, "a").await, Some((large, grown.clone())));
    one.delete_if("a", &grown, None).await.unwrap();
}

async fn keys<S: Storage>(storage: &S) {
    let all = ["+.example.com.pem", "a.json", "a.pem", "b", "fe80::1.pem"];
    for key in all.iter().rev() {
        storage.put_if(key, None, text(key), None).await.unwrap();
    }
    assert_eq!(storage.list("").await.unwrap(), all);
    assert_eq!(storage.list("a.").await.unwrap(), ["a.json", "a.pem"]);
    assert!(storage.list("c").await.unwrap().is_empty());
    for key in ["", ".", "..", ".hidden", "../b", "a/b"] {
        let done = storage.put_if(key, None, text("x"), None).await;
        assert!(matches!(done, Err(StorageError::Key { .. })), "{key}");
    }
    // Who holds a lease shows in no list.
    let lease = storage.lease("a", LONG).await.unwrap();
    assert_eq!(storage.list("").await.unwrap(), all);
    drop(lease);
    for key in all {
        let (_, version) = kept(storage, key).await.unwrap();
        storage.delete_if(key, &version, None).await.unwrap();
    }
}

async fn one_of_many_wins<S: Storage + Clone + 'static>(storage: &S) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let storage = storage.clone();
        tasks.spawn(async move {
            let mut added = 0;
            while added < 5 {
                let (old, seen) = kept(&storage, "sum").await.unzip();
                let sum = old.map_or(0, |t| t.parse::<u32>().unwrap()) + 1;
                let text = text(&sum.to_string());
                match storage.put_if("sum", seen.as_ref(), text, None).await {
                    Ok(_) => added += 1,
                    failed => overtaken(failed),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (sum, version) = kept(storage, "sum").await.unwrap();
    assert_eq!(sum, "40");
    storage.delete_if("sum", &version, None).await.unwrap();
}

async fn changes_are_seen<S: Storage>(one: &S, other: &S) {
    // One that was before the wait.
    let first = one.put_if("w", None, text("1"), None).await.unwrap();
    other.changed("w", None).await.unwrap();
    // Ones that come while it waits.
    let (seen, made) = tokio::join!(other.changed("w", Some(&first)), async {
        one.put_if("w", Some(&first), text("2"), None).await
    });
    seen.unwrap();
    let second = made.unwrap();
    let (seen, gone) = tokio::join!(other.changed("w", Some(&second)), async {
        one.delete_if("w", &second, None).await
    });
    seen.unwrap();
    gone.unwrap();
}

async fn leases<S: Storage>(one: &S, other: &S) {
    let first = one.lease("l", LONG).await.unwrap().unwrap();
    assert!(other.lease("l", LONG).await.unwrap().is_none());
    assert!(one.lease("l", LONG).await.unwrap().is_none());
    assert!(other.lease("m", LONG).await.unwrap().is_some());
    let token = first.fence().token;
    let first = one.renew(first, LONG).await.unwrap().unwrap();
    assert_eq!(first.fence().token, token);
    assert!(other.lease("l", LONG).await.unwrap().is_none());
    drop(first);
    let second = other.lease("l", LONG).await.unwrap().unwrap();
    assert!(second.fence().token > token);
}

async fn a_lost_lease_writes_nothing<S: Storage>(one: &S, other: &S) {
    // Over as soon as it is had: its holder hangs.
    let lost = one.lease("z", Duration::ZERO).await.unwrap().unwrap();
    let old = lost.fence().clone();
    let first = one.put_if("z", None, text("1"), Some(&old)).await.unwrap();
    let held = other.lease("z", LONG).await.unwrap().unwrap();
    assert!(held.fence().token > old.token);
    let fenced = |done| assert!(matches!(done, Err(StorageError::Fenced { .. })), "{done:?}");
    let put = one.put_if("z", Some(&first), text("2"), Some(&old)).await;
    fenced(put.map(drop));
    fenced(one.delete_if("z", &first, Some(&old)).await);
    assert!(one.renew(lost, LONG).await.unwrap().is_none());
    // Losing it took nothing from who has it.
    assert!(one.lease("z", LONG).await.unwrap().is_none());
    let fence = Some(held.fence());
    let put = other.put_if("z", Some(&first), text("3"), fence).await;
    let version = put.unwrap();
    assert_eq!(kept(one, "z").await, Some(("3".into(), version.clone())));
    // A lease that is given back is still the latest: what was on its way may come in.
    let fence = held.fence().clone();
    drop(held);
    let gone = other.delete_if("z", &version, Some(&fence)).await;
    gone.unwrap();
}
