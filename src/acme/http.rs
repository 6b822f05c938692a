//! The way to an authority: HTTPS with a limit on every wait and on what comes back, and a memory of
//! the last answer, which tells more than the library's errors do.
//!
//! One connection a request: an order takes a dozen of them, with waits between, and a connection
//! that was closed meanwhile can't cost a signed request then.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::limits::{
    ACME_ANSWER_BYTES_MAX, ACME_CLOCK_SKEW_MAX, ACME_EXCERPT_BYTES_MAX, ACME_RETRY_AFTER_MAX,
};

const AGENT: &str = concat!("transom/", env!("CARGO_PKG_VERSION"));

/// Where requests of an order go. Clones share what is remembered.
#[derive(Clone)]
pub struct Http {
    tls: Arc<rustls::ClientConfig>,
    timeout: Duration,
    last: Arc<Mutex<Last>>,
    /// Whether it is known that the clocks differ, which is told once.
    is_skewed: Arc<AtomicBool>,
}

/// What the last request came to.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// `None`: there was no answer.
    pub status: Option<StatusCode>,
    /// How long the authority wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The body of a refusal, cut.
    pub said: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HttpError {
    #[error("{0} is no URL to ask: it must have a scheme and a host")]
    Url(String),
    #[error("{host} can't be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} shows a certificate that isn't accepted: {reason}")]
    Certificate { host: String, reason: String },
    #[error("{host} doesn't answer within {}s", .within.as_secs_f32())]
    Slow { host: String, within: Duration },
    #[error("{host} cut the connection: {reason}")]
    Cut { host: String, reason: String },
    #[error("{host} answers with more than {ACME_ANSWER_BYTES_MAX} bytes")]
    Large { host: String },
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub head: http::response::Parts,
    pub body: Bytes,
}

