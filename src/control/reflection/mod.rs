//! Asks an upstream for its descriptors: `grpc.reflection` v1, then v1alpha.
//!
//! One stream, one question at a time: the services, the file of each, then every import that hasn't
//! come yet. Servers differ in what they send unasked (Go the imports too, but each file once a stream;
//! tonic only the file), so whatever arrives is kept and only what is missing is asked for. The bytes
//! of a file are passed on as they came: options and features that we don't know survive.
//!
//! The other side is not trusted: files, bytes, services, each answer and the whole are bounded, and
//! an answer to another question is an error that names the upstream.

mod error;
mod files;
mod session;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::Authority;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;

pub use error::{ReflectionError, ReflectionProblem};

use crate::config::model::Upstream;
use crate::control::discovery;
use crate::limits;
use crate::upstream::Location;
use files::Files;
pub use session::Question;
use session::{Answer, Session, Version};

/// Services that carry no methods of the upstream's own.
const SKIPPED: &[&str] = &["grpc.reflection.", "grpc.health."];

/// What one fetch may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Descriptor bytes in all, and of one answer.
    pub bytes_max: usize,
    pub files_max: usize,
    pub services_max: usize,
    /// The whole fetch, over all endpoints.
    pub whole: Duration,
    /// Connecting, and each answer.
    pub answer: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes_max: limits::REFLECTION_BYTES_MAX,
            files_max: limits::REFLECTION_FILES_MAX,
            services_max: limits::REFLECTION_SERVICES_MAX,
            whole: limits::REFLECTION_TIMEOUT,
            answer: limits::REFLECTION_ANSWER_TIMEOUT,
        }
    }
}

/// The descriptors of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflected {
    /// A serialised `FileDescriptorSet`: imports before the files that need them, else by name, so
    /// that the same descriptors give the same bytes.
    pub descriptors: Vec<u8>,
    /// Services that the set declares and the upstream lists, by name; those of gRPC itself left out.
    pub services: Vec<String>,
    /// What the upstream should have known and didn't, for the log and `transom check`.
    pub missing: Vec<Missing>,
}

/// A service or file that the upstream names but doesn't describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    /// The upstream's words.
    pub reason: String,
}

/// One instance of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is called.
    pub authority: Authority,
    pub location: Location,
}

impl Instance {
    /// The instances of an upstream as far as its config tells them apart; those that it doesn't tell
    /// are looked for.
    pub async fn all_of(upstream: &Upstream) -> Vec<Self> {
        let mut all = Vec::new();
        for endpoint in &upstream.endpoints {
            let Some(authority) = endpoint.authority() else {
                continue;
            };
            let found = match Location::of(endpoint) {
                Some(location) if upstream.name_servers.is_empty() => Ok(vec![location]),
                Some(_) | None => discovery::find(upstream, endpoint).await,
            };
            // Why there are none is told by who keeps looking.
            all.extend(found.unwrap_or_default().into_iter().map(|location| Self {
                authority: authority.clone(),
                location,
            }));
        }
        all
    }
}

/// `10.0.0.7:50051`, or the name that it goes by.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.location.fmt(f)
    }
}

