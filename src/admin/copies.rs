//! What is told of the answers that are kept for when their upstream is down.

use crate::copies::Copies;
use crate::telemetry::Facts;

use super::certificates::float_of;

/// For metrics.
pub(super) fn facts(copies: &Copies) -> [Facts; 3] {
    let (bytes, count) = copies.held();
    let (gave_way, too_large) = copies.lost();
    let lost = |why: &str, count| (vec![("why", why.to_owned())], float_of(count));
    [
        Facts {
            name: "transom_stale_copies",
            about: "Answers that are kept for when their upstream is down, and notes of what they vary by.",
            counts: false,
            rows: vec![(Vec::new(), float_of(count as u64))],
        },
        Facts {
            name: "transom_stale_copies_bytes",
            about: "Memory that they take.",
            counts: false,
            rows: vec![(Vec::new(), float_of(bytes as u64))],
        },
        Facts {
            name: "transom_stale_copies_lost_total",
            about: "Answers that gave way to newer ones, and those that were too large to be kept.",
            counts: true,
            rows: vec![lost("gave_way", gave_way), lost("too_large", too_large)],
        },
    ]
}
