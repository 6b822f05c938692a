use proptest::prelude::*;

use super::*;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    };
    pairs.iter().map(pair).collect()
}

fn told(pairs: &[(&'static str, &str)]) -> Option<(String, String, Option<bool>)> {
    let caller = caller(&headers(pairs))?;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    Some((hex(&caller.id), hex(&caller.span), caller.sampled))
}

#[test]
fn every_form_is_read() {
    let one = |sampled| Some((ID.to_owned(), SPAN.to_owned(), sampled));
    let w3c = format!("00-{ID}-{SPAN}-01");
    assert_eq!(told(&[("traceparent", &w3c)]), one(Some(true)));
    for (end, sampled) in [
        ("", None),
        ("-1", Some(true)),
        ("-d", Some(true)),
        ("-0", Some(false)),
    ] {
        let b3 = format!("{ID}-{SPAN}{end}");
        assert_eq!(told(&[("b3", &b3)]), one(sampled), "{b3}");
    }
    let multi = [("x-b3-traceid", ID), ("x-b3-spanid", SPAN)];
    assert_eq!(told(&multi), one(None));
    for (name, value, sampled) in [
        ("x-b3-sampled", "1", true),
        ("x-b3-sampled", "false", false),
        ("x-b3-flags", "1", true),
    ] {
        let all = [multi[0], multi[1], (name, value)];
        assert_eq!(told(&all), one(Some(sampled)));
    }
    let cloud = format!("{ID}/{};o=1", 0x00f0_67aa_0ba9_02b7_u64);
    assert_eq!(told(&[("x-cloud-trace-context", &cloud)]), one(Some(true)));
    // As an independent implementation writes it: OpenCensus' example of the binary form.
    let grpc = "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE";
    let census = ("404142434445464748494a4b4c4d4e4f", "6162636465666768");
    for end in ["", "="] {
        let read = told(&[("grpc-trace-bin", &format!("{grpc}{end}"))]);
        assert_eq!(
            read,
            Some((census.0.to_owned(), census.1.to_owned(), Some(true)))
        );
    }
    let short = "a3ce929d0e0e4736";
    let read = told(&[("b3", &format!("{short}-{SPAN}"))]).unwrap();
    assert_eq!(read.0, format!("{:0>32}", short));
}

#[test]
fn what_comes_first_is_believed_and_what_cannot_be_read_is_not() {
    let w3c = format!("00-{ID}-{SPAN}-00");
    let both = [
        ("traceparent", &*w3c),
        ("b3", "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1"),
    ];
    assert_eq!(told(&both).unwrap().0, ID);
    let broken = [("traceparent", "00-what-ever-01"), both[1]];
    assert_eq!(told(&broken).unwrap().1, "a2fb4a1d1a96d312");
    for (name, bad) in [
        ("b3", "0"),
        ("b3", "x-y"),
        ("b3", "00000000000000000000000000000000-00f067aa0ba902b7-1"),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-7"),
        ("x-b3-traceid", ID),
        ("x-cloud-trace-context", "4bf9/1"),
        (
            "x-cloud-trace-context",
            "4bf92f3577b34da6a3ce929d0e0e4736/x",
        ),
        ("grpc-trace-bin", "AAAA"),
        ("grpc-trace-bin", "%%%"),
    ] {
        assert_eq!(told(&[(name, bad)]), None, "{name}: {bad}");
    }
    assert!(is_declined(&headers(&[("b3", "0")])));
    assert!(!is_declined(&headers(&[("b3", "1")])));
}

#[test]
fn what_is_told_reads_as_what_was_meant() {
    let id = 0x1234_5678_9abc_def0_1122_3344_5566_7788_u128.to_be_bytes();
    let span = 0xfedc_ba98_7654_3210_u64.to_be_bytes();
    let from = headers(&[
        ("b3", "0"),
        ("x-b3-traceid", ID),
        ("x-cloud-trace-context", ""),
        ("grpc-trace-bin", ""),
    ]);
    for sampled in [true, false] {
        let mut all = HeaderMap::new();
        Forms::of(&from, &[]).put(&mut all, id, span, sampled);
        assert_eq!(all.len(), 7);
        let expected = Caller {
            id,
            span,
            sampled: Some(sampled),
            w3c: true,
        };
        for first in [
            "traceparent",
            "b3",
            "x-b3-traceid",
            "x-cloud-trace-context",
            "grpc-trace-bin",
        ] {
            let expected = Caller {
                w3c: first == "traceparent",
                ..expected
            };
            assert_eq!(caller(&all), Some(expected), "{first}");
            all.remove(first);
        }
    }
    let mut alone = HeaderMap::new();
    Forms::of(&HeaderMap::new(), &[]).put(&mut alone, id, span, true);
    assert_eq!(alone.len(), 1);
    Forms::of(&HeaderMap::new(), &[Propagator::B3]).put(&mut alone, id, span, true);
    assert!(alone.contains_key("b3"));
}

#[test]
fn two_parents_are_none() {
    let mut all = headers(&[("traceparent", &format!("00-{ID}-{SPAN}-01"))]);
    assert!(caller(&all).is_some());
    all.append(TRACEPARENT, all[TRACEPARENT].clone());
    assert_eq!(caller(&all), None);
}

#[test]
fn lines_of_a_state_are_one() {
    let mut all = headers(&[("tracestate", "a=1,b=2")]);
    all.append(TRACESTATE, HeaderValue::from_static("c=3"));
    assert_eq!(state(&all).unwrap(), "a=1,b=2,c=3");
    for _ in 0..30 {
        all.append(TRACESTATE, HeaderValue::from_static("d=4"));
    }
    assert_eq!(state(&all), None);
    let raw = HeaderValue::from_bytes(b"a=\xff").unwrap();
    assert_eq!(state(&HeaderMap::from_iter([(TRACESTATE, raw)])), None);
}

/// A header that may hold a trace, at least nearly.
fn nearly() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let good = [
        format!("00-{ID}-{SPAN}-01"),
        format!("{ID}-{SPAN}-1"),
        ID.to_owned(),
        SPAN.to_owned(),
        format!("{ID}/67667974448284343;o=1"),
        "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE".to_owned(),
    ];
    let changed = (0..good.len(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        move |(form, at, byte)| {
            let mut text = good[form].clone().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            (form, text)
        },
    );
    let anything = (0..6_usize, prop::collection::vec(any::<u8>(), 0..200));
    prop_oneof![changed, anything]
}

proptest! {
    /// Whatever clients send: no panic, nothing that is zeros, and what is told of it can be read.
    #[test]
    fn nothing_that_comes_does_harm(lines in prop::collection::vec(nearly(), 0..5)) {
        const NAMES: [HeaderName; 6] = [TRACEPARENT, B3, B3_TRACE, B3_SPAN, CLOUD, GRPC];
        let mut all = HeaderMap::new();
        for (form, text) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&text) {
                all.append(&NAMES[form], value);
            }
        }
        is_declined(&all);
        if let Some(caller) = caller(&all) {
            prop_assert_ne!(caller.id, [0; 16]);
            let span = 7_u64.to_be_bytes();
            Forms::of(&all, &[]).put(&mut all, caller.id, span, true);
            let told = super::caller(&all).unwrap();
            prop_assert_eq!((told.id, told.span, told.sampled), (caller.id, span, Some(true)));
        }
    }

    #[test]
    fn every_form_tells_what_was_meant(
        id in 1_u128..,
        span in 1_u64..,
        sampled: bool,
        form in 0_usize..5,
    ) {
        let (id, span) = (id.to_be_bytes(), span.to_be_bytes());
        let all = Forms { b3: true, b3_multi: true, cloud: true, grpc: true };
        let mut told = HeaderMap::new();
        all.put(&mut told, id, span, sampled);
        for before in [TRACEPARENT, B3, B3_TRACE, CLOUD].iter().take(form) {
            told.remove(before);
        }
        let expected = Caller { id, span, sampled: Some(sampled), w3c: form == 0 };
        prop_assert_eq!(caller(&told), Some(expected));
    }
}
