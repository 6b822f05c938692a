//! What is told of the memory that is left.

use serde_json::{Value, json};

use crate::memory::Memory;
use crate::telemetry::Facts;

use super::certificates::float_of;

/// For metrics.
pub(super) fn facts(memory: &Memory) -> Vec<Facts> {
    let one = |name, about, value: u64| Facts {
        name,
        about,
        counts: false,
        rows: vec![(Vec::new(), float_of(value))],
    };
    let budget = memory.budget();
    let mut all = vec![
        one(
            "transom_held_bytes",
            "Bodies and messages that are held whole.",
            budget.held() as u64,
        ),
        one(
            "transom_held_bytes_max",
            "How many may be: limits.held, and half of the memory limit at most.",
            budget.max() as u64,
        ),
        one(
            "transom_memory_level",
            "What is done for want of memory: 0 nothing, 1 HTTP/1.1 connections end with their reply, \
             2 requests are refused, 3 connections are.",
            u64::from(memory.level().number()),
        ),
    ];
    if let Some(reading) = memory.reading() {
        all.push(one(
            "transom_memory_used_bytes",
            "Memory in use, as limits.memory counts it.",
            reading.used,
        ));
        all.push(one(
            "transom_memory_limit_bytes",
            "Memory that may be used.",
            reading.limit,
        ));
    }
    all
}

/// For the status.
pub(super) fn status(memory: &Memory) -> Value {
    let budget = memory.budget();
    let reading = memory.reading();
    json!({
        "level": memory.level().name(),
        "used": reading.map(|r| r.used),
        "limit": reading.map(|r| r.limit),
        "held": budget.held(),
        "held_max": budget.max(),
    })
}
