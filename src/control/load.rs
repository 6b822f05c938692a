//! Has the limits on calls follow from how upstreams answer, where that is wanted.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior};

use crate::limits::LOAD_LOOK;
use crate::live::Live;
use crate::snapshot::Snapshot;
use crate::upstream::Fleet;

/// Looks on, generation after generation. Dropping it stops that.
pub async fn run(fleet: Arc<Fleet>, live: Arc<Snapshot<Live>>) {
    let mut changes = live.subscribe();
    let begun = Instant::now();
    let mut random = fastrand::Rng::new();
    loop {
        let now = live.load();
        let adaptive = |u: &&crate::config::model::Upstream| u.rules.load.adaptive.is_some();
        let followed: HashMap<_, _> = now
            .upstreams
            .iter()
            .filter(adaptive)
            .map(|spec| (Arc::clone(&spec.name), fleet.upstream(spec)))
            .collect();
        drop(now);
        if followed.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut looks = tokio::time::interval(LOAD_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(_) => break,
                    Err(_) => return,
                },
                _ = looks.tick() => {}
            }
            for (name, upstream) in &followed {
                let before = upstream.adapted().map(|a| a.limit);
                let after = upstream
                    .adapt(begun.elapsed(), random.f64())
                    .map(|a| a.limit);
                if before != after {
                    tracing::debug!(
                        upstream = &**name,
                        ?before,
                        ?after,
                        "the limit on calls follows the answers"
                    );
                }
            }
        }
    }
}
