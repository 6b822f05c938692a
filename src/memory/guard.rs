//! What is done as memory runs short: a function of how much is used, with some inertia.

use crate::limits::MemoryGuard;

use super::Reading;

/// How short memory is. Each does what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Ample,
    /// HTTP/1.1 connections end with their next reply.
    Spare,
    /// Requests are refused.
    Shed,
    /// New connections are closed.
    Refuse,
}

impl Level {
    const ALL: [Self; 4] = [Self::Ample, Self::Spare, Self::Shed, Self::Refuse];

    /// For metrics: from 0, [`Level::Ample`], to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of_number(number: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|level| level.number() == number)
            .unwrap_or_default()
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Spare => "spare",
            Self::Shed => "shed",
            Self::Refuse => "refuse",
        }
    }

    fn below(self) -> Self {
        match self {
            Self::Ample | Self::Spare => Self::Ample,
            Self::Shed => Self::Spare,
            Self::Refuse => Self::Shed,
        }
    }
}

/// From which thousandths of the limit on a level holds.
const fn begins(level: Level, rules: &MemoryGuard) -> u16 {
    match level {
        Level::Ample => 0,
        Level::Spare => rules.spare,
        Level::Shed => rules.shed,
        Level::Refuse => rules.refuse,
    }
}

/// So many thousandths must be free again before a level is left, so that it isn't entered and left
/// with each request.
const INERTIA: u16 = 20;

/// The level that follows `now`.
#[must_use]
pub fn next(now: Level, reading: Reading, rules: &MemoryGuard) -> Level {
    let used = thousandths(reading);
    let reached = |level: &Level| used >= begins(*level, rules);
    let at_least = Level::ALL.into_iter().rev().find(reached);
    let at_least = at_least.unwrap_or_default();
    let mut level = now;
    while level > at_least && used < begins(level, rules).saturating_sub(INERTIA) {
        level = level.below();
    }
    level.max(at_least)
}

fn thousandths(reading: Reading) -> u16 {
    let all = u128::from(reading.used) * 1000;
    let share = all.checked_div(u128::from(reading.limit));
    share.map_or(0, |share| u16::try_from(share).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: MemoryGuard = MemoryGuard {
        is_on: true,
        limit: None,
        spare: 900,
        shed: 950,
        refuse: 980,
    };

    fn at(used: u64) -> Reading {
        Reading { used, limit: 1000 }
    }

    #[test]
    fn levels_begin_at_their_shares_and_end_some_way_below() {
        for (now, used, then) in [
            (Level::Ample, 899, Level::Ample),
            (Level::Ample, 900, Level::Spare),
            (Level::Ample, 950, Level::Shed),
            (Level::Ample, 5000, Level::Refuse),
            (Level::Refuse, 979, Level::Refuse),
            (Level::Refuse, 959, Level::Shed),
            (Level::Refuse, 929, Level::Spare),
            (Level::Refuse, 0, Level::Ample),
            (Level::Shed, 930, Level::Shed),
            (Level::Shed, 880, Level::Spare),
            (Level::Spare, 879, Level::Ample),
        ] {
            assert_eq!(next(now, at(used), &RULES), then, "{now:?} at {used}");
        }
    }

    #[test]
    fn without_a_limit_memory_is_ample() {
        let endless = Reading { used: 9, limit: 0 };
        assert_eq!(next(Level::Ample, endless, &RULES), Level::Ample);
    }

    fn level() -> impl Strategy<Value = Level> {
        prop::sample::select(Level::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn more_in_use_is_never_a_lower_level(now in level(), a in 0..2000_u64, b in 0..2000_u64) {
            let (less, more) = (a.min(b), a.max(b));
            assert!(next(now, at(less), &RULES) <= next(now, at(more), &RULES));
        }

        #[test]
        fn the_same_again_changes_nothing(now in level(), used in 0..2000_u64) {
            let then = next(now, at(used), &RULES);
            assert_eq!(next(then, at(used), &RULES), then);
        }

        #[test]
        fn a_level_is_never_below_what_is_reached(now in level(), used in 0..2000_u64) {
            assert!(next(now, at(used), &RULES) >= next(Level::Ample, at(used), &RULES));
        }

        #[test]
        fn a_little_more_or_less_doesn_t_flap(used in 0..2000_u64, less in 0..u64::from(INERTIA)) {
            let up = next(Level::Ample, at(used), &RULES);
            let down = next(up, at(used.saturating_sub(less)), &RULES);
            assert_eq!(down, up);
        }
    }
}
