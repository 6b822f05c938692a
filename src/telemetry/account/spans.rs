//! What an account keeps for the spans of its exchange. Of exchanges that aren't traced nothing is.

use std::fmt::Display;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use crate::failure::{Failure, GrpcCode};
use crate::telemetry::series::Track;
use crate::telemetry::trace::{Attempt, Begun, Goal, Handshake, Trail};

use super::{Account, Outcome, Text, brief};

impl Account {
    /// The handshake of the connection, whose first request this is.
    pub fn note_handshake(&self, handshake: Option<Handshake>) {
        self.handshake.set(handshake);
    }

    pub(in crate::telemetry) fn handshake(&self) -> Option<Handshake> {
        self.handshake.get()
    }

    pub(in crate::telemetry) fn note_begun(&self, begun: Begun) {
        match begun {
            Begun::Traced(traced) => {
                self.is_traced.set(true);
                self.traced.replace(Some(traced));
            }
            Begun::Untraced(untraced) => self.untraced.set(Some(untraced)),
            Begun::AsItCame => {}
        }
    }

    /// Whether it is known which trace it belongs to.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.trace.get().is_some()
    }

    /// Whether its spans are exported.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.is_traced.get()
    }

    /// Its own span, in hexadecimal digits.
    pub(in crate::telemetry) fn span(&self) -> Option<[u8; 16]> {
        let traced = self.traced.borrow();
        let mut text = [0; 16];
        crate::telemetry::trace::put_hex(&traced.as_ref()?.span, &mut text);
        Some(text)
    }

    /// Tells the service of the trace, and of this try as its parent.
    pub fn put_trace(&self, attempt: Attempt, headers: &mut HeaderMap) {
        if self.is_traced.get() {
            if let Some(traced) = &*self.traced.borrow() {
                traced.put(attempt, headers);
            }
        } else if let Some(untraced) = self.untraced.get() {
            untraced.put(headers);
        }
    }

    pub(super) fn begin_try(&self, goal: Goal<'_>) -> Attempt {
        if self.is_traced.get()
            && let Some(traced) = &mut *self.traced.borrow_mut()
        {
            return traced.begin_try(goal, self.begun.get().elapsed());
        }
        Attempt::default()
    }

    fn with_try(&self, attempt: Attempt, note: impl FnOnce(&mut super::Try)) {
        if self.is_traced.get()
            && let Some(traced) = &mut *self.traced.borrow_mut()
            && let Some(open) = traced.open_try(attempt)
        {
            note(open);
        }
    }

    fn end_try(&self, attempt: Attempt, end: impl FnOnce(&mut super::Try)) {
        self.with_try(attempt, |open| {
            open.ended = Some(self.begun.get().elapsed());
            end(open);
        });
    }

    /// The endpoint couldn't be reached: a try of its own, which began so long ago.
    pub fn note_unreached(&self, goal: Goal<'_>, took: Duration, error: &dyn Display) {
        let attempt = self.begin_try(goal);
        self.end_try(attempt, |open| {
            open.begun = open.begun.saturating_sub(took);
            open.code = Some(GrpcCode::Unavailable);
            open.error = Some(brief(error).to_string());
        });
    }

    /// Where the try is sent, if that isn't a method's path.
    pub fn note_url(&self, attempt: Attempt, url: impl Display) {
        let is_call = |t: &Rc<Track>| t.rpc.is_some();
        if !self.track.borrow().as_ref().is_some_and(is_call) {
            self.with_try(attempt, |open| open.url = brief(url).to_string());
        }
    }

    /// The head of the try's answer, which may say all.
    pub fn note_head(&self, attempt: Attempt, status: StatusCode, code: Option<GrpcCode>) {
        self.with_try(attempt, |open| {
            open.status = Some(status.as_u16());
            open.code = code;
        });
    }

    /// The try failed, whatever follows it.
    pub fn note_try_failed(&self, attempt: Attempt, failure: &Failure) {
        self.end_try(attempt, |open| {
            open.code = Some(failure.code);
            open.error = Some(brief(&failure.message).to_string());
        });
    }

    /// Nothing came of it, and it is sent again.
    pub fn note_try_void(&self, attempt: Attempt, error: &dyn Display) {
        self.end_try(attempt, |open| open.error = Some(brief(error).to_string()));
    }

    /// All of its answer is there.
    pub fn note_try_over(&self, attempt: Attempt, code: Option<GrpcCode>) {
        self.end_try(attempt, |open| open.code = code.or(open.code));
    }

    /// Nobody waits for it any more: the client left, or another try was quicker.
    pub fn note_try_left(&self, attempt: Attempt) {
        self.end_try(attempt, |open| {
            open.code = open.code.or(Some(GrpcCode::Cancelled));
        });
    }

    /// What its spans are made of.
    pub(in crate::telemetry) fn trail(&self, outcome: Outcome) -> Option<Trail> {
        if !self.is_traced.get() {
            return None;
        }
        let mut traced = self.traced.take()?;
        let handshake = traced.shaken(self.begun.get());
        let mut tries = std::mem::take(&mut traced.tries);
        for open in tries.iter_mut().filter(|t| t.ended.is_none()) {
            open.ended = Some(outcome.total);
            open.code = open.code.or(outcome.code);
        }
        let now = SystemTime::now();
        let client = self.client.get();
        self.with_texts(|texts| {
            let text = |what| String::from_utf8_lossy(texts.of(what)).into_owned();
            let fault = texts.fault;
            Some(Trail {
                trace: traced.id,
                span: traced.span,
                parent: traced.parent,
                state: traced.state,
                begun: now.checked_sub(outcome.total).unwrap_or(now),
                total: outcome.total,
                rule: texts
                    .track
                    .map_or_else(|| "".into(), |t| std::sync::Arc::clone(&t.rule)),
                rpc: texts.track.and_then(|t| Some(t.rpc.as_ref()?.name.clone())),
                upstream: texts.track.and_then(|t| t.upstream.clone()),
                speech: self.speech.get(),
                tls: traced.tls,
                version: super::version_text(self.version.get()),
                client,
                method: text(Text::Method),
                path: text(Text::Path),
                host: text(Text::Host),
                user_agent: text(Text::UserAgent),
                request_id: text(Text::RequestId),
                status: outcome.status,
                code: outcome.code,
                blame: outcome.blame,
                error: fault.map(|f| f.message.clone()),
                received: outcome.received,
                sent: outcome.sent,
                tries,
                handshake,
            })
        })
    }
}
