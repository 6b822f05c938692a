//! Keys of the file itself, its listeners, descriptors and upstreams.

use std::time::Duration;

use super::{
    ACME, DEFAULTS, DURATION_MAX, DURATION_OR_ZERO, LIMITS, LISTENER, LOG, ROUTE, Section, Shape,
    TIMEOUTS, TRACE, UPSTREAM, key,
};

/// The whole file.
pub static FILE: Section = Section {
    name: "file",
    about: "Configuration of Transom, an HTTP front door that transcodes REST/JSON to gRPC.",
    groups: &[&[
        key(
            "listeners",
            Shape::List(&Shape::Section(&LISTENER)),
            "Addresses to listen on. Each takes HTTP/1.1 and HTTP/2, with TLS or without.",
        )
        .required(),
        key(
            "acme",
            Shape::Named(&ACME),
            "Authorities (RFC 8555) that listeners' certificates come from, by names of your own.",
        ),
        key(
            "descriptors",
            Shape::List(&Shape::Section(&DESCRIPTOR)),
            "Where the protobuf descriptors come from. All are merged into one schema.",
        ),
        key(
            "upstreams",
            Shape::Named(&UPSTREAM),
            "The services behind, by name. A front door of files alone has none.",
        ),
        key(
            "dns",
            Shape::Section(&DNS),
            "Who is asked for the names of upstreams. Default: the system's name servers.",
        ),
        key(
            "kubernetes",
            Shape::Section(&KUBERNETES),
            "Where endpoints with `k8s:` are looked for. Default: the cluster that this process is in.",
        ),
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
            "admin",
            Shape::Section(&ADMIN),
            "An address for operators: probes, metrics, views, and the reload. Default: none.",
        ),
        key(
            "probes",
            Shape::Section(&PROBES),
            "An address for the kubelet and Prometheus alone: /livez, /readyz and /metrics. Default: none.",
        ),
        key(
            "reload",
            Shape::Section(&RELOAD),
            "When config and descriptors are read again while requests are served.",
        ),
        key(
            "log",
            Shape::Section(&LOG),
            "What the program tells of itself, and of requests.",
        ),
        key(
            "trace",
            Shape::Section(&TRACE),
            "Traces of requests, exported by OTLP. Default: none, unless OTEL_* variables ask for them. \
             Changes take a restart.",
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
        key(
            "server_reflection",
            Shape::Bool,
            "Answer grpc.reflection (v1 and v1alpha) for the services that are mounted, with the \
             descriptors that they need: for grpcurl and the like.",
        )
        .default("false"),
    ]],
    exactly_one: &[],
};

pub static KUBERNETES: Section = Section {
    name: "kubernetes",
    about: "The API server that knows of Kubernetes services.",
    groups: &[&[
        key(
            "server",
            Shape::Text,
            "Its URL, `https://10.0.0.1:6443`, or `http://127.0.0.1:8001` of `kubectl proxy`. \
             Default: that of the cluster that this process is in.",
        ),
        key(
            "token",
            Shape::Path,
            "A file with a bearer token, read for each question. Default: the service account's, \
             or none with `server`.",
        ),
        key(
            "ca",
            Shape::Path,
            "PEM file with the authorities of the server. Default: the service account's, or the \
             system's with `server`.",
        ),
        key(
            "namespace",
            Shape::Text,
            "Of services that are written without one. Default: the pod's own, or `default`.",
        ),
    ]],
    exactly_one: &[],
};

pub static DNS: Section = Section {
    name: "dns",
    about: "Who is asked for the names of upstreams.",
    groups: &[&[key(
        "servers",
        Shape::List(&Shape::Address),
        "Name servers, by address and port: `10.0.0.2:53`, or `127.0.0.1:8600` for Consul.",
    )
    .required()]],
    exactly_one: &[],
};

pub static ADMIN: Section = Section {
    name: "admin",
    about: "An address for operators. Whoever reaches it may read the routes and begin a reload.",
    groups: &[&[
        key(
            "address",
            Shape::Address,
            "IP address and port, best of the loopback interface: `127.0.0.1:9901`.",
        )
        .required(),
        key(
            "token",
            Shape::Text,
            "Who asks must send `Authorization: Bearer TOKEN`, but for /livez and /readyz. Best from \
             the environment: ${ADMIN_TOKEN}. Default: none.",
        ),
    ]],
    exactly_one: &[],
};

pub static PROBES: Section = Section {
    name: "probes",
    about: "An address for probes and Prometheus.",
    groups: &[&[key(
        "address",
        Shape::Address,
        "IP address and port: `0.0.0.0:9902`.",
    )
    .required()]],
    exactly_one: &[],
};

pub static RELOAD: Section = Section {
    name: "reload",
    about: "When config and descriptors are read again. SIGHUP always does.",
    groups: &[&[
        key(
            "watch",
            Shape::Bool,
            "When the config file, .proto folders, descriptor sets or rules files change.",
        )
        .default("true"),
        key(
            "poll",
            Shape::Duration {
                min: Duration::from_millis(100),
                max: DURATION_MAX,
            },
            "How often they are looked at where the system doesn't tell of changes (network file \
             systems).",
        )
        .default("10s"),
        key(
            "reflection",
            DURATION_OR_ZERO,
            "How often upstreams are asked for their descriptors again; `0s` is only at the start.",
        )
        .default("30s"),
        key(
            "policy",
            Shape::Choice(&["warn", "apply", "refuse_breaking"]),
            "Changes that break callers (a rule or field that is gone, another type): taken up and \
             reported, taken up, or refused.",
        )
        .default("warn"),
        key(
            "keep",
            Shape::Path,
            "A folder of the gateway's own, in which it keeps what reflection told last: served from when \
             an upstream is down at the start, and read by `transom check`. Default: none.",
        ),
    ]],
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
    exactly_one: &[&["protos", "file", "reflection", "rules"]],
};
