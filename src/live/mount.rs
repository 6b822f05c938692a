//! Which methods a config's routes mount, and by which rules: globs, selectors and names looked up.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::model::{
    Config, Excluded, Glob, Matcher, Place, Route, RulePlaces, SelectorRule,
};
use crate::schema::{HttpRule, Method, MethodRef, Schema, Service};
use crate::transcode::nearest;

use super::{BuildError, Note};

/// One rule (a binding of its own) for one method.
#[derive(Debug)]
pub(super) struct Mount<'a> {
    pub route: &'a Route,
    pub method: MethodRef<'a>,
    pub rule: Cow<'a, HttpRule>,
    pub origin: Origin,
    /// Where the rule is written.
    pub place: Place,
    /// Where its parts are, for a rule of a file of ours.
    pub places: Option<&'a RulePlaces>,
}

/// Who wrote a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An annotation, or the selector that replaces it.
    Service,
    /// The config file; may stand where an annotation's rule of the same shape does.
    Config { overrides: bool },
}

/// Every rule to be mounted, and what is wrong with those that can't be.
#[derive(Debug, Default)]
pub(super) struct Mounts<'a> {
    pub mounts: Vec<Mount<'a>>,
    /// Rules for methods that are not there, of those that were likely meant: to be looked through for
    /// further faults, so that nobody learns of one mistake only once the other is mended.
    pub guesses: Vec<Mount<'a>>,
    /// Every method of the services that are mounted whole, with the route that mounts them.
    pub methods: Vec<(&'a Route, MethodRef<'a>)>,
    pub errors: Vec<BuildError>,
    pub notes: Vec<Note>,
}

impl<'a> Mounts<'a> {
    pub(super) fn collect(
        config: &'a Config,
        schema: &'a Schema,
        rules: &'a [SelectorRule],
    ) -> Self {
        let mut found = Self::default();
        let selected = found.selectors(schema, rules);
        let mut mounted = HashMap::new();
        for route in &config.routes {
            match &route.matcher {
                Matcher::Services { globs, excluded } => {
                    let services = found.expand(schema, globs);
                    found.check_excluded(schema, excluded, &services);
                    for service in services {
                        found.service(route, service, &selected, excluded, &mut mounted);
                    }
                }
                Matcher::Rpc {
                    rule,
                    service,
                    method,
                    overrides,
                    places,
                    rpc_place,
                    location: _,
                } => {
                    let origin = Origin::Config {
                        overrides: *overrides,
                    };
                    match find(schema, service, method) {
                        Ok(method) => {
                            let mounts = rules_of(route, method, (rule, places), origin);
                            found.mounts.extend(mounts);
                        }
                        Err((message, help)) => {
                            found.error(rpc_place, message, help);
                            let meant = meant(schema, service, method).into_iter();
                            let guesses =
                                meant.flat_map(|m| rules_of(route, m, (rule, places), origin));
                            found.guesses.extend(guesses);
                        }
                    }
                }
                Matcher::Path(_) => {}
            }
        }
        found
    }

    fn error(&mut self, place: &str, message: impl Into<String>, help: Option<String>) {
        self.errors.push(BuildError {
            place: Arc::from(place),
            message: message.into(),
            help,
        });
    }

    /// Selector rules by method: the last one for a method wins.
    fn selectors(
        &mut self,
        schema: &Schema,
        rules: &'a [SelectorRule],
    ) -> HashMap<&'a str, &'a SelectorRule> {
        let mut selected = HashMap::new();
        for rule in rules {
            let known = match rule.selector.rsplit_once('.') {
                Some((service, method)) => find(schema, service, method).map(|_| ()),
                None => Err((
                    format!("{:?} is not a full method name", rule.selector),
                    None,
                )),
            };
            match known {
                Ok(()) => _ = selected.insert(&*rule.selector, rule),
                Err((message, help)) => {
                    self.error(&rule.place, format!("selector: {message}"), help);
                }
            }
        }
        selected
    }

