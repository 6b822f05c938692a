//! Two questions to the API server: the slices of a service, and what becomes of them.
//!
//! Each has a connection of its own. Token and authority are read for each, since the kubelet replaces
//! both while the process runs.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::model::{Cluster, Service};
use crate::limits::{
    KUBERNETES_ANSWER_TIMEOUT, KUBERNETES_EVENT_BYTES_MAX, KUBERNETES_LIST_BYTES_MAX,
    KUBERNETES_PAGE, KUBERNETES_WATCH,
};
use crate::tls::{Material, Outgoing, Speaks};

use super::slices::{Event, List, Problem, Slices};

/// Where the kubelet puts what a pod needs to ask.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A namespace, where nobody names one.
const DEFAULT_NAMESPACE: &str = "default";

/// The API server.
#[derive(Clone, Debug)]
pub(super) struct Api {
    server: Uri,
    token: Option<PathBuf>,
    ca: Option<PathBuf>,
    path: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ApiError {
    /// What was known is too old to go on from (410).
    Gone,
    Failed(String),
}

impl From<String> for ApiError {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

impl Api {
    /// What is to be asked about a service.
    pub(super) fn of(cluster: &Cluster, service: &Service) -> Result<Self, String> {
        let account = Path::new(ACCOUNT);
        let (server, token, ca) = match &cluster.server {
            Some(server) => (
                server.to_string(),
                cluster.token.clone(),
                cluster.ca.clone(),
            ),
            None => {
                let own = |given: &Option<PathBuf>, name| {
                    Some(given.clone().unwrap_or_else(|| account.join(name)))
                };
                (
                    in_cluster()?,
                    own(&cluster.token, "token"),
                    own(&cluster.ca, "ca.crt"),
                )
            }
        };
        let server = server
            .parse()
            .map_err(|e| format!("{server:?} is no URL: {e}"))?;
        let named = service
            .namespace
            .as_deref()
            .or(cluster.namespace.as_deref());
        let namespace = named.map_or_else(|| namespace_of(account), str::to_owned);
        let label = format!("kubernetes.io/service-name={}", service.name);
        let label = utf8_percent_encode(&label, NON_ALPHANUMERIC);
        Ok(Self {
            server,
            token,
            ca,
            path: format!(
                "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={label}"
            ),
        })
    }

    /// All slices, and what the list is called.
    pub(super) async fn list(&self) -> Result<(Slices, String), ApiError> {
        let until = Instant::now() + KUBERNETES_ANSWER_TIMEOUT;
        let whole = async {
            let mut slices = Slices::new();
            let mut more = String::new();
            loop {
                let mut query = format!("&limit={KUBERNETES_PAGE}");
                if !more.is_empty() {
                    let token = utf8_percent_encode(&more, NON_ALPHANUMERIC);
                    query.push_str(&format!("&continue={token}"));
                }
                let answer = self.ask(&query).await?;
                let body = Limited::new(answer.into_body(), KUBERNETES_LIST_BYTES_MAX).collect();
                let body = body
                    .await
                    .map_err(|e| format!("the list was cut: {e}"))?
                    .to_bytes();
                let page: List = serde_json::from_slice(&body)
                    .map_err(|e| format!("the list can't be read: {e}"))?;
                let named = page.items.into_iter().map(|s| (s.metadata.name.clone(), s));
                slices.extend(named);
                if page.metadata.more.is_empty() {
                    return Ok((slices, page.metadata.resource_version));
                }
                more = page.metadata.more;
            }
        };
        in_time(until, whole).await
    }

    /// What becomes of the slices from `version` on.
    pub(super) async fn watch(&self, version: &str) -> Result<Watch, ApiError> {
        // Watches of gateways that started together don't end together.
        let span = KUBERNETES_WATCH.mul_f64(0.8 + fastrand::f64() / 5.0);
        let query = format!(
            "&watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            utf8_percent_encode(version, NON_ALPHANUMERIC),
            span.as_secs()
        );
        let until = Instant::now() + KUBERNETES_ANSWER_TIMEOUT;
        let answer = in_time(until, self.ask(&query)).await?;
        Ok(Watch {
            body: answer.into_body(),
            read: BytesMut::new(),
            until: Instant::now() + span + KUBERNETES_ANSWER_TIMEOUT,
        })
    }

