//! What upstreams have told of themselves, kept from one config to the next.
//!
//! An upstream has what it was last served by, and what it has told since that is not taken up (yet).
//! Whatever can't be taken up changes nothing, and is not tried again until something else changes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::model::{Config, DescriptorSource, Endpoint, Upstream, UpstreamId};
use crate::upstream::{Fleet, Member};

use super::super::agree::{Agreed, Version, agree};
use super::super::builder::Builder;
use super::super::kept::{Kept, LastGood};
use super::super::reflection::{Budget, Instance};
use super::super::sources::{self, Reflections, Told};
use super::attempt::{Choice, Refused};

type Bytes = Arc<Vec<u8>>;

/// Instances of those who told what is served that are asked in any case.
const ASKED_AGAIN: usize = 2;

/// How to ask.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) config: &'a Config,
    /// Who knows the instances, where names have been looked up already.
    pub(super) fleet: Option<&'a Fleet>,
    pub(super) builder: &'a Builder,
    pub(super) budget: Budget,
}

/// By the upstream's name.
#[derive(Clone, Debug, Default)]
pub struct Answers(HashMap<Arc<str>, Answer>);

#[derive(Clone, Debug, Default)]
struct Answer {
    /// Of who has told: others are asked anew.
    endpoints: Vec<Endpoint>,
    /// What its routes were built from, or what is kept of an earlier process.
    good: Option<(Bytes, Whence)>,
    /// Told after that.
    offered: Option<Bytes>,
    /// Told after that, and of no use.
    refused: Option<(Bytes, Arc<str>)>,
    /// What its instances told the last time, the one that was taken first.
    versions: Vec<Version>,
}

/// Where descriptors of reflection are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// From the upstream as the config has it.
    Told,
    /// From the endpoints that it had before; those of now have not told theirs.
    Former,
    /// From the disk, first told at this time.
    Kept(SystemTime),
}

impl Answer {
    fn is_of(&self, upstream: &Upstream) -> bool {
        self.endpoints == upstream.endpoints
    }

    fn has_told(&self, upstream: &Upstream) -> bool {
        let told = self.offered.is_some() || self.refused.is_some();
        self.is_of(upstream) && (told || matches!(self.good, Some((_, Whence::Told))))
    }

    /// Whether that is something else than before.
    fn take(&mut self, upstream: &Upstream, descriptors: Bytes) -> bool {
        self.endpoints.clone_from(&upstream.endpoints);
        if let Some((good, whence)) = &mut self.good
            && *good == descriptors
        {
            *whence = Whence::Told;
            self.offered = None;
            self.refused = None;
            return false;
        }
        let known = self.offered.as_ref() == Some(&descriptors)
            || self
                .refused
                .as_ref()
                .is_some_and(|(b, _)| *b == descriptors);
        if !known {
            self.offered = Some(descriptors);
            self.refused = None;
        }
        !known
    }
}

impl Answers {
    /// Takes up what the upstreams of `config` have answered. Whether any of that is new.
    fn add(&mut self, config: &Config, found: HashMap<UpstreamId, Agreed>) -> bool {
        let mut new = false;
        for (id, agreed) in found {
            if let Some(upstream) = config.upstreams.get(id.0 as usize) {
                let answer = self.0.entry(Arc::clone(&upstream.name)).or_default();
                answer.versions = agreed.versions;
                new |= answer.take(upstream, agreed.descriptors);
            }
        }
        new
    }

