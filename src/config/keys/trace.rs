//! Keys of `trace`.

use super::{Section, Shape, key};

pub static TRACE: Section = Section {
    name: "trace",
    about: "Traces of requests, exported by OTLP. The OTEL_* variables of OpenTelemetry are heeded as \
            well, and win.",
    groups: &[&[
        key(
            "endpoint",
            Shape::Text,
            "The collector: http://collector:4318 or https://…; /v1/traces is put to it for http. \
             Default: http://localhost:4318, or 4317 for grpc.",
        ),
        key(
            "protocol",
            Shape::Choice(&["http/protobuf", "grpc"]),
            "How it is spoken to. Default: grpc for port 4317, else http/protobuf.",
        ),
        key(
            "sample",
            Shape::Share,
            "The share of traces that begin here which are taken: 1 is all. Whoever has begun a trace \
             decides for it.",
        )
        .default("1"),
        key(
            "headers",
            Shape::HeaderValues,
            "Sent to the collector with each export, such as a key of its own.",
        ),
    ]],
    exactly_one: &[],
};
