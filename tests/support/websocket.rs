//! A WebSocket client: the handshake by the byte, frames by a crate that isn't the gateway's.

use std::net::SocketAddr;

use fastwebsockets::{Frame, OpCode, Role};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Chain, Join, join};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::client::{Http1, Reply};
use super::soon;

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// RFC 6455 §1.3 has both.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What came behind the head, and the connection after it.
type Stream = Join<Chain<std::io::Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>;

/// An open socket.
pub struct Socket {
    socket: fastwebsockets::WebSocket<Stream>,
    pub head: Reply,
    /// Frames of the last message.
    pub frames: usize,
    /// Pings that came.
    pub pings: usize,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Close(u16, String),
    /// The connection ended without a close, or can't be read.
    Gone,
}

/// The handshake's text.
pub fn handshake(path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nhost: api.example\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n"
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

/// Opens a socket, or gives the reply that refuses it.
pub async fn ask(address: SocketAddr, handshake: &str) -> Result<Socket, Reply> {
    let mut client = Http1::connect(address).await;
    client.stream.set_nodelay(true).expect("socket");
    client.send(handshake).await;
    let head = soon("a reply", client.head()).await.expect("a reply");
    if head.status != 101 {
        return Err(soon("a body", client.body_of(head)).await);
    }
    Ok(behind(client, head))
}

/// The socket that a connection is behind this head.
pub fn behind(client: Http1, head: Reply) -> Socket {
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
    let (stream, ahead) = client.into_parts();
    let (read, write) = stream.into_split();
    let stream = join(std::io::Cursor::new(ahead).chain(read), write);
    let mut socket = fastwebsockets::WebSocket::after_handshake(stream, Role::Client);
    socket.set_auto_pong(false); // or pings would not be seen
    Socket {
        socket,
        head,
        frames: 0,
        pings: 0,
    }
}

impl Socket {
    pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        match ask(address, &handshake(path, headers)).await {
            Ok(socket) => socket,
            Err(reply) => panic!("{path}: {} {}", reply.status, reply.text()),
        }
    }

    async fn write(&mut self, frame: Frame<'_>) {
        self.socket.write_frame(frame).await.expect("a frame");
    }

    pub async fn text(&mut self, text: &str) {
        self.write(Frame::text(text.as_bytes().into())).await;
    }

    pub async fn json(&mut self, json: &Value) {
        self.text(&json.to_string()).await;
    }

    pub async fn binary(&mut self, data: &[u8]) {
        self.write(Frame::binary(data.into())).await;
    }

    /// A piece of a message.
    pub async fn piece(&mut self, opcode: OpCode, data: &[u8], last: bool) {
        self.write(Frame::new(last, opcode, None, data.into()))
            .await;
    }

    /// No more requests.
    pub async fn end(&mut self) {
        self.text("").await;
    }

    pub async fn ping(&mut self, data: &[u8]) {
        self.piece(OpCode::Ping, data, true).await;
    }

    pub async fn close(&mut self, code: u16) {
        self.write(Frame::close(code, b"")).await;
    }

    /// Bytes that are no frame of a well-behaved client.
    pub async fn raw(mut self, bytes: &[u8]) -> Self {
        let mut stream = self.socket.into_inner();
        stream.write_all(bytes).await.expect("bytes");
        self.socket = fastwebsockets::WebSocket::after_handshake(stream, Role::Client);
        self.socket.set_auto_pong(false);
        self
    }

    pub fn into_stream(self) -> Stream {
        self.socket.into_inner()
    }

    /// The next frame. Pings are answered and counted.
    pub async fn frame(&mut self) -> Option<(OpCode, bool, Vec<u8>)> {
        let frame = soon("a frame", self.socket.read_frame()).await.ok()?;
        let (opcode, fin, data) = (frame.opcode, frame.fin, frame.payload.to_vec());
        if opcode == OpCode::Ping {
            self.pings += 1;
            let pong = Frame::pong(data.as_slice().into());
            self.socket.write_frame(pong).await.ok();
        }
        Some((opcode, fin, data))
    }

    /// The next message, or the end.
    pub async fn next(&mut self) -> Heard {
        let mut whole = Vec::new();
        let mut kind = None;
        self.frames = 0;
        loop {
            let Some((opcode, fin, data)) = self.frame().await else {
                return Heard::Gone;
            };
            match opcode {
                OpCode::Ping | OpCode::Pong => continue,
                OpCode::Close => {
                    let [a, b, reason @ ..] = data.as_slice() else {
                        return Heard::Close(1005, String::new());
                    };
                    assert!(data.len() <= 125, "{} bytes", data.len());
                    let reason = std::str::from_utf8(reason).expect("UTF-8");
                    return Heard::Close(u16::from_be_bytes([*a, *b]), reason.to_owned());
                }
                OpCode::Text | OpCode::Binary => {
                    assert!(kind.is_none(), "a message in a message");
                    kind = Some(opcode);
                }
                OpCode::Continuation => assert!(kind.is_some(), "a piece of nothing"),
            }
            self.frames += 1;
            whole.extend_from_slice(&data);
            if fin {
                return match kind {
                    Some(OpCode::Text) => Heard::Text(String::from_utf8(whole).expect("UTF-8")),
                    _ => Heard::Binary(whole),
                };
            }
        }
    }

    /// The next message, which is JSON.
    pub async fn next_json(&mut self) -> Value {
        match self.next().await {
            Heard::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    /// The next message, in JSON whatever it is written in.
    pub async fn next_json_of(&mut self, message: &str) -> Value {
        match self.next().await {
            Heard::Text(text) => serde_json::from_str(&text).expect("JSON"),
            Heard::Binary(wire) => super::protos::decode(&super::protos::message(message), &wire),
            other => panic!("{other:?}"),
        }
    }

    /// The close, which is all that comes.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.next().await {
            Heard::Close(code, reason) => (code, reason),
            other => panic!("{other:?}"),
        }
    }
}

/// A masked frame, as a client writes it; the mask is of zeroes.
pub fn masked(first: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(data.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((data.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(data);
    frame
}
