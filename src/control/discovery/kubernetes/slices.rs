//! What EndpointSlices say of a service's instances. Pure.
//!
//! Conditions as the API has them (discovery.k8s.io/v1): `ready` unless it is said otherwise; who isn't
//! ready may still serve while it terminates, and is used when nobody is ready.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::config::model::ServicePort;
use crate::upstream::Location;

/// Slices by name.
pub(super) type Slices = BTreeMap<String, Slice>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Slice {
    pub(super) metadata: Metadata,
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) resource_version: String,
    /// Of a list: where it goes on.
    #[serde(rename = "continue")]
    pub(super) more: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Option<Conditions>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

/// A whole list, or a page of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct List {
    pub(super) metadata: Metadata,
    pub(super) items: Vec<Slice>,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Event {
    Added(Slice),
    Modified(Slice),
    Deleted(Slice),
    /// Tells how far the watch has come.
    Bookmark(Slice),
    Error(Problem),
}

/// `Status` of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub(super) code: u16,
    pub(super) message: String,
}

/// How far instances are fit for calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Ready,
    /// It goes away, and serves as long as it is there.
    Leaving,
    Unfit,
}

impl Conditions {
    fn fitness(self) -> Fitness {
        let ready = self.ready.unwrap_or(true);
        match (ready, self.serving.unwrap_or(ready), self.terminating) {
            (true, _, _) => Fitness::Ready,
            (false, true, Some(true)) => Fitness::Leaving,
            (false, _, _) => Fitness::Unfit,
        }
    }
}

impl Slice {
    /// The number of the port that is meant.
    fn port(&self, wanted: &ServicePort) -> Option<u16> {
        let is = |port: &&Port| match wanted {
            ServicePort::Number(number) => port.port == Some(*number),
            ServicePort::Name(name) => port.name.as_deref() == Some(name),
        };
        self.tcp_ports().find(is)?.port
    }

    fn tcp_ports(&self) -> impl Iterator<Item = &Port> {
        let is_tcp = |p: &&Port| p.protocol.as_deref().is_none_or(|p| p == "TCP");
        self.ports.iter().flatten().filter(is_tcp)
    }
}

/// Where the instances are; if nowhere, why.
pub(super) fn instances(slices: &Slices, port: &ServicePort) -> Result<Vec<Location>, String> {
    if slices.is_empty() {
        return Err("there are no EndpointSlices of such a service".to_owned());
    }
    let fitting: Vec<_> = slices
        .values()
        .filter_map(|s| Some((s, s.port(port)?)))
        .collect();
    if fitting.is_empty() {
        return Err(no_port(slices, port));
    }
    let mut known: Vec<(Fitness, SocketAddr)> = Vec::new();
    for (slice, port) in fitting {
        for endpoint in slice.endpoints.iter().flatten() {
            // All addresses of an endpoint lead to the same; those of type FQDN are no addresses.
            let address = endpoint
                .addresses
                .first()
                .and_then(|a| a.parse::<IpAddr>().ok());
            if let Some(address) = address {
                let fitness = endpoint.conditions.unwrap_or_default().fitness();
                known.push((fitness, SocketAddr::new(address, port)));
            }
        }
    }
    let best = known.iter().map(|(fitness, _)| *fitness).min();
    let best = match best {
        None => return Err("the service has no endpoints".to_owned()),
        Some(Fitness::Unfit) => {
            let count = known.len();
            return Err(format!("of its {count} endpoints none is ready"));
        }
        Some(best) => best,
    };
    let mut fit: Vec<_> = known
        .iter()
        .filter(|(f, _)| *f == best)
        .map(|(_, a)| *a)
        .collect();
    // A service of both families has each instance in slices of both.
    if fit.iter().any(SocketAddr::is_ipv4) {
        fit.retain(SocketAddr::is_ipv4);
    }
    fit.sort_unstable();
    fit.dedup();
    Ok(fit.into_iter().map(Location::Address).collect())
}

