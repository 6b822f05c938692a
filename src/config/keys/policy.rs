//! Keys of policy, in `defaults` and in each route.

use super::cors::CORS;
use super::replies::REST_POLICY;
use super::site::{COMPRESSION, HEADER_RULES, SECURITY_HEADERS};
use super::{BODY, DURATION, DURATION_OR_ZERO, HASH_ON, HEDGE, Key, RETRY, Section, Shape, key};

const HEADERS: Shape = Shape::List(&Shape::Header);

pub static DEFAULTS: Section = Section {
    name: "defaults",
    about: "Policy for all routes.",
    groups: &[POLICY, REST_POLICY],
    exactly_one: &[],
};

const ERROR_FORMATS: &[&str] = &["status", "aip193", "problem"];

/// Policy that means something for transcoded routes alone.
pub const TRANSCODING_POLICY: &[&str] = &[
    "sse",
    "json",
    "unknown_query",
    "unknown_fields",
    "ignored_query_parameters",
    "update_mask",
    "partial_responses",
    "status",
    "form_bodies",
    "method_override",
    "compat",
];

pub const POLICY: &[Key] = &[
    key(
        "timeout",
        DURATION,
        "The whole of a unary call, and the time to the first message of a stream.",
    )
    .default("15s"),
    key(
        "stream_idle",
        DURATION,
        "How long a stream may go without a message in either direction.",
    )
    .default("5m"),
    key(
        "stream_max",
        DURATION,
        "How long a stream may live. Default: as long as it likes.",
    ),
    key(
        "retry",
        Shape::ChoiceOr(&["on", "off"], &RETRY),
        "Whether a call that failed is sent again. What never reached the service always is.",
    )
    .default("on"),
    key(
        "hedge",
        Shape::ChoiceOr(&["off"], &HEDGE),
        "Sends calls that may be sent twice to another instance when the first is slow, within the \
         `retry_budget`, and takes the first answer; the others are cancelled.",
    )
    .default("off"),
    key(
        "hash_on",
        Shape::Section(&HASH_ON),
        "What keeps requests at one instance of an upstream with `balance: hash`. Default: the \
         client's address.",
    ),
    key("sse", Shape::Section(&SSE), "Server-sent events."),
    key(
        "json",
        Shape::Section(&JSON),
        "How JSON is printed and read.",
    ),
    key(
        "unknown_query",
        Shape::Choice(&["reject", "ignore", "capture"]),
        "A query parameter that names no field; `capture` puts it into the extensions of the request's `google.api.HttpBody`, and refuses it where there is none.",
    )
    .default("reject"),
    key(
        "unknown_fields",
        Shape::Choice(&["reject", "ignore"]),
        "A JSON field that the message does not have.",
    )
    .default("reject"),
    key(
        "ignored_query_parameters",
        Shape::List(&Shape::Text),
        "Parameters to skip even when unknown ones are refused.",
    ),
    key(
        "update_mask",
        Shape::Choice(&["fill", "leave"]),
        "A field mask that a PATCH comes without: `fill` it with the fields of the JSON body, or `leave` it out.",
    )
    .default("fill"),
    key(
        "partial_responses",
        Shape::Bool,
        "Let a request choose the fields of its JSON reply: `?$fields=title,games(id,rating)`.",
    )
    .default("false"),
    key(
        "auto",
        Shape::Bool,
        "Serve every method of the route's `services` as REST too: `POST /pkg.Service/Method`, the message as JSON.",
    )
    .default("false"),
    key(
        "errors",
        Shape::ChoiceOr(ERROR_FORMATS, &ERRORS),
        "Shape of error bodies: `status` (google.rpc.Status), `aip193` or `problem` (RFC 9457).",
    )
    .default("status"),
    key(
        "headers",
        Shape::Section(&FORWARDED_HEADERS),
        "Headers and metadata that cross. Authorization, request id and trace headers always do.",
    ),
    key(
        "limits",
        Shape::Section(&ROUTE_LIMITS),
        "Sizes of what this route takes and gives.",
    ),
    key(
        "cors",
        Shape::ChoiceOr(&["off"], &CORS),
        "Lets pages of other origins read replies; preflights are answered by the gateway.",
    )
    .default("off"),
    key(
        "compression",
        Shape::ChoiceOr(&["off", "on"], &COMPRESSION),
        "Compresses replies for clients that take it: texts that aren't compressed already. Where a \
         secret and what a stranger chose stand in one reply, their lengths tell of it (BREACH).",
    )
    .default("off"),
    key(
        "security_headers",
        Shape::ChoiceOr(&["off", "on"], &SECURITY_HEADERS),
        "Headers that tell browsers what not to do: nosniff, frames, referrers, openers.",
    )
    .default("off"),
];