    /// The services that the globs match, each once, in the schema's order.
    fn expand(&mut self, schema: &'a Schema, globs: &[Glob]) -> Vec<&'a Service> {
        for glob in globs {
            if !any_service(schema, &glob.pattern) {
                let message = format!("no service matches {:?}", glob.pattern);
                self.error(&glob.place, message, suggest_glob(schema, &glob.pattern));
            }
        }
        let services = schema.services().iter();
        let wanted = |s: &&Service| globs.iter().any(|g| is_meant(s, &g.pattern));
        services.filter(wanted).collect()
    }

    fn service(
        &mut self,
        route: &'a Route,
        service: &'a Service,
        selected: &HashMap<&'a str, &'a SelectorRule>,
        excluded: &[Excluded],
        mounted: &mut HashMap<(&'a str, Vec<&'a crate::route::HostPattern>), &'a Place>,
    ) {
        let hosts: Vec<_> = route.hosts.iter().collect();
        if let Some(other) = mounted.insert((&service.full_name, hosts), &route.place) {
            let message = format!(
                "service {} is mounted already, at {other}",
                service.full_name
            );
            let help = "name it in one route, or give the routes different `hosts`";
            return self.error(&route.place, message, Some(help.into()));
        }
        for method in &service.methods {
            let reference = MethodRef { service, method };
            let selector = format!("{}.{}", service.full_name, method.name);
            let selected = selected.get(selector.as_str());
            let rule = selected.map(|s| &s.rule).or(method.http.as_ref());
            let left_out = excluded.iter().find(|e| e.is(service, method));
            if left_out.is_none() {
                self.methods.push((route, reference));
            }
            let auto = route.policy.auto && left_out.is_none();
            if auto {
                self.auto(route, reference);
            }
            if let (None, Some(rule)) = (left_out, rule) {
                match selected {
                    Some(own) => {
                        let rule = (rule, &*own.places);
                        let mounts = rules_of(route, reference, rule, Origin::Service);
                        self.mounts.extend(mounts);
                    }
                    None => self.annotation(route, reference, rule),
                }
                continue;
            }
            if auto {
                continue;
            }
            self.notes.push(Note {
                place: annotation_place(service, method),
                method: format!("{}/{}", service.full_name, method.name).into(),
                rule: rule.map(rule_text).unwrap_or_default().into(),
                message: match left_out {
                    Some(by) => format!("excluded at {}", by.place).into(),
                    None => "has no HTTP rule".into(),
                },
            });
        }
    }

    fn check_excluded(&mut self, schema: &Schema, excluded: &[Excluded], services: &[&Service]) {
        for one in excluded {
            let Excluded {
                service,
                method,
                place,
            } = one;
            match find(schema, service, method) {
                Err((message, help)) => self.error(place, message, help),
                Ok(_) if services.iter().any(|s| *s.full_name == **service) => {}
                Ok(_) => {
                    let message = format!("`services` of this route doesn't match {service}");
                    self.error(place, message, Some("so nothing is excluded by it".into()));
                }
            }
        }
    }

    /// The rule of an annotation, and its additional bindings.
    fn annotation(&mut self, route: &'a Route, method: MethodRef<'a>, rule: &'a HttpRule) {
        let place = annotation_place(method.service, method.method);
        for rule in std::iter::once(rule).chain(&rule.additional_bindings) {
            self.mounts.push(Mount {
                route,
                method,
                rule: Cow::Borrowed(rule),
                origin: Origin::Service,
                place: Arc::clone(&place),
                places: None,
            });
        }
    }

    /// The rule that `auto: true` gives to every method.
    fn auto(&mut self, route: &'a Route, method: MethodRef<'a>) {
        self.mounts.push(Mount {
            route,
            method,
            rule: Cow::Owned(super::rpcs::rule(method)),
            origin: Origin::Service,
            place: Arc::clone(&route.place),
            places: None,
        });
    }
}

/// A rule of one of our files, and its additional bindings.
fn rules_of<'a>(
    route: &'a Route,
    method: MethodRef<'a>,
    (rule, places): (&'a HttpRule, &'a [RulePlaces]),
    origin: Origin,
) -> impl Iterator<Item = Mount<'a>> {
    let rules = std::iter::once(rule).chain(&rule.additional_bindings);
    rules.zip(places).map(move |(rule, places)| Mount {
        route,
        method,
        rule: Cow::Borrowed(rule),
        origin,
        place: Arc::clone(&places.template),
        places: Some(places),
    })
}

