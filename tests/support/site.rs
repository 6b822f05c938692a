//! A site behind a proxied route, by the byte.

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::gateway::{Builder, Gateway};
use super::soon;

/// An HTTP/1.1 server whose connections the test serves by the byte.
#[derive(Debug)]
pub struct Site {
    pub address: std::net::SocketAddr,
    socket: TcpListener,
}

impl Site {
    pub async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address");
        Self { address, socket }
    }

    /// The next connection, and the head of its first request.
    pub async fn next(&self) -> (TcpStream, String) {
        let accepted = soon("a connection to the site", self.socket.accept()).await;
        let (mut stream, _) = accepted.expect("accept");
        let head = head(&mut stream).await;
        (stream, head)
    }
}

/// Reads byte by byte to the end of a head.
pub async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(soon("a head", stream.read_u8()).await.expect("byte"));
    }
    String::from_utf8(bytes).expect("text")
}

pub async fn exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    soon("a body", stream.read_exact(&mut bytes))
        .await
        .expect("body");
    String::from_utf8(bytes).expect("text")
}

pub fn over_http1(site: &Site) -> Builder {
    Gateway::builder("127.0.0.1:1".parse().expect("address"))
        .upstream(
            "site",
            json!({ "endpoints": [site.address.to_string()], "protocol": "http1" }),
        )
        .route(json!({ "prefix": "/site/", "upstream": "site" }))
}

pub fn has(head: &str, line: &str) -> bool {
    head.lines().any(|l| l.eq_ignore_ascii_case(line))
}

pub fn names(head: &str, name: &str) -> bool {
    let name = format!("{name}:");
    head.lines()
        .any(|l| l.to_ascii_lowercase().starts_with(&name))
}
