//! One socket and one call, until either ends: the client's messages go up, the service's come down,
//! and time is kept. Whatever ends it, the call is cancelled at once and the client is told why.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::{Instant, Sleep};

use crate::config::model::{Policy, UpstreamId};
use crate::failure::{Blame, Failure, GrpcCode};
use crate::limits::{CLOSE_GRACE, Timeouts};
use crate::listener::{ClientStream, Ending, count};
use crate::protocol::websocket::{Close, Format};
use crate::schema::StreamKind;
use crate::telemetry::Account;
use crate::transcode::MethodPlan;
use crate::upstream::{How, UpstreamBody};

use super::super::Current;
use super::super::call::put_timeout;
use super::super::counters::OpenSocket;
use super::super::deadline::{Deadline, after};
use super::super::messages::Messages;
use super::super::reply::{inner, note};
use super::super::rpc::waits_beside;
use super::super::stream::Rule;
use super::super::waits::Waits;
use super::down::Down;
use super::socket::{Bounds, Broken, Met, Socket};
use super::up::{Feed, Stop, Taker, Takes, Up};

/// A handshake that has been accepted: all that the call needs.
pub(super) struct Opened {
    pub(super) current: Rc<Current>,
    pub(super) upstream: Option<UpstreamId>,
    pub(super) hash: Option<u64>,
    pub(super) plan: Arc<MethodPlan>,
    pub(super) rule: Rule,
    pub(super) format: Format,
    /// Without its body.
    pub(super) request: Request<()>,
    /// The client's own.
    pub(super) timeout: Option<Duration>,
    pub(super) first: First,
    pub(super) open: OpenSocket,
    pub(super) account: Rc<Account>,
}

/// What of the requests is there before the client says anything.
pub(super) enum First {
    /// All of the only one, in its frame.
    Whole(Bytes),
    /// What path and query add to the first message.
    Part(Vec<u8>),
}

/// Serves a socket to its end.
pub(super) async fn run(opened: Opened, client: ClientStream) {
    let ending = client.ending();
    let limits = &opened.current.live.limits;
    let bounds = Bounds {
        message_bytes_max: opened.rule.policy.body_bytes_max,
        control_frames_max: limits.control_frames_max,
    };
    let mut socket = Socket::new(client, bounds).await;
    let rule = Arc::clone(&opened.rule.route);
    let policy = Arc::clone(&opened.rule.policy);
    let account = Rc::clone(&opened.account);
    let (mut session, open) = Session::new(opened, ending);
    let end = std::future::poll_fn(|cx| session.poll(cx, &mut socket)).await;
    drop(session); // the call is cancelled before the client is told
    let counters = open.counters();
    match end {
        End::Done => socket.close(Close::new(Close::DONE, "OK")).await,
        End::Left => {
            note(&left(), Some(&rule), Some(&account));
            socket.part().await;
        }
        End::Failed(failure) => {
            note(&failure, Some(&rule), Some(&account));
            counters.note(&failure);
            socket.close(Close::of(&failure, inner(&policy))).await;
        }
        End::Refused(close, met) => {
            tracing::debug!(
                code = close.code,
                reason = close.reason,
                route = &*rule,
                "WebSocket refused"
            );
            match met {
                Met::Size => count(&counters.too_large),
                Met::Flood => count(&counters.socket_floods),
                Met::None => {}
            }
            let failure = Failure::client(close.reason.to_string());
            account.note_failure(&failure);
            socket.close(close).await;
        }
        End::Stalled => {
            count(&counters.slow_messages);
            let failure = stalled();
            account.note_failure(&failure);
            socket.close(Close::of(&failure, inner(&policy))).await;
        }
        End::Dead => {
            count(&counters.sockets_dead);
            account.note_failure(&left());
        }
        End::Leaving => {
            count(&counters.sockets_ended);
            let close = Close::new(Close::LEAVING, "the gateway closes this connection");
            socket.close(close).await;
        }
    }
}

fn left() -> Failure {
    Failure::new(Blame::Client, GrpcCode::Cancelled, "the client left")
}

fn stalled() -> Failure {
    let message = "the message stopped coming";
    Failure::new(Blame::Client, GrpcCode::DeadlineExceeded, message)
}

/// How a session ended.
enum End {
    /// The call went well, and all of it is written.
    Done,
    /// The client doesn't want more, or is gone.
    Left,
    Failed(Failure),
    Refused(Close, Met),
    /// Amid a message.
    Stalled,
    /// No answer to a ping.
    Dead,
    /// The connection is to end.
    Leaving,
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(failure) => Self::Failed(failure),
            Stop::Broken(Broken::Left) => Self::Left,
            Stop::Broken(Broken::Refused(close, met)) => Self::Refused(close, met),
        }
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<Messages, Failure>>>>;

