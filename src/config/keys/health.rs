//! Keys of the questions that an upstream's instances are asked about their health.

use std::time::Duration;

use super::{Section, Shape, key};

pub static HEALTH: Section = Section {
    name: "health",
    about: "Asks every instance how it is, and leaves out those that aren't well.",
    groups: &[&[
        key(
            "grpc",
            Shape::ChoiceOr(&["on"], &GRPC),
            "Ask by `grpc.health.v1`. An instance that doesn't know it counts as healthy.",
        ),
        key(
            "http",
            Shape::Section(&HTTP),
            "Ask by a GET request.",
        ),
        key("interval", WAIT, "Between two questions to one instance.").default("10s"),
        key(
            "timeout",
            WAIT,
            "How long connecting may take, and each answer.",
        )
        .default("2s"),
        key(
            "healthy_after",
            ROW,
            "Good answers in a row until an instance that was left out is in again. The first answer \
             of all counts by itself.",
        )
        .default("2"),
        key(
            "unhealthy_after",
            ROW,
            "Bad answers in a row, or none, until it is left out.",
        )
        .default("3"),
        key(
            "panic_percent",
            Shape::Integer { min: 0, max: 100 },
            "When a smaller share of the instances is healthy, calls go to all of them: that much \
             trouble tells of the checks. 0: never to one that isn't healthy.",
        )
        .default("50"),
    ]],
    exactly_one: &[&["grpc", "http"]],
};

const WAIT: Shape = Shape::Duration {
    min: Duration::from_millis(10),
    max: Duration::from_secs(60 * 60),
};
const ROW: Shape = Shape::Integer { min: 1, max: 100 };

pub static GRPC: Section = Section {
    name: "health_grpc",
    about: "Questions by `grpc.health.v1`.",
    groups: &[&[
        key(
            "service",
            Shape::Text,
            "The service that is asked about. Default: the server as a whole.",
        ),
        key(
            "watch",
            Shape::Bool,
            "Be told of changes at once (`Watch`), where the server can do that.",
        )
        .default("false"),
    ]],
    exactly_one: &[],
};

pub static HTTP: Section = Section {
    name: "health_http",
    about: "Questions by GET.",
    groups: &[&[
        key("path", Shape::UrlPath, "What is asked for.").required(),
        key(
            "status",
            Shape::Integer { min: 100, max: 599 },
            "The status of a good answer. Default: any of 200 to 299.",
        ),
    ]],
    exactly_one: &[],
};
