//! Strict JSON lexing (RFC 8259) over bytes: whitespace, string ends, numbers, unescaping.
//!
//! UTF-8 is not looked at here: the encoder validates the document in windows before it scans them.

/// Where a string scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// At the closing quote.
    Quote,
    /// At `limit`, with no quote before it.
    Limit,
    /// At a byte below 0x20, which a string must escape.
    Control,
}

/// Skips whitespace, up to `stop`.
#[inline]
pub(super) fn skip_whitespace(json: &[u8], mut pos: usize, stop: usize) -> usize {
    while pos < stop {
        match json.get(pos) {
            Some(b' ' | b'\n' | b'\r' | b'\t') => pos += 1,
            _ => break,
        }
    }
    pos
}

/// Looks for the end of a string from `pos`, which is inside it and not after a lone backslash.
/// Returns what it found and where; sets `escaped` if it passed an escape. At [`Scan::Limit`] the
/// position is one to go on from, and may lie one past the limit.
#[inline]
pub(super) fn scan_string(
    json: &[u8],
    mut pos: usize,
    limit: usize,
    escaped: &mut bool,
) -> (Scan, usize) {
    let text = json.get(..limit.min(json.len())).unwrap_or(json);
    loop {
        pos = plain_end(text, pos);
        match text.get(pos) {
            None => return (Scan::Limit, pos),
            Some(b'"') => return (Scan::Quote, pos),
            Some(b'\\') => {
                *escaped = true;
                // What follows the backslash is checked when the string is unescaped.
                if json.get(pos + 1).is_some_and(|&b| b < 0x20) {
                    return (Scan::Control, pos + 1);
                }
                pos += 2;
            }
            Some(_) => return (Scan::Control, pos),
        }
    }
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// High bit set for each byte (at least the first such) that is a quote, a backslash or a control.
#[inline]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20);
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    (zero(quote) | zero(slash) | (control & !word)) & HIGHS
}

/// The first quote, backslash or control character from `pos` on, or the end.
#[inline]
pub(super) fn plain_end(text: &[u8], mut pos: usize) -> usize {
    // Most strings end within a few words; long plain runs are for the wide loop.
    let mut words = 0;
    while let Some(&bytes) = text.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = special(u64::from_le_bytes(bytes));
        if found != 0 {
            return pos + (found.trailing_zeros() / 8) as usize;
        }
        pos += 8;
        words += 1;
        if words == 4 {
            pos = wide_plain_end(text, pos);
        }
    }
    while let Some(&b) = text.get(pos) {
        if b < 0x20 || b == b'"' || b == b'\\' {
            break;
        }
        pos += 1;
    }
    pos
}

/// Whether a string may hold all of these as they are. Without a way out on the way, so that it
/// compiles to vector instructions.
#[inline]
fn are_plain<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.iter().fold(0, |found, &b| {
        found | u8::from(b < 0x20) | u8::from(b == b'"') | u8::from(b == b'\\')
    }) == 0
}

/// The same for ASCII alone.
#[inline]
fn are_plain_ascii<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.iter().fold(0, |found, &b| {
        found | u8::from(b < 0x20) | u8::from(b == b'"') | u8::from(b == b'\\') | b >> 7
    }) == 0
}

/// Whether text is ASCII that a JSON string holds as it is.
#[inline]
pub(super) fn is_plain_ascii(text: &[u8]) -> bool {
    let (wide, rest) = text.as_chunks::<64>();
    let (half, rest) = rest.as_chunks::<32>();
    if !wide.iter().all(are_plain_ascii) || !half.iter().all(are_plain_ascii) {
        return false;
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        if special(word) | (word & HIGHS) != 0 {
            return false;
        }
    }
    // The last word again, with some bytes that were looked at before; of less, halves that overlap.
    let word = match (
        text.last_chunk::<8>(),
        text.first_chunk(),
        text.last_chunk(),
    ) {
        (_, _, _) if rest.is_empty() => return true,
        (Some(word), _, _) => u64::from_le_bytes(*word),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => {
            let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\' && b.is_ascii();
            return rest.iter().all(plain);
        }
    };
    special(word) | (word & HIGHS) == 0
}

fn wide_plain_end(text: &[u8], pos: usize) -> usize {
    let (wide, rest) = text.get(pos..).unwrap_or(&[]).as_chunks::<64>();
    let plain = wide.iter().take_while(|bytes| are_plain(bytes)).count();
    let half = match rest.first_chunk::<32>() {
        Some(bytes) if plain == wide.len() && are_plain(bytes) => 32,
        _ => 0,
    };
    pos + plain * 64 + half
}

