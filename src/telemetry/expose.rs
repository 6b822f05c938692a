//! Prometheus' text of all numbers.
//!
//! Names are those of OpenTelemetry's conventions where they have one, `transom_*` where not.

mod calls;
mod instances;

use std::collections::BTreeMap;

use prometheus::core::Collector as _;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use crate::snapshot::Generation;

use super::histogram::Histogram;
use super::report::{UpstreamReport, WorkerReport};
use super::series::Label;
use super::sink::SinkReport;
use super::trace::SpanReport;

/// What is known beside the workers' reports.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub version: &'static str,
    pub generation: u64,
    pub reloads_succeeded: u64,
    pub reloads_failed: u64,
    /// Whether the last one succeeded.
    pub reload_successful: bool,
    /// Seconds since 1970 of the last that did.
    pub reloaded_at: f64,
    /// Upstream, instance, and whether calls go there.
    pub endpoints: Vec<(String, String, Endpoint)>,
    /// Calls that wait, by upstream.
    pub waiting: Vec<(String, u64)>,
    /// What became of lines of logs.
    pub logs: Vec<SinkReport>,
    /// What became of spans, where there is tracing.
    pub spans: Option<SpanReport>,
    /// Of others.
    pub facts: Vec<Facts>,
}

/// Numbers of one name, each with its labels.
#[derive(Clone, Debug)]
pub struct Facts {
    pub name: &'static str,
    pub about: &'static str,
    /// Whether they only ever grow.
    pub counts: bool,
    pub rows: Vec<(Vec<(&'static str, String)>, f64)>,
}

/// What calls make of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub healthy: bool,
    pub ejected: bool,
    /// Checks of its health that went well, and that didn't.
    pub checks: [u64; 2],
}

/// The text, and its content type.
#[must_use]
pub fn expose(workers: &[WorkerReport], process: &Process) -> (Vec<u8>, String) {
    let mut families = Vec::new();
    routes(workers, &mut families);
    calls::put(workers, &mut families);
    upstreams(workers, &mut families);
    counts(workers, &mut families);
    of_process(workers, process, &mut families);
    families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families.retain(|f| !f.get_metric().is_empty());
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    if let Err(error) = encoder.encode(&families, &mut text) {
        tracing::error!(%error, "metrics can't be told");
    }
    (text, encoder.format_type().to_owned())
}

/// Old generations that are in use, and by how many requests and streams.
#[must_use]
pub fn old_generations(workers: &[WorkerReport]) -> BTreeMap<Generation, u64> {
    let mut all = BTreeMap::new();
    for (generation, users) in workers.iter().flat_map(|w| &w.past) {
        *all.entry(*generation).or_default() += users;
    }
    all
}

fn routes(workers: &[WorkerReport], families: &mut Vec<MetricFamily>) {
    let mut times: BTreeMap<(&Label, u16), Histogram> = BTreeMap::new();
    for route in workers.iter().flat_map(|w| &w.routes) {
        for (status, histogram) in &route.times {
            times
                .entry((&route.label, *status))
                .or_default()
                .add(histogram);
        }
    }
    let mut durations = family(
        "http_server_request_duration_seconds",
        "From a request's head to its reply's, by route.",
        MetricType::HISTOGRAM,
    );
    for ((label, status), histogram) in times {
        let status = match status {
            0 => "other".to_owned(),
            n => n.to_string(),
        };
        let mut metric = labelled(&[
            ("http_request_method", &label.method),
            ("http_response_status_code", &status),
            ("http_route", &label.route),
        ]);
        metric.set_histogram(shown(&histogram, |_| true));
        durations.mut_metric().push(metric);
    }
    families.push(durations);
    traffic(workers, families);
}

/// A histogram with those of its buckets that are wanted.
fn shown(histogram: &Histogram, wanted: impl Fn(f64) -> bool) -> prometheus::proto::Histogram {
    let mut shown = prometheus::proto::Histogram::default();
    shown.set_sample_count(histogram.count());
    shown.set_sample_sum(histogram.seconds());
    let buckets = histogram.cumulative().filter(|(end, _)| wanted(*end));
    let buckets = buckets.map(|(end, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(end);
        bucket.set_cumulative_count(count);
        bucket
    });
    shown.set_bucket(buckets.collect());
    shown
}

/// Bytes and faults by route.
fn traffic(workers: &[WorkerReport], families: &mut Vec<MetricFamily>) {
    let mut sums: BTreeMap<&Label, ([u64; 2], [u64; 3])> = BTreeMap::new();
    for route in workers.iter().flat_map(|w| &w.routes) {
        let (bytes, faults) = sums.entry(&route.label).or_default();
        for (sum, more) in bytes.iter_mut().zip([route.received, route.sent]) {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in faults.iter_mut().zip(route.faults) {
            *sum = sum.saturating_add(more);
        }
    }
    let mut received = family(
        "transom_request_body_bytes_total",
        "Bytes of request bodies, by route, as they came.",
        MetricType::COUNTER,
    );
    let mut sent = family(
        "transom_response_body_bytes_total",
        "Bytes of reply bodies, by route, as they went out.",
        MetricType::COUNTER,
    );
    let mut faulty = family(
        "transom_faults_total",
        "Exchanges that failed, by route and by whose fault it was.",
        MetricType::COUNTER,
    );
    for (label, ([bytes_in, bytes_out], faults)) in sums {
        let (method, route) = (&*label.method, &*label.route);
        let labels = [("http_request_method", method), ("http_route", route)];
        received.mut_metric().push(counter(&labels, bytes_in));
        sent.mut_metric().push(counter(&labels, bytes_out));
        for (whose, count) in ["client", "gateway", "upstream"].into_iter().zip(faults) {
            let labels = [
                ("fault", whose),
                ("http_request_method", method),
                ("http_route", route),
            ];
            faulty.mut_metric().push(counter(&labels, count));
        }
    }
    families.extend([received, sent, faulty]);
}

fn upstreams(workers: &[WorkerReport], families: &mut Vec<MetricFamily>) {
    type Read = fn(&UpstreamReport) -> u64;
    let counted: [(&str, &str, Read); 15] = [
        (
            "calls",
            "Calls, each once however often it was sent.",
            |u| u.counted.calls,
        ),
        (
            "retries",
            "Further attempts at calls that had failed.",
            |u| u.counted.retries,
        ),
        (
            "retries_over_budget",
            "Failed calls that the retry budget kept from another attempt.",
            |u| u.counted.over_budget,
        ),
        (
            "resent",
            "Calls sent again since the upstream had not begun on them.",
            |u| u.counted.resent,
        ),
        (
            "refused",
            "Calls refused since the upstream had as many as it may have.",
            |u| u.counted.refused,
        ),
        (
            "ejections",
            "Instances left out for what became of their calls.",
            |u| u.counted.ejections,
        ),
        ("connections_opened", "Connections opened.", |u| {
            u.counted.connected
        }),
        (
            "connection_failures",
            "Attempts to connect that failed.",
            |u| u.counted.not_connected,
        ),
        (
            "connections_aged",
            "Connections replaced for their age.",
            |u| u.counted.aged,
        ),
        (
            "connections_idle_closed",
            "Connections closed since they had no calls.",
            |u| u.counted.idled,
        ),
        (
            "connections_silent",
            "Connections given up since calls waited in vain and nothing came at all.",
            |u| u.counted.silent,
        ),
        (
            "connections_at_max",
            "Times that one more connection was wanted, and there were as many as may be.",
            |u| u.counted.at_connections_max,
        ),
        (
            "connections_queue_full",
            "Calls that found as many waiting for a connection as may.",
            |u| u.counted.at_waiting_max,
        ),
        (
            "hedges",
            "Sendings of calls beside one that was slow.",
            |u| u.counted.hedges,
        ),
        ("hedges_won", "Those of them that answered first.", |u| {
            u.counted.hedges_won
        }),
    ];
    for (name, about, read) in counted {
        let name = format!("transom_upstream_{name}_total");
        let mut shown = family(&name, about, MetricType::COUNTER);
        for (upstream, count) in by_upstream(workers, read) {
            shown
                .mut_metric()
                .push(counter(&[("upstream", upstream)], count));
        }
        families.push(shown);
    }
    let now: [(&str, &str, Read); 2] = [
        ("in_flight", "Calls under way.", |u| u.in_flight),
        (
            "connections",
            "Open connections to the instances of an upstream.",
            |u| u.connections,
        ),
    ];
    for (name, about, read) in now {
        let name = format!("transom_upstream_{name}");
        let mut shown = family(&name, about, MetricType::GAUGE);
        for (upstream, count) in by_upstream(workers, read) {
            let metric = gauge(&[("upstream", upstream)], as_float(count));
            shown.mut_metric().push(metric);
        }
        families.push(shown);
    }
}

fn by_upstream(workers: &[WorkerReport], read: fn(&UpstreamReport) -> u64) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for upstream in workers.iter().flat_map(|w| &w.upstreams) {
        *sums.entry(upstream.name.as_str()).or_default() += read(upstream);
    }
    sums
}

fn counts(workers: &[WorkerReport], families: &mut Vec<MetricFamily>) {
    let mut sums: BTreeMap<&str, (&str, BTreeMap<(&str, &str), u64>)> = BTreeMap::new();
    for count in workers.iter().flat_map(|w| &w.counts) {
        let (_, values) = sums
            .entry(count.name)
            .or_insert((count.about, BTreeMap::new()));
        *values.entry(count.label).or_default() += count.value;
    }
    for (name, (about, values)) in sums {
        let mut shown = family(&format!("transom_{name}_total"), about, MetricType::COUNTER);
        for (label, value) in values {
            let labels: &[_] = if label.0.is_empty() { &[] } else { &[label] };
            shown.mut_metric().push(counter(labels, value));
        }
        families.push(shown);
    }
}

fn of_process(workers: &[WorkerReport], process: &Process, families: &mut Vec<MetricFamily>) {
    let mut one = |name: &str, about: &str, labels: &[(&str, &str)], value: f64| {
        let mut shown = family(name, about, MetricType::GAUGE);
        shown.mut_metric().push(gauge(labels, value));
        families.push(shown);
    };
    let open = workers.iter().map(|w| w.connections).sum();
    one(
        "transom_connections",
        "Open client connections.",
        &[],
        as_float(open),
    );
    let tasks = workers.iter().map(|w| w.tasks).sum();
    one(
        "transom_tasks",
        "Tasks of the workers: some for each connection, one for each HTTP/2 stream.",
        &[],
        as_float(tasks),
    );
    let streams = workers.iter().map(|w| w.streams).sum();
    one(
        "transom_streams",
        "Exchanges whose replies have begun and go on.",
        &[],
        as_float(streams),
    );
    let sockets = workers.iter().map(|w| w.sockets).sum();
    one(
        "transom_websockets",
        "Open WebSockets, those of proxied sites apart.",
        &[],
        as_float(sockets),
    );
    let active = workers.iter().map(|w| w.active).sum();
    one(
        "http_server_active_requests",
        "Requests whose replies have not begun.",
        &[],
        as_float(active),
    );
    one(
        "transom_build_info",
        "One; the version is its label.",
        &[("version", process.version)],
        1.0,
    );
    one(
        "transom_config_generation",
        "Generations of config and descriptors that have been served.",
        &[],
        as_float(process.generation),
    );
    one(
        "transom_config_generations_in_use",
        "The generation that is served, and old ones that requests and streams go on with.",
        &[],
        as_float(old_generations(workers).len().saturating_add(1) as u64),
    );
    one(
        "transom_config_old_generation_users",
        "Requests and streams that go on with the generation that they began with.",
        &[],
        as_float(old_generations(workers).values().sum()),
    );
    one(
        "transom_config_last_reload_successful",
        "Whether the last reload succeeded: 0 means that an old generation serves on.",
        &[],
        f64::from(u8::from(process.reload_successful)),
    );
    one(
        "transom_config_last_reload_success_timestamp_seconds",
        "When the generation that is served was taken up.",
        &[],
        process.reloaded_at,
    );
    let mut reloads = family(
        "transom_config_reloads_total",
        "Reloads by what came of them.",
        MetricType::COUNTER,
    );
    for (result, count) in [
        ("success", process.reloads_succeeded),
        ("failure", process.reloads_failed),
    ] {
        reloads
            .mut_metric()
            .push(counter(&[("result", result)], count));
    }
    families.push(reloads);
    let mut lines = family(
        "transom_log_lines_total",
        "Lines of logs by what became of them: dropped are those that the output was too slow for, or refused.",
        MetricType::COUNTER,
    );
    for log in &process.logs {
        for (result, count) in [("written", log.written), ("dropped", log.dropped)] {
            let labels = [("output", &*log.output), ("result", result)];
            lines.mut_metric().push(counter(&labels, count));
        }
    }
    families.push(lines);
    if let Some(report) = process.spans {
        let mut spans = family(
            "transom_trace_spans_total",
            "Spans by what became of them: dropped are those that there was no room for while the \
             collector was slow, failed those that it didn't take.",
            MetricType::COUNTER,
        );
        for (result, count) in [
            ("exported", report.exported),
            ("dropped", report.dropped),
            ("failed", report.failed),
        ] {
            spans
                .mut_metric()
                .push(counter(&[("result", result)], count));
        }
        families.push(spans);
    }
    let mut transcoded = family(
        "transom_transcode_seconds_total",
        "Time spent on making messages of JSON (request) and JSON of messages (reply).",
        MetricType::COUNTER,
    );
    for (at, direction) in ["request", "reply"].into_iter().enumerate() {
        let of = |w: &WorkerReport| w.transcoded.get(at).copied().unwrap_or_default();
        let nanos: u64 = workers.iter().map(of).sum();
        let mut metric = labelled(&[("direction", direction)]);
        let mut counter = Counter::default();
        counter.set_value(std::time::Duration::from_nanos(nanos).as_secs_f64());
        metric.set_counter(counter);
        transcoded.mut_metric().push(metric);
    }
    families.push(transcoded);
    let mut waiting = family(
        "transom_upstream_queue",
        "Calls that wait since the upstream has as many as it may have.",
        MetricType::GAUGE,
    );
    for (upstream, count) in &process.waiting {
        let metric = gauge(&[("upstream", upstream)], as_float(*count));
        waiting.mut_metric().push(metric);
    }
    families.push(waiting);
    instances::put(process, families);
    families.extend(process.facts.iter().map(facts));
}

fn facts(facts: &Facts) -> MetricFamily {
    let kind = match facts.counts {
        true => MetricType::COUNTER,
        false => MetricType::GAUGE,
    };
    let mut shown = family(facts.name, facts.about, kind);
    for (labels, value) in &facts.rows {
        let labels: Vec<_> = labels.iter().map(|(name, l)| (*name, l.as_str())).collect();
        let mut metric = labelled(&labels);
        if facts.counts {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
        shown.mut_metric().push(metric);
    }
    shown
}

fn family(name: &str, help: &str, kind: MetricType) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}

fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut metric = labelled(labels);
    let mut counter = Counter::default();
    counter.set_value(as_float(value));
    metric.set_counter(counter);
    metric
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut metric = labelled(labels);
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

/// Prometheus has doubles alone; above 2^53 the last digits go.
#[expect(
    clippy::cast_precision_loss,
    reason = "the exposition format has no integers"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}
