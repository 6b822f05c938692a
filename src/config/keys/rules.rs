//! Keys of routes: HTTP rules, as `google.api.http` names them, and what else a route can be.

use super::policy::POLICY;
use super::replies::REST_POLICY;
use super::site::{FALLBACK, FILES, REDIRECT, RESPOND};
use super::{Key, Section, Shape, key};

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
    exactly_one: &[RULE_MATCHERS],
};

pub static ROUTE: Section = Section {
    name: "route",
    about: "A matcher, where it goes, and policy.",
    groups: &[
        &[
            key(
                "services",
                Shape::List(&Shape::ServiceGlob),
                "Every google.api.http annotation of these services: full names, `*` for any run of \
             characters.",
            ),
            key(
                "exclude",
                Shape::List(&Shape::Rpc),
                "Methods of these services that get no routes here: `gamehub.v1.Moderation/Report`.",
            ),
        ],
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
                "location",
                Shape::Template,
                "The Location of replies, filled from their fields: `/v1/items/{id}`, or `/v1/{name=**}` \
                 to keep slashes. Left out where a field is not set.",
            ),
            key(
                "prefix",
                Shape::UrlPath,
                "Everything under this path, whatever the method.",
            ),
            key(
                "path",
                Shape::UrlPath,
                "This one path, whatever the method.",
            ),
            key(
                "hosts",
                Shape::List(&Shape::Host),
                "Only for these hosts: `api.example.com`, `*.example.com`. Default: any.",
            ),
            key("upstream", Shape::Upstream, "Where it goes."),
            key(
                "fallback",
                Shape::Section(&FALLBACK),
                "What stands in for an upstream that can't answer.",
            ),
            key(
                "rewrite",
                Shape::UrlPath,
                "What an upstream sees in place of the `prefix` or `path`: `/` strips it.",
            ),
            key(
                "files",
                Shape::Section(&FILES),
                "Answers with files of a folder.",
            ),
            key(
                "redirect",
                Shape::Section(&REDIRECT),
                "Sends the client elsewhere.",
            ),
            key(
                "respond",
                Shape::Section(&RESPOND),
                "Answers the same each time.",
            ),
        ],
        POLICY,
        REST_POLICY,
    ],
    exactly_one: &[
        &[
            "services", "get", "put", "post", "delete", "patch", "custom", "prefix", "path",
        ],
        &["upstream", "files", "redirect", "respond"],
    ],
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
    exactly_one: &[RULE_MATCHERS],
};
