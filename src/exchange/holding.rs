//! What of an exchange is held whole in memory, charged to the budget of the process.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::failure::{Blame, Failure, GrpcCode, Limit, Retry};
use crate::limits::OVERLOAD_RETRY_AFTER_SECONDS;
use crate::memory::{Exhausted, Held, Level};
use crate::telemetry::Account;

use super::Exchange;

/// One buffer, as it grows.
#[derive(Debug)]
pub(super) struct Holding {
    /// Who is charged: nobody where nobody keeps account.
    account: Option<Rc<Account>>,
    is_request: bool,
    held: Option<Held>,
}

impl Holding {
    /// A part of a request, of which nothing is held yet.
    pub(super) fn of_request(account: Option<&Rc<Account>>) -> Self {
        Self {
            account: account.cloned(),
            is_request: true,
            held: None,
        }
    }

    /// A part of an answer.
    pub(super) fn of_answer(account: Option<&Rc<Account>>) -> Self {
        Self {
            account: account.cloned(),
            is_request: false,
            held: None,
        }
    }

    /// Makes room for a buffer of so many bytes.
    ///
    /// # Errors
    /// 503: there is none.
    pub(super) fn cover(&mut self, bytes: usize) -> Result<(), Failure> {
        if !Held::counts(bytes) {
            return Ok(());
        }
        let Some(account) = &self.account else {
            return Ok(());
        };
        let held = self.held.get_or_insert_with(|| {
            let budget = Arc::clone(account.budget());
            match self.is_request {
                true => Held::of_request(budget),
                false => Held::of_answer(budget),
            }
        });
        held.cover(bytes).map_err(|Exhausted| exhausted())
    }

    /// The buffer, which holds its room until its last copy is dropped. What comes next begins anew.
    ///
    /// # Errors
    /// It is larger than was known, and there is no room for it.
    pub(super) fn seal(&mut self, buffer: Bytes) -> Result<Bytes, Failure> {
        self.cover(buffer.len())?;
        Ok(match self.held.take() {
            Some(held) if Held::counts(buffer.len()) => held.seal(buffer),
            _ => buffer,
        })
    }
}

fn exhausted() -> Failure {
    overloaded("the gateway holds as much of bodies as it may").over(Limit::Held)
}

/// The process is short of memory.
pub(super) fn short_of_memory() -> Failure {
    overloaded("the gateway is short of memory").over(Limit::Memory)
}

fn overloaded(message: &'static str) -> Failure {
    let mut failure = Failure::new(Blame::Gateway, GrpcCode::Unavailable, message)
        .status(StatusCode::SERVICE_UNAVAILABLE);
    failure.retry = Retry::Never;
    failure.retry_after_seconds = Some(OVERLOAD_RETRY_AFTER_SECONDS);
    failure
}

impl Exchange {
    /// Requests are refused.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.level() >= Level::Shed
    }

    /// # Errors
    /// 503: it is short of memory.
    pub(super) fn has_memory(&self) -> Result<(), Failure> {
        match self.is_short_of_memory() {
            true => Err(short_of_memory()),
            false => Ok(()),
        }
    }
}
