//! Upstream connections of one worker: pooled, reused, opened before the peer's stream limit.
//!
//! A request is sent again, elsewhere if there is an elsewhere, only when the upstream has provably
//! not begun on it: it never left our queue, or the peer said so (REFUSED_STREAM, GOAWAY).

mod answer;
mod body;
mod connection;
mod endpoint;
mod http1;

pub use answer::AnswerBody;
pub use body::{FrameSource, UpstreamBody};

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri, header, request};
use smallvec::SmallVec;

use crate::config::model::{Upstream, UpstreamId, UpstreamProtocol};
use crate::failure::{Failure, GrpcCode, Retry};
use crate::limits::{SENDS_MAX, Timeouts};
use crate::rt::LocalExec;

use answer::Lease;
use endpoint::{Endpoint, Unreachable};

/// The pools of one worker for one generation. Not `Send`: each worker has its own.
#[derive(Debug)]
pub struct Upstreams {
    /// [`UpstreamId`] indexes it.
    pools: Box<[Rc<Pool>]>,
    exec: LocalExec,
}

/// The connections to one upstream.
#[derive(Debug)]
struct Pool {
    spec: Upstream,
    timeouts: Timeouts,
    endpoints: Box<[Rc<Endpoint>]>,
    /// Where the search for the least busy endpoint starts, so that equals take turns.
    turn: Cell<usize>,
}

/// How one sending of a request failed.
enum Unsent {
    /// Never left us, or never begun on: as good as new.
    Again(Box<Request<UpstreamBody>>, hyper::Error),
    Failed(Failure),
}

impl Upstreams {
    /// Pools without connections: those are opened by the first call.
    #[must_use]
    pub fn new(specs: &[Upstream], timeouts: &Timeouts, exec: &LocalExec) -> Rc<Self> {
        Self::build(specs, timeouts, exec.clone(), &HashMap::new())
    }

    /// The pools of the next generation. An upstream that has not changed keeps its connections.
    #[must_use]
    pub fn next(&self, specs: &[Upstream], timeouts: &Timeouts) -> Rc<Self> {
        let kept = self.pools.iter().map(|p| (&*p.spec.name, p)).collect();
        Self::build(specs, timeouts, self.exec.clone(), &kept)
    }

    fn build(
        specs: &[Upstream],
        timeouts: &Timeouts,
        exec: LocalExec,
        kept: &HashMap<&str, &Rc<Pool>>,
    ) -> Rc<Self> {
        let pools = specs
            .iter()
            .map(|spec| match kept.get(&*spec.name) {
                Some(pool) if pool.serves(spec, timeouts) => Rc::clone(pool),
                _ => Rc::new(Pool::new(spec, timeouts, &exec)),
            })
            .collect();
        Rc::new(Self { pools, exec })
    }

    /// Sends one request and waits for the head of the answer. The request's URI has path and query
    /// alone; scheme and authority are filled in (a `host` header, when there is one, takes the place
    /// of the endpoint's name). Dropping the future, or the answer's body before its end, resets the
    /// stream (`CANCEL`).
    ///
    /// # Errors
    /// No endpoint can be reached, or the connection fails before the head is there.
    pub async fn call(
        self: &Rc<Self>,
        upstream: impl Into<Option<UpstreamId>>,
        request: Request<UpstreamBody>,
    ) -> Result<Response<AnswerBody>, Failure> {
        let upstream = upstream.into();
        match upstream.and_then(|id| self.pools.get(id.0 as usize)) {
            Some(pool) => pool.call(request).await,
            None => Err(Failure::gateway(
                GrpcCode::Internal,
                "the route has no upstream",
            )),
        }
    }

    /// Requests under way to `upstream`, from this worker.
    #[must_use]
    pub fn in_flight(&self, upstream: UpstreamId) -> usize {
        self.pools
            .get(upstream.0 as usize)
            .map_or(0, |p| p.endpoints.iter().map(|e| e.in_flight()).sum())
    }
}

impl Pool {
    fn new(spec: &Upstream, timeouts: &Timeouts, exec: &LocalExec) -> Self {
        Self {
            endpoints: spec
                .endpoints
                .iter()
                .filter_map(|e| Endpoint::new(e, timeouts, exec.clone()))
                .collect(),
            spec: spec.clone(),
            timeouts: timeouts.clone(),
            turn: Cell::new(0),
        }
    }

    fn serves(&self, spec: &Upstream, timeouts: &Timeouts) -> bool {
        self.spec.endpoints == spec.endpoints
            && self.spec.protocol == spec.protocol
            && self.timeouts == *timeouts
    }

