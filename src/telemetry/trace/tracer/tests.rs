use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};

use super::*;
use crate::config::trace::{Sampler, Tracing};
use crate::limits::TRACE_TRIES_MAX;
use crate::telemetry::{Attempt, Goal, SpanOrder, Speech, Try};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    };
    pairs.iter().map(pair).collect()
}

fn tracing(sampler: Sampler, queue: usize) -> Tracing {
    let environment = |name: &str| (name == "OTEL_TRACES_EXPORTER").then(|| "otlp".to_owned());
    let rule = crate::config::trace::resolve(None, &environment, &mut Vec::new());
    Tracing {
        sampler,
        queue,
        ..rule.unwrap()
    }
}

fn trail(tries: usize) -> Trail {
    let one = Try {
        span: [3; 8],
        upstream: "games".into(),
        endpoint: "127.0.0.1:1".into(),
        url: String::new(),
        begun: Duration::ZERO,
        ended: None,
        status: None,
        code: None,
        error: None,
    };
    Trail {
        trace: [1; 16],
        span: [2; 8],
        parent: [0; 8],
        state: None,
        begun: SystemTime::UNIX_EPOCH,
        total: Duration::ZERO,
        rule: "".into(),
        rpc: None,
        upstream: None,
        speech: Speech::Rest,
        tls: false,
        version: "1.1",
        client: None,
        method: String::new(),
        path: String::new(),
        host: String::new(),
        user_agent: String::new(),
        request_id: String::new(),
        status: 200,
        code: None,
        blame: None,
        error: None,
        received: 0,
        sent: 0,
        tries: vec![one; tries],
        handshake: None,
    }
}

/// What each sampler makes of each client: `(of no trace, of one that is taken, of one that isn't, of
/// one that leaves it open)`.
#[test]
fn the_sampler_decides_and_heeds_the_client_where_it_should() {
    let clients = [
        headers(&[]),
        headers(&[("traceparent", &format!("00-{ID}-{SPAN}-01"))]),
        headers(&[("traceparent", &format!("00-{ID}-{SPAN}-00"))]),
        headers(&[("b3", &format!("{ID}-{SPAN}"))]),
    ];
    for (follows_parent, share, expected) in [
        (true, 1.0, [true, true, false, true]),
        (true, 0.0, [false, true, false, false]),
        (false, 1.0, [true, true, true, true]),
        (false, 0.0, [false, false, false, false]),
    ] {
        let sampler = Sampler {
            follows_parent,
            share,
        };
        let (spans, _coming, _) = Spans::new(tracing(sampler, 1));
        let tracer = Tracer::new(&spans);
        let taken = clients
            .each_ref()
            .map(|client| tracer.begin(client, false, None).0.sampled);
        assert_eq!(taken, expected, "{sampler:?}");
    }
}

#[test]
fn a_share_is_the_same_at_everyone_who_sees_the_trace() {
    let half = Sampler {
        follows_parent: true,
        share: 0.5,
    };
    let (spans, _coming, _) = Spans::new(tracing(half, 1));
    let (one, other) = (Tracer::new(&spans), Tracer::new(&spans));
    let mut taken = 0;
    for number in 0..1000_u64 {
        let id = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1 << 100;
        let client = headers(&[("b3", &format!("{id:032x}-{SPAN}"))]);
        let of = |tracer: &Tracer| tracer.begin(&client, false, None).0.sampled;
        assert_eq!(of(&one), of(&other));
        taken += u32::from(of(&one));
    }
    assert!((400..600).contains(&taken), "{taken}");
}

#[test]
fn services_learn_of_requests_that_are_not_traced() {
    let off = Sampler {
        follows_parent: true,
        share: 0.0,
    };
    let (spans, _coming, _) = Spans::new(tracing(off, 1));
    let tracer = Tracer::new(&spans);
    let mut told = headers(&[("tracestate", "of=another")]);
    let (trace, begun) = tracer.begin(&told, false, None);
    let Begun::Untraced(untraced) = begun else {
        panic!("{begun:?}");
    };
    untraced.put(&mut told);
    let parent = Trace::of_traceparent(told["traceparent"].as_bytes()).unwrap();
    assert_eq!((parent.id(), parent.sampled), (trace.id(), false));
    assert!(!told.contains_key("tracestate"));

    let declined = headers(&[("traceparent", &format!("00-{ID}-{SPAN}-00"))]);
    let (_, begun) = tracer.begin(&declined, false, None);
    assert!(matches!(begun, Begun::AsItCame), "{begun:?}");
    // `b3: 0` has no trace, and wants none.
    let all = Sampler::ALL;
    let (spans, _coming, _) = Spans::new(tracing(all, 1));
    let (trace, _) = Tracer::new(&spans).begin(&headers(&[("b3", "0")]), false, None);
    assert!(!trace.sampled);
}

