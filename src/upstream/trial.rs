//! One call as a trial of its endpoint: how long it took, and whether it speaks for or against it.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::failure::GrpcCode;

use super::endpoint::Endpoint;
use super::outlier::{Counts, Outcome, Sign};
use super::pool::Pool;

/// A call under way. Without a verdict it counts only if its time was over when it was dropped.
#[derive(Debug)]
pub(super) struct Trial {
    pool: Rc<Pool>,
    endpoint: Rc<Endpoint>,
    begun: Instant,
    until: Option<Instant>,
    /// Its endpoint was left out, and this call tries it.
    probes: bool,
    open: bool,
}

impl Trial {
    pub(super) fn begin(
        pool: &Rc<Pool>,
        endpoint: &Rc<Endpoint>,
        until: Option<Instant>,
        probes: bool,
    ) -> Self {
        Self {
            pool: Rc::clone(pool),
            endpoint: Rc::clone(endpoint),
            begun: Instant::now(),
            until,
            probes,
            open: true,
        }
    }

    /// The head of an answer came. gRPC says what it came to in its trailers, unless there is nothing
    /// but those.
    pub(super) fn head(&mut self, status: StatusCode, headers: &HeaderMap, streams: bool) {
        let now = Instant::now();
        let told = match code_of(headers) {
            Some(code) => Some(outcome_of(code)),
            None if status.is_server_error() => Some(outcome_of_status(status)),
            None => None,
        };
        let time = now.saturating_duration_since(self.begun);
        match told {
            // Refused at once, it says nothing of how busy the upstream is.
            Some(Outcome::Bad) => self.endpoint.slower(time, now),
            Some(_) | None => {
                self.endpoint.answered(time, now);
                if !streams {
                    self.pool.shared().places.note_time(time);
                }
            }
        }
        if let Some(outcome) = told {
            self.end(outcome);
        }
        if streams {
            self.until = None;
        }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.end(code_of(trailers).map_or(Outcome::Good, outcome_of));
    }

    /// No answer, or one that broke off.
    pub(super) fn failed(&mut self) {
        let now = Instant::now();
        self.endpoint
            .slower(now.saturating_duration_since(self.begun), now);
        self.end(Outcome::Bad);
    }

    /// It says nothing about the endpoint.
    pub(super) fn void(&mut self) {
        self.open = false;
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        if std::mem::take(&mut self.open) {
            self.pool.judge(&self.endpoint, outcome, self.probes);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.open && self.until.is_some_and(|until| Instant::now() >= until) {
            self.pool.shared().places.note_time(self.begun.elapsed());
            self.failed();
        }
    }
}

impl Pool {
    /// Notes what became of a call to `endpoint`.
    pub(super) fn judge(&self, endpoint: &Endpoint, outcome: Outcome, probes: bool) {
        let Some(rule) = &self.shared().spec().rules.ejection else {
            return;
        };
        let member = &endpoint.member;
        let sign = endpoint.note_outcome(outcome, rule);
        if member.is_ejected() {
            // Calls from before tell nothing new.
            if !probes {
                return;
            }
            match outcome {
                Outcome::Good => {
                    member.readmit();
                    tracing::info!(upstream = self.name(), endpoint = %endpoint.member, "endpoint is back");
                }
                Outcome::Doubtful | Outcome::Bad => member.stay_out(rule, self.random_share()),
            }
            return;
        }
        let Some(sign) = sign else {
            return;
        };
        if let Sign::Share { failures, calls } = sign {
            let all = self.endpoints();
            let others = all
                .iter()
                .filter(|e| !Arc::ptr_eq(&e.member, member))
                .map(|e| e.counts())
                .fold(Counts::default(), |a, b| a.and(b));
            if !(Counts { calls, failures }).is_twice_as_bad_as(others) {
                return;
            }
        }
        if self.shared().eject(member, rule, self.random_share()) {
            endpoint.forgive();
            self.count(|c| &mut c.ejections);
            tracing::warn!(upstream = self.name(), endpoint = %endpoint.member, why = %sign, "endpoint is left out for a while");
        }
    }
}

/// `grpc-status`, where there is one.
pub(super) fn code_of(metadata: &HeaderMap) -> Option<GrpcCode> {
    let text = metadata.get("grpc-status")?.to_str().ok()?;
    Some(
        text.parse()
            .map_or(GrpcCode::Unknown, GrpcCode::from_number),
    )
}

/// What a code tells of the endpoint. Those of a fault in the service may be the request's doing: only
/// an endpoint that has more of them than the others is a bad one.
fn outcome_of(code: GrpcCode) -> Outcome {
    match code {
        GrpcCode::Unavailable => Outcome::Bad,
        // Cancelled by whom, if not by us: servers do so that are stopping.
        GrpcCode::Unknown | GrpcCode::Internal | GrpcCode::DataLoss | GrpcCode::Cancelled => {
            Outcome::Doubtful
        }
        _ => Outcome::Good,
    }
}

fn outcome_of_status(status: StatusCode) -> Outcome {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Bad
        }
        StatusCode::NOT_IMPLEMENTED => Outcome::Good,
        _ => Outcome::Doubtful,
    }
}
