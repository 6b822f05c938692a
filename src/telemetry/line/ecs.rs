//! Elastic Common Schema 8, with dotted names as its loggers write them; what it has no field for is
//! under `transom`.

use super::super::account::Text;
use super::object::Object;
use super::time::put_time;
use super::{Facts, Severity};

const VERSION: &str = "8.11.0";

pub(super) fn put(facts: &Facts<'_>, out: &mut Vec<u8>) {
    let Facts {
        account,
        texts,
        outcome,
        ..
    } = facts;
    let mut line = Object::open(out);
    line.plain("@timestamp", |out| put_time(facts.time, out));
    line.text(
        "log.level",
        match facts.severity() {
            Severity::Info => "info",
            Severity::Warning => "warn",
            Severity::Error => "error",
        },
    );
    line.parts(
        "message",
        &[facts.text(Text::Method), b" ", facts.text(Text::Path)],
    );
    line.text("ecs.version", VERSION);
    line.text("service.name", "transom");
    line.text("event.dataset", "transom.access");
    let nanos = u64::try_from(outcome.total.as_nanos()).unwrap_or(u64::MAX);
    line.number("event.duration", nanos);
    line.text(
        "event.outcome",
        match outcome.blame.is_some() || outcome.status >= 400 {
            true => "failure",
            false => "success",
        },
    );
    line.text("http.request.method", facts.text(Text::Method));
    line.number("http.request.body.bytes", outcome.received);
    line.some("http.request.id", Some(facts.text(Text::RequestId)));
    line.some("http.request.referrer", Some(facts.text(Text::Referer)));
    line.number("http.response.status_code", u64::from(outcome.status));
    line.number("http.response.body.bytes", outcome.sent);
    line.text("http.version", facts.version());
    line.text("url.path", facts.text(Text::Path));
    line.some("url.query", Some(facts.query()));
    line.some("url.domain", Some(facts.text(Text::Host)));
    if let Some((address, port)) = account.client.get() {
        line.address("client.ip", address);
        if port != 0 {
            line.number("client.port", u64::from(port));
        }
    }
    if let Some(session) = &*account.session.borrow() {
        line.members(session.ecs());
    }
    line.some("user_agent.original", Some(facts.text(Text::UserAgent)));
    if let Some(trace) = account.trace.get() {
        line.text("trace.id", trace.id());
    }
    if let Some(fault) = texts.fault {
        line.text("error.type", fault.code.name());
        line.text("error.message", &fault.message);
    }
    line.object("transom", |own| {
        own.some("code", facts.code());
        own.some("fault", facts.fault());
        own.some("cause", texts.fault.and_then(|f| f.cause.as_ref()));
        own.some("route", Some(facts.rule()));
        own.some("rpc", facts.rpc());
        own.some("upstream", facts.upstream());
        own.some("endpoint", texts.endpoint);
        own.number("tries", u64::from(outcome.tries));
        own.text("speech", account.speech.get().name());
        if let Some(time) = outcome.request {
            own.millis("request_ms", time);
        }
        if let Some(time) = outcome.upstream {
            own.millis("upstream_ms", time);
        }
    });
    line.close();
}
