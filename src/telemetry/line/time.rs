//! Points in time and durations as lines have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 3339 in UTC, to the microsecond.
pub(super) fn put_time(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let [y0, y1, y2, y3] = digits(year);
    let [m0, m1] = digits(month);
    let [d0, d1] = digits(day);
    let [h0, h1] = digits(seconds / 3600 % 24);
    let [n0, n1] = digits(seconds / 60 % 60);
    let [s0, s1] = digits(seconds % 60);
    let [f0, f1, f2, f3, f4, f5] = digits(u64::from(since.subsec_micros()));
    out.extend_from_slice(&[
        y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1, b'.',
        f0, f1, f2, f3, f4, f5, b'Z',
    ]);
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
fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
}

/// `1.234`, in milliseconds.
pub(super) fn put_millis(time: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    put_number(micros / 1000, out);
    let [a, b, c] = digits(micros);
    out.extend_from_slice(&[b'.', a, b, c]);
}

/// `0.001234`, in seconds.
pub(super) fn put_seconds(time: Duration, out: &mut Vec<u8>) {
    put_number(time.as_secs(), out);
    out.push(b'.');
    out.extend_from_slice(&digits::<6>(u64::from(time.subsec_micros())));
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
