//! The last exchanges of a worker that failed, kept for whoever looks.
//!
//! Clients' mistakes have places of their own, so that a flood of them hides nothing that is the
//! operator's. Under a flood only so many in a second are kept: the rest is in the counters.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::failure::Blame;
use crate::limits::{MISHAPS_A_SECOND_MAX, MISHAPS_KEPT_MAX};

use super::account::{Account, Outcome, Text};
use super::quota::Quota;

/// Longest text of each kind that is kept.
const TEXT_BYTES_MAX: usize = 400;

/// An exchange that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mishap {
    /// When it ended.
    pub at: SystemTime,
    /// From the head of the request on.
    pub took: Duration,
    pub method: String,
    /// As it came, without its query.
    pub path: String,
    pub host: String,
    pub request_id: String,
    pub status: u16,
    /// Of gRPC.
    pub code: &'static str,
    /// `client`, `gateway` or `upstream`.
    pub blame: &'static str,
    pub message: String,
    /// Empty where no route was found.
    pub rule: String,
    pub upstream: String,
    pub endpoint: String,
}

#[derive(Debug, Default)]
pub(super) struct Mishaps {
    of_clients: RefCell<VecDeque<Mishap>>,
    others: RefCell<VecDeque<Mishap>>,
    quota: Quota,
}

impl Mishaps {
    /// Keeps it, if it is one and there is room in this second.
    pub(super) fn note(&self, account: &Account, outcome: Outcome) {
        let Some(blame) = outcome.blame else {
            return;
        };
        if self
            .quota
            .pass(MISHAPS_A_SECOND_MAX, Duration::from_secs(1))
            .is_none()
        {
            return;
        }
        let mishap = account.with_texts(|texts| {
            let request = |what| cut(&String::from_utf8_lossy(texts.of(what)));
            let track = texts.track;
            Mishap {
                at: SystemTime::now(),
                took: outcome.total,
                method: request(Text::Method),
                path: request(Text::Path),
                host: request(Text::Host),
                request_id: request(Text::RequestId),
                status: outcome.status,
                code: texts.fault.map_or("", |fault| fault.code.name()),
                blame: match blame {
                    Blame::Client => "client",
                    Blame::Gateway => "gateway",
                    Blame::Upstream => "upstream",
                },
                message: texts.fault.map(|f| cut(&f.message)).unwrap_or_default(),
                rule: track.map(|t| t.rule.to_string()).unwrap_or_default(),
                upstream: track
                    .and_then(|t| t.upstream.as_ref())
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                endpoint: texts.endpoint.unwrap_or_default().to_owned(),
            }
        });
        let ring = match blame {
            Blame::Client => &self.of_clients,
            Blame::Gateway | Blame::Upstream => &self.others,
        };
        let mut ring = ring.borrow_mut();
        if ring.len() >= MISHAPS_KEPT_MAX {
            ring.pop_front();
        }
        ring.push_back(mishap);
    }

    /// All that are kept.
    pub(super) fn all(&self) -> Vec<Mishap> {
        let rings = [&self.of_clients, &self.others];
        let all = rings
            .iter()
            .flat_map(|ring| ring.borrow().iter().cloned().collect::<Vec<_>>());
        all.collect()
    }
}

fn cut(text: &str) -> String {
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= TEXT_BYTES_MAX);
    match end.and_then(|end| text.get(..end)) {
        Some(kept) => format!("{kept}…"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::failure::{Failure, GrpcCode};

    fn failed(mishaps: &Mishaps, path: &str, failure: &Failure) {
        let account = Account::default();
        account.note_text(Text::Path, path.as_bytes());
        account.note_reply(StatusCode::BAD_GATEWAY);
        account.note_failure(failure);
        mishaps.note(&account, account.outcome());
    }

    #[tokio::test(start_paused = true)]
    async fn floods_of_mistakes_hide_nothing() {
        let mishaps = Mishaps::default();
        let gone = Failure::upstream(GrpcCode::Unavailable, "gone");
        failed(&mishaps, "/first", &gone);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            for _ in 0..1000 {
                failed(&mishaps, "/wrong", &Failure::client("wrong"));
            }
        }
        let all = mishaps.all();
        assert!(all.len() <= 2 * MISHAPS_KEPT_MAX, "{}", all.len());
        let kept: Vec<_> = all.iter().filter(|m| m.blame == "upstream").collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(
            (
                &*kept[0].path,
                &*kept[0].message,
                kept[0].code,
                kept[0].status
            ),
            ("/first", "gone", "UNAVAILABLE", 502)
        );
    }

    #[tokio::test]
    async fn what_went_well_is_none() {
        let mishaps = Mishaps::default();
        let account = Account::default();
        account.note_reply(StatusCode::OK);
        account.note_end();
        mishaps.note(&account, account.outcome());
        assert_eq!(mishaps.all(), []);
        failed(&mishaps, &"é".repeat(1000), &Failure::client("x"));
        assert!(mishaps.all()[0].path.len() <= TEXT_BYTES_MAX + 4);
    }
}
