//! Building a [`Live`]: mounts planned, codecs shared, the table checked for conflicts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::{Codec, JsonOptions};
use crate::config::model::{self, Config, Destination, Matcher, SelectorRule};
use crate::route::{Builder, Conflict, ConflictKind, PathMatch, PathTemplate, RouteId, Table};
use crate::schema::{Schema, StreamKind};
use crate::transcode::{LocationTemplate, MethodPlan, RulePart};

use super::described::Described;
use super::mount::{Mount, Mounts, Origin};
use super::rpcs::Rpcs;
use super::{Below, BuildError, Live, Note, Published, Route, Target, Warning};

pub(super) fn build(
    config: &Config,
    schema: Arc<Schema>,
    rules: &[SelectorRule],
) -> Result<Live, Vec<BuildError>> {
    let Mounts {
        mounts,
        guesses,
        methods,
        mut errors,
        mut notes,
    } = Mounts::collect(config, &schema, rules);
    let mut codecs = Codecs::new(&schema);
    let codec = codecs.of(&config.defaults.json);

    let mut rpcs = Rpcs::default();
    for (route, method) in methods {
        if let Err(faults) = rpcs.mount(route, method, &mut codecs) {
            errors.extend(faults);
        }
    }
    let mut entries = Vec::new();
    for mount in mounts {
        match plan(&mount, &mut codecs) {
            Ok((plan, template)) => entries.push(Entry::rule(mount, plan, template)),
            Err(faults) => errors.extend(faults),
        }
    }
    let guessed = guesses.iter().map(|mount| plan(mount, &mut codecs));
    errors.extend(guessed.filter_map(Result::err).flatten());
    let paths = config.routes.iter().filter_map(Entry::path);
    entries.extend(paths);

    let mut warnings = Vec::new();
    let (table, entries) = match table(entries, &mut notes, &mut warnings) {
        Ok(done) => done,
        Err(conflicts) => {
            errors.extend(conflicts);
            (Table::default(), Vec::new())
        }
    };
    let own = super::own::mount(config, &rpcs).unwrap_or_else(|faults| {
        errors.extend(faults);
        Rpcs::default()
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    let described = config
        .server_reflection
        .then(|| Described::of(&schema, &rpcs));
    let mut live = Live {
        table,
        routes: entries.into_iter().map(Entry::into_route).collect(),
        rpcs,
        own,
        described,
        published: None,
        schema: Arc::clone(&schema),
        codec,
        notes,
        warnings,
        upstreams: config.upstreams.clone().into(),
        awaited: Vec::new(),
        defaults: Arc::clone(&config.defaults),
        limits: config.limits.clone(),
        timeouts: config.timeouts.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        access_log: config.log.access.clone(),
        manners: manners(config),
        doors: super::Door::without_tls(config),
        wanted: super::Wanted::default(),
    };
    if config.listeners.iter().any(|l| l.openapi) {
        live.warnings.extend(live.covered(config));
        match Published::build(config, &live) {
            Ok(published) => live.published = Some(published),
            Err(warning) => live.warnings.push(warning),
        }
    }
    Ok(live.number())
}

fn manners(config: &Config) -> super::Manners {
    let policies = || {
        let routes = config.routes.iter().map(|route| &*route.policy);
        routes.chain([&*config.defaults])
    };
    super::Manners {
        method_override: policies().any(|p| p.method_override),
        grpc_gateway: policies().any(|p| p.compat.is_grpc_gateway()),
    }
}

/// One codec for each distinct set of options.
pub(super) struct Codecs<'s> {
    schema: &'s Arc<Schema>,
    built: HashMap<JsonOptions, Arc<Codec>>,
}

impl<'s> Codecs<'s> {
    pub(super) fn new(schema: &'s Arc<Schema>) -> Self {
        Self {
            schema,
            built: HashMap::new(),
        }
    }

    pub(super) fn of(&mut self, options: &JsonOptions) -> Arc<Codec> {
        if let Some(codec) = self.built.get(options) {
            return Arc::clone(codec);
        }
        let codec = Arc::new(Codec::build(Arc::clone(self.schema), options.clone()));
        self.built.insert(options.clone(), Arc::clone(&codec));
        codec
    }
}

fn plan(
    mount: &Mount<'_>,
    codecs: &mut Codecs<'_>,
) -> Result<(MethodPlan, PathTemplate), Vec<BuildError>> {
    let codec = codecs.of(&mount.route.policy.json);
    let built = MethodPlan::build(codec, mount.method, &mount.rule, mount.route.policy.compat);
    let fills = mount.route.policy.fill_update_mask;
    let built = built.map(|(mut plan, template)| {
        plan.filled_mask = plan.filled_mask.filter(|_| fills);
        plan.take_forms(mount.route.policy.forms);
        (plan, template)
    });
    let built = built.map_err(|faults| {
        let error = |fault: crate::transcode::PlanError| {
            let part = mount.places.and_then(|places| match fault.part {
                RulePart::Body => places.body.as_ref(),
                RulePart::ResponseBody => places.response_body.as_ref(),
                RulePart::Method | RulePart::Template | RulePart::Variable(_) => None,
            });
            BuildError {
                place: Arc::clone(part.unwrap_or(&mount.place)),
                message: fault.to_string(),
                help: fault.help,
            }
        };
        faults.into_iter().map(error).collect::<Vec<_>>()
    });
    let (mut plan, template) = built?;
    plan.location = location(mount, &plan).map_err(|error| vec![error])?;
    Ok((plan, template))
}

/// The `Location` that a config rule gives to its replies.
fn location(
    mount: &Mount<'_>,
    plan: &MethodPlan,
) -> Result<Option<Box<LocationTemplate>>, BuildError> {
    let Matcher::Rpc {
        location: Some((text, place)),
        ..
    } = &mount.route.matcher
    else {
        return Ok(None);
    };
    let built = match plan.stream {
        StreamKind::Server | StreamKind::Bidi => {
            let message = "a stream has no one reply to take it from";
            Err((message.to_owned(), None))
        }
        StreamKind::Unary | StreamKind::Client => {
            LocationTemplate::build(&plan.codec, plan.output, text)
        }
    };
    match built {
        Ok(location) => Ok(Some(Box::new(location))),
        Err((message, help)) => Err(BuildError {
            place: Arc::clone(place),
            message: format!("location: {message}"),
            help,
        }),
    }
}

/// A route to be, with what the table needs of it.
struct Entry<'a> {
    config: &'a model::Route,
    shape: Shape<'a>,
    place: model::Place,
}

