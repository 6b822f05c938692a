//! One sending of a request, as the account of its call sees it: begun with the request on its way,
//! and told of its end, of which there is exactly one. A sending that is dropped before was cancelled.

use std::rc::Rc;

use http::{Request, Response};

use crate::failure::Failure;
use crate::telemetry::{Account, Attempt, Goal};

use super::UpstreamBody;
use super::answer::AnswerBody;
use super::copy::Copy;
use super::endpoint::Endpoint;
use super::fleet::Shared;
use super::retry::Pushback;
use super::trial::code_of;

/// How one attempt ended, and what another would send.
pub(super) struct Ended {
    pub result: Result<Response<AnswerBody>, Failure>,
    /// The request, if it may be sent again.
    pub copy: Option<Copy>,
    pub pushback: Pushback,
}

/// How one sending of a request ended without an answer.
pub(super) enum Unsent {
    /// Never left us, or never begun on: as good as new.
    Again(Box<Request<UpstreamBody>>, hyper::Error),
    Failed(Failure, Option<Copy>),
    /// The time of one attempt was over.
    Late(Option<Copy>),
}

/// A sending under way. Its end is noted at most once: the account knows of none after the first.
pub(super) struct Sending<'a> {
    account: Option<&'a Rc<Account>>,
    attempt: Attempt,
}

impl<'a> Sending<'a> {
    /// The request is about to go out, and tells the service of its trace.
    pub(super) fn begin(
        account: Option<&'a Rc<Account>>,
        shared: &Shared,
        endpoint: &Endpoint,
        request: Option<&mut Request<UpstreamBody>>,
    ) -> Self {
        let Some(account) = account else {
            return Self {
                account: None,
                attempt: Attempt::default(),
            };
        };
        let attempt = account.note_try(Goal {
            upstream: &shared.spec().name,
            endpoint: endpoint.name(),
        });
        if let Some(request) = request {
            account.put_trace(attempt, request.headers_mut());
            let scheme = match shared.spec().tls {
                Some(_) => "https",
                None => "http",
            };
            let (authority, path) = (endpoint.authority(), request.uri().path());
            account.note_url(attempt, format_args!("{scheme}://{authority}{path}"));
        }
        Self {
            account: Some(account),
            attempt,
        }
    }

    fn note(&self, note: impl FnOnce(&Account, Attempt)) {
        if let Some(account) = self.account {
            note(account, self.attempt);
        }
    }

    /// Nothing came of it, and the request is sent again.
    pub(super) fn void(&self, error: &hyper::Error) {
        self.note(|account, attempt| account.note_try_void(attempt, error));
    }

    pub(super) fn failed(&self, failure: &Failure) {
        self.note(|account, attempt| account.note_try_failed(attempt, failure));
    }

    /// How it ended, or that its answer has begun.
    pub(super) fn ended(&self, ended: &Ended) {
        self.note(|account, attempt| match &ended.result {
            Err(failure) => account.note_try_failed(attempt, failure),
            Ok(answer) => {
                if account.is_traced() {
                    let code = code_of(answer.headers());
                    account.note_head(attempt, answer.status(), code);
                }
                if ended.copy.is_some() {
                    account.note_try_over(attempt, None);
                }
            }
        });
    }

    /// Its answer goes on, and tells of the end.
    pub(super) fn goes_on(mut self, body: &mut AnswerBody) {
        if let Some(account) = self.account.take() {
            account.note_answer();
            body.note_try_in(account, self.attempt);
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.note(Account::note_try_left);
    }
}
