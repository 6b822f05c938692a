//! What is on disk of one name: the certificate with its key, its course, and the order under way.

use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::folder::{Folder, FolderError, Lock};
use super::issued::Issued;
use super::schedule::Course;

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
    pub fn certificate(&self) -> Result<Option<Issued>, String> {
        let file = self.file("pem");
        let Some(bytes) = self.folder.get(&file).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes.to_vec()).map(Zeroizing::new);
        let text = text.map_err(|_| format!("{file} is no text"))?;
        let read = Issued::read(text).map_err(|e| format!("{file}: {e}"))?;
        Ok(Some(read))
    }

    /// # Errors
    /// The disk.
    pub fn keep_certificate(&self, issued: &Issued) -> Result<(), FolderError> {
        let bytes = issued.bundle.as_bytes();
        self.folder.put(&self.file("pem"), bytes)
    }

    /// What is kept of the course; one that can't be read is a new one.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let bytes = self.folder.get(&self.file("json")).ok().flatten();
        let read = bytes.and_then(|b| serde_json::from_slice(&b).ok());
        read.unwrap_or_default()
    }

    /// # Errors
    /// The disk.
    pub fn keep(&self, kept: &Kept) -> Result<(), FolderError> {
        // Numbers and texts always print.
        let text = serde_json::to_vec_pretty(kept).unwrap_or_default();
        self.folder.put(&self.file("json"), &text)
    }

    /// The order under way.
    #[must_use]
    pub fn open_order(&self) -> Option<Open> {
        let bytes = self.folder.get(&self.file("order.pem")).ok()??;
        let text = std::str::from_utf8(&bytes).ok()?;
        let (directory, rest) = text.split_once('\n')?;
        let (url, key) = rest.split_once('\n')?;
        Some(Open {
            directory: directory.to_owned(),
            url: url.to_owned(),
            key: KeyPair::from_pem(key).ok()?,
        })
    }

    /// # Errors
    /// The disk.
    pub fn keep_order(&self, open: &Open) -> Result<(), FolderError> {
        let key = Zeroizing::new(open.key.serialize_pem());
        let (directory, url) = (&open.directory, &open.url);
        let text = Zeroizing::new(format!("{directory}\n{url}\n{}", *key));
        self.folder.put(&self.file("order.pem"), text.as_bytes())
    }

    /// # Errors
    /// The disk.
    pub fn forget_order(&self) -> Result<(), FolderError> {
        self.folder.remove(&self.file("order.pem"))
    }

    /// Keeps the certificate under another name, from which nobody serves it. The name.
    ///
    /// # Errors
    /// The disk.
    pub fn set_aside(&self) -> Result<String, FolderError> {
        let (file, aside) = (self.file("pem"), self.file("revoked.pem"));
        if let Some(bytes) = self.folder.get(&file)? {
            self.folder.put(&aside, &bytes)?;
            self.folder.remove(&file)?;
        }
        Ok(aside)
    }

    /// Keeps other processes from this name. `None`: one works on it.
    ///
    /// # Errors
    /// There can be no locks.
    pub fn lock(&self) -> Result<Option<Lock>, FolderError> {
        self.folder.lock(&self.stem)
    }

    fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", self.stem)
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
