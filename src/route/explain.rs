//! Why a rule won, and why the ones near it lost.
//!
//! Unlike a lookup this goes through all routes, one by one, so it is for people and not for
//! requests. [`super::table`] has the rule that it explains.

mod near;

use std::sync::Arc;

use http::Method;
use smallvec::SmallVec;

use super::builder::{Entry, Matcher, PathMatch};
use super::path::decode;
use super::table::{Lookup, Table};
use super::template::{PathTemplate, Segment};
use super::{HostPattern, RawPath, RouteId};
use crate::limits::{EXPLAINED_MAX, TEMPLATE_SEGMENTS_MAX};

/// One rule that `explain` looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    pub route: RouteId,
    /// `GET /v1/games/{game_id}`
    pub rule: Box<str>,
    pub place: Arc<str>,
    pub verdict: Verdict,
}

/// Why a rule won or lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wins,
    /// It matches, but this one is more specific, from this segment on.
    LessSpecific {
        than: RouteId,
        segment: usize,
    },
    WrongMethod {
        accepts: Box<str>,
    },
    WrongHost,
    /// The path differs first in this segment (0-based): what the rule wants, what the request has.
    Differs {
        segment: usize,
        wants: Box<str>,
        has: Box<str>,
    },
    /// Same literals, but the path is longer or shorter, or has no such verb.
    Shape {
        why: Box<str>,
    },
}

/// How specific a match is: lower wins. First the host, then each segment, then the method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    host: (u8, usize),
    segments: Ranks,
    method: u8,
}

/// The segments' part of a [`Rank`], one of the template after the other. One that ends the path counts
/// one more when it was read without a verb.
type Ranks = SmallVec<[u16; 16]>;

const LITERAL: u16 = 0;
const ONE: u16 = 2;
/// `**` before the end, and one less for each segment after it.
const MIDDLE: u16 = 4 + TEMPLATE_SEGMENTS_MAX as u16;
const REST: u16 = MIDDLE + 1;
/// `**` before the end that covers nothing.
const NOTHING: u16 = REST + 2;
const PREFIX: u16 = NOTHING + 1;

/// How a path and a route compare.
struct Nearness {
    /// Literals of the route that the path has in the same place.
    literals: usize,
    fit: Result<Ranks, Verdict>,
}

/// Groups of the answer, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Wins,
    Matches,
    Refuses,
    OtherHost,
    Near,
}

impl Table {
    /// The route that wins, those that match but lose, those that refuse the method or the host, and
    /// those whose path is near, the nearest first; at most [`EXPLAINED_MAX`].
    #[must_use]
    pub fn explain(&self, host: &str, method: &Method, path: &RawPath<'_>) -> Vec<Considered> {
        let winner = match self.lookup(host, method, path) {
            Lookup::Matched(found) => Some(found.route),
            Lookup::MethodNotAllowed { .. } | Lookup::NotFound => None,
        };
        let judge = Judge {
            host,
            method,
            path,
            winner: winner.and_then(|id| {
                let mut ranks = self.entries.iter().filter(|entry| entry.id == id);
                let ranks = ranks
                    .by_ref()
                    .filter_map(|entry| rank(entry, host, method, path));
                ranks.min().map(|rank| (id, rank))
            }),
        };
        let mut judged: Vec<_> = self.entries.iter().filter_map(|e| judge.entry(e)).collect();
        judged.sort_by(|(a, _), (b, _)| a.cmp(b));
        judged.truncate(EXPLAINED_MAX);
        judged
            .into_iter()
            .map(|(_, considered)| considered)
            .collect()
    }
}

/// Sorts the answer: group, then specificity of matches or distance of the others, those that would
/// take the method first.
type Order = (Group, Option<Rank>, (usize, bool));

struct Judge<'a> {
    host: &'a str,
    method: &'a Method,
    path: &'a RawPath<'a>,
    winner: Option<(RouteId, Rank)>,
}

