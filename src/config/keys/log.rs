//! Keys of `log`.

use super::{Section, Shape, key};

const FORMATS: Shape = Shape::Choice(&["auto", "pretty", "json", "gcp", "ecs"]);

pub static LOG: Section = Section {
    name: "log",
    about: "What the program tells of itself, on stderr, and of every request.",
    groups: &[&[
        key(
            "level",
            Shape::Choice(&["error", "warn", "info", "debug", "trace"]),
            "What the program tells of itself: this and worse. A reload takes it up; so does POST \
             /log-level of the admin address, until then. TRANSOM_LOG in the environment wins.",
        )
        .default("info"),
        key(
            "format",
            FORMATS,
            "How it does: for people (`auto` and `pretty`), or as JSON of a kind. Changes take a restart.",
        )
        .default("auto"),
        key(
            "access",
            Shape::Section(&ACCESS),
            "One line for each request. Default: none.",
        ),
    ]],
    exactly_one: &[],
};

pub static ACCESS: Section = Section {
    name: "access_log",
    about: "One line for each request, at its end: what was asked, where it went, what failed and \
            whose fault it was. Written apart from the requests: when the output can't keep up, lines \
            are dropped and counted.",
    groups: &[&[
        key(
            "format",
            FORMATS,
            "pretty (for people), json, gcp (Cloud Logging), ecs (Elastic Common Schema); `auto` is \
             pretty on a terminal and json elsewhere.",
        )
        .default("auto"),
        key(
            "output",
            Shape::Path,
            "`stdout`, `stderr`, or a file that lines are added to; it may be rotated by renaming it.",
        )
        .default("stdout"),
        key(
            "sample_2xx",
            Shape::Share,
            "The share of requests that went well which have a line: 1 is all, 0.01 one of a hundred. \
             Others always have one.",
        )
        .default("1"),
        key(
            "query",
            Shape::Bool,
            "Tell the query string too: it may hold what should not be in logs.",
        )
        .default("false"),
        key(
            "project",
            Shape::Text,
            "For `gcp`: the project that traces belong to, best as ${GOOGLE_CLOUD_PROJECT}. Default: none.",
        ),
    ]],
    exactly_one: &[],
};
