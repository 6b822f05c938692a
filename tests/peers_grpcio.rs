//! grpcio as the client, through the gateway to a grpcio service: `tests/peers/python/calls.py` has both
//! ends, and says what each saw.
#![cfg(feature = "peers")]

#[path = "support/peer.rs"]
mod peer;

use std::path::Path;

use peer::Peer;
use serde_json::{Value, json};
use transom::app::App;
use transom::config::{self, Syntax};
use transom::control::sources::{Reflection, load};

/// The report on one theme, with this policy in the gateway's route.
async fn report(theme: &str, policy: Value) -> Value {
    ask(Peer::calls(theme), policy).await
}

async fn ask(peer: Peer, policy: Value) -> Value {
    let mut route = json!({ "services": ["peer.calls.v1.Calls"], "upstream": "calls" });
    route
        .as_object_mut()
        .expect("an object")
        .extend(policy.as_object().expect("an object").clone());
    let text = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "workers": 1,
        "server_reflection": true,
        "descriptors": [{ "reflection": "calls" }],
        "upstreams": { "calls": { "endpoints": [format!("127.0.0.1:{}", peer.port())] } },
        "routes": [route],
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let loaded = config::parse(
        "test.json",
        &text.to_string(),
        Syntax::Json,
        folder,
        &|_| None,
    );
    let config = loaded.unwrap_or_else(|report| panic!("{report:?}")).config;
    let built = load(&config, &Reflection::Ask { but: Vec::new() }).await;
    let live = built.unwrap_or_else(|report| panic!("{report:?}")).live;
    let gateway = App::start(&config, live).expect("the gateway starts");
    let address = gateway.addresses()[0];
    let report = tokio::task::spawn_blocking(move || peer.report_on(address));
    report.await.expect("a report")
}

#[tokio::test]
async fn calls_of_all_four_kinds() {
    let report = report("kinds", json!({})).await;
    assert_eq!(
        report,
        json!({
            "unary": "a",
            "server": [1, 2, 3],
            "server of none": [],
            "client": ["cd", 3],
            "client of none": 0,
            "bidi": ["e", "f", "g"],
            "bidi ended": "OK",
        })
    );
}

#[tokio::test]
async fn a_deadline_ends_the_call_at_both_ends() {
    let report = report("deadlines", json!({})).await;
    for kind in ["unary", "server", "client", "bidi"] {
        let expected = json!({
            "code": "DEADLINE_EXCEEDED",
            "the service's is the client's": true,
            "the service heard": kind,
        });
        assert_eq!(report[kind], expected, "{kind}");
    }
}

