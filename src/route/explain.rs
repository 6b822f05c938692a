//! Why a rule won, and why the ones near it lost.

use std::sync::Arc;

use http::Method;

use super::table::Table;
use super::{RawPath, RouteId};

/// One rule that `explain` looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    pub route: RouteId,
    /// `GET /v1/games/{game_id}`
    pub rule: Box<str>,
    pub place: Arc<str>,
    pub verdict: Verdict,
}

/// Why a rule won or lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wins,
    /// It matches, but this one is more specific, from this segment on.
    LessSpecific {
        than: RouteId,
        segment: usize,
    },
    WrongMethod {
        accepts: Box<str>,
    },
    WrongHost,
    /// The path differs first in this segment (0-based): what the rule wants, what the request has.
    Differs {
        segment: usize,
        wants: Box<str>,
        has: Box<str>,
    },
    /// Same literals, but the path is longer or shorter, or has no such verb.
    Shape {
        why: Box<str>,
    },
}

impl Table {
    /// Every rule that was near, best first, with why it lost (for `transom explain`).
    #[must_use]
    pub fn explain(&self, _host: &str, _method: &Method, _path: &RawPath<'_>) -> Vec<Considered> {
        Vec::new()
    }
}
