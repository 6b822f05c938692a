//! An authority: its directory, the account with it, and one session for each piece of work.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient,
    NewAccount,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::limits::{ACME_DIRECTORY_AGE_MAX, ACME_NONCES_MAX};

use super::error::{AcmeError, Cause, Step};
use super::http::{Answer, Http};

/// Runs a call of the library again for as long as the authority refuses nothing but its nonce: the
/// library gives up after three, which one of eight calls reaches where half of them are refused.
macro_rules! insist {
    ($call:expr) => {{
        let mut tries = 0_usize;
        loop {
            match $call {
                Err(error)
                    if tries < $crate::limits::ACME_NONCES_MAX
                        && $crate::acme::authority::is_bad_nonce(&error) =>
                {
                    tries += 1;
                }
                done => break done,
            }
        }
    }};
}
pub(super) use insist;

/// Who issues certificates, and who we are to it.
pub struct Authority {
    /// As the configuration calls it.
    pub name: Box<str>,
    /// The URL of its directory.
    pub directory: String,
    /// Addresses for its mails, without `mailto:`.
    pub contact: Vec<String>,
    /// Whether the operator has agreed to its terms.
    pub agreed: bool,
    pub external: Option<External>,
    /// Longest time that one order may take.
    pub patience: Duration,
    pub http: Http,
    known: Mutex<Option<(Instant, Arc<Directory>)>>,
}

/// An account elsewhere that the new one belongs to (RFC 8555 §7.3.4).
pub struct External {
    pub id: String,
    pub key: Zeroizing<Vec<u8>>,
}

/// What an authority offers, and where (RFC 8555 §7.1.1).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    pub renewal_info: Option<String>,
    #[serde(default)]
    pub meta: Meta,
    #[serde(skip)]
    text: Bytes,
}

/// Of the directory.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub terms_of_service: Option<String>,
    #[serde(default)]
    pub external_account_required: bool,
    /// Profiles with their descriptions.
    #[serde(default)]
    pub profiles: BTreeMap<String, String>,
}

/// The account, for one piece of work: what its requests come to is remembered apart from others'.
pub struct Session {
    pub(super) account: Account,
    pub(super) http: Http,
    pub(super) directory: Arc<Directory>,
    pub(super) patience: Duration,
}

impl Session {
    /// Whether that is what [`Authority::register`] gives.
    pub(super) fn can_be_of(credentials: &[u8]) -> bool {
        serde_json::from_slice::<AccountCredentials>(credentials).is_ok()
    }

    /// Whether it was opened with these credentials.
    pub(super) fn is_of(&self, credentials: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let named = serde_json::from_slice::<Named>(credentials);
        named.is_ok_and(|named| named.id == self.account.id())
    }
}

/// The account's key and address, to be kept: whoever has them can order and revoke.
pub type Credentials = Zeroizing<Vec<u8>>;

impl Authority {
    #[must_use]
    pub fn new(name: &str, directory: &str, http: Http, patience: Duration) -> Self {
        Self {
            name: name.into(),
            directory: directory.to_owned(),
            contact: Vec::new(),
            agreed: false,
            external: None,
            patience,
            http,
            known: Mutex::default(),
        }
    }

    /// The account of `credentials`. Dropping it does no harm.
    ///
    /// # Errors
    /// The authority can't be reached, or the credentials are none.
    pub async fn open(&self, credentials: &[u8]) -> Result<Session, AcmeError> {
        let (directory, http) = (self.directory().await?, self.http.apart());
        let held: AccountCredentials = serde_json::from_slice(credentials)
            .map_err(|e| wrong(format!("the stored account can't be read: {e}")))?;
        let wire = self.wire(&http, &directory);
        let opened = Account::builder_with_http(wire)
            .from_credentials(held)
            .await;
        let account = opened.map_err(|e| AcmeError::told(Step::Account, e, &http))?;
        Ok(self.session(account, http, directory))
    }