pub static SSE: Section = Section {
    name: "sse",
    about: "Server-sent events, for clients that accept `text/event-stream`.",
    groups: &[&[
        key(
            "heartbeat",
            DURATION_OR_ZERO,
            "A comment is sent after such a silence; 0s is never.",
        )
        .default("15s"),
        key(
            "retry",
            DURATION,
            "How long a client is told to wait before it connects again. Default: it is told nothing.",
        ),
    ]],
    exactly_one: &[],
};

pub static ERRORS: Section = Section {
    name: "errors",
    about: "Shape of error bodies, and what they may tell.",
    groups: &[&[
        key(
            "format",
            Shape::Choice(ERROR_FORMATS),
            "Shape of error bodies.",
        )
        .default("status"),
        key(
            "hide_internal",
            Shape::Bool,
            "Keep DebugInfo and the messages of INTERNAL and UNKNOWN from clients.",
        )
        .default("true"),
    ]],
    exactly_one: &[],
};

pub static JSON: Section = Section {
    name: "json",
    about: "How JSON is printed and read.",
    groups: &[&[
        key(
            "emit_defaults",
            Shape::Bool,
            "Print fields that hold their default value too.",
        )
        .default("false"),
        key(
            "emit_nulls",
            Shape::Bool,
            "Print message fields that are absent as `null`.",
        )
        .default("false"),
        key(
            "enums_as_numbers",
            Shape::Bool,
            "Print enum values as numbers.",
        )
        .default("false"),
        key(
            "proto_names",
            Shape::Bool,
            "Print `game_id` rather than `gameId`. Both are always read.",
        )
        .default("false"),
        key(
            "int64_as_numbers",
            Shape::Bool,
            "Print 64-bit integers as numbers; JavaScript loses digits past 2^53.",
        )
        .default("false"),
        key("pretty", Shape::Bool, "Print with line breaks and indents.").default("false"),
        key(
            "case_insensitive_enums",
            Shape::Bool,
            "Read `puzzle` as `PUZZLE`.",
        )
        .default("false"),
        key(
            "strip_enum_prefix",
            Shape::Bool,
            "Print `GENRE_PUZZLE` of enum `Genre` as `PUZZLE`, and read both.",
        )
        .default("false"),
    ]],
    exactly_one: &[],
};

pub static FORWARDED_HEADERS: Section = Section {
    name: "headers",
    about: "Which headers cross to and from gRPC (names, or prefixes that end in `*`), and what is done to headers of any route.",
    groups: &[&[
        key(
            "to_metadata",
            HEADERS,
            "Request headers that go to the service as metadata.",
        ),
        key(
            "rpc_metadata",
            Shape::Choice(&["all", "listed"]),
            "What clients that speak gRPC, gRPC-Web or Connect send as metadata: `all` but what is the transport's or a browser's own, or what `to_metadata` lists.",
        )
        .default("all"),
        key(
            "to_response",
            HEADERS,
            "Metadata of the service that goes to the client as headers.",
        ),
        key(
            "request",
            Shape::Section(&HEADER_RULES),
            "What is done to the headers of requests, before anything else.",
        ),
        key(
            "response",
            Shape::Section(&HEADER_RULES),
            "What is done to the headers of replies, after anything else.",
        ),
    ]],
    exactly_one: &[],
};

pub static ROUTE_LIMITS: Section = Section {
    name: "route_limits",
    about: "Sizes of what a route takes and gives.",
    groups: &[&[
        key(
            "body",
            BODY,
            "Body of one unary request, or one message of a stream. Default: `limits.body`.",
        ),
        key(
            "reply",
            BODY,
            "One message from the service. Default: `limits.reply`.",
        ),
    ]],
    exactly_one: &[],
};
