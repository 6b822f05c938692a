//! Keys of routes that pass nothing on, and of headers.

use std::time::Duration;

use super::{MIB, Section, Shape, key};

pub static FILES: Section = Section {
    name: "files",
    about: "Files of a folder.",
    groups: &[&[
        key(
            "root",
            Shape::Path,
            "The folder; relative to this file's own.",
        )
        .required(),
        key(
            "index",
            Shape::Text,
            "The file that stands for a folder. Default: index.html.",
        ),
        key(
            "spa",
            Shape::Text,
            "A page below `root` for whatever a browser navigates to that is no file: the \
             application routes it. Requests for scripts, data or a name with an extension get 404.",
        ),
        key(
            "precompressed",
            Shape::Bool,
            "Send x.js.br, x.js.zst or x.js.gz in place of x.js to clients that take it.",
        )
        .default("true"),
        key(
            "hashed",
            Shape::Bool,
            "Let clients keep files with a hash in their name (app-4f9a02c1.js) for a year.",
        )
        .default("true"),
        key(
            "immutable",
            Shape::List(&Shape::Text),
            "Paths below `root` whose files never change: assets/.",
        ),
    ]],
    exactly_one: &[],
};

pub static REDIRECT: Section = Section {
    name: "redirect",
    about: "Sends the client elsewhere; its query goes along.",
    groups: &[&[
        key(
            "to",
            Shape::Text,
            "A URL or a path. {rest} is what follows the prefix, {path} the whole path, {host} the \
             host that was asked for.",
        )
        .required(),
        key(
            "code",
            Shape::Integer { min: 301, max: 308 },
            "301, 302, 303, 307 or 308. 307 and 308 keep method and body; clients remember 301 and \
             308. Default: 307.",
        ),
    ]],
    exactly_one: &[],
};

pub static RESPOND: Section = Section {
    name: "respond",
    about: "The same reply to every request.",
    groups: &[&[
        key(
            "status",
            Shape::Integer { min: 200, max: 599 },
            "HTTP status. Default: 200.",
        ),
        key("body", Shape::Text, "Default: no body."),
        key(
            "content_type",
            Shape::Text,
            "Default: text/plain; charset=utf-8.",
        ),
        key("headers", Shape::HeaderValues, "More headers."),
    ]],
    exactly_one: &[],
};

pub static FALLBACK: Section = Section {
    name: "fallback",
    about: "What stands in for an upstream that can't be reached, is full, or gives no answer in time, \
            tried in this order. gRPC, gRPC-Web and Connect clients are told of the failure.",
    groups: &[&[
        key(
            "upstream",
            Shape::Upstream,
            "Asked in its place: what never left, and else what may be sent twice (GET and the like; of \
             a `prefix` or `path`, requests without a body).",
        ),
        key(
            "stale",
            Shape::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(30 * 24 * 60 * 60),
            },
            "Copies of the last good answers to GET, up to this age, with Age and Cache-Status. What \
             Cache-Control forbids is not kept, nor what is a client's own.",
        ),
        key(
            "respond",
            Shape::Section(&RESPOND),
            "The same reply each time.",
        ),
    ]],
    exactly_one: &[],
};

pub static HEADER_RULES: Section = Section {
    name: "header_rules",
    about: "What is done to headers: first removed, then set.",
    groups: &[&[
        key(
            "set",
            Shape::HeaderValues,
            "Header names and values, in place of what is there.",
        ),
        key(
            "remove",
            Shape::List(&Shape::Header),
            "Names, or prefixes that end in `*`.",
        ),
    ]],
    exactly_one: &[],
};

pub static SECURITY_HEADERS: Section = Section {
    name: "security_headers",
    about: "Headers that tell browsers what not to do. An upstream's own are kept.",
    groups: &[&[
        key(
            "frame_options",
            Shape::Choice(&["deny", "sameorigin", "off"]),
            "Who may show the page in a frame. Default: sameorigin.",
        ),
        key(
            "referrer_policy",
            Shape::Choice(&[
                "no-referrer",
                "same-origin",
                "strict-origin",
                "strict-origin-when-cross-origin",
                "off",
            ]),
            "What links tell of the page. Default: strict-origin-when-cross-origin.",
        ),
        key(
            "opener_policy",
            Shape::Choice(&["same-origin", "same-origin-allow-popups", "off"]),
            "Who keeps a handle on the window. Default: same-origin.",
        ),
        key(
            "content_security_policy",
            Shape::Text,
            "Where a page may load from; it depends on the pages. Default: none.",
        ),
        key(
            "permissions_policy",
            Shape::Text,
            "Which features a page may use. Default: none.",
        ),
        key(
            "hsts",
            Shape::Section(&HSTS),
            "Strict-Transport-Security, on connections with TLS: browsers use https alone from then on. \
             There is no way back before its time is over. Default: none.",
        ),
    ]],
    exactly_one: &[],
};

pub static HSTS: Section = Section {
    name: "hsts",
    about: "For how long browsers use https alone.",
    groups: &[&[
        key(
            "max_age",
            Shape::Duration {
                min: Duration::ZERO,
                max: Duration::from_secs(10 * 366 * 24 * 60 * 60),
            },
            "`1440h` is 60 days; `0s` tells browsers to forget.",
        )
        .required(),
        key(
            "include_subdomains",
            Shape::Bool,
            "For all names below as well, whoever serves them.",
        )
        .default("false"),
        key(
            "preload",
            Shape::Bool,
            "Consent to the lists that browsers come with.",
        )
        .default("false"),
    ]],
    exactly_one: &[],
};

pub static COMPRESSION: Section = Section {
    name: "compression",
    about: "Replies in br, zstd or gzip, as the client likes best.",
    groups: &[&[
        key(
            "min_size",
            Shape::Size { min: 1, max: MIB },
            "Shorter replies are sent as they are. Default: 1KiB.",
        ),
        key(
            "effort",
            Shape::Choice(&["fast", "balanced", "small"]),
            "Time against size. Default: balanced.",
        ),
    ]],
    exactly_one: &[],
};
