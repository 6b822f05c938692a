//! The cells of one worker's routes, kept from one generation to the next as long as a rule is written
//! the same way.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::failure::Blame;

use super::calls::{CallReport, Side, Sides};
use super::histogram::Histogram;
use super::report::RouteReport;

/// Statuses of one route that have a series of their own; an upstream of a plain route may send any.
const STATUSES_MAX: usize = 24;
/// The status of those that come after.
const OTHER: u16 = 0;

/// What a route is called in metrics: never a path as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// `GET`, or `*` where a route takes any.
    pub method: Arc<str>,
    /// `/v1/games/{game_id}`, `/legacy/`; empty where no route was found.
    pub route: Arc<str>,
}

impl Label {
    /// Of a rule as it is shown: `GET /v1/games/{game_id}`, `prefix /legacy/`, `path /robots.txt`.
    #[must_use]
    pub fn of(rule: &str) -> Self {
        let (word, route) = rule.split_once(' ').unwrap_or(("*", rule));
        let method = match word {
            "prefix" | "path" => "*",
            method => method,
        };
        Self {
            method: method.into(),
            route: route.into(),
        }
    }

    /// Of requests that no route takes.
    #[must_use]
    pub fn nowhere() -> Self {
        Self {
            method: "*".into(),
            route: "".into(),
        }
    }
}

/// A method, as logs and metrics call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rpc {
    /// `pkg.Service/Method`
    pub name: Arc<str>,
    /// `unary`, `client_stream`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
}

/// A route as it is told of.
#[derive(Clone, Debug)]
pub struct Named {
    /// As it is shown: `GET /v1/games/{game_id}`, `prefix /legacy/`, `path /robots.txt`; empty where no
    /// route was found.
    pub rule: Arc<str>,
    pub rpc: Option<Rpc>,
    pub upstream: Option<Arc<str>>,
}

impl Named {
    /// Of requests that no route takes.
    #[must_use]
    pub fn nowhere() -> Self {
        Self {
            rule: "".into(),
            rpc: None,
            upstream: None,
        }
    }

    fn label(&self) -> Label {
        match self.rule.is_empty() {
            true => Label::nowhere(),
            false => Label::of(&self.rule),
        }
    }
}

/// A route of one generation, and its cells.
#[derive(Debug)]
pub struct Track {
    pub rule: Arc<str>,
    pub rpc: Option<Rpc>,
    pub upstream: Option<Arc<str>>,
    pub cells: Rc<Cells>,
    /// Of its method.
    pub(super) calls: Option<Rc<Sides>>,
}

/// What one worker knows of one route's requests.
#[derive(Debug, Default)]
pub struct Cells {
    times: RefCell<SmallVec<[(u16, Histogram); 2]>>,
    /// Bytes of bodies.
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Exchanges that failed, by whose fault it was: the client's, the gateway's, the upstream's.
    faults: Cell<[u64; 3]>,
}

impl Cells {
    /// What an exchange came to, beside its status.
    pub fn count(&self, (received, sent): (u64, u64), fault: Option<Blame>) {
        self.received
            .set(self.received.get().saturating_add(received));
        self.sent.set(self.sent.get().saturating_add(sent));
        if let Some(blame) = fault {
            let [mut client, mut gateway, mut upstream] = self.faults.get();
            let of = match blame {
                Blame::Client => &mut client,
                Blame::Gateway => &mut gateway,
                Blame::Upstream => &mut upstream,
            };
            *of = of.saturating_add(1);
            self.faults.set([client, gateway, upstream]);
        }
    }

    /// A reply with this status, `time` after its request.
    pub fn observe(&self, status: u16, time: Duration) {
        let mut times = self.times.borrow_mut();
        let known = times.iter().position(|(s, _)| *s == status);
        let at = known.unwrap_or_else(|| {
            let named = match times.len() < STATUSES_MAX {
                true => status,
                false => OTHER,
            };
            if let Some(other) = times.iter().position(|(s, _)| *s == named) {
                return other;
            }
            times.push((named, Histogram::default()));
            times.len().saturating_sub(1)
        });
        if let Some((_, histogram)) = times.get_mut(at) {
            histogram.observe(time);
        }
    }
}