impl Judge<'_> {
    /// `None` for a route that is not near.
    fn entry(&self, entry: &Entry) -> Option<(Order, Considered)> {
        let nearness = compare(entry, self.path);
        let mut distance = (0, false);
        let (group, rank, verdict) = match nearness.fit {
            Ok(segments) => self.fits(entry, segments),
            Err(verdict) => {
                let (changes, familiar) = near::distance(entry, self.path);
                if nearness.literals == 0 && !(familiar && changes <= near::NEAR_MAX) {
                    return None;
                }
                distance = (changes, method_rank(entry, self.method).is_none());
                (Group::Near, None, verdict)
            }
        };
        let considered = Considered {
            route: entry.id,
            rule: entry.text().into(),
            place: Arc::clone(&entry.place),
            verdict,
        };
        Some(((group, rank, distance), considered))
    }

    fn fits(&self, entry: &Entry, segments: Ranks) -> (Group, Option<Rank>, Verdict) {
        let Some(host) = host_rank(&entry.hosts, self.host) else {
            return (Group::OtherHost, None, Verdict::WrongHost);
        };
        let Some(method) = method_rank(entry, self.method) else {
            let accepts = match &entry.matcher {
                Matcher::Rule { method, .. } => method.clone(),
                Matcher::Path { .. } => "*".into(),
            };
            return (Group::Refuses, None, Verdict::WrongMethod { accepts });
        };
        let rank = Rank {
            host,
            segments,
            method,
        };
        let passed_over = Verdict::Shape {
            why: "it doesn't forward, and this path belongs to rules".into(),
        };
        let (group, verdict) = match &self.winner {
            Some((id, best)) if *id == entry.id && *best == rank => (Group::Wins, Verdict::Wins),
            Some((than, best)) if *best <= rank => {
                let pairs = best.segments.iter().zip(&rank.segments);
                let same = pairs.take_while(|(best, own)| best == own).count();
                let segment = if best.host == rank.host { same } else { 0 };
                (
                    Group::Matches,
                    Verdict::LessSpecific {
                        than: *than,
                        segment,
                    },
                )
            }
            _ => (Group::Matches, passed_over),
        };
        (group, Some(rank), verdict)
    }
}

fn rank(entry: &Entry, host: &str, method: &Method, path: &RawPath<'_>) -> Option<Rank> {
    Some(Rank {
        host: host_rank(&entry.hosts, host)?,
        segments: compare(entry, path).fit.ok()?,
        method: method_rank(entry, method)?,
    })
}

/// Exact, then wildcards from the longest, then any.
fn host_rank(hosts: &[HostPattern], host: &str) -> Option<(u8, usize)> {
    let rank = |pattern: &HostPattern| match pattern.as_str().strip_prefix("*.") {
        None => (0, 0),
        Some(name) => (1, usize::MAX - name.len()),
    };
    if hosts.is_empty() {
        return Some((2, 0));
    }
    hosts.iter().filter(|own| own.takes(host)).map(rank).min()
}

/// The method itself, `GET` for `HEAD`, `*`, and last the routes without one.
fn method_rank(entry: &Entry, method: &Method) -> Option<u8> {
    match &entry.matcher {
        Matcher::Path { .. } => Some(3),
        Matcher::Rule { method: own, .. } => match &**own {
            "*" => Some(2),
            own if own == method.as_str() => Some(0),
            "GET" if *method == Method::HEAD => Some(1),
            _ => None,
        },
    }
}

fn compare(entry: &Entry, path: &RawPath<'_>) -> Nearness {
    match &entry.matcher {
        Matcher::Rule { template, .. } => compare_rule(template, path),
        Matcher::Path { path: own, .. } => compare_path(own, path),
    }
}

fn compare_rule(template: &PathTemplate, path: &RawPath<'_>) -> Nearness {
    let split = path.verb();
    let has_verb = |verb: &str| split.is_some_and(|(_, has)| has == verb.as_bytes());
    let head = template.verb().and(split).map(|(head, _)| head);
    let mut nearness = compare_segments(template.segments(), template.rest(), path, head);
    if let (Some(verb), Ok(ranks)) = (template.verb(), &mut nearness.fit) {
        if has_verb(verb) {
            // The segment that was counted as the end of the path.
            let ends = |rank: &&mut u16| [LITERAL + 1, ONE + 1, REST + 1].contains(*rank);
            if let Some(rank) = ranks.iter_mut().find(ends) {
                *rank -= 1;
            }
        } else {
            let why = match split {
                Some((_, has)) => format!(
                    "it has the verb `:{verb}`, the path has `:{}`",
                    String::from_utf8_lossy(has)
                ),
                None => format!("it has the verb `:{verb}`, the path has none"),
            };
            nearness.fit = Err(Verdict::Shape { why: why.into() });
        }
    }
    nearness
}

