//! Clients: HTTP/1.1 by the byte, and HTTP/2 through hyper.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection on which every byte is the test's own.
#[derive(Debug)]
pub struct Http1 {
    pub stream: TcpStream,
    ahead: Vec<u8>,
    /// Of the last chunked body.
    trailers: Vec<(String, String)>,
}

/// A reply, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let found = self.trailers.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.as_str())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl From<TcpStream> for Http1 {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            trailers: Vec::new(),
        }
    }
}

impl Http1 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect(address).await.expect("connect"))
    }

    /// A connection, unless it is refused.
    pub async fn try_connect(address: SocketAddr) -> Option<TcpStream> {
        TcpStream::connect(address).await.ok()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("send");
    }

    /// One whole exchange: `GET path` with a Host, kept alive.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .await;
        self.reply().await.expect("a reply")
    }

    /// The next reply, or `None` when the server closed the connection before it.
    pub async fn reply(&mut self) -> Option<Reply> {
        let mut reply = self.head().await?;
        if reply.status == 100 {
            return Some(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.body = self.chunks().await;
            reply.trailers = std::mem::take(&mut self.trailers);
        } else if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().expect("length");
            reply.body = self.exactly(length).await;
        }
        Some(reply)
    }

    /// The reply to this head, with the body that it announces.
    pub async fn body_of(&mut self, mut head: Reply) -> Reply {
        if let Some(length) = head.header("content-length") {
            let length: usize = length.parse().expect("length");
            head.body = self.exactly(length).await;
        }
        head
    }

    /// The connection, and what has been read of it and not been taken.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// The next reply's status line and headers.
    pub async fn head(&mut self) -> Option<Reply> {
        let head_end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head = String::from_utf8(self.ahead.drain(..head_end + 4).collect()).expect("head");
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        Some(Reply {
            status,
            headers,
            body: Vec::new(),
            trailers: Vec::new(),
        })
    }

    /// The reply to a HEAD request: whatever came before the connection's end is taken for its body.
    /// Ask with `Connection: close`, or it waits for the keep-alive to end.
    pub async fn reply_to_head(mut self) -> Reply {
        let mut reply = self.head().await.expect("a reply");
        reply.body = self.closed().await;
        reply
    }

    /// The body of a chunked reply whose head has been read.
    pub async fn chunks(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await {
            whole.extend_from_slice(&chunk);
        }
        whole
    }

    /// The next chunk; `None` for the last one, which is empty.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).expect("size");
        if size == 0 {
            loop {
                let line = self.line().await;
                let Some((name, value)) = line.split_once(':') else {
                    assert_eq!(line, "", "a trailer");
                    return None;
                };
                let pair = (name.to_ascii_lowercase(), value.trim().to_owned());
                self.trailers.push(pair);
            }
        }
        let mut chunk = self.exactly(size + 2).await;
        chunk.truncate(size);
        Some(chunk)
    }

    /// What stands before the next line break.
    async fn line(&mut self) -> String {
        let at = loop {
            match find(&self.ahead, b"\r\n") {
                Some(at) => break at,
                None => assert!(self.fill().await, "a line of the body"),
            }
        };
        let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
        String::from_utf8(line[..at].to_vec()).expect("a line of text")
    }

    async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.fill().await, "the rest of the body");
        }
        self.ahead.drain(..length).collect()
    }

    /// More bytes; `false` at the end.
    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = super::soon("bytes from the server", self.stream.read(&mut buffer));
        match read.await {
            Ok(n @ 1..) => {
                self.ahead.extend_from_slice(&buffer[..n]);
                true
            }
            _ => false,
        }
    }

    /// Waits for the end of the connection; what came before it is given back.
    pub async fn closed(mut self) -> Vec<u8> {
        while self.fill().await {}
        self.ahead
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// An HTTP/2 connection with prior knowledge.
#[derive(Debug)]
pub struct Http2 {
    pub send: http2::SendRequest<Full<Bytes>>,
    /// Ends with the connection.
    pub ended: tokio::task::JoinHandle<hyper::Result<()>>,
}

#[derive(Clone, Debug)]
pub struct Exec;

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Exec {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        let (send, connection) = http2::handshake(Exec, TokioIo::new(stream))
            .await
            .expect("handshake");
        Self {
            send,
            ended: tokio::spawn(connection),
        }
    }

    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        super::soon("a reply over HTTP/2", self.send.send_request(request)).await
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let request = Request::get(format!("http://test{path}"))
            .body(Full::default())
            .expect("request");
        whole(self.send(request).await.expect("a reply")).await
    }
}

/// Reads a reply to its end.
pub async fn whole(response: Response<hyper::body::Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let body = super::soon("the body", body.collect()).await.expect("body");
    let trailers = body.trailers().cloned().unwrap_or_default();
    let pair = |(n, v): (&http::HeaderName, &http::HeaderValue)| {
        (n.as_str().to_owned(), v.to_str().expect("ascii").to_owned())
    };
    Reply {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(pair).collect(),
        trailers: trailers.iter().map(pair).collect(),
        body: body.to_bytes().to_vec(),
    }
}
