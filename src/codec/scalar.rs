//! Scalars between text and numbers: exact integers, floats, base64 and escaped strings.

use base64_simd::AsOut;

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberError {
    /// `1.5` for an integer, or no number at all.
    Malformed,
    OutOfRange,
}

/// A number no longer than this is read; more digits than any exact double has.
pub(super) const NUMBER_BYTES_MAX: usize = 4096;

/// The integer that a JSON number stands for, exactly: `1e2` and `1.0` are integers.
#[inline]
pub(super) fn integer(text: &[u8]) -> Result<i128, NumberError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.len() > 18 || digits.is_empty() {
        return integer_slow(text);
    }
    let mut value = 0i64;
    for &b in digits {
        if !b.is_ascii_digit() {
            return integer_slow(text);
        }
        value = value * 10 + i64::from(b - b'0');
    }
    Ok(i128::from(if negative { -value } else { value }))
}

fn integer_slow(text: &[u8]) -> Result<i128, NumberError> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mantissa_end = rest
        .iter()
        .position(|b| matches!(b, b'e' | b'E'))
        .unwrap_or(rest.len());
    let mantissa = rest.get(..mantissa_end).unwrap_or(&[]);
    let mut exponent = match rest.get(mantissa_end + 1..) {
        Some(text) => exponent(text).ok_or(NumberError::Malformed)?,
        None => 0,
    };
    // Significant digits without leading and trailing zeros; `exponent` is that of the last of them.
    let mut value = 0u128;
    let (mut zeros, mut any, mut after_point, mut points) = (0i64, false, false, 0);
    for &b in mantissa {
        match b {
            b'.' => {
                after_point = true;
                points += 1;
            }
            b'0' => {
                any = true;
                zeros += 1;
                exponent -= i64::from(after_point);
            }
            b'1'..=b'9' => {
                any = true;
                exponent -= i64::from(after_point);
                value = shift_in(value, zeros)?;
                value = value
                    .checked_mul(10)
                    .and_then(|v| v.checked_add(u128::from(b - b'0')))
                    .ok_or(NumberError::OutOfRange)?;
                zeros = 0;
            }
            _ => return Err(NumberError::Malformed),
        }
    }
    if !any || points > 1 {
        return Err(NumberError::Malformed);
    }
    if value == 0 {
        return Ok(0);
    }
    exponent += zeros;
    if exponent < 0 {
        return Err(NumberError::Malformed);
    }
    let value = shift_in(value, exponent)?;
    let value = i128::try_from(value).map_err(|_| NumberError::OutOfRange)?;
    Ok(if negative { -value } else { value })
}

/// `value` × 10^`zeros`.
fn shift_in(value: u128, zeros: i64) -> Result<u128, NumberError> {
    if value == 0 {
        return Ok(0);
    }
    let zeros = u32::try_from(zeros).map_err(|_| NumberError::OutOfRange)?;
    10u128
        .checked_pow(zeros)
        .and_then(|p| value.checked_mul(p))
        .ok_or(NumberError::OutOfRange)
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        // Far beyond any range, and still far from overflow.
        value = (value * 10 + i64::from(b - b'0')).min(1 << 40);
    }
    Some(if negative { -value } else { value })
}

/// A number's text as `f64`. An overflow to infinity is out of range.
#[inline]
pub(super) fn double(text: &[u8]) -> Result<f64, NumberError> {
    let text = std::str::from_utf8(text).map_err(|_| NumberError::Malformed)?;
    let value: f64 = text.parse().map_err(|_| NumberError::Malformed)?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(NumberError::OutOfRange)
    }
}

/// A number's text as `f32`, rounded once.
#[inline]
pub(super) fn float(text: &[u8]) -> Result<f32, NumberError> {
    let text = std::str::from_utf8(text).map_err(|_| NumberError::Malformed)?;
    let value: f32 = text.parse().map_err(|_| NumberError::Malformed)?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(NumberError::OutOfRange)
    }
}

/// The three numbers that JSON has no literal for.
pub(super) fn not_finite(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Prints a double by its shortest digits; NaN and infinities as strings.
#[inline]
pub(super) fn put_double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        put_digits(out, zmij::Buffer::new().format_finite(value));
    } else {
        put_not_finite(out, value);
    }
}

#[inline]
pub(super) fn put_float(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        put_digits(out, zmij::Buffer::new().format_finite(value));
    } else {
        put_not_finite(out, f64::from(value));
    }
}

fn put_digits(out: &mut Vec<u8>, digits: &str) {
    out.extend_from_slice(digits.strip_suffix(".0").unwrap_or(digits).as_bytes());
}

fn put_not_finite(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    });
}

/// Appends the bytes that base64 text stands for: either alphabet, padded or not. Bits beyond the
/// last byte are ignored, as the other ProtoJSON parsers do. `false`: not base64.
pub(super) fn base64_decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let text = match text {
        [rest @ .., b'=', b'='] if rest.len() % 4 == 2 => rest,
        [rest @ .., b'='] if rest.len() % 4 == 3 => rest,
        _ => text,
    };
    base64_decode_unpadded(text, out)
}