impl Excluded {
    fn is(&self, service: &Service, method: &Method) -> bool {
        *self.service == *service.full_name && *self.method == *method.name
    }
}

/// `GET /v1/games/{game_id}`
fn rule_text(rule: &HttpRule) -> String {
    format!("{} {}", rule.pattern.method, rule.pattern.template)
}

/// gRPC's own services, which every schema has: no glob means them.
fn is_built_in(service: &Service) -> bool {
    service.file.starts_with("built in")
}

/// `games.proto:12:3`, or the file alone when the descriptors came without locations.
fn annotation_place(service: &Service, method: &Method) -> Place {
    match &method.location {
        Some(location) => Arc::from(&**location),
        None => Arc::clone(&service.file),
    }
}

fn find<'s>(
    schema: &'s Schema,
    service: &str,
    method: &str,
) -> Result<MethodRef<'s>, (String, Option<String>)> {
    if let Some(found) = schema.find_method(service, method) {
        return Ok(found);
    }
    let meant = |near: Option<&str>| near.map(|n| format!("did you mean {n:?}?"));
    match schema.find_service(service) {
        Some(known) => {
            let help = meant(near_method(known, method));
            Err((format!("service {service} has no method {method:?}"), help))
        }
        None => {
            let help = meant(near_service(schema, service));
            Err((format!("no descriptor has a service {service:?}"), help))
        }
    }
}

fn near_method<'s>(service: &'s Service, method: &str) -> Option<&'s str> {
    nearest(method, service.methods.iter().map(|m| &*m.name))
}

fn near_service<'s>(schema: &'s Schema, service: &str) -> Option<&'s str> {
    nearest(service, schema.services().iter().map(|s| &*s.full_name))
}

/// The method that someone likely meant by the name of one that isn't there.
fn meant<'s>(schema: &'s Schema, service: &str, method: &str) -> Option<MethodRef<'s>> {
    let known = schema.find_service(service);
    let service = known.or_else(|| schema.find_service(near_service(schema, service)?))?;
    let exact = schema.find_method(&service.full_name, method);
    exact.or_else(|| schema.find_method(&service.full_name, near_method(service, method)?))
}

/// Whether a glob matches some service.
pub fn any_service(schema: &Schema, pattern: &str) -> bool {
    schema.services().iter().any(|s| is_meant(s, pattern))
}

/// Whether a glob means this service. The gateway has health and reflection of its own: an upstream's
/// are meant only by a glob that says `grpc.`.
fn is_meant(service: &Service, glob: &str) -> bool {
    const OWN: [&str; 2] = ["grpc.health.", "grpc.reflection."];
    let own = OWN.iter().any(|p| service.full_name.starts_with(p));
    !is_built_in(service)
        && (!own || glob.starts_with("grpc."))
        && matches_glob(glob, &service.full_name)
}

/// `*` stands for any run of characters, dots included, as in the selectors of Google's service
/// configs: `gamehub.v1.*` is every service of the package and of the packages below it.
pub(super) fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn suggest_glob(schema: &Schema, pattern: &str) -> Option<String> {
    let services: Vec<_> = schema
        .services()
        .iter()
        .filter(|s| !is_built_in(s))
        .collect();
    if services.is_empty() {
        return Some("the descriptors have no service at all".into());
    }
    let packages: HashSet<String> = services
        .iter()
        .filter_map(|s| s.full_name.rsplit_once('.'))
        .map(|(package, _)| format!("{package}.*"))
        .collect();
    let mut names: Vec<&str> = packages.iter().map(String::as_str).collect();
    names.extend(services.iter().map(|s| &*s.full_name));
    names.sort_unstable();
    nearest(pattern, names).map(|n| format!("did you mean {n:?}?"))
}
