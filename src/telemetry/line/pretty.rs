//! A line for people: time, status, what was asked, how long it took, where it went, what failed.

use super::super::account::Text;
use super::Facts;
use super::text::put_escaped;
use super::time::{put_millis, put_number, put_time};

pub(super) fn put(facts: &Facts<'_>, out: &mut Vec<u8>) {
    let Facts { texts, outcome, .. } = facts;
    put_time(facts.time, out);
    out.push(b' ');
    put_number(u64::from(outcome.status), out);
    out.push(b' ');
    put_escaped(facts.text(Text::Method), out);
    out.push(b' ');
    put_escaped(facts.text(Text::Path), out);
    if !facts.query().is_empty() {
        out.push(b'?');
        put_escaped(facts.query(), out);
    }
    out.push(b' ');
    put_millis(outcome.total, out);
    out.extend_from_slice(b"ms ");
    put_number(outcome.received, out);
    out.extend_from_slice(b"B in ");
    put_number(outcome.sent, out);
    out.extend_from_slice(b"B out");
    if let Some(rpc) = facts.rpc() {
        out.push(b' ');
        out.extend_from_slice(rpc.as_bytes());
    }
    if let Some(code) = facts.code() {
        out.push(b' ');
        out.extend_from_slice(code.as_bytes());
    }
    if let Some(endpoint) = texts.endpoint {
        out.extend_from_slice(b" at ");
        out.extend_from_slice(endpoint.as_bytes());
    }
    if outcome.tries > 1 {
        out.extend_from_slice(b" after ");
        put_number(u64::from(outcome.tries), out);
        out.extend_from_slice(b" tries");
    }
    if let (Some(fault), Some(whose)) = (texts.fault, facts.fault()) {
        out.extend_from_slice(b" (");
        out.extend_from_slice(whose.as_bytes());
        out.extend_from_slice(b": ");
        put_escaped(fault.message.as_bytes(), out);
        out.push(b')');
    }
}
