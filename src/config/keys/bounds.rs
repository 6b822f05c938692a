//! Keys of `limits` and `timeouts`.

use super::{BODY, DURATION, DURATION_OR_ZERO, MIB, Section, Shape, key};

pub static LIMITS: Section = Section {
    name: "limits",
    about: "What one client, request or message may take.",
    groups: &[&[
        key(
            "headers",
            Shape::Size {
                min: 8 * 1024,
                max: MIB,
            },
            "Request line and headers of one request.",
        )
        .default("32KiB"),
        key(
            "header_count",
            Shape::Integer { min: 10, max: 1000 },
            "Header fields of one request.",
        )
        .default("100"),
        key(
            "uri",
            Shape::Size {
                min: 64,
                max: 63 * 1024,
            },
            "Path and query of one request.",
        )
        .default("16KiB"),
        key(
            "body",
            BODY,
            "Body of one unary request, or one message of a stream, as the client sends it.",
        )
        .default("4MiB"),
        key(
            "message",
            BODY,
            "One encoded message to a service: JSON may grow when it is encoded.",
        )
        .default("4MiB"),
        key("reply", BODY, "One message from a service.").default("16MiB"),
        key(
            "query_parameters",
            Shape::Integer {
                min: 1,
                max: 100_000,
            },
            "Query parameters of one request.",
        )
        .default("1000"),
        key(
            "depth",
            Shape::Integer { min: 1, max: 100 },
            "Nesting of JSON and of messages; protobuf decoders stop at 100.",
        )
        .default("100"),
        key(
            "connections",
            Shape::Integer {
                min: 1,
                max: 10_000_000,
            },
            "Open client connections of the process.",
        )
        .default("20000"),
        key(
            "connections_per_ip",
            Shape::Integer {
                min: 1,
                max: 10_000_000,
            },
            "Open client connections of one address.",
        )
        .default("512"),
        key(
            "streams",
            Shape::Integer {
                min: 1,
                max: 100_000,
            },
            "Concurrent HTTP/2 streams of one client connection.",
        )
        .default("100"),
        key(
            "accept_rate",
            Shape::Integer {
                min: 1,
                max: 10_000_000,
            },
            "Connections accepted in a second; the others wait in the kernel's queue.",
        )
        .default("10000"),
        key(
            "body_rate",
            Shape::Size { min: 1, max: MIB },
            "What a request body must bring in a second, averaged over timeouts.body_idle. gRPC calls \
             that are passed on are exempt.",
        )
        .default("100B"),
        key(
            "control_frames",
            Shape::Integer {
                min: 100,
                max: 10_000_000,
            },
            "HTTP/2 frames without content (pings, settings, resets) of one client connection in a \
             minute, beside those that replies give reason for; also pings, pongs and empty messages \
             of a WebSocket.",
        )
        .default("1000"),
        key(
            "compressors",
            Shape::Integer {
                min: 1,
                max: 1_000_000,
            },
            "Replies that one worker compresses at once; more go out as they are.",
        )
        .default("256"),
        key(
            "health_watches",
            Shape::Integer {
                min: 1,
                max: 1_000_000,
            },
            "Calls of grpc.health.v1.Health/Watch that one worker keeps open; more are refused.",
        )
        .default("1000"),
        key(
            "kept_replies",
            BODY,
            "What is kept of the replies to an HTTP/1.1 client that streams requests and doesn't read. \
             When nothing has moved for half of timeouts.write_idle, its call ends.",
        )
        .default("1MiB"),
        key(
            "stale_copies",
            Shape::Size {
                min: MIB,
                max: 64 * 1024 * MIB,
            },
            "Memory for copies of answers that routes with `fallback: { stale: … }` keep, of the whole \
             process; the oldest give way. One answer may take a thirty-second of it.",
        )
        .default("64MiB"),
        key(
            "held",
            Shape::Size {
                min: MIB,
                max: 1024 * 1024 * MIB,
            },
            "Memory for bodies and messages that are held whole, of the whole process: three quarters \
             for requests, which get 503 beyond that, and the rest for answers. Never more than half of \
             the process's memory, where that has a limit.",
        )
        .default("512MiB"),
        key(
            "memory",
            Shape::Section(&MEMORY),
            "What is done when the process runs out of memory.",
        ),
    ]],
    exactly_one: &[],
};

pub static MEMORY: Section = Section {
    name: "memory",
    about: "What is done as the memory in use comes near its limit, so that the kernel doesn't end the \
            process.",
    groups: &[&[
        key("guard", Shape::Bool, "Whether anything is done.").default("true"),
        key(
            "limit",
            Shape::Size {
                min: MIB,
                max: 1024 * 1024 * MIB,
            },
            "Memory of the process. Default: the limit of its cgroup (a pod's); without one nothing is \
             guarded.",
        ),
        key(
            "spare",
            Shape::Share,
            "The share of the limit from which on HTTP/1.1 connections end with their reply.",
        )
        .default("0.9"),
        key(
            "shed",
            Shape::Share,
            "From which on requests are refused, with 503 and Retry-After.",
        )
        .default("0.95"),
        key(
            "refuse",
            Shape::Share,
            "From which on new connections are closed.",
        )
        .default("0.98"),
    ]],
    exactly_one: &[],
};

pub static TIMEOUTS: Section = Section {
    name: "timeouts",
    about: "How long each stage may take.",
    groups: &[&[
        key(
            "headers",
            DURATION,
            "From a request's first byte (or the connection's start) to the end of its headers.",
        )
        .default("10s"),
        key(
            "keep_alive",
            DURATION,
            "A connection with nothing to do. Longer than the load balancer's in front.",
        )
        .default("75s"),
        key(
            "body_idle",
            DURATION,
            "Between two pieces of a request body, or of a WebSocket's message.",
        )
        .default("30s"),
        key("write_idle", DURATION, "A client that does not read.").default("30s"),
        key(
            "handshake",
            DURATION,
            "TLS with a client, and the PROXY header before it.",
        )
        .default("10s"),
        key("connect", DURATION, "Opening a connection to an upstream.").default("5s"),
        key(
            "ping_interval",
            DURATION,
            "Quiet time before a keep-alive probe: an HTTP/2 or WebSocket ping to a client, a TCP probe to an upstream.",
        )
        .default("30s"),
        key(
            "ping_timeout",
            DURATION,
            "Wait for the answer to such a probe. Also how long calls may wait on an upstream's connection \
             that nothing comes from until it gets no more of them.",
        )
        .default("10s"),
        key(
            "max_age",
            DURATION,
            "Age at which a client connection takes no more requests, give or take a tenth.",
        )
        .default("1h"),
        key(
            "drain_delay",
            DURATION_OR_ZERO,
            "How long connections are accepted still after SIGTERM, while load balancers learn that the \
             process is not ready; replies ask clients to connect anew. Zero: not at all.",
        )
        .default("5s"),
        key(
            "drain",
            DURATION,
            "How long exchanges may go on after that. WebSockets are closed with 1001 a little before.",
        )
        .default("20s"),
    ]],
    exactly_one: &[],
};
