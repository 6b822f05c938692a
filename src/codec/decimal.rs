//! JSON numbers of up to nineteen digits, read in one scan: integers, and decimals that round
//! exactly to the nearest double or float. What is longer or too close to call is left to the
//! standard library; a property test holds both to the same bits.

/// A number of few digits, which most are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Short {
    Integer(i64),
    /// `digits` × 10^`power`, with a sign. Minus zero is one of these.
    Decimal {
        negative: bool,
        digits: u64,
        power: i32,
    },
}

/// So many digits always fit 64 bits.
const DIGITS_MAX: usize = 19;

/// The number at `pos` and where it ends; `None` for one of more digits and for what is no number.
#[inline]
pub(super) fn short_number(json: &[u8], pos: usize) -> Option<(Short, usize)> {
    let negative = json.get(pos) == Some(&b'-');
    let start = pos + usize::from(negative);
    let (mut digits, mut at) = few_digits(json, start, 0);
    let whole = at - start;
    if whole == 0 || whole > DIGITS_MAX || (whole > 1 && json.get(start) == Some(&b'0')) {
        return None;
    }
    let mut places = 0;
    if json.get(at) == Some(&b'.') {
        let from = at + 1;
        (digits, at) = many_digits(json, from, digits);
        places = at - from;
        if places == 0 || whole + places > DIGITS_MAX {
            return None;
        }
    }
    let mut power = -(places as i32);
    let mut integer = places == 0;
    if let Some(b'e' | b'E') = json.get(at) {
        let (value, end) = exponent(json, at + 1)?;
        power += value;
        at = end;
        integer = false;
    }
    if integer && !(negative && digits == 0) {
        let n = i64::try_from(digits).ok()?;
        return Some((Short::Integer(if negative { -n } else { n }), at));
    }
    let number = Short::Decimal {
        negative,
        digits,
        power,
    };
    Some((number, at))
}

/// Appends the digits from `pos` on to `value`, which wraps if they are too many; where they end.
#[inline]
fn few_digits(json: &[u8], mut pos: usize, mut value: u64) -> (u64, usize) {
    while let Some(&b @ b'0'..=b'9') = json.get(pos) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(b - b'0'));
        pos += 1;
    }
    (value, pos)
}

/// The same for places of a decimal, which are often many: eight at a time.
#[inline]
fn many_digits(json: &[u8], mut pos: usize, mut value: u64) -> (u64, usize) {
    while let Some(eight) = json.get(pos..pos + 8) {
        let word = <[u8; 8]>::try_from(eight).map_or(0, u64::from_le_bytes);
        let Some(number) = eight_digits(word) else {
            break;
        };
        value = value.wrapping_mul(100_000_000).wrapping_add(number);
        pos += 8;
    }
    few_digits(json, pos, value)
}

/// The number that eight ASCII digits are, the first of them in the lowest byte.
#[inline]
fn eight_digits(word: u64) -> Option<u64> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word ^ (ONES * 0x30);
    // A byte above 9 has a high nibble, or gets one when 6 is added.
    if (low | (low & (ONES * 0x0f)).wrapping_add(ONES * 6)) & (ONES * 0xf0) != 0 {
        return None;
    }
    // Neighbours are joined: 8 digits, 4 pairs, 2 quads, 1 number.
    let pairs = low.wrapping_mul(10).wrapping_add(low >> 8) & 0x00ff_00ff_00ff_00ff;
    let quads = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    Some(quads.wrapping_mul(10_000).wrapping_add(quads >> 32) & 0xffff_ffff)
}

/// An exponent of up to three digits.
#[inline]
fn exponent(json: &[u8], pos: usize) -> Option<(i32, usize)> {
    let sign = json.get(pos)?;
    let start = pos + usize::from(matches!(sign, b'+' | b'-'));
    let (mut value, mut at) = (0i32, start);
    while let Some(&b @ b'0'..=b'9') = json.get(at) {
        if at - start == 3 {
            return None;
        }
        value = value * 10 + i32::from(b - b'0');
        at += 1;
    }
    let value = if *sign == b'-' { -value } else { value };
    (at > start).then_some((value, at))
}

impl Short {
    /// The nearest double, unless it takes more than one multiplication to tell.
    #[inline]
    pub(super) fn double(self) -> Option<f64> {
        let (negative, digits, power) = match self {
            Self::Integer(n) => return Some(n as f64),
            Self::Decimal {
                negative,
                digits,
                power,
            } => (negative, digits, power),
        };
        let power_of_ten = POWERS.get(power.unsigned_abs() as usize);
        let value = match power_of_ten {
            // Both sides are doubles, so the one operation rounds once.
            Some(ten) if digits < 1 << 53 && power < 0 => digits as f64 / ten,
            Some(ten) if digits < 1 << 53 => digits as f64 * ten,
            _ => {
                let (bits, exponent) = scaled(digits, power)?;
                bits as f64 * power_of_two(exponent)
            }
        };
        Some(if negative { -value } else { value })
    }

    /// The nearest float, unless it takes more to tell.
    #[inline]
    pub(super) fn float(self) -> Option<f32> {
        let (negative, digits, power) = match self {
            Self::Integer(n) => return Some(n as f32),
            Self::Decimal {
                negative,
                digits,
                power,
            } => (negative, digits, power),
        };
        let value = if digits == 0 {
            0.0
        } else {
            let (bits, exponent) = scaled(digits, power)?;
            // No smaller than 10^-27, which is a normal float: the scaling is exact.
            (f64::from(bits as f32) * power_of_two(exponent)) as f32
        };
        Some(if negative { -value } else { value })
    }
}

/// Powers of ten that are doubles.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// 5^27 is the last that fits 64 bits.
const RECIPROCALS: [(u64, i32); 28] = reciprocals();

