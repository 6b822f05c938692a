//! What one generation changes for callers of another, and what of that breaks them.
//!
//! In the spirit of `buf breaking`, for both the wire and JSON: a rule that is gone or goes to another
//! method, a field that is gone or has another name, number or type.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::schema::{Cardinality, Field, Kind, MessageId, Schema};

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
    /// What callers of the old generation may stumble over.
    pub breaking: Vec<String>,
}

impl Changes {
    /// What is different in `new`.
    #[must_use]
    pub fn between(old: &Live, new: &Live) -> Self {
        let (before, after) = (rules(old), rules(new));
        let mut changes = Self::default();
        for rule in after.keys().filter(|rule| !before.contains_key(*rule)) {
            changes.added.push(rule.clone());
        }
        let mut compared = Compared {
            old: &old.schema,
            new: &new.schema,
            seen: HashSet::new(),
            breaking: Vec::new(),
        };
        for (rule, was) in &before {
            let Some(is) = after.get(rule) else {
                changes.removed.push(rule.clone());
                compared.breaks(format!("{rule} is gone"));
                continue;
            };
            let (from, to) = (aim(old, was), aim(new, is));
            if from != to {
                changes.moved.push(format!("{rule}: {from} -> {to}"));
            }
            if let (Target::Rpc(was), Target::Rpc(is)) = (&was.target, &is.target) {
                if was.grpc_path != is.grpc_path {
                    compared.breaks(format!(
                        "{rule} calls {} in place of {}",
                        is.grpc_path, was.grpc_path
                    ));
                    continue;
                }
                if was.stream != is.stream {
                    compared.breaks(format!("{rule}: other sides of the call are streams"));
                }
                compared.messages(was.input, is.input);
                compared.messages(was.output, is.output);
            }
        }
        changes.breaking = compared.breaking;
        changes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.moved.is_empty()
            && self.breaking.is_empty()
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

struct Compared<'s> {
    old: &'s Schema,
    new: &'s Schema,
    seen: HashSet<(MessageId, MessageId)>,
    breaking: Vec<String>,
}

impl Compared<'_> {
    fn breaks(&mut self, what: String) {
        if self.breaking.len() < BREAKING_MAX && !self.breaking.contains(&what) {
            self.breaking.push(what);
        }
    }

    /// Two messages and all that they hold, each pair once.
    fn messages(&mut self, was: MessageId, is: MessageId) {
        let mut open = vec![(was, is)];
        while let Some((was, is)) = open.pop() {
            if !self.seen.insert((was, is)) {
                continue;
            }
            let (Some(old), Some(new)) = (self.old.message(was), self.new.message(is)) else {
                continue;
            };
            let name: Arc<str> = Arc::clone(&old.full_name);
            for field in &old.fields {
                let same = new
                    .field_by_number(field.number)
                    .and_then(|at| new.fields.get(at.0 as usize));
                match same {
                    None => self.breaks(format!("{name}.{} is gone", field.name)),
                    Some(other) => {
                        if let Some(what) = self.differs(field, other) {
                            self.breaks(format!("{name}.{}: {what}", field.name));
                        }
                        if let (Kind::Message(a), Kind::Message(b)) = (field.kind, other.kind) {
                            open.push((a, b));
                        }
                    }
                }
            }
        }
    }

    fn differs(&self, old: &Field, new: &Field) -> Option<String> {
        if old.json_name != new.json_name {
            return Some(format!("its JSON name is {} now", new.json_name));
        }
        let (was, is) = (self.kind(self.old, old), self.kind(self.new, new));
        if was != is {
            return Some(format!("its type was {was} and is {is}"));
        }
        None
    }

    fn kind(&self, schema: &Schema, field: &Field) -> String {
        let kind = match field.kind {
            Kind::Message(id) => schema.message(id).map(|m| m.full_name.to_string()),
            Kind::Enum(id) => schema.enumeration(id).map(|e| e.full_name.to_string()),
            plain => Some(format!("{plain:?}").to_lowercase()),
        };
        let kind = kind.unwrap_or_default();
        match field.cardinality {
            Cardinality::Singular(_) => kind,
            Cardinality::Repeated { .. } => format!("repeated {kind}"),
            Cardinality::Map { key, .. } => {
                format!("map<{}, {kind}>", format!("{key:?}").to_lowercase())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROTO, live_of};
    use super::*;

    fn changed(from: &str, to: &str) -> Changes {
        let routes = "  - { services: [\"shop.v1.*\"], upstream: games }\n";
        let (old, new) = (
            live_of(PROTO, routes),
            live_of(&PROTO.replace(from, to), routes),
        );
        Changes::between(&old, &new)
    }

    #[test]
    fn nothing_is_different_from_itself() {
        let same = changed("", "");
        assert!(same.is_empty(), "{same:?}");
        assert_eq!(same.to_string(), "the same rules");
    }

    #[test]
    fn rules_come_go_and_move() {
        let added = changed(
            "rpc Hidden(Game) returns (Game);",
            "rpc Hidden(Game) returns (Game) { option (google.api.http) = { get: \"/v1/hidden\" }; }",
        );
        assert_eq!(added.to_string(), "1 rule added (GET /v1/hidden)");
        assert_eq!(added.breaking, Vec::<String>::new());
        let moved = changed("get: \"/v1/shelves/{shelf}\"", "get: \"/v1/racks/{shelf}\"");
        assert_eq!(moved.added, ["GET /v1/racks/{shelf}"]);
        assert_eq!(moved.breaking, ["GET /v1/shelves/{shelf} is gone"]);
        assert_eq!(
            moved.to_string(),
            "1 rule added (GET /v1/racks/{shelf}), 1 rule gone (GET /v1/shelves/{shelf}); one change breaks callers"
        );
    }

    #[test]
    fn fields_that_go_or_change_break_callers() {
        for (from, to, told) in [
            ("int64 plays = 3;", "", "shop.v1.Game.plays is gone"),
            (
                "int64 plays = 3;",
                "string plays = 3;",
                "shop.v1.Game.plays: its type was int64 and is string",
            ),
            (
                "int64 plays = 3;",
                "int64 played = 3;",
                "shop.v1.Game.plays: its JSON name is played now",
            ),
            (
                "int64 plays = 3;",
                "repeated int64 plays = 3;",
                "shop.v1.Game.plays: its type was int64 and is repeated int64",
            ),
            (
                "int64 plays = 3;",
                "int64 plays = 4;",
                "shop.v1.Game.plays is gone",
            ),
            (
                "returns (stream Game)",
                "returns (Game)",
                "GET /v1/games/{game_id}:watch: other sides of the call are streams",
            ),
        ] {
            let changes = changed(from, to);
            assert!(changes.breaking.contains(&told.to_owned()), "{changes:?}");
        }
        let more = changed("int64 plays = 3;", "int64 plays = 3; bool new = 4;");
        assert!(more.is_empty(), "{more:?}");
    }
}
