//! The way to a collector: one connection that is kept, HTTP/2 for gRPC and HTTP/1.1 otherwise, with a
//! limit on every wait and on what comes back.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, TE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::model::{OtlpProtocol, Tracing};
use crate::failure::GrpcCode;
use crate::limits::TRACE_ANSWER_BYTES_MAX;
use crate::telemetry::brief;
use crate::tls::{Outgoing, Speaks};

use super::message::{ExportRequest, ExportResponse};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("transom/", env!("CARGO_PKG_VERSION")));

/// Why spans weren't taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer within {}s", .0.as_secs_f32())]
    Slow(Duration),
    #[error("the connection broke: {0}")]
    Cut(String),
    #[error("the answer can't be read: {0}")]
    Unreadable(String),
    #[error("it answers {status}")]
    Status {
        status: StatusCode,
        after: Option<Duration>,
    },
    #[error("it answers {}: {message}", .code.name())]
    Code { code: GrpcCode, message: String },
}

impl ExportError {
    /// Whether the same spans may be sent once more (OTLP §"Failures"): how long it wants to be left
    /// alone, if it says so.
    pub(super) fn may_pass(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable(_) | Self::Slow(_) | Self::Cut(_) => Some(None),
            Self::Unreadable(_) => None,
            Self::Status { status, after } => {
                matches!(status.as_u16(), 429 | 502..=504).then_some(*after)
            }
            Self::Code { code, .. } => matches!(
                code,
                GrpcCode::Cancelled
                    | GrpcCode::DeadlineExceeded
                    | GrpcCode::Aborted
                    | GrpcCode::OutOfRange
                    | GrpcCode::Unavailable
                    | GrpcCode::DataLoss
            )
            .then_some(None),
        }
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A collector.
pub(super) struct Client {
    rule: Arc<Tracing>,
    tls: Option<Outgoing>,
    sender: Option<Sender>,
}

impl Client {
    pub(super) fn new(rule: Arc<Tracing>, tls: Option<Outgoing>) -> Self {
        Self {
            rule,
            tls,
            sender: None,
        }
    }

    /// Sends spans and waits for the answer. Dropping it closes the connection.
    ///
    /// # Errors
    /// They were not taken, as far as is known.
    pub(super) async fn export(
        &mut self,
        spans: &ExportRequest,
    ) -> Result<ExportResponse, ExportError> {
        let limit = self.rule.timeout;
        let mut sender = self.sender.take();
        let done = tokio::time::timeout(limit, self.exchange(&mut sender, spans)).await;
        let done = done.unwrap_or(Err(ExportError::Slow(limit)));
        if matches!(
            done,
            Ok(_) | Err(ExportError::Status { .. } | ExportError::Code { .. })
        ) {
            self.sender = sender;
        }
        done
    }

    async fn exchange(
        &self,
        kept: &mut Option<Sender>,
        spans: &ExportRequest,
    ) -> Result<ExportResponse, ExportError> {
        let ready = match kept {
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            *kept = None;
        }
        let sender = match kept {
            Some(sender) => sender,
            none => none.insert(self.connect().await?),
        };
        let cut = |error: hyper::Error| ExportError::Cut(error.to_string());
        match sender {
            Sender::Http1(sender) => {
                let request = self.post(spans)?;
                let answer = sender.send_request(request).await.map_err(cut)?;
                let (head, body) = answer.into_parts();
                let (bytes, _) = read(body).await?;
                if !head.status.is_success() {
                    return Err(refused(head.status, &head.headers));
                }
                ExportResponse::decode(bytes)
                    .map_err(|error| ExportError::Unreadable(error.to_string()))
            }
            Sender::Http2(sender) => {
                let request = self.call(spans)?;
                let answer = sender.send_request(request).await.map_err(cut)?;
                let (head, body) = answer.into_parts();
                if !head.status.is_success() {
                    return Err(refused(head.status, &head.headers));
                }
                let (bytes, trailers) = read(body).await?;
                told(&head.headers, trailers.as_ref(), &bytes)
            }
        }
    }

