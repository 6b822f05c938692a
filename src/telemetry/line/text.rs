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
    // Without leaving early, so that many bytes are looked at in one step.
    if text.iter().fold(true, |all, byte| all & is_plain(*byte)) {
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

const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f) && byte != b'"' && byte != b'\\'
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
