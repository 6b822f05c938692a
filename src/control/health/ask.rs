//! One question to one instance: a connection of its own, `Check`, `Watch` and GET.
//!
//! Calls have other connections, in the workers: what is asked here never waits behind them, and a
//! check never takes a place of theirs. Every wait is bounded by whoever asks.

use std::pin::pin;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::config::model::Upstream;
use crate::failure::GrpcCode;
use crate::limits::{HEALTH_HEADER_BYTES_MAX, HEALTH_MESSAGE_BYTES_MAX};
use crate::tls::Speaks;
use crate::transcode::coding::Coding;
use crate::transcode::frame;
use crate::upstream::{Member, Socket};

const CHECK: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
const WATCH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Good,
    /// It doesn't know the question.
    Unknowing,
    Bad(String),
}

/// An HTTP/2 connection that questions go through one after the other. Dropping it closes it.
pub(super) struct Line {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: Authority,
    scheme: Scheme,
    driver: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    pub(super) async fn open(member: &Member, spec: &Upstream) -> Result<Self, String> {
        let stream = dial(member, spec, Speaks::Http2).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(HEALTH_HEADER_BYTES_MAX)
            .handshake(stream)
            .await
            .map_err(|e| told(&e))?;
        let driver = tokio::spawn(async move {
            connection.await.ok();
        });
        Ok(Self {
            sender,
            authority: member.authority.clone(),
            scheme: match spec.tls {
                Some(_) => Scheme::HTTPS,
                None => Scheme::HTTP,
            },
            driver,
        })
    }

    /// Whether another question can go through it.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    async fn send(
        &mut self,
        method: Method,
        path: PathAndQuery,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, String> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        let uri = Uri::from_parts(parts).map_err(|e| e.to_string())?;
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, AGENT);
        if body.is_some() {
            let grpc = http::HeaderValue::from_static("application/grpc");
            headers.insert(header::CONTENT_TYPE, grpc);
            headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
        }
        self.sender
            .send_request(request)
            .await
            .map_err(|e| told(&e))
    }

    /// `Check`: one answer.
    pub(super) async fn check(&mut self, service: &str) -> Result<Word, String> {
        let answer = self
            .send(Method::POST, CHECK, Some(question(service)?))
            .await?;
        let mut answers = Answers::open(answer)?;
        Ok(match answers.next().await? {
            Told::Status(status) => word(status),
            Told::End(GrpcCode::Unimplemented, _) => Word::Unknowing,
            Told::End(GrpcCode::Ok, _) => Word::Bad("an answer without a status".to_owned()),
            Told::End(GrpcCode::NotFound, _) => {
                Word::Bad(format!("it doesn't know the service {service:?}"))
            }
            Told::End(code, message) => Word::Bad(format!("{} {message}", code.name())),
        })
    }

    /// `Watch`: the status now, and each change. `None` where the server can't do that.
    pub(super) async fn watch(&mut self, service: &str) -> Result<Answers, String> {
        let answer = self
            .send(Method::POST, WATCH, Some(question(service)?))
            .await?;
        Answers::open(answer)
    }

    pub(super) async fn get(
        &mut self,
        path: &PathAndQuery,
        status: Option<StatusCode>,
    ) -> Result<Word, String> {
        let answer = self.send(Method::GET, path.clone(), None).await?;
        Ok(judged(answer.status(), status))
    }
}

const AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("transom/", env!("CARGO_PKG_VERSION")));

/// The same over HTTP/1.1, on a connection for this question alone.
pub(super) async fn get_http1(
    member: &Member,
    spec: &Upstream,
    path: &PathAndQuery,
    status: Option<StatusCode>,
) -> Result<Word, String> {
    let stream = dial(member, spec, Speaks::Http1).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEALTH_HEADER_BYTES_MAX as usize)
        .handshake::<_, Full<Bytes>>(stream)
        .await
        .map_err(|e| told(&e))?;
    let request = Request::get(path.as_str())
        .header(header::HOST, member.authority.as_str())
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .body(Full::default())
        .map_err(|e| e.to_string())?;
    let mut answer = pin!(sender.send_request(request));
    // Polled here: whatever ends the question ends the connection. One that has ended well may just
    // have brought the answer.
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => {
            ended.map_err(|e| told(&e))?;
            answer.await
        }
    };
    let answer = answer.map_err(|e| told(&e))?;
    Ok(judged(answer.status(), status))
}

