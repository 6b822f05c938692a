//! Streams piece by piece: what comes when, and what happens when one side is slow, fails or leaves.

mod support;

use serde_json::json;

use support::client::Http1;
use support::gateway::Gateway;
use support::grpc::Answer;
use support::upstream::Upstream;

async fn next_chunk(client: &mut Http1) -> String {
    let chunk = support::soon("a chunk", client.chunk()).await;
    String::from_utf8(chunk.expect("more")).expect("text")
}

#[tokio::test]
async fn events_come_at_once_and_silence_is_filled_with_comments() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::builder(upstream.address)
        .set("defaults", json!({ "sse": { "heartbeat": "20ms" } }))
        .start();
    let mut client = Http1::connect(gateway.address).await;
    let request =
        "GET /v1/games/7/scores:watch HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n";
    client.send(request).await;
    let mut answer = Answer::begin(&mut upstream.next().await);
    answer.message(&json!({ "sequence": 1 }));

    let head = client.head().await.expect("a reply");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        next_chunk(&mut client).await,
        "id: 1\ndata: {\"sequence\":1}\n\n"
    );
    assert_eq!(next_chunk(&mut client).await, ":\n\n");
    assert_eq!(next_chunk(&mut client).await, ":\n\n");
    answer.message(&json!({ "sequence": 2 }));
    let mut text = next_chunk(&mut client).await;
    while text == ":\n\n" {
        text = next_chunk(&mut client).await;
    }
    assert_eq!(text, "id: 2\ndata: {\"sequence\":2}\n\n");
    answer.end("0");
    let rest = String::from_utf8(client.chunks().await).expect("text");
    assert_eq!(rest.trim_start_matches(":\n\n"), "id: 2/end\n\n");
}