/// A request whose reply has not begun, until it is dropped.
#[derive(Debug)]
pub struct Active(Rc<Cell<u64>>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// The cells of a generation, by the number that each route has in it.
#[derive(Debug)]
pub struct Series {
    all: HashMap<Label, Rc<Cells>>,
    calls: HashMap<Rpc, Rc<Sides>>,
    by_number: Box<[Rc<Track>]>,
    active: Rc<Cell<u64>>,
}

impl Series {
    /// The cells of these routes; those of `before` go on, also where no route has them any more.
    #[must_use]
    pub fn new(routes: impl Iterator<Item = Named>, before: Option<&Self>) -> Rc<Self> {
        let mut all = before.map(|b| b.all.clone()).unwrap_or_default();
        let mut calls = before.map(|b| b.calls.clone()).unwrap_or_default();
        let track = |named: Named| {
            let cells = all.entry(named.label()).or_default();
            let rpc = named.rpc.as_ref();
            Rc::new(Track {
                calls: rpc.map(|rpc| Rc::clone(calls.entry(rpc.clone()).or_default())),
                cells: Rc::clone(cells),
                rule: named.rule,
                rpc: named.rpc,
                upstream: named.upstream,
            })
        };
        let by_number = routes.map(track).collect();
        let active = before.map(|b| Rc::clone(&b.active)).unwrap_or_default();
        Rc::new(Self {
            all,
            calls,
            by_number,
            active,
        })
    }

    /// One more request, until what is returned is dropped.
    #[must_use]
    pub fn begin(&self) -> Active {
        self.active.set(self.active.get().saturating_add(1));
        Active(Rc::clone(&self.active))
    }

    /// Requests whose replies have not begun.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.active.get()
    }

    /// A route by its number.
    #[must_use]
    pub fn of(&self, number: usize) -> Option<&Rc<Track>> {
        self.by_number.get(number)
    }

    /// What is known of methods.
    #[must_use]
    pub fn report_calls(&self) -> Vec<CallReport> {
        let both = self.calls.iter().map(|(rpc, sides)| {
            let client = sides.client.report(Side::Client, rpc);
            [client, sides.server.report(Side::Server, rpc)]
        });
        both.flatten().flatten().collect()
    }

    /// What they hold now.
    #[must_use]
    pub fn report(&self) -> Vec<RouteReport> {
        let all = self.all.iter().map(|(label, cells)| RouteReport {
            label: label.clone(),
            times: cells.times.borrow().to_vec(),
            received: cells.received.get(),
            sent: cells.sent.get(),
            faults: cells.faults.get(),
        });
        all.filter(|r| !r.times.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_go_on_under_their_label() {
        let labels = |rules: &[&str]| {
            let named = |rule: &&str| Named {
                rule: (*rule).into(),
                ..Named::nowhere()
            };
            rules.iter().map(named).collect::<Vec<_>>()
        };
        let first = Series::new(labels(&["GET /a", "prefix /b/"]).into_iter(), None);
        first.of(1).unwrap().cells.observe(200, Duration::ZERO);
        let open = first.begin();
        let next = Series::new(labels(&["prefix /b/"]).into_iter(), Some(&first));
        next.of(0).unwrap().cells.observe(200, Duration::ZERO);
        let report = next.report();
        assert_eq!(report.len(), 1);
        assert_eq!(
            report[0].label,
            Label {
                method: "*".into(),
                route: "/b/".into()
            }
        );
        assert_eq!(report[0].times[0].1.count(), 2);
        assert_eq!(next.active(), 1);
        drop(open);
        assert_eq!(next.active(), 0);
    }

    #[test]
    fn statuses_are_bounded() {
        let cells = Rc::new(Cells::default());
        for status in 100..=999 {
            cells.observe(status, Duration::ZERO);
        }
        let times = cells.times.borrow();
        assert_eq!(times.len(), STATUSES_MAX + 1);
        let all: u64 = times.iter().map(|(_, h)| h.count()).sum();
        assert_eq!((all, times[STATUSES_MAX].0), (900, OTHER));
    }
}
