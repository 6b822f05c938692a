//! Where traces go, and which: what the file says, and the OTEL_* variables, which win over it.
//!
//! The variables are those of OpenTelemetry's specification ("Environment Variable Specification" and
//! "OpenTelemetry Protocol Exporter"). As it wants, a value that can't be read is warned of and left
//! out; an address that can't be one is an error.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::diagnostic::Diagnostic;
use crate::limits::{
    TRACE_BATCH_SPANS, TRACE_BATCH_WAIT, TRACE_EXPORT_TIMEOUT, TRACE_QUEUE_REQUESTS,
};

/// How traces are exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Whole: with the path that spans are sent to.
    pub endpoint: Uri,
    pub protocol: OtlpProtocol,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub sampler: Sampler,
    pub gzip: bool,
    /// One attempt of an export.
    pub timeout: Duration,
    /// PEM files: whom to believe, and who we are.
    pub ca: Option<PathBuf>,
    pub own: Option<(PathBuf, PathBuf)>,
    /// What the process is called; the first is `service.name`.
    pub resource: Vec<(String, String)>,
    /// Written to services beside `traceparent`, also where a request didn't come with them.
    pub also: Vec<Propagator>,
    /// Requests whose spans wait at most, how many spans are sent together, and after how long
    /// fewer are.
    pub queue: usize,
    pub batch: usize,
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    /// `http/protobuf`
    Http,
}

/// How a service is told of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagator {
    B3,
    B3Multi,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whoever has begun the trace decides; the share is of those that begin here.
    pub follows_parent: bool,
    pub share: f64,
}

impl Sampler {
    pub const ALL: Self = Self {
        follows_parent: true,
        share: 1.0,
    };

