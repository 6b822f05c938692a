//! `transom routes`: what is mounted, METHOD PATH → service/method → upstream, and where it is written.

use std::io::{self, Write};

use serde::Serialize;

use crate::explain::words::{plain, print_table, stream, upstream_name};
use crate::live::{Live, Note, Target};

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `GET`; `*` for any. Empty for `prefix` and `path` routes.
    pub method: String,
    pub path: String,
    /// Empty is any host.
    pub hosts: Vec<String>,
    /// `pkg.Service/Method`, or `proxy`.
    pub target: String,
    pub stream: &'static str,
    pub upstream: String,
    pub place: String,
}

/// What isn't served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unserved {
    pub method: String,
    /// Empty for a method without a rule.
    pub rule: String,
    pub why: String,
    pub place: String,
}

/// The routes of a generation, by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    pub routes: Vec<Row>,
    pub unserved: Vec<Unserved>,
}

/// Which methods are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with a rule.
    Ruled,
    /// Also those of mounted services that have none, and each by its own name, for clients that speak
    /// gRPC, gRPC-Web or Connect.
    All,
}

impl Listing {
    #[must_use]
    pub fn of(live: &Live, which: Which) -> Self {
        let mut routes: Vec<_> = live.routes.iter().map(|r| row(live, r)).collect();
        routes.sort_by(|a, b| (&a.path, &a.method, &a.hosts).cmp(&(&b.path, &b.method, &b.hosts)));
        if which == Which::All {
            routes.extend(live.rpcs.routes().iter().map(|r| Row {
                method: "RPC".to_owned(),
                ..row(live, r)
            }));
        }
        let listed = |n: &&Note| which == Which::All || !n.rule.is_empty();
        let unserved = live.notes.iter().filter(listed).map(unserved).collect();
        Self { routes, unserved }
    }

    /// An aligned table, the same on a terminal and in a pipe.
    ///
    /// # Errors
    /// Of the writer.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let hosts = self.routes.iter().any(|r| !r.hosts.is_empty());
        let mut lines = vec![vec![
            "METHOD", "PATH", "TARGET", "STREAM", "UPSTREAM", "PLACE",
        ]];
        let joined: Vec<String> = self.routes.iter().map(|r| r.hosts.join(",")).collect();
        for row in &self.routes {
            let cells = [
                &row.method,
                &row.path,
                &row.target,
                row.stream,
                &row.upstream,
                &row.place,
            ];
            lines.push(cells.map(|c| if c.is_empty() { "-" } else { c }).to_vec());
        }
        if hosts {
            let names = std::iter::once("HOSTS").chain(joined.iter().map(String::as_str));
            for (line, name) in lines.iter_mut().zip(names) {
                line.insert(1, if name.is_empty() { "*" } else { name });
            }
        }
        print_table(&lines, out)?;
        if self.routes.is_empty() {
            writeln!(out, "no routes")?;
        }
        if !self.unserved.is_empty() {
            writeln!(out, "\nnot served:")?;
        }
        for one in &self.unserved {
            let rule = match one.rule.is_empty() {
                true => String::new(),
                false => format!(" {}:", one.rule),
            };
            writeln!(out, "  {}:{rule} {} ({})", one.method, one.why, one.place)?;
        }
        Ok(())
    }
}

fn row(live: &Live, route: &crate::live::Route) -> Row {
    let (method, path) = match route.rule.split_once(' ') {
        Some((method, path)) if matches!(route.target, Target::Rpc(_)) => (method, path),
        _ => ("", &*route.rule),
    };
    let (target, stream) = match &route.target {
        Target::Rpc(plan) => (
            format!("{}/{}", plan.service, plan.method),
            stream(plan.stream),
        ),
        other => (plain(other).to_owned(), ""),
    };
    Row {
        method: method.to_owned(),
        path: path.to_owned(),
        hosts: route.hosts.iter().map(|h| h.as_str().to_owned()).collect(),
        target,
        stream,
        upstream: upstream_name(live, route),
        place: route.place.to_string(),
    }
}

fn unserved(note: &Note) -> Unserved {
    Unserved {
        method: note.method.to_string(),
        rule: note.rule.to_string(),
        why: note.message.to_string(),
        place: note.place.to_string(),
    }
}

#[cfg(test)]
mod tests;
