//! Keys of an upstream, and of the policy that says when its calls are sent again.

use std::time::Duration;

use super::health::HEALTH;
use super::{DURATION, DURATION_MAX, DURATION_OR_ZERO, Section, Shape, key};

pub static UPSTREAM: Section = Section {
    name: "upstream",
    about: "A service behind, and where its instances are.",
    groups: &[&[
        key(
            "endpoints",
            Shape::List(&Shape::Endpoint),
            "Instances: `dns:host:port` and `host:port` use every address that the name has; \
             `srv:_grpc._tcp.games.internal` the targets of its SRV records; \
             `k8s:games.default:grpc` the endpoints of a Kubernetes service; \
             `10.0.0.7:3000`, `[fd00::7]:3000` and `unix:/run/games.sock` are one instance each.",
        )
        .required(),
        key(
            "protocol",
            Shape::Choice(&["grpc", "http2", "http1"]),
            "What it speaks: `grpc` (the same as `http2`), or `http1` for plain \
             HTTP that is only passed on.",
        )
        .default("grpc"),
        key(
            "tls",
            Shape::ChoiceOr(&["on", "off"], &UPSTREAM_TLS),
            "Connections are opened with TLS, and only to instances with a certificate for their name.",
        )
        .default("off"),
        key(
            "balance",
            Shape::Choice(&["best", "round_robin", "hash"]),
            "Which instance a call goes to: the best of a few taken at random, by latency and \
             calls under way; each in its turn; or the same one for the same `hash_on` of the route.",
        )
        .default("best"),
        key(
            "slow_start",
            DURATION_OR_ZERO,
            "How long an instance that is new, or back again, takes to come to its full share.",
        )
        .default("10s"),
        key(
            "load",
            Shape::Section(&LOAD),
            "What it is given at once, by the whole process; more is refused with 503.",
        ),
        key(
            "ejection",
            Shape::ChoiceOr(&["on", "off"], &EJECTION),
            "Leaves instances out whose calls fail, and tries them again later.",
        )
        .default("on"),
        key(
            "health",
            Shape::Section(&HEALTH),
            "Asks every instance how it is, and leaves out those that aren't well. Default: nobody is \
             asked.",
        ),
        key(
            "retry_budget",
            Shape::Section(&RETRY_BUDGET),
            "How many calls may be sent again.",
        ),
        key(
            "connections",
            Shape::Section(&CONNECTIONS),
            "The connections of each worker to each instance.",
        ),
    ]],
    exactly_one: &[],
};

pub static UPSTREAM_TLS: Section = Section {
    name: "upstream_tls",
    about: "TLS to an upstream.",
    groups: &[&[
        key(
            "ca",
            Shape::Path,
            "PEM file with the certificates of the authorities that are believed. Default: the system's.",
        ),
        key(
            "server_name",
            Shape::Host,
            "The name that certificates must have. Default: the endpoint's own name or address.",
        ),
        key(
            "cert",
            Shape::Path,
            "PEM file with our certificate, for upstreams that ask for one. Goes with `key`.",
        ),
        key("key", Shape::Path, "PEM file with its private key."),
    ]],
    exactly_one: &[],
};

const COUNT: Shape = Shape::Integer {
    min: 1,
    max: 1_000_000,
};
const PERCENT: Shape = Shape::Integer { min: 0, max: 100 };

pub static LOAD: Section = Section {
    name: "load",
    about: "What an upstream is given at once.",
    groups: &[&[
        key(
            "in_flight",
            COUNT,
            "Calls under way, of all workers. A stream counts until its answer begins.",
        )
        .default("1024"),
        key(
            "queue",
            Shape::Integer {
                min: 0,
                max: 1_000_000,
            },
            "Calls that wait when there are so many.",
        )
        .default("1024"),
        key("queue_wait", DURATION, "How long one waits at most.").default("1s"),
        key(
            "adaptive",
            Shape::ChoiceOr(&["on", "off"], &ADAPTIVE),
            "Whether fewer than `in_flight` are let through while answers take longer than they do \
             when nothing waits: an upstream that queues is given what it can do.",
        )
        .default("off"),
    ]],
    exactly_one: &[],
};

pub static ADAPTIVE: Section = Section {
    name: "adaptive",
    about: "How the limit on calls follows from how an upstream answers.",
    groups: &[&[
        key("min", COUNT, "Calls that are always let through.").default("8"),
        key(
            "slack_percent",
            Shape::Integer { min: 1, max: 1000 },
            "How much longer half of the answers may take than when nothing waits.",
        )
        .default("50"),
        key(
            "probe",
            Shape::Duration {
                min: Duration::from_secs(1),
                max: DURATION_MAX,
            },
            "How often it is measured what they take then, give or take a tenth: a quarter of the limit \
             is let through until twenty answers have come, for two seconds at most.",
        )
        .default("60s"),
    ]],
    exactly_one: &[],
};

