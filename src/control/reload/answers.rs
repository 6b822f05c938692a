//! What upstreams have told of themselves, kept from one config to the next.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::diagnostic::Report;
use crate::config::model::{Config, DescriptorSource, Endpoint, UpstreamId};

use super::super::reflection::Budget;
use super::super::sources::{self, Reflections};

/// Descriptors by the upstream's name, as long as its endpoints are the same.
#[derive(Clone, Debug, Default)]
pub struct Answers(HashMap<Arc<str>, (Vec<Endpoint>, Arc<Vec<u8>>)>);

impl Answers {
    /// Takes up what the upstreams of `config` have answered.
    pub fn add(&mut self, config: &Config, found: Reflections) {
        for (id, descriptors) in found {
            if let Some(upstream) = config.upstreams.get(id.0 as usize) {
                let answer = (upstream.endpoints.clone(), Arc::new(descriptors));
                self.0.insert(Arc::clone(&upstream.name), answer);
            }
        }
    }

    /// For a build of `config`.
    #[must_use]
    pub fn of(&self, config: &Config) -> Reflections {
        let sources = sources::reflection_sources(config);
        let known = |id: UpstreamId| Some((id, self.get(config, id)?.to_vec()));
        sources.iter().filter_map(|(id, _)| known(*id)).collect()
    }

    fn get(&self, config: &Config, id: UpstreamId) -> Option<&[u8]> {
        let upstream = config.upstreams.get(id.0 as usize)?;
        let (endpoints, descriptors) = self.0.get(&upstream.name)?;
        (*endpoints == upstream.endpoints).then_some(descriptors)
    }

    /// Asks those that have not answered yet. Whether any has now, and what is to be said.
    pub(super) async fn ask_for(&mut self, config: &Config, budget: &Budget) -> (bool, Report) {
        let asking = only(config, |id| self.get(config, id).is_none());
        let (found, report) = sources::reflect(&asking, budget).await;
        let any = !found.is_empty();
        self.add(config, found);
        (any, report)
    }

    /// Asks those that have answered. Whether any tells something else now.
    pub(super) async fn ask_again(&mut self, config: &Config, budget: &Budget) -> bool {
        let asking = only(config, |id| self.get(config, id).is_some());
        let (mut found, _) = sources::reflect(&asking, budget).await;
        found.retain(|id, descriptors| self.get(config, *id) != Some(descriptors));
        let any = !found.is_empty();
        self.add(config, found);
        any
    }
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
