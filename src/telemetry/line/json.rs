//! Flat JSON with names of our own.

use super::super::account::Text;
use super::object::Object;
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
    line.plain("time", |out| put_time(facts.time, out));
    line.word(
        "level",
        match facts.severity() {
            Severity::Info => "info",
            Severity::Warning => "warn",
            Severity::Error => "error",
        },
    );
    line.word("kind", "access");
    line.number("status", u64::from(outcome.status));
    line.some("code", facts.code());
    line.some("fault", facts.fault());
    if let Some(fault) = texts.fault {
        line.text("error", &fault.message);
        line.some("cause", fault.cause.as_ref());
    }
    line.text("method", facts.text(Text::Method));
    line.some("host", Some(facts.text(Text::Host)));
    line.text("path", facts.text(Text::Path));
    line.some("query", Some(facts.query()));
    line.some("route", Some(facts.rule()));
    line.some("rpc", facts.rpc());
    line.some("upstream", facts.upstream());
    line.some("endpoint", texts.endpoint);
    line.number("tries", u64::from(outcome.tries));
    line.number("received_bytes", outcome.received);
    line.number("sent_bytes", outcome.sent);
    if facts.rpc().is_some() {
        line.number("messages_up", outcome.asked);
        line.number("messages_down", outcome.answered);
    }
    line.millis("duration_ms", outcome.total);
    if let Some(time) = outcome.request {
        line.millis("request_ms", time);
    }
    if let Some(time) = outcome.upstream {
        line.millis("upstream_ms", time);
        let before = outcome.request.unwrap_or_default().saturating_add(time);
        line.millis("reply_ms", outcome.total.saturating_sub(before));
    }
    line.plain("protocol", |out| {
        out.extend_from_slice(b"HTTP/");
        out.extend_from_slice(facts.version().as_bytes());
    });
    line.word("speech", account.speech.get().name());
    if let Some((address, port)) = account.client.get() {
        line.address("client", address);
        if port != 0 {
            line.number("client_port", u64::from(port));
        }
    }
    if let Some(session) = &*account.session.borrow() {
        line.members(session.flat());
    }
    line.some("user_agent", Some(facts.text(Text::UserAgent)));
    line.some("referer", Some(facts.text(Text::Referer)));
    line.some("request_id", Some(facts.text(Text::RequestId)));
    if let Some(trace) = account.trace.get() {
        line.text("trace_id", trace.id());
        line.some("parent_id", trace.span());
    }
    if let Some(span) = account.span() {
        line.text("span_id", span);
    }
    line.close();
}