enum Call {
    /// The client's message is awaited.
    Unasked(Box<(Rc<Current>, Request<()>, Rule)>),
    Asking(Asking, Box<Rule>),
    Answering(Box<Down>),
    /// Between two of them.
    Between,
}

struct Session {
    up: Up,
    call: Call,
    waits: Waits,
    clock: Clock,
    format: Format,
    policy: Arc<Policy>,
    upstream: Option<UpstreamId>,
    hash: Option<u64>,
    timeout: Option<Duration>,
    account: Rc<Account>,
}

impl Session {
    fn new(opened: Opened, ending: Rc<Ending>) -> (Self, OpenSocket) {
        let Opened {
            current,
            upstream,
            hash,
            plan,
            rule,
            format,
            request,
            timeout,
            first,
            open,
            account,
        } = opened;
        let policy = Arc::clone(&rule.policy);
        let streams = matches!(plan.stream, StreamKind::Client | StreamKind::Bidi);
        let clock = Clock::new(&current.live.timeouts, ending);
        let message_bytes_max = current.live.limits.message_bytes_max;
        let limits = rule.limits;
        let mut session = Self {
            waits: Waits::new(policy.stream_idle, None),
            clock,
            format,
            policy,
            upstream,
            hash,
            timeout,
            account,
            up: Up {
                plan,
                format,
                limits,
                message_bytes_max,
                first: None,
                takes: Takes::One,
                begun: false,
                ended: false,
                job: None,
                held: false,
            },
            call: Call::Unasked(Box::new((current, request, rule))),
        };
        match first {
            First::Whole(frame) => {
                session.up.takes = Takes::NoMore;
                session.ask(UpstreamBody::whole(frame));
            }
            First::Part(part) => {
                session.up.first = Some(part);
                if streams {
                    let feed = Feed::new();
                    session.up.takes = Takes::Many(Rc::clone(&feed));
                    session.ask(UpstreamBody::frames(Taker(feed)));
                } else {
                    let idle = session.policy.stream_idle;
                    session.clock.first_by = Some(after(Instant::now(), idle));
                }
            }
        }
        (session, open)
    }

    /// Begins the call.
    fn ask(&mut self, body: UpstreamBody) {
        let call = std::mem::replace(&mut self.call, Call::Between);
        let Call::Unasked(unasked) = call else {
            self.call = call;
            return;
        };
        let (current, request, rule) = *unasked;
        let plan = &self.up.plan;
        let deadline = Deadline::of(Instant::now(), self.timeout, &self.policy);
        let activity = match &self.up.takes {
            Takes::Many(feed) => Some(Rc::clone(&feed.activity)),
            Takes::One | Takes::NoMore => None,
        };
        self.clock.first_by = None;
        self.waits = waits_beside(plan.stream, &self.policy, &deadline, activity);
        let mut request = request.map(|()| body);
        put_timeout(plan.stream, &deadline, request.headers_mut());
        let reply_bytes_max = self.policy.reply_bytes_max;
        let (upstream, hash) = (self.upstream, self.hash);
        let (retry, hedge) = (self.policy.retry.clone(), self.policy.hedge);
        // The handshake's GET says nothing about the method.
        let told = retry.as_ref().and_then(|r| r.idempotent);
        let idempotent = told.unwrap_or(plan.idempotent);
        let streams = matches!(plan.stream, StreamKind::Server | StreamKind::Bidi);
        let account = Rc::clone(&self.account);
        let asking = async move {
            let how = How {
                retry: retry.as_deref(),
                idempotent,
                until: None,
                hash,
                elsewhere: false,
                streams,
                account: Some(&account),
                hedge,
            };
            let answer = current.upstreams.call(upstream, request, how).await?;
            Messages::open(answer, reply_bytes_max)
        };
        self.call = Call::Asking(Box::pin(asking), Box::new(rule));
    }

    fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<End> {
        match self.poll_both(cx, socket) {
            Ok(Poll::Ready(())) => Poll::Ready(End::Done),
            Ok(Poll::Pending) => self.clock.poll(cx, socket, self.up.held),
            Err(stop) => Poll::Ready(stop.into()),
        }
    }