#[tokio::test]
async fn the_gateways_timeout_is_a_deadline() {
    let report = report("gateway_deadlines", json!({ "timeout": "300ms" })).await;
    let late = "the service didn't answer in time";
    assert_eq!(
        report,
        json!({
            "unary": ["DEADLINE_EXCEEDED", late, "unary"],
            "server": ["DEADLINE_EXCEEDED", late, "server"],
            "begun": [1, "begun"],
            "unary again": "DEADLINE_EXCEEDED",
            "begun goes on": true,
        })
    );
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_upstream() {
    /// The reason of a reset (RFC 9113 §7).
    const CANCEL: u32 = 8;
    let report = report("cancels", json!({})).await;
    assert_eq!(
        report,
        json!({
            "unary": [CANCEL, "unary"],
            "server": [CANCEL, "server", "CANCELLED"],
            "client": CANCEL,
            "bidi": [CANCEL, "CANCELLED"],
            "then": "still here",
        })
    );
}

#[tokio::test]
async fn metadata_crosses_both_ways() {
    let report = report("metadata", json!({})).await;
    let every = every_byte();
    let sent = &report["sent"];
    for (name, values) in [
        ("x-plain", json!(["one", "two"])),
        ("x-comma", json!(["a, b"])),
        ("x-raw-bin", json!([every, "YWdhaW4="])),
        ("authorization", json!(["Bearer secret"])),
    ] {
        assert_eq!(sent[name], values, "{name}: {sent}");
    }
    let agent = sent["user-agent"][0].as_str().expect("a user agent");
    assert!(agent.starts_with("grpc-python/"), "{agent}");
    for initial in [&report["initial"], &report["stream's initial"]] {
        assert_eq!(initial["x-first"], json!(["head"]), "{initial}");
        assert_eq!(initial["x-first-bin"], json!([every]), "{initial}");
    }
    for trailing in [&report["trailing"], &report["stream's trailing"]] {
        assert_eq!(trailing["x-last"], json!(["tail", "end"]), "{trailing}");
        assert_eq!(trailing["x-last-bin"], json!(["ACz/"]), "{trailing}");
    }
    assert_eq!(report["stream's messages"], 1);
}

/// In base64.
fn every_byte() -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = (0..=255).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_status_arrives_with_its_details() {
    let report = report("statuses", json!({})).await;
    let text = "no game “7”\n100 % näh";
    let details = json!([
        "reason: \"ASKED_FOR\"\ndomain: \"peer.example\"",
        "retry_delay {\n  seconds: 3\n}",
    ]);
    assert_eq!(report["unary"], json!(["NOT_FOUND", text, details]));
    assert_eq!(
        report["server"],
        json!([[1, 2], "UNAVAILABLE", text, details])
    );
    assert_eq!(
        report["client"],
        json!(["FAILED_PRECONDITION", text, details])
    );
    assert_eq!(
        report["bidi"],
        json!([[1], "UNAUTHENTICATED", text, details])
    );
    for code in 1..=16 {
        // What broke inside a service is not for its clients.
        let told = match code {
            2 => "unknown error",
            13 => "internal error",
            _ => "why",
        };
        assert_eq!(report["every"][code.to_string()], json!([code, told]));
    }
    let unknown = &report["unknown"];
    let path = "peer.calls.v1.Calls/Missing";
    let own = "Method not found!";
    assert_eq!(unknown[format!("/{path}")], json!(["UNIMPLEMENTED", own]));
    for path in ["peer.calls.v1.Calls/Nothing", "peer.calls.v1.Nobody/One"] {
        let told = format!("unknown method {path}");
        assert_eq!(unknown[format!("/{path}")], json!(["UNIMPLEMENTED", told]));
    }
}

#[tokio::test]
async fn compressed_messages_stay_compressed() {
    let report = report("compression", json!({})).await;
    for kind in ["gzip", "deflate"] {
        assert_eq!(
            report[kind],
            json!({
                "whole": [true, true, true, true],
                "small up": [true, true],
                "small down": [true, true],
            }),
            "{kind}"
        );
    }
    let expected = json!({ "whole": true, "up": true, "small down": true });
    assert_eq!(report["answers alone"], expected);
}

#[tokio::test]
async fn large_messages_pass_up_to_the_limit() {
    let report = report("sizes", json!({})).await;
    let eight = json!([true, true, true, true, true, true, true, true]);
    assert_eq!(report["3 MiB"], true);
    assert_eq!(report["of a stream"], eight);
    assert_eq!(report["both ways"], eight);
    assert_eq!(report["then"], "still here");
    for what in ["too large", "too large in a stream"] {
        assert_eq!(report[what][0], "RESOURCE_EXHAUSTED", "{what}");
        let told = report[what][1].as_str().expect("a message");
        assert!(told.contains("4194304"), "{what}: {told}");
    }
}

#[tokio::test]
async fn hundreds_of_calls_at_once() {
    let report = report("concurrency", json!({})).await;
    assert_eq!(
        report,
        json!({
            "one connection": true,
            "eight connections": true,
            "streams open at once": true,
            "streams ended": true,
        })
    );
}

#[tokio::test]
async fn a_client_may_wait_for_the_gateway() {
    let report = report("waiting", json!({})).await;
    let expected = json!({ "impatient": "UNAVAILABLE", "done before": false, "patient": "b" });
    assert_eq!(report, expected);
}

/// grpcio's pings are not a flood.
#[tokio::test]
async fn an_eager_clients_pings_are_answered() {
    let report = report("pings", json!({})).await;
    assert_eq!(
        report,
        json!({ "first": 1, "enough pings": true, "rest": [2], "code": "OK" })
    );
}

#[tokio::test]
async fn reflection_tells_of_what_is_mounted() {
    let left = json!({ "exclude": ["peer.calls.v1.Calls/Left"] });
    let report = ask(Peer::own_services("reflection"), left).await;
    assert_eq!(
        report,
        json!({
            "services": [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "peer.calls.v1.Calls",
            ],
            "methods": {
                "One": [false, false],
                "Many": [false, true],
                "Sum": [true, false],
                "Talk": [true, true],
                "Missing": [false, false],
            },
            "called": "told by reflection",
            "details": ["reason", "domain", "metadata"],
            "unknown": [],
        })
    );
}

#[tokio::test]
async fn reflection_answers_every_kind_of_question() {
    let report = ask(Peer::own_services("reflection_v1"), json!({})).await;
    let file = json!(["peer/calls/v1/calls.proto"]);
    assert_eq!(report["list"].as_array().map(Vec::len), Some(4));
    for question in ["file", "message", "method"] {
        assert_eq!(report[question], file, "{question}");
    }
    let told = "no extension 1 of \"google.protobuf.Any\" is known";
    assert_eq!(report["extension"], json!([5, told]));
    assert_eq!(report["numbers"], json!([]));
    let told = "no message \"peer.calls.v1.Nothing\" is known";
    assert_eq!(report["numbers of none"], json!([5, told]));
    assert_eq!(report["nothing"], json!([3, "nothing is asked"]));
}

#[tokio::test]
async fn grpcios_own_health_checks_are_answered() {
    let report = ask(Peer::own_services("health"), json!({})).await;
    assert_eq!(
        report,
        json!({
            "gateway": "SERVING",
            "service": "SERVING",
            "unknown": "NOT_FOUND",
            "watch": "SERVING",
            "client": "peer.calls.v1.Calls",
            "client of an unknown one": "UNAVAILABLE",
        })
    );
}
