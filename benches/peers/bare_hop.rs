//! The floor: a hyper server (HTTP/1.1, and HTTP/2 by its preface) that makes one pooled HTTP/2 gRPC call for each request and
//! passes the bytes on as they are. It transcodes nothing and checks nothing.
//!
//! `bare_hop LISTEN UPSTREAM`

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy)]
struct LocalExec;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// The gRPC path and a canned request frame for each case; the reply is passed on as it comes.
fn target(request: &Request<Incoming>) -> &'static str {
    match (request.method().as_str(), request.uri().path()) {
        ("POST", "/v1/items") => "/shop.v1.Shop/CreateItem",
        ("POST", _) => "/shop.v1.Shop/BatchCreate",
        (_, "/v1/manuals/item-00007") => "/shop.v1.Shop/GetManual",
        (_, "/v1/items") => "/shop.v1.Shop/ListItems",
        (_, "/v1/items:watch") => "/shop.v1.Shop/WatchItems",
        _ => "/shop.v1.Shop/GetItem",
    }
}

async fn hop(
    request: Request<Incoming>,
    mut upstream: SendRequest<Full<Bytes>>,
) -> Result<Response<Incoming>, Failed> {
    let path = target(&request);
    let body = request.into_body().collect().await?.to_bytes();
    let mut framed = Vec::with_capacity(body.len() + 5);
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
    framed.extend_from_slice(&body);
    let call = Request::post(format!("http://backend{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))?;
    let reply = upstream.send_request(call).await?;
    let (_, body) = reply.into_parts();
    Ok(Response::new(body))
}

async fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<(), Failed> {
    let socket = tokio::net::TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(LocalExec)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(socket))
        .await?;
    tokio::task::spawn_local(connection);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let sender = sender.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let sender = sender.clone();
                async move {
                    Ok::<_, Infallible>(hop(request, sender).await.unwrap_or_else(|error| {
                        eprintln!("hop: {error}");
                        std::process::abort()
                    }))
                }
            });
            let mut first = [0; 3];
            let http2 = matches!(socket.peek(&mut first).await, Ok(3) if &first == b"PRI");
            if http2 {
                let _ = hyper::server::conn::http2::Builder::new(LocalExec)
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            }
        });
    }
}

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err("usage: bare_hop LISTEN UPSTREAM".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(listen.parse()?, upstream.parse()?))
}
