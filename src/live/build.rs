//! Building a [`Live`]: mounts planned, codecs shared, the table checked for conflicts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::{Codec, JsonOptions};
use crate::config::model::{self, Config, Matcher, SelectorRule};
use crate::route::{Builder, Conflict, ConflictKind, PathMatch, PathTemplate, RouteId, Table};
use crate::schema::{Schema, StreamKind};
use crate::transcode::{MethodPlan, RulePart};

use super::mount::{Mount, Mounts, Origin};
use super::{BuildError, Live, Note, Route, Target};

pub(super) fn build(
    config: &Config,
    schema: Arc<Schema>,
    rules: &[SelectorRule],
) -> Result<Live, Vec<BuildError>> {
    let Mounts {
        mounts,
        mut errors,
        mut notes,
    } = Mounts::collect(config, &schema, rules);
    let mut codecs = Codecs::new(&schema);
    let codec = codecs.of(&config.defaults.json);

    let mut entries = Vec::new();
    for mount in mounts {
        match plan(&mount, &mut codecs) {
            Ok((plan, template)) => match unsupported(plan.stream) {
                None => entries.push(Entry::rule(mount, plan, template)),
                Some(why) => notes.push(Note {
                    place: mount.place,
                    method: format!("{}/{}", plan.service, plan.method).into(),
                    rule: (&*plan.rule).into(),
                    message: why.into(),
                }),
            },
            Err(faults) => errors.extend(faults),
        }
    }
    let paths = config.routes.iter().filter_map(Entry::path);
    entries.extend(paths);

    let (table, entries) = match table(entries, &mut notes) {
        Ok(done) => done,
        Err(conflicts) => {
            errors.extend(conflicts);
            (Table::default(), Vec::new())
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Live {
        table,
        routes: entries.into_iter().map(Entry::into_route).collect(),
        schema: Arc::clone(&schema),
        codec,
        notes,
        upstreams: config.upstreams.clone().into(),
        defaults: Arc::clone(&config.defaults),
        limits: config.limits.clone(),
        timeouts: config.timeouts.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
    })
}

/// One codec for each distinct set of options.
struct Codecs<'s> {
    schema: &'s Arc<Schema>,
    built: HashMap<JsonOptions, Arc<Codec>>,
}

impl<'s> Codecs<'s> {
    fn new(schema: &'s Arc<Schema>) -> Self {
        Self {
            schema,
            built: HashMap::new(),
        }
    }

