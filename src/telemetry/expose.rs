//! Prometheus' text of all numbers.
//!
//! Names are those of OpenTelemetry's conventions where they have one, `transom_*` where not.

use std::collections::BTreeMap;

use prometheus::core::Collector as _;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use crate::snapshot::Generation;

use super::histogram::Histogram;
use super::report::{UpstreamReport, WorkerReport};
use super::series::Label;
use super::sink::SinkReport;

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
    /// What became of lines of logs.
    pub logs: Vec<SinkReport>,
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
}

/// The text, and its content type.
#[must_use]
pub fn expose(workers: &[WorkerReport], process: &Process) -> (Vec<u8>, String) {
    let mut families = Vec::new();
    routes(workers, &mut families);
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
        let mut shown = prometheus::proto::Histogram::default();
        shown.set_sample_count(histogram.count());
        shown.set_sample_sum(histogram.seconds());
        let buckets = histogram.cumulative().map(|(end, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(end);
            bucket.set_cumulative_count(count);
            bucket
        });
        shown.set_bucket(buckets.collect());
        metric.set_histogram(shown);
        durations.mut_metric().push(metric);
    }
    families.push(durations);
}

fn upstreams(workers: &[WorkerReport], families: &mut Vec<MetricFamily>) {
    type Read = fn(&UpstreamReport) -> u64;
    let counted: [(&str, &str, Read); 6] = [
        (
            "calls",
            "Calls, each once however often it was sent.",
            |u| u.calls,
        ),
        (
            "retries",
            "Further attempts at calls that had failed.",
            |u| u.retries,
        ),
        (
            "retries_over_budget",
            "Failed calls that the retry budget kept from another attempt.",
            |u| u.over_budget,
        ),
        (
            "resent",
            "Calls sent again since the upstream had not begun on them.",
            |u| u.resent,
        ),
        (
            "refused",
            "Calls refused since the upstream had as many as it may have.",
            |u| u.refused,
        ),
        (
            "ejections",
            "Instances left out for what became of their calls.",
            |u| u.ejections,
        ),
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
    let mut shown = family(
        "transom_upstream_in_flight",
        "Calls under way.",
        MetricType::GAUGE,
    );
    for (upstream, count) in by_upstream(workers, |u| u.in_flight) {
        let metric = gauge(&[("upstream", upstream)], as_float(count));
        shown.mut_metric().push(metric);
    }
    families.push(shown);
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
    for (name, about, is) in [
        (
            "transom_upstream_endpoint_healthy",
            "Whether an instance says that it can serve.",
            (|e: &Endpoint| e.healthy) as fn(&Endpoint) -> bool,
        ),
        (
            "transom_upstream_endpoint_ejected",
            "Whether an instance is left out for what became of its calls.",
            |e| e.ejected,
        ),
    ] {
        let mut shown = family(name, about, MetricType::GAUGE);
        for (upstream, endpoint, state) in &process.endpoints {
            let labels = [("endpoint", &**endpoint), ("upstream", &**upstream)];
            let value = f64::from(u8::from(is(state)));
            shown.mut_metric().push(gauge(&labels, value));
        }
        families.push(shown);
    }
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
