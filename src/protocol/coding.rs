//! Content codings and what a client says of them (RFC 9110 §12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// A coding that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Br,
    Zstd,
    Gzip,
}

impl Coding {
    /// The densest first: among codings of the same weight the first wins.
    pub const ALL: [Self; 3] = [Self::Br, Self::Zstd, Self::Gzip];

    /// Its name in `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What a file's name has at its end when it holds another file in this coding.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Br => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The weights of a request's `Accept-Encoding`, in thousandths. Without the header nothing but
/// identity is taken: RFC 9110 would allow anything, and clients that say nothing often can't read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    weights: [u16; Coding::ALL.len()],
    identity: u16,
}

impl Accepted {
    /// Reads all of a request's fields. What can't be read counts as not said.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut own: [Option<u16>; 3] = [None; 3];
        let (mut identity, mut star) = (None, None);
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        for item in values
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
        {
            let mut parts = item.split(';');
            let name = parts.next().unwrap_or_default().trim();
            let Some(weight) = weight(parts) else {
                continue;
            };
            if name == "*" {
                star = Some(weight);
            } else if name.eq_ignore_ascii_case("identity") {
                identity = Some(weight);
            } else {
                let name = match name.len() {
                    6 if name.eq_ignore_ascii_case("x-gzip") => "gzip",
                    _ => name,
                };
                for (coding, slot) in Coding::ALL.iter().zip(&mut own) {
                    if name.eq_ignore_ascii_case(coding.name()) {
                        *slot = Some(weight);
                    }
                }
            }
        }
        Self {
            weights: own.map(|w| w.or(star).unwrap_or(0)),
            // Unless it is forbidden, identity is always fine, only never asked for.
            identity: identity.or(star.filter(|w| *w == 0)).unwrap_or(1),
        }
    }

    /// The best of what is offered; `None` is identity.
    #[must_use]
    pub fn best(&self, offered: &[Coding]) -> Option<Coding> {
        self.by_weight(offered).next()
    }

    /// Those of `offered` that the client takes at least as gladly as identity, the best first.
    pub fn by_weight(&self, offered: &[Coding]) -> impl Iterator<Item = Coding> + use<> {
        let mut taken: smallvec::SmallVec<[(u16, Coding); 3]> = Coding::ALL
            .iter()
            .zip(&self.weights)
            .filter(|(coding, weight)| {
                **weight > 0 && **weight >= self.identity && offered.contains(coding)
            })
            .map(|(coding, weight)| (*weight, *coding))
            .collect();
        taken.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        taken.into_iter().map(|(_, coding)| coding)
    }
}

/// The `q` of an item; `None` when it can't be one.
fn weight<'i>(parameters: impl Iterator<Item = &'i str>) -> Option<u16> {
    let mut weight = 1000;
    for parameter in parameters {
        let (name, value) = parameter.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("q") {
            weight = thousandths(value.trim())?;
        }
    }
    Some(weight)
}

/// `0`, `0.5`, `1.000` (RFC 9110 §12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let fraction = digits.fold(0, |sum, d| sum * 10 + u16::from(d - b'0'));
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepted(text: &str) -> Accepted {
        let mut headers = HeaderMap::new();
        if let Ok(value) = text.parse() {
            headers.insert(ACCEPT_ENCODING, value);
        }
        Accepted::of(&headers)
    }

    #[test]
    fn the_best_coding_by_weight() {
        use Coding::{Br, Gzip, Zstd};
        for (text, best) in [
            ("gzip, deflate, br, zstd", Some(Br)),
            ("gzip;q=1.0, br;q=0.5", Some(Gzip)),
            ("zstd;q=0.9, br;q=0.9, gzip;q=0.8", Some(Br)),
            ("ZSTD", Some(Zstd)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Br)),
            ("br;q=0, *", Some(Zstd)),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("identity;q=0, gzip;q=0.1", Some(Gzip)),
            ("deflate", None),
            ("gzip;q=2", None),
            ("gzip;q=0.0001", None),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;level=9;q=0.5", Some(Gzip)),
            ("", None),
            (",;,=,;q=", None),
        ] {
            assert_eq!(accepted(text).best(&Coding::ALL), best, "{text}");
        }
        assert_eq!(Accepted::of(&HeaderMap::new()).best(&Coding::ALL), None);
        assert_eq!(accepted("br, gzip").best(&[Gzip]), Some(Gzip));
        let order: Vec<_> = accepted("br;q=0.1, gzip").by_weight(&Coding::ALL).collect();
        assert_eq!(order, [Gzip, Br]);
    }

    proptest! {
        /// A coding is only chosen when the client named it, or a star, with a weight above zero.
        #[test]
        fn nothing_is_sent_that_was_not_asked_for(text in "((gzip|br|zstd|identity|\\*|x)(;q=[01](\\.[0-9]{0,3})?)?,? ?){0,5}") {
            let best = accepted(&text).best(&Coding::ALL);
            if let Some(coding) = best {
                prop_assert!(text.contains(coding.name()) || text.contains('*'), "{text}: {best:?}");
            }
            let named = text.split(',').any(|item| item.trim() == "br");
            if named && !text.contains("q=") && !text.contains("identity") {
                prop_assert!(best.is_some(), "{text}");
            }
        }

        #[test]
        fn weights_are_thousandths(n in 0_u16..=1000, zeros in 0_usize..3) {
            let text = match n { 1000 => format!("1.{}", "0".repeat(zeros)), n => format!("0.{n:03}") };
            prop_assert_eq!(thousandths(&text), Some(n));
        }
    }
}