pub static CONNECTIONS: Section = Section {
    name: "connections",
    about: "The connections of each worker to each instance.",
    groups: &[&[
        key(
            "max_age",
            DURATION_OR_ZERO,
            "When one is replaced, give or take a tenth: calls under way end on it, later ones go to \
             another. `0s`: never.",
        )
        .default("1h"),
        key("idle", DURATION, "When one without calls is closed.").default("5m"),
        key(
            "max",
            Shape::Integer { min: 1, max: 10_000 },
            "How many there may be. Default: 16, and 256 for `protocol: http1`.",
        ),
        key(
            "streams",
            Shape::Integer { min: 1, max: 128 },
            "Calls at once on one, when the instance allows more; then there is another.",
        )
        .default("128"),
    ]],
    exactly_one: &[],
};

pub static EJECTION: Section = Section {
    name: "ejection",
    about: "When an instance is left out for what becomes of its calls.",
    groups: &[&[
        key(
            "consecutive_failures",
            COUNT,
            "Calls without an answer, or with UNAVAILABLE, UNKNOWN, INTERNAL or DATA_LOSS (5xx for \
             plain HTTP), one after the other.",
        )
        .default("5"),
        key(
            "failure_percent",
            Shape::Integer { min: 1, max: 100 },
            "The share of such calls in a `window`.",
        )
        .default("50"),
        key(
            "min_calls",
            COUNT,
            "Calls in a `window` that the share is taken of, at least.",
        )
        .default("10"),
        key(
            "window",
            DURATION,
            "How far back calls count for the share.",
        )
        .default("10s"),
        key(
            "time",
            DURATION,
            "How long an instance is left out the first time; twice as long each further time.",
        )
        .default("10s"),
        key("time_max", DURATION, "How long it is left out at most.").default("5m"),
        key(
            "max_percent",
            PERCENT,
            "The share of instances that may be left out. One always may; the last never is.",
        )
        .default("50"),
    ]],
    exactly_one: &[],
};

pub static RETRY_BUDGET: Section = Section {
    name: "retry_budget",
    about: "How many calls may be sent again.",
    groups: &[&[
        key(
            "percent",
            Shape::Integer { min: 0, max: 1000 },
            "Retries for each hundred calls of the last seconds.",
        )
        .default("20"),
        key(
            "per_second",
            Shape::Integer {
                min: 0,
                max: 1_000_000,
            },
            "Retries in a second that are always allowed.",
        )
        .default("3"),
    ]],
    exactly_one: &[],
};

pub static RETRY: Section = Section {
    name: "retry",
    about: "When a call that failed is sent again.",
    groups: &[&[
        key(
            "attempts",
            Shape::Integer { min: 1, max: 10 },
            "Sendings of one call, with the first.",
        )
        .default("2"),
        key(
            "per_try",
            Shape::Duration {
                min: Duration::from_millis(1),
                max: super::DURATION_MAX,
            },
            "How long one sending may take when there may be another. Default: as long as the call.",
        ),
        key(
            "codes",
            Shape::List(&Shape::Choice(&[
                "UNAVAILABLE",
                "RESOURCE_EXHAUSTED",
                "ABORTED",
                "INTERNAL",
                "UNKNOWN",
                "DEADLINE_EXCEEDED",
                "CANCELLED",
                "DATA_LOSS",
            ])),
            "Failures that are worth another attempt. Default: UNAVAILABLE, and CANCELLED, which servers \
             give that are stopping.",
        ),
        key(
            "idempotent",
            Shape::Bool,
            "Whether these calls may be sent twice. Default: GET, HEAD, PUT and DELETE may, and \
             methods whose `idempotency_level` says so.",
        ),
    ]],
    exactly_one: &[],
};

pub static HEDGE: Section = Section {
    name: "hedge",
    about: "When a call goes to another instance beside the one that hasn't answered yet.",
    groups: &[&[
        key(
            "after",
            DURATION,
            "How long an instance has before the next one gets the call as well. A little more than \
             what nearly all answers take.",
        )
        .required(),
        key(
            "attempts",
            Shape::Integer { min: 2, max: 5 },
            "Sendings of one call, with the first.",
        )
        .default("2"),
    ]],
    exactly_one: &[],
};

pub static HASH_ON: Section = Section {
    name: "hash_on",
    about: "What keeps requests at one instance of an upstream with `balance: hash`.",
    groups: &[&[
        key("header", Shape::Header, "The value of this header."),
        key("cookie", Shape::Text, "The value of this cookie."),
        key(
            "variable",
            Shape::Text,
            "The text of this variable of the route's path.",
        ),
    ]],
    exactly_one: &[&["header", "cookie", "variable"]],
};
