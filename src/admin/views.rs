//! What is told, and to whom.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::acme::board::Board;
use crate::config::model::AdminToken;
use crate::control::reload::{Asked, SourceState, SourceStatus, Status, Version, Whence};
use crate::copies::Copies;
use crate::drain::{Drained, Stage};
use crate::limits::RELOAD_ANSWER_MAX;
use crate::listener::Ports;
use crate::live::{Live, Target};
use crate::memory::Memory;
use crate::snapshot::Snapshot;
use crate::telemetry::{Facts, Logs, Process, Reports, expose, old_generations};
use crate::upstream::Fleet;

use super::server::Scope;
use super::{certificates, copies, memory, overview};

/// The published values that answers are made of.
#[derive(Debug)]
pub struct Views {
    pub live: Arc<Snapshot<Live>>,
    pub fleet: Arc<Fleet>,
    pub ports: Arc<Ports>,
    /// Good answers, for when their upstreams are down.
    pub copies: Arc<Copies>,
    pub memory: Arc<Memory>,
    pub reports: Arc<Reports>,
    pub drained: Drained,
    pub status: watch::Receiver<Status>,
    /// Certificates of authorities.
    pub board: Arc<Board>,
    /// Begins a reload.
    pub asked: Arc<Asked>,
    pub logs: Logs,
    /// Has another process follow this one.
    pub upgrades: mpsc::Sender<UpgradeReply>,
    /// Of the admin address.
    pub token: Option<AdminToken>,
}

/// Who asked for another process is told its id, or why there is none.
pub type UpgradeReply = oneshot::Sender<Result<u32, String>>;

/// A reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8".to_owned(),
            body: text.as_bytes().to_vec(),
        }
    }

    fn json(status: StatusCode, value: &Value) -> Self {
        let mut body = value.to_string().into_bytes();
        body.push(b'\n');
        Self {
            status,
            content_type: "application/json".to_owned(),
            body,
        }
    }
}

type Answering<'v> = Pin<Box<dyn Future<Output = Answer> + 'v>>;

