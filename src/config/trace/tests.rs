use proptest::prelude::*;

use super::*;

fn of(file: Option<TraceKeys>, variables: &[(&str, &str)]) -> (Option<Tracing>, Vec<String>) {
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let mut told = Vec::new();
    let tracing = resolve(file, &environment, &mut told);
    (tracing, told.into_iter().map(|d| d.message).collect())
}

#[test]
fn nothing_is_exported_unless_somebody_wants_it() {
    assert_eq!(of(None, &[]).0, None);
    assert_eq!(of(None, &[("OTEL_SERVICE_NAME", "shop")]).0, None);
    let file = Some(TraceKeys::default());
    let off = [("OTEL_SDK_DISABLED", "true")];
    assert_eq!(of(file.clone(), &off).0, None);
    assert_eq!(
        of(file.clone(), &[("OTEL_TRACES_EXPORTER", "none")]).0,
        None
    );
    let (on, told) = of(file, &[("OTEL_TRACES_EXPORTER", "zipkin")]);
    assert_eq!(on.unwrap().endpoint, "http://localhost:4318/v1/traces");
    assert!(told[0].contains("zipkin"), "{told:?}");
}

#[test]
fn the_environment_wins_and_the_port_says_the_protocol() {
    let file = TraceKeys {
        endpoint: Some(Uri::from_static("http://file:4317")),
        sample: Some(0.5),
        ..TraceKeys::default()
    };
    let (alone, _) = of(Some(file.clone()), &[]);
    let alone = alone.unwrap();
    assert_eq!(alone.protocol, OtlpProtocol::Grpc);
    assert_eq!(alone.sampler.share, 0.5);
    let (both, told) = of(
        Some(file),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otel.example/base/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b,wrong name=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "zone=b,service.name=x"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_PROPAGATORS", "tracecontext,b3"),
        ],
    );
    let both = both.unwrap();
    assert_eq!(both.endpoint, "https://otel.example/base/v1/traces");
    assert_eq!(both.headers[0].0, "x-key");
    assert_eq!(both.headers[0].1, "a b");
    assert_eq!(both.timeout, Duration::from_millis(2500));
    assert_eq!(
        (both.gzip, both.sampler.share, both.queue),
        (true, 0.25, TRACE_QUEUE_REQUESTS)
    );
    let resource = [("service.name", "shop"), ("zone", "b")];
    assert_eq!(
        both.resource,
        resource.map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    assert_eq!(both.also, [Propagator::B3]);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn an_address_that_is_none_is_an_error() {
    let (none, told) = of(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
    assert_eq!(none, None);
    assert!(told[0].contains("expected http://"), "{told:?}");
}

#[test]
fn a_share_takes_as_many() {
    let sampler = Sampler {
        follows_parent: true,
        share: 0.25,
    };
    let mut random = fastrand::Rng::with_seed(7);
    let taken = (0..10_000)
        .filter(|_| sampler.takes(random.u128(..).to_be_bytes()))
        .count();
    assert!((2300..2700).contains(&taken), "{taken}");
    let none = Sampler {
        share: 0.0,
        ..sampler
    };
    assert!(!none.takes([0; 16]) && Sampler::ALL.takes([0xff; 16]));
}

#[test]
fn every_sampler_of_the_specification_is_known() {
    let sampler = |name: &str, share: Option<&str>, file: Option<f64>| {
        let mut variables = vec![("OTEL_TRACES_SAMPLER", name)];
        variables.extend(share.map(|share| ("OTEL_TRACES_SAMPLER_ARG", share)));
        let file = TraceKeys {
            sample: file,
            ..TraceKeys::default()
        };
        let (tracing, told) = of(Some(file), &variables);
        let Sampler {
            follows_parent,
            share,
        } = tracing.unwrap().sampler;
        (follows_parent, share, told.len())
    };
    for (name, expected) in [
        ("always_on", (false, 1.0)),
        ("always_off", (false, 0.0)),
        ("traceidratio", (false, 0.25)),
        ("parentbased_always_on", (true, 1.0)),
        ("parentbased_always_off", (true, 0.0)),
        ("parentbased_traceidratio", (true, 0.25)),
    ] {
        let (follows_parent, share, told) = sampler(name, Some("0.25"), Some(0.5));
        assert_eq!(((follows_parent, share), told), (expected, 0), "{name}");
    }
    // Without a share of its own it is the file's, and all without one.
    assert_eq!(sampler("traceidratio", None, Some(0.5)), (false, 0.5, 0));
    assert_eq!(sampler("traceidratio", None, None), (false, 1.0, 0));
    // What can't be read is warned of.
    assert_eq!(sampler("jaeger_remote", None, Some(0.5)), (true, 0.5, 1));
    for bad in ["2", "-1", "NaN", "half"] {
        assert_eq!(
            sampler("traceidratio", Some(bad), None),
            (false, 1.0, 1),
            "{bad}"
        );
    }
}

#[test]
fn a_path_is_for_http_alone() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317/base");
    let (tracing, told) = of(None, &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    let path = tracing.unwrap().endpoint.path().to_owned();
    assert!(path.ends_with("TraceService/Export"), "{path}");
    assert!(told[0].contains("/base"), "{told:?}");
    let (tracing, told) = of(None, &[endpoint]);
    assert_eq!(tracing.unwrap().endpoint.path(), "/base/v1/traces");
    assert_eq!(told.len(), 0, "{told:?}");
}

#[test]
fn headers_that_say_how_exports_are_sent_stay() {
    let (tracing, told) = of(
        None,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "Content-Type=text/plain,grpc-timeout=1,x-key=a=b",
            ),
        ],
    );
    let headers = tracing.unwrap().headers;
    assert_eq!((headers.len(), &headers[0].1), (1, &"a=b".parse().unwrap()));
    assert_eq!(told.len(), 2, "{told:?}");
}

proptest! {
    /// Whatever stands in the environment: no panic, and an address that is one, or an error.
    #[test]
    fn any_environment_is_read(texts in prop::collection::vec(".{0,40}|[a-z0-9:/=,%. -]{0,60}", 16)) {
        const NAMES: [&str; 16] = [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_TRACES_EXPORTER",
            "OTEL_TRACES_SAMPLER",
            "OTEL_TRACES_SAMPLER_ARG",
            "OTEL_RESOURCE_ATTRIBUTES",
            "OTEL_SERVICE_NAME",
            "OTEL_PROPAGATORS",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "OTEL_BSP_SCHEDULE_DELAY",
        ];
        let variables: Vec<_> = NAMES.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let (tracing, told) = of(Some(TraceKeys::default()), &variables);
        match tracing {
            Some(tracing) => {
                prop_assert!(tracing.endpoint.host().is_some());
                prop_assert!((0.0..=1.0).contains(&tracing.sampler.share));
                prop_assert!(tracing.queue > 0 && tracing.batch > 0);
            }
            None => {
                let is_off = texts[7].trim() == "none";
                prop_assert!(is_off || !told.is_empty());
            }
        }
    }
}
