//! What is on disk of one name: the certificate with its key, its course, and the order under way.

use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::issued::Issued;
use super::schedule::Course;
use super::storage::{Fence, Folder, Record, Storage, StorageError, Version};
use crate::limits::ACME_LEASE;

const PEM: &str = "pem";
const JSON: &str = "json";
const ORDER: &str = "order.pem";

/// Held by whoever works on a name.
pub type Alone = <Folder as Storage>::Lease;

/// The files of a name.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: Folder,
    stem: String,
}

/// Of a name, beside its certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub course: Course,
    /// The directory of the authority that issued the certificate.
    pub issuer: Option<String>,
    /// The certificate that all this is about: with another one it is out of date.
    pub serial: Option<String>,
    /// A mark of how authorities were asked when it failed.
    pub settings: Option<String>,
    /// That this was made of.
    #[serde(skip)]
    pub version: Option<Version>,
}

/// Why there is no certificate to be had from the disk.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("{0}")]
    Disk(#[from] StorageError),
    /// What is there is none that could be served.
    #[error("{said}")]
    Spoilt { said: String, version: Version },
}

/// An order that was placed and isn't done.
#[derive(Debug)]
pub struct Open {
    /// Of whom.
    pub directory: String,
    pub url: String,
    /// What the certificate will be for.
    pub key: KeyPair,
}

impl Shelf {
    #[must_use]
    pub fn new(folder: &Folder, name: &str) -> Self {
        Self {
            folder: folder.clone(),
            // A star is a nuisance to shells; a plus is in no name.
            stem: name.replace('*', "+"),
        }
    }

    /// The certificate that is kept, if one is.
    ///
    /// # Errors
    /// It can't be read, or can't be served.
    pub async fn certificate(&self) -> Result<Option<(Issued, Version)>, Unread> {
        let file = self.file(PEM);
        let record = self.folder.get(&file).await?;
        let place = || self.folder.place(&file);
        record.map(|record| certificate(place, record)).transpose()
    }

    /// The same before there is anybody to serve who would wait for the disk.
    ///
    /// # Errors
    /// It can't be read, or can't be served.
    pub fn certificate_now(&self) -> Result<Option<Issued>, Unread> {
        let file = self.file(PEM);
        let record = self.folder.read(&file)?;
        let read = record
            .map(|record| certificate(|| self.folder.place(&file), record))
            .transpose()?;
        Ok(read.map(|(issued, _)| issued))
    }

    /// In the place of the one that was `seen`.
    ///
    /// # Errors
    /// The disk, or another process has kept one meanwhile.
    pub async fn keep_certificate(
        &self,
        issued: &Issued,
        seen: Option<&Version>,
        fence: &Fence,
    ) -> Result<Version, StorageError> {
        let bytes = Zeroizing::new(issued.bundle.as_bytes().to_vec());
        let file = self.file(PEM);
        self.folder.put_if(&file, seen, bytes, Some(fence)).await
    }

    /// Waits until there is another certificate than the one that was `seen`, or another course than
    /// that of `kept`.
    ///
    /// # Errors
    /// The disk.
    pub async fn changed(&self, seen: Option<&Version>, kept: &Kept) -> Result<(), StorageError> {
        let (pem, json) = (self.file(PEM), self.file(JSON));
        tokio::select! {
            changed = self.folder.changed(&pem, seen) => changed,
            changed = self.folder.changed(&json, kept.version.as_ref()) => changed,
        }
    }

    /// What is kept of the course; one that can't be understood is a new one.
    ///
    /// # Errors
    /// The disk.
    pub async fn kept(&self) -> Result<Kept, StorageError> {
        let Some(record) = self.folder.get(&self.file(JSON)).await? else {
            return Ok(Kept::default());
        };
        let read = serde_json::from_slice(&record.bytes);
        let kept: Kept = read.unwrap_or_default();
        Ok(Kept {
            version: Some(record.version),
            ..kept
        })
    }

    /// Keeps what has been made of [`Shelf::kept`].
    ///
    /// # Errors
    /// The disk, or another process has kept something meanwhile.
    pub async fn keep(&self, kept: &mut Kept) -> Result<(), StorageError> {
        let seen = kept.version.clone();
        self.put_course(kept, seen, None).await
    }

    /// The same for whoever works on the name alone: what others have noted of it meanwhile (when to
    /// renew) counts less.
    ///
    /// # Errors
    /// The disk, or it isn't alone any more.
    pub async fn keep_alone(&self, kept: &mut Kept, fence: &Fence) -> Result<(), StorageError> {
        loop {
            let seen = self.folder.get(&self.file(JSON)).await?;
            let seen = seen.map(|record| record.version);
            match self.put_course(kept, seen, Some(fence)).await {
                Err(StorageError::Changed { .. }) => {}
                done => return done,
            }
        }
    }

