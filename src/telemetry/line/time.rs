//! Points in time and durations as lines have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 3339 in UTC, to the microsecond.
pub(super) fn put_time(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    put_digits(year, 4, out);
    for (mark, part) in [
        (b'-', month),
        (b'-', day),
        (b'T', seconds / 3600 % 24),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        out.push(mark);
        put_digits(part, 2, out);
    }
    out.push(b'.');
    put_digits(u64::from(since.subsec_micros()), 6, out);
    out.push(b'Z');
}

/// Howard Hinnant's days-to-civil, for days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// With zeros in front; the last digits of what is longer.
fn put_digits(number: u64, digits: u32, out: &mut Vec<u8>) {
    for place in (0..digits).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or_default());
    }
}

/// `1.234`, in milliseconds.
pub(super) fn put_millis(time: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    put_number(micros / 1000, out);
    out.push(b'.');
    put_digits(micros % 1000, 3, out);
}

/// `0.001234`, in seconds.
pub(super) fn put_seconds(time: Duration, out: &mut Vec<u8>) {
    put_number(time.as_secs(), out);
    out.push(b'.');
    put_digits(u64::from(time.subsec_micros()), 6, out);
}

pub(super) fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000007Z"),
            (951_868_799, "2000-02-29T23:59:59.000007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000007Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000007Z"),
        ] {
            let mut out = Vec::new();
            put_time(UNIX_EPOCH + Duration::new(seconds, 7_000), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        put_millis(Duration::from_micros(1_234_005), &mut out);
        out.push(b' ');
        put_seconds(Duration::from_micros(1_234_005), &mut out);
        assert_eq!(out, b"1234.005 1.234005");
    }
}
