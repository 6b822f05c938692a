//! What server-sent events tell beside their data: ids, the time to wait before a reconnection, the
//! end, and comments that keep the connection from looking dead.
//!
//! An `EventSource` connects again whenever a response ends, whatever the reason, and only a 204 stops
//! it. It sends the last id that it has seen, so the last id of a stream that is over says just that:
//! [`Resume::Over`] is to be answered with 204. A failure that may pass ([`may_pass`]) leaves the id of
//! the last message, and the client comes back for more.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::failure::GrpcCode;

pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A comment: no event, and a sign of life.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Stands at the end of the last id of a stream.
const OVER: &str = "/end";

/// What a client that was here before has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing, or nothing that we have numbered.
    Anew,
    /// The event of this number.
    After(u64),
    /// The stream's end.
    Over,
}

impl Resume {
    /// What `Last-Event-ID` tells.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let id = headers.get(LAST_EVENT_ID).and_then(|v| v.to_str().ok());
        let Some(id) = id else {
            return Self::Anew;
        };
        match (id.strip_suffix(OVER), id.parse()) {
            (Some(number), _) if number.parse::<u64>().is_ok() => Self::Over,
            (_, Ok(number)) => Self::After(number),
            _ => Self::Anew,
        }
    }
}

/// Whether a stream that ended so is worth another try.
#[must_use]
pub fn may_pass(code: GrpcCode) -> bool {
    matches!(
        code,
        GrpcCode::Unavailable
            | GrpcCode::DeadlineExceeded
            | GrpcCode::ResourceExhausted
            | GrpcCode::Aborted
            | GrpcCode::Cancelled
    )
}

/// Numbers the events of one stream.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Of the last event.
    number: u64,
    /// To be said before the first event.
    retry: Option<Duration>,
}

impl Events {
    /// Events after those that the client has seen, and how long it is to wait before it connects
    /// again.
    #[must_use]
    pub fn new(resume: Resume, retry: Option<Duration>) -> Self {
        let number = match resume {
            Resume::After(number) => number,
            Resume::Anew | Resume::Over => 0,
        };
        Self { number, retry }
    }

    /// Before the data of an event.
    pub(super) fn open(&mut self, out: &mut Vec<u8>) {
        self.say_retry(out);
        out.extend_from_slice(b"id: ");
        put_number(self.number.saturating_add(1), out);
        out.extend_from_slice(b"\ndata: ");
    }

    /// The event that was begun has been.
    pub(super) fn opened(&mut self) {
        self.retry = None;
        self.number = self.number.saturating_add(1);
    }

    /// The end: an id without data, which a client remembers and tells nobody.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.put_over(out);
        out.extend_from_slice(b"\n");
    }

    /// The end of a stream that failed.
    pub(super) fn fail(&mut self, code: GrpcCode, status: &[u8], out: &mut Vec<u8>) {
        self.say_retry(out);
        out.extend_from_slice(b"event: error\n");
        if !may_pass(code) {
            self.put_over(out);
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(status);
        out.extend_from_slice(b"\n\n");
    }

    fn say_retry(&self, out: &mut Vec<u8>) {
        if let Some(retry) = self.retry {
            out.extend_from_slice(b"retry: ");
            put_number(u64::try_from(retry.as_millis()).unwrap_or(u64::MAX), out);
            out.push(b'\n');
        }
    }

    fn put_over(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id: ");
        put_number(self.number, out);
        out.extend_from_slice(OVER.as_bytes());
        out.push(b'\n');
    }
}

fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_tells_where_a_client_has_been() {
        for (id, expected) in [
            (None, Resume::Anew),
            (Some(""), Resume::Anew),
            (Some("7"), Resume::After(7)),
            (Some("7/end"), Resume::Over),
            (Some("0/end"), Resume::Over),
            (Some("/end"), Resume::Anew),
            (Some("x/end"), Resume::Anew),
            (Some("page-3"), Resume::Anew),
            (Some("99999999999999999999999"), Resume::Anew),
        ] {
            let headers = id.map(|id| (LAST_EVENT_ID, id.parse().unwrap()));
            let headers: HeaderMap = headers.into_iter().collect();
            assert_eq!(Resume::of(&headers), expected, "{id:?}");
        }
    }

    #[test]
    fn a_stream_goes_on_where_the_client_was() {
        let mut out = Vec::new();
        let retry = Some(Duration::from_millis(2500));
        let mut events = Events::new(Resume::After(41), retry);
        events.open(&mut out);
        events.opened();
        out.extend_from_slice(b"{}\n\n");
        events.open(&mut out);
        assert_eq!(out, b"retry: 2500\nid: 42\ndata: {}\n\nid: 43\ndata: ");
    }

    #[test]
    fn a_failure_that_may_pass_lets_the_client_come_back() {
        let mut out = Vec::new();
        Events::default().fail(GrpcCode::Unavailable, b"{}", &mut out);
        assert_eq!(out, b"event: error\ndata: {}\n\n");
        out.clear();
        Events::default().fail(GrpcCode::NotFound, b"{}", &mut out);
        assert_eq!(out, b"event: error\nid: 0/end\ndata: {}\n\n");
    }
}
