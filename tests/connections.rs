//! How long connections to upstreams live, and how many there are.

mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use support::upstream::{Upstream as Server, raw};
use support::{on_a_worker, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transom::config::model::{
    Connections, Endpoint, Upstream, UpstreamId, UpstreamProtocol, UpstreamRules,
};
use transom::failure::Failure;
use transom::limits::Timeouts;
use transom::rt::LocalExec;
use transom::telemetry::Counted;
use transom::upstream::{AnswerBody, Fleet, How, UpstreamBody, Upstreams};

const GAMES: UpstreamId = UpstreamId(0);

fn pool(
    address: SocketAddr,
    protocol: UpstreamProtocol,
    connections: Connections,
) -> Rc<Upstreams> {
    let endpoint = Endpoint::host(address.ip(), address.port());
    let spec = Upstream {
        protocol,
        rules: UpstreamRules {
            connections,
            ..UpstreamRules::default()
        },
        ..Upstream::new("games", vec![endpoint])
    };
    let timeouts = Timeouts::default();
    Upstreams::new(&Fleet::new(1), &[spec], &timeouts, &LocalExec::default())
}

fn request() -> Request<UpstreamBody> {
    Request::get("/")
        .body(UpstreamBody::whole("".into()))
        .unwrap()
}

type Answered = tokio::task::JoinHandle<Result<Response<AnswerBody>, Failure>>;

fn call(pool: &Rc<Upstreams>) -> Answered {
    let pool = Rc::clone(pool);
    tokio::task::spawn_local(async move {
        soon("an answer", pool.call(GAMES, request(), How::default())).await
    })
}

async fn text(answered: Answered) -> String {
    let answer = answered.await.unwrap().unwrap();
    let whole = answer.into_body().collect().await.unwrap();
    String::from_utf8(whole.to_bytes().to_vec()).unwrap()
}

/// Resolves once the count is there.
async fn counts(pool: &Rc<Upstreams>, is_there: impl Fn(Counted) -> bool) {
    soon("the count", async {
        while !is_there(pool.counted(GAMES)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn on_http2(
    connections: Connections,
    streams_max: u32,
    test: impl AsyncFnOnce(Rc<Upstreams>, Server) + 'static,
) {
    on_a_worker(async move {
        let server = Server::with_streams_max(streams_max).await;
        let pool = pool(server.address, UpstreamProtocol::Http2, connections);
        test(pool, server).await;
    });
}

#[test]
fn an_old_connection_is_replaced_and_its_calls_go_on() {
    let connections = Connections {
        age_max: Some(Duration::from_millis(50)),
        ..Connections::default()
    };
    on_http2(connections, 100, async |pool, mut server| {
        let held = call(&pool);
        let first = server.next().await;
        assert_eq!(first.connection, 0);
        // Every call on the way is answered, and some day one comes over the other connection.
        soon("another connection", async {
            loop {
                let answered = call(&pool);
                let seen = server.next().await;
                let connection = seen.connection;
                seen.answer("fine");
                assert_eq!(text(answered).await, "fine");
                if connection > 0 {
                    break;
                }
            }
        })
        .await;
        counts(&pool, |c| c.aged >= 1 && c.connected >= 2).await;
        first.answer("in its own time");
        assert_eq!(text(held).await, "in its own time");
        assert_eq!(pool.counted(GAMES).not_connected, 0);
    });
}

#[test]
fn a_connection_without_a_greatest_age_stays() {
    let connections = Connections {
        age_max: None,
        ..Connections::default()
    };
    on_http2(connections, 100, async |pool, mut server| {
        let answered = call(&pool);
        server.next().await.answer("");
        text(answered).await;
        let counted = pool.counted(GAMES);
        assert_eq!((counted.connected, counted.aged), (1, 0));
    });
}

#[test]
fn a_connection_without_calls_is_closed() {
    let connections = Connections {
        idle_max: Duration::from_millis(20),
        ..Connections::default()
    };
    on_http2(connections, 100, async |pool, mut server| {
        let held = call(&pool);
        let first = server.next().await;
        // With a call it is not idle, however long that takes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(pool.counted(GAMES).idled, 0);
        first.answer("");
        text(held).await;
        counts(&pool, |c| c.idled == 1).await;
        let answered = call(&pool);
        let second = server.next().await;
        assert_eq!(second.connection, 1);
        second.answer("");
        text(answered).await;
    });
}

#[test]
fn there_are_as_many_connections_as_may_be() {
    let connections = Connections {
        count_max: Some(2),
        streams_max: 1,
        ..Connections::default()
    };
    on_http2(connections, 100, async |pool, mut server| {
        // Read as they come: a place comes free with the end of an answer.
        let read = |_| tokio::task::spawn_local(text(call(&pool)));
        let answers: Vec<_> = (0..3).map(read).collect();
        let (one, two) = (server.next().await, server.next().await);
        assert_ne!(one.connection, two.connection);
        counts(&pool, |c| c.at_connections_max > 0).await;
        assert!(server.is_quiet());
        one.answer("");
        server.next().await.answer("");
        two.answer("");
        for answer in answers {
            answer.await.unwrap();
        }
        assert_eq!(server.accepted(), 2);
    });
}

fn on_http1<F>(connections: Connections, test: impl FnOnce(Rc<Upstreams>) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    on_a_worker(async move {
        let address = raw(|number, mut stream| async move {
            let mut bytes = [0; 4096];
            while let Ok(1..) = stream.read(&mut bytes).await {
                let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                if stream.write_all(reply.as_bytes()).await.is_err() {
                    break;
                }
            }
        })
        .await;
        test(pool(address, UpstreamProtocol::Http1, connections)).await;
    });
}

#[test]
fn an_old_http1_connection_is_not_used_again() {
    let connections = |age| Connections {
        age_max: age,
        ..Connections::default()
    };
    on_http1(connections(Some(Duration::from_nanos(1))), async |pool| {
        assert_eq!(text(call(&pool)).await, "0");
        assert_eq!(text(call(&pool)).await, "1");
        assert_eq!(pool.counted(GAMES).aged, 2);
    });
    on_http1(connections(None), async |pool| {
        assert_eq!(text(call(&pool)).await, "0");
        assert_eq!(text(call(&pool)).await, "0");
        assert_eq!(pool.counted(GAMES).aged, 0);
    });
}