/// The end of the number at `pos` by JSON's grammar, or `None` if there is none. What follows is not
/// looked at.
#[inline]
pub(super) fn number_end(json: &[u8], mut pos: usize) -> Option<usize> {
    if json.get(pos) == Some(&b'-') {
        pos += 1;
    }
    pos = match json.get(pos)? {
        b'0' => pos + 1,
        b'1'..=b'9' => digits(json, pos + 1),
        _ => return None,
    };
    if json.get(pos) == Some(&b'.') {
        let end = digits(json, pos + 1);
        if end == pos + 1 {
            return None;
        }
        pos = end;
    }
    if matches!(json.get(pos), Some(b'e' | b'E')) {
        let start = pos + 1 + usize::from(matches!(json.get(pos + 1), Some(b'+' | b'-')));
        let end = digits(json, start);
        if end == start {
            return None;
        }
        pos = end;
    }
    Some(pos)
}

#[inline]
fn digits(json: &[u8], mut pos: usize) -> usize {
    while matches!(json.get(pos), Some(b'0'..=b'9')) {
        pos += 1;
    }
    pos
}

/// Appends the text of `raw` (what stands between the quotes), from offset `from` until at least
/// `until` of it is done; returns where it stopped. `Err` is the offset of a bad escape or of a lone
/// surrogate.
pub(super) fn unescape(
    raw: &[u8],
    from: usize,
    until: usize,
    out: &mut Vec<u8>,
) -> Result<usize, usize> {
    let mut pos = from;
    while pos < until.min(raw.len()) {
        let rest = raw.get(pos..until.min(raw.len())).unwrap_or(&[]);
        let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        out.extend_from_slice(rest.get(..plain).unwrap_or(&[]));
        pos += plain;
        if raw.get(pos) != Some(&b'\\') || pos >= until {
            continue;
        }
        let simple = match raw.get(pos + 1) {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                pos = unicode_escape(raw, pos, out)?;
                continue;
            }
            _ => return Err(pos),
        };
        out.push(simple);
        pos += 2;
    }
    Ok(pos)
}

/// `\uXXXX`, or two of them for a surrogate pair.
fn unicode_escape(raw: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    let high = hex4(raw, at + 2).ok_or(at)?;
    let (code, end) = match high {
        0xd800..=0xdbff => {
            if raw.get(at + 6) != Some(&b'\\') || raw.get(at + 7) != Some(&b'u') {
                return Err(at);
            }
            let low = hex4(raw, at + 8).ok_or(at)?;
            if !(0xdc00..=0xdfff).contains(&low) {
                return Err(at);
            }
            (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12)
        }
        _ => (high, at + 6),
    };
    let c = char::from_u32(code).ok_or(at)?;
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

fn hex4(raw: &[u8], at: usize) -> Option<u32> {
    let digits = raw.get(at..at + 4)?;
    digits
        .iter()
        .try_fold(0u32, |acc, &b| Some(acc << 4 | char::from(b).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_where_the_naive_scan_says() {
        let specials = [b'"', b'\\', 0x1f, 0x00, b'\n'];
        for len in 0..200 {
            for at in 0..=len {
                for special in specials {
                    let mut text = vec![0xc3u8; len];
                    text.insert(at, special);
                    assert_eq!(plain_end(&text, 0), at, "{len} {at} {special}");
                }
            }
        }
    }

    #[test]
    fn text_is_plain_where_each_byte_is() {
        for len in 0..100 {
            let mut text = vec![b' '; len];
            assert!(is_plain_ascii(&text), "{len}");
            for at in 0..len {
                for bad in [b'"', b'\\', 0x1f, 0x00, 0x80, 0xff] {
                    text[at] = bad;
                    assert!(!is_plain_ascii(&text), "{len} {at} {bad}");
                }
                for good in [b' ', b'!', b'#', b'[', b']', 0x7f] {
                    text[at] = good;
                    assert!(is_plain_ascii(&text), "{len} {at} {good}");
                }
            }
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for (text, end) in [
            ("0", Some(1)),
            ("-0", Some(2)),
            ("01", Some(1)),
            ("-", None),
            ("+1", None),
            ("1.", None),
            (".5", None),
            ("1.5e", None),
            ("1e+", None),
            ("12.50E-07x", Some(9)),
        ] {
            assert_eq!(number_end(text.as_bytes(), 0), end, "{text}");
        }
    }

    #[test]
    fn escapes_and_surrogates() {
        let ok = |raw: &str| {
            let mut out = Vec::new();
            unescape(raw.as_bytes(), 0, usize::MAX, &mut out)
                .map(|_| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            ok(r#"a\n\/\"\\\u00e9\ud83d\ude00b"#).unwrap(),
            "a\n/\"\\é😀b"
        );
        for bad in [
            r"\x",
            r"\u12",
            r"\ud83d",
            r"\ud83dx",
            r"\ud83d\u0041",
            r"\ude00",
            "a\\",
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
    }
}
