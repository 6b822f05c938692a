//! Cloud Logging's structured fields (`LogEntry`, `HttpRequest`): one object a line on stdout is taken
//! up by its agent, the special names into their places, the rest as `jsonPayload`.

use super::super::account::Text;
use super::object::{Object, put_address};
use super::time::put_time;
use super::{Facts, Severity};

pub(super) fn put(facts: &Facts<'_>, out: &mut Vec<u8>) {
    let Facts {
        account,
        texts,
        outcome,
        ..
    } = facts;
    let mut line = Object::open(out);
    line.text(
        "severity",
        match facts.severity() {
            Severity::Info => "INFO",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
        },
    );
    line.plain("time", |out| put_time(facts.time, out));
    match texts.fault {
        Some(fault) => line.text("message", &fault.message),
        None => line.parts(
            "message",
            &[facts.text(Text::Method), b" ", facts.text(Text::Path)],
        ),
    }
    line.object("httpRequest", |request| put_request(facts, request));
    if let Some(trace) = account.trace.get() {
        match &facts.manner.project {
            Some(project) => line.parts(
                "logging.googleapis.com/trace",
                &[b"projects/", project.as_bytes(), b"/traces/", &trace.id()],
            ),
            None => line.text("logging.googleapis.com/trace", trace.id()),
        }
        // Its own span where there is one, else that of the caller.
        let span = account.span().or(trace.span());
        line.some("logging.googleapis.com/spanId", span);
        line.bool("logging.googleapis.com/trace_sampled", trace.sampled);
    }
    line.some("code", facts.code());
    line.some("fault", facts.fault());
    line.some("cause", texts.fault.and_then(|f| f.cause.as_ref()));
    line.some("host", Some(facts.text(Text::Host)));
    line.some("route", Some(facts.rule()));
    line.some("rpc", facts.rpc());
    line.some("upstream", facts.upstream());
    line.some("endpoint", texts.endpoint);
    line.number("tries", u64::from(outcome.tries));
    line.text("speech", account.speech.get().name());
    if let Some(time) = outcome.request {
        line.millis("request_ms", time);
    }
    if let Some(time) = outcome.upstream {
        line.millis("upstream_ms", time);
    }
    if let Some(session) = &*account.session.borrow() {
        line.members(session.flat());
    }
    line.some("request_id", Some(facts.text(Text::RequestId)));
    line.close();
}

fn put_request(facts: &Facts<'_>, request: &mut Object<'_>) {
    let outcome = facts.outcome;
    request.text("requestMethod", facts.text(Text::Method));
    let query = facts.query();
    let mark: &[u8] = if query.is_empty() { b"" } else { b"?" };
    request.parts("requestUrl", &[facts.text(Text::Path), mark, query]);
    request.long("requestSize", outcome.received);
    request.number("status", u64::from(outcome.status));
    request.long("responseSize", outcome.sent);
    request.some("userAgent", Some(facts.text(Text::UserAgent)));
    request.some("referer", Some(facts.text(Text::Referer)));
    if let Some((address, _)) = facts.account.client.get() {
        request.plain("remoteIp", |out| put_address(address, out));
    }
    request.seconds("latency", outcome.total);
    request.plain("protocol", |out| {
        out.extend_from_slice(b"HTTP/");
        out.extend_from_slice(facts.version().as_bytes());
    });
}
