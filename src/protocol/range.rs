//! `Range` of one piece (RFC 9110 §14.2). Several pieces, and what can't be read, are the whole.

/// What a range comes to for content of a known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// 200 with everything.
    Whole,
    /// 206 with bytes `from..to`; never empty.
    Part { from: u64, to: u64 },
    /// 416.
    Unsatisfiable,
}

/// Reads the value of `Range`.
#[must_use]
pub fn range(value: &str, length: u64) -> Range {
    let parsed = value.split_once('=').and_then(|(unit, set)| {
        (unit.trim().eq_ignore_ascii_case("bytes")).then(|| one(set.trim(), length))?
    });
    parsed.unwrap_or(Range::Whole)
}

fn one(set: &str, length: u64) -> Option<Range> {
    let (first, last) = set.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More than fits is past any end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (from, to) = if first.is_empty() {
        (length.saturating_sub(number(last)?), length)
    } else {
        let first = number(first)?;
        let to = match last.is_empty() {
            true => length,
            false => {
                let last = number(last)?;
                if last < first {
                    return None;
                }
                last.saturating_add(1).min(length)
            }
        };
        (first, to)
    };
    Some(match from < to {
        true => Range::Part { from, to },
        false => Range::Unsatisfiable,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let part = |from, to| Range::Part { from, to };
        for (text, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-4", part(2, 5)),
            ("Bytes = 2 - 4", part(2, 5)),
            ("bytes=9-", part(9, 10)),
            ("bytes=5-100", part(5, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-100", part(0, 10)),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", Range::Unsatisfiable),
            ("bytes=0-99999999999999999999999", part(0, 10)),
            ("bytes=4-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("lines=0-1", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_is_inside(text in "bytes=[0-9 -]{0,8}(,[0-9-]{0,4})?", length in 0_u64..1000) {
            if let Range::Part { from, to } = range(&text, length) {
                prop_assert!(from < to && to <= length);
            }
        }

        #[test]
        fn first_and_last_are_taken_at_their_word(from in 0_u64..1000, more in 0_u64..1000, length in 1_u64..3000) {
            let found = range(&format!("bytes={from}-{}", from + more), length);
            let to = (from + more + 1).min(length);
            let expected = if from < length { Range::Part { from, to } } else { Range::Unsatisfiable };
            prop_assert_eq!(found, expected);
        }
    }
}
