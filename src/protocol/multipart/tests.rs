use proptest::prelude::*;

use super::*;

type Parts = Vec<(PartHead, Vec<u8>)>;

fn cut(boundary: &str, body: &[u8], size: usize) -> Result<Parts, MultipartError> {
    let mut multipart = Multipart::new(boundary);
    let mut parts = Parts::new();
    let mut open = false;
    for piece in body.chunks(size.max(1)) {
        multipart.push(piece);
        while let Some(event) = multipart.next_event()? {
            match event {
                Event::Part(head) => {
                    assert!(!std::mem::replace(&mut open, true));
                    parts.push((head, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::PartEnd => assert!(std::mem::replace(&mut open, false)),
            }
        }
    }
    multipart.finish()?;
    Ok(parts)
}

fn fault(body: &str) -> (String, Fault) {
    let error = cut("b", body.as_bytes(), body.len()).unwrap_err();
    (error.part, error.fault)
}

#[test]
fn a_browsers_form() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nPong\r\n\
                --b\r\ncontent-disposition: form-data; name=\"a\\\"b\"; filename=\"x;y.png\"\r\n\
                Content-Type: image/png\r\n\r\n\r\n--\r\n--\x00\r\n--b \t\r\n\
                Content-Disposition: form-data; filename*=UTF-8''x; name=empty\r\n\r\n\r\n--b--\r\nrest";
    let head = |name: &str, is_file, content_type: &str| PartHead {
        name: name.to_owned(),
        is_file,
        content_type: content_type.to_owned(),
    };
    for size in [1, 2, 3, 7, 50, body.len()] {
        let parts = cut("b", body.as_bytes(), size).unwrap();
        assert_eq!(
            parts,
            [
                (head("title", false, ""), b"Pong".to_vec()),
                (
                    head("a\"b", true, "image/png"),
                    b"\r\n--\r\n--\x00".to_vec()
                ),
                (head("empty", true, ""), Vec::new()),
            ],
            "{size}"
        );
    }
    assert_eq!(cut("b", b"preamble\r\n--b--", 1).unwrap(), []);
}

#[test]
fn faults_name_the_part() {
    const HEAD: &str = "Content-Disposition: form-data; name=a\r\n\r\n";
    let one = |n: &str| n.to_owned();
    for (body, part, expected) in [
        ("", one("1"), Fault::Truncated),
        ("--b", one("1"), Fault::Truncated),
        ("--b\r\nContent-Dis", one("1"), Fault::Truncated),
        (&format!("--b\r\n{HEAD}x"), one("\"a\""), Fault::Truncated),
        (
            &format!("--b\r\n{HEAD}x\r\n--b"),
            one("2"),
            Fault::Truncated,
        ),
        ("--bc\r\n", one("1"), Fault::Boundary),
        (
            &format!("--b\r\n{HEAD}x\r\n--bc\r\n"),
            one("2"),
            Fault::Boundary,
        ),
        ("--b\r\n\r\nx\r\n--b--", one("1"), Fault::NoName),
        ("--b\r\nContent-Type: a/b\r\n\r\nx", one("1"), Fault::NoName),
        (
            "--b\r\nContent-Disposition: attachment; name=a\r\n\r\n",
            one("1"),
            Fault::NoName,
        ),
        (
            "--b\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n",
            one("1"),
            Fault::NoName,
        ),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\r\n\r\n",
            one("1"),
            Fault::NoName,
        ),
        ("--b\r\nname\r\n\r\n", one("1"), Fault::BadHead),
        (
            "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            one("1"),
            Fault::TransferEncoding,
        ),
        (
            &format!("--b\r\nx: {}", "y".repeat(9000)),
            one("1"),
            Fault::HeadTooLarge,
        ),
    ] {
        assert_eq!(fault(body), (part, expected), "{body:?}");
    }
    let many = format!("--b\r\n{HEAD}\r\n").repeat(MULTIPART_PARTS_MAX + 1);
    assert_eq!(fault(&many).1, Fault::TooMany);
}

#[test]
fn boundaries() {
    for (value, expected) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        (
            "Multipart/Form-Data; charset=utf-8; Boundary=\"a b;c\"",
            Some("a b;c"),
        ),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"a", None),
        ("multipart/mixed; boundary=abc", None),
    ] {
        let value = HeaderValue::from_static(value);
        assert_eq!(boundary(&value).as_deref(), expected, "{value:?}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert_eq!(boundary(&HeaderValue::from_str(&long).unwrap()), None);
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        parts in proptest::collection::vec(
            ("[a-z\"\\\\; =]{1,8}", any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200)),
            0..6,
        ),
        size in 1..300_usize,
    ) {
        let mut body = Vec::new();
        for (name, is_file, data) in &parts {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            let file = if *is_file { "; filename=\"x\"" } else { "" };
            body.extend_from_slice(
                format!("--0b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--0b--\r\n");
        prop_assume!(parts.iter().all(|(_, _, d)| memchr::memmem::find(d, b"--0b").is_none()));
        let found = cut("0b", &body, size).unwrap();
        let found: Vec<_> = found.into_iter().map(|(h, d)| (h.name, h.is_file, d)).collect();
        prop_assert_eq!(found, parts);
    }

    #[test]
    fn any_split_gives_the_same(text in "(--b|\r\n|\r|\n|-| |Content-Disposition: form-data; name=a|x){0,40}", size in 1..20_usize) {
        let text = text.as_bytes();
        prop_assert_eq!(cut("b", text, size), cut("b", text, text.len()));
    }
}
