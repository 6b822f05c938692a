//! An upstream, and the policy that says when its calls are sent again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::super::endpoint;
use super::super::keys::Shape;
use super::super::model::{
    Adaptive, Balance, Cluster, Connections, Ejection, Endpoint, HashOn, HeaderPattern, HedgeRule,
    OwnCertificate, Place, Policy, RetryRule, Upstream, UpstreamProtocol, UpstreamRules,
    UpstreamTls,
};
use super::super::raw::{Field, Section};
use super::super::scalar;
use super::super::source::Span;
use super::super::tree::Value;
use super::{count, report_twice};
use crate::failure::GrpcCode;

pub(super) fn upstream(
    name: &str,
    place: Place,
    section: &Section<'_, '_>,
    folder: &Path,
    around: &Around,
) -> Option<Upstream> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut endpoint_places = Vec::new();
    let mut first_at: HashMap<Endpoint, Span> = HashMap::new();
    let items = section.items("endpoints");
    for item in &items {
        let Some(endpoint) = item.parse(endpoint::parse) else {
            continue;
        };
        let endpoint = endpoint.in_folder(folder);
        if let Some(first) = first_at.insert(endpoint.clone(), item.node.span) {
            report_twice(item, "this endpoint is listed already", first);
        }
        endpoints.push(endpoint);
        endpoint_places.push(item.place());
    }
    let protocol = match section.field("protocol") {
        Some(field) => match field.choice()? {
            "http1" => UpstreamProtocol::Http1,
            _ => UpstreamProtocol::Http2,
        },
        None => UpstreamProtocol::Http2,
    };
    Some(Upstream {
        name: name.into(),
        endpoints,
        protocol,
        rules: rules(section, protocol),
        tls: section.field("tls").and_then(|f| tls(&f, folder)),
        outgoing: None,
        name_servers: Arc::clone(&around.name_servers),
        cluster: Arc::clone(&around.cluster),
        place,
        endpoint_places,
    })
}

/// What all upstreams have in common: who knows where instances are.
pub(super) struct Around {
    name_servers: Arc<[SocketAddr]>,
    cluster: Arc<Cluster>,
}

impl Around {
    pub(super) fn read(file: &Section<'_, '_>, folder: &Path) -> Self {
        Self {
            name_servers: name_servers(file),
            cluster: Arc::new(cluster(file, folder)),
        }
    }
}

fn cluster(file: &Section<'_, '_>, folder: &Path) -> Cluster {
    let Some(section) = file.section("kubernetes") else {
        return Cluster::default();
    };
    let path = |name| Some(folder.join(section.field(name)?.text()?));
    let server = section.field("server");
    let server = server.and_then(|f| f.parse(scalar::api_server));
    let token = path("token");
    let is_open = server.as_deref().is_some_and(|s| s.starts_with("http:"));
    if let (true, Some(field)) = (is_open, section.field("token")) {
        field.error("a token is sent over https alone");
    }
    Cluster {
        server,
        token,
        ca: path("ca"),
        namespace: section
            .field("namespace")
            .and_then(|f| f.parse(endpoint::namespace)),
    }
}

/// Who is asked for names: nobody in particular when there is no `dns`.
fn name_servers(file: &Section<'_, '_>) -> Arc<[SocketAddr]> {
    let Some(dns) = file.section("dns") else {
        return Arc::new([]);
    };
    let servers = dns.items("servers");
    let servers = servers.iter().filter_map(|item| item.parse(scalar::server));
    servers.collect()
}