    /// A new account, with what must be stored to come back to it. Dropping it may leave an account
    /// behind that nobody has the key of.
    ///
    /// # Errors
    /// The authority says no, wants more than is configured, or can't be reached.
    pub async fn register(&self) -> Result<(Session, Credentials), AcmeError> {
        let (directory, http) = (self.directory().await?, self.http.apart());
        self.may_register(&directory)?;
        let contact: Vec<_> = self.contact.iter().map(|c| format!("mailto:{c}")).collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.agreed,
            only_return_existing: false,
        };
        let external = self.external.as_ref();
        let external = external.map(|e| ExternalAccountKey::new(e.id.clone(), &e.key));
        let made = insist!({
            Account::builder_with_http(self.wire(&http, &directory))
                .create(&wanted, self.directory.clone(), external.as_ref())
                .await
        });
        let (account, held) = made.map_err(|e| AcmeError::told(Step::Account, e, &http))?;
        let credentials = serde_json::to_vec(&held).map_err(|e| wrong(e.to_string()))?;
        let session = self.session(account, http, directory);
        Ok((session, Zeroizing::new(credentials)))
    }

    /// What the authority offers, asked for again after an hour.
    ///
    /// # Errors
    /// It can't be reached, or isn't one.
    pub async fn directory(&self) -> Result<Arc<Directory>, AcmeError> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = &*lock()
            && at.elapsed() < ACME_DIRECTORY_AGE_MAX
        {
            return Ok(Arc::clone(known));
        }
        let http = self.http.apart();
        let answer = http.get(&self.directory).await;
        let answer = answer.map_err(|e| AcmeError::new(Step::Directory, Cause::Http(e)))?;
        let last = http.last();
        let failed = |cause| AcmeError {
            step: Step::Directory,
            cause,
            retry_after: last.retry_after,
        };
        if !answer.head.status.is_success() {
            return Err(failed(Cause::Status(answer.head.status, last.said.clone())));
        }
        let read = serde_json::from_slice::<Directory>(&answer.body);
        let mut read = read.map_err(|e| {
            let url = &self.directory;
            failed(Cause::Other(format!("{url} is no ACME directory: {e}")))
        })?;
        read.text = answer.body;
        let read = Arc::new(read);
        *lock() = Some((Instant::now(), Arc::clone(&read)));
        Ok(read)
    }

    fn may_register(&self, directory: &Directory) -> Result<(), AcmeError> {
        let meta = &directory.meta;
        if let Some(terms) = &meta.terms_of_service
            && !self.agreed
        {
            return Err(wrong(format!(
                "the authority has terms of service: read {terms} and set `agree_to_terms: true`"
            )));
        }
        if meta.external_account_required && self.external.is_none() {
            return Err(wrong(
                "the authority takes only those who have an account elsewhere: set `eab`"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn wire(&self, http: &Http, directory: &Arc<Directory>) -> Box<dyn HttpClient> {
        Box::new(Wire {
            http: http.clone(),
            url: self.directory.clone(),
            directory: Arc::clone(directory),
        })
    }

    fn session(&self, account: Account, http: Http, directory: Arc<Directory>) -> Session {
        Session {
            account,
            http,
            directory,
            patience: self.patience,
        }
    }
}

fn wrong(what: String) -> AcmeError {
    AcmeError::new(Step::Account, Cause::Unsupported(what))
}

/// Whether the authority refused the nonce alone.
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    const _: () = assert!(ACME_NONCES_MAX > 0);
    match error {
        Error::Api(problem) => super::error::kind(problem) == Some("badNonce"),
        _ => false,
    }
}

/// The library reads the directory for each account that it opens: it is given the one we have.
struct Wire {
    http: Http,
    url: String,
    directory: Arc<Directory>,
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        if request.method() == Method::GET && request.uri() == self.url.as_str() {
            let (head, ()) = http::Response::new(()).into_parts();
            let body = self.directory.text.clone();
            return Box::pin(async move { Ok(whole(Answer { head, body })) });
        }
        let http = self.http.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let request = Request::from_parts(head, body.to_bytes());
            let answer = http.send(request).await;
            Ok(whole(answer.map_err(|e| Error::Other(Box::new(e)))?))
        })
    }
}

fn whole(answer: Answer) -> BytesResponse {
    BytesResponse {
        parts: answer.head,
        body: Box::new(answer.body),
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("name", &self.name)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("account", &self.account.id())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
