//! `transom explain METHOD URL`: the rule that wins, what each part of the request is bound to, the
//! message that would be sent, and why the rules near it lost.

mod by_name;
mod headers;
mod policy;
pub mod words;

use std::io::{self, Write};

use serde::Serialize;

use crate::codec::{Codec, CodecLimits, JsonOptions, Target as JsonTarget};
use crate::failure::Failure;
use crate::live::{Live, Route, Target};
use crate::route::{Considered, Lookup, RawPath, RouteId, Verdict, decode_capture};
use crate::schema::{FieldRef, StreamKind};
use crate::transcode::bind::parameters;
use crate::transcode::query::QueryFault;
use crate::transcode::{BodyRule, HttpBodyAt, MethodPlan, QueryPolicy, UnknownQuery};

use words::{plain, print_table, stream, upstream_name};

/// Rules that lost, in the text form.
const OTHERS_SHOWN: usize = 6;

/// The request to explain. A URL of `ws:` or `wss:` is a WebSocket, whatever the method.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: http::Method,
    /// `/v1/games/7?tags=a`, or a whole URL.
    pub url: http::Uri,
    /// For routes of one host; the URL's own when it has one.
    pub host: Option<String>,
    pub body: Option<Vec<u8>>,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// What the gateway would do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub request: String,
    /// The HTTP status of a request that goes no further; `None` for one that does.
    pub status: Option<u16>,
    /// Why it goes no further.
    pub message: Option<String>,
    pub route: Option<Winner>,
    /// What the route does beside: a key of its policy, and what it comes to.
    pub policy: Vec<(&'static str, String)>,
    pub bindings: Vec<Binding>,
    /// Fields at fault, and what is wrong with them.
    pub violations: Vec<(String, String)>,
    /// The message as JSON.
    pub sent: Option<Sent>,
    pub others: Vec<Loser>,
}

/// The route that takes the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Winner {
    pub rule: String,
    pub target: String,
    pub stream: &'static str,
    pub upstream: String,
    pub place: String,
}

/// One part of the request, and the field that it sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// `path`, `query`, `body` or `header`.
    pub from: &'static str,
    pub name: String,
    pub value: String,
    /// `game.id`, `labels[en]`; `*` for the whole message, words for what isn't a field of it. `None`
    /// when it sets nothing.
    pub field: Option<String>,
    /// Why it sets nothing.
    pub note: Option<String>,
}

/// The upstream message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// `/pkg.Service/Method`
    pub path: String,
    pub message: String,
    pub json: String,
}

/// A rule that didn't take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loser {
    pub rule: String,
    pub place: String,
    pub why: String,
}

/// Answers without sending anything.
#[must_use]
pub fn explain(live: &Live, question: &Question) -> Answer {
    let url = &question.url;
    let host = question.host.as_deref().or(url.host()).unwrap_or_default();
    let mut answer = Answer {
        request: format!("{} {}", question.method, url),
        status: None,
        message: None,
        route: None,
        policy: Vec::new(),
        bindings: Vec::new(),
        violations: Vec::new(),
        sent: None,
        others: Vec::new(),
    };
    let path = match RawPath::parse(url.path()) {
        Ok(path) => path,
        Err(error) => {
            answer.refuse(400, error.to_string());
            return answer;
        }
    };
    if matches!(url.scheme_str(), Some("ws" | "wss")) {
        answer.explain_socket(live, host, question);
        return answer;
    }
    let considered = live.table.explain(host, &question.method, &path);
    if answer.explain_by_name(live, host, &path, question) {
        return answer;
    }
    let won = match live.table.lookup(host, &question.method, &path) {
        Lookup::Matched(won) => won,
        Lookup::MethodNotAllowed { allow } => {
            let allow = allow.to_str().unwrap_or_default().to_owned();
            answer.refuse(405, format!("the path has rules for {allow} alone"));
            answer.others = losers(live, &considered, None);
            return answer;
        }
        Lookup::NotFound => {
            answer.refuse(404, "no route has this path".to_owned());
            answer.others = losers(live, &considered, None);
            return answer;
        }
    };
    answer.others = losers(live, &considered, Some(won.route));
    if let Some(route) = live.route(won.route) {
        answer.route = Some(winner(live, route));
        answer.policy = policy::lines(route);
        if let Target::Rpc(plan) = &route.target {
            answer.bind(live, route, plan, &won.captures, url.query(), question);
            let socket = live.socket_route(host, url.path(), url.query());
            if socket.is_some_and(|s| s.is_ok_and(|s| std::ptr::eq(s.route, route)))
                && plan.stream != StreamKind::Unary
            {
                answer
                    .policy
                    .insert(0, ("also", "a WebSocket on this path".to_owned()));
            }
        }
    }
    answer
}