enum Shape<'a> {
    Rule {
        plan: Arc<MethodPlan>,
        template: PathTemplate,
        method: Box<str>,
        origin: Origin,
    },
    Path(&'a PathMatch),
}

impl<'a> Entry<'a> {
    fn rule(mount: Mount<'a>, plan: MethodPlan, template: PathTemplate) -> Self {
        Self {
            config: mount.route,
            shape: Shape::Rule {
                plan: Arc::new(plan),
                template,
                method: mount.rule.pattern.method.clone(),
                origin: mount.origin,
            },
            place: mount.place,
        }
    }

    fn path(route: &'a model::Route) -> Option<Self> {
        let Matcher::Path(path) = &route.matcher else {
            return None;
        };
        Some(Self {
            config: route,
            shape: Shape::Path(path),
            place: Arc::clone(&route.place),
        })
    }

    fn add_to(&self, builder: &mut Builder, id: RouteId) {
        let (hosts, place) = (&self.config.hosts, Arc::clone(&self.place));
        match &self.shape {
            Shape::Rule {
                template, method, ..
            } => builder.rule(hosts, method, template, id, place),
            Shape::Path(path) => {
                let forwards = self.config.upstream().is_some();
                builder.path(hosts, (*path).clone(), forwards, id, place);
            }
        }
    }

    /// `pkg.Service/Method` or the route itself.
    fn what(&self) -> String {
        match &self.shape {
            Shape::Rule { plan, .. } => format!("{}/{}", plan.service, plan.method),
            Shape::Path(_) => "a path route".to_owned(),
        }
    }

