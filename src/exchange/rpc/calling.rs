//! One call, and what it is made with: the same for every protocol.

use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use tokio::time::Instant;

use crate::config::model::Policy;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::live::Route;
use crate::transcode::MethodPlan;
use crate::upstream::{AnswerBody, How, UpstreamBody};

use super::super::aim::Aim;
use super::super::call::Asked;
use super::super::deadline::Deadline;
use super::super::{Connection, Current, Exchange, own};

#[derive(Clone, Copy)]
pub(super) struct Calling<'a> {
    pub cx: &'a Rc<Exchange>,
    pub current: &'a Current,
    pub connection: &'a Connection,
    pub route: &'a Route,
    pub plan: &'a MethodPlan,
    pub head: &'a Parts,
}

impl<'a> Calling<'a> {
    pub(super) fn policy(&self) -> &'a Policy {
        &self.route.policy
    }

    pub(super) fn limits(&self) -> &'a Limits {
        &self.current.live.limits
    }

    /// By what the client says in its protocol.
    pub(super) fn deadline(&self, client: Option<Duration>) -> Deadline {
        Deadline::of(Instant::now(), client, self.policy())
    }

    pub(super) fn asked<'d>(&self, deadline: &'d Deadline) -> Asked<'d>
    where
        'a: 'd,
    {
        Asked {
            plan: self.plan,
            policy: self.policy(),
            trusted: &self.current.live.trusted_proxies,
            connection: self.connection,
            head: self.head,
            deadline,
        }
    }

    pub(super) fn aim(&self) -> Aim<'a> {
        Aim {
            live: &self.current.live,
            route: self.route,
            plan: Some(self.plan),
            captures: &[],
            head: self.head,
            connection: self.connection,
        }
    }

    /// Waits for the head of the answer: an upstream's, or the gateway's own. Dropping the future, or
    /// the answer's body before its end, cancels the call.
    pub(super) async fn send(
        &self,
        request: Request<UpstreamBody>,
        how: How<'_>,
    ) -> Result<Response<AnswerBody>, Failure> {
        if let Some(own) = self.route.own {
            let max = self.policy().body_bytes_max;
            let mut answer = own::answer(own, self.cx, self.head, max, request)?;
            answer.body_mut().note_in(&self.connection.account);
            return Ok(answer);
        }
        let upstreams = &self.current.upstreams;
        upstreams.call(self.route.upstream, request, how).await
    }
}
