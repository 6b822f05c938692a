//! Attacks on one HTTP/2 connection, frame by frame: each ends it, is counted, and leaves the listener
//! serving others.

mod support;

use std::time::Duration;

use support::client::Http2;
use support::edge::{Counts, Edge};
use support::soon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transom::limits::{Limits, Timeouts};

const LONG: Duration = Duration::from_secs(600);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn edge() -> Edge {
    let timeouts = Timeouts {
        headers: LONG,
        keep_alive: LONG,
        body_idle: LONG,
        write_idle: LONG,
        ping_interval: LONG,
        ..Timeouts::default()
    };
    Edge::start(Limits::default(), timeouts)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("length").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET /` or `POST /ask` of `t`, by HPACK's static table.
fn head(stream: u32, method: u8, path: &[u8], flags: u8) -> Vec<u8> {
    let mut block = vec![
        method,
        0x86,
        0x04,
        u8::try_from(path.len()).expect("length"),
    ];
    block.extend(path);
    block.extend([0x41, 1, b't']);
    frame(1, flags, stream, &block)
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// Sends `first`, then what `attack` gives for 1, 2, 3 … until the connection is closed; gives the
/// code of the last GOAWAY. The client reads all the time.
async fn attacked(edge: &Edge, first: &[u8], attack: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut stream = TcpStream::connect(edge.address).await.expect("connect");
    let begin = [PREFACE, &frame(4, 0, 0, &[]), first].concat();
    stream.write_all(&begin).await.expect("begin");
    let (mut read, mut write) = stream.into_split();
    let reader = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while let Ok(n @ 1..) = read.read_buf(&mut bytes).await {
            let _ = n;
        }
        bytes
    });
    let sending = async {
        for n in 1..2_000_000 {
            if write.write_all(&attack(n)).await.is_err() || reader.is_finished() {
                return;
            }
        }
        panic!("the attack was borne");
    };
    soon("the end of the attack", sending).await;
    let bytes = soon("the end of the connection", reader)
        .await
        .expect("read");
    let mut code = None;
    let mut rest = &bytes[..];
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == 7
            && let Some(told) = after.get(4..8)
        {
            code = Some(u32::from_be_bytes(told.try_into().expect("four")));
        }
        rest = after.get(length..).unwrap_or_default();
    }
    code
}

/// The flood ended one connection with ENHANCE_YOUR_CALM, as far as it could be read, and no other.
async fn borne(edge: Edge, code: Option<u32>, others: &mut Http2) -> Counts {
    assert!(matches!(code, Some(11) | None), "{code:?}");
    assert_eq!(others.get("/").await.status, 200);
    edge.finish().await
}

#[tokio::test]
async fn floods_of_frames_without_content() {
    type Attack = fn(u32) -> Vec<u8>;
    let attacks: [(&str, &[u8], Attack); 6] = [
        ("PING", &[], |_| frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", &[], |_| frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PING ACK", &[], |_| frame(6, 1, 0, &[0; 8])),
        ("PRIORITY", &[], |n| {
            frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 1])
        }),
        ("WINDOW_UPDATE", &[], |n| {
            frame(8, 0, 0, &[0, 0, 0, u8::from(n < 1000)])
        }),
        ("unknown", &[], |_| frame(0xfa, 0, 0, b"")),
    ];
    for (name, first, attack) in attacks {
        let edge = edge();
        let mut others = Http2::connect(edge.address).await;
        let code = attacked(&edge, first, |n| {
            attack(n).repeat(if n == 1 { 1 } else { 16 })
        })
        .await;
        let counts = borne(edge, code, &mut others).await;
        assert_eq!(counts.floods, 1, "{name}");
    }
}

#[tokio::test]
async fn empty_data_frames() {
    let edge = edge();
    let mut others = Http2::connect(edge.address).await;
    let open = head(1, POST, b"/ask", 4);
    let code = attacked(&edge, &open, |_| frame(0, 0, 1, &[])).await;
    assert_eq!(borne(edge, code, &mut others).await.floods, 1);
}

#[tokio::test]
async fn rapid_reset() {
    let edge = edge();
    let mut others = Http2::connect(edge.address).await;
    let code = attacked(&edge, &[], |n| {
        let stream = 2 * n - 1;
        [
            head(stream, POST, b"/ask", 4),
            frame(3, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    })
    .await;
    assert_eq!(borne(edge, code, &mut others).await.floods, 1);
}

/// Streams that are begun on, and reset only then: h2's limit on pending ones doesn't see them.
#[tokio::test]
async fn resets_of_requests_under_way() {
    let mut edge = edge();
    let mut others = Http2::connect(edge.address).await;
    let mut stream = TcpStream::connect(edge.address).await.expect("connect");
    let begin = [PREFACE, &frame(4, 0, 0, &[])].concat();
    stream.write_all(&begin).await.expect("begin");
    let mut under_way = Vec::new();
    for n in 1..2000 {
        let id = 2 * n - 1;
        let asked = stream.write_all(&head(id, GET, b"/ask", 5)).await;
        let mut end = [0; 4096];
        tokio::select! {
            arrived = edge.arrived() => under_way.push(arrived),
            () = async { while let Ok(1..) = stream.read(&mut end).await {} }, if asked.is_ok() => {
                assert!(n > 900, "{n}");
                assert_eq!(others.get("/").await.status, 200);
                assert_eq!(edge.finish().await.floods, 1);
                return;
            }
        }
        stream.write_all(&frame(3, 0, id, &[0, 0, 0, 8])).await.ok();
    }
    panic!("the attack was borne");
}

#[tokio::test]
async fn continuation_flood() {
    let edge = edge();
    let mut others = Http2::connect(edge.address).await;
    let open = head(1, GET, b"/", 1);
    let code = attacked(&edge, &open, |_| frame(9, 0, 1, &[0, 1, b'a', 1, b'b'])).await;
    assert_eq!(borne(edge, code, &mut others).await.floods, 1);
}

#[tokio::test]
async fn a_client_that_is_served_has_reason_for_its_frames() {
    let edge = edge();
    let mut client = Http2::connect(edge.address).await;
    for _ in 0..3000 {
        assert_eq!(client.get("/").await.status, 200);
    }
    drop(client);
    assert_eq!(edge.finish().await.floods, 0);
}

/// Reads until the connection is closed.
async fn to_the_end(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async { while let Ok(1..) = stream.read_buf(&mut bytes).await {} };
    soon("the end of the connection", reading).await;
    bytes
}

/// A connection that is over its age ends even if a request on it never does.
#[tokio::test]
async fn what_outlives_its_connection_is_cut() {
    let timeouts = Timeouts {
        max_age: Duration::from_millis(50),
        drain: Duration::from_millis(50),
        headers: LONG,
        keep_alive: LONG,
        write_idle: LONG,
        ..Timeouts::default()
    };
    let mut edge = Edge::start(Limits::default(), timeouts);
    for version in ["HTTP/1.1", "HTTP/2"] {
        let mut stream = TcpStream::connect(edge.address).await.expect("connect");
        let begin = match version {
            "HTTP/2" => [PREFACE, &frame(4, 0, 0, &[]), &head(1, GET, b"/ask", 5)].concat(),
            _ => b"GET /ask HTTP/1.1\r\nhost: t\r\n\r\n".to_vec(),
        };
        stream.write_all(&begin).await.expect("begin");
        let _unanswered = edge.arrived().await;
        to_the_end(stream).await;
    }
    let counts = edge.finish().await;
    assert_eq!((counts.aged, counts.cut), (2, 2));
}

/// The whole reply is h2's, and the client takes it a byte at a time, or not at all.
#[tokio::test]
async fn a_reply_that_is_never_taken_ends_with_the_idle_time() {
    let timeouts = Timeouts {
        keep_alive: Duration::from_millis(100),
        headers: LONG,
        write_idle: LONG,
        ..Timeouts::default()
    };
    let edge = Edge::start(Limits::default(), timeouts);
    let mut stream = TcpStream::connect(edge.address).await.expect("connect");
    let window_of_one = frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let begin = [PREFACE, &window_of_one, &head(1, GET, b"/", 5)].concat();
    stream.write_all(&begin).await.expect("begin");
    let bytes = to_the_end(stream).await;
    assert!(!bytes.is_empty());
    assert_eq!(edge.finish().await.idle_closed, 1);
}
