//! The tests' own service does what its comments say: tests lean on it.

#[path = "support/probe.rs"]
mod probe;

use probe::proto::probe_client::ProbeClient;
use probe::proto::{EchoRequest, Script};
use tonic::{Code, Request};
use transom::demo::proto::google::rpc;

#[tokio::test]
async fn it_echoes_fails_and_streams_as_told() {
    let server = probe::start();
    let mut client = ProbeClient::connect(format!("http://{}", server.address()))
        .await
        .unwrap();

    let mut request = Request::new(EchoRequest {
        text: "hello".into(),
        script: Some(Script {
            padding_bytes: 3,
            initial_metadata: [("x-first".to_owned(), "1".to_owned())].into(),
            ..Script::default()
        }),
        ..EchoRequest::default()
    });
    request.set_timeout(std::time::Duration::from_secs(20));
    request
        .metadata_mut()
        .append("x-tenant", "blue".parse().unwrap());
    let reply = client.echo(request).await.unwrap();
    assert_eq!(reply.metadata().get("x-first").unwrap(), "1");
    let reply = reply.into_inner();
    assert_eq!(reply.metadata["x-tenant"].values, ["blue"]);
    assert_eq!(reply.timeout.unwrap().seconds, 20);
    assert_eq!(reply.padding, b"xxx");
    assert_eq!(reply.authority, server.address().to_string());
    assert_eq!(reply.request.unwrap().text, "hello");

    let failing = EchoRequest {
        script: Some(Script {
            messages: 5,
            fail_after: 2,
            code: Code::Aborted as u32,
            message: "enough".into(),
            details: vec![prost_types::Any::from_msg(&rpc::Help::default()).unwrap()],
            trailing_metadata: [("x-last".to_owned(), "z".to_owned())].into(),
            ..Script::default()
        }),
        ..EchoRequest::default()
    };
    let refused = client.echo(failing.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Aborted, "enough")
    );
    assert!(!refused.details().is_empty());
    assert_eq!(refused.metadata().get("x-last").unwrap(), "z");

    let mut stream = client.echo_stream(failing).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().index, 0);
    assert_eq!(stream.message().await.unwrap().unwrap().index, 1);
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Aborted);

    let requests = |n| tokio_stream::iter((0..n).map(|_| EchoRequest::default()));
    let collected = client.collect(requests(3)).await.unwrap().into_inner();
    assert_eq!(collected.index, 3);
    let mut stream = client.converse(requests(2)).await.unwrap().into_inner();
    let mut replies = 0;
    while stream.message().await.unwrap().is_some() {
        replies += 1;
    }
    assert_eq!(replies, 2);
}
