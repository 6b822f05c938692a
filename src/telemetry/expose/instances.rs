//! Numbers of the instances of upstreams.

use std::collections::BTreeMap;

use prometheus::proto::{MetricFamily, MetricType};

use super::{Endpoint, Process, as_float, counter, family, gauge};

pub(super) fn put(process: &Process, families: &mut Vec<MetricFamily>) {
    endpoints(process, families);
    checks(process, families);
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
}

/// What asking instances how they are has come to.
fn checks(process: &Process, families: &mut Vec<MetricFamily>) {
    let mut checks = family(
        "transom_upstream_health_checks_total",
        "Times that an instance was asked how it is, by what came of it.",
        MetricType::COUNTER,
    );
    for (upstream, endpoint, state) in &process.endpoints {
        let [passed, failed] = state.checks;
        for (result, count) in [("success", passed), ("failure", failed)] {
            if passed > 0 || failed > 0 {
                let labels = [
                    ("endpoint", &**endpoint),
                    ("result", result),
                    ("upstream", &**upstream),
                ];
                checks.mut_metric().push(counter(&labels, count));
            }
        }
    }
    families.push(checks);
}

/// How many instances an upstream has, by what calls make of them.
fn endpoints(process: &Process, families: &mut Vec<MetricFamily>) {
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for (upstream, _, state) in &process.endpoints {
        let [available, unhealthy, ejected] = counts.entry(upstream).or_default();
        let of = match state {
            Endpoint { healthy: false, .. } => unhealthy,
            Endpoint { ejected: true, .. } => ejected,
            _ => available,
        };
        *of = of.saturating_add(1);
    }
    let mut shown = family(
        "transom_upstream_endpoints",
        "Instances of an upstream: available, unhealthy by their own word, ejected for what became of calls.",
        MetricType::GAUGE,
    );
    for (upstream, all) in counts {
        for (state, count) in ["available", "unhealthy", "ejected"].into_iter().zip(all) {
            let labels = [("state", state), ("upstream", upstream)];
            shown.mut_metric().push(gauge(&labels, as_float(count)));
        }
    }
    families.push(shown);
}
