//! What the live page shows, as one value: numbers only ever grow, so that whoever asks again knows what
//! happened in between.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::config::model::Upstream;
use crate::control::reload::{Past, Status};
use crate::explain::{Question, explain};
use crate::live::{Live, Target};
use crate::telemetry::{BUCKETS, Histogram, Label, Mishap, WorkerReport};
use crate::transcode::bind::parameters;

/// Failed exchanges that are told of each kind.
const MISHAPS_SHOWN: usize = 40;

/// Lines that are told of what one reload changed.
const CHANGES_SHOWN: usize = 40;

/// One route's numbers, of all workers.
#[derive(Default)]
struct Sum {
    times: Histogram,
    /// By hundreds of the status.
    statuses: BTreeMap<u16, u64>,
    faults: [u64; 3],
    received: u64,
    sent: u64,
}

/// What the workers and the reloads tell.
pub(super) fn all(live: &Live, workers: &[WorkerReport], status: &Status) -> Map<String, Value> {
    type Read = fn(&WorkerReport) -> u64;
    let sum = |read: Read| json!(workers.iter().map(read).fold(0, u64::saturating_add));
    let load = live
        .upstreams
        .iter()
        .map(|one| (one.name.to_string(), upstream(one, workers)));
    let history = status.history.iter().map(|one| past(one));
    let parts = [
        ("at", json!(seconds(SystemTime::now()))),
        ("connections", sum(|w| w.connections)),
        ("active", sum(|w| w.active)),
        ("streams", sum(|w| w.streams)),
        ("configured_routes", json!(live.routes.len())),
        ("bucket_ends", bucket_ends()),
        ("routes", routes(live, workers)),
        ("load", load.collect()),
        ("errors", mishaps(workers)),
        ("limits", limits(workers)),
        ("history", history.collect()),
    ];
    parts
        .into_iter()
        .map(|(name, part)| (name.to_owned(), part))
        .collect()
}

/// Traffic by route.
fn routes(live: &Live, workers: &[WorkerReport]) -> Value {
    let mut known: HashMap<Label, (Option<&str>, Option<&str>)> = HashMap::new();
    for route in live.numbered() {
        let upstream = route
            .upstream
            .and_then(|id| live.upstreams.get(id.0 as usize));
        let rpc = match &route.target {
            Target::Rpc(plan) => Some(plan.grpc_path.as_str().trim_start_matches('/')),
            _ => None,
        };
        known.insert(Label::of(&route.rule), (upstream.map(|u| &*u.name), rpc));
    }
    let mut sums: BTreeMap<&Label, Sum> = BTreeMap::new();
    for report in workers.iter().flat_map(|worker| &worker.routes) {
        let sum = sums.entry(&report.label).or_default();
        for (status, times) in &report.times {
            sum.times.add(times);
            let count = sum.statuses.entry(status / 100).or_default();
            *count = count.saturating_add(times.count());
        }
        for (mine, theirs) in sum.faults.iter_mut().zip(report.faults) {
            *mine = mine.saturating_add(theirs);
        }
        sum.received = sum.received.saturating_add(report.received);
        sum.sent = sum.sent.saturating_add(report.sent);
    }
    let rows = sums.into_iter().map(|(label, sum)| {
        let (upstream, rpc) = known.get(label).copied().unwrap_or_default();
        let [client, gateway, upstream_faults] = sum.faults;
        let statuses = sum
            .statuses
            .iter()
            .map(|(s, n)| (format!("{s}xx"), json!(n)));
        json!({
            "method": &*label.method,
            "route": &*label.route,
            "rpc": rpc,
            "upstream": upstream,
            "configured": known.contains_key(label),
            "count": sum.times.count(),
            "seconds": sum.times.seconds(),
            "buckets": sum.times.cumulative().map(|(_, count)| count).collect::<Vec<_>>(),
            "statuses": statuses.collect::<Value>(),
            "faults": { "client": client, "gateway": gateway, "upstream": upstream_faults },
            "received": sum.received,
            "sent": sum.sent,
        })
    });
    rows.collect()
}

/// Upper ends of the buckets, in seconds.
fn bucket_ends() -> Value {
    let ends = BUCKETS.iter().map(|micros| {
        let end = std::time::Duration::from_micros(*micros);
        json!(end.as_secs_f64())
    });
    ends.collect()
}

/// What the workers know of upstreams, beside their instances.
fn upstream(upstream: &Upstream, workers: &[WorkerReport]) -> Value {
    let of_it = workers.iter().flat_map(|worker| &worker.upstreams);
    let reports: Vec<_> = of_it
        .filter(|report| *report.name == *upstream.name)
        .collect();
    type Read = fn(&crate::telemetry::UpstreamReport) -> u64;
    let sum = |read: Read| reports.iter().map(|r| read(r)).fold(0, u64::saturating_add);
    json!({
        "connections": sum(|r| r.connections),
        "in_flight": sum(|r| r.in_flight),
        "calls": sum(|r| r.counted.calls),
        "retries": sum(|r| r.counted.retries),
        "refused": sum(|r| r.counted.refused),
        "not_connected": sum(|r| r.counted.not_connected),
    })
}