    /// Takes up what is kept of those that nothing is known of. Reads files.
    pub fn recall(&mut self, config: &Config, folder: &Path) -> Report {
        let kept = Kept::below(folder);
        let mut report = Report::default();
        for (id, place) in sources::reflection_sources(config) {
            let Some(upstream) = config.upstreams.get(id.0 as usize) else {
                continue;
            };
            let answer = self.0.entry(Arc::clone(&upstream.name)).or_default();
            if answer.good.is_some() {
                continue;
            }
            match kept.read(&upstream.name) {
                Ok(last) => {
                    let good = |l: LastGood| (Arc::new(l.descriptors), Whence::Kept(l.since));
                    answer.good = last.map(good);
                    // What it has told already may be the same.
                    if let Some(offered) = answer.offered.take() {
                        answer.take(upstream, offered);
                    }
                }
                Err(error) => {
                    let folder = kept.folder().display();
                    let message =
                        format!("the last good descriptors in {folder} can't be read: {error}");
                    report.push(Diagnostic::warning(message).at(&place));
                }
            }
        }
        report
    }

    /// What the reflection sources of `config` may be built from, the newest first.
    #[must_use]
    pub fn choices(&self, config: &Config) -> Vec<Choice> {
        let choice = |id: UpstreamId| {
            let answer = self.of(config, id)?;
            let served = match &answer.good {
                Some((good, Whence::Told | Whence::Former)) => Some(Arc::clone(good)),
                Some((_, Whence::Kept(_))) | None => None,
            };
            let good = answer.good.as_ref().map(|(good, _)| good);
            let told: Vec<_> = answer.offered.iter().chain(good).map(Arc::clone).collect();
            (!told.is_empty()).then_some(Choice { id, served, told })
        };
        let sources = sources::reflection_sources(config);
        sources.iter().filter_map(|(id, _)| choice(*id)).collect()
    }

