//! The well-known types that are a string in JSON: Timestamp, Duration and FieldMask.
//!
//! Both ways between text and fields, with ProtoJSON's ranges. Struct, Any and the wrappers are not
//! here: they nest, so the two machines hold them.

use super::wire;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About ten thousand years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;
const SECOND_NANOS: i32 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// 1970-01-01, in days after the first of March of the year 0.
const EPOCH_DAYS: i64 = 719_468;

/// The two fields of a Timestamp or a Duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Instant {
    pub seconds: i64,
    pub nanos: i32,
}

impl Instant {
    /// Appends fields 1 and 2, defaults left out.
    pub(super) fn put_wire(self, out: &mut Vec<u8>) {
        if self.seconds != 0 {
            out.push(0x08);
            wire::put_varint(out, self.seconds as u64);
        }
        if self.nanos != 0 {
            out.push(0x10);
            wire::put_varint(out, i64::from(self.nanos) as u64);
        }
    }

    /// Reads fields 1 and 2 of a message's wire bytes; others are skipped.
    pub(super) fn read_wire(message: &[u8]) -> Option<Self> {
        let (mut at, mut pos) = (Self::default(), 0);
        while pos < message.len() {
            match wire::tag(message, &mut pos)? {
                (1, wire::VARINT) => at.seconds = wire::varint(message, &mut pos)? as i64,
                (2, wire::VARINT) => at.nanos = wire::varint(message, &mut pos)? as i32,
                (number, kind) => wire::skip(message, &mut pos, message.len(), number, kind)?,
            }
        }
        Some(at)
    }

    /// The same for fields in order and nothing else; `None` if there is more to it.
    pub(super) fn read_plain(message: &[u8]) -> Option<Self> {
        let (mut at, mut pos) = (Self::default(), 0);
        if message.first() == Some(&0x08) {
            pos = 1;
            at.seconds = wire::varint(message, &mut pos)? as i64;
        }
        if message.get(pos) == Some(&0x10) {
            pos += 1;
            at.nanos = wire::varint(message, &mut pos)? as i32;
        }
        (pos == message.len()).then_some(at)
    }
}

/// Takes bytes off the front of a text.
struct Cursor<'t>(&'t [u8]);

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then_some(())
    }

    /// Exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let mut value = 0i64;
        for _ in 0..count {
            let b = self.byte()?;
            if !b.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(b - b'0');
        }
        Some(value)
    }

    /// One to nine digits after a point, as nanoseconds; none if there is no point.
    fn fraction(&mut self) -> Option<i32> {
        let [b'.', rest @ ..] = self.0 else {
            return Some(0);
        };
        let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&len) {
            return None;
        }
        self.0 = rest;
        let mut nanos = i32::try_from(self.digits(len)?).ok()?;
        for _ in len..9 {
            nanos *= 10;
        }
        Some(nanos)
    }
}