impl Answer {
    /// What a WebSocket opens, and what goes into its first message beside what the client says there.
    fn explain_socket(&mut self, live: &Live, host: &str, question: &Question) {
        let url = &question.url;
        let opened = match live.socket_route(host, url.path(), url.query()) {
            Some(Ok(opened)) => opened,
            Some(Err(ambiguous)) => return self.refuse(400, ambiguous.to_string()),
            None => return self.refuse(404, "no method has this path".to_owned()),
        };
        self.route = Some(winner(live, opened.route));
        self.policy = policy::lines(opened.route);
        self.policy
            .insert(0, ("websocket", policy::socket_line(opened.plan)));
        let query = opened.query.as_deref();
        self.bind(
            live,
            opened.route,
            opened.plan,
            &opened.captures,
            query,
            question,
        );
    }

    fn refuse(&mut self, status: u16, message: String) {
        self.status = Some(status);
        self.message = Some(message);
    }

    fn fail(&mut self, failure: &Failure) {
        self.refuse(failure.http_status().as_u16(), failure.message.to_string());
        let pair = |v: &crate::failure::FieldViolation| (v.field.clone(), v.description.clone());
        self.violations = failure.violations.iter().map(pair).collect();
    }

    fn bind(
        &mut self,
        live: &Live,
        route: &Route,
        plan: &MethodPlan,
        captures: &[&str],
        query: Option<&str>,
        question: &Question,
    ) {
        let policy = QueryPolicy {
            unknown: route.policy.unknown_query,
            ignored: &route.policy.ignored_query_parameters,
            parameters_max: live.limits.query_parameters_max,
            partial: route.policy.partial_responses,
            compat: route.policy.compat,
        };
        self.list_path(plan, captures);
        self.list_query(plan, query, &policy);
        let mask = plan.mask_to_fill(query, &policy);
        self.list_body(plan, mask, question);
        let headers = headers::bindings(&question.headers, &route.policy);
        self.bindings.extend(headers);
        let limits = CodecLimits {
            depth_max: live.limits.depth_max,
            encoded_bytes_max: live.limits.message_bytes_max.bytes(),
        };
        let mut wire = Vec::new();
        let bound = encode_body(plan, mask, question, limits, &mut wire)
            .and_then(|()| plan.bind(captures, query, &policy, &mut wire))
            .and_then(|()| plan.selection(query, &policy));
        if let Err(failure) = bound {
            return self.fail(&failure);
        }
        // Printed with the route's own names, but in lines.
        let options = JsonOptions {
            pretty: true,
            ..plan.codec.options().clone()
        };
        let codec = Codec::build(std::sync::Arc::clone(plan.codec.schema()), options);
        let mut json = Vec::new();
        let printed = codec.print(JsonTarget::Message(plan.input), &wire, limits, &mut json);
        let message = plan.codec.schema().message(plan.input);
        self.sent = Some(Sent {
            path: plan.grpc_path.to_string(),
            message: message.map(|m| m.full_name.to_string()).unwrap_or_default(),
            json: match printed {
                Ok(()) => String::from_utf8_lossy(&json).into_owned(),
                Err(error) => format!("can't be printed: {error}"),
            },
        });
    }

    fn list_path(&mut self, plan: &MethodPlan, captures: &[&str]) {
        for (binding, raw) in plan.path.iter().zip(captures) {
            let value = decode_capture(raw, binding.multi).unwrap_or_default();
            self.bindings.push(Binding {
                from: "path",
                name: format!("{{{}}}", binding.name),
                value: value.into_owned(),
                field: Some(field_path(plan, &binding.fields, None)),
                note: None,
            });
        }
    }