    async fn connect(&self) -> Result<Sender, ExportError> {
        let endpoint = &self.rule.endpoint;
        let secure = endpoint.scheme_str() == Some("https");
        let host = endpoint.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = endpoint.port_u16().unwrap_or(match secure {
            true => 443,
            false => 80,
        });
        let unreachable = |error: std::io::Error| ExportError::Unreachable(error.to_string());
        let socket = TcpStream::connect((bare, port))
            .await
            .map_err(unreachable)?;
        socket.set_nodelay(true).ok();
        let Some(tls) = &self.tls else {
            return self.begin(socket).await;
        };
        let speaks = match self.rule.protocol {
            OtlpProtocol::Grpc => Speaks::Http2,
            OtlpProtocol::Http => Speaks::Http1,
        };
        let stream = tls.connect(host, socket, speaks).await;
        let stream = stream.map_err(|error| ExportError::Unreachable(error.to_string()))?;
        self.begin(stream).await
    }

    async fn begin<S>(&self, socket: S) -> Result<Sender, ExportError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let socket = TokioIo::new(socket);
        let failed = |error: hyper::Error| ExportError::Unreachable(error.to_string());
        Ok(match self.rule.protocol {
            OtlpProtocol::Http => {
                let (sender, connection) = http1::handshake(socket).await.map_err(failed)?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            OtlpProtocol::Grpc => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new());
                let (sender, connection) = builder.handshake(socket).await.map_err(failed)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        })
    }

    /// OTLP over HTTP.
    fn post(&self, spans: &ExportRequest) -> Result<Request<Full<Bytes>>, ExportError> {
        let endpoint = &self.rule.endpoint;
        let (mut body, mut headers) = (spans.encode_to_vec(), HeaderMap::new());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        if self.rule.gzip {
            body = gzip(&body)?;
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let authority = endpoint.authority().map_or("", |a| a.as_str());
        if let Ok(host) = HeaderValue::from_str(authority) {
            headers.insert(HOST, host);
        }
        let target = endpoint.path_and_query().cloned();
        Ok(self.request(
            target.map_or_else(Uri::default, Uri::from),
            headers,
            body.into(),
        ))
    }

    /// A unary call of gRPC.
    fn call(&self, spans: &ExportRequest) -> Result<Request<Full<Bytes>>, ExportError> {
        let (mut message, mut headers) = (spans.encode_to_vec(), HeaderMap::new());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if self.rule.gzip {
            message = gzip(&message)?;
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        let millis = self.rule.timeout.as_millis().min(99_999_999);
        if let Ok(timeout) = HeaderValue::from_str(&format!("{millis}m")) {
            headers.insert("grpc-timeout", timeout);
        }
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(self.rule.gzip.into());
        frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        frame.put_slice(&message);
        Ok(self.request(self.rule.endpoint.clone(), headers, frame.freeze()))
    }

    fn request(&self, uri: Uri, mut headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in &self.rule.headers {
            headers.insert(name, value.clone());
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }
}

async fn read(body: Incoming) -> Result<(Bytes, Option<HeaderMap>), ExportError> {
    let whole = Limited::new(body, TRACE_ANSWER_BYTES_MAX).collect().await;
    let whole = whole.map_err(|error| ExportError::Unreadable(error.to_string()))?;
    let trailers = whole.trailers().cloned();
    Ok((whole.to_bytes(), trailers))
}

fn refused(status: StatusCode, headers: &HeaderMap) -> ExportError {
    let after = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
    let after = after.and_then(|text| text.parse().ok());
    ExportError::Status {
        status,
        after: after.map(Duration::from_secs),
    }
}

/// What a gRPC answer says.
fn told(
    head: &HeaderMap,
    trailers: Option<&HeaderMap>,
    frame: &[u8],
) -> Result<ExportResponse, ExportError> {
    let field = |name: &str| {
        let value = trailers
            .and_then(|t| t.get(name))
            .or_else(|| head.get(name));
        value.and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let code = field("grpc-status").and_then(|text| text.parse().ok());
    let code = code.map_or(GrpcCode::Unknown, GrpcCode::from_number);
    if code != GrpcCode::Ok {
        let message = brief(field("grpc-message").unwrap_or_default()).to_string();
        return Err(ExportError::Code { code, message });
    }
    // It was not told that compressed messages can be read.
    let message = frame.get(5..).unwrap_or_default();
    ExportResponse::decode(message).map_err(|error| ExportError::Unreadable(error.to_string()))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, ExportError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
    done.map_err(|error| ExportError::Unreadable(error.to_string()))
}
