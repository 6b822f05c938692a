//! The one table of keys: what may stand in the file, in which form and range, and what it means.
//!
//! Unknown-key errors, required keys, ranges, the JSON Schema and the docs are all read from it. A key
//! is listed only once it works.

use std::time::Duration;

/// One key of a [`Section`].
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    /// A sentence or two for the schema and the docs.
    pub about: &'static str,
    /// As it would be written.
    pub default: Option<&'static str>,
    pub required: bool,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Bool,
    /// Free text, not empty.
    Text,
    Integer {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    Choice(&'static [&'static str]),
    /// `0.0.0.0:8080`
    Address,
    /// `dns:host:port`, `host:port`, `ip:port`, `[v6]:port`
    Endpoint,
    /// `api.example.com`, `*.example.com`
    Host,
    /// `x-tenant`, `x-app-*`
    Header,
    /// `10.0.0.0/8`
    Network,
    /// `gamehub.v1.*`
    ServiceGlob,
    /// `gamehub.v1.Moderation/Report`
    Rpc,
    /// `/v1/games/{game_id}`
    Template,
    /// `/legacy/`
    UrlPath,
    /// An HTTP method of one's own.
    Method,
    /// `*` or a field's name.
    Field {
        star: bool,
    },
    /// Name of an upstream.
    Upstream,
    /// A path in the file system, relative to the config file.
    Path,
    /// A list with at least one item.
    List(&'static Shape),
    Section(&'static Section),
    /// A map from names of the user's choice to sections.
    Named(&'static Section),
    /// A word, or a section with more to say.
    ChoiceOr(&'static [&'static str], &'static Section),
}

/// A map with known keys.
#[derive(Debug)]
pub struct Section {
    /// Names it in the schema's `$defs`.
    pub name: &'static str,
    pub about: &'static str,
    /// In the order of the docs; more than one where sections share keys.
    pub groups: &'static [&'static [Key]],
    /// Exactly one of these keys must be there.
    pub exactly_one: &'static [&'static str],
}

impl Section {
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key {
        name,
        shape,
        about,
        default: None,
        required: false,
    }
}

