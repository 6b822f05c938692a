//! `limits.memory`.

use crate::config::raw::{Field, Section};
use crate::limits::MemoryGuard;

use super::byte_limit;

pub(super) fn memory(limits: &Section<'_, '_>) -> MemoryGuard {
    let standard = MemoryGuard::default();
    let Some(section) = limits.section("memory") else {
        return standard;
    };
    let guard = section.field("guard").and_then(|f| f.bool());
    let share = |name, default| {
        let share = section.field(name).and_then(|f| f.share());
        share.map_or(default, thousandths)
    };
    let guard = MemoryGuard {
        is_on: guard.unwrap_or(standard.is_on),
        limit: byte_limit(&section, "limit"),
        spare: share("spare", standard.spare),
        shed: share("shed", standard.shed),
        refuse: share("refuse", standard.refuse),
    };
    // Told where it is written: one of the two is.
    let order = [
        ("spare", guard.spare, "shed", guard.shed),
        ("shed", guard.shed, "refuse", guard.refuse),
    ];
    for (name, begins, next, then) in order {
        if begins > then {
            let at = section.field(name).or_else(|| section.field(next));
            at.iter().for_each(|field: &Field<'_, '_>| {
                field.error(format!(
                    "`{name}` begins after `{next}` ({} and {} of the limit)",
                    f64::from(begins) / 1000.0,
                    f64::from(then) / 1000.0,
                ));
            });
        }
    }
    guard
}

/// Of a share from 0 to 1.
fn thousandths(share: f64) -> u16 {
    (0..=1000_u16)
        .find(|n| f64::from(*n) >= share * 1000.0 - 0.5)
        .unwrap_or(1000)
}