/// `head` stands for the last segment when that is read with a verb.
fn compare_segments(
    segments: &[Segment],
    rest: Option<usize>,
    path: &RawPath<'_>,
    head: Option<&[u8]>,
) -> Nearness {
    let last = path.len() - 1;
    let has = |at: usize| match head {
        Some(head) if at == last => head,
        _ => path.segment_at(at),
    };
    let fixed = segments.len() - usize::from(rest.is_some());
    let covers = rest.and_then(|_| path.len().checked_sub(fixed));
    let mut ranks = SmallVec::new();
    let mut differs = None;
    let mut literals = 0;
    for (index, segment) in segments.iter().enumerate() {
        // Where it stands in the path; what is after a `**` that doesn't fit stands nowhere.
        let at = match (rest, covers) {
            (Some(rest), Some(covers)) if index > rest => index - 1 + covers,
            (Some(rest), None) if index >= rest => break,
            _ => index,
        };
        if at > last && rest != Some(index) {
            break;
        }
        let has = has(at);
        let (fits, rank) = match segment {
            Segment::Literal(text) => (text.as_bytes() == has, LITERAL),
            Segment::One => (!has.is_empty(), ONE),
            Segment::Rest => {
                let tail = segments.len() - index - 1;
                let fits = covers == Some(0) || !path.segment_at(at).is_empty();
                match u16::try_from(tail) {
                    Ok(0) | Err(_) => (fits || at == last, REST),
                    Ok(_) if covers == Some(0) => (fits, NOTHING),
                    Ok(tail) => (fits, MIDDLE.saturating_sub(tail)),
                }
            }
        };
        literals += usize::from(fits && rank == LITERAL);
        let end = match segment {
            Segment::Rest => rank == REST && covers != Some(0),
            _ => at == last,
        };
        ranks.push(rank + u16::from(end));
        if !fits && differs.is_none() {
            differs = Some(Verdict::Differs {
                segment: at,
                wants: segment.to_string().into(),
                has: String::from_utf8_lossy(has).into(),
            });
        }
    }
    let same_length = path.len() == fixed || covers.is_some();
    let fit = match differs {
        Some(differs) => Err(differs),
        None if same_length => Ok(ranks),
        None => {
            let (wants, has) = (segments_of(fixed), segments_of(path.len()));
            let least = if rest.is_some() { " or more" } else { "" };
            Err(Verdict::Shape {
                why: format!("it has {wants}{least}, the path has {has}").into(),
            })
        }
    };
    Nearness { literals, fit }
}

fn segments_of(count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} segment{s}")
}

fn compare_path(own: &PathMatch, path: &RawPath<'_>) -> Nearness {
    let (text, exact) = match own {
        PathMatch::Exact(text) => (text, true),
        PathMatch::Prefix(text) => (text, false),
    };
    let text = text.strip_prefix('/').unwrap_or(text);
    let under = !exact && (text.is_empty() || text.ends_with('/'));
    let text = if exact {
        text
    } else {
        text.strip_suffix('/').unwrap_or(text)
    };
    let root = under && text.is_empty();
    let literals = text.split('/').filter(|_| !root).map(|raw| {
        let mut decoded = Vec::new();
        decode(raw.as_bytes(), &mut decoded);
        Segment::Literal(String::from_utf8_lossy(&decoded).into())
    });
    let segments: Vec<_> = literals.collect();
    let fixed = segments.len();
    if exact || (path.len() == fixed && !under) || path.len() < fixed + usize::from(under) {
        let mut nearness = compare_segments(&segments, None, path, None);
        match &mut nearness.fit {
            Ok(_) if under => {
                let why = "it takes only what is below it".into();
                nearness.fit = Err(Verdict::Shape { why });
            }
            Ok(ranks) if !exact => ranks.push(PREFIX + 1),
            _ => {}
        }
        return nearness;
    }
    let mut nearness = Nearness {
        literals: 0,
        fit: Ok(SmallVec::new()),
    };
    for (at, segment) in segments.iter().enumerate() {
        let has = path.segment_at(at);
        let Segment::Literal(wants) = segment else {
            continue;
        };
        if wants.as_bytes() == has {
            nearness.literals += 1;
            if let Ok(ranks) = &mut nearness.fit {
                ranks.push(LITERAL);
            }
        } else if nearness.fit.is_ok() {
            nearness.fit = Err(Verdict::Differs {
                segment: at,
                wants: segment.to_string().into(),
                has: String::from_utf8_lossy(has).into(),
            });
        }
    }
    if let Ok(ranks) = &mut nearness.fit {
        ranks.push(PREFIX + u16::from(!under));
    }
    nearness
}

#[cfg(test)]
mod tests;
