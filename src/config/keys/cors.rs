//! Keys of `cors`.

use super::{DURATION_MAX, Section, Shape, key};
use std::time::Duration;

const HEADERS: Shape = Shape::List(&Shape::CorsHeader);

pub static CORS: Section = Section {
    name: "cors",
    about: "Which pages of other origins may read replies, and how.",
    groups: &[&[
        key(
            "origins",
            Shape::List(&Shape::Origin),
            "`https://www.example.com`, `https://*.example.com` (any depth), `http://localhost:*`, or \
             `*` alone.",
        ),
        key(
            "credentials",
            Shape::Bool,
            "Let browsers send cookies along; not with `*`. Default: false.",
        ),
        key(
            "max_age",
            Shape::Duration {
                min: Duration::ZERO,
                max: DURATION_MAX,
            },
            "How long browsers may keep a preflight. Default: 2h, the most that Chrome takes.",
        ),
        key(
            "allow_headers",
            HEADERS,
            "Request headers beside those of REST, Connect and gRPC-Web: names, prefixes, or `*`.",
        ),
        key(
            "expose_headers",
            HEADERS,
            "Response headers beside those of the protocols: names, prefixes, or `*`.",
        ),
        key(
            "private_network",
            Shape::Bool,
            "Let public pages ask this server in a private network. Default: false.",
        ),
    ]],
    exactly_one: &[],
};