impl Key {
    const fn default(mut self, written: &'static str) -> Self {
        self.default = Some(written);
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// No wait is longer than a day.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const DURATION: Shape = Shape::Duration {
    min: Duration::from_millis(1),
    max: DURATION_MAX,
};
const MIB: u64 = 1024 * 1024;
/// A gRPC message has a length of 32 bits; a quarter of that is beyond reason already.
const BODY: Shape = Shape::Size {
    min: 1,
    max: 1024 * MIB,
};
const HEADERS: Shape = Shape::List(&Shape::Header);

/// The whole file.
pub static FILE: Section = Section {
    name: "file",
    about: "Configuration of Transom, an HTTP front door that transcodes REST/JSON to gRPC.",
    groups: &[&[
        key(
            "listeners",
            Shape::List(&Shape::Section(&LISTENER)),
            "Addresses to listen on. Each takes HTTP/1.1 and HTTP/2 without TLS.",
        )
        .required(),
        key(
            "descriptors",
            Shape::List(&Shape::Section(&DESCRIPTOR)),
            "Where the protobuf descriptors come from. All are merged into one schema.",
        ),
        key(
            "upstreams",
            Shape::Named(&UPSTREAM),
            "The services behind, by name.",
        )
        .required(),
        key(
            "routes",
            Shape::List(&Shape::Section(&ROUTE)),
            "What is served. The most specific path wins, whatever the order.",
        )
        .required(),
        key(
            "defaults",
            Shape::Section(&DEFAULTS),
            "Policy for all routes; a route's own keys win.",
        ),
        key(
            "limits",
            Shape::Section(&LIMITS),
            "What one client, request or message may take.",
        ),
        key(
            "timeouts",
            Shape::Section(&TIMEOUTS),
            "How long each stage may take.",
        ),
        key(
            "workers",
            Shape::Integer { min: 1, max: 1024 },
            "Worker threads. Default: one for each core that the process may use.",
        ),
        key(
            "trusted_proxies",
            Shape::List(&Shape::Network),
            "Peers (addresses or networks) whose X-Forwarded-* and Forwarded headers are believed.",
        ),
    ]],
    exactly_one: &[],
};

pub static LISTENER: Section = Section {
    name: "listener",
    about: "An address to listen on.",
    groups: &[&[key(
        "address",
        Shape::Address,
        "IP address and port: `0.0.0.0:8080`, `[::]:8080`. Port 0 takes any free port.",
    )
    .required()]],
    exactly_one: &[],
};

pub static DESCRIPTOR: Section = Section {
    name: "descriptor",
    about: "A source of descriptors.",
    groups: &[&[
        key(
            "protos",
            Shape::Path,
            "Folder of .proto sources, compiled at load. Imports start at this folder; google/api, \
             google/rpc, google/type and google/protobuf are built in.",
        ),
        key(
            "file",
            Shape::Path,
            "FileDescriptorSet, as protoc --descriptor_set_out --include_imports or buf build writes it.",
        ),
        key(
            "reflection",
            Shape::Upstream,
            "Upstream whose server reflection (grpc.reflection v1, then v1alpha) is asked.",
        ),
        key(
            "rules",
            Shape::Path,
            "google.api.Service YAML: each selector's rule replaces that method's annotation.",
        ),
    ]],
    exactly_one: &["protos", "file", "reflection", "rules"],
};

pub static UPSTREAM: Section = Section {
    name: "upstream",
    about: "A service behind, and where its instances are.",
    groups: &[&[
        key(
            "endpoints",
            Shape::List(&Shape::Endpoint),
            "Instances: `dns:host:port` and `host:port` use every address that the name has; \
             `10.0.0.7:3000` and `[fd00::7]:3000` are one instance each.",
        )
        .required(),
        key(
            "protocol",
            Shape::Choice(&["grpc", "http2", "http1"]),
            "What it speaks: `grpc` (the same as `http2`: HTTP/2 without TLS), or `http1` for plain \
             HTTP that is only passed on.",
        )
        .default("grpc"),
    ]],
    exactly_one: &[],
};

const TEMPLATE_ABOUT: &str = "Path template of google.api.http: `/v1/games/{game_id}`.";

/// The forms of an HTTP rule.
pub const RULE_MATCHERS: &[&str] = &["get", "put", "post", "delete", "patch", "custom"];

const RULE: &[Key] = &[
    key("get", Shape::Template, TEMPLATE_ABOUT),
    key("put", Shape::Template, TEMPLATE_ABOUT),
    key("post", Shape::Template, TEMPLATE_ABOUT),
    key("delete", Shape::Template, TEMPLATE_ABOUT),
    key("patch", Shape::Template, TEMPLATE_ABOUT),
    key(
        "custom",
        Shape::Section(&CUSTOM),
        "An HTTP rule for another method.",
    ),
    key(
        "body",
        Shape::Field { star: true },
        "Field that the request body stands for; `*` is the whole message. Default: no body.",
    ),
    key(
        "response_body",
        Shape::Field { star: false },
        "Field of the reply that is the response body. Default: the whole reply.",
    ),
];

pub static CUSTOM: Section = Section {
    name: "custom",
    about: "An HTTP method and a path template.",
    groups: &[&[
        key(
            "kind",
            Shape::Method,
            "The HTTP method: `HEAD`, `QUERY`; `*` is any.",
        )
        .required(),
        key("path", Shape::Template, TEMPLATE_ABOUT).required(),
    ]],
    exactly_one: &[],
};

pub static BINDING: Section = Section {
    name: "binding",
    about: "One more HTTP rule for the same method.",
    groups: &[RULE],
    exactly_one: RULE_MATCHERS,
};

pub static ROUTE: Section = Section {
    name: "route",
    about: "A matcher, an upstream and policy.",
    groups: &[
        &[key(
            "services",
            Shape::List(&Shape::ServiceGlob),
            "Every google.api.http annotation of these services: full names, `*` for any run of \
             characters.",
        )],
        RULE,
        &[
            key(
                "additional_bindings",
                Shape::List(&Shape::Section(&BINDING)),
                "More HTTP rules for the same method.",
            ),
            key(
                "rpc",
                Shape::Rpc,
                "The method that an HTTP rule calls: `gamehub.v1.Moderation/Report`.",
            ),
            key(
                "override",
                Shape::Bool,
                "This HTTP rule takes the place of an annotation of the same shape.",
            )
            .default("false"),
            key(
                "prefix",
                Shape::UrlPath,
                "Pass everything under this path on as it is.",
            ),
            key("path", Shape::UrlPath, "Pass this one path on as it is."),
            key(
                "hosts",
                Shape::List(&Shape::Host),
                "Only for these hosts: `api.example.com`, `*.example.com`. Default: any.",
            ),
            key("upstream", Shape::Upstream, "Where it goes.").required(),
        ],
        POLICY,
    ],
    exactly_one: &[
        "services", "get", "put", "post", "delete", "patch", "custom", "prefix", "path",
    ],
};

pub static DEFAULTS: Section = Section {
    name: "defaults",
    about: "Policy for all routes.",
    groups: &[POLICY],
    exactly_one: &[],
};

const ERROR_FORMATS: &[&str] = &["status", "aip193", "problem"];

/// Policy that means something for transcoded routes alone.
pub const TRANSCODING_POLICY: &[&str] = &[
    "json",
    "unknown_query",
    "unknown_fields",
    "ignored_query_parameters",
    "headers",
];

const POLICY: &[Key] = &[
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
        "json",
        Shape::Section(&JSON),
        "How JSON is printed and read.",
    ),
    key(
        "unknown_query",
        Shape::Choice(&["reject", "ignore"]),
        "A query parameter that names no field.",
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
];

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
    about: "Allow-lists: names, or prefixes that end in `*`.",
    groups: &[&[
        key(
            "to_metadata",
            HEADERS,
            "Request headers that go to the service as metadata.",
        ),
        key(
            "to_response",
            HEADERS,
            "Metadata of the service that goes to the client as headers.",
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
            "Between two pieces of a request body.",
        )
        .default("30s"),
        key("write_idle", DURATION, "A client that does not read.").default("30s"),
        key("connect", DURATION, "Opening a connection to an upstream.").default("5s"),
        key(
            "ping_interval",
            DURATION,
            "Between HTTP/2 pings to clients and upstreams.",
        )
        .default("30s"),
        key(
            "ping_timeout",
            DURATION,
            "Wait for the answer to such a ping.",
        )
        .default("10s"),
        key(
            "drain",
            DURATION,
            "How long exchanges may go on after a stop signal.",
        )
        .default("30s"),
    ]],
    exactly_one: &[],
};

/// `http` of a `google.api.Service`; the rest of such a file is Google's and isn't read.
pub static SERVICE_HTTP: Section = Section {
    name: "service_http",
    about: "HTTP rules of a google.api.Service.",
    groups: &[&[
        key(
            "rules",
            Shape::List(&Shape::Section(&SELECTOR_RULE)),
            "HTTP rules by selector.",
        )
        .required(),
        key(
            "fully_decode_reserved_expansion",
            Shape::Bool,
            "Whether `%2F` in a multi-segment variable is decoded; only `false` is known here.",
        ),
    ]],
    exactly_one: &[],
};

/// One of its rules.
pub static SELECTOR_RULE: Section = Section {
    name: "selector_rule",
    about: "The HTTP rule of one method.",
    groups: &[
        &[key(
            "selector",
            Shape::Text,
            "The method: `gamehub.v1.Catalogue.GetGame`.",
        )
        .required()],
        RULE,
        &[key(
            "additional_bindings",
            Shape::List(&Shape::Section(&BINDING)),
            "More HTTP rules for the same method.",
        )],
    ],
    exactly_one: RULE_MATCHERS,
};