/// The last exchanges that failed, the newest first.
fn mishaps(workers: &[WorkerReport]) -> Value {
    let mut all: Vec<&Mishap> = workers.iter().flat_map(|w| &w.mishaps).collect();
    all.sort_by_key(|mishap| std::cmp::Reverse(mishap.at));
    let mut of_clients = 0_usize;
    let mut of_others = 0_usize;
    let shown = all.into_iter().filter(|mishap| {
        let count = match mishap.blame {
            "client" => &mut of_clients,
            _ => &mut of_others,
        };
        *count = count.saturating_add(1);
        *count <= MISHAPS_SHOWN
    });
    shown.map(mishap).collect()
}

fn mishap(mishap: &Mishap) -> Value {
    json!({
        "at": seconds(mishap.at),
        "milliseconds": u64::try_from(mishap.took.as_millis()).unwrap_or(u64::MAX),
        "method": mishap.method,
        "path": mishap.path,
        "host": mishap.host,
        "request_id": mishap.request_id,
        "status": mishap.status,
        "code": mishap.code,
        "blame": mishap.blame,
        "message": mishap.message,
        "rule": mishap.rule,
        "upstream": mishap.upstream,
        "endpoint": mishap.endpoint,
    })
}

/// Bounds that were met, and how often.
fn limits(workers: &[WorkerReport]) -> Value {
    let mut sums: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for count in workers.iter().flat_map(|worker| &worker.counts) {
        let name = (count.name, count.label.1, count.about);
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(count.value);
    }
    let met = sums.into_iter().filter(|(_, count)| *count > 0);
    met.map(|((name, label, about), count)| {
        json!({ "name": name, "label": label, "about": about, "count": count })
    })
    .collect()
}

/// A reload that is over: why it failed, or the first of what it changed, each line with its kind.
fn past(past: &Past) -> Value {
    let changes = &past.changes;
    let breaking: Vec<String> = changes.breaking.iter().map(ToString::to_string).collect();
    let kinds = [
        ("breaking", &breaking),
        ("added", &changes.added),
        ("removed", &changes.removed),
        ("moved", &changes.moved),
        ("altered", &changes.altered),
        ("risky", &changes.risky),
        ("listener", &past.listeners),
    ];
    let count: usize = kinds.iter().map(|(_, lines)| lines.len()).sum();
    let lines = kinds
        .iter()
        .flat_map(|(kind, lines)| lines.iter().map(move |line| json!([kind, line])));
    json!({
        "at": seconds(past.at),
        "generation": past.generation.map(|g| g.0),
        "error": past.error.as_deref(),
        "changes": lines.take(CHANGES_SHOWN).collect::<Vec<_>>(),
        "more": count.saturating_sub(CHANGES_SHOWN),
    })
}

/// What becomes of a request: `method`, `url`, and where wanted `host`, `body` and `header` (several,
/// `name: value`).
///
/// # Errors
/// What is wrong with the question.
pub(super) fn explained(live: &Live, query: &str) -> Result<Value, String> {
    let mut question = Question {
        method: http::Method::GET,
        url: http::Uri::default(),
        host: None,
        body: None,
        headers: Vec::new(),
    };
    let mut asked = false;
    for parameter in parameters(query) {
        let parameter = parameter.map_err(|_| "the query can't be read".to_owned())?;
        let value = &*parameter.value;
        match &*parameter.name {
            "method" => {
                let method = value.to_ascii_uppercase().parse();
                question.method = method.map_err(|_| format!("{value:?} is not an HTTP method"))?;
            }
            "url" => {
                asked = true;
                let whole = value.starts_with('/') || value.contains("://");
                let url = value.parse().ok().filter(|_| whole);
                question.url = url.ok_or_else(|| {
                    format!("{value:?} is neither a path, such as `/v1/games?tags=a`, nor a URL")
                })?;
            }
            "host" if !value.is_empty() => question.host = Some(value.to_owned()),
            "body" if !value.is_empty() => question.body = Some(value.as_bytes().to_vec()),
            "header" if !value.trim().is_empty() => {
                let pair = value.split_once(':').and_then(|(name, value)| {
                    let name = http::HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                    Some((name, http::HeaderValue::from_str(value.trim()).ok()?))
                });
                let wrong = || format!("{value:?} is no header, such as `x-tenant: acme`");
                question.headers.push(pair.ok_or_else(wrong)?);
            }
            _ => {}
        }
    }
    if !asked {
        return Err("which request? ask with `?method=GET&url=/v1/games`".to_owned());
    }
    let answer = explain(live, &question);
    serde_json::to_value(&answer).map_err(|error| error.to_string())
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