fn tls(field: &Field<'_, '_>, folder: &Path) -> Option<UpstreamTls> {
    let nothing = UpstreamTls {
        authorities: None,
        own: None,
        server_name: None,
        place: field.place(),
    };
    let section = match word_or_section(field)? {
        WordOr::Word("off") => return None,
        WordOr::Word(_) => return Some(nothing),
        WordOr::Section(section) => section,
    };
    let file = |name| {
        let field = section.field(name)?;
        Some((folder.join(field.text()?), field.place()))
    };
    let own = match (file("cert"), file("key")) {
        (Some((cert, cert_place)), Some((key, key_place))) => Some(OwnCertificate {
            cert,
            cert_place,
            key,
            key_place,
        }),
        (None, None) => None,
        (one, _) => {
            let (there, missing) = match one {
                Some(_) => ("cert", "key"),
                None => ("key", "cert"),
            };
            if let Some(field) = section.field(there) {
                field.error(format!("`{there}` needs `{missing}` beside it"));
            }
            None
        }
    };
    let server_name = section.field("server_name");
    Some(UpstreamTls {
        authorities: file("ca"),
        own,
        server_name: server_name.and_then(|f| f.parse(scalar::peer_name)),
        ..nothing
    })
}

fn rules(section: &Section<'_, '_>, protocol: UpstreamProtocol) -> UpstreamRules {
    let mut rules = UpstreamRules::default();
    if let Some(word) = section.field("balance").and_then(|f| f.choice()) {
        rules.balance = match word {
            "round_robin" => Balance::RoundRobin,
            "hash" => Balance::Hash,
            _ => Balance::Best,
        };
    }
    if let Some(time) = section.field("slow_start").and_then(|f| f.duration()) {
        rules.slow_start = time;
    }
    if let Some(load) = section.section("load") {
        let set = |name, value: &mut usize| *value = count(&load, name).unwrap_or(*value);
        set("in_flight", &mut rules.load.in_flight_max);
        set("queue", &mut rules.load.queue_max);
        if let Some(wait) = load.field("queue_wait").and_then(|f| f.duration()) {
            rules.load.queue_wait = wait;
        }
        rules.load.adaptive = adaptive(&load);
    }
    if let Some(field) = section.field("ejection") {
        rules.ejection = match word_or_section(&field) {
            Some(WordOr::Word("off")) => None,
            Some(WordOr::Section(section)) => Some(ejection(&section)),
            Some(WordOr::Word(_)) | None => rules.ejection,
        };
    }
    if let Some(section) = section.section("health") {
        rules.health = super::health::health(&section, protocol);
    }
    if let Some(budget) = section.section("retry_budget") {
        let set = |name, value: &mut u32| *value = small(&budget, name).unwrap_or(*value);
        set("percent", &mut rules.retry_budget.percent);
        set("per_second", &mut rules.retry_budget.per_second_min);
    }
    if let Some(section) = section.section("connections") {
        connections(&section, &mut rules.connections);
    }
    rules
}

fn adaptive(load: &Section<'_, '_>) -> Option<Adaptive> {
    let standard = Adaptive::default();
    let field = load.field("adaptive")?;
    match word_or_section(&field)? {
        WordOr::Word("on") => Some(standard),
        WordOr::Word(_) => None,
        WordOr::Section(section) => Some(Adaptive {
            in_flight_min: count(&section, "min").unwrap_or(standard.in_flight_min),
            slack_percent: small(&section, "slack_percent").unwrap_or(standard.slack_percent),
            probe: section
                .field("probe")
                .and_then(|f| f.duration())
                .unwrap_or(standard.probe),
        }),
    }
}

fn connections(section: &Section<'_, '_>, rules: &mut Connections) {
    let wait = |name| section.field(name)?.duration();
    if let Some(age) = wait("max_age") {
        rules.age_max = (!age.is_zero()).then_some(age);
    }
    rules.idle_max = wait("idle").unwrap_or(rules.idle_max);
    rules.count_max = count(section, "max").or(rules.count_max);
    rules.streams_max = count(section, "streams").unwrap_or(rules.streams_max);
}

