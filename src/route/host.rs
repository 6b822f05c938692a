//! Hosts that a route is limited to.
//!
//! For one request the sets of routes are tried in this order: the exact host, wildcards from the
//! longest to the shortest, then the routes of any host. `*.example.com` stands for one or more
//! labels in front of `example.com`, never for `example.com` itself.

use std::collections::HashMap;

use smallvec::SmallVec;

/// A DNS name has at most 253 bytes (RFC 1035 §2.3.4); a longer host has only the routes of any host.
const HOST_BYTES_MAX: usize = 253;

/// A host that a route is limited to: exact, or `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(Box<str>);

impl HostPattern {
    /// Lower-cased, without the dot of a fully qualified name; `None` when it isn't a host name, an
    /// address, or a `*.` wildcard of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let host = lower.strip_suffix('.').unwrap_or(&lower);
        if host.len() > HOST_BYTES_MAX {
            return None;
        }
        let name = host.strip_prefix("*.").unwrap_or(host);
        let fine = match name.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')) {
            Some(v6) => name.len() == host.len() && is_ipv6(v6),
            None => name.split('.').all(is_label),
        };
        fine.then(|| Self(host.into()))
    }

    /// The pattern in normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How closely it fits this host, if it does: an exact name fits best, then the longest wildcard.
    #[must_use]
    pub fn fit(&self, host: &str) -> Option<usize> {
        let exact = !self.0.starts_with('*');
        self.takes(host)
            .then_some(if exact { usize::MAX } else { self.0.len() })
    }

    /// Whether it takes this host.
    pub(super) fn takes(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.0.strip_prefix('*') {
            None => self.0.eq_ignore_ascii_case(host),
            Some(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|at| *at > 0)
                .and_then(|at| host.get(at..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix)),
        }
    }
}

/// Underscores are not legal in host names but stand in the names of many internal services.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Roughly: what is no address matches no request. The core has no network types.
fn is_ipv6(text: &str) -> bool {
    let digits = |b: u8| b.is_ascii_hexdigit() || b == b':' || b == b'.';
    (2..=45).contains(&text.len()) && text.contains(':') && text.bytes().all(digits)
}

/// The root of each host's trie.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    any: Option<u32>,
    /// By the pattern's text, for exact hosts.
    exact: HashMap<Box<str>, u32, foldhash::fast::FixedState>,
    /// By the text after the `*.`.
    wildcard: HashMap<Box<str>, u32, foldhash::fast::FixedState>,
    /// Most labels of a wildcard's name: no more suffixes of a host are tried.
    labels_max: usize,
}

/// Roots to try, in order. Few tables have more than one wildcard for a host.
pub(super) type Roots = SmallVec<[u32; 4]>;

impl Hosts {
    pub(super) fn insert(&mut self, host: Option<&HostPattern>, root: u32) {
        match host.map(|host| (&host.0, host.0.strip_prefix("*."))) {
            None => self.any = Some(root),
            Some((name, None)) => {
                self.exact.insert(name.clone(), root);
            }
            Some((_, Some(name))) => {
                self.labels_max = self.labels_max.max(name.split('.').count());
                self.wildcard.insert(name.into(), root);
            }
        }
    }

    pub(super) fn roots(&self, host: &str) -> Roots {
        let mut roots = Roots::new();
        if !(self.exact.is_empty() && self.wildcard.is_empty()) && host.len() <= HOST_BYTES_MAX + 1
        {
            let mut lower: SmallVec<[u8; 64]> = SmallVec::from_slice(host.as_bytes());
            lower.make_ascii_lowercase();
            let lower = std::str::from_utf8(&lower).unwrap_or_default();
            let lower = lower.strip_suffix('.').unwrap_or(lower);
            roots.extend(self.exact.get(lower).copied());
            let dots = memchr::memrchr_iter(b'.', lower.as_bytes()).take(self.labels_max);
            let mut wild: SmallVec<[u32; 4]> = dots
                .filter(|dot| *dot > 0)
                .filter_map(|dot| self.wildcard.get(lower.get(dot + 1..)?).copied())
                .collect();
            wild.reverse();
            roots.extend(wild);
        }
        roots.extend(self.any);
        roots
    }
}

#[cfg(test)]
mod tests;