    /// `GET /v1/games/*`
    fn shape(&self) -> String {
        match &self.shape {
            Shape::Rule {
                method, template, ..
            } => format!("{method} {}", template.shape()),
            Shape::Path(_) => String::new(),
        }
    }

    /// Whether two rules of one shape do the same for every request.
    fn same_as(&self, other: &Self) -> bool {
        let parts = |entry: &'_ Self| match &entry.shape {
            Shape::Rule { plan, template, .. } => Some((
                (Arc::clone(&plan.service), Arc::clone(&plan.method)),
                template.clone(),
                (plan.body, plan.response),
            )),
            Shape::Path(_) => None,
        };
        let same_route = std::ptr::eq(self.config, other.config);
        same_route && parts(self).is_some() && parts(self) == parts(other)
    }

    fn origin(&self) -> Option<Origin> {
        match &self.shape {
            Shape::Rule { origin, .. } => Some(*origin),
            Shape::Path(_) => None,
        }
    }

    fn into_route(self) -> Route {
        let (target, rule) = match self.shape {
            Shape::Rule { plan, .. } => {
                let rule = Arc::clone(&plan.rule);
                (Target::Rpc(plan), rule)
            }
            Shape::Path(path) => {
                let below = Below::of(path);
                let target = match &self.config.destination {
                    Destination::Upstream(_) => Target::Proxy {
                        below,
                        rewrite: self.config.rewrite.clone(),
                    },
                    Destination::Files(files) => Target::Files(Arc::clone(files), below),
                    Destination::Redirect(to) => Target::Redirect(Arc::clone(to), below),
                    Destination::Respond(reply) => Target::Respond(Arc::clone(reply)),
                };
                let rule = match path {
                    PathMatch::Exact(path) => format!("path {path}"),
                    PathMatch::Prefix(path) => format!("prefix {path}"),
                };
                (target, rule.into())
            }
        };
        Route {
            target,
            rule,
            hosts: self.config.hosts.clone().into(),
            upstream: self.config.upstream(),
            fallback: self.config.fallback.clone(),
            own: None,
            policy: Arc::clone(&self.config.policy),
            place: self.place,
            series: 0,
        }
    }
}

/// The table, and the entries that are in it by id: without those that a config rule overrides.
fn table<'a>(
    mut entries: Vec<Entry<'a>>,
    notes: &mut Vec<Note>,
    warnings: &mut Vec<Warning>,
) -> Result<(Table, Vec<Entry<'a>>), Vec<BuildError>> {
    let mut winners = HashSet::new();
    // A conflict names two of a shape, and there may be more: each round takes some away.
    loop {
        let conflicts = match assemble(&entries) {
            Ok(table) => {
                warnings.extend(idle_overrides(&entries, &winners));
                return Ok((table, entries));
            }
            Err(conflicts) => conflicts,
        };
        let mut lost = HashSet::new();
        for conflict in &conflicts {
            if let Some((loser, by, note)) = loser(&entries, conflict)
                && lost.insert(loser)
            {
                notes.push(note);
                winners.extend(entries.get(by).map(|e| Arc::clone(&e.place)));
            }
        }
        if lost.is_empty() {
            let told = conflicts.iter().map(|c| conflict_error(&entries, c));
            return Err(told.collect());
        }
        let mut index = 0;
        entries.retain(|_| {
            index += 1;
            !lost.contains(&(index - 1))
        });
    }
}

