//! Upstreams that do what a test tells them: well-behaved ones on `h2`, and raw ones by the frame.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// One request as the upstream got it.
#[derive(Debug)]
pub struct Call {
    /// From 0, in the order of accepting.
    pub connection: usize,
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    goodbye: mpsc::UnboundedSender<()>,
}

impl Call {
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// Answers 200 with `body`, and `grpc-status: 0` in trailers.
    pub fn answer(mut self, body: &'static str) {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .expect("head");
        let mut stream = self.respond.send_response(head, false).expect("respond");
        stream.send_data(body.into(), false).expect("data");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("value"));
        stream.send_trailers(trailers).expect("trailers");
    }

    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// GOAWAY: later streams are refused, this one goes on.
    pub fn say_goodbye(&self) {
        self.goodbye.send(()).expect("the connection is open");
    }

    /// Waits until the client resets the stream, and says why.
    pub async fn cancelled(mut self) -> Reason {
        std::future::poll_fn(|cx| self.respond.poll_reset(cx))
            .await
            .expect("a reset")
    }

    /// The whole request body.
    pub async fn body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(data) = self.request.body_mut().data().await {
            let data = data.expect("data");
            let flow = self.request.body_mut().flow_control();
            flow.release_capacity(data.len()).expect("capacity");
            whole.extend_from_slice(&data);
        }
        whole
    }
}

/// An HTTP/2 server whose calls come out of [`Upstream::next`].
#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        Self::with_streams_max(1000).await
    }

    /// A server that allows so many streams on one connection.
    pub async fn with_streams_max(streams_max: u32) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Self::on(socket, streams_max)
    }

    pub fn on(socket: TcpListener, streams_max: u32) -> Self {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(streams_max);
        Self::built(socket, builder)
    }

    /// A server with settings of its own.
    pub fn built(socket: TcpListener, builder: h2::server::Builder) -> Self {
        let address = socket.local_addr().expect("address");
        let (send, calls) = mpsc::unbounded_channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.expect("accept");
                let number = count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, number, builder.clone(), send.clone()));
            }
        });
        Self {
            address,
            calls,
            accepted,
            task,
        }
    }

    /// The next call of any connection.
    pub async fn next(&mut self) -> Call {
        super::soon("a call to the upstream", self.calls.recv())
            .await
            .expect("the upstream runs")
    }

    /// The next call, however long that takes.
    pub async fn some(&mut self) -> Call {
        self.calls.recv().await.expect("the upstream runs")
    }

    /// Whether no call is there that [`Upstream::next`] has not given out.
    pub fn is_quiet(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    builder: h2::server::Builder,
    calls: mpsc::UnboundedSender<Call>,
) {
    stream.set_nodelay(true).expect("socket");
    let Ok(mut server) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let (goodbye, mut leave) = mpsc::unbounded_channel();
    loop {
        let accepted = tokio::select! {
            accepted = server.accept() => accepted,
            Some(()) = leave.recv() => {
                server.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let call = Call {
            connection,
            request,
            respond,
            goodbye: goodbye.clone(),
        };
        if calls.send(call).is_err() {
            return;
        }
    }
}

/// A TCP server that runs `script` on each connection, numbered from 0.
pub async fn raw<F>(script: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = socket.accept().await.expect("accept");
            tokio::spawn(script(number, stream));
        }
    });
    address
}

pub type Scripted = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One HTTP/2 frame (RFC 9113 §4.1).
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
        }
    }

    pub fn goaway(last: u32, reason: u32) -> Self {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        Self::new(GOAWAY, 0, 0, &payload)
    }
}

/// Frames on a socket, with nobody minding the rules.
#[derive(Debug)]
pub struct Raw(pub TcpStream);

impl Raw {
    /// As a server: reads the preface and sends empty SETTINGS.
    pub async fn accept(mut stream: TcpStream) -> Self {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.expect("preface");
        let mut raw = Self(stream);
        raw.write(&Frame::new(SETTINGS, 0, 0, &[])).await;
        raw
    }

    pub async fn write(&mut self, frame: &Frame) {
        assert!(self.can_write(frame).await, "the connection is gone");
    }

    /// Whether the connection takes it.
    pub async fn can_write(&mut self, frame: &Frame) -> bool {
        let length = u32::try_from(frame.payload.len()).expect("length");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([frame.kind, frame.flags]);
        bytes.extend(frame.stream.to_be_bytes());
        bytes.extend(&frame.payload);
        self.0.write_all(&bytes).await.is_ok()
    }

    /// Reads and forgets until the connection ends.
    pub async fn rest(&mut self) {
        tokio::io::copy(&mut self.0, &mut tokio::io::sink())
            .await
            .ok();
    }

    /// The next frame, or `None` at the end.
    pub async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Skips to the next frame of `kind`; SETTINGS on the way are acknowledged.
    pub async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().await.expect("a frame");
            if frame.kind == SETTINGS && frame.flags & 1 == 0 {
                self.write(&Frame::new(SETTINGS, 1, 0, &[])).await;
            }
            if frame.kind == kind {
                return frame;
            }
        }
    }
}
