//! Building with what upstreams tell, and without what can't be built.
//!
//! A service may tell of descriptors that are broken, or that clash with another's. That is a fault of
//! this one source: the others' news are taken up, and it keeps what it told before.

use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Format, Report};
use crate::config::model::{Config, UpstreamId};
use crate::tls;

use super::super::sources::{self, Built, Reflections};

/// What one upstream's routes may be built from.
#[derive(Clone, Debug)]
pub struct Choice {
    pub id: UpstreamId,
    /// What they are served from now.
    pub served: Option<Arc<Vec<u8>>>,
    /// What it has told, the newest first.
    pub told: Vec<Arc<Vec<u8>>>,
}

/// A generation.
#[derive(Debug)]
pub struct Attempt {
    pub built: Built,
    /// What it is built from.
    pub used: Reflections,
    /// What had to be left out.
    pub refused: Vec<Refused>,
}

/// Descriptors of an upstream that can't be built with the rest.
#[derive(Clone, Debug)]
pub struct Refused {
    pub id: UpstreamId,
    pub upstream: Arc<str>,
    pub descriptors: Arc<Vec<u8>>,
    pub report: Report,
}

impl Refused {
    /// As it is told.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        self.report.render(Format::Text).into()
    }

    /// With words on whose descriptors it is about.
    fn of(config: &Config, id: UpstreamId, descriptors: Arc<Vec<u8>>, faults: Report) -> Self {
        let upstream = config.upstreams.get(id.0 as usize);
        let upstream = upstream.map_or_else(|| Arc::from(""), |u| Arc::clone(&u.name));
        let message =
            format!("the descriptors that `{upstream}` tells by reflection can't be used");
        let mut report = Report::of(Diagnostic::error(message));
        report.extend(faults);
        Self {
            id,
            upstream,
            descriptors,
            report,
        }
    }
}

/// Builds with the newest that each upstream tells. Where that has faults, with what is served now, and
/// then with each one's news by itself.
///
/// # Errors
/// The faults, when they are not of what upstreams tell.
pub fn attempt(
    config: &Config,
    choices: &[Choice],
    tls: &Arc<tls::Shared>,
) -> Result<Attempt, Report> {
    let newest = |c: &Choice| Some((c.id, Arc::clone(c.told.first()?)));
    let used: Reflections = choices.iter().filter_map(newest).collect();
    let faults = match sources::build(config, &used, tls) {
        Ok(built) => {
            let refused = Vec::new();
            return Ok(Attempt {
                built,
                used,
                refused,
            });
        }
        Err(faults) => faults,
    };
    let served = |c: &Choice| Some((c.id, Arc::clone(c.served.as_ref()?)));
    let used: Reflections = choices.iter().filter_map(served).collect();
    let Ok(built) = sources::build(config, &used, tls) else {
        return Err(faults);
    };
    let mut best = Attempt {
        built,
        used,
        refused: Vec::new(),
    };
    for choice in choices {
        choose(config, choice, tls, &mut best);
    }
    Ok(best)
}

/// Takes the newest up that can be built with the rest.
fn choose(config: &Config, choice: &Choice, tls: &Arc<tls::Shared>, best: &mut Attempt) {
    for told in &choice.told {
        if best.used.get(&choice.id) == Some(told) {
            return;
        }
        let mut with = best.used.clone();
        with.insert(choice.id, Arc::clone(told));
        match sources::build(config, &with, tls) {
            Ok(built) => {
                best.built = built;
                best.used = with;
                return;
            }
            Err(faults) => {
                let refused = Refused::of(config, choice.id, Arc::clone(told), faults);
                best.refused.push(refused);
            }
        }
    }
}