/// The same for text whose padding is known to be off.
pub(super) fn base64_decode_unpadded(text: &[u8], out: &mut Vec<u8>) -> bool {
    let whole = text.len() / 4 * 4;
    let (body, tail) = (
        text.get(..whole).unwrap_or(&[]),
        text.get(whole..).unwrap_or(&[]),
    );
    base64_body(body, out) && base64_tail(tail, out)
}

fn base64_body(body: &[u8], out: &mut Vec<u8>) -> bool {
    let at = out.len();
    let len = body.len() / 4 * 3;
    // Short values (ids, digests) don't pay for the wide decoder's set-up.
    if len >= 48 {
        out.resize(at + len, 0);
        for engine in [base64_simd::STANDARD_NO_PAD, base64_simd::URL_SAFE_NO_PAD] {
            let into = out.get_mut(at..).unwrap_or(&mut []);
            if engine.decode(body, into.as_out()).is_ok() {
                return true;
            }
        }
        out.truncate(at);
    }
    // Mixed alphabets, or not base64 at all.
    body.chunks_exact(4).all(|quad| base64_tail(quad, out))
}

/// Up to four characters.
fn base64_tail(tail: &[u8], out: &mut Vec<u8>) -> bool {
    let mut bits = 0u32;
    for &b in tail {
        let Some(six) = sextet(b) else { return false };
        bits = bits << 6 | u32::from(six);
    }
    match tail.len() {
        0 => {}
        2 => out.push((bits >> 4) as u8),
        3 => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        4 => out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]),
        _ => return false,
    }
    true
}

fn sextet(b: u8) -> Option<u8> {
    Some(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// Appends standard base64. `bytes` is a multiple of three long, or the end of the value.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    out.resize(at + base64_simd::STANDARD.encoded_length(bytes.len()), 0);
    let into = out.get_mut(at..).unwrap_or(&mut []);
    let _ = base64_simd::STANDARD.encode(bytes, into.as_out());
}

/// Appends a JSON string with its quotes.
pub(super) fn put_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    put_escaped(out, text);
    out.push(b'"');
}

/// Appends UTF-8 text with what JSON requires escaped and nothing else.
#[inline]
pub(super) fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut from = 0;
    loop {
        let at = super::lexer::plain_end(text, from);
        out.extend_from_slice(text.get(from..at).unwrap_or(&[]));
        let Some(&b) = text.get(at) else { return };
        put_escape(out, b);
        from = at + 1;
    }
}

fn put_escape(out: &mut Vec<u8>, b: u8) {
    let short = match b {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(b >> 4), hex(b & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Text for an error: quoted, cut, with nothing that could garble a log.
pub(super) fn shown(text: &[u8]) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    let text = String::from_utf8_lossy(text.get(..text.len().min(200)).unwrap_or(&[]));
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{:?}{more}", cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("1e2", Ok(100)),
            ("1.0", Ok(1)),
            ("1.50e1", Ok(15)),
            ("100e-2", Ok(1)),
            ("0e99999999999999999999", Ok(0)),
            ("18446744073709551615", Ok(u64::MAX.into())),
            ("1844674407370955161.5e1", Ok(u64::MAX.into())),
            ("-9223372036854775808", Ok(i64::MIN.into())),
            ("1.5", Err(NumberError::Malformed)),
            ("1e-1", Err(NumberError::Malformed)),
            ("1e400", Err(NumberError::OutOfRange)),
            ("1e99999999999999999999", Err(NumberError::OutOfRange)),
            ("", Err(NumberError::Malformed)),
            ("-", Err(NumberError::Malformed)),
            ("1e", Err(NumberError::Malformed)),
            ("1x", Err(NumberError::Malformed)),
        ] {
            assert_eq!(integer(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn base64_of_every_length_and_alphabet() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 7 + 250) as u8).collect();
        for len in 0..bytes.len() {
            let mut text = Vec::new();
            put_base64(&mut text, &bytes[..len]);
            let url: Vec<u8> = text
                .iter()
                .map(|b| match b {
                    b'+' => b'-',
                    b'/' => b'_',
                    b => *b,
                })
                .collect();
            let bare = |t: &[u8]| t.iter().copied().filter(|b| *b != b'=').collect::<Vec<_>>();
            let mut mixed = url.clone();
            if let Some(first) = mixed.iter_mut().find(|b| **b == b'-') {
                *first = b'+';
            }
            for form in [text.clone(), url.clone(), bare(&text), bare(&url), mixed] {
                let mut out = vec![9];
                assert!(base64_decode(&form, &mut out));
                assert_eq!(out[1..], bytes[..len]);
            }
        }
        for bad in [
            "A", "A===", "AA=A", "A A=", "é", "AAAAA", "====", "=", "AA=", "AAA==",
        ] {
            assert!(!base64_decode(bad.as_bytes(), &mut Vec::new()), "{bad}");
        }
        let mut out = Vec::new();
        assert!(base64_decode(b"-_", &mut out));
        assert_eq!(out, [0xfb]);
    }

    #[test]
    fn strings_are_escaped_as_little_as_json_allows() {
        let mut out = Vec::new();
        put_json_string(&mut out, "a\"b\\c\n\u{1}\u{7f}é<\u{2028}".as_bytes());
        assert_eq!(out, "\"a\\\"b\\\\c\\n\\u0001\u{7f}é<\u{2028}\"".as_bytes());
    }
}