#[test]
fn the_state_of_a_trace_is_kept_with_it_alone() {
    let (spans, _coming, _) = Spans::new(tracing(Sampler::ALL, 1));
    let tracer = Tracer::new(&spans);
    let state = |pairs: &[(&'static str, &str)]| {
        let (_, begun) = tracer.begin(&headers(pairs), false, None);
        match begun {
            Begun::Traced(traced) => traced.state,
            other => panic!("{other:?}"),
        }
    };
    let parent = ("traceparent", &*format!("00-{ID}-{SPAN}-01"));
    let b3 = ("b3", &*format!("{ID}-{SPAN}-1"));
    assert_eq!(state(&[parent, ("tracestate", "a=1")]).unwrap(), "a=1");
    assert_eq!(state(&[b3, ("tracestate", "a=1")]), None);
    assert_eq!(state(&[("tracestate", "a=1")]), None);
    let members = vec!["a=1"; 33].join(",");
    assert_eq!(state(&[parent, ("tracestate", &members)]), None);
    let long = format!("a={}", "x".repeat(511));
    assert_eq!(state(&[parent, ("tracestate", &long)]), None);
    let just = format!("a={}", "x".repeat(510));
    assert_eq!(state(&[parent, ("tracestate", &just)]).unwrap(), just);
}

#[test]
fn each_try_has_its_own_span_and_end() {
    let (spans, _coming, _) = Spans::new(tracing(Sampler::ALL, 1));
    let (_, begun) = Tracer::new(&spans).begin(&headers(&[]), false, None);
    let Begun::Traced(mut traced) = begun else {
        panic!("{begun:?}");
    };
    let (upstream, endpoint) = ("games".into(), "127.0.0.1:1".into());
    let goal = Goal {
        upstream: &upstream,
        endpoint: &endpoint,
    };
    let one = traced.begin_try(goal, Duration::ZERO);
    let other = traced.begin_try(goal, Duration::ZERO);
    let told = |traced: &Traced, attempt| {
        let mut told = HeaderMap::new();
        traced.put(attempt, &mut told);
        Trace::of_traceparent(told["traceparent"].as_bytes()).unwrap()
    };
    let first = told(&traced, one).span;
    assert_eq!(first, traced.tries[0].span);
    assert_eq!(told(&traced, other).span, traced.tries[1].span);
    assert_ne!(first, traced.tries[1].span);
    // The first goes on when the second is over.
    traced.open_try(other).unwrap().ended = Some(Duration::ZERO);
    assert!(traced.open_try(other).is_none());
    assert_eq!(traced.open_try(one).unwrap().span, first);
    // Past the limit tries have no spans, and services are told of the request's.
    for _ in traced.tries.len()..TRACE_TRIES_MAX {
        assert_ne!(traced.begin_try(goal, Duration::ZERO), Attempt::default());
    }
    let none = traced.begin_try(goal, Duration::ZERO);
    assert_eq!(none, Attempt::default());
    assert_eq!(traced.tries.len(), TRACE_TRIES_MAX);
    assert!(traced.open_try(none).is_none());
    assert_eq!(told(&traced, none).span, traced.span);
}

#[test]
fn what_the_queue_has_no_room_for_is_dropped_and_counted() {
    let (spans, mut coming, counts) = Spans::new(tracing(Sampler::ALL, 4));
    let tracer = Tracer::new(&spans);
    // Handed over by fours: HANDED_MAX is more than the queue has.
    for _ in 0..12 {
        tracer.keep(trail(1));
    }
    let dropped = |spans: &Spans| spans.report().dropped;
    assert_eq!(dropped(&spans), 16);
    let SpanOrder::Export(trails) = coming.try_recv().unwrap() else {
        panic!("an export");
    };
    assert_eq!(trails.len(), 4);
    assert!(coming.try_recv().is_err());
    // Taken, but not sent yet: they wait still.
    spans.put(vec![trail(0)]);
    assert_eq!(dropped(&spans), 17);
    counts.done(4);
    spans.put(vec![trail(0)]);
    assert_eq!(dropped(&spans), 17);
    // Nobody takes them any more.
    drop(coming);
    counts.done(1);
    spans.put(vec![trail(2)]);
    assert_eq!(dropped(&spans), 20);
}

#[test]
fn the_end_waits_for_what_was_handed_over_and_not_for_ever() {
    let (spans, mut coming, _) = Spans::new(tracing(Sampler::ALL, 4));
    spans.put(vec![trail(0)]);
    let exporter = std::thread::spawn(move || {
        let mut seen = 0;
        loop {
            match coming.blocking_recv() {
                Some(Order::Export(trails)) => seen += trails.len(),
                Some(Order::Tell(done)) => {
                    done.send(()).unwrap();
                    return (seen, coming);
                }
                None => panic!("told of nothing"),
            }
        }
    });
    spans.finish();
    let (seen, coming) = exporter.join().unwrap();
    assert_eq!(seen, 1);
    // An exporter that never answers: this returns nonetheless.
    spans.finish();
    drop(coming);
    spans.finish();
}
