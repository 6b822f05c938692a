//! The services that the gateway has itself: `grpc.health.v1` for whoever watches it, and, where the
//! config wants it, `grpc.reflection` for tools. A route that names one of them mounts an upstream's.

use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{Config, Policy};
use crate::route::{Lookup, RawPath};
use crate::schema::{MethodRef, gateway_services};
use crate::transcode::MethodPlan;
use crate::transcode::compat::Compat;

use super::build::Codecs;
use super::rpcs::{Rpcs, rule};
use super::{Below, BuildError, Live, Route, Target};

/// A method that the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    HealthCheck,
    HealthList,
    HealthWatch,
    /// Of either version: their messages are the same on the wire.
    Reflection,
}

/// A watch is silent for as long as nothing changes.
const SILENT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

impl Own {
    fn of(method: MethodRef<'_>) -> Option<Self> {
        match (&*method.service.full_name, &*method.method.name) {
            ("grpc.health.v1.Health", "Check") => Some(Self::HealthCheck),
            ("grpc.health.v1.Health", "List") => Some(Self::HealthList),
            ("grpc.health.v1.Health", "Watch") => Some(Self::HealthWatch),
            (
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
                "ServerReflectionInfo",
            ) => Some(Self::Reflection),
            _ => None,
        }
    }
}

impl Live {
    /// The method that a path names, of a mounted service or of the gateway's own. `host` is without a
    /// port.
    #[must_use]
    pub fn method(&self, host: &str, path: &str) -> Option<&Route> {
        if let Some(route) = self.rpcs.find(host, path) {
            return Some(route);
        }
        let own = self.own.find(host, path)?;
        // A `prefix` may name an upstream's service too.
        let raw = RawPath::parse(path).ok()?;
        let proxied = match self.table.lookup(host, &http::Method::POST, &raw) {
            Lookup::Matched(found) => self.route(found.route).is_some_and(|route| {
                matches!(route.target, Target::Proxy { below, .. } if below != Below::Segments(0))
            }),
            _ => false,
        };
        (!proxied).then_some(own)
    }
}

/// The methods of these services, those apart that `mounted` has.
pub(super) fn mount(config: &Config, mounted: &Rpcs) -> Result<Rpcs, Vec<BuildError>> {
    let fault = |message: String| BuildError {
        place: "built in".into(),
        message,
        help: None,
    };
    let schema = gateway_services().map_err(|errors| {
        let errors = errors.iter().map(|e| fault(e.to_string()));
        errors.collect::<Vec<_>>()
    })?;
    let mut codecs = Codecs::new(&schema);
    let mut own = Rpcs::default();
    for service in schema.services() {
        for method in &service.methods {
            let method = MethodRef { service, method };
            let rule = rule(method);
            let path = &*rule.pattern.template;
            let Some(kind) = Own::of(method) else {
                continue;
            };
            let wanted = kind != Own::Reflection || config.server_reflection;
            if !wanted || mounted.is_of_service(path) {
                continue;
            }
            let codec = codecs.of(&config.defaults.json);
            let (plan, _) = MethodPlan::build(codec, method, &rule, Compat::None)
                .map_err(|faults| vec![fault(format!("{path}: {faults:?}"))])?;
            let route = Route {
                rule: Arc::clone(&plan.rule),
                target: Target::Rpc(Arc::new(plan)),
                hosts: Box::default(),
                upstream: None,
                fallback: None,
                own: Some(kind),
                policy: policy(&config.defaults, kind),
                place: "built in".into(),
                series: 0,
            };
            own.insert(&service.full_name, path, route);
        }
    }
    Ok(own)
}

/// That of `defaults`, as far as it is about such calls.
fn policy(defaults: &Arc<Policy>, kind: Own) -> Arc<Policy> {
    let mut policy = Policy::clone(defaults);
    policy.auto = false;
    if kind == Own::HealthWatch {
        policy.stream_idle = SILENT_MAX;
        policy.stream_max = None;
    }
    Arc::new(policy)
}
