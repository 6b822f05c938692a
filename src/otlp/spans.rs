//! From what a worker kept of a request to its spans: one of the request, one of each try, one of the
//! handshake of the connection that it opened.
//!
//! Names and attributes are those of OpenTelemetry's conventions for HTTP servers and RPC clients; what
//! those have no word for is `transom.*`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::{Blame, GrpcCode};
use crate::telemetry::{Label, Shaken, Speech, Trail, Try};

use super::message::{CLIENT, ERROR, INTERNAL, KeyValue, SERVER, Span, Status};

/// The low byte is W3C's flags; bit 8 says that it is known whether the parent is another process's,
/// bit 9 that it is (`SpanFlags`).
const SAMPLED: u32 = 0x101;
const SAMPLED_OF_REMOTE: u32 = 0x301;

/// All spans of one request, that of the request first.
pub(super) fn of(trail: Trail) -> Vec<Span> {
    let mut spans = Vec::with_capacity(2 + trail.tries.len());
    spans.push(server(&trail));
    spans.extend(trail.handshake.map(|shaken| handshake(&trail, shaken)));
    let tries = trail.tries.iter().enumerate();
    spans.extend(tries.map(|(at, one)| client(&trail, at, one)));
    spans
}

fn server(trail: &Trail) -> Span {
    let label = match trail.rule.is_empty() {
        true => Label::nowhere(),
        false => Label::of(&trail.rule),
    };
    let is_rpc = matches!(
        trail.speech,
        Speech::Grpc | Speech::GrpcWeb | Speech::Connect
    );
    let name = match (&trail.rpc, label.route.is_empty()) {
        (Some(rpc), _) if is_rpc => rpc.to_string(),
        (_, true) => method(trail).to_owned(),
        (_, false) => format!("{} {}", method(trail), label.route),
    };
    let mut all = Attributes::default();
    all.text("http.request.method", method(trail));
    if method(trail) != trail.method {
        all.text("http.request.method_original", &trail.method);
    }
    all.text("url.scheme", if trail.tls { "https" } else { "http" });
    all.text("url.path", &trail.path);
    all.text("http.route", &label.route);
    all.number("http.response.status_code", trail.status);
    all.text("network.protocol.version", trail.version);
    let (host, port) = host_and_port(&trail.host);
    all.text("server.address", host);
    if let Some(port) = port {
        all.number("server.port", port);
    }
    if let Some((address, port)) = trail.client {
        all.text("client.address", &address.to_string());
        if port != 0 {
            all.number("client.port", port);
        }
    }
    all.text("user_agent.original", &trail.user_agent);
    all.number("http.request.body.size", trail.received);
    all.number("http.response.body.size", trail.sent);
    call(trail, is_rpc, &mut all);
    all.text("transom.speech", trail.speech.name());
    all.text("transom.request_id", &trail.request_id);
    all.text("transom.upstream", trail.upstream.as_deref().unwrap_or(""));
    if let Some(blame) = trail.blame {
        let whose = match blame {
            Blame::Client => "client",
            Blame::Gateway => "gateway",
            Blame::Upstream => "upstream",
        };
        all.text("transom.fault", whose);
    }
    let failed = has_failed(trail, is_rpc);
    if failed {
        let of_code = trail.code.filter(|c| *c != GrpcCode::Ok);
        let of_code = of_code.map(|c| c.name().to_owned());
        all.text(
            "error.type",
            &of_code.unwrap_or_else(|| trail.status.to_string()),
        );
    }
    Span {
        parent_span_id: or_none(trail.parent),
        kind: SERVER,
        trace_state: trail
            .state
            .as_ref()
            .and_then(|s| s.to_str().ok())
            .unwrap_or("")
            .to_owned(),
        attributes: all.0,
        status: failed.then(|| error(trail.error.as_deref().unwrap_or(""))),
        flags: match trail.parent == [0; 8] {
            true => SAMPLED,
            false => SAMPLED_OF_REMOTE,
        },
        ..span(trail, trail.span, name, Duration::ZERO, trail.total)
    }
}

/// The call that it is, in the words of the client's protocol, or that was made of it.
fn call(trail: &Trail, is_rpc: bool, all: &mut Attributes) {
    let rpc = trail.rpc.as_deref().unwrap_or("");
    let code = trail.code.map_or("", GrpcCode::name);
    if !is_rpc {
        all.text("transom.rpc", rpc);
        all.text("transom.code", code);
        return;
    }
    all.text("rpc.method", rpc);
    if trail.speech == Speech::Connect {
        all.text("rpc.system.name", "connectrpc");
        if trail.code != Some(GrpcCode::Ok) {
            all.text("rpc.response.status_code", &code.to_ascii_lowercase());
        }
    } else {
        all.text("rpc.system.name", "grpc");
        all.text("rpc.response.status_code", code);
    }
}

