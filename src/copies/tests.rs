use super::*;

const MIB: usize = 1024 * 1024;

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = lines.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    });
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}

fn asked(path: &str) -> Asked {
    Asked::new([path.as_bytes()], false)
}

const HOUR: Duration = Duration::from_secs(3600);

/// Keeps an answer if it may be, and says what is found for the same request then.
fn kept(request: &[(&'static str, &str)], answer: &[(&'static str, &str)], personal: bool) -> bool {
    let copies = Arc::new(Copies::default());
    let asked = Asked::new([&b"/"[..]], personal);
    let (request, answer) = (map(request), map(answer));
    if let Some(draft) = copies.draft(asked.clone(), &request, &answer, 64 * MIB) {
        draft.keep(b"yes");
    }
    copies.find(&asked, &request, HOUR).is_some()
}

#[test]
fn what_http_forbids_is_not_kept() {
    for (words, is_kept) in [
        ("max-age=60", true),
        ("public", true),
        ("max-age=60, No-Store", false),
        ("private", false),
        ("private=\"x-user\"", false),
        ("no-cache", false),
        ("max-age=60, must-revalidate", false),
        ("proxy-revalidate", false),
        ("s-maxage=60", false),
        ("s-maxage=60, stale-if-error=600", true),
        ("must-revalidate, stale-if-error=600", true),
        ("private, stale-if-error=600", false),
    ] {
        let answer = [("cache-control", words)];
        assert_eq!(kept(&[], &answer, false), is_kept, "{words}");
    }
    assert!(kept(&[], &[], false));
    assert!(!kept(&[], &[("set-cookie", "a=b")], false));
    assert!(!kept(&[], &[("vary", "Accept, *")], false));
    assert!(!kept(&[], &[("content-encoding", "br")], false));
    assert!(kept(
        &[],
        &[("content-encoding", "br"), ("vary", "accept-encoding")],
        false
    ));
    assert!(!kept(&[("cache-control", "no-store")], &[], false));
    assert!(!kept(&[("range", "bytes=0-1")], &[], false));
    assert!(!kept(&[("cache-control", "no-cache")], &[], false));
    assert!(!kept(&[("pragma", "no-cache")], &[], false));
    assert!(kept(&[("cache-control", "max-age=0")], &[], false));
}

#[test]
fn what_is_somebodys_own_is_given_to_nobody_else() {
    assert!(!kept(&[], &[], true));
    assert!(kept(&[], &[("cache-control", "public")], true));
    // What nobody was named for is nothing for who is.
    let copies = Arc::new(Copies::default());
    let draft = copies.draft(asked("/"), &map(&[]), &map(&[]), MIB).unwrap();
    draft.keep(b"for strangers");
    let own = Asked::new([&b"/"[..]], true);
    assert!(copies.find(&own, &map(&[]), HOUR).is_none());
    assert!(copies.find(&asked("/"), &map(&[]), HOUR).is_some());
}

#[test]
fn parts_of_a_key_are_not_taken_for_each_other() {
    let of = |parts: &[&[u8]]| Asked::new(parts.iter().copied(), false);
    assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
    assert_ne!(of(&[b"ab"]), of(&[b"ab", b""]));
}

#[test]
fn each_form_has_its_own_copy() {
    let copies = Arc::new(Copies::default());
    let answer = map(&[("vary", "Accept-Language"), ("vary", "accept-encoding")]);
    let languages = ["de", "en"];
    for language in languages {
        let request = map(&[("accept-language", language)]);
        let draft = copies.draft(asked("/"), &request, &answer, MIB).unwrap();
        draft.keep(language.as_bytes());
    }
    for language in languages {
        let request = map(&[("accept-language", language), ("x-other", "1")]);
        let found = copies.find(&asked("/"), &request, HOUR).unwrap();
        assert_eq!(found.body, language.as_bytes());
    }
    assert!(copies.find(&asked("/"), &map(&[]), HOUR).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_an_age() {
    let copies = Arc::new(Copies::default());
    let answer = map(&[
        ("age", "10"),
        ("cache-control", "max-age=60, stale-if-error=40"),
    ]);
    let draft = copies
        .draft(asked("/own"), &map(&[]), &answer, MIB)
        .unwrap();
    draft.keep(b"");
    let draft = copies.draft(asked("/"), &map(&[]), &map(&[]), MIB).unwrap();
    draft.keep(b"");
    let age = |path: &str, most: u64| {
        let found = copies.find(&asked(path), &map(&[]), Duration::from_secs(most))?;
        assert!(found.headers.contains_key(DATE));
        let age = found.headers[AGE].to_str().unwrap().to_owned();
        Some(age.parse::<u64>().unwrap())
    };
    tokio::time::advance(Duration::from_secs(50)).await;
    assert_eq!(age("/", 60), Some(50));
    assert_eq!(age("/", 49), None);
    assert_eq!(age("/own", 60), Some(60));
    assert_eq!(age("/own", 59), None);
    tokio::time::advance(Duration::from_secs(41)).await;
    assert_eq!(age("/", 1000), Some(91));
    // Past 60 + 40, its own word.
    assert_eq!(age("/own", 1000), None);
}

#[test]
fn memory_is_bounded_and_the_oldest_give_way() {
    let copies = Arc::new(Copies::default());
    let answer = map(&[("content-type", "application/json")]);
    let keep = |path: &str, bytes: usize| {
        let draft = copies.draft(asked(path), &map(&[]), &answer, MIB).unwrap();
        draft.keep(&vec![b'x'; bytes]);
    };
    for number in 0..1000 {
        keep(&format!("/{number}"), 10_000);
        assert!(copies.held().0 <= MIB, "{:?}", copies.held());
    }
    let (gave_way, too_large) = copies.lost();
    assert!(gave_way > 500 && too_large == 0, "{:?}", copies.lost());
    assert!(copies.find(&asked("/999"), &map(&[]), HOUR).is_some());
    assert!(copies.find(&asked("/0"), &map(&[]), HOUR).is_none());
    // The same again takes no more.
    let held = copies.held();
    keep("/999", 10_000);
    assert_eq!(copies.held(), held);
    keep("/large", MIB / 8);
    assert_eq!(copies.lost().1, 1);
    assert!(copies.find(&asked("/large"), &map(&[]), HOUR).is_none());
}
