//! Which of several answers is an upstream's, when its instances don't tell the same: during a rolling
//! deploy there are two versions for a while.
//!
//! The newest is the one that has all that the others have: a superset, judged as callers would. Where
//! each lacks something of another, what is served stays as long as somebody tells it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::model::{Config, UpstreamId};
use crate::live::{Changes, Live};

use super::kept::ContentHash;
use super::sources::{self, Reflections, Told};

/// What an upstream tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub descriptors: Arc<Vec<u8>>,
    /// What its instances tell, the one that is taken first.
    pub versions: Vec<Version>,
}

/// One of the things that instances tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub hash: ContentHash,
    pub instances: Vec<Arc<str>>,
    /// What it lacks of what others tell; of the one that is taken only when no other has all.
    pub lacks: Vec<String>,
}

impl Agreed {
    /// What is to be said of instances that differ.
    #[must_use]
    pub fn disagreement(&self, config: &Config, id: UpstreamId) -> Option<Diagnostic> {
        let (taken, others) = self.versions.split_first()?;
        let first = others.first()?;
        let upstream = config.upstreams.get(id.0 as usize)?;
        let message = format!(
            "instances of `{}` tell {} different things: that of {} is taken, {} differs",
            upstream.name,
            self.versions.len(),
            taken.instances.join(", "),
            first.instances.join(", "),
        );
        let note = Diagnostic::error(message).severity(Severity::Note);
        Some(note.at(&upstream.place))
    }
}

/// An answer that some instances have given.
struct Candidate<'t> {
    descriptors: &'t Arc<Vec<u8>>,
    instances: Vec<Arc<str>>,
}

/// Decides what an upstream tells. `served` is what its routes are built from now. Where instances
/// differ this builds once for each version: for the builder thread.
#[must_use]
pub fn agree(told: &[Told], served: Option<&Arc<Vec<u8>>>) -> Agreed {
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for one in told {
        let same = candidates
            .iter_mut()
            .find(|c| *c.descriptors == one.descriptors);
        match same {
            Some(candidate) => candidate.instances.push(Arc::clone(&one.instance)),
            None => candidates.push(Candidate {
                descriptors: &one.descriptors,
                instances: vec![Arc::clone(&one.instance)],
            }),
        }
    }
    // Where all else is equal: what is served, then what most tell.
    candidates.sort_by_key(|c| {
        let is_served = served.is_some_and(|served| served == c.descriptors);
        (!is_served, std::cmp::Reverse(c.instances.len()))
    });
    let lacking = match candidates.len() {
        0 | 1 => vec![Vec::new(); candidates.len()],
        _ => lacking(&candidates),
    };
    let mut all: Vec<_> = candidates.iter().zip(lacking).collect();
    // Stable: the first of those that lack nothing, or the first of all.
    if let Some(best) = all.iter().position(|(_, lacks)| lacks.is_empty()) {
        let best = all.remove(best);
        all.insert(0, best);
    }
    Agreed {
        descriptors: all
            .first()
            .map_or_else(Arc::default, |(c, _)| Arc::clone(c.descriptors)),
        versions: all
            .into_iter()
            .map(|(candidate, lacks)| Version {
                hash: ContentHash::of(candidate.descriptors),
                instances: candidate.instances.clone(),
                lacks,
            })
            .collect(),
    }
}

/// What each lacks of what the others have. One that can't be built lacks everything.
fn lacking(candidates: &[Candidate<'_>]) -> Vec<Vec<String>> {
    let built: Vec<_> = candidates.iter().map(|c| alone(c.descriptors)).collect();
    let of = |at: usize, mine: &Option<Live>| -> Vec<String> {
        let Some(mine) = mine else {
            return vec!["it can't be built".to_owned()];
        };
        let mut lacks: Vec<String> = Vec::new();
        let others = built.iter().enumerate().filter(|(other, _)| *other != at);
        for other in others.filter_map(|(_, other)| other.as_ref()) {
            let changes = Changes::between(other, mine);
            let all = changes.breaking.iter();
            let mut more: Vec<_> = all.map(ToString::to_string).collect();
            more.retain(|b| !lacks.contains(b));
            lacks.extend(more);
        }
        lacks
    };
    let each = built.iter().enumerate();
    each.map(|(at, mine)| of(at, mine)).collect()
}

/// All that these descriptors have, with nothing else beside.
fn alone(descriptors: &Arc<Vec<u8>>) -> Option<Live> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let plain = Config::for_upstream("localhost:1", listen, false).ok()?;
    let told = Reflections::from([(UpstreamId(0), Arc::clone(descriptors))]);
    let built = sources::build(&plain, &told, &Arc::default());
    built.ok().map(|built| built.live)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
service Shop {
  rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/v1/items/{id}" }; }
}
message Item { int64 id = 1; string title = 2; }
"#;

    fn told(instance: &str, proto: &str) -> Told {
        let set = crate::schema::compile(&[("shop.proto".to_owned(), proto.to_owned())]).unwrap();
        Told {
            instance: instance.into(),
            descriptors: Arc::new(set),
        }
    }

    fn agreed(told: &[Told], served: Option<&Told>) -> Agreed {
        agree(told, served.map(|s| &s.descriptors))
    }

    #[test]
    fn the_newest_has_all_that_the_others_have() {
        let more = OLD.replace("string title = 2;", "string title = 2; bool sold = 3;");
        let (a, b, c) = (told("a", OLD), told("b", OLD), told("c", &more));
        let all = [a.clone(), b, c.clone()];
        // Whatever is served, and however many are still old.
        for served in [None, Some(&a), Some(&c)] {
            let agreed = agreed(&all, served);
            assert_eq!(agreed.descriptors, c.descriptors);
            let versions: Vec<_> = agreed
                .versions
                .iter()
                .map(|v| (v.instances.join(" "), v.lacks.clone()))
                .collect();
            let gone = vec!["shop.v1.Item.sold is gone".to_owned()];
            assert_eq!(versions, [("c".into(), vec![]), ("a b".into(), gone)]);
        }
        let same = agreed(&all[..2], None);
        assert_eq!(same.versions.len(), 1);
    }

    #[test]
    fn where_each_lacks_something_what_is_served_stays() {
        let (a, b) = (
            told("a", OLD),
            told("b", &OLD.replace("/v1/items", "/v2/items")),
        );
        let c = told("c", &OLD.replace("/v1/items", "/v2/items"));
        let all = [a.clone(), b.clone(), c];
        assert_eq!(agreed(&all, Some(&a)).descriptors, a.descriptors);
        assert_eq!(agreed(&all, Some(&b)).descriptors, b.descriptors);
        // Nothing is served of it: what most tell.
        assert_eq!(agreed(&all, None).descriptors, b.descriptors);
        let lacks = &agreed(&all, Some(&a)).versions[0].lacks;
        assert!(
            lacks.contains(&"GET /v2/items/{id} is gone".to_owned()),
            "{lacks:?}"
        );
    }

    #[test]
    fn one_that_can_not_be_built_is_not_the_newest() {
        let (a, mut b) = (told("a", OLD), told("b", OLD));
        b.descriptors = Arc::new(b"garbage".to_vec());
        let agreed = agreed(&[b.clone(), a.clone()], Some(&b));
        assert_eq!(agreed.descriptors, a.descriptors);
        assert_eq!(agreed.versions[1].lacks, ["it can't be built"]);
    }
}
