//! What is told of certificates: those of files, and those that authorities issue.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::acme::board::{Entry, Told};
use crate::live::Live;
use crate::telemetry::Facts;
use crate::tls::Identity;

/// Every certificate that is served, or wanted.
pub(super) fn list(live: &Live, told: &Told) -> Value {
    let own = configured(live).map(|(source, identity)| {
        json!({
            "names": identity.names(),
            "source": source,
            "issuer": identity.issuer(),
            "not_before": seconds(identity.not_before()),
            "not_after": seconds(identity.not_after()),
        })
    });
    let issued = told.certificates.iter().map(|(name, entry)| {
        json!({
            "names": [name],
            "source": "acme",
            "authority": entry.authority,
            "issuer": entry.issuer,
            "not_before": entry.not_before.map(seconds),
            "not_after": entry.not_after.map(seconds),
            "renewal": entry.renewal.map(seconds),
            "window": entry.window.map(|(start, end)| [seconds(start), seconds(end)]),
            "next_attempt": entry.next.map(seconds),
            "failures": entry.failures,
            "error": entry.error,
        })
    });
    own.chain(issued).collect()
}

/// The same for Prometheus.
pub(super) fn facts(live: &Live, told: &Told) -> Vec<Facts> {
    type Row = (Vec<(&'static str, String)>, f64);
    let row = |name: &str, source: &str, end: SystemTime| -> Row {
        let labels = vec![("name", name.to_owned()), ("source", source.to_owned())];
        (labels, float(end))
    };
    let own = configured(live).map(|(source, identity)| {
        let name = identity.names().first().map_or("", |n| n);
        row(name, source, identity.not_after())
    });
    let all = || told.certificates.iter();
    // One that isn't there has ended long ago: whoever is alarmed by the one is by the other.
    let issued = all().map(|(name, e)| row(name, "acme", e.not_after.unwrap_or(UNIX_EPOCH)));
    let by_name = |read: fn(&Entry) -> Option<f64>| -> Vec<Row> {
        let rows = all().filter_map(|(name, e)| {
            let labels = vec![("name", name.to_string())];
            Some((labels, read(e)?))
        });
        rows.collect()
    };
    let orders = told.orders.iter().map(|((authority, outcome), count)| {
        let labels = vec![
            ("authority", authority.to_string()),
            ("result", outcome.name().to_owned()),
        ];
        (labels, float_of(*count))
    });
    let gauge = |name, about, rows| Facts {
        name,
        about,
        counts: false,
        rows,
    };
    vec![
        gauge(
            "transom_tls_certificate_not_after_seconds",
            "When a certificate ends, by its first name; 0 for one that is wanted and not there.",
            own.chain(issued).collect(),
        ),
        gauge(
            "transom_acme_next_attempt_seconds",
            "When something is done next for a certificate of an authority.",
            by_name(|e| e.next.map(float)),
        ),
        gauge(
            "transom_acme_failures",
            "Failed orders in a row.",
            by_name(|e| Some(f64::from(e.failures))),
        ),
        gauge(
            "transom_acme_window_start_seconds",
            "When the authority suggests to begin with renewing.",
            by_name(|e| e.window.map(|(start, _)| float(start))),
        ),
        gauge(
            "transom_acme_window_end_seconds",
            "When it would like to have it done.",
            by_name(|e| e.window.map(|(_, end)| float(end))),
        ),
        Facts {
            name: "transom_acme_orders_total",
            about: "Orders by authority and by what became of them.",
            counts: true,
            rows: orders.collect(),
        },
    ]
}

/// Of all listeners, each once.
fn configured(live: &Live) -> impl Iterator<Item = (&'static str, Arc<Identity>)> {
    let mut seen = Vec::new();
    let terms = live.doors.iter().filter_map(|door| door.tls.as_deref());
    let all = terms.flat_map(|terms| {
        let source = match terms.is_for_development() {
            true => "self_signed",
            false => "file",
        };
        let own = terms.configured();
        let all: Vec<_> = own.iter().map(|one| (source, Arc::clone(one))).collect();
        all
    });
    all.filter_map(move |(source, identity)| {
        let leaf = identity.certified().cert.first()?.clone();
        // Two listeners may show the same one.
        if seen.contains(&leaf) {
            return None;
        }
        seen.push(leaf);
        Some((source, identity))
    })
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn float(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the exposition format has no integers"
)]
pub(super) fn float_of(count: u64) -> f64 {
    count as f64
}