    async fn ask(&self, query: &str) -> Result<Response<Incoming>, ApiError> {
        let wrong = || format!("{} is no address of an API server", self.server);
        let authority = self.server.authority().ok_or_else(wrong)?;
        let is_secure = self.server.scheme_str() == Some("https");
        let bare = authority.host().trim_matches(['[', ']']);
        let port = authority
            .port_u16()
            .unwrap_or(if is_secure { 443 } else { 80 });
        let mut request = Request::get(format!("{}{query}", self.path))
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("transom/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(token) = &self.token {
            let text = read(token).await?;
            let value = format!("Bearer {}", String::from_utf8_lossy(&text).trim());
            let value = http::HeaderValue::try_from(value);
            let mut value = value.map_err(|_| format!("{}: it holds no token", token.display()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::new()).map_err(|e| e.to_string())?;
        let socket = TcpStream::connect((bare, port)).await;
        let socket = socket.map_err(|e| format!("{authority}: {e}"))?;
        let answer = match is_secure {
            false => send(socket, request).await,
            true => {
                let ca = match &self.ca {
                    Some(file) => Some(read(file).await?),
                    None => None,
                };
                let material = Material {
                    authorities: ca.as_deref(),
                    ..Material::default()
                };
                let outgoing = Outgoing::new(&material).map_err(|e| format!("{authority}: {e}"))?;
                let stream = outgoing.connect(bare, socket, Speaks::Http1).await;
                send(stream.map_err(|e| format!("{authority}: {e}"))?, request).await
            }
        };
        let answer = answer.map_err(|e| format!("{authority}: {e}"))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::GONE => Err(ApiError::Gone),
            status => Err(ApiError::Failed(refused(status, answer.into_body()).await)),
        }
    }
}

/// Slices as they change.
#[derive(Debug)]
pub(super) struct Watch {
    body: Incoming,
    read: BytesMut,
    until: Instant,
}

impl Watch {
    /// The next event; `None` at the end of the watch. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read) {
                let line = self.read.split_to(end + 1);
                let event = serde_json::from_slice(&line);
                let event = event.map_err(|e| format!("an event can't be read: {e}"))?;
                return match event {
                    Event::Error(problem) if problem.code == StatusCode::GONE.as_u16() => {
                        Err(ApiError::Gone)
                    }
                    Event::Error(problem) => Err(ApiError::Failed(problem.message)),
                    event => Ok(Some(event)),
                };
            }
            if self.read.len() > KUBERNETES_EVENT_BYTES_MAX {
                let max = KUBERNETES_EVENT_BYTES_MAX;
                return Err(ApiError::Failed(format!(
                    "an event has more than {max} bytes"
                )));
            }
            let frame = match timeout_at(self.until, self.body.frame()).await {
                // A server that is gone without a word is found out here.
                Err(_) | Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(|e| format!("the watch was cut: {e}"))?,
            };
            if let Ok(bytes) = frame.into_data() {
                self.read.extend_from_slice(&bytes);
            }
        }
    }
}

async fn send<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or when that is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// What the server says of a request that it doesn't answer.
async fn refused(status: StatusCode, body: Incoming) -> String {
    let body = Limited::new(body, KUBERNETES_EVENT_BYTES_MAX)
        .collect()
        .await;
    let problem = body
        .ok()
        .and_then(|b| serde_json::from_slice::<Problem>(&b.to_bytes()).ok());
    match problem {
        Some(problem) if !problem.message.is_empty() => {
            let printable = problem.message.chars().filter(|c| !c.is_control());
            format!(
                "the API server answers {status}: {}",
                printable.take(300).collect::<String>()
            )
        }
        _ => format!("the API server answers {status}"),
    }
}

async fn in_time<T>(
    until: Instant,
    answer: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let within: Duration = KUBERNETES_ANSWER_TIMEOUT;
    match timeout_at(until, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(ApiError::Failed(format!(
            "no answer of the API server in {within:?}"
        ))),
    }
}

/// The URL of the API server of the pod that this is.
fn in_cluster() -> Result<String, String> {
    let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let host = variable("KUBERNETES_SERVICE_HOST");
    let port = variable("KUBERNETES_SERVICE_PORT");
    match (host, port) {
        (Some(host), Some(port)) if host.contains(':') => Ok(format!("https://[{host}]:{port}")),
        (Some(host), Some(port)) => Ok(format!("https://{host}:{port}")),
        _ => Err("this process is in no cluster: `kubernetes: { server: … }` names one".to_owned()),
    }
}

fn namespace_of(account: &Path) -> String {
    let own = std::fs::read_to_string(account.join("namespace"));
    let own = own.ok().map(|text| text.trim().to_owned());
    let own = own.filter(|text| !text.is_empty());
    own.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

async fn read(file: &Path) -> Result<Vec<u8>, String> {
    let text = tokio::fs::read(file).await;
    text.map_err(|e| format!("{}: {e}", file.display()))
}