/// RFC 3339, with `Z` or an offset and at most nine digits of a second.
pub(super) fn parse_timestamp(text: &[u8]) -> Option<Instant> {
    let mut text = Cursor(text);
    let year = text.digits(4)?;
    text.expect(b'-')?;
    let month = text.digits(2)?;
    text.expect(b'-')?;
    let day = text.digits(2)?;
    text.expect(b'T')?;
    let hour = text.digits(2)?;
    text.expect(b':')?;
    let minute = text.digits(2)?;
    text.expect(b':')?;
    let second = text.digits(2)?;
    let nanos = text.fraction()?;
    let offset = match text.byte()? {
        b'Z' => 0,
        sign @ (b'+' | b'-') => {
            let hours = text.digits(2)?;
            text.expect(b':')?;
            let minutes = text.digits(2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    if !text.0.is_empty()
        || !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset;
    TIMESTAMP_SECONDS
        .contains(&seconds)
        .then_some(Instant { seconds, nanos })
}

/// Whether a Timestamp has an RFC 3339 form.
pub(super) fn timestamp_in_range(at: Instant) -> bool {
    TIMESTAMP_SECONDS.contains(&at.seconds) && (0..SECOND_NANOS).contains(&at.nanos)
}

/// Appends `2024-02-29T12:00:00.500Z`, without quotes. What is out of range is the nearest that isn't.
pub(super) fn put_timestamp(out: &mut Vec<u8>, at: Instant) {
    // From the first of March of the year 0 on, so that nothing is negative.
    let (first, last) = (TIMESTAMP_SECONDS.start(), TIMESTAMP_SECONDS.end());
    let seconds = at.seconds.clamp(*first, *last) + EPOCH_DAYS * DAY_SECONDS;
    let (year, month, day) = civil_of_days((seconds / DAY_SECONDS) as u32);
    let second = (seconds % DAY_SECONDS) as u32;
    let mut text = *b"0000-00-00T00:00:00";
    let mut two = |at: usize, value: u32| {
        if let Some([tens, ones]) = text.get_mut(at..at + 2) {
            *tens = b'0' + (value / 10) as u8;
            *ones = b'0' + (value % 10) as u8;
        }
    };
    two(0, year / 100);
    two(2, year % 100);
    two(5, month);
    two(8, day);
    two(11, second / 3600);
    two(14, second / 60 % 60);
    two(17, second % 60);
    out.extend_from_slice(&text);
    put_fraction(out, at.nanos.unsigned_abs());
    out.push(b'Z');
}

/// `1.5s`, `-0.000000001s`.
pub(super) fn parse_duration(text: &[u8]) -> Option<Instant> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut text = Cursor(text);
    let len = text.0.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=18).contains(&len) {
        return None;
    }
    let seconds = text.digits(len)?;
    let nanos = text.fraction()?;
    if text.0 != b"s" || seconds > DURATION_SECONDS_MAX {
        return None;
    }
    Some(if negative {
        Instant {
            seconds: -seconds,
            nanos: -nanos,
        }
    } else {
        Instant { seconds, nanos }
    })
}

/// Whether a Duration has a JSON form: in range, and both parts of one sign.
pub(super) fn duration_in_range(at: Instant) -> bool {
    let in_range = at.seconds.unsigned_abs() <= DURATION_SECONDS_MAX.unsigned_abs()
        && at.nanos.unsigned_abs() < SECOND_NANOS.unsigned_abs();
    let opposed = (at.seconds > 0 && at.nanos < 0) || (at.seconds < 0 && at.nanos > 0);
    in_range && !opposed
}

/// Appends `1.500s`, without quotes.
pub(super) fn put_duration(out: &mut Vec<u8>, at: Instant) {
    if at.seconds < 0 || at.nanos < 0 {
        out.push(b'-');
    }
    let seconds = at.seconds.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    put_fraction(out, at.nanos.unsigned_abs());
    out.push(b's');
}

/// Nothing, or a point and 3, 6 or 9 digits.
fn put_fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos == 0 {
        return;
    }
    let (mut value, digits) = match nanos {
        n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
        n if n % 1000 == 0 => (n / 1000, 6),
        n => (n, 9),
    };
    let mut text = [b'0'; 9];
    for slot in text.iter_mut().take(digits).rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.push(b'.');
    out.extend_from_slice(text.get(..digits).unwrap_or(&[]));
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years start in March here, so that
/// the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let before_month = (153 * shifted + 2) / 5;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + before_month + day - 1 - EPOCH_DAYS
}

/// Year, month and day, so many days after the first of March of the year 0.
fn civil_of_days(days: u32) -> (u32, u32, u32) {
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u32::from(month <= 2);
    (year, month, day)
}

/// Appends the `paths` records of `gameId,title.en` (lowerCamel in, snake_case out). `false`: a path
/// that has an underscore, or is no path.
pub(super) fn put_mask_wire(text: &[u8], out: &mut Vec<u8>) -> bool {
    !text.contains(&b'_') && put_mask_paths(text, out)
}

/// The same for a query value: a path with an underscore is taken for snake_case as it stands.
pub(super) fn put_mask_paths(text: &[u8], out: &mut Vec<u8>) -> bool {
    if text.is_empty() {
        return true;
    }
    for path in text.split(|b| *b == b',') {
        if path.is_empty() {
            return false;
        }
        if path.contains(&b'_') {
            wire::put_bytes(out, 1, path);
            continue;
        }
        let capitals = path.iter().filter(|b| b.is_ascii_uppercase()).count();
        wire::put_tag(out, 1, wire::LEN);
        wire::put_varint(out, (path.len() + capitals) as u64);
        for b in path {
            if b.is_ascii_uppercase() {
                out.push(b'_');
            }
            out.push(b.to_ascii_lowercase());
        }
    }
    true
}

