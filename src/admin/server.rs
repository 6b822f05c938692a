//! Listening and answering: HTTP/1.1, few connections, short waits.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_GRACE, ADMIN_HEAD_TIMEOUT};

use super::page;
use super::views::{Answer, Views};

/// Who an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Probes and Prometheus: it tells what they need, and changes nothing.
    Probes,
    /// Operators.
    Admin,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Probes => "probes",
            Self::Admin => "admin",
        })
    }
}

/// The thread that answers; dropping it ends that.
#[derive(Debug)]
pub struct Admin {
    addresses: Vec<(Scope, SocketAddr)>,
    stop: Option<oneshot::Sender<()>>,
    retire: watch::Sender<bool>,
    retired: Option<oneshot::Receiver<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Admin {
    /// What is listened on, with the ports that the kernel gave.
    #[must_use]
    pub fn addresses(&self) -> &[(Scope, SocketAddr)] {
        &self.addresses
    }

    /// Another process answers from now on: nothing new is accepted, and what has been asked is
    /// answered, in a moment at most.
    pub async fn retire(&mut self) {
        self.retire.send_replace(true);
        if let Some(retired) = self.retired.take() {
            tokio::time::timeout(ADMIN_GRACE, retired).await.ok();
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Takes an address.
///
/// # Errors
/// It can't be had.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Answers on these sockets.
///
/// # Errors
/// No thread or no runtime can be had.
pub fn start(sockets: Vec<(Scope, TcpListener)>, views: Views) -> io::Result<Admin> {
    let mut addresses = Vec::new();
    for (scope, socket) in &sockets {
        addresses.push((*scope, socket.local_addr()?));
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let (retire, retiring) = watch::channel(false);
    let (all_answered, retired) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let serving = serve(sockets, Rc::new(views), retiring);
                    let serving = async {
                        serving.await;
                        all_answered.send(()).ok();
                        std::future::pending::<()>().await;
                    };
                    runtime.block_on(async {
                        tokio::select! {
                            () = serving => {}
                            // An error is the end of the gateway too.
                            _ = stopped => {}
                        }
                    });
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(%error, "nobody answers on the admin address"),
            }
        })?;
    Ok(Admin {
        addresses,
        stop: Some(stop),
        retire,
        retired: Some(retired),
        thread: Some(thread),
    })
}

/// Ends when it has retired, and all that had been asked is answered.
async fn serve(
    sockets: Vec<(Scope, TcpListener)>,
    views: Rc<Views>,
    retiring: watch::Receiver<bool>,
) {
    // Nothing is sent: it ends with the last who has a part.
    let (part, mut ended) = mpsc::channel::<()>(1);
    for (scope, socket) in sockets {
        match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => {
                let part = (Rc::clone(&views), retiring.clone(), part.clone());
                tokio::task::spawn_local(accept(scope, socket, part));
            }
            Err(error) => tracing::error!(%error, "an admin socket can't be listened on"),
        }
    }
    drop(part);
    ended.recv().await;
}

type Part = (Rc<Views>, watch::Receiver<bool>, mpsc::Sender<()>);

async fn accept(scope: Scope, socket: tokio::net::TcpListener, part: Part) {
    let mut retiring = part.1.clone();
    tokio::select! {
        _ = retiring.wait_for(|yes| *yes) => {}
        () = accept_all(scope, socket, part) => {}
    }
}

async fn accept_all(scope: Scope, socket: tokio::net::TcpListener, part: Part) {
    let (views, retiring, part) = part;
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "admin: accept");
                tokio::time::sleep(crate::limits::ACCEPT_PAUSE_MAX).await;
                continue;
            }
        };
        let (views, part, mut retiring) = (Rc::clone(&views), part.clone(), retiring.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let views = Rc::clone(&views);
                async move { Ok::<_, Infallible>(answer(scope, &views, request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ADMIN_HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let mut served = std::pin::pin!(served);
            let served = tokio::select! {
                served = &mut served => served,
                _ = retiring.wait_for(|yes| *yes) => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "admin: connection");
            }
            drop((place, part));
        });
    }
}

async fn answer(scope: Scope, views: &Views, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if scope == Scope::Admin && !is_from_here(&request) {
        let why = "ask by address or as localhost: other names may be a web page's trick\n";
        return reply(Answer::text(StatusCode::FORBIDDEN, why));
    }
    if scope == Scope::Admin
        && let Some(file) = page::file(request.method(), request.uri().path(), request.headers())
    {
        return reply(file);
    }
    if scope == Scope::Admin
        && let Some(token) = &views.token
        && !matches!(request.uri().path(), "/livez" | "/readyz")
    {
        let shown = request.headers().get(AUTHORIZATION);
        if !shown.is_some_and(|shown| token.is_in(shown.as_bytes())) {
            let why = "send `Authorization: Bearer TOKEN` with the token of `admin.token`\n";
            let mut refused = reply(Answer::text(StatusCode::UNAUTHORIZED, why));
            let challenge = HeaderValue::from_static("Bearer");
            refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return refused;
        }
    }
    let wanted = match (scope, request.uri().path()) {
        (Scope::Admin, "/reload" | "/upgrade" | "/log-level") => Method::POST,
        _ => Method::GET,
    };
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let Some(answer) = views.answer(scope, path, query, request.method() == wanted) else {
        return reply(Answer::text(StatusCode::NOT_FOUND, Views::index(scope)));
    };
    if request.method() != wanted && !(wanted == Method::GET && request.method() == Method::HEAD) {
        let mut refused = reply(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "\n"));
        if let Ok(allow) = HeaderValue::from_str(wanted.as_str()) {
            refused.headers_mut().insert(ALLOW, allow);
        }
        return refused;
    }
    reply(answer.await)
}

/// A page that a browser shows may send requests here under a name that it made point here. Such a name
/// is no address, and a page's own requests carry its origin.
fn is_from_here(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let host = headers.get(HOST).and_then(|h| h.to_str().ok());
    let Some(host) = host else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = name == "localhost" || bare.parse::<IpAddr>().is_ok();
    let same = |origin: &HeaderValue| origin.as_bytes() == format!("http://{host}").as_bytes();
    is_local && headers.get(ORIGIN).is_none_or(same)
}

fn reply(answer: Answer) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(answer.body.into()));
    *reply.status_mut() = answer.status;
    let headers = reply.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&answer.content_type) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page::guard(headers);
    reply
}
