//! A collector of traces by OpenTelemetry's own messages, over gRPC (tonic) or HTTP (hyper), on a thread
//! of its own: who stops a gateway waits for it.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;

use super::soon;

/// What it does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Takes the call, and none of its spans.
    TakesNone,
    /// Says that it can't now, so many times, and then takes all.
    BusyFor(usize),
    /// Never wants any.
    Refuses,
    NeverAnswers,
}

/// One export as it came.
#[derive(Debug)]
pub struct Export {
    pub headers: HeaderMap,
    pub message: ExportTraceServiceRequest,
}

/// The spans of one request.
#[derive(Debug)]
pub struct Trail {
    pub request: Span,
    /// In the order of their beginnings.
    pub tries: Vec<Span>,
    pub handshake: Option<Span>,
}

#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    exports: mpsc::UnboundedReceiver<Export>,
    waiting: Vec<Span>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone)]
struct Desk {
    manner: Manner,
    asked: Arc<AtomicUsize>,
    exports: mpsc::UnboundedSender<Export>,
}

/// What is answered, as far as both protocols have it.
enum Verdict {
    Taken(ExportTraceServiceResponse),
    Busy,
    Refused,
}

impl Desk {
    async fn judge(&self, headers: HeaderMap, message: ExportTraceServiceRequest) -> Verdict {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let spans = message.resource_spans.iter().flat_map(|r| &r.scope_spans);
        let count = spans.map(|s| s.spans.len()).sum::<usize>();
        self.exports.send(Export { headers, message }).ok();
        match self.manner {
            Manner::BusyFor(times) if asked < times => Verdict::Busy,
            Manner::Takes | Manner::BusyFor(_) => Verdict::Taken(Default::default()),
            Manner::TakesNone => Verdict::Taken(ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: i64::try_from(count).expect("a count"),
                    error_message: "full up".to_owned(),
                }),
            }),
            Manner::Refuses => Verdict::Refused,
            Manner::NeverAnswers => std::future::pending().await,
        }
    }

    async fn over_http(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri().path(), "/v1/traces");
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        let (head, body) = request.into_parts();
        let mut body = body.collect().await.expect("a body").to_bytes();
        if head
            .headers
            .get("content-encoding")
            .is_some_and(|v| v == "gzip")
        {
            let mut whole = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&*body);
            decoder.read_to_end(&mut whole).expect("gzip");
            body = whole.into();
        }
        let message = ExportTraceServiceRequest::decode(body).expect("an export");
        let with = |status, body| {
            Response::builder()
                .status(status)
                .body(body)
                .expect("a reply")
        };
        Ok(match self.judge(head.headers, message).await {
            Verdict::Taken(answer) => with(200, Full::new(answer.encode_to_vec().into())),
            Verdict::Busy => with(503, Full::default()),
            Verdict::Refused => with(400, Full::default()),
        })
    }
}

#[tonic::async_trait]
impl TraceService for Desk {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (head, _, message) = request.into_parts();
        match self.judge(head.into_headers(), message).await {
            Verdict::Taken(answer) => Ok(tonic::Response::new(answer)),
            Verdict::Busy => Err(tonic::Status::unavailable("busy")),
            Verdict::Refused => Err(tonic::Status::permission_denied("no")),
        }
    }
}

impl Collector {
    pub fn over_grpc(manner: Manner) -> Self {
        Self::start(manner, |socket, desk| async move {
            let service =
                TraceServiceServer::new(desk).accept_compressed(CompressionEncoding::Gzip);
            tonic::transport::Server::builder()
                .serve_with_incoming(service, TcpListenerStream::new(socket))
                .await
                .expect("served");
        })
    }

    pub fn over_http(manner: Manner) -> Self {
        Self::start(manner, |socket, desk| async move {
            loop {
                let (stream, _) = socket.accept().await.expect("accept");
                let desk = desk.clone();
                let service = service_fn(move |request| desk.clone().over_http(request));
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        })
    }

    fn start<F: Future<Output = ()>>(
        manner: Manner,
        serve: impl FnOnce(TcpListener, Desk) -> F + Send + 'static,
    ) -> Self {
        let (send, exports) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = socket.local_addr().expect("address");
        socket.set_nonblocking(true).expect("a socket");
        let desk = Desk {
            manner,
            asked: Arc::default(),
            exports: send,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            runtime.block_on(async {
                let socket = TcpListener::from_std(socket).expect("a socket");
                tokio::select! {
                    () = serve(socket, desk) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            exports,
            waiting: Vec::new(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The next export.
    pub async fn export(&mut self) -> Export {
        soon("an export", self.exports.recv())
            .await
            .expect("the collector runs")
    }

    /// The spans of the next request.
    pub async fn trail(&mut self) -> Trail {
        loop {
            let kind = SpanKind::Server as i32;
            if let Some(at) = self.waiting.iter().position(|s| s.kind == kind) {
                let request = self.waiting.remove(at);
                let below = |s: &mut Span| s.parent_span_id == request.span_id;
                let mut below: Vec<_> = self.waiting.extract_if(.., below).collect();
                let handshake = below
                    .iter()
                    .position(|s| s.kind == SpanKind::Internal as i32);
                let handshake = handshake.map(|at| below.remove(at));
                below.sort_by_key(|s| s.start_time_unix_nano);
                return Trail {
                    request,
                    tries: below,
                    handshake,
                };
            }
            let export = self.export().await;
            self.waiting.extend(spans(export.message));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the collector ends well");
        }
    }
}

pub fn spans(message: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    let scopes = message
        .resource_spans
        .into_iter()
        .flat_map(|r| r.scope_spans);
    scopes.flat_map(|s| s.spans)
}

/// An attribute as text.
pub fn attribute(all: &[KeyValue], key: &str) -> Option<String> {
    let mut found = all.iter().filter(|a| a.key == key);
    let value = found.next()?.value.clone()?.value?;
    assert_eq!(found.count(), 0, "{key} twice");
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