/// Whether a path survives the way to lowerCamel and back.
pub(super) fn mask_path_round_trips(path: &[u8]) -> bool {
    let mut bytes = path.iter().peekable();
    while let Some(b) = bytes.next() {
        let ok = match b {
            b'_' => bytes.peek().is_some_and(|b| b.is_ascii_lowercase()),
            b',' => false,
            _ => !b.is_ascii_uppercase(),
        };
        if !ok {
            return false;
        }
    }
    true
}

/// Appends one path in lowerCamel, escaped, without quotes.
pub(super) fn put_mask_path(out: &mut Vec<u8>, path: &[u8]) {
    let mut words = path.split(|b| *b == b'_');
    super::scalar::put_escaped(out, words.next().unwrap_or(&[]));
    for word in words {
        if let Some((first, rest)) = word.split_first() {
            out.push(first.to_ascii_uppercase());
            super::scalar::put_escaped(out, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64, nanos: i32) -> String {
        let mut out = Vec::new();
        put_timestamp(&mut out, Instant { seconds, nanos });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_both_ways() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2024-02-29T23:59:59.500Z", 1_709_251_199, 500_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
            (
                "9999-12-31T23:59:59.999999999Z",
                253_402_300_799,
                999_999_999,
            ),
            ("1969-12-31T23:59:59.000001Z", -1, 1000),
            ("1900-03-01T00:00:00Z", -2_203_891_200, 0),
        ] {
            assert_eq!(stamp(seconds, nanos), text);
            assert_eq!(
                parse_timestamp(text.as_bytes()),
                Some(Instant { seconds, nanos })
            );
        }
        let with_offset = parse_timestamp(b"1970-01-01T08:00:00.1+08:00").unwrap();
        assert_eq!((with_offset.seconds, with_offset.nanos), (0, 100_000_000));
        for bad in [
            "",
            "yesterday",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-01-01t00:00:00Z",
            "2024-01-01T00:00:00z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.1234567890Z",
            "2024-01-01T00:00:00Zx",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_timestamp(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_its_own_date() {
        for day in -100_000..200_000 {
            let (y, m, d) = civil_of_days((day + EPOCH_DAYS) as u32);
            let (y, m, d) = (y.into(), m.into(), d.into());
            assert!((1..=days_in_month(y, m)).contains(&d));
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }

    #[test]
    fn durations_both_ways() {
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("1.500s", 1, 500_000_000),
            ("-0.000000001s", 0, -1),
            ("-315576000000.999999999s", -315_576_000_000, -999_999_999),
        ] {
            let at = Instant { seconds, nanos };
            let mut out = Vec::new();
            put_duration(&mut out, at);
            assert_eq!(String::from_utf8(out).unwrap(), text);
            assert_eq!(parse_duration(text.as_bytes()), Some(at));
            assert!(duration_in_range(at));
        }
        for bad in [
            "1",
            "s",
            "1.s",
            ".5s",
            "+1s",
            "1 s",
            "315576000001s",
            "1.0000000000s",
            "--1s",
        ] {
            assert_eq!(parse_duration(bad.as_bytes()), None, "{bad}");
        }
        assert!(!duration_in_range(Instant {
            seconds: 1,
            nanos: -1
        }));
    }

    #[test]
    fn masks_both_ways() {
        let mut out = Vec::new();
        assert!(put_mask_wire(b"gameId,title.enUs", &mut out));
        assert_eq!(out, b"\x0a\x07game_id\x0a\x0btitle.en_us");
        assert!(!put_mask_wire(b"game_id", &mut Vec::new()));
        assert!(!put_mask_wire(b"a,,b", &mut Vec::new()));
        for (path, ok) in [
            ("a_b.c", true),
            ("a_3", false),
            ("aB", false),
            ("a__b", false),
            ("a_", false),
        ] {
            assert_eq!(mask_path_round_trips(path.as_bytes()), ok, "{path}");
        }
        let mut out = Vec::new();
        put_mask_path(&mut out, b"game_id.en_us");
        assert_eq!(out, b"gameId.enUs");
    }
}
