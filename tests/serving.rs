//! Client connections over real sockets: protocols, timeouts, limits, draining.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use support::client::{Http1, Http2, whole};
use support::edge::{Edge, ReplyBody};
use support::soon;
use transom::limits::{ByteLimit, Limits, Timeouts};
use transom::listener;

/// Soon enough for a test to wait for, and far from the limits that must not end it.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(600);

/// Every timeout out of the way; a test shortens the one it is about.
fn patient() -> Timeouts {
    Timeouts {
        headers: LONG,
        keep_alive: LONG,
        body_idle: LONG,
        write_idle: LONG,
        ping_interval: LONG,
        ..Timeouts::default()
    }
}

fn edge(timeouts: Timeouts) -> Edge {
    Edge::start(Limits::default(), timeouts)
}

#[tokio::test]
async fn both_protocols_are_served_on_one_port() {
    let edge = edge(patient());
    let mut http1 = Http1::connect(edge.address).await;
    let mut http2 = Http2::connect(edge.address).await;
    for _ in 0..3 {
        let reply = http1.get("/a?b=c").await;
        assert!(reply.text().starts_with("GET /a?b=c HTTP/1.1\n"));
        let reply = http2.get("/a?b=c").await;
        let line = "GET http://test/a?b=c HTTP/2.0\n";
        assert!(reply.text().starts_with(line), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed_at_the_header_timeout() {
    let edge = edge(Timeouts {
        headers: SHORT,
        ..patient()
    });
    let silent = Http1::connect(edge.address).await;
    assert!(silent.closed().await.is_empty());
    let mut partial = Http1::connect(edge.address).await;
    partial.send("PRI * HT").await;
    assert!(partial.closed().await.is_empty());
    assert_eq!(edge.finish().await.slow_heads, 2);
}

#[tokio::test]
async fn dripping_headers_does_not_move_the_header_timeout() {
    let edge = edge(Timeouts {
        headers: SHORT,
        ..patient()
    });
    let mut slow = Http1::connect(edge.address).await;
    slow.send("GET / HTTP/1.1\r\nHost: test\r\n").await;
    let drip = async {
        use tokio::io::AsyncWriteExt;
        while slow.stream.write_all(b"X-Drip: 1\r\n").await.is_ok() {
            tokio::task::yield_now().await;
            // As slow as a drip is; the test ends by the server's close.
            tokio::time::sleep(SHORT / 20).await;
        }
    };
    soon("the server's patience to end", drip).await;
    assert_eq!(edge.finish().await.slow_heads, 1);
}

#[tokio::test]
async fn keep_alive_outlives_the_header_timeout() {
    let edge = edge(Timeouts {
        headers: SHORT,
        ..patient()
    });
    let mut idle = Http1::connect(edge.address).await;
    idle.get("/").await;
    let mut second = Http1::connect(edge.address).await;
    second.get("/").await;
    // The header timeout runs for a kept-alive connection from the first byte of its next request.
    second.send("GET / HT").await;
    assert!(second.closed().await.is_empty());
    assert_eq!(idle.get("/still").await.status, 200);
    let counts = edge.finish().await;
    assert_eq!((counts.slow_heads, counts.idle_closed), (1, 0));
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_the_keep_alive_timeout() {
    let edge = edge(Timeouts {
        keep_alive: SHORT,
        ..patient()
    });
    let mut http1 = Http1::connect(edge.address).await;
    http1.get("/").await;
    assert!(http1.closed().await.is_empty());
    let mut http2 = Http2::connect(edge.address).await;
    http2.get("/").await;
    let ended = soon("GOAWAY", http2.ended).await.unwrap();
    assert!(ended.is_ok(), "a goodbye, not an error: {ended:?}");
}

#[tokio::test]
async fn a_request_being_answered_is_not_idle() {
    let mut edge = edge(Timeouts {
        headers: SHORT,
        keep_alive: SHORT,
        ..patient()
    });
    let mut busy = Http1::connect(edge.address).await;
    busy.send("GET /ask HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let asked = edge.arrived().await;
    // Its limits pass on another connection meanwhile.
    assert!(Http1::connect(edge.address).await.closed().await.is_empty());
    let answer = Response::new(ReplyBody::Whole(Some("at last".into())));
    asked.reply.send(answer).unwrap();
    assert_eq!(busy.reply().await.unwrap().text(), "at last");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let edge = edge(Timeouts {
        body_idle: SHORT,
        ..patient()
    });
    for rest in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut client = Http1::connect(edge.address).await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: test\r\n{rest}"))
            .await;
        assert_eq!(client.reply().await.unwrap().status, 408);
        assert!(client.closed().await.is_empty(), "then it is closed");
    }
    let mut http2 = Http2::connect(edge.address).await;
    assert_eq!(http2.get("/fine").await.status, 200);
}

#[tokio::test]
async fn a_body_that_drips_is_408_and_one_of_grpc_may() {
    let limits = Limits {
        body_rate_min: ByteLimit::kib(64),
        ..Limits::default()
    };
    let timeouts = Timeouts {
        body_idle: Duration::from_secs(1),
        ..patient()
    };
    let mut edge = Edge::start(limits, timeouts);
    let mut drip = async |content_type: &str, times: usize| {
        let mut client = Http1::connect(edge.address).await;
        let head = "POST /ask HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\nContent-Type: ";
        client.send(format!("{head}{content_type}\r\n\r\n")).await;
        // Each piece is far sooner than `body_idle`, and all of them last longer.
        for _ in 0..times {
            let pause = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                arrived = edge.arrived() => return arrived.body,
                () = pause => client.send("x").await,
            }
        }
        edge.arrived().await.body
    };
    assert_eq!(drip("application/json", 29).await, Err(408));
    assert_eq!(drip("application/grpc", 30).await, Ok(vec![b'x'; 30]));
    assert_eq!(edge.finish().await.slow_bodies, 1);
}

#[tokio::test]
async fn a_connection_of_age_takes_no_more_requests_and_finishes_those_it_has() {
    let mut edge = edge(Timeouts {
        max_age: SHORT,
        ..patient()
    });
    let done = || Response::new(ReplyBody::Whole(Some("done".into())));
    let mut http2 = Http2::connect(edge.address).await;
    let ask = Request::get("http://test/ask").body(Full::default());
    let asked = http2.send.send_request(ask.unwrap());
    let arrived = edge.arrived().await;
    // GOAWAY comes while the request is under way: no other is taken.
    let refused = async {
        loop {
            let other = Request::get("http://test/").body(Full::default()).unwrap();
            if http2.send.send_request(other).await.is_err() {
                break;
            }
        }
    };
    soon("GOAWAY", refused).await;
    arrived.reply.send(done()).unwrap();
    assert_eq!(whole(asked.await.unwrap()).await.text(), "done");
    soon("the end", http2.ended).await.unwrap().unwrap();
    // Over HTTP/1.1 a reply tells, however late it is.
    let told = async {
        for longer in 1.. {
            let mut http1 = Http1::connect(edge.address).await;
            http1.send("GET /ask HTTP/1.1\r\nHost: test\r\n\r\n").await;
            let arrived = edge.arrived().await;
            tokio::time::sleep(SHORT * longer).await;
            arrived.reply.send(done()).unwrap();
            let reply = http1.reply().await.unwrap();
            assert_eq!(reply.text(), "done");
            assert!(http1.closed().await.is_empty());
            if reply.header("connection") == Some("close") {
                break;
            }
        }
    };
    soon("Connection: close", told).await;
    assert!(edge.finish().await.aged >= 2);
}

#[tokio::test]
async fn connections_over_the_accept_rate_wait_and_are_served() {
    let limits = Limits {
        accept_rate_max: 5,
        ..Limits::default()
    };
    let edge = Edge::start(limits, patient());
    for _ in 0..8 {
        let mut client = Http1::connect(edge.address).await;
        assert_eq!(client.get("/").await.status, 200);
    }
    assert!(edge.finish().await.accept_delays > 0);
}

#[tokio::test]
async fn a_body_in_broken_chunks_is_400() {
    let mut edge = edge(patient());
    let head = "POST /ask HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (rest, status) in [("zz\r\nabc\r\n", 400), ("5\r\nabcdeXX", 400)] {
        let mut client = Http1::connect(edge.address).await;
        client.send(format!("{head}{rest}")).await;
        assert_eq!(edge.arrived().await.body, Err(status), "{rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let mut edge = edge(Timeouts {
        write_idle: SHORT,
        ..patient()
    });
    let mut deaf = Http1::connect(edge.address).await;
    deaf.send("GET /ask HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let asked = edge.arrived().await;
    let flood = Response::new(ReplyBody::Flood(256 * 1024 * 1024));
    asked.reply.send(flood).unwrap();
    assert_eq!(edge.finish().await.stalled, 1);
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_cut_off_and_the_others_go_on() {
    let mut edge = edge(Timeouts {
        write_idle: SHORT,
        ..patient()
    });
    let stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = || Request::get("http://test/ask").body(()).unwrap();
    let mut begin = async |send: &mut h2::client::SendRequest<Bytes>| {
        let (answer, _) = send.send_request(ask(), true).unwrap();
        let asked = edge.arrived().await;
        let (pieces, body) = tokio::sync::mpsc::unbounded_channel();
        let reply = Response::new(ReplyBody::Pieces(body));
        asked.reply.send(reply).unwrap();
        (pieces, answer.await.unwrap().into_body())
    };
    let (flood, mut deaf) = begin(&mut send).await;
    let (pieces, mut quiet) = begin(&mut send).await;
    // More than the window: the rest waits for a client that doesn't open it.
    for _ in 0..3 {
        flood.send(vec![b'x'; 64 * 1024].into()).unwrap();
    }
    soon("the reply to be dropped", flood.closed()).await;
    let ended = async {
        loop {
            match deaf.data().await {
                Some(Ok(data)) => deaf.flow_control().release_capacity(data.len()).unwrap(),
                Some(Err(error)) => break error,
                None => panic!("a reply cut short has no end"),
            }
        }
    };
    assert!(soon("the reset", ended).await.is_reset());
    pieces.send("still here".into()).unwrap();
    let piece = soon("a piece", quiet.data()).await.unwrap().unwrap();
    assert_eq!(piece, "still here");
    drop((send, deaf, quiet, pieces));
    assert_eq!(edge.finish().await.stalled, 1);
}

#[tokio::test]
async fn replies_in_one_piece_to_shut_windows_are_reset_while_the_connection_is_kept_busy() {
    let edge = edge(Timeouts {
        write_idle: SHORT,
        ..patient()
    });
    let stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    let shut = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream);
    let (mut send, connection) = shut.await.unwrap();
    tokio::spawn(connection);
    let mut asked = Vec::new();
    for _ in 0..20 {
        let request = Request::get("http://test/").body(()).unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        asked.push(answer);
    }
    for answer in asked {
        let mut body = answer.await.unwrap().into_body();
        let error = soon("a reset", body.data()).await.unwrap().unwrap_err();
        assert!(error.is_reset(), "{error}");
    }
    // Neither places nor the connection are lost.
    let request = Request::head("http://test/").body(()).unwrap();
    let (answer, _) = send.send_request(request, true).unwrap();
    assert_eq!(soon("a head", answer).await.unwrap().status(), 200);
    drop(send);
    assert!(edge.finish().await.stalled >= 20);
}

#[tokio::test]
async fn a_slow_reader_that_reads_is_served() {
    let mut edge = edge(Timeouts {
        write_idle: LONG,
        ..patient()
    });
    let mut client = Http1::connect(edge.address).await;
    client.send("GET /ask HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let asked = edge.arrived().await;
    let flood = Response::new(ReplyBody::Flood(8 * 1024 * 1024));
    asked.reply.send(flood).unwrap();
    let reply = client.reply().await.unwrap();
    assert_eq!(reply.body.len(), 8 * 1024 * 1024);
}

#[tokio::test]
async fn a_panic_ends_one_exchange_and_nothing_else() {
    let edge = edge(patient());
    let mut fine = Http1::connect(edge.address).await;
    fine.get("/").await;
    let mut doomed = Http1::connect(edge.address).await;
    doomed
        .send("GET /panic HTTP/1.1\r\nHost: test\r\n\r\n")
        .await;
    assert!(doomed.reply().await.is_none());
    let mut http2 = Http2::connect(edge.address).await;
    let request = Request::get("http://test/panic")
        .body(Full::default())
        .unwrap();
    assert!(http2.send(request).await.is_err());
    assert_eq!(http2.get("/other-stream").await.status, 200);
    assert_eq!(fine.get("/").await.status, 200);
    drop((fine, http2));
    assert_eq!(edge.finish().await.panics, 2);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_closes_what_is_not() {
    let mut edge = edge(patient());
    let mut idle = Http1::connect(edge.address).await;
    idle.get("/").await;
    let mut idle2 = Http2::connect(edge.address).await;
    idle2.get("/").await;
    let silent = Http1::connect(edge.address).await;
    let mut busy = Http1::connect(edge.address).await;
    busy.send("GET /ask/1 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let asked1 = edge.arrived().await;
    let mut busy2 = Http2::connect(edge.address).await;
    let request = Request::get("http://test/ask/2")
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer2 = busy2.send.send_request(request);
    let asked2 = edge.arrived().await;

    edge.drain();
    assert!(idle.closed().await.is_empty());
    soon("GOAWAY", idle2.ended).await.unwrap().unwrap();
    assert!(silent.closed().await.is_empty());

    let done = || Response::new(ReplyBody::Whole(Some("done".into())));
    asked1.reply.send(done()).unwrap();
    let reply = busy.reply().await.unwrap();
    assert_eq!(reply.text(), "done");
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(busy.closed().await.is_empty());
    asked2.reply.send(done()).unwrap();
    let answer = soon("the answer", answer2).await.unwrap();
    assert_eq!(whole(answer).await.text(), "done");
    soon("the end", busy2.ended).await.unwrap().unwrap();
    edge.finish().await;
}

#[tokio::test]
async fn a_reply_under_way_is_cancelled_when_the_client_leaves() {
    let mut edge = edge(patient());
    let mut client = Http1::connect(edge.address).await;
    client.send("GET /ask HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let mut asked = edge.arrived().await;
    drop(client);
    soon("the exchange to be dropped", asked.reply.closed()).await;

    let mut client = Http2::connect(edge.address).await;
    let request = Request::get("http://test/ask")
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = tokio::spawn(client.send.send_request(request));
    let mut asked = edge.arrived().await;
    answer.abort();
    soon("the exchange to be dropped", asked.reply.closed()).await;
}

#[tokio::test]
async fn pieces_of_a_reply_come_as_they_are_made() {
    let mut edge = edge(patient());
    let mut client = Http2::connect(edge.address).await;
    let request = Request::get("http://test/ask")
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = client.send.send_request(request);
    let asked = edge.arrived().await;
    let (pieces, body) = tokio::sync::mpsc::unbounded_channel();
    let reply = Response::new(ReplyBody::Pieces(body));
    asked.reply.send(reply).unwrap();
    let mut body = soon("the head", answer).await.unwrap().into_body();
    for piece in ["one", "two"] {
        pieces.send(piece.into()).unwrap();
        let frame = soon("a piece", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
}

#[test]
fn an_address_in_use_is_said_to_be() {
    let any = "127.0.0.1:0".parse().unwrap();
    let first = listener::bind(any, 3).unwrap();
    assert_eq!(first.sockets.len(), 3);
    assert_ne!(first.address.port(), 0);
    let error = listener::bind(first.address, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("can't listen on {}: the address is in use", first.address)
    );
    drop(first);
    listener::bind(error.address, 2).unwrap();
}

/// Set for the process that runs out of files.
const STARVED: &str = "TRANSOM_TEST_STARVED";
const FILES: u64 = 48;
const CLIENTS: usize = 100;

#[test]
fn running_out_of_files_pauses_accepting_and_ends() {
    if std::env::var_os(STARVED).is_some() {
        return starve();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["running_out_of_files_pauses_accepting_and_ends", "--exact"])
        .arg("--nocapture")
        .env(STARVED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let address = said(&mut out, "address ").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = Http1::connect(address).await;
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
            clients.push(client);
        }
        // The first ones have a file and keep it; each that leaves makes room for one of the rest.
        for mut client in clients {
            let reply = client.reply().await.expect("each is served in the end");
            assert_eq!(reply.status, 200);
        }
    });
    drop(child.stdin.take());
    let pauses: u64 = said(&mut out, "pauses ").parse().unwrap();
    assert!(pauses > 0, "the limit of files was reached");
    assert!(child.wait().unwrap().success());
}

/// The rest of the next line that has `mark`.
fn said(out: &mut impl std::io::BufRead, mark: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "no {mark:?}");
        if let Some((_, rest)) = line.split_once(mark) {
            return rest.trim().to_owned();
        }
    }
}

fn starve() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit {
        current: Some(FILES),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    // It takes files of its own, and later there may be none left: the last clients have gone, but
    // their connections end when the edge has seen it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let edge = edge(patient());
    println!("address {}", edge.address);
    std::io::read_to_string(std::io::stdin()).unwrap();
    let counts = runtime.block_on(edge.finish());
    println!("pauses {}", counts.accept_pauses);
}