/// Asks these instances, all at the same time. Once one has answered the others have a moment left:
/// one that is down holds nobody up. Dropping the future ends all streams and connections.
///
/// # Errors
/// None has answered: no instance can be reached or speaks reflection, answers are wrong, or the
/// budget is spent.
pub async fn ask(
    upstream: &Upstream,
    instances: &[Instance],
    budget: &Budget,
) -> Result<Vec<(Instance, Reflected)>, ReflectionError> {
    let mut until = Instant::now() + budget.whole;
    let asking = instances.iter().enumerate();
    let mut asking: FuturesUnordered<_> = asking
        .map(|(at, instance)| async move { (at, fetch_one(instance, upstream, budget).await) })
        .collect();
    let (mut told, mut failed) = (Vec::new(), Vec::new());
    while let Ok(Some((at, result))) = timeout_at(until, asking.next()).await {
        match result {
            Ok(reflected) => {
                told.push((at, reflected));
                until = until.min(Instant::now() + limits::REFLECTION_OTHERS_WAIT);
            }
            Err(problem) => failed.push((at, problem)),
        }
    }
    let instance = |at: usize| instances.get(at).cloned();
    if !told.is_empty() {
        told.sort_by_key(|(at, _)| *at);
        let told = told.into_iter();
        return Ok(told
            .filter_map(|(at, r)| Some((instance(at)?, r)))
            .collect());
    }
    let silent = !asking.is_empty();
    failed.sort_by_key(|(at, _)| *at);
    // What is no fault of one instance is that of all.
    let first = failed.iter().position(|(_, p)| !p.is_of_the_endpoint());
    let first = first.unwrap_or_default();
    Err(
        match (failed.len() > first).then(|| failed.swap_remove(first)) {
            Some((at, problem)) => {
                let endpoint = instances.get(at);
                ReflectionError::new(upstream, endpoint, problem)
            }
            None if silent => {
                let endpoint = instances.first();
                let limit = budget.whole;
                ReflectionError::new(upstream, endpoint, ReflectionProblem::OutOfTime { limit })
            }
            None => ReflectionError::new(upstream, None, ReflectionProblem::NoEndpoints),
        },
    )
}

/// What an upstream tells, as one of its endpoints has it.
///
/// # Errors
/// As [`ask`].
pub async fn fetch(upstream: &Upstream, budget: &Budget) -> Result<Reflected, ReflectionError> {
    let told = ask(upstream, &Instance::all_of(upstream).await, budget).await?;
    let none = || ReflectionError::new(upstream, None, ReflectionProblem::NoEndpoints);
    told.into_iter().next().map(|(_, r)| r).ok_or_else(none)
}

async fn fetch_one(
    instance: &Instance,
    upstream: &Upstream,
    budget: &Budget,
) -> Result<Reflected, ReflectionProblem> {
    let outgoing = upstream.outgoing.as_ref();
    let channel = session::connect(instance, outgoing, budget).await?;
    match read_all(channel.clone(), Version::V1, budget).await {
        Err(ReflectionProblem::Unsupported) => read_all(channel, Version::V1Alpha, budget).await,
        result => result,
    }
}

async fn read_all(
    channel: Channel,
    version: Version,
    budget: &Budget,
) -> Result<Reflected, ReflectionProblem> {
    let (mut session, listed) = Session::open(channel, version, budget).await?;
    if listed.len() > budget.services_max {
        return Err(ReflectionProblem::TooMany {
            what: "services",
            limit: budget.services_max,
        });
    }
    let listed: BTreeSet<String> = listed
        .into_iter()
        .filter(|name| !SKIPPED.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    if listed.is_empty() {
        return Err(ReflectionProblem::NoServices);
    }

    let mut files = Files::new(budget);
    let mut services = Vec::new();
    let mut missing = Vec::new();
    for service in listed {
        if !files.declare(&service) {
            let question = Question::FileContainingSymbol(service.clone());
            match session.ask(&question).await? {
                Answer::Files(sent) => files.add_all(sent, &question)?,
                Answer::NotKnown(reason) => {
                    missing.push(Missing {
                        name: service,
                        reason,
                    });
                    continue;
                }
            }
            if !files.declare(&service) {
                return Err(ReflectionProblem::WrongFile { asked: question });
            }
        }
        services.push(service);
    }
    while let Some(import) = files.next_missing_import() {
        let question = Question::FileByFilename(import.clone());
        match session.ask(&question).await? {
            Answer::Files(sent) => {
                files.add_all(sent, &question)?;
                if !files.contain(&import) {
                    return Err(ReflectionProblem::WrongFile { asked: question });
                }
            }
            Answer::NotKnown(reason) => {
                files.give_up(&import)?;
                missing.push(Missing {
                    name: import,
                    reason,
                });
            }
        }
    }
    if services.is_empty() {
        return Err(ReflectionProblem::NothingDescribed {
            services: missing.len(),
        });
    }
    Ok(Reflected {
        descriptors: files.into_set(),
        services,
        missing,
    })
}
