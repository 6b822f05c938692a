//! What clients that speak gRPC, gRPC-Web or Connect meet of limits is refused, and counted.

mod support;

use http::Request;
use serde_json::json;
use support::client::{Http2, whole};
use support::gateway::Gateway;
use support::grpc::{framed, trailers};
use support::rpc::Grpc;
use support::upstream::Upstream;
use transom::transcode::coding::gzip;

const GET: &str = "/gamehub.v1.Catalogue/GetGame";
const UPLOAD: &str = "/gamehub.v1.Telemetry/UploadPlay";

/// How often these limits were hit.
async fn hits(gateway: &Gateway) -> [u64; 3] {
    let reports = gateway.running.reports().collect().await;
    let of = |limit: &str| {
        let counts = reports.iter().flat_map(|r| &r.counts);
        let hit = counts.filter(|c| c.name == "limits_hit" && c.label.1 == limit);
        hit.map(|c| c.value).sum()
    };
    [of("body"), of("unpacked"), of("reply")]
}

#[tokio::test]
async fn each_limit_is_counted_once() {
    let mut upstream = Upstream::start().await;
    let limits = json!({ "body": "64KiB", "reply": "64KiB" });
    let gateway = Gateway::builder(upstream.address).set("limits", limits);
    let gateway = gateway.start();
    let large = vec![0; 100 * 1024];
    let mut grpc = Grpc::connect(gateway.address).await;
    let mut client = Http2::connect(gateway.address).await;
    assert_eq!(hits(&gateway).await, [0, 0, 0]);

    // A message that is too large: the only one, and one in a stream.
    let answer = grpc.call(Grpc::post(GET), &[&large]).await;
    assert_eq!(answer.code(), "8");
    assert_eq!(hits(&gateway).await, [1, 0, 0]);
    let answer = grpc.call(Grpc::post(UPLOAD), &[b"", &large]).await;
    assert_eq!(answer.code(), "8");
    assert_eq!(hits(&gateway).await, [2, 0, 0]);
    let web = "application/grpc-web+proto";
    let bomb = gzip(&large).expect("gzip");
    let mut envelope = framed(&bomb);
    envelope[0] = 1;
    for (path, content_type, coding, body, expected) in [
        (GET, web, "grpc-encoding", framed(&large), [3, 0, 0]),
        // What grows too large when it is unpacked.
        (
            GET,
            "application/proto",
            "content-encoding",
            bomb,
            [4, 1, 0],
        ),
        (
            UPLOAD,
            "application/connect+proto",
            "connect-content-encoding",
            envelope,
            [5, 2, 0],
        ),
    ] {
        let request = Request::post(format!("http://test{path}"))
            .header("content-type", content_type)
            .header(coding, "gzip")
            .body(body.into());
        let reply = client.send(request.expect("request")).await;
        whole(reply.expect("a reply")).await;
        assert_eq!(hits(&gateway).await, expected, "{content_type}");
    }

    // Answers.
    for (content_type, expected) in [("application/grpc", 1), ("application/json", 2)] {
        let body = match content_type {
            "application/json" => b"{}".to_vec(),
            _ => framed(b""),
        };
        let request = Request::post(format!("http://test{GET}"))
            .header("content-type", content_type)
            .body(body.into());
        let (reply, _down) = tokio::join!(client.send(request.expect("request")), async {
            let mut call = upstream.next().await;
            // Uploads had begun before they were found to be too large.
            while call.path() != GET {
                call = upstream.next().await;
            }
            let mut head = http::Response::new(());
            *head.headers_mut() = trailers(&[("content-type", "application/grpc")]);
            let mut down = call.respond.send_response(head, false).expect("a head");
            let message = framed(&large);
            down.send_data(message.into(), false).expect("data");
            down
        });
        whole(reply.expect("a reply")).await;
        assert_eq!(hits(&gateway).await, [5, 2, expected], "{content_type}");
    }
}
