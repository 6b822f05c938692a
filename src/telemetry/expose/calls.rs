//! The families of calls: OpenTelemetry's name for ours, and go-grpc-middleware's for both sides.

use std::collections::BTreeMap;

use prometheus::proto::{MetricFamily, MetricType};

use crate::failure::GrpcCode;

use super::super::calls::Side;
use super::super::histogram::Histogram;
use super::super::report::WorkerReport;
use super::super::series::Rpc;
use super::{counter, family, labelled, shown};

/// Of the Go library's default buckets; ours have them and more.
const GO_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Default)]
struct Sum {
    started: u64,
    asked: u64,
    answered: u64,
    times: BTreeMap<u8, Histogram>,
}

pub(super) fn put(workers: &[WorkerReport], families: &mut Vec<MetricFamily>) {
    let mut sums: BTreeMap<(Side, &Rpc), Sum> = BTreeMap::new();
    for call in workers.iter().flat_map(|w| &w.calls) {
        let sum = sums.entry((call.side, &call.rpc)).or_default();
        sum.started = sum.started.saturating_add(call.started);
        sum.asked = sum.asked.saturating_add(call.asked);
        sum.answered = sum.answered.saturating_add(call.answered);
        for (code, histogram) in &call.times {
            sum.times.entry(code.number()).or_default().add(histogram);
        }
    }
    for side in [Side::Client, Side::Server] {
        of_side(side, &sums, families);
    }
    let mut durations = family(
        "rpc_client_call_duration_seconds",
        "From a call's beginning to its end, all tries and the whole of a stream included.",
        MetricType::HISTOGRAM,
    );
    for ((_, rpc), sum) in sums.iter().filter(|((side, _), _)| *side == Side::Client) {
        for (code, histogram) in &sum.times {
            let code = GrpcCode::from_number(u32::from(*code));
            let mut metric = labelled(&[
                ("rpc_method", &rpc.name),
                ("rpc_status_code", code.name()),
                ("rpc_system_name", "grpc"),
            ]);
            metric.set_histogram(shown(histogram, |_| true));
            durations.mut_metric().push(metric);
        }
    }
    families.push(durations);
}

fn of_side(side: Side, sums: &BTreeMap<(Side, &Rpc), Sum>, families: &mut Vec<MetricFamily>) {
    let (prefix, whose) = match side {
        Side::Client => ("grpc_client", "to services"),
        Side::Server => (
            "grpc_server",
            "of clients that speak gRPC, gRPC-Web or Connect",
        ),
    };
    let counts = |name: &str, about: &str| {
        let about = format!("{about}, {whose}.");
        family(&format!("{prefix}_{name}"), &about, MetricType::COUNTER)
    };
    let mut started = counts("started_total", "Calls begun");
    let mut handled = counts("handled_total", "Calls ended, by code");
    let mut asked = counts(
        match side {
            Side::Client => "msg_sent_total",
            Side::Server => "msg_received_total",
        },
        "Request messages of calls",
    );
    let mut answered = counts(
        match side {
            Side::Client => "msg_received_total",
            Side::Server => "msg_sent_total",
        },
        "Answer messages of calls",
    );
    let mut durations = family(
        &format!("{prefix}_handling_seconds"),
        &format!("From the beginning to the end of calls {whose}."),
        MetricType::HISTOGRAM,
    );
    for ((_, rpc), sum) in sums.iter().filter(|((of, _), _)| *of == side) {
        let (service, method) = rpc.name.split_once('/').unwrap_or_default();
        let labels = [
            ("grpc_method", method),
            ("grpc_service", service),
            ("grpc_type", rpc.kind),
        ];
        started.mut_metric().push(counter(&labels, sum.started));
        asked.mut_metric().push(counter(&labels, sum.asked));
        answered.mut_metric().push(counter(&labels, sum.answered));
        let mut all = Histogram::default();
        let [of_method, of_service, of_type] = labels;
        for (code, histogram) in &sum.times {
            all.add(histogram);
            let code = camel(GrpcCode::from_number(u32::from(*code)));
            let labels = [("grpc_code", code), of_method, of_service, of_type];
            handled
                .mut_metric()
                .push(counter(&labels, histogram.count()));
        }
        let mut metric = labelled(&labels);
        let is_theirs = |end: f64| GO_BUCKETS.iter().any(|b| (b - end).abs() < 1e-9);
        metric.set_histogram(shown(&all, is_theirs));
        durations.mut_metric().push(metric);
    }
    families.extend([started, handled, asked, answered, durations]);
}

/// As Go's library writes codes.
fn camel(code: GrpcCode) -> &'static str {
    match code {
        GrpcCode::Ok => "OK",
        GrpcCode::Cancelled => "Canceled",
        GrpcCode::Unknown => "Unknown",
        GrpcCode::InvalidArgument => "InvalidArgument",
        GrpcCode::DeadlineExceeded => "DeadlineExceeded",
        GrpcCode::NotFound => "NotFound",
        GrpcCode::AlreadyExists => "AlreadyExists",
        GrpcCode::PermissionDenied => "PermissionDenied",
        GrpcCode::ResourceExhausted => "ResourceExhausted",
        GrpcCode::FailedPrecondition => "FailedPrecondition",
        GrpcCode::Aborted => "Aborted",
        GrpcCode::OutOfRange => "OutOfRange",
        GrpcCode::Unimplemented => "Unimplemented",
        GrpcCode::Internal => "Internal",
        GrpcCode::Unavailable => "Unavailable",
        GrpcCode::DataLoss => "DataLoss",
        GrpcCode::Unauthenticated => "Unauthenticated",
    }
}
