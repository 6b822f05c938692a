//! `grpc.health.v1` of the gateway itself, in every protocol.

mod support;

use http::Request;
use http_body_util::BodyExt as _;
use prost::Message;
use serde_json::{Value, json};
use support::client::{Http2, whole};
use support::gateway::Gateway;
use support::grpc::{framed, trailers};
use support::rpc::{Answer, Down, Grpc};
use support::soon;
use support::upstream::Upstream;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct Ask {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(int32, tag = "1")]
    status: i32,
}

fn ask(service: &str) -> Vec<u8> {
    let service = service.to_owned();
    Ask { service }.encode_to_vec()
}

async fn check(client: &mut Grpc, host: &str, service: &str) -> Answer {
    let request = Grpc::post(CHECK).uri(format!("http://{host}{CHECK}"));
    client.call(request, &[&ask(service)]).await
}

fn status(frame: &[u8]) -> i32 {
    let (prefix, message) = frame.split_at_checked(5).expect("a prefix");
    assert_eq!(usize::from(prefix[4]), message.len(), "{frame:?}");
    Told::decode(message).expect("a response").status
}

async fn watch(client: &mut Grpc, service: &str) -> Down {
    let mut call = client.begin(Grpc::post(WATCH)).await;
    call.message(&ask(service));
    call.finish();
    call.answer().await
}

#[tokio::test]
async fn mounted_services_are_serving() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set(
            "routes",
            json!([
                { "services": ["gamehub.v1.Chat"], "upstream": "games" },
                { "services": ["gamehub.v1.Scores"], "upstream": "games", "hosts": ["scores.test"] },
            ]),
        )
        .start();
    let mut client = Grpc::connect(gateway.address).await;
    for service in ["", "gamehub.v1.Chat"] {
        let answer = check(&mut client, "test", service).await;
        assert_eq!((answer.code(), status(&answer.data)), ("0", SERVING));
    }
    // What isn't mounted, not a service, or of another host.
    for service in ["gamehub.v1.Telemetry", "gamehub.v1", "gamehub.v1.Scores"] {
        let answer = check(&mut client, "test", service).await;
        assert_eq!(answer.code(), "5", "{service}: {answer:?}");
        let told = format!("no service \"{service}\" is mounted");
        assert_eq!(answer.message(), told);
    }
    let answer = check(&mut client, "scores.test", "gamehub.v1.Scores").await;
    assert_eq!((answer.code(), status(&answer.data)), ("0", SERVING));

    let answer = client.call(Grpc::post(LIST), &[b""]).await;
    // A map from "", whose key goes without saying, and from the one service to SERVING.
    let mounted = [
        &[0x0a, 21, 0x0a, 15],
        &b"gamehub.v1.Chat"[..],
        &[0x12, 2, 8, 1],
    ]
    .concat();
    let whole = [&[0x0a, 4, 0x12, 2, 8, 1], &mounted[..]].concat();
    assert_eq!(answer.data, framed(&whole));
}