    fn poll_both(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Result<Poll<()>, Stop> {
        while let Poll::Ready(request) = self.up.poll(cx, socket)? {
            self.ask(UpstreamBody::whole(request));
        }
        self.poll_call(cx, socket)
    }

    fn poll_call(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Result<Poll<()>, Stop> {
        if let Call::Asking(asking, _) = &mut self.call {
            let messages = match asking.as_mut().poll(cx) {
                Poll::Ready(messages) => messages?,
                Poll::Pending => {
                    return match self.waits.poll(cx) {
                        Poll::Ready(late) => Err(late.into()),
                        Poll::Pending => Ok(Poll::Pending),
                    };
                }
            };
            if let Call::Asking(_, rule) = std::mem::replace(&mut self.call, Call::Between) {
                let stream = self.up.plan.stream;
                let single = matches!(stream, StreamKind::Unary | StreamKind::Client);
                self.call = Call::Answering(Box::new(Down {
                    rule: *rule,
                    format: self.format,
                    messages,
                    single: single.then_some(None),
                    job: None,
                    rest: None,
                    out: Vec::new(),
                    over: false,
                }));
            }
        }
        match &mut self.call {
            Call::Answering(down) => match down.poll(cx, socket, &mut self.waits) {
                Poll::Ready(done) => done.map(Poll::Ready),
                Poll::Pending => Ok(Poll::Pending),
            },
            Call::Unasked(_) | Call::Asking(..) | Call::Between => Ok(Poll::Pending),
        }
    }
}

/// The times that aren't the call's: signs of life, messages that stop midway, and the connection's end.
struct Clock {
    ping_interval: Duration,
    ping_timeout: Duration,
    body_idle: Duration,
    /// Until when the only request is to be there.
    first_by: Option<Instant>,
    last_ping: Instant,
    /// The same while it is unanswered.
    pinged: Option<Instant>,
    ending: Rc<Ending>,
    /// When the client is told of the end, worked out once.
    leave_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Clock {
    fn new(timeouts: &Timeouts, ending: Rc<Ending>) -> Self {
        Self {
            ping_interval: timeouts.ping_interval,
            ping_timeout: timeouts.ping_timeout,
            body_idle: timeouts.body_idle,
            first_by: None,
            last_ping: Instant::now(),
            pinged: None,
            ending,
            leave_at: None,
            timer: Box::pin(tokio::time::sleep(timeouts.ping_interval)),
        }
    }

    /// While `held`, the client may have said more than has been read, so no answer is missed. It is
    /// pinged all the same: writing shows that a client is gone.
    fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket, held: bool) -> Poll<End> {
        loop {
            let now = Instant::now();
            if let (None, Some(cut_at)) = (self.leave_at, self.ending.cut_at()) {
                // Half of a short time, so that something is left of it on either side.
                let left = cut_at.saturating_duration_since(now);
                self.leave_at = Some(after(now, left - CLOSE_GRACE.min(left / 2)));
            }
            let heard = socket.last_heard();
            if held || self.pinged.is_some_and(|at| at < heard) {
                self.pinged = None;
            }
            let mut due = match self.pinged {
                Some(at) => {
                    let since = socket.last_blocked().map_or(at, |blocked| blocked.max(at));
                    after(since, self.ping_timeout)
                }
                None => after(heard.max(self.last_ping), self.ping_interval),
            };
            if due <= now {
                if self.pinged.is_some() {
                    return Poll::Ready(End::Dead);
                }
                if socket.ping().is_err() {
                    return Poll::Ready(End::Left);
                }
                // What can't be written now is written with the next piece.
                if let Poll::Ready(Err(_)) = socket.poll_flush(cx) {
                    return Poll::Ready(End::Left);
                }
                self.last_ping = now;
                self.pinged = Some(now);
                continue;
            }
            let amid = (socket.is_amid() && !held).then(|| after(heard, self.body_idle));
            for (at, end) in [
                (self.leave_at, (|| End::Leaving) as fn() -> End),
                (amid, || End::Stalled),
                (self.first_by, || End::Failed(no_request())),
            ] {
                match at {
                    Some(at) if at <= now => return Poll::Ready(end()),
                    Some(at) => due = due.min(at),
                    None => {}
                }
            }
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
        }
    }
}

fn no_request() -> Failure {
    let message = "the request message didn't come in time";
    Failure::new(Blame::Client, GrpcCode::DeadlineExceeded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// One for each open socket, and most of them wait.
    #[test]
    fn an_open_socket_is_small() {
        let size = size_of_future(run);
        assert!(size <= 5 * 1024, "{size} bytes");
    }
}