    /// Whether a trace is taken that nobody has decided on. The same answer for the same id, and the
    /// one that OpenTelemetry's libraries give (`TraceIdRatioBased`).
    #[must_use]
    pub fn takes(self, id: [u8; 16]) -> bool {
        let low = u128::from_be_bytes(id) as u64 >> 1;
        self.share >= 1.0 || (low as f64) < self.share * (1_u64 << 63) as f64
    }
}

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceKeys {
    pub endpoint: Option<Uri>,
    pub protocol: Option<OtlpProtocol>,
    pub sample: Option<f64>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What comes of the file and the environment; `None` where neither wants traces.
pub fn resolve(
    file: Option<TraceKeys>,
    environment: Environment<'_>,
    told: &mut Vec<Diagnostic>,
) -> Option<Tracing> {
    let mut variables = Variables { environment, told };
    let is_on = variables.wanted(file.is_some())?;
    if !is_on {
        return None;
    }
    let file = file.unwrap_or_default();
    let protocol = variables.choice(
        "PROTOCOL",
        &[
            ("grpc", OtlpProtocol::Grpc),
            ("http/protobuf", OtlpProtocol::Http),
        ],
    );
    let protocol = protocol.or(file.protocol).unwrap_or(match file.endpoint {
        // The port says it where nobody else does.
        Some(ref uri) if uri.port_u16() == Some(4317) => OtlpProtocol::Grpc,
        _ => OtlpProtocol::Http,
    });
    let endpoint = variables.endpoint(protocol, file.endpoint)?;
    let mut headers = file.headers;
    for (name, value) in variables.pairs("HEADERS") {
        let pair = HeaderName::try_from(name.as_str())
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        match pair.filter(|(name, _)| !is_of_exports(name)) {
            Some((name, value)) => {
                headers.retain(|(known, _)| *known != name);
                headers.push((name, value));
            }
            None => variables.warn(format!(
                "OTEL_EXPORTER_OTLP_HEADERS: {name:?} is no header that can be set"
            )),
        }
    }
    for (_, value) in &mut headers {
        value.set_sensitive(true);
    }
    let gzip = variables.choice("COMPRESSION", &[("gzip", true), ("none", false)]);
    let key = variables.of("CLIENT_KEY").map(PathBuf::from);
    let certificate = variables.of("CLIENT_CERTIFICATE").map(PathBuf::from);
    Some(Tracing {
        endpoint,
        protocol,
        headers,
        gzip: gzip.unwrap_or_default(),
        timeout: variables.millis_of("TIMEOUT", TRACE_EXPORT_TIMEOUT),
        ca: variables.of("CERTIFICATE").map(PathBuf::from),
        own: certificate.zip(key),
        sampler: variables.sampler(file.sample),
        resource: variables.resource(),
        also: variables.propagators(),
        queue: variables.count("OTEL_BSP_MAX_QUEUE_SIZE", TRACE_QUEUE_REQUESTS),
        batch: variables.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", TRACE_BATCH_SPANS),
        wait: variables.millis("OTEL_BSP_SCHEDULE_DELAY", TRACE_BATCH_WAIT),
    })
}

struct Variables<'e, 't> {
    environment: Environment<'e>,
    told: &'t mut Vec<Diagnostic>,
}

impl Variables<'_, '_> {
    /// An empty variable is an unset one.
    fn get(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.trim().is_empty())
    }

    /// `OTEL_EXPORTER_OTLP_TRACES_*`, else `OTEL_EXPORTER_OTLP_*`.
    fn of(&self, name: &str) -> Option<String> {
        let own = self.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
        own.or_else(|| self.get(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    fn warn(&mut self, message: String) {
        self.told
            .push(Diagnostic::warning(message).at("environment"));
    }

    /// Whether there are to be traces; `None` after an error.
    fn wanted(&mut self, by_file: bool) -> Option<bool> {
        if self
            .get("OTEL_SDK_DISABLED")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"))
        {
            return Some(false);
        }
        let named = self.of("ENDPOINT").is_some();
        match self.get("OTEL_TRACES_EXPORTER").as_deref() {
            None => Some(by_file || named),
            Some("none") => Some(false),
            Some("otlp") => Some(true),
            Some(other) => {
                self.warn(format!(
                    "OTEL_TRACES_EXPORTER: {other:?} is not `otlp` or `none`; Zipkin and Jaeger take \
                     OTLP through a collector"
                ));
                Some(by_file || named)
            }
        }
    }

    fn choice<T: Copy>(&mut self, name: &str, all: &[(&str, T)]) -> Option<T> {
        let text = self.of(name)?;
        let found = all.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = all.iter().map(|(word, _)| *word).collect();
            self.warn(format!(
                "OTEL_EXPORTER_OTLP_{name}: {text:?} is not one of {}",
                words.join(", ")
            ));
        }
        found.map(|(_, value)| *value)
    }

    /// Only the variable for traces alone is taken as it stands: the other one is the base of the
    /// paths of all signals.
    fn endpoint(&mut self, protocol: OtlpProtocol, file: Option<Uri>) -> Option<Uri> {
        let own = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let (name, text, whole) = match (own, self.get("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            (Some(own), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", own, true),
            (None, Some(base)) => ("OTEL_EXPORTER_OTLP_ENDPOINT", base, false),
            (None, None) => {
                let uri = file.unwrap_or_else(|| local(protocol));
                self.warn_of_path("trace.endpoint", &uri, protocol);
                return Some(with_path(&uri, protocol));
            }
        };
        match collector(&text) {
            Ok(uri) if whole && protocol == OtlpProtocol::Http => Some(uri),
            Ok(uri) => {
                self.warn_of_path(name, &uri, protocol);
                Some(with_path(&uri, protocol))
            }
            Err(why) => {
                let wrong = Diagnostic::error(format!("{name}: {text:?}: {why}"));
                self.told.push(wrong.at("environment"));
                None
            }
        }
    }

    fn warn_of_path(&mut self, name: &str, uri: &Uri, protocol: OtlpProtocol) {
        let path = uri.path();
        if protocol == OtlpProtocol::Grpc && path != "/" {
            self.warn(format!("{name}: gRPC has no path: {path:?} is left out"));
        }
    }

    /// `a=1,b=2`, percent-encoded.
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        self.of(name).map_or_else(Vec::new, |text| pairs(&text))
    }

    fn number(&mut self, name: &str, text: Option<String>) -> Option<u64> {
        let text = text?;
        let number = text.trim().parse::<u64>().ok();
        if number.is_none() {
            self.warn(format!("{name}: {text:?} is no whole number"));
        }
        number
    }

    fn millis_of(&mut self, name: &str, default: Duration) -> Duration {
        let text = self.of(name);
        let number = self.number(&format!("OTEL_EXPORTER_OTLP_{name}"), text);
        number
            .filter(|n| *n > 0)
            .map_or(default, Duration::from_millis)
    }

    fn millis(&mut self, name: &str, default: Duration) -> Duration {
        let text = self.get(name);
        let number = self.number(name, text).filter(|n| *n > 0);
        number.map_or(default, Duration::from_millis)
    }

    fn count(&mut self, name: &str, default: usize) -> usize {
        let text = self.get(name);
        let number = self.number(name, text).filter(|n| *n > 0);
        number.map_or(default, |n| usize::try_from(n).unwrap_or(default))
    }

    fn sampler(&mut self, file: Option<f64>) -> Sampler {
        let share = match self.get("OTEL_TRACES_SAMPLER_ARG") {
            None => None,
            Some(text) => {
                let share = text.trim().parse::<f64>().ok();
                let share = share.filter(|s| (0.0..=1.0).contains(s));
                if share.is_none() {
                    self.warn(format!(
                        "OTEL_TRACES_SAMPLER_ARG: {text:?} is no number from 0 to 1"
                    ));
                }
                share
            }
        };
        let of = |follows_parent, share| Sampler {
            follows_parent,
            share,
        };
        let Some(name) = self.get("OTEL_TRACES_SAMPLER") else {
            return of(true, share.or(file).unwrap_or(1.0));
        };
        let share = share.or(file).unwrap_or(1.0);
        match name.as_str() {
            "always_on" => of(false, 1.0),
            "always_off" => of(false, 0.0),
            "traceidratio" => of(false, share),
            "parentbased_always_on" => of(true, 1.0),
            "parentbased_always_off" => of(true, 0.0),
            "parentbased_traceidratio" => of(true, share),
            other => {
                self.warn(format!(
                    "OTEL_TRACES_SAMPLER: {other:?} is not always_on, always_off or traceidratio, \
                     with or without `parentbased_`"
                ));
                of(true, share)
            }
        }
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let mut all = self
            .get("OTEL_RESOURCE_ATTRIBUTES")
            .map_or_else(Vec::new, |text| pairs(&text));
        let named = all.iter().position(|(name, _)| name == "service.name");
        let named = named.map(|at| all.remove(at).1);
        let name = self.get("OTEL_SERVICE_NAME").or(named);
        let name = name.unwrap_or_else(|| "transom".to_owned());
        all.insert(0, ("service.name".to_owned(), name));
        all
    }

    fn propagators(&mut self) -> Vec<Propagator> {
        let text = self.get("OTEL_PROPAGATORS").unwrap_or_default();
        let mut all = Vec::new();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word {
                "b3" => all.push(Propagator::B3),
                "b3multi" => all.push(Propagator::B3Multi),
                // The first is always written; baggage crosses by the routes' own lists.
                "tracecontext" | "baggage" | "none" => {}
                other => self.warn(format!(
                    "OTEL_PROPAGATORS: {other:?} is not tracecontext, baggage, b3 or b3multi"
                )),
            }
        }
        all
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text.trim());
        bytes.decode_utf8_lossy().into_owned()
    };
    let pair = |item: &str| {
        let (name, value) = item.split_once('=')?;
        Some((decoded(name), decoded(value))).filter(|(name, _)| !name.is_empty())
    };
    text.split(',').filter_map(pair).collect()
}

