//! Taking a certificate back, by an operator's wish.

use std::path::PathBuf;

pub use instant_acme::RevocationReason;

use crate::live::Wanted;

use super::kept::Shelf;
use super::office::Office;
use super::setup;
use super::storage::{Folder, Lease as _};

/// A certificate that nobody should trust any more.
#[derive(Debug)]
pub struct Revoked {
    /// Whose it was.
    pub authority: Box<str>,
    /// Where it is kept now.
    pub set_aside: PathBuf,
}

/// Revokes the certificate that is kept for `name` at the authority that issued it, and sets it aside,
/// so that a new one is ordered: who serves the old one does so until then. Dropping it may leave a
/// certificate that is revoked but not set aside; to revoke it again does that.
///
/// # Errors
/// There is none, another process works on it, or the authority says no.
pub async fn revoke(
    wanted: &Wanted,
    name: &str,
    reason: Option<RevocationReason>,
) -> Result<Revoked, String> {
    let issuer = wanted.issuer(name)?;
    let storage = &issuer.acme.storage;
    let shelf = Shelf::new(&Folder::open(storage).map_err(|e| e.to_string())?, name);
    let lease = shelf.lease().await.map_err(|e| e.to_string())?;
    let lease =
        lease.ok_or_else(|| format!("a new certificate for {name} is just being ordered"))?;
    let issued = shelf.certificate().await.map_err(|e| e.to_string())?;
    let (issued, _) = issued.ok_or_else(|| {
        let storage = storage.display();
        format!("{storage} holds no certificate for {name}")
    })?;
    let chain = &issued.identity.certified().cert;
    let leaf = chain.first().ok_or("it has no certificate")?;
    let directory = shelf.kept().await.map_err(|e| e.to_string())?.issuer;
    let directory = directory.unwrap_or_else(|| issuer.acme.directory.to_string());
    // It may have come from one that was turned to.
    let mut all = std::iter::once(issuer).chain(wanted.authorities.iter());
    let owner = all.find(|i| *i.acme.directory == *directory);
    let owner = owner.ok_or_else(|| format!("{directory} issued it, and isn't under `acme`"))?;
    let folder = Folder::open(&owner.acme.storage).map_err(|e| e.to_string())?;
    let office = Office::new(setup::authority(owner, &directory)?, folder);
    let session = office.session().await.map_err(|e| e.to_string())?;
    let done = session.revoke(leaf, reason).await;
    done.map_err(|e| e.to_string())?;
    let set_aside = shelf.set_aside("revoked", lease.fence()).await;
    Ok(Revoked {
        authority: owner.acme.name.clone(),
        set_aside: storage.join(set_aside.map_err(|e| e.to_string())?),
    })
}
