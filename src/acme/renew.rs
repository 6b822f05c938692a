//! A certificate before its time, by an operator's wish.

use crate::live::Wanted;

use super::kept::Shelf;
use super::storage::Folder;

/// Notes in the storage that the certificate of `name` is to be renewed, or had at all, at once: whoever
/// looks after it sees that, and no failure of before keeps from it. The old one serves until then.
///
/// # Errors
/// No listener wants one, or the disk.
pub async fn renew(wanted: &Wanted, name: &str) -> Result<(), String> {
    let issuer = wanted.issuer(name)?;
    let folder = Folder::open(&issuer.acme.storage).map_err(|e| e.to_string())?;
    let shelf = Shelf::new(&folder, name);
    loop {
        let mut kept = shelf.kept().await.map_err(|e| e.to_string())?;
        kept.course.ask();
        match shelf.keep(&mut kept).await {
            // Whoever looks after it has noted something meanwhile.
            Err(error) if error.is_overtaken() => {}
            done => return done.map_err(|e| e.to_string()),
        }
    }
}
