//! How often a small call asks the allocator for memory, all of hyper's and h2's asking among it: a
//! ceiling, so that a copy or a box that creeps into the path of a request is seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/protos.rs"]
mod protos;

/// Counts what the gateway asks for: all threads but those that play the client and the service.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NOT_COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn note() {
    if !NOT_COUNTED.try_with(Cell::get).unwrap_or(true) {
        ASKED.fetch_add(1, Ordering::Relaxed);
    }
}

// An allocator can't be written without it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls that are counted, after as many that warm up connections, buffers and tables.
const CALLS: usize = 400;

/// What a call may ask for at most: what it asks for today and a few more.
const GET_MAX: usize = 34;
const POST_MAX: usize = 39;
/// What the header costs that tells a service of a request which isn't traced.
const UNTRACED_MAX: usize = 2;

#[test]
fn a_small_call_asks_for_little() {
    NOT_COUNTED.set(true);
    let game = json!({
        "id": "7", "title": "Tidal Garden", "genre": "GENRE_PUZZLE", "tags": ["sea", "calm"],
        "rating": 4.25, "releasedAt": "2024-02-29T08:00:00Z", "playersMax": 4,
    });
    let new = json!({ "title": "Tidal", "genre": "GENRE_PUZZLE", "tags": ["sea", "calm"] });
    let get = "GET /v1/games/7 HTTP/1.1\r\nhost: test\r\naccept: */*\r\n\r\n".to_owned();
    let body = new.to_string();
    let post = format!(
        "POST /v1/games HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = framed("gamehub.v1.Catalogue/GetGame", &game);
    // Nobody listens there, and nothing is to be sent.
    let untraced = json!({ "endpoint": "http://127.0.0.1:9", "sample": 0 });
    for (request, trace, most) in [
        (&get, None, GET_MAX),
        (&get, Some(untraced), GET_MAX + UNTRACED_MAX),
        (&post, None, POST_MAX),
    ] {
        let builder = gateway::Gateway::builder(service(answer.clone()));
        let gateway = match trace {
            Some(trace) => builder.set("trace", trace).start(),
            None => builder.start(),
        };
        let mut client = TcpStream::connect(gateway.address).unwrap();
        let mut call = || {
            client.write_all(request.as_bytes()).unwrap();
            read_reply(&mut client);
        };
        (0..CALLS).for_each(|_| call());
        let before = ASKED.load(Ordering::SeqCst);
        (0..CALLS).for_each(|_| call());
        let asked = (ASKED.load(Ordering::SeqCst) - before).div_ceil(CALLS);
        println!("{asked} allocations: {}", request.lines().next().unwrap());
        assert!(asked <= most, "{asked} allocations a call:\n{request}");
        // Far below, the ceiling would no longer tell of what comes back.
        assert!(
            asked + 6 >= most,
            "{asked} allocations a call, lower the ceiling:\n{request}"
        );
    }
}

fn framed(method: &str, message: &Value) -> Bytes {
    let wire = protos::encode(&protos::method(method).1, message);
    let length = u32::try_from(wire.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &wire].concat().into()
}

/// One reply with a `content-length`, and nothing after it.
fn read_reply(stream: &mut TcpStream) {
    let mut reply = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&reply));
        reply.extend_from_slice(&piece[..read]);
        let Some(end) = reply.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if reply.len() == end + 4 + length {
            return;
        }
    }
}

/// A gRPC service that answers everything with the same message and OK, on a thread of its own.
fn service(answer: Bytes) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        NOT_COUNTED.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = tokio::net::TcpListener::from_std(socket).unwrap();
            let (stream, _) = socket.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut server = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = server.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(Ok(data)) = body.data().await {
                        body.flow_control().release_capacity(data.len()).unwrap();
                    }
                    let head = Response::builder().header("content-type", "application/grpc");
                    let mut stream = respond
                        .send_response(head.body(()).unwrap(), false)
                        .unwrap();
                    stream.send_data(answer, false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                });
            }
        });
    });
    address
}
