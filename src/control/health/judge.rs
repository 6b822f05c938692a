//! From single answers to a verdict on an instance. Pure.

use std::num::NonZeroU32;

/// What answers in a row have come to.
#[derive(Debug)]
pub(super) struct Judge {
    healthy_after: NonZeroU32,
    unhealthy_after: NonZeroU32,
    /// `None` until the first answer, which decides alone: who has just been found ill is no use.
    healthy: Option<bool>,
    /// Answers in a row that speak against the verdict.
    against: u32,
}

impl Judge {
    pub(super) fn new(healthy_after: NonZeroU32, unhealthy_after: NonZeroU32) -> Self {
        Self {
            healthy_after,
            unhealthy_after,
            healthy: None,
            against: 0,
        }
    }

    /// Takes an answer in; the verdict when it is a new one.
    pub(super) fn note(&mut self, good: bool) -> Option<bool> {
        let Some(healthy) = self.healthy else {
            return self.decide(good);
        };
        if good == healthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let enough = match good {
            true => self.healthy_after,
            false => self.unhealthy_after,
        };
        if self.against < enough.get() {
            return None;
        }
        self.decide(good)
    }

    /// The instance says so by itself: that is no accident, and counts at once.
    pub(super) fn decide(&mut self, good: bool) -> Option<bool> {
        self.against = 0;
        (self.healthy.replace(good) != Some(good)).then_some(good)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(healthy_after: u32, unhealthy_after: u32) -> Judge {
        let row = |n| NonZeroU32::new(n).unwrap();
        Judge::new(row(healthy_after), row(unhealthy_after))
    }

    #[test]
    fn the_first_answer_decides_and_later_ones_need_a_row() {
        let mut one = judge(2, 3);
        assert_eq!(one.note(false), Some(false));
        let answers = [
            true, false, true, true, false, false, true, false, false, false,
        ];
        let verdicts: Vec<_> = answers.into_iter().map(|good| one.note(good)).collect();
        let mut expected = [None; 10];
        expected[3] = Some(true);
        expected[9] = Some(false);
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn its_own_word_counts_at_once() {
        let mut one = judge(5, 5);
        assert_eq!(one.note(true), Some(true));
        assert_eq!(one.note(false), None);
        assert_eq!(one.decide(false), Some(false));
        assert_eq!(one.decide(false), None);
        // And what led there is forgotten.
        for _ in 0..4 {
            assert_eq!(one.note(true), None);
        }
        assert_eq!(one.note(true), Some(true));
    }

    proptest! {
        /// Against a look back over all answers.
        #[test]
        fn a_verdict_turns_exactly_after_its_row(
            healthy_after in 1u32..5,
            unhealthy_after in 1u32..5,
            answers in prop::collection::vec(any::<bool>(), 1..80),
        ) {
            let mut judge = judge(healthy_after, unhealthy_after);
            let mut verdict = answers[0];
            let mut since = 1;
            prop_assert_eq!(judge.note(answers[0]), Some(verdict));
            for at in 1..answers.len() {
                let row = answers[since..=at].iter().rev().take_while(|a| **a != verdict).count();
                let enough = if verdict { unhealthy_after } else { healthy_after };
                let turns = row == enough as usize;
                if turns {
                    verdict = !verdict;
                    since = at + 1;
                }
                prop_assert_eq!(judge.note(answers[at]), turns.then_some(verdict));
            }
        }
    }
}
