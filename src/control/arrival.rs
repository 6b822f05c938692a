//! Descriptors that were not there at the start: an upstream that is down must not keep the others
//! from being served, and its routes appear when it comes.

use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostic::{Format, Report, Severity};
use crate::config::model::{Config, DescriptorSource, UpstreamId};
use crate::limits::{REFLECTION_RETRY_MAX, REFLECTION_RETRY_MIN};
use crate::live::Live;
use crate::snapshot::Snapshot;

use super::builder::Builder;
use super::reflection::Budget;
use super::sources::{self, Built, Reflections};

/// What is needed to build a generation, and whose descriptors are missing.
#[derive(Debug)]
pub struct Arrival {
    pub config: Arc<Config>,
    pub have: Reflections,
    pub missing: Vec<UpstreamId>,
    /// What has been said about them already.
    pub told: Report,
    pub builder: Builder,
    pub live: Arc<Snapshot<Live>>,
}

impl Arrival {
    /// Asks until every upstream has answered; publishes a generation for each that does. Dropping it
    /// stops asking.
    pub async fn run(mut self) {
        let mut wait = REFLECTION_RETRY_MIN;
        while !self.missing.is_empty() {
            tokio::time::sleep(wait).await;
            wait = next_wait(wait);
            let (found, report) = sources::reflect(&self.asking(), &Budget::default()).await;
            let report = as_warnings(report);
            if report != self.told {
                tracing::warn!("{}", report.render(Format::Text).trim_end());
                self.told = report;
            }
            if !found.is_empty() && self.take_up(found).await {
                wait = REFLECTION_RETRY_MIN;
            }
        }
    }

    /// The config with those sources alone that are still missing.
    fn asking(&self) -> Config {
        let mut config = Config::clone(&self.config);
        config.descriptors.retain(|source| match source {
            DescriptorSource::Reflection { upstream, .. } => self.missing.contains(upstream),
            _ => false,
        });
        config
    }

    /// Builds with what was found and publishes it; a fault leaves all as it was.
    async fn take_up(&mut self, found: Reflections) -> bool {
        let mut have = self.have.clone();
        have.extend(found);
        let config = Arc::clone(&self.config);
        let known = have.clone();
        let built = self.builder.run(move || sources::build(&config, &known));
        match built.await {
            Ok(Ok(Built {
                live,
                report,
                unread,
                ..
            })) => {
                let routes = live.routes.len();
                if !report.is_empty() {
                    tracing::info!("{}", report.render(Format::Text).trim_end());
                }
                let generation = self.live.publish(Arc::new(live));
                tracing::info!(
                    generation = generation.0,
                    routes,
                    "descriptors came; routes are served"
                );
                self.have = have;
                self.missing = unread;
                true
            }
            Ok(Err(report)) => {
                tracing::error!("{}", report.render(Format::Text).trim_end());
                false
            }
            Err(error) => {
                tracing::error!(%error, "descriptors came, but not a generation of them");
                false
            }
        }
    }
}

/// An upstream that is down is no reason not to serve the others.
#[must_use]
pub fn as_warnings(mut report: Report) -> Report {
    for diagnostic in &mut report.diagnostics {
        if diagnostic.severity == Severity::Error {
            diagnostic.severity = Severity::Warning;
        }
    }
    report
}

fn next_wait(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(REFLECTION_RETRY_MAX)
}
