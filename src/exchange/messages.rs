//! The messages of a gRPC answer, one at a time, and its status as their end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body;

use crate::failure::Failure;
use crate::limits::ByteLimit;
use crate::telemetry::Account;
use crate::transcode::coding::Coding;
use crate::transcode::frame::{Decoder, Next};
use crate::transcode::status::{check_head, is_trailers_only, outcome};
use crate::upstream::AnswerBody;

use super::call::GRPC_ENCODING;
use super::fate::Fate;
use super::holding::Holding;
use super::waits::Activity;

/// Reads one answer. Dropping it before its end resets the upstream's stream.
#[derive(Debug)]
pub(super) struct Messages {
    /// Gone once the status is known: that frees the place on the connection.
    body: Option<AnswerBody>,
    decoder: Decoder,
    room: Holding,
    head: HeaderMap,
    trailers: HeaderMap,
    /// Of the requests, when they stream too.
    fate: Option<Rc<Fate>>,
    account: Option<Rc<Account>>,
}

impl Messages {
    /// # Errors
    /// The answer is not gRPC, or is over with a status other than OK.
    pub(super) fn open(
        answer: Response<AnswerBody>,
        message_bytes_max: ByteLimit,
    ) -> Result<Self, Failure> {
        let (head, body) = answer.into_parts();
        check_head(head.status, &head.headers)?;
        let coding = head.headers.get(GRPC_ENCODING);
        let coding = coding.and_then(|name| Coding::named(name.as_bytes()));
        let mut messages = Self {
            body: None,
            decoder: Decoder::new(message_bytes_max).with_coding(coding),
            room: Holding::of_answer(body.account()),
            head: head.headers,
            trailers: HeaderMap::new(),
            fate: None,
            account: body.account().cloned(),
        };
        if is_trailers_only(&messages.head) {
            outcome(&messages.head).map_err(|failure| messages.tell(failure))?;
        } else {
            messages.body = Some(body);
        }
        Ok(messages)
    }

    /// The answer to requests that go on while it comes: their failure is the answer's.
    pub(super) fn beside(mut self, requests: &Rc<Fate>) -> Self {
        self.fate = Some(Rc::clone(requests));
        self
    }

    /// Where it is noted how the exchange goes.
    pub(super) fn account(&self) -> Option<&Rc<Account>> {
        self.account.as_ref()
    }

    /// What is heard of requests that stream.
    pub(super) fn requests(&self) -> Option<Rc<Activity>> {
        self.fate.as_ref().map(|f| f.activity())
    }

    /// The next message, or `None` once the call has ended with OK.
    ///
    /// # Errors
    /// The service's status, or an answer that breaks gRPC's rules. Nothing comes after it.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            match self.decoder.next_step() {
                Ok(Next::Message(message)) => {
                    if let Some(account) = &self.account {
                        account.note_answered(1);
                    }
                    return match self.room.seal(message) {
                        Ok(message) => Poll::Ready(Ok(Some(message))),
                        Err(failure) => self.fail(failure),
                    };
                }
                Ok(Next::Resting) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Next::Starved) => {}
                Err(error) => return self.fail(error.of_upstream()),
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(None));
            };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let Some(fate) = &self.fate else {
                        return Poll::Pending;
                    };
                    let failure = ready!(fate.poll_failure(cx));
                    return self.fail(failure);
                }
            };
            match frame {
                None => return self.end(HeaderMap::new()),
                Some(Err(failure)) => {
                    let failure = match &self.fate {
                        Some(fate) => fate.explain(failure),
                        None => failure,
                    };
                    return self.fail(failure);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.decoder.push(data);
                        if let Err(failure) = self.room.cover(self.decoder.held()) {
                            return self.fail(failure);
                        }
                    }
                    Err(other) => {
                        if let Ok(trailers) = other.into_trailers() {
                            return self.end(trailers);
                        }
                    }
                },
            }
        }
    }

    /// The same as a future. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Metadata of the answer's head, and of its trailers once it has ended.
    pub(super) fn metadata(&self) -> [&HeaderMap; 2] {
        [&self.head, &self.trailers]
    }

    fn end(&mut self, trailers: HeaderMap) -> Poll<Result<Option<Bytes>, Failure>> {
        self.trailers = trailers;
        // A status that tells of a failure says more than a message that is cut off.
        if let Err(failure) = outcome(&self.trailers) {
            return self.fail(failure);
        }
        match self.decoder.finish() {
            Ok(()) => {
                self.body = None;
                Poll::Ready(Ok(None))
            }
            Err(error) => self.fail(error.of_upstream()),
        }
    }

    fn fail(&mut self, failure: Failure) -> Poll<Result<Option<Bytes>, Failure>> {
        self.body = None;
        Poll::Ready(Err(self.tell(failure)))
    }

    /// Lets the failure's reply carry what the service said beside its status.
    fn tell(&mut self, mut failure: Failure) -> Failure {
        let trailers = match is_trailers_only(&self.head) {
            true => self.head.clone(),
            false => self.trailers.clone(),
        };
        let mut all = std::mem::take(&mut self.head);
        all.extend(std::mem::take(&mut self.trailers));
        failure.metadata = Some(Box::new(all));
        failure.trailers = Some(Box::new(trailers));
        failure
    }
}