/// For each `k` from 1 on, the first 64 bits of 5^-`k`, cut off, and the power of two they are to be
/// multiplied by.
const fn reciprocals() -> [(u64, i32); 28] {
    let mut table = [(0, 0); 28];
    let (mut k, mut five) = (1, 5u128);
    while k < 28 {
        let shift = 63 + 128 - five.leading_zeros();
        // `k` is below the length, and the const evaluation would fail if it were not.
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time alone")]
        {
            table[k] = (((1u128 << shift) / five) as u64, -(shift as i32));
        }
        five *= 5;
        k += 1;
    }
    table
}

/// An integer and a power of two whose product rounds, to double or float, as
/// `digits` × 10^`power` does. `digits` is not zero.
///
/// The cut-off reciprocal makes the product's high half the true one or one less than it. Its lowest
/// nine bits lie below what a double keeps and rounds by; unless they are all ones (one more could
/// carry) or all zeros (perhaps a tie), rounding sees the same in either, and that something follows.
#[inline]
fn scaled(digits: u64, power: i32) -> Option<(u64, i32)> {
    let places = usize::try_from(power.checked_neg()?).ok()?;
    let &(reciprocal, exponent) = RECIPROCALS.get(places)?;
    let zeros = digits.leading_zeros();
    let product = u128::from(digits.checked_shl(zeros)?) * u128::from(reciprocal);
    let high = (product >> 64) as u64;
    if matches!(high & 0x1ff, 0 | 0x1ff) {
        return None;
    }
    Some((high | 1, exponent + 64 - zeros as i32 + power))
}

/// 2^`exponent`, of a normal double.
#[inline]
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Holds a text to the standard library; whether it was read at all.
    fn check(text: &str) -> bool {
        let Some((short, end)) = short_number(text.as_bytes(), 0) else {
            return false;
        };
        assert_eq!(end, text.len(), "{text}");
        let double = short.double();
        if let Some(double) = double {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(double.to_bits(), expected.to_bits(), "{text}");
        }
        if let Some(float) = short.float() {
            let expected: f32 = text.parse().unwrap();
            assert_eq!(float.to_bits(), expected.to_bits(), "{text}");
        }
        if let Short::Integer(n) = short {
            assert_eq!(n.to_string(), text);
        }
        double.is_some()
    }

    fn decimal() -> impl Strategy<Value = String> {
        let digits = prop_oneof![any::<u64>(), any::<u64>().prop_map(|n| n >> (n % 64))];
        (any::<bool>(), digits, 0usize..24, -30i32..30).prop_map(
            |(negative, digits, places, exponent)| {
                let text = format!("{digits:0>width$}", width = places + 1);
                let (whole, rest) = text.split_at_checked(text.len() - places).unwrap();
                let sign = if negative { "-" } else { "" };
                let point = if places == 0 { "" } else { "." };
                let tail = match exponent {
                    e if e > 20 => String::new(),
                    e => format!("e{e}"),
                };
                format!("{sign}{whole}{point}{rest}{tail}")
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_decimal_rounds_as_the_standard_library_does(text in decimal()) {
            check(&text);
        }

        #[test]
        fn any_shortest_double_and_float_is_itself(bits: u64, exponent in 940u64..1100) {
            let double = f64::from_bits(bits >> 12 | exponent << 52);
            check(&double.to_string());
            check(&format!("{double:e}"));
            check(&(double as f32).to_string());
        }

        /// Halfway between two doubles, and beside it: what is too close to call must not be called.
        #[test]
        fn ties_and_their_neighbours(mantissa in 1u64 << 52..1 << 53, shift in 1u32..10, off in -2i64..3) {
            let twice = (u128::from(mantissa) * 2 + 1) * 5u128.pow(shift);
            if let Ok(digits) = u64::try_from(twice) {
                check(&format!("{}e-{shift}", digits.wrapping_add_signed(off)));
            }
            let float_tie = (u128::from(mantissa >> 29) * 2 + 1) * 5u128.pow(shift);
            let digits = float_tie as u64;
            check(&format!("{}e-{shift}", digits.wrapping_add_signed(off)));
        }
    }

    #[test]
    fn most_doubles_take_the_short_way() {
        let (all, short) = (1..10_000)
            .map(|i| check(&(1e5 / f64::from(i)).to_string()))
            .fold((0, 0), |(all, short), yes| {
                (all + 1, short + u32::from(yes))
            });
        assert!(short * 100 > all * 98, "{short} of {all}");
    }

    #[test]
    fn what_is_read_and_what_is_not() {
        for text in [
            "0",
            "-0",
            "0.5",
            "-1e3",
            "1E-2",
            "9007199254740993",
            "0.1e+22",
        ] {
            assert!(check(text), "{text}");
        }
        for text in [
            "01",
            "-",
            "",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "1e1000",
            "00.5",
            "--1",
            "e5",
            "12345678901234567890",
            "0.1234567890123456789",
            "-01",
        ] {
            assert_eq!(short_number(text.as_bytes(), 0), None, "{text}");
        }
        // What follows is not looked at.
        let (short, end) = short_number(b"[12.50]", 1).unwrap();
        assert_eq!((short.double(), end), (Some(12.5), 6));
    }

    #[test]
    fn eight_digits_are_digits_alone() {
        for at in 0..8 {
            for b in 0..=255u8 {
                let mut text = *b"12345678";
                text[at] = b;
                let expected = std::str::from_utf8(&text).ok();
                let expected = expected.filter(|_| b.is_ascii_digit());
                let expected = expected.map(|t| t.parse().unwrap());
                assert_eq!(eight_digits(u64::from_le_bytes(text)), expected);
            }
        }
    }
}
