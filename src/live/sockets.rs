//! Which method a WebSocket opens. Its handshake is a GET, so it stands for any method of its path.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use smallvec::SmallVec;

use crate::protocol::websocket::named_method;
use crate::route::{Lookup, RawPath};
use crate::schema::StreamKind;
use crate::transcode::MethodPlan;

use super::{Live, Route, Target};

/// Methods whose rules a handshake may stand for, in the order in which they are named to clients.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// The method that a WebSocket opens, and what of the handshake binds.
#[derive(Debug)]
pub struct SocketRoute<'l, 'p> {
    pub route: &'l Route,
    pub plan: &'l Arc<MethodPlan>,
    pub captures: SmallVec<[&'p str; 4]>,
    /// Without the choice of a method.
    pub query: Option<Cow<'p, str>>,
}

/// A path has several rules, and nothing says which is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this path has more than one method: add {0}")]
pub struct Ambiguous(String);

type Found<'l, 'p> = SmallVec<[(Method, SocketRoute<'l, 'p>); 2]>;

impl Live {
    /// The method that a WebSocket on this path opens; `None` where the path has none. `host` is
    /// without a port.
    ///
    /// # Errors
    /// The path has more than one, and the query doesn't say which.
    #[must_use]
    pub fn socket_route<'l, 'p>(
        &'l self,
        host: &str,
        path: &'p str,
        query: Option<&'p str>,
    ) -> Option<Result<SocketRoute<'l, 'p>, Ambiguous>> {
        if let Some(route) = self.rpcs.find(host, path) {
            return opens(route, SmallVec::new(), query).map(Ok);
        }
        let path = RawPath::parse(path).ok()?;
        let mut found: Found<'l, 'p> = SmallVec::new();
        for method in METHODS {
            let Lookup::Matched(matched) = self.table.lookup(host, &method, &path) else {
                continue;
            };
            let Some(route) = self.route(matched.route) else {
                continue;
            };
            let known = found.iter().any(|(_, f)| std::ptr::eq(f.route, route));
            if let (Some(opened), false) = (opens(route, matched.captures, query), known) {
                found.push((method, opened));
            }
        }
        (!found.is_empty()).then(|| choose(found, query))
    }
}

fn opens<'l, 'p>(
    route: &'l Route,
    captures: SmallVec<[&'p str; 4]>,
    query: Option<&'p str>,
) -> Option<SocketRoute<'l, 'p>> {
    let Target::Rpc(plan) = &route.target else {
        return None;
    };
    Some(SocketRoute {
        route,
        plan,
        captures,
        query: query.map(Cow::Borrowed),
    })
}

/// Of the rules of a path: the one that the query names, the one that streams, `GET`, the only one.
fn choose<'l, 'p>(
    mut found: Found<'l, 'p>,
    query: Option<&str>,
) -> Result<SocketRoute<'l, 'p>, Ambiguous> {
    // With one rule alone `method` is the message's own affair.
    let named = query.filter(|_| found.len() > 1).and_then(named_method);
    if let Some((method, rest)) = named
        && let Some(at) = found.iter().position(|(m, _)| *m == method)
    {
        let (_, mut chosen) = found.swap_remove(at);
        chosen.query = Some(rest).filter(|q| !q.is_empty()).map(Cow::Owned);
        return Ok(chosen);
    }
    let streams = |(_, f): &(Method, SocketRoute<'_, '_>)| f.plan.stream != StreamKind::Unary;
    if found.iter().any(streams) {
        found.retain(|one| streams(one));
    }
    let only = found.len() == 1;
    let at = found.iter().position(|(m, _)| only || *m == Method::GET);
    match at.map(|at| found.swap_remove(at)) {
        Some((_, chosen)) => Ok(chosen),
        None => {
            let names = found.iter().map(|(m, _)| format!("?method={m}"));
            Err(Ambiguous(names.collect::<Vec<_>>().join(" or ")))
        }
    }
}
