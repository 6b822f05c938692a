//! How a call is made: until when, whether twice does harm, and which calls belong together.

use std::hash::{BuildHasher, Hash};

use http::Method;
use http::header::COOKIE;
use http::request::Parts;

use crate::config::model::{Balance, HashOn, UpstreamId};
use crate::live::{Live, Route};
use crate::schema::StreamKind;
use crate::transcode::MethodPlan;
use crate::upstream::How;

use super::Connection;
use super::deadline::Deadline;

/// What is known of a call before it is made.
#[derive(Clone, Copy)]
pub(super) struct Aim<'a> {
    pub live: &'a Live,
    pub route: &'a Route,
    /// `None` for what is passed on as it is.
    pub plan: Option<&'a MethodPlan>,
    /// The texts of the path's variables.
    pub captures: &'a [&'a str],
    pub head: &'a Parts,
    pub connection: &'a Connection,
}

impl<'a> Aim<'a> {
    pub(super) fn how(self, deadline: Option<&Deadline>) -> How<'a> {
        let retry = self.route.policy.retry.as_deref();
        let idempotent = retry.and_then(|r| r.idempotent);
        How {
            retry,
            idempotent: idempotent.unwrap_or_else(|| self.is_idempotent()),
            until: deadline.map(Deadline::of_answer),
            hash: self.hash(),
            elsewhere: self.another_upstream().is_some(),
            hedge: self.route.policy.hedge,
            streams: self
                .plan
                .is_none_or(|p| matches!(p.stream, StreamKind::Server | StreamKind::Bidi)),
            account: Some(&self.connection.account),
        }
    }

    /// The upstream that stands in for the route's own.
    fn another_upstream(self) -> Option<UpstreamId> {
        self.route.fallback.as_ref()?.upstream
    }

    /// By the HTTP method (RFC 9110 §9.2.2), unless POST is only the protocol's way to call; or the
    /// method's own `idempotency_level` says so.
    fn is_idempotent(self) -> bool {
        let by_name = matches!(
            self.head.method,
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
        );
        by_name || self.plan.is_some_and(|p| p.idempotent)
    }

    /// The same for calls that belong together, where the upstream balances by it.
    pub(super) fn hash(self) -> Option<u64> {
        let upstream = self.live.upstreams.get(self.route.upstream?.0 as usize)?;
        if upstream.rules.balance != Balance::Hash {
            return None;
        }
        let headers = &self.head.headers;
        let found = match self.route.policy.hash_on.as_ref() {
            Some(HashOn::Header(name)) => headers.get(name).map(|v| hash_of(v.as_bytes())),
            Some(HashOn::Cookie(name)) => headers
                .get_all(COOKIE)
                .iter()
                .filter_map(|line| cookie(line.to_str().ok()?, name))
                .map(|value| hash_of(value.as_bytes()))
                .next(),
            Some(HashOn::Variable(name)) => self
                .plan
                .and_then(|p| p.path.iter().position(|binding| binding.name == *name))
                .and_then(|at| self.captures.get(at))
                .map(|text| hash_of(text.as_bytes())),
            None => None,
        };
        Some(found.unwrap_or_else(|| hash_of(self.connection.peer.ip())))
    }
}

/// The value of a cookie in one `Cookie` line (RFC 6265 §4.2).
fn cookie<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}

/// The same in every worker and process.
fn hash_of(key: impl Hash) -> u64 {
    foldhash::quality::FixedState::default().hash_one(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let line = "asid=1; sid=\"two\";sid2=3";
        assert_eq!(cookie(line, "sid"), Some("two"));
        assert_eq!(cookie(line, "sid2"), Some("3"));
        assert_eq!(cookie(line, "id"), None);
        assert_eq!(cookie("", "id"), None);
    }
}
