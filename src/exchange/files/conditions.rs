//! What a client already has: validators and the conditions on them (RFC 9110 §13).

use std::time::{Duration, SystemTime};

use http::header::{
    ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::coding::Coding;

/// A file that changed so lately may change again without its time showing it.
const SETTLED: Duration = Duration::from_secs(2);
/// Reproducible builds set times near the epoch: those tell nothing (1980-01-02 is where zip begins).
const MEANINGFUL: Duration = Duration::from_secs(315_619_200);

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::exchange) struct Validators {
    /// With its quotes, without `W/`.
    tag: String,
    weak: bool,
    /// Whole seconds since the epoch.
    modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum Verdict {
    Send,
    /// 304
    NotModified,
    /// 412
    Failed,
}

impl Validators {
    /// `changed` is when the file's inode was last written, for files without a time of their own.
    pub(super) fn new(
        length: u64,
        modified: SystemTime,
        changed: Duration,
        coding: Option<Coding>,
        now: SystemTime,
    ) -> Self {
        let since = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let own = since(modified);
        let meaningful = own >= MEANINGFUL;
        let time = if meaningful { own } else { changed };
        let suffix = coding.map_or("", Coding::extension);
        Self {
            tag: format!("\"{:x}-{length:x}{suffix}\"", time.as_nanos()),
            weak: since(now) < time.saturating_add(SETTLED),
            modified: meaningful
                .then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(own.as_secs())),
        }
    }

    /// Of what is told apart by its content alone. `tag` is a strong one, with its quotes.
    pub(in crate::exchange) fn of_tag(tag: &HeaderValue) -> Self {
        Self {
            tag: tag.to_str().unwrap_or_default().to_owned(),
            weak: false,
            modified: None,
        }
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let weak = if self.weak { "W/" } else { "" };
        if let Ok(tag) = HeaderValue::try_from(format!("{weak}{}", self.tag)) {
            headers.insert(ETAG, tag);
        }
        if let Some(modified) = self.modified
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(modified))
        {
            headers.insert(LAST_MODIFIED, date);
        }
    }

    /// In the order of RFC 9110 §13.2.2.
    pub(in crate::exchange) fn check(&self, asked: &HeaderMap) -> Verdict {
        if asked.contains_key(IF_MATCH) {
            if self.weak || !self.is_listed(asked, &IF_MATCH, Compare::Strong) {
                return Verdict::Failed;
            }
        } else if let (Some(modified), Some(since)) =
            (self.modified, date(asked, &IF_UNMODIFIED_SINCE))
            && modified > since
        {
            return Verdict::Failed;
        }
        if asked.contains_key(IF_NONE_MATCH) {
            return match self.is_listed(asked, &IF_NONE_MATCH, Compare::Weak) {
                true => Verdict::NotModified,
                false => Verdict::Send,
            };
        }
        match (self.modified, date(asked, &IF_MODIFIED_SINCE)) {
            (Some(modified), Some(since)) if modified <= since => Verdict::NotModified,
            _ => Verdict::Send,
        }
    }

    /// Whether a range may be sent: the client has the beginning of this very state.
    pub(super) fn allows_range(&self, asked: &HeaderMap) -> bool {
        let Some(value) = asked.get(IF_RANGE) else {
            return true;
        };
        let Ok(text) = value.to_str() else {
            return false;
        };
        let text = text.trim();
        if text.starts_with('"') {
            return !self.weak && text == self.tag;
        }
        // A date says as much only when the file has been left alone since.
        let date = httpdate::parse_http_date(text).ok();
        !self.weak && date.is_some() && date == self.modified
    }

    fn is_listed(&self, asked: &HeaderMap, name: &HeaderName, compare: Compare) -> bool {
        asked
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(tags)
            .any(|tag| match (tag.strip_prefix("W/"), compare) {
                (None, _) if tag == "*" => true,
                (None, _) => tag == self.tag,
                (Some(tag), Compare::Weak) => tag == self.tag,
                (Some(_), Compare::Strong) => false,
            })
    }
}

#[derive(Clone, Copy)]
enum Compare {
    Strong,
    Weak,
}

/// The tags of a list: ours have no comma, so those that have are split into what never matches.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

fn date(asked: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(asked.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn validators(weak: bool) -> Validators {
        let modified = httpdate::parse_http_date(DAY).unwrap() + Duration::from_millis(1500);
        let now = modified + Duration::from_secs(if weak { 1 } else { 10 });
        Validators::new(10, modified, Duration::ZERO, Some(Coding::Br), now)
    }

    #[test]
    fn conditions_in_their_order() {
        let strong = validators(false);
        let (own, other) = (strong.tag.as_str(), "\"other\"");
        let weak_own = format!("W/{own}");
        let both = format!("{other}, {own}");
        let later = "Sun, 06 Nov 1994 08:49:38 GMT";
        for (headers, verdict) in [
            (&[][..], Verdict::Send),
            (&[("if-none-match", own)], Verdict::NotModified),
            (&[("if-none-match", &*weak_own)], Verdict::NotModified),
            (&[("if-none-match", &*both)], Verdict::NotModified),
            (&[("if-none-match", "*")], Verdict::NotModified),
            (&[("if-none-match", other)], Verdict::Send),
            (
                &[("if-none-match", other), ("if-modified-since", later)],
                Verdict::Send,
            ),
            (&[("if-modified-since", later)], Verdict::NotModified),
            (&[("if-modified-since", DAY)], Verdict::Send),
            (&[("if-modified-since", "yesterday")], Verdict::Send),
            (&[("if-match", own)], Verdict::Send),
            (&[("if-match", "*")], Verdict::Send),
            (&[("if-match", &*weak_own)], Verdict::Failed),
            (&[("if-match", other)], Verdict::Failed),
            (&[("if-unmodified-since", DAY)], Verdict::Failed),
            (&[("if-unmodified-since", later)], Verdict::Send),
            (
                &[("if-match", own), ("if-unmodified-since", DAY)],
                Verdict::Send,
            ),
        ] {
            let asked = headers
                .iter()
                .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
                .collect();
            assert_eq!(strong.check(&asked), verdict, "{headers:?}");
        }
    }

    #[test]
    fn ranges_of_another_state_are_not_sent() {
        let mut asked = HeaderMap::new();
        let strong = validators(false);
        assert!(strong.allows_range(&asked));
        for (value, expected) in [
            (strong.tag.clone(), true),
            (format!("W/{}", strong.tag), false),
            ("\"other\"".to_owned(), false),
            ("Sun, 06 Nov 1994 08:49:38 GMT".to_owned(), true),
            (DAY.to_owned(), false),
            ("nonsense".to_owned(), false),
        ] {
            asked.insert(IF_RANGE, value.parse().unwrap());
            assert_eq!(strong.allows_range(&asked), expected, "{value}");
            assert!(!validators(true).allows_range(&asked), "{value}");
        }
    }

    #[test]
    fn times_of_reproducible_builds_are_no_times() {
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let of = |changed| Validators::new(10, epoch, Duration::from_secs(changed), None, now);
        assert_ne!(of(1_000_000_000).tag, of(1_000_000_001).tag);
        assert_eq!(of(1_000_000_000).modified, None);
    }
}