/// Headers that say how an export is sent.
#[must_use]
pub fn is_of_exports(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("content-")
        || text.starts_with("grpc-")
        || matches!(
            text,
            "connection"
                | "expect"
                | "host"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

/// Reads an address of a collector.
///
/// # Errors
/// What is expected.
pub fn collector(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text
        .trim()
        .parse()
        .map_err(|_| "expected a URL, such as http://collector:4318")?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.authority().is_some_and(|a| !a.as_str().contains('@')) => {
            Ok(uri)
        }
        Some("http" | "https") => Err("expected a URL without a password: keys go into `headers`"),
        _ => Err("expected http:// or https://, a host and a port, such as http://collector:4318"),
    }
}

fn local(protocol: OtlpProtocol) -> Uri {
    Uri::from_static(match protocol {
        OtlpProtocol::Grpc => "http://localhost:4317",
        OtlpProtocol::Http => "http://localhost:4318",
    })
}

/// The base with the path of traces.
fn with_path(base: &Uri, protocol: OtlpProtocol) -> Uri {
    let path = match protocol {
        OtlpProtocol::Grpc => {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_owned()
        }
        OtlpProtocol::Http => format!("{}/v1/traces", base.path().trim_end_matches('/')),
    };
    let mut parts = base.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    // Scheme and authority are there, so the parts make a whole.
    Uri::from_parts(parts).unwrap_or_else(|_| base.clone())
}

#[cfg(test)]
mod tests;
