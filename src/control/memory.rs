//! Looks at the memory in use, and says how short it is.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use crate::limits::{MEMORY_LOOK, MemoryGuard};
use crate::live::Live;
use crate::memory::{Level, Memory, Reading, Source, next};
use crate::snapshot::Snapshot;

/// Looks on, by the rules of each generation. Dropping it stops that.
pub async fn run(memory: Arc<Memory>, live: Arc<Snapshot<Live>>, source: Source) {
    let mut looks = tokio::time::interval(MEMORY_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let limits = live.load().limits.clone();
        look(
            &memory,
            &limits.memory,
            limits.held_bytes_max.bytes(),
            &source,
        );
    }
}

fn look(memory: &Memory, rules: &MemoryGuard, held_bytes_max: usize, source: &Source) {
    let reading = match rules.limit {
        Some(limit) => source.resident().map(|used| Reading {
            used,
            limit: limit.bytes() as u64,
        }),
        None => source.cgroup(),
    };
    let half = reading.map_or(u64::MAX, |reading| reading.limit / 2);
    let half = usize::try_from(half).unwrap_or(usize::MAX);
    memory.budget().set_max(held_bytes_max.min(half));
    let level = match reading {
        Some(reading) if rules.is_on => next(memory.level(), reading, rules),
        Some(_) | None => Level::Ample,
    };
    let before = memory.set(reading, level);
    if level == before {
        return;
    }
    let Reading { used, limit } = reading.unwrap_or(Reading { used: 0, limit: 0 });
    let doing = match level {
        Level::Ample => "all is served",
        Level::Spare => "HTTP/1.1 connections end with their reply",
        Level::Shed => "requests are refused",
        Level::Refuse => "requests and connections are refused",
    };
    match level > before {
        true => tracing::warn!(
            used,
            limit,
            level = level.name(),
            "memory runs short: {doing}"
        ),
        false => tracing::info!(
            used,
            limit,
            level = level.name(),
            "memory is had again: {doing}"
        ),
    }
}