    /// Notes what a generation of `config` was built from, and what was of no use for it.
    pub fn settle(&mut self, config: &Config, used: &Reflections, refused: &[Refused]) {
        for (id, _) in sources::reflection_sources(config) {
            let Some(upstream) = config.upstreams.get(id.0 as usize) else {
                continue;
            };
            let Some(answer) = self.0.get_mut(&upstream.name) else {
                continue;
            };
            for refused in refused.iter().filter(|r| r.id == id) {
                if answer.offered.as_ref() == Some(&refused.descriptors) {
                    answer.offered = None;
                    answer.refused = Some((Arc::clone(&refused.descriptors), refused.text()));
                }
            }
            match used.get(&id) {
                Some(used) if answer.offered.as_ref() == Some(used) => {
                    answer.good = answer.offered.take().map(|bytes| (bytes, Whence::Told));
                    answer.refused = None;
                }
                Some(_) if !answer.is_of(upstream) => {
                    if let Some((_, whence @ Whence::Told)) = &mut answer.good {
                        *whence = Whence::Former;
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    /// What was of no use may be now, with other files.
    pub(super) fn forgive(&mut self) {
        for answer in self.0.values_mut() {
            if let Some((refused, _)) = answer.refused.take() {
                answer.offered.get_or_insert(refused);
            }
        }
    }

    /// Asks those that are `wanted`. What is new of it, and what is to be said.
    pub(super) async fn ask(
        &mut self,
        ask: &Ask<'_>,
        wanted: impl Fn(&Self, UpstreamId) -> bool,
    ) -> (Heard, Report) {
        let asking = only(ask.config, |id| wanted(self, id));
        let instances = |upstream: &Upstream| self.instances(ask.fleet, upstream);
        let (told, mut report) = sources::reflect(&asking, instances, &ask.budget).await;
        let any = !told.is_empty();
        let served: HashMap<_, _> = told
            .keys()
            .filter_map(|id| {
                let (good, _) = self.of(ask.config, *id)?.good.as_ref()?;
                Some((*id, Arc::clone(good)))
            })
            .collect();
        // Comparing what instances tell is building.
        let compare = move || -> HashMap<UpstreamId, Agreed> {
            let of = |id, told: &[Told]| agree(told, served.get(&id));
            told.iter().map(|(id, told)| (*id, of(*id, told))).collect()
        };
        let agreed = match ask.builder.run(compare).await {
            Ok(agreed) => agreed,
            Err(error) => {
                report.push(Diagnostic::error(error.to_string()));
                HashMap::new()
            }
        };
        let new = self.add(ask.config, agreed);
        (Heard { any, new }, report)
    }

    /// Whom to ask: every instance that is known, and first of all, one or two of those who told what
    /// is served. So it is seen that somebody still tells it where not all are asked. `None` when nobody
    /// has looked for them yet.
    fn instances(&self, fleet: Option<&Fleet>, upstream: &Upstream) -> Option<Vec<Instance>> {
        let shared = fleet.and_then(|f| f.known(upstream))?;
        let members = shared.members();
        let instance = |member: &Arc<Member>| Instance {
            authority: member.authority.clone(),
            location: member.location.clone(),
        };
        let mut all: Vec<_> = members.iter().map(instance).collect();
        fastrand::shuffle(&mut all);
        let answer = self.0.get(&upstream.name);
        let served = answer.and_then(|a| a.versions.first());
        let mut first = 0;
        for at in 0..all.len() {
            let told = |i: &Instance| {
                served.is_some_and(|s| s.instances.iter().any(|name| **name == *i.to_string()))
            };
            if first < ASKED_AGAIN && all.get(at).is_some_and(told) {
                all.swap(first, at);
                first += 1;
            }
        }
        Some(all)
    }

    /// What the instances of a source told the last time they were asked.
    pub(super) fn versions(&self, config: &Config, id: UpstreamId) -> &[Version] {
        self.of(config, id).map_or(&[], |answer| &answer.versions)
    }

    /// Whether a source of `config` has yet to tell.
    pub(super) fn are_owed(&self, config: &Config) -> bool {
        let sources = sources::reflection_sources(config);
        sources.iter().any(|(id, _)| !self.has_told(config, *id))
    }

    /// What a source is served from, and why not from what it has told.
    pub(super) fn state_of(
        &self,
        config: &Config,
        id: UpstreamId,
    ) -> (Option<Whence>, Option<Arc<str>>) {
        let Some(answer) = self.of(config, id) else {
            return (None, None);
        };
        let refused = answer.refused.as_ref().map(|(_, why)| Arc::clone(why));
        (answer.good.as_ref().map(|(_, whence)| *whence), refused)
    }

    /// What upstreams of `config` have told and is served: worth keeping.
    pub(super) fn worth_keeping(&self, config: &Config) -> Vec<(Arc<str>, Bytes)> {
        let told = |id: UpstreamId| {
            let upstream = config.upstreams.get(id.0 as usize)?;
            match &self.0.get(&upstream.name)?.good {
                Some((good, Whence::Told)) => Some((Arc::clone(&upstream.name), Arc::clone(good))),
                Some(_) | None => None,
            }
        };
        let sources = sources::reflection_sources(config);
        sources.iter().filter_map(|(id, _)| told(*id)).collect()
    }

    fn of(&self, config: &Config, id: UpstreamId) -> Option<&Answer> {
        self.0.get(&config.upstreams.get(id.0 as usize)?.name)
    }

    pub(super) fn has_told(&self, config: &Config, id: UpstreamId) -> bool {
        let upstream = config.upstreams.get(id.0 as usize);
        upstream.is_some_and(|u| self.0.get(&u.name).is_some_and(|a| a.has_told(u)))
    }
}

/// What came of a round of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Somebody has answered.
    pub(super) any: bool,
    /// With something that is not served yet.
    pub(super) new: bool,
}

/// The config with the `reflection` sources alone whose upstreams are `wanted`.
fn only(config: &Config, wanted: impl Fn(UpstreamId) -> bool) -> Config {
    let mut config = config.clone();
    config.descriptors.retain(|source| match source {
        DescriptorSource::Reflection { upstream, .. } => wanted(*upstream),
        DescriptorSource::Protos { .. }
        | DescriptorSource::File { .. }
        | DescriptorSource::Rules { .. } => false,
    });
    config
}
