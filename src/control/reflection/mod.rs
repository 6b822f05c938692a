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
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;

pub use error::{ReflectionError, ReflectionProblem};

use crate::config::model::{Endpoint, Upstream};
use crate::limits;
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

/// Fetches the descriptors from the first endpoint that answers. Dropping the future ends the stream
/// and the connection.
///
/// # Errors
/// No endpoint can be reached or speaks reflection, an answer is wrong, or the budget is spent.
pub async fn fetch(upstream: &Upstream, budget: &Budget) -> Result<Reflected, ReflectionError> {
    let until = Instant::now() + budget.whole;
    let mut last = None;
    for endpoint in &upstream.endpoints {
        let result = match timeout_at(until, fetch_one(endpoint, budget)).await {
            Ok(result) => result,
            Err(_) => Err(ReflectionProblem::OutOfTime {
                limit: budget.whole,
            }),
        };
        let problem = match result {
            Ok(reflected) => return Ok(reflected),
            Err(problem) => problem,
        };
        // Another instance of the same service may be up; it won't have other descriptors.
        let elsewhere = problem.is_of_the_endpoint();
        let error = ReflectionError::new(upstream, Some(endpoint), problem);
        if !elsewhere {
            return Err(error);
        }
        last = Some(error);
    }
    let none = || ReflectionError::new(upstream, None, ReflectionProblem::NoEndpoints);
    Err(last.unwrap_or_else(none))
}

async fn fetch_one(endpoint: &Endpoint, budget: &Budget) -> Result<Reflected, ReflectionProblem> {
    let channel = session::connect(endpoint, budget).await?;
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