    fn of(&mut self, options: &JsonOptions) -> Arc<Codec> {
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
    let built = MethodPlan::build(codec, mount.method, mount.rule);
    let fills = mount.route.policy.fill_update_mask;
    let built = built.map(|(mut plan, template)| {
        plan.filled_mask = plan.filled_mask.filter(|_| fills);
        (plan, template)
    });
    built.map_err(|faults| {
        let of_config = matches!(mount.origin, Origin::Config { .. });
        let error = |fault: crate::transcode::PlanError| {
            // A config rule's template has a place of its own; its other keys are the route's.
            let in_template = matches!(fault.part, RulePart::Template | RulePart::Variable(_));
            let place = match of_config && !in_template {
                true => &mount.route.place,
                false => &mount.place,
            };
            BuildError {
                place: Arc::clone(place),
                message: fault.to_string(),
                help: fault.help,
            }
        };
        faults.into_iter().map(error).collect()
    })
}

/// Why rules for such a method aren't served, if they aren't.
fn unsupported(stream: StreamKind) -> Option<&'static str> {
    match stream {
        StreamKind::Unary | StreamKind::Server => None,
        StreamKind::Client => Some("client streaming is not served over REST yet"),
        StreamKind::Bidi => Some("bidirectional streaming is not served over REST yet"),
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
        plan: Box<MethodPlan>,
        template: PathTemplate,
        method: &'a str,
        origin: Origin,
    },
    Path(&'a PathMatch),
}

impl<'a> Entry<'a> {
    fn rule(mount: Mount<'a>, plan: MethodPlan, template: PathTemplate) -> Self {
        Self {
            config: mount.route,
            shape: Shape::Rule {
                plan: Box::new(plan),
                template,
                method: &mount.rule.pattern.method,
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
            Shape::Path(path) => builder.path(hosts, (*path).clone(), true, id, place),
        }
    }

    /// `pkg.Service/Method` or the route itself.
    fn what(&self) -> String {
        match &self.shape {
            Shape::Rule { plan, .. } => format!("{}/{}", plan.service, plan.method),
            Shape::Path(_) => "a path route".to_owned(),
        }
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
            Shape::Path(PathMatch::Exact(path)) => (Target::Proxy, format!("path {path}").into()),
            Shape::Path(PathMatch::Prefix(path)) => {
                (Target::Proxy, format!("prefix {path}").into())
            }
        };
        Route {
            target,
            rule,
            hosts: self.config.hosts.clone().into(),
            upstream: self.config.upstream,
            policy: Arc::clone(&self.config.policy),
            place: self.place,
        }
    }
}

/// The table, and the entries that are in it by id: without those that a config rule overrides.
fn table<'a>(
    entries: Vec<Entry<'a>>,
    notes: &mut Vec<Note>,
) -> Result<(Table, Vec<Entry<'a>>), Vec<BuildError>> {
    let conflicts = match assemble(&entries) {
        Ok(table) => return Ok((table, entries)),
        Err(conflicts) => conflicts,
    };
    let mut overridden = HashSet::new();
    let mut errors = Vec::new();
    for conflict in &conflicts {
        match loser(&entries, conflict) {
            Some((lost, note)) => {
                if overridden.insert(lost) {
                    notes.push(note);
                }
            }
            None => errors.push(conflict_error(&entries, conflict)),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut index = 0;
    let mut kept = entries;
    kept.retain(|_| {
        index += 1;
        !overridden.contains(&(index - 1))
    });
    match assemble(&kept) {
        Ok(table) => Ok((table, kept)),
        Err(conflicts) => Err(conflicts.iter().map(|c| conflict_error(&kept, c)).collect()),
    }
}

fn assemble(entries: &[Entry<'_>]) -> Result<Table, Vec<Conflict>> {
    let mut builder = Builder::default();
    for (i, entry) in entries.iter().enumerate() {
        let id = u32::try_from(i).unwrap_or(u32::MAX);
        entry.add_to(&mut builder, RouteId(id));
    }
    builder.build()
}

/// Which of two rules of the same shape gives way, when one is written to take the other's place.
fn loser(entries: &[Entry<'_>], conflict: &Conflict) -> Option<(usize, Note)> {
    if conflict.kind != ConflictKind::SameRequests {
        return None;
    }
    let (a, b) = (conflict.routes.0.0 as usize, conflict.routes.1.0 as usize);
    let winner = Some(Origin::Config { overrides: true });
    let (first, second) = (entries.get(a)?, entries.get(b)?);
    let (lost, lost_entry, by) = match (first.origin(), second.origin()) {
        (w, Some(Origin::Service)) if w == winner => (b, second, first),
        (Some(Origin::Service), w) if w == winner => (a, first, second),
        _ => return None,
    };
    let note = Note {
        place: Arc::clone(&lost_entry.place),
        method: lost_entry.what().into(),
        rule: (&*conflict.shape).into(),
        message: format!("overridden at {}", by.place).into(),
    };
    Some((lost, note))
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
            (conflict.to_string(), help)
        }
    };
    BuildError {
        place: Arc::clone(&conflict.second),
        message,
        help: Some(help.into()),
    }
}

fn conflict_help(first: Option<&Entry<'_>>, second: Option<&Entry<'_>>) -> &'static str {
    match [first, second].map(|e| e.and_then(Entry::origin)) {
        [Some(Origin::Service), Some(Origin::Config { .. })]
        | [Some(Origin::Config { .. }), Some(Origin::Service)] => {
            "`override: true` on the config's route puts it in the annotation's place"
        }
        [Some(Origin::Service), Some(Origin::Service)] => {
            "change one of the annotations, or mount the services with different `hosts`"
        }
        _ => "remove one of them, or give them different `hosts`",
    }
}
