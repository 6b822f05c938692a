//! `/pkg.Service/Method` for every method of every mounted service: one lookup by the whole path.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::model;
use crate::schema::{HttpPattern, HttpRule, MethodRef};
use crate::transcode::MethodPlan;

use super::build::Codecs;
use super::{BuildError, Route, Target};

/// The methods that clients may call by their own names.
#[derive(Debug, Default)]
pub struct Rpcs {
    /// One for each method and the route that mounts its service.
    routes: Vec<Route>,
    /// By path; more than one where a service is mounted for several hosts.
    paths: HashMap<Box<str>, SmallVec<[u32; 1]>, foldhash::fast::FixedState>,
    /// `/pkg.Service/`
    services: HashSet<Box<str>, foldhash::fast::FixedState>,
}

impl Rpcs {
    /// The method for a path of a request, byte for byte, and its host without a port.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        let mounted = self.paths.get(path)?;
        let routes = mounted.iter().filter_map(|i| self.routes.get(*i as usize));
        let fitting = routes.filter_map(|route| Some((route.fit(host)?, route)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, route)| route)
    }

    /// Whether the path is of a mounted service, whatever the method.
    #[must_use]
    pub fn is_of_service(&self, path: &str) -> bool {
        let end = memchr::memrchr(b'/', path.as_bytes()).map_or(0, |at| at + 1);
        path.get(..end).is_some_and(|s| self.services.contains(s))
    }

    /// All of them, in the order of routes and of methods.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(super) fn routes_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.routes.iter_mut()
    }

    /// Plans a method of a service that `route` mounts.
    pub(super) fn mount(
        &mut self,
        route: &model::Route,
        method: MethodRef<'_>,
        codecs: &mut Codecs<'_>,
    ) -> Result<(), Vec<BuildError>> {
        let rule = rule(method);
        let codec = codecs.of(&route.policy.json);
        let planned = MethodPlan::build(codec, method, &rule, route.policy.compat);
        let (plan, _) = planned.map_err(|faults| {
            let error = |fault: crate::transcode::PlanError| BuildError {
                place: Arc::clone(&route.place),
                message: fault.to_string(),
                help: fault.help,
            };
            faults.into_iter().map(error).collect::<Vec<_>>()
        })?;
        let path = plan.grpc_path.clone();
        let path = path.as_str();
        let mounted = self.paths.get(path).into_iter().flatten();
        let others = mounted.filter_map(|i| self.routes.get(*i as usize));
        for other in others {
            let shared = route.hosts.iter().find(|h| other.hosts.contains(h));
            if shared.is_some() || route.hosts.is_empty() && other.hosts.is_empty() {
                return Err(vec![mounted_twice(route, method, other)]);
            }
        }
        self.insert(
            &method.service.full_name,
            path,
            Route {
                rule: Arc::clone(&plan.rule),
                target: Target::Rpc(Arc::new(plan)),
                hosts: route.hosts.clone().into(),
                upstream: route.upstream(),
                // Its clients know gRPC's own ways.
                fallback: None,
                own: None,
                policy: Arc::clone(&route.policy),
                place: Arc::clone(&route.place),
                series: 0,
            },
        );
        Ok(())
    }

    pub(super) fn insert(&mut self, service: &str, path: &str, route: Route) {
        let index = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        self.paths.entry(path.into()).or_default().push(index);
        self.services.insert(format!("/{service}/").into());
        self.routes.push(route);
    }

    /// The full names of the services that are mounted for a host, sorted.
    #[must_use]
    pub fn services(&self, host: &str) -> BTreeSet<&str> {
        let routes = self.routes.iter().filter(|r| r.fit(host).is_some());
        routes.filter_map(Route::service).collect()
    }

    /// Whether the service, by its full name, is mounted for a host.
    #[must_use]
    pub fn has_service(&self, host: &str, service: &str) -> bool {
        let of_it = |r: &&Route| r.service() == Some(service);
        self.routes
            .iter()
            .filter(of_it)
            .any(|r| r.fit(host).is_some())
    }
}

/// `POST /pkg.Service/Method` with the whole message as its body.
pub(super) fn rule(method: MethodRef<'_>) -> HttpRule {
    let MethodRef { service, method } = method;
    HttpRule {
        pattern: HttpPattern {
            method: "POST".into(),
            template: format!("/{}/{}", service.full_name, method.name).into(),
        },
        body: "*".into(),
        response_body: "".into(),
        additional_bindings: Vec::new(),
    }
}

impl Route {
    /// The path of a method's own name.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.target {
            Target::Rpc(plan) => Some(plan.grpc_path.as_str()),
            _ => None,
        }
    }

    /// How well its hosts fit a request's, if they do.
    fn fit(&self, host: &str) -> Option<usize> {
        match self.hosts.is_empty() {
            true => Some(0),
            false => self.hosts.iter().filter_map(|h| h.fit(host)).max(),
        }
    }

    /// The full name of the service that its method is of.
    pub(super) fn service(&self) -> Option<&str> {
        let Target::Rpc(plan) = &self.target else {
            return None;
        };
        let path = plan.grpc_path.path().strip_prefix('/')?;
        path.split_once('/').map(|(service, _)| service)
    }
}

fn mounted_twice(route: &model::Route, method: MethodRef<'_>, other: &Route) -> BuildError {
    BuildError {
        place: Arc::clone(&route.place),
        message: format!(
            "service {} is mounted already for the same host, at {}",
            method.service.full_name, other.place
        ),
        help: Some("name it in one route, or give the routes different `hosts`".into()),
    }
}
