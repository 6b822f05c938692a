//! The connections of one worker to one upstream: where a call goes, and where it goes next.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, header};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::model::UpstreamProtocol;
use crate::failure::{Failure, GrpcCode, Retry};
use crate::limits::{CALL_TIMEOUT, OVERLOAD_RETRY_AFTER_SECONDS, SENDS_MAX, Timeouts};
use crate::rt::LocalExec;
use crate::snapshot::Generation;
use crate::telemetry::{Counted, Goal};

use super::UpstreamBody;
use super::answer::{self, AnswerBody, Lease};
use super::breaker::{Breaker, Full, Place};
use super::call::{How, Tried};
use super::copy::Copy;
use super::endpoint::Endpoint;
use super::fleet::{Member, Shared};
use super::pick::{Picked, pick};
use super::retry::{self, Budget, Course, Ending, Pushback};
use super::sending::{Ended, Sending, Unsent};
use super::trial::{Trial, code_of};
use super::unreachable::Unreachable;

/// The connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    timeouts: Timeouts,
    exec: LocalExec,
    endpoints: RefCell<Rc<[Rc<Endpoint>]>>,
    /// Open connections to any of them, and to former ones.
    open: Rc<Cell<usize>>,
    changes: RefCell<watch::Receiver<Generation>>,
    /// Takes up new sets while there are no calls, and for calls that wait.
    following: RefCell<Option<AbortHandle>>,
    breaker: Rc<Breaker>,
    budget: RefCell<Budget>,
    /// Whose turn it is, for `balance: round_robin`.
    turn: Cell<usize>,
    random: RefCell<fastrand::Rng>,
    counted: Rc<Cell<Counted>>,
}

impl Pool {
    pub(super) fn new(
        shared: &Arc<Shared>,
        workers: usize,
        timeouts: &Timeouts,
        exec: &LocalExec,
    ) -> Rc<Self> {
        let rules = &shared.spec().rules;
        let parts = u32::try_from(workers).unwrap_or(u32::MAX);
        let pool = Self {
            timeouts: timeouts.clone(),
            exec: exec.clone(),
            endpoints: RefCell::new(Rc::new([])),
            open: Rc::default(),
            changes: RefCell::new(shared.changes()),
            following: RefCell::default(),
            breaker: Breaker::new(Arc::clone(&shared.places)),
            budget: RefCell::new(Budget::new(rules.retry_budget, parts, Instant::now())),
            turn: Cell::new(0),
            random: RefCell::new(fastrand::Rng::new()),
            counted: Rc::default(),
            shared: Arc::clone(shared),
        };
        pool.take_members();
        let pool = Rc::new(pool);
        let following = exec.spawn(follow(Rc::downgrade(&pool), shared.changes()));
        pool.following.replace(Some(following.abort_handle()));
        pool
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.spec().name
    }

    pub(super) fn serves(&self, shared: &Arc<Shared>, timeouts: &Timeouts) -> bool {
        Arc::ptr_eq(&self.shared, shared) && self.timeouts == *timeouts
    }

    pub(super) fn in_flight(&self) -> usize {
        self.endpoints.borrow().iter().map(|e| e.in_flight()).sum()
    }

    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    pub(super) fn counted(&self) -> Counted {
        Counted {
            refused: self.breaker.refused(),
            ..self.counted.get()
        }
    }