fn judged(found: StatusCode, wanted: Option<StatusCode>) -> Word {
    match wanted.map_or(found.is_success(), |wanted| found == wanted) {
        true => Word::Good,
        false => Word::Bad(format!("status {}", found.as_u16())),
    }
}

/// The statuses of one call.
pub(super) struct Answers {
    body: Incoming,
    frames: frame::Decoder,
    /// An answer that is nothing but trailers.
    head: Option<HeaderMap>,
}

/// The next of an answer.
#[derive(Debug)]
pub(super) enum Told {
    Status(ServingStatus),
    /// The call's code and message.
    End(GrpcCode, String),
}

impl Answers {
    fn open(answer: Response<Incoming>) -> Result<Self, String> {
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("HTTP status {}", head.status.as_u16()));
        }
        let coding = head.headers.get("grpc-encoding");
        let coding = coding.and_then(|name| Coding::named(name.as_bytes()));
        Ok(Self {
            body,
            frames: frame::Decoder::new(HEALTH_MESSAGE_BYTES_MAX).with_coding(coding),
            head: head
                .headers
                .contains_key("grpc-status")
                .then_some(head.headers),
        })
    }

    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Told, String> {
        if let Some(head) = &self.head {
            return Ok(end(head));
        }
        loop {
            if let Some(message) = self.frames.next_message().map_err(|e| e.to_string())? {
                let read = HealthCheckResponse::decode(message).map_err(|e| e.to_string())?;
                return Ok(Told::Status(read.status()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(data),
                    Err(frame) => {
                        return Ok(end(frame.trailers_ref().unwrap_or(&HeaderMap::new())));
                    }
                },
                Some(Err(error)) => return Err(told(&error)),
                None => return Err("an answer without an end".to_owned()),
            }
        }
    }
}

fn end(trailers: &HeaderMap) -> Told {
    let text = |name| trailers.get(name).and_then(|v| v.to_str().ok());
    let code = text("grpc-status").and_then(|n| n.parse().ok());
    let code = code.map_or(GrpcCode::Unknown, GrpcCode::from_number);
    Told::End(code, text("grpc-message").unwrap_or_default().to_owned())
}

pub(super) fn word(status: ServingStatus) -> Word {
    match status {
        ServingStatus::Serving => Word::Good,
        other => Word::Bad(format!("it says {}", other.as_str_name())),
    }
}

fn question(service: &str) -> Result<Bytes, String> {
    let asked = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut whole = Vec::new();
    let at = frame::start(&mut whole);
    asked.encode(&mut whole).map_err(|e| e.to_string())?;
    frame::finish(&mut whole, at).map_err(|e| e.to_string())?;
    Ok(whole.into())
}

/// A socket, with TLS or without.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The way to an instance: as calls go there.
async fn dial(
    member: &Member,
    spec: &Upstream,
    speaks: Speaks,
) -> Result<TokioIo<Box<dyn Io>>, String> {
    let dialled = member.location.connect().await;
    let stream = dialled.map_err(|e| e.to_string())?;
    if let Socket::Tcp(stream) = &stream {
        // A failure here costs speed alone.
        stream.set_nodelay(true).ok();
    }
    let stream: Box<dyn Io> = match (&spec.tls, &spec.outgoing) {
        (None, _) => Box::new(stream),
        (Some(_), Some(outgoing)) => {
            let host = member.authority.host();
            let opened = outgoing.connect(host, stream, speaks).await;
            Box::new(opened.map_err(|e| e.to_string())?)
        }
        (Some(_), None) => return Err("its TLS has not been read".to_owned()),
    };
    Ok(TokioIo::new(stream))
}

/// An error with its causes, since hyper's own text leaves them out.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
