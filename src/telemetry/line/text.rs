//! Texts of strangers in a line: nothing in them ends the line, moves a terminal's cursor or is taken
//! for a part of the line's own form.

/// Puts a JSON string. Control characters (C1, bidirectional and line separators too) are escaped, and
/// bytes that are no UTF-8 become U+FFFD.
pub(super) fn put_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    put_escaped(text, out);
    out.push(b'"');
}

/// The same without quotes.
pub(super) fn put_escaped(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            put_character(character, out);
        }
        if !chunk.invalid().is_empty() {
            put_character(char::REPLACEMENT_CHARACTER, out);
        }
    }
}

/// Whether all of it is ASCII that is shown, but for `"` and `\`. Looked at eight bytes at a time: most
/// texts are too short for wider steps to pay.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    /// Has its high bits at bytes of `word` that are less than `than`, at most 0x80, and only where some
    /// byte is so at bytes above that.
    const fn less(word: u64, than: u8) -> u64 {
        word.wrapping_sub(ONES * than as u64) & !word & HIGH
    }
    const fn same(word: u64, byte: u8) -> u64 {
        less(word ^ (ONES * byte as u64), 1)
    }
    let odd = |bytes: [u8; 8]| {
        let word = u64::from_le_bytes(bytes);
        word & HIGH | less(word, 0x20) | same(word, b'"') | same(word, b'\\') | same(word, 0x7f)
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut found = words.iter().fold(0, |found, word| found | odd(*word));
    let mut last = [b' '; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    found |= odd(last);
    found == 0
}

fn put_character(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if is_hidden(c) => {
            // Those are all of the basic plane.
            let code = u32::from(c) & 0xffff;
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                let digit = char::from_digit((code >> shift) & 0xf, 16).unwrap_or('0');
                out.push(u8::try_from(digit).unwrap_or(b'0'));
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// What a line doesn't show, or shows as something else.
pub(in super::super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn eight_at_a_time_are_judged_as_one_by_one(
            text in proptest::collection::vec(
                proptest::prop_oneof![
                    8 => 0x20..0x7f_u8,
                    1 => proptest::num::u8::ANY,
                ],
                0..40,
            ),
        ) {
            let plain = |byte: &u8| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\');
            assert_eq!(is_plain(&text), text.iter().all(plain));
        }
    }

    #[test]
    fn strings_are_json_and_one_line() {
        for (text, shown) in [
            (&b"plain"[..], r#""plain""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"a\nb\r\tc", r#""a\nb\r\tc""#),
            (b"\x1b[31mred\x00\x7f", r#""\u001b[31mred\u0000\u007f""#),
            ("é\u{85}\u{202e}".as_bytes(), "\"é\\u0085\\u202e\""),
            (b"\xff\xfeA", "\"\u{fffd}\u{fffd}A\""),
        ] {
            let mut out = Vec::new();
            put_string(text, &mut out);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), shown);
            serde_json::from_slice::<String>(&out).unwrap();
        }
    }
}
