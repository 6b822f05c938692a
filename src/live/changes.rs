//! What one generation changes for callers of another, and what of that breaks whom.
//!
//! In the spirit of `buf breaking`, for what is served: a rule that is gone or goes to another method,
//! a field or a name of an enum that is gone or differs. Callers in JSON and callers in binary depend
//! on different things, so each finding says whose it is.

mod messages;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::{Live, Route, Target};

/// Names that a line of a log shows of each kind.
const SHOWN: usize = 5;
/// Breaking changes that are listed; their causes repeat.
const BREAKING_MAX: usize = 100;

/// The difference between two generations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rules that are new.
    pub added: Vec<String>,
    /// Rules that are gone.
    pub removed: Vec<String>,
    /// Rules that go elsewhere, with where.
    pub moved: Vec<String>,
    /// Rules whose settings are others.
    pub altered: Vec<String>,
    /// What callers of the old generation may stumble over.
    pub breaking: Vec<Broken>,
    /// What can be read as before and may hold values that the other side hasn't.
    pub risky: Vec<String>,
}

/// A change that breaks callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub whose: Whose,
    pub what: String,
}

/// Who stumbles over a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Callers in JSON: a name or a form differs, and the wire doesn't.
    Json,
    /// Callers in binary (gRPC, gRPC-Web, Connect with protobuf): the wire differs, and JSON doesn't.
    Binary,
    /// All callers.
    Everyone,
}

impl Whose {
    /// One word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
            Self::Everyone => "everyone",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.whose {
            Whose::Everyone => Ok(()),
            Whose::Json => f.write_str(" (in JSON alone)"),
            Whose::Binary => f.write_str(" (in binary alone)"),
        }
    }
}

impl Changes {
    /// What is different in `new`. As much work as a part of building is: not for a thread in a hurry.
    #[must_use]
    pub fn between(old: &Live, new: &Live) -> Self {
        let (before, after) = (rules(old), rules(new));
        let mut changes = Self::default();
        for rule in after.keys().filter(|rule| !before.contains_key(*rule)) {
            changes.added.push(rule.clone());
        }
        let mut compared = messages::Compared::new(&old.schema, &new.schema);
        for (rule, was) in &before {
            let Some(is) = after.get(rule) else {
                changes.removed.push(rule.clone());
                compared.breaks(Whose::Everyone, format!("{rule} is gone"));
                continue;
            };
            let (from, to) = (aim(old, was), aim(new, is));
            if from != to {
                changes.moved.push(format!("{rule}: {from} -> {to}"));
            }
            if was.policy != is.policy {
                changes.altered.push(rule.clone());
            }
            if let (Target::Rpc(was), Target::Rpc(is)) = (&was.target, &is.target) {
                if was.grpc_path != is.grpc_path {
                    let what = format!(
                        "{rule} calls {} in place of {}",
                        is.grpc_path, was.grpc_path
                    );
                    compared.breaks(Whose::Everyone, what);
                    continue;
                }
                if was.stream != is.stream {
                    let what = format!("{rule}: other sides of the call are streams");
                    compared.breaks(Whose::Everyone, what);
                }
                compared.messages(was.input, is.input);
                compared.messages(was.output, is.output);
            }
        }
        changes.breaking = compared.breaking;
        changes.risky = compared.risky;
        changes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.moved.is_empty()
            && self.altered.is_empty()
            && self.breaking.is_empty()
            && self.risky.is_empty()
    }
}

/// One line: `2 rules added (GET /v1/games, …), 1 gone (…)`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;
        for (names, what) in [
            (&self.added, "added"),
            (&self.removed, "gone"),
            (&self.moved, "moved"),
            (&self.altered, "with other settings"),
        ] {
            if names.is_empty() {
                continue;
            }
            if any {
                f.write_str(", ")?;
            }
            any = true;
            let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
            let more = if names.len() > SHOWN { ", …" } else { "" };
            write!(f, "{} {what} ({shown}{more})", counted(names.len()))?;
        }
        if !any {
            f.write_str("the same rules")?;
        }
        match self.breaking.len() {
            0 => Ok(()),
            1 => f.write_str("; one change breaks callers"),
            n => write!(f, "; {n} changes break callers"),
        }
    }
}

fn counted(rules: usize) -> String {
    match rules {
        1 => "1 rule".to_owned(),
        n => format!("{n} rules"),
    }
}

/// Every rule by how it is written, with its hosts.
fn rules(live: &Live) -> BTreeMap<String, &Route> {
    let all = live.routes.iter().chain(live.rpcs.routes());
    all.map(|route| {
        let hosts: Vec<_> = route.hosts.iter().map(|h| h.as_str()).collect();
        let name = match hosts.is_empty() {
            true => route.rule.to_string(),
            false => format!("{} ({})", route.rule, hosts.join(", ")),
        };
        (name, route)
    })
    .collect()
}

/// Where a route's requests go.
fn aim(live: &Live, route: &Route) -> String {
    let upstream = route
        .upstream
        .and_then(|id| live.upstreams.get(id.0 as usize));
    let upstream = upstream.map_or("", |u| &*u.name);
    match &route.target {
        Target::Rpc(plan) => format!("{} of {upstream}", plan.grpc_path),
        Target::Proxy { .. } => upstream.to_owned(),
        Target::Files(files, _) => files.root.display().to_string(),
        Target::Redirect(..) => "a redirect".to_owned(),
        Target::Respond(_) => "a fixed reply".to_owned(),
    }
}

#[cfg(test)]
mod tests;