#[tokio::test]
async fn every_protocol_gets_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Http2::connect(gateway.address).await;
    let post = |content_type: &str, path: &str, body: Vec<u8>| {
        let request = Request::post(format!("http://test{path}"));
        let request = request.header("content-type", content_type);
        request.body(body.into()).expect("request")
    };

    let body = br#"{"service": "gamehub.v1.Chat"}"#.to_vec();
    let reply = client.send(post("application/json", CHECK, body)).await;
    let reply = whole(reply.expect("a reply")).await;
    let told: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!((reply.status, told), (200, json!({ "status": "SERVING" })));

    let body = br#"{"service": "nobody"}"#.to_vec();
    let reply = client.send(post("application/json", CHECK, body)).await;
    let reply = whole(reply.expect("a reply")).await;
    let told: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(told["code"], "not_found");

    let body = framed(&ask("gamehub.v1.Chat"));
    let web = "application/grpc-web+proto";
    let reply = client.send(post(web, CHECK, body)).await;
    let reply = whole(reply.expect("a reply")).await;
    let mut expected = framed(&[8, 1]);
    let trailers = b"grpc-status: 0\r\n";
    expected.extend([0x80, 0, 0, 0, 16]);
    expected.extend(trailers);
    assert_eq!(reply.body, expected);

    let body = [&[0, 0, 0, 0, 2], &b"{}"[..]].concat();
    let request = post("application/connect+json", WATCH, body);
    let reply = client.send(request).await.expect("a reply");
    assert_eq!(reply.headers()["content-type"], "application/connect+json");
    let mut body = reply.into_body();
    let first = soon("a message", body.frame()).await.expect("no end");
    let first = first.expect("a frame").into_data().expect("data");
    assert_eq!(first.get(5..), Some(&br#"{"status":"SERVING"}"#[..]));
}

#[tokio::test]
async fn a_watch_hears_of_changes() {
    let upstream = Upstream::start().await;
    let chat = json!([{ "services": ["gamehub.v1.Chat"], "upstream": "games" }]);
    let builder = Gateway::builder(upstream.address).set("routes", chat);
    let gateway = builder.start();
    let mut client = Grpc::connect(gateway.address).await;
    let mut down = watch(&mut client, "gamehub.v1.Scores").await;
    assert_eq!(status(&down.piece().await), SERVICE_UNKNOWN);
    let all = Gateway::builder(upstream.address);
    gateway.running.publish(all.live().1);
    assert_eq!(status(&down.piece().await), SERVING);
    gateway.running.publish(builder.live().1);
    assert_eq!(status(&down.piece().await), SERVICE_UNKNOWN);
}

#[tokio::test]
async fn a_drain_is_told_and_ends_watches() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Grpc::connect(gateway.address).await;
    let mut downs = Vec::new();
    for service in ["", "gamehub.v1.Chat"] {
        let mut down = watch(&mut client, service).await;
        assert_eq!(status(&down.piece().await), SERVING, "{service:?}");
        downs.push(down);
    }
    let shutdown = tokio::spawn(gateway.running.shutdown());
    for down in downs {
        let answer = down.whole().await;
        assert_eq!(status(&answer.data), NOT_SERVING);
        assert_eq!(
            (answer.code(), answer.message()),
            ("14", "the gateway is shutting down")
        );
    }
    soon("the end of the drain", shutdown)
        .await
        .expect("a join");
}

#[tokio::test]
async fn watches_are_bounded() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("limits", json!({ "health_watches": 1 }))
        .start();
    let mut client = Grpc::connect(gateway.address).await;
    let mut first = watch(&mut client, "").await;
    assert_eq!(status(&first.piece().await), SERVING);
    let refused = watch(&mut client, "").await.whole().await;
    assert_eq!(
        (refused.code(), refused.message()),
        ("8", "too many watches of health are open")
    );
    // The place is free once the gateway has heard that the client left.
    drop(first);
    loop {
        let mut again = watch(&mut client, "").await;
        if !again.head.headers.contains_key("grpc-status") {
            assert_eq!(status(&again.piece().await), SERVING);
            return;
        }
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address).start();
    let mut client = Grpc::connect(gateway.address).await;
    let none = client.call(Grpc::post(CHECK), &[]).await;
    assert_eq!(
        (none.code(), none.message()),
        ("3", "the method takes one request message")
    );
    let broken = client.call(Grpc::post(CHECK), &[b"\x0a\x05no"]).await;
    assert_eq!(broken.code(), "3");
    assert!(broken.message().starts_with("the request can't be read: "));
    let unknown = "/grpc.health.v1.Health/Nothing";
    let unknown = client.call(Grpc::post(unknown), &[b""]).await;
    assert_eq!(unknown.code(), "12");
    // Not asked for.
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let reflection = client.call(Grpc::post(reflection), &[b"\x3a\x00"]).await;
    assert_eq!(reflection.code(), "12");
}

/// A route that covers everything isn't about health; one that names it is.
#[tokio::test]
async fn an_upstreams_own_is_mounted_by_name() {
    let mut upstream = Upstream::start().await;
    let everything = json!({ "prefix": "/", "upstream": "games" });
    let builder = Gateway::builder(upstream.address).route(everything);
    let gateway = builder.start();
    let mut client = Grpc::connect(gateway.address).await;
    let answered = check(&mut client, "test", "").await;
    assert_eq!(status(&answered.data), SERVING);

    let named = json!({ "prefix": "/grpc.health.v1.Health/", "upstream": "games" });
    let gateway = builder.route(named).start();
    let mut client = Grpc::connect(gateway.address).await;
    let (answered, ()) = tokio::join!(check(&mut client, "test", ""), async {
        let mut call = upstream.next().await;
        assert_eq!(call.path(), CHECK);
        let mut head = http::Response::new(());
        *head.headers_mut() = trailers(&[("content-type", "application/grpc")]);
        let mut down = call.respond.send_response(head, false).expect("a head");
        let message = framed(&[8, 2]);
        down.send_data(message.into(), false).expect("data");
        let end = trailers(&[("grpc-status", "0")]);
        down.send_trailers(end).expect("trailers");
    });
    assert_eq!(
        (answered.code(), status(&answered.data)),
        ("0", NOT_SERVING)
    );
}