    async fn put_course(
        &self,
        kept: &mut Kept,
        seen: Option<Version>,
        fence: Option<&Fence>,
    ) -> Result<(), StorageError> {
        // Numbers and texts always print.
        let text = Zeroizing::new(serde_json::to_vec_pretty(kept).unwrap_or_default());
        let file = self.file(JSON);
        let put = self.folder.put_if(&file, seen.as_ref(), text, fence);
        kept.version = Some(put.await?);
        Ok(())
    }

    /// The order under way.
    pub async fn open_order(&self) -> Option<Open> {
        let record = self.folder.get(&self.file(ORDER)).await.ok()??;
        let text = std::str::from_utf8(&record.bytes).ok()?;
        let (directory, rest) = text.split_once('\n')?;
        let (url, key) = rest.split_once('\n')?;
        Some(Open {
            directory: directory.to_owned(),
            url: url.to_owned(),
            key: KeyPair::from_pem(key).ok()?,
        })
    }

    /// In the place of one that is of no use, if there is one.
    ///
    /// # Errors
    /// The disk, or another process works on the name.
    pub async fn keep_order(&self, open: &Open, fence: &Fence) -> Result<(), StorageError> {
        let key = Zeroizing::new(open.key.serialize_pem());
        let (directory, url) = (&open.directory, &open.url);
        let text = format!("{directory}\n{url}\n{}", *key);
        let text = Zeroizing::new(text.into_bytes());
        let file = self.file(ORDER);
        let seen = self.folder.get(&file).await?.map(|record| record.version);
        let put = self.folder.put_if(&file, seen.as_ref(), text, Some(fence));
        put.await.map(drop)
    }

    /// # Errors
    /// The disk, or another process works on the name.
    pub async fn forget_order(&self, fence: &Fence) -> Result<(), StorageError> {
        let file = self.file(ORDER);
        let Some(record) = self.folder.get(&file).await? else {
            return Ok(());
        };
        let version = &record.version;
        self.folder.delete_if(&file, version, Some(fence)).await
    }

    /// Keeps the certificate under another name, which says `why` nobody serves it. The name.
    ///
    /// # Errors
    /// The disk.
    pub async fn set_aside(&self, why: &str, fence: &Fence) -> Result<String, StorageError> {
        let (file, aside) = (self.file(PEM), self.file(&format!("{why}.pem")));
        if let Some(record) = self.folder.get(&file).await? {
            let before = self.folder.get(&aside).await?.map(|r| r.version);
            let (before, fence) = (before.as_ref(), Some(fence));
            let put = self.folder.put_if(&aside, before, record.bytes, fence);
            put.await?;
            self.folder.delete_if(&file, &record.version, fence).await?;
        }
        Ok(aside)
    }

    /// Keeps other processes from this name. `None`: one works on it.
    ///
    /// # Errors
    /// There can be no leases.
    pub async fn lease(&self) -> Result<Option<Alone>, StorageError> {
        self.folder.lease(&self.stem, ACME_LEASE).await
    }

    /// Waits for as long as the lease can be renewed: until another process has it.
    ///
    /// # Errors
    /// The disk.
    pub async fn hold(&self, mut lease: Alone) -> Result<(), StorageError> {
        loop {
            sleep(ACME_LEASE / 3).await;
            match self.folder.renew(lease, ACME_LEASE).await? {
                Some(held) => lease = held,
                None => return Ok(()),
            }
        }
    }

    fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", self.stem)
    }
}

fn certificate(place: impl Fn() -> String, record: Record) -> Result<(Issued, Version), Unread> {
    let text = std::str::from_utf8(&record.bytes);
    let text = text.map_err(|_| "this is no text".to_owned());
    let read = text.and_then(|text| Issued::read(Zeroizing::new(text.to_owned())));
    match read {
        Ok(read) => Ok((read, record.version)),
        Err(error) => Err(Unread::Spoilt {
            said: format!("{}: {error}: move it away, and another is ordered", place()),
            version: record.version,
        }),
    }
}

/// The file of the account with an authority.
#[must_use]
pub fn account_file(directory: &str) -> String {
    const LONG: usize = 150;
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => c,
        _ => '-',
    };
    let url = directory.trim_start_matches("https://");
    let name: String = url.chars().take(LONG).map(plain).collect();
    format!("account-{name}.json")
}