/// The rules that are written to override and have nothing to.
fn idle_overrides(entries: &[Entry<'_>], winners: &HashSet<model::Place>) -> Vec<Warning> {
    let overrides = |e: &&Entry<'_>| e.origin() == Some(Origin::Config { overrides: true });
    // One that has bindings overrides with any of them.
    let mut routes: Vec<(&model::Place, &Entry<'_>, bool)> = Vec::new();
    for entry in entries.iter().filter(overrides) {
        let wins = winners.contains(&entry.place);
        match routes
            .last_mut()
            .filter(|(r, ..)| **r == entry.config.place)
        {
            Some((.., won)) => *won |= wins,
            None => routes.push((&entry.config.place, entry, wins)),
        }
    }
    let idle = routes.into_iter().filter(|(.., won)| !won);
    let warning = |(_, entry, _): (&model::Place, &Entry<'_>, bool)| Warning {
        place: Arc::clone(&entry.place),
        message: format!(
            "`override: true` overrides nothing: no annotation has the shape {}",
            entry.shape()
        )
        .into(),
        help: "leave it out, or make the path the annotation's; names of variables don't matter",
    };
    idle.map(warning).collect()
}

fn assemble(entries: &[Entry<'_>]) -> Result<Table, Vec<Conflict>> {
    let mut builder = Builder::default();
    for (i, entry) in entries.iter().enumerate() {
        let id = u32::try_from(i).unwrap_or(u32::MAX);
        entry.add_to(&mut builder, RouteId(id));
    }
    builder.build()
}

/// Which of two rules of the same shape gives way to which, when one is written to take the other's
/// place, or a method has one rule twice.
fn loser(entries: &[Entry<'_>], conflict: &Conflict) -> Option<(usize, usize, Note)> {
    if conflict.kind != ConflictKind::SameRequests {
        return None;
    }
    let (a, b) = (conflict.routes.0.0 as usize, conflict.routes.1.0 as usize);
    let winner = Some(Origin::Config { overrides: true });
    let (first, second) = (entries.get(a)?, entries.get(b)?);
    let (lost, lost_entry, by, by_entry) = match (first.origin(), second.origin()) {
        (w, Some(Origin::Service)) if w == winner => (b, second, a, first),
        (Some(Origin::Service), w) if w == winner => (a, first, b, second),
        (Some(Origin::Service), Some(Origin::Service)) if first.same_as(second) => {
            (b, second, a, first)
        }
        _ => return None,
    };
    let note = Note {
        place: Arc::clone(&lost_entry.place),
        method: lost_entry.what().into(),
        rule: (&*conflict.shape).into(),
        message: match by_entry.origin() == winner {
            true => format!("overridden at {}", by_entry.place).into(),
            false => "the method has the same rule twice".into(),
        },
    };
    Some((lost, by, note))
}

fn conflict_error(entries: &[Entry<'_>], conflict: &Conflict) -> BuildError {
    let entry = |id: RouteId| entries.get(id.0 as usize);
    let (first, second) = (entry(conflict.routes.0), entry(conflict.routes.1));
    let what = |e: Option<&Entry<'_>>| e.map(Entry::what).unwrap_or_default();
    let (message, help) = match conflict.kind {
        ConflictKind::SameRequests => {
            let message = format!(
                "{} of {} matches the same requests as the rule of {} at {}",
                conflict.shape,
                what(second),
                what(first),
                conflict.first
            );
            (message, conflict_help(first, second))
        }
        ConflictKind::Overlaps { .. } => {
            let help = "put a literal in place of one of the wildcards";
            (conflict.to_string(), help.to_owned())
        }
    };
    BuildError {
        place: Arc::clone(&conflict.second),
        message,
        help: Some(help),
    }
}

fn conflict_help(first: Option<&Entry<'_>>, second: Option<&Entry<'_>>) -> String {
    let help = match [first, second].map(|e| e.and_then(Entry::origin)) {
        [Some(Origin::Service), Some(Origin::Config { .. })]
        | [Some(Origin::Config { .. }), Some(Origin::Service)] => {
            "`override: true` on the config's route puts it in the annotation's place"
        }
        [Some(Origin::Service), Some(Origin::Service)] => {
            let out = second.map(Entry::what).unwrap_or_default();
            return format!(
                "`exclude: [{out}]` on the `services` route leaves that method out; a route of the \
                 config with `override: true` takes the place of both; a `rules` file gives methods \
                 other paths"
            );
        }
        _ => "remove one of them, or give them different `hosts`",
    };
    help.to_owned()
}
