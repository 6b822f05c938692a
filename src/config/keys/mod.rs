//! The one table of keys: what may stand in the file, in which form and range, and what it means.
//!
//! Unknown-key errors, required keys, ranges, the JSON Schema and the docs are all read from it. A key
//! is listed only once it works.

mod acme;
mod bounds;
mod cors;
mod file;
mod health;
mod listener;
mod log;
mod policy;
mod replies;
mod rules;
mod site;
mod trace;
mod upstream;

use std::time::Duration;

pub use acme::ACME;
pub use bounds::{LIMITS, TIMEOUTS};
pub use file::{DESCRIPTOR, FILE};
pub use health::HEALTH;
pub use listener::LISTENER;
pub use log::LOG;
pub use policy::{DEFAULTS, ERRORS, FORWARDED_HEADERS, JSON, ROUTE_LIMITS, TRANSCODING_POLICY};
pub use rules::{BINDING, CUSTOM, ROUTE, RULE_MATCHERS, SELECTOR_RULE, SERVICE_HTTP};
pub use trace::TRACE;
pub use upstream::{HASH_ON, HEDGE, RETRY, UPSTREAM};

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
    /// A number from 0 to 1.
    Share,
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
    /// `x-app-*`, `*`
    CorsHeader,
    /// `https://*.example.com`, `*`
    Origin,
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
    /// A map from header names to values.
    HeaderValues,
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
    /// Of each of these sets exactly one key must be there.
    pub exactly_one: &'static [&'static [&'static str]],
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
/// For waits that `0s` turns off.
const DURATION_OR_ZERO: Shape = Shape::Duration {
    min: Duration::ZERO,
    max: DURATION_MAX,
};
const MIB: u64 = 1024 * 1024;
/// A gRPC message has a length of 32 bits; a quarter of that is beyond reason already.
const BODY: Shape = Shape::Size {
    min: 1,
    max: 1024 * MIB,
};