    fn list_query(&mut self, plan: &MethodPlan, query: Option<&str>, policy: &QueryPolicy<'_>) {
        for parameter in parameters(query.unwrap_or_default()) {
            let (name, value, found) = match &parameter {
                Ok(p) => (&*p.name, &*p.value, plan.query_field(&p.name)),
                Err(bad) => {
                    let note = "has a broken percent escape or is not UTF-8";
                    self.push_query(bad.name, "", None, Some(note.to_owned()));
                    continue;
                }
            };
            if policy.ignored.iter().any(|i| **i == *name) {
                self.push_query(name, value, None, Some("ignored by the config".to_owned()));
                continue;
            }
            if plan.is_selector(name, policy) {
                let field = "the fields of the reply".to_owned();
                self.push_query(name, value, Some(field), None);
                continue;
            }
            match found {
                Err(QueryFault::Unknown { .. } | QueryFault::NoQuery)
                    if policy.unknown == UnknownQuery::Capture && plan.http_body().is_some() =>
                {
                    let path = match plan.http_body() {
                        Some(HttpBodyAt::Field(f)) => field_path(plan, &[f], None) + ".extensions",
                        _ => "extensions".to_owned(),
                    };
                    self.push_query(name, value, Some(path), Some("captured".to_owned()));
                }
                Ok(field) => {
                    let path = field_path(plan, &field.chain, field.key);
                    self.push_query(name, value, Some(path), None);
                }
                Err(fault) => {
                    let mut note = fault.to_string();
                    if let Some(meant) = fault.suggestion(plan) {
                        note.push_str(&format!("; did you mean {meant:?}?"));
                    }
                    self.push_query(name, value, None, Some(note));
                }
            }
        }
    }

    fn push_query(&mut self, name: &str, value: &str, field: Option<String>, note: Option<String>) {
        self.bindings.push(Binding {
            from: "query",
            name: name.to_owned(),
            value: value.to_owned(),
            field,
            note,
        });
    }

    fn list_body(&mut self, plan: &MethodPlan, mask: Option<FieldRef>, question: &Question) {
        let field = match plan.body {
            BodyRule::None => None,
            BodyRule::Whole | BodyRule::RawWhole => Some("*".to_owned()),
            BodyRule::Field(f) | BodyRule::RawField(f) => Some(field_path(plan, &[f], None)),
        };
        let note = match (&field, &question.body) {
            (None, None) => return,
            (None, Some(_)) => Some("the rule takes no body".to_owned()),
            (Some(_), None) => Some("none given: try --body".to_owned()),
            (Some(_), Some(_)) => None,
        };
        let form = match plan.body {
            BodyRule::RawWhole | BodyRule::RawField(_) => "raw",
            _ => "JSON",
        };
        self.bindings.push(Binding {
            from: "body",
            name: form.to_owned(),
            value: question
                .body
                .as_ref()
                .map(|b| format!("{} bytes", b.len()))
                .unwrap_or_default(),
            field,
            note,
        });
        if let Some(mask) = mask {
            self.bindings.push(Binding {
                from: "body",
                name: "field names".to_owned(),
                value: String::new(),
                field: Some(field_path(plan, &[mask], None)),
                note: Some("the query gives no mask".to_owned()),
            });
        }
    }

    /// The text form.
    ///
    /// # Errors
    /// Of the writer.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.request)?;
        if let Some(route) = &self.route {
            let Winner {
                rule,
                target,
                stream,
                upstream,
                place,
            } = route;
            writeln!(out, "  matches {rule} ({place})")?;
            let kind = if stream.is_empty() {
                String::new()
            } else {
                format!(" ({stream})")
            };
            match upstream.is_empty() {
                true => writeln!(out, "  goes to {target}{kind}")?,
                false => writeln!(out, "  goes to {target}{kind} on upstream {upstream}")?,
            }
        }
        for (key, text) in &self.policy {
            writeln!(out, "  {key}: {text}")?;
        }
        if let (Some(status), Some(message)) = (self.status, &self.message) {
            writeln!(out, "  refused with {status}: {message}")?;
        }
        self.print_bindings(out)?;
        if self.violations.len() > 1 {
            writeln!(out, "\nfaults")?;
            for (field, what) in &self.violations {
                writeln!(out, "  {field}: {what}")?;
            }
        }
        if let Some(sent) = &self.sent {
            writeln!(out, "\nmessage {} for {}", sent.message, sent.path)?;
            for line in sent.json.lines() {
                writeln!(out, "  {line}")?;
            }
        }
        if !self.others.is_empty() {
            writeln!(out, "\nwhy others lost")?;
            let cells = |l: &Loser| {
                [
                    format!("  {}", l.rule),
                    l.why.clone(),
                    format!("({})", l.place),
                ]
            };
            let near = self.others.iter().take(OTHERS_SHOWN).map(cells);
            print_cells(near.collect(), out)?;
        }
        let more = self.others.len().saturating_sub(OTHERS_SHOWN);
        if more > 0 {
            writeln!(
                out,
                "  and {more} that are further off: --format json has them"
            )?;
        }
        Ok(())
    }

    fn print_bindings(&self, out: &mut impl Write) -> io::Result<()> {
        if self.bindings.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nbindings")?;
        let cells = |b: &Binding| {
            let goes = match (&b.field, &b.note) {
                (Some(field), Some(note)) => format!("→ {field} ({note})"),
                (Some(field), None) => format!("→ {field}"),
                (None, note) => format!("✗ {}", note.as_deref().unwrap_or_default()),
            };
            let value = match b.from {
                "body" => b.value.clone(),
                _ => format!("{:?}", b.value),
            };
            [format!("  {}", b.from), b.name.clone(), value, goes]
        };
        print_cells(self.bindings.iter().map(cells).collect(), out)
    }
}