    pub(super) fn count(&self, what: impl FnOnce(&mut Counted) -> &mut u64) {
        let mut counted = self.counted.get();
        let one = what(&mut counted);
        *one = one.saturating_add(1);
        self.counted.set(counted);
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// How long a connection may take to open.
    pub(super) fn connect_max(&self) -> Duration {
        self.timeouts.connect
    }

    /// A place for a sending beside another one, when there is one at once, and budget.
    pub(super) fn place_beside(&self) -> Option<Place> {
        let place = self.breaker.try_enter()?;
        if !self.budget.borrow_mut().take(Instant::now()) {
            self.count(|c| &mut c.over_budget);
            return None;
        }
        Some(place)
    }

    pub(super) fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.borrow_mut())
    }

    /// From 0 to 1.
    pub(super) fn random_share(&self) -> f64 {
        self.random(fastrand::Rng::f64)
    }

    pub(super) fn take_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// The endpoints now. One atomic is read to see whether there are others.
    pub(super) fn endpoints(&self) -> Rc<[Rc<Endpoint>]> {
        if self.changes.borrow().has_changed().unwrap_or(false) {
            self.take_members();
        }
        Rc::clone(&self.endpoints.borrow())
    }

    fn endpoint(&self, member: &Arc<Member>) -> Rc<Endpoint> {
        let exec = self.exec.clone();
        let (shared, timeouts) = (&self.shared, &self.timeouts);
        Endpoint::new(member, shared, timeouts, (&self.counted, &self.open), exec)
    }

    /// Takes up a new set of instances. Who stays keeps its connections.
    fn take_members(&self) {
        self.changes.borrow_mut().borrow_and_update();
        let members = self.shared.members();
        let before = Rc::clone(&self.endpoints.borrow());
        let next: Rc<[_]> = members
            .iter()
            .map(|member| {
                let kept = before.iter().find(|e| Arc::ptr_eq(&e.member, member));
                kept.map_or_else(|| self.endpoint(member), Rc::clone)
            })
            .collect();
        for gone in before
            .iter()
            .filter(|b| !next.iter().any(|n| Rc::ptr_eq(n, b)))
        {
            gone.retire();
        }
        self.endpoints.replace(next);
    }

    pub(super) async fn call(
        self: &Rc<Self>,
        request: &mut Option<Request<UpstreamBody>>,
        how: How<'_>,
    ) -> Result<Response<AnswerBody>, Failure> {
        if let (Some(account), Some(request)) = (how.account, &*request) {
            account.note_call();
            request.body().note_in(account);
        }
        let place = self.enter().await?;
        self.count(|c| &mut c.calls);
        self.budget.borrow_mut().request(Instant::now());
        if let Some(hedge) = how.hedge.filter(|_| how.idempotent) {
            // Boxed: few routes want it, and it would be part of every call's future.
            return Box::pin(self.hedged(request, how, hedge, place)).await;
        }
        let tried = Tried::default();
        self.attempts(request, &how, place, &tried).await
    }

    /// Sends it, and again as far as `how` allows, one after the other.
    pub(super) async fn attempts(
        self: &Rc<Self>,
        waiting: &mut Option<Request<UpstreamBody>>,
        how: &How<'_>,
        place: Place,
        tried: &Tried,
    ) -> Result<Response<AnswerBody>, Failure> {
        let Some(request) = waiting else {
            return Err(no_sender());
        };
        let host = match self.shared.spec().protocol {
            UpstreamProtocol::Http2 => request.headers_mut().remove(header::HOST),
            UpstreamProtocol::Http1 => None,
        };
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut requests = request.body().handle();
        let mut course = Course::new(how.retry.filter(|_| how.idempotent));
        loop {
            let (endpoint, lease, trial) = self.lease(tried, how).await?;
            course.sends();
            let span = Sending::begin(how.account, &self.shared, &endpoint, waiting.as_mut());
            if let Some(request) = waiting {
                self.address(request, host.as_ref().unwrap_or(endpoint.authority()));
            }
            let sent = self.send(lease, waiting, trial, how, course);
            let ended = match sent.await {
                Ok((answer, copy)) => self.answered(answer, copy, course),
                Err(Unsent::Again(again, error)) if course.goes_on(Ending::Unbegun) => {
                    self.count(|c| &mut c.resent);
                    span.void(&error);
                    *waiting = Some(*again);
                    continue;
                }
                Err(Unsent::Again(_, error)) => {
                    let failure = answer::unanswered(self.name(), error);
                    span.failed(&failure);
                    return Err(failure);
                }
                Err(Unsent::Failed(failure, copy)) => Ended {
                    copy: copy.filter(|_| {
                        failure.retry == Retry::IfIdempotent
                            && course.goes_on(Ending::Code(failure.code))
                    }),
                    pushback: Pushback::None,
                    result: Err(failure),
                },
                Err(Unsent::Late(copy)) => Ended {
                    copy: copy.filter(|_| course.goes_on(Ending::Late)),
                    pushback: Pushback::None,
                    result: Err(answer::too_late(self.name())),
                },
            };
            span.ended(&ended);
            if let Some(copy) = ended.copy
                && let Some(again) = Box::pin(self.again(copy, ended.pushback, how, course)).await
            {
                course.retries();
                *waiting = Some(again);
                continue;
            }
            let mut answer = ended.result?;
            let body = answer.body_mut();
            span.goes_on(body);
            if let Some(requests) = &requests {
                requests.begun();
            }
            body.ends_with_it(requests.take());
            if !how.streams {
                body.holds(place);
            }
            return Ok(answer);
        }
    }

    /// An answer, and the request to be sent again if its status is worth it.
    fn answered(
        &self,
        answer: Response<AnswerBody>,
        copy: Option<Copy>,
        course: Course<'_>,
    ) -> Ended {
        let code = code_of(answer.headers());
        if code == Some(GrpcCode::Unimplemented) {
            // Only methods that it has told of are called.
            self.shared.doubt();
        }
        let failed = code.filter(|code| course.goes_on(Ending::Code(*code)));
        Ended {
            copy: copy.filter(|_| failed.is_some()),
            pushback: match failed {
                Some(_) => Pushback::of(answer.headers()),
                None => Pushback::None,
            },
            result: Ok(answer),
        }
    }

    /// A place among the calls that the upstream may be given.
    async fn enter(&self) -> Result<Place, Failure> {
        let full = match self.breaker.enter().await {
            Ok(place) => return Ok(place),
            Err(full) => full,
        };
        let why = match full {
            Full::Queue => "as many calls as may wait already",
            Full::Waited => "no call ended while this one waited",
        };
        let message = format!(
            "upstream {:?} has as many calls as it may have",
            self.name()
        );
        let mut failure =
            Failure::upstream(GrpcCode::Unavailable, message).caused_by(std::io::Error::other(why));
        failure.retry = Retry::IfUnsent;
        failure.retry_after_seconds = Some(OVERLOAD_RETRY_AFTER_SECONDS);
        Err(failure)
    }

    /// The request once more, after its wait, if there is time and budget for it.
    async fn again(
        &self,
        copy: Copy,
        pushback: Pushback,
        how: &How<'_>,
        course: Course<'_>,
    ) -> Option<Request<UpstreamBody>> {
        let now = Instant::now();
        let until = how.until.unwrap_or(now + CALL_TIMEOUT);
        let wait = retry::wait(pushback, course.attempt(), self.random_share(), now, until)?;
        let request = copy.into_request()?;
        if !self.budget.borrow_mut().take(now) {
            self.count(|c| &mut c.over_budget);
            return None;
        }
        self.count(|c| &mut c.retries);
        tokio::time::sleep(wait).await;
        Some(request)
    }

    /// A place on a connection to an endpoint that can be reached, the best one not tried before.
    async fn lease(
        self: &Rc<Self>,
        tried: &Tried,
        how: &How<'_>,
    ) -> Result<(Rc<Endpoint>, Lease, Option<Trial>), Failure> {
        let mut endpoints = self.endpoints();
        if endpoints.is_empty() && self.shared.is_awaited() {
            Box::pin(self.members_come()).await;
            endpoints = self.endpoints();
        }
        let protocol = self.shared.spec().protocol;
        // All have been tried before: they may be again, each once more.
        if tried.borrow().len() >= endpoints.len() {
            tried.borrow_mut().clear();
        }
        let mut last: Option<Unreachable> = None;
        let mut moves = 0;
        loop {
            let picked = pick(&**self, &endpoints, &tried.borrow(), how.hash);
            let Some(Picked { at, probes }) = picked else {
                break;
            };
            tried.borrow_mut().push(at);
            let Some(endpoint) = endpoints.get(at) else {
                break;
            };
            // Nobody would learn from one of a lone instance, but for a limit that goes by its answers.
            let is_tried = endpoints.len() > 1 || self.shared.places.adapts();
            let mut trial = is_tried.then(|| Trial::begin(self, endpoint, how.until, probes));
            let traced = how.account.filter(|account| account.is_traced());
            let traced = traced.map(|account| (account, Instant::now()));
            let lease = match protocol {
                UpstreamProtocol::Http2 => endpoint.lease().await.map(Lease::Http2),
                UpstreamProtocol::Http1 => endpoint.lease_http1().await.map(Lease::Http1),
            };
            match lease {
                Ok(lease) => return Ok((Rc::clone(endpoint), lease, trial)),
                // Those that have come since it went are as good.
                Err(_) if endpoint.is_retired() && moves < SENDS_MAX => {
                    if let Some(trial) = &mut trial {
                        trial.void();
                    }
                    moves += 1;
                    tried.borrow_mut().clear();
                    endpoints = self.endpoints();
                }
                Err(error) => {
                    if let Some((account, begun)) = traced {
                        let goal = Goal {
                            upstream: &self.shared.spec().name,
                            endpoint: endpoint.name(),
                        };
                        account.note_unreached(goal, begun.elapsed(), &error);
                    }
                    if let Some(trial) = &mut trial {
                        // One that refuses costs its calls no time, and its back-off keeps them away
                        // while it restarts: left out, it would be missed for far longer.
                        match error.costly {
                            true => trial.failed(),
                            false => trial.void(),
                        }
                    }
                    self.shared.nudge();
                    last = Some(error);
                }
            }
        }
        let message = format!("upstream {:?} can't be reached", self.name());
        let mut failure = Failure::upstream(GrpcCode::Unavailable, message);
        failure.retry = Retry::IfUnsent;
        Err(match last.or_else(|| self.nobody()) {
            Some(error) => failure.caused_by(error),
            None => failure,
        })
    }

    /// Fills in scheme and authority, as the protocol of the upstream wants them.
    fn address(&self, request: &mut Request<UpstreamBody>, authority: &Authority) {
        if self.shared.spec().protocol == UpstreamProtocol::Http1 {
            if !request.headers().contains_key(header::HOST)
                && let Ok(host) = authority.as_str().parse()
            {
                request.headers_mut().insert(header::HOST, host);
            }
            return;
        }
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(match self.shared.spec().tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        });
        parts.authority = Some(authority.clone());
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        // Scheme, authority and path make a whole URI: `from_parts` refuses nothing else.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }

    async fn send(
        &self,
        mut lease: Lease,
        request: &mut Option<Request<UpstreamBody>>,
        trial: Option<Trial>,
        how: &How<'_>,
        course: Course<'_>,
    ) -> Result<(Response<AnswerBody>, Option<Copy>), Unsent> {
        let mut trial = Judged(trial);
        let copy = request.as_ref().and_then(Copy::of);
        let name = &self.shared.spec().name;
        let Some(sending) = request.take().and_then(|request| lease.send(request)) else {
            return Err(Unsent::Failed(no_sender(), None));
        };
        let sent = match course.per_try(how.elsewhere) {
            None => sending.await,
            Some(limit) => match Box::pin(tokio::time::timeout(limit, sending)).await {
                Ok(sent) => sent,
                Err(_) => {
                    trial.with(Trial::failed);
                    return Err(Unsent::Late(copy));
                }
            },
        };
        let mut error = match sent {
            Ok(answer) if answer::is_too_large(answer.headers()) => {
                return Err(Unsent::Failed(answer::too_large(name), None));
            }
            Ok(answer) => {
                lease.note_read();
                trial.with(|t| t.head(answer.status(), answer.headers(), how.streams));
                let body = |body| AnswerBody::new(body, Arc::clone(name), lease, trial.0);
                return Ok((answer.map(body), copy));
            }
            Err(error) => error,
        };
        if let Some(request) = error.take_message() {
            trial.with(Trial::void);
            self.shared.nudge();
            return Err(Unsent::Again(Box::new(request), error.into_error()));
        }
        let error = error.into_error();
        if error.is_parse() {
            lease.note_unreadable();
            trial.with(Trial::failed);
            return Err(Unsent::Failed(answer::unreadable(name, error), None));
        }
        if answer::is_unprocessed(&error) {
            trial.with(Trial::void);
            self.shared.nudge();
            return Err(match copy.and_then(Copy::into_request) {
                Some(request) => Unsent::Again(Box::new(request), error),
                None => Unsent::Failed(answer::unanswered(name, error), None),
            });
        }
        if lease.may_be_stale() && copy.as_ref().is_some_and(Copy::is_idempotent) {
            trial.with(Trial::void);
            return Err(match copy.and_then(Copy::into_request) {
                Some(request) => Unsent::Again(Box::new(request), error),
                None => Unsent::Failed(answer::unanswered(name, error), None),
            });
        }
        trial.with(Trial::failed);
        Err(Unsent::Failed(answer::unanswered(name, error), copy))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(following) = self.following.take() {
            following.abort();
        }
    }
}

/// Has `pool` take up each new set of instances.
async fn follow(pool: Weak<Pool>, mut changes: watch::Receiver<Generation>) {
    while changes.changed().await.is_ok() {
        match pool.upgrade() {
            Some(pool) => pool.take_members(),
            None => return,
        }
    }
}

/// A trial, where there is one.
struct Judged(Option<Trial>);

impl Judged {
    fn with(&mut self, judge: impl FnOnce(&mut Trial)) {
        if let Some(trial) = &mut self.0 {
            judge(trial);
        }
    }
}

pub(super) fn no_sender() -> Failure {
    Failure::gateway(GrpcCode::Internal, "a connection was used twice")
}