impl Http {
    /// Trusts `tls`'s authorities, and waits `timeout` for each answer.
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>, timeout: Duration) -> Self {
        Self {
            tls,
            timeout,
            last: Arc::default(),
            is_skewed: Arc::default(),
        }
    }

    /// The same way, with a memory of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            last: Arc::default(),
            ..self.clone()
        }
    }

    /// What the last request came to.
    #[must_use]
    pub fn last(&self) -> Last {
        self.lock().clone()
    }

    /// Sends one request and reads the answer, whatever its status. Dropping it closes the
    /// connection.
    ///
    /// # Errors
    /// No whole answer in time.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, HttpError> {
        *self.lock() = Last::default();
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answer = match timeout(self.timeout, self.exchange(request)).await {
            Ok(done) => done?,
            Err(_) => {
                let within = self.timeout;
                return Err(HttpError::Slow { host, within });
            }
        };
        self.compare_clocks(&host, &answer.head.headers);
        let status = answer.head.status;
        let refused = status.is_client_error() || status.is_server_error();
        *self.lock() = Last {
            status: Some(status),
            retry_after: retry_after(&answer.head.headers, SystemTime::now()),
            said: match refused {
                true => excerpt(&answer.body),
                false => String::new(),
            },
        };
        Ok(answer)
    }

    fn compare_clocks(&self, host: &str, headers: &http::HeaderMap) {
        let Some((apart, direction)) = skew(headers, SystemTime::now()) else {
            return;
        };
        let is_skewed = apart > ACME_CLOCK_SKEW_MAX;
        if self.is_skewed.swap(is_skewed, Ordering::Relaxed) == is_skewed {
            return;
        }
        if is_skewed {
            let apart = largest_unit(apart);
            tracing::warn!(
                "our clock is {apart} {direction} that of {host}: certificates would be renewed and \
                 expire at wrong times; set it, with NTP for one"
            );
        } else {
            tracing::info!("our clock agrees with that of {host} again");
        }
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// Those of [`Http::send`].
    pub async fn get(&self, url: &str) -> Result<Answer, HttpError> {
        let request = Request::get(url).body(Bytes::new());
        self.send(request.map_err(|_| HttpError::Url(url.to_owned()))?)
            .await
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Answer, HttpError> {
        let url = request.uri().clone();
        let wrong = || HttpError::Url(url.to_string());
        let authority = url.authority().ok_or_else(wrong)?;
        let host = authority.host().to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        complete(&mut request, &url).ok_or_else(wrong)?;
        let tcp = TcpStream::connect((bare, port)).await;
        let tcp = tcp.map_err(|e| HttpError::Unreachable {
            host: host.clone(),
            reason: e.to_string(),
        })?;
        tcp.set_nodelay(true).ok();
        if !secure {
            return talk(tcp, request, host).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| wrong())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        match connector.connect(name, tcp).await {
            Ok(tls) => talk(tls, request, host).await,
            Err(error) => {
                let reason = error.to_string();
                let inner = error.into_inner();
                let tls = inner.and_then(|e| e.downcast::<rustls::Error>().ok());
                Err(match tls.as_deref() {
                    Some(rustls::Error::InvalidCertificate(wrong)) => HttpError::Certificate {
                        host,
                        reason: reason + clock(wrong),
                    },
                    _ => HttpError::Unreachable { host, reason },
                })
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far our clock is from that of who has answered (RFC 9110 §6.6.1), and in which direction.
fn skew(headers: &http::HeaderMap, now: SystemTime) -> Option<(Duration, &'static str)> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(date).ok()?;
    Some(match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    })
}

/// In the largest unit that it fills.
fn largest_unit(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// What to look at beside the certificate.
fn clock(wrong: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    match wrong {
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
            "; is our clock right?"
        }
        UnknownIssuer => "; name its authority with `roots`",
        _ => "",
    }
}

/// Headers that every request needs, and a target in origin form.
fn complete(request: &mut Request<Bytes>, url: &Uri) -> Option<()> {
    let host = HeaderValue::from_str(url.authority()?.as_str()).ok()?;
    let agent = match request.headers().get(USER_AGENT).map(|v| v.to_str()) {
        Some(Ok(library)) => HeaderValue::from_str(&format!("{AGENT} {library}")).ok()?,
        _ => HeaderValue::from_static(AGENT),
    };
    let length = request.body().len();
    let has_body = length > 0 || request.method() == Method::POST;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, agent);
    if has_body {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let target = url.path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = target.parse().ok()?;
    Some(())
}

/// One request on a new connection, which is driven here: nothing is left running.
async fn talk<S>(stream: S, request: Request<Bytes>, host: String) -> Result<Answer, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let cut = |e: &dyn fmt::Display| HttpError::Cut {
        host: host.clone(),
        reason: e.to_string(),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| cut(&e))?;
    let asked = async {
        let answer = sender.send_request(request.map(Full::new)).await;
        let (head, body) = answer.map_err(|e| cut(&causes(&e)))?.into_parts();
        match Limited::new(body, ACME_ANSWER_BYTES_MAX).collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                Ok(Answer { head, body })
            }
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let host = host.clone();
                Err(HttpError::Large { host })
            }
            Err(error) => Err(cut(&causes(error.as_ref()))),
        }
    };
    let (mut asked, mut connection) = (pin!(asked), pin!(connection));
    tokio::select! {
        biased;
        done = &mut asked => done,
        // What was read before the end is still to be had.
        _ = &mut connection => asked.await,
    }
}

/// An error with what caused it: hyper's own words leave that out.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// What `Retry-After` asks for, within reason: seconds or a date (RFC 9110 §10.2.3).
pub fn retry_after(headers: &http::HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(ACME_RETRY_AFTER_MAX));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let wait = at.duration_since(now).unwrap_or_default();
    Some(wait.min(ACME_RETRY_AFTER_MAX))
}

/// As much of a refusal as a log line can bear, on one line.
fn excerpt(body: &[u8]) -> String {
    let cut = body.get(..ACME_EXCERPT_BYTES_MAX).unwrap_or(body);
    let text = String::from_utf8_lossy(cut);
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
