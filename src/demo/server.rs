//! A small gRPC server on a thread and runtime of its own.
//!
//! tonic's own router would bring axum in for a lookup by service name, so the lookup is ours. The
//! server stops, and every call in it ends, when its handle is dropped.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use http::{Request, Response};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Code, Status};
use tonic_health::ServingStatus;

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("can't listen on {address}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("can't start the service's thread")]
    Thread(#[source] std::io::Error),
    #[error("the descriptors for reflection are damaged")]
    Descriptors(#[source] tonic_reflection::server::Error),
}

type Reply = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Body>) -> Reply + Send + Sync>;

/// gRPC services by name.
#[derive(Clone, Default)]
pub struct Services {
    by_name: BTreeMap<&'static str, Handler>,
}

impl Services {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service that tonic has generated; one of the same name is replaced.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let handler = move |request| -> Reply {
            // A generated service is always ready.
            let mut service = service.clone();
            Box::pin(async move {
                match service.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            })
        };
        self.by_name.insert(S::NAME, Arc::new(handler));
        self
    }

    /// Adds reflection (v1 and v1alpha) over this descriptor set.
    ///
    /// # Errors
    /// The bytes are not a descriptor set.
    pub fn with_reflection(self, descriptors: &[u8]) -> Result<Self, ServerError> {
        let configure = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors)
        };
        let v1 = configure().build_v1().map_err(ServerError::Descriptors)?;
        let v1alpha = configure()
            .build_v1alpha()
            .map_err(ServerError::Descriptors)?;
        Ok(self.with(v1).with(v1alpha))
    }

    fn handler(&self, path: &str) -> Option<&Handler> {
        let (service, _method) = path.strip_prefix('/')?.split_once('/')?;
        self.by_name.get(service)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // tonic drops the URI; a service may want the name that it was called by.
        if let Some(authority) = request.uri().authority().cloned() {
            request.extensions_mut().insert(authority);
        }
        if let Some(handler) = self.handler(request.uri().path()) {
            let reply = handler(request);
            return Box::pin(async move { Ok(reply.await) });
        }
        let message = format!("there is no {}", request.uri().path());
        let response = Status::new(Code::Unimplemented, message).into_http();
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// A running server. Dropping it ends every call and waits for the thread.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl GrpcServer {
    /// Serves these services, and `grpc.health.v1` for them, on `listen` (port 0 is any).
    ///
    /// # Errors
    /// The address can't be bound, or the thread can't start.
    pub fn start(listen: SocketAddr, services: Services) -> Result<Self, ServerError> {
        let bind = |source| ServerError::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServerError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("demo-service".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, services) => {}
                        // Nothing is ever sent: the sender is dropped.
                        _ = stopped => {}
                    }
                });
                // Connections are tasks of the runtime and end with it.
            })
            .map_err(ServerError::Thread)?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed where it happened.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, services: Services) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the service's socket can't be used");
            return;
        }
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in services.by_name.keys() {
        health
            .set_service_status(*name, ServingStatus::Serving)
            .await;
    }
    let services = services.with(health_service);
    let incoming = TcpListenerStream::new(listener);
    if let Err(error) = Server::builder()
        .tcp_nodelay(true)
        .serve_with_incoming(services, incoming)
        .await
    {
        tracing::error!(%error, "the service has stopped");
    }
}