fn print_cells<const N: usize>(cells: Vec<[String; N]>, out: &mut impl Write) -> io::Result<()> {
    let lines: Vec<Vec<&str>> = cells
        .iter()
        .map(|line| line.iter().map(String::as_str).collect())
        .collect();
    print_table(&lines, out)
}

fn winner(live: &Live, route: &Route) -> Winner {
    let (target, kind) = match &route.target {
        Target::Rpc(plan) => (
            format!("{}/{}", plan.service, plan.method),
            stream(plan.stream),
        ),
        other => (plain(other).to_owned(), ""),
    };
    Winner {
        rule: route.rule.to_string(),
        target,
        stream: kind,
        upstream: upstream_name(live, route),
        place: route.place.to_string(),
    }
}

fn losers(live: &Live, considered: &[Considered], won: Option<RouteId>) -> Vec<Loser> {
    let lost = considered.iter().filter(|c| Some(c.route) != won);
    let loser = |c: &Considered| Loser {
        rule: c.rule.to_string(),
        place: c.place.to_string(),
        why: why(live, &c.verdict),
    };
    lost.map(loser).collect()
}

fn why(live: &Live, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Wins => "matches".to_owned(),
        Verdict::LessSpecific { than, segment } => {
            let other = live.route(*than).map(|r| &*r.rule).unwrap_or_default();
            format!(
                "matches too, but {other} is more specific in segment {}",
                segment + 1
            )
        }
        Verdict::WrongMethod { accepts } => format!("takes {accepts} alone"),
        Verdict::WrongHost => "is for another host".to_owned(),
        Verdict::Differs {
            segment,
            wants,
            has,
        } => {
            format!("segment {} is {has:?}, not {wants:?}", segment + 1)
        }
        Verdict::Shape { why } => why.to_string(),
    }
}

/// `game.id`, `labels[en]`, in proto names.
fn field_path(plan: &MethodPlan, chain: &[FieldRef], key: Option<&str>) -> String {
    let schema = plan.codec.schema();
    let names: Vec<&str> = chain
        .iter()
        .filter_map(|f| Some(&*schema.field(*f)?.name))
        .collect();
    let path = names.join(".");
    match key {
        Some(key) => format!("{path}[{key}]"),
        None => path,
    }
}

/// The body's part of the message.
fn encode_body(
    plan: &MethodPlan,
    mask: Option<FieldRef>,
    question: &Question,
    limits: CodecLimits,
    wire: &mut Vec<u8>,
) -> Result<(), Failure> {
    let Some(body) = question.body.as_deref().filter(|b| !b.is_empty()) else {
        return Ok(());
    };
    match plan.body_target() {
        None => {
            plan.bind_raw_body("application/octet-stream", body, wire);
            Ok(())
        }
        Some(target) => plan
            .encode_body(target, mask, body, limits, wire)
            .map_err(|error| {
                let failure = Failure::client(format!("body: {error}"));
                match error.path.is_empty() {
                    true => failure,
                    false => failure.violation(error.path, error.what),
                }
            }),
    }
}

#[cfg(test)]
mod tests;