impl Views {
    /// What can be asked.
    pub(super) fn index(scope: Scope) -> &'static str {
        match scope {
            Scope::Probes => "GET /livez\nGET /readyz?verbose\nGET /metrics\n",
            Scope::Admin => {
                "GET /livez\nGET /readyz?verbose\nGET /metrics\nGET /status\nGET /routes\nGET /upstreams\nGET /certs\nGET /overview\nGET /explain?method=GET&url=/v1/games\n\
                 POST /reload\nPOST /upgrade\nPOST /log-level?level=debug\n"
            }
        }
    }

    /// The answer for a path; `None` when there is nothing. With `act` false it is not to be awaited.
    pub(super) fn answer<'v>(
        &'v self,
        scope: Scope,
        path: &str,
        query: &str,
        act: bool,
    ) -> Option<Answering<'v>> {
        let now = |answer: Answer| -> Answering<'v> { Box::pin(std::future::ready(answer)) };
        Some(match (scope, path) {
            (_, "/livez") => now(Answer::text(StatusCode::OK, "ok\n")),
            (_, "/readyz") => now(self.ready(query.starts_with("verbose"))),
            (_, "/metrics") => Box::pin(self.metrics()),
            (Scope::Admin, "/") => now(Answer::text(StatusCode::OK, Self::index(scope))),
            (Scope::Admin, "/status") => {
                Box::pin(async { Answer::json(StatusCode::OK, &self.status().await) })
            }
            (Scope::Admin, "/routes") => now(Answer::json(StatusCode::OK, &self.routes())),
            (Scope::Admin, "/upstreams") => now(Answer::json(StatusCode::OK, &self.upstreams())),
            (Scope::Admin, "/certs") => {
                let all = certificates::list(&self.live.load(), &self.board.read());
                now(Answer::json(StatusCode::OK, &all))
            }
            (Scope::Admin, "/overview") => {
                Box::pin(async { Answer::json(StatusCode::OK, &self.overview().await) })
            }
            (Scope::Admin, "/explain") => now(self.explain(query)),
            (Scope::Admin, "/reload") if act => Box::pin(self.reload()),
            (Scope::Admin, "/upgrade") if act => Box::pin(self.upgrade()),
            (Scope::Admin, "/log-level") if act => now(self.log_level(query)),
            (Scope::Admin, "/reload" | "/upgrade" | "/log-level") => {
                now(Answer::text(StatusCode::OK, ""))
            }
            _ => return None,
        })
    }

    /// Ready to be sent traffic: from the first generation on until a drain begins. Upstreams that are
    /// down don't count: other routes go on, and so must this.
    fn ready(&self, verbose: bool) -> Answer {
        let serving = self.drained.stage() == Stage::Serving;
        let awaited = self.live.load().awaited.len();
        let status = match serving {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let verdict = if serving { "ok" } else { "draining" };
        if !verbose {
            return Answer::text(status, &format!("{verdict}\n"));
        }
        let mark = |good| if good { "+" } else { "-" };
        let text = format!(
            "[{}]serving\n[{}]descriptors{}\n{}{verdict}\n",
            mark(serving),
            mark(awaited == 0),
            match awaited {
                0 => String::new(),
                n => format!(": {n} upstreams have not told theirs (not counted)"),
            },
            self.wellness(),
        );
        Answer::text(status, &text)
    }

    /// A line for each upstream whose instances are asked how they are, or are left out.
    fn wellness(&self) -> String {
        let live = self.live.load();
        let mut text = String::new();
        for upstream in live.upstreams.iter() {
            let members = self.fleet.upstream(upstream).members();
            let all = members.iter().count();
            let well = members
                .iter()
                .filter(|m| m.is_healthy() && !m.is_ejected())
                .count();
            if upstream.rules.health.is_some() || well < all {
                let mark = if well > 0 { "+" } else { "-" };
                let name = &upstream.name;
                text += &format!(
                    "[{mark}]upstream {name}: {well} of {all} instances are well (not counted)\n"
                );
            }
        }
        text
    }

    async fn metrics(&self) -> Answer {
        let workers = self.reports.collect().await;
        let status = self.status.borrow().clone();
        let since = status.since.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let process = Process {
            version: env!("CARGO_PKG_VERSION"),
            generation: self.live.generation().0,
            reloads_succeeded: status.succeeded,
            reloads_failed: status.failed,
            reload_successful: status.error.is_none(),
            reloaded_at: since.unwrap_or_default().as_secs_f64(),
            endpoints: self.endpoints(),
            facts: self.facts(),
            waiting: self.waiting(),
            logs: self.logs.outputs.report(),
            spans: self
                .logs
                .outputs
                .spans()
                .map(crate::telemetry::Spans::report),
        };
        let (body, content_type) = expose(&workers, &process);
        Answer {
            status: StatusCode::OK,
            content_type,
            body,
        }
    }

    fn facts(&self) -> Vec<Facts> {
        let mut facts = certificates::facts(&self.live.load(), &self.board.read());
        facts.extend(copies::facts(&self.copies));
        facts.extend(memory::facts(&self.memory));
        facts.extend(self.places());
        facts
    }

    /// How many calls upstreams may be given.
    fn places(&self) -> [Facts; 2] {
        let live = self.live.load();
        let (mut most, mut alone) = (Vec::new(), Vec::new());
        for upstream in live.upstreams.iter() {
            let adapted = self.fleet.upstream(upstream).adapted();
            let limit = adapted.map_or(upstream.rules.load.in_flight_max, |a| a.limit);
            let label = || vec![("upstream", upstream.name.to_string())];
            most.push((label(), certificates::float_of(limit as u64)));
            if let Some(time) = adapted.and_then(|a| a.alone) {
                alone.push((label(), time.as_secs_f64()));
            }
        }
        let fact = |name, about, rows| Facts {
            name,
            about,
            counts: false,
            rows,
        };
        [
            fact(
                "transom_upstream_calls_max",
                "Calls that may be under way: load.in_flight, or what the answers allow.",
                most,
            ),
            fact(
                "transom_upstream_unloaded_seconds",
                "What half of the answers take less than when nothing waits, for adaptive limits.",
                alone,
            ),
        ]
    }

    fn waiting(&self) -> Vec<(String, u64)> {
        let live = self.live.load();
        let of = |upstream: &crate::config::model::Upstream| {
            let waiting = self.fleet.upstream(upstream).waiting();
            (upstream.name.to_string(), waiting as u64)
        };
        live.upstreams.iter().map(of).collect()
    }

    fn endpoints(&self) -> Vec<(String, String, crate::telemetry::Endpoint)> {
        let live = self.live.load();
        let mut found = Vec::new();
        for upstream in live.upstreams.iter() {
            for member in self.fleet.upstream(upstream).members().iter() {
                let state = crate::telemetry::Endpoint {
                    healthy: member.is_healthy(),
                    ejected: member.is_ejected(),
                    checks: {
                        let checks = member.checks();
                        [checks.passed, checks.failed]
                    },
                };
                found.push((
                    upstream.name.to_string(),
                    member.location.to_string(),
                    state,
                ));
            }
        }
        found
    }

    async fn status(&self) -> Value {
        let workers = self.reports.collect().await;
        let status = self.status.borrow().clone();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "stage": match self.drained.stage() {
                Stage::Serving => "serving",
                Stage::Leaving => "leaving",
                Stage::Draining | Stage::Ended => "draining",
            },
            "log_level": self.logs.level.now(),
            "memory": memory::status(&self.memory),
            "generation": self.live.generation().0,
            "since": status.since.map(seconds),
            "listeners": self.ports.addresses().iter().map(|(_, a)| a.to_string()).collect::<Vec<_>>(),
            "reloads": { "succeeded": status.succeeded, "failed": status.failed },
            "last_error": status.error.as_deref(),
            "last_changes": {
                "added": status.changes.added,
                "removed": status.changes.removed,
                "moved": status.changes.moved,
                "altered": status.changes.altered,
                "breaking": status.changes.breaking.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "risky": status.changes.risky,
                "listeners": status.listeners,
            },
            "old_generations": old_generations(&workers)
                .iter()
                .map(|(generation, users)| json!({ "generation": generation.0, "users": users }))
                .collect::<Vec<_>>(),
            "sources": status.sources.iter().map(source).collect::<Vec<_>>(),
            "troubles": self.troubles(),
        })
    }

    /// Instances that can't be reached, and endpoints without any, each with the reason.
    fn troubles(&self) -> Vec<Value> {
        let live = self.live.load();
        let mut troubles = Vec::new();
        for upstream in live.upstreams.iter() {
            let shared = self.fleet.upstream(upstream);
            let mut tell = |why: &str| {
                troubles.push(json!({ "upstream": &*upstream.name, "why": why }));
            };
            for sought in shared.sought() {
                if let Some(error) = &sought.error {
                    tell(&format!("{}: {error}", sought.endpoint));
                }
            }
            for member in shared.members().iter() {
                if let Some(why) = member.trouble() {
                    tell(&why);
                }
            }
        }
        troubles
    }

    /// All that the live page shows.
    async fn overview(&self) -> Value {
        let workers = self.reports.collect().await;
        let (live, status) = (self.live.load(), self.status.borrow().clone());
        let mut told = overview::all(&live, &workers, &status);
        let parts = [
            ("status", self.status().await),
            ("upstreams", self.upstreams()),
            (
                "certificates",
                certificates::list(&live, &self.board.read()),
            ),
        ];
        told.extend(parts.map(|(name, part)| (name.to_owned(), part)));
        Value::Object(told)
    }

    /// What would become of a request; nothing is sent.
    fn explain(&self, query: &str) -> Answer {
        match overview::explained(&self.live.load(), query) {
            Ok(answer) => Answer::json(StatusCode::OK, &answer),
            Err(what) => Answer::text(StatusCode::BAD_REQUEST, &format!("{what}\n")),
        }
    }

    fn routes(&self) -> Value {
        let live = self.live.load();
        let all = live.routes.iter().chain(live.rpcs.routes());
        let routes = all.map(|route| {
            let upstream = route
                .upstream
                .and_then(|id| live.upstreams.get(id.0 as usize));
            let (kind, rpc) = match &route.target {
                Target::Rpc(plan) => ("rpc", Some(plan.grpc_path.as_str().trim_start_matches('/'))),
                Target::Proxy { .. } => ("proxy", None),
                Target::Files(..) => ("files", None),
                Target::Redirect(..) => ("redirect", None),
                Target::Respond(_) => ("respond", None),
            };
            let hosts: Vec<_> = route.hosts.iter().map(|h| h.as_str()).collect();
            json!({
                "rule": &*route.rule,
                "kind": kind,
                "rpc": rpc,
                "upstream": upstream.map(|u| &*u.name),
                "hosts": hosts,
                "place": &*route.place,
            })
        });
        Value::Array(routes.collect())
    }

    fn upstreams(&self) -> Value {
        let live = self.live.load();
        let one = |upstream: &crate::config::model::Upstream| {
            let shared = self.fleet.upstream(upstream);
            let sought = shared.sought().into_iter().map(|sought| {
                json!({
                    "endpoint": sought.endpoint.to_string(),
                    "instances": sought.instances,
                    "error": sought.error.as_deref(),
                })
            });
            let members: Vec<_> = shared
                .members()
                .iter()
                .map(|m| {
                    let checks = m.checks();
                    json!({
                        "name": m.authority.as_str(),
                        "address": m.location.to_string(),
                        "healthy": m.is_healthy(),
                        "checks": { "passed": checks.passed, "failed": checks.failed },
                        "last_check_failed": checks.why.as_deref(),
                        "ejected": m.is_ejected(),
                        "ejections": m.ejections(),
                        "trouble": m.trouble().as_deref(),
                    })
                })
                .collect();
            let load = &upstream.rules.load;
            let adapted = shared.adapted();
            json!({
                "name": &*upstream.name,
                "endpoints": members,
                "calls_max": adapted.map_or(load.in_flight_max, |a| a.limit),
                "unloaded_seconds": adapted.and_then(|a| a.alone).map(|t| t.as_secs_f64()),
                "sought": sought.collect::<Vec<_>>(),
            })
        };
        Value::Array(live.upstreams.iter().map(one).collect())
    }

    /// Changes how much the program tells of itself, until a reload brings another level.
    fn log_level(&self, query: &str) -> Answer {
        let level = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("level="));
        match self.logs.level.set(level.unwrap_or_default()) {
            Ok(()) => {
                let now = self.logs.level.now();
                tracing::info!(level = now, "the log's level was changed by hand");
                Answer::text(StatusCode::OK, &format!("{now}\n"))
            }
            Err(error) => Answer::text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        }
    }

    /// Has another process follow this one, and tells what came of it.
    async fn upgrade(&self) -> Answer {
        let (tell, told) = oneshot::channel();
        let asked = self.upgrades.try_send(tell);
        let outcome = match asked {
            Ok(()) => told.await.ok(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(pid)) => Answer::json(StatusCode::OK, &json!({ "pid": pid })),
            Some(Err(why)) => Answer::text(StatusCode::UNPROCESSABLE_ENTITY, &format!("{why}\n")),
            None => Answer::text(
                StatusCode::CONFLICT,
                "nothing can follow this process now\n",
            ),
        }
    }

    /// Reloads, and tells what came of it.
    async fn reload(&self) -> Answer {
        let mut status = self.status.clone();
        let number = self.asked.ask();
        let done = |s: &Status| s.answered >= number;
        match tokio::time::timeout(RELOAD_ANSWER_MAX, status.wait_for(done)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => {
                let why = "nothing can be reloaded here\n";
                return Answer::text(StatusCode::CONFLICT, why);
            }
            Err(_) => return Answer::text(StatusCode::ACCEPTED, "still reloading\n"),
        }
        let failed = status.borrow().error.is_some();
        Answer::json(
            match failed {
                true => StatusCode::UNPROCESSABLE_ENTITY,
                false => StatusCode::OK,
            },
            &self.status().await,
        )
    }
}

fn source(source: &SourceStatus) -> Value {
    let since = match source.state {
        SourceState::Reflection(Whence::Kept(since)) => Some(seconds(since)),
        SourceState::Reflection(_) | SourceState::Read | SourceState::Awaited => None,
    };
    json!({
        "name": source.name,
        "state": source.state.word(),
        "since": since,
        "sha256": source.hash.map(|h| h.to_string()),
        "refused": source.refused.as_deref(),
        "versions": source.versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn version(version: &Version) -> Value {
    let instances: Vec<_> = version.instances.iter().map(|i| &**i).collect();
    json!({
        "sha256": version.hash.to_string(),
        "instances": instances,
        "lacks": version.lacks,
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
