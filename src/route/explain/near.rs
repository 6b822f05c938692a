//! How far a path is from a rule that it doesn't match: what a typo, a forgotten segment or a wrong verb
//! costs, so that the rule that was meant stands first.

use crate::route::RawPath;
use crate::route::builder::{Entry, Matcher, PathMatch};
use crate::route::template::Segment;

/// A segment too many, or one that is missing.
const SEGMENT: usize = 6;
/// A literal that is another word than what stands in its place: as dear as one too many and one that
/// is missing.
const WORD: usize = 12;
/// Beyond this a rule is not near unless they have a literal in the same place.
pub(super) const NEAR_MAX: usize = SEGMENT;
/// A literal that costs at most this is a typo of the other.
const TYPO_MAX: usize = WORD / 3;
/// Segments and characters of a path that are compared, so that a hostile one costs no more than others.
const COMPARED_MAX: usize = 64;

/// The least that has to be changed in the path for the rule to match, and whether any literal of the
/// rule is in the path, typos allowed: what wildcards alone match is not near.
pub(super) fn distance(entry: &Entry, path: &RawPath<'_>) -> (usize, bool) {
    let (segments, verb, open) = match &entry.matcher {
        Matcher::Rule { template, .. } => (template.segments().to_vec(), template.verb(), false),
        Matcher::Path { path, .. } => {
            let (text, open) = match path {
                PathMatch::Exact(text) => (text, false),
                PathMatch::Prefix(text) => (text, true),
            };
            let parts = text.trim_matches('/').split('/');
            let literal = |part: &str| Segment::Literal(part.into());
            (parts.map(literal).collect(), None, open)
        }
    };
    // Without a verb the colon is a character of the last segment.
    let split = path.verb().filter(|_| verb.is_some());
    let last = path.len() - 1;
    let has: Vec<String> = (0..path.len().min(COMPARED_MAX))
        .map(|at| match split {
            Some((head, _)) if at == last => shortened(head),
            _ => shortened(path.segment_at(at)),
        })
        .collect();
    let (cost, familiar) = align(&segments, &has, open);
    let verbs = match (verb, split) {
        (Some(verb), Some((_, has))) => word(verb, &shortened(has)),
        (Some(_), None) => SEGMENT,
        (None, _) => 0,
    };
    (cost + verbs, familiar)
}

/// The edit distance of segments. `open`: what is after the last of the rule costs nothing.
fn align(segments: &[Segment], has: &[String], open: bool) -> (usize, bool) {
    let mut familiar = false;
    // The cost of the rule's segments so far against the first 0, 1, … of the path's.
    let mut row: Vec<usize> = (0..=has.len()).map(|n| n * SEGMENT).collect();
    for segment in segments {
        let rest = matches!(segment, Segment::Rest);
        let mut corner = row.first().copied().unwrap_or_default();
        let mut left = corner + if rest { 0 } else { SEGMENT };
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (has, cell) in has.iter().zip(row.iter_mut().skip(1)) {
            let own = match segment {
                Segment::Literal(text) => {
                    let cost = word(text, has);
                    familiar |= cost <= TYPO_MAX;
                    cost
                }
                Segment::One | Segment::Rest if has.is_empty() => SEGMENT,
                Segment::One | Segment::Rest => 0,
            };
            let (skipped, more) = match rest {
                true => (*cell, left),
                false => (*cell + SEGMENT, left + SEGMENT),
            };
            let best = (corner + own).min(skipped).min(more);
            corner = std::mem::replace(cell, best);
            left = best;
        }
    }
    let end = match open {
        true => row.iter().min(),
        false => row.last(),
    };
    (end.copied().unwrap_or_default(), familiar)
}

/// The share of the characters that have to be changed, of [`WORD`]; words of which not even half stays
/// have letters in common by chance.
fn word(wants: &str, has: &str) -> usize {
    if wants == has {
        return 0;
    }
    let wants = shortened(wants.as_bytes());
    let longer = wants.chars().count().max(has.chars().count()).max(1);
    let changes = strsim::damerau_levenshtein(&wants, has);
    match changes * 2 > longer {
        true => WORD,
        false => (changes * WORD).div_ceil(longer),
    }
}

fn shortened(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(COMPARED_MAX).collect()
}