    async fn call(
        &self,
        mut request: Request<UpstreamBody>,
    ) -> Result<Response<AnswerBody>, Failure> {
        let mut sends = 0;
        let host = match self.spec.protocol {
            UpstreamProtocol::Http2 => request.headers_mut().remove(header::HOST),
            UpstreamProtocol::Http1 => None,
        };
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut requests = request.body().handle();
        loop {
            let (endpoint, lease) = self.lease().await?;
            sends += 1;
            self.address(&mut request, host.as_ref().unwrap_or(&endpoint.authority));
            match self.send(lease, request).await {
                Ok(mut answer) => {
                    answer.body_mut().ends_with_it(requests.take());
                    return Ok(answer);
                }
                Err(Unsent::Again(again, _)) if sends < SENDS_MAX => request = *again,
                Err(Unsent::Again(_, error)) => {
                    return Err(answer::unanswered(&self.spec.name, error));
                }
                Err(Unsent::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// A place on a connection to the least busy endpoint that can be reached.
    async fn lease(&self) -> Result<(Rc<Endpoint>, Lease), Failure> {
        let mut tried = SmallVec::<[usize; 4]>::new();
        let mut last: Option<Unreachable> = None;
        while let Some((at, endpoint)) = self.pick(&tried) {
            let lease = match self.spec.protocol {
                UpstreamProtocol::Http2 => endpoint.lease().await.map(Lease::Http2),
                UpstreamProtocol::Http1 => endpoint.lease_http1().await.map(Lease::Http1),
            };
            match lease {
                Ok(lease) => return Ok((Rc::clone(endpoint), lease)),
                Err(error) => last = Some(error),
            }
            tried.push(at);
        }
        let name = &self.spec.name;
        let mut failure = Failure::upstream(
            GrpcCode::Unavailable,
            format!("upstream {name:?} can't be reached"),
        );
        failure.retry = Retry::IfUnsent;
        Err(match last {
            Some(error) => failure.caused_by(error),
            None => failure,
        })
    }

    /// The least busy of the endpoints not in `tried`; those that back off come last.
    fn pick(&self, tried: &[usize]) -> Option<(usize, &Rc<Endpoint>)> {
        if let ([only], []) = (&*self.endpoints, tried) {
            return Some((0, only));
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = self.endpoints.len();
        (0..count)
            .map(|i| turn.wrapping_add(i) % count)
            .filter(|at| !tried.contains(at))
            .filter_map(|at| Some((at, self.endpoints.get(at)?)))
            .min_by_key(|(_, e)| (e.is_backing_off(), e.in_flight()))
    }

    /// Fills in scheme and authority, as the protocol of the upstream wants them.
    fn address(&self, request: &mut Request<UpstreamBody>, authority: &Authority) {
        if self.spec.protocol == UpstreamProtocol::Http1 {
            if !request.headers().contains_key(header::HOST)
                && let Ok(host) = authority.as_str().parse()
            {
                request.headers_mut().insert(header::HOST, host);
            }
            return;
        }
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.clone());
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        // Scheme, authority and path make a whole URI: `from_parts` refuses nothing else.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }

    async fn send(
        &self,
        lease: Lease,
        request: Request<UpstreamBody>,
    ) -> Result<Response<AnswerBody>, Unsent> {
        let copy = Copy::of(&request);
        let (sent, lease) = match lease {
            Lease::Http2(place) => (place.send(request).await, Lease::Http2(place)),
            Lease::Http1(mut place) => match place.send(request) {
                Some(answer) => (answer.await, Lease::Http1(place)),
                None => return Err(Unsent::Failed(no_sender())),
            },
        };
        let mut error = match sent {
            Ok(answer) if answer::is_too_large(answer.headers()) => {
                return Err(Unsent::Failed(answer::too_large(&self.spec.name)));
            }
            Ok(answer) => {
                let name = Arc::clone(&self.spec.name);
                return Ok(answer.map(|body| AnswerBody::new(body, name, lease)));
            }
            Err(error) => error,
        };
        if let Some(request) = error.take_message() {
            return Err(Unsent::Again(Box::new(request), error.into_error()));
        }
        let error = error.into_error();
        if error.is_parse() {
            return Err(Unsent::Failed(answer::unreadable(&self.spec.name, error)));
        }
        let stale = matches!(&lease, Lease::Http1(place) if place.is_reused());
        let again = copy
            .filter(|copy| answer::is_unprocessed(&error) || stale && copy.is_idempotent())
            .and_then(Copy::into_request);
        match again {
            Some(request) => Err(Unsent::Again(Box::new(request), error)),
            None => Err(Unsent::Failed(answer::unanswered(&self.spec.name, error))),
        }
    }
}

fn no_sender() -> Failure {
    Failure::gateway(GrpcCode::Internal, "a connection was used twice")
}

/// A request that can be sent once more: its body is in memory, or none of it has been sent.
struct Copy {
    head: request::Parts,
    body: UpstreamBody,
}

impl Copy {
    fn of(request: &Request<UpstreamBody>) -> Option<Self> {
        let body = request.body().same()?;
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = request.method().clone();
        head.uri = request.uri().clone();
        head.headers = request.headers().clone();
        Some(Self { head, body })
    }

    /// RFC 9110 §9.2.2.
    fn is_idempotent(&self) -> bool {
        matches!(
            self.head.method,
            Method::GET
                | Method::HEAD
                | Method::PUT
                | Method::DELETE
                | Method::OPTIONS
                | Method::TRACE
        )
    }

    fn into_request(self) -> Option<Request<UpstreamBody>> {
        let body = self.body.again()?;
        Some(Request::from_parts(self.head, body))
    }
}