fn no_port(slices: &Slices, wanted: &ServicePort) -> String {
    let mut there: Vec<String> = Vec::new();
    for port in slices.values().flat_map(Slice::tcp_ports) {
        let number = port.port.unwrap_or_default();
        let told = match port.name.as_deref() {
            None | Some("") => number.to_string(),
            Some(name) => format!("{name} ({number})"),
        };
        if !there.contains(&told) {
            there.push(told);
        }
    }
    match there.is_empty() {
        true => "the service has no endpoints".to_owned(),
        false => format!(
            "there is no port {wanted} among its endpoints' {}",
            there.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slices(all: Value) -> Slices {
        let all: Vec<Slice> = serde_json::from_value(all).unwrap();
        let named = all.into_iter().enumerate();
        named.map(|(at, s)| (format!("games-{at}"), s)).collect()
    }

    fn endpoint(
        address: &str,
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    ) -> Value {
        json!({
            "addresses": [address],
            "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        })
    }

    fn slice(endpoints: &[Value]) -> Value {
        json!({
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [
                { "name": "metrics", "port": 9090, "protocol": "TCP" },
                { "name": "grpc", "port": 50051, "protocol": "TCP" },
                { "name": "quic", "port": 50051, "protocol": "UDP" },
            ],
        })
    }

    fn found(all: Value, port: &str) -> Result<Vec<String>, String> {
        let port = match port.parse() {
            Ok(number) => ServicePort::Number(number),
            Err(_) => ServicePort::Name(port.into()),
        };
        let found = instances(&slices(all), &port)?;
        Ok(found.iter().map(Location::to_string).collect())
    }

    #[test]
    fn conditions_say_who_is_called() {
        let (yes, no) = (Some(true), Some(false));
        let ready = endpoint("10.0.0.1", yes, yes, no);
        let unsaid = json!({ "addresses": ["10.0.0.2", "10.9.9.9"] });
        let leaving = endpoint("10.0.0.3", no, yes, yes);
        let broken = endpoint("10.0.0.4", no, no, no);
        let gone = endpoint("10.0.0.5", no, no, yes);
        // Not ready, and not said to go: its probe fails.
        let starting = endpoint("10.0.0.6", no, None, None);
        let all = [
            ready,
            unsaid,
            leaving.clone(),
            broken.clone(),
            gone.clone(),
            starting.clone(),
        ];
        assert_eq!(
            found(json!([slice(&all)]), "grpc").unwrap(),
            ["10.0.0.1:50051", "10.0.0.2:50051"]
        );
        let none_ready = [leaving, broken.clone(), gone.clone(), starting.clone()];
        assert_eq!(
            found(json!([slice(&none_ready)]), "50051").unwrap(),
            ["10.0.0.3:50051"]
        );
        let unfit = found(json!([slice(&[broken, gone, starting])]), "grpc");
        assert_eq!(unfit.unwrap_err(), "of its 3 endpoints none is ready");
    }

    #[test]
    fn slices_are_put_together() {
        let yes = Some(true);
        let one = slice(&[
            endpoint("10.0.0.2", yes, yes, None),
            endpoint("10.0.0.1", yes, yes, None),
        ]);
        let two = slice(&[
            endpoint("10.0.0.1", yes, yes, None),
            endpoint("10.0.0.3", yes, yes, None),
        ]);
        let mut six = slice(&[endpoint("fd00::1", yes, yes, None)]);
        six["addressType"] = json!("IPv6");
        let all = ["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.3:9090"];
        assert_eq!(found(json!([one, two, six]), "metrics").unwrap(), all);
        assert_eq!(found(json!([six]), "grpc").unwrap(), ["[fd00::1]:50051"]);
    }

    #[test]
    fn why_there_is_nobody() {
        let told = |all: Value, port: &str| found(all, port).unwrap_err();
        assert_eq!(
            told(json!([]), "grpc"),
            "there are no EndpointSlices of such a service"
        );
        let empty = json!([{ "endpoints": null, "ports": null }]);
        assert_eq!(told(empty, "grpc"), "the service has no endpoints");
        assert_eq!(
            told(json!([slice(&[])]), "grpc"),
            "the service has no endpoints"
        );
        assert_eq!(
            told(json!([slice(&[]), slice(&[])]), "http"),
            "there is no port http among its endpoints' metrics (9090), grpc (50051)"
        );
        let mut names = slice(&[json!({ "addresses": ["games.example.com"] })]);
        names["addressType"] = json!("FQDN");
        assert_eq!(told(json!([names]), "grpc"), "the service has no endpoints");
    }
}
