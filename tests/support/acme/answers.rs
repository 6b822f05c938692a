//! What authorities look at: port 80 with files of tokens, port 443 with certificates of challenges.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use transom::acme::challenge::{Certificates, Dns, Kind, Solvers};
use transom::tokens::Tokens;

use super::dns::NameServer;

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<HashMap<Box<str>, Arc<CertifiedKey>>>>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        self.0.lock().unwrap().get(name).map(Arc::clone)
    }
}

/// Answers for http-01 at one address and for tls-alpn-01 at another, from what `Solvers` are given.
pub async fn serve(http: SocketAddr, tls: SocketAddr, kinds: &[Kind], dns: Option<Dns>) -> Solvers {
    let tokens = Arc::new(Tokens::default());
    let shown = Shown::default();
    files(http, Arc::clone(&tokens)).await;
    handshakes(tls, shown.clone()).await;
    Solvers {
        kinds: kinds.into(),
        tokens,
        certificates: Arc::new(Certificates::new(Box::new(move |all| {
            *shown.0.lock().unwrap() = all
        }))),
        dns,
    }
}

async fn files(at: SocketAddr, tokens: Arc<Tokens>) {
    let listener = TcpListener::bind(at).await.expect("the port for http-01");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tokens = Arc::clone(&tokens);
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let found = tokens.answer(request.uri().path());
                let status = match found {
                    Some(_) => StatusCode::OK,
                    None => StatusCode::NOT_FOUND,
                };
                let text = Bytes::from(found.as_deref().unwrap_or("").to_owned());
                let mut response = Response::new(Full::new(text));
                *response.status_mut() = status;
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
        }
    });
}

async fn handshakes(at: SocketAddr, shown: Shown) {
    let listener = TcpListener::bind(at)
        .await
        .expect("the port for tls-alpn-01");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
}

/// A web service that makes TXT records for who knows the word.
pub async fn hook(names: NameServer, word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let names = names.clone();
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let names = names.clone();
                async move {
                    let there = match request.uri().path() {
                        "/dns/present" => Some(true),
                        "/dns/cleanup" => Some(false),
                        _ => None,
                    };
                    let known = request.headers().get("authorization");
                    let known = known.is_some_and(|v| v == word);
                    let body = request.into_body().collect().await.expect("a body");
                    let told = serde_json::from_slice(&body.to_bytes());
                    let told: serde_json::Value = told.expect("JSON");
                    let mut response = Response::new(Full::<Bytes>::default());
                    match (there, told["fqdn"].as_str(), told["value"].as_str()) {
                        (Some(there), Some(name), Some(value)) if known => {
                            names.set(name, value, there);
                        }
                        _ => *response.status_mut() = StatusCode::FORBIDDEN,
                    }
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
        }
    });
    address
}
