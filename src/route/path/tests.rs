use proptest::prelude::*;

use super::*;

#[test]
fn paths_are_split_before_they_are_decoded() {
    let cases: &[(&str, &[&str])] = &[
        ("/", &[""]),
        ("//", &["", ""]),
        ("/a", &["a"]),
        ("/a/", &["a", ""]),
        ("/a//b", &["a", "", "b"]),
        ("/a%2Fb/c", &["a/b", "c"]),
        ("/%67ames/%C3%A9", &["games", "é"]),
        ("/é", &["é"]),
        ("/%252e%252e", &["%2e%2e"]),
        ("/a%5Cb", &["a\\b"]),
        ("/...", &["..."]),
        ("/.a/a./a..", &[".a", "a.", "a.."]),
        ("/a;b=c", &["a;b=c"]),
        ("/%25", &["%"]),
    ];
    for (text, segments) in cases {
        let path = RawPath::parse(text).unwrap();
        let own: Vec<_> = (0..path.len()).map(|at| path.segment_at(at)).collect();
        let expected: Vec<_> = segments.iter().map(|s| s.as_bytes()).collect();
        assert_eq!(own, expected, "{text}");
        assert_eq!(path.as_str(), *text);
    }
}

#[test]
fn bad_paths_are_refused() {
    use PathError::{Backslash, BadEscape, Control, DotSegment, NotAbsolute, NotUtf8};
    let cases = [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("a/b", NotAbsolute),
        ("http://h/", NotAbsolute),
        ("/%", BadEscape),
        ("/%4", BadEscape),
        ("/%4/1", BadEscape),
        ("/%zz", BadEscape),
        ("/%+1", BadEscape),
        ("/a/%é", BadEscape),
        ("/%00", Control),
        ("/a%0d%0aX", Control),
        ("/%7f", Control),
        ("/a\u{1}", Control),
        ("/a\u{7f}", Control),
        ("/a\\b", Backslash),
        ("/.", DotSegment),
        ("/..", DotSegment),
        ("/a/../b", DotSegment),
        ("/a/./b", DotSegment),
        ("/a/..", DotSegment),
        ("/%2e", DotSegment),
        ("/%2e%2E/b", DotSegment),
        ("/.%2e/b", DotSegment),
        ("/a%2F..%2Fb", DotSegment),
        ("/..%2fb", DotSegment),
        ("/..%5Cb", DotSegment),
        ("/..;x=1/b", DotSegment),
        ("/%2e%2e%3b/b", DotSegment),
        ("/%ff", NotUtf8),
        ("/%C3/%A9", NotUtf8),
        ("/%C3:%A9", NotUtf8),
        ("/%c0%af", NotUtf8),
        ("/%c0%ae%c0%ae", NotUtf8),
        ("/%ed%a0%80", NotUtf8),
    ];
    for (text, error) in cases {
        assert_eq!(RawPath::parse(text).err(), Some(error), "{text:?}");
    }
}

#[test]
fn segments_are_bounded() {
    let most = "/a".repeat(PATH_SEGMENTS_MAX);
    assert_eq!(RawPath::parse(&most).unwrap().len(), PATH_SEGMENTS_MAX);
    let more = format!("{most}/");
    assert_eq!(
        RawPath::parse(&more).err(),
        Some(PathError::TooManySegments)
    );
}

#[test]
fn the_last_raw_colon_begins_a_verb() {
    let cases = [
        ("/a", None),
        ("/a:b", Some(("a", "b"))),
        ("/x/a:b:c", Some(("a:b", "c"))),
        ("/a:b/c", None),
        ("/a:b/", None),
        ("/a:", None),
        ("/a::", None),
        ("/:b", Some(("", "b"))),
        ("/a%3Ab", None),
        ("/a%3Ab:c%3Ad", Some(("a:b", "c:d"))),
        ("/%C3%A9:%C3%A9%41", Some(("é", "éA"))),
        ("/é:é", Some(("é", "é"))),
        ("/%61:b", Some(("a", "b"))),
        ("/a:%62", Some(("a", "b"))),
    ];
    for (text, expected) in cases {
        let path = RawPath::parse(text).unwrap();
        let expected =
            expected.map(|(head, verb): (&str, &str)| (head.as_bytes(), verb.as_bytes()));
        assert_eq!(path.verb(), expected, "{text}");
    }
}

#[test]
fn plain_paths_need_no_memory() {
    let path = RawPath::parse("/v1/shelves/12/books/34:publish").unwrap();
    assert_eq!(path.decoded.capacity(), 0);
    assert!(!path.segments.spilled());
}

#[test]
fn captures_are_decoded_by_their_kind() {
    let cases = [
        ("a", "a", "a"),
        ("", "", ""),
        ("a%20b", "a b", "a b"),
        ("a%2Fb%2fc/d", "a/b/c/d", "a%2Fb%2fc/d"),
        ("%C3%A9%2F", "é/", "é%2F"),
        ("%252F", "%2F", "%2F"),
        ("a+b", "a+b", "a+b"),
    ];
    for (raw, single, multi) in cases {
        assert_eq!(decode_capture(raw, false).unwrap(), single, "{raw}");
        assert_eq!(decode_capture(raw, true).unwrap(), multi, "{raw}");
    }
    for multi in [false, true] {
        assert_eq!(decode_capture("a%", multi), Err(PathError::BadEscape));
        assert_eq!(decode_capture("%2", multi), Err(PathError::BadEscape));
        assert_eq!(decode_capture("%é", multi), Err(PathError::BadEscape));
        assert_eq!(decode_capture("%ff", multi), Err(PathError::NotUtf8));
    }
    assert!(matches!(
        decode_capture("a/b", true),
        Ok(Cow::Borrowed("a/b"))
    ));
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*", dense in "/[/.%:;a2eEfFcC39é\\\\]{0,40}") {
        for text in [&text, &dense] {
            if let Ok(path) = RawPath::parse(text) {
                let whole = path.raw(0, path.len(), false);
                prop_assert_eq!(Some(whole), text.strip_prefix('/'));
                for multi in [false, true] {
                    prop_assert!(decode_capture(whole, multi).is_ok());
                }
                if let Some((head, verb)) = path.verb() {
                    let joined = [head, b":", verb].concat();
                    prop_assert_eq!(joined.as_slice(), path.segment_at(path.len() - 1));
                }
            }
            let _ = decode_capture(text, true);
        }
    }

    /// Needless escapes change nothing but the raw text. A colon may be a verb's, so it stays.
    #[test]
    fn escapes_do_not_change_a_path(
        text in "(/[a-zé.;:]{0,4}){1,5}",
        escape in prop::collection::vec(any::<bool>(), 64),
    ) {
        let mut flags = escape.iter().cycle();
        let escaped: String = text
            .bytes()
            .map(|byte| match byte {
                b'/' | b':' => char::from(byte).to_string(),
                byte if byte >= 0x80 || *flags.next().unwrap() => format!("%{byte:02x}"),
                byte => char::from(byte).to_string(),
            })
            .collect();
        match (RawPath::parse(&text), RawPath::parse(&escaped)) {
            (Ok(plain), Ok(escaped)) => {
                prop_assert_eq!(plain.len(), escaped.len());
                prop_assert_eq!(plain.verb(), escaped.verb());
                for at in 0..plain.len() {
                    prop_assert_eq!(plain.segment_at(at), escaped.segment_at(at));
                }
            }
            (plain, escaped) => prop_assert_eq!(plain.err(), escaped.err()),
        }
    }
}