fn ejection(section: &Section<'_, '_>) -> Ejection {
    let usual = Ejection::default();
    let wait = |name, usual| {
        let field = section.field(name);
        field.and_then(|f| f.duration()).unwrap_or(usual)
    };
    let percent = |name, usual| {
        let given = small(section, name).and_then(|n| u8::try_from(n).ok());
        given.unwrap_or(usual)
    };
    let ejection = Ejection {
        consecutive_failures: small(section, "consecutive_failures")
            .unwrap_or(usual.consecutive_failures),
        failure_percent: percent("failure_percent", usual.failure_percent),
        calls_min: small(section, "min_calls").unwrap_or(usual.calls_min),
        window: wait("window", usual.window),
        time: wait("time", usual.time),
        time_max: wait("time_max", usual.time_max),
        percent_max: percent("max_percent", usual.percent_max),
    };
    if ejection.time > ejection.time_max
        && let Some(field) = section.field("time").or_else(|| section.field("time_max"))
    {
        let most = scalar::show_duration(ejection.time_max);
        field.error(format!("`time` is more than `time_max`, which is {most}"));
    }
    ejection
}

/// `retry` and `hash_on` of a route or of all.
pub(super) fn policy(section: &Section<'_, '_>, policy: &mut Policy) {
    if let Some(field) = section.field("retry") {
        let base = policy.retry.as_deref().cloned().unwrap_or_default();
        policy.retry = match word_or_section(&field) {
            Some(WordOr::Word("off")) => None,
            Some(WordOr::Section(section)) => Some(Arc::new(retry(&section, base))),
            Some(WordOr::Word(_)) => Some(Arc::new(base)),
            None => return,
        };
    }
    if let Some(field) = section.field("hedge") {
        policy.hedge = match word_or_section(&field) {
            Some(WordOr::Section(section)) => hedge(&section),
            Some(WordOr::Word(_)) | None => None,
        };
    }
    if let Some(section) = section.section("hash_on") {
        let text = |name| section.field(name)?.text().map(Box::<str>::from);
        let header =
            section
                .field("header")
                .and_then(|field| match field.parse(scalar::header)? {
                    HeaderPattern::Name(name) => Some(HashOn::Header(name)),
                    HeaderPattern::Prefix(_) => {
                        field.error("expected one header, not all that begin like it");
                        None
                    }
                });
        policy.hash_on = header
            .or_else(|| text("cookie").map(HashOn::Cookie))
            .or_else(|| text("variable").map(HashOn::Variable));
    }
}

fn retry(section: &Section<'_, '_>, mut rule: RetryRule) -> RetryRule {
    if let Some(attempts) = small(section, "attempts").and_then(std::num::NonZeroU32::new) {
        rule.attempts = attempts;
    }
    rule.per_try = section
        .field("per_try")
        .and_then(|f| f.duration())
        .or(rule.per_try);
    if section.has("codes") {
        let words = section.items("codes");
        let named = words.iter().filter_map(|item| {
            let word = item.choice()?;
            GrpcCode::ALL.into_iter().find(|code| code.name() == word)
        });
        rule.codes = named.collect();
    }
    let idempotent = section.field("idempotent").and_then(|f| f.bool());
    rule.idempotent = idempotent.or(rule.idempotent);
    rule
}

fn hedge(section: &Section<'_, '_>) -> Option<HedgeRule> {
    let attempts = small(section, "attempts").and_then(std::num::NonZeroU32::new);
    Some(HedgeRule {
        after: section.field("after")?.duration()?,
        attempts: attempts.unwrap_or(std::num::NonZeroU32::MIN.saturating_add(1)),
    })
}

pub(super) enum WordOr<'r, 'n> {
    Word(&'static str),
    Section(Section<'r, 'n>),
}

/// The value of a [`Shape::ChoiceOr`].
pub(super) fn word_or_section<'r, 'n>(field: &Field<'r, 'n>) -> Option<WordOr<'r, 'n>> {
    match (&field.node.value, field.shape) {
        (Value::Map(_), Shape::ChoiceOr(_, keys)) => {
            let section = Section::open(field.reader, keys, field.node, field.path.clone())?;
            Some(WordOr::Section(section))
        }
        _ => field.choice().map(WordOr::Word),
    }
}

pub(super) fn small(section: &Section<'_, '_>, name: &str) -> Option<u32> {
    u32::try_from(count(section, name)?).ok()
}