/// Whether it is an error of the server, which a client's mistake isn't: by the code for calls, by the
/// status for other requests, and where a reply that began well has broken off.
fn has_failed(trail: &Trail, is_rpc: bool) -> bool {
    let of_server = trail.code.is_some_and(|code| {
        matches!(
            code,
            GrpcCode::Unknown
                | GrpcCode::DeadlineExceeded
                | GrpcCode::Unimplemented
                | GrpcCode::Internal
                | GrpcCode::Unavailable
                | GrpcCode::DataLoss
        )
    });
    trail.status >= 500 || of_server && (is_rpc || trail.status < 400)
}

fn client(trail: &Trail, at: usize, one: &Try) -> Span {
    let name = match &trail.rpc {
        Some(rpc) => rpc.to_string(),
        None => method(trail).to_owned(),
    };
    let mut all = Attributes::default();
    if let Some(rpc) = &trail.rpc {
        all.text("rpc.system.name", "grpc");
        all.text("rpc.method", rpc);
        if let Some(code) = one.code {
            all.text("rpc.response.status_code", code.name());
        }
    } else {
        all.text("http.request.method", method(trail));
        all.text("url.full", &one.url);
        if let Some(status) = one.status {
            all.number("http.response.status_code", status);
        }
    }
    let (host, port) = host_and_port(&one.endpoint);
    all.text("server.address", host);
    if let Some(port) = port {
        all.number("server.port", port);
    }
    if at > 0 {
        all.number("http.request.resend_count", at as u64);
    }
    all.text("transom.upstream", &one.upstream);
    let code = one.code.filter(|c| *c != GrpcCode::Ok);
    let of_status = one.status.filter(|s| *s >= 400 && trail.rpc.is_none());
    let failed = one.error.is_some() || code.is_some() || of_status.is_some();
    if failed {
        let of_status = of_status.map(|s| s.to_string());
        let kind = of_status.or_else(|| code.map(|c| c.name().to_owned()));
        all.text("error.type", kind.as_deref().unwrap_or("_OTHER"));
    }
    let ended = one.ended.unwrap_or(trail.total);
    Span {
        parent_span_id: trail.span.to_vec(),
        kind: CLIENT,
        attributes: all.0,
        status: failed.then(|| error(one.error.as_deref().unwrap_or(""))),
        flags: SAMPLED,
        ..span(trail, one.span, name, one.begun, ended)
    }
}

/// It began before the request.
fn handshake(trail: &Trail, shaken: Shaken) -> Span {
    let mut all = Attributes::default();
    all.text("tls.protocol.name", "tls");
    all.text("tls.protocol.version", shaken.version);
    let begun = trail.begun.checked_sub(shaken.before);
    let begun = begun.unwrap_or(trail.begun);
    Span {
        parent_span_id: trail.span.to_vec(),
        kind: INTERNAL,
        attributes: all.0,
        flags: SAMPLED,
        start_time_unix_nano: nanos(begun),
        end_time_unix_nano: nanos(begun + shaken.took),
        ..span(
            trail,
            shaken.span,
            "TLS handshake".to_owned(),
            Duration::ZERO,
            Duration::ZERO,
        )
    }
}

fn span(trail: &Trail, id: [u8; 8], name: String, begun: Duration, ended: Duration) -> Span {
    Span {
        trace_id: trail.trace.to_vec(),
        span_id: id.to_vec(),
        name,
        start_time_unix_nano: nanos(trail.begun + begun),
        end_time_unix_nano: nanos(trail.begun + ended.max(begun)),
        ..Span::default()
    }
}

fn error(message: &str) -> Status {
    Status {
        message: message.to_owned(),
        code: ERROR,
    }
}

/// Methods that a client invents are one.
fn method(trail: &Trail) -> &str {
    match &*trail.method {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
        | "PATCH" | "QUERY") => known,
        _ => "_OTHER",
    }
}

fn host_and_port(text: &str) -> (&str, Option<u16>) {
    let split = text.rsplit_once(':');
    let split = split.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    // A bare IPv6 address ends in no port.
    match split.filter(|(host, _)| !host.contains(':') || host.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn or_none(id: [u8; 8]) -> Vec<u8> {
    match id == [0; 8] {
        true => Vec::new(),
        false => id.to_vec(),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Empty texts are left out.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(KeyValue::text(key, value));
        }
    }

    fn number(&mut self, key: &str, value: impl TryInto<i64>) {
        self.0.push(KeyValue::number(key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_from_ports() {
        for (text, expected) in [
            ("shop.example", ("shop.example", None)),
            ("shop.example:8443", ("shop.example", Some(8443))),
            ("[::1]:80", ("[::1]", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("::1", ("::1", None)),
            ("/run/games.sock", ("/run/games.sock", None)),
        ] {
            assert_eq!(host_and_port(text), expected, "{text}");
        }
    }
}
